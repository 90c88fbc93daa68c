"""Timers that are entries before they are messages, on an emulator, with an hour of seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter
from flowcraft.engine.calendar import CURSOR, PREFIX
from flowcraft.engine.spans import Spans
from tests.emulators.aws import AwsNames, client, create_queue, create_tables

SPANS = Spans(hour_seconds=4.0, ahead_seconds=2.0, every_seconds=0.5, first_seconds=0.1)
SLEEPERS = 20
PATIENCE_SECONDS = 60.0
LATE_SECONDS = 6.0
"""How late a timer may be on a machine with much else to do; SQS delays by whole seconds."""


def left(dynamodb: Any, names: AwsNames) -> set[str]:
    """The keys of what is left of timers in the coordination table."""
    items = dynamodb.scan(TableName=names.coordination, ConsistentRead=True)["Items"]
    keys = {item["coordinationKey"]["S"] for item in items}
    return {key for key in keys if key.startswith(PREFIX) and key != CURSOR}


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: It never is.
    """
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():
            await asyncio.sleep(0.2)


@pytest.mark.slow
def test_timers_are_swept_by_whoever_is_there(ministack: str, aws_names: AwsNames) -> None:
    """Sleepers wake in time though the first sweeper goes; a cancelled one leaves nothing."""

    async def one(_: Any) -> int:
        return 1

    flow = create_flow("nap").node("a", one).sleep("s", "9s").node("b", one)
    flow.edge("a", "s").edge("s", "b")
    sqs, dynamodb = client("sqs", ministack), client("dynamodb", ministack)
    create_tables(dynamodb, aws_names)
    url = create_queue(sqs, aws_names.queue, visibility_seconds=60)

    def adapter() -> SqsAdapter:
        return SqsAdapter(
            replace(FlowRuntime(flows=[flow]).options, timers=SPANS),
            sqs_client=sqs,
            dynamodb_client=dynamodb,
            queue_url=url,
            context_table_name=aws_names.contexts,
            status_table_name=aws_names.statuses,
            coordination_store=DynamoDbCoordinationStore(dynamodb, aws_names.coordination),
            poll_seconds=1.0,
        )

    async def main() -> None:
        first, second = adapter(), adapter()
        async with second:
            async with first:
                runs = [await first.start_run("nap") for _ in range(SLEEPERS)]
                gone = await first.start_run("nap")
                for each in (*runs, gone):
                    await until_awaiting(first, each)
                assert left(dynamodb, aws_names)
                await first.cancel_run(gone)
            for each in runs:
                run = await second.wait_for_run(each, timeout=PATIENCE_SECONDS)
                assert run.status == "completed"
                (nap,) = [step for step in run.timeline if step.node_id == "s"]
                assert nap.seconds is not None
                assert 9 <= nap.seconds < 9 + LATE_SECONDS
            assert (await second.wait_for_run(gone, timeout=PATIENCE_SECONDS)).status == "cancelled"
            await until(lambda: not left(dynamodb, aws_names))

    asyncio.run(main())
    for each in (sqs, dynamodb):
        each.close()


async def until_awaiting(adapter: SqsAdapter, run_id: str) -> None:
    """Wait until a run sleeps."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await adapter.get_run(run_id)).status != "awaiting":
            await asyncio.sleep(0.1)
