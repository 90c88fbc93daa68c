"""What there is to draw of a blueprint: boxes with states, and lines with labels.

Every drawing but Mermaid's is made from this, so that they agree on what is shown: the SVG, the
text for a terminal, and DOT.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from flowcraft.core.blueprint import EdgeDefinition, WorkflowBlueprint, read_blueprint
from flowcraft.core.builtins import BUILTIN_USES
from flowcraft.core.graph import start_node_ids

LineKind = Literal["edge", "fallback", "compensate"]


@dataclass(frozen=True, slots=True)
class Box:
    """A node.

    Attributes:
        id: Its id.
        uses: Its ``uses`` key.
        state: How it fared in a run, or ``None``.
    """

    id: str
    uses: str
    state: str | None = None

    @property
    def is_builtin(self) -> bool:
        """Whether the engine carries it out itself."""
        return self.uses in BUILTIN_USES


@dataclass(frozen=True, slots=True)
class Line:
    """All edges from one node to another, or what leads to a helper of a node.

    Attributes:
        source: The number of the box it comes from.
        target: The number of the box it leads to.
        labels: Actions and conditions, one for each edge that has some.
        kind: An edge, or the way to a fallback or a compensation.
        is_taken: Whether a run took it.
        is_back: Whether it closes a cycle: drawings lay it against the direction.
    """

    source: int
    target: int
    labels: tuple[str, ...] = ()
    kind: LineKind = "edge"
    is_taken: bool = False
    is_back: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """The boxes in document order, and the lines between them.

    Attributes:
        title: The id of the blueprint.
        boxes: Its nodes.
        lines: Its edges, and what leads to fallbacks and compensations.
        starts: The numbers of the boxes where a run starts.
    """

    title: str
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    starts: tuple[int, ...]


def picture_of(
    blueprint: WorkflowBlueprint | Mapping[str, Any],
    states: Mapping[str, str] | None = None,
    taken: Collection[tuple[str, str]] = (),
) -> Picture:
    """What is to be drawn; what is malformed in a document is left out.

    Args:
        blueprint: A blueprint, or its JSON form.
        states: By node id how it fared in a run, as ``RunResult.states`` has it.
        taken: Pairs of source and target whose edges were taken.
    """
    if not isinstance(blueprint, WorkflowBlueprint):
        blueprint, _ = read_blueprint(blueprint)
    nodes = {node.id: node for node in blueprint.nodes}
    number = {node_id: index for index, node_id in enumerate(nodes)}
    known = states or {}
    boxes = tuple(Box(node.id, node.uses, known.get(node.id)) for node in nodes.values())
    starts = tuple(number[node_id] for node_id in start_node_ids(blueprint))
    lines = [*_edges(blueprint, number, set(taken)), *_helpers(blueprint, number)]
    back = back_lines(len(boxes), lines, starts)
    drawn = (
        Line(each.source, each.target, each.labels, each.kind, each.is_taken, at in back)
        for at, each in enumerate(lines)
    )
    return Picture(blueprint.id, boxes, tuple(drawn), starts)


def _edges(
    blueprint: WorkflowBlueprint, number: Mapping[str, int], taken: set[tuple[str, str]]
) -> Iterator[Line]:
    """One line for all edges between two nodes."""
    labels: dict[tuple[int, int], list[str]] = {}
    for edge in blueprint.edges:
        if edge.source in number and edge.target in number:
            ends = (number[edge.source], number[edge.target])
            label = label_of(edge)
            labels.setdefault(ends, []).extend([label] if label else [])
    ways = {(number.get(source), number.get(target)) for source, target in taken}
    for ends, texts in labels.items():
        yield Line(*ends, tuple(texts), is_taken=ends in ways)


def _helpers(blueprint: WorkflowBlueprint, number: Mapping[str, int]) -> Iterator[Line]:
    for node in blueprint.nodes:
        kinds: tuple[LineKind, ...] = ("fallback", "compensate")
        for kind in kinds:
            helper = getattr(node.config, kind)
            if helper in number and helper != node.id:
                yield Line(number[node.id], number[helper], (kind,), kind)


def label_of(edge: EdgeDefinition) -> str:
    """What decides over an edge, as a line of text: action, condition."""
    action = [] if edge.action is None else [str(edge.action)]
    return " | ".join(action + ([edge.condition] if edge.condition else []))


def back_lines(count: int, lines: Collection[Line], starts: Collection[int]) -> frozenset[int]:
    """The positions of the lines that close a cycle, found depth-first from the starts.

    Without them there is no cycle, whatever the graph. Lines from a box to itself are among them.
    """
    leaving: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for at, line in enumerate(lines):
        leaving[line.source].append((at, line.target))
    # 0: not met; 1: on the path; 2: left for good.
    mark = [0] * count
    back: set[int] = set()
    for root in (*starts, *range(count)):
        if mark[root]:
            continue
        mark[root] = 1
        path = [(root, iter(leaving[root]))]
        while path:
            index, following = path[-1]
            at, target = next(following, (-1, -1))
            if at < 0:
                mark[index] = 2
                path.pop()
            elif mark[target] == 1:
                back.add(at)
            elif not mark[target]:
                mark[target] = 1
                path.append((target, iter(leaving[target])))
    return frozenset(back)
