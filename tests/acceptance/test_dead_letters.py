"""Dead letters on an emulator of AWS, over HTTP, with the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flowcraft import WorkflowBlueprint
from flowcraft.aws import DynamoDbCoordinationStore
from flowcraft.cli.main import run
from flowcraft.client import FlowClient
from tests.emulators import aws
from tests.emulators.aws import AwsNames
from tests.unit.runs import drive

BLUEPRINT = {"id": "b", "nodes": [{"id": "n", "uses": "nowhere"}], "edges": []}


@dataclass
class Place:
    """A queue whose messages go to a dead-letter queue after one receive.

    Attributes:
        sqs: A client.
        names: How tables and queues are called.
        common: What a client of runs is given.
        url: The queue.
    """

    sqs: Any
    names: AwsNames
    common: dict[str, Any]
    url: str

    def queue(self, name: str) -> str:
        """A queue that shares the dead-letter queue."""
        return aws.create_queue(
            self.sqs, name, dead_letters=self.names.dead_letters, max_receives=1
        )

    def send(self, url: str, body: str, **more: Any) -> None:
        """Send a message."""
        self.sqs.send_message(QueueUrl=url, MessageBody=body, **more)

    def bury(self, *urls: str) -> None:
        """Receive all messages until they are dead letters."""
        for url in urls or (self.url,):
            request = {"QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0}
            while self.sqs.receive_message(**request).get("Messages"):
                pass

    def bodies(self, url: str) -> list[str]:
        """What can be received from a queue."""
        request = {"QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 5}
        found: list[str] = []
        while messages := self.sqs.receive_message(**request).get("Messages"):
            found += [message["Body"] for message in messages]
        return sorted(found)


@pytest.fixture
def place(
    ministack: str, aws_names: AwsNames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """The queue, and settings by which the command finds it."""
    with (
        closing(aws.client("sqs", ministack)) as sqs,
        closing(aws.client("dynamodb", ministack)) as dynamodb,
    ):
        aws.create_tables(dynamodb, aws_names)
        common = {
            "sqs_client": sqs,
            "dynamodb_client": dynamodb,
            "context_table_name": aws_names.contexts,
            "status_table_name": aws_names.statuses,
            "coordination_store": DynamoDbCoordinationStore(
                client=dynamodb, table_name=aws_names.coordination
            ),
        }
        made = Place(sqs, aws_names, common, "")
        made.url = common["queue_url"] = made.queue(aws_names.queue)
        settings = {
            "FLOWCRAFT_BACKEND": "aws",
            "FLOWCRAFT_AWS_REGION": aws.REGION,
            "FLOWCRAFT_AWS_ENDPOINT_URL": ministack,
            "FLOWCRAFT_AWS_QUEUE_URL": made.url,
            "FLOWCRAFT_AWS_CONTEXT_TABLE": aws_names.contexts,
            "FLOWCRAFT_AWS_STATUS_TABLE": aws_names.statuses,
            "FLOWCRAFT_AWS_COORDINATION_TABLE": aws_names.coordination,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        yield made


@pytest.mark.slow
def test_dead_letters_of_a_shared_queue_are_dealt_with_by_the_command(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Listed with their runs, sent back with all they have, and those of others left alone."""

    def call(*arguments: str, code: int = 0) -> str:
        assert run(["dlq", *arguments]) == code, capsys.readouterr().err
        return capsys.readouterr().out

    async def start() -> None:
        async with FlowClient.aws(**place.common) as client:
            await client.start_run(WorkflowBlueprint.from_dict(BLUEPRINT), run_id="waits")

    drive(start())
    other = place.queue(f"{place.names.queue}-other")
    header = {"traceparent": {"DataType": "String", "StringValue": "00-1-2-01"}}
    place.send(place.url, "nonsense", MessageAttributes=header)
    place.send(other, "theirs")
    place.bury(place.url, other)

    listing = json.loads(call("list", "--json"))
    assert listing["causes"] == {"not-json": 2, "delivered-too-often": 1}
    assert listing["box"]["sources"] is None
    by_body = {letter["body"]: letter for letter in listing["letters"]}
    assert by_body["theirs"]["ours"] is False
    (waits,) = (each for each in listing["letters"] if each["cause"] == "delivered-too-often")
    assert (waits["run"]["runId"], waits["run"]["standing"]) == ("waits", "waiting")

    assert call("redrive", waits["id"]) == "1 letter sent back.\n"
    assert call("redrive", "--all", "--yes") == "1 letter sent back.\n"
    request = {"QueueUrl": place.url, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]}
    messages = place.sqs.receive_message(**request, VisibilityTimeout=0)["Messages"]
    assert [each.get("MessageAttributes") for each in messages if each["Body"] == "nonsense"] == [
        header
    ]
    assert len(messages) == 2

    assert call("purge", "--yes") == "0 letters deleted.\n"
    assert call("redrive", by_body["theirs"]["id"], code=4) == "0 letters sent back.\n"
    assert call("redrive", "--all", "--foreign", "--yes").startswith("1 letter sent back")
    assert place.bodies(other) == ["theirs"]
