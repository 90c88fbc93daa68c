"""The whole corpus on the in-process engine."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.conformance.check import check_folder, print_reports
from tests.conformance.rules import BY_RULE, MOST

CASES = Path(__file__).parent / "cases"


@pytest.mark.slow
def test_every_recorded_case_conforms() -> None:
    """No case of the corpus fails, apart from those that a rule decides."""
    printed = io.StringIO()
    failed = print_reports(check_folder(CASES, "memory"), printed)
    assert failed == 0, printed.getvalue()


def test_few_cases_are_decided_by_a_rule() -> None:
    """The list of overruled runs stays short, and names only cases that exist."""
    assert len(BY_RULE) <= MOST
    assert [name for name in BY_RULE if not (CASES / f"{name}.json").exists()] == []
