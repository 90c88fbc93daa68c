"""Limits by key: how many attempts may be under way at a time, and how often one may begin.

A :class:`Room` is what is known of one key: who is in, who stands in line, when the next one may
begin. :func:`enter` and :func:`leave` say what becomes of it; whoever stores it does so in one
atomic step. Times are seconds since the epoch, in the store's time.

**In line.** Whoever finds no place takes a ticket. As soon as a place is free the next ticket is
*called*: the place is kept for it, under the ticket's name, for as long as a lease. So nobody who
comes later overtakes, and a place whose waiter is gone is free again when that lease is over.

**Rates** are kept by the generic cell rate algorithm (ITU-T I.371): each start moves the time of
the next one on by a spacing. With the spacing ``per_seconds / (rate - burst + 1)`` a window of
``per_seconds``, wherever it begins, has ``burst`` starts at most that come at once and
``rate - burst`` that are spaced: never more than ``rate``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

IN_HAND_SECONDS: Final = 2.0
"""A start that is due within this time is waited for; a later one costs no worker."""

LONGEST_WINDOW_SECONDS: Final = 366 * 86_400.0
MOST: Final = 1_000_000_000
"""What the numbers of a limit may be at most."""

MOST_CALLED: Final = 50
"""Tickets that are called in one step: where a limit was raised, those who leave call others."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What holds for all attempts of one key together.

    Attributes:
        concurrency: How many may be under way at a time; ``None`` for any number.
        rate: How many may begin within any ``per_seconds``; ``None`` for any number.
        per_seconds: The length of that window, in seconds.
        burst: How many of these may begin at once; the others follow evenly spaced.

    Raises:
        TypeError: A number is none, or not whole where it has to be.
        ValueError: It limits nothing, or a number is not positive or larger than a billion, or
            ``per_seconds`` longer than 366 days, or ``burst`` more than ``rate``.
    """

    concurrency: int | None = None
    rate: int | None = None
    per_seconds: float = 1.0
    burst: int = 1

    def __post_init__(self) -> None:
        for name in ("concurrency", "rate", "burst"):
            value = getattr(self, name)
            if value is None and name != "burst":
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} is a whole number, not {value!r}.")
            if value < 1:
                raise ValueError(f"{name} is at least 1, not {value}.")
            if value > MOST:
                raise ValueError(f"{name} is at most {MOST}; leave it out for any number.")
        if isinstance(self.per_seconds, bool) or not isinstance(self.per_seconds, int | float):
            raise TypeError(f"per_seconds is a number of seconds, not {self.per_seconds!r}.")
        if not 0 < self.per_seconds <= LONGEST_WINDOW_SECONDS:
            raise ValueError(
                f"per_seconds is more than 0, and 366 days at most, not {self.per_seconds!r:.50}."
            )
        if self.concurrency is None and self.rate is None:
            raise ValueError("A limit has a concurrency, or a rate, or both.")
        if self.burst > (1 if self.rate is None else self.rate):
            raise ValueError(f"burst is at most the rate, not {self.burst}.")

    @property
    def spacing_seconds(self) -> float:
        """How long after one start the next one is due; 0 without a rate."""
        return 0.0 if self.rate is None else self.per_seconds / (self.rate - self.burst + 1)

    @property
    def memory_seconds(self) -> float:
        """How long a start may matter: for so long nothing that is known of a key is forgotten."""
        return 0.0 if self.rate is None else 2 * self.per_seconds + IN_HAND_SECONDS

    def earliest(self, next_at: float, now: float) -> float:
        """When somebody may begin by the rate, at ``now`` or later.

        Args:
            next_at: When the next start would be due if all were evenly spaced.
            now: The time.
        """
        if self.rate is None:
            return now
        return max(now, next_at - (self.burst - 1) * self.spacing_seconds)

    def after_start(self, next_at: float, now: float) -> float:
        """When the next start would be due, once somebody has begun."""
        return max(next_at, now) + self.spacing_seconds


class Limits:
    """Limits by the names of keys.

    A name that ends in ``*`` stands for all keys that begin so, each with a limit of its own. A
    name in full goes before those, and a longer one of those before a shorter one.

    Args:
        limits: The limits, by name.

    Raises:
        TypeError: It is no mapping, a name is no text, or a limit no :class:`Limit`.
        ValueError: A name has ``*`` elsewhere than at its end, or is empty.
    """

    def __init__(self, limits: Mapping[str, Limit] | None = None) -> None:
        self._exact: dict[str, Limit] = {}
        self._patterns: list[tuple[str, Limit]] = []
        if limits is not None and not isinstance(limits, Mapping):
            raise TypeError(f"limits is a mapping of names to Limit(…), not {limits!r}.")
        for name, limit in (limits or {}).items():
            if not isinstance(name, str):
                raise TypeError(f"The name of a limit is text, not {name!r}.")
            if not isinstance(limit, Limit):
                raise TypeError(f"The limit of {name!r} is a Limit(…), not {limit!r}.")
            if not name or "*" in name[:-1]:
                raise ValueError(
                    f"{name!r} is no name of a limit: it is a key, or the beginning of keys and "
                    "one '*' at the end."
                )
            if name.endswith("*"):
                self._patterns.append((name[:-1], limit))
            else:
                self._exact[name] = limit
        self._patterns.sort(key=lambda pair: -len(pair[0]))

    def __bool__(self) -> bool:
        return bool(self._exact or self._patterns)

    def by_name(self) -> Mapping[str, Limit]:
        """The limits, as they were given."""
        return {**self._exact, **{f"{front}*": limit for front, limit in self._patterns}}

    def of(self, key: str) -> Limit | None:
        """What holds for a key; ``None`` where nothing does."""
        found = self._exact.get(key)
        if found is not None:
            return found
        return next((limit for front, limit in self._patterns if key.startswith(front)), None)


@dataclass(frozen=True, slots=True)
class Room:
    """What is known of one key.

    Attributes:
        holders: Until when somebody has a place, by name: a token, or that of a ticket.
        called: How many tickets have been called: the number of the next one that is.
        given: How many tickets have been given out.
        next_at: When the next start would be due if all were evenly spaced.
        promised_until: Until when starts are promised to those who were told to come back.
    """

    holders: Mapping[str, float] = field(default_factory=dict)
    called: int = 0
    given: int = 0
    next_at: float = 0.0
    promised_until: float = 0.0

    def memory_seconds(self, now: float) -> float:
        """How long from now on its times may matter, whatever its limit is."""
        return max(0.0, self.next_at - now, self.promised_until - now) + IN_HAND_SECONDS


class Visitor(NamedTuple):
    """Who wants to begin.

    Attributes:
        token: Names the attempt, and its place.
        seconds: How long a place is kept for somebody who is not heard of.
        ticket: The ticket in hand.
        has_waited: Whether somebody comes back at the time that was given.
        may_wait: Whether to take a ticket, or a time to come back, where there is no place.
    """

    token: str
    seconds: float
    ticket: int | None = None
    has_waited: bool = False
    may_wait: bool = True


class Entered(NamedTuple):
    """What became of somebody who wanted to begin.

    Attributes:
        granted: Whether it may begin.
        at: When: from then on it may, at most :data:`IN_HAND_SECONDS` from now. Where it may not,
            when to come back; 0 where somebody calls.
        ticket: The ticket that it has, where it may not.
        called: Tickets that were called meanwhile: their messages are to be sent.
        until: When the place is given up, unless it is renewed before.
    """

    granted: bool
    at: float = 0.0
    ticket: int | None = None
    called: tuple[int, ...] = ()
    until: float = math.inf


def ticket_name(ticket: int) -> str:
    """The name under which a place is kept for a ticket."""
    return f"#{ticket}"


def enter(room: Room, limit: Limit, visitor: Visitor, now: float) -> tuple[Entered, Room]:
    """Let somebody begin, or wait; gives what became of it, and of the room."""
    ticket = visitor.ticket
    if ticket is not None and ticket >= room.given:
        ticket = None  # of a room that has been forgotten since
    kept = None if ticket is None else ticket_name(ticket)
    # Who asks is heard of: a place that is late, and nobody else's yet, is still its own.
    room = _without(room, now, (visitor.token, kept))
    called: tuple[int, ...] = ()
    if not _has_place(room, limit, visitor.token, kept):
        room, called = _call(room, limit, now + visitor.seconds)
        if not _has_place(room, limit, visitor.token, kept) and not _is_free(room, limit):
            return _stand_in_line(room, visitor, ticket, called)
    if ticket is not None:
        called = tuple(number for number in called if number != ticket)
    earliest = limit.earliest(room.next_at, now)
    promised = earliest if visitor.has_waited else max(earliest, room.promised_until)
    if limit.rate is not None and promised > now + IN_HAND_SECONDS:
        return _come_back(room, limit, visitor, ticket, called, earliest)
    if limit.rate is not None:
        room = replace(room, next_at=limit.after_start(room.next_at, now))
    until = math.inf
    if limit.concurrency is not None:
        until = earliest + visitor.seconds
        holders = {name: end for name, end in room.holders.items() if name != kept}
        room = replace(room, holders={**holders, visitor.token: until})
    return Entered(True, earliest, None, called, until), room


def leave(
    room: Room, limit: Limit, name: str, now: float, seconds: float
) -> tuple[tuple[int, ...], Room]:
    """Give a place back; gives the tickets that are called to what is free, and the room."""
    holders = {each: until for each, until in room.holders.items() if each != name}
    room, called = _call(_without(replace(room, holders=holders), now), limit, now + seconds)
    return called, room


def pass_on(room: Room, name: str, now: float, seconds: float) -> tuple[tuple[int, ...], Room]:
    """Give a place back, not knowing how many there are: the next one in line has it.

    As many are in afterwards as were before, or one less.
    """
    if name not in room.holders:
        return (), room
    holders = {each: until for each, until in room.holders.items() if each != name}
    if room.called == room.given:
        return (), replace(room, holders=holders)
    holders[ticket_name(room.called)] = now + seconds
    return (room.called,), replace(room, holders=holders, called=room.called + 1)


def renew(room: Room, name: str, until: float) -> Room | None:
    """Keep a place for longer; ``None`` if it was given to somebody else."""
    if name not in room.holders:
        return None
    return replace(room, holders={**room.holders, name: until})


def take_back(room: Room, limit: Limit, now: float) -> Room:
    """Promise a start anew that somebody was promised who will not come.

    Who was promised a later one keeps that. It may be promised once more: then the one who comes
    second is told to come back, at a time that nobody else has.
    """
    if limit.rate is None or room.promised_until <= now:
        return room
    return replace(room, promised_until=room.promised_until - limit.spacing_seconds)


def _without(room: Room, now: float, heard: Collection[str | None] = ()) -> Room:
    """The room without those who were not heard of for too long."""
    there = {name: at for name, at in room.holders.items() if at > now or name in heard}
    return room if len(there) == len(room.holders) else replace(room, holders=there)


def _has_place(room: Room, limit: Limit, token: str, kept: str | None) -> bool:
    return limit.concurrency is None or token in room.holders or kept in room.holders


def _is_free(room: Room, limit: Limit) -> bool:
    assert limit.concurrency is not None
    return len(room.holders) < limit.concurrency and room.called == room.given


def _call(room: Room, limit: Limit, until: float) -> tuple[Room, tuple[int, ...]]:
    """Keep what is free for those who are next."""
    waiting = room.given - room.called
    free = waiting if limit.concurrency is None else limit.concurrency - len(room.holders)
    count = min(waiting, free, MOST_CALLED)
    if count <= 0:
        return room, ()
    called = tuple(range(room.called, room.called + count))
    kept = {} if limit.concurrency is None else {ticket_name(each): until for each in called}
    room = replace(room, holders={**room.holders, **kept}, called=room.called + count)
    return room, called


def _stand_in_line(
    room: Room, visitor: Visitor, ticket: int | None, called: tuple[int, ...]
) -> tuple[Entered, Room]:
    if ticket is not None and ticket >= room.called:
        return Entered(False, 0.0, ticket, called), room
    if not visitor.may_wait:
        return Entered(False, 0.0, None, called), room
    return Entered(False, 0.0, room.given, called), replace(room, given=room.given + 1)


def _come_back(
    room: Room,
    limit: Limit,
    visitor: Visitor,
    ticket: int | None,
    called: tuple[int, ...],
    earliest: float,
) -> tuple[Entered, Room]:
    """Tell somebody when to come back; a place that is kept stays so until then."""
    at = max(earliest, room.promised_until)
    if not visitor.may_wait:
        return Entered(False, at, None, called), room
    room = replace(room, promised_until=at + limit.spacing_seconds)
    kept = None if ticket is None else ticket_name(ticket)
    if kept is not None and kept in room.holders:
        room = replace(room, holders={**room.holders, kept: at + visitor.seconds})
    return Entered(False, at, ticket, called), room
