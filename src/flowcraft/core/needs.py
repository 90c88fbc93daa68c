"""What a run may still carry out: the nodes that a worker has to have an implementation of.

It follows from the plan and the facts, like all that is decided. What it says is an upper bound
that shrinks while a run goes on: whatever may yet begin is in it, also what begins only if
something fails, or is undone if somebody cancels the run. Not in it are nodes that a node adds
while it runs, which nobody can know before, and nodes that failed for good, which begin again only
if somebody asks for that.
"""

from __future__ import annotations

from collections.abc import Iterator

from flowcraft.core.items import worker_of
from flowcraft.core.plan import Key, Kind, Plan, PlanNode, index_of_key
from flowcraft.core.state import SETTLED, RunState


def uses_of(plan: Plan) -> frozenset[str]:
    """The keys of all implementations that a run of this plan could call, ``uses`` of batches too.

    Those that the engine carries out itself are not among them.
    """
    return frozenset(uses for node in plan.nodes if (uses := _uses(node)) is not None)


def needed_uses(plan: Plan, state: RunState) -> frozenset[str]:
    """The keys of the implementations that may still be called in a run."""
    nodes = (plan.nodes[index] for index in needed_nodes(plan, state))
    return frozenset(uses for node in nodes if (uses := _uses(node)) is not None)


def needed_nodes(plan: Plan, state: RunState) -> frozenset[int]:
    """The indexes of the nodes of which an attempt may still begin, or is under way.

    Of a batch it is the scatter node that is meant, for as long as items of it may begin.
    """
    if state.status.is_final:
        return frozenset()
    begun = {index_of_key(key) for key, record in state.records.items() if _is_open(record.status)}
    scattered = {index_of_key(key) for key in _open_batches(state)}
    if state.stopping is not None:
        # Nothing begins but what undoes; what is under way may have to be taken over.
        return frozenset({*begun, *scattered, *_undoing(plan, state)})
    reached = _reached(plan, state, begun | set(_held(state)))
    undoing = {plan.nodes[index].compensate for index in reached} - {-1}
    return frozenset({*reached, *scattered, *undoing, *_undoing(plan, state)})


def _is_open(status: object) -> bool:
    return status not in SETTLED


def _open_batches(state: RunState) -> Iterator[Key]:
    """The scatter instances with items that are not settled."""
    for key, batch in state.batches.items():
        if batch.done < len(batch.items):
            yield key


def _held(state: RunState) -> Iterator[int]:
    """Nodes that wait for items, or for nodes that were added, and that no link leads to yet."""
    for key in _open_batches(state):
        gather = state.batches[key].gather
        if gather != -1:
            yield index_of_key(gather)
    for key, waiting in state.holds.items():
        record = state.records.get(key)
        if record is None or _is_open(record.status):
            yield index_of_key(waiting)


def _reached(plan: Plan, state: RunState, begun: set[int]) -> set[int]:
    """The nodes that links lead to, from those that are not settled on; these are among them."""
    reached = {index for index in begun if not _is_over(plan.nodes[index], state)}
    left = list(reached)
    while left:
        for target in _behind(plan, plan.nodes[left.pop()]):
            if target not in reached and not _is_over(plan.nodes[target], state):
                reached.add(target)
                left.append(target)
    return reached | _added_again(plan, reached)


def _added_again(plan: Plan, reached: set[int]) -> set[int]:
    """Nodes that were added in a round of a loop: another round may add them again."""
    rounds = {loop for index in reached for loop in plan.nodes[index].loops}
    added = plan.nodes[len(plan.blueprint.nodes) :]
    return {node.index for node in added if not rounds.isdisjoint(node.loops)}


def _behind(plan: Plan, node: PlanNode) -> Iterator[int]:
    """The nodes that what becomes of a node can lead to at once."""
    for link in node.out:
        yield link.target
    if node.rescue is not None:
        yield node.rescue.target
    # The last node of a loop to be settled ends it, and lets go what is behind.
    for loop in node.loops:
        for link in plan.loops[loop].exits:
            yield link.target


def _is_over(node: PlanNode, state: RunState) -> bool:
    """Whether a node has been settled for good: in a loop another round may always come."""
    if node.loops:
        return False
    record = state.records.get(node.index)
    return record is not None and not _is_open(record.status)


def _undoing(plan: Plan, state: RunState) -> set[int]:
    """The nodes that undo what has been done, as far as they have not."""
    if state.undoing is None:
        return {plan.nodes[index_of_key(key)].compensate for key in state.completed} - {-1}
    return {undo.node for undo in state.undos.values() if undo.succeeded is None}


def _uses(node: PlanNode) -> str | None:
    if node.kind is Kind.TASK:
        return node.definition.uses
    if node.kind is Kind.SCATTER and "workerUsesKey" in node.definition.params:
        return worker_of(node)
    return None
