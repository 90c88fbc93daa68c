"""The dead-letter queue of a queue on SQS: letters received, sent back, deleted.

SQS has no way to look at a message but to receive it, which hides it from others. So what is
received is hidden for a minute only, and made visible again as soon as it was looked at: whoever
is killed meanwhile keeps letters from others for no longer than that.

A letter that goes back is sent first and deleted then. Killed in between, it is there twice; a
second delivery of a job does nothing, and a letter is never lost.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from flowcraft.adapters.aws.batches import ENTRIES, Batches
from flowcraft.adapters.aws.failures import Resource, Service, translated
from flowcraft.adapters.aws.queue import SqsQueue
from flowcraft.adapters.aws.transport import AwsError
from flowcraft.errors import StorageBusy, StorageError, StorageUnavailable
from flowcraft.ports.clock import Clock
from flowcraft.ports.letters import BoxFacts, RawLetter, Refusal, Settled

logger = logging.getLogger("flowcraft")

HIDE_SECONDS: Final = 60
"""How long a letter is hidden that is being looked at, unless it is made visible before."""

BATCH_BYTES: Final = 262_144
"""What one request carries at most of letters that go back: what any queue takes (256 KiB)."""

SEND_BYTES: Final = 1_024
"""What an entry counts beside its body: its attributes, roughly."""

Renew = Callable[[str], Awaitable[None]]


class SqsDeadLetters:
    """The dead-letter queue of a queue (see ``flowcraft.ports.letters.LetterBox``).

    Call :meth:`open` before anything else.

    Args:
        queue: The queue whose letters these are; it is open.
        clock: Times the pauses between tries.
        renew: Keeps what a body refers to for as long as if it was sent now.
    """

    def __init__(self, queue: SqsQueue, clock: Clock, renew: Renew | None = None) -> None:
        self._queue = queue
        self._clock = clock
        self._renew = renew
        self._urls: dict[str, str] = {}
        self.arn = ""
        self.queue_arn = str(queue.attributes.get("QueueArn", ""))

    async def open(self) -> None:
        """Find the queue that messages go to when they were received too often.

        Raises:
            StorageUnavailable: There is none, or it cannot be used.
        """
        policy = self._queue.attributes.get("RedrivePolicy")
        source = _name(self.queue_arn) or self._queue.queue_url
        if not policy:
            raise StorageUnavailable(
                f"The queue '{source}' has no dead-letter queue: it has no redrive policy, so that "
                "a message that nobody can work on is delivered again and again until it expires. "
                "Create one ('flowcraft aws apply' does), and name it in the RedrivePolicy of the "
                "queue."
            )
        self.arn = str(json.loads(policy).get("deadLetterTargetArn", ""))
        self._urls[self.queue_arn] = self._queue.queue_url
        url = await self._url_of(self.arn)
        self._service = Service(self._queue.transport, Resource("queue", url))
        self._batches = Batches(self._service, url, self._clock)
        self._url = url

    @property
    def service(self) -> Service:
        """Carries requests about the dead-letter queue out."""
        return self._service

    async def _url_of(self, arn: str) -> str:
        """Where a queue is reached that is named by its ARN."""
        found = self._urls.get(arn)
        if found is None:
            found = self._urls[arn] = await self._ask_url(arn)
        return found

    async def _ask_url(self, arn: str) -> str:
        account, name = arn.split(":")[-2:] if ":" in arn else ("", arn)
        request = {"QueueName": name} | ({"QueueOwnerAWSAccountId": account} if account else {})
        try:
            answer = await self._queue.transport.call("GetQueueUrl", request)
        except AwsError as error:
            if error.code in ("AccessDenied", "AccessDeniedException"):
                # It is in the same account and region: SQS allows no other.
                return self._queue.queue_url.rstrip("/").rpartition("/")[0] + f"/{name}"
            if error.code in ("NonExistentQueue", "QueueDoesNotExist"):
                raise StorageUnavailable(
                    f"There is no queue '{name}' any more, which letters of the queue "
                    f"'{_name(self.queue_arn)}' are to go to or have come from. Create it, or "
                    "set another RedrivePolicy."
                ) from error
            raise translated(error, Resource("queue", name)) from error
        return str(answer["QueueUrl"])

    # -- looking ----------------------------------------------------------------------------

    async def facts(self) -> BoxFacts:
        """What is known of the queue; the counts are those of SQS, which may be a minute old."""
        answer = await self._service.call(
            "GetQueueAttributes", {"QueueUrl": self._url, "AttributeNames": ["All"]}
        )
        attributes = answer.get("Attributes", {})
        policy = attributes.get("RedrivePolicy")
        return BoxFacts(
            name=_name(self.arn),
            source=self.queue_arn,
            waiting=int(attributes.get("ApproximateNumberOfMessages", 0)),
            hidden=int(attributes.get("ApproximateNumberOfMessagesNotVisible", 0)),
            sources=await self._sources(),
            forwards_after=int(json.loads(policy)["maxReceiveCount"]) if policy else None,
            purgeable=True,
        )

    async def _sources(self) -> tuple[str, ...] | None:
        """The queues whose letters come here; ``None`` where nobody says, or may ask."""
        sources: list[str] = []
        request: dict[str, Any] = {"QueueUrl": self._url, "MaxResults": 1000}
        while True:
            try:
                answer = await self._queue.transport.call("ListDeadLetterSourceQueues", request)
            except ValueError:
                return None
            except AwsError as error:
                if error.status == 0:
                    raise translated(error, self._service.resource) from error
                return None
            sources += [self._arn_of(str(url)) for url in answer.get("queueUrls", ())]
            if not answer.get("NextToken"):
                return tuple(sources)
            request["NextToken"] = answer["NextToken"]

    def _arn_of(self, url: str) -> str:
        """The ARN of a queue in the region of this one."""
        account, name = url.rstrip("/").split("/")[-2:]
        return ":".join([*self.queue_arn.split(":")[:4], account, name])

    async def receive(self, limit: int, wait_seconds: float) -> Sequence[RawLetter]:
        """Some letters, hidden from now on for a minute."""
        answer = await self._service.call(
            "ReceiveMessage",
            {
                "QueueUrl": self._url,
                "MaxNumberOfMessages": max(1, min(limit, ENTRIES)),
                "WaitTimeSeconds": int(wait_seconds),
                "VisibilityTimeout": HIDE_SECONDS,
                "AttributeNames": ["All"],
                "MessageAttributeNames": ["All"],
            },
        )
        return [_letter(message) for message in answer.get("Messages", ())]

    async def hold(self, handles: Sequence[str]) -> float:
        """Hide letters for a minute from now on; one that is gone is left out."""
        await self._hide(handles, HIDE_SECONDS)
        return float(HIDE_SECONDS)

    async def release(self, handles: Sequence[str]) -> None:
        """Make letters visible; one that is gone, or is visible, is left out."""
        await self._hide(handles, 0)

    async def _hide(self, handles: Sequence[str], seconds: int) -> None:
        if not handles:
            return
        entries = [{"ReceiptHandle": handle, "VisibilityTimeout": seconds} for handle in handles]
        rejected = await self._batches.carry_out(
            "ChangeMessageVisibilityBatch", entries, [1] * len(entries), ENTRIES
        )
        for _, code, message in rejected:
            logger.debug("A dead letter could not be hidden or shown: %s: %s", code, message)

    # -- moving and deleting ----------------------------------------------------------------

    async def redrive(self, letters: Sequence[RawLetter]) -> Settled:
        """Send letters back, each to the queue that it came from, and then delete them here.

        A letter keeps its body, what its sender attached, its group, and its trace header. It
        gets a new id, and is received for the first time again.
        """
        targets: dict[str, list[RawLetter]] = {}
        for letter in letters:
            targets.setdefault(letter.source or self.queue_arn, []).append(letter)
        settled = Settled()
        for arn, group in targets.items():
            settled = _sum(settled, await self._redrive_to(arn, group))
            if settled.error is not None:
                break
        return settled

    async def _redrive_to(self, arn: str, letters: Sequence[RawLetter]) -> Settled:
        try:
            url = await self._url_of(arn)
            service = Service(self._queue.transport, Resource("queue", url))
            for letter in letters:
                await self._renewed(letter)
            entries = [_entry(letter) for letter in letters]
            sizes = [_size(entry) for entry in entries]
            batches = Batches(service, url, self._clock)
            rejected = await batches.carry_out("SendMessageBatch", entries, sizes, BATCH_BYTES)
        except StorageError as error:
            reason = f"it may not have been sent: {error}"
            return Settled(refused=_refusals(letters, reason), error=error)
        said = {place: f"{code}: {message}" for place, code, message in rejected}
        refused = [Refusal(letters[at].id, False, why) for at, why in said.items()]
        sent = [each for at, each in enumerate(letters) if at not in said]
        deleted = await self.delete(sent)
        there_twice = [Refusal(each.id, True, each.reason) for each in deleted.refused]
        return Settled(deleted.done, (*refused, *there_twice), deleted.error)

    async def _renewed(self, letter: RawLetter) -> None:
        """Keep what a letter refers to for as long as it may now be on the queue."""
        if self._renew is None:
            return
        try:
            await self._renew(letter.body)
        except StorageError as error:
            # It goes back as it is: whoever receives it says what is wrong.
            logger.warning("What letter %s refers to could not be renewed: %s", letter.id, error)

    async def delete(self, letters: Sequence[RawLetter]) -> Settled:
        """Delete letters for good; those that SQS refuses to delete are told."""
        if not letters:
            return Settled()
        entries = [{"ReceiptHandle": letter.handle} for letter in letters]
        try:
            rejected = await self._batches.carry_out(
                "DeleteMessageBatch", entries, [1] * len(entries), ENTRIES
            )
        except StorageError as error:
            return Settled(refused=_refusals(letters, str(error)), error=error)
        said = {place: f"{code}: {message}" for place, code, message in rejected}
        done = tuple(each.id for at, each in enumerate(letters) if at not in said)
        return Settled(done, tuple(Refusal(letters[at].id, False, why) for at, why in said.items()))

    async def purge(self) -> None:
        """Delete all messages of the queue, whosever they are; SQS takes up to a minute for it.

        Raises:
            StorageBusy: It was purged less than a minute ago.
        """
        try:
            await self._queue.transport.call("PurgeQueue", {"QueueUrl": self._url})
        except AwsError as error:
            if error.code == "PurgeQueueInProgress":
                raise StorageBusy(
                    f"The queue '{_name(self.arn)}' was purged less than a minute ago, and SQS "
                    "purges once a minute. Try again then."
                ) from error
            raise translated(error, self._service.resource) from error


def _name(arn: str) -> str:
    return arn.rpartition(":")[2]


def _letter(message: Mapping[str, Any]) -> RawLetter:
    attributes = {name: str(value) for name, value in message.get("Attributes", {}).items()}
    return RawLetter(
        id=message["MessageId"],
        handle=message["ReceiptHandle"],
        body=message.get("Body", ""),
        receives=int(attributes.get("ApproximateReceiveCount", "1")),
        sent_at=_seconds(attributes.get("SentTimestamp")),
        first_received_at=_seconds(attributes.get("ApproximateFirstReceiveTimestamp")),
        source=attributes.get("DeadLetterQueueSourceArn"),
        attributes=attributes,
        message_attributes=message.get("MessageAttributes", {}),
    )


def _seconds(milliseconds: str | None) -> float | None:
    return int(milliseconds) / 1000 if milliseconds else None


def _entry(letter: RawLetter) -> dict[str, Any]:
    """A letter as it is sent back: as it was, but for its id and its times."""
    entry: dict[str, Any] = {"MessageBody": letter.body}
    if letter.message_attributes:
        entry["MessageAttributes"] = {
            name: {
                part: value[part]
                for part in ("DataType", "StringValue", "BinaryValue")
                if part in value
            }
            for name, value in letter.message_attributes.items()
        }
    if trace := letter.attributes.get("AWSTraceHeader"):
        header = {"DataType": "String", "StringValue": trace}
        entry["MessageSystemAttributes"] = {"AWSTraceHeader": header}
    if group := letter.attributes.get("MessageGroupId"):
        entry["MessageGroupId"] = group
    return entry


def _size(entry: Mapping[str, Any]) -> int:
    attached = entry.get("MessageAttributes", {}).values()
    sizes = [
        len(str(each.get("StringValue", "")).encode()) + len(each.get("BinaryValue", b""))
        for each in attached
    ]
    return len(entry["MessageBody"].encode()) + sum(sizes) + SEND_BYTES


def _refusals(letters: Iterable[RawLetter], reason: str) -> tuple[Refusal, ...]:
    return tuple(Refusal(letter.id, False, reason) for letter in letters)


def _sum(one: Settled, two: Settled) -> Settled:
    return Settled(one.done + two.done, one.refused + two.refused, one.error or two.error)
