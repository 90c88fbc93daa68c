"""What the end of a node means for what follows it (rules S2, S4).

These functions record an outcome and put the links that leave the node on the step's queue;
``joins.drain`` carries them to their targets.
"""

from __future__ import annotations

from typing import Any

from flowcraft.core.commands import StopWork
from flowcraft.core.context import CATCH_ERROR, OUTPUTS, error_value
from flowcraft.core.plan import Key, PlanNode, iteration_of_key
from flowcraft.core.routing import ALL, NONE, Route, choose
from flowcraft.core.state import (
    BLOCKED,
    CANCELLED,
    DELETED,
    FAILED,
    RESCUED,
    RESCUING,
    SKIPPED,
    STAND_IN_OUTPUT,
    SUCCEEDED,
    ErrorInfo,
    NodeStatus,
    Record,
    RunStatus,
    new_tuple,
)
from flowcraft.core.state import (
    SETTLED as ENDED,
)
from flowcraft.core.step import DEAD, FAILING, SETTLED, TAKEN, Step, error_details


def succeed(
    step: Step, node: PlanNode, key: Key, record: Record, output: Any, action: Any = None
) -> None:
    """Record that an instance succeeded, and let what follows it know."""
    commit_output(step, node, key, record, output, action)
    changes, state = step.changes, step.state
    if node.compensate >= 0:
        if changes.completed is None:
            changes.completed = []
        changes.completed.append(key)
    if step.stopping is not None:
        return
    if node.plain:
        _send(step, node, key, ALL)
    else:
        route = choose(step, node, key, output, action)
        changes.records[key] = changes.records[key]._replace(taken=route.taken, values=route.values)
        _send(step, node, key, route)
    if state.rescues or state.holds or changes.tables:
        _rescued(step, key, output, action)
        _release_holder(step, key, failed=False)


def commit_output(
    step: Step,
    node: PlanNode,
    key: Key,
    record: Record,
    output: Any,
    action: Any = None,
    status: NodeStatus = SUCCEEDED,
) -> None:
    """Make an output visible; it replaces what was written under the node's name before."""
    changes = step.changes
    _, attempt, given, _, _, fired, origin, _, _, began, _, _, error, earlier, lost = record
    # fmt: off
    changes.records[key] = new_tuple(Record, (
        status, attempt, given, output, action, fired, origin, None, None,
        began, step.now, None, error, earlier, lost,
    ))
    # fmt: on
    if step.state.context or changes.context:
        _uncover(step, node.id)
        _uncover(step, OUTPUTS + node.id)
    if node.loops:
        step.put("latest", node.index, key)


def _uncover(step: Step, name: str) -> None:
    changed = step.changes.context
    if name in step.state.context or (changed is not None and name in changed):
        step.write(name, DELETED)


def fail(
    step: Step,
    node: PlanNode,
    key: Key,
    record: Record,
    error: ErrorInfo,
    *,
    rescue: bool = True,
) -> None:
    """Record that an instance failed for good; its fallback, if it has one, takes over."""
    error = error._replace(
        node_id=node.id, attempts=max(record.attempt, 1), iteration=iteration_of_key(key)
    )
    ended = record._replace(status=FAILED, ended_at=step.now, due_at=None, error=error)
    step.note("node:error", key, **error_details(error))
    if rescue and not error.is_fatal and step.stopping is None and _helper_may_run(step, node, key):
        _fall_back(step, node, key, ended)
        return
    step.changes.records[key] = ended
    step.add_error(error)
    if step.stopping is None:
        _send(step, node, key, NONE, fate=FAILING)
        _block_rescued(step, key)
        _release_holder(step, key, failed=True)
    if step.scalar("fail_fast"):
        stop(step, RunStatus.FAILED, "fail_fast")


def _helper_may_run(step: Step, node: PlanNode, key: Key) -> bool:
    """Whether a fallback can take over: it has one, which has not been ruled out before."""
    if node.rescue is None or node.rescue.spent:
        return False
    helper = step.record(step.sibling(key, node.rescue))
    return helper is None or helper.status not in (SKIPPED, BLOCKED, CANCELLED)


def skip(step: Step, node: PlanNode, key: Key, *, failed: bool) -> None:
    """Record that an instance will not run, and let what follows it know."""
    step.changes.records[key] = Record(BLOCKED if failed else SKIPPED, ended_at=step.now)
    step.note("node:skipped", key, reason="failed" if failed else "not chosen")
    _send(step, node, key, NONE, fate=FAILING if failed else DEAD)


def stop(step: Step, status: RunStatus, reason: str) -> None:
    """Let nothing more start, and stop what runs; the run ends in ``status``."""
    if step.stopping is None:
        step.stop(status)
        step.set("reason", reason)
        step.commands.append(StopWork(reason))


def _send(step: Step, node: PlanNode, key: Key, route: Route, fate: int = DEAD) -> None:
    taken = route.taken
    if taken is None:
        for link in node.out:
            step.queue.append((link, key, TAKEN))
    else:
        for link in node.out:
            step.queue.append((link, key, TAKEN if link.index in taken else fate))
    if node.rescue is not None:
        step.queue.append((node.rescue, key, fate))
    if node.loops:
        step.queue.append((None, key, SETTLED))


def _fall_back(step: Step, node: PlanNode, key: Key, ended: Record) -> None:
    assert node.rescue is not None
    step.note("node:fallback", key, fallback=step.plan.nodes[node.fallback].id)
    error = ended.error
    assert error is not None
    step.write(CATCH_ERROR, error_value(node.id, error))
    step.note("context:change", key, op="set", name=CATCH_ERROR)
    helper = step.plan.nodes[node.fallback]
    commit_output(step, node, key, ended, None, status=RESCUED if helper.out else RESCUING)
    step.changes.records[key] = step.changes.records[key]._replace(taken=())
    step.queue.append((node.rescue, key, TAKEN))
    if helper.out:
        # The fallback has a way of its own: the failed node's links lead nowhere.
        for link in node.out:
            step.queue.append((link, key, DEAD))
        _block_rescued(step, key, fate=DEAD)
        if node.loops:
            step.queue.append((None, key, SETTLED))
        return
    _stand_in(step, key, step.sibling(key, node.rescue))


def _stand_in(step: Step, key: Key, helper: Key) -> None:
    """Let the instance ``helper`` decide about the links of the failed instance ``key``."""
    step.put("rescues", helper, (*step.get("rescues", helper, ()), key))
    record = step.record(helper)
    if record is None or record.status not in ENDED:
        return
    # A shared fallback runs once per iteration: it was there before this failure.
    last = helper
    while record is not None and record.status is RESCUED:
        node = step.node(last)
        if node.rescue is None or step.plan.nodes[node.fallback].out:
            _block_rescued(step, helper, fate=DEAD)
            return
        last = step.sibling(last, node.rescue)
        record = step.record(last)
    if record is not None and record.status is SUCCEEDED:
        _rescued(step, helper, record.output, record.action)
    else:
        _block_rescued(step, helper)


def _rescued(step: Step, helper: Key, output: Any, action: Any) -> None:
    """Take the links of the instances that ``helper`` stood in for, with its result."""
    waiting = list(step.get("rescues", helper, ()))
    if waiting:
        step.put("rescues", helper, DELETED)
    while waiting:
        key = waiting.pop()
        node = step.node(key)
        route = choose(step, node, key, output, action)
        taken = tuple(link.index for link in node.out) if route.taken is None else route.taken
        values = {STAND_IN_OUTPUT: output, **(route.values or {})}
        record = step.record(key)
        assert record is not None
        step.changes.records[key] = record._replace(status=RESCUED, taken=taken, values=values)
        _send(step, node, key, Route(taken, values))
        _release_holder(step, key, failed=False)
        waiting.extend(step.get("rescues", key, ()))
        step.put("rescues", key, DELETED)


def _block_rescued(step: Step, helper: Key, fate: int = FAILING) -> None:
    """Cut off what waited for a stand-in that failed too, or that has a way of its own."""
    waiting = list(step.get("rescues", helper, ()))
    while waiting:
        key = waiting.pop()
        record = step.record(key)
        assert record is not None
        step.changes.records[key] = record._replace(status=RESCUED)
        _send(step, step.node(key), key, NONE, fate=fate)
        _release_holder(step, key, failed=fate == FAILING)
        waiting.extend(step.get("rescues", key, ()))
        step.put("rescues", key, DELETED)
    step.put("rescues", helper, DELETED)


def _release_holder(step: Step, key: Key, *, failed: bool) -> None:
    """Let the instance that waits for an added node know that it is settled (S7)."""
    holder = step.get("holds", key)
    if holder is not None:
        step.release(holder, failed=failed)
