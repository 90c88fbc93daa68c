"""What a simulated run may count as lost with a worker, by what happened to its processes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from flowcraft.testing.simulate.faults import Fault, Harm, Kind
from flowcraft.testing.simulate.invariants import _lost
from flowcraft.testing.simulate.play import play
from flowcraft.testing.simulate.scenario import Scenario
from flowcraft.testing.simulate.zoo import STORIES


def problems(lost: int, *harms: Harm, concurrency: int = 1) -> list[str]:
    """What does not hold of a run with so many attempts whose workers count as gone."""
    scenario = SimpleNamespace(concurrency=concurrency)
    lives = [SimpleNamespace(harms=[each]) for each in harms]
    world: Any = SimpleNamespace(lives=lives, scenario=scenario)
    return [problem.invariant for problem in _lost(world, lost)]


def test_what_a_process_had_in_hand_may_be_lost_with_it() -> None:
    """For each process that died, or stood still, as many attempts count as it works on at once."""
    assert problems(0) == problems(1, Harm(5, 5)) == problems(2, Harm(5, 80), concurrency=2) == []
    assert (
        problems(1) == problems(2, Harm(5, 5)) == problems(3, Harm(5, 5), concurrency=2) == ["S9"]
    )


def test_a_request_that_is_made_again_costs_no_lease() -> None:
    """A worker that was refused, or not answered, is not gone."""
    assert problems(1, Harm(5, 5, costs_leases=False)) == ["S9"]


@pytest.mark.parametrize(
    ("kind", "seconds", "costs"),
    [
        (Kind.LOST, 0.0, False),
        (Kind.FAIL, 0.0, False),
        (Kind.THROTTLE, 0.0, False),
        (Kind.SLOW_AFTER, 5.0, False),
        (Kind.SLOW_AFTER, 40.0, True),
        (Kind.STALL_BEFORE, 40.0, True),
        (Kind.LATE, 40.0, True),
        (Kind.BREAK, 0.0, True),
        (Kind.STOP, 0.0, True),
        (Kind.CRASH_BEFORE, 0.0, True),
    ],
)
def test_what_may_cost_a_lease(
    kind: Kind, seconds: float, costs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deaths, stops, and what takes longer than a heartbeat has time for may; the rest may not."""
    seen: list[Harm] = []

    def note(world: Any, lost: int) -> list[Any]:
        seen.extend(each for life in world.lives for each in life.harms)
        return list(_lost(world, lost))

    monkeypatch.setattr("flowcraft.testing.simulate.invariants._lost", note)
    scenario = Scenario("chain", 1, faults=(Fault("worker-1", 5, kind, seconds),))
    assert play(STORIES["chain"], scenario).problems == []
    assert seen[0].costs_leases is costs
