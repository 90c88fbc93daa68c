"""What is excused of simulated runs that are deleted: a start that comes after it, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from flowcraft.testing.simulate.backends import MemoryBackend
from flowcraft.testing.simulate.campaign import run_all
from flowcraft.testing.simulate.faults import Fault, Kind
from flowcraft.testing.simulate.named import backend_named
from flowcraft.testing.simulate.play import play
from flowcraft.testing.simulate.scenario import Scenario
from flowcraft.testing.simulate.zoo import STORIES
from tests.unit.planted_bugs import planted

CREATES = {"memory": range(2, 6), "aws": range(4, 8)}
"""Requests of whoever starts a run: one of them begins it."""


@pytest.mark.parametrize("backend", CREATES)
@pytest.mark.parametrize("graph", ["delete", "delete-shards"])
def test_a_start_that_is_carried_out_after_a_deletion_is_another_run(
    backend: str, graph: str
) -> None:
    """Whichever request of a start is carried out late, or has no answer, nothing is wrong."""
    scenarios = [
        Scenario(graph, 2, workers=2, faults=(Fault("client-1", number, kind, seconds),))
        for number in CREATES[backend]
        for kind, seconds in ((Kind.LATE, 5.0), (Kind.LATE, 120.0), (Kind.LOST, 0.0))
    ]
    report = run_all(STORIES, scenarios, backend_named(backend))
    assert report.ok, "\n".join(map(str, report.violations))


def begun(*faults: Fault) -> MemoryBackend:
    """The backend of a run that was deleted, when all is over."""
    made: list[MemoryBackend] = []

    class Kept(MemoryBackend):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    assert play(STORIES["delete"], Scenario("delete", 3, faults=faults), Kept).problems == []
    (backend,) = made
    return backend


def test_a_run_that_is_deleted_counts_once() -> None:
    """Without a start behind the deletion there was one run, and no standstill is excused."""
    watch = begun().watch
    assert watch.begun["run"] == 1
    assert not watch.begun_late


def test_a_late_start_counts_as_another_run() -> None:
    """With one there were two, of which the second began with nobody to hear of it."""
    watches = [begun(Fault("client-1", number, Kind.LATE, 300.0)).watch for number in range(1, 7)]
    (watch,) = (each for each in watches if each.begun["run"] > 1)
    assert watch.begun["run"] == 2
    assert watch.begun_late == {"run"}


def test_a_body_that_runs_twice_shows_in_a_run_that_is_deleted() -> None:
    """A lease that two have is found in runs that are deleted as in others."""
    scenarios = [
        Scenario("delete-shards", seed, workers=3, doubles=True, slow=True) for seed in range(40)
    ]
    assert not run_all(STORIES, scenarios, planted("grants everything")).ok
