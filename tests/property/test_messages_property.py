"""Messages that were altered on their way: they harm no run, and end as dead letters or deleted."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from flowcraft import NodeContext, RetryPolicy, create_flow
from flowcraft.adapters.aws.transport import Request
from flowcraft.core.state import FINAL_STATUSES
from flowcraft.engine.facts import _TYPES
from flowcraft.errors import FlowcraftError
from flowcraft.ports.queue import Outgoing
from tests.acceptance.aws_worker_world import AwsWorld
from tests.acceptance.aws_worker_world import play as play_aws
from tests.property.altered import altered
from tests.unit.durable import LEASE_SECONDS, World
from tests.unit.durable import play as play_memory

MAX_RECEIVES = 3
HOUR_SECONDS = 3_600.0
# A poll each twenty seconds, heartbeats and timers: about 250 requests. Spinning is thousands.
REQUESTS_AN_HOUR = 600

EVENTS = tuple(_TYPES)
OTHERS = (*EVENTS, "mine", "outer", "outer/s::1")

RARELY = settings(
    max_examples=max(12, settings().max_examples // 8),
    # Without shrinking, which takes minutes here, and without tracing (`test_fake_sqs_model`).
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


class _Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def logged() -> Iterator[list[logging.LogRecord]]:
    """What the package logs meanwhile."""
    handler = _Kept()
    logger = logging.getLogger("flowcraft")
    logger.addHandler(handler)
    try:
        yield handler.records
    finally:
        logger.removeHandler(handler)


@st.composite
def altered_message(draw: st.DrawFn, body: str) -> str:
    """A message that was altered, or cut off, or of which the event was altered."""
    data = json.loads(body)
    if "event" in data and draw(st.integers(0, 3)):
        event = draw(altered(json.loads(data["event"]), others=OTHERS))
        return json.dumps({**data, "event": json.dumps(event)})
    if draw(st.integers(0, 9)) == 0:
        return body[: draw(st.integers(1, len(body) - 1))]
    return json.dumps(draw(altered(data, others=OTHERS)))


anything = st.one_of(
    st.text(min_size=1, max_size=40), st.sampled_from(["[" * 5_000, "null", '"', "\u2028", "{}"])
)


def flows(world: World) -> None:
    """One with a wait, a retry and a sleep; one with a child that waits; one that is healthy."""

    async def body(ctx: NodeContext[Any]) -> int:
        world.count(ctx)
        return 7

    async def flaky(ctx: NodeContext[Any]) -> str:
        world.count(ctx)
        if ctx.attempt < 2:
            raise ValueError("once")
        return "flaky"

    mine = create_flow("mine").node("first", body, uses="body").wait("w").sleep("s", "10m")
    mine.node("f", flaky, uses="flaky", retry=RetryPolicy(max_attempts=3, delay=20))
    mine.node("end", body, uses="body")
    for name in ("w", "s", "f"):
        mine.edge("first", name).edge(name, "end")
    inner = create_flow("inner").node("i", body, uses="body").wait("v").edge("i", "v")
    other = create_flow("other").node("a", body, uses="body").node("b", body, uses="body")
    world.knows(mine, inner, other.edge("a", "b"))


OUTER = {
    "id": "outer",
    "nodes": [
        {"id": "s", "uses": "subflow", "params": {"blueprintId": "inner"}},
        {"id": "z", "uses": "body"},
    ],
    "edges": [{"source": "s", "target": "z"}],
}


async def begun(world: World) -> None:
    """Runs that wait, each for something else."""
    flows(world)
    await world.process()
    await world.client.start_run("mine", run_id="mine")
    await world.client.start_run(OUTER, run_id="outer")
    await world.advance(60.0)
    await world.client.pause_run("mine")
    await world.settle()
    await world.client.continue_run("mine")
    await world.settle()


async def ended(world: World) -> None:
    """What was begun gets its answers and comes to its end, as right as what came meanwhile."""
    await world.client.start_run("other", run_id="other")
    await world.until(lambda: world.status("other") in FINAL_STATUSES, "the other run")
    assert (await world.client.get_run("other")).outputs == {"a": 7, "b": 7}
    await world.advance((MAX_RECEIVES + 2) * LEASE_SECONDS)
    for run_id in ("mine", "outer/s::1"):
        if world.status(run_id) == "paused":  # that is what a message said
            await world.client.continue_run(run_id)
            await world.settle()
        if world.status(run_id) not in FINAL_STATUSES:
            await world.client.resume_with_action(run_id, "yes")
    await world.advance(HOUR_SECONDS)
    for run_id in ("mine", "outer"):
        run = await world.client.get_run(run_id)
        assert run.status in FINAL_STATUSES, world.describe()
        if run.status == "completed":
            assert {run.outputs.get(name, 7) for name in ("first", "end", "z")} == {7}
    assert world.doubled() == []


def check_log(records: list[logging.LogRecord], unread: int) -> None:
    """Errors are those that the package has names for, and there is one for each message."""
    errors = [each for each in records if each.levelno >= logging.ERROR]
    for each in errors:
        kind = each.exc_info[0] if each.exc_info else None
        assert kind is None or issubclass(kind, FlowcraftError), each.getMessage()
    about = {each.getMessage() for each in errors}
    assert len([text for text in about if "Message " in text or "Run '" in text]) >= unread


@RARELY
@given(st.data())
def test_altered_messages_harm_nothing_in_a_fleet(data: st.DataObject) -> None:
    """Runs come to their ends, no request is made at full speed, and dead letters are reported."""

    async def story(world: AwsWorld) -> None:
        sent: list[str] = []

        def overheard(operation: str, request: Request) -> Request:
            if operation == "SendMessageBatch":
                sent.extend(entry["MessageBody"] for entry in request["Entries"])
            return request

        world.aws.meddle = overheard
        await begun(world)
        world.aws.meddle = None
        for at in data.draw(st.lists(st.integers(0, len(sent) - 1), min_size=3, max_size=6)):
            text = data.draw(altered_message(sent[at]))
            await world.ports.queue.send([Outgoing(text)])
        calls = world.aws.calls
        await ended(world)
        assert world.messages() == []
        assert world.aws.calls - calls < REQUESTS_AN_HOUR
        check_log(records, len(set(world.dead_letters())))

    with logged() as records:
        play_aws(story, max_receives=MAX_RECEIVES)


@RARELY
@given(st.data())
def test_altered_messages_harm_nothing_on_one_machine(data: st.DataObject) -> None:
    """Without dead letters they stay where they are, and every lease somebody looks at them."""

    async def story(world: World) -> None:
        queue: Any = world.ports.queue
        sent: list[str] = []
        send = queue.send

        async def overheard(messages: Any) -> None:
            sent.extend(each.body for each in messages)
            await send(messages)

        queue.send = overheard
        await begun(world)
        queue.send = send
        poison = [
            data.draw(st.one_of(altered_message(sent[at]), altered_message(sent[at]), anything))
            for at in data.draw(st.lists(st.integers(0, len(sent) - 1), min_size=3, max_size=6))
        ]
        await queue.send([Outgoing(text) for text in poison])
        calls = sum(len(each.life.calls) for each in world.processes)
        await ended(world)
        assert sum(len(each.life.calls) for each in world.processes) - calls < REQUESTS_AN_HOUR
        left = world.bodies_of_messages()
        assert set(left) <= set(poison)
        check_log(records, len(left))

    with logged() as records:
        play_memory(story)
