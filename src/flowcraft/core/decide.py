"""The decision core: what follows from an event, for every backend alike.

``decide`` is a pure function of plan, state, event and time. It is the only place that knows
routing, joins, skipping, loops, batches, retries, compensation and completion; the modules
beside it hold one construct each. A backend stores the changes, carries out the commands, and
asks again. Asking twice with the same event changes nothing the second time, because an event
names the attempt it is about and the record knows where that attempt is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowcraft.core import (
    batches,
    budgets,
    compensation,
    control,
    outstanding,
    shards,
    subflows,
    waits,
)
from flowcraft.core import events as ev
from flowcraft.core.added import add_nodes
from flowcraft.core.commands import FinishRun, RetryNode
from flowcraft.core.context import INPUTS
from flowcraft.core.events import Event
from flowcraft.core.joins import drain, pass_on
from flowcraft.core.launch import launch, run_again
from flowcraft.core.outcomes import fail, succeed
from flowcraft.core.plan import Key, Plan, iteration_of_key
from flowcraft.core.retries import LOST_LIMIT, delay_before_retry_ms, jitter_seed, lost_error
from flowcraft.core.state import (
    CHILD,
    DELETED,
    KEPT_ATTEMPTS,
    RETRYING,
    RUN_COMPLETED,
    RUN_RUNNING,
    RUNNING,
    Earlier,
    ErrorInfo,
    Record,
    RunState,
    RunStatus,
)
from flowcraft.core.step import Decision, Step, error_details
from flowcraft.core.writes import apply_writes, note_writes

ON_FAILURE_FAST = "fail_fast"


def decide(plan: Plan, state: RunState, event: Event, now: float) -> Decision:
    """Decide what an event means for a run.

    Args:
        plan: The run's blueprint, indexed.
        state: The run's record; it is read, not written.
        event: What happened.
        now: Seconds since the epoch.

    Returns:
        The changes to store, then the commands to carry out.

    Raises:
        InvalidRunState: A person asked for something the run's state does not allow.
    """
    step = Step(plan, state, now)
    if state.ended_at is None:
        HANDLERS[type(event)](step, event)
        if step.queue:
            drain(step)
        if step.held_back:
            step.set("ready", (*step.scalar("ready"), *step.held_back))
        _conclude(step)
        if state.shard is not None:
            shards.keep_to_itself(step)
    return step


def _start(step: Step, event: ev.RunStarted) -> None:
    if step.state.started_at is not None:
        return
    fast = event.fail_fast
    if fast is None:
        fast = step.plan.blueprint.on_failure == ON_FAILURE_FAST
    # Launching reads these through the step, before they are in the state.
    step.changes.scalars = {
        "run_id": event.run_id,
        "started_at": step.now,
        "fail_fast": fast,
        "max_executions": event.max_executions,
        "shard_size": event.shard_size,
        "budget": budgets.budget_of(event.budget_usd, event.budget_requests),
    }
    if event.fairness_key is not None:
        step.set("fairness_key", event.fairness_key)
    if event.result_only:
        step.set("result_only", True)
    if event.context:
        step.changes.context = dict(event.context)
    step.note("workflow:start")
    if event.cancelled is not None:
        control.cancel(step, event.cancelled)
    starts = [step.plan.nodes[index] for index in step.plan.starts]
    if event.has_input:
        for node in starts:
            step.write(INPUTS + node.id, event.input)
    for node in starts:
        launch(step, node, step.plan.key(node, (0,) * len(node.loops)))


def _succeeded(step: Step, event: ev.NodeSucceeded) -> None:
    key, attempt, output, action, writes, dynamic = event
    state = step.state
    record = state.records.get(key)
    if record is None or record.status is not RUNNING or record.attempt != attempt:
        return
    node = step.plan.nodes[key if isinstance(key, int) else key[0]]
    if not writes and not dynamic:
        step.changes.working -= 1
        if node.straight and step.stopping is None and not state.rescues and not state.holds:
            pass_on(step, node, key, record, output, action)
        else:
            succeed(step, node, key, record, output, action)
        return
    added: list[Key] = []
    problem = apply_writes(step, writes) or add_nodes(step, node, event, added)
    if problem is not None:
        step.changes.context = None
        error = ErrorInfo("FlowcraftError", problem, ("FlowcraftError",))
        _failed(step, ev.NodeFailed(key, attempt, error, retryable=False))
        return
    note_writes(step, key, writes)
    step.changes.working -= 1
    succeed(step, node, key, record, output, action)
    for fresh in added:
        launch(step, step.node(fresh), fresh)


def _failed(step: Step, event: ev.NodeFailed) -> None:
    record = _running(step, event.key, event.attempt)
    if record is None:
        return
    if event.retryable and _retry(step, event.key, record, event.error):
        return
    step.changes.working -= 1
    if not event.started:
        record = record._replace(attempt=0, started_at=None)
    fail(step, step.node(event.key), event.key, record, event.error, rescue=event.started)


def _retry(step: Step, key: Key, record: Record, error: ErrorInfo) -> bool:
    """Plan the next attempt of an instance, if it has one."""
    node = step.node(key)
    if step.stopping is not None:
        return False
    seed = jitter_seed(step.state.run_id, node.id, iteration_of_key(key))
    config = node.definition.config
    delay = delay_before_retry_ms(config, record.attempt, error, seed, record.lost)
    if delay is None:
        return False
    due_at = step.now + delay / 1000
    earlier = (*record.earlier, Earlier(record.started_at, step.now, error))[-KEPT_ATTEMPTS:]
    step.changes.records[key] = record._replace(
        status=RETRYING, due_at=due_at, error=error, earlier=earlier
    )
    step.note("node:retry", key, attempt=record.attempt + 1, due_at=due_at, **error_details(error))
    step.commands.append(RetryNode(key, record.attempt + 1, due_at))
    return True


def _lost(step: Step, event: ev.NodeLost) -> None:
    record = _running(step, event.key, event.attempt)
    if record is None:
        return
    node = step.node(event.key)
    step.changes.working -= 1
    record = record._replace(lost=record.lost + 1)
    if step.stopping is not None:
        control.close(step, event.key, record)
    elif record.lost >= LOST_LIMIT:
        fail(step, node, event.key, record, lost_error(node.id, record.lost))
    else:
        step.note("node:lost", event.key, attempt=event.attempt)
        run_again(step, node, event.key, record)


def _retry_due(step: Step, event: ev.RetryDue) -> None:
    record = step.state.records.get(event.key)
    if record is None or record.status is not RETRYING or record.attempt + 1 != event.attempt:
        return
    if record.due_at is not None and record.due_at > step.now:
        return
    step.changes.working -= 1
    run_again(step, step.node(event.key), event.key, record)


def _child_settled(step: Step, event: ev.ChildSettled) -> None:
    record = step.state.records.get(event.key)
    if record is None or record.status is not CHILD or record.attempt != event.attempt:
        return
    budgets.charge(step, event.cost)
    if step.stopping is not None and not event.succeeded:
        control.stop_instance(step, event.key, event.attempt)
        return
    subflows.leave_child(step, event.key)
    if event.succeeded:
        subflows.child_succeeded(step, step.node(event.key), record, event)
        return
    error = event.error or ErrorInfo("SubflowFailed", "The child run failed.", ("SubflowFailed",))
    _child_failed(step, event.key, record, error)


def _child_failed(step: Step, key: Key, record: Record, error: ErrorInfo) -> None:
    if _retry(step, key, record, error):
        step.changes.working += 1
    else:
        fail(step, step.node(key), key, record, error)


def _timer_fired(step: Step, event: ev.TimerFired) -> None:
    record = step.state.records.get(event.key)
    if record is None or record.due_at is None or record.due_at > step.now:
        return
    if record.status is CHILD and step.stopping is None:
        error = subflows.timed_out(step, step.node(event.key), event.key, record)
        _child_failed(step, event.key, record, error)
    else:
        waits.fire_timer(step, event.key, record)


def _answered(step: Step, event: ev.AnswerReceived) -> None:
    if event.key is not None:
        waits.answer(step, event.key, event.output, event.action)
    elif event.node_id is not None:
        waits.keep_answer(step, event.node_id, event.output, event.action)


def _running(step: Step, key: Key, attempt: int) -> Record | None:
    """The record of a running attempt; ``None`` for one that is over or was never begun."""
    record = step.state.records.get(key)
    if record is None or record.status is not RUNNING or record.attempt != attempt:
        return None
    return record


def _conclude(step: Step) -> None:
    """Derive the run's status; finish the run when nothing is left (rule S5)."""
    if step.stopping is not None and step.state.stopping is None:
        control.close_open_work(step)
    state = step.state
    status = RUN_RUNNING
    if state.working + step.changes.working == 0:
        status = _status_at_rest(step)
        if status.is_final and status is not RUN_COMPLETED and compensation.begin(step):
            step.stop(status)
            status = RUN_RUNNING
    if status is state.status:
        return
    step.set("status", status)
    if status.is_final:
        step.set("ended_at", step.now)
        step.note("workflow:finish", status=str(status), errors=len(_errors(step)))
        step.commands.append(FinishRun())


def _status_at_rest(step: Step) -> RunStatus:
    if step.stopping is not None:
        return step.stopping
    ready = step.scalar("ready") or step.held_back
    paused = step.scalar("paused")
    if step.state.waiting + step.changes.waiting or ready or (paused and batches.has_more(step)):
        return RunStatus.PAUSED if paused else RunStatus.AWAITING
    _expect_nothing_pending(step)
    return RunStatus.FAILED if _errors(step) else RUN_COMPLETED


def _expect_nothing_pending(step: Step) -> None:
    """A run that ends while a node still waits for a link is a defect of this package: say so."""
    if not step.state.joins and not step.changes.joins:
        return
    joins = {**step.state.joins, **step.changes.joins}
    stuck = sorted({step.node(key).id for key, join in joins.items() if join is not DELETED})
    if stuck:
        text = f"The run has nothing left to do, but {stuck} still wait. Please report this."
        step.add_error(ErrorInfo("InternalError", text, is_fatal=True))


def _errors(step: Step) -> list[ErrorInfo]:
    return [*step.scalar("errors"), *(step.changes.errors or ())]


HANDLERS: dict[type[Any], Callable[[Step, Any], None]] = {
    ev.RunStarted: _start,
    ev.NodeSucceeded: _succeeded,
    ev.NodeFailed: _failed,
    ev.NodeStopped: lambda step, e: control.stop_instance(step, e.key, e.attempt),
    ev.NodeHeldBack: control.hold_back,
    ev.NodeLost: _lost,
    ev.ItemLost: batches.item_lost,
    ev.RetryDue: _retry_due,
    ev.TimerFired: _timer_fired,
    ev.AnswerReceived: _answered,
    ev.ItemSucceeded: batches.item_succeeded,
    ev.ItemFailed: batches.item_failed,
    ev.ItemStopped: lambda step, e: batches.stop_item(step, e.key, e.item, e.attempt),
    ev.ItemRetryDue: lambda step, e: batches.retry_item(step, e.key, e.item, e.attempt),
    ev.ItemHeldBack: batches.hold_back_item,
    ev.ItemsRetried: batches.retry_items,
    ev.ShardStarted: batches.begin_shard,
    ev.ShardAdvanced: batches.shard_advanced,
    ev.ShardRests: shards.shard_rests,
    ev.ShardSettled: batches.shard_settled,
    ev.ChildSettled: _child_settled,
    ev.ChildRests: subflows.child_rests,
    ev.UndoSettled: compensation.settle,
    ev.UndoLost: compensation.lost,
    ev.UndoRetryDue: lambda step, e: compensation.retry(step, e.target, e.attempt),
    ev.Spent: budgets.spend,
    ev.CancelRequested: lambda step, e: control.cancel(step, e.reason),
    ev.PauseRequested: lambda step, _: control.pause(step),
    ev.ContinueRequested: lambda step, _: control.resume_run(step),
    ev.ContextPatched: control.patch_context,
    ev.RetryRequested: lambda step, _: control.retry_failed(step),
    ev.SkipRequested: control.skip_instance,
    ev.LookedAt: lambda step, _: outstanding.repeat(step),
}
