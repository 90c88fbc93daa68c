"""Nodes that a running node adds to its run (rule S7)."""

from __future__ import annotations

from flowcraft.core.events import NodeSucceeded
from flowcraft.core.holds import held_instance, hold
from flowcraft.core.plan import Key, PlanNode, extend_plan, iteration_of_key
from flowcraft.core.step import Step


def add_nodes(step: Step, node: PlanNode, event: NodeSucceeded, keys: list[Key]) -> str | None:
    """Add the nodes a result asks for, and collect their instances in ``keys``.

    They have no edges and start as soon as the node that adds them has succeeded.

    A node named as ``gatherNodeId`` in the output waits for all of them. In a loop each
    iteration may add the same nodes again.

    Returns:
        ``None``, or why they cannot be added.
    """
    if not event.dynamic:
        return None
    problem = _problem(step, node, event)
    if problem:
        return problem
    fresh = [d for d in event.dynamic if d.id not in step.plan.index_of]
    if fresh:
        step.plan = extend_plan(step.plan, fresh, node.loops)
        loops = tuple((node.loops, definition) for definition in fresh)
        step.set("added", (*step.scalar("added"), *loops))
    iteration = iteration_of_key(event.key)
    for definition in event.dynamic:
        added = step.plan.nodes[step.plan.index_of[definition.id]]
        keys.append(step.plan.key(added, iteration))
    _hold_gather(step, event, keys)
    _count_in_loop(step, node, event.key, len(keys))
    return None


def _hold_gather(step: Step, event: NodeSucceeded, keys: list[Key]) -> None:
    output = event.output
    gather_id = output.get("gatherNodeId") if isinstance(output, dict) else None
    if not isinstance(gather_id, str):
        return
    gather = held_instance(step, event.key, gather_id)
    for key in keys:
        if gather is not None and hold(step, gather):
            step.put("holds", key, gather)


def _count_in_loop(step: Step, node: PlanNode, key: Key, count: int) -> None:
    """An added node belongs to the iteration of the one that added it."""
    if node.loops:
        loop, outer = node.loops[-1], iteration_of_key(key)[:-1]
        left = step.get("remaining", (loop, outer), step.plan.loops[loop].size)
        step.put("remaining", (loop, outer), left + count)


def _problem(step: Step, node: PlanNode, event: NodeSucceeded) -> str | None:
    known = {d.id: (loops, d) for loops, d in step.state.added}
    seen: set[str] = set()
    for definition in event.dynamic:
        existing = known.get(definition.id)
        again = existing is not None and existing == (node.loops, definition) and node.loops
        if definition.id in seen or (definition.id in step.plan.index_of and not again):
            return (
                f"Node '{node.id}' added a node with the id '{definition.id}', which the run "
                "already has. Added nodes need ids of their own."
            )
        seen.add(definition.id)
    return None
