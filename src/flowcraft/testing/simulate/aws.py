"""Simulated processes on SQS and DynamoDB: the real adapters, on fakes of the services.

Faults happen to requests, below the adapters: whatever an adapter does about an answer that was
lost, or a batch of which a part failed, is part of what is simulated.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from flowcraft.adapters.aws.blobs import DynamoDbBlobs
from flowcraft.adapters.aws.coordination import DynamoDbCoordinationStore
from flowcraft.adapters.aws.item import is_ours
from flowcraft.adapters.aws.large_messages import BODY_SECONDS, LargeMessages
from flowcraft.adapters.aws.limits import read_room
from flowcraft.adapters.aws.metering import Meter, MeteredQueue, MeteredTables
from flowcraft.adapters.aws.objects import S3Objects
from flowcraft.adapters.aws.prices import PRICES
from flowcraft.adapters.aws.queue import MAX_RECEIVES, SqsQueue
from flowcraft.adapters.aws.runs import DynamoDbRuns
from flowcraft.adapters.aws.service_time import ServiceTime, Timed
from flowcraft.adapters.aws.transport import (
    CONNECTION_FAILED,
    Answer,
    AwsError,
    Request,
    Transport,
)
from flowcraft.core.limits import Room
from flowcraft.ports.clock import Clock
from flowcraft.ports.together import Ports
from flowcraft.testing.aws.dynamodb import FakeDynamoDb
from flowcraft.testing.aws.s3 import FakeS3
from flowcraft.testing.aws.sqs import FakeSqs, Unkindness
from flowcraft.testing.simulate.backends import Connection, Watch, WatchedQueue, at_once
from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.clock import CountedIdentifiers, SimulationClock
from flowcraft.testing.simulate.faults import Life
from flowcraft.testing.simulate.loop import SimulationLoop

CONTEXTS: Final = "contexts"
STATUSES: Final = "statuses"
COORDINATION: Final = "coordination"
PAYLOADS: Final = "payloads"
OBJECT_BYTES: Final = 1024
LARGE_BYTES: Final = 2048
"""What is larger than these, a value compressed and a message as it is, lies in the bucket: much
less than outside, so that it takes no large values to see what comes of it."""

DOUBLED: Final = Unkindness(delivers_twice=0.5)
USUAL: Final = Unkindness()


S3_OPERATIONS: Final = frozenset(
    {
        "PutObject",
        "GetObject",
        "HeadObject",
        "ListObjectsV2",
        "DeleteObjects",
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
        "AbortMultipartUpload",
    }
)


class AwsTrouble:
    """The errors of AWS."""

    def unanswered(self, name: str) -> Exception:
        """Nobody knows whether it was carried out."""
        return AwsError(CONNECTION_FAILED, "simulated", operation=name, status=0)

    def failed(self, name: str) -> Exception:
        """It was not carried out."""
        return AwsError("InternalServerError", "simulated", operation=name, status=500)

    def throttled(self, name: str) -> Exception:
        """It was not carried out, because there were too many."""
        code = "SlowDown" if name in S3_OPERATIONS else "ThrottlingException"
        return AwsError(code, "simulated", operation=name, status=503)

    def broken(self, name: str) -> Exception:
        """It is not allowed."""
        return AwsError("AccessDeniedException", "simulated", operation=name)


STATUS_INDEX: Final[Request] = {
    "IndexName": "by-status",
    "KeySchema": [
        {"AttributeName": "status", "KeyType": "HASH"},
        {"AttributeName": "lastUpdated", "KeyType": "RANGE"},
    ],
    "Projection": {"ProjectionType": "ALL"},
}
"""The index that the status table of every other simulated fleet has."""

TROUBLE: Final = AwsTrouble()


class FaultyTransport:
    """A transport of a process whose requests fail, and that may die of any of them.

    Args:
        transport: Carries the requests out.
        life: The process.
    """

    def __init__(self, transport: Transport, life: Life) -> None:
        self._transport = transport
        self._life = life

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request; see ``Transport.call``."""

        def effect() -> Awaitable[Answer]:
            return self._transport.call(operation, request)

        answer: Answer = await self._life.request(
            operation,
            effect,
            TROUBLE,
            part=self._part(operation, request),
            found=_has_messages if operation == "ReceiveMessage" else None,
        )
        return answer

    def _part(self, operation: str, request: Request) -> Callable[[], Awaitable[Answer]] | None:
        split = _SPLITS.get(operation)
        if split is None:
            return None

        async def carry_out() -> Answer:
            some, rest = split(request)
            answer: Answer = await self._transport.call(operation, some) if some else {}
            return {**answer, **_merged(answer, rest)}

        return carry_out


def _has_messages(answer: Answer) -> bool:
    return bool(answer.get("Messages"))


Split = Callable[[Request], tuple[Request | None, dict[str, Any]]]


def _split_entries(request: Request) -> tuple[Request | None, dict[str, Any]]:
    """The first half of the entries of a batch, and the others as those that have failed."""
    entries = request["Entries"]
    some, others = entries[: len(entries) // 2], entries[len(entries) // 2 :]
    failed = [
        {"Id": each["Id"], "SenderFault": False, "Code": "InternalError", "Message": "simulated"}
        for each in others
    ]
    return ({**request, "Entries": some} if some else None), {"Successful": [], "Failed": failed}


def _split_items(name: str) -> Split:
    def split(request: Request) -> tuple[Request | None, dict[str, Any]]:
        """Half of what is asked for of each table, and the others as not processed."""
        some: dict[str, Any] = {}
        others: dict[str, Any] = {}
        for table, wanted in request["RequestItems"].items():
            for part, half in ((some, slice(None, None, 2)), (others, slice(1, None, 2))):
                chosen = _sliced(wanted, half)
                if chosen:
                    part[table] = chosen
        if not others:  # it was only one: then that one
            some, others = {}, some
        rest: dict[str, Any] = {name: others}
        if name == "UnprocessedKeys":
            rest["Responses"] = {}
        return ({**request, "RequestItems": some} if some else None), rest

    return split


def _sliced(wanted: Any, half: slice) -> Any:
    if isinstance(wanted, Mapping):
        keys = wanted["Keys"][half]
        return {**wanted, "Keys": keys} if keys else None
    return wanted[half]


def _merged(answer: Answer, rest: Mapping[str, Any]) -> dict[str, Any]:
    """What of an answer is added to, by what was not carried out."""
    merged: dict[str, Any] = {}
    for name, more in rest.items():
        there = answer.get(name)
        if isinstance(more, list):
            merged[name] = [*(there or []), *more]
        else:
            merged[name] = {**(there or {}), **more}
    return merged


_SPLITS: Final[Mapping[str, Split]] = {
    "SendMessageBatch": _split_entries,
    "DeleteMessageBatch": _split_entries,
    "ChangeMessageVisibilityBatch": _split_entries,
    "BatchGetItem": _split_items("UnprocessedKeys"),
    "BatchWriteItem": _split_items("UnprocessedItems"),
}


class _WatchedTable:
    """DynamoDB, with a look at each row in the order in which the table has them."""

    def __init__(self, dynamodb: FakeDynamoDb, watch: Watch) -> None:
        self._dynamodb = dynamodb
        self._watch = watch

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request; see ``Transport.call``."""
        answer = await self._dynamodb.call(operation, request)
        for put in _puts(operation, request):
            if put["TableName"] == CONTEXTS and is_ours(put["Item"]):
                self._watch.see_begun(put["Item"]["runId"]["S"])
        if operation == "PutItem" and request["TableName"] == STATUSES:
            item = request["Item"]
            self._watch.see_status(item["runId"]["S"], str(item["e"]), item["status"]["S"])
        if operation == "DeleteItem" and request["TableName"] == STATUSES:
            epoch = str(request["ExpressionAttributeValues"][":e"])
            self._watch.see_removed(request["Key"]["runId"]["S"], epoch)
        return answer


def _puts(operation: str, request: Request) -> Iterator[Mapping[str, Any]]:
    """The items that a request puts, each with its table: what begins a run is one of them."""
    if operation == "PutItem":
        yield request
    if operation == "TransactWriteItems":
        yield from (each["Put"] for each in request["TransactItems"] if "Put" in each)


class AwsBackend:
    """Queue and tables of fakes, with faults at their requests.

    Args:
        loop: The event loop.
        chance: Decides what the services do of what they may.
        visibility_seconds: How long a message that is being worked on is hidden from others.
        doubles: Whether every other message is delivered twice, and not just a few.
        retention_seconds: How long runs are kept after their end; for ever by default.
    """

    delivers_once = False

    def __init__(
        self,
        loop: SimulationLoop,
        chance: Chance,
        *,
        visibility_seconds: float,
        doubles: bool = False,
        retention_seconds: float | None = None,
    ) -> None:
        self._retention_seconds = retention_seconds
        clock = SimulationClock(loop)
        self.sqs = FakeSqs(clock, chance.fork("sqs"), DOUBLED if doubles else USUAL)
        self.dynamodb = FakeDynamoDb(clock, choose=chance.fork("dynamodb").below)
        self.s3 = FakeS3(clock, chance.fork("s3").below)
        self.s3.create(PAYLOADS)
        dead = self.sqs.create("dead")
        policy = {
            "deadLetterTargetArn": self.sqs.arn(dead),
            "maxReceiveCount": MAX_RECEIVES,
        }
        self.dead_url = dead
        self.queue_url = self.sqs.create(
            "jobs",
            VisibilityTimeout=int(visibility_seconds),
            RedrivePolicy=json.dumps(policy),
        )
        for name, key in ((CONTEXTS, "runId"), (COORDINATION, KEY)):
            self._create_table(name, key)
        self._create_table(STATUSES, "runId", has_index=chance.fork("index").happens(0.5))
        self.watch = Watch(self.waiting)

    def _create_table(self, name: str, key: str, *, has_index: bool = False) -> None:
        types = {key: "S"} | ({"status": "S", "lastUpdated": "N"} if has_index else {})
        request: dict[str, Any] = {
            "TableName": name,
            "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
            "AttributeDefinitions": [
                {"AttributeName": each, "AttributeType": kind} for each, kind in types.items()
            ],
            "BillingMode": "PAY_PER_REQUEST",
        }
        if has_index:
            request["GlobalSecondaryIndexes"] = [STATUS_INDEX]
        at_once(self.dynamodb.call("CreateTable", request))
        lives = {"Enabled": True, "AttributeName": "ttl"}
        request = {"TableName": name, "TimeToLiveSpecification": lives}
        at_once(self.dynamodb.call("UpdateTimeToLive", request))

    def connect(self, clock: Clock, life: Life | None = None) -> Connection:
        """Ports for a process, or for the world around."""
        time = ServiceTime(clock)
        name = "world" if life is None else life.name
        meter = Meter()

        def reach(service: Transport) -> Transport:
            return Timed(service if life is None else FaultyTransport(service, life), time)

        @asynccontextmanager
        async def open_ports() -> AsyncIterator[Ports]:
            tables = reach(_WatchedTable(self.dynamodb, self.watch))
            dynamodb = MeteredTables(tables, CONTEXTS, meter)
            queue = SqsQueue(MeteredQueue(reach(self.sqs), meter), self.queue_url, time)
            await queue.open()
            objects = S3Objects(reach(self.s3), PAYLOADS)
            blobs = DynamoDbBlobs(
                dynamodb,
                CONTEXTS,
                identifiers=CountedIdentifiers(f"{name}-blobs"),
                objects=objects,
                object_bytes=OBJECT_BYTES,
            )
            runs = DynamoDbRuns(
                dynamodb,
                CONTEXTS,
                STATUSES,
                time,
                retention_seconds=self._retention_seconds,
                objects=objects,
                object_bytes=OBJECT_BYTES,
                prices=PRICES["us-east-1"],
            )
            bodies = DynamoDbBlobs(
                dynamodb,
                CONTEXTS,
                identifiers=CountedIdentifiers(f"{name}-bodies"),
                clock=time,
                ttl_seconds=BODY_SECONDS,
            )
            messages = LargeMessages(queue, bodies, objects, runs, large_bytes=LARGE_BYTES)
            locks = CountedIdentifiers(f"{name}-locks")
            try:
                yield Ports(
                    WatchedQueue(messages, self.watch),
                    runs,
                    blobs,
                    DynamoDbCoordinationStore(dynamodb, COORDINATION, time, identifiers=locks),
                    objects,
                )
            finally:
                await queue.close()

        return Connection(open_ports, time)

    def waiting(self) -> int:
        """How many messages there are, in hand or not."""
        return len(self.sqs.messages(self.queue_url))

    def room(self, key: str) -> Room:
        """What is stored of a limit."""
        request = {"TableName": COORDINATION, "Key": {KEY: {"S": f"limit/{key}"}}}
        answer = at_once(self.dynamodb.call("GetItem", {**request, "ConsistentRead": True}))
        return read_room(answer.get("Item"))

    def buried(self) -> int:
        """How many messages have come to the dead-letter queue."""
        return len(self.sqs.messages(self.dead_url))

    def stored(self) -> dict[str, int]:
        """How many items there are, by table."""
        return {name: len(self.dynamodb.items(name)) for name in (CONTEXTS, STATUSES, COORDINATION)}

    def agreed(self) -> Mapping[str, str]:
        """The texts in the coordination table, by their keys."""
        items = self.dynamodb.items(COORDINATION)
        # Items of limits have no text.
        return {
            item[KEY]["S"]: item["value"]["S"] for item in items if "S" in item.get("value", {})
        }

    def lapse(self) -> None:
        """Remove what has expired, as DynamoDB does within days."""
        self.dynamodb.expire()


KEY: Final = "coordinationKey"
