"""Runs that go on and on, until their budget is spent."""

from __future__ import annotations

from typing import Any, Final

from flowcraft.core.builder import FlowBuilder, create_flow
from flowcraft.engine.results import RunResult
from flowcraft.engine.stored import StoredRun
from flowcraft.testing.simulate.zoo.nodes import node, story
from flowcraft.testing.simulate.zoo.shapes import count_up

ROUNDS: Final = 60
BUDGET_REQUESTS: Final = 25
"""Much less than the rounds take, and much more than what a crash may leave uncounted."""

UNCOUNTED: Final = 4
"""How many times as much as its budget a run may write, with all that goes wrong."""


def runaway() -> FlowBuilder:
    """A loop that takes far more requests than it may, behind something that can be undone."""
    flow = create_flow("runaway").metadata(budget={"requests": BUDGET_REQUESTS})
    flow.node("before", node(0), compensate="undo").node("undo", node("undone"))
    flow.node("work", count_up).loop("again", f"n < {ROUNDS}", start="work", end="work")
    return flow.node("after", node("after")).edge("before", "again").edge("again", "after")


def runaway_timer() -> FlowBuilder:
    """The same, where no node of anybody's runs: a pause again and again."""
    flow = create_flow("runaway_timer").metadata(budget={"requests": BUDGET_REQUESTS})
    flow.node("before", node(0), compensate="undo").node("undo", node("undone"))
    flow.sleep("nap", "1s").node("count", count_up).edge("nap", "count")
    flow.loop("again", f"n < {ROUNDS}", start="nap", end="count")
    return flow.edge("before", "again")


def stopped_in_time(run: RunResult) -> None:
    """Where requests are paid for, the run has been stopped, and undone; elsewhere it has ended."""
    cost = run.cost if isinstance(run, StoredRun) else None
    if cost is None:
        assert str(run.status) == "completed", run.status
        return
    errors: list[Any] = [each.type for each in run.errors]
    assert (str(run.status), errors) == ("failed", ["BudgetExceeded"]), (run.status, errors, cost)
    assert run.compensations == (("undo", None),), run.compensations
    # Messages that are hidden for longer, while something stalls, say nothing of where it stopped.
    assert cost.requests > BUDGET_REQUESTS, cost
    assert cost.write_units < UNCOUNTED * BUDGET_REQUESTS, cost
    assert run.context["n"] < ROUNDS, run.context["n"]


ENDS: Final = ("completed", "failed")

STORIES = (
    story(
        "budget", runaway, context={"n": 0}, is_settled=False, statuses=ENDS, check=stopped_in_time
    ),
    story(
        "budget-timer",
        runaway_timer,
        context={"n": 0},
        is_settled=False,
        statuses=ENDS,
        check=stopped_in_time,
    ),
)
