"""Simulated runs, as many as a check has time for; `make simulate` does as many as one likes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pytest

from flowcraft import NodeContext, create_flow
from flowcraft.testing.simulate import Kind, Person, Report, simulate
from flowcraft.testing.simulate.__main__ import main
from flowcraft.testing.simulate.campaign import SWEPT_MORE, at_random, run_all, sweep
from flowcraft.testing.simulate.named import backend_named
from flowcraft.testing.simulate.scenario import Scenario
from flowcraft.testing.simulate.zoo import STORIES

SEED = 1
SWEPT_GRAPHS = (
    "diamond",
    "choice",
    "any-join",
    "loop",
    "batch",
    "wait",
    "answer",
    "sleep",
    "retry",
    "subflow",
    "cancel",
    "limit-two",
    "spilled",
)
RUNS_AT_RANDOM = {"memory": 5, "aws": 2}

# With FLOWCRAFT_SIMULATION=whole nothing is left out.
IS_WHOLE = os.environ.get("FLOWCRAFT_SIMULATION") == "whole"
LONG_GRAPHS = ("limit-two", "subflow")
"""Of these a part will do: their requests are many, or alike."""

PART = 4
"""One of so many; no divisor of the number of faults, so that each kind has its turn."""


def some_of(scenarios: Iterable[Scenario], every: int = PART) -> Iterator[Scenario]:
    """One of so many, in turn."""
    return islice(scenarios, 0, None, 1 if IS_WHOLE else every)


def a_slice(scenarios: Iterable[Scenario]) -> Iterator[Scenario]:
    """All those without duplicates, and some of those with them; of long workflows some of all."""
    for number, scenario in enumerate(scenarios):
        is_taken = not scenario.doubles and scenario.graph not in LONG_GRAPHS
        if is_taken or IS_WHOLE or number % PART == 0:
            yield scenario


def nothing_wrong(report: Report, least: int) -> None:
    """See that there were runs, and that nothing was wrong in any."""
    assert report.ok, "\n\n".join(map(str, report.violations[:3]))
    assert report.runs >= least


@pytest.mark.slow
@pytest.mark.parametrize("graph", SWEPT_GRAPHS)
def test_every_request_may_be_the_last_one(graph: str) -> None:
    """A crash before and after each request, each answer lost, and some of it with duplicates."""
    backend = backend_named("aws")
    scenarios = a_slice(sweep(STORIES[graph], SEED, new_backend=backend, workers=(1,)))
    nothing_wrong(run_all(STORIES, scenarios, backend), 40)


@pytest.mark.slow
@pytest.mark.parametrize("graph", ["diamond", "loop"])
def test_every_request_may_have_any_trouble(graph: str) -> None:
    """Each request fails in each of the other ways, and each process stalls and stops at each."""
    backend = backend_named("aws")
    scenarios = some_of(sweep(STORIES[graph], SEED, SWEPT_MORE, backend, workers=(1,)), 3)
    nothing_wrong(run_all(STORIES, scenarios, backend), 100)


@pytest.mark.slow
@pytest.mark.parametrize("backend", RUNS_AT_RANDOM)
def test_whatever_comes_together(backend: str) -> None:
    """Any workflow of the zoo, with several faults, stalls, noise, duplicates and strangers."""
    new_backend, count = backend_named(backend), RUNS_AT_RANDOM[backend] * len(STORIES)
    scenarios = islice(at_random(list(STORIES.values()), SEED, new_backend=new_backend), count)
    nothing_wrong(run_all(STORIES, scenarios, new_backend), count)


class Account:
    """Something outside, on which a node has an effect."""

    def __init__(self) -> None:
        self.balance = 100
        self.seen: set[str] = set()

    def withdraw(self, key: str | None = None) -> None:
        """Take 10 away; of withdrawals with the same key only one counts."""
        if key is None or key not in self.seen:
            self.balance -= 10
        if key is not None:
            self.seen.add(key)


def payment(account: Account, with_key: bool) -> Any:
    """A workflow that takes money away, once or as often as it happens to run."""

    async def pay(ctx: NodeContext[Any]) -> int:
        account.withdraw(ctx.idempotency_key if with_key else None)
        return account.balance

    async def confirm(ctx: NodeContext[Any]) -> str:
        return f"balance {ctx.input}"

    return create_flow("payment").node("pay", pay).node("confirm", confirm).edge("pay", "confirm")


def pays(with_key: bool, runs: int = 120, **options: Any) -> Report:
    """Simulate the payment."""
    accounts: list[Account] = []

    def fresh() -> Any:
        accounts.append(Account())
        return payment(accounts[-1], with_key)

    def check(run: Any) -> None:
        if (left := accounts[-1].balance) != 90:
            raise AssertionError(f"{left} are left")

    return simulate(fresh, check=check, runs=runs, is_settled=False, **options)


def test_an_effect_that_is_not_idempotent_is_found() -> None:
    """A node that pays twice when its worker dies is found, named, and can be seen again."""
    report = pays(with_key=False)
    assert not report.ok
    violation = report.violations[0]
    assert [problem.invariant for problem in violation.played.problems] == ["check"]
    assert "are left" in str(violation)
    times, replay = report.repeated["pay"]
    assert times > 1
    assert "replay=" in replay
    again = pays(with_key=False, replay=violation.replay.split('"')[1])
    assert again.violated == again.runs == 1
    assert again.violations[0].played == violation.played


def test_an_effect_with_an_idempotency_key_bears_everything() -> None:
    """The same node with its key is right in every run, though it runs more than once in some."""
    report = pays(with_key=True)
    assert report.ok, str(report.violations[0])
    assert report.repeated["pay"][0] > 1


def test_without_faults_every_body_runs_once() -> None:
    """Where nothing goes wrong no node runs twice, whatever the order of events."""
    report = pays(with_key=False, runs=40, faults=())
    assert report.ok, str(report.violations[0])
    assert report.repeated == {}


def test_a_workflow_of_ones_own_with_people() -> None:
    """Questions are answered, context is given, and people may do what they like."""

    async def ask(ctx: NodeContext[Any]) -> Any:
        return await ctx.context.get("amount")

    async def done(ctx: NodeContext[Any]) -> Any:
        return ctx.input

    flow = create_flow("approval").node("ask", ask).wait("approve").node("done", done)
    flow.edge("ask", "approve").edge("approve", "done")
    looks: Counter[str] = Counter()

    async def look(person: Person) -> None:
        looks[str(await person.status())] += 1

    report = simulate(
        flow,
        context={"amount": 7},
        answers={"approve": "yes"},
        people=[look],
        is_settled=True,
        runs=60,
        faults=[Kind.CRASH_AFTER, Kind.STALL_BEFORE],
        check=lambda run: _is(run.outputs, {"ask": 7, "approve": "yes", "done": "yes"}),
    )
    nothing_wrong(report, 60)
    assert looks.total() >= 60


def _is(found: Any, expected: Any) -> None:
    assert dict(found) == expected


def test_the_command_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    """`make simulate` closes with the number of runs and violations."""
    assert main(["--runs", "30", "--seed", "7", "--graph", "diamond", "--graph", "loop"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("30 runs, 0 violations, ")
    assert line.endswith(" runs/s")


def test_the_command_sweeps(capsys: pytest.CaptureFixture[str]) -> None:
    """Each request of a workflow is disturbed in three ways, with one worker if that is said."""
    options = ["--sweep", "--single", "--graph", "choice", "--seed", "1"]
    assert main(options) == 0
    single = list(sweep(STORIES["choice"], 1, workers=(1,), doubles=(False,)))
    assert not any(each.doubles or each.workers > 1 for each in single)
    assert capsys.readouterr().out.startswith(f"{len(single)} runs, 0 violations, ")


def test_the_command_runs_one_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    """A single run is shown with what its processes log."""
    options = ["--one", "--graph", "diamond", "--seed", "3", "--fault", "worker-1:7:crash-after"]
    assert main(options) == 0
    printed = capsys.readouterr().out
    assert "another takes over" in printed
    assert printed.endswith("1 run, 0 violations\n")


def test_a_violation_ends_the_command_with_how_to_see_it_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A workflow that goes wrong makes the command fail, with a command that shows the same."""
    flow = f"{__name__}:wrong"
    assert main(["--flow", flow, "--runs", "5"]) == 1
    printed = capsys.readouterr().out
    assert "5 runs, 5 violations" in printed
    replay = next(line for line in printed.splitlines() if "to replay it: " in line)
    assert "python -m flowcraft.testing.simulate" in replay
    assert main(replay.split()[6:]) == 1
    assert "check: never" in capsys.readouterr().out


def _never(run: Any) -> None:
    raise AssertionError("never right")


async def _nothing(ctx: Any) -> None:
    """A node that does nothing."""


def _wrong() -> Any:
    from flowcraft.testing.simulate.users import story_of  # noqa: PLC0415 - for this one only

    flow = create_flow("wrong").node("a", _nothing)
    return story_of(flow, check=_never, is_settled=False)


wrong = _wrong()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--graph", "nothing"], "There is no workflow 'nothing'"),
        (["--fault", "nothing"], "There is no fault 'nothing'"),
        (["--backend", "nothing"], "There is no backend 'nothing'"),
        (["--flow", "nothing"], "write module:name"),
        (["--flow", "nothing:at_all"], "is not there"),
        (["--one"], "name it with --graph"),
    ],
)
def test_bad_options_are_refused(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the command cannot do it refuses, with what it can."""
    with pytest.raises(SystemExit) as ended:
        main(options)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
