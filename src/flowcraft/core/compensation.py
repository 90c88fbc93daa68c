"""Undoing what a failed or cancelled run had completed (rule S19).

The compensations are listed once, in reverse order of completion, when the run has nothing else
left to do; then they are carried out one after the other.
"""

from __future__ import annotations

from flowcraft.core.commands import RetryUndo, RunUndo
from flowcraft.core.events import UndoLost, UndoSettled
from flowcraft.core.plan import Key, iteration_of_key
from flowcraft.core.retries import LOST_LIMIT, delay_before_retry_ms, jitter_seed, lost_error
from flowcraft.core.state import Undo
from flowcraft.core.step import Step, error_details


def begin(step: Step) -> bool:
    """Start the next compensation; false when there is none, or none is left."""
    if not step.plan.has_compensation:
        return False
    position = step.scalar("undoing")
    if position is None:
        completed = [*step.state.completed, *(step.changes.completed or ())]
        for at, key in enumerate(reversed(completed)):
            step.put("undos", at, Undo(key, step.node(key).compensate))
        position = -1
    if step.get("undos", position + 1) is None:
        return False
    step.set("undoing", position + 1)
    _start(step, position + 1, 1)
    step.changes.working += 1
    return True


def _start(step: Step, position: int, attempt: int) -> None:
    undo: Undo = step.get("undos", position)._replace(attempt=attempt, due_at=None)
    step.put("undos", position, undo)
    step.commands.append(undo_command(step, undo))


def undo_command(step: Step, undo: Undo) -> RunUndo:
    """The command that carries out an attempt at a compensation."""
    record = step.record(undo.target)
    assert record is not None
    given = {"input": record.input, "output": record.output}
    return RunUndo(undo.target, undo.node, undo.attempt, given)


def settle(step: Step, event: UndoSettled) -> None:
    """Record how a compensation went; a failure is reported and does not stop the others."""
    position = step.scalar("undoing")
    undo = _current(step, event.target, event.attempt)
    if undo is None or undo.due_at is not None:
        return
    node = step.plan.nodes[undo.node]
    iteration = iteration_of_key(undo.target)
    details = {"node": node.id, "attempt": event.attempt}
    error = event.error and event.error._replace(
        node_id=node.id, attempts=event.attempt, iteration=iteration
    )
    if error is None:
        step.note("compensation:finish", event.target, **details)
    else:
        undone = step.node(undo.target).id
        seed = jitter_seed(step.state.run_id, node.id, iteration, undone)
        delay = None
        if event.retryable:
            config = node.definition.config
            delay = delay_before_retry_ms(config, event.attempt, error, seed, undo.lost)
        if delay is not None:
            due_at = step.now + delay / 1000
            step.put("undos", position, undo._replace(due_at=due_at, error=error))
            step.note("compensation:retry", event.target, **details, **error_details(error))
            step.commands.append(RetryUndo(event.target, event.attempt + 1, due_at))
            return
        step.note("compensation:error", event.target, **details, **error_details(error))
    step.put("undos", position, undo._replace(succeeded=error is None, error=error))
    step.changes.working -= 1


def lost(step: Step, event: UndoLost) -> None:
    """Run a compensation again whose worker died; at the third time it has failed (S9)."""
    undo = _current(step, event.target, event.attempt)
    if undo is None or undo.due_at is not None:
        return
    position = step.scalar("undoing")
    count = undo.lost + 1
    step.put("undos", position, undo._replace(lost=count))
    if count >= LOST_LIMIT:
        error = lost_error(step.plan.nodes[undo.node].id, count)
        settle(step, UndoSettled(event.target, event.attempt, error, retryable=False))
    else:
        _start(step, position, event.attempt + 1)


def retry(step: Step, target: Key, attempt: int) -> None:
    """Begin a compensation's next attempt."""
    undo = _current(step, target, attempt - 1)
    if undo is not None and undo.due_at is not None and undo.due_at <= step.now:
        _start(step, step.scalar("undoing"), attempt)


def _current(step: Step, target: Key, attempt: int) -> Undo | None:
    """The compensation under way, if it is this one at this attempt."""
    position = step.scalar("undoing")
    undo: Undo | None = None if position is None else step.get("undos", position)
    if undo is None or undo.succeeded is not None:
        return None
    return undo if undo.target == target and undo.attempt == attempt else None
