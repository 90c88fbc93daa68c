"""The memory adapters keep the contract of the ports, also between threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from flowcraft.adapters.memory import MemoryBlobs, MemoryCoordination, MemoryQueue, MemoryRuns
from flowcraft.adapters.system import SystemClock
from flowcraft.ports.queue import Outgoing
from flowcraft.testing import VirtualClock
from flowcraft.testing.conformance import CASES, Case, Connect, Ports, check
from flowcraft.testing.conformance.helpers import create, log
from flowcraft.testing.conformance.writing import write_many
from tests.contract.queues import taken_by_age, woken_at_once
from tests.unit.runs import drive

ROUNDS = 50


@asynccontextmanager
async def open_storage(clock: VirtualClock) -> AsyncIterator[Connect]:
    """The objects are the storage, so every client has the same ones."""
    ports = Ports(MemoryQueue(clock), MemoryRuns(clock), MemoryBlobs(), MemoryCoordination(clock))

    async def connect() -> Ports:
        return ports

    yield connect


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_contract_is_kept(case: Case) -> None:
    """Every case of the contract passes."""
    check(case, open_storage)


def test_the_oldest_message_is_received_first() -> None:
    """Messages are received in the order in which they became visible."""
    clock = VirtualClock()
    drive(taken_by_age(clock, MemoryQueue(clock)))


def test_a_message_wakes_whoever_waits() -> None:
    """A receive that waits returns as soon as a message is sent: no time passes."""
    clock = VirtualClock()
    drive(woken_at_once(clock, MemoryQueue(clock)))


def test_a_visibility_timeout_can_be_chosen() -> None:
    """The queue hides deliveries for as long as it was told to, and announces that."""
    clock = VirtualClock()

    async def work() -> None:
        queue = MemoryQueue(clock, visibility_seconds=5.0)
        assert queue.visibility_seconds == 5.0
        await queue.send([Outgoing("a")])
        await queue.receive(1, 0)
        clock.advance(5)
        assert len(await queue.receive(1, 0)) == 1

    drive(work())


def test_a_message_from_another_thread_wakes() -> None:
    """Loops in two threads that wait for each other's messages go on at once."""
    clock = SystemClock()
    there, back = MemoryQueue(clock), MemoryQueue(clock)

    async def answer() -> None:
        for _ in range(ROUNDS):
            await pass_on(there, back)

    async def ask() -> None:
        await there.send([Outgoing("ping")])
        for _ in range(ROUNDS - 1):
            await pass_on(back, there)
        assert [delivery.body for delivery in await back.receive(1, 10)] == ["ping"]

    with in_threads(answer):
        drive(ask())


def test_threads_that_write_at_the_same_time() -> None:
    """Facts that several threads write to one run are all there, numbered without gaps."""
    runs = MemoryRuns(SystemClock())

    async def work() -> None:
        await create(runs)
        await write_many(runs, "a")

    with in_threads(work, work, work):
        pass
    assert len(drive(log(runs))) == 1 + 3 * 20


async def pass_on(source: MemoryQueue, target: MemoryQueue) -> None:
    """Wait for a message and send it on."""
    (delivery,) = await source.receive(1, 10)
    await source.delete([delivery.handle])
    await target.send([Outgoing(delivery.body)])


@contextmanager
def in_threads(*works: Callable[[], Coroutine[Any, Any, None]]) -> Iterator[None]:
    """Do work in threads with event loops of their own, until all of it is done."""

    def perform(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run(work())

    with ThreadPoolExecutor(len(works)) as pool:
        futures = [pool.submit(perform, work) for work in works]
        yield
    for future in futures:
        future.result()
