"""Waiting for the ends of runs: one who looks for all who wait for the same run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from flowcraft.engine.client import FlowClient
from flowcraft.engine.stored import StoredRun
from flowcraft.ports.clock import Clock
from flowcraft.web.live import wait_for


@dataclass(slots=True)
class Ending:
    """A run that somebody waits for.

    Attributes:
        task: Waits for it.
        waiting: Those who are to be told.
    """

    task: asyncio.Task[StoredRun]
    waiting: set[asyncio.Future[None]] = field(default_factory=set)

    def wake(self) -> None:
        """Have all who wait see how it is."""
        for each in self.waiting:
            if not each.done():
                each.set_result(None)


class Ends:
    """The runs that somebody waits for.

    Args:
        client: Whose runs.
        clock: The time.
    """

    def __init__(self, client: FlowClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._endings: dict[str, Ending] = {}

    async def over(self, run_id: str, seconds: float) -> StoredRun | None:
        """Wait for the end of a run.

        Args:
            run_id: The run.
            seconds: How long to wait.

        Returns:
            The run, or nothing where it was not over in time.

        Raises:
            RunNotFound: There is no such run.
        """
        ending = self._endings.get(run_id)
        if ending is None:
            task = asyncio.get_running_loop().create_task(self._client.wait_for_run(run_id))
            ending = self._endings[run_id] = Ending(task)
            task.add_done_callback(lambda _: self._over(run_id, ending))
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ending.waiting.add(told)
        try:
            await wait_for(told, self._clock, seconds)
            return ending.task.result() if ending.task.done() else None
        finally:
            ending.waiting.discard(told)
            if not ending.waiting:
                ending.task.cancel()

    def _over(self, run_id: str, ending: Ending) -> None:
        if self._endings.get(run_id) is ending:
            del self._endings[run_id]
        if not ending.task.cancelled():
            ending.task.exception()  # whoever waited is told; if nobody does, nobody misses it
        ending.wake()

    def wake(self) -> None:
        """Have all who wait be told at once how their runs are."""
        for each in self._endings.values():
            each.wake()

    async def aclose(self) -> None:
        """Wait for nothing any more."""
        tasks = [each.task for each in self._endings.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
