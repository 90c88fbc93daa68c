"""A bounded number of threads for calls that block.

The threads are daemons, so that a long poll does not hold up the end of the process, which the
standard library's executors would. They are made as they are needed, and end when they have had
nothing to do for some seconds.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final

IDLE_SECONDS: Final = 10.0
"""How long a thread waits for its next job before it ends."""


@dataclass(slots=True)
class Job:
    """One call, and whom to tell what came of it.

    Attributes:
        function: What is called.
        tell: Called in the thread with what the function returned and raised.
        is_wanted: Turned off, a job that is not begun yet is left out.
    """

    function: Callable[[], Any]
    tell: Callable[[Any, BaseException | None], None]
    is_wanted: bool = True


class Threads:
    """Threads that carry out jobs, in the order in which they come.

    Args:
        size: How many there are at most.
        name: What their names begin with.
        idle_seconds: How long a thread waits for its next job before it ends.
    """

    def __init__(self, size: int, name: str, idle_seconds: float = IDLE_SECONDS) -> None:
        if size < 1:
            raise ValueError(f"At least one thread is needed, not {size}")
        self._size = size
        self._name = name
        self._idle_seconds = idle_seconds
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._alive = 0
        self._started = 0
        self._unfinished = 0
        # Jobs that need a thread: less those that are done and only have to be told.
        self._needed = 0
        self._when_idle: list[Callable[[], None]] = []
        _ALL.add(self)

    @property
    def unfinished(self) -> int:
        """Jobs that are under way or in line."""
        return self._unfinished

    @property
    def alive(self) -> int:
        """Threads there are."""
        return self._alive

    def start(self, job: Job) -> None:
        """Have a job done as soon as a thread is free."""
        with self._lock:
            self._unfinished += 1
            self._needed += 1
            # Put in under the lock: a thread that ends for want of work looks under it, too.
            self._queue.put(job)
            if self._needed <= self._alive or self._alive == self._size:
                return
            self._alive += 1
            self._started += 1
            name = f"{self._name}-{self._started}"
            queue = self._queue
        threading.Thread(target=self._serve, args=(queue,), name=name, daemon=True).start()

    def close(self, when_idle: Callable[[], None]) -> None:
        """Let the threads end after the jobs that are in line.

        Args:
            when_idle: Called once all jobs are done: at once, or from a thread.
        """
        with self._lock:
            for _ in range(self._alive):
                self._queue.put(None)
            if self._unfinished:
                self._when_idle.append(when_idle)
                return
        when_idle()

    def rest(self) -> None:
        """Let the threads end, unless one of them is at work; the next job gets a new one."""
        with self._lock:
            # One that has just told its answer is at work no longer, though it may not know yet.
            if self._needed:
                return
            # A queue of their own: none of them takes what comes later, or is counted any more.
            queue, self._queue = self._queue, SimpleQueue()
            for _ in range(self._alive):
                queue.put(None)
            self._alive = 0

    def _serve(self, queue: SimpleQueue[Job | None]) -> None:
        while (job := self._next(queue)) is not None:
            self._carry_out(job)
            # Not kept while waiting for the next one: it holds on to request and answer.
            del job
            self._finish()

    def _carry_out(self, job: Job) -> None:
        answer: Any = None
        error: BaseException | None = None
        was_wanted = job.is_wanted
        if was_wanted:
            try:
                answer = job.function()
            except BaseException as raised:
                # Whatever it is: a caller that is told nothing would wait for ever.
                error = raised
        with self._lock:
            # Before it is told: what follows finds this thread free, and needs no other.
            self._needed -= 1
        if was_wanted:
            job.tell(answer, error)

    def _finish(self) -> None:
        with self._lock:
            self._unfinished -= 1
            if self._unfinished:
                return
            calls, self._when_idle = self._when_idle, []
        for call in calls:
            call()

    def _next(self, queue: SimpleQueue[Job | None]) -> Job | None:
        while True:
            try:
                job = queue.get(timeout=self._idle_seconds)
            except Empty:
                with self._lock:
                    if not queue.empty():
                        continue
                    self._leave(queue)
                return None
            if job is None:
                with self._lock:
                    self._leave(queue)
            return job

    def _leave(self, queue: SimpleQueue[Job | None]) -> None:
        if queue is self._queue:
            self._alive -= 1


_ALL: weakref.WeakSet[Threads] = weakref.WeakSet()


def rest() -> None:
    """Let the idle threads of this process end, whosever they are."""
    for threads in tuple(_ALL):
        threads.rest()
