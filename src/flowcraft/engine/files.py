"""Files of runs: bytes of any size beside the values, known by references that are plain data.

A reference travels in outputs and contexts like any other value. What it refers to has a key that
nobody else has, so a file is never overwritten, and one that no committed value refers to, of an
attempt that failed, is seen by nobody. All of them are deleted with their run.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
import os
import re
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NotRequired, Protocol, TypedDict

from flowcraft.errors import (
    CodecError,
    FlowcraftError,
    StorageCorrupt,
    StorageError,
    StorageTooNew,
)
from flowcraft.ports.clock import Clock, Identifiers
from flowcraft.ports.objects import ObjectStore, key_part, run_prefix
from flowcraft.ports.streams import read_stream, write_stream

logger = logging.getLogger("flowcraft.worker")

PIECE_BYTES: Final = 1024 * 1024
"""What is read, and encoded, at a time."""

AGAIN_SECONDS: Final = 5.0
"""The pause before a store is tried again that cannot be used."""

_CODED: Final = "coded"
_WHAT: Final = "A file"
"""What errors of a codec, which may be logged, say: the name of a file is payload."""

_LENGTH_BYTES: Final = 4
_KEY: Final = re.compile(r"runs/[^/]+/[^/]+/f/[^/\\]+(/[^/\\]+)*")

_END: Any = object()


class BlobReference(TypedDict):
    """A file, as plain JSON data: put it into an output or the context, or pass it on.

    Attributes:
        blob: Where it is kept.
        name: What it was called.
        bytes: Its size.
        sha256: Its checksum, in hexadecimal digits.
        form: Only of a file that was encoded: ``"coded"``.
    """

    blob: str
    name: str
    bytes: int
    sha256: str
    form: NotRequired[str]


Piece = bytes | bytearray | memoryview
BlobData = (
    bytes | bytearray | memoryview | os.PathLike[str] | AsyncIterable[Piece] | Iterable[Piece]
)
"""What a file is made of: bytes, the path of one, or bytes that come piece by piece."""


class BytesCoder(Protocol):
    """Encodes pieces of files."""

    async def encode_bytes(self, data: bytes, what: str) -> bytes:
        """A piece as it is stored."""
        ...

    async def decode_bytes(self, data: bytes, what: str) -> bytes:
        """The piece that was encoded."""
        ...


class Files:
    """The files of runs.

    Args:
        objects: Where they are kept.
        identifiers: Where keys that nobody else has come from.
        coder: Encodes them; ``None`` for as they are.
    """

    def __init__(
        self, objects: ObjectStore, identifiers: Identifiers, coder: BytesCoder | None = None
    ) -> None:
        self._objects = objects
        self._identifiers = identifiers
        self._coder = coder

    def insisting(
        self, clock: Clock, sleep_until: Callable[[float], Awaitable[None]], who: str
    ) -> Files:
        """The same for a node, which waits for as long as the place cannot be used.

        Trouble with it is none of the node's, and must not fail it. Its timeout ends the waiting,
        and so does the end of its run.
        """
        objects: Any = _Insistent(self._objects, clock, sleep_until, who)
        coder: Any = self._coder and _Insistent(self._coder, clock, sleep_until, who)
        return Files(objects, self._identifiers, coder)

    async def put(self, run_id: str, epoch: str, owner: str, name: str, data: BlobData) -> Any:
        """Keep a file; gives the reference.

        Args:
            run_id: The run that it belongs to.
            epoch: Which start of it.
            owner: What made it, for people: the beginning of its key within the run.
            name: What it is called.
            data: What it is made of.

        Raises:
            TypeError: ``data`` or ``name`` is something else.
            StorageError: There is no place for files, or it cannot be used.
        """
        if not isinstance(name, str):
            raise TypeError(f"The name of a file is text, not {type(name).__name__}.")
        token = key_part(self._identifiers.new_token())
        key = f"{run_prefix(run_id, epoch)}f/{owner}/{token}"
        count = _Count()
        pieces = count.over(pieces_of(data))
        if self._coder is not None:
            pieces = _framed(self._coder, pieces)
        await write_stream(self._objects, key, pieces)
        reference = BlobReference(
            blob=key, name=name, bytes=count.bytes, sha256=count.digest.hexdigest()
        )
        if self._coder is not None:
            reference["form"] = _CODED
        return reference

    async def open(self, reference: Any) -> AsyncIterator[bytes]:
        """What a file holds, piece by piece; that it is what was put is known at its end.

        Raises:
            FlowcraftError: This is no reference to a file.
            StorageCorrupt: The file is not there any more, or damaged.
            CodecError: It is encoded, and cannot be decoded here.
        """
        told = read_reference(reference)
        key, place = told["blob"], self._objects.place(told["blob"])
        pieces: AsyncIterator[bytes] = read_stream(self._objects, key)
        if "form" in told:
            pieces = self._unframed(pieces, told, place)
        count = _Count()
        try:
            async for piece in count.over(pieces):
                yield piece
        except KeyError as error:
            raise StorageCorrupt(
                f"The file '{told['name']}' is not there: {place} is missing. It was deleted, with "
                "its run perhaps; or this process looks for it in another place than it was put "
                "in. Restore it, or make it anew."
            ) from error
        if (count.bytes, count.digest.hexdigest()) != (told["bytes"], told["sha256"]):
            raise _damaged(told, place, "its content is not what its reference says")

    async def get(self, reference: Any) -> bytes:
        """All of a file; see :meth:`open`."""
        return b"".join([piece async for piece in self.open(reference)])

    async def save_to(self, reference: Any, path: str | os.PathLike[str]) -> Path:
        """Write a file to a path, where there is all of it or nothing; see :meth:`open`."""
        target = Path(path)
        fresh = target.with_name(f".{target.name}.{key_part(self._identifiers.new_token())}")
        try:
            file = await asyncio.to_thread(fresh.open, "xb")
            try:
                async for piece in self.open(reference):
                    await asyncio.to_thread(file.write, piece)
            finally:
                await asyncio.to_thread(file.close)
            await asyncio.to_thread(fresh.replace, target)
        except BaseException:
            with suppress(OSError):
                fresh.unlink()
            raise
        return target

    async def _unframed(
        self, pieces: AsyncIterator[bytes], told: BlobReference, place: str
    ) -> AsyncIterator[bytes]:
        """Pieces as they were before they were encoded."""
        if self._coder is None:
            raise CodecError(
                f"The file '{told['name']}' is encoded, and this process has no codec. Give it the "
                "codec, and the key, that the others have."
            )
        kept = bytearray()
        async for piece in pieces:
            kept += piece
            while len(kept) >= _LENGTH_BYTES:
                end = _LENGTH_BYTES + int.from_bytes(kept[:_LENGTH_BYTES])
                if len(kept) < end:
                    break
                yield await self._coder.decode_bytes(bytes(kept[_LENGTH_BYTES:end]), _WHAT)
                del kept[:end]
        if kept:
            raise _damaged(told, place, "its end is missing")


def read_reference(value: Any) -> BlobReference:
    """A reference that came with a value.

    Raises:
        FlowcraftError: It is none.
    """
    kinds = {"blob": str, "name": str, "bytes": int, "sha256": str}
    is_one = isinstance(value, Mapping) and all(
        isinstance(value.get(name), kind) for name, kind in kinds.items()
    )
    # It came with a value, so it may have been made up: it names nothing but files.
    key = value["blob"] if is_one else ""
    if not _KEY.fullmatch(key) or any(part in (".", "..") for part in key.split("/")):
        raise FlowcraftError(
            f"This is no reference to a file: {str(value)[:200]}. Pass what ctx.blobs.put gave.",
            is_fatal=True,
        )
    if value.get("form") not in (None, _CODED):
        raise StorageTooNew(
            f"The file '{value['name']}' was stored by a newer version. Update this worker."
        )
    reference = BlobReference(
        blob=key, name=value["name"], bytes=value["bytes"], sha256=value["sha256"]
    )
    if "form" in value:
        reference["form"] = value["form"]
    return reference


class _Count:
    """Size and checksum of what passes."""

    def __init__(self) -> None:
        self.bytes = 0
        self.digest = hashlib.sha256()

    async def over(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same pieces."""
        async for piece in pieces:
            self.bytes += len(piece)
            self.digest.update(piece)
            yield piece


async def _framed(coder: BytesCoder, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pieces of one size, each encoded, with its length before it."""
    kept = bytearray()
    async for piece in pieces:
        kept += piece
        while len(kept) >= PIECE_BYTES:
            yield await _frame(coder, bytes(kept[:PIECE_BYTES]))
            del kept[:PIECE_BYTES]
    yield await _frame(coder, bytes(kept))


async def _frame(coder: BytesCoder, piece: bytes) -> bytes:
    encoded = await coder.encode_bytes(piece, _WHAT)
    return len(encoded).to_bytes(_LENGTH_BYTES) + encoded


async def pieces_of(data: BlobData) -> AsyncIterator[bytes]:
    """What a file is made of, piece by piece.

    Raises:
        TypeError: It is something else.
    """
    match data:
        case bytes() | bytearray() | memoryview():
            view = memoryview(data).cast("B")
            for start in range(0, len(view), PIECE_BYTES):
                yield bytes(view[start : start + PIECE_BYTES])
        case os.PathLike():
            file = await asyncio.to_thread(Path(data).open, "rb")
            try:
                while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
                    yield piece
            finally:
                await asyncio.to_thread(file.close)
        case AsyncIterable():
            async for one in data:
                yield _checked_piece(one)
        case Iterable() if not isinstance(data, str | Mapping):
            pieces = iter(data)
            following: Callable[[], Any] = partial(next, pieces, _END)
            while (found := await asyncio.to_thread(following)) is not _END:
                yield _checked_piece(found)
        case _:
            raise TypeError(
                f"A file is made of bytes, of a Path, or of an iterator of bytes, not of "
                f"{type(data).__name__}. Of text write text.encode(), of a file's name Path(name)."
            )


def _checked_piece(piece: Any) -> bytes:
    if isinstance(piece, bytes | bytearray | memoryview):
        return bytes(piece)
    raise TypeError(f"The pieces of a file are bytes, not {type(piece).__name__}.")


def _damaged(told: BlobReference, place: str, how: str) -> StorageCorrupt:
    return StorageCorrupt(
        f"The file '{told['name']}' is damaged: {how} ({place}). Restore it, or make it anew."
    )


class _Insistent:
    """A place, or a coder, whose calls are repeated for as long as it cannot be used.

    A file that is encoded with a key that is not here waits, too: for this worker to be replaced by
    one that has it.
    """

    def __init__(
        self,
        objects: Any,
        clock: Clock,
        sleep_until: Callable[[float], Awaitable[None]],
        who: str,
    ) -> None:
        self._objects = objects
        self._clock = clock
        self._sleep_until = sleep_until
        self._who = who

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._objects, name)
        return value if name == "place" or not callable(value) else self._repeated(name, value)

    def _repeated(self, name: str, call: Any) -> Callable[..., Awaitable[Any]]:
        async def repeated(*arguments: Any) -> Any:
            is_told = False
            while True:
                try:
                    result = call(*arguments)
                    return await result if inspect.isawaitable(result) else result
                except StorageError as error:
                    if error.is_fatal or isinstance(error, _FINAL) or name == "give_up":
                        raise
                    if not is_told:
                        logger.error("%s waits until files can be used: %s", self._who, error)
                    is_told = True
                await self._sleep_until(self._clock.now() + AGAIN_SECONDS)

        return repeated


_FINAL: Final = (StorageCorrupt, StorageTooNew)
