"""Loops: iterations that open, and cycles that are over (rules S3, S10).

Of a loop instance (a loop in one iteration of the loops around it) the record knows how much is
unsettled in the iterations opened so far. Taking a back edge opens the next one; when nothing
is left, the loop is over, and the exits that were never taken are dead, or failing where a
failure ended the loop.
"""

from __future__ import annotations

from flowcraft.core.builtins import BREAK, CONTINUE
from flowcraft.core.outcomes import succeed
from flowcraft.core.plan import Iteration, Key, Link, PlanNode, iteration_of_key
from flowcraft.core.routing import truth_of
from flowcraft.core.state import Record
from flowcraft.core.step import CLOSED_DEAD, CLOSED_FAILING, FAILING, TAKEN, Step


def run_controller(step: Step, node: PlanNode, key: Key, record: Record) -> None:
    """Carry out a loop controller: true goes round again, false leaves the loop (S10)."""
    condition = node.definition.params.get("condition")
    verdict, error = False, None
    if isinstance(condition, str) and condition:
        verdict, error = truth_of(step, condition, {"input": record.input})
    elif isinstance(condition, bool):
        verdict = condition
    action = CONTINUE if verdict else BREAK
    if error:
        step.note("edge:evaluate", key, condition=condition, result=False, error=error)
    step.note("node:finish", key, action=action)
    succeed(step, node, key, record, None, action)


def open_iteration(step: Step, link: Link, origin: Key, fate: int) -> Key | None:
    """The header instance that a back edge starts, or ``None`` if it starts none."""
    header = step.plan.nodes[link.target]
    loop = header.loops[-1]
    around = iteration_of_key(origin)[: link.common]
    outer = around[:-1]
    if fate != TAKEN:
        if fate == FAILING:
            step.put("loop_failed", (loop, outer), True)
        return None
    opened = step.sibling(origin, link)
    if step.record(opened) is not None:
        return None  # another back edge opened it
    size = step.plan.loops[loop].size
    left = step.get("remaining", (loop, outer), size)
    step.put("remaining", (loop, outer), left + size)
    return opened


def leave_loop(step: Step, link: Link, origin: Key, fate: int) -> bool:
    """Note the fate of an exit in one iteration; true if its target learns of it now.

    An exit counts as taken the first time it is taken. That it was not taken is known only
    when the loop is over.
    """
    shared = iteration_of_key(origin)[: link.common]
    if fate != TAKEN:
        if fate == FAILING:
            loop = step.plan.nodes[link.source].loops[link.common]
            step.put("loop_failed", (loop, shared), True)
        return False
    if step.get("exits", (link.index, shared)) is not None:
        return False
    step.put("exits", (link.index, shared), origin)
    return True


def close_if_settled(step: Step, key: Key) -> None:
    """Count an instance in a loop as settled; the loop may be over with it."""
    loops = step.node(key).loops
    around = iteration_of_key(key)[:-1]
    for depth in range(len(loops) - 1, -1, -1):
        loop = step.plan.loops[loops[depth]]
        outer = around[:depth]
        left = step.get("remaining", (loop.index, outer), loop.size) - 1
        step.put("remaining", (loop.index, outer), left)
        if left > 0:
            return
        _close(step, loop.exits, loop.index, outer)


def _close(step: Step, exits: tuple[Link, ...], loop: int, outer: Iteration) -> None:
    # Past this point the links no longer leave anything: their loop is over.
    fate = CLOSED_FAILING if step.get("loop_failed", (loop, outer)) else CLOSED_DEAD
    for link in exits:
        if step.get("exits", (link.index, outer)) is None:
            step.queue.append((link, (link.source, outer), fate))
