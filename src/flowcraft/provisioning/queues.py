"""Queues of SQS: how one is, and what makes it what a fleet needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from flowcraft.adapters.aws.failures import Resource, translated
from flowcraft.adapters.aws.transport import Answer, AwsError, Request, Transport
from flowcraft.provisioning.differences import (
    WHOLE,
    Call,
    Difference,
    Holding,
    Kind,
    Look,
    Step,
    foreign,
    settled,
    tag_difference,
)
from flowcraft.provisioning.model import VISIBILITY_SECONDS, Fleet, Queue

VISIBILITY: Final = "visibility timeout"
RETENTION: Final = "retention"
REDRIVE: Final = "dead letters"
ENCRYPTION: Final = "encryption"

_GONE: Final = ("NonExistentQueue", "QueueDoesNotExist")


class QueueKeeper:
    """Knows one queue.

    Args:
        transport: SQS.
        queue: What the queue is to be.
        fleet: The options.
    """

    kind: Kind = "queue"

    def __init__(self, transport: Transport, queue: Queue, fleet: Fleet) -> None:
        self._transport = transport
        self._queue = queue
        self._fleet = fleet

    @property
    def name(self) -> str:
        """How the queue is called."""
        return self._queue.name

    async def look(self) -> Look:
        """Read how the queue is; see ``Keeper.look``.

        Raises:
            StorageError: It cannot be read.
        """
        target = await self._target()
        url = await self.url(self.name)
        attributes = None if url is None else await self._attributes(url)
        if url is None or attributes is None:
            return Look([self._creation(target)])
        tags = await self._tags(url)
        if (refusal := foreign("queue", self.name, tags, self._fleet.prefix)) is not None:
            return Look([refusal])
        steps = [
            self._visibility(url, attributes),
            self._retention(url, attributes),
            self._redrive(url, attributes, target),
            self._encryption(url, attributes),
            self._tagging(url, tags),
        ]
        found = [step for step in steps if step is not None]
        return Look(settled("queue", self.name, found, tags))

    async def carry_out(self, call: Call) -> None:
        """Make a request of a step; see ``Keeper.carry_out``."""
        await self._transport.call(call.operation, call.request)

    async def holding(self) -> Holding | None:
        """What would be deleted; see ``Keeper.holding``."""
        url = await self.url(self.name)
        attributes = None if url is None else await self._attributes(url)
        if url is None or attributes is None:
            return None
        kinds = ("Messages", "MessagesNotVisible", "MessagesDelayed")
        count = sum(int(attributes.get(f"ApproximateNumberOf{kind}", 0)) for kind in kinds)
        return Holding(await self._tags(url), f"about {count:,} messages")

    async def delete(self, *, empty: bool) -> None:  # noqa: ARG002 - queues go with all in them
        """Delete the queue; see ``Keeper.delete``."""
        url = await self.url(self.name)
        if url is None:
            return
        try:
            await self._transport.call("DeleteQueue", {"QueueUrl": url})
        except AwsError as error:
            if error.code not in _GONE:
                raise

    # --- reading -------------------------------------------------------------------------------

    async def url(self, name: str) -> str | None:
        """The address of a queue, if there is one of that name."""
        answer = await self._read("GetQueueUrl", {"QueueName": name})
        return None if answer is None else str(answer["QueueUrl"])

    async def _attributes(self, url: str) -> dict[str, str] | None:
        request = {"QueueUrl": url, "AttributeNames": ["All"]}
        answer = await self._read("GetQueueAttributes", request)
        return None if answer is None else dict(answer.get("Attributes", {}))

    async def _tags(self, url: str) -> dict[str, str] | None:
        answer = await self._read("ListQueueTags", {"QueueUrl": url})
        return None if answer is None else dict(answer.get("Tags", {}))

    async def _target(self) -> str | None:
        """The ARN of the dead-letter queue, if there is to be one and it is there."""
        name = self._queue.dead_letters
        url = None if name is None else await self.url(name)
        attributes = None if url is None else await self._attributes(url)
        return None if attributes is None else attributes.get("QueueArn")

    async def _read(self, operation: str, request: Request) -> Answer | None:
        """An answer; ``None`` if there is no such queue."""
        try:
            return await self._transport.call(operation, request)
        except AwsError as error:
            if error.code in _GONE:
                return None
            raise translated(error, Resource("queue", self.name)) from error

    # --- what is different ---------------------------------------------------------------------

    def _creation(self, target: str | None) -> Step:
        queue = self._queue
        attributes = {"MessageRetentionPeriod": str(queue.retention_seconds)}
        told = f"kept for {_days(queue.retention_seconds)}"
        if queue.dead_letters is not None:
            seconds = queue.visibility_seconds or VISIBILITY_SECONDS
            attributes["VisibilityTimeout"] = str(seconds)
            told = f"visibility timeout {seconds} s, dead letters after {queue.max_receives}"
        if self._fleet.kms_key is not None:
            attributes["KmsMasterKeyId"] = self._fleet.kms_key
        if target is not None:
            attributes["RedrivePolicy"] = json.dumps(queue.redrive(target))
        request = {
            "QueueName": self.name,
            "Attributes": attributes,
            "tags": self._fleet.all_tags,
        }
        # Its dead-letter queue comes first: without it the queue would lack its redrive policy.
        can_be_created = queue.dead_letters is None or target is not None
        call = Call("CreateQueue", request) if can_be_created else None
        difference = Difference("queue", self.name, "create", WHOLE, "it is not there", after=told)
        return Step(difference, call)

    def _visibility(self, url: str, attributes: Mapping[str, str]) -> Step | None:
        wanted, there = self._queue.visibility_seconds, attributes.get("VisibilityTimeout", "")
        if wanted is None or there == str(wanted):
            return None
        changed = {"VisibilityTimeout": str(wanted)}
        return self._change(url, VISIBILITY, "asked for", f"{there} s", f"{wanted} s", changed)

    def _retention(self, url: str, attributes: Mapping[str, str]) -> Step | None:
        wanted = self._queue.retention_seconds
        there = int(attributes.get("MessageRetentionPeriod", wanted))
        # Whoever keeps jobs for longer does no harm.
        if there >= wanted:
            return None
        changed = {"MessageRetentionPeriod": str(wanted)}
        reason = "messages are lost when it ends"
        return self._change(url, RETENTION, reason, _days(there), _days(wanted), changed)

    def _redrive(self, url: str, attributes: Mapping[str, str], target: str | None) -> Step | None:
        name, most = self._queue.dead_letters, self._queue.max_receives
        if name is None:
            return None
        policy = _policy(attributes)
        there = str(policy.get("deadLetterTargetArn", ""))
        receives = int(policy.get("maxReceiveCount", 0))
        if target is not None and there == target and receives >= most:
            return None
        before = f"{there.rpartition(':')[2]} after {receives}" if there else ""
        after = f"{name} after {most}"
        if not there:
            reason = "what nobody can read would come again and again"
        elif there == target:
            reason = "healthy messages would be taken out of the queue"
        else:
            reason = "dead letters are looked for there"
        if target is None:
            difference = Difference("queue", self.name, "change", REDRIVE, reason, before, after)
            return Step(difference)
        changed = {"RedrivePolicy": json.dumps(self._queue.redrive(target))}
        return self._change(url, REDRIVE, reason, before, after, changed)

    def _encryption(self, url: str, attributes: Mapping[str, str]) -> Step | None:
        wanted, there = self._fleet.kms_key, attributes.get("KmsMasterKeyId", "")
        if wanted is None or there == wanted:
            return None
        changed = {"KmsMasterKeyId": wanted}
        return self._change(url, ENCRYPTION, "asked for", there or "by AWS", wanted, changed)

    def _tagging(self, url: str, tags: Mapping[str, str] | None) -> Step | None:
        changed = tag_difference("queue", self.name, tags or {}, self._fleet.all_tags)
        if changed is None:
            return None
        difference, lacking = changed
        return Step(difference, Call("TagQueue", {"QueueUrl": url, "Tags": lacking}))

    def _change(
        self,
        url: str,
        aspect: str,
        reason: str,
        before: str,
        after: str,
        attributes: Mapping[str, str],
    ) -> Step:
        difference = Difference("queue", self.name, "change", aspect, reason, before, after)
        request = {"QueueUrl": url, "Attributes": attributes}
        return Step(difference, Call("SetQueueAttributes", request))


def _policy(attributes: Mapping[str, str]) -> dict[str, Any]:
    text = attributes.get("RedrivePolicy")
    return dict(json.loads(text)) if text else {}


def _days(seconds: int) -> str:
    days = seconds / 86_400
    return f"{days:g} days" if days >= 1 else f"{seconds} s"
