"""Files of a node in a process of its own: both processes are on one machine and have its disk.

What passes between the two is the path of a file; the parent keeps it, or fetches it.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from flowcraft.engine.blobs import Blobs, SyncBlobs
from flowcraft.engine.files import PIECE_BYTES, BlobData, BlobReference, pieces_of
from flowcraft.engine.wire import Message

T = TypeVar("T")

Ask = Callable[[Message], Awaitable[Message]]


async def answered(blobs: Blobs, question: Message) -> Message:
    """What the parent answers to a question of :class:`IsolatedBlobs`."""
    path = Path(question["path"])
    if question["do"] == "put":
        return {"reference": await blobs.put(question["name"], path)}
    await blobs.save_to(question["reference"], path)
    return {}


class IsolatedBlobs:
    """Files as a node in a process of its own sees them.

    Args:
        ask: Asks the parent.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def put(self, name: str, data: BlobData) -> BlobReference:
        """Keep a file with the run."""
        if isinstance(data, os.PathLike):
            return await self._put(name, Path(data).absolute())
        path = _fresh()
        try:
            with path.open("wb") as file:
                async for piece in pieces_of(data):
                    file.write(piece)
            return await self._put(name, path)
        finally:
            path.unlink(missing_ok=True)

    async def _put(self, name: str, path: Path) -> BlobReference:
        question = {"is": "blob", "do": "put", "name": name, "path": str(path)}
        reference: BlobReference = (await self._ask(question))["reference"]
        return reference

    async def get(self, reference: Any) -> bytes:
        """All of a file."""
        return b"".join([piece async for piece in self.open(reference)])

    async def open(self, reference: Any) -> AsyncIterator[bytes]:
        """A file piece by piece."""
        path = _fresh()
        try:
            await self.save_to(reference, path)
            with path.open("rb") as file:
                while piece := file.read(PIECE_BYTES):
                    yield piece
        finally:
            path.unlink(missing_ok=True)

    async def save_to(self, reference: Any, path: str | os.PathLike[str]) -> Path:
        """Write a file to a path."""
        target = Path(path).absolute()
        question = {"is": "blob", "do": "save", "reference": reference, "path": str(target)}
        await self._ask(question)
        return Path(path)


class IsolatedSyncBlobs(SyncBlobs):
    """The same for plain functions, which have a thread and no event loop."""

    def __init__(self, blobs: Blobs) -> None:
        super().__init__(blobs, asyncio.new_event_loop())

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def __del__(self) -> None:
        with suppress(RuntimeError):
            self._loop.close()


def _fresh() -> Path:
    descriptor, path = tempfile.mkstemp(prefix="flowcraft-file-")
    os.close(descriptor)
    return Path(path)
