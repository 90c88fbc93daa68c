"""The corpus on SQS and DynamoDB, as an emulator has them, with every message delivered twice."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import cache
from typing import Any

from flowcraft.adapters.aws.blobs import DynamoDbBlobs
from flowcraft.adapters.aws.client import BotoTransport
from flowcraft.adapters.aws.coordination import DynamoDbCoordinationStore
from flowcraft.adapters.aws.queue import SqsQueue
from flowcraft.adapters.aws.runs import DynamoDbRuns
from flowcraft.adapters.aws.transport import Transport
from flowcraft.adapters.system import SystemClock
from flowcraft.ports.queue import Delivery, Outgoing
from flowcraft.ports.together import OpenPorts, Ports
from tests.emulators import ministack
from tests.emulators.aws import AwsNames, client, create_queue, create_tables

ENDPOINT = "FLOWCRAFT_TEST_MINISTACK"
"""The environment variable with the endpoint of an emulator that runs already."""

PAUSE_SECONDS = 0.005
THREADS = 12


class TwiceQueue(SqsQueue):
    """A queue that delivers every message twice; it looks for messages again and again.

    Long polls would be left to run out at the end of each case, of which there are hundreds.
    """

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages, each of them two times."""
        await super().send([message for message in messages for _ in "12"])

    async def receive(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:
        """Receive messages, waiting by looking."""
        rounds = max(1, round(wait_seconds / PAUSE_SECONDS))
        for _ in range(rounds):
            if received := await super().receive(limit, 0):
                return received
            await asyncio.sleep(PAUSE_SECONDS)
        return ()


class _Emulator:
    """Clients of one emulator, and a number for each case."""

    def __init__(self, endpoint: str) -> None:
        self.sqs = client("sqs", endpoint)
        self.dynamodb = client("dynamodb", endpoint)
        self.calls: tuple[Transport, Transport] = (
            BotoTransport(self.sqs, THREADS),
            BotoTransport(self.dynamodb, THREADS),
        )
        self.numbers = itertools.count(os.getpid() * 10_000)


_stack = ExitStack()


@cache
def _emulator() -> _Emulator:
    endpoint = os.environ.get(ENDPOINT) or _stack.enter_context(ministack.running())
    return _Emulator(endpoint)


@contextmanager
def emulator_of(endpoint: str) -> Iterator[None]:
    """Have the cases use an emulator that runs already."""
    before = os.environ.get(ENDPOINT)
    os.environ[ENDPOINT] = endpoint
    _emulator.cache_clear()
    try:
        yield
    finally:
        os.environ.pop(ENDPOINT)
        if before is not None:
            os.environ[ENDPOINT] = before
        _emulator.cache_clear()


@asynccontextmanager
async def in_a_fleet() -> AsyncIterator[OpenPorts]:
    """A queue and tables of a case's own; workers share nothing else."""
    emulator = _emulator()
    names = AwsNames.numbered(next(emulator.numbers))
    create_tables(emulator.dynamodb, names)
    url = create_queue(emulator.sqs, names.queue)
    sqs, dynamodb = emulator.calls
    clock = SystemClock()

    @asynccontextmanager
    async def open_ports() -> AsyncIterator[Ports]:
        queue = TwiceQueue(sqs, url, clock, linger_seconds=0.0)
        await queue.open()
        yield Ports(
            queue,
            DynamoDbRuns(dynamodb, names.contexts, names.statuses, clock),
            DynamoDbBlobs(dynamodb, names.contexts),
            DynamoDbCoordinationStore(dynamodb, names.coordination, clock),
        )
        await queue.close()

    yield open_ports
    remove(emulator, names, url)


def remove(emulator: Any, names: AwsNames, url: str) -> None:
    """Take a case's queue and tables away: hundreds would slow the emulator down."""
    emulator.sqs.delete_queue(QueueUrl=url)
    for table in (names.contexts, names.statuses, names.coordination):
        emulator.dynamodb.delete_table(TableName=table)
