"""Tables that fit a terminal and never break what people copy: ids stay whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from flowcraft.cli.output import STYLES, Output, plain

GAP: Final = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        title: Its heading.
        is_whole: Its cells are never cut: one that is too wide stands on a line of its own.
        least: To how many columns it may be made narrower.
        right: Whether its cells stand to the right.
    """

    title: str
    is_whole: bool = False
    least: int = 6
    right: bool = False


def show_rows(out: Output, columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> None:
    """Write rows that fit the width; a word of :data:`STYLES` gets its colour.

    Columns that may be cut become narrower, the widest first, until a row fits.

    Args:
        out: Where to.
        columns: What the cells are.
        rows: A cell for each column.
    """
    width = out.width
    for line in lines_of(columns, rows, width, more="…" if out.has_all_signs else "~"):
        out.console.print(line, soft_wrap=True)


def lines_of(
    columns: Sequence[Column],
    rows: Iterable[Sequence[object]],
    width: int,
    *,
    more: str = "…",
) -> list[Text]:
    """The lines of a table.

    Args:
        columns: What the cells are.
        rows: A cell for each column; a ``Text`` keeps its own colours.
        width: Columns of the terminal.
        more: Stands where something was cut off.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    widths = _widths(columns, cells, width)
    heading = [Text(column.title, style="bold") for column in columns]
    lines = [_line(columns, heading, widths, more)]
    for row in cells:
        lines += _row(columns, row, widths, more)
    return lines


def _cell(value: object) -> Text:
    if isinstance(value, Text):
        return value
    text = "" if value is None else " ".join(plain(value).split())
    return Text(text, style=STYLES.get(text, ""))


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int) -> list[int]:
    """How wide the columns are: cells that may be cut give way before those that stay whole."""
    wanted = [
        max([cell_len(column.title), *(row[place].cell_len for row in rows)])
        for place, column in enumerate(columns)
    ]
    least = [
        min(want, max(column.least, cell_len(column.title)))
        for column, want in zip(columns, wanted, strict=True)
    ]
    room = width - GAP * (len(columns) - 1)
    narrow = [
        want if column.is_whole else bound
        for column, want, bound in zip(columns, wanted, least, strict=True)
    ]
    for place, column in enumerate(columns):
        over = sum(narrow) - room
        if over > 0 and column.is_whole:
            # Those cells that have no room stand on lines of their own: the others say how much.
            most = max(least[place], narrow[place] - over)
            fits = [row[place].cell_len for row in rows if row[place].cell_len <= most]
            narrow[place] = wanted[place] = max([cell_len(column.title), *fits])
    return _shrunk(wanted, narrow, room)


def _shrunk(wanted: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Widths that fit, the widest made narrower first, as far as each may be."""
    widths = list(wanted)
    while sum(widths) > room:
        slack = [want - bound for want, bound in zip(widths, least, strict=True)]
        most = max(slack)
        if most <= 0:
            break
        place = slack.index(most)
        widths[place] -= min(most, sum(widths) - room, max(1, most // 4))
    return widths


def _row(
    columns: Sequence[Column], row: Sequence[Text], widths: Sequence[int], more: str
) -> list[Text]:
    """The line of a row; before it what is to stay whole and has no room in it."""
    lines: list[Text] = []
    cells = list(row)
    for place, column in enumerate(columns):
        if column.is_whole and cells[place].cell_len > widths[place]:
            lines.append(cells[place])
            cells[place] = Text("")
    return [*lines, _line(columns, cells, widths, more)]


def _line(
    columns: Sequence[Column], cells: Sequence[Text], widths: Sequence[int], more: str
) -> Text:
    line = Text()
    for place, (column, cell, width) in enumerate(zip(columns, cells, widths, strict=True)):
        shown = cut(cell, width, more)
        space = " " * (width - shown.cell_len)
        if place:
            line.append(" " * GAP)
        if column.right:
            line.append(space)
        line.append_text(shown)
        if not column.right:
            line.append(space)
    line.rstrip()
    return line


def cut(text: Text, width: int, more: str = "…") -> Text:
    """A text that is at most so wide, with a sign where something was cut off."""
    if text.cell_len <= width:
        return text
    short = text.copy()
    short.plain = set_cell_size(text.plain, max(0, width - cell_len(more))).rstrip() + more
    return short
