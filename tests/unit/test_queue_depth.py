"""How much there is on a queue, as the health of a fleet tells it."""

from __future__ import annotations

from pathlib import Path

from flowcraft.adapters.aws.queue import SqsQueue
from flowcraft.adapters.sqlite import Database, SqliteQueue
from flowcraft.ports.queue import Outgoing, QueueDepth
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws.sqs import FakeSqs
from tests.unit.runs import drive


def test_messages_in_a_file_are_counted_by_what_becomes_of_them(tmp_path: Path) -> None:
    """Those that can be received, those in hand, those that are due later, and the oldest's age."""

    async def work() -> None:
        clock = VirtualClock()
        with Database(tmp_path / "runs.db", clock) as database:
            queue = SqliteQueue(database)
            assert await queue.depth() == QueueDepth(0, 0, 0, None)
            await queue.send([Outgoing(f"m{number}") for number in range(3)])
            await queue.send([Outgoing("later", 100.0)])
            assert len(await queue.receive(1, 0.0)) == 1
            clock.advance(7)
            assert await queue.depth() == QueueDepth(2, 1, 1, 7.0)

    drive(work())


def test_messages_on_sqs_are_counted_as_it_was_when_it_was_opened() -> None:
    """SQS tells the same numbers, and of no message how old it is."""

    async def work() -> None:
        clock = VirtualClock()
        sqs = FakeSqs(clock)
        url = sqs.create("jobs", VisibilityTimeout=30)
        first = SqsQueue(sqs, url, clock)
        await first.open()
        await first.send([Outgoing("now"), Outgoing("too"), Outgoing("later", 100.0)])
        assert len(await first.receive(1, 0.0)) == 1
        queue = SqsQueue(sqs, url, clock)
        await queue.open()
        assert await queue.depth() == QueueDepth(1, 1, 1, None)
        await first.close()

    drive(work())
