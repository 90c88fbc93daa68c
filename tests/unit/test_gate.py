"""Whether an attempt that is limited may begin when it is about to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from flowcraft.core.limits import Entered, Limit
from flowcraft.engine.gate import Gate, Inside
from flowcraft.engine.limited import Limited
from flowcraft.ports.limits import Place
from tests.unit.runs import drive

RATE = Limit(rate=1, per_seconds=1)


class Slow:
    """Limits that take their time to answer, and the clock that shows it."""

    def __init__(self, *answer_seconds: float) -> None:
        self.time = 100.0
        self.left = list(answer_seconds)

    def now(self) -> float:
        return self.time

    async def enter(self, _key: str, _limit: Limit, _visitor: Any, now: float) -> Entered:
        self.time += self.left.pop(0)
        return Entered(granted=True, at=now)


async def _at_once(_at: float) -> None:
    return None


@pytest.mark.parametrize(
    ("answer_seconds", "is_in_time", "left"),
    [((0.0,), True, 0), ((4.0, 0.5), True, 0), ((4.0, 4.0, 4.0, 0.0), False, 1)],
)
def test_a_place_that_was_answered_too_late_is_asked_for_anew(
    answer_seconds: tuple[float, ...], is_in_time: bool, left: int
) -> None:
    """A body begins within its time: if the answer takes longer than that, and again, it waits."""
    slow = Slow(*answer_seconds)
    options = SimpleNamespace(serializer=None)
    station: Any = SimpleNamespace(clock=slow, limits=slow, options=options, sleep_until=_at_once)
    gate = Gate(station, 30.0)
    gate.inside = Inside(Place("k", RATE, "token"), Entered(granted=True, at=90.0))
    assert drive(gate.is_in_time(Limited("k", RATE))) is is_in_time
    assert len(slow.left) == left
