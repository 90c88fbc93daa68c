"""What commands write: text for people, JSON for programs."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple

import pytest
from rich.text import Text

from flowcraft.cli.columns import Column, cut, lines_of
from flowcraft.cli.output import Output, plain
from flowcraft.engine.jsonable import jsonable


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal of 80 columns with colours."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    return Terminal()


def piped(encoding: str = "utf-8") -> tuple[Output, io.BytesIO]:
    """Output into a pipe of an encoding."""
    raw = io.BytesIO()
    return Output(stdout=io.TextIOWrapper(raw, encoding=encoding, write_through=True)), raw


class Colour(Enum):
    """An enumeration."""

    RED = "red"


class Pair(NamedTuple):
    """A named tuple."""

    first_one: int
    second: Any = None


@dataclass
class Thing:
    """A record."""

    some_name: Any
    other: Any = None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            Thing({"kept_as_is": 1}, Pair(2)),
            {"someName": {"kept_as_is": 1}, "other": {"firstOne": 2, "second": None}},
        ),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        (timedelta(minutes=1.5), 90.0),
        (Colour.RED, "red"),
        (b"\xff", "/w=="),
        ([float("nan"), float("-inf"), 1.5], ["nan", "-inf", 1.5]),
        ({1: {2}}, {"1": [2]}),
        (True, True),
        (1 + 2j, "(1+2j)"),
    ],
)
def test_anything_becomes_json(value: Any, expected: Any) -> None:
    """Records are objects with keys in camelCase, times text, and no number is one JSON lacks."""
    assert jsonable(value) == expected
    json.loads(json.dumps(jsonable(value), allow_nan=False))


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
def test_json_can_be_read_whatever_the_encoding(encoding: str) -> None:
    """Signs that an encoding has not got, or that a terminal obeys, are escaped as JSON has it."""
    out, raw = piped(encoding)
    value = {"é📦": "\x1b[31m \x9b31m \u202e \ud800 … \x7f"}
    out.json(value)
    written = raw.getvalue().decode(encoding)
    assert json.loads(written) == value
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", written)


def test_text_is_shown_as_far_as_the_encoding_goes() -> None:
    """Signs that there are not in an encoding are shown by their numbers, ours by others."""
    out, raw = piped("ascii")
    out.print("é … 📦")
    assert raw.getvalue() == b"\\xe9 ... \\U0001f4e6\n"
    out, raw = piped("utf-8")
    out.print("é … 📦 \udcff")
    assert raw.getvalue() == "é … 📦 \\xdcff\n".encode()


@pytest.mark.parametrize(
    "sign", ["\x1b", "\x07", "\x9b", "\u202e", "\u2066", "\ud800", "\r", "\x00"]
)
def test_signs_that_a_terminal_obeys_are_shown(sign: str) -> None:
    """What came out of runs cannot colour, clear or forge what is shown."""
    shown = plain(f"a{sign}b")
    assert sign not in shown
    assert shown == f"a\\x{ord(sign):02x}b"
    assert plain("a\tb\nc é 漢") == "a\tb\nc é 漢"


def test_colours_are_for_terminals(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe gets none, and neither does a terminal where NO_COLOR is set or that is dumb."""
    Output(stdout=terminal).print("done", style="completed")
    assert "\x1b[32m" in terminal.getvalue()
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        monkeypatch.setenv(name, value)
        quiet = Terminal()
        Output(stdout=quiet).print("done", style="completed")
        assert "\x1b[32m" not in quiet.getvalue()
        monkeypatch.undo()
    out, raw = piped()
    out.print("done", style="completed")
    assert raw.getvalue() == b"done\n"


def test_markup_in_data_is_text() -> None:
    """What looks like markup, a smiley or a link is written as it is."""
    out, raw = piped()
    out.print("[red]x[/red] :smile: http://x")
    out.table(["a"], [("[bold]y[/bold]",)])
    assert raw.getvalue() == b"[red]x[/red] :smile: http://x\na\n[bold]y[/bold]\n"


def test_who_reads_a_pipe_gets_whole_lines() -> None:
    """Nothing is broken or filled up where nobody looks at columns."""
    out, raw = piped()
    out.table(["name", "value"], [("a", "x" * 500), ("b", "")])
    assert raw.getvalue().decode().splitlines() == ["name  value", f"a     {'x' * 500}", "b"]


def test_remarks_are_not_in_the_pipe() -> None:
    """What is said beside what was asked for goes to standard error."""
    told = io.StringIO()
    stdout = io.StringIO()
    Output(stdout=stdout, stderr=told).remark("by the way")
    assert (stdout.getvalue(), told.getvalue()) == ("", "by the way\n")


COLUMNS = (Column("id", is_whole=True, least=10), Column("name", least=4), Column("n", right=True))


def shown(rows: list[tuple[object, ...]], width: int) -> list[str]:
    """The lines of a table."""
    return [line.plain for line in lines_of(COLUMNS, rows, width)]


def test_columns_are_aligned_by_what_a_terminal_shows() -> None:
    """Wide signs count as two columns, and combining ones as none."""
    lines = shown([("a", "漢字", 1), ("b", "e\u0301x", 22), ("c", "📦", 3)], 80)
    assert lines == ["id  name   n", "a   漢字   1", "b   e\u0301x    22", "c   📦     3"]


def test_names_are_cut_and_ids_are_not() -> None:
    """Where there is no room a name gives way, and an id stands on a line of its own."""
    rows: list[tuple[object, ...]] = [("short", "n" * 30, 1), ("i" * 24, "other", 2)]
    wide, narrow = shown(rows, 80), shown(rows, 30)
    assert len(wide) == 3
    assert all(len(line) <= 30 for line in narrow)
    assert "i" * 24 in narrow
    assert any("…" in line for line in narrow)
    assert narrow[-1].split() == ["other", "2"]


def test_breaks_in_data_do_not_break_a_table() -> None:
    """A cell is one line, whatever is in it."""
    lines = shown([("a\nb", "x\ty\x1b[2J", None)], 80)
    assert lines[1] == "a b  x y\\x1b[2J"


def test_a_cut_text_keeps_its_width() -> None:
    """A wide sign that has no room is left out as a whole."""
    assert cut(Text("漢字漢字"), 6).plain == "漢字…"
    assert cut(Text("漢字漢字"), 5).cell_len <= 5
    assert cut(Text("abc"), 3).plain == "abc"
