"""Where a case takes place: an empty storage with its clients, and a clock that it moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from flowcraft.ports.together import Ports
from flowcraft.testing.clock import VirtualClock

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""How long a case may take, in real time, before it is taken for one that hangs."""

# How often an adapter that works in threads, or over the network, is looked at meanwhile.
_LOOK_SECONDS = 0.001


Connect = Callable[[], Awaitable[Ports]]
"""Opens another client of the same storage."""

OpenStorage = Callable[[VirtualClock], AbstractAsyncContextManager[Connect]]
"""Gives an empty storage that follows the clock; on leaving, it and its clients are closed."""


class Stage:
    """What a case is given.

    Attributes:
        clock: The time of the storage. Nothing but the case moves it.
        queue: The queue, as the first client sees it.
        runs: The runs, as the first client sees them.
        blobs: The texts, as the first client sees them.
        coordination: Locks and counters, as the first client sees them.
        objects: The objects, as the first client sees them.
    """

    def __init__(self, clock: VirtualClock, first: Ports, connect: Connect) -> None:
        self.clock = clock
        self.queue, self.runs, self.blobs, self.coordination, self.objects = first
        self._connect = connect

    async def another(self) -> Ports:
        """A second client of the same storage."""
        return await self._connect()

    async def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Let something start that is going to wait."""
        task = asyncio.ensure_future(work)
        await self.clock.settle()
        return task

    async def outcome(self, work: Coroutine[Any, Any, T] | asyncio.Task[T]) -> T:
        """What comes of something that waits; time passes as long as that is all there is to do."""
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                await self._turn(task)
        finally:
            task.cancel()
        return task.result()

    async def _turn(self, task: asyncio.Task[Any]) -> None:
        await self.clock.settle()
        if task.done():
            return
        if (due := self.clock.next_due) is not None:
            self.clock.advance_to(max(due, self.clock.now()))
        else:
            await asyncio.wait([task], timeout=_LOOK_SECONDS)


Case = Callable[[Stage], Coroutine[Any, Any, None]]


class Cases:
    """Cases in the order in which they were written down; use it as a decorator."""

    def __init__(self) -> None:
        self._cases: list[Case] = []

    def __call__(self, case: Case) -> Case:
        """Take a case up."""
        self._cases.append(case)
        return case

    def __iter__(self) -> Iterator[Case]:
        return iter(self._cases)


def check(case: Case, open_storage: OpenStorage) -> None:
    """Run one case in an event loop of its own.

    Raises:
        AssertionError: The adapter does not keep the contract.
        TimeoutError: The case took longer than ``PATIENCE_SECONDS``.
    """
    asyncio.run(_perform(case, open_storage))


async def _perform(case: Case, open_storage: OpenStorage) -> None:
    clock = VirtualClock()
    async with asyncio.timeout(PATIENCE_SECONDS), open_storage(clock) as connect:
        await case(Stage(clock, await connect(), connect))


def equal(actual: object, expected: object, what: str) -> None:
    """Require two things to be equal; ``assert`` says too little outside of a test module.

    Raises:
        AssertionError: They are not.
    """
    if actual != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {actual!r}")
