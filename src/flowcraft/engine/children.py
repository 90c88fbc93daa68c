"""Child runs: their ids, how they start, and what they hand to the run that started them (S13).

The same for runs in this process and for stored ones.
"""

from __future__ import annotations

from collections.abc import Collection

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.context import ContextView
from flowcraft.core.plan import Key, index_of_key, iteration_of_key
from flowcraft.core.results import child_outputs, child_result
from flowcraft.core.state import RunStatus
from flowcraft.engine.failures import child_error, error_info
from flowcraft.engine.view import RunView
from flowcraft.errors import FlowcraftError

MAX_DEPTH = 50
"""Subflows within subflows; a blueprint that calls itself without an end fails here."""


def child_run_id(run: RunView, key: Key, attempt: int) -> str:
    """The id of the child run that an attempt at a subflow starts."""
    iteration = ".".join(map(str, iteration_of_key(key)))
    node_id = run.plan.nodes[index_of_key(key)].id
    return f"{run.state.run_id}/{node_id}:{iteration}:{attempt}"


def checked_child(
    run: RunView,
    command: cmd.StartChild,
    depth: int,
    blueprint: WorkflowBlueprint | None,
    known: Collection[str],
) -> WorkflowBlueprint:
    """The blueprint of a child run that is to start.

    Args:
        run: The run that starts it.
        command: What it was asked for.
        depth: How many subflows the run itself is in.
        blueprint: What goes by the name that the subflow gives.
        known: The ids of all blueprints, for the message.

    Raises:
        FlowcraftError: It would be too deep, or nothing goes by that name.
    """
    node_id = run.plan.nodes[index_of_key(command.key)].id
    if depth >= MAX_DEPTH:
        raise FlowcraftError(
            f"Subflow node '{node_id}' is {MAX_DEPTH} subflows deep, which is the limit. "
            "Does a blueprint call itself without an end?",
            is_fatal=True,
        )
    if blueprint is None:
        names = ", ".join(known) or "none"
        raise FlowcraftError(
            f"Subflow node '{node_id}' names the blueprint '{command.blueprint_id}', which "
            f"the runtime does not know. It knows: {names}.",
            is_fatal=True,
        )
    return blueprint


def child_started(
    run: RunView, command: cmd.StartChild, cancelled: str | None = None
) -> ev.RunStarted:
    """How a child run starts; ``cancelled`` where nothing of it is to begin."""
    return ev.RunStarted(
        run_id=child_run_id(run, command.key, command.attempt),
        context=run.copied(dict(command.context or {})),
        input=command.input,
        has_input=command.context is None,
        max_executions=run.state.max_executions,
        cancelled=cancelled,
        shard_size=run.state.shard_size,
        budget_usd=run.state.budget and run.state.budget.usd,
        budget_requests=run.state.budget and run.state.budget.requests,
        fairness_key=run.state.fairness_key,
        result_only=command.result_only,
    )


def child_settled(child: RunView, key: Key, attempt: int) -> ev.ChildSettled:
    """What a run that is over hands to the subflow node that started it, and no more."""
    plan, state = child.plan, child.state
    if state.status is not RunStatus.COMPLETED:
        return ev.ChildSettled(key, attempt, False, {}, {}, None, child_error(plan, state))
    result = child_result(plan, state)
    if state.result_only:
        return ev.ChildSettled(key, attempt, True, {}, {}, result)
    context = {k: v for k, v in ContextView(plan, state).items() if not k.startswith("_")}
    outputs = {k: v for k, v in child_outputs(plan, state).items() if k not in context}
    return ev.ChildSettled(key, attempt, True, context, outputs, result)


def child_not_started(command: cmd.StartChild, error: Exception) -> ev.ChildSettled:
    """Whatever keeps a child from starting is the failure of its node, not of the whole run."""
    info = error_info(error)
    return ev.ChildSettled(command.key, command.attempt, False, {}, {}, None, info)
