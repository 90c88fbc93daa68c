"""The adapters on AWS against emulators, through boto3: what the fakes promise holds there, too.

Emulators keep real time; what expires in the contract does so by the clock that the adapters are
given, which the cases move.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flowcraft.adapters.aws.blobs import CHUNK_BYTES, DynamoDbBlobs
from flowcraft.adapters.aws.client import BotoTransport
from flowcraft.adapters.aws.coordination import DynamoDbCoordinationStore
from flowcraft.adapters.aws.queue import SqsQueue
from flowcraft.adapters.aws.service_time import ServiceTime, Timed
from flowcraft.adapters.memory import MemoryQueue, MemoryRuns
from flowcraft.adapters.system import SystemClock
from flowcraft.errors import StorageUnavailable
from flowcraft.ports.queue import Delivery, Outgoing
from flowcraft.testing import VirtualClock
from flowcraft.testing.conformance import (
    BLOB_CASES,
    COORDINATION_CASES,
    Case,
    Connect,
    Ports,
    check,
)
from tests.emulators import aws
from tests.emulators.aws import AwsNames
from tests.unit.aws_tables import incompressible

EMPTY_TEXTS = {
    "what_was_never_set_is_none",
    "texts_are_kept_as_they_are",
    "a_text_is_read_back_as_it_was",
}
"""Cases with empty texts, which DynamoDB Local refuses: it is of 2020."""


@pytest.fixture
def sqs(ministack: str) -> Iterator[Any]:
    """A client of queues."""
    client = aws.client("sqs", ministack)
    yield client
    client.close()


@pytest.fixture
def dynamodb(dynamodb_endpoint: str) -> Iterator[Any]:
    """A client of tables, of each emulator in turn."""
    client = aws.client("dynamodb", dynamodb_endpoint)
    yield client
    client.close()


@pytest.mark.parametrize("case", [*COORDINATION_CASES, *BLOB_CASES], ids=lambda case: case.__name__)
def test_the_contract_is_kept(
    case: Case, dynamodb: Any, aws_names: AwsNames, request: pytest.FixtureRequest
) -> None:
    """Coordination and texts keep their contracts on either emulator."""
    parameters = request.node.callspec.params
    if parameters["dynamodb_endpoint"] == "dynamodb_local" and case.__name__ in EMPTY_TEXTS:
        pytest.skip("DynamoDB Local is too old for empty texts")
    aws.create_table(dynamodb, aws_names.contexts, "runId")
    aws.create_table(dynamodb, aws_names.coordination, "coordinationKey", expires=False)

    @asynccontextmanager
    async def open_storage(clock: VirtualClock) -> AsyncIterator[Connect]:
        transports: list[BotoTransport] = []

        async def connect() -> Ports:
            transport = BotoTransport(dynamodb)
            transports.append(transport)
            return Ports(
                MemoryQueue(clock),
                MemoryRuns(clock),
                DynamoDbBlobs(transport, aws_names.contexts),
                DynamoDbCoordinationStore(transport, aws_names.coordination, clock),
            )

        yield connect
        for transport in transports:
            assert await transport.aclose()

    check(case, open_storage)


def test_a_store_takes_the_users_client(dynamodb: Any, aws_names: AwsNames) -> None:
    """A boto3 client is all that a store needs, beside the name of its table."""
    aws.create_table(dynamodb, aws_names.coordination, "coordinationKey")
    store = DynamoDbCoordinationStore(client=dynamodb, table_name=aws_names.coordination)

    async def story() -> None:
        assert await store.set_if_not_exist("lock", "me", ttl_seconds=60)
        assert await store.increment("count", ttl_seconds=60) == 1
        assert await store.get("lock") == "me"

    asyncio.run(story())


def test_a_large_text_is_kept_in_chunks(dynamodb: Any, aws_names: AwsNames) -> None:
    """A text of several items is read back, replaced and deleted without a trace."""
    aws.create_table(dynamodb, aws_names.contexts, "runId")
    first, second = incompressible(3 * CHUNK_BYTES), incompressible(2 * CHUNK_BYTES, seed=2)

    async def story() -> None:
        transport = BotoTransport(dynamodb)
        blobs = DynamoDbBlobs(transport, aws_names.contexts)
        await blobs.put("key", first)
        await blobs.put("key", second)
        assert await blobs.get("key") == first
        await blobs.put("key", second, replace=True)
        assert await blobs.get("key") == second
        await blobs.delete("key")
        assert await blobs.get("key") is None
        await transport.aclose()

    asyncio.run(story())
    assert dynamodb.scan(TableName=aws_names.contexts)["Count"] == 0


@pytest.mark.parametrize("kind", ["missing", "keyed otherwise"])
def test_a_table_that_cannot_be_used_is_named(
    kind: str, dynamodb: Any, aws_names: AwsNames
) -> None:
    """A table that is not there, or has another key, is an error with its name and the cure."""
    if kind == "keyed otherwise":
        aws.create_table(dynamodb, aws_names.contexts, "id")

    async def story() -> None:
        transport = BotoTransport(dynamodb)
        blobs = DynamoDbBlobs(transport, aws_names.contexts)
        for work in (blobs.put("key", "text"), blobs.get("key"), blobs.delete("key")):
            with pytest.raises(StorageUnavailable, match="'runId'") as raised:
                await work
            assert aws_names.contexts in str(raised.value)
        await transport.aclose()

    asyncio.run(story())


def test_a_queue_in_real_time(sqs: Any, aws_names: AwsNames) -> None:
    """Messages are sent, awaited, hidden, received again and deleted, in few requests."""
    url = aws.create_queue(sqs, aws_names.queue, visibility_seconds=2)

    async def story() -> None:
        time = ServiceTime(SystemClock())
        transport = BotoTransport(sqs)
        queue = SqsQueue(Timed(transport, time), url, time)
        await queue.open()
        assert queue.visibility_seconds == 2.0
        assert time.offset_seconds == 0.0
        receiving = asyncio.create_task(queue.receive(1, 20))
        await queue.send([Outgoing("first")])
        (first,) = await receiving
        await queue.extend([first.handle])
        await queue.send([Outgoing(str(number), number / 100) for number in range(25)])
        seen: dict[str, Delivery] = {}
        while len(seen) < 25:
            seen |= {delivery.body: delivery for delivery in await queue.receive(10, 20)}
            seen.pop("first", None)
        handles = [delivery.handle for delivery in seen.values()]
        await asyncio.gather(*(queue.delete([handle]) for handle in handles))
        again = None
        while again is None:
            # Others may come again, too, where the machine is too busy to delete them in time.
            found = [d for d in await queue.receive(10, 20) if d.id == first.id]
            again = found[0] if found else None
        assert (again.body, again.receives > 1) == ("first", True)
        await queue.delete([again.handle])
        await queue.delete([again.handle, first.handle])
        await queue.close()
        await transport.aclose()

    asyncio.run(story())


def test_queues_that_cannot_be_used_are_named(sqs: Any, aws_names: AwsNames) -> None:
    """A queue that is not there and one of the wrong kind are errors with their names."""
    name = f"{aws_names.queue}.fifo"
    fifo = sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"})["QueueUrl"]

    async def story() -> None:
        transport = BotoTransport(sqs)
        for url, text in ((fifo, "FIFO queue"), (fifo[:-5], "There is no queue")):
            queue = SqsQueue(transport, url, SystemClock())
            with pytest.raises(StorageUnavailable, match=text) as raised:
                await queue.open()
            assert url in str(raised.value)
        await transport.aclose()

    asyncio.run(story())
