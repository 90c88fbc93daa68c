"""The HTTP application of a fleet on an emulator of AWS."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowcraft import FlowRuntime
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter
from flowcraft.settings import load_settings
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


@pytest.mark.slow
def test_health_tells_the_age_that_cloudwatch_has(
    ministack_stacks: str, aws_names: AwsNames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest value of the queue's oldest message, of an application made by settings alone."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    sqs, dynamodb = aws.client("sqs", ministack_stacks), aws.client("dynamodb", ministack_stacks)
    cloudwatch = aws.client("cloudwatch", ministack_stacks)
    aws.create_tables(dynamodb, aws_names, status_index=True)
    url = aws.create_queue(sqs, aws_names.queue)
    values = {
        "backend": "aws",
        "aws.region": aws.REGION,
        "aws.endpoint_url": ministack_stacks,
        "aws.queue_url": url,
        "aws.context_table": aws_names.contexts,
        "aws.status_table": aws_names.statuses,
        "aws.coordination_table": aws_names.coordination,
    }
    now = datetime.now(UTC)
    for minutes, seconds in ((3, 900.0), (1, 42.0)):
        point = {
            "MetricName": "ApproximateAgeOfOldestMessage",
            "Dimensions": [{"Name": "QueueName", "Value": aws_names.queue}],
            "Timestamp": now - timedelta(minutes=minutes),
            "Value": seconds,
        }
        cloudwatch.put_metric_data(Namespace="AWS/SQS", MetricData=[point])

    async def play() -> None:
        async with create_app(load_settings(values, tmp_path, {})) as app:
            queue = (await Web(app).call("GET", "/health"))["queue"]
        assert queue == {"ready": 0, "inHand": 0, "delayed": 0, "oldestSeconds": 42.0}

    asyncio.run(play())
    for client in (sqs, dynamodb, cloudwatch):
        client.close()
