"""A function of AWS Lambda on an emulator: events as the mapping of a queue makes them."""

from __future__ import annotations

from typing import Any

import pytest

from flowcraft import FlowRuntime, RetryPolicy, create_flow
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter, lambda_handler
from tests.emulators.aws import AwsNames, client, create_queue, create_tables
from tests.unit.test_aws_lambda import left_going

ACCOUNT, REGION = "000000000000", "us-east-1"
MILLISECONDS = 30_000
ITEMS = 12


class Context:
    """What Lambda says of a call."""

    def get_remaining_time_in_millis(self) -> int:
        """How long it may still take."""
        return MILLISECONDS


class Mapping:
    """An event source mapping: it receives, calls, and deletes what did not fail.

    Attributes:
        calls: How often the function was called.
    """

    def __init__(self, sqs: Any, queue_url: str, queue_name: str, function: Any) -> None:
        self._sqs, self._queue_url, self._function = sqs, queue_url, function
        self._arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue_name}"
        self.calls = 0

    def poll(self, times: int = 1) -> bool:
        """One round, in which the function gets each batch so many times; whether it had any."""
        answer = self._sqs.receive_message(
            QueueUrl=self._queue_url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=2,
            AttributeNames=["All"],
        )
        messages = answer.get("Messages", [])
        if not messages:
            return False
        for _ in range(times):
            self.calls += 1
            answer = self._function({"Records": [*map(self._record, messages)]}, Context())
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        entries = [
            {"Id": str(place), "ReceiptHandle": message["ReceiptHandle"]}
            for place, message in enumerate(messages)
            if message["MessageId"] not in failed
        ]
        if entries:
            self._sqs.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)
        return True

    def _record(self, message: dict[str, Any]) -> dict[str, Any]:
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self._arn,
            "awsRegion": REGION,
        }


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2], ids=["once", "every event twice"])
def test_runs_end_by_calls_alone(ministack: str, aws_names: AwsNames, times: int) -> None:
    """Two runs with a batch, a retry and a wait go from event to event; nothing goes on between."""
    bodies: list[str] = []

    async def numbers(_: Any) -> list[int]:
        return list(range(ITEMS))

    async def double(ctx: Any) -> int:
        bodies.append(ctx.idempotency_key)
        return int(ctx.input) * 2

    def unsteady(ctx: Any) -> int:
        if ctx.attempt == 1:
            raise ConnectionError("not yet")
        return sum(ctx.input)

    flow = create_flow("sums").node("numbers", numbers).batch("double", double)
    flow.node("sum", unsteady, retry=RetryPolicy(max_attempts=3, delay=0.01)).wait("approve")
    flow.edge("numbers", "double").edge("double", "sum").edge("sum", "approve")
    sqs, dynamodb = client("sqs", ministack), client("dynamodb", ministack)
    create_tables(dynamodb, aws_names)
    url = create_queue(sqs, aws_names.queue, visibility_seconds=60)
    adapter = SqsAdapter(
        FlowRuntime(flows=[flow]).options,
        sqs_client=sqs,
        dynamodb_client=dynamodb,
        queue_url=url,
        context_table_name=aws_names.contexts,
        status_table_name=aws_names.statuses,
        coordination_store=DynamoDbCoordinationStore(dynamodb, aws_names.coordination),
    )
    handler = lambda_handler(adapter)
    mapping = Mapping(sqs, url, aws_names.queue, handler)
    run = handler._loop.run
    runs = [run(adapter.start_run("sums")) for _ in range(2)]
    while any(run(adapter.get_run(each)).status != "awaiting" for each in runs):
        assert mapping.poll(times), "runs stand still"
        assert left_going() == []
    for each in runs:
        run(adapter.resume_with_action(each, output="yes"))
    while any(run(adapter.get_run(each)).status != "completed" for each in runs):
        assert mapping.poll(times), "runs stand still"
        assert left_going() == []
    for each in runs:
        assert run(adapter.get_run(each)).outputs["sum"] == ITEMS * (ITEMS - 1)
    assert len(bodies) == len(set(bodies)) == 2 * ITEMS
    run(adapter.stop())
    handler.close()
    for each in (sqs, dynamodb):
        each.close()
