"""A fleet on fakes in virtual time, whose messages end in a dead-letter queue."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from flowcraft import FlowRuntime, create_flow
from flowcraft.adapters.aws.transport import Answer, AwsError, Request
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter
from flowcraft.dead_letters import DeadLetters, open_dead_letters
from flowcraft.engine.client import FlowClient
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws.dynamodb import FakeDynamoDb
from flowcraft.testing.aws.sqs import FakeSqs
from tests.unit.aws_sqs import Watched
from tests.unit.aws_tables import CONTEXTS, COORDINATION, STATUSES, fake_tables
from tests.unit.runs import drive

T = TypeVar("T")

NOT_THERE = ("StartMessageMoveTask", "ListDeadLetterSourceQueues")
"""What emulators lack."""


async def one(ctx: Any) -> int:
    return 1


flow = create_flow("f").node("a", one).node("b", one).edge("a", "b")
asks = create_flow("asks").wait("w")


class Post:
    """A queue whose messages go to a dead-letter queue after one receive.

    Attributes:
        clock: The time.
        sqs: The service.
        aws: The same, as it is reached: with a look at the requests, and requests that fail.
        url: The queue.
        dead_url: Its dead-letter queue.
        client: Starts runs.
    """

    def __init__(self, clock: VirtualClock, tables: FakeDynamoDb, **fake: Any) -> None:
        self.clock = clock
        self.tables = tables
        self.sqs = FakeSqs(clock, **fake)
        self.aws = Watched(self.sqs)
        self.dead_url = self.sqs.create("dead", MessageRetentionPeriod=1_209_600)
        self.url = self.create("jobs")
        self.client = self.new_client()

    def create(self, name: str) -> str:
        """A queue that shares the dead-letter queue."""
        policy = {"deadLetterTargetArn": self.sqs.arn(self.dead_url), "maxReceiveCount": 1}
        return self.sqs.create(name, RedrivePolicy=json.dumps(policy))

    def new_client(self, **options: Any) -> FlowClient:
        """A client of the runs."""
        return SqsAdapter.client_of(
            runtime_options=FlowRuntime(flows=[flow, asks]).options,
            **self.common(),
            clock=self.clock,
            **options,
        )

    def common(self) -> dict[str, Any]:
        """What clients and adapters are given."""
        return {
            "sqs_client": self.aws,
            "dynamodb_client": self.tables,
            "queue_url": self.url,
            "context_table_name": CONTEXTS,
            "status_table_name": STATUSES,
            "coordination_store": DynamoDbCoordinationStore(self.tables, COORDINATION),
        }

    async def send(self, body: str, url: str | None = None, **more: Any) -> None:
        """Send a message, to the queue unless told otherwise."""
        request = {"QueueUrl": url or self.url, "MessageBody": body, **more}
        await self.sqs.call("SendMessage", request)

    async def bury(self, url: str | None = None) -> None:
        """Receive what is on a queue until all of it is a dead letter."""
        request = {"QueueUrl": url or self.url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0}
        while await self.found(request):
            pass

    async def found(self, request: Request) -> list[Any]:
        """What a receive brings."""
        messages: list[Any] = (await self.sqs.call("ReceiveMessage", request)).get("Messages", [])
        return messages

    async def dead_run(self, name: Any = flow, **options: Any) -> str:
        """A run whose first message is a dead letter."""
        run_id = str(await self.client.start_run(name, {}, **options))
        await self.bury()
        return run_id

    async def work(self, url: str | None = None) -> None:
        """Have a worker take what is on the queue, until it is empty."""
        adapter = SqsAdapter(
            FlowRuntime(flows=[flow, asks]).options,
            **{**self.common(), "sqs_client": self.sqs, "queue_url": url or self.url},
            clock=self.clock,
            poll_seconds=1.0,
            heartbeat=False,
            reconcile_every_seconds=None,
            schedules_every_seconds=None,
        )
        for body in self.bodies(url or self.url):
            await adapter.handle_job(body)
        await adapter.stop()

    def bodies(self, url: str) -> list[str]:
        """What is on a queue, whoever may have it."""
        return sorted(message.body for message in self.sqs.messages(url))

    @property
    def dead(self) -> list[str]:
        """What is on the dead-letter queue."""
        return self.bodies(self.dead_url)

    @property
    def alive(self) -> list[str]:
        """What is on the queue."""
        return self.bodies(self.url)

    @property
    def states(self) -> set[str]:
        """How the messages of the dead-letter queue are: visible, or in flight."""
        return {message.state for message in self.sqs.messages(self.dead_url)}

    @asynccontextmanager
    async def letters(self, client: FlowClient | None = None) -> AsyncIterator[DeadLetters]:
        """The dead letters."""
        async with open_dead_letters(client or self.client) as letters:
            yield letters

    def refuse(self, *operations: str, code: str = "InvalidAction", status: int = 400) -> None:
        """Refuse some operations from now on, as a service that lacks them."""

        def meddle(operation: str, _: Request) -> Answer | AwsError | None:
            if operation in operations:
                return AwsError(code, "not here", operation=operation, status=status)
            return None

        self.aws.meddle = meddle


def play(story: Callable[[Post], Coroutine[Any, Any, T]], **fake: Any) -> T:
    """Let a story take place, with time that passes whenever everybody waits for it."""

    async def work() -> T:
        clock = VirtualClock()
        post = Post(clock, await fake_tables(clock), **fake)
        try:
            return await passing(clock, story(post))
        finally:
            await passing(clock, post.client.aclose())

    return drive(work())


async def passing(clock: VirtualClock, work: Awaitable[T]) -> T:
    """Wait for something, and let time pass meanwhile."""
    task = asyncio.ensure_future(work)
    turns = 0
    await clock.settle()
    while not task.done():
        due, turns = clock.next_due, turns + 1
        assert turns < 10_000, "everybody waits, and for nothing"
        if due is not None:
            clock.advance_to(max(due, clock.now()))
        await clock.settle()
    return task.result()
