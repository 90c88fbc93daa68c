"""Those who start runs and answer questions, through the same network as the workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final, TypeVar

from flowcraft.core.state import FINAL_STATUSES
from flowcraft.engine.client import FlowClient
from flowcraft.errors import InvalidRunState, RunNotFound, StorageError
from tests.acceptance.chaos.flows import ANSWER, ASKING, FLOWS, NUMBERS, answer_to
from tests.acceptance.chaos.worker import Place
from tests.emulators.aws import client

T = TypeVar("T")

LOOK_SECONDS: Final = 0.25
PAUSE_SECONDS: Final = 0.1
BATCH: Final = 100
"""Items that one BatchGetItem reads."""

FLOW_NAMES: Final = tuple(build().id for build in FLOWS)
AT_ONCE: Final = 8
"""Starts and answers at a time."""


@dataclass(slots=True)
class Started:
    """A run that was started.

    Attributes:
        index: The how-manieth run it is, from 0.
        flow: Its flow.
        number: What it was started with.
        run_id: Its id.
        started_at: When its start was stored, by the monotonic clock.
        over_at: When it was first seen to be over; ``None`` before.
        is_asked: Whether its question was answered, or is being answered.
    """

    index: int
    flow: str
    number: int
    run_id: str
    started_at: float
    over_at: float | None = None
    is_asked: bool = False


class Driver:
    """Starts runs, as many as may be open at a time, and answers what they ask.

    Args:
        place: Where that is; its endpoint is the proxy's.
        direct: The emulator's own endpoint, to see which runs are over without being lied to.
        start: A client, through the proxy.
        seed: Decides which runs are started.

    Attributes:
        started: The runs that were started.
        again: How many requests of its own had to be made again.
    """

    def __init__(self, place: Place, direct: str, start: FlowClient, seed: int) -> None:
        self._client = start
        self._chance = Random(f"driver {seed}")
        self._table = place.names.statuses
        self._dynamodb = client("dynamodb", direct)
        self._hands = asyncio.Semaphore(AT_ONCE)
        self.started: list[Started] = []
        self.open: dict[str, Started] = {}
        self.again = 0
        self._answers: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Close the connections."""
        for answer in self._answers:
            answer.cancel()
        await asyncio.gather(*self._answers, return_exceptions=True)
        await self._client.aclose()
        self._dynamodb.close()

    # -- starting ---------------------------------------------------------------------------

    async def start_all(self, runs: int, most_open: int) -> None:
        """Start runs; a next one whenever fewer are open than may be.

        Args:
            runs: How many.
            most_open: How many may be under way at a time.
        """
        room = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for index in range(runs):
                await room.acquire()
                while len(self.open) >= most_open:
                    await asyncio.sleep(LOOK_SECONDS / 2)
                flow = FLOW_NAMES[index % len(FLOW_NAMES)]
                start = group.create_task(self._start(index, flow, self._chance.randrange(NUMBERS)))
                start.add_done_callback(lambda _: room.release())

    async def _start(self, index: int, flow: str, number: int) -> None:
        """Start one; a start whose answer was lost is made again, and is the same run."""
        run = await self._insist(
            lambda: self._client.start_run(
                flow, {"number": number}, idempotency_key=f"start {index}"
            )
        )
        started = Started(index, flow, number, str(run), time.monotonic())
        self.started.append(started)
        self.open[started.run_id] = started

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a request until it is known to be carried out."""
        async with self._hands:
            while True:
                try:
                    return await call()
                except StorageError as error:
                    if error.is_fatal:
                        raise
                    self.again += 1
                    await asyncio.sleep(PAUSE_SECONDS)

    # -- looking ----------------------------------------------------------------------------

    async def look_on(self) -> None:
        """See again and again which runs are over, and which wait, until this is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """See once which of the open runs are over, and answer those that wait."""
        ids = list(self.open)
        for first in range(0, len(ids), BATCH):
            rows = await asyncio.to_thread(self._rows, ids[first : first + BATCH])
            for run_id, status in rows.items():
                if status in FINAL_STATUSES:
                    self.open.pop(run_id).over_at = time.monotonic()
                elif status == "awaiting":
                    self._see_to(self.open[run_id])

    def _rows(self, ids: list[str]) -> dict[str, str]:
        keys = {"Keys": [{"runId": {"S": each}} for each in ids], "ConsistentRead": True}
        answer = self._dynamodb.batch_get_item(RequestItems={self._table: keys})
        rows: list[dict[str, Any]] = answer["Responses"][self._table]
        return {row["runId"]["S"]: row["status"]["S"] for row in rows}

    def _see_to(self, run: Started) -> None:
        if run.flow not in ("ask", "order") or run.is_asked:
            return
        run.is_asked = True
        answer = asyncio.create_task(self._answer(run))
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)

    async def _answer(self, run: Started) -> None:
        """Answer the question of a run, if it asks; it may only sleep."""
        action = answer_to(run.flow, run.number)
        try:
            await self._insist(
                lambda: self._client.resume_with_action(run.run_id, action, ANSWER, node_id=ASKING)
            )
        except (InvalidRunState, RunNotFound):
            # It does not ask yet. Or a first answer got there, though nobody was told.
            run.is_asked = False
