"""``flowcraft cost``: estimates with their assumptions, and what runs have cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowcraft.aws import CostAssumptions, estimate_cost
from flowcraft.cli.cost import usd_text
from flowcraft.core.state import Usage
from flowcraft.engine.stored import StoredRun
from tests.unit.cli.conftest import Call

LINES = """
from flowcraft import create_flow

async def work(ctx):
    return None

flow = create_flow("lines").node("check", work).node("refuse", work)
flow.batch("each", work, uses="line", inputs="lines")
flow.edge("check", "each_scatter", condition="ok").edge("check", "refuse", condition="not ok")
"""


@pytest.fixture
def lines(project: Path) -> Path:
    """A module with a workflow that has a batch and a branch."""
    (project / "flows.py").write_text(LINES, encoding="utf-8")
    return project


def test_an_estimate_is_that_of_the_library(lines: Path, flowcraft: Call) -> None:
    """The options are the assumptions, by node where that is said."""
    ended = flowcraft(
        *("cost", "flows:flow", "--items", "each_scatter=20", "--branch", "check:refuse=0.1"),
        *("--prices", "eu-central-1", "--runs-per-month", "1000", "--json"),
    )
    import flows  # type: ignore[import-not-found]  # noqa: PLC0415

    assumptions = CostAssumptions(
        batch_items={"each_scatter": 20.0}, branch_probabilities={("check", "refuse"): 0.1}
    )
    estimate = estimate_cost(flows.flow.to_blueprint(), assumptions, prices="eu-central-1")
    assert ended.data["usd"] == estimate.usd
    assert ended.data["usdPerMonth"] == estimate.usd * 1000
    assert ended.data["assumptions"]["items"] == {"each_scatter": 20.0}
    assert ended.data["assumptions"]["branches"] == {"check:refuse": 0.1}


def test_a_person_sees_parts_sums_and_what_is_assumed(lines: Path, flowcraft: Call) -> None:
    """The table names services and shares, the last line everything that was assumed."""
    ended = flowcraft("cost", "flows:flow", "--items", "5", "--runs-per-month", "1000000")
    assert ended.out.startswith("A run of lines on AWS, at the prices of us-east-1 of 2025-09\n")
    assert "DynamoDB writes" in ended.out
    assert "a month    1,000,000 runs, without" in ended.out
    assert "assumed    output-bytes 100; iterations 10; items 5; branches shared" in ended.out


def test_prices_are_those_of_the_region_of_the_settings(lines: Path, flowcraft: Call) -> None:
    """Where that region's prices are not known, this is said, and others are taken."""
    assert flowcraft("cost", "flows:flow", "--region", "eu-west-1", "--json").data["region"] == (
        "eu-west-1"
    )
    other = flowcraft("cost", "flows:flow", "--region", "eu-north-1", "--json")
    assert other.data["region"] == "us-east-1"
    assert "No prices of 'eu-north-1' are known" in other.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Name a workflow"),
        (["flows:flow", "--run", "r1"], "Name a workflow"),
        (["flows:flow", "--items", "many"], "'many' is no number from 0."),
        (["flows:flow", "--items", "-1"], "'-1' is no number from 0."),
        (["flows:flow", "--items", "1", "--items", "2"], "one number for all nodes"),
        (["flows:flow", "--items", "nobody=1"], "--items: 'lines' has no node 'nobody'."),
        (["flows:flow", "--branch", "a=1"], "'a=1' is not written SOURCE:TARGET=P."),
        (["flows:flow", "--branch", "a:b=1"], "--branch: 'lines' has no edge 'a:b'."),
        (["flows:flow", "--branch", "check:refuse=2"], "A probability is from 0 to 1"),
        (["flows:flow", "--prices", "mars"], "No prices of 'mars' are known, only of us-east-1"),
        (["flows:flow", "--workers", "0"], "workers is at least 1"),
    ],
)
def test_wrong_arguments_are_told(
    lines: Path, flowcraft: Call, arguments: list[str], told: str
) -> None:
    """Each is one message with what is allowed, and code 2."""
    ended = flowcraft("cost", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err


def test_a_run_in_a_file_costs_nothing(project: Path, flowcraft: Call) -> None:
    """Where nothing is paid for that is said, and is null as JSON."""
    flowcraft("start", "order", "-c", "amount=1", "--run-id", "r1")
    assert "where nothing is paid for" in flowcraft("cost", "--run", "r1").out
    assert flowcraft("cost", "--run", "r1", "--json").data["cost"] is None
    assert flowcraft("cost", "--run", "r2").code == 3


def test_a_run_on_aws_is_reckoned_by_the_prices_of_a_region(
    project: Path, flowcraft: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests and units that were counted, times the prices that were asked for."""
    flowcraft("start", "order", "-c", "amount=1", "--run-id", "r1")
    used = Usage(requests=30.0, sqs_requests=10.0, write_units=1_000_000.0, read_units=8.0, usd=1.0)
    monkeypatch.setattr(StoredRun, "cost", property(lambda run: used))
    data = flowcraft("cost", "--run", "r1", "--prices", "eu-central-1", "--json").data
    assert data["cost"]["usd"] == pytest.approx(0.7625 + 10 * 0.40e-6 + 8 * 0.1525e-6)
    shown = flowcraft("cost", "--run", "r1").out
    assert "Run r1 of order so far, at the prices of us-east-1" in shown
    [units] = [line.split() for line in shown.splitlines() if "write units" in line]
    assert units == ["DynamoDB", "write", "units", "1,000,000.0", "0.62500000"]


def test_small_sums_have_digits_enough() -> None:
    """A run costs some millionths of a dollar: two digits would be none."""
    assert [usd_text(usd) for usd in (0.00001234, 12.3456)] == ["0.00001234", "12.35"]
