"""A blueprint indexed once: what ``decide`` reads, and never changes.

The plan answers in constant time what the decision core asks again and again: which links
leave a node, how many links a node waits for, which loops enclose it. Nodes are addressed by
their index, an *instance* of a node by a key: the index alone outside of loops, else the index
with the iteration vector (one number per enclosing loop, outermost first).

Parallel edges between the same two nodes form one :class:`Link` (rule S6: several edges from
one predecessor count as one). Edges that touch an unknown node, or start at a node that can
never run, are left out here, so that nothing ever waits for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from flowcraft.core import builtins
from flowcraft.core.blueprint import EdgeDefinition, NodeDefinition, WorkflowBlueprint
from flowcraft.core.expressions import Evaluator, SafeEvaluator
from flowcraft.core.graph import reach, start_node_ids
from flowcraft.core.nesting import Nesting, find_nesting
from flowcraft.core.values import CodecLookup
from flowcraft.errors import BlueprintError, Problem

Iteration = tuple[int, ...]
Key = int | tuple[int, Iteration]


class Kind(Enum):
    """Who carries out a node: a registered callable, or the engine itself."""

    TASK = "task"
    WAIT = "wait"
    SLEEP = "sleep"
    SUBFLOW = "subflow"
    SCATTER = "scatter"
    GATHER = "gather"
    LOOP = "loop"


# What nodes mostly are; looking it up on its class costs more than a call.
TASK = Kind.TASK

KIND_OF_USES: Mapping[str, Kind] = {
    builtins.WAIT: Kind.WAIT,
    builtins.WEBHOOK: Kind.WAIT,
    builtins.SLEEP: Kind.SLEEP,
    builtins.SUBFLOW: Kind.SUBFLOW,
    builtins.BATCH_SCATTER: Kind.SCATTER,
    builtins.BATCH_GATHER: Kind.GATHER,
    builtins.LOOP_CONTROLLER: Kind.LOOP,
}


@dataclass(slots=True, eq=False)
class Link:
    """All edges from one node to another, or the fallback relation between them.

    Attributes:
        index: Position in ``Plan.links``.
        source: Index of the node it leaves.
        target: Index of the node it enters.
        edges: The edges of the blueprint, in document order; empty for a fallback link.
        common: How many loops enclose both ends: the part of the iteration vector they share.
        back: Whether taking it starts a new iteration of the loop numbered ``common``.
        leaves: Whether it leaves a loop, so that it may be taken in any of its iterations.
        plain: Whether it is taken whenever its source succeeds, with the source's output.
        direct: Whether it neither touches a loop nor leads into one.
        starts: Whether taking it starts its target at once, with what its source returned.
        is_fallback: Whether it is taken when its source fails for good.
        spent: Whether it leads to a fallback that has been tried when its source fails: nodes
            that stand in for one another are each tried once (S4).
    """

    index: int
    source: int
    target: int
    edges: tuple[EdgeDefinition, ...]
    common: int = 0
    back: bool = False
    leaves: bool = False
    plain: bool = True
    direct: bool = True
    starts: bool = False
    spent: bool = False
    is_fallback: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_fallback = not self.edges


@dataclass(slots=True, eq=False)
class PlanNode:
    """A node with everything that ``decide`` needs to know of its surroundings.

    Attributes:
        out: Links taken on success, in the order of their first edge in the document.
        into: Links that lead here and are no back edges.
        loops: Enclosing loops, outermost first; the iteration vector has one number for each.
        expected: ``expected[k]`` is the number of links that an instance waits for whose
            iteration vector is zero from position ``k`` on: links entering a loop from
            outside count in its first iteration only.
        alone: Whether the first delivery decides: one link expected, whatever the iteration.
        plain: Whether success takes all ``out`` links, whatever the action.
        straight: Whether success does nothing but that: no loop, fallback or compensation.
        fallback: Index of the fallback node, or -1.
        rescue: The link to the fallback node, or ``None``.
        is_fallback: Whether this node is the fallback of one that may run.
        compensate: Index of the node that undoes this one, or -1.
        inputs: What the blueprint says of its inputs, if anything.
    """

    index: int
    id: str
    kind: Kind
    definition: NodeDefinition
    inputs: str | Mapping[str, str] | None = None
    out: tuple[Link, ...] = ()
    into: tuple[Link, ...] = ()
    loops: Iteration = ()
    expected: tuple[int, ...] = (0,)
    alone: bool = False
    plain: bool = True
    straight: bool = False
    join_any: bool = False
    fallback: int = -1
    rescue: Link | None = None
    is_fallback: bool = False
    compensate: int = -1


@dataclass(slots=True, eq=False)
class Loop:
    """A cycle of the graph with its own iteration counter.

    ``size`` counts what one iteration has to settle: the nodes directly inside, plus one for
    each loop nested in it. ``exits`` are the links for which this is the outermost loop left.
    """

    index: int
    header: int
    depth: int
    size: int
    exits: tuple[Link, ...] = ()


@dataclass(slots=True, eq=False)
class Plan:
    """The indexed blueprint. Immutable by agreement: nothing outside this module writes to it."""

    blueprint: WorkflowBlueprint
    nodes: tuple[PlanNode, ...]
    links: tuple[Link, ...]
    loops: tuple[Loop, ...]
    starts: tuple[int, ...]
    index_of: Mapping[str, int]
    evaluator: Evaluator
    has_compensation: bool = False
    codecs: CodecLookup | None = None
    has_expressions: bool = False

    def key(self, node: PlanNode, iteration: Iteration) -> Key:
        """The key of a node's instance in the iteration of its enclosing loops."""
        return (node.index, iteration) if node.loops else node.index

    def terminals(self) -> Iterator[PlanNode]:
        """Nodes whose output is the run's: nothing follows them, and they replace no other."""
        replacing = {node.fallback for node in self.nodes if node.fallback >= 0}
        undoing = {node.compensate for node in self.nodes if node.compensate >= 0}
        for node in self.nodes:
            if not node.out and node.index not in replacing and node.index not in undoing:
                yield node


def index_of_key(key: Key) -> int:
    """The node index of an instance's key."""
    return key if isinstance(key, int) else key[0]


def iteration_of_key(key: Key) -> Iteration:
    """The iteration vector of an instance's key; empty outside of loops."""
    return () if isinstance(key, int) else key[1]


def build_plan(
    blueprint: WorkflowBlueprint,
    evaluator: Evaluator | None = None,
    codecs: CodecLookup | None = None,
) -> Plan:
    """Index a blueprint.

    Args:
        blueprint: A valid blueprint (``WorkflowBlueprint.from_dict`` has checked its shape).
        evaluator: What evaluates conditions and transforms; the safe evaluator by default.
        codecs: Finds the codec of a type that the user registered, for values of transforms.

    Returns:
        The plan; building it takes time in proportion to nodes and edges.

    Raises:
        BlueprintError: A loop controller has no ``continue`` edge (rule S10), or two nodes of
            a blueprint that was not read from JSON have the same id.
    """
    nodes = [_plan_node(i, definition) for i, definition in enumerate(blueprint.nodes)]
    _refuse_duplicates(blueprint)
    index_of = {node.id: node.index for node in nodes}
    starts = tuple(index_of[node_id] for node_id in start_node_ids(blueprint))
    _connect_helpers(nodes, index_of)
    links = _links(blueprint, nodes, index_of)
    links = _only_reachable(nodes, links, starts)
    _attach(nodes, links)
    loops = _enclose(nodes, links, starts)
    for node in nodes:
        _finish_node(node)
    for link in links:
        link.starts = _starts_target(link, nodes[link.target])
    _refuse_endless_controllers(blueprint, nodes)
    return Plan(
        blueprint=blueprint,
        nodes=tuple(nodes),
        links=tuple(links),
        loops=loops,
        starts=starts,
        index_of=index_of,
        evaluator=evaluator or SafeEvaluator(),
        codecs=codecs,
        has_compensation=any(node.compensate >= 0 for node in nodes),
        has_expressions=any(not node.plain or node.kind is Kind.LOOP for node in nodes),
    )


def extend_plan(plan: Plan, definitions: Sequence[NodeDefinition], loops: Iteration) -> Plan:
    """The plan with nodes that a running node added (rule S7); they have no edges.

    Args:
        plan: The plan so far; it is left as it is.
        definitions: The new nodes; their ids must be new.
        loops: The loops that enclose the node which adds them, and so enclose them.
    """
    first = len(plan.nodes)
    fresh = [_plan_node(first + i, definition) for i, definition in enumerate(definitions)]
    for node in fresh:
        node.loops = loops
        _finish_node(node)
    return Plan(
        blueprint=plan.blueprint,
        nodes=(*plan.nodes, *fresh),
        links=plan.links,
        loops=plan.loops,
        starts=plan.starts,
        index_of={**plan.index_of, **{node.id: node.index for node in fresh}},
        evaluator=plan.evaluator,
        codecs=plan.codecs,
        has_compensation=plan.has_compensation,
        has_expressions=plan.has_expressions,
    )


def _plan_node(index: int, definition: NodeDefinition) -> PlanNode:
    kind = KIND_OF_USES.get(definition.uses, Kind.TASK)
    # A controller is entered from before the loop and from its body: never both at once (S10).
    join_any = definition.config.join_strategy == "any" or kind is Kind.LOOP
    return PlanNode(
        index, definition.id, kind, definition, inputs=definition.inputs, join_any=join_any
    )


def _connect_helpers(nodes: list[PlanNode], index_of: Mapping[str, int]) -> None:
    for node in nodes:
        config = node.definition.config
        node.fallback = index_of.get(config.fallback, -1) if config.fallback else -1
        node.compensate = index_of.get(config.compensate, -1) if config.compensate else -1
        if node.fallback == node.index:
            node.fallback = -1


def _links(
    blueprint: WorkflowBlueprint, nodes: list[PlanNode], index_of: Mapping[str, int]
) -> list[Link]:
    grouped: dict[tuple[int, int], list[EdgeDefinition]] = {}
    for edge in blueprint.edges:
        source, target = index_of.get(edge.source), index_of.get(edge.target)
        if source is not None and target is not None:
            grouped.setdefault((source, target), []).append(edge)
    links = [
        Link(0, source, target, tuple(edges), plain=_is_plain(edges))
        for (source, target), edges in grouped.items()
    ]
    for node in nodes:
        if node.fallback >= 0:
            node.rescue = Link(0, node.index, node.fallback, ())
            links.append(node.rescue)
    return links


def _is_plain(edges: Sequence[EdgeDefinition]) -> bool:
    return all(
        edge.action is None and edge.condition is None and edge.transform is None for edge in edges
    )


def _only_reachable(nodes: list[PlanNode], links: list[Link], starts: Sequence[int]) -> list[Link]:
    """Drop links whose source can never run, and number the rest."""
    reached = reach(_successors(len(nodes), links), starts)
    kept = [link for link in links if reached[link.source]]
    for index, link in enumerate(kept):
        link.index = index
    for node in nodes:
        if not reached[node.index]:
            node.rescue = None
    return kept


def _successors(count: int, links: list[Link]) -> list[list[int]]:
    following: list[list[int]] = [[] for _ in range(count)]
    for link in links:
        following[link.source].append(link.target)
    return following


def _attach(nodes: list[PlanNode], links: list[Link]) -> None:
    out: dict[int, list[Link]] = {}
    into: dict[int, list[Link]] = {}
    for link in links:
        if not link.is_fallback:
            out.setdefault(link.source, []).append(link)
        into.setdefault(link.target, []).append(link)
    for index, leaving in out.items():
        nodes[index].out = tuple(leaving)
    for index, entering in into.items():
        nodes[index].into = tuple(entering)


def _enclose(nodes: list[PlanNode], links: list[Link], starts: Sequence[int]) -> tuple[Loop, ...]:
    """Find the loops, mark back edges and exits, and give every node its place."""
    following = _successors(len(nodes), links)
    nesting = find_nesting(following, starts)
    if not nesting.headers:
        return ()
    for node in nodes:
        node.loops = nesting.loops_of[node.index]
    _place_stand_ins(nodes)
    ring = _ring_of_fallbacks(nodes)
    for link in links:
        _place_link(link, nodes, nesting)
        link.spent = link.back and link.is_fallback and link.source in ring
    for node in nodes:
        node.into = tuple(link for link in node.into if not link.back)
    return _describe_loops(nodes, links, nesting)


def _ring_of_fallbacks(nodes: list[PlanNode]) -> frozenset[int]:
    """The nodes whose fallback's fallback, and so on, are they themselves."""
    ring: set[int] = set()
    seen: set[int] = set()
    for node in nodes:
        trail: list[int] = []
        index = node.index
        while index >= 0 and index not in seen:
            seen.add(index)
            trail.append(index)
            index = nodes[index].fallback
        if index in trail:
            ring.update(trail[trail.index(index) :])
    return frozenset(ring)


def _place_stand_ins(nodes: list[PlanNode]) -> None:
    """Put fallbacks without edges of their own where the nodes are that they stand in for.

    Such a fallback continues with the failed node's links. It belongs to the loops that enclose
    everything that leads to it: were it further inside, a loop could wait for it while it waits
    for something that waits for the loop. It makes no loop of its own: loops are cycles of edges.
    """
    waiting = {
        node.index: sum(1 for link in node.into if _is_stand_in(nodes[link.source]))
        for node in nodes
        if _is_stand_in(node)
    }
    # One that replaces another stand-in comes after it: their relations have no cycle.
    free = [index for index, count in waiting.items() if count == 0]
    while free:
        node = nodes[free.pop()]
        node.loops = _shared_loops([nodes[link.source] for link in node.into])
        if node.rescue is not None and node.fallback in waiting:
            waiting[node.fallback] -= 1
            if waiting[node.fallback] == 0:
                free.append(node.fallback)


def _is_stand_in(node: PlanNode) -> bool:
    return not node.out and not node.loops and any(link.is_fallback for link in node.into)


def _shared_loops(nodes: Sequence[PlanNode]) -> Iteration:
    shared = nodes[0].loops
    for node in nodes[1:]:
        length = 0
        while length < min(len(shared), len(node.loops)) and shared[length] == node.loops[length]:
            length += 1
        shared = shared[:length]
    return shared


def _place_link(link: Link, nodes: list[PlanNode], nesting: Nesting) -> None:
    source, target = nodes[link.source].loops, nodes[link.target].loops
    common = len(_shared_loops([nodes[link.source], nodes[link.target]]))
    link.common = common
    link.leaves = common < len(source)
    link.direct = not source and not target
    link.back = (
        common > 0 and common == len(target) and nesting.headers[target[common - 1]] == link.target
    )


def _describe_loops(nodes: list[PlanNode], links: list[Link], nesting: Nesting) -> tuple[Loop, ...]:
    sizes = [0] * len(nesting.headers)
    for node in nodes:
        if node.loops:
            sizes[node.loops[-1]] += 1
    for parent in nesting.parents:
        if parent >= 0:
            sizes[parent] += 1
    exits: dict[int, list[Link]] = {}
    for link in links:
        if link.leaves and not link.back:
            exits.setdefault(nodes[link.source].loops[link.common], []).append(link)
    return tuple(
        Loop(i, header, len(nodes[header].loops), sizes[i], tuple(exits.get(i, ())))
        for i, header in enumerate(nesting.headers)
    )


def _finish_node(node: PlanNode) -> None:
    depth = len(node.loops)
    node.expected = tuple(
        sum(1 for link in node.into if link.common >= k) for k in range(depth + 1)
    )
    node.alone = all(count <= 1 for count in node.expected)
    node.is_fallback = any(link.is_fallback for link in node.into)
    node.plain = all(link.plain for link in node.out)
    node.straight = (
        node.plain
        and all(link.direct for link in node.out)
        and not node.loops
        and node.rescue is None
        and node.compensate < 0
    )


def _starts_target(link: Link, target: PlanNode) -> bool:
    simple = target.kind is Kind.TASK and target.alone and target.inputs is None
    return simple and link.plain and link.direct and not link.is_fallback


def _refuse_duplicates(blueprint: WorkflowBlueprint) -> None:
    seen: set[str] = set()
    problems = []
    for position, node in enumerate(blueprint.nodes):
        if node.id in seen:
            problems.append(Problem(f"nodes[{position}].id", f"'{node.id}' is taken already"))
        seen.add(node.id)
    if problems:
        raise BlueprintError(problems, blueprint_id=blueprint.id)


def _refuse_endless_controllers(blueprint: WorkflowBlueprint, nodes: list[PlanNode]) -> None:
    continued = {edge.source for edge in blueprint.edges if edge.action == builtins.CONTINUE}
    problems = [
        Problem(
            f"node '{node.id}'",
            "a loop-controller needs an edge with the action 'continue' to the start of its "
            "body; without one its loop could never go round",
        )
        for node in nodes
        if node.kind is Kind.LOOP and node.id not in continued
    ]
    if problems:
        raise BlueprintError(problems, blueprint_id=blueprint.id)
