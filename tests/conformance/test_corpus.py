"""The whole corpus on the in-process engine, and on the durable one with two workers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from flowcraft.core.state import DEFAULT_MAX_EXECUTIONS
from tests.conformance.check import Report, check_case, check_folder, print_reports, read_case
from tests.conformance.fleet import emulator_of
from tests.conformance.rules import BY_RULE, BY_RULE_DURABLY, ENDLESS, MOST

CASES = Path(__file__).parent / "cases"


PARTS = 4
"""Into how many tests the corpus is divided where its cases take long."""

LIMIT = 200
"""After how many executions a case without an end is stopped here: ten thousand are as good."""

SIDE_BY_SIDE = 2
"""How many nodes such a case may have under way when it is stopped."""


def check(cases: Iterable[Path], backend: str, directory: Path) -> None:
    """See that no case fails, apart from those that a rule decides."""
    for path in cases:
        case = read_case(path)
        if path.stem in ENDLESS:
            case["options"] = {**case["options"], "max_executions": LIMIT}
        (directory / path.name).write_text(json.dumps(case), encoding="utf-8")
    printed = io.StringIO()
    reports = list(check_folder(directory, backend))
    assert print_reports(reports, printed) == 0, printed.getvalue()
    for report in reports:
        if report.name in ENDLESS:
            stopped_at(LIMIT, report)


def stopped_at(limit: int, report: Report) -> None:
    """See that a run failed since it had come to its limit, and not before."""
    (result,) = report.actual["results"]
    assert result["status"] == "failed"
    assert [error["name"] for error in result["errors"]] == ["LimitExceeded"]
    executed = sum(node["count"] for node in result["executions"].values())
    assert limit - SIDE_BY_SIDE < executed <= limit, report.name


@pytest.mark.slow
def test_every_recorded_case_conforms_in_process(tmp_path: Path) -> None:
    """No case of the corpus fails."""
    check(CASES.glob("*.json"), "memory", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_recorded_case_conforms_on_sqlite(part: int, tmp_path: Path) -> None:
    """No case of the corpus fails in two worker processes on a file."""
    cases = sorted(CASES.glob("*.json"))[part::PARTS]
    assert len(cases) > 100
    check(cases, "sqlite", tmp_path)


@pytest.mark.slow
def test_recorded_cases_conform_on_aws(tmp_path: Path, ministack: str) -> None:
    """No case of a part of the corpus fails on SQS and DynamoDB, every message delivered twice.

    The whole of it takes three minutes: `make conformance BACKEND=aws`.
    """
    cases = sorted(CASES.glob("*.json"))[::PARTS]
    assert len(cases) > 100
    with emulator_of(ministack):
        check(cases, "aws", tmp_path)


def test_cases_with_batches_conform_when_these_are_cut(tmp_path: Path) -> None:
    """A batch of two items or more has a record of its own for each of them here."""
    cases = [path for path in CASES.glob("*.json") if "batch-scatter" in path.read_text("utf-8")]
    assert len(cases) > 10
    check(cases, "shards", tmp_path)


@pytest.mark.slow
def test_a_case_without_an_end_comes_to_the_usual_limit() -> None:
    """Where nobody says otherwise a run is stopped after as many executions as were recorded."""
    case = read_case(CASES / "loops--infinite.json")
    recorded = sum(node["count"] for node in case["expected"]["results"][0]["executions"].values())
    assert recorded == DEFAULT_MAX_EXECUTIONS
    stopped_at(DEFAULT_MAX_EXECUTIONS, check_case(case, "memory"))


def test_few_cases_are_decided_by_a_rule() -> None:
    """The list of overruled runs stays short, and names only cases that exist."""
    ruled = {**BY_RULE, **BY_RULE_DURABLY}
    assert len(ruled) <= MOST
    assert [name for name in (*ruled, *ENDLESS) if not (CASES / f"{name}.json").exists()] == []
