"""The simulation finds what is wrong with limits: each safeguard is taken away, and is missed."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from flowcraft.core import limits as rules
from flowcraft.core.limits import Entered, Limit, Room, Visitor
from flowcraft.engine import swap_limits
from flowcraft.engine.gate import Gate
from flowcraft.testing.simulate.campaign import campaign, run_all, sweep
from flowcraft.testing.simulate.faults import Kind
from flowcraft.testing.simulate.zoo import STORIES

GRAPHS = ("limit", "limit-rate", "limit-both")
MOST_RUNS = 240
STALLS = (Kind.STALL_BEFORE, Kind.STALL_AFTER, Kind.SLOW_BEFORE, Kind.SLOW_AFTER)


def invariants_missed() -> set[str]:
    """Which invariants do not hold of some runs with stalls, until one of limits does not."""
    found: set[str] = set()
    scenarios = campaign([STORIES[name] for name in GRAPHS], MOST_RUNS, 3, STALLS)
    while chunk := list(islice(scenarios, 20)):
        for violation in run_all(STORIES, chunk).violations:
            found |= {problem.invariant for problem in violation.played.problems}
        if found & {"L1", "L2"}:
            break
    return found


async def _always(self: Gate, limited: Any) -> bool:
    return True


def _lets_everybody_in(
    room: Room, limit: Limit, visitor: Visitor, now: float
) -> tuple[Entered, Room]:
    """A room without a wall: each who asks is given a place."""
    generous = replace(limit, concurrency=None if limit.concurrency is None else 100)
    return rules.enter(room, generous, visitor, now)


def _forgets_the_spacing(
    room: Room, limit: Limit, visitor: Visitor, now: float
) -> tuple[Entered, Room]:
    """A rate that counts nothing."""
    return rules.enter(replace(room, next_at=0.0, promised_until=0.0), limit, visitor, now)


def test_a_start_that_is_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody looks again before a body begins, some begin too late, or without a place."""
    monkeypatch.setattr(Gate, "is_in_time", _always)
    assert invariants_missed() & {"L1", "L2"}


@pytest.mark.parametrize("broken", [_lets_everybody_in, _forgets_the_spacing])
def test_a_limit_that_is_not_kept_is_found(monkeypatch: pytest.MonkeyPatch, broken: Any) -> None:
    """Places beyond the limit, and starts beyond the rate, are seen for what they are."""
    monkeypatch.setattr(swap_limits, "enter", broken)
    assert invariants_missed() & {"L1", "L2"}


def test_a_node_that_needs_no_place_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that takes no account of limits begins without a place."""
    monkeypatch.setattr(Gate, "limited", lambda *_: None)
    assert "L1" in invariants_missed()


@pytest.mark.slow
@pytest.mark.parametrize("graph", ["limit-row", "limit-rate"])
def test_every_request_may_be_the_last_one(graph: str) -> None:
    """With limits, too, each request may fail, and each process die of it."""
    report = run_all(STORIES, sweep(STORIES[graph], 4, workers=(1,)))
    assert report.ok, "\n\n".join(map(str, report.violations[:3]))
    assert report.runs > 100
