"""What may be done with the resources: asked of IAM where that is allowed, else tried.

What is tried reads something that is not there, or cannot succeed: a write whose condition never
holds, a deletion of a delivery that there never was. It changes nothing, and costs as much as any
request. A message cannot be received without being hidden from workers, nor an object be written
without being there: of these rights only IAM can tell.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flowcraft.adapters.aws.transport import AwsError, Request
from flowcraft.doctor.checking import Check, Unchecked
from flowcraft.doctor.findings import Finding, error, note, ok
from flowcraft.doctor.services import DENIED, Services
from flowcraft.doctor.texts import few

NAME: Final = "permissions"
NOBODY: Final = "flowcraft-doctor"
"""A key that no item and no object has."""

_NEVER: Final = "attribute_exists({0}) AND attribute_not_exists({0})"
_ROLE: Final = re.compile(r"arn:([\w-]+):sts::(\d+):assumed-role/([^/]+)/.*")


@dataclass(frozen=True, slots=True)
class Probe:
    """A request that changes nothing, and tells whether an action is allowed.

    Attributes:
        action: As permissions name it, such as ``dynamodb:PutItem``.
        operation: The request; empty for an action that cannot be tried without harm.
        request: Its parameters.
    """

    action: str
    operation: str = ""
    request: Request | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A resource, and what a worker has to be allowed to do with it.

    Attributes:
        where: The resource, for people.
        service: Whose it is.
        arn: What policies call it; empty if that is not known.
        probes: What is to be allowed.
    """

    where: str
    service: str
    arn: str
    probes: tuple[Probe, ...]


def table_target(name: str, key: str, arn: str, *, purpose: str, index: str | None) -> Target:
    """A table.

    Args:
        name: Its name.
        key: Its partition key.
        arn: What policies call it.
        purpose: ``contexts``, ``statuses`` or ``coordination``.
        index: Its status index, if it has one.
    """
    item = {"TableName": name, "Key": {key: {"S": NOBODY}}}
    never = {"TableName": name, "ConditionExpression": _NEVER.format(key)}
    batch = {"RequestItems": {name: {"Keys": [{key: {"S": NOBODY}}]}}}
    probes = [
        Probe("dynamodb:GetItem", "GetItem", item),
        Probe("dynamodb:PutItem", "PutItem", {**never, "Item": {key: {"S": NOBODY}}}),
        Probe("dynamodb:UpdateItem", "UpdateItem", item | never),
        Probe("dynamodb:DeleteItem", "DeleteItem", item | never),
    ]
    if purpose != "coordination":
        probes += [
            Probe("dynamodb:BatchGetItem", "BatchGetItem", batch),
            Probe("dynamodb:Scan", "Scan", {"TableName": name, "Limit": 1}),
        ]
    if purpose == "contexts":
        probes.append(Probe("dynamodb:BatchWriteItem"))
    if purpose == "statuses":
        probes.append(Probe("dynamodb:DescribeTable", "DescribeTable", {"TableName": name}))
    if index is not None:
        probes.append(Probe("dynamodb:Query", "Query", _query(name, index)))
    return Target(f"table '{name}'", "dynamodb", arn, tuple(probes))


def _query(name: str, index: str) -> dict[str, Any]:
    return {
        "TableName": name,
        "IndexName": index,
        "KeyConditionExpression": "#status = :status",
        "ExpressionAttributeNames": {"#status": "status"},
        "ExpressionAttributeValues": {":status": {"S": NOBODY}},
        "Limit": 1,
    }


def queue_target(name: str, url: str, arn: str) -> Target:
    """The queue.

    Args:
        name: How people call it.
        url: Its address.
        arn: What policies call it.
    """
    of = {"QueueUrl": url}
    delivery = {**of, "ReceiptHandle": NOBODY}
    probes = (
        Probe("sqs:GetQueueAttributes", "GetQueueAttributes", of),
        Probe("sqs:SendMessage"),
        Probe("sqs:ReceiveMessage"),
        Probe("sqs:DeleteMessage", "DeleteMessage", delivery),
        Probe(
            "sqs:ChangeMessageVisibility",
            "ChangeMessageVisibility",
            {**delivery, "VisibilityTimeout": 0},
        ),
    )
    return Target(f"queue '{name}'", "sqs", arn, probes)


def bucket_target(payload_bucket: str) -> Target:
    """What is in the bucket.

    Args:
        payload_bucket: Its name, with the prefix if there is one.
    """
    bucket, _, prefix = payload_bucket.partition("/")
    key = f"{prefix}/{NOBODY}" if prefix else NOBODY
    probes = (
        Probe("s3:GetObject", "GetObject", {"Bucket": bucket, "Key": key}),
        Probe("s3:PutObject"),
        Probe("s3:DeleteObject"),
        Probe("s3:AbortMultipartUpload"),
    )
    return Target(f"bucket '{bucket}'", "s3", f"arn:aws:s3:::{bucket}/*", probes)


def permission_checks(
    services: Services, principal: str, find_targets: Callable[[], Awaitable[Sequence[Target]]]
) -> list[Check]:
    """The check of what whoever asks may do.

    Args:
        services: Whom to ask.
        principal: Who asks, as ``GetCallerIdentity`` says it.
        find_targets: Gives what a worker works with.
    """

    async def look() -> Iterable[Finding]:
        targets = await find_targets()
        simulated = await _simulated(services, principal, targets)
        if simulated is not None:
            return simulated
        found: list[Finding] = []
        for target in targets:
            found += await _tried(services, target)
        return found

    return [Check(NAME, "", look)]


# --- IAM -----------------------------------------------------------------------------------


def policy_source(principal: str) -> str | None:
    """Whose policies count for somebody who asks; ``None`` for the root user, and for nobody."""
    role = _ROLE.fullmatch(principal)
    if role is not None:
        partition, account, name = role.groups()
        return f"arn:{partition}:iam::{account}:role/{name}"
    return principal if ":user/" in principal else None


async def _simulated(
    services: Services, principal: str, targets: Sequence[Target]
) -> list[Finding] | None:
    """What IAM says; ``None`` if it may not be asked, or does not know.

    A role is named by its ARN without the path that it may have: then IAM does not find it.
    """
    source = policy_source(principal)
    if source is None or not all(target.arn for target in targets):
        return None
    found: list[Finding] = []
    for target in targets:
        request = {
            "PolicySourceArn": source,
            "ActionNames": [probe.action for probe in target.probes],
            "ResourceArns": _arns(target),
        }
        try:
            answer = await services.ask("iam", "SimulatePrincipalPolicy", request)
        except Unchecked:
            return None
        results = answer.get("EvaluationResults", ())
        if not results:
            return None
        found.append(_decided(target, list(_denied(results)), source))
    return found


def _arns(target: Target) -> list[str]:
    has_query = any(probe.action == "dynamodb:Query" for probe in target.probes)
    return [target.arn, f"{target.arn}/index/*"] if has_query else [target.arn]


def _denied(results: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Actions that are allowed on none of the resources: of table and index one has most."""
    for result in results:
        decisions = {result.get("EvalDecision", "")}
        decisions |= {
            each.get("EvalResourceDecision", "")
            for each in result.get("ResourceSpecificResults", ())
        }
        if "allowed" not in decisions:
            yield str(result.get("EvalActionName", "?"))


def _decided(target: Target, denied: list[str], source: str) -> Finding:
    if denied:
        return _missing(target, denied, f"by the policies of {source}")
    return ok(
        NAME, f"All that a worker needs is allowed, by the policies of {source}.", target.where
    )


def _missing(target: Target, denied: list[str], how: str) -> Finding:
    return error(
        NAME,
        f"Not allowed, {how}: {', '.join(denied)}.",
        target.where,
        f"Allow {few(denied, 20)} on it, if it is for workers that these credentials are.",
    )


# --- probes --------------------------------------------------------------------------------


async def _tried(services: Services, target: Target) -> list[Finding]:
    denied, unknown, reasons = [], [], []
    for probe in target.probes:
        if not probe.operation:
            unknown.append(probe.action)
            continue
        try:
            await services.call(target.service, probe.operation, probe.request or {})
        except AwsError as refusal:
            # Any other refusal comes after the permission was looked at.
            if refusal.code in DENIED:
                denied.append(probe.action)
            elif refusal.may_pass:
                unknown.append(probe.action)
                reasons.append(refusal.code)
    if denied:
        return [_missing(target, denied, "as AWS said when it was tried")]
    tried = [each.action for each in target.probes if each.action not in unknown]
    if not tried:
        text = f"Nothing could be tried: {few(sorted(set(reasons))) or 'no probe is harmless'}."
        return [note(NAME, text, target.where, "Look at network and endpoint, and try again.")]
    text = f"Allowed, as far as it was tried: {', '.join(tried)}."
    if not unknown:
        return [ok(NAME, text, target.where)]
    return [
        note(
            NAME,
            f"{text} Not tried, since that would not be harmless: {', '.join(unknown)}.",
            target.where,
            "Allow iam:SimulatePrincipalPolicy, and these are told, too.",
        )
    ]
