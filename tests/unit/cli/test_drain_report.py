"""``flowcraft drain-report``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Call, Work


@pytest.fixture
def asks(flowcraft: Call, work: Work) -> str:
    """A run that waits, and needs the last node of its flow."""
    flowcraft("start", "order", "-c", "amount=2000", "--run-id", "r")
    work("r")
    return "r"


def test_an_app_that_has_all_code_lets_older_workers_go(asks: str, flowcraft: Call) -> None:
    """What may still run is listed, and what no run needs any more with --all only."""
    ended = flowcraft("drain-report")
    assert ended.code == 0
    assert "1 live run at " in ended.out
    assert "older workers may go" in ended.out
    (row,) = [line for line in ended.out.splitlines() if line.startswith("shop:send ")]
    assert row.split()[1] == "order"
    assert row.endswith("has it")
    assert "\nshop:check " not in ended.out
    assert "\nshop:check " in flowcraft("drain-report", "--all").out
    assert "\nshop:check " in flowcraft("drain-report", "--rows-only").out
    data = flowcraft("drain-report", "--json").data
    assert (data["app"], data["lacks"], data["report"]["runs"]) == ("shop:runtime", [], 1)
    needed = {each["uses"]: each["runs"] for each in data["report"]["needed"]}
    assert needed == {"shop:check": 0, "shop:send": 1}


def test_an_app_that_lacks_code_is_a_failure(asks: str, flowcraft: Call, project: Path) -> None:
    """What is lacking is named, with the runs that need it, and the code is 1."""
    (project / "newer.py").write_text(
        "from flowcraft import create_flow\n"
        "def check(ctx): ...\n"
        "runtime = create_flow('order').node('check', check, uses='shop:check')\n",
        encoding="utf-8",
    )
    ended = flowcraft("drain-report", "--app", "newer:runtime")
    assert ended.code == 1
    assert "lacks it" in ended.out
    assert "shop:send is needed by r" in ended.out
    assert "keep the older workers" in ended.out
    ended = flowcraft("drain-report", "--app", "newer:runtime", "--json")
    assert (ended.code, ended.data["lacks"]) == (1, ["shop:send"])


def test_without_an_app_it_is_only_told(asks: str, flowcraft: Call, project: Path) -> None:
    """There is nothing to compare with, which is said beside the report."""
    (project / "flowcraft.toml").unlink()
    ended = flowcraft("drain-report")
    assert ended.code == 0
    assert "send" in ended.out
    assert "No app is configured" in ended.err
    assert flowcraft("drain-report", "--json").data["lacks"] is None


def test_without_runs_nothing_is_needed(flowcraft: Call, project: Path) -> None:
    """Where no run is live any app will do."""
    flowcraft("start", "order", "-c", "amount=1", "--run-id", "r", "--work")
    ended = flowcraft("drain-report")
    assert (ended.code, ended.out.startswith("0 live runs at ")) == (0, True)
