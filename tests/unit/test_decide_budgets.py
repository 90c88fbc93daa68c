"""Runs that have spent more than they may: decided in one place, from a fact."""

from __future__ import annotations

from typing import Any

import pytest

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from flowcraft.core.budgets import excess_of
from flowcraft.core.state import Usage
from flowcraft.engine.facts import read_event, read_fact, write_fact
from flowcraft.engine.serializer import JsonSerializer
from tests.property.drive import Run, blueprint, chain, node


def started(**budget: Any) -> Run:
    """A run of two nodes, of which the first can be undone."""
    nodes = [node("a", compensate="undo"), node("b"), node("undo")]
    return Run(blueprint(nodes, chain("a", "b"))).start(**budget)


@pytest.mark.parametrize(
    ("budget", "spent", "message"),
    [
        ({"budget_usd": 0.5}, (0.6, 10.0), "has taken 0.6 USD, and its budget is 0.5 USD"),
        (
            {"budget_requests": 9},
            (0.1, 10.0),
            "has taken 10 requests, and its budget is 9 requests",
        ),
    ],
)
def test_a_run_that_spent_too_much_fails(
    budget: dict[str, float], spent: tuple[float, float], message: str
) -> None:
    """It stops what runs, undoes what was done, and ends as failed, with both numbers."""
    run = started(**budget)
    run.ok("a")
    run.send(ev.Spent(*spent))
    assert any(isinstance(each, cmd.StopWork) for each in run.commands)
    (error,) = run.state.errors
    assert (error.type, error.is_fatal) == ("BudgetExceeded", True)
    assert "LimitExceeded" in error.names
    assert message in error.message
    run.send(ev.NodeStopped(run.key("b"), 1))
    assert run.status == "running"
    run.send(ev.UndoSettled(run.key("a"), 1, None))
    assert run.status == "failed"


def test_what_a_child_run_has_cost_is_counted_once() -> None:
    """It comes with the child's end; the same message once more, or one of an attempt that was
    given up, adds nothing."""
    cost = Usage(10.0, 4.0, 6.0, 2.0, 0.1)
    run = Run(blueprint([node("s", "subflow", params={"blueprintId": "child"}), node("a")])).start()
    for attempt in (2, 1, 1):
        run.send(ev.ChildSettled(run.key("s"), attempt, True, {}, {}, cost=cost))
    assert run.state.cost_below == cost


def test_the_cost_of_a_child_run_is_part_of_its_fact() -> None:
    """It is read as it was written; a fact of a version that did not count has none."""
    event = ev.ChildSettled(0, 1, True, {}, {}, None, None, Usage(1.5, 0.5, 2.0, 1.0, 1e-6))
    serializer = JsonSerializer()
    assert read_fact(write_fact(event, [], serializer), serializer).event == event
    assert read_event(["ChildSettled", 0, 1, True, {}, {}, None, None]) == event._replace(cost=None)


@pytest.mark.parametrize(
    "budget", [{}, {"budget_usd": 0.6}, {"budget_requests": 10}, {"budget_usd": 1.0}]
)
def test_up_to_its_budget_a_run_goes_on(budget: dict[str, float]) -> None:
    """Without a budget, and with one that is just spent, nothing follows."""
    run = started(**budget)
    decision = run.send(ev.Spent(0.6, 10.0))
    assert not decision.commands
    assert not run.errors


def test_a_run_that_stops_already_is_left_to_that() -> None:
    """One that was cancelled, or is over, does not fail by its budget as well."""
    run = started(budget_usd=0.5)
    run.send(ev.CancelRequested(None))
    assert excess_of(run.state, 9.0, 9.0) is None
    assert not run.send(ev.Spent(9.0, 9.0)).commands
    run.send(ev.NodeStopped(run.key("a"), 1))
    assert run.status == "cancelled"
    assert not run.send(ev.Spent(9.0, 9.0)).commands


def test_told_twice_it_fails_once() -> None:
    """Two workers may tell of it: there is one error."""
    run = started(budget_usd=0.5)
    run.send(ev.Spent(0.6, 1.0))
    run.send(ev.Spent(0.7, 2.0))
    assert len(run.errors) == 1


def test_it_is_stored_as_a_fact() -> None:
    """What was spent, and what a run started with, are read as they were written."""
    serializer = JsonSerializer()
    for event in (
        ev.Spent(0.25, 12.0),
        ev.RunStarted("r", {}, budget_usd=0.5, budget_requests=9),
    ):
        assert read_fact(write_fact(event, [], serializer), serializer).event == event
