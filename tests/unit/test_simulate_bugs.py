"""The simulation finds bugs: some are planted, and each shows, and shows again when replayed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from flowcraft.core.builder import FlowBuilder, create_flow
from flowcraft.engine.watch import WATCH
from flowcraft.ports.queue import Delivery, Outgoing
from flowcraft.ports.runs import Change, Record, Written
from flowcraft.testing.simulate.backends import MemoryBackend
from flowcraft.testing.simulate.campaign import Report, campaign, run_all
from flowcraft.testing.simulate.loop import SimulationLoop
from flowcraft.testing.simulate.options import read_scenario
from flowcraft.testing.simulate.play import play
from flowcraft.testing.simulate.scenario import Scenario
from flowcraft.testing.simulate.users import simulate
from flowcraft.testing.simulate.zoo import STORIES

GRAPHS = ("diamond", "batch", "cancel", "loop-joined", "pause-once")
MOST_RUNS = 400


class Passing:
    """A port that does what the one behind it does."""

    def __init__(self, port: Any) -> None:
        self._port = port

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


class DeletesFirst(Passing):
    """Messages are gone once they are received."""

    async def receive(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:
        found: Sequence[Delivery] = await self._port.receive(limit, wait_seconds)
        await self._port.delete([each.handle for each in found])
        return found


class LosesHalf(Passing):
    """Of messages that are sent together the last one is lost."""

    async def send(self, messages: Sequence[Outgoing]) -> None:
        await self._port.send(messages[:-1] if len(messages) > 1 else messages)


class NeverDeletes(Passing):
    """Messages come again and again."""

    async def delete(self, handles: Sequence[str]) -> None:
        pass


class CommitsWithoutLease(Passing):
    """Whoever writes is taken for the one that holds the lease."""

    async def write(self, change: Change) -> Written:
        if change.holding is not None and not change.holding.expired:
            record: Record | None = await self._port.read(change.run_id)
            leases = {each.place: each for each in record.leases} if record else {}
            lease = leases.get(change.holding.place)
            token = lease.token if lease is not None else None
            holding = None if token is None else replace(change.holding, token=token)
            change = replace(change, holding=holding)
        written: Written = await self._port.write(change)
        return written


class GrantsEverything(Passing):
    """A claim is granted also where somebody else has the lease."""

    async def write(self, change: Change) -> Written:
        written: Written = await self._port.write(change)
        if change.claim is not None and written.lease is not None:
            return replace(written, granted=True, lease=None)
        return written


class ForgetsIds(Passing):
    """Facts of the same id are written as often as they come."""

    async def write(self, change: Change) -> Written:
        entries = tuple(replace(each, id=None) for each in change.entries)
        written: Written = await self._port.write(replace(change, entries=entries))
        return written


PLANTED = {
    "deletes first": ("queue", DeletesFirst),
    "loses half": ("queue", LosesHalf),
    "never deletes": ("queue", NeverDeletes),
    "commits without lease": ("runs", CommitsWithoutLease),
    "grants everything": ("runs", GrantsEverything),
    "forgets ids": ("runs", ForgetsIds),
}


def planted(name: str) -> type[MemoryBackend]:
    """A backend with a bug."""
    port, bug = PLANTED[name]

    class Planted(MemoryBackend):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._ports = self._ports._replace(**{port: bug(getattr(self._ports, port))})

    return Planted


def first_violation(name: str) -> tuple[int, Report]:
    """How many runs it takes until a bug shows, and the report of the run it shows in."""
    stories = [STORIES[graph] for graph in GRAPHS]
    scenarios = campaign(stories, MOST_RUNS, 1)
    for number, scenario in enumerate(islice(scenarios, MOST_RUNS), start=1):
        report = run_all(STORIES, [scenario], planted(name))
        if not report.ok:
            return number, report
    raise AssertionError(f"{name}: not found in {MOST_RUNS} runs")


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found_and_shown_again(name: str) -> None:
    """A bug shows in few runs; the replay of the run shows the same; without the bug it is well."""
    _, report = first_violation(name)
    (violation,) = report.violations
    scenario = read_scenario(violation.replay)
    again = play(STORIES[scenario.graph], scenario, planted(name))
    assert [str(each) for each in again.problems] == [
        str(each) for each in violation.played.problems
    ]
    assert again.requests == violation.played.requests
    assert not play(STORIES[scenario.graph], scenario).problems


TRACE = """
from flowcraft.testing.simulate.users import simulate
from flowcraft.testing.simulate.zoo import STORIES
from flowcraft.testing.simulate.campaign import at_random
from flowcraft.testing.simulate.play import play
from itertools import islice
for scenario in islice(at_random(list(STORIES.values()), 5), 2 * len(STORIES)):
    played = play(STORIES[scenario.graph], scenario, with_log=True)
    print(scenario, played.requests, played.executions, played.log)
"""


def trace(hash_seed: int) -> str:
    """What a process with another order of sets sees of some scenarios."""
    return subprocess.run(
        [sys.executable, "-c", TRACE],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.slow
def test_every_process_comes_to_the_same() -> None:
    """Another process, in which sets have another order, sees each request at the same place."""
    one, other = trace(1).splitlines(), trace(2).splitlines()
    assert len(one) == 2 * len(STORIES)
    assert one == other


def test_the_same_scenario_comes_to_the_same() -> None:
    """A scenario that is played twice makes the same requests; another seed makes others."""
    scenario = Scenario("lattice", 3, workers=3, slow=True, doubles=True)
    played = [play(STORIES["lattice"], scenario) for _ in range(2)]
    assert played[0].requests == played[1].requests
    other = play(STORIES["lattice"], replace(scenario, seed=4))
    assert other.requests != played[0].requests


def test_no_thread_watches_over_a_simulation() -> None:
    """Nothing looks at simulated workers in real time, so a slow machine changes no run."""
    seen: list[bool] = []

    def build() -> FlowBuilder:
        async def look(_: object) -> None:
            seen.append(any(isinstance(each.loop, SimulationLoop) for each in tuple(WATCH._work)))

        return create_flow("looks").node("look", look)

    simulate(build, runs=2, seed=1)
    assert set(seen) == {False}
