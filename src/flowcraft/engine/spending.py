"""What runs cost, and the end of those that cost more than they may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from flowcraft.core import events as ev
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.budgets import excess_of
from flowcraft.core.state import RunState, Usage
from flowcraft.engine.arguments import ArgumentTypeError, ArgumentValueError
from flowcraft.ports.runs import Verdict, Written

if TYPE_CHECKING:
    from flowcraft.engine.ledger import Ledger
    from flowcraft.engine.places import AttemptCommand
    from flowcraft.engine.station import Station
    from flowcraft.engine.strand import Strand

ONCE: Final = "budget"
"""The id of the fact that a run has spent too much: it is written once."""


async def mind_budget(
    strand: Strand, written: Written, following: AttemptCommand | None
) -> AttemptCommand | None:
    """Write down that the run has spent more than it may, if it has: the core then ends it.

    Who works on the run sees by its state that it is to stop. Whoever dies before this is written
    leaves a message, and the next write of the run looks again.

    Args:
        strand: What works on the run.
        written: The answer to its latest write.
        following: The attempt that it goes on with.

    Returns:
        The attempt that it goes on with now.
    """
    ledger = strand.ledger
    usage = with_what_is_below(written.usage, ledger.state)
    if usage is None or excess_of(ledger.state, usage.usd, usage.requests) is None:
        return following
    event = ev.Spent(usage.usd, usage.requests)
    foreseen = ledger.foresee(event, strand.station.clock.now())
    told = await strand._append(foreseen, ONCE, exact=True)
    if told.verdict is not Verdict.DONE:
        return following  # somebody else wrote meanwhile, and looks, too
    return await strand._follow(told) or following


def with_what_is_below(usage: Usage | None, state: RunState) -> Usage | None:
    """What a run has cost, together with its child runs and shards that are over.

    Args:
        usage: What was counted of the run itself.
        state: The run.
    """
    return None if usage is None else usage.plus(state.cost_below)


def cost_of(ledger: Ledger) -> Usage | None:
    """What a run that is over tells the one that started it."""
    usage = with_what_is_below(ledger.usage, ledger.state)
    return None if usage is None else Usage(*(round(each, 9) for each in usage))


def budget_fields(
    station: Station,
    blueprint: WorkflowBlueprint,
    budget_usd: float | None,
    budget_requests: float | None,
) -> dict[str, Any]:
    """The budget that a run starts with, as fields of ``RunStarted``.

    What the blueprint says holds where nothing is given, and only where costs are counted: the same
    blueprint may run on one machine, where nothing is paid for.

    Raises:
        TypeError: A bound is no number.
        ValueError: A bound is not positive, or nothing is counted here.
    """
    given = {"budget_usd": budget_usd, "budget_requests": budget_requests}
    counts = getattr(station.runs, "counts_usage", False)
    if not counts:
        if any(value is not None for value in given.values()):
            raise ArgumentValueError(
                ("budget_usd", "budget_requests"),
                "are for runs on AWS: where these are kept nothing is paid for, and nothing "
                "counted. Bound a run with the runtime's max_executions.",
            )
        return {}
    metadata = blueprint.metadata.get("budget")
    if isinstance(metadata, Mapping):
        for name in ("usd", "requests"):
            if given[f"budget_{name}"] is None:
                given[f"budget_{name}"] = metadata.get(name)
    for name, value in given.items():
        _check(name, value)
    return given


def _check(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArgumentTypeError(name, f"is a number, not {value!r}.")
    if not value > 0:
        raise ArgumentValueError(name, f"is more than 0, not {value!r}.")
