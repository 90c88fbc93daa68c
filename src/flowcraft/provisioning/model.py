"""What a fleet needs on AWS, as values: one model for plans, templates, tests and documents."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from flowcraft.adapters.aws.arguments import check_bucket
from flowcraft.adapters.aws.queue import MAX_RECEIVES

DEFAULT_PREFIX: Final = "flowcraft"

OWNER_TAG: Final = "flowcraft:fleet"
"""The tag that says to which fleet a resource belongs; its value is the prefix."""

CREATED_TAG: Final = "flowcraft:created"
"""The tag of a bucket that was created for a fleet, and not only taken into use by one."""

STATUS_INDEX: Final = "by-status"
TTL_ATTRIBUTE: Final = "ttl"

VISIBILITY_SECONDS: Final = 30
"""The visibility timeout of a queue that is created, unless it is said."""

JOBS_RETENTION_SECONDS: Final = 4 * 86_400
"""As SQS has it. What is lost after that, the reconciler sends anew from the record."""

DEAD_LETTERS_RETENTION_SECONDS: Final = 14 * 86_400
"""The longest that SQS keeps a message. It counts from the day on which it was first sent."""

ABORT_UPLOADS_DAYS: Final = 1

LONGEST_VISIBILITY_SECONDS: Final = 43_200
"""A quota of SQS: 12 hours."""

# A queue's name has 80 signs at most, and the longest of ours 18 after the prefix.
_PREFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,61}", re.ASCII)

_TAG_SIGNS: Final = re.compile(r"[\w\s.:/=+\-@]*")


@dataclass(frozen=True, slots=True)
class Index:
    """A global secondary index that has all attributes of its table.

    Attributes:
        name: What it is called.
        partition: The attribute by which items are gathered, a text.
        sort: The attribute by which they are sorted, a number.
    """

    name: str
    partition: str
    sort: str

    def creation(self) -> dict[str, Any]:
        """It as CreateTable, UpdateTable and CloudFormation take it."""
        return {
            "IndexName": self.name,
            "KeySchema": _keys(self.partition, self.sort),
            "Projection": {"ProjectionType": "ALL"},
        }

    def definitions(self) -> list[dict[str, str]]:
        """The types of its keys."""
        return [_attribute(self.partition, "S"), _attribute(self.sort, "N")]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of DynamoDB, billed on demand, whose key is one text.

    Attributes:
        name: What it is called.
        key: The attribute that is its partition key.
        index: The index that it has, if any.
    """

    name: str
    key: str
    index: Index | None = None

    def definitions(self) -> list[dict[str, str]]:
        """The types of its keys, and of those of its index."""
        of_index = [] if self.index is None else self.index.definitions()
        return [_attribute(self.key, "S"), *of_index]

    def creation(self) -> dict[str, Any]:
        """The request CreateTable: name, keys, index, and how it is billed.

        The properties of ``AWS::DynamoDB::Table`` have the same names.
        """
        index = {} if self.index is None else {"GlobalSecondaryIndexes": [self.index.creation()]}
        return {
            "TableName": self.name,
            "KeySchema": _keys(self.key),
            "AttributeDefinitions": self.definitions(),
            "BillingMode": "PAY_PER_REQUEST",
            **index,
        }

    def time_to_live(self) -> dict[str, Any]:
        """The request UpdateTimeToLive."""
        wanted = {"Enabled": True, "AttributeName": TTL_ATTRIBUTE}
        return {"TableName": self.name, "TimeToLiveSpecification": wanted}


@dataclass(frozen=True, slots=True)
class Queue:
    """A standard queue of SQS.

    Attributes:
        name: What it is called.
        retention_seconds: How long it keeps a message.
        visibility_seconds: How long a received message is hidden, if that matters.
        dead_letters: The name of the queue for what was received too often, if it has one.
        max_receives: How often is too often.
    """

    name: str
    retention_seconds: int
    visibility_seconds: int | None = None
    dead_letters: str | None = None
    max_receives: int = MAX_RECEIVES

    def redrive(self, dead_letters_arn: str) -> dict[str, Any]:
        """The value of its attribute ``RedrivePolicy``, as data.

        Args:
            dead_letters_arn: The ARN of its dead-letter queue.
        """
        return {"deadLetterTargetArn": dead_letters_arn, "maxReceiveCount": self.max_receives}


@dataclass(frozen=True, slots=True)
class Fleet:
    """All that a fleet needs on AWS, by one prefix.

    Args:
        prefix: What the names of queues and tables begin with.
        bucket: A bucket of S3 for large values and files; ``"bucket/with/a/prefix"`` is the same
            as ``"bucket"`` here. None by default.
        tags: Further tags of all of it.
        kms_key: A key of KMS that all of it is encrypted with: its ARN, its id or an alias. By
            default AWS encrypts with keys of its own.
        point_in_time_recovery: Whether tables can be put back to how they were at any second of
            the last 35 days; ``None`` leaves that as it is, which is off for new ones.
        deletion_protection: Whether tables refuse to be deleted; ``None`` leaves that as it is.
        visibility_timeout_seconds: How long a message that was received is hidden; ``None`` leaves
            it as it is, and is 30 s for a new queue.
        max_receives: How often a message is received before it is a dead letter (100).
        status_index: Whether the status table has the index by which runs that stand still are
            found without reading all rows. One that is there is never taken away.

    Raises:
        TypeError: Something is none of its kind.
        ValueError: A name, a tag or a number cannot be so on AWS.
    """

    prefix: str = DEFAULT_PREFIX
    bucket: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    kms_key: str | None = None
    point_in_time_recovery: bool | None = None
    deletion_protection: bool | None = None
    visibility_timeout_seconds: int | None = None
    max_receives: int = MAX_RECEIVES
    status_index: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.prefix, str) or not _PREFIX.fullmatch(self.prefix):
            raise ValueError(
                "The prefix has 1 to 62 of the signs a-z A-Z 0-9 _ -, the first a letter or a "
                f"digit, since the names of queues begin with it, and is not {self.prefix!r}."
            )
        if self.bucket is not None:
            check_bucket(self.bucket)
        _check_tags(self.tags)
        _check_number(
            "visibility_timeout_seconds",
            self.visibility_timeout_seconds,
            1,
            LONGEST_VISIBILITY_SECONDS,
        )
        _check_number("max_receives", self.max_receives, 1, 1_000)

    @property
    def jobs(self) -> Queue:
        """The queue of jobs."""
        return Queue(
            f"{self.prefix}-jobs",
            JOBS_RETENTION_SECONDS,
            self.visibility_timeout_seconds,
            self.dead_letters.name,
            self.max_receives,
        )

    @property
    def dead_letters(self) -> Queue:
        """The queue of messages that were received too often."""
        return Queue(f"{self.prefix}-jobs-dead-letters", DEAD_LETTERS_RETENTION_SECONDS)

    @property
    def contexts(self) -> Table:
        """The table of runs."""
        return Table(f"{self.prefix}-contexts", "runId")

    @property
    def statuses(self) -> Table:
        """The table that shows runs to people."""
        index = Index(STATUS_INDEX, "status", "lastUpdated") if self.status_index else None
        return Table(f"{self.prefix}-statuses", "runId", index)

    @property
    def coordination(self) -> Table:
        """The table of locks, timers and schedules."""
        return Table(f"{self.prefix}-coordination", "coordinationKey")

    @property
    def queues(self) -> tuple[Queue, ...]:
        """The queues, in the order in which they can be created."""
        return (self.dead_letters, self.jobs)

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables."""
        return (self.contexts, self.statuses, self.coordination)

    @property
    def bucket_name(self) -> str | None:
        """The name of the bucket alone."""
        return None if self.bucket is None else self.bucket.partition("/")[0]

    @property
    def all_tags(self) -> dict[str, str]:
        """The tags of each resource: those that were given, and whose it is."""
        return {**self.tags, OWNER_TAG: self.prefix}


def _keys(*names: str) -> list[dict[str, str]]:
    kinds = ("HASH", "RANGE")
    return [
        {"AttributeName": name, "KeyType": kind} for name, kind in zip(names, kinds, strict=False)
    ]


def _attribute(name: str, kind: str) -> dict[str, str]:
    return {"AttributeName": name, "AttributeType": kind}


def _check_number(name: str, value: Any, least: int, most: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is a whole number, not {value!r}.")
    if not least <= value <= most:
        raise ValueError(f"{name} is from {least:,} to {most:,}, not {value:,}.")


def _check_tags(tags: Mapping[str, str]) -> None:
    for name, value in tags.items():
        place = f"The tag {name!r}"
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"{place} is a text and has a text, not {value!r}.")
        if name.lower().startswith("aws:") or name in (OWNER_TAG, CREATED_TAG):
            raise ValueError(f"{place} cannot be given: it is AWS's, or says whose a resource is.")
        if not 0 < len(name) <= 128 or len(value) > 256:
            raise ValueError(f"{place} has 1 to 128 signs, and up to 256 in its value.")
        if not _TAG_SIGNS.fullmatch(name + value):
            raise ValueError(f"{place} and its value have letters, digits, spaces and _.:/=+-@.")
