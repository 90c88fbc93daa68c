"""Noticing nodes that keep the event loop to themselves.

An async node that computes for long, or blocks, stops every other node in the process; nothing
in the process can stop it. A thread of its own sees that the loop no longer answers, and logs
which node it is that does not let go.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from flowcraft.engine.attempt import Attempt

logger = logging.getLogger("flowcraft.run")

INTERVAL_SECONDS = 1.0
"""How often the loop is asked for a sign of life, and how late the answer may be."""

IDLE_LOOKS = 10
"""Looks without any work after which the thread ends; the next run starts another."""


class Watched(Protocol):
    """Work on an event loop."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that should answer."""

    def attempts(self) -> Iterable[Attempt]:
        """What is being executed."""


class LoopWatch:
    """Watches the event loops of the work that is under way, in a thread that ends when idle.

    Args:
        interval_seconds: How often a loop is asked for a sign of life.
    """

    def __init__(self, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._interval = interval_seconds
        self.forget()

    def forget(self) -> None:
        """Start anew, without a thread: a process that was forked has none of its parent's."""
        self._lock = threading.Lock()
        self._work: set[Watched] = set()
        self._asked: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, bool] = (
            weakref.WeakKeyDictionary()
        )
        self._reported: weakref.WeakSet[Attempt] = weakref.WeakSet()
        self._thread: threading.Thread | None = None

    def add(self, work: Watched) -> None:
        """Watch the loop of some work until it is removed."""
        # Nothing here wakes the thread: a run may be over before it could even look.
        self._work.add(work)
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._serve, name="flowcraft-watch", daemon=True)
                self._thread = thread
                thread.start()

    def remove(self, work: Watched) -> None:
        """Stop watching."""
        self._work.discard(work)

    def look(self) -> None:
        """See which loops have answered since the last look, and ask again."""
        for loop in {work.loop for work in tuple(self._work)}:
            if self._asked.get(loop):
                self._report(loop)
            elif not loop.is_closed():
                self._asked[loop] = True
                loop.call_soon_threadsafe(self._answered, loop)

    def _answered(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asked[loop] = False

    def _report(self, loop: asyncio.AbstractEventLoop) -> None:
        task = asyncio.current_task(loop)
        for work in tuple(self._work):
            for attempt in work.attempts() if work.loop is loop else ():
                if attempt.task is task and attempt not in self._reported:
                    self._reported.add(attempt)
                    _warn(attempt, self._interval)

    def _serve(self) -> None:
        pause, idle = threading.Event(), 0
        while not self._may_end(idle):
            pause.wait(self._interval)
            idle = 0 if self._work else idle + 1
            try:
                self.look()
            except RuntimeError:
                # A loop was closed, or a set changed, while it was looked at: look again.
                logger.debug("Watching the event loop was disturbed", exc_info=True)

    def _may_end(self, idle: int) -> bool:
        with self._lock:
            if idle < IDLE_LOOKS or self._work:
                return False
            self._thread = None
            return True


def _warn(attempt: Attempt, seconds: float) -> None:
    logger.warning(
        "Node '%s' has kept the event loop busy for more than %g s; no other node and no timer "
        "runs meanwhile. Make it a plain function, which runs in a thread, or let it await.",
        attempt.node.id,
        seconds,
        extra={"run_id": attempt.run.state.run_id, "node_id": attempt.node.id},
    )


WATCH = LoopWatch()
"""The one that all runtimes of the process share."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WATCH.forget)
