"""What callers say of a schedule, checked before anything is stored."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, TypedDict, TypeVar

from flowcraft.core.durations import parse_duration_ms
from flowcraft.core.schedules import Overlap, Spec
from flowcraft.core.ticks import CatchUp
from flowcraft.engine.arguments import checked_tags, checked_text, checked_time
from flowcraft.engine.timetables import LAST_MS, timetable_of
from flowcraft.errors import InputError

T = TypeVar("T")

LONGEST_ID: Final = 200
LONGEST_NOTE: Final = 2_000
LONGEST_TAGS: Final = 10_000
SHORTEST_INTERVAL_MS: Final = 1_000
MOST_WAITING: Final = 1_000
MOST_CAUGHT_UP: Final = 1_000
LONGEST_JITTER_SECONDS: Final = 86_400.0
LONGEST_GRACE_SECONDS: Final = 31 * 86_400.0
_INTERVAL: Final = re.compile(r"[0-9]{1,18}(ms|s|m|h|d)")
RESERVED_TAGS: Final = ("schedule", "schedule_tick")


class ScheduleOptions(TypedDict, total=False):
    """What a schedule is to do.

    Attributes:
        cron: When, as a cron expression of five fields (minute, hour, day of month, month, day of
            week) or as ``@hourly``, ``@daily``, ``@weekly``, ``@monthly``, ``@yearly``.
        time_zone: The zone whose clocks it goes by, such as ``Europe/Berlin``; UTC by default.
        every: Or from one tick to the next: a text such as ``"15m"``, or a ``timedelta``, 1 s at
            least. The ticks are whole multiples of it since 1970-01-01T00:00:00Z.
        offset: How much later than these multiples the ticks are; less than ``every``.
        context: The initial context of its runs, as a mapping or JSON text.
        tags: Labels of its runs.
        overlap: While a run that it started is not over, a tick is skipped (``"skip"``, the
            default), waits for its turn (``"queue"``), or starts a run all the same (``"allow"``).
        queue_limit: How many ticks wait at most, 10 by default, up to 1,000; others are skipped.
        catch_up: Of the ticks that nobody looked after in time, none is made up for (``"none"``),
            the latest one (``"latest"``, the default), or all (``"all"``).
        catch_up_limit: How many at most where all are, 100 by default, up to 1,000: the last ones.
        grace_seconds: A tick counts as missed if it was not looked after so long after it was due;
            300 by default.
        jitter_seconds: Each run starts up to so much later than its tick, always as much for the
            same tick; 0 by default, up to a day.
        start_at: There are no ticks before this time.
        end_at: There are no ticks after this time.
        note: What people are to know of it.
    """

    cron: str | None
    time_zone: str
    every: str | timedelta | None
    offset: str | timedelta
    context: Mapping[str, Any] | str | None
    tags: Mapping[str, str] | None
    overlap: Overlap
    queue_limit: int
    catch_up: CatchUp
    catch_up_limit: int
    grace_seconds: float
    jitter_seconds: float
    start_at: datetime | None
    end_at: datetime | None
    note: str


class ScheduleChanges(ScheduleOptions, total=False):
    """What is to become different about a schedule.

    Attributes:
        flow: The id of a blueprint, a blueprint, or a flow.
    """

    flow: Any


class DeclaredSchedule(ScheduleOptions, total=False):
    """A schedule that code declares; ``id`` and ``flow`` have to be there.

    Attributes:
        id: Its id.
        flow: The id of a blueprint, a blueprint, or a flow.
        paused: Whether it is paused when it is created; later on it stays as it was left.
    """

    id: str
    flow: Any
    paused: bool


def checked_declarations(declared: Sequence[DeclaredSchedule]) -> None:
    """See that each declaration is one, and of a schedule of its own.

    Raises:
        InputError: One is no mapping, has an id that is none, or that another one has, too.
    """
    ids: set[str] = set()
    for number, each in enumerate(declared):
        if not isinstance(each, Mapping):
            raise InputError(
                f"schedules[{number}]: a schedule is declared as {{'id': …, 'flow': …, 'cron': …}} "
                f"and so on, not as {_shown(each)}."
            )
        try:
            schedule_id = checked_schedule_id(each.get("id", ""))
        except InputError as error:
            raise InputError(f"schedules[{number}].{error}") from error
        if schedule_id in ids:
            raise InputError(f"schedules[{number}].id: '{schedule_id}' is declared twice.")
        ids.add(schedule_id)


def checked_schedule_id(schedule_id: str) -> str:
    """The id of a schedule: text of up to 200 characters that can be part of a run's id.

    Raises:
        InputError: It is none.
    """
    is_fit = isinstance(schedule_id, str) and 0 < len(schedule_id) <= LONGEST_ID
    if not is_fit or not schedule_id.isprintable():
        raise InputError(
            f"the id of a schedule is text of 1 to {LONGEST_ID} printable characters, not "
            f"{_shown(schedule_id)}.",
            option="id",
        )
    return schedule_id


def checked_pause(name: str, value: Any) -> bool:
    """Whether a schedule is paused.

    Raises:
        InputError: It is neither ``True`` nor ``False``.
    """
    if not isinstance(value, bool):
        raise InputError(f"it is True or False, not {_shown(value)}.", option=name)
    return value


def checked_note(name: str, value: Any) -> str:
    """What people are to know.

    Raises:
        InputError: It is no text that can be stored, or too long.
    """
    return _checked(name, _note, value)


def checked_moment(name: str, value: Any) -> int | None:
    """A time in milliseconds since the epoch.

    Raises:
        InputError: It is none, or out of range.
    """
    return _checked(name, _time, value)


def spec_of(options: Mapping[str, Any], before: Spec) -> Spec:
    """A schedule's specification: what was said, and as it was before where nothing was.

    What ``flow`` and ``context`` come to is for the caller to see.

    Raises:
        InputError: Something is none of what it may be; the message names it first.
        ImportError: What reads cron expressions is needed, and not installed.
    """
    unknown = sorted(set(options) - set(_CHECKS) - {"flow", "context"})
    if unknown == ["paused"]:
        raise InputError(
            "an update does not change it; use pause(…) and resume(…).", option="paused"
        )
    if unknown:
        known = ", ".join(ScheduleOptions.__annotations__)
        raise InputError(f"a schedule has no such option. It has: {known}.", option=unknown[0])
    changes: dict[str, Any] = {}
    for name, value in options.items():
        if name in _CHECKS:
            field, check = _CHECKS[name]
            changes[field] = _checked(name, check, value)
    if changes.get("cron") is not None and changes.get("every_ms") is None:
        changes |= {"every_ms": None, "offset_ms": changes.get("offset_ms", 0)}
    if changes.get("every_ms") is not None and changes.get("cron") is None:
        changes["cron"] = None
    spec = replace(before, **changes)
    _check_together(spec)
    timetable_of(spec)
    return spec


def _check_together(spec: Spec) -> None:
    if spec.cron is not None and spec.every_ms is not None:
        raise InputError("a schedule has either cron or every, and both are given.", option="every")
    if spec.cron is None and spec.every_ms is None:
        raise InputError("a schedule needs cron or every, and neither is given.", option="cron")
    if spec.every_ms is None and spec.offset_ms:
        raise InputError("it belongs to every, which is not given.", option="offset")
    if spec.every_ms is not None and spec.offset_ms >= spec.every_ms:
        raise InputError("it is less than every.", option="offset")
    if spec.every_ms is not None and spec.time_zone != "UTC":
        raise InputError(
            "it belongs to cron; intervals are the same in every zone. Leave it out.",
            option="time_zone",
        )
    if None not in (spec.start_at, spec.end_at) and spec.end_at < spec.start_at:  # type: ignore[operator]
        raise InputError("it is before start_at.", option="end_at")


def _checked(name: str, check: Callable[[str, Any], T], value: Any) -> T:
    try:
        return check(name, value)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(str(error), option=name) from error


def _text(name: str, value: Any) -> str:
    return checked_text(name, value)


def _cron(name: str, value: Any) -> str | None:
    return None if value is None else checked_text(name, value).strip()


def _note(name: str, value: Any) -> str:
    if len(checked_text(name, value)) > LONGEST_NOTE:
        raise ValueError(f"it has {len(value)} characters, and may have {LONGEST_NOTE}.")
    return str(value)


def _tags(_: str, value: Any) -> dict[str, str]:
    tags = checked_tags(value)
    for name in RESERVED_TAGS:
        if name in tags:
            raise ValueError(f"'{name}' is set for every run of a schedule; take another name.")
    if sum(len(name) + len(text) for name, text in tags.items()) > LONGEST_TAGS:
        raise ValueError(f"they have more than {LONGEST_TAGS} characters.")
    return tags


def _every(_: str, value: Any) -> int | None:
    if value is None:
        return None
    milliseconds = _duration(value)
    if milliseconds < SHORTEST_INTERVAL_MS:
        raise ValueError(f"the shortest interval is 1 s, and this is {value!r}.")
    return milliseconds


def _offset(_: str, value: Any) -> int:
    return _duration(value)


def _duration(value: Any) -> int:
    if not isinstance(value, str | timedelta):
        raise TypeError(f"give a text such as '15m', or a timedelta, not {_shown(value)}.")
    if isinstance(value, str) and not _INTERVAL.fullmatch(value):
        raise ValueError(
            f"{value[:60]!r} is no length of time: give a whole number and its unit, as in '10s', "
            "'15m', '2h' or '1d'."
        )
    return parse_duration_ms(value)


def _one_of(*choices: str) -> Callable[[str, Any], str]:
    def check(_: str, value: Any) -> str:
        if value not in choices:
            raise ValueError(f"it is {' or '.join(map(repr, choices))}, not {_shown(value)}.")
        return str(value)

    return check


def _count(most: int) -> Callable[[str, Any], int]:
    def check(_: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise ValueError(f"it is a whole number from 1 to {most}, not {_shown(value)}.")
        return int(value)

    return check


def _seconds(least: float, most: float) -> Callable[[str, Any], int]:
    def check(_: str, value: Any) -> int:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not least <= value <= most:
            raise ValueError(f"it is a number from {least:g} to {most:g}, not {_shown(value)}.")
        milliseconds: int = round(value * 1000)
        return milliseconds

    return check


def _time(name: str, value: Any) -> int | None:
    seconds = checked_time(name, value)
    milliseconds = None if seconds is None else round(seconds * 1000)
    if milliseconds is not None and milliseconds > LAST_MS:
        raise ValueError(f"it is out of range: {value}.")
    return milliseconds


def _shown(value: Any) -> str:
    return f"{repr(value)[:60]} ({type(value).__name__})"


_CHECKS: Final[Mapping[str, tuple[str, Callable[[str, Any], Any]]]] = {
    "cron": ("cron", _cron),
    "time_zone": ("time_zone", _text),
    "every": ("every_ms", _every),
    "offset": ("offset_ms", _offset),
    "tags": ("tags", _tags),
    "overlap": ("overlap", _one_of("skip", "queue", "allow")),
    "queue_limit": ("queue_limit", _count(MOST_WAITING)),
    "catch_up": ("catch_up", _one_of("none", "latest", "all")),
    "catch_up_limit": ("catch_up_limit", _count(MOST_CAUGHT_UP)),
    "grace_seconds": ("grace_ms", _seconds(1.0, LONGEST_GRACE_SECONDS)),
    "jitter_seconds": ("jitter_ms", _seconds(0.0, LONGEST_JITTER_SECONDS)),
    "start_at": ("start_at", _time),
    "end_at": ("end_at", _time),
    "note": ("note", _note),
}
