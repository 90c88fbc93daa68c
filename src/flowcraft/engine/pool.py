"""Runs jobs concurrently with as few tasks as possible.

A *runner* is a task that takes one job after the other. As long as jobs end without waiting for
anything, one runner does them all: a lone successor, and a thousand parallel nodes that compute,
need no task of their own. When a job waits, a spare runner takes over what is queued.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import Generic, TypeVar

from flowcraft.engine.begun import begin_task

Owner = TypeVar("Owner")
J = TypeVar("J")

TURN = 64
"""Jobs a runner does before it lets the event loop serve others."""


def _differ(now: Context, before: Context) -> bool:
    """Whether context variables were set; values are compared by identity, not by ``==``."""
    return any(var not in before or before[var] is not value for var, value in now.items())


class Pool(Generic[Owner, J]):
    """Runs queued jobs, at most ``limit`` at a time.

    Args:
        execute: Does one job in the given task.
        limit: How many jobs may be under way at once.
        loop: The running event loop.
    """

    def __init__(
        self,
        execute: Callable[[Owner, J, asyncio.Task[None]], Awaitable[None]],
        limit: int,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._execute = execute
        self._limit = limit
        self._loop = loop or asyncio.get_running_loop()
        # Jobs, and whose they are, side by side: a pair for each of 100,000 jobs would be work
        # for the garbage collector.
        self._queue: deque[J] = deque()
        self._owners: deque[Owner] = deque()
        self._runners: set[asyncio.Task[None]] = set()
        self._fresh = 0
        self._offered = False
        self._yielding = False
        # Runners that are between two jobs right now, and will look at the queue next.
        self.between = 0
        # Jobs that have begun and not ended.
        self.executing = 0
        # Nodes must not see what another node left in context variables.
        self._context: Context = copy_context()
        self.closed = False

    @property
    def has_work_to_stop(self) -> bool:
        """Whether a runner executes a job, or has been made and not begun."""
        return bool(self.executing or self._fresh)

    @property
    def busy(self) -> bool:
        """Whether jobs are under way or queued."""
        return bool(self.executing or self._queue)

    def submit(self, owner: Owner, job: J) -> None:
        """Queue a job of somebody's."""
        self._owners.append(owner)
        self._queue.append(job)
        if not self._offered and len(self._queue) > self.between + self._fresh:
            self._offer()

    def start(self) -> None:
        """Begin to work on what is queued, at once: up to the first job that waits.

        Raises:
            BaseException: What a job raises that begins now.
        """
        # Nobody else need look at the queue before the first runner waits for something.
        self._offered = bool(self._queue)
        try:
            if self._queue and not self._runners:
                self._fresh += 1
                begin_task(self._run(), self._loop, self._context.copy(), self._runners.add)
        finally:
            self._offered = False
        if self._queue:
            self._offer()

    def hold(self) -> None:
        """Let jobs be queued, to be worked on when it is started."""
        self._offered = True

    def discard(self, unwanted: Callable[[Owner], bool]) -> list[tuple[Owner, J]]:
        """Take the jobs of some owners that have not begun off the queue, and give them back."""
        queued = list(zip(self._owners, self._queue, strict=True))
        dropped = [(owner, job) for owner, job in queued if unwanted(owner)]
        if dropped:
            self._forget_queue()
            for owner, job in queued:
                if not unwanted(owner):
                    self._owners.append(owner)
                    self._queue.append(job)
        return dropped

    def _forget_queue(self) -> None:
        self._queue.clear()
        self._owners.clear()

    async def close(self) -> None:
        """Stop all runners, whatever they do, and wait until they are gone."""
        self.closed = True
        self._forget_queue()
        if not self.has_work_to_stop:
            return  # idle runners end by themselves
        current = asyncio.current_task()
        # One that is cancelled before its first turn does not take itself off the set.
        while others := [t for t in self._runners if t is not current and not t.done()]:
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=1.0)
        self._runners.clear()

    def _offer(self) -> None:
        """Have another runner take over what is queued, if none is through by then.

        The event loop gets to it when the runner at work waits for something. Jobs that do not
        wait are all done before that, and no task was made in vain.
        """
        if not self._offered and not self._fresh:
            self._offered = True
            self._loop.call_soon(self._take_over)

    def _take_over(self) -> None:
        """Start a runner for each queued job where those at work wait, else the first one."""
        self._offered = False
        if self._yielding:
            return
        wanted = len(self._queue) if self._runners else 1
        for _ in range(min(wanted, len(self._queue), self._limit - len(self._runners))):
            self._add_runner()

    def _add_runner(self) -> None:
        if len(self._runners) >= self._limit or self.closed:
            return
        self._fresh += 1
        task = self._loop.create_task(self._run(), context=self._context.copy())
        self._runners.add(task)

    async def _run(self) -> None:
        self._fresh -= 1
        task = asyncio.current_task(self._loop)  # without the loop it asks which one that is
        assert task is not None
        try:
            await self._work(task)
        finally:
            self._runners.discard(task)
            if self._queue and not self._fresh:
                self._add_runner()

    async def _work(self, task: asyncio.Task[None]) -> None:
        owners, queue, execute = self._owners, self._queue, self._execute
        context, size = self._context, len(self._context)
        while True:
            for _ in range(TURN):
                if not queue:
                    return
                owner, job = owners.popleft(), queue.popleft()
                if queue and not self._offered:
                    self._offer()
                await execute(owner, job, task)
                now = copy_context()
                if task.cancelling() or len(now) != size or (size and _differ(now, context)):
                    return  # a node left something behind: the next job gets a clean runner
            self._yielding = True
            try:
                await asyncio.sleep(0)
            finally:
                self._yielding = False
