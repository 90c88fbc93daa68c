"""One open database file, and transactions on it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from flowcraft.adapters.sqlite.failures import explained
from flowcraft.adapters.sqlite.schema import migrate
from flowcraft.adapters.waiting import Waiting
from flowcraft.errors import StorageError, StorageUnavailable
from flowcraft.ports.clock import Clock

Durability = Literal["normal", "full"]
Execute = Callable[..., sqlite3.Cursor]

BUSY_SECONDS = 10.0
"""How long to wait for other processes that are writing."""

# WITHOUT ROWID, upserts and RETURNING; https://www.sqlite.org/lang_returning.html
_OLDEST_SQLITE = (3, 35, 0)

# Pages of 4 KiB in the write-ahead log before it is copied into the database: at SQLite's
# default of 1000 the copying takes a sixth of the time of small writes.
_CHECKPOINT_PAGES = 4000

# What a connection keeps in memory. SQLite's default of 2 MB is less than the runs that a busy
# worker has under way.
_CACHE_KIB = 16_000

_SYNCHRONOUS: dict[Durability, str] = {"normal": "NORMAL", "full": "FULL"}
# How often to ask for the write-ahead log while others are opening the same new file.
_WAL_ATTEMPTS = 20


class Database:
    """A connection to a database file, which is created if there is none.

    One event loop uses it at a time. Other loops, threads and processes open the file for
    themselves; a process that forks opens it afterwards. Calls are short, so they are made in
    the event loop; they wait there, up to ``BUSY_SECONDS``, while others write.

    Args:
        path: The file. Two more are kept beside it, ending in ``-wal`` and ``-shm``.
        clock: Decides what is due and what has expired.
        durability: With ``"normal"`` what is written outlives the process, however it ends; if
            the machine loses power, the last writes may be lost, but nothing is torn. With
            ``"full"`` each write is on the disk when its call returns, at the price of waiting
            for the disk every time.

    Attributes:
        path: The file.
        clock: The clock.
        waiting: Who waits for messages in this process.
        transaction: ``with database.transaction as execute:`` commits at the end, or rolls back
            if an exception passes. It waits for its turn to write when it begins.
        snapshot: The same for reading: what others write meanwhile is not seen.

    Raises:
        StorageUnavailable: The directory is missing or not writable, or the like.
        StorageCorrupt: The file is no database, is damaged, or belongs to another program.
        StorageTooNew: A newer version of this package wrote it.
        StorageBusy: Another process kept it locked for too long.
        StorageFull: There is no space for it.
    """

    def __init__(
        self, path: str | os.PathLike[str], clock: Clock, *, durability: Durability = "normal"
    ) -> None:
        if durability not in _SYNCHRONOUS:
            known = "' or '".join(_SYNCHRONOUS)
            raise ValueError(f"durability is '{known}', not {durability!r}.")
        self.path = Path(path)
        self.clock = clock
        self.waiting = Waiting(clock)
        self._connection = _open(self.path, _SYNCHRONOUS[durability])
        self.transaction = Transaction(self._connection, self.path, "BEGIN IMMEDIATE")
        self.snapshot = Transaction(self._connection, self.path, "BEGIN")
        self._file = _identity(self.path)

    def check_file(self) -> None:
        """See that what is open here is still what others find under its name.

        Raises:
            StorageUnavailable: The file was deleted, or another one put in its place.
        """
        if _identity(self.path) != self._file:
            raise StorageUnavailable(
                f"The database {self.path} was deleted or replaced while it was open here, so "
                "nobody else sees what is written. Restart this process; to restore a backup, "
                "stop all of them first."
            )

    def close(self) -> None:
        """Close the file; whoever still waits for messages gets an error."""
        self._connection.close()
        self.waiting.wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Database {self.path}>"


class Transaction:
    """All or nothing, as a context manager that can be entered again and again.

    Errors of SQLite come out as errors of this package, see :mod:`.failures`.
    """

    __slots__ = ("_begin", "_connection", "_path", "_process")

    def __init__(self, connection: sqlite3.Connection, path: Path, begin: str) -> None:
        self._connection = connection
        self._path = path
        self._begin = begin
        self._process = os.getpid()

    def __enter__(self) -> Execute:
        if os.getpid() != self._process:
            raise StorageUnavailable(
                f"The database {self._path} was opened before this process was forked off. Open "
                "it anew here: two processes with one connection damage the file."
            )
        try:
            self._connection.execute(self._begin)
        except sqlite3.Error as error:
            raise explained(error, self._path) from error
        return self._connection.execute

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            try:
                self._connection.execute("COMMIT")
                return
            except sqlite3.Error as failure:
                error = failure
        # Some errors have ended the transaction already, and some leave nothing to be rolled back.
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise explained(error, self._path) from error


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file is under a name; ``None`` if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _open(path: Path, synchronous: str) -> sqlite3.Connection:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        oldest = ".".join(map(str, _OLDEST_SQLITE))
        raise StorageError(f"SQLite {sqlite3.sqlite_version} is too old, {oldest} is needed.")
    try:
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise explained(error, path) from error
    try:
        _prepare(connection, path, synchronous)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise explained(error, path) from error
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, synchronous: str) -> None:
    # Damaged text is told of by whoever reads what it says, as it is then no JSON. SQLite's own
    # refusal would come in the middle of a reading, for all that is read together with it.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA cache_size = {-_CACHE_KIB}")
    # Whose file it is comes first: the database of another program is left as it is.
    migrate(connection, path)
    _use_write_ahead_log(connection, path)


def _use_write_ahead_log(connection: sqlite3.Connection, path: Path) -> None:
    """Readers and the one writer do not wait for each other then.

    The change of mode needs the file for itself, and does not wait for it: while others open
    the same new file, it takes more than one attempt.
    """
    for attempt in range(1, _WAL_ATTEMPTS + 1):
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or attempt == _WAL_ATTEMPTS:
                raise
            # This does wait, until whoever is writing has finished.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    if mode != "wal":
        raise StorageUnavailable(
            f"The database {path} cannot have a write-ahead log. Put it on a local disk."
        )
