"""Sending back all letters of a dead-letter queue at once: SQS does it by itself, as a task.

Not everywhere: emulators lack it, and an account may not allow it. A task sends each letter to the
queue that it came from, up to 500 in a second, and does not look at what they are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from flowcraft.adapters.aws.batches import sleep
from flowcraft.adapters.aws.failures import Resource, translated
from flowcraft.adapters.aws.transport import AwsError, Transport
from flowcraft.errors import StorageBusy, StorageError
from flowcraft.ports.clock import Clock

logger = logging.getLogger("flowcraft")

LOOK_SECONDS: Final = 1.0
"""From one look at a task to the next."""


class MoveTasks:
    """Tasks that send back the letters of a dead-letter queue.

    Args:
        transport: Carries requests out.
        arn: The dead-letter queue.
        clock: Times the looks.
    """

    def __init__(self, transport: Transport, arn: str, clock: Clock) -> None:
        self._transport = transport
        self._arn = arn
        self._clock = clock
        self._resource = Resource("queue", arn.rpartition(":")[2])

    async def move_all(self, tell: Callable[[int], None] | None = None) -> int | None:
        """Send back all letters that are visible, and wait until that is done.

        A caller that is cancelled has the task cancelled; what was moved by then stays moved.

        Args:
            tell: Called with the number of letters moved so far.

        Returns:
            How many letters were moved, as far as SQS counts them; ``None`` if there are no such
            tasks here, or they are not allowed: then nothing was done.

        Raises:
            StorageBusy: Another task is under way.
            StorageError: The task failed, or nobody knows what became of it.
        """
        handle = await self._start()
        if handle is None:
            return None
        try:
            return await self._watch(tell)
        except asyncio.CancelledError:
            await self._cancel(handle)
            raise

    async def _start(self) -> str | None:
        try:
            answer = await self._transport.call("StartMessageMoveTask", {"SourceArn": self._arn})
        except ValueError:
            return None  # a boto3 that does not know it
        except AwsError as error:
            if "already" in error.message and "task" in error.message:
                raise StorageBusy(
                    f"A task is moving the letters of the {self._resource} already. Wait for its "
                    "end ('aws sqs list-message-move-tasks' tells), or cancel it."
                ) from error
            if error.is_throttling or error.status == 0:
                raise translated(error, self._resource) from error
            logger.debug("Letters are moved one by one: %s", error)
            return None
        return str(answer.get("TaskHandle", ""))

    async def _watch(self, tell: Callable[[int], None] | None) -> int:
        while True:
            task = await self._latest()
            moved = int(task.get("ApproximateNumberOfMessagesMoved") or 0)
            if tell is not None:
                tell(moved)
            status = str(task.get("Status", ""))
            if status == "COMPLETED":
                return moved
            if status not in ("RUNNING", ""):
                reason = task.get("FailureReason") or "no reason is told"
                raise StorageError(
                    f"The task that moves the letters of the {self._resource} is {status}: "
                    f"{reason}. {moved} were moved; the others are where they were."
                )
            await sleep(self._clock, LOOK_SECONDS)

    async def _latest(self) -> Mapping[str, Any]:
        request = {"SourceArn": self._arn, "MaxResults": 1}
        try:
            answer = await self._transport.call("ListMessageMoveTasks", request)
        except AwsError as error:
            raise translated(error, self._resource) from error
        results = answer.get("Results", ())
        return results[0] if results else {}

    async def _cancel(self, handle: str) -> None:
        try:
            await self._transport.call("CancelMessageMoveTask", {"TaskHandle": handle})
        except AwsError as error:
            logger.warning("The task that moves dead letters was not cancelled: %s", error)
