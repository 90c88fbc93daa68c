"""Coordination and texts on DynamoDB keep the contracts of their ports, on the fake."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from flowcraft.adapters.aws.blobs import DynamoDbBlobs
from flowcraft.adapters.aws.coordination import DynamoDbCoordinationStore
from flowcraft.adapters.memory import MemoryQueue, MemoryRuns
from flowcraft.testing import VirtualClock
from flowcraft.testing.conformance import (
    BLOB_CASES,
    COORDINATION_CASES,
    Case,
    Connect,
    Ports,
    check,
)
from tests.unit.aws_tables import CONTEXTS, COORDINATION, fake_tables


@pytest.mark.parametrize("case", [*COORDINATION_CASES, *BLOB_CASES], ids=lambda case: case.__name__)
def test_the_contract_is_kept(case: Case) -> None:
    """Every case of the contracts passes; what has expired is still stored meanwhile."""

    @asynccontextmanager
    async def open_storage(clock: VirtualClock) -> AsyncIterator[Connect]:
        tables = await fake_tables(clock)

        async def connect() -> Ports:
            return Ports(
                MemoryQueue(clock),
                MemoryRuns(clock),
                DynamoDbBlobs(tables, CONTEXTS),
                DynamoDbCoordinationStore(tables, COORDINATION, clock),
            )

        yield connect

    check(case, open_storage)
