"""Times as people read and write them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from flowcraft.cli.failures import CommandError
from flowcraft.cli.times import both, local, moment_of, relative, span

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that is two hours east, all year."""
    monkeypatch.setenv("TZ", "EET-2")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0 ms"),
        (0.0344, "34 ms"),
        (0.34, "0.3 s"),
        (1.0, "1 s"),
        (9.94, "9.9 s"),
        (59.6, "1 min"),
        (185, "3 min 5 s"),
        (3_600, "1 h"),
        (90_061, "1 d 1 h"),
        (-5, "-5 s"),
    ],
)
def test_spans_have_at_most_two_units(seconds: float | None, text: str) -> None:
    """Short times are told finely and long ones roughly."""
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "now"),
        (12, "12 s ago"),
        (185, "3 min ago"),
        (7_300, "2 h ago"),
        (4 * 86_400, "4 d ago"),
        (-90, "in 1 min"),
    ],
)
def test_times_are_told_by_how_far_they_are(seconds: float, text: str) -> None:
    """What lies ahead is told apart from what is past."""
    moment = NOW - timedelta(seconds=seconds)
    assert relative(moment, NOW.timestamp()) == text


def test_times_are_of_the_zone_of_the_machine() -> None:
    """The zone is always named, and the date only where it is another day's."""
    assert local(NOW) == "2026-03-01 14:00:00 EET"
    assert local(NOW, NOW.timestamp()) == "14:00:00 EET"
    late = datetime(2026, 3, 1, 22, 30, tzinfo=UTC)
    assert local(late, NOW.timestamp()) == "2026-03-02 00:30:00 EET"
    assert both(NOW, NOW.timestamp() + 60) == "14:00:00 EET (1 min ago)"
    assert local(None) == both(None, 0.0) == relative(None, 0.0) == ""


def test_times_are_written_as_how_long_ago_or_as_themselves() -> None:
    """A time without a zone is the machine's."""
    now = NOW.timestamp()
    expected = {
        "2h": datetime(2026, 3, 1, 10, tzinfo=UTC),
        "7d": datetime(2026, 2, 22, 12, tzinfo=UTC),
        "2026-02-28": datetime(2026, 2, 27, 22, tzinfo=UTC),
        "2026-02-28T10:00": datetime(2026, 2, 28, 8, tzinfo=UTC),
        "2026-02-28T10:00Z": datetime(2026, 2, 28, 10, tzinfo=UTC),
    }
    for text, moment in expected.items():
        assert moment_of(text, now, "--since") == moment
    assert moment_of(None, now, "--since") is None
    for text in ("yesterday", "", "0001-01-01", "99999d", "2026-13-01"):
        with pytest.raises(CommandError, match="--since takes how long ago"):
            moment_of(text, now, "--since")
