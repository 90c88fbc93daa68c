"""The fake DynamoDB with the tables of the adapters, and requests that are looked at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from flowcraft.adapters.aws.transport import Answer, Request, Transport
from flowcraft.provisioning.model import Fleet, Table
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws.dynamodb import FakeDynamoDb

CONTEXTS = "contexts"
STATUSES = "statuses"
COORDINATION = "coordination"
Meddle = Callable[[str, Request], Awaitable[None]]


async def fake_tables(clock: VirtualClock) -> FakeDynamoDb:
    """A fake with the three tables."""
    fake = FakeDynamoDb(clock)
    keys = {CONTEXTS: "runId", STATUSES: "runId", COORDINATION: "coordinationKey"}
    for name, key in keys.items():
        await create_table(fake, name, key)
    return fake


async def create_table(transport: Transport, name: str, key: str) -> None:
    """A table with a text as its key."""
    await transport.call("CreateTable", Table(name, key).creation())


async def items(transport: Transport, table: str) -> list[dict[str, Any]]:
    """All items of a table."""
    answer = await transport.call("Scan", {"TableName": table, "ConsistentRead": True})
    found: list[dict[str, Any]] = answer["Items"]
    return found


class Watched:
    """A transport that records requests; a test may do something before each."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.requests: list[tuple[str, Request]] = []
        self.before: Meddle | None = None

    async def call(self, operation: str, request: Request) -> Answer:
        self.requests.append((operation, request))
        if (before := self.before) is not None:
            await before(operation, request)
        return await self.transport.call(operation, request)

    @property
    def names(self) -> list[str]:
        """What was called, in order."""
        return [name for name, _ in self.requests]


_PRINTABLE = (bytes(range(0x21, 0x7F)) * 3)[:256]
"""A sign for each byte; translating a million of them takes a moment, choosing as many a second."""


def incompressible(size: int, seed: int = 1) -> str:
    """A text that stays about as large as it is, whatever is done to it."""
    return Random(seed).randbytes(size).translate(_PRINTABLE).decode()


async def status_table(transport: Transport, name: str, projection: Request | None) -> None:
    """A status table, with an index of such a projection, or without one."""
    if projection is None:
        await create_table(transport, name, "runId")
        return
    request = Table(name, "runId", Fleet().statuses.index).creation()
    request["GlobalSecondaryIndexes"][0]["Projection"] = projection
    await transport.call("CreateTable", request)
