"""When a node starts, and when it never will: the only readiness rule (rule S3).

Every link into an instance is delivered once: taken, dead (not chosen) or failing. ``all``
starts when none is open, none failed and one was taken; ``any`` starts at the first taken one.
An instance that can no longer start is skipped, and its own links are delivered as dead or
failing in turn, so that nothing waits for what will not come.
"""

from __future__ import annotations

from typing import Any

from flowcraft.core.holds import expected_links
from flowcraft.core.launch import launch
from flowcraft.core.loops import close_if_settled, leave_loop, open_iteration
from flowcraft.core.outcomes import commit_output, skip
from flowcraft.core.plan import Key, Link, PlanNode, iteration_of_key
from flowcraft.core.state import DELETED, Deleted, Join, Record, new_tuple
from flowcraft.core.step import (
    CLOSED_DEAD,
    CLOSED_FAILING,
    DEAD,
    FAILING,
    RELEASED_FAILED,
    SETTLED,
    TAKEN,
    Step,
)


def drain(step: Step) -> None:
    """Carry everything on the queue to where it leads, until nothing follows any more."""
    # What is delivered may add to the queue meanwhile.
    for link, key, fate in step.queue:
        if link is None:
            if fate == SETTLED:
                close_if_settled(step, key)
            else:
                _release(step, key, failed=fate == RELEASED_FAILED)
        elif link.direct:
            deliver(step, link, key, link.target, fate)
        else:
            _arrive(step, link, key, fate)
    step.queue.clear()


def pass_on(step: Step, node: PlanNode, key: Key, record: Record, output: Any, action: Any) -> None:
    """Do in fewer steps what ``succeed`` and ``drain`` do for a node that is ``straight``.

    Most nodes are: nothing is to be chosen, kept or closed, and every link is taken.
    """
    commit_output(step, node, key, record, output, action)
    nodes, joins, changed = step.plan.nodes, step.state.joins, step.changes.joins
    for link in node.out:
        target = link.target
        # A join where one link would do is a hold: a batch, or added nodes, come first.
        if link.starts and target not in joins and target not in changed:
            launch(step, nodes[target], target, link.index, key, output)
        else:
            deliver(step, link, key, target, TAKEN)


def _arrive(step: Step, link: Link, origin: Key, fate: int) -> None:
    if link.back:
        opened = open_iteration(step, link, origin, fate)
        if opened is not None:
            launch(step, step.plan.nodes[link.target], opened, link.index, origin)
        return
    if fate in (CLOSED_DEAD, CLOSED_FAILING):
        fate = DEAD if fate == CLOSED_DEAD else FAILING
    elif link.leaves and not leave_loop(step, link, origin, fate):
        return
    deliver(step, link, origin, step.sibling(origin, link), fate)


def deliver(step: Step, link: Link, origin: Key, target: Key, fate: int) -> None:
    """Deliver a link to the instance it leads to."""
    state, changes = step.state, step.changes
    if target in state.records or target in changes.records:
        return  # started or skipped already
    node = step.plan.nodes[link.target]
    join = changes.joins.get(target) or state.joins.get(target)
    if join is None or isinstance(join, Deleted):
        if node.alone:
            if fate == TAKEN:
                launch(step, node, target, link.index, origin)
            else:
                skip(step, node, target, failed=fate == FAILING)
            return
        join = Join(expected_links(node, iteration_of_key(target)))
    pending, taken, failed, held, fired, start = join
    pending -= 1
    if fate == TAKEN:
        taken += 1
        if fired < 0 or link.is_fallback:
            fired, start = link.index, origin
    elif fate == FAILING and not (link.is_fallback and _has_edges(node)):
        failed += 1
    join = new_tuple(Join, (pending, taken, failed, held, fired, start))
    changes.joins[target] = join
    if pending == 0 or failed or node.join_any or node.is_fallback:
        _settle_join(step, node, target, join)


def recall_hold(step: Step, holder: Key) -> None:
    """Put a hold back on an instance: the added node it waited for tries again."""
    join = step.join(holder)
    if join is not None:
        step.changes.joins[holder] = join._replace(
            pending=join.pending + 1, held=join.held + 1, failed=join.failed - 1
        )


def recall(step: Step, link: Link, target: Key) -> None:
    """Take back a failing link from an instance that still waits: its source tries again."""
    join = step.join(target)
    if join is not None:
        counted = not (link.is_fallback and _has_edges(step.node(target)))
        step.changes.joins[target] = join._replace(
            pending=join.pending + 1, failed=join.failed - int(counted)
        )


def _has_edges(node: PlanNode) -> bool:
    return any(not link.is_fallback for link in node.into)


def _settle_join(step: Step, node: PlanNode, key: Key, join: Join) -> None:
    by_fallback = join.fired >= 0 and step.plan.links[join.fired].is_fallback
    if join.held == 0 and join.taken and (node.join_any or by_fallback):
        _start(step, node, key, join.fired, join.origin)
    elif join.failed and not node.join_any and not _may_be_needed(node, join):
        _give_up(step, node, key, failed=True)
    elif join.pending == 0:
        if join.taken and not join.failed:
            _start(step, node, key, -1, -1)
        else:
            _give_up(step, node, key, failed=join.failed > 0)


def _may_be_needed(node: PlanNode, join: Join) -> bool:
    """Whether a fallback link may still start an instance whose edges have failed."""
    return join.pending > 0 and node.is_fallback


def _start(step: Step, node: PlanNode, key: Key, fired: int, origin: Key) -> None:
    step.changes.joins[key] = DELETED
    launch(step, node, key, fired, origin)


def _give_up(step: Step, node: PlanNode, key: Key, *, failed: bool) -> None:
    step.changes.joins[key] = DELETED
    skip(step, node, key, failed=failed)


def _release(step: Step, key: Key, *, failed: bool) -> None:
    """Take back a hold; an instance whose links are all there starts now."""
    join = step.join(key)
    if join is None or step.record(key) is not None:
        return
    join = join._replace(
        pending=join.pending - 1, held=join.held - 1, failed=join.failed + int(failed)
    )
    step.changes.joins[key] = join
    node = step.node(key)
    if failed:
        _give_up(step, node, key, failed=True)
    elif join.held == 0:
        _settle_join(step, node, key, join)
