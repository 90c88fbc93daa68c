"""When schedules have ticks: cron in time zones that change their clocks, and intervals."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from flowcraft import InputError
from flowcraft.core.schedules import Spec
from flowcraft.engine.timetables import CronTimes, Intervals, timetable_of

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"

CHANGES = [
    (BERLIN, "2026-03-28"),
    (BERLIN, "2026-10-24"),
    (NEW_YORK, "2026-03-07"),
    (NEW_YORK, "2026-10-31"),
    (LORD_HOWE, "2026-04-04"),
    (LORD_HOWE, "2026-10-03"),
    ("America/St_Johns", "2006-10-28"),
    ("Pacific/Apia", "2011-12-29"),
]
"""Three days each, in the middle of which the clocks are changed: by half an hour on Lord Howe
Island, at 00:01 in St John's, and by a whole day in Samoa."""


def ticks(cron: str, zone: str, first_day: str, days: int = 3) -> list[str]:
    """The ticks from the beginning of a day on, as the clocks of the zone show them."""
    begin = datetime.fromisoformat(first_day).replace(tzinfo=ZoneInfo(zone))
    end = begin.astimezone(UTC) + timedelta(days=days)
    table, found = CronTimes(cron, zone), []
    at = int(begin.timestamp() * 1000) - 1
    while (at := table.after(at) or 0) < end.timestamp() * 1000:
        found.append(datetime.fromtimestamp(at / 1000, ZoneInfo(zone)).isoformat())
    return found


@pytest.mark.parametrize(
    ("zone", "first_day", "expected"),
    [
        (BERLIN, "2026-03-28", ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00"]),
        (NEW_YORK, "2026-03-07", ["2026-03-07T02:30:00-05:00", "2026-03-08T03:00:00-04:00"]),
    ],
)
def test_a_time_of_day_that_is_skipped_comes_when_the_clocks_go_on(
    zone: str, first_day: str, expected: list[str]
) -> None:
    """On the day on which there is no 02:30 the tick is at 03:00, the first time there is."""
    assert ticks("30 2 * * *", zone, first_day, 2) == expected


def test_a_time_of_day_that_is_skipped_by_half_an_hour() -> None:
    """On Lord Howe Island 02:15 is skipped, and the tick is at 02:30; 02:30 itself is there."""
    assert ticks("15 2 * * *", LORD_HOWE, "2026-10-04", 1) == ["2026-10-04T02:30:00+11:00"]
    assert ticks("30 2 * * *", LORD_HOWE, "2026-10-04", 1) == ["2026-10-04T02:30:00+11:00"]


@pytest.mark.parametrize(
    ("cron", "zone", "day", "expected"),
    [
        ("30 2 * * *", BERLIN, "2026-10-25", "2026-10-25T02:30:00+02:00"),
        ("30 1 * * *", NEW_YORK, "2026-11-01", "2026-11-01T01:30:00-04:00"),
        ("45 1 * * *", LORD_HOWE, "2026-04-05", "2026-04-05T01:45:00+11:00"),
    ],
)
def test_a_time_of_day_that_comes_twice_counts_once(
    cron: str, zone: str, day: str, expected: str
) -> None:
    """Of a time that the clocks show twice the first one is the tick, and the second is none."""
    assert ticks(cron, zone, day, 1) == [expected]


def test_two_times_of_day_that_are_skipped_are_one_tick() -> None:
    """02:00 and 02:30, which both come at 03:00 on that day, are one tick."""
    assert ticks("0,30 2 * * *", BERLIN, "2026-03-29", 1) == ["2026-03-29T03:00:00+02:00"]


@pytest.mark.parametrize("cron", ["30 2 * * *", "0,30 2 * * *", "15 2 * * *", "5 1,2,3 * * *"])
@pytest.mark.parametrize(("zone", "first_day"), CHANGES)
def test_times_of_day_come_on_every_day(cron: str, zone: str, first_day: str) -> None:
    """Whatever the clocks do: ticks are strictly in order, and there is one on each day."""
    found = ticks(cron, zone, first_day)
    moments = [datetime.fromisoformat(each) for each in found]
    assert all(earlier < later for earlier, later in pairwise(moments))
    days = {each.date() for each in moments}
    # In Samoa there was no 30 December 2011.
    assert len(days) == 3


def every_minute(first_day: str, zone: str) -> Iterator[datetime]:
    """Every minute of three days, as the clocks show it."""
    begin = datetime.fromisoformat(first_day).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    for minute in range(3 * 24 * 60):
        yield (begin + timedelta(minutes=minute)).astimezone(ZoneInfo(zone))


@pytest.mark.parametrize(
    "cron",
    [
        "* * * * *",
        "*/10 * * * *",
        "30 * * * *",
        "* 2 * * *",
        "* 5 * * *",
        "*/15 1-3 * * *",
        "0 */3 * * *",
        "5 */2 * * *",
        "*/20 * 29,30 * sun",
    ],
)
@pytest.mark.parametrize(("zone", "first_day"), CHANGES)
def test_what_the_clocks_show_is_what_counts(cron: str, zone: str, first_day: str) -> None:
    """An expression with a ``*`` for minutes or hours matches each minute that looks like it.

    It is compared with a look at every single minute of three days: minutes that are skipped do
    not come, minutes that come twice come twice.
    """
    fields = CronSim(cron, datetime(2026, 1, 1))  # noqa: DTZ001 - only to read the fields
    expected = [
        minute.isoformat()
        for minute in every_minute(first_day, zone)
        if minute.minute in fields.minutes
        and minute.hour in fields.hours
        and minute.month in fields.months
        and fields.match_day(minute.date())
    ]
    assert ticks(cron, zone, first_day) == expected


def test_working_days() -> None:
    """A time on working days keeps its time of day through the year."""
    table, at = CronTimes("0 9 * * mon-fri", BERLIN), 1_767_225_600_000
    found = []
    for _ in range(261):
        at = table.after(at) or 0
        found.append(datetime.fromtimestamp(at / 1000, ZoneInfo(BERLIN)))
    assert {(each.hour, each.minute) for each in found} == {(9, 0)}
    assert {each.weekday() for each in found} == {0, 1, 2, 3, 4}
    assert found[-1].year == 2026
    assert len({each.date() for each in found}) == 261


@pytest.mark.parametrize(
    ("name", "cron"), [("@hourly", "0 * * * *"), ("@Daily", "0 0 * * *"), ("@yearly", "0 0 1 1 *")]
)
def test_names_stand_for_expressions(name: str, cron: str) -> None:
    """The usual names are the expressions that they stand for."""
    at = 1_767_225_600_000
    assert CronTimes(name, BERLIN).after(at) == CronTimes(cron, BERLIN).after(at)


@pytest.mark.parametrize(
    ("cron", "zone", "expected"),
    [
        ("every day", "UTC", "cron: 'every day' has 2 fields"),
        ("daily", "UTC", "cron: 'daily' has 1 field, and not 5: minute, hour"),
        ("@dayly", "UTC", "cron: '@dayly' is no name .*: these are @hourly, @daily"),
        ("0 " * 200, "UTC", "goes on for 400 characters; it may have 256"),
        ("0 0 9 * * *", "UTC", "cron: .* has 6 fields"),
        ("61 * * * *", "UTC", "cron: '61 \\* \\* \\* \\*' cannot be read"),
        ("0 0 30 2 *", "UTC", "cron: .* cannot be read|no day"),
        ("0 0 * * *", "Mars/Olympus", "time_zone: there is no time zone 'Mars/Olympus'"),
        ("0 0 * * *", "../etc/passwd", "time_zone: there is no time zone"),
        ("0 0 * * *", "", "time_zone: there is no time zone"),
    ],
)
def test_what_cannot_be_used_is_refused(cron: str, zone: str, expected: str) -> None:
    """The error names the field, and says what is wrong with it."""
    with pytest.raises(InputError, match=expected):
        timetable_of(Spec("flow", cron=cron, time_zone=zone))


def test_intervals_are_multiples_since_the_epoch() -> None:
    """Ticks do not depend on when a schedule was created, and an offset moves all of them."""
    table = Intervals(900_000, 0)
    assert table.after(0) == 900_000
    assert table.after(899_999) == 900_000
    assert table.after(900_000) == 1_800_000
    assert Intervals(900_000, 60_000).after(0) == 60_000
    assert Intervals(900_000, 60_000).after(60_000) == 960_000


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cron needs cronsim: without it there is an error with the command that installs it."""
    real = builtins.__import__

    def without(name: str, *more: Any, **named: Any) -> Any:
        if name == "cronsim":
            raise ImportError(name)
        return real(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"flowcraft-sqs\[schedules\]"):
        CronTimes("1 2 3 4 *", "UTC")
    assert timetable_of(Spec("flow", every_ms=1000)).after(0) == 1000
