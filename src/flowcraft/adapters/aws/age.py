"""How old the oldest message of a queue is, which only CloudWatch knows.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Final

from flowcraft.adapters.aws.transport import Answer, AwsError, Request, Transport
from flowcraft.ports.clock import Clock

logger = logging.getLogger("flowcraft.aws")

OPERATION: Final = "GetMetricStatistics"
WINDOW: Final = timedelta(minutes=15)
"""Behind that it says nothing of how the queue is now: a queue that nobody uses has no values."""

KEPT_SECONDS: Final = 60.0
"""There is one value a minute, and a request is paid for."""

ANSWER_SECONDS: Final = 5.0
"""A private network may have no CloudWatch, and swallow what is sent there."""


def age_request(queue_url: str, now: float) -> Request:
    """What is asked of CloudWatch."""
    end = datetime.fromtimestamp(now, UTC)
    return {
        "Namespace": "AWS/SQS",
        "MetricName": "ApproximateAgeOfOldestMessage",
        "Dimensions": [{"Name": "QueueName", "Value": queue_url.rstrip("/").rpartition("/")[2]}],
        "StartTime": end - WINDOW,
        "EndTime": end,
        "Period": 60,
        "Statistics": ["Maximum"],
    }


def newest_age(answer: Answer) -> float | None:
    """The age in an answer, in seconds; ``None`` if there was no message, or nobody looked."""
    points = sorted(answer.get("Datapoints", ()), key=lambda point: point["Timestamp"])
    return float(points[-1]["Maximum"]) if points else None


class QueueAge:
    """Asks for the age of the oldest message of a queue, once a minute at most."""

    def __init__(self) -> None:
        self._found: tuple[float, float | None] | None = None

    async def seconds(self, cloudwatch: Transport, queue_url: str, clock: Clock) -> float | None:
        """How old it is, a minute or two late; ``None`` if nobody can tell, which is no error."""
        now = clock.now()
        if self._found is None or now >= self._found[0] + KEPT_SECONDS:
            self._found = (now, await _ask(cloudwatch, age_request(queue_url, now)))
        return self._found[1]


async def _ask(cloudwatch: Transport, request: Request) -> float | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return newest_age(await cloudwatch.call(OPERATION, request))
    except AwsError as error:
        why = str(error)
    except TimeoutError:
        why = f"no answer for {ANSWER_SECONDS:g} s"
    logger.info("CloudWatch does not tell how old the oldest message is: %s", why)
    return None
