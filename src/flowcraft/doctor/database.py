"""The database in a file of runs: whose it is, whole, of which version, and who holds it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from flowcraft.adapters.sqlite.failures import explained
from flowcraft.adapters.sqlite.schema import APPLICATION_ID, VERSION
from flowcraft.doctor.findings import Finding, error, note, ok, warning
from flowcraft.doctor.texts import counted, span
from flowcraft.engine.rounds import LOCK as RECONCILER
from flowcraft.engine.schedule_rounds import LOCK as SCHEDULES
from flowcraft.engine.sweeping import LOCK as SWEEPER
from flowcraft.ports.clock import Clock

INTEGRITY_SECONDS: Final = 60.0
"""How long the look through all pages may take."""

LOCK_WAIT_SECONDS: Final = 2.0
LONG_LOCK_SECONDS: Final = 3_600.0
_STEPS: Final = 100_000

_LOCKS: Final = {
    RECONCILER: "looks for runs that stand still",
    SWEEPER: "sends timers that come due",
    SCHEDULES: "starts what schedules have due",
}

_HELD: Final = "SELECT key, expires_at FROM coordination WHERE key IN (?, ?, ?)"


class Examination:
    """Looks at the database, through connections of its own.

    Args:
        path: The file.
        clock: The time.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._where = str(path)
        self._clock = clock

    def look(self) -> Iterator[Finding]:
        """Look at all of it.

        Raises:
            StorageError: It is no database, or cannot be opened.
        """
        try:
            with closing(self._connect("ro")) as connection:
                yield from self._look_inside(connection)
        except sqlite3.Error as trouble:
            raise explained(trouble, self._path) from trouble
        yield from self._write_lock()

    def _connect(self, mode: str) -> sqlite3.Connection:
        address = f"file:{quote(str(self._path.absolute()))}?mode={mode}"
        return sqlite3.connect(address, uri=True, timeout=LOCK_WAIT_SECONDS, isolation_level=None)

    def _look_inside(self, connection: sqlite3.Connection) -> Iterator[Finding]:
        (mark,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if mark != APPLICATION_ID and (version or tables):
            yield error(
                "database.schema",
                "It is the database of another program.",
                self._where,
                "Name another file.",
            )
            return
        yield self._version(version)
        yield self._integrity(connection)
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode == "wal":
            yield ok("database.journal", "It has a write-ahead log.", self._where)
        else:
            yield note(
                "database.journal",
                f"Its journal mode is '{mode}': readers and writers wait for each other.",
                self._where,
                "The next worker that opens it sets it to WAL.",
            )
        if version == VERSION:
            yield from self._locks(connection)

    def _version(self, version: int) -> Finding:
        check, where = "database.schema", self._where
        if version == VERSION:
            return ok(check, f"Its tables have version {version}, as this package writes.", where)
        text = f"Its tables have version {version}; this package writes version {VERSION}"
        if version > VERSION:
            cure = "Install the version of the package that wrote it, or a newer one."
            return error(check, f"{text}, and cannot read it.", where, cure)
        cure = "Make a backup, then start a worker or a run with this package; end old ones first."
        return warning(check, f"{text}, and brings it there when it is opened.", where, cure)

    def _integrity(self, connection: sqlite3.Connection) -> Finding:
        check, end = "database.integrity", self._clock.now() + INTEGRITY_SECONDS
        connection.set_progress_handler(lambda: int(self._clock.now() > end), _STEPS)
        try:
            rows = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)")]
        except sqlite3.OperationalError as trouble:
            if trouble.sqlite_errorcode & 0xFF != sqlite3.SQLITE_INTERRUPT:
                raise
            text = f"It is too large to be looked through in {span(INTEGRITY_SECONDS)}."
            cure = f"sqlite3 {self._path} 'PRAGMA quick_check'"
            return note("database.size", text, self._where, cure)
        finally:
            connection.set_progress_handler(None, 0)
        if rows == ["ok"]:
            return ok(check, "It is whole.", self._where)
        return error(
            check,
            f"It is damaged: {'; '.join(rows)}.",
            self._where,
            f"End all workers, then restore a backup, or save what can be read with: "
            f"sqlite3 {self._path} .recover",
        )

    def _locks(self, connection: sqlite3.Connection) -> Iterator[Finding]:
        """Who of the workers does what one does for all; a lock that is left over expires."""
        now, found = self._clock.now(), False
        for key, expires_at in connection.execute(_HELD, tuple(_LOCKS)):
            left = None if expires_at is None else expires_at - now
            if left is not None and left <= 0:
                continue
            found = True
            what = _LOCKS[key]
            if left is None or left > LONG_LOCK_SECONDS:
                term = "for ever" if left is None else f"for another {span(left)}"
                yield warning(
                    "locks",
                    f"A lock is held {term}: nobody else {what} until then.",
                    self._where,
                    "Set the clock of this machine right; if no worker runs, delete the row "
                    f"'{key}' of the table coordination.",
                )
            else:
                yield ok("locks", f"A worker {what}, for {span(left)} at least.", self._where)
        if not found:
            yield ok(
                "locks", f"No worker holds any of {counted(len(_LOCKS), 'lock')}.", self._where
            )

    def _write_lock(self) -> Iterator[Finding]:
        """Whether whoever wants to write gets a turn."""
        try:
            with closing(self._connect("rw")) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
        except sqlite3.OperationalError as trouble:
            if trouble.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise explained(trouble, self._path) from trouble
            yield warning(
                "database.lock",
                f"Another process has been writing for {span(LOCK_WAIT_SECONDS)} and more: no run "
                "goes on meanwhile.",
                self._where,
                "Find it (lsof, fuser) and end it: a shell with an open transaction, a stopped "
                "process.",
            )
            return
        yield ok("database.lock", "Whoever wants to write gets a turn.", self._where)
