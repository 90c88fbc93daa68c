"""Locks, counters and marks, in a table."""

from __future__ import annotations

from flowcraft.adapters.sqlite.connection import Database, Execute
from flowcraft.errors import StorageCorrupt
from flowcraft.ports.coordination import Swapped

CLEARED_AT_ONCE = 100
"""Expired items that one call removes beside what it is for."""

_CLEAR = """
    DELETE FROM coordination WHERE key IN (
        SELECT key FROM coordination WHERE expires_at <= ? ORDER BY expires_at LIMIT ?
    )
"""
_GET = "SELECT value FROM coordination WHERE key = ? AND (expires_at IS NULL OR expires_at > ?)"
_DROP = "DELETE FROM coordination WHERE key = ? AND expires_at <= ?"
_SET = """
    INSERT INTO coordination (key, value, expires_at) VALUES (?, ?, ?)
    ON CONFLICT (key) DO NOTHING
"""
_COUNT = """
    UPDATE coordination SET value = ?, expires_at = coalesce(?, expires_at) WHERE key = ?
"""
_EXTEND = """
    UPDATE coordination SET expires_at = ?
    WHERE key = ? AND value = ? AND (expires_at IS NULL OR expires_at > ?)
"""
_DELETE = """
    DELETE FROM coordination
    WHERE key = ? AND value = coalesce(?, value) AND (expires_at IS NULL OR expires_at > ?)
"""


class SqliteCoordination:
    """Texts and counters that expire.

    Each method raises a ``StorageError`` if the database cannot be used. What has expired is
    removed by those who set or count something.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._clock = database.clock

    async def increment(self, key: str, by: int = 1, *, ttl_seconds: float | None = None) -> int:
        """Add to a counter, which begins at 0; gives its new number.

        Raises:
            ValueError: The key holds a text.
        """
        with self._database.transaction as execute:
            # Getting the turn to write may have taken a while: the time is read afterwards.
            now = self._clock.now()
            expires_at = _expiry(now, ttl_seconds)
            _make_room(execute, key, now)
            if execute(_SET, (key, by, expires_at)).rowcount:
                return by
            (number,) = execute(_GET, (key, now)).fetchone()
            if not isinstance(number, int):
                raise ValueError(f"'{key}' holds a text: it is no counter.")
            execute(_COUNT, (number + by, expires_at, key))
            return number + by

    async def set_if_not_exist(
        self, key: str, value: str, *, ttl_seconds: float | None = None
    ) -> bool:
        """Set a text where there is neither text nor counter; whether it was set."""
        with self._database.transaction as execute:
            now = self._clock.now()
            _make_room(execute, key, now)
            return execute(_SET, (key, value, _expiry(now, ttl_seconds))).rowcount > 0

    async def extend_ttl(self, key: str, value: str, ttl_seconds: float) -> bool:
        """Let a text live for so long from now on, if it is this one; whether it was."""
        with self._database.transaction as execute:
            now = self._clock.now()
            return execute(_EXTEND, (now + ttl_seconds, key, value, now)).rowcount > 0

    async def delete(self, key: str, value: str | None = None) -> bool:
        """Forget a key, with ``value`` only if it holds this text; whether there was something."""
        with self._database.transaction as execute:
            return execute(_DELETE, (key, value, self._clock.now())).rowcount > 0

    async def get(self, key: str) -> str | int | None:
        """The text, or the number of a counter; ``None`` where there is nothing."""
        with self._database.snapshot as execute:
            row = execute(_GET, (key, self._clock.now())).fetchone()
        return None if row is None else self._value(key, row[0])

    async def swap(
        self, key: str, expected: str | None, value: str | None, *, ttl_seconds: float | None = None
    ) -> Swapped:
        """Exchange a text for another, if it is the one that the caller knows."""
        with self._database.transaction as execute:
            now = self._clock.now()
            _make_room(execute, key, now)
            row = execute(_GET, (key, now)).fetchone()
            there = None if row is None else self._value(key, row[0])
            if there != expected:
                return Swapped(False, there)
            execute(_DELETE, (key, expected, now))
            if value is not None:
                execute(_SET, (key, value, _expiry(now, ttl_seconds)))
            return Swapped(True, value)

    def _value(self, key: str, value: object) -> str | int:
        if isinstance(value, str | int):
            return value
        raise StorageCorrupt(
            f"What is kept under {key!r} in {self._database.path} is damaged: it is neither text "
            "nor counter. Restore the file from a backup, or delete the row."
        )


def _make_room(execute: Execute, key: str, now: float) -> None:
    """Remove what has expired: under this key at any rate, and some of the rest."""
    execute(_DROP, (key, now))
    execute(_CLEAR, (now, CLEARED_AT_ONCE))


def _expiry(now: float, ttl_seconds: float | None) -> float | None:
    return None if ttl_seconds is None else now + ttl_seconds
