"""Many small requests to SQS in few: ten entries in one, of which each may fail by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from flowcraft.adapters.aws.failures import Service
from flowcraft.errors import StorageBusy
from flowcraft.ports.clock import Clock, Timer

ENTRIES: Final = 10
"""How many entries SQS takes in one request."""

CALLS_AT_A_TIME: Final = 8
"""Requests of one call that are under way together."""

FIRST_PAUSE_SECONDS: Final = 0.1
ROUNDS: Final = 6
"""How often entries are tried that fail for no fault of their own; pauses double each time."""


class Rejected(NamedTuple):
    """An entry that AWS refuses for what it is.

    Attributes:
        place: Which entry of those given, counted from 0.
        code: What AWS calls the reason.
        message: What AWS says.
    """

    place: int
    code: str
    message: str


class Batches:
    """Requests with entries about one queue.

    Args:
        service: Carries them out.
        queue_url: The queue.
        clock: Times the pauses.
    """

    def __init__(self, service: Service, queue_url: str, clock: Clock) -> None:
        self._service = service
        self._queue_url = queue_url
        self._clock = clock

    async def carry_out(
        self, operation: str, entries: Sequence[dict[str, Any]], sizes: Sequence[int], most: int
    ) -> list[Rejected]:
        """Carry out all entries, in as few requests as may be.

        Entries that fail for no fault of their own are tried again, without the others.

        Args:
            operation: Such as ``SendMessageBatch``.
            entries: Without ids.
            sizes: How much each counts of what one request may carry.
            most: How much one request may carry.

        Returns:
            The entries that AWS refuses, in order; the rest is done.

        Raises:
            StorageError: A request failed, or entries kept failing. The other requests were made
                all the same.
        """
        gate = asyncio.Semaphore(CALLS_AT_A_TIME)

        async def carry_out(indices: list[int]) -> list[Rejected]:
            async with gate:
                return await self._carry_out(operation, entries, indices)

        cuts = list(cut(sizes, most))
        if len(cuts) == 1:
            return await self._carry_out(operation, entries, cuts[0])
        results = await asyncio.gather(*map(carry_out, cuts), return_exceptions=True)
        rejected: list[Rejected] = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            rejected += result
        return rejected

    async def _carry_out(
        self, operation: str, entries: Sequence[dict[str, Any]], indices: list[int]
    ) -> list[Rejected]:
        rejected: list[Rejected] = []
        pause = FIRST_PAUSE_SECONDS
        for number in range(ROUNDS):
            if number:
                await sleep(self._clock, pause)
                pause *= 2
            answer = await self._service.call(
                operation,
                {
                    "QueueUrl": self._queue_url,
                    "Entries": [{"Id": str(index), **entries[index]} for index in indices],
                },
            )
            done = {int(entry["Id"]) for entry in answer.get("Successful", ())}
            failed = answer.get("Failed", ())
            for entry in failed:
                if entry.get("SenderFault"):
                    index = int(entry["Id"])
                    rejected.append(
                        Rejected(index, _plain(entry["Code"]), entry.get("Message", ""))
                    )
                    done.add(index)
            indices = [index for index in indices if index not in done]
            if not indices:
                return sorted(rejected)
        reasons = sorted({_plain(entry["Code"]) for entry in failed}) or ["no reason"]
        raise StorageBusy(
            f"The {self._service.resource} failed {len(indices)} of the entries of {operation} "
            f"time after time ({', '.join(reasons)}). Try again."
        )


def cut(sizes: Iterable[int], most: int) -> Iterable[list[int]]:
    """Which entries go together: ten at most, and not more than fits."""
    part: list[int] = []
    total = 0
    for index, size in enumerate(sizes):
        if part and (len(part) == ENTRIES or total + size > most):
            yield part
            part, total = [], 0
        part.append(index)
        total += size
    if part:
        yield part


def _plain(code: str) -> str:
    """The code alone: entries have it with and without what comes before it in some protocols."""
    return code.rpartition("#")[2].rpartition(".")[2]


def alarm(clock: Clock, when: float) -> tuple[asyncio.Future[None], Timer]:
    """A future that is done at a time, and the timer that sees to it."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ring() -> None:
        if not future.done():
            future.set_result(None)

    return future, clock.call_at(when, ring)


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait for time to pass."""
    over, timer = alarm(clock, clock.now() + seconds)
    try:
        await over
    finally:
        timer.cancel()


class Lingering:
    """Calls that wait a moment for others, to be carried out together.

    Args:
        clock: Times the moment.
        seconds: How long the first of them waits; 0 for not at all.
        enough: With so many items nobody waits any longer.
        carry_out: Does it for all items.
    """

    def __init__(
        self,
        clock: Clock,
        seconds: float,
        enough: int,
        carry_out: Callable[[list[str]], Awaitable[None]],
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._enough = enough
        self._carry_out = carry_out
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._timer: Timer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, items: Sequence[str]) -> None:
        """Have it done for these items; returns, or raises, when it is.

        A caller that is cancelled takes nothing back: what it gave is done with the others'.
        """
        if self._seconds <= 0:
            await self._carry_out(list(items))
            return
        loop = asyncio.get_running_loop()
        done = [loop.create_future() for _ in items]
        self._waiting += zip(items, done, strict=True)
        # What is beyond a full request waits for the next one to fill.
        while len(self._waiting) >= self._enough:
            self._begin(self._enough)
        if self._waiting and self._timer is None:
            self._timer = self._clock.call_at(self._clock.now() + self._seconds, self.flush)
        await asyncio.gather(*done)

    def flush(self) -> None:
        """Wait no longer."""
        self._begin(len(self._waiting))

    def _begin(self, count: int) -> None:
        """Carry out so many; the rest waits anew."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        if not taken:
            return
        task = asyncio.get_running_loop().create_task(self._serve(taken))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Carry out what waits, and wait until all of it is done."""
        self.flush()
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def _serve(self, taken: Sequence[tuple[str, asyncio.Future[None]]]) -> None:
        error: BaseException | None = None
        try:
            await self._carry_out([item for item, _ in taken])
        except BaseException as raised:
            error = raised
            if not isinstance(raised, Exception):
                raise
        finally:
            for _, caller in taken:
                if caller.done():
                    continue
                if error is None:
                    caller.set_result(None)
                elif isinstance(error, Exception):
                    caller.set_exception(error)
                else:
                    caller.cancel()
