"""What threads do elsewhere: a simulation has none of its own, and none looks at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowcraft.engine.threads import DaemonThreads
from flowcraft.engine.watch import LoopWatch, Watched


class DirectCalls(DaemonThreads):
    """Calls plain functions where they are; a process can die before or after one, not in it."""

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function."""
        return function(*arguments)


class NoWatch(LoopWatch):
    """Leaves the event loop alone: how long it takes in real time is no part of a simulation."""

    def add(self, work: Watched) -> None:
        """Watch nothing."""
