"""A decision of IAM, as far as the policies of this package go: what a request needs, and has.

What a request needs is written down here once more, from the *Service Authorization Reference*, so
that a mistake in ``flowcraft.provisioning`` is not made twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

REGION = "eu-central-1"
ACCOUNT = "123456789012"
DEAD_LETTERS = "flowcraft-jobs-dead-letters"

SQS: Final = {
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
    "DeleteMessageBatch": "DeleteMessage",
    "SendMessageBatch": "SendMessage",
}
MOVING: Final = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
"""What whoever starts or cancels a task that moves messages needs besides, on where they are."""

S3: Final = {
    "CompleteMultipartUpload": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "DeleteObjects": "DeleteObject",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "HeadObject": "GetObject",
    "UploadPart": "PutObject",
}
TRANSACTED: Final = {
    "ConditionCheck": "ConditionCheckItem",
    "Delete": "DeleteItem",
    "Put": "PutItem",
    "Update": "UpdateItem",
}


class Access(NamedTuple):
    """What is decided about: an action on a resource, with what is known of the request."""

    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.action} on {self.resource}"


class Policy:
    """A document, and what it allows.

    Args:
        document: JSON data.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        assert document["Version"] == "2012-10-17"
        self.document = document

    def allows(self, access: Access) -> bool:
        """Whether some statement allows it, and none denies it."""
        effects = {each["Effect"] for each in self._about(access)}
        assert effects <= {"Allow", "Deny"}
        return effects == {"Allow"}

    def grants(self) -> Iterator[tuple[str, str, str]]:
        """Each statement's name, with each of its actions, on each of its resources."""
        for statement in self.document["Statement"]:
            for action in _list(statement["Action"]):
                for resource in _list(statement["Resource"]):
                    yield statement["Sid"], action, resource

    def _about(self, access: Access) -> Iterator[Mapping[str, Any]]:
        for statement in self.document["Statement"]:
            known = {"Sid", "Effect", "Action", "Resource", "Condition"}
            assert set(statement) <= known, f"a statement has more than is understood: {statement}"
            if (
                any(is_like(each, access.action) for each in _list(statement["Action"]))
                and any(is_like(each, access.resource) for each in _list(statement["Resource"]))
                and _holds(statement.get("Condition", {}), dict(access.context))
            ):
                yield statement


def is_like(pattern: str, text: str) -> bool:
    """Whether a text is what a pattern of IAM says: ``*`` is any text, ``?`` a character."""
    parts = {"*": ".*", "?": "."}
    return (
        re.fullmatch("".join(parts.get(c, re.escape(c)) for c in pattern), text, re.S) is not None
    )


def _holds(conditions: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    """Whether all conditions hold; one about what is not known of the request does not."""
    for operator, keys in conditions.items():
        assert operator in ("StringEquals", "StringLike"), f"{operator} is not understood"
        for key, wanted in keys.items():
            there = context.get(key)
            same = str.__eq__ if operator == "StringEquals" else is_like
            if there is None or not any(same(each, there) for each in _list(wanted)):
                return False
    return True


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def accesses(service: str, operation: str, request: Mapping[str, Any]) -> list[Access]:
    """All that has to be allowed for a request to be carried out."""
    find = {"sqs": _of_sqs, "dynamodb": _of_dynamodb, "s3": _of_s3}.get(service)
    if find is None:
        return [Access(f"{service}:{operation}", "*")]
    found = list(find(operation, request))
    assert found, f"what {operation} needs is not known"
    return found


def _of_sqs(operation: str, request: Mapping[str, Any]) -> Iterator[Access]:
    names = [request[key] for key in ("QueueUrl", "QueueName", "SourceArn") if key in request]
    # A task is named by a handle that SQS knows the queue of: the only one that there is here.
    name = re.split("[/:]", names[0])[-1] if names else DEAD_LETTERS
    actions = [SQS.get(operation, operation)]
    if operation in ("StartMessageMoveTask", "CancelMessageMoveTask"):
        actions += MOVING
    for action in actions:
        yield Access(f"sqs:{action}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
    if operation == "StartMessageMoveTask":
        source = name.removesuffix("-dead-letters")
        yield Access("sqs:SendMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{source}")


def _of_dynamodb(operation: str, request: Mapping[str, Any]) -> Iterator[Access]:
    if operation == "TransactWriteItems":
        for item in request["TransactItems"]:
            for kind, part in item.items():
                yield Access(f"dynamodb:{TRANSACTED[kind]}", table_arn(part["TableName"]))
    elif "RequestItems" in request:
        for name in request["RequestItems"]:
            yield Access(f"dynamodb:{operation}", table_arn(name))
    else:
        index = f"/index/{request['IndexName']}" if "IndexName" in request else ""
        yield Access(f"dynamodb:{operation}", table_arn(request["TableName"]) + index)


def table_arn(name: str) -> str:
    """The ARN of a table."""
    return f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"


def _of_s3(operation: str, request: Mapping[str, Any]) -> Iterator[Access]:
    bucket = f"arn:aws:s3:::{request['Bucket']}"
    if operation == "ListObjectsV2":
        yield listing(request["Bucket"], request.get("Prefix"))
    elif "Bucket" in operation or operation == "GetPublicAccessBlock":
        yield Access(f"s3:{S3.get(operation, operation)}", bucket)
    elif operation == "DeleteObjects":
        for each in request["Delete"]["Objects"]:
            yield Access("s3:DeleteObject", f"{bucket}/{each['Key']}")
    else:
        yield Access(f"s3:{S3.get(operation, operation)}", f"{bucket}/{request['Key']}")


def listing(bucket: str, prefix: str | None) -> Access:
    """To list what begins with a prefix; also what S3 asks for to say that a key is missing."""
    context = () if prefix is None else (("s3:prefix", prefix),)
    return Access("s3:ListBucket", f"arn:aws:s3:::{bucket}", context)
