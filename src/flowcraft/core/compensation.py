"""Undoing what a failed or cancelled run had completed (rule S19)."""

from __future__ import annotations

from flowcraft.core.commands import RetryUndo, RunUndo
from flowcraft.core.events import UndoSettled
from flowcraft.core.plan import iteration_of_key
from flowcraft.core.retries import delay_before_retry_ms
from flowcraft.core.state import Undo
from flowcraft.core.step import Step, error_details


def begin(step: Step) -> bool:
    """Start compensating; false when there is nothing to compensate, or it is done."""
    if not step.plan.has_compensation:
        return False
    undos: tuple[Undo, ...] | None = step.scalar("undos")
    if undos is None:
        completed = [*step.state.completed, *(step.changes.completed or ())]
        undos = tuple(Undo(key, step.node(key).compensate) for key in reversed(completed))
        step.set("undos", undos)
    return _next(step, undos)


def _next(step: Step, undos: tuple[Undo, ...]) -> bool:
    """Start the first compensation that has not been tried; one at a time, in order."""
    for position, undo in enumerate(undos):
        if undo.succeeded is None:
            _start(step, undos, position, 1)
            step.working += 1
            return True
    return False


def _start(step: Step, undos: tuple[Undo, ...], position: int, attempt: int) -> None:
    undo = undos[position]._replace(attempt=attempt, due_at=None)
    step.set("undos", (*undos[:position], undo, *undos[position + 1 :]))
    record = step.record(undo.target)
    assert record is not None
    given = {"input": record.input, "output": record.output}
    step.commands.append(RunUndo(undo.target, undo.node, attempt, given))


def settle(step: Step, event: UndoSettled) -> None:
    """Record how a compensation went; a failure is reported and does not stop the others."""
    undos: tuple[Undo, ...] = step.scalar("undos") or ()
    position = _position(undos, event)
    if position is None:
        return
    undo = undos[position]
    node = step.plan.nodes[undo.node]
    if event.error is not None:
        seed = f"{step.state.run_id}\x1fundo\x1f{node.id}\x1f{undo.target}"
        delay = delay_before_retry_ms(node.definition.config, event.attempt, event.error, seed)
        if delay is not None:
            due_at = step.now + delay / 1000
            waiting = undo._replace(due_at=due_at)
            step.set("undos", (*undos[:position], waiting, *undos[position + 1 :]))
            step.commands.append(RetryUndo(event.target, event.attempt + 1, due_at))
            return
    error = event.error and event.error._replace(
        node_id=node.id, attempts=event.attempt, iteration=iteration_of_key(undo.target)
    )
    if error is None:
        step.note("compensation:finish", event.target, node=node.id)
    else:
        step.note("compensation:error", event.target, node=node.id, **error_details(error))
    done = undo._replace(succeeded=error is None, error=error)
    step.set("undos", (*undos[:position], done, *undos[position + 1 :]))
    step.working -= 1


def retry(step: Step, target: object, attempt: int) -> None:
    """Begin a compensation's next attempt."""
    undos: tuple[Undo, ...] = step.scalar("undos") or ()
    for position, undo in enumerate(undos):
        due = undo.due_at is not None and undo.due_at <= step.now
        if undo.target == target and due and undo.attempt + 1 == attempt:
            _start(step, undos, position, attempt)


def _position(undos: tuple[Undo, ...], event: UndoSettled) -> int | None:
    for position, undo in enumerate(undos):
        current = undo.target == event.target and undo.attempt == event.attempt
        if current and undo.succeeded is None and undo.due_at is None:
            return position
    return None
