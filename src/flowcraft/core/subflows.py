"""Subflows: a node that is a run of its own (rule S13)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.builtins import SUBFLOW
from flowcraft.core.commands import ArmTimer, StartChild, StopChild
from flowcraft.core.events import ChildRests, ChildSettled
from flowcraft.core.inputs import resolve_reference
from flowcraft.core.outcomes import fail, succeed
from flowcraft.core.plan import Key, PlanNode
from flowcraft.core.state import CHILD, CHILD_CONTEXT, ErrorInfo, Record
from flowcraft.core.step import Step

_NOTHING: Any = object()


def child_ids(blueprint: WorkflowBlueprint) -> Iterator[str]:
    """The ids of the blueprints that the subflows of a blueprint name."""
    for node in blueprint.nodes:
        child = node.params.get("blueprintId") if node.uses == SUBFLOW else None
        if isinstance(child, str) and child:
            yield child


def run_subflow(step: Step, node: PlanNode, key: Key, record: Record) -> None:
    """Start the child run of an attempt."""
    params = node.definition.params
    problem = _problem(node, params)
    if problem is not None:
        fail(step, node, key, record, problem)
        return
    inputs = params.get("inputs")
    if inputs is not None and record.values is None:
        # Resolved once: a retry, or a repeated command, starts the child with the same.
        context = {name: resolve_reference(step, text, key) for name, text in inputs.items()}
        record = record._replace(values={CHILD_CONTEXT: context})
    timeout_ms = node.definition.config.timeout_ms
    due_at = None if timeout_ms is None else step.now + timeout_ms / 1000
    record = record._replace(status=CHILD, due_at=due_at)
    step.changes.records[key] = record
    step.changes.working += 1
    start_child(step, node, key, record)


def start_child(step: Step, node: PlanNode, key: Key, record: Record) -> None:
    """Ask for the child run of an attempt; asked again, it is the same child."""
    context = record.values[CHILD_CONTEXT] if record.values else None
    blueprint_id = node.definition.params["blueprintId"]
    if record.due_at is not None:
        step.commands.append(ArmTimer(key, record.due_at))
    result_only = node.definition.params.get("outputs") is None
    step.commands.append(
        StartChild(key, record.attempt, blueprint_id, record.input, context, result_only)
    )


def timed_out(step: Step, node: PlanNode, key: Key, record: Record) -> ErrorInfo:
    """Give up on a child that takes too long; it is cancelled, and counts as failed."""
    leave_child(step, key)
    step.commands.append(StopChild(key, record.attempt, "timeout"))
    return ErrorInfo(
        "NodeTimeout",
        f"The child run of node '{node.id}' did not finish within its timeout of "
        f"{node.definition.config.timeout_ms} ms.",
        ("NodeTimeout", "TimeoutError", "FlowcraftError"),
    )


def child_rests(step: Step, event: ChildRests) -> None:
    """A child has nothing left but waiting, or went to work again."""
    record = step.state.records.get(event.key)
    if record is None or record.status is not CHILD or record.attempt != event.attempt:
        return
    if step.stopping is not None:
        return
    if event.number is not None:
        # Words of a child may overtake each other: the last one that was said counts.
        if event.number <= step.get("heard", (event.key, event.attempt), -1):
            return
        step.put("heard", (event.key, event.attempt), event.number)
    resting = step.scalar("resting")
    if event.resting == (event.key in resting):
        return
    change = 1 if event.resting else -1
    step.changes.waiting += change
    step.changes.working -= change
    step.set("resting", resting | {event.key} if event.resting else resting - {event.key})


def leave_child(step: Step, key: Key) -> None:
    """Take a subflow out of the count it is in, because its child is over."""
    resting = step.scalar("resting")
    if key in resting:
        step.changes.waiting -= 1
        step.set("resting", resting - {key})
    else:
        step.changes.working -= 1


def child_succeeded(step: Step, node: PlanNode, record: Record, event: ChildSettled) -> None:
    """Take over what the child leaves behind."""
    outputs = node.definition.params.get("outputs")
    result = event.result
    if outputs is not None:
        for name, source in outputs.items():
            step.write(name, _exported(event, source))
            step.note("context:change", event.key, op="set", name=name)
        result = dict(event.context)
    step.note("node:finish", event.key, action=None)
    succeed(step, node, event.key, record, result)


def _exported(event: ChildSettled, source: str) -> Any:
    value = event.context.get(source, _NOTHING)
    return event.outputs.get(source) if value is _NOTHING else value


def _problem(node: PlanNode, params: Mapping[str, Any]) -> ErrorInfo | None:
    text = None
    if not isinstance(params.get("blueprintId"), str) or not params["blueprintId"]:
        text = "needs the parameter 'blueprintId', the id of the blueprint to run"
    for name in ("inputs", "outputs"):
        mapping = params.get(name)
        if mapping is not None and not _is_text_map(mapping):
            text = f"needs a mapping of texts as parameter '{name}'"
    if text is None:
        return None
    return ErrorInfo("FlowcraftError", f"Subflow node '{node.id}' {text}.", ("FlowcraftError",))


def _is_text_map(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(k, str) and isinstance(v, str) for k, v in value.items()
    )
