"""The simulation finds bugs: some are planted, and each shows, and shows again when replayed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.builder import FlowBuilder, create_flow
from flowcraft.engine.station import Station
from flowcraft.engine.watch import WATCH
from flowcraft.provisioning.model import Fleet
from flowcraft.testing.simulate import aws
from flowcraft.testing.simulate.backends import at_once
from flowcraft.testing.simulate.campaign import Report, campaign, run_all
from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.loop import SimulationLoop
from flowcraft.testing.simulate.named import backend_named
from flowcraft.testing.simulate.options import read_scenario
from flowcraft.testing.simulate.play import play
from flowcraft.testing.simulate.scenario import Scenario
from flowcraft.testing.simulate.users import simulate
from flowcraft.testing.simulate.zoo import STORIES
from tests.unit.planted_bugs import PLANTED, planted

GRAPHS = ("diamond", "batch", "cancel", "loop-joined", "pause-once")
MOST_RUNS = 400


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


def test_a_worker_that_takes_its_own_version_of_a_workflow_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A plan that goes by a workflow's id, not by its content, shows beside an older worker."""
    scenarios = [Scenario("diamond", seed, concurrency=1, older=True) for seed in range(10)]
    assert run_all(STORIES, scenarios).ok
    planned = Station._planned

    def planned_by_id(station: Station, blueprint: WorkflowBlueprint) -> Any:
        return planned(station, station.options.blueprints.get(blueprint.id, blueprint))

    monkeypatch.setattr(Station, "_planned", planned_by_id)
    assert run_all(STORIES, scenarios).violated > 1


def test_a_buried_message_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that comes to the dead-letter queue is a violation, in any single run."""
    crash = read_scenario("--graph chain --seed 3 --fault worker-1:10:crash-before")
    new_backend = backend_named("aws")
    assert not play(STORIES["chain"], crash, new_backend).problems
    # The message of a worker that died is received a second time: once too often.
    monkeypatch.setattr(aws, "MAX_RECEIVES", 1)
    problems = play(STORIES["chain"], crash, new_backend).problems
    assert "1 messages came to the dead-letter queue" in "\n".join(map(str, problems))


def test_simulated_queues_bury_as_those_that_are_provisioned() -> None:
    """A simulated queue gives a message up after as many receives as one that was set up."""
    loop = SimulationLoop(Chance(1))
    backend = aws.AwsBackend(loop, Chance(2), visibility_seconds=30.0)
    request = {"QueueUrl": backend.queue_url, "AttributeNames": ["RedrivePolicy"]}
    told = at_once(backend.sqs.call("GetQueueAttributes", request))
    policy = json.loads(told["Attributes"]["RedrivePolicy"])
    assert policy["maxReceiveCount"] == Fleet().max_receives
    loop.close()
