"""Worker processes on the fakes of SQS and DynamoDB, in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from flowcraft.adapters.aws.blobs import DynamoDbBlobs
from flowcraft.adapters.aws.coordination import DynamoDbCoordinationStore
from flowcraft.adapters.aws.large_messages import LargeMessages
from flowcraft.adapters.aws.queue import SqsQueue
from flowcraft.adapters.aws.runs import DynamoDbRuns
from flowcraft.adapters.aws.service_time import ServiceTime, Timed
from flowcraft.adapters.aws.transport import Answer, Request, Transport
from flowcraft.adapters.system import SystemIdentifiers
from flowcraft.engine.client import FlowClient
from flowcraft.ports.together import Ports
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws.dynamodb import FakeDynamoDb
from flowcraft.testing.aws.sqs import FakeSqs
from tests.unit.aws_tables import CONTEXTS, COORDINATION, STATUSES, fake_tables
from tests.unit.durable import Died, World, at_once

DAY_SECONDS: Final = 86_400.0
PATIENCE_SECONDS: Final = 30.0

Meddle = Callable[[str, Request], Request]
"""Changes a request on its way, or raises instead."""


class Services:
    """SQS and DynamoDB: three tables, a queue, and one for dead letters.

    Args:
        clock: The time.
        visibility_seconds: How long a message that is being worked on is hidden from others.
        max_receives: After so many receives a message goes to the dead-letter queue.

    Attributes:
        entries: How many messages were sent, by the node they are for ("" for none).
        meddle: What happens to requests on their way.
    """

    def __init__(self, clock: VirtualClock, visibility_seconds: float, max_receives: int) -> None:
        self.sqs = FakeSqs(clock)
        self.dynamodb: FakeDynamoDb = at_once(fake_tables(clock))
        self.dead_url = self.sqs.create("dead")
        policy = {
            "deadLetterTargetArn": self.sqs.arn(self.dead_url),
            "maxReceiveCount": max_receives,
        }
        self.url = self.sqs.create(
            "jobs",
            VisibilityTimeout=int(visibility_seconds),
            RedrivePolicy=json.dumps(policy),
        )
        self.entries: Counter[str] = Counter()
        self.meddle: Meddle | None = None
        self.calls = 0
        self.clock = clock
        self._ports = self.connect()

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request; see ``Transport.call``."""
        self.calls += 1
        if self.meddle is not None:
            request = self.meddle(operation, request)
        if operation == "SendMessageBatch":
            for entry in request["Entries"]:
                self._count(entry["MessageBody"])
        service = self.sqs if "QueueUrl" in request else self.dynamodb
        return await service.call(operation, request)

    def _count(self, body: str) -> None:
        try:
            data = json.loads(body)
        except ValueError:
            data = None
        self.entries[data.get("nodeId", "") if isinstance(data, dict) else ""] += 1

    def connect(self, transport: Transport | None = None) -> Ports:
        """Ports of a process."""
        clock = ServiceTime(self.clock)
        timed = Timed(transport or self, clock)
        queue = SqsQueue(timed, self.url, clock)
        at_once(queue.open())
        blobs = DynamoDbBlobs(timed, CONTEXTS)
        return Ports(
            LargeMessages(queue, blobs),
            DynamoDbRuns(timed, CONTEXTS, STATUSES, clock),
            blobs,
            DynamoDbCoordinationStore(timed, COORDINATION, clock),
        )

    @asynccontextmanager
    async def open_ports(self) -> AsyncIterator[Ports]:
        """The ports of those who do not die."""
        yield self._ports


class Dying:
    """A transport of a process that dies at one of its requests, or outlives them all.

    Args:
        transport: Carries the requests out.
        last: The number of the request, from 1, that is the last one.
    """

    def __init__(self, transport: Transport, last: int) -> None:
        self._transport = transport
        self._left = last

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request; see ``Transport.call``."""
        if self._left <= 0:
            raise Died
        self._left -= 1
        answer = await self._transport.call(operation, request)
        if self._left <= 0:
            raise Died
        return answer


class AwsWorld(World):
    """A world whose storage is SQS and DynamoDB.

    Args:
        max_receives: After so many receives a message goes to the dead-letter queue.
        options: Of :class:`World`.
    """

    def __init__(self, *, max_receives: int = 100, **options: Any) -> None:
        self._max_receives = max_receives
        super().__init__(**options)

    def _new_storage(self, visibility_seconds: float) -> Any:
        return Services(self.clock, visibility_seconds, self._max_receives)

    @property
    def aws(self) -> Services:
        """The services."""
        services: Services = self.storage
        return services

    # What settles counts requests, too.
    @property
    def moves(self) -> int:
        """How much has happened."""
        return self.aws.calls

    @moves.setter
    def moves(self, moves: int) -> None:
        """It is counted elsewhere."""

    def connect(self) -> Ports:
        """Ports for another process."""
        return self.aws.connect()

    def mortal_client(self, last: int) -> FlowClient:
        """A client that dies at one of its requests: not of a look at the queue when it opens."""
        ports = self.aws.connect(Dying(self.aws, last + 1))

        @asynccontextmanager
        async def open_ports() -> AsyncIterator[Ports]:
            yield ports

        return FlowClient(
            open_ports,
            self.runtime.options,
            clock=self.clock,
            identifiers=SystemIdentifiers(),
            shard_items=self.shard_items,
        )

    def bodies_of_messages(self) -> list[str]:
        """The texts of all messages on the queue, in hand or not."""
        return [message.body for message in self.aws.sqs.messages(self.aws.url)]

    def dead_letters(self) -> list[str]:
        """The texts of all messages on the dead-letter queue."""
        return [message.body for message in self.aws.sqs.messages(self.aws.dead_url)]

    async def until(self, is_so: Callable[[], bool], what: str = "it") -> None:
        """Let time pass until something is so, a day at most: polls move the clock for ever."""
        horizon = self.clock.now() + DAY_SECONDS
        await self.settle()
        while not is_so():
            await self.jump(horizon, what)

    async def end(self) -> None:
        """End what is still there, and the polls that were left to run out."""
        await super().end()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        polls = [task for task in left if "_ask" in repr(task.get_coro())]
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)


def play(work: Callable[[AwsWorld], Coroutine[Any, Any, Any]], **options: Any) -> AwsWorld:
    """Let something happen in a world, and see that no task is left."""

    async def checked() -> AwsWorld:
        world = AwsWorld(**options)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await work(world)
        finally:
            await world.end()
            await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks are left behind: {left}"
        return world

    return asyncio.run(checked())
