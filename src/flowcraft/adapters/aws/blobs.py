"""Texts by key in the context table, beside the runs.

A text is one item, compressed where that makes it smaller. What does not fit into an item is cut
into chunks, which are written first, under a name of their own; the item of the key, written last,
names them. So whoever reads finds all of a text or nothing, and of two that replace each other all
of one. Chunks whose writer died before the end are found by nobody, and stay.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from flowcraft.adapters.aws.failures import Resource, Service
from flowcraft.adapters.aws.parts import OBJECT_BYTES
from flowcraft.adapters.aws.transport import AwsError, Transport
from flowcraft.adapters.system import SystemIdentifiers
from flowcraft.errors import StorageBusy, StorageCorrupt, StorageUnavailable
from flowcraft.ports.clock import Clock, Identifiers
from flowcraft.ports.objects import ObjectStore
from flowcraft.ports.streams import read_bytes, write_bytes

T = TypeVar("T")

KEY: Final = "runId"
PREFIX: Final = "\x1fblob\x1f"
"""What the keys of these items begin with: no run id has control characters."""

CHUNK_BYTES: Final = 390_000
"""What one item holds of a text: an item may have 400 KB, its key and names included."""

LONGEST_KEY_BYTES: Final = 1_500
"""Keys that are longer are kept by their hash: DynamoDB takes up to 2,048 bytes."""

WORTH_COMPRESSING_BYTES: Final = 200
CALLS_AT_A_TIME: Final = 8
TRIES: Final = 5
"""How often a text is read that others replace while it is being read."""

_IS_FREE: Final = f"attribute_not_exists({KEY})"

Item = dict[str, Any]


class DynamoDbBlobs:
    """Texts by key, in items of the context table.

    A small text (after compression: up to 390,000 bytes) is put and read with one request. Each
    method raises a ``StorageError`` if the table cannot be used.

    Args:
        transport: Carries requests to DynamoDB out.
        table_name: The table; its partition key is ``runId``, a string.
        identifiers: Where the names of chunks come from.
        objects: Where large texts are kept; ``None`` without a bucket: then in the table.
        object_bytes: What takes more than this, compressed, is one of those.
        clock: The service's time; needed only with ``ttl_seconds``.
        ttl_seconds: After how long DynamoDB may remove a text, by the attribute ``ttl``; each time
            that it is put counts. For ever by default.
    """

    def __init__(
        self,
        transport: Transport,
        table_name: str,
        *,
        identifiers: Identifiers | None = None,
        objects: ObjectStore | None = None,
        object_bytes: int = OBJECT_BYTES,
        clock: Clock | None = None,
        ttl_seconds: float | None = None,
    ) -> None:
        self._objects = objects
        self._object_bytes = CHUNK_BYTES if objects is None else min(object_bytes, CHUNK_BYTES)
        self._clock = clock
        self._ttl_seconds = ttl_seconds
        self._table_name = table_name
        self._service = Service(transport, Resource("table", table_name, KEY))
        self._identifiers = identifiers or SystemIdentifiers()

    async def put(self, key: str, text: str, *, replace: bool = False) -> None:
        """Keep a text; one that is there already stays, unless it is to be replaced.

        Raises:
            UnicodeEncodeError: The text holds half a character.
        """
        form, data = _packed(text)
        ttl = self._ttl()
        replace = replace or bool(ttl)
        if len(data) <= self._object_bytes:
            content: Item = {"text": {"S": text}} if form == "text" else {form: {"B": data}}
            await self._put_head(key, content | ttl, replace)
            return
        if not replace and await self._head(key) is not None:
            return
        stamp = self._identifiers.new_run_id()
        content = {"form": {"S": form}, "stamp": {"S": stamp}}
        content |= ttl | await self._put_apart(key, stamp, data, ttl)
        if not await self._put_head(key, content, replace):
            await self._delete_apart(key, content)

    async def _put_apart(self, key: str, stamp: str, data: bytes, ttl: Item) -> Item:
        """Keep what is large; gives what the item of the key says of it."""
        if self._objects is not None:
            place = f"texts/{hashlib.sha256(key.encode()).hexdigest()}/{stamp}"
            await write_bytes(self._objects, place, data)
            return {"object": {"S": place}, "sum": {"B": hashlib.sha256(data).digest()}}
        chunks = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]

        async def put_chunk(number: int) -> None:
            item = {KEY: {"S": _chunk_key(key, stamp, number)}, "data": {"B": chunks[number]}}
            request = {"TableName": self._table_name, "Item": item | ttl}
            await self._service.call("PutItem", request)

        await _for_each(range(len(chunks)), put_chunk)
        numbers = {"chunks": len(chunks), "bytes": len(data)}
        return {name: {"N": str(number)} for name, number in numbers.items()}

    async def get(self, key: str) -> str | None:
        """The text kept under a key, or ``None``.

        Raises:
            StorageCorrupt: What is there is not what was put.
        """
        try:
            return await self._get(key)
        except (LookupError, TypeError, ValueError) as error:
            raise self._unreadable(key, repr(error)) from error

    async def _get(self, key: str) -> str | None:
        before: Item = {}
        for _ in range(TRIES):
            head = await self._head(key)
            if head is None:
                return None
            if "stamp" not in head:
                return self._unpacked(key, *_content(head))
            is_object = "object" in head
            data = await (self._object(key, head) if is_object else self._chunks(key, head))
            if data is not None:
                return self._unpacked(key, head["form"]["S"], data)
            if is_object and head == before:
                raise self._damaged(key, head, "is missing")
            before = head
            # It has been replaced or deleted meanwhile.
        raise StorageBusy(
            f"The text {key!r} in the {self._service.resource} was replaced by others while it "
            f"was read, {TRIES} times, or a part of it was deleted. Try again."
        )

    async def delete(self, key: str) -> None:
        """Forget a text; one that is not there is no error."""
        request = {**self._item(_head_key(key)), "ReturnValues": "ALL_OLD"}
        answer = await self._service.call("DeleteItem", request)
        await self._delete_apart(key, answer.get("Attributes", {}))

    # -- items ------------------------------------------------------------------------------

    async def _put_head(self, key: str, content: Item, replace: bool) -> bool:
        """Write the item of a key; whether it was written."""
        request: Item = {
            "TableName": self._table_name,
            "Item": {KEY: {"S": _head_key(key)}, **content},
        }
        if replace:
            answer = await self._service.call("PutItem", {**request, "ReturnValues": "ALL_OLD"})
            before = answer.get("Attributes", {})
            # The same request, repeated by boto3, finds what it has written itself.
            if before.get("stamp") != content.get("stamp"):
                await self._delete_apart(key, before)
            return True
        request["ConditionExpression"] = _IS_FREE
        request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        try:
            await self._service.call("PutItem", request)
        except AwsError as error:
            stamp = content.get("stamp")
            if stamp is None:
                return False
            there = error.answer.get("Item") or await self._head(key) or {}
            return bool(there.get("stamp") == stamp)
        return True

    async def _head(self, key: str) -> Item | None:
        return await self._read(_head_key(key))

    async def _read(self, item_key: str) -> Item | None:
        request = {**self._item(item_key), "ConsistentRead": True}
        item: Item | None = (await self._service.call("GetItem", request)).get("Item")
        return item

    async def _chunks(self, key: str, head: Mapping[str, Any]) -> bytes | None:
        """What the chunks hold that an item names; ``None`` if one is not there any more."""

        async def read_chunk(number: int) -> bytes | None:
            item = await self._read(_chunk_key(key, head["stamp"]["S"], number))
            return None if item is None else bytes(item["data"]["B"])

        chunks = await _for_each(range(_chunks_of(head)), read_chunk)
        found = [chunk for chunk in chunks if chunk is not None]
        return b"".join(found) if len(found) == len(chunks) else None

    async def _object(self, key: str, head: Mapping[str, Any]) -> bytes | None:
        """The object that an item names; ``None`` if it is not there any more."""
        if self._objects is None:
            raise StorageUnavailable(
                f"The text {key!r} in the {self._service.resource} is kept in S3, and this process "
                "has no bucket. Give it the s3_client and the payload_bucket that the others have."
            )
        data = await read_bytes(self._objects, head["object"]["S"])
        if data is not None and hashlib.sha256(data).digest() != bytes(head["sum"]["B"]):
            raise self._damaged(key, head, "is not what was put there")
        return data

    def _damaged(self, key: str, head: Mapping[str, Any], how: str) -> StorageCorrupt:
        assert self._objects is not None
        place = self._objects.place(head["object"]["S"])
        return StorageCorrupt(
            f"The text {key!r} in the {self._service.resource} is damaged: {place} {how}. Restore "
            "an earlier version of it, or a backup, or delete the item."
        )

    async def _delete_apart(self, key: str, head: Mapping[str, Any]) -> None:
        """Delete the chunks, or the object, that an item names, if it names some."""
        if "stamp" not in head:
            return
        if "object" in head:
            if self._objects is not None:
                await self._objects.delete_all(head["object"]["S"])
            return

        async def delete_chunk(number: int) -> None:
            chunk = _chunk_key(key, head["stamp"]["S"], number)
            await self._service.call("DeleteItem", self._item(chunk))

        await _for_each(range(_chunks_of(head)), delete_chunk)

    def _ttl(self) -> Item:
        """The attribute by which DynamoDB removes a text; none for one that stays."""
        if self._clock is None or self._ttl_seconds is None:
            return {}
        return {"ttl": {"N": str(math.ceil(self._clock.now() + self._ttl_seconds))}}

    def _item(self, item_key: str) -> Item:
        return {"TableName": self._table_name, "Key": {KEY: {"S": item_key}}}

    def _unpacked(self, key: str, form: str, data: bytes) -> str:
        try:
            return (zlib.decompress(data) if form == "zlib" else data).decode()
        except (zlib.error, UnicodeDecodeError) as error:
            raise self._unreadable(key, str(error)) from error

    def _unreadable(self, key: str, how: str) -> StorageCorrupt:
        return StorageCorrupt(
            f"The text {key!r} in the {self._service.resource} is damaged ({how}). Restore it from "
            "a backup, or delete the item."
        )


def _packed(text: str) -> tuple[str, bytes]:
    """A text as it is kept, and in which form that is."""
    data = text.encode()
    if len(data) >= WORTH_COMPRESSING_BYTES:
        compressed = zlib.compress(data)
        if len(compressed) < len(data):
            return "zlib", compressed
    return "text", data


def _content(head: Mapping[str, Any]) -> tuple[str, bytes]:
    if "zlib" in head:
        return "zlib", bytes(head["zlib"]["B"])
    return "text", head["text"]["S"].encode()


def _chunks_of(head: Mapping[str, Any]) -> int:
    """How many chunks an item names, which its bytes have to need."""
    chunks, size = int(head["chunks"]["N"]), int(head["bytes"]["N"])
    if chunks != -(-size // CHUNK_BYTES):
        raise ValueError(f"{chunks} chunks are not what {size} bytes need")
    return chunks


def _head_key(key: str) -> str:
    data = key.encode()
    if len(data) <= LONGEST_KEY_BYTES:
        return PREFIX + key
    # The separator keeps it apart from keys that are kept as they are.
    return f"{PREFIX}\x1f{hashlib.sha256(data).hexdigest()}"


def _chunk_key(key: str, stamp: str, number: int) -> str:
    return f"{_head_key(key)}\x1f{stamp}\x1f{number}"


async def _for_each(numbers: Iterable[int], work: Callable[[int], Awaitable[T]]) -> list[T]:
    """Do something for each number, some at a time; an error is raised once all have ended."""
    gate = asyncio.Semaphore(CALLS_AT_A_TIME)

    async def one(number: int) -> T:
        async with gate:
            return await work(number)

    results = await asyncio.gather(*map(one, numbers), return_exceptions=True)
    done: list[T] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        done.append(result)
    return done
