"""What of a run is kept beside its item: settled facts in segments, and what is large.

Both are items of the context table under keys that no run id can be. Nothing here is ever changed:
a segment holds the same facts whoever writes it, and the key of a value is made of what it holds.
So a write that comes late, or twice, overwrites nothing but the same.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from flowcraft.adapters.aws.bulk import get_items, write_items
from flowcraft.adapters.aws.item import RunItem, start_thread
from flowcraft.adapters.aws.item import begun_ms as begun_ms_of
from flowcraft.adapters.aws.packing import Packed, deflate, pack_facts, unpack_facts
from flowcraft.adapters.aws.transport import Transport
from flowcraft.errors import StorageCorrupt, StorageFull
from flowcraft.ports.runs import Head

SEPARATOR: Final = "\x1f"
"""No run id holds it, so that no key here is a run's."""

CHUNK_BYTES: Final = 380 * 1024
"""An item may take 400 KB, its key included."""

VALUE_LIMIT_BYTES: Final = 64 * CHUNK_BYTES
"""What a single fact may take once it is compressed, in bytes: about 24 MB."""

KEPT_BYTES: Final = 8 * 1024 * 1024
"""So much of what was written or read lately need not be read again."""

_DIGEST_BYTES = 12


class Parts:
    """Segments and large values of runs.

    Args:
        service: DynamoDB.
        table_name: The context table.
    """

    def __init__(self, service: Transport, table_name: str) -> None:
        self._service = service
        self._table_name = table_name
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

    async def put_value(self, head: Head, data: bytes) -> bytes:
        """Keep what is large; gives the reference.

        Raises:
            StorageFull: It is larger than anything may be.
        """
        digest = hashlib.sha256(data).digest()[:_DIGEST_BYTES]
        packed = zlib.compress(data, 6)
        if len(packed) > VALUE_LIMIT_BYTES:
            raise StorageFull(
                f"Run '{head.run_id}': {len(packed):,} bytes (compressed) are to be stored at "
                f"once, and {VALUE_LIMIT_BYTES:,} is the most. Keep large values elsewhere, and "
                "pass their address.",
                is_fatal=True,
            )
        chunks = [packed[at : at + CHUNK_BYTES] for at in range(0, len(packed), CHUNK_BYTES)]
        await self._put(
            {_value_key(head, digest, number): chunk for number, chunk in enumerate(chunks)}
        )
        reference = digest + len(chunks).to_bytes(2)
        self._keep(_value_key(head, digest, 0), data)
        return reference

    async def values(self, head: Head, references: Iterable[bytes]) -> dict[bytes, bytes] | None:
        """What is kept under references; ``None`` if something is not there any more."""
        found: dict[bytes, bytes] = {}
        missing: dict[bytes, list[str]] = {}
        for reference in references:
            digest, keys = _digest_of(reference), _value_keys(head, reference)
            kept = self._kept.get(_value_key(head, digest, 0))
            if kept is None:
                missing[reference] = keys
            else:
                found[reference] = kept
        got = await self._get([key for keys in missing.values() for key in keys])
        for reference, keys in missing.items():
            if any(key not in got for key in keys):
                return None
            data = _unpacked(head, b"".join(got[key] for key in keys), _digest_of(reference))
            self._keep(_value_key(head, _digest_of(reference), 0), data)
            found[reference] = data
        return found

    async def delete(self, head: Head, segments: int, references: Iterable[bytes]) -> None:
        """Forget values, and then segments up to a number.

        What refers to values goes after them: whoever dies in between finds them once more.
        """
        await self._delete([key for each in references for key in _value_keys(head, each)])
        await self._delete([_segment_key(head, number) for number in range(segments)])

    async def _delete(self, keys: Sequence[str]) -> None:
        requests = [{"DeleteRequest": {"Key": {"runId": {"S": key}}}} for key in keys]
        await write_items(self._service, self._table_name, requests)

    # -- requests ---------------------------------------------------------------------------

    async def _put(self, parts: Mapping[str, bytes]) -> None:
        items = [{"runId": {"S": key}, "b": {"B": data}} for key, data in parts.items()]
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


def _unpacked(head: Head, packed: bytes, digest: bytes) -> bytes:
    try:
        data = zlib.decompress(packed)
    except zlib.error as error:
        raise _damaged(head, str(error)) from error
    if hashlib.sha256(data).digest()[:_DIGEST_BYTES] != digest:
        raise _damaged(head, "its content is not what its key says")
    return data


def _damaged(head: Head, how: str) -> StorageCorrupt:
    return StorageCorrupt(
        f"A value of run '{head.run_id}' is damaged: {how}. Restore it from a backup "
        "(point-in-time recovery), or delete the run."
    )
