"""A queue before another one: what a class of its own does not say otherwise, passes."""

from __future__ import annotations

from collections.abc import Sequence

from flowcraft.ports.queue import Delivery, Outgoing, Queue


class PassingQueue:
    """Passes everything on.

    Args:
        queue: The queue behind it.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    @property
    def behind(self) -> Queue:
        """The queue behind it."""
        return self._queue

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

    @property
    def max_receives(self) -> int | None:
        """After how many receives a message is a dead letter; ``None`` for never."""
        most: int | None = getattr(self._queue, "max_receives", None)
        return most

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages."""
        await self._queue.send(messages)

    async def receive(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:
        """Receive messages."""
        return await self._queue.receive(limit, wait_seconds)

    async def whole(self, body: str) -> str:
        """The text that was sent, of a body that somebody received from the service itself."""
        return await self._queue.whole(body)

    async def delete(self, handles: Sequence[str]) -> None:
        """Forget deliveries for good."""
        await self._queue.delete(handles)

    async def extend(self, handles: Sequence[str]) -> None:
        """Hide deliveries for longer."""
        await self._queue.extend(handles)
