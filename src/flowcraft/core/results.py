"""What a finished run hands to the subflow node that started it (rule S13)."""

from __future__ import annotations

from typing import Any

from flowcraft.core.context import HAS_OUTPUT, ContextView
from flowcraft.core.plan import Plan, PlanNode
from flowcraft.core.state import RESCUED, Record, RunState


def child_outputs(plan: Plan, state: RunState) -> dict[str, Any]:
    """The latest output of each node that has one, by id."""
    view = ContextView(plan, state)
    outputs = {}
    for node in plan.nodes:
        record = view.latest_record(node.index)
        if record is not None and record.status in HAS_OUTPUT:
            outputs[node.id] = record.output
    return outputs


def child_result(plan: Plan, state: RunState) -> Any:
    """The output of the only terminal, else a map of those that ran.

    A terminal that failed and was rescued counts with the output of its fallback.
    """
    view = ContextView(plan, state)
    terminals = list(plan.terminals())
    results = {}
    for node in terminals:
        record = view.latest_record(node.index)
        if record is not None and record.status in HAS_OUTPUT:
            results[node.id] = _effective(plan, view, node, record)
    if len(terminals) == 1:
        return next(iter(results.values()), None)
    return results


def _effective(plan: Plan, view: ContextView, node: PlanNode, record: Record) -> Any:
    while record.status is RESCUED and node.fallback >= 0:
        node = plan.nodes[node.fallback]
        helper = view.latest_record(node.index)
        if helper is None:
            return None
        record = helper
    return record.output
