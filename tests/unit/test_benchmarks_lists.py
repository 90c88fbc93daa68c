"""The benchmark of lists: that it measures what it says, not how much that is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import lists
from benchmarks.rounds import Spread
from flowcraft.engine.finding import Found


def test_the_command_measures_each_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table and the file have each list, with full pages of those that an index has."""
    file = tmp_path / "figures.json"
    assert lists.main(["--runs", "5000", "--rounds", "2", "--json", str(file)]) == 0
    figures = json.loads(file.read_text("utf-8"))["lists"]
    wanted = lists.lists(5_000)
    assert list(figures) == list(wanted)
    for name, (_, by_index) in wanted.items():
        if by_index and "awaiting" not in name:
            assert figures[name]["rows_read"] == lists.PAGE + 1, name
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "A page of 50 runs among 5,000 in SQLite"
    assert sum("200 ms: " in line for line in lines) == 7


def test_a_goal_that_is_missed_is_called_so() -> None:
    """The median is what counts, and only of lists that are read by an index."""
    slow = Spread(1.0, lists.MOST_MS + 1, 900.0)
    text = lists.as_text(
        9,
        {
            "the newest": (slow, Found((), None, rows_read=3)),
            "failed": (slow, Found((), None, rows_read=0)),
        },
    )
    assert text.count("MISS") == 2
    labels = {"with a label of one run in 20": (slow, Found((), None, rows_read=3))}
    assert "MISS" not in lists.as_text(9, labels)
