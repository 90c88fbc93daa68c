"""``flowcraft history`` and ``flowcraft replay``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowcraft.client import read_history
from tests.unit.cli.conftest import Call, Work


@pytest.fixture
def ended(flowcraft: Call, work: Work) -> str:
    """A run that failed."""
    flowcraft("start", "order", "-c", "amount=-5", "--run-id", "r")
    work("r")
    return "r"


def test_a_history_is_shown_line_by_line(ended: str, flowcraft: Call) -> None:
    """Each event is a line with its time, node and details; values can be left out."""
    shown = flowcraft("history", ended)
    assert shown.code == 0
    lines = [" ".join(line.split()[1:]) for line in shown.out.splitlines()[1:]]
    assert lines == [
        'workflow:start context {"amount": -5}',
        "node:start check input -5",
        "node:error check ValueError: -5 is too little",
        'node:skipped approve reason "failed"',
        'node:skipped send reason "failed"',
        'workflow:finish status "failed" errors 1',
    ]
    without = flowcraft("history", ended, "--no-payloads").out
    assert "-5" not in without
    assert "ValueError" in without


def test_what_is_written_for_programs_is_the_export(
    ended: str, flowcraft: Call, project: Path
) -> None:
    """``--json``, ``--export -`` and a file have the same lines; the file is told of."""
    told = flowcraft("history", ended, "--export", "r.jsonl", "--json")
    text = (project / "r.jsonl").read_text(encoding="utf-8")
    assert told.data["events"] == len(list(read_history(text.split("\n")))) == 6
    assert flowcraft("history", ended, "--json").out == text
    assert flowcraft("history", ended, "--export", "-").out == text
    assert json.loads(text.splitlines()[0])["runId"] == "r"


def test_a_run_is_replayed_from_the_file(ended: str, flowcraft: Call) -> None:
    """It is shown as it was; from a node on it is executed, and the exit code is how it ends."""
    flowcraft("history", ended, "--export", "r.jsonl")
    was = flowcraft("replay", "r.jsonl")
    assert (was.code, was.out.splitlines()[0]) == (0, "failed")
    assert "-5 is too little" in was.out
    again = flowcraft("replay", "r.jsonl", "--from", "check", "--json")
    assert (again.code, again.data["status"]) == (1, "failed")


def test_what_cannot_be_done_is_refused(ended: str, flowcraft: Call, project: Path) -> None:
    """No run, no such node, no such file, no history, no payloads: each says what it is."""
    flowcraft("history", ended, "--export", "r.jsonl")
    flowcraft("history", ended, "--export", "x.jsonl", "--no-payloads")
    (project / "part.jsonl").write_text(
        "\n".join((project / "r.jsonl").read_text().splitlines()[:4]), encoding="utf-8"
    )
    for arguments, code, text in (
        (("history", "nope"), 3, "There is no run 'nope'"),
        (("history", ended, "--export", "no/such.jsonl"), 2, "cannot be written"),
        (("history", ended, "--export", "r.jsonl", "--follow"), 2, "--follow"),
        (("replay", "r.jsonl", "--from", "z"), 2, "no node 'z'"),
        (("replay", "none.jsonl"), 2, "cannot be read"),
        (("replay", "shop.py"), 2, "no history of a run"),
        (("replay", "x.jsonl"), 2, "exported without payloads"),
        (("replay", "part.jsonl"), 2, "cut off behind its line 4"),
    ):
        refused = flowcraft(*arguments)
        assert (refused.code, text in refused.err) == (code, True), (arguments, refused.err)
        assert "Traceback" not in refused.err


def test_a_run_that_is_over_is_followed_to_its_end(ended: str, flowcraft: Call) -> None:
    """``--follow`` ends with the run."""
    assert flowcraft("history", ended, "--follow").out == flowcraft("history", ended).out
