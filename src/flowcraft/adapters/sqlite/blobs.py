"""Texts by key, in a table."""

from __future__ import annotations

from flowcraft.adapters.sqlite.connection import Database
from flowcraft.errors import StorageCorrupt

_KEEP = "INSERT INTO blobs (key, data) VALUES (?, ?) ON CONFLICT (key) DO NOTHING"
_REPLACE = """
    INSERT INTO blobs (key, data) VALUES (?, ?)
    ON CONFLICT (key) DO UPDATE SET data = excluded.data
"""


class SqliteBlobs:
    """Texts by key; each method raises a ``StorageError`` if the database cannot be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, key: str, text: str, *, replace: bool = False) -> None:
        """Keep a text; one that is there already stays, unless it is to be replaced."""
        with self._database.transaction as execute:
            execute(_REPLACE if replace else _KEEP, (key, text))

    async def get(self, key: str) -> str | None:
        """The text kept under a key, or ``None``.

        Raises:
            StorageCorrupt: It is no text.
        """
        with self._database.snapshot as execute:
            row = execute("SELECT data FROM blobs WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        if not isinstance(row[0], str):
            raise StorageCorrupt(
                f"The text {key!r} in {self._database.path} is damaged: it is of type "
                f"{type(row[0]).__name__}. Restore the file from a backup, or delete the row."
            )
        return row[0]

    async def delete(self, key: str) -> None:
        """Forget a text; one that is not there is no error."""
        with self._database.transaction as execute:
            execute("DELETE FROM blobs WHERE key = ?", (key,))
