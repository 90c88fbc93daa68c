"""Objects written and read piece by piece, so that nobody has all of one in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from flowcraft.errors import StorageError
from flowcraft.ports.objects import PART_BYTES, ObjectStore


async def write_stream(store: ObjectStore, key: str, pieces: AsyncIterator[bytes]) -> bool:
    """Keep what comes in pieces of any size, unless there is an object under the key already.

    Nobody sees anything of it before all of it is there.

    Args:
        store: Where it is kept.
        key: The key.
        pieces: What is to be kept.

    Returns:
        Whether it is new.
    """
    part = bytearray()
    upload: str | None = None
    parts: list[str] = []
    try:
        async for piece in pieces:
            part += piece
            while len(part) > PART_BYTES:
                if upload is None:
                    upload = await store.begin(key)
                with memoryview(part) as view:
                    whole = bytes(view[:PART_BYTES])
                del part[:PART_BYTES]
                parts.append(await store.add(key, upload, len(parts) + 1, whole))
        if upload is None:
            return await store.put(key, bytes(part))
        parts.append(await store.add(key, upload, len(parts) + 1, bytes(part)))
        return await store.finish(key, upload, parts)
    except (Exception, asyncio.CancelledError):
        if upload is not None:
            with suppress(StorageError):
                await store.give_up(key, upload)
        raise


async def write_bytes(store: ObjectStore, key: str, data: bytes) -> bool:
    """Keep bytes of any size, unless there is an object under the key already."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), PART_BYTES):
            yield data[start : start + PART_BYTES]

    return await write_stream(store, key, pieces())


async def read_stream(store: ObjectStore, key: str) -> AsyncIterator[bytes]:
    """What is kept, in pieces of at most :data:`PART_BYTES`.

    Raises:
        KeyError: There is no such object.
    """
    start = 0
    while True:
        piece = await store.read(key, start)
        if piece is None:
            raise KeyError(key)
        if piece:
            yield piece
        if len(piece) < PART_BYTES:
            return
        start += len(piece)


async def read_bytes(store: ObjectStore, key: str) -> bytes | None:
    """All of what is kept; ``None`` if there is no such object."""
    try:
        return b"".join([piece async for piece in read_stream(store, key)])
    except KeyError:
        return None
