"""Which ticks of a schedule are due, and which of them were missed.

A *tick* is a time at which a schedule is to start something: a whole number of milliseconds since
the epoch. A timetable tells the next one; with jitter a tick is *due* a little later than it is.

Ticks are decided in their order, each once: the *cursor* is the last one that was. A tick that
nobody decided within the grace was missed, as after a downtime: then the policy says which of those
that are behind are made up for, however many there are. To find the last ones of very many, they
are looked for in a window that ends now and grows, so that a downtime of a year costs no more than
one of an hour.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal, NamedTuple, Protocol

CatchUp = Literal["none", "latest", "all"]

MOST_AT_ONCE: Final = 100
"""Ticks that are decided in one step; what is left is due at once."""

FIRST_WINDOW_MS: Final = 60_000
WIDER: Final = 4


class Timetable(Protocol):
    """Tells when a schedule has ticks."""

    def after(self, at: int) -> int | None:
        """The first tick after a time, in milliseconds since the epoch; ``None`` for none."""
        ...


class Rules(NamedTuple):
    """What decides about the ticks of a schedule, beside its timetable.

    Attributes:
        name: What jitter is drawn from, together with the tick.
        start_at: No tick is before this time; milliseconds since the epoch, like all times here.
        end_at: No tick is after this time.
        jitter_ms: A tick is due up to this much later.
        grace_ms: A tick is missed that nobody decided within this time after it was due.
        catch_up: Which of the ticks that are behind are made up for, where one was missed.
        catch_up_limit: How many at most, where all are.
    """

    name: str
    start_at: int | None = None
    end_at: int | None = None
    jitter_ms: int = 0
    grace_ms: int = 300_000
    catch_up: CatchUp = "latest"
    catch_up_limit: int = 100


class DueTicks(NamedTuple):
    """What is to be decided now.

    Attributes:
        ticks: Those that are due, oldest first.
        missed: The first and the last of those before them that are given up.
        cursor: The last tick that is decided by that.
    """

    ticks: tuple[int, ...]
    missed: tuple[int, int] | None
    cursor: int


def due_at(rules: Rules, tick: int) -> int:
    """When a tick is due: its time and a jitter that always is the same."""
    if not rules.jitter_ms:
        return tick
    digest = hashlib.sha256(f"{rules.name}/{tick}".encode("utf-8", "surrogatepass")).digest()
    return tick + int.from_bytes(digest[:8]) % (rules.jitter_ms + 1)


def next_tick(rules: Rules, timetable: Timetable, after: int) -> int | None:
    """The first tick after a time, within the time of the schedule."""
    if rules.start_at is not None:
        after = max(after, rules.start_at - 1)
    tick = timetable.after(after)
    if tick is None or (rules.end_at is not None and tick > rules.end_at):
        return None
    return tick


def due_ticks(rules: Rules, timetable: Timetable, cursor: int, now: int) -> DueTicks:
    """The ticks after the cursor that are due, less those that are given up.

    Args:
        rules: What decides.
        timetable: When there are ticks.
        cursor: The last tick that was decided.
        now: The time.
    """
    first = next_tick(rules, timetable, cursor)
    if first is None or due_at(rules, first) > now:
        return DueTicks((), None, cursor)
    if now - due_at(rules, first) <= rules.grace_ms:
        ticks = _ticks_of(rules, timetable, cursor, now, MOST_AT_ONCE)
        return DueTicks(tuple(ticks), None, ticks[-1])
    wanted = rules.catch_up_limit if rules.catch_up == "all" else 1
    ticks, is_all = _last_ticks(rules, timetable, cursor, now, wanted)
    kept = ticks[-wanted:]
    given_up = ticks[: len(ticks) - len(kept)]
    if rules.catch_up == "none" and now - due_at(rules, kept[-1]) > rules.grace_ms:
        given_up, kept = ticks, []
    missed = None
    if given_up:
        missed = first, given_up[-1]
    elif not is_all and first < kept[0]:
        missed = first, kept[0] - 1
    kept = kept[:MOST_AT_ONCE]
    return DueTicks(tuple(kept), missed, kept[-1] if kept else ticks[-1])


def _last_ticks(
    rules: Rules, timetable: Timetable, cursor: int, now: int, wanted: int
) -> tuple[list[int], bool]:
    """At least so many of the last ticks that are due, if there are; and whether these are all."""
    window = FIRST_WINDOW_MS
    while True:
        # What is before the window is due, however long its jitter is.
        begin = now - rules.jitter_ms - window
        is_all = begin <= cursor
        ticks = _ticks_of(rules, timetable, max(cursor, begin), now, None)
        if is_all or len(ticks) >= wanted:
            return ticks, is_all
        window *= WIDER


def _ticks_of(
    rules: Rules, timetable: Timetable, after: int, now: int, most: int | None
) -> list[int]:
    ticks: list[int] = []
    tick = next_tick(rules, timetable, after)
    while tick is not None and due_at(rules, tick) <= now:
        ticks.append(tick)
        if len(ticks) == most:
            break
        tick = next_tick(rules, timetable, tick)
    return ticks
