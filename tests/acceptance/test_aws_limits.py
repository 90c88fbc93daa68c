"""Limits and fairness keys on an emulator, with two fleets' worth of workers on one queue."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from flowcraft import FlowRuntime, Limit, create_flow
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter
from tests.emulators.aws import AwsNames, client, create_queue, create_tables

RUNS = 12


class Meter:
    """Counts who is under way.

    Attributes:
        most: The most at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = self.most = 0

    async def body(self, ctx: Any) -> str:
        """Be under way for a moment."""
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        await ctx.heartbeat()
        await asyncio.sleep(0)
        with self._lock:
            self._now -= 1
        return str(ctx.input["tenant"])


@pytest.mark.slow
def test_two_workers_keep_a_limit_together(ministack: str, aws_names: AwsNames) -> None:
    """Of runs of two tenants on two workers two of each are under way at most, and all end."""
    sqs, dynamodb = client("sqs", ministack), client("dynamodb", ministack)
    create_tables(dynamodb, aws_names)
    url = create_queue(sqs, aws_names.queue, visibility_seconds=30)
    meter = Meter()
    flow = create_flow("work").node(
        "n", meter.body, uses="n", inputs={"tenant": "tenant"}, concurrency_key="t:{input.tenant}"
    )
    limits = {"t:*": Limit(concurrency=2), "t:big": Limit(concurrency=1)}

    def adapter() -> SqsAdapter:
        return SqsAdapter(
            FlowRuntime(flows=[flow], limits=limits).options,
            sqs_client=sqs,
            dynamodb_client=dynamodb,
            queue_url=url,
            context_table_name=aws_names.contexts,
            status_table_name=aws_names.statuses,
            coordination_store=DynamoDbCoordinationStore(dynamodb, aws_names.coordination),
        )

    async def work() -> list[Any]:
        async with adapter() as one, adapter():
            names = ["big", "small"] * (RUNS // 2)
            runs = [
                await one.start_run("work", {"tenant": name}, fairness_key=name) for name in names
            ]
            return [await run.result(timeout=60) for run in runs]

    results = asyncio.run(work())
    assert [each.status for each in results] == ["completed"] * RUNS
    assert 1 <= meter.most <= 3
    items = dynamodb.scan(TableName=aws_names.coordination)["Items"]
    rooms = [each for each in items if each["coordinationKey"]["S"].startswith("limit/t:")]
    assert [int(each["held"]["N"]) for each in rooms] == [0, 0]
