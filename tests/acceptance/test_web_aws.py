"""The HTTP application of a fleet on an emulator of AWS."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowcraft import FlowRuntime
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter
from flowcraft.web import create_app
from tests.emulators import aws
from tests.emulators.aws import AwsNames
from tests.unit.web.stage import FLOWS, Web


@pytest.mark.slow
def test_a_run_of_a_fleet_is_started_watched_and_approved(
    ministack: str, aws_names: AwsNames
) -> None:
    """Start, live events, answer, result, list, health and dead letters, over HTTP alone."""

    async def play() -> None:
        sqs, dynamodb = aws.client("sqs", ministack), aws.client("dynamodb", ministack)
        aws.create_tables(dynamodb, aws_names, status_index=True)
        url = aws.create_queue(sqs, aws_names.queue, dead_letters=aws_names.dead_letters)
        adapter = SqsAdapter(
            FlowRuntime(flows=FLOWS).options,
            sqs_client=sqs,
            dynamodb_client=dynamodb,
            queue_url=url,
            context_table_name=aws_names.contexts,
            status_table_name=aws_names.statuses,
            coordination_store=DynamoDbCoordinationStore(dynamodb, aws_names.coordination),
            poll_seconds=1.0,
        )
        await adapter.start()
        async with create_app(adapter) as app:
            await use(Web(app))
        await adapter.stop()
        sqs.close()
        dynamodb.close()

    asyncio.run(play())


async def use(web: Web) -> None:
    """Do what people do."""
    body: dict[str, Any] = {"flow": "order", "context": {"amount": 2000}, "runId": "a/b"}
    await web.call("POST", "/runs", body, status=201)
    path = "/runs/a%2Fb"
    async with web.stream(f"{path}/events") as stream:
        while (event := await stream.event()) is not None:
            if event["data"].get("run", {}).get("status") == "awaiting":
                await web.call("POST", f"{path}/resume", {"action": "yes", "output": {}})
        await stream.task
    result = await web.call("GET", f"{path}/result?wait=30")
    assert (result["status"], result["outputs"]["send"]) == ("completed", "sent for 2000")
    assert [run["runId"] for run in (await web.call("GET", "/runs"))["runs"]] == ["a/b"]
    assert (await web.call("GET", "/health"))["queue"]["delayed"] == 0
    assert (await web.call("GET", "/dead-letters"))["letters"] == []
    assert (await web.call("GET", path))["cost"]["requests"] > 0
