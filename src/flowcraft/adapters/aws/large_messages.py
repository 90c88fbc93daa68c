"""Messages of any size: what SQS does not take is kept in a table, and sent by its address."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

from flowcraft.errors import StorageCorrupt, StorageError
from flowcraft.ports.blobs import BlobStore
from flowcraft.ports.queue import Delivery, Outgoing, Queue

LARGE_BYTES: Final = 240_000
"""A body of more bytes is kept in the table. SQS takes more by now, but a batch of ten must fit
as well, and old queues are set to 256 KB."""

BODY_SECONDS: Final = 20 * 86_400.0
"""How long a body is kept after it was last sent: SQS keeps a message for 14 days at most."""

ADDRESS: Final = "flowcraftBody"
_BEGINNING: Final = '{"' + ADDRESS + '":'


class _Closes(Protocol):
    async def close(self) -> None: ...


class LargeMessages:
    """A queue whose large bodies are in a store of texts.

    A body has the key of its content, so that a message that is sent again finds its own. It is
    not deleted with the message: another copy of that may be on its way. It expires.

    Args:
        queue: The queue.
        blobs: Where large bodies are kept.
    """

    def __init__(self, queue: Queue, blobs: BlobStore) -> None:
        self._queue = queue
        self._blobs = blobs

    @property
    def max_delay_seconds(self) -> float:
        """The longest delay that a message may be sent with."""
        return self._queue.max_delay_seconds

    @property
    def visibility_seconds(self) -> float:
        """How long a delivery is hidden from others, unless it is extended."""
        return self._queue.visibility_seconds

    @property
    def max_hold_seconds(self) -> float:
        """How long after its receive a delivery stays hidden at most, however it is extended."""
        return self._queue.max_hold_seconds

    @property
    def batch(self) -> int:
        """How many messages a request brings for the price of one."""
        return self._queue.batch

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages; what they refer to is kept before."""
        await self._queue.send([await self._addressed(message) for message in messages])

    async def _addressed(self, message: Outgoing) -> Outgoing:
        body = message.body
        if len(body) * 4 <= LARGE_BYTES or len(body.encode()) <= LARGE_BYTES:
            return message
        key = "message/" + hashlib.sha256(body.encode()).hexdigest()
        await self._blobs.put(key, body)
        return replace(message, body=_BEGINNING + json.dumps(key) + "}")

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
        """The text that was sent, from the table if it is there.

        Raises:
            StorageError: It cannot be read, or is not there.
        """
        if not body.startswith(_BEGINNING):
            return body
        try:
            key = json.loads(body)[ADDRESS]
        except (ValueError, KeyError, TypeError):
            return body
        text = await self._blobs.get(str(key))
        if text is None:
            raise StorageCorrupt(f"What it refers to, '{key}', is not in the table.")
        return text

    async def delete(self, handles: Sequence[str]) -> None:
        """Forget deliveries for good."""
        await self._queue.delete(handles)

    async def extend(self, handles: Sequence[str]) -> None:
        """Hide deliveries for another visibility timeout from now on."""
        await self._queue.extend(handles)
