"""Waiting for people, other systems and time (rule S12)."""

from __future__ import annotations

from typing import Any

from flowcraft.core.commands import ArmTimer
from flowcraft.core.correlation import BadParameter, correlate
from flowcraft.core.durations import parse_duration_ms
from flowcraft.core.outcomes import commit_output, fail, succeed
from flowcraft.core.plan import Key, Kind, PlanNode, index_of_key
from flowcraft.core.state import CORRELATION, DELETED, SLEEPING, WAITING, ErrorInfo, Record
from flowcraft.core.step import Step
from flowcraft.errors import InvalidRunState

TIMEOUT_ACTION = "timeout"


def run_wait(step: Step, node: PlanNode, key: Key, record: Record) -> None:
    """Begin to wait, or go on at once where the answer came first."""
    kept = step.get("answers", node.id)
    if kept is not None:
        step.put("answers", node.id, DELETED)
        _answer(step, node, key, record, *kept)
        return
    try:
        due_at = _time_limit(step, node)
        correlation = correlate(step, node, key)
    except BadParameter as error:
        fail(step, node, key, record, _error(node, error))
        return
    if due_at is not None:
        step.commands.append(ArmTimer(key, due_at))
    values: dict[int, Any] | None = None
    named: dict[str, Any] = {}
    if correlation is not None:
        values = {CORRELATION: list(correlation)}
        named = {"event": correlation.event, "correlation_key": correlation.key}
    step.changes.records[key] = record._replace(status=WAITING, due_at=due_at, values=values)
    step.changes.waiting += 1
    step.note("node:awaiting", key, reason="external_event", due_at=due_at, **named)


def run_sleep(step: Step, node: PlanNode, key: Key, record: Record) -> None:
    """Begin to sleep; the input is visible as the output from now on."""
    try:
        due_at = _due_at(step, node, "duration")
    except BadParameter as error:
        fail(step, node, key, record, _error(node, error))
        return
    commit_output(step, node, key, record, record.input)
    step.changes.records[key] = record._replace(status=SLEEPING, output=record.input, due_at=due_at)
    step.commands.append(ArmTimer(key, due_at))
    step.changes.waiting += 1
    step.note("node:awaiting", key, reason="timer", due_at=due_at)


def fire_timer(step: Step, key: Key, record: Record) -> None:
    """A sleep is over, or nobody answered a wait in time."""
    node = step.node(key)
    if record.status is SLEEPING:
        _wake(step, node, key, record)
    elif record.status is WAITING:
        step.changes.waiting -= 1
        _answer(step, node, key, record, None, TIMEOUT_ACTION)


def answer(step: Step, key: Key, output: Any, action: Any) -> None:
    """Give an open wait its answer; a sleep that is answered ends early."""
    record = step.state.records.get(key)
    if record is None:
        return
    node = step.node(key)
    if record.status is SLEEPING:
        _wake(step, node, key, record)
    elif record.status is WAITING:
        problem = refusal(node, action)
        if problem is not None:
            raise InvalidRunState(f"Run '{step.state.run_id}': {problem}")
        step.changes.waiting -= 1
        _answer(step, node, key, record, output, action)


def refusal(node: PlanNode, action: Any) -> str | None:
    """Why a wait does not take an answer with this action; ``None`` if it does."""
    actions = node.definition.params.get("actions")
    if action is None or not isinstance(actions, list | tuple) or action in actions:
        return None
    known = ", ".join(map(repr, actions))
    return f"Node '{node.id}' takes the actions {known}, not {action!r}."


def keep_answer(step: Step, node_id: str, output: Any, action: Any) -> None:
    """Keep an answer that came before its wait; one that waits by now is given it."""
    index = step.plan.index_of.get(node_id)
    if index is None or step.plan.nodes[index].kind is not Kind.WAIT:
        return
    waiting = [
        key
        for key, record in step.state.records.items()
        if record.status is WAITING and index_of_key(key) == index
    ]
    if len(waiting) == 1:
        answer(step, waiting[0], output, action)
    else:
        step.put("answers", node_id, (output, action))


def _answer(step: Step, node: PlanNode, key: Key, record: Record, output: Any, action: Any) -> None:
    step.note("node:finish", key, action=action)
    succeed(step, node, key, record, output, action)


def _wake(step: Step, node: PlanNode, key: Key, record: Record) -> None:
    step.changes.waiting -= 1
    step.note("node:finish", key, action=None)
    succeed(step, node, key, record, record.input)


def _time_limit(step: Step, node: PlanNode) -> float | None:
    has_limit = node.definition.params.get("timeout") is not None
    return _due_at(step, node, "timeout") if has_limit else None


def _due_at(step: Step, node: PlanNode, name: str) -> float:
    try:
        return step.now + parse_duration_ms(node.definition.params.get(name)) / 1000
    except ValueError as error:
        raise BadParameter(name, error) from None


def _error(node: PlanNode, error: BadParameter) -> ErrorInfo:
    return ErrorInfo("ValueError", f"Node '{node.id}': {error}", ("ValueError",))
