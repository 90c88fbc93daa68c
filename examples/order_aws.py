"""The order example on SQS and DynamoDB: where queue and tables are, and the adapter on them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter
from flowcraft.engine.options import RuntimeOptions


@dataclass(frozen=True)
class Place:
    """Where the runs are; kept in a file, from which the workers learn it.

    Attributes:
        endpoint: Of an emulator of AWS.
        queue_url: The queue of jobs.
        contexts: The table of runs.
        statuses: The table of their statuses.
        coordination: The table of locks.
    """

    endpoint: str
    queue_url: str
    contexts: str
    statuses: str
    coordination: str

    def write(self, path: Path) -> None:
        """Keep it in a file."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Place:
        """What a file says."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def client_of(service: str, endpoint: str) -> Any:
    """A client of the emulator, which takes any credentials."""
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(max_pool_connections=32, proxies={}),
    )


def adapter_in(path: Path, options: RuntimeOptions, lease_seconds: float) -> SqsAdapter:
    """The adapter on the resources that a file names."""
    place = Place.read(path)
    dynamodb = client_of("dynamodb", place.endpoint)
    return SqsAdapter(
        runtime_options=options,
        coordination_store=DynamoDbCoordinationStore(
            client=dynamodb, table_name=place.coordination
        ),
        sqs_client=client_of("sqs", place.endpoint),
        dynamodb_client=dynamodb,
        queue_url=place.queue_url,
        context_table_name=place.contexts,
        status_table_name=place.statuses,
        lease_seconds=lease_seconds,
    )
