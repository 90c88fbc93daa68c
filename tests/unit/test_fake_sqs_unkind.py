"""The fake of SQS does what a standard queue may do, decided by a seed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random
from typing import Any

from flowcraft.adapters.aws.transport import AwsError
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws.sqs import KIND, FakeSqs, Unkindness
from tests.unit.runs import drive

NOTHING: dict[str, Any] = {
    "shuffles": False,
    "delivers_twice": 0,
    "delivers_deleted": 0,
    "delivers_fewer": 0,
    "delivers_none": 0,
    "obeys_old_handles": 0,
    "fails_entries": 0,
    "swallows": 0,
}


class Dice:
    """Seeded choices."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def below(self, bound: int, /) -> int:
        return self._random.randrange(bound)

    def fraction(self) -> float:
        return self._random.random()


class Service:
    """A fake with one queue and some unkindness."""

    def __init__(self, seed: int = 1, **kinds: Any) -> None:
        self.clock = VirtualClock()
        unkindness = Unkindness(**{**NOTHING, **kinds})
        self.sqs = FakeSqs(self.clock, Dice(seed), unkindness)
        self.url = self.sqs.create("jobs", VisibilityTimeout=10)

    async def call(self, operation: str, **request: Any) -> dict[str, Any]:
        return await self.sqs.call(operation, {"QueueUrl": self.url, **request})

    async def send(self, *bodies: str) -> None:
        for body in bodies:
            await self.call("SendMessage", MessageBody=body)

    async def receive(self, **request: Any) -> list[dict[str, Any]]:
        answer = await self.call("ReceiveMessage", MaxNumberOfMessages=10, **request)
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        return messages

    async def bodies(self, **request: Any) -> list[str]:
        return [message["Body"] for message in await self.receive(**request)]


def test_without_choices_it_is_kind() -> None:
    """A fake that is given no choices does nothing of all this; one that is does all by default."""
    assert Unkindness(**NOTHING) == KIND
    assert all(getattr(Unkindness(), name) for name in NOTHING)

    async def story() -> None:
        clock = VirtualClock()
        sqs = FakeSqs(clock, unkindness=Unkindness(delivers_none=1, delivers_twice=1))
        url = sqs.create("jobs")
        for body in "abc":
            await sqs.call("SendMessage", {"QueueUrl": url, "MessageBody": body})
        request = {"QueueUrl": url, "MaxNumberOfMessages": 10}
        answer = await sqs.call("ReceiveMessage", request)
        assert [message["Body"] for message in answer["Messages"]] == ["a", "b", "c"]
        assert "Messages" not in await sqs.call("ReceiveMessage", request)

    drive(story())


def test_messages_come_in_any_order() -> None:
    """Messages are shuffled, by the seed: the same one gives the same order."""

    async def order(seed: int) -> list[str]:
        service = Service(seed, shuffles=True)
        await service.send(*"abcdefgh")
        return await service.bodies()

    orders = [drive(order(seed)) for seed in (1, 1, 2, 3)]
    assert orders[0] == orders[1]
    assert len({tuple(some) for some in orders}) == 3
    assert all(sorted(some) == list("abcdefgh") for some in orders)


def test_a_message_is_delivered_twice_at_once() -> None:
    """Two receivers hold one message; each of their handles hides, and either deletes it."""

    async def story() -> None:
        service = Service(delivers_twice=1)
        await service.send("a")
        (first,) = await service.receive()
        (second,) = await service.receive()
        assert first["MessageId"] == second["MessageId"]
        assert first["ReceiptHandle"] != second["ReceiptHandle"]
        for message in (first, second):
            change = {"ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 20}
            await service.call("ChangeMessageVisibility", **change)
        await service.call("DeleteMessage", ReceiptHandle=second["ReceiptHandle"])
        assert service.sqs.messages(service.url) == []

    drive(story())


def test_a_deleted_message_comes_again() -> None:
    """What was deleted may be delivered once more when its visibility has ended."""

    async def story() -> None:
        service = Service(delivers_deleted=1)
        await service.send("a")
        (message,) = await service.receive()
        await service.call("DeleteMessage", ReceiptHandle=message["ReceiptHandle"])
        assert await service.bodies() == []
        service.clock.advance(10)
        assert await service.bodies() == ["a"]

    drive(story())


def test_a_receive_brings_fewer() -> None:
    """A receive brings some of the messages, and later ones the rest."""

    async def story() -> None:
        service = Service(delivers_fewer=1)
        await service.send(*"abcdefgh")
        shares = [await service.bodies() for _ in range(20)]
        assert 1 <= len(shares[0]) < 8
        assert sorted(body for share in shares for body in share) == list("abcdefgh")

    drive(story())


def test_a_receive_brings_nothing() -> None:
    """A receive, also a long poll, may be empty at once although there are messages."""

    async def story() -> None:
        service = Service(delivers_none=0.5)
        await service.send("a")
        before = service.clock.now()
        answers: list[list[str]] = []
        while not answers or not answers[-1]:
            answers.append(await service.bodies(WaitTimeSeconds=20))
        assert len(answers) > 1
        assert service.clock.now() == before

    drive(story())


def test_an_old_handle_works() -> None:
    """A handle of an earlier receive may still delete the message, and hide it."""

    async def story() -> None:
        service = Service(obeys_old_handles=1)
        await service.send("a")
        (old,) = await service.receive()
        service.clock.advance(10)
        await service.receive()
        change = {"ReceiptHandle": old["ReceiptHandle"], "VisibilityTimeout": 100}
        await service.call("ChangeMessageVisibility", **change)
        service.clock.advance(99)
        assert await service.bodies() == []
        await service.call("DeleteMessage", ReceiptHandle=old["ReceiptHandle"])
        assert service.sqs.messages(service.url) == []

    drive(story())


def test_entries_fail() -> None:
    """Some entries of a batch fail for no fault of the sender, and are not carried out."""

    async def story() -> None:
        service = Service(fails_entries=0.5)
        entries = [{"Id": str(n), "MessageBody": str(n)} for n in range(10)]
        answer = await service.call("SendMessageBatch", Entries=entries)
        failed = {entry["Id"] for entry in answer["Failed"]}
        assert 0 < len(failed) < 10
        assert {entry["SenderFault"] for entry in answer["Failed"]} == {False}
        bodies = {message.body for message in service.sqs.messages(service.url)}
        assert bodies == {str(n) for n in range(10)} - failed

    drive(story())


async def give_up(service: Service, seconds: int = 20) -> None:
    """Begin a long poll and cancel it."""
    poll = asyncio.create_task(service.receive(WaitTimeSeconds=seconds))
    await service.clock.settle()
    poll.cancel()
    with suppress(asyncio.CancelledError):
        await poll


def test_a_poll_that_was_given_up_swallows_messages() -> None:
    """What is sent to it until its end is hidden for a visibility timeout, and comes then."""

    async def story() -> None:
        service = Service(swallows=1)
        await give_up(service)
        service.clock.advance(19)
        await service.send("a")
        await service.send("b")
        assert await service.bodies() == ["b"]
        service.clock.advance(10)
        assert sorted(await service.bodies()) == ["a", "b"]

    drive(story())


def test_a_poll_that_was_given_up_ends() -> None:
    """It takes nothing that comes after its end, and what gets visible before it takes then."""

    async def story() -> None:
        service = Service(swallows=1)
        await give_up(service, 5)
        service.clock.advance(6)
        await service.send("late")
        assert await service.bodies() == ["late"]
        await give_up(service, 5)
        await service.call("SendMessage", MessageBody="delayed", DelaySeconds=4)
        service.clock.advance(6)
        assert "delayed" not in await service.bodies()
        hidden = {m.body: m.visible_at for m in service.sqs.messages(service.url)}
        assert hidden["delayed"] == service.clock.now() - 1 + 10

    drive(story())


def test_everything_at_once_loses_nothing() -> None:
    """Whatever it does, each message is delivered at least once, and deleted in the end."""

    async def story(seed: int) -> None:
        service = Service(seed, **dict.fromkeys(NOTHING, 0.2))
        await service.send(*map(str, range(50)))
        seen: set[str] = set()
        for _ in range(2000):
            if not service.sqs.messages(service.url):
                break
            for message in await service.receive():
                seen.add(message["Body"])
                with suppress(AwsError):
                    await service.call("DeleteMessage", ReceiptHandle=message["ReceiptHandle"])
            service.clock.advance(1)
        assert service.sqs.messages(service.url) == []
        assert seen == {str(number) for number in range(50)}

    for seed in range(10):
        drive(story(seed))
