"""What may be done with the resources: asked of IAM where that is allowed, else tried.

What a role needs is in ``provisioning/permitted.py``, and nowhere else. What is tried reads
something that is not there, or cannot succeed: a write whose condition never holds, a deletion of a
delivery that there never was. It changes nothing, and costs as much as any request. A message
cannot be received without being hidden from workers, nor an object be written without being there:
of these rights only IAM can tell.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from flowcraft.adapters.aws.transport import AwsError
from flowcraft.doctor.checking import Check, Unchecked
from flowcraft.doctor.findings import Finding, error, note, ok
from flowcraft.doctor.services import DENIED, Services
from flowcraft.doctor.texts import few
from flowcraft.provisioning.permitted import SERVICES, Kind, Permission, Role, permissions
from flowcraft.provisioning.policies import Resources

NAME: Final = "permissions"
NOBODY: Final = "flowcraft-doctor"
"""A key that is asked for, and which nothing is done to whether or not there is such an item."""

_NEVER: Final = "attribute_exists({0}) AND attribute_not_exists({0})"
_ROLE: Final = re.compile(r"arn:([\w-]+):sts::(\d+):assumed-role/([^/]+)/.*")
_INDEXED: Final = {
    "KeyConditionExpression": "#status = :status",
    "ExpressionAttributeNames": {"#status": "status"},
    "ExpressionAttributeValues": {":status": {"S": NOBODY}},
    "Limit": 1,
}

Probe = Callable[[str, str], tuple[str, Mapping[str, Any]]]
"""Gives the request, and its parameters, for the name of a resource and its key."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The resources that are there.

    Attributes:
        names: What requests call them: names of tables, the address of the queue, the bucket.
        keys: The partition key of each table; what the keys of a bucket begin with; the index.
        resources: What policies call them; ``None`` if that is not known of all.
    """

    names: Mapping[Kind, str]
    keys: Mapping[Kind, str]
    resources: Resources | None


def _read(operation: str) -> Probe:
    return lambda name, key: (operation, {"TableName": name, "Key": {key: {"S": NOBODY}}})


def _write(operation: str) -> Probe:
    """A write whose condition never holds."""

    def probe(name: str, key: str) -> tuple[str, Mapping[str, Any]]:
        what = "Item" if operation == "PutItem" else "Key"
        never = {"TableName": name, "ConditionExpression": _NEVER.format(key)}
        return operation, {**never, what: {key: {"S": NOBODY}}}

    return probe


def _batch(name: str, key: str) -> tuple[str, Mapping[str, Any]]:
    return "BatchGetItem", {"RequestItems": {name: {"Keys": [{key: {"S": NOBODY}}]}}}


def _delivery(operation: str, **more: Any) -> Probe:
    return lambda url, _: (operation, {"QueueUrl": url, "ReceiptHandle": NOBODY, **more})


_PROBES: Final[Mapping[str, Probe]] = {
    "dynamodb:GetItem": _read("GetItem"),
    "dynamodb:PutItem": _write("PutItem"),
    "dynamodb:UpdateItem": _write("UpdateItem"),
    "dynamodb:DeleteItem": _write("DeleteItem"),
    "dynamodb:BatchGetItem": _batch,
    "dynamodb:Scan": lambda name, _: ("Scan", {"TableName": name, "Limit": 1}),
    "dynamodb:DescribeTable": lambda name, _: ("DescribeTable", {"TableName": name}),
    "dynamodb:Query": lambda name, index: (
        "Query",
        {"TableName": name, "IndexName": index, **_INDEXED},
    ),
    "sqs:GetQueueUrl": lambda url, _: ("GetQueueUrl", {"QueueName": url.rpartition("/")[2]}),
    "sqs:GetQueueAttributes": lambda url, _: ("GetQueueAttributes", {"QueueUrl": url}),
    "sqs:DeleteMessage": _delivery("DeleteMessage"),
    "sqs:ChangeMessageVisibility": _delivery("ChangeMessageVisibility", VisibilityTimeout=0),
    "s3:GetObject": lambda name, key: ("GetObject", {"Bucket": name, "Key": f"{key}{NOBODY}"}),
    "s3:ListBucket": lambda name, key: (
        "ListObjectsV2",
        {"Bucket": name, "Prefix": key, "MaxKeys": 1},
    ),
}
"""What can be tried without harm, by the action that it needs."""


def permission_checks(
    services: Services,
    principal: str,
    role: Role,
    find_targets: Callable[[], Awaitable[Targets]],
) -> list[Check]:
    """The check of what whoever asks may do.

    Args:
        services: Whom to ask.
        principal: Who asks, as ``GetCallerIdentity`` says it.
        role: What is to be allowed.
        find_targets: Gives the resources that are there.
    """

    async def look() -> Iterable[Finding]:
        targets = await find_targets()
        needed = [each for each in permissions(role) if each.kind in targets.names]
        simulated = await _simulated(services, principal, role, needed, targets)
        return simulated or await _tried(services, role, needed, targets)

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
    services: Services,
    principal: str,
    role: Role,
    needed: Sequence[Permission],
    targets: Targets,
) -> list[Finding]:
    """What IAM says; nothing if it may not be asked, or does not know.

    A role is named by its ARN without the path that it may have: then IAM does not find it.
    """
    source = policy_source(principal)
    if source is None or targets.resources is None:
        return []
    found: list[Finding] = []
    for kind, group in groupby(needed, key=lambda each: each.kind):
        actions = [each.action for each in group]
        request = {
            "PolicySourceArn": source,
            "ActionNames": actions,
            "ResourceArns": [arn.replace("*", NOBODY) for arn in targets.resources.arns(kind)],
            **_context(kind, targets.resources),
        }
        try:
            answer = await services.ask("iam", "SimulatePrincipalPolicy", request)
        except Unchecked:
            return []
        results = answer.get("EvaluationResults", ())
        if not results:
            return []
        denied = list(_denied(results))
        how = f"by the policies of {source}"
        where = _where(kind, targets)
        if denied:
            found.append(_missing(role, denied, how, where))
        else:
            text = f"All that a {role} needs is allowed, {how}."
            found.append(ok(NAME, text, where))
    return found


def _context(kind: Kind, resources: Resources) -> dict[str, Any]:
    """What conditions of policies ask for: buckets may be listed only by the keys of runs."""
    if kind != "bucket":
        return {}
    listed = resources.key_patterns()[0].replace("*", NOBODY)
    entry = {
        "ContextKeyName": "s3:prefix",
        "ContextKeyValues": [listed],
        "ContextKeyType": "string",
    }
    return {"ContextEntries": [entry]}


def _denied(results: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for result in results:
        if result.get("EvalDecision") != "allowed":
            yield str(result.get("EvalActionName", "?"))


def _missing(role: Role, denied: list[str], how: str, where: str) -> Finding:
    return error(
        NAME,
        f"A {role} needs {', '.join(denied)}, which is not allowed, {how}.",
        where,
        f"Allow it on this resource, as the policy of a {role} has it. If these are not the "
        "credentials of workers, say whose they are: --role.",
    )


def _where(kind: Kind, targets: Targets) -> str:
    name = targets.names[kind].rpartition("/")[2] if SERVICES[kind] == "sqs" else ""
    what = {
        "queue": f"queue '{name}'",
        "dead_letters": f"dead-letter queue '{name}'",
        "bucket": f"bucket '{targets.names[kind]}'",
        "objects": f"objects of bucket '{targets.names[kind]}'",
        "status_index": f"index '{targets.keys.get(kind, '')}'",
    }
    return what.get(kind, f"table '{targets.names[kind]}'")


# --- probes --------------------------------------------------------------------------------


async def _tried(
    services: Services, role: Role, needed: Sequence[Permission], targets: Targets
) -> list[Finding]:
    found, unknown = list[Finding](), list[str]()
    for kind, group in groupby(needed, key=lambda each: each.kind):
        where = _where(kind, targets)
        denied, allowed = list[str](), list[str]()
        for each in group:
            verdict = await _try(services, each, targets)
            {True: allowed, False: denied, None: unknown}[verdict].append(each.action)
        if denied:
            found.append(_missing(role, denied, "as AWS said when it was tried", where))
        elif allowed:
            found.append(ok(NAME, f"Allowed, as it was tried: {', '.join(allowed)}.", where))
    if unknown:
        text = f"Not known, since it cannot be tried without harm: {few(unknown, 20)}."
        found.append(
            note(NAME, text, "", "Allow iam:SimulatePrincipalPolicy, and it is told, too.")
        )
    return found


async def _try(services: Services, needed: Permission, targets: Targets) -> bool | None:
    """Whether something is allowed; ``None`` if nobody knows."""
    probe = _PROBES.get(needed.action)
    if probe is None or needed.kind == "dead_letters":
        return None
    operation, request = probe(targets.names[needed.kind], targets.keys.get(needed.kind, ""))
    try:
        await services.call(SERVICES[needed.kind], operation, request)
    except AwsError as refusal:
        if refusal.code in DENIED:
            return False
        # Any other refusal comes after the permission was looked at; trouble tells nothing.
        return None if refusal.may_pass else True
    return True
