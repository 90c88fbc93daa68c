"""What can be wrong with a database file, said so that somebody can do something about it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from flowcraft.errors import (
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageUnavailable,
)


def explained(error: sqlite3.Error, path: Path) -> StorageError:
    """The error to raise for one of SQLite: what is wrong with which file, and what helps."""
    code = getattr(error, "sqlite_errorcode", None)
    # The low byte says what kind of error it is, the rest distinguishes cases of it.
    explain = _EXPLANATIONS.get(code & 0xFF) if code is not None else None
    if explain is None:
        return StorageError(f"The database {path} refused: {error}.")
    return explain(error, path)


def _busy(_: sqlite3.Error, path: Path) -> StorageError:
    return StorageBusy(
        f"The database {path} is locked: another process has been writing for too long. "
        "Nothing was changed; try again."
    )


def _full(_: sqlite3.Error, path: Path) -> StorageError:
    return StorageFull(
        f"There is no space left for the database {path}. Nothing was changed; make room on "
        "its disk and try again."
    )


def _no_database(_: sqlite3.Error, path: Path) -> StorageError:
    return StorageCorrupt(f"{path} is not an SQLite database. Give the name of another file.")


def _corrupt(error: sqlite3.Error, path: Path) -> StorageError:
    return StorageCorrupt(
        f"The database {path} is damaged ({error}). Restore it from a backup, or save what can "
        f"be read with: sqlite3 {path} .recover"
    )


def _unavailable(error: sqlite3.Error, path: Path) -> StorageError:
    return StorageUnavailable(f"The database {path} cannot be used: {_obstacle(path) or error}.")


def _input_output(error: sqlite3.Error, path: Path) -> StorageError:
    return StorageUnavailable(
        f"The database {path} could not be read or written ({error}). Look after its disk: "
        "is it full, or over a quota? A network file system is no place for it."
    )


def _too_big(_: sqlite3.Error, path: Path) -> StorageError:
    return StorageFull(f"A text is too large for the database {path}.", is_fatal=True)


def _obstacle(path: Path) -> str | None:
    """Why the file cannot be opened for writing, if that can be seen from outside."""
    directory = path.parent
    if not directory.exists():
        return f"there is no directory {directory}"
    if not directory.is_dir():
        return f"{directory} is no directory"
    if path.is_dir():
        return "it is a directory"
    # Two more files are kept beside it, so the file alone being writable is not enough.
    if not os.access(directory, os.W_OK):
        return f"the directory {directory} is not writable"
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return "the file is not writable"
    return None


_EXPLANATIONS: dict[int, Callable[[sqlite3.Error, Path], StorageError]] = {
    sqlite3.SQLITE_BUSY: _busy,
    sqlite3.SQLITE_LOCKED: _busy,
    sqlite3.SQLITE_FULL: _full,
    sqlite3.SQLITE_NOTADB: _no_database,
    sqlite3.SQLITE_CORRUPT: _corrupt,
    sqlite3.SQLITE_CANTOPEN: _unavailable,
    sqlite3.SQLITE_READONLY: _unavailable,
    sqlite3.SQLITE_PERM: _unavailable,
    sqlite3.SQLITE_IOERR: _input_output,
    sqlite3.SQLITE_TOOBIG: _too_big,
}
