"""Drawings of a blueprint as Mermaid flowcharts."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, Literal

from flowcraft.core import builtins
from flowcraft.core.blueprint import (
    EdgeDefinition,
    NodeDefinition,
    WorkflowBlueprint,
    read_blueprint,
)

Direction = Literal["TD", "TB", "BT", "LR", "RL"]

# Shapes say what a node is: a diamond decides, a stadium waits, a double frame is another flow.
_SHAPES: Final[Mapping[str, tuple[str, str]]] = {
    builtins.LOOP_CONTROLLER: ("{{", "}}"),
    builtins.WAIT: ("([", "])"),
    builtins.WEBHOOK: ("([", "])"),
    builtins.SLEEP: ("([", "])"),
    builtins.SUBFLOW: ("[[", "]]"),
    builtins.BATCH_SCATTER: ("[/", "\\]"),
    builtins.BATCH_GATHER: ("[\\", "/]"),
}
_TASK: Final = ("[", "]")

# Fill, border and text: readable on light and dark backgrounds, and apart in shades of grey.
_COLOURS: Final[Mapping[str, tuple[str, str, str]]] = {
    "succeeded": ("#c8e6c9", "#2e7d32", "#1b3a1d"),
    "failed": ("#ffcdd2", "#c62828", "#4a0f0f"),
    "running": ("#bbdefb", "#1565c0", "#0d2c4d"),
    "waiting": ("#fff9c4", "#f9a825", "#4d3a00"),
    "retrying": ("#ffe0b2", "#ef6c00", "#4d2600"),
    "skipped": ("#eeeeee", "#9e9e9e", "#616161"),
    "cancelled": ("#d7ccc8", "#5d4037", "#2e1f1a"),
}
_DASHED: Final = frozenset({"skipped", "cancelled"})

_PLAIN_ID: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# Words of the language, which cannot be ids in any spelling.
_RESERVED: Final = frozenset(
    {
        "call",
        "class",
        "classdef",
        "click",
        "default",
        "direction",
        "end",
        "flowchart",
        "graph",
        "href",
        "linkstyle",
        "style",
        "subgraph",
    }
)
_GENERATED_ID: Final = re.compile(r"n[0-9]+")
_MAX_LABEL: Final = 200


def generate_mermaid(
    blueprint: WorkflowBlueprint | Mapping[str, Any],
    *,
    states: Mapping[str, str] | None = None,
    taken: Collection[tuple[str, str]] = (),
    direction: Direction = "TD",
) -> str:
    """Draw a blueprint as a Mermaid flowchart.

    Args:
        blueprint: A blueprint or its JSON form, of which what is malformed is left out.
        states: By node id how it fared in a run: ``succeeded``, ``failed``, ``running``,
            ``waiting``, ``retrying``, ``skipped`` or ``cancelled``; others have no colour.
        taken: Pairs of source and target whose edges were taken; they are drawn thick.
        direction: ``TD`` (downwards), ``LR`` (to the right), ``BT`` or ``RL``.

    Returns:
        The text of the diagram, ending with a line break. Whatever ids and expressions hold,
        they appear as text and do not change the diagram.

    Raises:
        ValueError: The direction is none of these.
    """
    if direction not in ("TD", "TB", "BT", "LR", "RL"):
        raise ValueError(f"direction must be TD, TB, BT, LR or RL, not {direction!r}")
    if not isinstance(blueprint, WorkflowBlueprint):
        blueprint, _ = read_blueprint(blueprint)
    nodes = {node.id: node for node in blueprint.nodes}
    names = _names(nodes)
    lines = [f"flowchart {direction}"]
    lines += [f"    {_node(names[node.id], node)}" for node in nodes.values()]
    edges = [edge for edge in blueprint.edges if edge.source in names and edge.target in names]
    lines += [f"    {_edge(edge, names)}" for edge in edges]
    lines += [f"    {line}" for line in _helpers(nodes, names)]
    ways = set(taken)
    thick = [str(i) for i, edge in enumerate(edges) if (edge.source, edge.target) in ways]
    if thick:
        lines.append(f"    linkStyle {','.join(thick)} stroke-width:4px,stroke:#2e7d32")
    lines += [f"    {line}" for line in _colours(names, states or {})]
    return "\n".join(lines) + "\n"


def _names(nodes: Mapping[str, NodeDefinition]) -> dict[str, str]:
    """The ids of the diagram: those of the nodes where they can be, else numbered ones."""
    return {
        node_id: node_id if _is_plain(node_id) else f"n{number}"
        for number, node_id in enumerate(nodes)
    }


def _is_plain(node_id: str) -> bool:
    if not _PLAIN_ID.fullmatch(node_id) or len(node_id) > 60:
        return False
    if _GENERATED_ID.fullmatch(node_id):
        return False
    # The parser of some versions finds words of the language at the start of an id, too.
    return not any(node_id.lower().startswith(word) for word in _RESERVED)


def _node(name: str, node: NodeDefinition) -> str:
    opening, closing = _SHAPES.get(node.uses, _TASK)
    return f'{name}{opening}"{_escaped(node.id)}"{closing}'


def _edge(edge: EdgeDefinition, names: Mapping[str, str]) -> str:
    parts = [] if edge.action is None else [str(edge.action)]
    parts += [part for part in (edge.condition, edge.transform) if part]
    label = f'|"{_escaped(" | ".join(parts))}"|' if parts else ""
    return f"{names[edge.source]} -->{label} {names[edge.target]}"


def _helpers(nodes: Mapping[str, NodeDefinition], names: Mapping[str, str]) -> Iterator[str]:
    """Dotted lines from a node to its fallback and to what undoes it."""
    for node in nodes.values():
        for role in ("fallback", "compensate"):
            helper = getattr(node.config, role)
            if helper in names and helper != node.id:
                yield f'{names[node.id]} -.->|"{role}"| {names[helper]}'


def _colours(names: Mapping[str, str], states: Mapping[str, str]) -> Iterator[str]:
    """A class for each state that occurs, and which nodes are in it."""
    for state, (fill, stroke, text) in _COLOURS.items():
        members = [name for node_id, name in names.items() if states.get(node_id) == state]
        if members:
            dashes = ",stroke-dasharray:5 5" if state in _DASHED else ""
            yield f"classDef {state} fill:{fill},stroke:{stroke},color:{text}{dashes}"
            yield f"class {','.join(members)} {state}"


def _escaped(text: str) -> str:
    """Text for a quoted label, in which no character has a meaning."""
    if len(text) > _MAX_LABEL:
        text = f"{text[: _MAX_LABEL - 1]}…"
    return "".join(_entity(character) for character in text)


def _entity(character: str) -> str:
    known = _ENTITIES.get(character)
    if known is not None:
        return known
    if character.isprintable():
        return character
    # Control characters, line breaks of other scripts, directional marks, halves of pairs.
    return f"U+{ord(character):04X}" if ord(character) > 0x20 else " "


_ENTITIES: Final[Mapping[str, str]] = {
    "&": "&amp;",
    '"': "&quot;",
    "<": "&lt;",
    ">": "&gt;",
    # Codes are written as Mermaid reads them: without "&".
    "`": "#96;",
    "#": "#35;",
    ";": "#59;",
    "\\": "#92;",
    "\n": "<br/>",
}
