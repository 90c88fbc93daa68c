"""The queue on SQS keeps the contract of the port, on the fake that knows its limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flowcraft import FlowRuntime, RetryPolicy, create_flow
from flowcraft.adapters.aws.queue import SqsQueue
from flowcraft.adapters.memory import MemoryBlobs, MemoryCoordination, MemoryRuns
from flowcraft.adapters.system import SystemClock, SystemIdentifiers
from flowcraft.engine.adapter import Adapter
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws.sqs import FakeSqs
from flowcraft.testing.conformance import QUEUE_CASES, Case, Connect, Ports, check
from tests.unit.runs import Ctx, drive, echo, one
from tests.unit.test_fake_sqs_unkind import Dice


@pytest.mark.parametrize("case", QUEUE_CASES, ids=lambda case: case.__name__)
def test_the_contract_is_kept(case: Case) -> None:
    """Every case of the contract passes, each client with a queue object of its own."""

    @asynccontextmanager
    async def open_storage(clock: VirtualClock) -> AsyncIterator[Connect]:
        sqs = FakeSqs(clock)
        url = sqs.create("jobs")
        rest: tuple[Any, ...] = (MemoryRuns(clock), MemoryBlobs(), MemoryCoordination(clock))

        async def connect() -> Ports:
            # Nobody moves the clock while a case deletes: so no delete waits for another.
            queue = SqsQueue(sqs, url, clock, linger_seconds=0)
            await queue.open()
            return Ports(queue, *rest)

        yield connect

    check(case, open_storage)


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_runs_go_through_it(seed: int | None) -> None:
    """Runs with branches and a retry complete on it, also where the queue is unkind."""
    clock = SystemClock()
    sqs = FakeSqs(clock, None if seed is None else Dice(seed))
    url = sqs.create("jobs", VisibilityTimeout=5)
    runs, blobs, coordination = MemoryRuns(clock), MemoryBlobs(), MemoryCoordination(clock)

    @asynccontextmanager
    async def open_ports() -> AsyncIterator[Ports]:
        queue = SqsQueue(sqs, url, clock)
        await queue.open()
        yield Ports(queue, runs, blobs, coordination)
        await queue.close()

    async def fickle(ctx: Ctx) -> int:
        if ctx.attempt == 1:
            raise RuntimeError("not yet")
        return 2

    flow = create_flow("fan").node("start", one)
    flow.node("fickle", fickle, retry=RetryPolicy(max_attempts=2, delay=0.01))
    flow.node("end", echo, join="all")
    flow.edge("start", "fickle").edge("fickle", "end")
    for number in range(10):
        flow.node(f"n{number}", one).edge("start", f"n{number}").edge(f"n{number}", "end")

    async def work() -> None:
        adapter = Adapter(
            open_ports,
            FlowRuntime(flows=[flow]).options,
            clock=clock,
            identifiers=SystemIdentifiers(),
            concurrency=5,
        )
        async with adapter:
            started = [await adapter.start_run("fan", {}) for _ in range(3)]
            for run in started:
                result = await run.result(timeout=20)
                assert (result.status, result.outputs["fickle"]) == ("completed", 2)

    drive(work())
    assert [message for message in sqs.messages(url) if message.state == "delayed"] == []
    if seed is None:
        assert sqs.messages(url) == []
