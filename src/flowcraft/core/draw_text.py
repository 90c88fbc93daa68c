"""Drawings of a blueprint as lines of text: one line a node, with rails for the edges.

Nodes stand below those that lead to them. A rail is a column that waits for a node: edges to the
same node share one, so there are as many rails as nodes that were promised and have not come yet.
Where there would be more than fit, an edge is told in words instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.picture import Box, Line, Picture, picture_of

MOST_RAILS: Final = 12
"""Rails side by side at most; with two characters each they leave room for names."""

MOST_TOLD: Final = 4
"""Nodes that are named one by one where an edge is told in words."""

# Each state has a sign of its own: nobody has to tell colours apart.
SIGNS: Final[Mapping[str, str]] = {
    "succeeded": "✔",
    "failed": "✖",
    "running": "▶",
    "waiting": "◷",
    "sleeping": "◷",
    "child": "▷",
    "retrying": "↻",
    "rescuing": "↻",
    "rescued": "✚",
    "skipped": "∅",
    "blocked": "⊘",
    "cancelled": "⊗",
}
PENDING: Final = "○"

# By the ways that meet in a place: up, down, left, right.
_JOINTS: Final[Mapping[tuple[bool, bool, bool, bool], str]] = {
    (True, True, False, False): "│",
    (False, False, True, True): "─",
    (True, True, True, False): "┤",
    (True, True, False, True): "├",
    (True, False, True, True): "┴",
    (False, True, True, True): "┬",
    (True, True, True, True): "┼",
    (True, False, True, False): "╯",
    (True, False, False, True): "╰",
    (False, True, True, False): "╮",
    (False, True, False, True): "╭",
}


_PLAIN: Final = str.maketrans(
    {
        **dict.fromkeys("┤├┴┬┼╯╰╮╭", "+"),
        **{"│": "|", "─": "-", "·": ";", "…": "~", "→": ">", "←": "<", "↺": "^", "○": "o"},
        **{"✔": "+", "✖": "!", "▶": "*", "◷": "~", "▷": "*", "↻": "%", "✚": "#", "∅": "-"},
        **{"⊘": "-", "⊗": "x"},
    }
)


def in_plain_signs(text: str) -> str:
    """A line of a drawing in signs that every terminal has; the rest of a text stays."""
    return text.translate(_PLAIN)


class TextLine(NamedTuple):
    """A line of the drawing.

    Attributes:
        rails: What stands before the name.
        text: The name of a node with what belongs to it, or what is told of edges.
        node_id: The node whose line it is, or ``None``.
        state: How that node fared, or ``None``.
    """

    rails: str
    text: str
    node_id: str | None = None
    state: str | None = None

    def __str__(self) -> str:
        return f"{self.rails} {self.text}".rstrip()


def draw_text(
    blueprint: WorkflowBlueprint | Mapping[str, Any], states: Mapping[str, str] | None = None
) -> list[str]:
    """Draw a blueprint as lines of text without colours.

    Args:
        blueprint: A blueprint, or its JSON form, of which what is malformed is left out.
        states: By node id how it fared in a run, as ``RunResult.states`` has it.
    """
    return [str(line) for line in draw_lines(blueprint, states)]


def draw_lines(
    blueprint: WorkflowBlueprint | Mapping[str, Any], states: Mapping[str, str] | None = None
) -> list[TextLine]:
    """The same line by line, each with the node it shows, for whoever adds colours."""
    return list(_Rails(picture_of(blueprint, states), states is not None).lines())


class _Rails:
    def __init__(self, picture: Picture, shows_states: bool) -> None:
        self._boxes = picture.boxes
        self._shows_states = shows_states
        self._ahead: list[list[Line]] = [[] for _ in picture.boxes]
        self._back: list[list[Line]] = [[] for _ in picture.boxes]
        for line in picture.lines:
            (self._back if line.is_back else self._ahead)[line.source].append(line)
        self._order = _order(len(picture.boxes), self._ahead, picture.starts)
        self._awaited: list[int | None] = []
        self._told: dict[int, list[str]] = {}

    def lines(self) -> Iterator[TextLine]:
        for index in self._order:
            column, is_new = self._place(index)
            yield self._node_line(index, column, is_new)
            yield from self._edge_lines(index, column)

    def _place(self, index: int) -> tuple[int, bool]:
        """The column of a node: the one that waits for it, or a free one."""
        if index in self._awaited:
            return self._awaited.index(index), False
        return self._free(), True

    def _free(self) -> int:
        if None in self._awaited:
            return self._awaited.index(None)
        self._awaited.append(None)
        return len(self._awaited) - 1

    def _node_line(self, index: int, column: int, is_new: bool) -> TextLine:
        box = self._boxes[index]
        cells = ["│ " if awaited is not None else "  " for awaited in self._awaited]
        cells[column] = f"{SIGNS.get(box.state or '', PENDING)} "
        words = [_shown(box.id), *self._details(box)]
        words += [f"↺ {_shown(self._boxes[line.target].id)}" for line in self._back[index]]
        told = self._told.pop(index, None)
        if told and is_new:
            words.append(f"← {_few(told)}")
        elif told:
            words.append(f"← also {_few(told)}")
        return TextLine("".join(cells).rstrip(), "  ".join(words), box.id, box.state)

    def _details(self, box: Box) -> Iterator[str]:
        if box.is_builtin and box.uses != box.id:
            yield f"({box.uses})"
        if self._shows_states and box.state is not None:
            yield box.state

    def _edge_lines(self, index: int, column: int) -> Iterator[TextLine]:
        """The line below a node, where rails begin, meet or have labels."""
        before = [awaited is not None for awaited in self._awaited]
        self._awaited[column] = None
        targets: list[tuple[int, Line]] = []
        late: list[Line] = []
        for line in self._ahead[index]:
            at = self._open(line, column, targets)
            if at is None:
                late.append(line)
            else:
                targets.append((at, line))
        columns = {at for at, _ in targets}
        words = [text for at, line in targets if (text := self._told_of(line))]
        for line in late:
            self._told.setdefault(line.target, []).append(_shown(self._boxes[index].id))
        if late:
            words.append(f"→ {_few([_shown(self._boxes[line.target].id) for line in late])}")
        if words or columns - {column}:
            rails = self._joints(column, columns, before)
            yield TextLine(rails, " · ".join(words))
        while self._awaited and self._awaited[-1] is None:
            self._awaited.pop()

    def _open(self, line: Line, column: int, taken: Sequence[tuple[int, Line]]) -> int | None:
        """The rail that leads to the target of a line, or ``None`` where there is no room."""
        if line.target in self._awaited:
            return self._awaited.index(line.target)
        at: int | None
        if self._awaited[column] is None and not any(at == column for at, _ in taken):
            at = column
        else:
            room = None in self._awaited or len(self._awaited) < MOST_RAILS
            at = self._free() if room else None
        if at is not None:
            self._awaited[at] = line.target
        return at

    def _told_of(self, line: Line) -> str | None:
        if not line.labels:
            return None
        return f"[{' / '.join(map(_shown, line.labels))}] {_shown(self._boxes[line.target].id)}"

    def _joints(self, column: int, columns: set[int], before: list[bool]) -> str:
        low, high = min({column, *columns}), max({column, *columns})
        cells = []
        for at, awaited in enumerate(self._awaited):
            up = at == column or (at < len(before) and before[at])
            down = awaited is not None
            left, right = low < at <= high, low <= at < high
            if at != column and at not in columns and up:
                left = False  # a rail that only passes: the line goes behind it
            meets = at == column or at in columns or not up
            joint = _JOINTS.get((up, down, left, right and meets), " ")
            cells.append(joint + ("─" if right else " "))
        return "".join(cells).rstrip()


def _order(count: int, ahead: Sequence[Sequence[Line]], starts: Sequence[int]) -> list[int]:
    """Boxes behind those that lead to them, a branch to its end before the next one."""
    missing = [0] * count
    for lines in ahead:
        for line in lines:
            missing[line.target] += 1
    first = dict.fromkeys((*starts, *range(count)))
    todo = [index for index in reversed(first) if not missing[index]]
    order: list[int] = []
    while todo:
        index = todo.pop()
        order.append(index)
        for line in reversed(ahead[index]):
            missing[line.target] -= 1
            if not missing[line.target]:
                todo.append(line.target)
    return order


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_TOLD])
    more = len(names) - MOST_TOLD
    return f"{shown} and {more} more" if more > 0 else shown


def _shown(text: str) -> str:
    """Text that stays in its line, whatever characters it has."""
    whole = text if len(text) <= 60 else f"{text[:59]}…"
    return "".join(each if each.isprintable() else "�" for each in whole)
