"""How much there is on a queue, as the health of a fleet tells it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flowcraft.adapters.aws.age import KEPT_SECONDS, QueueAge
from flowcraft.adapters.aws.queue import SqsQueue
from flowcraft.adapters.aws.transport import AwsError
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


URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs"


class CloudWatch:
    """Answers with a value a minute."""

    def __init__(self, *seconds: float, error: Exception | None = None) -> None:
        self.seconds = seconds
        self.error = error
        self.asked: list[Any] = []

    async def call(self, operation: str, request: Any) -> dict[str, Any]:
        self.asked.append((operation, request))
        if self.error is not None:
            raise self.error
        first = request["StartTime"]
        points = [
            {"Timestamp": first + timedelta(minutes=minute), "Maximum": each}
            for minute, each in enumerate(self.seconds)
        ]
        return {"Datapoints": points[::-1]}


def test_the_age_on_sqs_is_the_newest_that_cloudwatch_has() -> None:
    """It is asked for this queue and the last quarter of an hour, once a minute at most."""

    async def work() -> None:
        clock = VirtualClock()
        sqs = FakeSqs(clock)
        cloudwatch, age = CloudWatch(100.0, 7.5), QueueAge()
        seconds = partial(age.seconds, cloudwatch, URL, clock)
        queue = SqsQueue(sqs, sqs.create("jobs"), clock, age=seconds)
        await queue.open()
        assert await queue.depth() == QueueDepth(0, 0, 0, 7.5)
        clock.advance(KEPT_SECONDS - 1)
        await queue.depth()
        ((operation, request),) = cloudwatch.asked
        assert operation == "GetMetricStatistics"
        assert request["MetricName"] == "ApproximateAgeOfOldestMessage"
        assert request["Dimensions"] == [{"Name": "QueueName", "Value": "jobs"}]
        assert request["EndTime"] - request["StartTime"] == timedelta(minutes=15)
        clock.advance(1)
        await queue.depth()
        assert cloudwatch.asked[1][1]["EndTime"] == datetime.fromtimestamp(clock.now(), UTC)
        await queue.close()

    drive(work())


@pytest.mark.parametrize(
    "cloudwatch",
    [
        CloudWatch(),
        CloudWatch(error=AwsError("AccessDenied", "not authorized", status=403)),
        CloudWatch(error=TimeoutError()),
    ],
    ids=["no value", "denied", "no answer"],
)
def test_an_age_that_nobody_tells_is_none(cloudwatch: CloudWatch) -> None:
    """Whatever keeps CloudWatch from telling it: the depth is told without."""

    async def work() -> None:
        clock = VirtualClock()
        age = QueueAge()
        for _ in range(2):
            assert await age.seconds(cloudwatch, URL, clock) is None
        assert len(cloudwatch.asked) == 1

    asyncio.run(work())
