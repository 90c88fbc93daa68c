"""What a run may cost: the bound that stops one which never comes to an end."""

from __future__ import annotations

from typing import NamedTuple

from flowcraft.core.events import Spent
from flowcraft.core.outcomes import stop
from flowcraft.core.state import Budget, ErrorInfo, RunState, RunStatus, Usage
from flowcraft.core.step import Step


class Excess(NamedTuple):
    """How a run stands to a bound that it has gone beyond."""

    what: str
    spent: float
    limit: float


def excess_of(state: RunState, usd: float, requests: float) -> Excess | None:
    """Whether a run has spent more than it may, while something of it could still be saved.

    Args:
        state: The run.
        usd: What it has cost so far, in dollars.
        requests: How many requests it has taken so far.
    """
    budget = state.budget
    if budget is None or state.stopping is not None or state.status.is_final:
        return None
    if budget.usd is not None and usd > budget.usd:
        return Excess("USD", usd, budget.usd)
    if budget.requests is not None and requests > budget.requests:
        return Excess("requests", requests, budget.requests)
    return None


def spend(step: Step, event: Spent) -> None:
    """Fail a run that has spent more than it may; what it has done is undone (rule S19)."""
    excess = excess_of(step.state, event.usd, event.requests)
    if excess is None:
        return
    what, spent, limit = excess
    step.add_error(
        ErrorInfo(
            "BudgetExceeded",
            f"The run has taken {spent:.6g} {what}, and its budget is {limit:.6g} {what}. Is there "
            "a loop that does not end? If not, start the run with a larger budget.",
            ("BudgetExceeded", "LimitExceeded", "FlowcraftError"),
            is_fatal=True,
        )
    )
    stop(step, RunStatus.FAILED, "budget")


def charge(step: Step, cost: Usage | None) -> None:
    """Count what a child run or a shard has cost that is over."""
    if cost is not None:
        step.set("cost_below", cost.plus(step.scalar("cost_below")))


def budget_of(usd: float | None, requests: float | None) -> Budget | None:
    """The budget with these bounds; ``None`` for none."""
    return None if usd is None and requests is None else Budget(usd, requests)
