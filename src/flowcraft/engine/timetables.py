"""When schedules have ticks: by a cron expression in a time zone, or at intervals.

Cron expressions are read by cronsim, which also tells the times that match. It is given times
without a zone, and what the clocks of a zone make of them is worked out here:

- An expression that names its minutes and hours (neither field begins with ``*``) means times of
  day. One that the clocks skip comes at the end of what they skip; of one that they show twice the
  first counts. So it comes once on every day that matches.
- Any other expression means whatever the clocks show, each time that they do: what they skip does
  not come, and what they show twice comes twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from flowcraft.core.schedules import Spec
from flowcraft.core.ticks import Timetable
from flowcraft.errors import InputError

if TYPE_CHECKING:
    from cronsim import CronSim

MISSING: Final = (
    "Schedules with a cron expression need cronsim, which is not installed. "
    'Install it with: pip install "flowcraft-sqs[schedules]"'
)

NAMED: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
FIELDS: Final = 5
LAST_MS: Final = 253_402_300_799_000
"""The last second of the year 9999, at which the calendar ends."""

LONG_AGO: Final = datetime.fromisoformat("2000-01-01")
LONGEST_CRON: Final = 256


def timetable_of(spec: Spec) -> Timetable:
    """The timetable of a schedule.

    Raises:
        InputError: The expression or the time zone cannot be used.
        ImportError: cronsim is not installed, and needed.
    """
    if spec.cron is not None:
        return _cron(spec.cron, spec.time_zone)
    assert spec.every_ms is not None
    return Intervals(spec.every_ms, spec.offset_ms)


@lru_cache(maxsize=4096)
def _cron(expression: str, time_zone: str) -> CronTimes:
    return CronTimes(expression, time_zone)


class Intervals:
    """Ticks at whole multiples of an interval since the epoch, and an offset."""

    def __init__(self, every_ms: int, offset_ms: int) -> None:
        self._every_ms = every_ms
        self._offset_ms = offset_ms

    def after(self, at: int) -> int | None:
        """The first tick after a time, in milliseconds since the epoch."""
        tick = ((at - self._offset_ms) // self._every_ms + 1) * self._every_ms + self._offset_ms
        return tick if tick <= LAST_MS else None


class CronTimes:
    """Ticks whenever the clocks of a time zone show what matches an expression.

    Args:
        expression: Five fields, or one of the names such as ``@daily``.
        time_zone: The name of the zone.

    Raises:
        InputError: One of them cannot be used, or nothing ever matches.
        ImportError: cronsim is not installed.
    """

    def __init__(self, expression: str, time_zone: str) -> None:
        self._zone = zone_of(time_zone)
        self._expression = NAMED.get(expression.strip().lower(), expression)
        self._sim = _reader()
        fields = self._expression.split()
        if len(fields) != FIELDS or len(expression) > LONGEST_CRON:
            raise InputError(
                f"{expression[:80]!r} {_not_fields(expression, len(fields))}", option="cron"
            )
        self._is_time_of_day = not fields[0].startswith("*") and not fields[1].startswith("*")
        try:
            found = next(self._matches(LONG_AGO), None)
        except Exception as error:
            raise InputError(
                f"{expression!r} cannot be read ({_reason(error)}). Its fields are minute, "
                "hour, day of month, month, day of week, as in '0 9 * * mon-fri'.",
                option="cron",
            ) from error
        if found is None:
            raise InputError(f"there is no day that {expression!r} matches.", option="cron")

    def after(self, at: int) -> int | None:
        """The first tick after a time, in milliseconds since the epoch."""
        try:
            seconds = self._after(at // 1000)
        except (OverflowError, ValueError):
            return None  # the calendar ends there
        return None if seconds is None else seconds * 1000

    def _after(self, at: int) -> int | None:
        if self._zone is UTC:
            match = next(self._matches(datetime.fromtimestamp(at, UTC).replace(tzinfo=None)), None)
            return None if match is None else _seconds(match.replace(tzinfo=UTC))
        local = datetime.fromtimestamp(at, self._zone)
        if self._is_time_of_day:
            return self._time_of_day(local, at)
        return self._whenever(local, at)

    def _time_of_day(self, local: datetime, at: int) -> int | None:
        for match in self._matches(local.replace(tzinfo=None, fold=0)):
            if (tick := self._once(match)) > at:
                return tick
        return None

    def _once(self, match: datetime) -> int:
        """When the clocks show a time first; where they skip it, the end of what they skip."""
        first = _seconds(match.replace(tzinfo=self._zone))
        if self._shows(first, match):
            return first
        # Between the two readings of a time that there is not, the clocks go forward.
        before, after = _seconds(match.replace(tzinfo=self._zone, fold=1)), first
        offset = self._offset(after)
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (before, middle) if self._offset(middle) == offset else (middle, after)
        return after

    def _whenever(self, local: datetime, at: int) -> int | None:
        begin = local.replace(tzinfo=None, fold=0)
        twice = local.replace(fold=1 - local.fold).utcoffset() != local.utcoffset()
        # What the clocks show now they show again: so they do with what was before.
        back = self._fold_length(local) if twice else timedelta(0)
        best: int | None = None
        for match in self._matches(begin - back):
            if best is not None and match > begin + back:
                break
            for tick in self._times(match):
                if tick > at and (best is None or tick < best):
                    best = tick
            if best is not None and not back:
                break
        return best

    def _fold_length(self, local: datetime) -> timedelta:
        first, second = local.replace(fold=0).utcoffset(), local.replace(fold=1).utcoffset()
        assert first is not None
        assert second is not None
        return abs(first - second)

    def _times(self, match: datetime) -> list[int]:
        """Whenever the clocks show a time: mostly once, and never where they skip it."""
        times = {_seconds(match.replace(tzinfo=self._zone, fold=fold)) for fold in (0, 1)}
        return [each for each in times if self._shows(each, match)]

    def _shows(self, seconds: int, match: datetime) -> bool:
        return datetime.fromtimestamp(seconds, self._zone).replace(tzinfo=None, fold=0) == match

    def _offset(self, seconds: int) -> timedelta | None:
        return datetime.fromtimestamp(seconds, self._zone).utcoffset()

    def _matches(self, after: datetime) -> Iterator[datetime]:
        return self._sim(self._expression, after)


def zone_of(name: str) -> tzinfo:
    """A time zone by its name.

    Raises:
        InputError: There is none.
    """
    if name in ("UTC", "Etc/UTC", "Z"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise InputError(
            f"there is no time zone {name!r} here. Name one as in 'Europe/Berlin'; "
            "where the system has no zones, install the package tzdata.",
            option="time_zone",
        ) from error


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _not_fields(expression: str, count: int) -> str:
    """What is wrong with an expression that has not five fields."""
    if expression.lstrip().startswith("@"):
        return f"is no name of times that is known here: these are {', '.join(NAMED)}."
    if len(expression) > LONGEST_CRON:
        return f"goes on for {len(expression)} characters; it may have {LONGEST_CRON}."
    has = f"{count} field{'' if count == 1 else 's'}"
    return f"has {has}, and not {FIELDS}: minute, hour, day of month, month, day of week."


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _reader() -> type[CronSim]:
    try:
        # Here, so that those who do without cron expressions do without the package.
        from cronsim import CronSim  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(MISSING) from error
    return CronSim
