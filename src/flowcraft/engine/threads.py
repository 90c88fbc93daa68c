"""Threads for plain functions.

The threads are daemons: a function that never returns can be given up on, and does not keep the
process from ending, which the standard library's executors would.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any

logger = logging.getLogger("flowcraft")

Work = Callable[[], None]


class DaemonThreads:
    """Runs calls in threads that are kept for the next call; made as they are needed."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0
        # Calls under way, those included that nobody waits for any more.
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
            try:
                loop.call_soon_threadsafe(self._settle, future, outcome, error)
            except RuntimeError:
                logger.debug("The event loop ended before %r returned", function)
                self._count(calls=-1, abandoned=-1)

        self._count(calls=1)
        self._start(work)
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

    def _start(self, work: Work) -> None:
        with self._lock:
            if self._idle:
                self._idle -= 1
                fresh = False
            else:
                self._threads += 1
                fresh = True
                number = self._threads
        self._queue.put(work)
        if fresh:
            name = f"flowcraft-node-{number}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()

    def _serve(self) -> None:
        while True:
            work = self._queue.get()
            if work is None:
                return
            work()
            with self._lock:
                self._idle += 1

    def close(self) -> None:
        """Let idle threads end; busy ones end with their call."""
        with self._lock:
            count, self._threads, self._idle = self._threads, 0, 0
        for _ in range(count):
            self._queue.put(None)
