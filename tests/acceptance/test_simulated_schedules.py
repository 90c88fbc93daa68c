"""Schedules in simulation: some of what `make simulate` does, with a seed, and a whole day."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from flowcraft.core.schedules import Schedule
from flowcraft.engine.schedule_firing import Firing
from flowcraft.engine.schedule_store import Stored
from flowcraft.testing.simulate.campaign import Report, at_random, run_all, sweep
from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.faults import Fault
from flowcraft.testing.simulate.named import backend_named
from flowcraft.testing.simulate.play import play
from flowcraft.testing.simulate.scenario import Scenario
from flowcraft.testing.simulate.zoo import STORIES
from flowcraft.testing.simulate.zoo.schedules import DAY

SEED = 7
STORIES_OF_SCHEDULES = [story for name, story in STORIES.items() if name.startswith("schedule")]


def _swept(name: str, backend: str, count: int) -> Report:
    """So many of the crashes at single requests of one worker, and of the people."""
    new_backend = backend_named(backend)
    scenarios = list(sweep(STORIES[name], SEED, new_backend=new_backend, workers=(1,)))
    assert len(scenarios) > 500
    Chance("schedules", SEED).shuffle(scenarios)
    return run_all(STORIES, scenarios[:count], new_backend)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["memory", "aws"])
def test_every_tick_once_whatever_comes_together(backend: str) -> None:
    """Several workers, faults, noise, clocks that differ: every tick is one run, or is told of."""
    new_backend = backend_named(backend)
    scenarios = islice(at_random(STORIES_OF_SCHEDULES, SEED, new_backend=new_backend), 25)
    report = run_all(STORIES, scenarios, new_backend)
    assert report.ok, "\n\n".join(map(str, report.violations[:3]))
    assert report.runs == 25


@pytest.mark.slow
def test_any_request_of_schedules_may_be_the_last_one() -> None:
    """Of all crashes at single requests, of workers and of who steers the schedule, some dozens."""
    report = _swept("schedule-steered", "aws", 40)
    assert report.ok, "\n\n".join(map(str, report.violations[:3]))


@pytest.mark.slow
def test_a_day_with_workers_that_die() -> None:
    """A simulated day of a schedule of every two hours, two workers, three of which die."""
    names = ("worker-1:900:crash-after", "worker-2:700:crash-before", "worker-3:300:crash-after")
    faults = tuple(map(Fault.read, names))
    played = play(DAY, Scenario(DAY.name, SEED, workers=2, faults=faults))
    assert not played.problems, "\n".join(map(str, played.problems))
    assert any(name.startswith("worker-5") for name in played.made)


@pytest.mark.slow
def test_telling_before_starting_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a run were taken for started before it is, a crash in between would show."""
    carry_out = Firing._carry_out

    async def tells_first(self: Firing, stored: Stored) -> Any:
        await self.write(stored, replace(stored.schedule, pending=()))
        return await carry_out(self, stored)

    monkeypatch.setattr(Firing, "_carry_out", tells_first)
    assert not _swept("schedule", "memory", 60).ok


@pytest.mark.slow
def test_taking_runs_for_over_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """If nobody looked whether a run is over, runs would overlap, and that would show."""

    async def all_over(_: Firing, schedule: Schedule) -> frozenset[str]:
        return frozenset(schedule.active)

    monkeypatch.setattr(Firing, "over", all_over)
    assert not run_all(STORIES, [Scenario("schedule-skip", SEED)]).ok
