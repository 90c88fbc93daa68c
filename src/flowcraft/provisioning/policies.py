"""Policies of IAM with the least that each role of a fleet needs.

They are made of the one table in ``provisioning/permitted.py``, for the resources of one fleet:

    policy("worker", Resources.named(region="eu-central-1", account="123456789012"))
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flowcraft.provisioning.permitted import (
    KINDS,
    ROLES,
    SERVICES,
    Kind,
    Permission,
    Role,
    permissions,
)

__all__ = ["ROLES", "Resources", "Role", "policy"]

VERSION: Final = "2012-10-17"
"""The version of the language of policies, which is its newest."""

OBJECT_PREFIXES: Final = ("runs/", "texts/")
"""Where in a bucket, behind its prefix, the objects of runs and the blueprints are."""

LIST_BUCKET: Final = "s3:ListBucket"

_SIDS: Final[dict[Kind, str]] = {
    "queue": "Queue",
    "dead_letters": "DeadLetterQueue",
    "contexts": "ContextTable",
    "statuses": "StatusTable",
    "status_index": "StatusIndex",
    "coordination": "CoordinationTable",
    "bucket": "Bucket",
    "objects": "Objects",
    "metrics": "Metrics",
}

_READS: Final = frozenset(
    {"ReceiveMessage", "GetItem", "BatchGetItem", "Query", "Scan", "GetObject"}
)
_WRITES: Final = frozenset(
    {"SendMessage", "PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "PutObject"}
)
"""Actions for which a service uses the key: others are about no content."""

_READING: Final = ("kms:Decrypt",)
_KEY_ACTIONS: Final = {
    # A producer has a data key generated and, to reuse it, decrypted; a consumer decrypts.
    "sqs": (_READING, ("kms:Decrypt", "kms:GenerateDataKey")),
    # The least that DynamoDB asks for, but for CreateGrant, which is for who creates the table.
    "dynamodb": (
        ("kms:Decrypt", "kms:DescribeKey"),
        (
            "kms:Decrypt",
            "kms:DescribeKey",
            "kms:Encrypt",
            "kms:GenerateDataKey*",
            "kms:ReEncrypt*",
        ),
    ),
    # Parts of a multipart upload are decrypted when they are put together.
    "s3": (_READING, ("kms:Decrypt", "kms:GenerateDataKey")),
}
"""What a service does with the key in the name of who reads, and of who writes.

Sources: *Amazon SQS key management*, *DynamoDB encryption at rest*, *Protecting data with SSE-KMS*.
"""

_ACCOUNT: Final = re.compile(r"[0-9]{12}")
_REGION: Final = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]+")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]{1,62}")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,255}")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY_ID: Final = re.compile(r"(mrk-)?[0-9a-fA-F-]{8,128}")
_PARTITIONS: Final = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources of a fleet, by their ARNs.

    Texts may hold placeholders, such as ``${Jobs.Arn}`` of CloudFormation: they are put together
    with others and not looked into.

    Attributes:
        region: Where they are, such as ``eu-central-1``.
        queue: The queue of jobs.
        dead_letter_queue: Where jobs go that were received too often.
        context_table: The table of runs.
        status_table: The table that shows runs to people.
        coordination_table: The table of locks, schedules and timers.
        status_index: The index of the status table; ``None`` for any that it has.
        bucket: The bucket for large values and files, if there is one.
        bucket_prefix: What all keys in it begin with: nothing, or a text such as ``team/fleet``.
        kms_key: The customer managed key that they are encrypted with, if it is one.
        dns_suffix: What the names of services end with.
    """

    region: str
    queue: str
    dead_letter_queue: str
    context_table: str
    status_table: str
    coordination_table: str
    status_index: str | None = None
    bucket: str | None = None
    bucket_prefix: str = ""
    kms_key: str | None = None
    dns_suffix: str = "amazonaws.com"

    @classmethod
    def named(
        cls,
        *,
        region: str,
        account: str,
        prefix: str = "flowcraft",
        partition: str | None = None,
        queue: str | None = None,
        context_table: str | None = None,
        status_table: str | None = None,
        coordination_table: str | None = None,
        bucket: str | None = None,
        kms_key: str | None = None,
    ) -> Resources:
        """Those of a fleet whose names begin with a prefix, unless a name is given.

        Args:
            region: Such as ``eu-central-1``.
            account: The twelve digits of the account.
            prefix: What the names of queue and tables begin with.
            partition: ``aws``, ``aws-cn``, ``aws-us-gov``; by default that of the region.
            queue: The name of the queue; the one of dead letters has ``-dead-letters`` behind it.
            context_table: The name of the table of runs.
            status_table: The name of the table that shows runs to people.
            coordination_table: The name of the table of locks.
            bucket: The name of the bucket, with a prefix behind a ``/`` if there is one.
            kms_key: The ARN of the key, or its id.

        Raises:
            ValueError: One of them is none of what it may be.
        """
        _check("region", region, _REGION, "the name of a region, such as eu-central-1")
        _check("account", account, _ACCOUNT, "the twelve digits of an account")
        _check("prefix", prefix, _PREFIX, "up to 62 letters, digits, hyphens and underscores")
        given = {
            "queue": queue,
            "context_table": context_table,
            "status_table": status_table,
            "coordination_table": coordination_table,
        }
        for argument, text in given.items():
            if text is not None:
                _check(argument, text, _NAME, f"the name of a {argument.rpartition('_')[2]}")
        partition = partition or _partition_of(region)
        place = f"{region}:{account}"
        queue = queue or f"{prefix}-jobs"
        tables = f"arn:{partition}:dynamodb:{place}:table/"
        name, _, objects = (bucket or "").partition("/")
        if bucket is not None:
            _check("bucket", name, _BUCKET, "the name of a bucket, or bucket/prefix")
            if set(objects) & set("*?$"):
                raise ValueError(f"bucket's prefix may not hold '*', '?' and '$': {objects!r}.")
        return cls(
            region=region,
            queue=f"arn:{partition}:sqs:{place}:{queue}",
            dead_letter_queue=f"arn:{partition}:sqs:{place}:{queue}-dead-letters",
            context_table=f"{tables}{context_table or f'{prefix}-contexts'}",
            status_table=f"{tables}{status_table or f'{prefix}-statuses'}",
            coordination_table=f"{tables}{coordination_table or f'{prefix}-coordination'}",
            bucket=None if bucket is None else f"arn:{partition}:s3:::{name}",
            bucket_prefix=objects.strip("/"),
            kms_key=None if kms_key is None else _key_arn(kms_key, f"arn:{partition}:kms:{place}"),
            dns_suffix="amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com",
        )

    def arns(self, kind: Kind) -> tuple[str, ...]:
        """The ARNs of what a permission of some kind is about; none where there is no bucket."""
        if kind in ("bucket", "objects") and self.bucket is None:
            return ()
        match kind:
            case "queue":
                return (self.queue,)
            case "dead_letters":
                return (self.dead_letter_queue,)
            case "contexts":
                return (self.context_table,)
            case "statuses":
                return (self.status_table,)
            case "status_index":
                return (self.status_index or f"{self.status_table}/index/*",)
            case "coordination":
                return (self.coordination_table,)
            case "bucket":
                return (str(self.bucket),)
            case "objects":
                return tuple(f"{self.bucket}/{each}" for each in self.key_patterns())
            case "metrics":
                return ("*",)

    def key_patterns(self) -> tuple[str, ...]:
        """What the keys of the fleet's objects look like."""
        prefix = f"{self.bucket_prefix}/" if self.bucket_prefix else ""
        return tuple(f"{prefix}{each}*" for each in OBJECT_PREFIXES)


def policy(role: Role, resources: Resources) -> dict[str, Any]:
    """The policy of a role: the least that it needs, on the resources of one fleet.

    Args:
        role: ``worker``: runs nodes, and does what a reconciler does. ``starter``: starts runs,
            waits for their results, answers their waits. ``answerer``: serves links that answer
            waits. ``operator``: does all that the commands do. ``reconciler``: gets runs going
            again, and starts what schedules have due.
            ``viewer``: lists and inspects.
        resources: What they are allowed on.

    Returns:
        A document of IAM, as JSON data: to be given to a role, with at most one statement for
        each resource, and one for each service that uses the key.

    Raises:
        ValueError: There is no such role.
    """
    needed = permissions(role)
    return {"Version": VERSION, "Statement": [*_statements(needed, resources)]}


def _statements(needed: Sequence[Permission], resources: Resources) -> Iterator[dict[str, Any]]:
    for kind in KINDS:
        actions = [each.action for each in needed if each.kind == kind]
        arns = resources.arns(kind)
        if LIST_BUCKET in actions and arns:
            # S3 also asks it of the key of an object that is read and is not there.
            actions.remove(LIST_BUCKET)
            statement = _statement("BucketList", [LIST_BUCKET], arns)
            statement["Condition"] = {"StringLike": {"s3:prefix": [*resources.key_patterns()]}}
            yield statement
        if actions and arns:
            yield _statement(_SIDS[kind], actions, arns)
    if resources.kms_key is not None:
        yield from _key_statements(needed, resources, resources.kms_key)


def _key_statements(
    needed: Sequence[Permission], resources: Resources, key: str
) -> Iterator[dict[str, Any]]:
    """What the services do with the key in the name of who asks, and nobody else with it."""
    for service, (reading, writing) in _KEY_ACTIONS.items():
        names = {
            each.action.partition(":")[2]
            for each in needed
            if SERVICES[each.kind] == service and resources.arns(each.kind)
        }
        if not names & (_READS | _WRITES):
            continue
        actions = writing if names & _WRITES else reading
        statement = _statement(f"Key{service.capitalize()}", actions, (key,))
        host = f"{service}.{resources.region}.{resources.dns_suffix}"
        statement["Condition"] = {"StringEquals": {"kms:ViaService": host}}
        yield statement


def _statement(sid: str, actions: Sequence[str], arns: Sequence[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": list(arns)}


def _check(name: str, value: str, pattern: re.Pattern[str], what: str) -> None:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise ValueError(f"{name} is {what}, not {value!r}.")


def _partition_of(region: str) -> str:
    found = (each for begin, each in _PARTITIONS.items() if region.startswith(begin))
    return next(found, "aws")


def _key_arn(key: str, place: str) -> str:
    if key.startswith("arn:") and ":key/" in key:
        return key
    _check("kms_key", key, _KEY_ID, "the ARN of a key (…:key/…), or its id; an alias is none")
    return f"{place}:key/{key}"
