"""The fake of SQS has the limits and refusals of SQS."""

from __future__ import annotations

import asyncio
import json
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from flowcraft.adapters.aws.transport import AwsError
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws.sqs import FakeSqs
from tests.unit.runs import drive

MIB = 1_048_576


class Service:
    """A fake with one queue, called with few words; each call runs to its end."""

    def __init__(self, **attributes: str | int) -> None:
        self.clock = VirtualClock()
        self.sqs = FakeSqs(self.clock)
        self.url = self.sqs.create("jobs", **attributes)

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        return drive(self.sqs.call(operation, {"QueueUrl": self.url, **request}))

    def refuses(self, operation: str, **request: Any) -> str:
        with pytest.raises(AwsError) as raised:
            self.call(operation, **request)
        assert raised.value.operation == operation
        return raised.value.code

    def send(self, body: str = "a", **more: Any) -> str:
        return str(self.call("SendMessage", MessageBody=body, **more)["MessageId"])

    def receive(self, **more: Any) -> list[dict[str, Any]]:
        request = {"MaxNumberOfMessages": 10, "AttributeNames": ["All"], **more}
        messages: list[dict[str, Any]] = self.call("ReceiveMessage", **request).get("Messages", [])
        return messages

    def handle(self, **more: Any) -> str:
        (message,) = self.receive(**more)
        return str(message["ReceiptHandle"])

    def states(self) -> list[str]:
        return [message.state for message in self.sqs.messages(self.url)]


# --- requests ------------------------------------------------------------------------------


def test_an_answer_has_the_date_of_the_service() -> None:
    """Every answer carries the service's time, to the second, as HTTP writes it."""
    service = Service()
    service.clock.advance(1.75)
    date = service.call("GetQueueAttributes")["ResponseMetadata"]["HTTPHeaders"]["date"]
    assert parsedate_to_datetime(date).timestamp() == int(service.clock.now())


@pytest.mark.parametrize(
    "request_",
    [
        {"MessageBody": "a", "DelaySecond": 1},
        {"MessageBody": "a", "DelaySeconds": 1.5},
        {"MessageBody": "a", "DelaySeconds": True},
        {"MessageBody": b"a"},
        {},
    ],
)
def test_what_boto3_would_not_send_is_refused(request_: dict[str, Any]) -> None:
    """Unknown parameters, those of another kind and missing ones never reach SQS."""
    assert Service().refuses("SendMessage", **request_) == "ParamValidation"


def test_an_unknown_operation_is_refused() -> None:
    """What the fake cannot do it says; it does not answer as if it could."""
    assert Service().refuses("TagQueue", Tags={}) == "InvalidAction"


def test_calls_are_counted() -> None:
    """Each operation is counted, a refused one too; what AWS bills goes by 64 KB."""
    service = Service()
    service.send("x" * 65_536)
    service.send("x" * 65_537)
    service.refuses("SendMessage", MessageBody="")
    service.receive()
    assert service.sqs.calls == {"SendMessage": 3, "ReceiveMessage": 1}
    assert service.sqs.billed == {"SendMessage": 4, "ReceiveMessage": 3}
    assert service.sqs.total_calls == 4


# --- queues --------------------------------------------------------------------------------


def test_a_queue_that_is_not_there() -> None:
    """Every operation on an unknown queue has the same error."""
    service = Service()
    service.url += "-other"
    for operation, request in {
        "GetQueueAttributes": {},
        "SendMessage": {"MessageBody": "a"},
        "ReceiveMessage": {},
        "DeleteQueue": {},
    }.items():
        assert service.refuses(operation, **request) == "NonExistentQueue"
    with pytest.raises(AwsError, match="NonExistentQueue"):
        drive(service.sqs.call("GetQueueUrl", {"QueueName": "other"}))


def test_a_queue_is_made_once() -> None:
    """The same name and attributes give the same queue, other attributes are refused."""
    service = Service(VisibilityTimeout=5)
    assert service.sqs.create("jobs") == service.url
    assert service.sqs.create("jobs", VisibilityTimeout=5) == service.url
    with pytest.raises(AwsError, match="QueueAlreadyExists"):
        service.sqs.create("jobs", VisibilityTimeout=6)


def test_a_deleted_queue_needs_a_minute() -> None:
    """A name is free again 60 seconds after its queue was deleted; its messages are gone."""
    service = Service()
    service.send()
    service.call("DeleteQueue")
    service.clock.advance(59)
    with pytest.raises(AwsError, match="QueueDeletedRecently"):
        service.sqs.create("jobs")
    service.clock.advance(1)
    service.sqs.create("jobs")
    assert service.receive() == []


def test_a_queue_tells_its_attributes() -> None:
    """A standard queue tells defaults, counts by state, and nothing that only FIFO queues have."""
    service = Service(VisibilityTimeout=7)
    service.send()
    service.receive(MaxNumberOfMessages=1)
    service.send()
    service.send(DelaySeconds=5)
    attributes = service.call("GetQueueAttributes", AttributeNames=["All"])["Attributes"]
    assert attributes["VisibilityTimeout"] == "7"
    assert attributes["MaximumMessageSize"] == str(MIB)
    assert attributes["ApproximateNumberOfMessages"] == "1"
    assert attributes["ApproximateNumberOfMessagesNotVisible"] == "1"
    assert attributes["ApproximateNumberOfMessagesDelayed"] == "1"
    assert "FifoQueue" not in attributes
    assert "Attributes" not in service.call("GetQueueAttributes")
    some = service.call("GetQueueAttributes", AttributeNames=["QueueArn"])["Attributes"]
    assert some == {"QueueArn": service.sqs.arn(service.url)}
    code = service.refuses("GetQueueAttributes", AttributeNames=["FifoQueue"])
    assert code == "InvalidAttributeName"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VisibilityTimeout", "43201"),
        ("VisibilityTimeout", "-1"),
        ("DelaySeconds", "901"),
        ("MaximumMessageSize", str(MIB + 1)),
        ("MessageRetentionPeriod", "59"),
        ("ReceiveMessageWaitTimeSeconds", "21"),
    ],
)
def test_attributes_have_limits(name: str, value: str) -> None:
    """An attribute beyond its limits is refused."""
    assert Service().refuses("SetQueueAttributes", Attributes={name: value}) == (
        "InvalidAttributeValue"
    )


def test_a_fifo_queue_says_that_it_is_one() -> None:
    """FIFO queues can be made and looked at; the fake does not pretend to keep their messages."""
    service = Service()
    service.url = service.sqs.create("jobs.fifo", FifoQueue="true")
    attributes = service.call("GetQueueAttributes", AttributeNames=["All"])["Attributes"]
    assert attributes["FifoQueue"] == "true"
    assert service.refuses("SendMessage", MessageBody="a") == "UnsupportedOperation"
    with pytest.raises(AwsError, match=r"ends in \.fifo"):
        service.sqs.create("more.fifo")
    with pytest.raises(AwsError, match="InvalidAttributeName"):
        service.sqs.create("more", FifoQueue="true")


@pytest.mark.parametrize("name", ["", "a/b", "x" * 81, "a b"])
def test_names_have_limits(name: str) -> None:
    """A queue has 1 to 80 letters, digits, hyphens and underscores as its name."""
    with pytest.raises(AwsError, match="InvalidParameterValue"):
        Service().sqs.create(name)


def test_a_queue_is_purged_once_a_minute() -> None:
    """Purging forgets all messages, in flight or delayed, and may be done every 60 seconds."""
    service = Service()
    service.send()
    service.receive()
    service.send(DelaySeconds=5)
    service.call("PurgeQueue")
    assert service.states() == []
    assert service.refuses("PurgeQueue") == "PurgeQueueInProgress"
    service.clock.advance(60)
    service.call("PurgeQueue")


# --- sending -------------------------------------------------------------------------------


def test_a_delay_has_limits() -> None:
    """Messages are delayed by 0 to 900 seconds; the queue's own delay is for those without."""
    service = Service(DelaySeconds=10)
    assert service.refuses("SendMessage", MessageBody="a", DelaySeconds=901) == (
        "InvalidParameterValue"
    )
    assert service.refuses("SendMessage", MessageBody="a", DelaySeconds=-1) == (
        "InvalidParameterValue"
    )
    service.send("now", DelaySeconds=0)
    service.send("queue's")
    service.send("longest", DelaySeconds=900)
    assert service.states() == ["visible", "delayed", "delayed"]
    service.clock.advance(10)
    assert service.states() == ["visible", "visible", "delayed"]
    service.clock.advance(890)
    assert service.states() == ["visible"] * 3


@pytest.mark.parametrize("body", ["\0", "a\x0b", "\x1f", "\ufffe", "\uffff", "\ud800"])
def test_some_characters_are_refused(body: str) -> None:
    """What XML cannot hold is refused."""
    assert Service().refuses("SendMessage", MessageBody=body) == "InvalidMessageContents"


def test_other_characters_are_kept() -> None:
    """Everything else comes out as it went in."""
    service = Service()
    body = "\t\n\r \x7f\x80\ud7ff\ue000\ufffd😀"
    service.send(body)
    assert service.receive()[0]["Body"] == body


def test_a_message_has_1_mib() -> None:
    """The largest message is 1 MiB of UTF-8, less where the queue says so."""
    service = Service()
    service.send("x" * MIB)
    assert service.refuses("SendMessage", MessageBody="x" * (MIB + 1)) == "InvalidParameterValue"
    assert service.refuses("SendMessage", MessageBody="ä" * (MIB // 2 + 1)) == (
        "InvalidParameterValue"
    )
    service.call("SetQueueAttributes", Attributes={"MaximumMessageSize": "1024"})
    assert service.refuses("SendMessage", MessageBody="x" * 1025) == "InvalidParameterValue"


def entries(count: int, **more: Any) -> list[dict[str, Any]]:
    """Entries of a batch of messages."""
    return [{"Id": str(n), "MessageBody": str(n), **more} for n in range(count)]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ([], "EmptyBatchRequest"),
        (entries(11), "TooManyEntriesInBatchRequest"),
        ([*entries(1), *entries(1)], "BatchEntryIdsNotDistinct"),
        ([{"Id": "a b", "MessageBody": "a"}], "InvalidBatchEntryId"),
        ([{"Id": "x" * 81, "MessageBody": "a"}], "InvalidBatchEntryId"),
        ([{"Id": "a", "MessageBody": "x" * MIB}, *entries(1)], "BatchRequestTooLong"),
    ],
)
def test_batches_have_limits(given: list[dict[str, Any]], code: str) -> None:
    """A batch that is refused as a whole sends nothing."""
    service = Service()
    assert service.refuses("SendMessageBatch", Entries=given) == code
    assert service.states() == []


def test_an_entry_fails_by_itself() -> None:
    """What is wrong with one entry is told beside the others, which are sent."""
    service = Service()
    bad = [
        {"Id": "late", "MessageBody": "b", "DelaySeconds": 901},
        {"Id": "odd", "MessageBody": "\0"},
    ]
    answer = service.call("SendMessageBatch", Entries=[*entries(2), *bad])
    assert [entry["Id"] for entry in answer["Successful"]] == ["0", "1"]
    assert [(entry["Id"], entry["Code"], entry["SenderFault"]) for entry in answer["Failed"]] == [
        ("late", "InvalidParameterValue", True),
        ("odd", "InvalidMessageContents", True),
    ]
    assert sorted(message["Body"] for message in service.receive()) == ["0", "1"]
    assert "Failed" not in service.call("SendMessageBatch", Entries=entries(1))


# --- receiving -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MaxNumberOfMessages", 0),
        ("MaxNumberOfMessages", 11),
        ("WaitTimeSeconds", 21),
        ("WaitTimeSeconds", -1),
        ("VisibilityTimeout", 43_201),
    ],
)
def test_a_receive_has_limits(name: str, value: int) -> None:
    """Numbers beyond their limits are refused."""
    assert Service().refuses("ReceiveMessage", **{name: value}) == "InvalidParameterValue"


def test_attributes_are_told_to_those_who_ask() -> None:
    """Counts and times of a message come only where they were asked for, under either name."""
    service = Service(VisibilityTimeout=5)
    sent = service.clock.now()
    service.send(MessageGroupId="tenant")
    service.clock.advance(1.5)
    assert "Attributes" not in service.receive(AttributeNames=[])[0]
    service.clock.advance(5)
    (message,) = service.receive()
    assert message["Attributes"] == {
        "ApproximateReceiveCount": "2",
        "SentTimestamp": str(round(sent * 1000)),
        "ApproximateFirstReceiveTimestamp": str(round(sent * 1000) + 1500),
        "SenderId": "AIDAEXAMPLE",
        "MessageGroupId": "tenant",
    }
    service.clock.advance(5)
    names = ["ApproximateReceiveCount"]
    (message,) = service.receive(AttributeNames=[], MessageSystemAttributeNames=names)
    assert message["Attributes"] == {"ApproximateReceiveCount": "3"}


def test_attributes_of_a_message_are_kept() -> None:
    """A message's own attributes come with it where they were asked for."""
    service = Service(VisibilityTimeout=0)
    own = {"kind": {"DataType": "String", "StringValue": "x"}}
    service.send(MessageAttributes=own)
    assert "MessageAttributes" not in service.receive()[0]
    assert service.receive(MessageAttributeNames=["All"])[0]["MessageAttributes"] == own
    assert service.receive(MessageAttributeNames=["kind"])[0]["MessageAttributes"] == own


def test_a_message_without_visibility_comes_once_in_a_receive() -> None:
    """A visibility of 0 leaves a message to the next receive, not to the same one again."""
    service = Service(VisibilityTimeout=0)
    service.send()
    assert [m["Attributes"]["ApproximateReceiveCount"] for m in service.receive()] == ["1"]
    assert [m["Attributes"]["ApproximateReceiveCount"] for m in service.receive()] == ["2"]


def test_a_long_poll_ends_with_a_message_or_its_time() -> None:
    """A poll that waits is answered when something is sent or due, or empty at its end."""
    service = Service()

    async def story() -> None:
        request = {"QueueUrl": service.url, "WaitTimeSeconds": 20}
        begin = service.clock.now()
        poll = asyncio.create_task(service.sqs.call("ReceiveMessage", request))
        await service.clock.settle()
        service.clock.advance(19)
        await service.clock.settle()
        assert not poll.done()
        service.clock.advance(1)
        assert "Messages" not in await poll
        later = {"QueueUrl": service.url, "MessageBody": "a", "DelaySeconds": 5}
        await service.sqs.call("SendMessage", later)
        poll = asyncio.create_task(service.sqs.call("ReceiveMessage", request))
        await service.clock.settle()
        service.clock.advance(5)
        assert [message["Body"] for message in (await poll)["Messages"]] == ["a"]
        assert service.clock.now() == begin + 25

    drive(story())


def test_a_long_poll_ends_with_its_queue() -> None:
    """Who waits at a queue that is deleted is told so."""
    service = Service()

    async def story() -> None:
        request = {"QueueUrl": service.url, "WaitTimeSeconds": 20}
        poll = asyncio.create_task(service.sqs.call("ReceiveMessage", request))
        await service.clock.settle()
        await service.sqs.call("DeleteQueue", {"QueueUrl": service.url})
        with pytest.raises(AwsError, match="NonExistentQueue"):
            await poll

    drive(story())


def test_too_many_in_flight() -> None:
    """At the limit a short poll is refused and a long one is empty, until something is deleted."""
    service = Service()
    service.sqs = FakeSqs(service.clock, in_flight_limit=3)
    service.sqs.create("jobs")
    service.call("SendMessageBatch", Entries=entries(4))
    taken = service.receive()
    assert len(taken) == 3
    assert service.refuses("ReceiveMessage") == "OverLimit"
    service.call("DeleteMessage", ReceiptHandle=taken[0]["ReceiptHandle"])
    assert [message["Body"] for message in service.receive()] == ["3"]
    service.clock.advance(30)
    assert len(service.receive()) == 3


def test_messages_are_kept_for_a_time() -> None:
    """A message that nobody deletes is gone after the retention period, also if it was received."""
    service = Service(MessageRetentionPeriod=60)
    service.send()
    service.clock.advance(40)
    service.handle()
    service.send()
    service.clock.advance(20)
    assert service.states() == ["visible"]
    service.clock.advance(20)
    assert len(service.receive()) == 1


# --- deliveries ----------------------------------------------------------------------------


def test_an_old_handle_deletes_nothing() -> None:
    """Each receive has a handle of its own; an earlier one is heard without effect."""
    service = Service(VisibilityTimeout=5)
    service.send()
    old = service.handle()
    service.clock.advance(5)
    new = service.handle()
    assert old != new
    service.call("DeleteMessage", ReceiptHandle=old)
    assert service.states() == ["in flight"]
    service.call("DeleteMessage", ReceiptHandle=new)
    service.call("DeleteMessage", ReceiptHandle=new)
    assert service.states() == []


def test_a_handle_deletes_after_its_time() -> None:
    """A message that is visible again is deleted as long as nobody has received it since."""
    service = Service(VisibilityTimeout=5)
    service.send()
    handle = service.handle()
    service.clock.advance(6)
    assert service.states() == ["visible"]
    service.call("DeleteMessage", ReceiptHandle=handle)
    assert service.receive() == []


def test_what_is_no_handle_is_refused() -> None:
    """Something that SQS has not given out is no receipt handle."""
    service = Service()
    for handle in ("", "x", "jobs:1", "jobs:a:1", "other:1:1"):
        assert service.refuses("DeleteMessage", ReceiptHandle=handle) == "ReceiptHandleIsInvalid"
        code = service.refuses("ChangeMessageVisibility", ReceiptHandle=handle, VisibilityTimeout=1)
        assert code == "ReceiptHandleIsInvalid"


def test_what_is_not_in_flight_is_not_hidden() -> None:
    """Visibility is changed of a message in flight, by its last handle, and of no other."""
    service = Service(VisibilityTimeout=5)
    service.send()
    old = service.handle()
    change = {"ReceiptHandle": old, "VisibilityTimeout": 10}
    service.call("ChangeMessageVisibility", **change)
    service.clock.advance(9)
    assert service.receive() == []
    service.clock.advance(1)
    assert service.refuses("ChangeMessageVisibility", **change) == "MessageNotInflight"
    new = service.handle()
    assert service.refuses("ChangeMessageVisibility", **change) == "InvalidParameterValue"
    service.call("DeleteMessage", ReceiptHandle=new)
    change["ReceiptHandle"] = new
    assert service.refuses("ChangeMessageVisibility", **change) == "InvalidParameterValue"


def test_visibility_ends_12_hours_after_the_receive() -> None:
    """However often it is extended, a message is hidden for 12 hours from its receive at most."""
    service = Service()
    service.send()
    handle = service.handle(VisibilityTimeout=43_200)
    service.clock.advance(1)
    change: dict[str, Any] = {"ReceiptHandle": handle, "VisibilityTimeout": 43_200}
    with pytest.raises(AwsError, match="Total VisibilityTimeout") as raised:
        service.call("ChangeMessageVisibility", **change)
    assert raised.value.code == "InvalidParameterValue"
    service.call("ChangeMessageVisibility", **{**change, "VisibilityTimeout": 43_199})
    service.clock.advance(43_199)
    assert service.states() == ["visible"]


def test_a_visibility_of_0_gives_a_message_back() -> None:
    """A delivery that is hidden for 0 seconds is visible at once, and wakes who waits."""
    service = Service()

    async def story() -> None:
        await service.sqs.call("SendMessage", {"QueueUrl": service.url, "MessageBody": "a"})
        answer = await service.sqs.call("ReceiveMessage", {"QueueUrl": service.url})
        handle = answer["Messages"][0]["ReceiptHandle"]
        request = {"QueueUrl": service.url, "WaitTimeSeconds": 20}
        poll = asyncio.create_task(service.sqs.call("ReceiveMessage", request))
        await service.clock.settle()
        change = {"QueueUrl": service.url, "ReceiptHandle": handle, "VisibilityTimeout": 0}
        await service.sqs.call("ChangeMessageVisibility", change)
        assert len((await poll)["Messages"]) == 1

    drive(story())


def test_batches_of_deliveries_fail_by_entry() -> None:
    """Deleting and hiding in batches tells of each entry what became of it."""
    service = Service()
    service.send()
    handle = service.handle()
    both: list[dict[str, Any]] = [
        {"Id": "good", "ReceiptHandle": handle},
        {"Id": "bad", "ReceiptHandle": "x"},
    ]
    change = [{**entry, "VisibilityTimeout": 9} for entry in both]
    change.append({"Id": "lacking", "ReceiptHandle": handle})
    batches = [("ChangeMessageVisibilityBatch", change), ("DeleteMessageBatch", both)]
    for operation, given in batches:
        answer = service.call(operation, Entries=given)
        assert answer["Successful"] == [{"Id": "good"}]
        assert answer["Failed"][0]["Code"] == "ReceiptHandleIsInvalid"
        assert answer["Failed"][0]["SenderFault"] is True
        assert len(answer["Failed"]) == len(given) - 1
    assert service.states() == []


def test_a_message_received_too_often_goes_to_the_dead_letter_queue() -> None:
    """After ``maxReceiveCount`` receives the next one finds the message moved, with its source."""
    service = Service(VisibilityTimeout=1)
    dead = service.sqs.create("dead")
    policy = {"deadLetterTargetArn": service.sqs.arn(dead), "maxReceiveCount": 3}
    service.call("SetQueueAttributes", Attributes={"RedrivePolicy": json.dumps(policy)})
    message_id = service.send("bad")
    for _ in range(3):
        assert len(service.receive()) == 1
        service.clock.advance(1)
    assert service.sqs.messages(dead) == []
    assert service.receive() == []
    assert service.states() == []
    source, service.url = service.url, dead
    (message,) = service.receive()
    assert (message["MessageId"], message["Body"]) == (message_id, "bad")
    assert message["Attributes"]["DeadLetterQueueSourceArn"] == service.sqs.arn(source)


@pytest.mark.parametrize(
    "policy",
    [
        "none",
        "{}",
        json.dumps({"deadLetterTargetArn": "arn:aws:sqs:us-east-1:1:x", "maxReceiveCount": 3}),
        json.dumps(
            {"deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:jobs", "maxReceiveCount": 0}
        ),
    ],
)
def test_a_redrive_policy_has_to_make_sense(policy: str) -> None:
    """A policy that cannot be read, names no queue or no possible count is refused."""
    service = Service()
    code = service.refuses("SetQueueAttributes", Attributes={"RedrivePolicy": policy})
    assert code == "InvalidParameterValue"
