"""Threads for plain functions.

The threads are daemons: a function that never returns can be given up on, and does not keep the
process from ending, which the standard library's executors would. All runtimes of a process
share them; one that has had nothing to do for some seconds ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Any

logger = logging.getLogger("flowcraft")

Work = Callable[[], None]

IDLE_SECONDS = 10.0
"""How long a thread waits for its next call before it ends."""


class ThreadPool:
    """Threads that are kept for the next call; made as they are needed, and without a bound.

    How many calls there are at once is for the callers to bound.

    Args:
        idle_seconds: How long a thread waits for work before it ends.
    """

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self.forget()

    def forget(self) -> None:
        """Start anew, without threads: a process that was forked has none of its parent's."""
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._lock = threading.Lock()
        # Threads that are waiting for work, or will be next, and that nobody has counted on.
        self._idle = 0
        self._started = 0

    def start(self, work: Work) -> None:
        """Have a thread do some work; ``work`` calls :meth:`done` when only telling is left."""
        with self._lock:
            waiting = self._idle > 0
            if waiting:
                self._idle -= 1
            else:
                self._started += 1
                name = f"flowcraft-node-{self._started}"
        if waiting:
            self._queue.put(work)
        else:
            threading.Thread(target=self._serve, args=(work,), name=name, daemon=True).start()

    def rest(self) -> None:
        """Let the threads that wait for work end now."""
        with self._lock:
            for _ in range(self._idle):
                self._queue.put(None)
            self._idle = 0

    def done(self) -> None:
        """The calling thread can be counted on for the next piece of work."""
        with self._lock:
            self._idle += 1

    def _serve(self, work: Work | None) -> None:
        while work is not None:
            work()
            # Not kept while waiting: it holds on to a whole run.
            work = None
            work = self._next()

    def _next(self) -> Work | None:
        while True:
            try:
                return self._queue.get(timeout=self._idle_seconds)
            except Empty:
                with self._lock:
                    if self._idle:
                        self._idle -= 1
                        return None
                # Somebody counts on this thread: the work is about to be queued.


_SHARED = ThreadPool()


def rest() -> None:
    """Let the threads of this process that wait for work end."""
    _SHARED.rest()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_SHARED.forget)


class DaemonThreads:
    """The calls of one runtime to plain functions, in threads that all runtimes share.

    Attributes:
        calls: Calls under way, those included that nobody waits for any more.
        abandoned: Calls that nobody waits for any more and that have not returned.
    """

    def __init__(self, pool: ThreadPool = _SHARED) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self.calls = 0
        self.abandoned = 0

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call ``function`` in a thread and wait for it.

        When the waiting task is cancelled the thread cannot be: it is counted as abandoned
        until it returns, and what it returns is dropped.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
        context = copy_context()

        def work() -> None:
            try:
                outcome, error = context.run(function, *arguments), None
            except BaseException as raised:
                outcome, error = None, raised
            # Before it is told: what follows finds this thread waiting, and needs no other.
            self._pool.done()
            try:
                loop.call_soon_threadsafe(self._settle, future, outcome, error)
            except RuntimeError:
                logger.debug("The event loop ended before %r returned", function)
                self._count(calls=-1, abandoned=-1)

        self._count(calls=1)
        self._pool.start(work)
        try:
            outcome, error = await future
        except asyncio.CancelledError:
            if not future.done() or future.cancelled():
                self._count(abandoned=1)
            raise
        if error is not None:
            # Raised here and not by the future: thrown into a waiting coroutine from outside,
            # GeneratorExit and StopIteration mean something else.
            raise error
        return outcome

    def _count(self, *, calls: int = 0, abandoned: int = 0) -> None:
        with self._lock:
            self.calls += calls
            self.abandoned += abandoned

    def _settle(self, future: asyncio.Future[Any], outcome: Any, error: Any) -> None:
        self._count(calls=-1, abandoned=-1 if future.done() else 0)
        if future.done():
            return
        future.set_result((outcome, error))
