"""Ports through which payloads pass a codec: encoded in queue and stores, plain in the engine.

This is the only place that knows which parts are payloads. Facts, texts under keys and files are
so as a whole. A message is read by people and by other systems, so only what it brings is encoded.

A codec may take its time. While it does, others have their turn: one that is async is awaited, one
that says that it blocks is called in a thread, and so is any that is given much at once.

What is encoded is marked as such. So a process without the codec says what it lacks, and one with
a codec still reads what was stored before there was one.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from flowcraft.engine.encoded import MARK
from flowcraft.engine.jobs import event_in, with_event
from flowcraft.errors import CodecError, StorageCorrupt, StorageError
from flowcraft.ports.blobs import BlobStore
from flowcraft.ports.codec import AnyCodec
from flowcraft.ports.passing import PassingQueue
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

T = TypeVar("T")

KEPT_WRITES: Final = 64
"""Of so many writes that failed, and may be tried again, it is kept what they were encoded to."""


IN_THREAD_BYTES: Final = 256 * 1024
"""What is larger is encoded in a thread: to compress so much takes some ten milliseconds."""

AT_A_TIME: Final = 16
"""Of many payloads so many are encoded or decoded at a time, by a codec that takes its time."""


def coded(ports: Ports, codec: AnyCodec | Coder) -> Ports:
    """The same ports for payloads that pass a codec; objects stay as they are."""
    coder = codec if isinstance(codec, Coder) else Coder(codec)
    return ports._replace(
        queue=CodedQueue(ports.queue, coder),
        runs=CodedRuns(ports.runs, coder),
        blobs=CodedBlobs(ports.blobs, coder),
    )


class Coder:
    """A codec whose output is marked, and whose errors say what they are about.

    Args:
        codec: Any of the kinds that ``flowcraft.ports.codec`` describes.
    """

    def __init__(self, codec: AnyCodec) -> None:
        self._codec: Any = codec
        self._is_slow = bool(getattr(codec, "blocks", False)) or _is_async(codec.encode)
        has_bytes = hasattr(codec, "encode_bytes") and hasattr(codec, "decode_bytes")
        self._of_bytes: Any = codec if has_bytes else None

    async def encode(self, text: str, what: str) -> str:
        """A text as it is stored.

        Raises:
            CodecError: The codec refuses it.
            StorageError: The codec says that it cannot be used now.
        """
        encoded = await self._encoded(self._codec.encode, text, what)
        if not isinstance(encoded, str):
            kind = type(encoded).__name__
            raise CodecError(f"{what}: the codec encodes it to {kind}, which is no text.")
        return MARK + encoded

    async def decode(self, text: str, what: str) -> str:
        """What was stored; a text that is not marked was never encoded.

        Raises:
            CodecError: It was encoded by another codec, or with another key.
            StorageError: It is damaged, or the codec says that it cannot be used now.
        """
        if not text.startswith(MARK):
            return text
        decoded = await self._decoded(self._codec.decode, text[len(MARK) :], what)
        if not isinstance(decoded, str):
            raise CodecError(f"{what}: the codec decodes it to {type(decoded).__name__}, no text.")
        return decoded

    async def encode_bytes(self, data: bytes, what: str) -> bytes:
        """A piece of a file as it is stored; a codec of texts is given it in base64."""
        if self._of_bytes is not None:
            encoded: bytes = await self._encoded(self._of_bytes.encode_bytes, data, what)
            return encoded
        text = base64.b64encode(data).decode()
        return (await self.encode(text, what))[len(MARK) :].encode()

    async def decode_bytes(self, data: bytes, what: str) -> bytes:
        """The piece that was encoded."""
        if self._of_bytes is not None:
            decoded: bytes = await self._decoded(self._of_bytes.decode_bytes, data, what)
            return decoded
        return base64.b64decode(await self.decode(MARK + data.decode(), what))

    async def each(self, work: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
        """Encode or decode many: at the same time, where that takes its time."""
        if not self._is_slow:
            return [await one() for one in work]
        gate = asyncio.Semaphore(AT_A_TIME)

        async def in_turn(one: Callable[[], Awaitable[T]]) -> T:
            async with gate:
                return await one()

        tasks = [asyncio.ensure_future(in_turn(one)) for one in work]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _encoded(self, function: Callable[[Any], Any], data: Any, what: str) -> Any:
        try:
            return await self._called(function, data)
        except Exception as error:
            if _says_enough(error):
                raise
            raise CodecError(f"{what} cannot be encoded ({_reason(error)}).") from error

    async def _decoded(self, function: Callable[[Any], Any], data: Any, what: str) -> Any:
        try:
            return await self._called(function, data)
        except CodecError as error:
            raise CodecError(f"{what} cannot be decoded. {error.message}") from error
        except StorageCorrupt as error:
            raise StorageCorrupt(f"{what} cannot be decoded. {error.message}") from error
        except Exception as error:
            if _says_enough(error):
                raise
            raise CodecError(
                f"{what} cannot be decoded ({_reason(error)}). Give this process the codec, and "
                "the key, that it was encoded with."
            ) from error

    async def _called(self, function: Callable[[Any], Any], data: Any) -> Any:
        if _is_async(function):
            return await function(data)
        if self._is_slow or len(data) > IN_THREAD_BYTES:
            return await asyncio.to_thread(function, data)
        return function(data)


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function)


def _says_enough(error: Exception) -> bool:
    """Whether a codec says itself what is wrong: that it cannot be used now, say."""
    return isinstance(error, StorageError) and not isinstance(error, CodecError)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class CodedBlobs:
    """Texts by key, encoded; the keys stay readable."""

    def __init__(self, blobs: BlobStore, coder: Coder) -> None:
        self._blobs = blobs
        self._coder = coder

    async def put(self, key: str, text: str, *, replace: bool = False) -> None:
        """Keep a text."""
        encoded = await self._coder.encode(text, f"The text '{key}'")
        await self._blobs.put(key, encoded, replace=replace)

    async def get(self, key: str) -> str | None:
        """The text kept under a key, or ``None``."""
        text = await self._blobs.get(key)
        return None if text is None else await self._coder.decode(text, f"The text '{key}'")

    async def delete(self, key: str) -> None:
        """Forget a text."""
        await self._blobs.delete(key)


class CodedQueue(PassingQueue):
    """A queue of messages that bring encoded events.

    A message that cannot be decoded is delivered with its ``problem``, so that the others are
    worked on and it stays where it is.
    """

    def __init__(self, queue: Queue, coder: Coder) -> None:
        super().__init__(queue)
        self._coder = coder

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages."""
        await self._queue.send(await self._coder.each([partial(self._sent, m) for m in messages]))

    async def receive(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:
        """Receive messages."""
        received = await self._queue.receive(limit, wait_seconds)
        return await self._coder.each([partial(self._decoded, each) for each in received])

    async def whole(self, body: str) -> str:
        """The text that was sent."""
        return await self._decode(await self._queue.whole(body))

    async def _sent(self, message: Outgoing) -> Outgoing:
        event = event_in(message.body)
        if event is None:
            return message
        encoded = await self._coder.encode(event, "What a message brings")
        return replace(message, body=with_event(message.body, encoded))

    async def _decoded(self, delivery: Delivery) -> Delivery:
        try:
            return replace(delivery, body=await self._decode(delivery.body))
        except StorageError as error:
            return replace(delivery, problem=str(error))

    async def _decode(self, body: str) -> str:
        event = event_in(body)
        if event is None:
            return body
        return with_event(body, await self._coder.decode(event, "What the message brings"))


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
        encoded = await self._encoded(head.run_id, entries)
        return await self._runs.create(head, encoded, thread)

    async def read(self, run_id: str, since: int = 0) -> Record | None:
        """A run, with its facts from number ``since`` on, and its leases."""
        record = await self._runs.read(run_id, since)
        if record is None or not record.facts:
            return record
        return replace(record, facts=await self._decoded(run_id, record.facts, {}))

    async def read_each(self, run_id: str, since: int) -> tuple[Record | None, dict[int, str]]:
        """The same, and of each fact that cannot be decoded why not; it is as it was stored."""
        record = await self._runs.read(run_id, since)
        problems: dict[int, str] = {}

        async def decode(fact: Fact) -> Fact:
            what = f"Fact {fact.number} of run '{run_id}'"
            try:
                return replace(fact, data=await self._coder.decode(fact.data, what))
            except (CodecError, StorageCorrupt) as error:
                problems[fact.number] = str(error)
                return fact

        if record is None:
            return None, problems
        facts = await self._coder.each([partial(decode, fact) for fact in record.facts])
        return replace(record, facts=tuple(facts)), problems

    async def write(self, change: Change) -> Written:
        """Do a conditional write."""
        # A codec may give something else each time; a store recognizes what it was sent before.
        before = self._tried.pop(change, None) if self._tried else None
        encoded = before or await self._encoded(change.run_id, change.entries)
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
        facts = await self._decoded(change.run_id, written.facts, known)
        return replace(written, facts=facts)

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

    async def _encoded(self, run_id: str, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        what = f"A fact of run '{run_id}'"

        async def encode(entry: Entry) -> Entry:
            return replace(entry, data=await self._coder.encode(entry.data, what))

        return tuple(await self._coder.each([partial(encode, entry) for entry in entries]))

    async def _decoded(
        self, run_id: str, facts: Iterable[Fact], known: Mapping[str, str]
    ) -> tuple[Fact, ...]:
        async def decode(fact: Fact) -> Fact:
            data = known.get(fact.data)
            if data is None:
                what = f"Fact {fact.number} of run '{run_id}'"
                data = await self._coder.decode(fact.data, what)
            return replace(fact, data=data)

        return tuple(await self._coder.each([partial(decode, fact) for fact in facts]))
