"""Ports through which payloads pass a codec: encoded in queue and stores, plain in the engine.

This is the only place that knows which parts are payloads. Facts and texts under keys are so as a
whole. A message is read by people and by other systems, so only what it brings is encoded.

What is encoded is marked as such. So a process without the codec says what it lacks, and one with
a codec still reads what was stored before there was one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from flowcraft.engine.encoded import MARK
from flowcraft.engine.jobs import with_event
from flowcraft.errors import CodecError, StorageError
from flowcraft.ports.blobs import BlobStore
from flowcraft.ports.codec import Codec
from flowcraft.ports.queue import Delivery, Outgoing, Queue
from flowcraft.ports.runs import (
    Change,
    Created,
    Entry,
    Fact,
    Head,
    Held,
    Query,
    Record,
    Renewed,
    RunStore,
    Written,
)
from flowcraft.ports.suspicion import Suspects, Suspicion
from flowcraft.ports.together import Ports

KEPT_WRITES: Final = 64
"""Of so many writes that failed, and may be tried again, it is kept what they were encoded to."""


def coded(ports: Ports, codec: Codec) -> Ports:
    """The same ports for payloads that pass a codec."""
    coder = Coder(codec)
    return ports._replace(
        queue=CodedQueue(ports.queue, coder),
        runs=CodedRuns(ports.runs, coder),
        blobs=CodedBlobs(ports.blobs, coder),
    )


class Coder:
    """A codec whose output is marked, and whose errors say what they are about."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def encode(self, text: str, what: str) -> str:
        """A text as it is stored.

        Raises:
            CodecError: The codec refuses it.
        """
        try:
            return MARK + self._codec.encode(text)
        except Exception as error:
            raise CodecError(f"{what} cannot be encoded ({_reason(error)}).") from error

    def decode(self, text: str, what: str) -> str:
        """What was stored; a text that is not marked was never encoded.

        Raises:
            CodecError: It was encoded by another codec, or with another key.
        """
        if not text.startswith(MARK):
            return text
        try:
            decoded = self._codec.decode(text[len(MARK) :])
        except Exception as error:
            raise CodecError(
                f"{what} cannot be decoded ({_reason(error)}). Give this process the codec, and "
                "the key, that it was encoded with."
            ) from error
        if not isinstance(decoded, str):
            raise CodecError(f"{what}: the codec decodes it to {type(decoded).__name__}, no text.")
        return decoded


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class CodedBlobs:
    """Texts by key, encoded; the keys stay readable."""

    def __init__(self, blobs: BlobStore, coder: Coder) -> None:
        self._blobs = blobs
        self._coder = coder

    async def put(self, key: str, text: str, *, replace: bool = False) -> None:
        """Keep a text."""
        encoded = self._coder.encode(text, f"The text '{key}'")
        await self._blobs.put(key, encoded, replace=replace)

    async def get(self, key: str) -> str | None:
        """The text kept under a key, or ``None``."""
        text = await self._blobs.get(key)
        return None if text is None else self._coder.decode(text, f"The text '{key}'")

    async def delete(self, key: str) -> None:
        """Forget a text."""
        await self._blobs.delete(key)


class CodedQueue:
    """A queue of messages that bring encoded events.

    A message that cannot be decoded is delivered with its ``problem``, so that the others are
    worked on and it stays where it is.
    """

    def __init__(self, queue: Queue, coder: Coder) -> None:
        self._queue = queue
        self._coder = coder

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
        """Send messages."""
        await self._queue.send([replace(each, body=self._encoded(each.body)) for each in messages])

    async def receive(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:
        """Receive messages."""
        received = await self._queue.receive(limit, wait_seconds)
        return [self._decoded(delivery) for delivery in received]

    async def whole(self, body: str) -> str:
        """The text that was sent."""
        return with_event(await self._queue.whole(body), self._decode)

    async def delete(self, handles: Sequence[str]) -> None:
        """Forget deliveries for good."""
        await self._queue.delete(handles)

    async def extend(self, handles: Sequence[str]) -> None:
        """Hide deliveries for longer."""
        await self._queue.extend(handles)

    def _encoded(self, body: str) -> str:
        return with_event(body, lambda event: self._coder.encode(event, "What a message brings"))

    def _decoded(self, delivery: Delivery) -> Delivery:
        try:
            return replace(delivery, body=with_event(delivery.body, self._decode))
        except CodecError as error:
            return replace(delivery, problem=str(error))

    def _decode(self, event: str) -> str:
        return self._coder.decode(event, "What the message brings")


class CodedRuns:
    """The records of runs, with encoded facts; leases, rows, tags and keys stay readable."""

    def __init__(self, runs: RunStore, coder: Coder) -> None:
        self._runs = runs
        self._coder = coder
        self._tried: OrderedDict[Change, tuple[Entry, ...]] = OrderedDict()

    @property
    def rows_are_apart(self) -> bool:
        """Whether rows are written after the records."""
        return self._runs.rows_are_apart

    async def create(self, head: Head, entries: Sequence[Entry], thread: str) -> Created:
        """Begin a record."""
        encoded = self._encoded(head.run_id, entries)
        return await self._runs.create(head, encoded, thread)

    async def read(self, run_id: str, since: int = 0) -> Record | None:
        """A run, with its facts from number ``since`` on, and its leases."""
        record = await self._runs.read(run_id, since)
        if record is None or not record.facts:
            return record
        return replace(record, facts=self._decoded(run_id, record.facts, {}))

    async def write(self, change: Change) -> Written:
        """Do a conditional write."""
        # A codec may give something else each time; a store recognizes what it was sent before.
        before = self._tried.pop(change, None) if self._tried else None
        encoded = before or self._encoded(change.run_id, change.entries)
        try:
            written = await self._runs.write(replace(change, entries=encoded))
        except StorageError:
            self._remember(change, encoded)
            raise
        if not written.facts:
            return written
        # What was just encoded comes back with the answer, and is known.
        pairs = zip(encoded, change.entries, strict=True)
        known = {new.data: entry.data for new, entry in pairs}
        return replace(written, facts=self._decoded(change.run_id, written.facts, known))

    def _remember(self, change: Change, encoded: tuple[Entry, ...]) -> None:
        """Keep what a write was encoded to that may be tried again."""
        if encoded:
            self._tried[change] = encoded
            while len(self._tried) > KEPT_WRITES:
                self._tried.popitem(last=False)

    async def renew(self, leases: Sequence[Held], seconds: float) -> Sequence[Renewed]:
        """Prolong leases."""
        return await self._runs.renew(leases, seconds)

    async def find(self, query: Query) -> Sequence[Head]:
        """List runs."""
        return await self._runs.find(query)

    async def suspects(self, suspicion: Suspicion, after: str | None = None) -> Suspects:
        """A page of the runs that may be stuck."""
        return await self._runs.suspects(suspicion, after)

    async def remove(self, run_id: str, epoch: str, *, only_hide: bool = False) -> None:
        """Forget a run, or let it count as absent."""
        await self._runs.remove(run_id, epoch, only_hide=only_hide)

    def _encoded(self, run_id: str, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        what = f"A fact of run '{run_id}'"
        encode = self._coder.encode
        return tuple(replace(entry, data=encode(entry.data, what)) for entry in entries)

    def _decoded(
        self, run_id: str, facts: Iterable[Fact], known: Mapping[str, str]
    ) -> tuple[Fact, ...]:
        return tuple(
            replace(fact, data=known.get(fact.data) or self._decode(run_id, fact)) for fact in facts
        )

    def _decode(self, run_id: str, fact: Fact) -> str:
        return self._coder.decode(fact.data, f"Fact {fact.number} of run '{run_id}'")
