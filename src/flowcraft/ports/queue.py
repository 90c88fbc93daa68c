"""Where jobs wait for a worker: a queue that delivers at least once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send; it can be received after ``delay_seconds``.

    Attributes:
        body: The text.
        delay_seconds: How long it is hidden.
        name: Of one that is to come late: tells it from others. Two of one name are one too many.
        due_at: When that one is to come, in seconds since the epoch.
        trace: The span that it is sent from, as a ``traceparent`` (W3C Trace Context): 55
            characters. A queue that cannot carry it along leaves it out.
        group: Whose it is. A queue may be fair among groups: one with very many messages does not
            keep those of the others waiting. What has none is nobody's, and in nobody's way.
    """

    body: str
    delay_seconds: float = 0.0
    name: str | None = None
    due_at: float | None = None
    group: str | None = None
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that was received, and is hidden from others for the visibility timeout.

    Attributes:
        id: What the queue calls the message.
        handle: Names this delivery of it.
        body: The text that was sent.
        receives: How often it was received, this time included.
        problem: Why the body cannot be read, where somebody on the way has found out; a queue
            itself leaves it alone.
        trace: The span that it was sent from, if that came along.
    """

    id: str
    handle: str
    body: str
    receives: int
    problem: str | None = None
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How much there is on a queue: about, where a service only estimates it.

    Attributes:
        ready: Messages that can be received now.
        in_hand: Messages that somebody has received, and not deleted yet.
        delayed: Messages that are due later.
        oldest_seconds: How long the oldest of those that can be received has been there, or of
            all where the service tells no more; ``None`` without one, and where it does not say.
    """

    ready: int
    in_hand: int
    delayed: int
    oldest_seconds: float | None = None


class Queue(Protocol):
    """A queue of messages, delivered at least once and in no particular order.

    Attributes:
        max_delay_seconds: The longest delay that a message may be sent with.
        visibility_seconds: How long a delivery is hidden from others.
        max_hold_seconds: How long one stays hidden at most, however often it is extended.
        batch: How many messages a request brings for the price of one.
    """

    @property
    def max_delay_seconds(self) -> float:
        """The longest delay that a message may be sent with."""
        ...

    @property
    def visibility_seconds(self) -> float:
        """How long a delivery is hidden from others, unless it is extended."""
        ...

    @property
    def max_hold_seconds(self) -> float:
        """How long after its receive a delivery stays hidden at most; infinite without a limit.

        Whoever works on it for longer sends a message anew before, and deletes this one.
        """
        ...

    @property
    def batch(self) -> int:
        """How many messages a request brings for the price of one; 1 where each is as cheap.

        Whoever has room for one message asks for as many, and keeps the others meanwhile.
        """
        ...

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages; when it returns they are durable."""

    async def receive(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:
        """Receive at most ``limit`` messages, waiting up to ``wait_seconds`` for the first."""
        ...

    async def whole(self, body: str) -> str:
        """The text that was sent, of a body that somebody received from the service itself.

        Raises:
            StorageError: What the body refers to cannot be read.
            CodecError: It cannot be decoded.
        """
        ...

    async def delete(self, handles: Sequence[str]) -> None:
        """Forget deliveries for good; one that is gone already is no error."""

    async def extend(self, handles: Sequence[str]) -> None:
        """Hide deliveries for another visibility timeout from now on."""
