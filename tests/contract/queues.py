"""What the queues of one machine do beyond the contract."""

from __future__ import annotations

import asyncio

from flowcraft.ports.queue import Outgoing, Queue
from flowcraft.testing import VirtualClock


async def taken_by_age(clock: VirtualClock, queue: Queue) -> None:
    """Messages are received in the order in which they became visible."""
    await queue.send([Outgoing("third", 2), Outgoing("second", 1), Outgoing("first")])
    clock.advance(5)
    await queue.send([Outgoing("fourth"), Outgoing("fifth")])
    received = [delivery.body for _ in range(5) for delivery in await queue.receive(1, 0)]
    assert received == ["first", "second", "third", "fourth", "fifth"]


async def woken_at_once(clock: VirtualClock, queue: Queue) -> None:
    """A receive that waits returns as soon as a message is sent: no time passes."""
    before = clock.now()
    task = asyncio.create_task(queue.receive(1, 20))
    await clock.settle()
    assert not task.done()
    await queue.send([Outgoing("a")])
    await clock.settle()
    assert [delivery.body for delivery in task.result()] == ["a"]
    assert clock.now() == before
