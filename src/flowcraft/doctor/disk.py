"""The file of runs from outside: there, in reach, and with room to grow."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from flowcraft.doctor.findings import Finding, error, note, ok, warning
from flowcraft.doctor.texts import size

LITTLE_BYTES: Final = 100_000_000
FEW_BYTES: Final = 1_000_000_000
"""Free bytes below which it is an error, and a warning: a commit needs room for its log, too."""

LONG_LOG_BYTES: Final = 256_000_000
"""A write-ahead log is copied into the file at 16 MB, unless somebody who reads keeps it."""


def look_at_file(path: Path) -> Iterator[Finding]:
    """Whether the file is there, and may be used.

    Args:
        path: The file.
    """
    where = str(path)
    if not path.exists():
        yield error(
            "file",
            "There is no such file.",
            where,
            "Start a run or a worker, which make one, or name another: --db, sqlite.path in "
            "flowcraft.toml, FLOWCRAFT_SQLITE_PATH.",
        )
        return
    if not path.is_file():
        yield error("file", "It is no file.", where, "Name a file.")
        return
    user = f"user {os.getuid()}" if hasattr(os, "getuid") else "this user"
    if not os.access(path, os.R_OK | os.W_OK):
        yield error(
            "file", f"{user.capitalize()} may not read and write it.", where, f"chmod u+rw {path}"
        )
    elif not os.access(path.parent, os.W_OK):
        yield error(
            "file",
            f"{user.capitalize()} may not write in its directory, where two more files are kept "
            "beside it.",
            where,
            f"chmod u+w {path.parent}",
        )
    else:
        yield ok("file", f"It is there, with {size(path.stat().st_size)}.", where)
    if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        yield note(
            "file.private", "Other users of this machine may read it.", where, f"chmod 600 {path}"
        )


def look_at_disk(path: Path) -> Iterator[Finding]:
    """Whether there is room.

    Args:
        path: The file.
    """
    free = shutil.disk_usage(path.parent).free
    where = str(path.parent)
    text = f"{size(free)} are free on its disk"
    cure = "Make room: when it is full nothing is lost, but no run goes on."
    if free < LITTLE_BYTES:
        yield error("disk", f"{text}.", where, cure)
    elif free < max(FEW_BYTES, path.stat().st_size // 10):
        yield warning("disk", f"{text}.", where, cure)
    else:
        yield ok("disk", f"{text}.", where)
    log = path.with_name(f"{path.name}-wal")
    bytes_ = log.stat().st_size if log.exists() else 0
    if bytes_ > LONG_LOG_BYTES:
        yield warning(
            "database.log",
            f"Its write-ahead log has {size(bytes_)}: somebody reads without end.",
            str(log),
            "End the process that keeps a transaction open on the file: a backup, a shell.",
        )


def look_at_files(path: Path) -> Iterator[Finding]:
    """Whether files that nodes keep can be kept.

    Args:
        path: The file of the runs.
    """
    directory = path.with_name(f"{path.name}-files")
    where = str(directory)
    if not directory.exists():
        yield ok("files", "No node has kept a file yet.", where)
    elif not directory.is_dir():
        yield error("files", "It is no directory.", where, "Move it away: files are kept there.")
    elif not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        yield error("files", "It may not be used.", where, f"chmod u+rwx {directory}")
    else:
        yield ok("files", "Files of nodes are kept here.", where)
