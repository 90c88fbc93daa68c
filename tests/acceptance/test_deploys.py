"""Workers of two versions side by side: each run ends with the graph that it began with."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice

import pytest

from flowcraft.aws import SqsAdapter
from flowcraft.testing.simulate import Kind, Report
from flowcraft.testing.simulate.campaign import at_random, run_all, sweep
from flowcraft.testing.simulate.named import backend_named
from flowcraft.testing.simulate.processes import Person
from flowcraft.testing.simulate.scenario import Scenario
from flowcraft.testing.simulate.story import Story
from flowcraft.testing.simulate.zoo import STORIES
from flowcraft.testing.simulate.zoo.deploys import NEW, V1, Deploy, Releases, deploy_story
from tests.acceptance.aws_shapes import Fleet, fleet_at
from tests.emulators.aws import AwsNames

SEED = 8
STARTS_IN_AN_HOUR = 240
BACKENDS = ("memory", "aws")


def played(story: Story, scenarios: Sequence[Scenario], backend: str) -> Report:
    """What comes of a story."""
    return run_all({story.name: story}, scenarios, backend_named(backend))


def nothing_wrong(report: Report) -> None:
    """See that nothing was."""
    assert report.ok, "\n\n".join(map(str, report.violations[:3]))


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("keeps_old", [True, False], ids=["both", "drained"])
def test_an_hour_of_traffic(backend: str, keeps_old: bool) -> None:
    """For an hour starts arrive while four workers are replaced, or killed, one after the other:
    all runs end, with the nodes and parameters of the version that they were started with."""
    story = deploy_story("hour", Deploy(STARTS_IN_AN_HOUR, keeps_old=keeps_old))
    usual = Scenario("hour", SEED, workers=4, noise=0.002, skew_seconds=2.0)
    nothing_wrong(played(story, [usual], backend))


@pytest.mark.slow
@pytest.mark.parametrize("graph", ["deploy", "deploy-drained"])
def test_everything_may_go_wrong_meanwhile(graph: str) -> None:
    """Requests fail, processes crash and stall, messages come twice, while a version comes."""
    for backend in BACKENDS:
        scenarios = islice(at_random([STORIES[graph]], SEED, new_backend=backend_named(backend)), 6)
        nothing_wrong(played(STORIES[graph], list(scenarios), backend))


@pytest.mark.slow
def test_every_request_may_be_the_last_one_of_a_process() -> None:
    """A worker, or whoever deploys, dies at any request: here every ninth of them is tried."""
    kinds = (Kind.CRASH_AFTER,)
    scenarios = sweep(STORIES["deploy-drained"], SEED, kinds, backend_named("aws"), workers=(2,))
    some = [each for number, each in enumerate(scenarios) if number % 9 == 0][:12]
    nothing_wrong(played(STORIES["deploy-drained"], some, "aws"))


class Careless(Deploy):
    """A deploy that lets the last old worker go without asking what is still needed."""

    async def _is_drained(self, person: Person) -> bool:
        del person
        return True


class Confused(Deploy):
    """A deploy after which new workers do the work of old runs otherwise."""

    def __init__(self, starts: int, seconds: float) -> None:
        super().__init__(starts, seconds, keeps_old=True)

        async def other(ctx: object) -> str:
            return f"{ctx} is not what is sent"

        registry = self.releases.runtimes["2"].registry
        registry._by_key.pop("order.charge")
        registry.register("order.charge", other)


def test_a_deploy_that_does_not_wait_is_found() -> None:
    """Old workers that go too early leave runs that nobody can finish: the simulation says so."""
    story = deploy_story("careless", Deploy(4, 1200.0, keeps_old=False))
    nothing_wrong(played(story, [Scenario("careless", SEED, workers=2)], "memory"))
    story = deploy_story("careless", Careless(4, 1200.0, keeps_old=False))
    report = played(story, [Scenario("careless", SEED, workers=2)], "memory")
    assert not report.ok
    texts = "\n".join(map(str, report.violations))
    assert "I1: it does not end" in texts
    assert "'running'" in texts


def test_an_old_run_that_ends_otherwise_is_found() -> None:
    """A run of the old version that comes to another end than it should is a violation (I10)."""
    story = deploy_story("confused", Confused(4, 1200.0))
    report = played(story, [Scenario("confused", SEED, workers=2)], "memory")
    assert any("of version 1 came to" in str(each) for each in report.violations)


@pytest.mark.slow
def test_the_report_on_an_emulator(ministack: str) -> None:
    """On DynamoDB, as an emulator has it, the report takes a page, and a read for each live run."""
    old, new = Releases(NEW).runtimes.values()

    async def look(fleet: Fleet) -> None:
        async with SqsAdapter.client_of(**fleet.settings(), runtime_options=old.options) as client:
            for number in range(3):
                await client.start_run(V1, run_id=f"r{number}")
            report = await client.drain_report()
            assert (report.runs, report.reads) == (3, 1 + 3)
            (missing,) = report.needed_by(new.options.registry)
            assert (missing.uses, missing.version, missing.runs) == ("order.charge", "1", 3)
            assert missing.examples == ("r0", "r1", "r2")
            assert not report.needed_by(old.options.registry)

    with fleet_at(ministack, AwsNames.numbered(970_001)) as fleet:
        asyncio.run(look(fleet))
