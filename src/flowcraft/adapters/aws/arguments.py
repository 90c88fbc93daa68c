"""What callers pass to reach a fleet by, checked before anything is sent."""

from __future__ import annotations

import re
from typing import Any, Final

from flowcraft.ports.coordination import CoordinationStore

# As S3 has them; an access point, whose name is longer, is no bucket of its own.
_BUCKET: Final = re.compile(r"[A-Za-z0-9._-]{1,255}")


def check_client(name: str, client: Any, service: str) -> None:
    """See that a client is one of a service, or carries requests out itself.

    Args:
        name: What the caller calls it.
        client: A boto3 client, or a transport.
        service: The service, as boto3 calls it.

    Raises:
        TypeError: It is something else; the message tells what to write.
    """
    if hasattr(client, "call"):
        return
    model = getattr(getattr(client, "meta", None), "service_model", None)
    found = getattr(model, "service_name", None)
    if found != service:
        what = type(client).__name__ if found is None else f"boto3.client({found!r})"
        raise TypeError(f"{name} is boto3.client({service!r}), not {what}.")


def check_store(store: CoordinationStore) -> None:
    """See that it keeps locks, and is not the name of a table for them.

    Raises:
        TypeError: It is something else.
    """
    if not hasattr(store, "set_if_not_exist"):
        raise TypeError(
            "coordination_store is DynamoDbCoordinationStore(dynamodb_client, table_name), not "
            f"{store!r}."
        )


def check_named(argument: str, name: str, what: str) -> None:
    """See that a table or a queue is named by a text without spaces and control characters.

    Raises:
        TypeError: It is no text.
        ValueError: It is empty, or holds what no name holds.
    """
    if not isinstance(name, str):
        raise TypeError(f"{argument} is the name of a {what}, not {name!r}.")
    if not name or not name.isprintable() or " " in name:
        raise ValueError(f"{argument} is the name of a {what}, not {name!r}.")


def check_tables(contexts: str, statuses: str) -> None:
    """See that the tables of runs and of their rows are two.

    Raises:
        TypeError: One is named by no text.
        ValueError: They have the same name, or one has none.
    """
    check_named("context_table_name", contexts, "table")
    check_named("status_table_name", statuses, "table")
    if contexts == statuses:
        raise ValueError(
            f"context_table_name and status_table_name are both {contexts!r}: a run and its row "
            "have the same key, so they need a table each."
        )


def check_bucket(name: str) -> None:
    """See that it may be the name of a bucket, with or without a prefix.

    Raises:
        TypeError: It is no text.
        ValueError: It cannot be the name of a bucket.
    """
    if not isinstance(name, str):
        raise TypeError(f"payload_bucket is the name of a bucket, not {name!r}.")
    if not _BUCKET.fullmatch(name.partition("/")[0]):
        raise ValueError(
            "payload_bucket is the name of a bucket, 'bucket' or 'bucket/with/a/prefix', and no "
            f"address: not {name!r}."
        )


def check_payloads(s3_client: Any, payload_bucket: str | None) -> None:
    """See that there is a bucket and its client, or neither.

    Raises:
        TypeError: One is something else.
        ValueError: It cannot be the name of a bucket, or one of the two is missing.
    """
    if payload_bucket is not None:
        check_bucket(payload_bucket)
    if (s3_client is None) != (payload_bucket is None):
        raise ValueError(
            "s3_client and payload_bucket go together: the client, and the name of the bucket "
            "that large values and files are kept in."
        )
    if payload_bucket is not None:
        check_client("s3_client", s3_client, "s3")
