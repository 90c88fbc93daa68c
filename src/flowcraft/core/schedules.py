"""What becomes of the ticks of a schedule: the only place that decides about them.

A schedule is one value. Whoever looks after it works out the next value from the one that is stored
and exchanges the one for the other; who is late begins anew. So each tick is decided once, by
whoever comes first. A run that is decided to start is *pending* in the value, and started by its id
afterwards, by whoever sees it there, as often as it takes: that is once, since starting is
idempotent. Nothing else is decided before what is pending has been started.

What is decided depends on runs only by which of them are over, and that never changes back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from flowcraft.core.ticks import CatchUp, Rules, Timetable, due_at, due_ticks, next_tick

Overlap = Literal["skip", "queue", "allow"]
Outcome = Literal["started", "triggered", "queued", "skipped"]
Reason = Literal["", "missed", "overlap", "queue_full", "paused"]

RECENT_TICKS: Final = 20
"""So many ticks are remembered; of the same kind of skipped ones in a row, the first and last."""

MOST_ACTIVE: Final = 100
"""So many runs are remembered that may not be over."""

QUEUE_LOOK_MS: Final = 5_000
"""From one look at whether the next waiting tick can start to the next."""

TROUBLE_LOOK_MS: Final = 60_000
"""The same for a run that cannot be started."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a schedule is to do; times in milliseconds.

    Attributes:
        flow: The id of the blueprint.
        cron: When, as a cron expression.
        time_zone: Where.
        every_ms: Or from one tick to the next.
        offset_ms: How far after whole multiples of that since the epoch.
        context: Where the initial context of its runs is kept.
        tags: Labels of its runs.
        overlap: What becomes of a tick while a run of an earlier one is not over.
        queue_limit: How many ticks wait at most.
        catch_up: What becomes of ticks that nobody looked after in time.
        catch_up_limit: How many are made up for at most.
        grace_ms: Until when it was in time.
        jitter_ms: How much later a tick may be due.
        start_at: No tick is before this.
        end_at: No tick is after this.
        note: What people are to know.
    """

    flow: str
    cron: str | None = None
    time_zone: str = "UTC"
    every_ms: int | None = None
    offset_ms: int = 0
    context: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    overlap: Overlap = "skip"
    queue_limit: int = 10
    catch_up: CatchUp = "latest"
    catch_up_limit: int = 100
    grace_ms: int = 300_000
    jitter_ms: int = 0
    start_at: int | None = None
    end_at: int | None = None
    note: str = ""


class Start(NamedTuple):
    """A run that is to be started: its tick, and for one beside the timetable its own name."""

    at: int
    token: str = ""


class Seen(NamedTuple):
    """What became of a tick, or of ticks in a row.

    Attributes:
        at: The tick.
        outcome: What became of it.
        reason: Why it was skipped.
        token: Of a run beside the timetable, its own name.
        until: The last of the ticks that were skipped.
        number: How many they were; 0 where nobody counted.
    """

    at: int
    outcome: Outcome
    reason: Reason = ""
    token: str = ""
    until: int = 0
    number: int = 1


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule, as it is stored; times in milliseconds since the epoch.

    Attributes:
        id: Its id.
        incarnation: Tells it from others that had the same id before.
        revision: Grows with every change.
        spec: What it is to do.
        created_at: When it was made.
        cursor: The last tick that was decided; there is none to decide before it.
        paused: Whether it has no ticks for the time being.
        pause_note: Why.
        queue: Ticks that wait until the run of an earlier one is over.
        pending: Runs that are decided, and may not have been started.
        active: Runs that were started, and may not be over.
        recent: What became of the last ticks, newest last.
        problem: Why a pending run could not be started.
    """

    id: str
    incarnation: str
    spec: Spec
    created_at: int
    cursor: int
    revision: int = 1
    paused: bool = False
    pause_note: str = ""
    queue: tuple[int, ...] = ()
    pending: tuple[Start, ...] = ()
    active: tuple[str, ...] = ()
    recent: tuple[Seen, ...] = ()
    problem: str = ""

    @property
    def rules(self) -> Rules:
        """What decides about its ticks."""
        spec = self.spec
        return Rules(
            self.id,
            spec.start_at,
            spec.end_at,
            spec.jitter_ms,
            spec.grace_ms,
            spec.catch_up,
            spec.catch_up_limit,
        )

    def run_id(self, start: Start) -> str:
        """The id of the run that a tick starts, whoever starts it."""
        suffix = f".{start.token}" if start.token else ""
        return f"{self.id}@{iso_time(start.at)}.{self.incarnation}{suffix}"


def iso_time(at: int) -> str:
    """A time in UTC, as people and programs read it."""
    seconds, rest = divmod(at, 1000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:03}Z" if rest else f"{text}Z"


# -- deciding -----------------------------------------------------------------------------------


def settle(
    schedule: Schedule, timetable: Timetable, now: int, over: Collection[str] = ()
) -> Schedule:
    """Decide about what is due; gives the same schedule where that is nothing.

    Args:
        schedule: The schedule.
        timetable: When it has ticks.
        now: The time.
        over: Those of its active runs that are over.
    """
    if schedule.pending or schedule.paused:
        return schedule
    active = tuple(each for each in schedule.active if each not in over)
    due = due_ticks(schedule.rules, timetable, schedule.cursor, now)
    waits = not schedule.queue or (active and schedule.spec.overlap != "allow")
    if due.missed is None and not due.ticks and waits:
        return schedule
    decided = replace(schedule, cursor=due.cursor, active=active)
    if due.missed is not None:
        decided = _skip(decided, Seen(due.missed[0], "skipped", "missed", "", due.missed[1], 0))
    if schedule.queue:
        decided = _start_waiting(decided)
    for tick in due.ticks:
        decided = _decide(decided, tick)
    return decided


def asks_for_runs(schedule: Schedule, timetable: Timetable, now: int) -> bool:
    """Whether what is to be decided depends on which runs are over."""
    if schedule.pending or schedule.paused or not schedule.active:
        return False
    if schedule.spec.overlap == "allow":
        return False
    due = due_ticks(schedule.rules, timetable, schedule.cursor, now)
    return bool(schedule.queue or due.ticks)


def _decide(schedule: Schedule, tick: int) -> Schedule:
    spec, is_busy = schedule.spec, bool(schedule.active or schedule.queue)
    if spec.overlap == "allow" or not is_busy:
        return start(schedule, Start(tick))
    if spec.overlap == "skip":
        return _skip(schedule, Seen(tick, "skipped", "overlap", "", tick))
    if len(schedule.queue) >= spec.queue_limit:
        return _skip(schedule, Seen(tick, "skipped", "queue_full", "", tick))
    return _see(replace(schedule, queue=(*schedule.queue, tick)), Seen(tick, "queued"))


def _start_waiting(schedule: Schedule) -> Schedule:
    """Start the first of the ticks that wait, or all of them where they need not any more."""
    queue = schedule.queue
    if schedule.spec.overlap != "allow":
        queue = () if schedule.active else queue[:1]
    rest = schedule.queue[len(queue) :]
    schedule = replace(schedule, queue=rest)
    for tick in queue:
        schedule = start(schedule, Start(tick))
    return schedule


def start(schedule: Schedule, begun: Start) -> Schedule:
    """Decide that a run is to be started."""
    schedule = replace(
        schedule,
        pending=(*schedule.pending, begun),
        active=(*schedule.active, schedule.run_id(begun))[-MOST_ACTIVE:],
    )
    outcome: Outcome = "triggered" if begun.token else "started"
    return _see(schedule, Seen(begun.at, outcome, token=begun.token))


def _see(schedule: Schedule, seen: Seen) -> Schedule:
    # A tick that waited is in the list once: as what became of it.
    before = [
        each
        for each in schedule.recent
        if not (each.outcome == "queued" and each.at == seen.at and not seen.token)
    ]
    return replace(schedule, recent=(*before, seen)[-RECENT_TICKS:])


def _skip(schedule: Schedule, seen: Seen) -> Schedule:
    """Remember ticks that were skipped, together with those before them for the same reason."""
    last = schedule.recent[-1] if schedule.recent else None
    if last is None or (last.outcome, last.reason) != ("skipped", seen.reason):
        return _see(schedule, seen)
    number = last.number + seen.number if last.number and seen.number else 0
    merged = last._replace(until=seen.until, number=number)
    return replace(schedule, recent=(*schedule.recent[:-1], merged))


# -- what people want ---------------------------------------------------------------------------


def pause(schedule: Schedule, note: str) -> Schedule:
    """Have no more ticks for the time being; what is due by now was decided before."""
    return replace(schedule, paused=True, pause_note=note)


def resume(schedule: Schedule, timetable: Timetable, now: int) -> Schedule:
    """Have ticks again, from now on."""
    if not schedule.paused:
        return schedule
    first = next_tick(schedule.rules, timetable, schedule.cursor)
    if first is not None and first <= now:
        schedule = _skip(schedule, Seen(first, "skipped", "paused", "", now, 0))
    return replace(
        schedule, paused=False, pause_note="", cursor=max(schedule.cursor, now), problem=""
    )


def respecify(schedule: Schedule, spec: Spec, now: int) -> Schedule:
    """Do something else from now on; what is due by now was decided before."""
    if spec == schedule.spec:
        return schedule
    return replace(schedule, spec=spec, cursor=max(schedule.cursor, now), problem="")


# -- when to look again -------------------------------------------------------------------------


def look_at(schedule: Schedule, timetable: Timetable, now: int) -> int | None:
    """When there is something to decide or to do; ``None``: not before somebody changes it."""
    if schedule.pending:
        return now + TROUBLE_LOOK_MS if schedule.problem else now
    if schedule.paused:
        return None
    tick = next_tick(schedule.rules, timetable, schedule.cursor)
    due = None if tick is None else due_at(schedule.rules, tick)
    if not schedule.queue:
        return due
    return now + QUEUE_LOOK_MS if due is None else min(due, now + QUEUE_LOOK_MS)


def next_ticks(schedule: Schedule, timetable: Timetable, now: int, count: int) -> list[int]:
    """The next ticks, whether or not it is paused."""
    ticks: list[int] = []
    after = max(schedule.cursor, now) if schedule.paused else schedule.cursor
    tick = next_tick(schedule.rules, timetable, after)
    while tick is not None and len(ticks) < count:
        ticks.append(tick)
        tick = next_tick(schedule.rules, timetable, tick)
    return ticks
