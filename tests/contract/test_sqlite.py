"""The SQLite adapters keep the contract of the ports, over connections of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from flowcraft.adapters.sqlite import (
    Database,
    SqliteBlobs,
    SqliteCoordination,
    SqliteQueue,
    SqliteRuns,
)
from flowcraft.errors import StorageError
from flowcraft.ports.queue import Outgoing
from flowcraft.testing import VirtualClock
from flowcraft.testing.conformance import CASES, Case, Connect, Ports, check
from tests.contract.queues import taken_by_age, woken_at_once
from tests.unit.runs import drive


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_contract_is_kept(case: Case, tmp_path: Path) -> None:
    """Every case of the contract passes; each client has a connection of its own."""

    @asynccontextmanager
    async def open_storage(clock: VirtualClock) -> AsyncIterator[Connect]:
        with ExitStack() as databases:

            async def connect() -> Ports:
                database = databases.enter_context(Database(tmp_path / "runs.db", clock))
                return Ports(
                    SqliteQueue(database),
                    SqliteRuns(database),
                    SqliteBlobs(database),
                    SqliteCoordination(database),
                )

            yield connect

    check(case, open_storage)


def test_the_oldest_message_is_received_first(tmp_path: Path) -> None:
    """Messages are received in the order in which they became visible."""
    clock = VirtualClock()
    with Database(tmp_path / "runs.db", clock) as database:
        drive(taken_by_age(clock, SqliteQueue(database)))


def test_a_message_wakes_whoever_waits(tmp_path: Path) -> None:
    """A receive that waits returns as soon as a message is sent here: no time passes."""
    clock = VirtualClock()
    with Database(tmp_path / "runs.db", clock) as database:
        drive(woken_at_once(clock, SqliteQueue(database)))


def test_the_queue_is_asked_less_and_less(tmp_path: Path) -> None:
    """A receive that waits looks for what others sent after 20 ms, and then every 200 ms."""
    clock = VirtualClock()

    async def work(queue: SqliteQueue) -> list[float]:
        begin = clock.now()
        task = asyncio.create_task(queue.receive(1, 2.0))
        looks: list[float] = []
        await clock.settle()
        while not task.done():
            assert clock.next_due is not None
            looks.append(clock.next_due - begin)
            clock.advance_to(clock.next_due)
            await clock.settle()
        assert list(task.result()) == []
        return looks

    with Database(tmp_path / "runs.db", clock) as database:
        looks = drive(work(SqliteQueue(database)))
    pauses = [after - before for before, after in zip([0.0, *looks], looks, strict=False)]
    assert pauses[0] == pytest.approx(0.02, abs=1e-3)
    assert max(pauses) == pytest.approx(0.2, abs=1e-3)
    assert looks[-1] == pytest.approx(2.0)
    assert pauses[:-1] == pytest.approx(sorted(pauses[:-1]), abs=1e-3)


def test_a_visibility_timeout_can_be_chosen(tmp_path: Path) -> None:
    """The queue hides deliveries for as long as it was told to, and announces that."""
    clock = VirtualClock()

    async def work(queue: SqliteQueue) -> None:
        assert queue.visibility_seconds == 5.0
        await queue.send([Outgoing("a")])
        await queue.receive(1, 0)
        clock.advance(5)
        assert len(await queue.receive(1, 0)) == 1

    with Database(tmp_path / "runs.db", clock) as database:
        drive(work(SqliteQueue(database, visibility_seconds=5.0)))


def test_whoever_puts_a_message_back_lets_others_go_first(tmp_path: Path) -> None:
    """A delayed message goes to a receiver that was not served last, whoever waited first."""
    clock = VirtualClock()

    async def work(fickle: SqliteQueue, other: SqliteQueue) -> None:
        await fickle.send([Outgoing("a")])
        [delivery] = await fickle.receive(1, 0)
        await fickle.send([Outgoing("a", delay_seconds=1.0)])
        await fickle.delete([delivery.handle])
        again = asyncio.create_task(fickle.receive(1, 2))
        await clock.settle()
        patient = asyncio.create_task(other.receive(1, 2))
        await clock.settle()
        while not (patient.done() and again.done()):
            assert clock.next_due is not None
            clock.advance_to(clock.next_due)
            await clock.settle()
        assert [message.body for message in patient.result()] == ["a"]
        assert list(again.result()) == []

    path = tmp_path / "runs.db"
    with Database(path, clock) as one, Database(path, clock) as two:
        drive(work(SqliteQueue(one), SqliteQueue(two)))


def test_closing_ends_the_waiting(tmp_path: Path) -> None:
    """Who waits for a message when the database is closed is told so."""
    clock = VirtualClock()

    async def work() -> None:
        database = Database(tmp_path / "runs.db", clock)
        task = asyncio.create_task(SqliteQueue(database).receive(1, 20))
        await clock.settle()
        database.close()
        with pytest.raises(StorageError, match="closed database"):
            await task

    drive(work())
