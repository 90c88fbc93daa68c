"""Drawings of a blueprint in DOT, the language of Graphviz."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from flowcraft.core import builtins
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.picture import Box, Line, picture_of

_SHAPES: Final[Mapping[str, str]] = {
    builtins.LOOP_CONTROLLER: "hexagon",
    builtins.WAIT: "ellipse",
    builtins.WEBHOOK: "ellipse",
    builtins.SLEEP: "ellipse",
    builtins.SUBFLOW: "box3d",
    builtins.BATCH_SCATTER: "trapezium",
    builtins.BATCH_GATHER: "invtrapezium",
}
_FILLS: Final[Mapping[str, str]] = {
    "succeeded": "#dafbe1",
    "failed": "#ffebe9",
    "running": "#ddf4ff",
    "child": "#ddf4ff",
    "waiting": "#fff8c5",
    "sleeping": "#fff8c5",
    "retrying": "#fff1e5",
    "rescuing": "#fff1e5",
    "rescued": "#fff1e5",
}
_STYLES: Final[Mapping[str, str]] = {"fallback": "dashed", "compensate": "dotted"}


def draw_dot(
    blueprint: WorkflowBlueprint | Mapping[str, Any],
    *,
    states: Mapping[str, str] | None = None,
    taken: Collection[tuple[str, str]] = (),
) -> str:
    """Draw a blueprint as a digraph for Graphviz; the arguments are those of ``draw_svg``.

    Returns:
        The text of the graph, ending with a line break. Ids and conditions are only text in it.
    """
    picture = picture_of(blueprint, states, taken)
    lines = [
        f"digraph {_quoted(picture.title)} {{",
        '  node [shape=box, style="rounded,filled", fillcolor="#f6f8fa"];',
    ]
    lines += [f"  n{number} [{_node(box)}];" for number, box in enumerate(picture.boxes)]
    lines += [f"  n{each.source} -> n{each.target}{_edge(each)};" for each in picture.lines]
    return "\n".join([*lines, "}"]) + "\n"


def _node(box: Box) -> str:
    state = f"\n{box.state}" if box.state else ""
    fields = {"label": _quoted(f"{box.id}{state}"), "tooltip": _quoted(box.uses)}
    if box.uses in _SHAPES:
        fields |= {"shape": _SHAPES[box.uses], "style": "filled"}
    if box.state is not None and box.state in _FILLS:
        fields["fillcolor"] = _quoted(_FILLS[box.state])
    elif box.state is not None:
        fields["style"] = _quoted("dashed")
    return ", ".join(f"{name}={value}" for name, value in fields.items())


def _edge(line: Line) -> str:
    fields = {}
    if line.labels:
        fields["label"] = _quoted(" / ".join(line.labels))
    if line.kind in _STYLES:
        fields["style"] = _STYLES[line.kind]
    if line.is_taken:
        fields["penwidth"] = "3"
    if line.is_back:
        fields["constraint"] = "false"
    written = ", ".join(f"{name}={value}" for name, value in fields.items())
    return f" [{written}]" if written else ""


def _quoted(text: str) -> str:
    """Text in quotes, in which a backslash and a quote are themselves and a line break one."""
    shown = "".join(sign if sign.isprintable() or sign == "\n" else "�" for sign in text)
    return '"' + shown.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
