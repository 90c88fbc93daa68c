"""Functions of AWS Lambda in virtual time, while everything goes wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from flowcraft.ports.queue import Delivery
from flowcraft.testing.simulate import Kind, Report
from flowcraft.testing.simulate.campaign import at_random, run_all, sweep
from flowcraft.testing.simulate.functions import FunctionProcess
from flowcraft.testing.simulate.named import backend_named
from flowcraft.testing.simulate.scenario import Scenario
from flowcraft.testing.simulate.story import Story
from flowcraft.testing.simulate.zoo import STORIES

SEED = 4
FUNCTIONS = {name: story for name, story in STORIES.items() if name.startswith("lambda-")}
BACKEND = backend_named("aws")


def nothing_wrong(report: Report, least: int) -> None:
    """See that there were runs, and that nothing was wrong in any."""
    assert report.ok, "\n\n".join(map(str, report.violations[:3]))
    assert report.runs >= least


@pytest.mark.slow
@pytest.mark.parametrize("graph", ["lambda-fan", "lambda-sleep"])
def test_every_request_may_be_the_last_one_of_an_instance(graph: str) -> None:
    """An instance dies before or after each request of a call, with duplicates and without: its
    messages come again, and the run ends as it should."""
    kinds = (Kind.CRASH_BEFORE, Kind.CRASH_AFTER)
    scenarios = sweep(FUNCTIONS[graph], SEED, kinds, BACKEND, workers=(1,))
    some = [each for number, each in enumerate(scenarios) if number % 3 == 0]
    nothing_wrong(run_all(FUNCTIONS, some, BACKEND), 15)


@pytest.mark.slow
def test_whatever_comes_together() -> None:
    """Instances that crash, stall beyond their timeout, get events twice, and requests that fail:
    fans, loops, batches, shards, child runs, timers, cancelling, and a look for stuck runs."""
    scenarios = islice(at_random(list(FUNCTIONS.values()), SEED, new_backend=BACKEND), 48)
    nothing_wrong(run_all(FUNCTIONS, scenarios, BACKEND), 48)


# -- that it could go wrong ---------------------------------------------------------------------


class Counted(FunctionProcess):
    """An instance that is counted."""

    made: list[Counted] = []  # noqa: RUF012 - of all of them

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.made.append(self)
        self.frozen = 0

    async def _invoke(self, deliveries: Sequence[Delivery]) -> list[str]:
        done = await super()._invoke(deliveries)
        self.frozen += self.life.is_held and not self.life.is_dead
        return done


def played(name: str, process: type[FunctionProcess], *scenarios: Scenario) -> Report:
    """What comes of a story whose functions are of another kind."""
    story: Story = replace(FUNCTIONS[name], new_process=process)
    return run_all({name: story}, scenarios, BACKEND)


def test_instances_are_called_and_frozen_and_killed() -> None:
    """In the simulation one instance gets many events; one that stalls is killed at its timeout,
    and another one begins."""
    Counted.made = []
    scenario = Scenario("lambda-sleep", SEED, workers=1, doubles=True)
    nothing_wrong(played("lambda-sleep", Counted, scenario), 1)
    assert max(each.calls for each in Counted.made) >= 2
    assert all(each.frozen == each.calls for each in Counted.made)
    Counted.made = []
    requests = islice(sweep(FUNCTIONS["lambda-fan"], SEED, (Kind.STALL_AFTER,), BACKEND), 12)
    nothing_wrong(
        played("lambda-fan", Counted, *(replace(each, graph="lambda-fan") for each in requests)), 12
    )
    ends = Counter("killed" if each.is_killed else "not" for each in Counted.made)
    assert ends["killed"] >= 3
    assert len(Counted.made) > 12


class Deaf(FunctionProcess):
    """A service without ``ReportBatchItemFailures``: it deletes whatever a call was for."""

    async def _invoke(self, deliveries: Sequence[Delivery]) -> list[str]:
        await super()._invoke(deliveries)
        return [each.handle for each in deliveries]


def test_a_service_that_deletes_what_failed_is_found() -> None:
    """Deleting messages whose instance died leaves a run that stands still: it is a violation."""
    scenarios = islice(sweep(FUNCTIONS["lambda-fan"], SEED, (Kind.CRASH_AFTER,), BACKEND), 20)
    report = played("lambda-fan", Deaf, *scenarios)
    assert not report.ok
    assert "I6" in "\n".join(map(str, report.violations)) or "I1" in str(report.violations[0])


class Unfrozen(FunctionProcess):
    """An instance that goes on with what is left of a call when it is given up at its timeout."""

    async def _call(self, event: Any, deadline: Any) -> dict[str, Any]:
        self._handler._margin_seconds = 0.001  # nothing is handed back in time
        return await super()._call(event, deadline)


def test_without_a_margin_nothing_is_lost_either() -> None:
    """A function whose nodes are not handed back in time is killed with them, again and again: the
    run still ends, by the leases that run out."""
    scenario = Scenario("lambda-fan", SEED, workers=2, slow=True)
    nothing_wrong(played("lambda-fan", Unfrozen, scenario), 1)
