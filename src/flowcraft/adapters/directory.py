"""Objects as files in a directory: for runs in process, and beside an SQLite file.

A file is written under a name of its own, beside the one it is to have, which it gets when it is
whole and if nobody has it. So whoever reads finds all of it or nothing, and processes need no lock;
what a process that was killed has left goes with what is around it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from flowcraft.adapters.system import SystemIdentifiers
from flowcraft.errors import StorageCorrupt, StorageError, StorageFull, StorageUnavailable
from flowcraft.ports.clock import Identifiers
from flowcraft.ports.objects import PART_BYTES, upload_gone

T = TypeVar("T")

IN_THREAD_BYTES: Final = 64 * 1024
"""What is smaller is read and written in the event loop: a thread would take longer."""

_TRIES: Final = 5
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class DirectoryObjects:
    """Objects as files. The directory is made when there is something to keep.

    Each method raises a ``StorageError`` if the directory cannot be used.

    Args:
        directory: Gives where it is.
        is_durable: Whether what is kept outlives a loss of power, at the price of a wait for the
            disk each time.
        identifiers: Where the names of what is not whole yet come from.
    """

    def __init__(
        self,
        directory: Callable[[], Path],
        *,
        is_durable: bool = False,
        identifiers: Identifiers | None = None,
    ) -> None:
        self._directory = directory
        self._is_durable = is_durable
        self._identifiers = identifiers or SystemIdentifiers()

    async def put(self, key: str, data: bytes) -> bool:
        """Keep an object of one piece, unless there is one under the key already."""
        name = self._identifiers.new_run_id()

        def keep() -> bool:
            self._write(key, name, 0, data)
            return self._settle(key, name)

        return await self._do(keep, len(data))

    async def begin(self, key: str) -> str:
        """Begin an object of several parts."""
        self._path(key)
        return self._identifiers.new_run_id()

    async def add(self, key: str, upload: str, number: int, data: bytes) -> str:
        """Add a part."""
        start = (number - 1) * PART_BYTES
        await self._do(lambda: self._write(key, upload, start, data), len(data))
        return str(len(data))

    async def finish(self, key: str, upload: str, parts: Sequence[str]) -> bool:
        """Have the object there, with all its parts, unless there is one of the key."""
        size = sum(map(int, parts))

        def settle() -> bool:
            path = self._upload(key, upload)
            if not path.exists():
                if self._path(key).exists():
                    return False
                raise upload_gone(self.place(key))
            if path.stat().st_size != size:
                raise StorageCorrupt(
                    f"{self.place(key).capitalize()} is not whole: {path.stat().st_size:,} of "
                    f"{size:,} bytes are there. Write it anew."
                )
            return self._settle(key, upload)

        return await self._do(settle, PART_BYTES)

    async def give_up(self, key: str, upload: str) -> None:
        """Forget what was begun and is not finished."""
        await self._do(lambda: self._upload(key, upload).unlink(missing_ok=True), 0)

    async def read(self, key: str, start: int = 0, size: int = PART_BYTES) -> bytes | None:
        """A range of an object; ``None`` if there is none."""

        def read() -> bytes | None:
            try:
                with self._path(key).open("rb") as file:
                    file.seek(start)
                    return file.read(size)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

        try:
            there = self._path(key).stat().st_size - start
        except OSError:
            there = 0  # it is looked at once more
        return await self._do(read, min(size, there))

    async def delete_all(self, prefix: str) -> None:
        """Forget all objects whose key begins with a text."""
        above, _, stem = prefix.rpartition("/")

        def delete() -> None:
            root = self._directory()
            parent = self._path(above) if above else root
            try:
                found = [each for each in parent.iterdir() if each.name.startswith(stem)]
            except (FileNotFoundError, NotADirectoryError):
                return
            for each in found:
                _remove_all(each)
            _prune(parent, root)

        await self._do(delete, PART_BYTES)

    def place(self, key: str) -> str:
        """Where an object is, for errors."""
        return f"the file '{self._path(key)}'"

    # -- files ------------------------------------------------------------------------------

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if any(part in ("", ".", "..") or not part.isprintable() for part in parts) or "\\" in key:
            raise StorageError(f"The key {key!r} names no object.", is_fatal=True)
        return self._directory().joinpath(*parts)

    def _upload(self, key: str, name: str) -> Path:
        path = self._path(key)
        return path.with_name(f".{name}.part")

    def _write(self, key: str, name: str, start: int, data: bytes) -> None:
        path = self._upload(key, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            file.seek(start)
            file.write(data)
            if self._is_durable:
                file.flush()
                os.fsync(file.fileno())

    def _settle(self, key: str, upload: str) -> bool:
        """Give a file that is whole its name; whether nobody had it."""
        source, target = self._upload(key, upload), self._path(key)
        try:
            os.link(source, target)
        except FileExistsError:
            source.unlink(missing_ok=True)
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # Some file systems have no links: nobody else writes this key at the same time.
            if target.exists():
                source.unlink(missing_ok=True)
                return False
            source.rename(target)
        source.unlink(missing_ok=True)
        if self._is_durable and hasattr(os, "O_DIRECTORY"):
            _sync_directory(target.parent)
        return True

    async def _do(self, work: Callable[[], T], size: int) -> T:
        try:
            if size < IN_THREAD_BYTES:
                return work()
            return await asyncio.to_thread(work)
        except OSError as error:
            raise self._explained(error) from error

    def _explained(self, error: OSError) -> StorageError:
        where = f"The directory '{self._directory()}'"
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG):
            return StorageFull(
                f"{where} has no space left for a file ({error}). Make room on its disk."
            )
        return StorageUnavailable(
            f"{where} cannot be used for files ({error}). See to its permissions and its disk."
        )


def objects_in(directory: str | os.PathLike[str] | None) -> DirectoryObjects:
    """Objects in a directory; without one in a temporary one, which goes with what this gives."""
    if directory is not None:
        path = Path(directory).absolute()
        return DirectoryObjects(lambda: path)
    made: list[Path] = []
    lock = threading.Lock()

    def temporary() -> Path:
        with lock:
            if not made:
                made.append(Path(tempfile.mkdtemp(prefix="flowcraft-files-")))
            return made[0]

    objects = DirectoryObjects(temporary)
    weakref.finalize(objects, _remove, made)
    return objects


def _remove(made: list[Path]) -> None:
    for path in made:
        shutil.rmtree(path, ignore_errors=True)


def _remove_all(path: Path) -> None:
    """Remove a file, or a directory with what is in it, also while others add to it."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for tries_left in reversed(range(_TRIES)):
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            if not path.exists():
                return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or not tries_left:
                raise
        else:
            return


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prune(path: Path, root: Path) -> None:
    """Remove a directory that is empty by now, and those above it, below the root."""
    while path != root and root in path.parents:
        try:
            path.rmdir()
        except OSError:
            return
        path = path.parent
