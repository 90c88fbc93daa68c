"""Limits that all processes keep together: who is in, and who waits in line.

What becomes of a key is worked out by ``flowcraft.core.limits``; a store keeps its ``Room`` and
carries each step out as one. A store of texts that can be exchanged (``CoordinationStore.swap``)
is enough for that, and is used where a backend has nothing cheaper. Times are given by the caller,
who goes by the store's time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from flowcraft.core.limits import Entered, Limit, Visitor


class Place(NamedTuple):
    """A place that somebody has.

    Attributes:
        key: The key.
        limit: What holds for it.
        token: Who has it.
    """

    key: str
    limit: Limit
    token: str


class LimitStore(Protocol):
    """Keeps rooms, and the messages of those who wait in line."""

    async def enter(self, key: str, limit: Limit, visitor: Visitor, now: float) -> Entered:
        """Let somebody begin, or wait; the same visitor may ask twice, and is let in once."""
        ...

    async def leave(self, place: Place, now: float, seconds: float) -> Sequence[int]:
        """Give a place back; gives the tickets that are called, each kept a place for so long."""
        ...

    async def pass_on(self, key: str, token: str, now: float, seconds: float) -> Sequence[int]:
        """Give a place back where it is not known what holds for its key; gives who is called."""
        ...

    async def renew(self, places: Sequence[Place], until: float) -> Sequence[bool]:
        """Keep places until a time; which of them are still held."""
        ...

    async def take_back(self, key: str, limit: Limit, now: float) -> None:
        """Promise a start to others that was promised to somebody who will not come."""
        ...

    async def wait(self, key: str, ticket: int, message: str) -> bool:
        """Keep a message until its ticket is called; false if it was called already."""
        ...

    async def call(self, key: str, ticket: int) -> str | None:
        """The message of a ticket that is called, to be sent; ``None`` if it is not kept yet.

        Whoever is about to keep it is told so by ``wait``.
        """
        ...
