"""A fleet on fakes whose workers, clients and reconcilers each have the policy of their role."""

from __future__ import annotations

import json
from typing import Any

from flowcraft import FlowRuntime
from flowcraft.adapters.aws.objects import S3Objects
from flowcraft.aws import DynamoDbContext, DynamoDbCoordinationStore, SqsAdapter
from flowcraft.engine.client import FlowClient
from flowcraft.engine.links import Links
from flowcraft.ports.clock import Clock
from flowcraft.provisioning.policies import ROLES, Resources, policy
from flowcraft.testing.aws.dynamodb import FakeDynamoDb
from flowcraft.testing.aws.s3 import FakeS3
from flowcraft.testing.aws.sqs import FakeSqs
from tests.unit.aws_tables import create_table, status_table
from tests.unit.guarded import Book, guarded
from tests.unit.iam import ACCOUNT, DEAD_LETTERS, REGION, Policy

QUEUE = "flowcraft-jobs"
LETTERS = DEAD_LETTERS
CONTEXTS = "flowcraft-contexts"
STATUSES = "flowcraft-statuses"
COORDINATION = "flowcraft-coordination"
BUCKET = "payloads"
PLACE = f"{BUCKET}/team/fleet"

LINKS = Links("https://flows.example.org", "a secret of more than 32 bytes, for tests")

RESOURCES = Resources.named(region=REGION, account=ACCOUNT, bucket=PLACE)


def books() -> dict[str, Book]:
    """A book for each role, with its policy."""
    return {role: Book(Policy(policy(role, RESOURCES))) for role in ROLES}


class RoleFleet:
    """Queues, tables and a bucket, and those who use them.

    Args:
        clock: The time of all of them.
        books: By role: what it may do, and has done.
        indexed: Whether the status table has its index.
    """

    def __init__(self, clock: Clock, books: dict[str, Book], *, indexed: bool = False) -> None:
        self.clock = clock
        self.books = books
        self._indexed = indexed
        self.sqs, self.dynamodb, self.s3 = FakeSqs(clock), FakeDynamoDb(clock), FakeS3(clock)
        self.letters_url = self.sqs.create(LETTERS)
        redrive = {"deadLetterTargetArn": self.sqs.arn(self.letters_url), "maxReceiveCount": 100}
        self.url = self.sqs.create(QUEUE, VisibilityTimeout=30, RedrivePolicy=json.dumps(redrive))
        self.s3.create(BUCKET)

    async def open(self) -> RoleFleet:
        """Create the tables."""
        await create_table(self.dynamodb, CONTEXTS, "runId")
        whole = {"ProjectionType": "ALL"}
        await status_table(self.dynamodb, STATUSES, whole if self._indexed else None)
        await create_table(self.dynamodb, COORDINATION, "coordinationKey")
        return self

    def transports(self, role: str) -> Any:
        """The services as a role has them."""
        return guarded(self.books[role], sqs=self.sqs, dynamodb=self.dynamodb, s3=self.s3)

    def resources(self, role: str) -> dict[str, Any]:
        """What adapters and clients are given."""
        aws = self.transports(role)
        return {
            "sqs_client": aws["sqs"],
            "dynamodb_client": aws["dynamodb"],
            "queue_url": self.url,
            "context_table_name": CONTEXTS,
            "status_table_name": STATUSES,
            "coordination_store": DynamoDbCoordinationStore(
                aws["dynamodb"], COORDINATION, self.clock
            ),
            "s3_client": aws["s3"],
            "payload_bucket": PLACE,
            "clock": self.clock,
        }

    def adapter(self, *flows: Any, role: str = "worker", limits: Any = None, **more: Any) -> Any:
        """An adapter that knows some flows: a worker's, or a reconciler's."""
        runtime = FlowRuntime(flows=flows, limits=limits)
        return SqsAdapter(runtime.options, **{**self.resources(role), **more})

    def client(self, role: str, *flows: Any, limits: Any = None, **more: Any) -> FlowClient:
        """A client; one that knows flows may start their runs."""
        runtime = FlowRuntime(flows=flows, limits=limits, links=LINKS)
        options = {"runtime_options": runtime.options, **self.resources(role), **more}
        return SqsAdapter.client_of(**options)

    def context(self, role: str, run_id: str) -> DynamoDbContext:
        """The context of a run."""
        aws = self.transports(role)
        return DynamoDbContext(
            run_id,
            client=aws["dynamodb"],
            table_name=CONTEXTS,
            s3_client=aws["s3"],
            payload_bucket=PLACE,
            clock=self.clock,
        )

    def objects(self, role: str) -> S3Objects:
        """The bucket."""
        return S3Objects(self.transports(role)["s3"], PLACE)

    async def work(self, adapter: Any) -> None:
        """Hand all messages that are there to a worker that does not poll."""
        request = {"QueueUrl": self.url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0}
        while found := (await self.sqs.call("ReceiveMessage", request)).get("Messages"):
            for each in found:
                assert await adapter.handle_job(each["Body"])
                handle = {"QueueUrl": self.url, "ReceiptHandle": each["ReceiptHandle"]}
                await self.sqs.call("DeleteMessage", handle)
