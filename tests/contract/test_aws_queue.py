"""The queue on SQS keeps the contract of the port, on the fake that knows its limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flowcraft.adapters.aws.queue import SqsQueue
from flowcraft.adapters.memory import MemoryBlobs, MemoryCoordination, MemoryRuns
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws.sqs import FakeSqs
from flowcraft.testing.conformance import QUEUE_CASES, Case, Connect, Ports, check


@pytest.mark.parametrize("case", QUEUE_CASES, ids=lambda case: case.__name__)
def test_the_contract_is_kept(case: Case) -> None:
    """Every case of the contract passes, each client with a queue object of its own."""

    @asynccontextmanager
    async def open_storage(clock: VirtualClock) -> AsyncIterator[Connect]:
        sqs = FakeSqs(clock)
        url = sqs.create("jobs")
        queues: list[SqsQueue] = []
        rest: tuple[Any, ...] = (MemoryRuns(clock), MemoryBlobs(), MemoryCoordination(clock))

        async def connect() -> Ports:
            # Nobody moves the clock while a case deletes: so no delete waits for another.
            queue = SqsQueue(sqs, url, clock, linger_seconds=0)
            await queue.open()
            queues.append(queue)
            return Ports(queue, *rest)

        yield connect

    check(case, open_storage)
