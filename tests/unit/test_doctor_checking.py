"""Checks beside each other, and what a diagnosis comes to."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from flowcraft.doctor import Diagnosis, Finding, Severity
from flowcraft.doctor.checking import Check, Unchecked, carry_out
from flowcraft.doctor.findings import error, note, ok, warning
from flowcraft.doctor.texts import counted, few, short, size, span
from flowcraft.errors import StorageUnavailable
from tests.unit.runs import drive


def test_a_check_that_cannot_be_done_keeps_no_other() -> None:
    """One hangs, one breaks, one is refused, one says what helps: the last is carried out."""

    async def hang() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    async def breaks() -> list[Finding]:
        raise KeyError("key")

    async def refused() -> list[Finding]:
        raise Unchecked("It is denied.", "Allow it.")

    async def told() -> list[Finding]:
        raise StorageUnavailable("There is no table. Make one.")

    async def fine() -> list[Finding]:
        return [ok("fine", "It is fine.")]

    looks = {"hang": hang, "breaks": breaks, "refused": refused, "told": told, "fine": fine}
    found = drive(carry_out([Check(name, "here", look, 0.05) for name, look in looks.items()]))
    assert [(each.check, str(each.severity), each.found) for each in found] == [
        ("hang", "error", "It was not done within 0.05 s."),
        ("breaks", "error", "The check broke off: KeyError: 'key'"),
        ("refused", "note", "It is denied."),
        ("told", "error", "There is no table. Make one."),
        ("fine", "ok", "It is fine."),
    ]
    assert found[2].cure == "Allow it."


def test_a_diagnosis_is_as_bad_as_its_worst_finding() -> None:
    """Warnings count for the exit code only where somebody is strict, notes never."""
    at = datetime(2026, 1, 1, tzinfo=UTC)

    def codes(*findings: Finding) -> tuple[str, int, int]:
        diagnosis = Diagnosis(at, "aws", findings)
        return str(diagnosis.worst), diagnosis.exit_code(), diagnosis.exit_code(strict=True)

    fine, known = ok("a", "."), note("b", ".")
    careful, bad = warning("c", ".", "here", "do"), error("d", ".", "here", "do")
    assert codes() == ("ok", 0, 0)
    assert codes(known, fine) == ("note", 0, 0)
    assert codes(careful, fine) == ("warning", 0, 1)
    assert codes(bad, careful) == ("error", 1, 1)
    data = Diagnosis(at, "aws", (bad, fine)).to_data()
    assert data["counts"] == {"ok": 1, "note": 0, "warning": 0, "error": 1}
    assert data["findings"][0] == {
        "check": "d",
        "severity": "error",
        "found": ".",
        "where": "here",
        "cure": "do",
    }
    assert (data["at"], data["worst"]) == ("2026-01-01T00:00:00+00:00", "error")
    assert Severity.NOTE.rank < Severity.WARNING.rank


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "0.5 seconds"),
        (1, "1 second"),
        (90, "90 seconds"),
        (600, "10 minutes"),
        (5400, "90 minutes"),
        (86_400, "1 day"),
        (1_209_600, "14 days"),
    ],
)
def test_lengths_of_time_have_the_unit_that_tells_enough(seconds: float, text: str) -> None:
    """Seconds up to two minutes, then minutes, hours and days."""
    assert span(seconds) == text


def test_numbers_and_names_are_written_for_people() -> None:
    """One thing and many, bytes in units, some names of many, the first line of a long text."""
    assert (counted(1, "run"), counted(2000, "run")) == ("1 run", "2,000 runs")
    assert (size(12), size(86_016), size(5e9), size(2e15)) == (
        "12 bytes",
        "86 KB",
        "5 GB",
        "2e+03 TB",
    )
    assert (few(["a", "b"]), few(list("abcde"))) == ("a, b", "a, b, c and 2 more")
    assert (short("one\ntwo"), short("x" * 300, 10)) == ("one", "x" * 9 + "…")
