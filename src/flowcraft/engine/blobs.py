"""``ctx.blobs`` and ``client.blobs``: files, as nodes and people see them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from flowcraft.core.commands import RunItem
from flowcraft.core.plan import iteration_of_key
from flowcraft.engine.arguments import in_event_loop
from flowcraft.engine.files import BlobData, BlobReference, Files
from flowcraft.errors import FlowcraftError
from flowcraft.ports.objects import key_part

if TYPE_CHECKING:
    from flowcraft.engine.attempt import Attempt

T = TypeVar("T")


class Blobs(Protocol):
    """Files of any size, for async nodes."""

    async def put(self, name: str, data: BlobData) -> BlobReference:
        """Keep a file with the run.

        Nobody sees it but by the reference, so put that into the output or the context. It is
        deleted with the run; if this attempt fails, nobody ever sees it.

        Args:
            name: What it is called, for people; names need not differ.
            data: Bytes, a ``Path``, or an iterator of bytes, async or not. Of the last two a
                part is in memory at a time.

        Returns:
            Plain JSON data.

        Raises:
            StorageError: There is no place for files here.
        """
        ...

    async def get(self, reference: Any) -> bytes:
        """All of a file.

        Raises:
            FlowcraftError: This is no reference.
            StorageCorrupt: The file is not there any more, or damaged.
        """
        ...

    def open(self, reference: Any) -> AsyncIterator[bytes]:
        """A file piece by piece: ``async for piece in ctx.blobs.open(reference)``."""
        ...

    async def save_to(self, reference: Any, path: str | os.PathLike[str]) -> Path:
        """Write a file to a path, where there is all of it or nothing; gives the path."""
        ...


class AttemptBlobs:
    """Files as an attempt sees them."""

    def __init__(self, origin: Attempt) -> None:
        self._origin = origin

    @property
    def _files(self) -> Files:
        return self._origin.run.host.files_for(self._origin.node.id)

    async def put(self, name: str, data: BlobData) -> BlobReference:
        """Keep a file with the run."""
        run = self._origin.run
        reference: BlobReference = await self._files.put(
            run.state.run_id, run.epoch, _owner(self._origin), name, data
        )
        return reference

    async def get(self, reference: Any) -> bytes:
        """All of a file."""
        return await self._files.get(reference)

    def open(self, reference: Any) -> AsyncIterator[bytes]:
        """A file piece by piece."""
        return self._files.open(reference)

    async def save_to(self, reference: Any, path: str | os.PathLike[str]) -> Path:
        """Write a file to a path."""
        return await self._files.save_to(reference, path)


def _owner(origin: Attempt) -> str:
    """What makes a file, as people find it in its key: node, iteration, item and attempt."""
    place = ".".join(map(str, iteration_of_key(origin.key)))
    command = origin.command
    if isinstance(command, RunItem):
        place += f"[{command.item}]"
    return f"{key_part(origin.node.id)}/{key_part(place or '0')}/{command.attempt}"


class SyncBlobs:
    """The same for plain functions: each call blocks until it is done.

    Args:
        blobs: What does it.
        loop: The event loop that it is done in.
    """

    def __init__(self, blobs: Blobs, loop: asyncio.AbstractEventLoop) -> None:
        self._blobs = blobs
        self._loop = loop

    def put(self, name: str, data: BlobData) -> BlobReference:
        """Keep a file with the run; see :meth:`Blobs.put`."""
        return self._wait(self._blobs.put(name, data))

    def get(self, reference: Any) -> bytes:
        """All of a file; see :meth:`Blobs.get`."""
        return self._wait(self._blobs.get(reference))

    def open(self, reference: Any) -> Iterator[bytes]:
        """A file piece by piece: ``for piece in ctx.blobs.open(reference)``."""
        pieces = self._blobs.open(reference)
        try:
            while (piece := self._wait(_next(pieces))) is not None:
                yield piece
        finally:
            self._wait(_close(pieces))

    def save_to(self, reference: Any, path: str | os.PathLike[str]) -> Path:
        """Write a file to a path; see :meth:`Blobs.save_to`."""
        return self._wait(self._blobs.save_to(reference, path))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if in_event_loop():
            work.close()
            raise FlowcraftError(
                "ctx.blobs of a plain function would block the event loop that it was called in. "
                "Make the node async, or call it in a thread."
            )
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)


async def _close(pieces: Any) -> None:
    await pieces.aclose()


class HasFiles(Protocol):
    """A station or a runtime."""

    @property
    def files(self) -> Files:
        """The files of its runs."""
        ...


class StoredBlobs:
    """Files of runs for people, by the references that they find in outputs and contexts.

    Args:
        opened: Gives what has them.
    """

    def __init__(self, opened: Callable[[], Awaitable[HasFiles]]) -> None:
        self._opened = opened

    async def get(self, reference: Any) -> bytes:
        """All of a file; see :meth:`Blobs.get`."""
        return await (await self._opened()).files.get(reference)

    async def open(self, reference: Any) -> AsyncIterator[bytes]:
        """A file piece by piece: ``async for piece in client.blobs.open(reference)``."""
        async for piece in (await self._opened()).files.open(reference):
            yield piece

    async def save_to(self, reference: Any, path: str | os.PathLike[str]) -> Path:
        """Write a file to a path; see :meth:`Blobs.save_to`."""
        return await (await self._opened()).files.save_to(reference, path)


class WithBlobs:
    """What a client has of it."""

    async def _opened(self) -> HasFiles:
        raise NotImplementedError

    @property
    def blobs(self) -> StoredBlobs:
        """The files of runs, by the references that are in their outputs and contexts."""
        return StoredBlobs(self._opened)
