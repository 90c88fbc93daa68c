"""What people may ask of a live run: cancel, pause, continue, patch, retry, skip (rule S14)."""

from __future__ import annotations

from typing import TypeGuard

from flowcraft.core.batches import hand_out_more, retry_items, with_failures
from flowcraft.core.commands import Command, RunItem, RunNode, RunUndo, TellShards
from flowcraft.core.events import ContextPatched, ItemsRetried, NodeHeldBack, SkipRequested
from flowcraft.core.joins import recall, recall_hold
from flowcraft.core.launch import launch, run_again
from flowcraft.core.outcomes import stop, succeed
from flowcraft.core.plan import Key, PlanNode, iteration_of_key
from flowcraft.core.shards import shards_under_way, wake_shards
from flowcraft.core.state import (
    CANCELLED,
    CHILD,
    DELETED,
    FAILED,
    OPEN,
    READY,
    RESCUED,
    RETRYING,
    RUNNING,
    SLEEPING,
    WAITING,
    Record,
    RunState,
    RunStatus,
)
from flowcraft.core.step import Step
from flowcraft.core.subflows import leave_child
from flowcraft.core.writes import apply_writes, note_writes
from flowcraft.errors import InvalidRunState


def is_called_off(command: Command, state: RunState) -> bool:
    """Whether an attempt is not to begin, since the run is to stop: only what undoes may."""
    return state.stopping is not None and not isinstance(command, RunUndo)


def is_held_back(command: Command, state: RunState) -> TypeGuard[RunNode | RunItem]:
    """Whether an attempt is not to begin yet, since the run is paused."""
    return state.paused and not isinstance(command, RunUndo)


def cancel(step: Step, reason: str | None) -> None:
    """Stop the run; nothing new starts, what runs is stopped, what is done is compensated."""
    if step.stopping is not None:
        return
    step.note("workflow:cancel", reason=reason)
    stop(step, RunStatus.CANCELLED, reason or "cancelled")


def close_open_work(step: Step) -> None:
    """Once the run is stopping: end what only waits, for a timer, an answer or its next try.

    What runs is stopped by the shell, which reports each when it is gone; so are children.
    """
    for key, record in {**step.state.records, **step.changes.records}.items():
        if record.status is RETRYING:
            step.changes.working -= 1
        elif record.status in (WAITING, SLEEPING):
            step.changes.waiting -= 1
        elif record.status is CHILD and key in step.scalar("resting"):
            step.changes.waiting -= 1
            step.changes.working += 1
            continue
        elif record.status is not READY:
            continue
        close(step, key, record)
    step.set("resting", frozenset())
    step.set("ready", ())
    step.held_back.clear()
    for where, item in step.state.items.items():
        if item.due_at is not None or item.held:
            step.put("items", where, DELETED)
            step.changes.working -= not item.held
    wake_shards(step)


def stop_instance(step: Step, key: Key, attempt: int) -> None:
    """A running attempt is gone because the run asked for it."""
    record = step.state.records.get(key)
    if record is None or record.attempt != attempt or step.stopping is None:
        return
    if record.status is not RUNNING and record.status is not CHILD:
        return
    if record.status is CHILD:
        leave_child(step, key)
    else:
        step.changes.working -= 1
    close(step, key, record)


def close(step: Step, key: Key, record: Record) -> None:
    """Record that an instance is gone because the run is stopping."""
    step.changes.records[key] = record._replace(status=CANCELLED, ended_at=step.now)
    step.note("node:cancelled", key, attempt=record.attempt)


def _refuse_if_stopping(step: Step) -> None:
    if step.stopping is not None:
        raise InvalidRunState(
            f"Run '{step.state.run_id}' is being stopped ({step.scalar('reason')}): nothing in "
            "it can be changed any more."
        )


def pause(step: Step) -> None:
    """Let nothing new start; what runs finishes."""
    if step.state.paused or step.stopping is not None:
        return
    step.set("paused", True)
    step.note("workflow:pause")
    _tell_shards(step)


def _tell_shards(step: Step) -> None:
    if shards_under_way(step.state):
        step.commands.append(TellShards())


def hold_back(step: Step, event: NodeHeldBack) -> None:
    """Put an instance aside that was to run and has not begun; it goes on with the run."""
    record = step.state.records.get(event.key)
    if record is None or record.status is not RUNNING or record.attempt != event.attempt:
        return
    if not step.state.paused or step.stopping is not None:
        return
    step.changes.records[event.key] = record._replace(status=READY, attempt=record.attempt - 1)
    step.changes.working -= 1
    step.held_back.append(event.key)


def resume_run(step: Step) -> None:
    """Go on with a paused run."""
    if not step.state.paused:
        return
    step.set("paused", False)
    step.note("workflow:resume")
    ready = step.scalar("ready")
    step.set("ready", ())
    for key in ready:
        record = step.state.records[key]
        if record.started_at is None:
            launch(step, step.node(key), key, record.fired, record.origin)
        else:
            run_again(step, step.node(key), key, record)  # it was about to begin
    hand_out_more(step)
    wake_shards(step)
    _tell_shards(step)


def patch_context(step: Step, event: ContextPatched) -> None:
    """Change the context from outside: only while nothing can see it change (S8)."""
    _refuse_if_stopping(step)
    if step.state.status is not RunStatus.PAUSED:
        raise InvalidRunState(
            f"The context of run '{step.state.run_id}' can be changed only while the run is "
            f"paused; it is {step.state.status}. Pause it first."
        )
    problem = apply_writes(step, event.writes)
    if problem:
        raise InvalidRunState(problem)
    note_writes(step, None, event.writes)


def retry_failed(step: Step) -> None:
    """Try failed instances again, where nothing behind them is settled yet."""
    _refuse_if_stopping(step)
    failed = [key for key, record in step.state.records.items() if record.status is FAILED]
    batches = with_failures(step)
    for batch in batches:
        retry_items(step, ItemsRetried(batch))
    if not failed and not batches:
        raise InvalidRunState(f"Run '{step.state.run_id}' has no failed node to retry.")
    for key in failed:
        _reopen(step, step.node(key), key)
        run_again(step, step.node(key), key, step.state.records[key])


def skip_instance(step: Step, event: SkipRequested) -> None:
    """Count an instance as succeeded with a given output."""
    _refuse_if_stopping(step)
    record = step.state.records.get(event.key)
    node = step.node(event.key)
    if record is not None and record.status is FAILED:
        _reopen(step, node, event.key)
    elif record is not None and record.status in OPEN - {CHILD}:
        step.changes.waiting -= 1
    elif record is not None and record.status is RETRYING:
        step.changes.working -= 1
    else:
        state = record.status if record is not None else "pending"
        raise InvalidRunState(
            f"Node '{node.id}' is {state}: only a failed, retrying or waiting node can be skipped."
        )
    succeed(step, node, event.key, record._replace(error=None), event.output)


def _reopen(step: Step, node: PlanNode, key: Key) -> None:
    """Take back a failure that stands, if nothing has come of it yet."""
    links = [*node.out, *([node.rescue] if node.rescue is not None else [])]
    behind = [step.sibling(key, link) for link in links if not link.back and not link.leaves]
    settled = [k for k in behind if step.state.records.get(k) is not None]
    settled += _cut_off(step, node, key)
    if node.loops or settled:
        names = ", ".join(f"'{step.node(k).id}'" for k in settled) or "the rest of its loop"
        raise InvalidRunState(
            f"Node '{node.id}' cannot be tried again in this run: {names} behind it "
            "is settled. Start a new run from it instead."
        )
    holder = step.get("holds", key)
    if holder is not None:
        recall_hold(step, holder)
    for link in links:
        recall(step, link, step.sibling(key, link))
    iteration = iteration_of_key(key)
    errors = [
        error
        for error in step.scalar("errors")
        if (error.node_id, error.iteration) != (node.id, iteration)
    ]
    step.set("errors", errors)


def _cut_off(step: Step, node: PlanNode, key: Key) -> list[Key]:
    """What was settled because of this failure, other than by the node's own links."""
    settled = []
    if node.is_fallback:
        settled = [
            other
            for other, record in step.state.records.items()
            if record.status is RESCUED and _stands_in(step, other, key)
        ]
    holder = step.get("holds", key)
    if holder is not None and step.record(holder) is not None:
        settled.append(holder)
    return settled


def _stands_in(step: Step, failed: Key, helper: Key) -> bool:
    """Whether ``helper`` is, at the end of a chain of fallbacks, the one for ``failed``."""
    key = failed
    while (rescue := step.node(key).rescue) is not None and not rescue.spent:
        key = step.sibling(key, rescue)
        if key == helper:
            return True
    return False
