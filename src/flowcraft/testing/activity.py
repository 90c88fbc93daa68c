"""Which nodes are at work, and which of them only wait for virtual time."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from flowcraft.engine.middleware import Middleware, Proceed

if TYPE_CHECKING:
    from flowcraft.testing.clock import VirtualClock


class Work:
    """One attempt at a node that is under way.

    Attributes:
        name: The run and the node, for messages.
        clock: The clock its runtime follows.
        asleep: How many virtual sleeps it is in; while that is not 0 it waits for time alone.
    """

    __slots__ = ("asleep", "clock", "name")

    def __init__(self, name: str, clock: VirtualClock) -> None:
        self.name = name
        self.clock = clock
        self.asleep = 0


CURRENT_WORK: ContextVar[Work | None] = ContextVar("flowcraft_current_work", default=None)
"""The attempt that the calling code belongs to, also in tasks that the node started."""


class Activity(Middleware):
    """Follows the attempts of one runtime; the outermost layer around its nodes.

    Args:
        executing: Tells whether any attempt is under way or about to begin.
        clock: The clock the runtime follows.

    Attributes:
        under_way: The attempts under way.
        moves: How many attempts began or ended so far: as long as it grows, there is progress.
    """

    def __init__(self, executing: Callable[[], bool], clock: VirtualClock) -> None:
        self.under_way: dict[Work, None] = {}
        self.moves = 0
        self._executing = executing
        self._clock = clock

    @property
    def busy(self) -> bool:
        """Whether anything is at work that does not just wait for virtual time."""
        if not self._executing():
            return False
        return not self.under_way or any(not work.asleep for work in self.under_way)

    @property
    def names(self) -> list[str]:
        """The attempts that are at work, for messages."""
        return [work.name for work in self.under_way if not work.asleep]

    async def around(self, ctx: Any, proceed: Proceed) -> Any:
        """Count the attempt as under way until it ends."""
        work = Work(f"'{ctx.node_id}' of run '{ctx.run_id}'", self._clock)
        self.under_way[work] = None
        self.moves += 1
        token = CURRENT_WORK.set(work)
        try:
            return await proceed()
        finally:
            CURRENT_WORK.reset(token)
            del self.under_way[work]
            self.moves += 1
