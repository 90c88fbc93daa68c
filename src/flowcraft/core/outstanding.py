"""What is to be done in a stored state, whoever looks at it (protocol: reconciling).

A backend that loads a run, after a crash or on a repeated delivery, asks with ``LookedAt`` and
carries out what comes back; nothing in the state changes.
"""

from __future__ import annotations

from flowcraft.core.commands import (
    ArmTimer,
    RetryItem,
    RetryNode,
    RetryUndo,
    RunItem,
    RunNode,
    StopWork,
)
from flowcraft.core.compensation import undo_command
from flowcraft.core.plan import Key
from flowcraft.core.shards import start_of
from flowcraft.core.state import CHILD, RETRYING, RUNNING, SLEEPING, WAITING, Record, Undo
from flowcraft.core.step import Step
from flowcraft.core.subflows import start_child


def repeat(step: Step) -> None:
    """Put every outstanding command on the decision again."""
    if step.state.undoing is not None:
        _repeat_undo(step, step.state.undos[step.state.undoing])
    if step.stopping is not None:
        if step.state.undoing is None:
            step.commands.append(StopWork(step.state.reason or "stopping"))
        return
    for key, record in step.state.records.items():
        _repeat_instance(step, key, record)
    for (key, first), shard in step.state.shards.items():
        if not shard.over:
            batch = step.state.batches[key]
            step.commands.append(start_of(step.node(key), key, first, shard, batch))
    for (key, index), item in step.state.items.items():
        if item.held:
            continue
        batch = step.state.batches[key]
        uses = str(step.node(key).definition.params["workerUsesKey"])
        if item.due_at is None:
            command = RunItem(key, index, item.attempt, batch.items[index - batch.first], uses)
            step.commands.append(command)
        else:
            step.commands.append(RetryItem(key, index, item.attempt + 1, item.due_at))


def _repeat_undo(step: Step, undo: Undo) -> None:
    if undo.due_at is not None:
        step.commands.append(RetryUndo(undo.target, undo.attempt + 1, undo.due_at))
    elif undo.attempt and undo.succeeded is None:
        step.commands.append(undo_command(step, undo))


def _repeat_instance(step: Step, key: Key, record: Record) -> None:
    if record.status is RUNNING:
        step.commands.append(RunNode(key, record.attempt, record.input))
    elif record.status is RETRYING and record.due_at is not None:
        step.commands.append(RetryNode(key, record.attempt + 1, record.due_at))
    elif record.status in (WAITING, SLEEPING) and record.due_at is not None:
        step.commands.append(ArmTimer(key, record.due_at))
    elif record.status is CHILD:
        start_child(step, step.node(key), key, record)
