"""Clients of an emulator, and the tables and queues that an adapter expects there.

Nothing of this machine's configuration plays a part: no profile, no credentials, no proxy.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import boto3
import botocore.session
from botocore.config import Config

from flowcraft.adapters.aws.queue import MAX_RECEIVES
from flowcraft.provisioning.model import (
    JOBS_RETENTION_SECONDS,
    Fleet,
    Queue,
    Table,
)

REGION = "us-east-1"
# The client's own retries hide what a test provokes, and an answer that takes longer than this
# will not come. Long polls have to be shorter.
SETTINGS = {
    "connect_timeout": 5,
    "read_timeout": 25,
    "retries": {"mode": "standard", "total_max_attempts": 1},
    "max_pool_connections": 32,
    # Not none, which would mean those of the environment.
    "proxies": {},
}


@dataclass(frozen=True)
class AwsNames:
    """Names that no other test uses.

    Attributes:
        contexts: Of the context table.
        statuses: Of the status table.
        coordination: Of the coordination table.
        queue: Of the queue of jobs.
        dead_letters: Of the queue for messages that were received too often.
        bucket: For payloads.
        prefix: What all of them begin with.
    """

    contexts: str
    statuses: str
    coordination: str
    queue: str
    dead_letters: str
    bucket: str
    prefix: str = ""

    @classmethod
    def numbered(cls, number: int) -> AwsNames:
        """Those of one test."""
        prefix = f"flowcraft-{number}"
        fleet = Fleet(prefix, bucket=f"{prefix}-payloads")
        return cls(
            contexts=fleet.contexts.name,
            statuses=fleet.statuses.name,
            coordination=fleet.coordination.name,
            queue=fleet.jobs.name,
            dead_letters=fleet.dead_letters.name,
            bucket=str(fleet.bucket),
            prefix=prefix,
        )


def client(service: str, endpoint: str, *, authorized: bool = True, **settings: Any) -> Any:
    """A boto3 client that belongs to whoever calls this, and is to be closed by him.

    Args:
        service: `sqs`, `dynamodb` or `s3`.
        endpoint: Where the emulator listens.
        authorized: Whether it has credentials.
        **settings: Of `botocore.config.Config`, before those above.
    """
    return _session(authorized).client(
        *(service,),
        endpoint_url=endpoint,
        region_name=REGION,
        config=Config(**(SETTINGS | settings)),
    )


@cache
def _session(authorized: bool) -> boto3.Session:
    """Kept, since it has read the descriptions of the services, which takes longer than a test."""
    nowhere = (None, None, os.devnull, None)
    session = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": nowhere,
            "credentials_file": nowhere,
        }
    )
    if authorized:
        session.set_credentials("test", "test")
    else:
        # No search: not in the environment, and not at the address of a cloud's machines.
        session.register_component("credential_provider", _NoCredentials())
    return boto3.Session(botocore_session=session)


class _NoCredentials:
    def load_credentials(self) -> None:
        """Nothing, as a chain of providers says it when none has any."""


def create_tables(dynamodb: Any, names: AwsNames, *, status_index: bool = False) -> None:
    """Create the three tables, with `ttl` as the attribute by which their items expire.

    Args:
        dynamodb: A client.
        names: How they are called.
        status_index: Whether the status table has its index on `status` and `lastUpdated`.
    """
    create_table(dynamodb, names.contexts, "runId")
    create_table(dynamodb, names.statuses, "runId", index=status_index)
    create_table(dynamodb, names.coordination, "coordinationKey")


def create_table(
    dynamodb: Any, name: str, key: str, *, index: bool = False, expires: bool = True
) -> None:
    """Create one table, billed on demand, and wait until it can be used.

    Args:
        dynamodb: A client.
        name: How it is called.
        key: The attribute that is its key, text.
        index: Whether it has the index of the status table.
        expires: Whether items are removed some time after their `ttl`: by the time of the machine,
            so not where a test has a time of its own.
    """
    table = Table(name, key, Fleet().statuses.index if index else None)
    dynamodb.create_table(**table.creation())
    state = dynamodb.describe_table(TableName=name)["Table"]["TableStatus"]
    if state != "ACTIVE":
        dynamodb.get_waiter("table_exists").wait(TableName=name)
    if expires:
        dynamodb.update_time_to_live(**table.time_to_live())


def create_queue(
    sqs: Any,
    name: str,
    *,
    visibility_seconds: int = 30,
    dead_letters: str | None = None,
    max_receives: int = MAX_RECEIVES,
) -> str:
    """Create a standard queue.

    Args:
        sqs: A client.
        name: How it is called.
        visibility_seconds: How long a received message is hidden.
        dead_letters: The name of a queue for messages that were received too often; it is
            created, too. None leaves messages where they are.
        max_receives: How often a message is received before it goes there.

    Returns:
        Its address.
    """
    attributes = {"VisibilityTimeout": str(visibility_seconds)}
    if dead_letters is not None:
        target = sqs.create_queue(QueueName=dead_letters)["QueueUrl"]
        told = sqs.get_queue_attributes(QueueUrl=target, AttributeNames=["QueueArn"])
        queue = Queue(name, JOBS_RETENTION_SECONDS, max_receives=max_receives)
        attributes["RedrivePolicy"] = json.dumps(queue.redrive(told["Attributes"]["QueueArn"]))
    url: str = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return url
