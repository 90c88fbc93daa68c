"""``flowcraft import asl``: files that are written, kept, and told of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Call
from tests.unit.cli.modules import forgotten
from tests.unit.state_machines import machine, work

DEFINITION = machine(
    "Charge",
    Charge=work("ChargeCard", HeartbeatSeconds=5, Next="Each"),
    Each={
        "Type": "Map",
        "Iterator": machine("A", A=work("A", Next="B"), B=work("B")),
        "End": True,
    },
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a definition, which is the working directory."""
    (tmp_path / "order.asl.json").write_text(json.dumps(DEFINITION), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_definition_becomes_blueprints_and_a_module(here: Path, flowcraft: Call) -> None:
    """The files are told, the functions to write, and what was not taken over, with its place."""
    ended = flowcraft("import", "asl", "order.asl.json", "--out", "flows")
    assert ended.code == 0
    assert ended.out.splitlines()[:6] == [
        "Wrote flows/order.json",
        "Wrote flows/order.each.json",
        "Wrote flows/order.py",
        "Functions to write: a, b, charge_card.",
        "Not taken over as it was (1):",
        "  lost     States.Charge.HeartbeatSeconds",
    ]
    assert sorted(each.name for each in (here / "flows").iterdir()) == [
        "order.each.json",
        "order.json",
        "order.py",
    ]


def test_what_is_written_is_an_app_that_lint_accepts_and_that_runs(
    here: Path, flowcraft: Call
) -> None:
    """The module's runtime has all blueprints; a function that is not written fails its node."""
    assert flowcraft("import", "asl", "order.asl.json", "--name", "shop-order").code == 0
    app = ("--app", "shop_order.py:create_runtime")
    with forgotten("shop_order"):
        assert flowcraft("lint", "--strict", *app).code == 0
        ended = flowcraft("run", "shop-order", *app, "-c", "input={}", "--json")
    assert (ended.code, ended.data["status"]) == (1, "failed")
    assert "charge_card has to be written" in ended.data["errors"][0]["message"]


def test_nothing_is_overwritten_unless_that_is_asked_for(here: Path, flowcraft: Call) -> None:
    """Functions that were filled in are not lost by importing once more."""
    flowcraft("import", "asl", "order.asl.json")
    (here / "order.py").write_text("mine", encoding="utf-8")
    (here / "order.json").unlink()
    refused = flowcraft("import", "asl", "order.asl.json")
    assert (refused.code, refused.out) == (4, "")
    assert "order.each.json, order.py are there already; nothing was written" in refused.err
    assert not (here / "order.json").exists()
    assert (here / "order.py").read_text(encoding="utf-8") == "mine"
    assert flowcraft("import", "asl", "order.asl.json", "--force").code == 0
    assert "charge_card" in (here / "order.py").read_text(encoding="utf-8")


def test_a_dry_run_writes_nothing_and_tells_all(here: Path, flowcraft: Call) -> None:
    """As JSON the findings are data."""
    ended = flowcraft("import", "asl", "order.asl.json", "--dry-run", "--json")
    assert ended.data["blueprints"] == ["order", "order.Each"]
    assert ended.data["files"] == []
    assert ended.data["functions"] == ["a", "b", "charge_card"]
    assert [each["place"] for each in ended.data["findings"]] == ["States.Charge.HeartbeatSeconds"]
    assert [each.name for each in here.iterdir()] == ["order.asl.json"]


def test_what_cannot_be_imported_is_told_with_its_places(here: Path, flowcraft: Call) -> None:
    """A missing file, malformed JSON and a malformed definition are one message each, code 2."""
    (here / "broken.json").write_text('{"StartAt": }', encoding="utf-8")
    (here / "bad.json").write_text('{"StartAt": "A", "States": {"A": {}}}', encoding="utf-8")
    missing = flowcraft("import", "asl", "nothing.json")
    assert (missing.code, "'nothing.json' cannot be read" in missing.err) == (2, True)
    broken = flowcraft("import", "asl", "broken.json")
    assert (broken.code, "line 1, column 13: is not valid JSON" in broken.err) == (2, True)
    bad = flowcraft("import", "asl", "bad.json")
    assert (bad.code, "States.A.Type: is missing" in bad.err) == (2, True)
    (here / "blocked").write_text("", encoding="utf-8")
    blocked = flowcraft("import", "asl", "order.asl.json", "--out", "blocked")
    assert (blocked.code, "cannot be written" in blocked.err) == (2, True)


def test_a_definition_may_come_from_a_pipe(
    here: Path, flowcraft: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it has to be said what the workflow is called."""
    with (here / "order.asl.json").open(encoding="utf-8") as file:
        monkeypatch.setattr("sys.stdin", file)
        unnamed = flowcraft("import", "asl", "-")
        assert (unnamed.code, "--name ID" in unnamed.err) == (2, True)
        file.seek(0)
        assert flowcraft("import", "asl", "-", "--name", "piped").code == 0
    assert (here / "piped.json").exists()
