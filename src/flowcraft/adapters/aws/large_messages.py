"""Messages of any size: what SQS does not take is kept elsewhere, and sent by its address.

That is in a bucket, among what belongs to the message's run and goes with it, or in a table.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from flowcraft.adapters.aws import parts
from flowcraft.adapters.aws.apart import apart
from flowcraft.errors import StorageCorrupt, StorageError, StorageFull, StorageUnavailable
from flowcraft.ports.blobs import BlobStore
from flowcraft.ports.objects import ObjectStore, run_prefix
from flowcraft.ports.passing import PassingQueue
from flowcraft.ports.queue import Delivery, Outgoing, Queue
from flowcraft.ports.runs import NO_FACTS, RunStore
from flowcraft.ports.streams import read_bytes, write_bytes

LARGE_BYTES: Final = 240_000
"""A body of more bytes is kept in the table. SQS takes more by now, but a batch of ten must fit
as well, and old queues are set to 256 KB."""

BODY_SECONDS: Final = 20 * 86_400.0
"""How long a body is kept after it was last sent: SQS keeps a message for 14 days at most."""

ADDRESS: Final = "flowcraftBody"
IN_BUCKET: Final = "object/"
"""What the address of an object begins with; the rest is its key."""

_BEGINNING: Final = '{"' + ADDRESS + '":'
_SEPARATORS: Final = (",", ":")
_ABOUT: Final = ("v", "runId", "epoch", "blueprintId", "thread")
"""What is left of a message beside the address of the rest: what it is about."""


class _Closes(Protocol):
    async def close(self) -> None: ...


class LargeMessages(PassingQueue):
    """A queue whose large bodies are in a store of objects, or of texts.

    A body has the key of its content, so that a message that is sent again finds its own. It is
    not deleted with the message: another copy of that may be on its way. An object goes with the
    run that the message is about; a text expires.

    Args:
        queue: The queue.
        blobs: Where large bodies are kept that are about no run, and all without a bucket.
        objects: Where the others are kept; ``None`` without a bucket.
        runs: Tells of a message whose object is gone whether its run is gone, too.
        large_bytes: A body of more bytes is one of those.
    """

    def __init__(
        self,
        queue: Queue,
        blobs: BlobStore,
        objects: ObjectStore | None = None,
        runs: RunStore | None = None,
        large_bytes: int = LARGE_BYTES,
    ) -> None:
        super().__init__(queue)
        self._blobs = blobs
        self._objects = objects
        self._runs = runs
        self._large_bytes = large_bytes

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages; what they refer to is kept before."""
        await self._queue.send([await self._addressed(message) for message in messages])

    async def _addressed(self, message: Outgoing) -> Outgoing:
        body = message.body
        if len(body) * 4 <= self._large_bytes or len(body.encode()) <= self._large_bytes:
            return message
        await self._require_size(body)
        digest = hashlib.sha256(body.encode()).hexdigest()
        about = _about(body) if self._objects is not None else None
        if self._objects is None or about is None:
            key = f"message/{digest}"
            await self._blobs.put(key, body)
            return replace(message, body=json.dumps({ADDRESS: key}, separators=_SEPARATORS))
        key = f"{run_prefix(about['runId'], about['epoch'])}m/{digest}"
        packed = await apart(len(body), lambda: zlib.compress(body.encode(), 6))
        await write_bytes(self._objects, key, packed)
        address = {ADDRESS: IN_BUCKET + key, **about}
        return replace(message, body=json.dumps(address, separators=_SEPARATORS))

    async def _require_size(self, body: str) -> None:
        """Refuse what could not be written into the run that it is for.

        Raises:
            StorageFull: It is too large; nothing was sent.
        """
        has_bucket = self._objects is not None
        limit = parts.OBJECT_LIMIT_BYTES if has_bucket else parts.VALUE_LIMIT_BYTES
        if len(body) <= limit // 4:  # a character has up to four bytes
            return
        size = await apart(len(body), lambda: len(zlib.compress(body.encode(), 6)))
        if size <= limit:
            return
        cure = "Keep it as a file (ctx.blobs), and send the reference."
        if not has_bucket:
            cure = "Give all adapters and clients a bucket (s3_client, payload_bucket)."
        raise StorageFull(
            f"A message brings {size:,} bytes (compressed), and {limit:,} is the most that a run "
            f"takes at once. Nothing was sent. {cure}",
            is_fatal=True,
        )

    async def receive(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:
        """Receive messages, with what they refer to.

        One whose text cannot be read is delivered with its ``problem``: the others are received,
        and counted as such, and have to be worked on.
        """
        received = await self._queue.receive(limit, wait_seconds)
        return [await self._resolved(delivery) for delivery in received]

    async def _resolved(self, delivery: Delivery) -> Delivery:
        try:
            body = await self.whole(delivery.body)
        except StorageError as error:
            return replace(delivery, problem=str(error))
        return delivery if body is delivery.body else replace(delivery, body=body)

    async def whole(self, body: str) -> str:
        """The text that was sent, from the bucket or the table if it is there.

        Raises:
            StorageError: It cannot be read, or is not there.
        """
        if not body.startswith(_BEGINNING):
            return body
        try:
            address = json.loads(body)
            key = address[ADDRESS]
        except (ValueError, KeyError, TypeError):
            return body
        if str(key).startswith(IN_BUCKET):
            return await self._body_of(str(key).removeprefix(IN_BUCKET), address)
        text = await self._blobs.get(str(key))
        if text is None:
            raise StorageCorrupt(f"What it refers to, '{key}', is not in the table.")
        return text

    async def renew(self, body: str) -> None:
        """Keep what a body refers to for as long as if it was sent now.

        It is for messages that are sent again as they are. What is in a bucket goes with its run.

        Raises:
            StorageError: It cannot be read or written, or is not there.
        """
        text = await self.whole(body)
        key = "" if text is body else str(json.loads(body)[ADDRESS])
        if key and not key.startswith(IN_BUCKET):
            await self._blobs.put(key, text)

    async def _body_of(self, key: str, address: Mapping[str, Any]) -> str:
        if self._objects is None:
            raise StorageUnavailable(
                f"What it refers to, '{key}', is kept in S3, and this process has no bucket. Give "
                "it the s3_client and the payload_bucket that the others have."
            )
        packed = await read_bytes(self._objects, key)
        if packed is None:
            if await self._is_run_gone(address):
                # A message that brings nothing: who gets it finds that there is no such run.
                return json.dumps({name: address.get(name) for name in _ABOUT})
            raise StorageCorrupt(
                f"What it refers to, {self._objects.place(key)}, is not there. Restore it, or "
                "delete the message."
            )
        try:
            body = await apart(len(packed), lambda: zlib.decompress(packed))
        except zlib.error:
            body = b""
        if hashlib.sha256(body).hexdigest() != key.rpartition("/")[2]:
            raise StorageCorrupt(
                f"What it refers to, {self._objects.place(key)}, is damaged: its content is not "
                "what its key says. Restore an earlier version of it."
            )
        return body.decode()

    async def _is_run_gone(self, address: Mapping[str, Any]) -> bool:
        if self._runs is None:
            return False
        record = await self._runs.read(str(address.get("runId")), NO_FACTS)
        return record is None or record.head.epoch != address.get("epoch")


def _about(body: str) -> dict[str, Any] | None:
    """What a message is about; ``None`` if it does not name a run."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    about = {name: data[name] for name in _ABOUT if name in data}
    is_of_run = isinstance(about.get("runId"), str) and isinstance(about.get("epoch"), str)
    return about if is_of_run else None
