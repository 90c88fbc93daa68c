"""What an instance waits for: its links, and what is put in its way besides them."""

from __future__ import annotations

from flowcraft.core.plan import Iteration, Key, PlanNode, iteration_of_key
from flowcraft.core.state import Join
from flowcraft.core.step import Step


def expected_links(node: PlanNode, iteration: Iteration) -> int:
    """How many links an instance waits for: those entering a loop count at its first round."""
    depth = len(iteration)
    while depth and iteration[depth - 1] == 0:
        depth -= 1
    return node.expected[depth]


def hold(step: Step, key: Key) -> bool:
    """Make an instance wait for something besides its links; false if it has started."""
    if step.record(key) is not None:
        return False
    join = step.join(key) or Join(expected_links(step.node(key), iteration_of_key(key)))
    step.changes.joins[key] = join._replace(pending=join.pending + 1, held=join.held + 1)
    return True


def held_instance(step: Step, key: Key, node_id: str) -> Key | None:
    """The instance of ``node_id`` that belongs to the iteration of the instance ``key``."""
    index = step.plan.index_of.get(node_id)
    if index is None:
        return None
    mine, theirs = step.node(key).loops, step.plan.nodes[index].loops
    shared = 0
    while shared < min(len(mine), len(theirs)) and mine[shared] == theirs[shared]:
        shared += 1
    iteration = iteration_of_key(key)[:shared] + (0,) * (len(theirs) - shared)
    return (index, iteration) if theirs else index
