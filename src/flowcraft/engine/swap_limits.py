"""Limits on top of texts that are exchanged for others: for any backend that has those."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from flowcraft.core.limits import (
    Entered,
    Limit,
    Room,
    Visitor,
    enter,
    leave,
    pass_on,
    renew,
    take_back,
)
from flowcraft.errors import StorageBusy
from flowcraft.ports.coordination import CoordinationStore
from flowcraft.ports.limits import LimitStore, Place

T = TypeVar("T")

TRIES: Final = 100
"""How often a step is worked out anew because others were faster."""

KEPT_MESSAGE_SECONDS: Final = 86_400.0
KEPT_SECONDS: Final = 2 * KEPT_MESSAGE_SECONDS
"""How long a message in line is kept, and a room in which nothing happens: for longer, or the same
tickets would be given out again while messages of theirs are there."""

REMEMBERED: Final = 256
CALLED: Final = "called"


def limits_of(coordination: CoordinationStore) -> LimitStore:
    """The limits of a backend: its own, or those that any has."""
    own: LimitStore | None = getattr(coordination, "limits", None)
    return SwapLimits(coordination) if own is None else own


class SwapLimits:
    """Keeps each room as one text of a coordination store.

    Args:
        coordination: The store.
    """

    def __init__(self, coordination: CoordinationStore) -> None:
        self._coordination = coordination
        # As they were last seen: most steps then take one request instead of two.
        self._seen: OrderedDict[str, str | None] = OrderedDict()

    async def enter(self, key: str, limit: Limit, visitor: Visitor, now: float) -> Entered:
        """Let somebody begin, or wait."""
        return await self._step(key, limit, lambda room: enter(room, limit, visitor, now))

    async def leave(self, place: Place, now: float, seconds: float) -> Sequence[int]:
        """Give a place back; gives the tickets that are called."""
        key, limit = place.key, place.limit
        return await self._step(
            key, limit, lambda room: leave(room, limit, place.token, now, seconds)
        )

    async def pass_on(self, key: str, token: str, now: float, seconds: float) -> Sequence[int]:
        """Give a place back where it is not known what holds for its key; gives who is called."""
        return await self._step(key, now, lambda room: pass_on(room, token, now, seconds))

    async def renew(self, places: Sequence[Place], until: float) -> Sequence[bool]:
        """Keep places until a time; which of them are still held."""
        return [
            await self._step(each.key, each.limit, _renewing(each.token, until)) for each in places
        ]

    async def take_back(self, key: str, limit: Limit, now: float) -> None:
        """Promise a start to others that was promised to somebody who will not come."""
        await self._step(key, limit, lambda room: (None, take_back(room, limit, now)))

    async def wait(self, key: str, ticket: int, message: str) -> bool:
        """Keep a message until its ticket is called; false if it was called already."""
        name = _ticket_key(key, ticket)
        swapped = await self._coordination.swap(
            name, None, message, ttl_seconds=KEPT_MESSAGE_SECONDS
        )
        return swapped.value != CALLED

    async def call(self, key: str, ticket: int) -> str | None:
        """The message of a ticket that is called; ``None`` if it is not kept yet."""
        name = _ticket_key(key, ticket)
        swapped = await self._coordination.swap(
            name, None, CALLED, ttl_seconds=KEPT_MESSAGE_SECONDS
        )
        if swapped.done or swapped.value in (None, CALLED):
            return None
        message = str(swapped.value)
        return message if (await self._coordination.swap(name, message, None)).done else None

    async def _step(
        self, key: str, known_by: Limit | float, work: Callable[[Room], tuple[T, Room]]
    ) -> T:
        """Take a step; it is known by the limit, or by the time, how long the room is kept."""
        name = f"limit/{key}"
        known = self._seen.get(name)
        for _ in range(TRIES):
            answer, room = work(read_room(known))
            if isinstance(known_by, Limit):
                seconds = known_by.memory_seconds
            else:
                seconds = room.memory_seconds(known_by)
            swapped = await self._coordination.swap(
                name, known, write_room(room), ttl_seconds=KEPT_SECONDS + seconds
            )
            known = None if swapped.value is None else str(swapped.value)
            self._seen[name] = known
            self._seen.move_to_end(name)
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
            if swapped.done:
                return answer
        raise StorageBusy(f"The limit '{key}' was changed by others each time. Try again.")


def _renewing(token: str, until: float) -> Callable[[Room], tuple[bool, Room]]:
    def work(room: Room) -> tuple[bool, Room]:
        renewed = renew(room, token, until)
        return (False, room) if renewed is None else (True, renewed)

    return work


def _ticket_key(key: str, ticket: int) -> str:
    return f"ticket/{ticket}/{key}"


def write_room(room: Room) -> str:
    """A room as text."""
    return json.dumps(
        [room.called, room.given, room.next_at, room.promised_until, dict(room.holders)],
        ensure_ascii=False,
        separators=(",", ":"),
    )


def read_room(text: str | None) -> Room:
    """The room that :func:`write_room` wrote; an empty one where there is none."""
    if text is None:
        return Room()
    called, given, next_at, promised_until, holders = json.loads(text)
    return Room(holders, called, given, next_at, promised_until)
