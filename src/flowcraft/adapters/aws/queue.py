"""The queue on SQS: a standard queue, and as few requests as it takes.

SQS counts in whole seconds: a delay is rounded up, a wait too. It delivers at least once, in any
order, and now and then a receive brings nothing although there is something; whoever uses a
queue expects that of every queue.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from flowcraft.adapters.aws.batches import ENTRIES, Batches, Lingering, Rejected, alarm
from flowcraft.adapters.aws.failures import Resource, Service
from flowcraft.adapters.aws.transport import Transport
from flowcraft.errors import StorageError, StorageUnavailable
from flowcraft.ports.clock import Clock
from flowcraft.ports.queue import Delivery, Outgoing, QueueDepth

logger = logging.getLogger("flowcraft")

MAX_RECEIVES: Final = 100
"""How often a message is received before it is a dead letter.

Attempts are bounded in the record of a run, by its retry policy. A message comes again for many
other reasons, all of them good: its worker died, another worker was at it, AWS was throttling, a
deploy took a worker's place. So this only has to catch what nobody can ever read, and few receives
would take healthy jobs out of the queue.
"""

MAX_DELAY_SECONDS: Final = 900.0
MAX_HOLD_SECONDS: Final = 43_200.0
MAX_WAIT_SECONDS: Final = 20
MAX_BYTES: Final = 1_048_576
"""What one request may carry, and so the most that a message may have (1 MiB)."""

LINGER_SECONDS: Final = 0.25
"""How long a delete waits for others."""

KEPT_SHARE: Final = 0.5
"""How much of its visibility a delivery may have spent here before it is handed out."""

TRACE: Final = "traceparent"
"""The attribute of a message that says which span it was sent from (W3C Trace Context). It counts
into the size of a message, and is no request of its own."""

# SQS takes what XML 1.0 can hold. Of text without control characters that leaves out these; JSON
# has an escape for them, so that text of ours can be sent as it means.
_UNSENDABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# What SQS takes as the group of a message: letters, digits and punctuation of ASCII.
_GROUP: Final = re.compile(r"[!-~]{1,128}")

_GONE: Final = frozenset(
    {"MessageNotInflight", "ReceiptHandleIsInvalid", "InvalidIdFormat", "InvalidParameterValue"}
)
"""Why a delivery cannot be deleted or hidden: it is over, one way or another."""


def group_id(group: str) -> str:
    """A group as SQS takes it: 128 plain characters, or else a hash."""
    if _GROUP.fullmatch(group):
        return group
    return hashlib.sha256(group.encode("utf-8", "backslashreplace")).hexdigest()


class SqsQueue:
    """A standard queue of SQS. Call :meth:`open` before anything else, and :meth:`close` last.

    Each method raises a ``StorageError`` if the queue cannot be used. Messages of other systems
    come like any other; they are for whoever reads them to leave alone.

    Args:
        transport: Carries requests out.
        queue_url: The queue.
        clock: The time; it counts how long to wait.
        linger_seconds: How long a delete waits for others, to share a request; 0 for not at all.
        age: Tells how old the oldest message is, in seconds.

    Attributes:
        queue_url: The queue.
        transport: Carries requests out.
    """

    def __init__(
        self,
        transport: Transport,
        queue_url: str,
        clock: Clock,
        *,
        linger_seconds: float = LINGER_SECONDS,
        age: Callable[[], Awaitable[float | None]] | None = None,
    ) -> None:
        self.queue_url = queue_url
        self.transport = transport
        self._clock = clock
        self._age = age
        self._service = Service(transport, Resource("queue", queue_url))
        self._batches = Batches(self._service, queue_url, clock)
        self._deletes = Lingering(clock, linger_seconds, ENTRIES, self._delete)
        self._attributes: Mapping[str, str] = {}
        self._visibility_seconds = 0.0
        self._max_bytes = MAX_BYTES
        # Polls whose receivers have given up, and what such polls have brought.
        self._polls: set[asyncio.Task[list[Delivery]]] = set()
        self._kept: deque[tuple[float, Delivery]] = deque()

    # -- opening and closing ----------------------------------------------------------------

    async def open(self) -> None:
        """Look at the queue: whether it can be used, and how long it hides deliveries.

        Raises:
            StorageUnavailable: There is no such queue, it may not be used, or it is of a kind
                that cannot be worked with; the message says why, and what to do.
        """
        if self.queue_url.endswith(".fifo"):
            raise self._is_fifo()
        answer = await self._service.call(
            "GetQueueAttributes", {"QueueUrl": self.queue_url, "AttributeNames": ["All"]}
        )
        attributes = answer.get("Attributes", {})
        if attributes.get("FifoQueue") == "true":
            raise self._is_fifo()
        visibility = float(attributes.get("VisibilityTimeout", 30))
        if visibility < 1:
            raise StorageUnavailable(
                f"The {self._service.resource} hides no deliveries: its VisibilityTimeout is 0, "
                "so that every message is received again and again. Set it to 30 seconds or more."
            )
        self._attributes = attributes
        self._visibility_seconds = visibility
        self._max_bytes = int(attributes.get("MaximumMessageSize", MAX_BYTES))

    def _is_fifo(self) -> StorageUnavailable:
        return StorageUnavailable(
            f"The {self._service.resource} is a FIFO queue, which cannot be worked with: it has "
            "no delay for a single message, one message in hand holds up its whole group, and "
            "sending a message anew is dropped as a duplicate. Create a standard queue."
        )

    async def close(self) -> None:
        """Delete what waits for it, let polls run out, and give back what they bring.

        Polls are not cancelled: a message that is sent to a poll without a receiver is hidden
        until its visibility ends. It takes as long as the longest of them, 20 s at most.
        """
        await self._deletes.finish()
        while self._polls:
            await asyncio.wait(tuple(self._polls))
        handles = [delivery.handle for _, delivery in self._kept]
        self._kept.clear()
        if handles:
            await self._hide(handles, 0)

    @property
    def attributes(self) -> Mapping[str, str]:
        """The queue's attributes as they were when it was opened, by the names AWS has."""
        return self._attributes

    async def depth(self) -> QueueDepth:
        """How many messages there were when it was opened, as far as SQS can tell.

        SQS says of no message how old it is without a receive; CloudWatch has the age of the
        oldest, be it in somebody's hands or not.
        """
        names = ("", "NotVisible", "Delayed")
        ready, in_hand, delayed = (
            int(self._attributes.get(f"ApproximateNumberOfMessages{each}", 0)) for each in names
        )
        age = None if self._age is None else await self._age()
        return QueueDepth(ready, in_hand, delayed, age)

    @property
    def max_receives(self) -> int | None:
        """After how many receives a message goes to the dead-letter queue; ``None`` for never."""
        policy = self._attributes.get("RedrivePolicy")
        return int(json.loads(policy)["maxReceiveCount"]) if policy else None

    @property
    def max_delay_seconds(self) -> float:
        """The longest delay that a message may be sent with."""
        return MAX_DELAY_SECONDS

    @property
    def max_hold_seconds(self) -> float:
        """How long after its receive a delivery stays hidden at most: 12 hours."""
        return MAX_HOLD_SECONDS

    @property
    def visibility_seconds(self) -> float:
        """How long a delivery is hidden from others, unless it is extended."""
        return self._visibility_seconds

    @property
    def batch(self) -> int:
        """How many messages one request brings at most: asking for fewer costs as much."""
        return ENTRIES

    # -- sending ----------------------------------------------------------------------------

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages; when it returns they are durable.

        Delays are rounded up to whole seconds.

        Raises:
            StorageError: Messages cannot be sent: they are too large, or hold what SQS does not
                take; then nothing was sent. Or SQS failed; then some may have been sent.
            ValueError: A delay is longer than ``max_delay_seconds``.
        """
        if not messages:
            return
        entries = [self._entry(message) for message in messages]
        sizes = [_size(entry) for entry in entries]
        self._require_size(max(sizes))
        rejected = await self._batches.carry_out(
            "SendMessageBatch", entries, sizes, self._max_bytes
        )
        if rejected:
            _, code, text = rejected[0]
            raise StorageError(
                f"The {self._service.resource} does not take {len(rejected)} of {len(messages)} "
                f"messages: {code}: {text}",
                is_fatal=True,
            )

    def _entry(self, message: Outgoing) -> dict[str, Any]:
        # Rounding errors of a sum of times are no reason for a whole second more.
        delay = max(0, math.ceil(round(message.delay_seconds, 6)))
        if delay > MAX_DELAY_SECONDS:
            raise ValueError(
                f"A message can be delayed by {MAX_DELAY_SECONDS:g} s at most, not {delay} s."
            )
        entry = {"MessageBody": self._sendable(message.body), "DelaySeconds": delay}
        if message.group is not None:
            entry["MessageGroupId"] = group_id(message.group)
        if message.trace is not None:
            text = {"DataType": "String", "StringValue": message.trace}
            entry["MessageAttributes"] = {TRACE: text}
        return entry

    def _sendable(self, body: str) -> str:
        """The body, with JSON's escapes where SQS does not take a character.

        Raises:
            StorageError: It cannot be sent as it means.
        """
        found = _UNSENDABLE.search(body)
        if found is None and body:
            return body
        if found is not None and _is_json(body):
            # In JSON such characters are found in strings only: control characters are escaped.
            return _UNSENDABLE.sub(lambda match: f"\\u{ord(match.group()):04x}", body)
        what = f"the character {found.group()!a}" if found is not None else "an empty message"
        raise StorageError(
            f"The {self._service.resource} does not take {what}. Nothing was sent.", is_fatal=True
        )

    def _require_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise StorageError(
                f"A message has {size} bytes, and the {self._service.resource} takes "
                f"{self._max_bytes} (its MaximumMessageSize; SQS allows {MAX_BYTES}). "
                "Nothing was sent. Keep large values elsewhere, and send where they are.",
                is_fatal=True,
            )

    # -- receiving --------------------------------------------------------------------------

    async def receive(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:
        """Receive at most ``limit`` messages, waiting up to ``wait_seconds`` for the first.

        A wait is rounded up to a whole second. A receive that is cancelled leaves its poll to run
        out; what that brings is for the next receive.
        """
        if limit < 1:
            return ()
        deadline = self._clock.now() + wait_seconds
        while True:
            if kept := self._take_kept(limit):
                return kept
            left = max(0, math.ceil(round(deadline - self._clock.now(), 3)))
            # A poll that was left is as good as a new one, if there is time to wait for it.
            poll = next(iter(self._polls), None) if left else None
            if poll is None:
                found = await self._poll(limit, min(left, MAX_WAIT_SECONDS))
                if found:
                    return found
            else:
                await self._wait_for(poll, deadline)
            if self._clock.now() >= deadline - 1e-3 and not self._kept:
                return ()

    async def _poll(self, limit: int, wait_seconds: int) -> list[Delivery]:
        poll = asyncio.ensure_future(self._ask(min(limit, ENTRIES), wait_seconds))
        try:
            return await asyncio.shield(poll)
        except asyncio.CancelledError:
            if not poll.done():
                self._polls.add(poll)
                poll.add_done_callback(self._keep)
            elif not poll.cancelled() and poll.exception() is None:
                self._kept += ((self._clock.now(), delivery) for delivery in poll.result())
            raise

    async def _wait_for(self, poll: asyncio.Task[list[Delivery]], deadline: float) -> None:
        """Wait for a poll that was left, but not beyond the deadline; it goes on in any case."""
        over, timer = alarm(self._clock, deadline)
        waited: set[asyncio.Future[Any]] = {poll, over}
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            over.cancel()

    def _keep(self, poll: asyncio.Task[list[Delivery]]) -> None:
        """Keep what a poll has brought that nobody waits for."""
        self._polls.discard(poll)
        if poll.cancelled():
            return
        if (error := poll.exception()) is not None:
            logger.warning("A receive that was given up failed: %s", error)
            return
        self._kept += ((self._clock.now(), delivery) for delivery in poll.result())

    def _take_kept(self, limit: int) -> list[Delivery]:
        """What earlier polls brought; what is nearly visible again is left to come again."""
        taken: list[Delivery] = []
        oldest = self._clock.now() - KEPT_SHARE * self._visibility_seconds
        while self._kept and len(taken) < limit:
            since, delivery = self._kept.popleft()
            if since > oldest:
                taken.append(delivery)
        return taken

    async def _ask(self, limit: int, wait_seconds: int) -> list[Delivery]:
        answer = await self._service.call(
            "ReceiveMessage",
            {
                "QueueUrl": self.queue_url,
                "MaxNumberOfMessages": limit,
                "WaitTimeSeconds": wait_seconds,
                # Its newer name is not known to all versions of boto3 that will do.
                "AttributeNames": ["ApproximateReceiveCount"],
                "MessageAttributeNames": [TRACE],
            },
        )
        return [_delivery(message) for message in answer.get("Messages", ())]

    # -- deliveries -------------------------------------------------------------------------

    async def whole(self, body: str) -> str:
        """The text that was sent: nothing is changed on the way."""
        return body

    async def delete(self, handles: Sequence[str]) -> None:
        """Forget deliveries for good; one that is gone already is no error.

        It waits for a moment for other calls, to share a request with them.
        """
        if handles:
            await self._deletes.add(handles)

    async def _delete(self, handles: list[str]) -> None:
        entries = [{"ReceiptHandle": handle} for handle in handles]
        rejected = await self._batches.carry_out(
            "DeleteMessageBatch", entries, [1] * len(entries), ENTRIES
        )
        self._tell_of("deleted", rejected)

    async def extend(self, handles: Sequence[str]) -> None:
        """Hide deliveries for another visibility timeout from now on.

        What is over already stays over: a message that is gone, visible again, or was received
        anew. Nor is one hidden for longer than ``max_hold_seconds`` after its receive, which is
        logged.
        """
        if handles:
            await self._hide(handles, math.ceil(self._visibility_seconds))

    async def _hide(self, handles: Sequence[str], seconds: int) -> None:
        entries = [{"ReceiptHandle": handle, "VisibilityTimeout": seconds} for handle in handles]
        rejected = await self._batches.carry_out(
            "ChangeMessageVisibilityBatch", entries, [1] * len(entries), ENTRIES
        )
        held_too_long = [entry for entry in rejected if _is_held_too_long(entry)]
        if held_too_long:
            logger.warning(
                "%d messages of the %s have been in hand for nearly 12 hours, which is all that "
                "SQS allows: they are going to be delivered once more",
                *(len(held_too_long), self._service.resource),
            )
        self._tell_of("hidden", [entry for entry in rejected if entry not in held_too_long])

    def _tell_of(self, what: str, rejected: Iterable[Rejected]) -> None:
        for _, code, message in rejected:
            level = logging.DEBUG if code in _GONE else logging.WARNING
            logger.log(
                *(level, "A delivery of the %s could not be %s: %s: %s"),
                *(self._service.resource, what, code, message),
            )


def _size(entry: Mapping[str, Any]) -> int:
    """The bytes of a message: of its body, and of the names, types and values of attributes."""
    attributes = entry.get("MessageAttributes", {}).items()
    return len(entry["MessageBody"].encode()) + sum(
        len(name) + len(each["DataType"]) + len(each["StringValue"]) for name, each in attributes
    )


def _delivery(message: Mapping[str, Any]) -> Delivery:
    receives = message.get("Attributes", {}).get("ApproximateReceiveCount", "1")
    return Delivery(
        message["MessageId"],
        message["ReceiptHandle"],
        message.get("Body", ""),
        int(receives),
        trace=message.get("MessageAttributes", {}).get(TRACE, {}).get("StringValue"),
    )


def _is_held_too_long(entry: Rejected) -> bool:
    return entry.code == "InvalidParameterValue" and "Total VisibilityTimeout" in entry.message


def _is_json(body: str) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True
