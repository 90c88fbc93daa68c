"""A queue in a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flowcraft.adapters.sqlite.connection import Database
from flowcraft.ports.queue import Delivery, Outgoing, QueueDepth

POLL_SECONDS = (0.02, 0.2)
"""How long a waiting receiver leaves the database alone: at first, and at most.

A message from the same process wakes it at once.
"""

_POLL_GROWTH = 1.5

STANDS_BACK_SECONDS = 0.005
"""How much later than others a receiver comes for a delayed message, if it was served last.

Otherwise a worker that put a message back because it cannot handle it may be the first to get it
again, time after time.
"""

_SEND = "INSERT INTO messages (body, visible_at, receives, trace) VALUES (?, ?, 0, ?)"
_NEXT = "SELECT visible_at FROM messages ORDER BY visible_at LIMIT 1"
_RECEIVE = """
    UPDATE messages SET visible_at = ?, receives = receives + 1
    WHERE id IN (SELECT id FROM messages WHERE visible_at <= ? ORDER BY visible_at, id LIMIT ?)
    RETURNING id, receives, body, trace
"""
_EXTEND = "UPDATE messages SET visible_at = ? WHERE id = ? AND receives = ?"
_DELETE = "DELETE FROM messages WHERE id = ? AND receives = ?"
_DEPTH = """
    SELECT coalesce(sum(visible_at <= ?1), 0), coalesce(sum(visible_at > ?1 AND receives > 0), 0),
           coalesce(sum(visible_at > ?1 AND receives = 0), 0), min(visible_at)
    FROM messages
"""
# Texts and blobs come after all numbers, so that the index finds them.
_ALTERED = "SELECT 1 FROM messages WHERE visible_at >= '' LIMIT 1"
_MEND = "UPDATE messages SET visible_at = ? WHERE visible_at >= ''"


class SqliteQueue:
    """A queue in a table; who has been visible the longest is received first.

    Each method raises a ``StorageError`` if the database cannot be used.

    Args:
        database: Where the messages are.
        visibility_seconds: How long a delivery is hidden from others; more than 0.
    """

    def __init__(self, database: Database, *, visibility_seconds: float = 30.0) -> None:
        self._database = database
        self._clock = database.clock
        self._visibility_seconds = visibility_seconds
        self._served_last = False
        self._is_mended = False

    @property
    def database(self) -> Database:
        """Where the messages are."""
        return self._database

    @property
    def max_delay_seconds(self) -> float:
        """Any delay will do."""
        return math.inf

    @property
    def visibility_seconds(self) -> float:
        """How long a delivery is hidden from others, unless it is extended."""
        return self._visibility_seconds

    @property
    def max_hold_seconds(self) -> float:
        """A delivery may be hidden for as long as it is extended."""
        return math.inf

    @property
    def batch(self) -> int:
        """A message is as cheap as several."""
        return 1

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages, all or none; see ``Database`` for what they outlive then."""
        if not messages:
            return
        now = self._clock.now()
        with self._database.transaction as execute:
            for message in messages:
                execute(_SEND, (message.body, now + message.delay_seconds, message.trace))
        self._database.waiting.wake()

    async def depth(self) -> QueueDepth:
        """How many messages there are."""
        now = self._clock.now()
        with self._database.snapshot as execute:
            ready, in_hand, delayed, first = execute(_DEPTH, (now,)).fetchone()
        is_old = isinstance(first, int | float) and first <= now
        return QueueDepth(ready, in_hand, delayed, now - first if is_old else None)

    async def receive(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:
        """Receive at most ``limit`` messages, waiting up to ``wait_seconds`` for the first."""
        if limit < 1:
            return ()
        self._database.check_file()
        if not self._is_mended:
            self._mend()
        deadline = self._clock.now() + wait_seconds
        waiting = self._database.waiting
        pause, longest = POLL_SECONDS
        while True:
            now = self._clock.now()
            due = self._due()
            if due <= now:
                taken = self._take(limit, now)
                self._served_last = bool(taken)
                if taken:
                    return taken
                # Another process was faster.
                continue
            if now >= deadline:
                return ()
            # Nobody in this loop has a turn between the look and the wait: nothing is missed.
            look = now + pause
            if look >= due:
                look = due + STANDS_BACK_SECONDS if self._served_last else due
            await waiting.wait(waiting.place(), min(deadline, look))
            pause = min(pause * _POLL_GROWTH, longest)

    async def whole(self, body: str) -> str:
        """The text that was sent: nothing is changed on the way."""
        return body

    async def delete(self, handles: Sequence[str]) -> None:
        """Forget deliveries for good; one that is gone already is no error."""
        if not handles:
            return
        with self._database.transaction as execute:
            for handle in handles:
                execute(_DELETE, _delivery(handle))

    async def extend(self, handles: Sequence[str]) -> None:
        """Hide deliveries for another visibility timeout from now on."""
        if not handles:
            return
        until = self._clock.now() + self._visibility_seconds
        with self._database.transaction as execute:
            for handle in handles:
                execute(_EXTEND, (until, *_delivery(handle)))

    def _due(self) -> float:
        """When the next message gets visible, or did.

        Looking first lets those who poll an empty queue stay out of the way of those who write.
        """
        with self._database.snapshot as execute:
            row = execute(_NEXT).fetchone()
        if row is None:
            return math.inf
        # What was altered into no time comes after all times, and is due at once.
        return row[0] if isinstance(row[0], int | float) else self._mend()

    def _mend(self) -> float:
        """Let messages come whose time was altered into something else; gives when they do."""
        self._is_mended = True
        now = self._clock.now()
        with self._database.snapshot as execute:
            is_altered = execute(_ALTERED).fetchone() is not None
        if is_altered:
            with self._database.transaction as execute:
                execute(_MEND, (now,))
        return now

    def _take(self, limit: int, now: float) -> list[Delivery]:
        with self._database.transaction as execute:
            rows = execute(_RECEIVE, (now + self._visibility_seconds, now, limit)).fetchall()
        # RETURNING promises no order; the oldest are taken, and handed out by age.
        rows.sort(key=_number)
        return [_received(*row) for row in rows]


def _number(row: Sequence[int]) -> int:
    return row[0]


def _received(id_: int, receives: int, body: object, trace: object) -> Delivery:
    problem = None if isinstance(body, str) else f"Its body is no text: {body!r:.80}"
    text = body if isinstance(body, str) else ""
    said = trace if isinstance(trace, str) else None
    return Delivery(str(id_), f"{id_}/{receives}", text, receives, problem, said)


def _delivery(handle: str) -> tuple[int, int]:
    """The number of a message, and which time of receiving it this was."""
    id_, _, receives = handle.partition("/")
    return int(id_), int(receives)
