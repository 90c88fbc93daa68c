"""Schedules as they are given back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from flowcraft.core.schedules import Outcome, Overlap, Reason, Schedule, Seen, Start, next_ticks
from flowcraft.core.ticks import CatchUp, Timetable

NEXT_TICKS = 5


@dataclass(frozen=True, slots=True)
class Tick:
    """What became of a tick, or of several in a row that were skipped for the same reason.

    Attributes:
        at: The tick.
        outcome: ``started``, ``triggered`` (by hand), ``starting`` (decided, and not done yet),
            ``queued`` or ``skipped``.
        reason: Why it was skipped: ``overlap`` (a run was not over), ``queue_full``, ``missed``
            (nobody looked after it in time, and it was not to be made up for) or ``paused``.
        run_id: The run that it started.
        until: The last of the ticks that were skipped, or the time until which.
        count: How many were skipped; ``None`` where nobody counted them.
    """

    at: datetime
    outcome: Outcome | Literal["starting"]
    reason: Reason = ""
    run_id: str | None = None
    until: datetime | None = None
    count: int | None = 1


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """A schedule as it is now; :class:`ScheduleOptions` says what its options mean.

    Attributes:
        id: Its id.
        flow: The id of the blueprint that its runs are of.
        cron: Its cron expression.
        time_zone: The zone that it goes by.
        every: Or its interval.
        offset: How much later than whole multiples of the interval it has ticks.
        context: The initial context of its runs; ``None`` in a list, where it is not read.
        tags: Labels of its runs, beside ``schedule`` and ``schedule_tick``.
        overlap: What becomes of a tick while a run is not over.
        queue_limit: How many ticks wait at most.
        catch_up: What becomes of ticks that were missed.
        catch_up_limit: How many are made up for at most.
        grace_seconds: When a tick counts as missed.
        jitter_seconds: How much later its runs start at most.
        start_at: There are no ticks before this.
        end_at: There are no ticks after this.
        note: What people are to know of it.
        paused: Whether it has no ticks for the time being.
        pause_note: Why.
        created_at: When it was created.
        next_ticks: The next five; those that it would have if it were not paused.
        ticks: What became of the last ones, newest first.
        waiting: Ticks that wait for a run to be over.
        problem: Why a run that is due cannot be started; empty if there is no such trouble.
    """

    id: str
    flow: str
    cron: str | None
    time_zone: str
    every: timedelta | None
    offset: timedelta
    context: Mapping[str, Any] | None
    tags: Mapping[str, str]
    overlap: Overlap
    queue_limit: int
    catch_up: CatchUp
    catch_up_limit: int
    grace_seconds: float
    jitter_seconds: float
    start_at: datetime | None
    end_at: datetime | None
    note: str
    paused: bool
    pause_note: str
    created_at: datetime
    next_ticks: tuple[datetime, ...]
    ticks: tuple[Tick, ...]
    waiting: tuple[datetime, ...]
    problem: str


def info_of(
    schedule: Schedule, timetable: Timetable, now: int, context: Mapping[str, Any] | None
) -> ScheduleInfo:
    """A schedule as it is shown."""
    spec = schedule.spec
    return ScheduleInfo(
        id=schedule.id,
        flow=spec.flow,
        cron=spec.cron,
        time_zone=spec.time_zone,
        every=None if spec.every_ms is None else timedelta(milliseconds=spec.every_ms),
        offset=timedelta(milliseconds=spec.offset_ms),
        context=context,
        tags=dict(spec.tags),
        overlap=spec.overlap,
        queue_limit=spec.queue_limit,
        catch_up=spec.catch_up,
        catch_up_limit=spec.catch_up_limit,
        grace_seconds=spec.grace_ms / 1000,
        jitter_seconds=spec.jitter_ms / 1000,
        start_at=None if spec.start_at is None else moment_of(spec.start_at),
        end_at=None if spec.end_at is None else moment_of(spec.end_at),
        note=spec.note,
        paused=schedule.paused,
        pause_note=schedule.pause_note,
        created_at=moment_of(schedule.created_at),
        next_ticks=tuple(map(moment_of, next_ticks(schedule, timetable, now, NEXT_TICKS))),
        ticks=tuple(_tick(schedule, each) for each in reversed(schedule.recent)),
        waiting=tuple(map(moment_of, schedule.queue)),
        problem=schedule.problem,
    )


def moment_of(milliseconds: int) -> datetime:
    """A time, in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _tick(schedule: Schedule, seen: Seen) -> Tick:
    start, is_run = Start(seen.at, seen.token), seen.outcome in ("started", "triggered")
    return Tick(
        at=moment_of(seen.at),
        outcome="starting" if is_run and start in schedule.pending else seen.outcome,
        reason=seen.reason,
        run_id=schedule.run_id(start) if is_run else None,
        until=moment_of(seen.until) if seen.outcome == "skipped" else None,
        count=seen.number or None,
    )
