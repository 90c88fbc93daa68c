"""Questions about the shape of a blueprint: where it starts, where it ends, its cycles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flowcraft.core.blueprint import WorkflowBlueprint, read_blueprint

MAX_CYCLES: Final = 1_000
"""Cycles that an analysis lists at most; a graph may have more than anyone can read."""

MAX_CYCLE_STEPS: Final = 1_000_000
"""Node ids in all listed cycles together; the first cycle is listed whatever its length."""


@dataclass(frozen=True, slots=True)
class BlueprintAnalysis:
    """The shape of a blueprint as its edges draw it.

    Attributes:
        start_node_ids: Nodes that no edge enters, in document order. What a run starts with
            is :func:`start_node_ids`, which also knows fallbacks and cycles.
        terminal_node_ids: Nodes that no edge leaves, in document order.
        cycles: Paths whose last node is their first again. A cycle is listed each time the
            search returns to the node where it closes. At most 1,000.
        node_count: Nodes of the document, duplicates included.
        edge_count: Edges of the document; 0 if there are no nodes.
    """

    start_node_ids: tuple[str, ...]
    terminal_node_ids: tuple[str, ...]
    cycles: tuple[tuple[str, ...], ...]
    node_count: int
    edge_count: int

    @property
    def is_dag(self) -> bool:
        """Whether there is no cycle."""
        return not self.cycles

    def to_dict(self) -> dict[str, Any]:
        """The analysis in JSON terms, with camelCase names."""
        return {
            "startNodeIds": list(self.start_node_ids),
            "terminalNodeIds": list(self.terminal_node_ids),
            "cycles": [list(cycle) for cycle in self.cycles],
            "isDag": self.is_dag,
            "nodeCount": self.node_count,
            "edgeCount": self.edge_count,
        }


def analyze_blueprint(blueprint: WorkflowBlueprint | Mapping[str, Any]) -> BlueprintAnalysis:
    """Describe the shape of a blueprint; what is malformed in a document is passed over.

    Takes time in proportion to nodes and edges.
    """
    if not isinstance(blueprint, WorkflowBlueprint):
        blueprint, _ = read_blueprint(blueprint)
    if not blueprint.nodes:
        return BlueprintAnalysis((), (), (), 0, 0)
    entered = {edge.target for edge in blueprint.edges}
    left = {edge.source for edge in blueprint.edges}
    return BlueprintAnalysis(
        start_node_ids=tuple(node.id for node in blueprint.nodes if node.id not in entered),
        terminal_node_ids=tuple(node.id for node in blueprint.nodes if node.id not in left),
        cycles=_find_cycles(blueprint),
        node_count=len(blueprint.nodes),
        edge_count=len(blueprint.edges),
    )


class _CycleSearch:
    """A depth-first search that lists the cycles it closes.

    Whenever it comes back to a node it lists again the cycles closed there before. The edges
    looked at already are not searched again for that: those that closed a cycle are kept.
    """

    def __init__(self, ids: Sequence[str], following: Sequence[Sequence[int]]) -> None:
        self._ids = ids
        self._following = following
        self._met = [False] * len(ids)
        self._path: list[int] = []
        self._place = [-1] * len(ids)
        self._closing: list[list[int]] = []
        self._next: list[int] = []
        self._steps = 0
        self.cycles: list[tuple[str, ...]] = []

    def run(self) -> None:
        """Search from every node that was not met before, in document order."""
        for root in range(len(self._ids)):
            if not self._met[root]:
                self._enter(root)
                while self._path:
                    if self._is_enough():
                        return
                    self._advance()

    def _enter(self, index: int) -> None:
        self._met[index] = True
        self._place[index] = len(self._path)
        self._path.append(index)
        self._closing.append([])
        self._next.append(0)

    def _advance(self) -> None:
        """Go from the last node of the path to its next successor, or back."""
        following = self._following[self._path[-1]]
        for header in self._closing[-1]:
            self._list(header)
        for at in range(self._next[-1], len(following)):
            target = following[at]
            if self._place[target] >= 0:
                self._closing[-1].append(target)
                self._list(target)
            elif not self._met[target]:
                self._next[-1] = at + 1
                self._enter(target)
                return
        self._place[self._path.pop()] = -1
        self._closing.pop()
        self._next.pop()

    def _list(self, header: int) -> None:
        if not self._is_enough():
            cycle = [*self._path[self._place[header] :], header]
            self.cycles.append(tuple(self._ids[index] for index in cycle))
            self._steps += len(cycle)

    def _is_enough(self) -> bool:
        return len(self.cycles) >= MAX_CYCLES or self._steps >= MAX_CYCLE_STEPS


def _find_cycles(blueprint: WorkflowBlueprint) -> tuple[tuple[str, ...], ...]:
    ids = list(dict.fromkeys(node.id for node in blueprint.nodes))
    index_of = {node_id: index for index, node_id in enumerate(ids)}
    search = _CycleSearch(ids, successors(blueprint, index_of))
    search.run()
    return tuple(search.cycles)


def successors(blueprint: WorkflowBlueprint, index_of: Mapping[str, int]) -> list[list[int]]:
    """The targets of each node's edges, by index and in document order.

    Edges from or to nodes that are not in ``index_of`` are left out.
    """
    following: list[list[int]] = [[] for _ in range(len(index_of))]
    for edge in blueprint.edges:
        source, target = index_of.get(edge.source), index_of.get(edge.target)
        if source is not None and target is not None:
            following[source].append(target)
    return following


def reach(following: Sequence[Sequence[int]], starts: Iterable[int]) -> list[bool]:
    """Which nodes can be reached from some, these included."""
    reached = [False] * len(following)
    todo = list(starts)
    while todo:
        index = todo.pop()
        if not reached[index]:
            reached[index] = True
            todo.extend(following[index])
    return reached


def helper_relations(
    blueprint: WorkflowBlueprint, index_of: Mapping[str, int]
) -> Iterable[tuple[int, int]]:
    """Pairs of a node and another that is its ``fallback`` or its ``compensate``."""
    for node in blueprint.nodes:
        for helper in (node.config.fallback, node.config.compensate):
            if helper is not None and helper in index_of and helper != node.id:
                yield index_of[node.id], index_of[helper]


def start_node_ids(blueprint: WorkflowBlueprint) -> tuple[str, ...]:
    """Where a run starts (rule S1), in document order.

    The nodes without incoming edges, except those that only serve as another node's fallback
    or compensation; edges from unknown nodes do not count. Where there is none, the known
    nodes among ``metadata.cycleEntryPoints``; where there is none of these either, the first
    node of each cycle that nothing outside of it leads into.
    """
    ids = list(dict.fromkeys(node.id for node in blueprint.nodes))
    index_of = {node_id: index for index, node_id in enumerate(ids)}
    following = successors(blueprint, index_of)
    entered = [False] * len(ids)
    for targets in following:
        for target in targets:
            entered[target] = True
    helpers = list(helper_relations(blueprint, index_of))
    helping = {helper for _, helper in helpers if not entered[helper]}
    starts = [i for i in range(len(ids)) if not entered[i] and i not in helping]
    if not starts:
        named = set(blueprint.cycle_entry_points)
        starts = [index for index in range(len(ids)) if ids[index] in named]
    if not starts:
        starts = _first_of_cycles(following, helpers, helping)
    return tuple(ids[index] for index in starts)


def _first_of_cycles(
    following: list[list[int]], helpers: Iterable[tuple[int, int]], helping: set[int]
) -> list[int]:
    """The first node of each cycle that is not reached from another cycle.

    A node that only helps others is an entry only where a cycle has no other node.
    """
    leading = [list(targets) for targets in following]
    for node, helper in helpers:
        leading[node].append(helper)
    starts = []
    reached = [False] * len(leading)
    for part in reversed(strongly_connected_components(len(leading), leading)):
        is_cycle = len(part) > 1 or part[0] in leading[part[0]]
        if not any(reached[index] for index in part):
            if not is_cycle:
                continue
            starts.append(next((index for index in part if index not in helping), part[0]))
        for index in part:
            for target in leading[index]:
                reached[target] = True
    return sorted(starts)


def strongly_connected_components(
    count: int, following: Sequence[Sequence[int]]
) -> list[list[int]]:
    """The strongly connected components of a graph, whatever its depth.

    R. Tarjan's algorithm ("Depth-first search and linear graph algorithms", 1972) with a stack
    of its own, in time proportional to nodes and edges.

    Args:
        count: Number of nodes; they are ``0 … count - 1``.
        following: The successors of each node.

    Returns:
        Components, each with its nodes in ascending order. A component comes before those that
        lead to it: reversed, the list is in topological order.
    """
    search = _ComponentSearch(count, following)
    for root in range(count):
        if search.number[root] < 0:
            search.run(root)
    return search.components


class _ComponentSearch:
    def __init__(self, count: int, following: Sequence[Sequence[int]]) -> None:
        self._following = following
        self.number = [-1] * count
        self._lowest = [0] * count
        self._is_open = [False] * count
        self._open: list[int] = []
        self._met = 0
        self.components: list[list[int]] = []

    def run(self, root: int) -> None:
        """Find the components that ``root`` leads to and that were not found before."""
        path = [(root, self._enter(root))]
        while path:
            index, targets = path[-1]
            for target in targets:
                if self.number[target] < 0:
                    path.append((target, self._enter(target)))
                    break
                if self._is_open[target]:
                    self._lowest[index] = min(self._lowest[index], self.number[target])
            else:
                path.pop()
                self._leave(index)
                if path:
                    above = path[-1][0]
                    self._lowest[above] = min(self._lowest[above], self._lowest[index])

    def _enter(self, index: int) -> Any:
        self.number[index] = self._lowest[index] = self._met
        self._met += 1
        self._is_open[index] = True
        self._open.append(index)
        return iter(self._following[index])

    def _leave(self, index: int) -> None:
        if self._lowest[index] != self.number[index]:
            return
        start = len(self._open) - 1
        while self._open[start] != index:
            start -= 1
        component = self._open[start:]
        del self._open[start:]
        for member in component:
            self._is_open[member] = False
        self.components.append(sorted(component))
