"""What a fleet is reached by: what is usually mixed up is told before anything is sent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from flowcraft import FlowRuntime
from flowcraft.aws import DynamoDbContext, DynamoDbCoordinationStore, SqsAdapter
from flowcraft.client import FlowClient


class Client:
    """What is looked at of a boto3 client."""

    def __init__(self, service: str) -> None:
        self.meta = SimpleNamespace(service_model=SimpleNamespace(service_name=service))


class Ready:
    """Carries requests out itself, as fakes do."""

    async def call(self, operation: str, request: Any) -> Any:
        """Nothing is sent in these tests."""
        raise NotImplementedError


def resources() -> dict[str, Any]:
    """Those of a fleet."""
    return {
        "sqs_client": Client("sqs"),
        "dynamodb_client": Client("dynamodb"),
        "queue_url": "https://sqs/1/jobs",
        "context_table_name": "contexts",
        "status_table_name": "statuses",
        "coordination_store": DynamoDbCoordinationStore(Ready(), "coordination"),
    }


MIXED_UP: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "clients": (
        {"sqs_client": Client("dynamodb")},
        TypeError,
        r"^sqs_client is boto3.client\('sqs'\), not boto3.client\('dynamodb'\)\.$",
    ),
    "a resource": (
        # What boto3.resource gives has a `meta` of its own.
        {"dynamodb_client": SimpleNamespace(meta=SimpleNamespace())},
        TypeError,
        r"^dynamodb_client is boto3.client\('dynamodb'\), not SimpleNamespace\.$",
    ),
    "the table of locks": (
        {"coordination_store": "coordination"},
        TypeError,
        r"DynamoDbCoordinationStore\(dynamodb_client, table_name\), not 'coordination'",
    ),
    "tables": (
        {"status_table_name": "contexts"},
        ValueError,
        "context_table_name and status_table_name are both 'contexts'",
    ),
    "a client of the bucket": (
        {"s3_client": Client("sqs"), "payload_bucket": "b"},
        TypeError,
        r"^s3_client is boto3.client\('s3'\), not ",
    ),
    "an address of the bucket": (
        {"s3_client": Client("s3"), "payload_bucket": "s3://bucket"},
        ValueError,
        "payload_bucket is the name of a bucket, .* not 's3://bucket'",
    ),
    "an ARN": (
        {"s3_client": Client("s3"), "payload_bucket": "arn:aws:s3:::bucket"},
        ValueError,
        "and no address: not 'arn",
    ),
    "no name": (
        {"s3_client": Client("s3"), "payload_bucket": b"b"},
        TypeError,
        "is the name of a bucket, not b'b'",
    ),
}


@pytest.mark.parametrize("what", MIXED_UP)
def test_what_is_mixed_up_is_told_when_a_fleet_is_named(what: str) -> None:
    """Adapter and client name the argument, and what is to be written instead."""
    wrong, error, message = MIXED_UP[what]
    with pytest.raises(error, match=message):
        SqsAdapter(FlowRuntime().options, **resources() | wrong)
    with pytest.raises(error, match=message):
        FlowClient.aws(**resources() | wrong)


def test_a_fleet_is_named_by_clients_of_its_services() -> None:
    """Right ones are taken, with or without a prefix of the bucket."""
    for bucket in ("bucket", "my.bucket_1/with/a/prefix"):
        with_bucket = {"s3_client": Client("s3"), "payload_bucket": bucket}
        SqsAdapter(FlowRuntime().options, **resources() | with_bucket)


def test_a_store_and_a_context_are_told_by_the_client_of_dynamodb() -> None:
    """What stands by itself says the same as the adapter."""
    with pytest.raises(TypeError, match=r"^client is boto3.client\('dynamodb'\), not str"):
        DynamoDbCoordinationStore("dynamodb", "coordination")
    with pytest.raises(TypeError, match=r"^client is boto3.client\('dynamodb'\), not .*'sqs'"):
        DynamoDbContext("run", client=Client("sqs"), table_name="contexts")
