"""What is seen of limits while a simulation runs: whoever begins has a place, and no more have one.

L1: no body begins without a place in the store, and never has a key more places than its limit, or
more bodies at a time, but for those of processes to which something happened.
L2: bodies begin when they may, and never more of a key than its rate within its window.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from flowcraft.core.limits import IN_HAND_SECONDS, Limit
from flowcraft.engine.limited import limit_of
from flowcraft.testing.simulate.census import Execution
from flowcraft.testing.simulate.faults import process_of_running_code

if TYPE_CHECKING:
    from flowcraft.engine.gate import Inside
    from flowcraft.testing.simulate.world import World

SLACK_SECONDS: Final = 0.01
"""For the turns of the loop between the last look at the clock and the body, and rounding."""


class LimitWatch:
    """Looks at each body that begins.

    Args:
        world: Where it is.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._starts: dict[str, list[float]] = defaultdict(list)
        self._limits: dict[str, Limit] = {}
        self._begun: dict[Any, tuple[str, Execution]] = {}

    def see(self, ctx: Any) -> None:
        """A body begins."""
        attempt, world = ctx._origin, self._world
        run = getattr(attempt.run, "above", attempt.run)
        plan, state = attempt.run.plan, run.state
        found = limit_of(world.options, plan, state, attempt.command, lambda _: None)
        if found is None:
            return
        what = f"'{ctx.node_id}' (attempt {ctx.attempt})"
        inside = self._inside(attempt)
        if inside is None:
            self._problem("L1", f"the body of {what} began without a place")
            return
        place, entered = inside
        if place.limit.concurrency is not None:
            room = world.backend.room(place.key)
            if place.token not in room.holders:
                self._problem("L1", f"the body of {what} began, and its place is somebody else's")
            if len(room.holders) > place.limit.concurrency:
                self._problem("L1", f"'{place.key}' has {len(room.holders)} places in use")
            self._begin(attempt, place.key, place.limit.concurrency, ctx)
        if place.limit.rate is not None:
            self._limits[place.key] = place.limit
            self._starts[place.key].append(entered.at)
            slack = SLACK_SECONDS + 2 * world.scenario.skew_seconds
            beside = world.loop.time() - entered.at
            if not -slack <= beside <= IN_HAND_SECONDS + slack:
                self._problem("L2", f"the body of {what} began {beside:.3f} s after its time")

    def see_end(self, ctx: Any) -> None:
        """A body ends."""
        self._begun.pop(ctx._origin, None)

    def _begin(self, attempt: Any, key: str, most: int, ctx: Any) -> None:
        """See that no more bodies of a key are under way than may be."""
        life, now = process_of_running_code(), self._world.loop.time()
        execution = Execution(ctx.idempotency_key, ctx.node_id, ctx.attempt, life, now)
        self._begun[attempt] = key, execution
        same = [each for other, each in self._begun.values() if other == key]
        count = sum(not each.was_harmed for each in same)
        if count > most:
            self._problem("L1", f"of '{key}' {count} bodies are under way at a time")

    def problems(self) -> Iterator[str]:
        """More starts than a rate allows, if there were."""
        for key, starts in self._starts.items():
            limit = self._limits[key]
            assert limit.rate is not None
            ordered = sorted(starts)
            for first, last in zip(ordered, ordered[limit.rate :], strict=False):
                if last - first < limit.per_seconds - SLACK_SECONDS:
                    yield f"of '{key}' {limit.rate + 1} began within {last - first:.3f} s"

    def _inside(self, attempt: Any) -> Inside | None:
        for process in self._world.workers:
            for hand in process.worker._strands.values():
                if hand.strand is not None and hand.strand.attempt is attempt:
                    return hand.strand.gate.inside
        return None

    def _problem(self, invariant: str, text: str) -> None:
        self._world.backend.watch.problems.append((invariant, text))
