"""Drawings of a blueprint as SVG: to be looked at, read aloud, and printed.

The drawing brings its own colours for light and dark surroundings. How a node fared is a word, a
sign and a kind of line besides a colour; every box and line has a title for who points at it or has
it read. Whatever ids and conditions hold is text.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final
from unicodedata import east_asian_width
from xml.sax.saxutils import escape

from flowcraft.core import builtins
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.draw_text import SIGNS
from flowcraft.core.layout import Layout, Point, Size, lay_out
from flowcraft.core.picture import Box, Line, Picture, picture_of

MARGIN: Final = 16.0
LINE_HEIGHT: Final = 16.0
MOST_NAME: Final = 36
MOST_LABEL: Final = 44
LOOP_ROOM: Final = 30.0
"""What an edge from a box to itself takes at its right."""

_GROUPS: Final[Mapping[str, str]] = {
    "succeeded": "good",
    "failed": "bad",
    "running": "busy",
    "child": "busy",
    "waiting": "idle",
    "sleeping": "idle",
    "retrying": "warned",
    "rescuing": "warned",
    "rescued": "warned",
    "skipped": "past",
    "blocked": "past",
    "cancelled": "past",
}

_STYLE: Final = """
svg{--ink:#1f2328;--soft:#59636e;--line:#6e7781;--paper:#fff;--box:#f6f8fa;--rim:#8c959f;
--good:#dafbe1;--good-rim:#1a7f37;--bad:#ffebe9;--bad-rim:#cf222e;--busy:#ddf4ff;
--busy-rim:#0969da;--idle:#fff8c5;--idle-rim:#9a6700;--warned:#fff1e5;--warned-rim:#bc4c00;
--past:#f6f8fa;--past-rim:#afb8c1;font:13px system-ui,"Segoe UI",Helvetica,Arial,sans-serif}
@media (prefers-color-scheme:dark){svg{--ink:#e6edf3;--soft:#9198a1;--line:#8b949e;--paper:#0d1117;
--box:#161b22;--rim:#6e7681;--good:#0f2f1a;--good-rim:#3fb950;--bad:#3c1618;--bad-rim:#f85149;
--busy:#0c2d4d;--busy-rim:#58a6ff;--idle:#33280a;--idle-rim:#d29922;--warned:#3d2008;
--warned-rim:#f0883e;--past:#161b22;--past-rim:#484f58}}
.paper{fill:var(--paper)}.shape{fill:var(--box);stroke:var(--rim);stroke-width:1.5}
.name{fill:var(--ink);font-weight:600}.more{fill:var(--soft);font-size:11px}
.line{fill:none;stroke:var(--line);stroke-width:1.5}.head{fill:var(--line)}
.taken-head{fill:var(--good-rim)}
.label{fill:var(--ink);font-size:11px;paint-order:stroke;stroke:var(--paper);stroke-width:4px}
.back .line{stroke-dasharray:7 3}.helper .line{stroke-dasharray:2 3}
.taken .line{stroke-width:3;stroke:var(--good-rim)}
.good .shape{fill:var(--good);stroke:var(--good-rim)}.bad .shape{fill:var(--bad);
stroke:var(--bad-rim);stroke-width:2.5}.busy .shape{fill:var(--busy);stroke:var(--busy-rim)}
.idle .shape{fill:var(--idle);stroke:var(--idle-rim)}.warned .shape{fill:var(--warned);
stroke:var(--warned-rim)}.past .shape{fill:var(--past);stroke:var(--past-rim);
stroke-dasharray:5 4}.past .name{fill:var(--soft)}
""".replace("\n", "")


def draw_svg(
    blueprint: WorkflowBlueprint | Mapping[str, Any],
    *,
    states: Mapping[str, str] | None = None,
    taken: Collection[tuple[str, str]] = (),
    title: str | None = None,
) -> str:
    """Draw a blueprint as an SVG document.

    Args:
        blueprint: A blueprint or its JSON form, of which what is malformed is left out.
        states: By node id how it fared in a run, as ``RunResult.states`` has it.
        taken: Pairs of source and target whose edges were taken; they are drawn thick.
        title: What the drawing is of; the blueprint's id by default.

    Returns:
        The text of the document, ending with a line break. It needs nothing from outside.
    """
    picture = picture_of(blueprint, states, taken)
    return _Drawing(picture, title or picture.title or "workflow").text()


class _Drawing:
    def __init__(self, picture: Picture, title: str) -> None:
        self._picture = picture
        self._title = title
        self._has_states = any(box.state for box in picture.boxes)
        selfish = {line.source for line in picture.lines if line.source == line.target}
        self._sizes = [_size(box, self._has_states) for box in picture.boxes]
        room = [
            Size(size.width + LOOP_ROOM * 2 * (at in selfish), size.height)
            for at, size in enumerate(self._sizes)
        ]
        self._drawn = [line for line in picture.lines if line.source != line.target]
        ends = [
            (line.target, line.source) if line.is_back else (line.source, line.target)
            for line in self._drawn
        ]
        labels = [_label_size(line) for line in self._drawn]
        self._layout: Layout = lay_out(room, ends, labels)

    def text(self) -> str:
        """The whole document."""
        width = math.ceil(self._layout.size.width + 2 * MARGIN)
        height = math.ceil(self._layout.size.height + 2 * MARGIN)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" aria-labelledby="title about">',
            f'<title id="title">{_escaped(self._title)}</title>',
            f'<desc id="about">{_escaped(self._about())}</desc>',
            f"<style>{_STYLE}</style>",
            f"<defs>{_head('head')}{_head('taken-head')}</defs>",
            f'<rect class="paper" width="{width}" height="{height}"/>',
            f'<g transform="translate({_n(MARGIN)} {_n(MARGIN)})">',
            *self._lines(),
            *self._boxes(),
            "</g>",
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    def _about(self) -> str:
        """What the drawing shows, in a sentence."""
        boxes = self._picture.boxes
        states = Counter(box.state or "not reached" for box in boxes) if self._has_states else {}
        told = ", ".join(f"{count} {state}" for state, count in states.items())
        nodes = f"{len(boxes)} node{'' if len(boxes) == 1 else 's'}"
        return f"A workflow of {nodes}{': ' if told else ''}{told}."

    def _lines(self) -> Iterator[str]:
        names = [box.id for box in self._picture.boxes]
        for line, route, place in zip(
            self._drawn, self._layout.routes, self._layout.labels, strict=True
        ):
            points = route[::-1] if line.is_back else route
            yield _line(line, names, _curve(points), place)
        for line in self._picture.lines:
            if line.source == line.target:
                yield _line(line, names, *self._round(line))

    def _round(self, line: Line) -> tuple[str, Point]:
        """An edge from a box to itself, at its right."""
        x, y = self._layout.boxes[line.source]
        right = x + self._sizes[line.source].width / 2
        path = (
            f"M{_n(right)} {_n(y - 8)}C{_n(right + 32)} {_n(y - 22)} {_n(right + 32)} "
            f"{_n(y + 22)} {_n(right)} {_n(y + 8)}"
        )
        return path, Point(right + LOOP_ROOM, y)

    def _boxes(self) -> Iterator[str]:
        for box, (x, y), size in zip(
            self._picture.boxes, self._layout.boxes, self._sizes, strict=True
        ):
            group = _GROUPS.get(box.state or "", "")
            lines = _lines_of(box, self._has_states)
            first = y - (len(lines) - 1) * LINE_HEIGHT / 2 + 4
            texts = "".join(
                f'<text class="{"more" if at else "name"}" x="{_n(x)}" text-anchor="middle" '
                f'y="{_n(first + at * LINE_HEIGHT)}">{_escaped(text)}</text>'
                for at, text in enumerate(lines)
            )
            about = f"{box.id} ({box.uses})" + (f": {box.state}" if box.state else "")
            yield (
                f'<g class="node{" " if group else ""}{group}"><title>{_escaped(about)}</title>'
                f"{_shape(box.uses, x, y, size)}{texts}</g>"
            )


def _lines_of(box: Box, has_states: bool) -> list[str]:
    lines = [_cut(box.id, MOST_NAME)]
    if box.uses != box.id:
        lines.append(_cut(box.uses, MOST_NAME))
    if has_states:
        lines.append(f"{SIGNS.get(box.state, '·')} {box.state}" if box.state else "○ not reached")
    return lines


def _size(box: Box, has_states: bool) -> Size:
    lines = _lines_of(box, has_states)
    width = max(_width(lines[0], 7.6), *(_width(line, 6.2) for line in lines))
    slant = 30.0 if box.is_builtin else 22.0
    return Size(max(72.0, width + slant), len(lines) * LINE_HEIGHT + 16)


def _label_size(line: Line) -> Size | None:
    if not line.labels:
        return None
    return Size(_width(_label(line), 6.0) + 8, LINE_HEIGHT)


def _label(line: Line) -> str:
    return _cut(" / ".join(line.labels), MOST_LABEL)


def _line(line: Line, names: Sequence[str], path: str, place: Point | None) -> str:
    kinds = {"back": line.is_back, "helper": line.kind != "edge", "taken": line.is_taken}
    classes = " ".join(["edge", *(name for name, holds in kinds.items() if holds)])
    told = f": {' / '.join(line.labels)}" if line.labels else ""
    about = f"{names[line.source]} → {names[line.target]}{told}"
    label = ""
    if line.labels and place is not None:
        anchor = "start" if line.source == line.target else "middle"
        label = (
            f'<text class="label" x="{_n(place.x)}" y="{_n(place.y + 4)}" '
            f'text-anchor="{anchor}">{_escaped(_label(line))}</text>'
        )
    head = "taken-head" if line.is_taken else "head"
    return (
        f'<g class="{classes}"><title>{_escaped(about)}</title>'
        f'<path class="line" d="{path}" marker-end="url(#{head})"/>{label}</g>'
    )


def _head(name: str) -> str:
    """The head of an arrow, as large on thick lines as on others."""
    return (
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="10" '
        'markerHeight="10" markerUnits="userSpaceOnUse" orient="auto">'
        f'<path class="{name}" d="M0 0L10 5L0 10z"/></marker>'
    )


def _curve(points: Sequence[Point]) -> str:
    """A smooth path that leaves and enters each point upright."""
    (x, y), parts = points[0], []
    for nx, ny in points[1:]:
        middle = (y + ny) / 2
        if abs(nx - x) < 0.05:
            parts.append(f"L{_n(nx)} {_n(ny)}")
        else:
            parts.append(f"C{_n(x)} {_n(middle)} {_n(nx)} {_n(middle)} {_n(nx)} {_n(ny)}")
        x, y = nx, ny
    return f"M{_n(points[0].x)} {_n(points[0].y)}{''.join(parts)}"


def _shape(uses: str, x: float, y: float, size: Size) -> str:
    """What a node is can be told from its shape: see ``docs/command-graph.md``."""
    w, h = size.width / 2, size.height / 2
    left, right, top, bottom = x - w, x + w, y - h, y + h
    if uses == builtins.LOOP_CONTROLLER:
        ends = (left + 12, top, right - 12, top, right, y, right - 12, bottom, left + 12, bottom)
        return _polygon(*ends, left, y)
    if uses == builtins.BATCH_SCATTER:
        return _polygon(left + 10, top, right - 10, top, right, bottom, left, bottom)
    if uses == builtins.BATCH_GATHER:
        return _polygon(left, top, right, top, right - 10, bottom, left + 10, bottom)
    round_ = h if uses in (builtins.WAIT, builtins.WEBHOOK, builtins.SLEEP) else 6.0
    outer = _rect(left, top, size.width, size.height, round_)
    if uses == builtins.SUBFLOW:
        return outer + _rect(left + 4, top + 4, size.width - 8, size.height - 8, 4.0)
    return outer


def _rect(x: float, y: float, width: float, height: float, round_: float) -> str:
    return (
        f'<rect class="shape" x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" '
        f'height="{_n(height)}" rx="{_n(round_)}"/>'
    )


def _polygon(*numbers: float) -> str:
    return f'<polygon class="shape" points="{" ".join(map(_n, numbers))}"/>'


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _width(text: str, letter: float) -> float:
    """About what a text takes: fonts differ, and nothing here can measure them."""
    return sum(letter * (1.7 if east_asian_width(sign) in "WF" else 1.0) for sign in text)


def _escaped(text: str) -> str:
    """Text of a document: neither markup, nor signs that XML has no place for."""
    shown = "".join(sign if sign.isprintable() else "�" for sign in text)
    return escape(shown, {'"': "&quot;"})
