"""What a role of a template may do, on the resources of that template."""

from __future__ import annotations

from typing import Any

from flowcraft.provisioning.model import Fleet

Data = dict[str, Any]

_TABLES = {
    "Contexts": (
        *("GetItem", "BatchGetItem", "PutItem", "UpdateItem"),
        *("DeleteItem", "BatchWriteItem", "Scan"),
    ),
    "Statuses": (
        *("GetItem", "BatchGetItem", "PutItem", "UpdateItem"),
        *("DeleteItem", "Scan", "DescribeTable"),
    ),
    "Coordination": ("GetItem", "PutItem", "UpdateItem", "DeleteItem"),
}


def granted(role: str, fleet: Fleet) -> Data:
    """The policy of a role, whose resources are those of the template."""
    queue = ["GetQueueAttributes", "SendMessage"]
    if role == "worker":
        queue += ["ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility"]
    statements = [_statement("sqs", queue, "${Jobs.Arn}")]
    for name, actions in _TABLES.items():
        statements.append(_statement("dynamodb", actions, f"${{{name}.Arn}}"))
    statements.append(_statement("dynamodb", ["Query"], "${Statuses.Arn}/index/*"))
    if fleet.bucket is not None:
        actions = ("GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload")
        statements.append(_statement("s3", actions, "${Payloads.Arn}/*"))
        statements.append(_statement("s3", ["ListBucket"], "${Payloads.Arn}"))
    return {"Version": "2012-10-17", "Statement": statements}


def _statement(service: str, actions: Any, arn: str) -> Data:
    return {
        "Effect": "Allow",
        "Action": [f"{service}:{each}" for each in actions],
        "Resource": {"Fn::Sub": arn},
    }
