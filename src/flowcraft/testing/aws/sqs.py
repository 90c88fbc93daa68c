"""SQS in memory, at the level of its requests: with its limits, its refusals and its unkindness."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any, Final

from flowcraft.adapters.aws.transport import Answer, AwsError, Request
from flowcraft.adapters.waiting import Waiting
from flowcraft.ports.clock import Clock
from flowcraft.testing.aws.sqs_moves import Moves
from flowcraft.testing.aws.sqs_queue import (
    IN_FLIGHT_LIMIT,
    KIND,
    Choices,
    Dice,
    Entry,
    FakeQueue,
    SqsMessage,
    Unkindness,
)
from flowcraft.testing.aws.sqs_requests import (
    MAX_BATCH,
    MAX_VISIBILITY_SECONDS,
    MAX_WAIT_SECONDS,
    check_attributes,
    check_batch,
    check_message,
    check_name,
    check_parameters,
    check_range,
    readable_attributes,
    refused,
    size_of,
)

__all__ = ["KIND", "Choices", "FakeSqs", "SqsMessage", "Unkindness"]

ADDRESS: Final = "https://sqs.us-east-1.amazonaws.com/123456789012/"
BILLED_BYTES: Final = 65_536
"""Each part of this size of what a request carries is billed as a request."""

PAUSE_SECONDS: Final = 60.0
"""How long a queue's name cannot be used after it was deleted, and from purge to purge."""

_DEFAULTS: Final = {
    "VisibilityTimeout": "30",
    "DelaySeconds": "0",
    "MaximumMessageSize": "1048576",
    "MessageRetentionPeriod": "345600",
    "ReceiveMessageWaitTimeSeconds": "0",
    "SqsManagedSseEnabled": "true",
}


class FakeSqs:
    """SQS for tests: a transport (see ``flowcraft.adapters.aws.transport``) with queues in memory.

    Standard queues behave as AWS documents them: delays, visibility and the 12 hours from the
    receive that end it, receipt handles, redrive to a dead-letter queue and back, retention,
    limits of sizes and batches. What is given wrong is refused as boto3 or AWS would. FIFO queues
    can be made and looked at, but take no messages.

    With ``choices`` it is as unkind as a standard queue may be (:class:`Unkindness`); without,
    it is kind: messages come in order, each once, and every receive brings what is there.

    Args:
        clock: The time of the service; long polls wait on it.
        choices: Decides what happens; seeded, so that a test comes to the same each time.
        unkindness: How likely what is.
        in_flight_limit: How many messages of a queue may be received and not deleted at a time.

    Attributes:
        calls: How often each operation was called, refused calls among them.
        billed: How many requests AWS would bill for each operation: one for each 64 KB.
    """

    def __init__(
        self,
        clock: Clock,
        choices: Choices | None = None,
        unkindness: Unkindness | None = None,
        *,
        in_flight_limit: int = IN_FLIGHT_LIMIT,
    ) -> None:
        self.calls: Counter[str] = Counter()
        self.billed: Counter[str] = Counter()
        self._clock = clock
        kinds = unkindness or Unkindness()
        self._dice = Dice(choices, KIND if choices is None else kinds)
        self._in_flight_limit = in_flight_limit
        self._lock = threading.Lock()
        self._queues: dict[str, FakeQueue] = {}
        self._deleted_at: dict[str, float] = {}
        self._ids = itertools.count(1)
        self._requests = itertools.count(1)
        self._moves = Moves(self._queues, clock)
        self._handlers: dict[str, Callable[[Request], Answer]] = {
            "CreateQueue": self._create_queue,
            "GetQueueUrl": self._get_queue_url,
            "GetQueueAttributes": self._get_attributes,
            "SetQueueAttributes": self._set_attributes,
            "DeleteQueue": self._delete_queue,
            "PurgeQueue": self._purge_queue,
            "SendMessage": self._send,
            "SendMessageBatch": self._send_batch,
            "DeleteMessage": self._delete,
            "DeleteMessageBatch": self._delete_batch,
            "ChangeMessageVisibility": self._change,
            "ChangeMessageVisibilityBatch": self._change_batch,
            **self._moves.handlers,
        }

    # -- for tests --------------------------------------------------------------------------

    def create(self, name: str, **attributes: str | int) -> str:
        """Make a queue, such as ``create("jobs", VisibilityTimeout=5)``; gives its URL.

        Raises:
            AwsError: SQS would not make it.
        """
        texts = {name: str(value) for name, value in attributes.items()}
        with self._lock:
            answer = self._create_queue({"QueueName": name, "Attributes": texts})
        return str(answer["QueueUrl"])

    def arn(self, queue_url: str) -> str:
        """The ARN of a queue, as a redrive policy names it."""
        return self._queue(queue_url).arn

    def messages(self, queue_url: str) -> list[SqsMessage]:
        """All messages of a queue, in the order in which they were sent."""
        with self._lock:
            return list(self._queue(queue_url).messages(self._clock.now()))

    @property
    def total_calls(self) -> int:
        """How many requests there were."""
        return self.calls.total()

    # -- requests ---------------------------------------------------------------------------

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request; see ``Transport.call``.

        Raises:
            AwsError: It is refused.
        """
        self.calls[operation] += 1
        self.billed[operation] += 1
        try:
            check_parameters(operation, request)
            if operation == "ReceiveMessage":
                answer = await self._receive(request)
            else:
                with self._lock:
                    answer = self._handlers[operation](request)
        except AwsError as error:
            raise AwsError(
                error.code, error.message, operation=operation, status=error.status
            ) from None
        return self._stamped(answer)

    def _stamped(self, answer: Answer) -> Answer:
        date = formatdate(self._clock.now(), usegmt=True)
        metadata = {
            "RequestId": f"{next(self._requests):08x}",
            "HTTPStatusCode": 200,
            "HTTPHeaders": {"date": date},
            "RetryAttempts": 0,
        }
        return {**answer, "ResponseMetadata": metadata}

    def _queue(self, queue_url: str) -> FakeQueue:
        queue = self._queues.get(queue_url)
        if queue is None:
            raise refused("NonExistentQueue", "The specified queue does not exist.")
        return queue

    def _queue_for_messages(self, request: Request) -> FakeQueue:
        queue = self._queue(request["QueueUrl"])
        if queue.fifo:
            raise refused("UnsupportedOperation", "This fake keeps no messages of FIFO queues.")
        return queue

    # -- queues -----------------------------------------------------------------------------

    def _create_queue(self, request: Request) -> Answer:
        name, given = request["QueueName"], dict(request.get("Attributes", {}))
        check_name(name)
        fifo = name.endswith(".fifo")
        check_attributes(given, fifo=fifo)
        if fifo != (given.get("FifoQueue") == "true"):
            raise refused("InvalidParameterValue", "The name of a FIFO queue ends in .fifo.")
        url, now = ADDRESS + name, self._clock.now()
        if now < self._deleted_at.get(url, float("-inf")) + PAUSE_SECONDS:
            text = "You must wait 60 seconds after deleting a queue before you can create another."
            raise refused("QueueDeletedRecently", text)
        there = self._queues.get(url)
        if there is not None:
            if any(there.attributes.get(key) != value for key, value in given.items()):
                text = "A queue already exists with the same name and a different value."
                raise refused("QueueAlreadyExists", text)
            return {"QueueUrl": url}
        self._check_redrive(given, fifo=fifo)
        told = {"QueueArn": f"arn:aws:sqs:us-east-1:123456789012:{name}"}
        told |= {"CreatedTimestamp": str(int(now)), "LastModifiedTimestamp": str(int(now))}
        self._queues[url] = FakeQueue(
            name,
            {**_DEFAULTS, **given, **told},
            Waiting(self._clock),
            self._dice,
            self._in_flight_limit,
            self._bury,
        )
        return {"QueueUrl": url}

    def _check_redrive(self, attributes: Mapping[str, str], *, fifo: bool) -> None:
        policy = attributes.get("RedrivePolicy")
        if not policy:
            return
        try:
            data = json.loads(policy)
            arn, count = data["deadLetterTargetArn"], int(data["maxReceiveCount"])
        except (ValueError, KeyError, TypeError):
            text = f"Value {policy} for parameter RedrivePolicy is invalid."
            raise refused("InvalidParameterValue", text) from None
        target = self._by_arn(arn)
        if not 1 <= count <= 1000 or target is None or target.fifo != fifo:
            text = (
                f"Value {policy} for parameter RedrivePolicy is invalid. Reason: Dead letter "
                "target does not exist, or maxReceiveCount is not from 1 to 1000."
            )
            raise refused("InvalidParameterValue", text)

    def _by_arn(self, arn: str) -> FakeQueue | None:
        return next((queue for queue in self._queues.values() if queue.arn == arn), None)

    def _bury(self, arn: str, entry: Entry, source: str, now: float) -> None:
        target = self._by_arn(arn)
        if target is not None:
            target.adopt(entry, source, now)
            target.waiting.wake()

    def _get_queue_url(self, request: Request) -> Answer:
        url = ADDRESS + request["QueueName"]
        self._queue(url)
        return {"QueueUrl": url}

    def _get_attributes(self, request: Request) -> Answer:
        queue = self._queue(request["QueueUrl"])
        names = set(request.get("AttributeNames", ()))
        for name in names - {"All"}:
            if name not in readable_attributes(fifo=queue.fifo):
                raise refused("InvalidAttributeName", f"Unknown Attribute {name}.")
        states = Counter(message.state for message in queue.messages(self._clock.now()))
        attributes = {
            **queue.attributes,
            "ApproximateNumberOfMessages": str(states["visible"]),
            "ApproximateNumberOfMessagesNotVisible": str(states["in flight"]),
            "ApproximateNumberOfMessagesDelayed": str(states["delayed"]),
        }
        if "All" not in names:
            attributes = {name: value for name, value in attributes.items() if name in names}
        return {"Attributes": attributes} if attributes else {}

    def _set_attributes(self, request: Request) -> Answer:
        queue = self._queue(request["QueueUrl"])
        check_attributes(request["Attributes"], fifo=queue.fifo)
        if "FifoQueue" in request["Attributes"]:
            raise refused("InvalidAttributeName", "A queue's type cannot be changed.")
        self._check_redrive(request["Attributes"], fifo=queue.fifo)
        queue.attributes.update(request["Attributes"])
        queue.attributes["LastModifiedTimestamp"] = str(int(self._clock.now()))
        return {}

    def _delete_queue(self, request: Request) -> Answer:
        queue = self._queue(request["QueueUrl"])
        del self._queues[request["QueueUrl"]]
        self._deleted_at[request["QueueUrl"]] = self._clock.now()
        queue.purge()
        queue.waiting.wake()
        return {}

    def _purge_queue(self, request: Request) -> Answer:
        queue, now = self._queue(request["QueueUrl"]), self._clock.now()
        if now < queue.purged_at + PAUSE_SECONDS:
            text = f"Only one PurgeQueue operation on {queue.name} is allowed every 60 seconds."
            raise refused("PurgeQueueInProgress", text)
        queue.purged_at = now
        queue.purge()
        return {}

    # -- sending ----------------------------------------------------------------------------

    def _send(self, request: Request) -> Answer:
        queue = self._queue_for_messages(request)
        check_message(request, queue["MaximumMessageSize"])
        self._bill("SendMessage", size_of(request))
        sent = self._accept(queue, request)
        queue.waiting.wake()
        return sent

    def _send_batch(self, request: Request) -> Answer:
        queue = self._queue_for_messages(request)
        most = queue["MaximumMessageSize"]

        def send(entry: Mapping[str, Any]) -> Answer:
            check_message(entry, most)
            return self._accept(queue, entry)

        answer = self._batch("SendMessageBatch", request, send, most)
        self._bill("SendMessageBatch", sum(size_of(entry) for entry in request["Entries"]))
        queue.waiting.wake()
        return answer

    def _accept(self, queue: FakeQueue, message: Mapping[str, Any]) -> Answer:
        number = next(self._ids)
        message_id = f"{number:08x}-0000-4000-8000-{number:012x}"
        queue.send(message, message_id, self._clock.now())
        return {"MessageId": message_id, "MD5OfMessageBody": _md5(message["MessageBody"])}

    def _batch(
        self,
        operation: str,
        request: Request,
        carry_out: Callable[[Mapping[str, Any]], Answer],
        max_bytes: int = 0,
    ) -> Answer:
        """Carry out each entry by itself; those that fail are told beside the others."""
        check_batch(operation, request["Entries"], max_bytes)
        successful: list[Answer] = []
        failed: list[Answer] = []
        for entry in request["Entries"]:
            try:
                if self._dice.happens(self._dice.kinds.fails_entries):
                    raise AwsError("InternalError", "We encountered an error.", status=500)
                successful.append({"Id": entry["Id"], **carry_out(entry)})
            except AwsError as error:
                told = {"Id": entry["Id"], "Code": error.code, "Message": error.message}
                failed.append({**told, "SenderFault": error.status < 500})
        lists = {"Successful": successful, "Failed": failed}
        # boto3 leaves out the list that is empty.
        return {name: entries for name, entries in lists.items() if entries}

    def _bill(self, operation: str, size: int) -> None:
        self.billed[operation] += max(0, -(-size // BILLED_BYTES) - 1)

    # -- receiving --------------------------------------------------------------------------

    async def _receive(self, request: Request) -> Answer:
        queue = self._queue_for_messages(request)
        limit = request.get("MaxNumberOfMessages", 1)
        visibility = request.get("VisibilityTimeout", queue["VisibilityTimeout"])
        wait = request.get("WaitTimeSeconds", queue["ReceiveMessageWaitTimeSeconds"])
        check_range("MaxNumberOfMessages", limit, MAX_BATCH, 1)
        check_range("VisibilityTimeout", visibility, MAX_VISIBILITY_SECONDS)
        check_range("WaitTimeSeconds", wait, MAX_WAIT_SECONDS)
        if wait == 0 and queue.is_full(self._clock.now()):
            raise refused("OverLimit", "Too many messages in flight.", "ReceiveMessage")
        if self._dice.happens(self._dice.kinds.delivers_none):
            return {}
        taken = await self._poll(queue, limit, visibility, wait)
        if not taken:
            return {}
        messages = [_message(entry, handle, request) for entry, handle in taken]
        self._bill("ReceiveMessage", sum(len(message["Body"].encode()) for message in messages))
        return {"Messages": messages}

    async def _poll(
        self, queue: FakeQueue, limit: int, visibility: int, wait: int
    ) -> list[tuple[Entry, str]]:
        deadline = self._clock.now() + wait
        while True:
            place = queue.waiting.place()
            with self._lock:
                if queue not in self._queues.values():
                    raise refused("NonExistentQueue", "The specified queue does not exist.")
                now = self._clock.now()
                taken = queue.take(limit, visibility, now)
                due = queue.next_due()
            if taken or now >= deadline:
                queue.waiting.leave(place)
                return taken
            try:
                await queue.waiting.wait(place, min(deadline, due))
            except asyncio.CancelledError:
                with self._lock:
                    queue.abandon(deadline, limit, visibility)
                raise

    # -- deliveries -------------------------------------------------------------------------

    def _delete(self, request: Request) -> Answer:
        self._queue_for_messages(request).delete(request["ReceiptHandle"], self._clock.now())
        return {}

    def _delete_batch(self, request: Request) -> Answer:
        queue, now = self._queue_for_messages(request), self._clock.now()

        def delete(entry: Mapping[str, Any]) -> Answer:
            queue.delete(entry["ReceiptHandle"], now)
            return {}

        return self._batch("DeleteMessageBatch", request, delete)

    def _change(self, request: Request) -> Answer:
        queue = self._queue_for_messages(request)
        queue.change(request["ReceiptHandle"], request["VisibilityTimeout"], self._clock.now())
        queue.waiting.wake()
        return {}

    def _change_batch(self, request: Request) -> Answer:
        queue, now = self._queue_for_messages(request), self._clock.now()

        def change(entry: Mapping[str, Any]) -> Answer:
            if "VisibilityTimeout" not in entry:
                text = "The request must contain the parameter VisibilityTimeout."
                raise refused("MissingParameter", text)
            queue.change(entry["ReceiptHandle"], entry["VisibilityTimeout"], now)
            return {}

        answer = self._batch("ChangeMessageVisibilityBatch", request, change)
        queue.waiting.wake()
        return answer


def _message(entry: Entry, handle: str, request: Request) -> Answer:
    """A message as ReceiveMessage gives it; attributes only where they were asked for."""
    message: Answer = {
        "MessageId": entry.message_id,
        "ReceiptHandle": handle,
        "MD5OfBody": _md5(entry.body),
        "Body": entry.body,
    }
    names = {*request.get("AttributeNames", ()), *request.get("MessageSystemAttributeNames", ())}
    known = {
        "ApproximateReceiveCount": str(entry.receives),
        "SentTimestamp": _milliseconds(entry.sent_at),
        "ApproximateFirstReceiveTimestamp": _milliseconds(entry.first_received_at or 0.0),
        "SenderId": "AIDAEXAMPLE",
        "MessageGroupId": entry.group,
        "AWSTraceHeader": entry.trace,
        "DeadLetterQueueSourceArn": entry.source,
    }
    attributes = {
        name: value
        for name, value in known.items()
        if value is not None and (name in names or "All" in names)
    }
    if attributes:
        message["Attributes"] = attributes
    wanted = set(request.get("MessageAttributeNames", ()))
    own = {name: value for name, value in entry.attributes.items() if wanted & {name, "All", ".*"}}
    if own:
        message["MessageAttributes"] = own
    return message


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
