"""The queue of jobs and the one for dead letters."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from flowcraft.adapters.aws.age import OPERATION, age_request, newest_age
from flowcraft.adapters.aws.failures import Resource
from flowcraft.adapters.aws.transport import AwsError
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.doctor.checking import CHECK_SECONDS, Check, Unchecked
from flowcraft.doctor.findings import Finding, Severity, error, note, ok, warning
from flowcraft.doctor.services import Services
from flowcraft.doctor.texts import counted, span

LONG_VISIBILITY_SECONDS: Final = 900
"""From here on the work of a worker that died waits for long."""

FEW_RECEIVES: Final = 10
ENOUGH_RECEIVES: Final = 100
"""Attempts are bounded in the record. What counts here are workers that die with a message in hand,
and tables that cannot be used: neither says anything against the message."""

DEFAULT_RETENTION_SECONDS: Final = 345_600
OLD_SECONDS: Final = 300.0
VERY_OLD_SECONDS: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Node:
    """A node that may take long.

    Attributes:
        blueprint_id: Its blueprint.
        node_id: The node.
        seconds: Its timeout.
    """

    blueprint_id: str
    node_id: str
    seconds: float

    def __str__(self) -> str:
        return f"node '{self.node_id}' of '{self.blueprint_id}' ({self.seconds:g} s)"


def longest_node(blueprints: Iterable[WorkflowBlueprint]) -> Node | None:
    """The node with the longest timeout; ``None`` if none has any."""
    nodes = (
        Node(blueprint.id, node.id, node.config.timeout_ms / 1000)
        for blueprint in blueprints
        for node in blueprint.nodes
        if node.config.timeout_ms is not None
    )
    return max(nodes, key=lambda node: node.seconds, default=None)


@dataclass(slots=True)
class QueueLook:
    """What is known of the queue, for the checks that need it.

    Attributes:
        name: The queue, by URL or name.
        url: Its address; empty as long as it was not found.
        attributes: What SQS says of it.
        dead_url: The address of its dead-letter queue; empty without one.
        trouble: Why it could not be looked at.
    """

    name: str
    url: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    dead_url: str = ""
    trouble: Unchecked | None = None

    @property
    def resource(self) -> Resource:
        """The queue, as errors speak of it."""
        return Resource("queue", self.name)

    def seconds(self, attribute: str, default: int) -> int:
        """A number of seconds among its attributes."""
        return int(self.attributes.get(attribute, default))


async def look_at_queue(services: Services, name: str) -> QueueLook:
    """Find the queue and read its attributes; what went wrong is in the result.

    Args:
        services: Whom to ask.
        name: Its URL or its name.
    """
    look = QueueLook(name)
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            look.url = await _url(services, name, look.resource)
            look.attributes = await _attributes(services, look.url, look.resource)
    except Unchecked as reason:
        look.trouble = reason
    except TimeoutError:
        text = f"SQS did not answer within {CHECK_SECONDS:g} s."
        look.trouble = Unchecked(text, "Look at network, endpoint and proxy.", Severity.ERROR)
    return look


async def _url(services: Services, name: str, resource: Resource) -> str:
    if "://" in name:
        return name
    answer = await services.ask("sqs", "GetQueueUrl", {"QueueName": name}, resource)
    return str(answer["QueueUrl"])


async def _attributes(services: Services, url: str, resource: Resource) -> Mapping[str, str]:
    request = {"QueueUrl": url, "AttributeNames": ["All"]}
    answer = await services.ask("sqs", "GetQueueAttributes", request, resource)
    attributes: Mapping[str, str] = answer.get("Attributes", {})
    return attributes


def queue_checks(
    services: Services,
    look: QueueLook,
    *,
    lease_seconds: float,
    longest: Node | None,
    now: float,
) -> list[Check]:
    """The checks of the queue.

    Args:
        services: Whom to ask.
        look: What is known of it.
        lease_seconds: The lease of the workers.
        longest: The node with the longest timeout, of the blueprints that are known here.
        now: The time, in seconds since the epoch.
    """
    where = str(look.resource)

    async def look_at_settings() -> Iterable[Finding]:
        if look.trouble is not None:
            raise look.trouble
        return [*_kind(look, where), *_visibility(look, lease_seconds, longest, where)]

    async def look_at_dead_letters() -> Iterable[Finding]:
        return [] if look.trouble else await _redrive(services, look, where)

    async def look_at_age() -> Iterable[Finding]:
        return [] if look.trouble else await _age(services, look, where, now)

    return [
        Check("queue", where, look_at_settings),
        Check("queue.redrive", where, look_at_dead_letters),
        Check("queue.age", where, look_at_age),
    ]


def _kind(look: QueueLook, where: str) -> Iterator[Finding]:
    if look.url.endswith(".fifo") or look.attributes.get("FifoQueue") == "true":
        yield error(
            "queue.kind",
            "It is a FIFO queue, which cannot be worked with.",
            where,
            "Create a standard queue.",
        )
        return
    waiting, hidden, delayed = (
        int(look.attributes.get(f"ApproximateNumberOfMessages{kind}", 0))
        for kind in ("", "NotVisible", "Delayed")
    )
    yield ok(
        "queue.kind",
        f"It is a standard queue, with about {counted(waiting, 'message')} waiting, {hidden} in "
        f"hand and {delayed} delayed.",
        where,
    )


def _visibility(
    look: QueueLook, lease_seconds: float, longest: Node | None, where: str
) -> Iterator[Finding]:
    """The time that a delivery is hidden, against what goes on in that time.

    A worker prolongs leases and deliveries every third of the shorter one, also while a node
    blocks its event loop: so no node is too long for a queue. In a Lambda function nothing is
    prolonged, so there it counts (``mappings.py``).
    """
    seconds = look.seconds("VisibilityTimeout", 30)
    nodes = "" if longest is None else f"; the longest is {longest}"
    if seconds < 1:
        yield error(
            "queue.visibility",
            "Its visibility timeout is 0: every message is received again and again.",
            where,
            "Set it to the lease of the workers, 30 seconds, or more.",
        )
    elif seconds < lease_seconds:
        yield warning(
            "queue.visibility",
            f"Its visibility timeout is {seconds} s, and the lease of workers {lease_seconds:g} s: "
            "a message of a worker that is slow, or gone, comes back while the lease stands, and "
            "is received in vain.",
            where,
            f"Set the visibility timeout to {math.ceil(lease_seconds)} s or more, or "
            "worker.lease_seconds to less.",
        )
    elif seconds > LONG_VISIBILITY_SECONDS:
        yield note(
            "queue.visibility",
            f"Its visibility timeout is {seconds} s: so long the work of a worker that dies waits "
            f"for another one. Workers prolong it while nodes run{nodes}.",
            where,
            "Set it to less, unless a Lambda function works on the queue.",
        )
    else:
        yield ok(
            "queue.visibility",
            f"Its visibility timeout is {seconds} s, the lease of workers {lease_seconds:g} s. "
            f"Workers prolong both while nodes run{nodes}.",
            where,
        )


# --- dead letters --------------------------------------------------------------------------


async def _redrive(services: Services, look: QueueLook, where: str) -> list[Finding]:
    policy = look.attributes.get("RedrivePolicy")
    if not policy:
        return [
            error(
                "queue.redrive",
                "It has no redrive policy: a message that cannot be worked on comes back until it "
                "expires, and then its run stands still without a trace.",
                where,
                "Run 'flowcraft aws apply', or give it a dead-letter queue with a maxReceiveCount "
                "of 100.",
            )
        ]
    try:
        told = json.loads(policy)
        target, receives = str(told["deadLetterTargetArn"]), int(told["maxReceiveCount"])
    except (ValueError, TypeError, LookupError):
        return [
            error(
                "queue.redrive",
                f"Its redrive policy cannot be read: {policy}",
                where,
                "Set it anew, with deadLetterTargetArn and maxReceiveCount.",
            )
        ]
    return [*_receives(receives, where), *await _dead_letters(services, look, target)]


def _receives(receives: int, where: str) -> Iterator[Finding]:
    text = f"A message is given up after {counted(receives, 'receive')}"
    reason = "each worker that dies with it in hand, and each trouble with a table, counts"
    cure = "Set maxReceiveCount to 100 or more."
    if receives < FEW_RECEIVES:
        yield warning("queue.receives", f"{text}: {reason}.", where, cure)
    elif receives < ENOUGH_RECEIVES:
        yield note("queue.receives", f"{text}: {reason}.", where, cure)
    else:
        yield ok("queue.receives", f"{text}.", where)


async def _dead_letters(services: Services, look: QueueLook, target: str) -> list[Finding]:
    name = target.rpartition(":")[2]
    resource = Resource("queue", name)
    where = f"dead-letter queue '{name}'"
    try:
        request: dict[str, str] = {"QueueName": name}
        account = target.split(":")[4] if target.count(":") >= 5 else ""
        if account:
            request["QueueOwnerAWSAccountId"] = account
        answer = await services.call("sqs", "GetQueueUrl", request)
        look.dead_url = str(answer["QueueUrl"])
        attributes = await _attributes(services, look.dead_url, resource)
    except AwsError as refusal:
        if refusal.code in ("NonExistentQueue", "QueueDoesNotExist"):
            return [
                error(
                    "queue.dead_letters",
                    "The redrive policy names it, and it does not exist: what is given up is lost.",
                    where,
                    "Run 'flowcraft aws apply', or create it, or name another one in the policy.",
                )
            ]
        text = f"It could not be looked at ({refusal.code}: {refusal.message})."
        return [note("queue.dead_letters", text, where, "Allow sqs:GetQueueUrl on it.")]
    except Unchecked as reason:
        return [Finding("queue.dead_letters", reason.severity, reason.reason, where, reason.cure)]
    return [*_count(attributes, where), *_retention(look, attributes, where)]


def _count(attributes: Mapping[str, str], where: str) -> Iterator[Finding]:
    count = int(attributes.get("ApproximateNumberOfMessages", 0))
    if count:
        yield warning(
            "queue.dead_letters",
            f"About {counted(count, 'dead letter')} there: work that nobody does any more.",
            where,
            "See what they are with 'flowcraft dlq list', mend it, then 'flowcraft dlq redrive'.",
        )
    else:
        yield ok("queue.dead_letters", "It is empty.", where)


def _retention(look: QueueLook, dead: Mapping[str, str], where: str) -> Iterator[Finding]:
    """A message that is moved keeps its age, so the second queue has to keep it for longer.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
    """
    ours = look.seconds("MessageRetentionPeriod", DEFAULT_RETENTION_SECONDS)
    theirs = int(dead.get("MessageRetentionPeriod", DEFAULT_RETENTION_SECONDS))
    text = f"It keeps messages for {span(theirs)}, the queue for {span(ours)}"
    if theirs < ours:
        yield error(
            "queue.retention",
            f"{text}: a message that comes there keeps its age, and may be deleted at once.",
            where,
            "Let it keep messages for 14 days (1209600 s), and the queue for less.",
        )
    elif theirs == ours:
        yield warning(
            "queue.retention",
            f"{text}: an old message that comes there is deleted soon, since it keeps its age.",
            where,
            "Let it keep messages for 14 days (1209600 s), and the queue for less.",
        )
    else:
        yield ok("queue.retention", f"{text}.", where)


# --- age -----------------------------------------------------------------------------------


async def _age(services: Services, look: QueueLook, where: str, now: float) -> list[Finding]:
    request = age_request(look.url, now)
    age = newest_age(await services.ask("cloudwatch", OPERATION, request))
    if age is None:
        return [
            note(
                "queue.age",
                "CloudWatch has no age of the oldest message of the last quarter of an hour: "
                "there was none, or the queue has not been used for hours.",
                where,
            )
        ]
    text = f"Its oldest message is {span(age)} old, CloudWatch says."
    cure = (
        "Start more workers, or see whether they fail: 'flowcraft list --status running', the "
        "log, and the findings about workers here."
    )
    if age >= VERY_OLD_SECONDS:
        return [error("queue.age", text, where, cure)]
    if age >= OLD_SECONDS:
        return [warning("queue.age", text, where, cure)]
    return [ok("queue.age", text, where)]
