"""The queue on SQS: few requests, whole seconds, and nothing lost on the way."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from flowcraft.adapters.aws.queue import MAX_BYTES, SqsQueue
from flowcraft.adapters.aws.transport import Answer, AwsError, Request
from flowcraft.errors import StorageBusy, StorageError, StorageUnavailable
from flowcraft.ports.queue import Outgoing
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws.sqs import FakeSqs
from tests.unit.aws_sqs import Place, play
from tests.unit.runs import drive
from tests.unit.test_fake_sqs_unkind import Dice


async def nothing(place: Place) -> None:
    """A story without events."""


def refused_open(sqs: FakeSqs, url: str) -> StorageError:
    """The error of opening a queue that cannot be used."""
    with pytest.raises(StorageError) as raised:
        drive(SqsQueue(sqs, url, VirtualClock()).open())
    return raised.value


# --- opening -------------------------------------------------------------------------------


def test_the_queue_says_what_it_is_like() -> None:
    """Visibility, redrive and the rest are the queue's own; limits are those of SQS."""
    clock = VirtualClock()
    sqs = FakeSqs(clock)
    dead = sqs.arn(sqs.create("dead"))
    policy = json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": 7})
    queue = SqsQueue(sqs, sqs.create("jobs", VisibilityTimeout=45, RedrivePolicy=policy), clock)
    drive(queue.open())
    assert queue.visibility_seconds == 45.0
    assert queue.max_delay_seconds == 900.0
    assert queue.max_hold_seconds == 43_200.0
    assert queue.batch == 10
    assert queue.max_receives == 7
    assert queue.attributes["MessageRetentionPeriod"] == "345600"
    assert play(nothing).queue.max_receives is None


def test_a_fifo_queue_is_refused() -> None:
    """A FIFO queue is refused with the reason and the cure, by its name or what it says."""
    sqs = FakeSqs(VirtualClock())
    error = refused_open(sqs, sqs.create("jobs.fifo", FifoQueue="true"))
    assert isinstance(error, StorageUnavailable)
    assert "no delay for a single message" in str(error)
    assert "Create a standard queue" in str(error)
    assert sqs.total_calls == 0

    def says_so(*_: object) -> Answer:
        return {"Attributes": {"FifoQueue": "true", "VisibilityTimeout": "30"}}

    place = play(nothing)
    place.aws.meddle = says_so
    with pytest.raises(StorageUnavailable, match="is a FIFO queue"):
        drive(place.queue.open())


def test_a_missing_queue_is_named() -> None:
    """Where there is no queue the error says which, and where to look."""
    sqs = FakeSqs(VirtualClock())
    url = sqs.create("jobs") + "x"
    error = refused_open(sqs, url)
    assert isinstance(error, StorageUnavailable)
    assert url in str(error)
    assert "region" in str(error)


def test_a_queue_that_hides_nothing_is_refused() -> None:
    """With a visibility of 0 each message would be received for ever."""
    sqs = FakeSqs(VirtualClock())
    error = refused_open(sqs, sqs.create("jobs", VisibilityTimeout=0))
    assert "VisibilityTimeout is 0" in str(error)


# --- sending -------------------------------------------------------------------------------


def test_ten_messages_go_together() -> None:
    """25 messages are three requests."""

    async def story(place: Place) -> None:
        await place.queue.send([Outgoing(str(number)) for number in range(25)])

    place = play(story)
    assert [len(request["Entries"]) for request in place.aws.of("SendMessageBatch")] == [10, 10, 5]
    assert place.bodies() == sorted(map(str, range(25)))


def test_a_request_holds_what_fits() -> None:
    """Large messages are spread over requests by their bytes."""

    async def story(place: Place) -> None:
        await place.queue.send([Outgoing("ä" * (MAX_BYTES // 4)) for _ in range(3)])
        await place.queue.send([Outgoing("x" * MAX_BYTES), Outgoing("y")])

    place = play(story)
    assert [len(r["Entries"]) for r in place.aws.of("SendMessageBatch")] == [2, 1, 1, 1]
    assert len(place.bodies()) == 5


@pytest.mark.parametrize(
    ("body", "attributes", "text"),
    [
        ("x" * (MAX_BYTES + 1), {}, r"1048577 bytes.*takes 1048576"),
        ("x" * 2000, {"MaximumMessageSize": 1024}, r"2000 bytes.*takes 1024"),
        ("", {}, "an empty message"),
        ("a\0b", {}, r"the character '\\x00'"),
        ("not json \uffff", {}, r"the character '\\uffff'"),
    ],
    ids=["long", "longer than the queue's own limit", "empty", "control", "no character"],
)
def test_what_cannot_be_sent_is_refused_before(
    body: str, attributes: dict[str, Any], text: str
) -> None:
    """A message that SQS would not take is refused with the limit, and nothing is sent."""

    async def story(place: Place) -> None:
        with pytest.raises(StorageError, match=text) as raised:
            await place.queue.send([Outgoing("good"), Outgoing(body)])
        assert raised.value.is_fatal
        assert "Nothing was sent." in str(raised.value)

    assert play(story, **attributes).aws.requests == []


def test_json_is_sent_as_it_means() -> None:
    """Characters that SQS does not take are escaped in JSON, which stays what it was."""
    value = {"a": "\uffff\ufffe", "b": "ä😀\x7f"}

    async def story(place: Place) -> None:
        await place.queue.send([Outgoing(json.dumps(value, ensure_ascii=False))])
        (delivery,) = await place.queue.receive(1, 0)
        assert json.loads(delivery.body) == value

    play(story)


def test_delays_are_rounded_up() -> None:
    """SQS counts whole seconds: a message comes later rather than earlier, and no second more."""
    delays = [0.0, 0.001, 1.0, 1.0000000001, 1.2, 899.5, 900.0, -3.0]

    async def story(place: Place) -> None:
        await place.queue.send([Outgoing(str(delay), delay) for delay in delays])
        with pytest.raises(ValueError, match="900 s at most"):
            await place.queue.send([Outgoing("a", 900.1)])

    place = play(story, DelaySeconds=60)
    (request,) = place.aws.of("SendMessageBatch")
    told = [entry["DelaySeconds"] for entry in request["Entries"]]
    assert told == [0, 1, 1, 1, 2, 900, 900, 0]


def failed(entry: Request, code: str, *, sender: bool = False) -> Answer:
    """An entry that failed, as an answer tells it."""
    return {"Id": entry["Id"], "Code": code, "Message": "so", "SenderFault": sender}


class Flaky:
    """Some entries of batches fail for a number of times; the others are carried out."""

    def __init__(self, place: Place, times: int, ids: set[str], **more: Any) -> None:
        self.place = place
        self.times = times
        self.ids = ids
        self.more = more
        self.handled = 0

    def __call__(self, operation: str, request: Request) -> Answer | None:
        if self.handled == self.times:
            return None
        self.handled += 1
        good = [entry for entry in request["Entries"] if entry["Id"] not in self.ids]
        bad = [entry for entry in request["Entries"] if entry["Id"] in self.ids]
        answer: Answer = {"Failed": [failed(entry, **self.more) for entry in bad]}
        if good:
            handler = self.place.sqs._handlers[operation]
            answer |= handler({**request, "Entries": good})
        return answer


def test_entries_that_fail_are_sent_again_alone() -> None:
    """Of a batch of which two entries failed twice, those two are sent again, and no other."""

    async def story(place: Place) -> None:
        place.aws.meddle = Flaky(place, 2, {"1", "3"}, code="InternalError")
        sending = asyncio.create_task(
            place.queue.send([Outgoing(str(number)) for number in range(4)])
        )
        await place.pass_time(1)
        await sending

    place = play(story)
    ids = [[e["Id"] for e in r["Entries"]] for r in place.aws.of("SendMessageBatch")]
    assert ids == [["0", "1", "2", "3"], ["1", "3"], ["1", "3"]]
    assert place.bodies() == ["0", "1", "2", "3"]


def test_entries_that_keep_failing_are_given_up() -> None:
    """After six tries with growing pauses the queue counts as busy; what was sent stays."""

    async def story(place: Place) -> None:
        place.aws.meddle = Flaky(place, 99, {"1"}, code="AWS.SimpleQueueService.InternalError")
        begin = place.clock.now()
        sending = asyncio.create_task(place.queue.send([Outgoing("a"), Outgoing("b")]))
        await place.pass_time(10)
        with pytest.raises(StorageBusy, match=r"failed 1 of the entries.*\(InternalError\)"):
            await sending
        assert place.clock.now() == begin + 10

    place = play(story)
    assert len(place.aws.requests) == 6
    assert place.bodies() == ["a"]


def test_an_entry_that_is_refused_is_told() -> None:
    """A message that SQS refuses for what it is fails for good, when the others are sent."""

    async def story(place: Place) -> None:
        place.aws.meddle = Flaky(place, 1, {"0"}, code="InvalidMessageContents", sender=True)
        with pytest.raises(StorageError, match="1 of 2 messages: InvalidMessageContents") as raised:
            await place.queue.send([Outgoing("a"), Outgoing("b")])
        assert raised.value.is_fatal

    assert play(story).bodies() == ["b"]


# --- receiving -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "asked"),
    [(0, [0]), (0.02, [1]), (1, [1]), (1.5, [2]), (20, [20]), (45, [20, 20, 5])],
)
def test_waits_are_whole_seconds(seconds: float, asked: list[int]) -> None:
    """A wait is rounded up, and one that is longer than SQS allows is several."""

    async def story(place: Place) -> None:
        receiving = asyncio.create_task(place.queue.receive(50, seconds))
        await place.pass_time(60)
        assert list(await receiving) == []

    place = play(story)
    requests = place.aws.of("ReceiveMessage")
    assert [request["WaitTimeSeconds"] for request in requests] == asked
    assert {request["MaxNumberOfMessages"] for request in requests} == {10}


def test_a_receive_that_gave_up_hands_its_messages_to_the_next() -> None:
    """What a poll brings whose receiver was cancelled the next receive gets, at once."""

    async def story(place: Place) -> None:
        receiving = asyncio.create_task(place.queue.receive(1, 20))
        await place.clock.settle()
        receiving.cancel()
        with suppress(asyncio.CancelledError):
            await receiving
        begin = place.clock.now()
        await place.queue.send([Outgoing("a")])
        await place.clock.settle()
        deliveries = await place.queue.receive(1, 20)
        assert [(delivery.body, delivery.receives) for delivery in deliveries] == [("a", 1)]
        assert place.clock.now() == begin

    place = play(story)
    assert len(place.aws.of("ReceiveMessage")) == 1


def test_the_next_receive_waits_for_the_poll_that_is_under_way() -> None:
    """A poll that was left is joined: no second one is begun beside it, until it has ended."""

    async def story(place: Place) -> None:
        receiving = asyncio.create_task(place.queue.receive(1, 20))
        await place.clock.settle()
        receiving.cancel()
        await place.pass_time(15)
        again = asyncio.create_task(place.queue.receive(3, 2))
        await place.pass_time(2)
        assert list(await again) == []
        assert len(place.aws.of("ReceiveMessage")) == 1
        again = asyncio.create_task(place.queue.receive(3, 20))
        await place.pass_time(10)
        assert len(place.aws.of("ReceiveMessage")) == 2
        await place.queue.send([Outgoing("a")])
        assert [delivery.body for delivery in await again] == ["a"]

    play(story)


def test_what_was_kept_too_long_is_left_to_come_again() -> None:
    """A delivery whose visibility is half over is not handed out: it might be another's soon."""

    async def story(place: Place) -> None:
        receiving = asyncio.create_task(place.queue.receive(1, 20))
        await place.clock.settle()
        receiving.cancel()
        await place.clock.settle()
        await place.queue.send([Outgoing("a")])
        await place.pass_time(15)
        assert list(await place.queue.receive(1, 0)) == []
        await place.pass_time(15)
        (delivery,) = await place.queue.receive(1, 0)
        assert delivery.receives == 2

    play(story)


def test_closing_lets_polls_run_out_and_gives_back() -> None:
    """A poll that was left is not cancelled: it ends by itself, and its messages are visible."""

    async def story(place: Place) -> None:
        receiving = asyncio.create_task(place.queue.receive(1, 20))
        await place.clock.settle()
        receiving.cancel()
        await place.pass_time(5)
        closing = asyncio.create_task(place.queue.close())
        await place.pass_time(5)
        assert not closing.done()
        await place.sqs.call("SendMessage", {"QueueUrl": place.url, "MessageBody": "a"})
        await closing
        (message,) = place.sqs.messages(place.url)
        assert (message.state, message.receives) == ("visible", 1)

    play(story)


def test_trouble_of_a_poll_that_was_left_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An error that nobody waits for any more does not get lost, and harms nothing."""

    async def story(place: Place) -> None:
        receiving = asyncio.create_task(place.queue.receive(1, 20))
        await place.clock.settle()
        receiving.cancel()
        await place.clock.settle()
        await place.sqs.call("DeleteQueue", {"QueueUrl": place.url})
        await place.clock.settle()
        await place.queue.close()

    play(story)
    assert "A receive that was given up failed: There is no queue" in caplog.text


# --- deleting ------------------------------------------------------------------------------


async def received(place: Place, count: int) -> list[str]:
    """Handles of so many messages."""
    await place.queue.send([Outgoing(str(number)) for number in range(count)])
    handles: list[str] = []
    while len(handles) < count:
        handles += [delivery.handle for delivery in await place.queue.receive(10, 0)]
    return handles


def test_deletes_wait_for_each_other() -> None:
    """Calls within a tenth of a second share a request; each returns when it is done."""

    async def story(place: Place) -> None:
        handles = await received(place, 3)
        begin = place.clock.now()
        first = asyncio.create_task(place.queue.delete(handles[:1]))
        await place.pass_time(0.06)
        second = asyncio.create_task(place.queue.delete(handles[1:]))
        await place.clock.settle()
        assert place.bodies() == ["0", "1", "2"]
        await place.pass_time(0.05)
        await asyncio.gather(first, second)
        assert place.clock.now() - begin == pytest.approx(0.11)

    place = play(story)
    (request,) = place.aws.of("DeleteMessageBatch")
    assert len(request["Entries"]) == 3
    assert place.bodies() == []


def test_ten_deletes_wait_no_longer() -> None:
    """Ten handles are deleted at once, in one call or in several; what is beyond them waits."""

    async def story(place: Place) -> None:
        handles = await received(place, 35)
        begin = place.clock.now()
        first = asyncio.create_task(place.queue.delete(handles[:23]))
        await place.clock.settle()
        assert len(place.bodies()) == 15
        await asyncio.gather(first, *(place.queue.delete([each]) for each in handles[23:30]))
        assert place.clock.now() == begin
        rest = asyncio.create_task(place.queue.delete(handles[30:]))
        await place.pass_time(0.1)
        await rest

    place = play(story)
    sizes = [len(request["Entries"]) for request in place.aws.of("DeleteMessageBatch")]
    assert sizes == [10, 10, 10, 5]
    assert place.bodies() == []


def test_what_is_gone_is_deleted_without_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """Handles of deleted messages, old ones and such as SQS does not know do no harm."""

    async def story(place: Place) -> None:
        handles = await received(place, 2)
        await place.queue.delete(handles)
        await place.queue.delete([handles[0], "jobs:77:1", "not one of SQS"])
        await place.queue.extend([handles[0], "jobs:77:1", "not one of SQS"])

    play(story, options={"linger_seconds": 0})
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_trouble_with_a_delete_reaches_all_who_wait() -> None:
    """Each call that shares a request is told of its failure."""

    async def story(place: Place) -> None:
        handles = await received(place, 2)
        place.aws.meddle = lambda *_: AwsError("RequestThrottled", operation="DeleteMessageBatch")
        calls = [asyncio.create_task(place.queue.delete([handle])) for handle in handles]
        await place.pass_time(0.1)
        for call in calls:
            with pytest.raises(StorageBusy):
                await call

    place = play(story)
    assert len(place.aws.of("DeleteMessageBatch")) == 1


def test_a_delete_that_gave_up_is_carried_out() -> None:
    """A caller that is cancelled while it waits takes nothing back; the others are not harmed."""

    async def story(place: Place) -> None:
        handles = await received(place, 2)
        first, second = (asyncio.create_task(place.queue.delete([h])) for h in handles)
        await place.clock.settle()
        first.cancel()
        await place.pass_time(0.1)
        await second
        assert first.cancelled()

    assert play(story).bodies() == []


def test_closing_deletes_what_waits() -> None:
    """Deletes that wait for others are carried out when the queue is closed."""

    async def story(place: Place) -> None:
        (handle,) = await received(place, 1)
        deleting = asyncio.create_task(place.queue.delete([handle]))
        await place.clock.settle()
        await place.queue.close()
        await deleting

    assert play(story).bodies() == []


# --- extending -----------------------------------------------------------------------------


def test_deliveries_are_extended_in_tens() -> None:
    """25 deliveries are hidden for another timeout with three requests."""

    async def story(place: Place) -> None:
        handles = await received(place, 25)
        await place.pass_time(6)
        await place.queue.extend(handles)
        await place.pass_time(6)
        assert list(await place.queue.receive(10, 0)) == []

    place = play(story, VisibilityTimeout=7)
    assert [len(r["Entries"]) for r in place.aws.of("ChangeMessageVisibilityBatch")] == [10, 10, 5]


def test_the_end_of_12_hours_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A message that SQS hides no longer is warned of; the others are extended all the same."""

    async def story(place: Place) -> None:
        (old,) = await received(place, 1)
        for _ in range(11):
            place.clock.advance(3500)
            await place.queue.extend([old])
        assert caplog.records == []
        place.clock.advance(3500)
        (new,) = await received(place, 1)
        await place.queue.extend([old, new])
        place.clock.advance(100)
        (again,) = await place.queue.receive(10, 0)
        assert again.receives == 2

    play(story, VisibilityTimeout=3600)
    assert "have been in hand for nearly 12 hours" in caplog.text


def test_an_unkind_queue_loses_nothing() -> None:
    """Whatever a standard queue may do, every message is worked on and deleted in the end."""

    async def story(place: Place) -> None:
        expected = {str(number) for number in range(100)}
        sending = asyncio.create_task(
            place.queue.send([Outgoing(body, float(int(body) % 3)) for body in expected])
        )
        await place.pass_time(30)
        await sending
        seen: set[str] = set()
        for _ in range(1000):
            if not place.bodies():
                break
            receiving = asyncio.create_task(place.queue.receive(10, 2))
            await place.pass_time(3)
            deliveries = await receiving
            seen |= {delivery.body for delivery in deliveries}
            handles = [delivery.handle for delivery in deliveries]
            work = [
                asyncio.create_task(place.queue.extend(handles)),
                asyncio.create_task(place.queue.delete(handles)),
            ]
            await place.pass_time(10)
            await asyncio.gather(*work)
        assert place.bodies() == []
        assert seen == expected

    for seed in range(5):
        dice = Dice(seed)
        play(story, sqs=partial(FakeSqs, choices=dice))
