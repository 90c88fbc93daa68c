"""What of a run is kept beside its item: settled facts in segments, and what is large.

Both are items of the context table under keys that no run id can be; values that are larger still
are objects in S3, where there is a bucket. Nothing here is ever changed: a segment holds the same
facts whoever writes it, and the key of a value is made of what it holds. So a write that comes
late, or twice, overwrites nothing but the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from flowcraft.adapters.aws.apart import apart
from flowcraft.adapters.aws.bulk import get_items, write_items
from flowcraft.adapters.aws.item import RunItem, start_thread
from flowcraft.adapters.aws.item import begun_ms as begun_ms_of
from flowcraft.adapters.aws.packing import Packed, deflate, pack_facts, unpack_facts
from flowcraft.adapters.aws.transport import Transport
from flowcraft.errors import StorageCorrupt, StorageFull, StorageUnavailable
from flowcraft.ports.clock import Clock
from flowcraft.ports.objects import ObjectStore, run_prefix
from flowcraft.ports.runs import Head
from flowcraft.ports.streams import read_bytes, write_bytes

SEPARATOR: Final = "\x1f"
"""No run id holds it, so that no key here is a run's."""

WRITTEN_AT: Final = "t"
"""The attribute with the time of a write, in seconds since the epoch: it tells orphans from what is
about to be referred to."""

CHUNK_BYTES: Final = 380 * 1024
"""An item may take 400 KB, its key included."""

VALUE_LIMIT_BYTES: Final = 64 * CHUNK_BYTES
"""What a single fact may take once it is compressed, in bytes, without a bucket: about 24 MB."""

OBJECT_BYTES: Final = 16 * 1024
"""What takes more than this, compressed, goes to S3 if there is a bucket. A put there costs as much
as 8 KB written to DynamoDB, and a get as much as 13 KB read: at 16 KB it is half the price, and an
answer of S3 takes some ten milliseconds longer. Below, a hundred values come with one request."""

OBJECT_LIMIT_BYTES: Final = 512 * 1024 * 1024
"""What a single fact may take once it is compressed, in bytes, with a bucket. Whoever works on the
run has it in memory several times over: what is larger is for ``ctx.blobs``."""

READS_AT_A_TIME: Final = 8

KEPT_BYTES: Final = 8 * 1024 * 1024
"""So much of what was written or read lately need not be read again."""

_DIGEST_BYTES = 12


class Value(NamedTuple):
    """What is large, ready to be kept.

    Attributes:
        data: What it is.
        digest: What it is known by.
        packed: The same, compressed.
    """

    data: bytes
    digest: bytes
    packed: bytes


class Parts:
    """Segments and large values of runs.

    Args:
        service: DynamoDB.
        table_name: The context table.
        objects: Where values are kept that are larger still; ``None`` without a bucket.
        object_bytes: What takes more than this, compressed, is one of those.
        clock: The service's time; without it, items do not tell when they were written.
    """

    def __init__(
        self,
        service: Transport,
        table_name: str,
        objects: ObjectStore | None = None,
        object_bytes: int = OBJECT_BYTES,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock
        self._service = service
        self._table_name = table_name
        self._objects = objects
        self._object_bytes = object_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._kept_bytes = 0

    # -- segments ---------------------------------------------------------------------------

    async def put_segments(
        self, head: Head, first: int, segments: Sequence[Sequence[Packed]]
    ) -> None:
        """Keep segments, the first of them under a number."""
        begun_ms, thread = begun_ms_of(head), start_thread(head.epoch)
        await self._put(
            {
                _segment_key(head, number): pack_facts(facts, begun_ms, thread)
                for number, facts in enumerate(segments, first)
            }
        )

    async def segments(self, item: RunItem, first: int) -> list[Packed] | None:
        """The facts in segments from a number on; ``None`` if some are not there any more."""
        keys = [_segment_key(item.head, number) for number in range(first, item.segments)]
        found = await self._get(keys)
        if len(found) < len(keys):
            return None
        return [
            fact for key in keys for fact in unpack_facts(found[key], item.begun_ms, item.thread)
        ]

    @staticmethod
    def shortened(data: bytes) -> bytes:
        """What data comes to where it is packed by itself."""
        return deflate(data)

    # -- values -----------------------------------------------------------------------------

    async def value(self, head: Head, data: bytes) -> Value:
        """Get ready to keep what is large; nothing is written.

        Raises:
            StorageFull: It is larger than anything may be.
        """
        digest, packed = await apart(len(data), lambda: (_digest(data), zlib.compress(data, 6)))
        limit = VALUE_LIMIT_BYTES if self._objects is None else OBJECT_LIMIT_BYTES
        if len(packed) <= limit:
            return Value(data, digest, packed)
        cure = "Keep it as a file (ctx.blobs), and pass the reference."
        if self._objects is None:
            cure = (
                "Give the adapter, and all clients, a bucket (s3_client, payload_bucket), or keep "
                "large values elsewhere, and pass their address."
            )
        raise StorageFull(
            f"Run '{head.run_id}': {len(packed):,} bytes (compressed) are to be stored at once, "
            f"and {limit:,} is the most. {cure}",
            is_fatal=True,
        )

    async def put_value(self, head: Head, value: Value) -> bytes:
        """Keep what is large; gives the reference."""
        packed = value.packed
        known_as = _value_key(head, value.digest, 0)
        if self._objects is not None and len(packed) > self._object_bytes:
            if known_as not in self._kept:  # what is known is there
                await write_bytes(self._objects, _object_key(head, value.digest), packed)
            self._keep(known_as, value.data)
            return value.digest + _IN_OBJECT
        chunks = [packed[at : at + CHUNK_BYTES] for at in range(0, len(packed), CHUNK_BYTES)]
        await self._put(
            {_value_key(head, value.digest, number): chunk for number, chunk in enumerate(chunks)}
        )
        self._keep(known_as, value.data)
        return value.digest + len(chunks).to_bytes(2)

    async def values(self, head: Head, references: Iterable[bytes]) -> dict[bytes, bytes]:
        """What is kept under references; what is not there any more is missing."""
        found: dict[bytes, bytes] = {}
        missing: list[bytes] = []
        for reference in references:
            kept = self._kept.get(_value_key(head, _digest_of(reference), 0))
            if kept is None:
                missing.append(reference)
            else:
                found[reference] = kept
        keys = {each: _value_keys(head, each) for each in missing if not _is_object(each)}
        got = await self._get([key for some in keys.values() for key in some])
        packed = await self._read_objects(head, [each for each in missing if _is_object(each)])
        packed |= {
            reference: b"".join(got[key] for key in some)
            for reference, some in keys.items()
            if all(key in got for key in some)
        }
        for reference, data in packed.items():
            found[reference] = await self._taken_in(head, reference, data)
        return found

    async def _taken_in(self, head: Head, reference: bytes, packed: bytes) -> bytes:
        digest = _digest_of(reference)
        try:
            data = await apart(len(packed), lambda: _unpacked(packed, digest))
        except ValueError as error:
            raise StorageCorrupt(
                f"{self.place(head, reference)} is damaged: {error}. Restore it from a backup "
                "(point-in-time recovery of the table, an earlier version of the object), or "
                "delete the run."
            ) from error
        self._keep(_value_key(head, digest, 0), data)
        return data

    def place(self, head: Head, reference: bytes) -> str:
        """Where a value is, for errors."""
        what = f"A value of run '{head.run_id}'"
        if _is_object(reference) and self._objects is not None:
            return f"{what}, {self._objects.place(_object_key(head, _digest_of(reference)))},"
        return f"{what} in the table '{self._table_name}'"

    async def _read_objects(self, head: Head, references: Sequence[bytes]) -> dict[bytes, bytes]:
        if not references:
            return {}
        objects = self._objects
        if objects is None:
            raise StorageUnavailable(
                f"A value of run '{head.run_id}' is kept in S3, and this process has no bucket. "
                "Give it the s3_client and the payload_bucket that the others have."
            )
        found: dict[bytes, bytes] = {}
        gate = asyncio.Semaphore(READS_AT_A_TIME)

        async def read(reference: bytes) -> None:
            async with gate:
                data = await read_bytes(objects, _object_key(head, _digest_of(reference)))
            if data is not None:
                found[reference] = data

        reads = [asyncio.ensure_future(read(each)) for each in references]
        try:
            await asyncio.gather(*reads)
        finally:
            for each in reads:
                each.cancel()
        return found

    async def delete(self, head: Head, segments: int, references: Iterable[bytes]) -> None:
        """Forget values and objects, and then segments up to a number.

        What refers to values goes after them: whoever dies in between finds them once more.
        """
        await self._delete([key for each in references for key in _value_keys(head, each)])
        await self.delete_objects(head.run_id, head.epoch)
        await self._delete([_segment_key(head, number) for number in range(segments)])

    async def _delete(self, keys: Sequence[str]) -> None:
        requests = [{"DeleteRequest": {"Key": {"runId": {"S": key}}}} for key in keys]
        await write_items(self._service, self._table_name, requests)

    async def delete_objects(self, run_id: str, epoch: str) -> None:
        """Forget all objects of a run: values, messages and files."""
        if self._objects is not None:
            await self._objects.delete_all(run_prefix(run_id, epoch))

    # -- requests ---------------------------------------------------------------------------

    async def _put(self, parts: Mapping[str, bytes]) -> None:
        times = {}
        if self._clock is not None:
            times = {WRITTEN_AT: {"N": str(int(self._clock.now()))}}
        items = [{"runId": {"S": key}, "b": {"B": data}, **times} for key, data in parts.items()]
        if len(items) == 1:
            await self._service.call("PutItem", {"TableName": self._table_name, "Item": items[0]})
            return
        requests = [{"PutRequest": {"Item": item}} for item in items]
        await write_items(self._service, self._table_name, requests)

    async def _get(self, keys: Sequence[str]) -> dict[str, bytes]:
        found = await get_items(self._service, self._table_name, "runId", keys)
        return {key: bytes(item["b"]["B"]) for key, item in found.items()}

    # -- what need not be read again --------------------------------------------------------

    def _keep(self, key: str, data: bytes) -> None:
        before = self._kept.pop(key, None)
        self._kept_bytes += len(data) - (0 if before is None else len(before))
        self._kept[key] = data
        while self._kept_bytes > KEPT_BYTES:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)


def _segment_key(head: Head, number: int) -> str:
    return SEPARATOR.join((head.run_id, head.epoch, "s", str(number)))


def _value_key(head: Head, digest: bytes, chunk: int) -> str:
    return SEPARATOR.join((head.run_id, head.epoch, "v", digest.hex(), str(chunk)))


def _value_keys(head: Head, reference: bytes) -> list[str]:
    chunks = int.from_bytes(reference[_DIGEST_BYTES:])
    return [_value_key(head, _digest_of(reference), number) for number in range(chunks)]


def _digest_of(reference: bytes) -> bytes:
    return reference[:_DIGEST_BYTES]


_IN_OBJECT: Final = b"\0\0"
"""Of a value in S3: it has no chunk in the table."""


def _is_object(reference: bytes) -> bool:
    return reference[_DIGEST_BYTES:] == _IN_OBJECT


def _object_key(head: Head, digest: bytes) -> str:
    return f"{run_prefix(head.run_id, head.epoch)}v/{digest.hex()}"


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:_DIGEST_BYTES]


def _unpacked(packed: bytes, digest: bytes) -> bytes:
    """What was packed.

    Raises:
        ValueError: It is damaged.
    """
    try:
        data = zlib.decompress(packed)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if _digest(data) != digest:
        raise ValueError("its content is not what its key says")
    return data
