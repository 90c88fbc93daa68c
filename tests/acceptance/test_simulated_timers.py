"""Timers of hours and days under the simulator; `make simulate GRAPH=…` does more of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import pytest

from flowcraft.engine import timers, worker
from flowcraft.engine.calendar import Calendar, Later
from flowcraft.engine.station import Station
from flowcraft.testing.simulate import Report, Scenario, play
from flowcraft.testing.simulate.campaign import at_random, run_all, sweep
from flowcraft.testing.simulate.named import backend_named
from flowcraft.testing.simulate.zoo import STORIES, long

SEED = 1
NAMES = [story.name for story in long.STORIES]


def nothing_wrong(report: Report, least: int) -> None:
    """See that there were runs, and that nothing was wrong in any."""
    assert report.ok, "\n\n".join(map(str, report.violations[:3]))
    assert report.runs >= least


@pytest.mark.slow
@pytest.mark.parametrize("name", ["answer-days", "cancel-days"])
def test_every_request_may_be_the_last_one(name: str) -> None:
    """A crash at each request, and each answer lost: nothing is left of a timer that is dropped."""
    scenarios = sweep(STORIES[name], SEED, workers=(1,))
    nothing_wrong(run_all(STORIES, scenarios), 60)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["memory", "aws"])
def test_whatever_comes_together(backend: str) -> None:
    """Sleeps, retries, limits and a crowd, with several faults at a time: in time, nothing left."""
    new_backend = backend_named(backend)
    stories = [STORIES[name] for name in NAMES]
    scenarios = islice(at_random(stories, SEED, new_backend=new_backend), 4 * len(stories))
    nothing_wrong(run_all(STORIES, scenarios, new_backend), 4 * len(stories))


def problems(name: str) -> set[str]:
    """What does not hold of a story, without faults."""
    played = play(STORIES[name], Scenario(name, SEED, reconciler=True))
    return {problem.invariant for problem in played.problems}


def test_timers_that_nobody_takes_away_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the duty of who makes a timer needless, it is left, and the simulator says so."""

    async def forget_nothing(_: Station, __: Any, ___: str) -> None:
        pass

    assert problems("answer-days") == set()
    monkeypatch.setattr(worker, "forget_dropped", forget_nothing)
    assert "I6" in problems("answer-days")


def test_timers_that_nobody_sweeps_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sweeps what is overdue is found late, and the simulator says so."""

    async def sweep_nothing(*_: Any) -> bool:
        return True

    assert problems("sleep-hours") == set()
    monkeypatch.setattr(Calendar, "sweep", sweep_nothing)
    assert "I11" in problems("sleep-hours")


def test_timers_that_are_forgotten_before_they_are_sent_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sweeper that loses what it sends makes it late, and the simulator says so."""

    async def send_nothing(_: timers.LongDelays, __: Sequence[Later]) -> None:
        pass

    monkeypatch.setattr(timers.LongDelays, "send_due", send_nothing)
    assert "I11" in problems("sleep-hours")
