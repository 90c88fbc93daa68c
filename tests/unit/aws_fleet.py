"""A fleet on fakes: adapters and clients of one queue, three tables and a bucket."""

from __future__ import annotations

import asyncio
from typing import Any

from flowcraft import FlowRuntime
from flowcraft.adapters.aws.transport import Answer, Request
from flowcraft.adapters.system import SystemClock
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter
from flowcraft.client import FlowClient
from flowcraft.testing.aws.dynamodb import FakeDynamoDb
from flowcraft.testing.aws.s3 import FakeS3
from flowcraft.testing.aws.sqs import FakeSqs
from tests.unit.aws_tables import CONTEXTS, COORDINATION, STATUSES, create_table

BUCKET = "payloads"


class Sent:
    """A transport that keeps all that is sent through it, as text."""

    def __init__(self, transport: Any, sent: list[str]) -> None:
        self._transport = transport
        self._sent = sent

    async def call(self, operation: str, request: Request) -> Answer:
        self._sent.append(f"{operation} {request!r}")
        answer: Answer = await self._transport.call(operation, request)
        return answer


class FakeFleet:
    """The services, and what is needed to reach them.

    Attributes:
        sqs: The fake queues.
        dynamodb: The fake tables.
        s3: The fake buckets.
        sent: All requests, as text.
    """

    def __init__(self) -> None:
        clock = SystemClock()
        self.sqs, self.dynamodb, self.s3 = FakeSqs(clock), FakeDynamoDb(clock), FakeS3(clock)
        self.queue_url = self.sqs.create("jobs", VisibilityTimeout=30)
        self.s3.create(BUCKET)
        self.sent: list[str] = []

    @classmethod
    async def made(cls) -> FakeFleet:
        """A fleet with its tables."""
        fleet = cls()
        for name, key in (
            (CONTEXTS, "runId"),
            (STATUSES, "runId"),
            (COORDINATION, "coordinationKey"),
        ):
            await create_table(fleet.dynamodb, name, key)
        return fleet

    def common(self, bucket: str | None) -> dict[str, Any]:
        """What adapters and clients are given."""
        dynamodb = Sent(self.dynamodb, self.sent)
        return {
            "sqs_client": Sent(self.sqs, self.sent),
            "dynamodb_client": dynamodb,
            "queue_url": self.queue_url,
            "context_table_name": CONTEXTS,
            "status_table_name": STATUSES,
            "coordination_store": DynamoDbCoordinationStore(dynamodb, COORDINATION),
            "s3_client": None if bucket is None else Sent(self.s3, self.sent),
            "payload_bucket": bucket,
        }

    def adapter(self, *flows: Any, bucket: str | None = BUCKET, **options: Any) -> SqsAdapter:
        """A worker that knows some flows."""
        options = {"poll_seconds": 1.0, **options}
        return SqsAdapter(FlowRuntime(flows=flows).options, **self.common(bucket), **options)

    def client(self, *flows: Any, bucket: str | None = BUCKET, **options: Any) -> Any:
        """A client; one that knows flows may start their runs."""
        runtime_options = FlowRuntime(flows=flows).options
        return FlowClient.aws(runtime_options, **self.common(bucket), **options)

    def kinds(self) -> set[str]:
        """The kinds of objects of runs in the bucket: ``v``, ``m`` or ``f``."""
        return {key.split("/")[3] for key in self.s3.objects(BUCKET) if key.startswith("runs/")}

    def stored(self) -> str:
        """Everything that the services hold, as text."""
        tables = [repr(self.dynamodb.items(name)) for name in (CONTEXTS, STATUSES, COORDINATION)]
        messages = [repr(each) for each in self.sqs.messages(self.queue_url)]
        return "\n".join([*tables, *messages, repr(self.s3.objects(BUCKET))])


async def until(condition: Any, seconds: float = 90.0) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
