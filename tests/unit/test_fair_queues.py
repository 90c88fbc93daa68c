"""Whose a message is: the fairness key of a run, from its start to every message of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.adapters.aws.queue import SqsQueue, group_id
from flowcraft.adapters.aws.transport import AwsError
from flowcraft.core.retry_policy import RetryPolicy
from flowcraft.ports.queue import Outgoing
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws.sqs import FakeSqs
from flowcraft.testing.aws.sqs_queue import NOISY_MESSAGES
from tests.unit.durable import World, play


class Spy:
    """A queue whose messages are noted."""

    def __init__(self, queue: Any, sent: list[Outgoing]) -> None:
        self._queue = queue
        self._sent = sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    async def send(self, messages: Any) -> None:
        """Send messages."""
        self._sent += messages
        await self._queue.send(messages)


def spied(world: World) -> list[Outgoing]:
    """The messages that a world sends from now on."""
    sent: list[Outgoing] = []
    ports = world.storage._ports
    world.storage._ports = ports._replace(queue=Spy(ports.queue, sent))
    world.ports = world.storage._ports
    return sent


async def flaky(ctx: Any) -> int:
    """Fail once."""
    if ctx.attempt == 1:
        raise ValueError("not yet")
    return 1


def everything() -> Any:
    """A flow that sends messages of all kinds."""
    child = create_flow("child").node("x", lambda ctx: 1, uses="x").sleep("s", "10m")
    child.edge("x", "s")
    retry = RetryPolicy(max_attempts=2, delay=60, jitter=False)
    flow = create_flow("all").node("a", flaky, uses="flaky", retry=retry)
    flow.subflow("c", child).node("list", lambda ctx: [1, 2, 3, 4, 5], uses="list")
    flow.batch("b", lambda ctx: ctx.input, uses="item").edge("list", "b")
    flow.edge("a", "c").edge("c", "list")
    return flow


@pytest.mark.parametrize("key", ["tenant-7", None])
def test_every_message_of_a_run_is_its_tenants(key: str | None) -> None:
    """Messages of a run, its child runs, shards, timers and retries have its key, or none."""

    async def work(world: World) -> None:
        world.shard_items = 2
        world.knows(everything())
        sent = spied(world)
        await world.process()
        await world.client.start_run("all", run_id="run", fairness_key=key)
        await world.settle()
        await world.client.pause_run("run")
        await world.settle()
        await world.client.continue_run("run")
        stored = await world.finish("run")
        assert (stored.status, stored.outputs["b_gather"]) == ("completed", [1, 2, 3, 4, 5])
        assert len(sent) > 10
        assert {each.group for each in sent} == {key}

    play(work)


def test_a_rerun_is_the_same_tenants() -> None:
    """A new run that takes over what another one achieved has its key."""

    async def work(world: World) -> None:
        world.knows(create_flow("one").node("a", lambda ctx: 1, uses="a"))
        sent = spied(world)
        await world.process()
        await world.client.start_run("one", run_id="run", fairness_key="tenant-7")
        await world.finish("run")
        again = await world.client.rerun_from("run", "a")
        await world.finish(str(again))
        assert {each.group for each in sent} == {"tenant-7"}

    play(work)


@pytest.mark.parametrize("key", ["", 7, "x" * 257], ids=["empty", "number", "long"])
def test_a_fairness_key_is_a_text(key: Any) -> None:
    """What is no text, an empty one, or a very long one is refused at the start."""

    async def work(world: World) -> None:
        world.knows(create_flow("one").node("a", lambda ctx: 1, uses="a"))
        with pytest.raises((TypeError, ValueError), match="fairness_key"):
            await world.client.start_run("one", fairness_key=key)

    play(work)


def test_groups_are_what_sqs_takes() -> None:
    """A key of plain characters is the group itself, another one is told apart by its hash."""
    assert group_id("tenant:7/eu!~") == "tenant:7/eu!~"
    for key in ("ä", "a b", "x" * 129, "\ud800"):
        assert len(group_id(key)) == 64
    assert group_id("a b") != group_id("a  b")


def test_groups_reach_the_queue() -> None:
    """A message is sent with its group, and one that is nobody's with none."""
    clock = VirtualClock()
    sqs = FakeSqs(clock)
    url = sqs.create("jobs")

    async def work() -> list[str | None]:
        queue = SqsQueue(sqs, url, clock)
        await queue.open()
        await queue.send([Outgoing("a", group="tenant-7"), Outgoing("b", group="ä"), Outgoing("c")])
        request = {"QueueUrl": url, "MaxNumberOfMessages": 10, "AttributeNames": ["All"]}
        answer = await sqs.call("ReceiveMessage", request)
        await queue.close()
        return [each["Attributes"].get("MessageGroupId") for each in answer["Messages"]]

    assert asyncio.run(work()) == ["tenant-7", group_id("ä"), None]


def test_the_fake_refuses_groups_that_sqs_refuses() -> None:
    """The fake takes 128 plain characters as a group, and nothing else."""
    sqs = FakeSqs(VirtualClock())
    url = sqs.create("jobs")
    for group in ("ä", "a b", "", "x" * 129):
        request = {"QueueUrl": url, "MessageBody": "x", "MessageGroupId": group}
        with pytest.raises(AwsError, match="MessageGroupId"):
            asyncio.run(sqs.call("SendMessage", request))


def _received(sqs: FakeSqs, url: str, count: int) -> list[str]:
    async def receive() -> list[str]:
        bodies: list[str] = []
        for _ in range(count):
            answer = await sqs.call("ReceiveMessage", {"QueueUrl": url})
            bodies += [each["Body"] for each in answer.get("Messages", ())]
        return bodies

    return asyncio.run(receive())


def _send(sqs: FakeSqs, url: str, count: int, group: str | None) -> None:
    async def send() -> None:
        for number in range(count):
            request: dict[str, Any] = {"QueueUrl": url, "MessageBody": f"{group}-{number}"}
            if group is not None:
                request["MessageGroupId"] = group
            await sqs.call("SendMessage", request)

    asyncio.run(send())


def test_the_fake_prefers_quiet_groups() -> None:
    """While a group has very many messages in flight, those of others come first, then its own."""
    sqs = FakeSqs(VirtualClock())
    url = sqs.create("jobs", VisibilityTimeout=60)
    _send(sqs, url, 100, "loud")
    _send(sqs, url, 3, "quiet")
    _send(sqs, url, 2, None)
    assert all(each.startswith("loud") for each in _received(sqs, url, NOISY_MESSAGES))
    assert _received(sqs, url, 5) == ["quiet-0", "quiet-1", "quiet-2", "None-0", "None-1"]
    assert _received(sqs, url, 70) == [f"loud-{number}" for number in range(30, 100)]


def test_the_fake_forgives() -> None:
    """A group that has few messages in flight again is as good as any other."""
    clock = VirtualClock()
    sqs = FakeSqs(clock)
    url = sqs.create("jobs", VisibilityTimeout=60)
    _send(sqs, url, 40, "loud")
    _send(sqs, url, 1, "quiet")
    _received(sqs, url, NOISY_MESSAGES)
    assert _received(sqs, url, 2) == ["quiet-0", "loud-30"]
    clock.advance(60)
    _send(sqs, url, 1, "late")
    assert _received(sqs, url, 1) == ["loud-31"]
