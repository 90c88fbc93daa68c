"""Every execution of a node's body, as it is seen from around it."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from flowcraft.engine.isolation import stays_inside
from flowcraft.engine.middleware import Middleware, Proceed
from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.faults import Harm, Life, process_of_running_code
from flowcraft.testing.simulate.loop import NODE, SimulationLoop

MOST_TURNS = 3
LONG_SECONDS = 300.0
"""A body that takes longer is a long one: to have it again takes more than any patience has."""

SHORTLY_SECONDS = 30.0
"""As long as a worker goes on trying a request that fails."""


@dataclass(slots=True, eq=False)
class Execution:
    """A body that began.

    Attributes:
        key: The idempotency key: the same for every attempt.
        node_id: The node.
        attempt: The attempt.
        life: The process; ``None`` where it is the one that runs all of it in process.
        at: When it began, in seconds since the epoch.
        ended_at: When it ended; ``None`` while it goes on, and for good where its process died.
    """

    key: str
    node_id: str
    attempt: int
    life: Life | None
    at: float
    ended_at: float | None = None

    @property
    def harms(self) -> list[Harm]:
        """What happened to its process from shortly before it began to shortly after its end.

        A worker that was stopped after its claim begins with what is somebody else's by then, and
        what has ended is to be stored.
        """
        if self.life is None:
            return []
        since = self.at - SHORTLY_SECONDS
        until = math.inf if self.ended_at is None else self.ended_at + SHORTLY_SECONDS
        return [harm for harm in self.life.harms if harm.until >= since and harm.since <= until]

    @property
    def was_harmed(self) -> bool:
        """Whether anything happened to its process that may be why it was not the last."""
        return bool(self.harms)


def names_of(node_id: str) -> tuple[str, str]:
    """What a body may be of: a node of this id, or the worker that ``worker[3]`` is an item of."""
    return node_id, node_id.partition("[")[0]


class Census(Middleware):
    """Notes every body that begins, and lets it take a while.

    Args:
        chance: Decides how long bodies take.
        now: Tells the time.
        longest_seconds: How long a body takes at most, beside what it does; 0 for some turns of
            the event loop.
        hurried: Nodes that are never made to take long, since they have a timeout.
        see: Is given the context of every body that begins.
        see_end: Is given the context of every body that ends.

    Attributes:
        executions: The bodies that began.
        under_way: The nodes whose bodies have not ended.
        long_seconds: How long those took together that took longer than some leases last.
    """

    def __init__(
        self,
        chance: Chance,
        now: Callable[[], float],
        *,
        longest_seconds: float = 0.0,
        hurried: Collection[str] = (),
        see: Callable[[Any], None] = lambda _: None,
        see_end: Callable[[Any], None] = lambda _: None,
    ) -> None:
        self._chance = chance
        self._now = now
        self._longest_seconds = longest_seconds
        self._hurried = frozenset(hurried)
        self._see = see
        self._see_end = see_end
        self.executions: list[Execution] = []
        self.under_way: dict[int, str] = {}
        self.long_seconds = 0.0

    async def around(self, ctx: Any, proceed: Proceed) -> Any:
        """Note the body, and run it."""
        life, above = process_of_running_code(), NODE.get()
        self._see(ctx)
        execution = Execution(ctx.idempotency_key, ctx.node_id, ctx.attempt, life, self._now())
        self.executions.append(execution)
        self.under_way[id(ctx)] = ctx.node_id
        NODE.set(ctx.node_id)
        try:
            _check_inside(ctx)
            await self._take_a_while(ctx)
            return await proceed()
        finally:
            NODE.set(above)
            del self.under_way[id(ctx)]
            if (lasted := self._now() - execution.at) > LONG_SECONDS:
                self.long_seconds += lasted
            if life is None or not life.is_dead:
                execution.ended_at = self._now()
            self._see_end(ctx)

    async def _take_a_while(self, ctx: Any) -> None:
        for _ in range(self._chance.below(MOST_TURNS + 1)):
            await asyncio.sleep(0)
        is_hurried = not self._hurried.isdisjoint(names_of(ctx.node_id))
        if self._longest_seconds and not is_hurried and self._chance.happens(0.5):
            await asyncio.sleep(self._chance.between(0.0, self._longest_seconds))

    def counts(self) -> Counter[str]:
        """How often each body began, by idempotency key."""
        return Counter(each.key for each in self.executions)


def _check_inside(ctx: Any) -> None:
    """See that a node is not to run in a process of its own."""
    attempt = ctx._origin
    if attempt.node.definition.config.isolation is None or stays_inside(attempt.implementation):
        return
    loop = asyncio.get_running_loop()
    if isinstance(loop, SimulationLoop):
        loop.refuse(
            "runs in a process of its own (isolation)",
            "Simulate the workflow without it, or with a fake of the node.",
        )
