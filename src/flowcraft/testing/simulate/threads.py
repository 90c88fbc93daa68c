"""Plain node functions in a simulation: called directly, since there are no threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowcraft.engine.threads import DaemonThreads


class DirectCalls(DaemonThreads):
    """Calls plain functions where they are; a process can die before or after one, not in it."""

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function."""
        return function(*arguments)
