"""What SQS asks of requests: names and kinds of parameters, limits, and how it refuses.

The numbers are those of AWS's documentation ("Amazon SQS message quotas" and the API reference),
with 1 MiB for messages and batches. Where the documentation leaves open what happens, the
stricter reading is taken here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from flowcraft.adapters.aws.transport import AwsError

MAX_BATCH: Final = 10
MAX_BYTES: Final = 1_048_576
MAX_DELAY_SECONDS: Final = 900
MAX_VISIBILITY_SECONDS: Final = 43_200
MAX_WAIT_SECONDS: Final = 20


class _Known(NamedTuple):
    """The parameters of an operation: of what kind each is, and which have to be there."""

    kinds: dict[str, Any]
    required: tuple[str, ...]


def _known(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, _Known]:
    return {
        operation: _Known(
            {name.rstrip("!"): kind for name, kind in table.items()},
            tuple(name[:-1] for name in table if name.endswith("!")),
        )
        for operation, table in tables.items()
    }


_MANY: Final = (list, tuple)
_MESSAGE: Final[dict[str, Any]] = {
    "MessageBody!": str,
    "DelaySeconds": int,
    "MessageAttributes": dict,
    "MessageSystemAttributes": dict,
    "MessageDeduplicationId": str,
    "MessageGroupId": str,
}
# A parameter whose name ends in "!" has to be there.
_PARAMETERS: Final = _known(
    {
        "CreateQueue": {"QueueName!": str, "Attributes": dict, "tags": dict},
        "GetQueueUrl": {"QueueName!": str, "QueueOwnerAWSAccountId": str},
        "GetQueueAttributes": {"QueueUrl!": str, "AttributeNames": _MANY},
        "SetQueueAttributes": {"QueueUrl!": str, "Attributes!": dict},
        "DeleteQueue": {"QueueUrl!": str},
        "PurgeQueue": {"QueueUrl!": str},
        "SendMessage": {"QueueUrl!": str, **_MESSAGE},
        "SendMessageBatch": {"QueueUrl!": str, "Entries!": _MANY},
        "ReceiveMessage": {
            "QueueUrl!": str,
            "AttributeNames": _MANY,
            "MessageSystemAttributeNames": _MANY,
            "MessageAttributeNames": _MANY,
            "MaxNumberOfMessages": int,
            "VisibilityTimeout": int,
            "WaitTimeSeconds": int,
            "ReceiveRequestAttemptId": str,
        },
        "DeleteMessage": {"QueueUrl!": str, "ReceiptHandle!": str},
        "DeleteMessageBatch": {"QueueUrl!": str, "Entries!": _MANY},
        "ChangeMessageVisibility": {
            "QueueUrl!": str,
            "ReceiptHandle!": str,
            "VisibilityTimeout!": int,
        },
        "ChangeMessageVisibilityBatch": {"QueueUrl!": str, "Entries!": _MANY},
        "ListDeadLetterSourceQueues": {"QueueUrl!": str, "NextToken": str, "MaxResults": int},
        "StartMessageMoveTask": {
            "SourceArn!": str,
            "DestinationArn": str,
            "MaxNumberOfMessagesPerSecond": int,
        },
        "ListMessageMoveTasks": {"SourceArn!": str, "MaxResults": int},
        "CancelMessageMoveTask": {"TaskHandle!": str},
    }
)
_ENTRIES: Final = _known(
    {
        "SendMessageBatch": {"Id!": str, **_MESSAGE},
        "DeleteMessageBatch": {"Id!": str, "ReceiptHandle!": str},
        "ChangeMessageVisibilityBatch": {
            "Id!": str,
            "ReceiptHandle!": str,
            "VisibilityTimeout": int,
        },
    }
)

# The least and the most that an attribute of a queue may be.
_ATTRIBUTE_RANGES: Final = {
    "DelaySeconds": (0, MAX_DELAY_SECONDS),
    "MaximumMessageSize": (1024, MAX_BYTES),
    "MessageRetentionPeriod": (60, 1_209_600),
    "ReceiveMessageWaitTimeSeconds": (0, MAX_WAIT_SECONDS),
    "VisibilityTimeout": (0, MAX_VISIBILITY_SECONDS),
}
_OTHER_ATTRIBUTES: Final = frozenset(
    {
        "Policy",
        "RedrivePolicy",
        "RedriveAllowPolicy",
        "KmsMasterKeyId",
        "KmsDataKeyReusePeriodSeconds",
        "SqsManagedSseEnabled",
    }
)
_FIFO_ATTRIBUTES: Final = frozenset(
    {"FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"}
)

_QUEUE_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo")
_ENTRY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
_GROUP_ID: Final = re.compile(r"[!-~]{1,128}")  # letters, digits and punctuation of ASCII
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def refused(code: str, message: str, operation: str = "") -> AwsError:
    """The error of a request that SQS refuses."""
    return AwsError(code, message, operation=operation)


def check_parameters(operation: str, request: Mapping[str, Any]) -> None:
    """Require the parameters that boto3 lets through.

    Raises:
        AwsError: The operation is none of SQS, or a parameter is missing, unknown or of another
            kind.
    """
    known = _PARAMETERS.get(operation)
    if known is None:
        raise refused("InvalidAction", f"SQS has no operation {operation} here.", operation)
    _check_kinds(operation, "", request, known)
    if operation in _ENTRIES:
        for number, entry in enumerate(request["Entries"]):
            _check_kinds(operation, f"Entries[{number}].", entry, _ENTRIES[operation])


def _check_kinds(operation: str, place: str, given: Mapping[str, Any], known: _Known) -> None:
    for name, value in given.items():
        kind = known.kinds.get(name)
        if kind is None:
            raise refused("ParamValidation", f"Unknown parameter {place}{name}", operation)
        if not isinstance(value, kind) or isinstance(value, bool):
            text = f"Invalid type of {place}{name}: {value!r}"
            raise refused("ParamValidation", text, operation)
    for name in known.required:
        if name not in given:
            raise refused("ParamValidation", f"Missing parameter {place}{name}", operation)


def check_batch(operation: str, entries: Sequence[Mapping[str, Any]], max_bytes: int) -> None:
    """Require a batch that SQS looks at the entries of.

    Raises:
        AwsError: The request as a whole is refused; nothing of it is done.
    """
    if not entries:
        raise refused("EmptyBatchRequest", "There should be at least one entry.", operation)
    if len(entries) > MAX_BATCH:
        text = f"Maximum number of entries per request are 10. You have sent {len(entries)}."
        raise refused("TooManyEntriesInBatchRequest", text, operation)
    ids = [entry["Id"] for entry in entries]
    for id_ in ids:
        if not _ENTRY_ID.fullmatch(id_):
            text = f"A batch entry id can have 1 to 80 of A-Z a-z 0-9 - _, which {id_!r} has not."
            raise refused("InvalidBatchEntryId", text, operation)
    if len(set(ids)) != len(ids):
        raise refused("BatchEntryIdsNotDistinct", "Two entries have the same id.", operation)
    if operation == "SendMessageBatch":
        size = sum(size_of(entry) for entry in entries)
        if size > max_bytes:
            text = f"Batch requests cannot be longer than {max_bytes} bytes. You sent {size}."
            raise refused("BatchRequestTooLong", text, operation)


def size_of(message: Mapping[str, Any]) -> int:
    """The bytes of a message that count: body, and names, types and values of attributes."""
    size = len(message.get("MessageBody", "").encode("utf-8", "surrogatepass"))
    for name, value in message.get("MessageAttributes", {}).items():
        content = value.get("StringValue", "").encode() or value.get("BinaryValue", b"")
        size += len(name.encode()) + len(value.get("DataType", "")) + len(content)
    return size


def check_message(message: Mapping[str, Any], max_bytes: int) -> None:
    """Require a message that a standard queue takes.

    Raises:
        AwsError: The message is refused.
    """
    body = message.get("MessageBody")
    if not body:
        raise refused("MissingParameter", "The request must contain the parameter MessageBody.")
    check_range("DelaySeconds", message.get("DelaySeconds", 0), MAX_DELAY_SECONDS)
    if size_of(message) > max_bytes:
        text = (
            "One or more parameters are invalid. Reason: Message must be shorter than "
            f"{max_bytes} bytes."
        )
        raise refused("InvalidParameterValue", text)
    if (found := _FORBIDDEN.search(body)) is not None:
        text = f"Invalid character {found.group()!a} at {found.start()} in the message body."
        raise refused("InvalidMessageContents", text)
    group = message.get("MessageGroupId")
    if group is not None and _GROUP_ID.fullmatch(group) is None:
        text = (
            f"Value {group} for parameter MessageGroupId is invalid. Reason: MessageGroupId can "
            "only include alphanumeric and punctuation characters. 1 to 128 in length."
        )
        raise refused("InvalidParameterValue", text)


def check_range(name: str, value: int, most: int, least: int = 0) -> None:
    """Require a number within its limits.

    Raises:
        AwsError: It is not.
    """
    if not least <= value <= most:
        text = (
            f"Value {value} for parameter {name} is invalid. Reason: Must be between {least} "
            f"and {most}, if provided."
        )
        raise refused("InvalidParameterValue", text)


def check_name(name: str) -> None:
    """Require a name that a queue may have.

    Raises:
        AwsError: It may not have it.
    """
    if not _QUEUE_NAME.fullmatch(name):
        text = (
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
        )
        raise refused("InvalidParameterValue", text)


def check_attributes(attributes: Mapping[str, str], *, fifo: bool) -> None:
    """Require attributes that a queue may be given.

    Raises:
        AwsError: One is unknown, or its value is not possible.
    """
    for name, value in attributes.items():
        if not isinstance(value, str):
            raise refused("ParamValidation", f"Invalid type of Attributes.{name}: {value!r}")
        if name in _FIFO_ATTRIBUTES and not fifo:
            raise refused("InvalidAttributeName", f"Unknown Attribute {name}.")
        if name in _ATTRIBUTE_RANGES:
            least, most = _ATTRIBUTE_RANGES[name]
            if not value.isdecimal() or not least <= int(value) <= most:
                raise refused("InvalidAttributeValue", f"Invalid value for the parameter {name}.")
        elif name not in _OTHER_ATTRIBUTES | _FIFO_ATTRIBUTES:
            raise refused("InvalidAttributeName", f"Unknown Attribute {name}.")


def readable_attributes(*, fifo: bool) -> frozenset[str]:
    """The names that may be asked for, beside ``All``."""
    told = {"QueueArn", "CreatedTimestamp", "LastModifiedTimestamp", "ApproximateNumberOfMessages"}
    told |= {"ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"}
    names = told | _ATTRIBUTE_RANGES.keys() | _OTHER_ATTRIBUTES
    return frozenset(names | _FIFO_ATTRIBUTES if fifo else names)
