"""What a command shows: text and tables for people, JSON for programs.

What was asked for goes to standard output; remarks, questions and errors go to standard error, so
that a pipe holds only what was asked for. Colours are for terminals: ``NO_COLOR`` or ``TERM=dumb``
leaves them out. Text that came out of runs may hold anything: signs that a terminal would obey are
shown instead (:func:`plain`).
"""

from __future__ import annotations

import codecs
import io
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TextIO

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from flowcraft.engine.jsonable import jsonable

PIPED_COLUMNS: Final = 10_000
"""Nothing is broken into lines for who reads a pipe."""

STYLES: Final[Mapping[str, str]] = {
    "completed": "green",
    "running": "cyan",
    "awaiting": "yellow",
    "paused": "magenta",
    "failed": "red",
    "cancelled": "bright_black",
    "skipped": "bright_black",
    "ok": "green",
    "note": "cyan",
    "warning": "yellow",
    "error": "red",
}
"""The colours of words that say how something is; the word is always there, too."""

_CONTROLS: Final = re.compile("[\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

Justify = Literal["left", "right"]


def plain(text: object) -> str:
    """A text without signs that a terminal would obey: each is shown by its number."""
    return "".join(
        sign if sign.isprintable() or sign in "\n\t" else f"\\x{ord(sign):02x}"
        for sign in str(text)
    )


def json_text(data: Any, stream: TextIO, *, indent: int | None = None) -> str:
    """JSON text that a stream can write: where it has not all signs, they are escaped.

    Args:
        data: Anything that :func:`jsonable` takes.
        stream: Where it is to be written.
        indent: Spaces for each level; on one line without.
    """
    text = json.dumps(
        jsonable(data), ensure_ascii=not has_all_signs(stream), indent=indent, allow_nan=False
    )
    # Signs that a terminal would obey, or that make it show others in another order.
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def has_all_signs(stream: TextIO) -> bool:
    """Whether a stream takes any text; otherwise signs beyond its encoding have to be shown."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return encoding.lower().replace("-", "").replace("_", "") in ("utf8", "utf16", "utf32")


class Output:
    """Where a command writes to.

    Args:
        as_json: Whether what was asked for is written as one JSON document.
        stdout: Where it goes; standard output by default.
        stderr: Where remarks go; standard error by default.
    """

    def __init__(
        self, as_json: bool = False, stdout: TextIO | None = None, stderr: TextIO | None = None
    ) -> None:
        self.as_json = as_json
        self._stdout = _lenient(stdout or sys.stdout)
        self.console = _console(self._stdout)
        self.remarks = _console(_lenient(stderr or sys.stderr))

    @property
    def is_terminal(self) -> bool:
        """Whether a person sees standard output."""
        return self.console.is_terminal

    @property
    def has_all_signs(self) -> bool:
        """Whether standard output takes any text, bars and arrows included."""
        return has_all_signs(self._stdout)

    @property
    def width(self) -> int:
        """Columns that lines are to fit into; for who reads a pipe there is no bound."""
        return self.console.width

    def json(self, data: Any) -> None:
        """Write one JSON document.

        Args:
            data: Anything that :func:`jsonable` takes.
        """
        self._stdout.write(json_text(data, self._stdout, indent=2) + "\n")
        self._stdout.flush()

    def json_line(self, data: Any) -> None:
        """Write one JSON document on a line of its own: one of many, while they come."""
        self._stdout.write(json_text(data, self._stdout) + "\n")
        self._stdout.flush()

    def flush(self) -> None:
        """Let whoever reads a pipe have what was written."""
        self._stdout.flush()

    def print(self, text: object = "", style: str = "") -> None:
        """Write a line for people; as it is, whatever is in it.

        Args:
            text: The line, or several.
            style: A style of rich, or a word of :data:`STYLES`.
        """
        self.console.print(Text(plain(text), style=STYLES.get(style, style)), soft_wrap=True)

    def show(self, what: RenderableType) -> None:
        """Write something that rich renders; texts in it are to be :func:`plain` already."""
        if self.is_terminal:
            self.console.print(what)
            return
        # Who reads a pipe has no use for the spaces that fill up lines.
        with self.console.capture() as captured:
            self.console.print(what)
        for line in captured.get().splitlines():
            self._stdout.write(line.rstrip() + "\n")

    def remark(self, text: object, style: str = "") -> None:
        """Say something beside what was asked for, on standard error."""
        self.remarks.print(Text(plain(text), style=STYLES.get(style, style)), soft_wrap=True)

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        right: Iterable[str] = (),
        title: str | None = None,
    ) -> None:
        """Write a table.

        Args:
            columns: The headings.
            rows: A cell for each column; a word of :data:`STYLES` gets its colour.
            right: The columns whose cells stand to the right: numbers.
            title: A line above it.
        """
        self.show(table_of(columns, rows, right=right, title=title))


def table_of(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Iterable[str] = (),
    title: str | None = None,
) -> Table:
    """A table without frames, as :meth:`Output.table` writes it."""
    table = Table(
        box=None,
        pad_edge=False,
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        padding=(0, 2, 0, 0),
    )
    to_the_right = frozenset(right)
    for column in columns:
        justify: Justify = "right" if column in to_the_right else "left"
        table.add_column(column, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: object) -> Text:
    if isinstance(value, Text):
        return value
    text = "" if value is None else plain(value)
    return Text(text, style=STYLES.get(text, ""))


class _Console(Console):
    """A console that leaves it to its caller what becomes of a pipe that nobody reads."""

    def on_broken_pipe(self) -> None:
        """Go on with the error."""
        raise BrokenPipeError


def _console(stream: TextIO) -> Console:
    console = _Console(file=stream, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = _Console(
            file=stream, highlight=False, markup=False, emoji=False, width=PIPED_COLUMNS
        )
    return console


def _lenient(stream: TextIO) -> TextIO:
    """A stream that shows what its encoding cannot, instead of failing on it."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=_ESCAPE)
    return stream


_ESCAPE: Final = "flowcraft.cli"
_INSTEAD: Final = {"…": "...", "█": "#", "░": "."}
"""What stands for signs of our own where an encoding has not got them; others show a number."""


def _escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeEncodeError) and error.object[error.start] in _INSTEAD:
        return _INSTEAD[error.object[error.start]], error.start + 1
    return codecs.backslashreplace_errors(error)


codecs.register_error(_ESCAPE, _escaped)
