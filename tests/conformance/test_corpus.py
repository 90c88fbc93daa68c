"""The whole corpus on the in-process engine, and on the durable one with two workers."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conformance.check import check_folder, print_reports
from tests.conformance.fleet import emulator_of
from tests.conformance.rules import BY_RULE, BY_RULE_DURABLY, MOST, ONLY_ON_ONE_MACHINE

CASES = Path(__file__).parent / "cases"


PARTS = 4
"""Into how many tests the corpus is divided where its cases take long."""


def check(cases: Iterable[Path], backend: str, directory: Path) -> None:
    """See that no case fails, apart from those that a rule decides."""
    for path in cases:
        shutil.copy(path, directory)
    printed = io.StringIO()
    failed = print_reports(check_folder(directory, backend), printed)
    assert failed == 0, printed.getvalue()


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


def test_few_cases_are_decided_by_a_rule() -> None:
    """The list of overruled runs stays short, and names only cases that exist."""
    ruled = {**BY_RULE, **BY_RULE_DURABLY}
    assert len(ruled) <= MOST
    assert [
        name for name in (*ruled, *ONLY_ON_ONE_MACHINE) if not (CASES / f"{name}.json").exists()
    ] == []
