"""The tables, and how a database of an older version becomes one of this version."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowcraft.errors import StorageCorrupt, StorageTooNew

APPLICATION_ID = 0x466C_6F77
"""Marks a file as one of ours, for SQLite and the ``file`` command; the letters ``Flow``."""

# How many facts a run has is not kept in its row: their numbers tell, and a write of facts
# alone then touches one page less. Likewise no index holds what most writes change.
_VERSION_1 = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    """
    CREATE TABLE runs (
        run_id TEXT PRIMARY KEY NOT NULL,
        epoch TEXT NOT NULL,
        blueprint_id TEXT NOT NULL,
        blueprint_hash TEXT NOT NULL,
        status TEXT NOT NULL,
        stopping INTEGER NOT NULL,
        due_at REAL,
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL,
        parent TEXT,
        tags TEXT NOT NULL,
        key TEXT
    ) WITHOUT ROWID
    """,
    "CREATE UNIQUE INDEX runs_by_key ON runs (key) WHERE key IS NOT NULL",
    "CREATE INDEX runs_by_time ON runs (created_at, run_id)",
    "CREATE INDEX runs_by_status ON runs (status, created_at, run_id)",
    "CREATE INDEX runs_by_due ON runs (due_at) WHERE due_at IS NOT NULL",
    """
    CREATE TABLE tags (
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        run_id TEXT NOT NULL,
        PRIMARY KEY (name, value, run_id)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX tags_by_run ON tags (run_id)",
    """
    CREATE TABLE facts (
        run_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        at REAL NOT NULL,
        thread TEXT NOT NULL,
        data TEXT NOT NULL,
        id TEXT,
        PRIMARY KEY (run_id, number)
    ) WITHOUT ROWID
    """,
    "CREATE UNIQUE INDEX facts_by_id ON facts (run_id, id) WHERE id IS NOT NULL",
    """
    CREATE TABLE leases (
        run_id TEXT NOT NULL,
        place TEXT NOT NULL,
        token TEXT NOT NULL,
        thread TEXT NOT NULL,
        expires_at REAL NOT NULL,
        over INTEGER NOT NULL,
        PRIMARY KEY (run_id, place)
    ) WITHOUT ROWID
    """,
    # Numbers are not given out twice: the handle of a message that is gone means no other.
    """
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        body TEXT NOT NULL,
        visible_at REAL NOT NULL,
        receives INTEGER NOT NULL
    )
    """,
    "CREATE INDEX messages_by_time ON messages (visible_at)",
    "CREATE TABLE blobs (key TEXT PRIMARY KEY NOT NULL, data TEXT NOT NULL)",
)

# The events that runs wait for, of their rows; a row is read with them, and found by them.
_VERSION_2 = (
    """
    CREATE TABLE awaited (
        run_id TEXT NOT NULL,
        event TEXT NOT NULL,
        PRIMARY KEY (run_id, event)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX awaited_by_event ON awaited (event, run_id)",
)
_VERSION_3 = ("ALTER TABLE runs ADD COLUMN is_part INTEGER NOT NULL DEFAULT 0",)

# A text or a counter; the type of the value tells which.
_VERSION_4 = (
    """
    CREATE TABLE coordination (
        key TEXT PRIMARY KEY NOT NULL,
        value BLOB NOT NULL,
        expires_at REAL
    ) WITHOUT ROWID
    """,
    """
    CREATE INDEX coordination_by_expiry ON coordination (expires_at)
    WHERE expires_at IS NOT NULL
    """,
)

# From when on a run counts as absent.
_VERSION_5 = (
    "ALTER TABLE runs ADD COLUMN expires_at REAL",
    "CREATE INDEX runs_by_expiry ON runs (expires_at) WHERE expires_at IS NOT NULL",
)

# The span that a message was sent from, where somebody traces.
_VERSION_6 = ("ALTER TABLE messages ADD COLUMN trace TEXT",)

# What a list shows, in its order and nothing else: the parts of runs, of which a single run may
# have thousands, do not lie in between. Blueprints have indexes that parts are not in at all.
_VERSION_7 = (
    "DROP INDEX runs_by_time",
    "DROP INDEX runs_by_status",
    "CREATE INDEX runs_by_time ON runs (is_part, created_at, run_id)",
    "CREATE INDEX runs_by_status ON runs (status, is_part, created_at, run_id)",
    """
    CREATE INDEX runs_by_blueprint ON runs (blueprint_id, created_at, run_id) WHERE is_part = 0
    """,
    """
    CREATE INDEX runs_by_blueprint_status ON runs (blueprint_id, status, created_at, run_id)
    WHERE is_part = 0
    """,
)

MIGRATIONS = (
    _VERSION_1,
    _VERSION_2,
    _VERSION_3,
    _VERSION_4,
    _VERSION_5,
    _VERSION_6,
    _VERSION_7,
)
"""The statements that lead from each version to the next; version 0 is an empty file.

What has been released is never edited: a change is another entry.
"""

VERSION = len(MIGRATIONS)
"""The version that this package reads and writes."""


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a database to this version, in one transaction; one that is there stays untouched.

    Raises:
        StorageTooNew: It is of a newer version.
        StorageCorrupt: It is some other program's.
        sqlite3.Error: It cannot be read or written.
    """
    with _transaction(connection, "BEGIN"):
        version = _version(connection, path)
    if version == VERSION:
        return
    with _transaction(connection, "BEGIN IMMEDIATE"):
        # Another process may have done it while this one waited for the lock.
        for statements in MIGRATIONS[_version(connection, path) :]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the tables; inside a transaction, or what is read does not fit together."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if mark != APPLICATION_ID and (version or tables):
        raise StorageCorrupt(
            f"{path} is the database of another program. Give the name of another file."
        )
    if version > VERSION:
        raise StorageTooNew(
            f"The database {path} has version {version} of the tables, this package knows them "
            f"up to {VERSION}. Install the version of the package that wrote it, or a newer one."
        )
    return version
