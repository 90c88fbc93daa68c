"""A process dies at any call of a port, while people and children have their part in the run."""

from __future__ import annotations

from contextlib import suppress

import pytest

from flowcraft import NodeResult, RetryPolicy, create_flow
from flowcraft.core.builder import FlowBuilder
from flowcraft.errors import InvalidRunState, NobodyWaits
from tests.unit.durable import World
from tests.unit.runs import Ctx
from tests.unit.test_durable_crashes import RUN, Story, is_as_in_process, survives


def asking(world: World) -> FlowBuilder:
    """Something that can be undone, and a question."""
    flow = create_flow("asking").node("a", world.body(1), compensate="undo")
    flow.node("undo", world.body("undone")).wait("w").node("b", world.body("b"))
    return flow.edge("a", "w").edge("w", "b")


def asking_below(world: World) -> FlowBuilder:
    child = create_flow("child").node("x", world.body(1)).wait("w")
    child.node("y", world.body(lambda c: c.input)).edge("x", "w").edge("w", "y")
    flow = create_flow("parent").node("a", world.body(1)).subflow("c", child)
    return flow.node("b", world.body(lambda c: c.input)).edge("a", "c").edge("c", "b")


def asking_below_a_join(world: World) -> FlowBuilder:
    """A child in which two nodes come before the question: whoever is last makes it rest."""
    child = create_flow("child").node("x", world.body(1)).node("y", world.body(2)).wait("w")
    child.node("z", world.body("z")).edge("x", "w").edge("y", "w").edge("w", "z")
    return create_flow("parent").subflow("c", child)


def naming_its_event(world: World) -> FlowBuilder:
    """Two nodes before a question in a child run, which names its event and a key."""
    child = create_flow("child").node("x", world.body({"id": 7})).node("y", world.body(2))
    child.wait("w", event="paid", correlation_key="x.id").edge("x", "w").edge("y", "w")
    child.node("z", world.body(lambda c: c.input)).edge("w", "z")
    return create_flow("parent").subflow("c", child).wait("v", event="paid").edge("c", "v")


def failing_below(world: World) -> FlowBuilder:
    async def bad(ctx: Ctx) -> None:
        world.count(ctx)
        raise ValueError("below")

    child = create_flow("child").node("x", bad)
    flow = create_flow("parent").node("a", world.body(1), compensate="undo")
    flow.node("undo", world.body("undone"))
    retry = RetryPolicy(max_attempts=2, delay=1, jitter=False)
    return flow.subflow("c", child, retry=retry).edge("a", "c")


def failing_fast(world: World) -> FlowBuilder:
    async def bad(ctx: Ctx) -> None:
        world.count(ctx)
        raise ValueError("fast")

    flow = create_flow("fast").node("a", world.body(1), compensate="undo")
    flow.node("undo", world.body("undone")).node("bad", bad).wait("w").on_failure("fail_fast")
    return flow.edge("a", "w").edge("a", "bad")


def trying_items(world: World) -> FlowBuilder:
    """A batch in a loop, whose items succeed at their second attempt."""

    async def item(ctx: Ctx) -> int:
        world.count(ctx)
        if ctx.attempt == 1:
            raise ValueError("again")
        return int(ctx.input)

    async def more(ctx: Ctx) -> None:
        world.count(ctx)
        await ctx.context.add("n", 1)

    retry = RetryPolicy(max_attempts=5, delay=10, jitter=False)
    flow = create_flow("items").node("list", world.body([1, 2, 3])).node("more", more)
    flow.batch("b", item, chunk_size=2, retry=retry).edge("list", "b").edge("b", "more")
    flow.loop("again", "n < 2", start="list", end="more")
    return flow.node("end", world.body("end")).edge("again", "end")


def adding(world: World) -> FlowBuilder:
    """Nodes that are added by a node."""

    async def add(ctx: Ctx) -> NodeResult[object]:
        world.count(ctx)
        nodes = [{"id": f"n{n}", "uses": "added", "params": {}} for n in range(3)]
        return NodeResult({"gatherNodeId": "end"}, dynamic_nodes=nodes)

    flow = create_flow("adding").node("add", add).node("end", world.body("end"))
    flow.node("added", world.body(lambda c: c.node_id), uses="added")
    return flow.edge("add", "end").edge("added", "end")


async def cancel_when_asked(world: World) -> None:
    if world.status(RUN) == "awaiting":
        await world.client.cancel_run(RUN)


async def answer_when_asked(world: World) -> None:
    """Answer once the run says that it waits."""
    if world.status(RUN) == "awaiting":
        with suppress(InvalidRunState):
            await world.client.resume_with_action(RUN, None, "answered")


async def send_by_name(world: World) -> None:
    """Send what the run waits for by name and key alone, once it waits."""
    for key in (7, None):
        with suppress(NobodyWaits):
            await world.client.send_event(event="paid", correlation_key=key, output=f"paid {key}")


STORIES = {
    "cancel what waits": Story(asking, cancel_when_asked, in_process=False),
    "an answer below": Story(asking_below, answer_when_asked, in_process=False),
    "an answer behind a join below": Story(
        asking_below_a_join, answer_when_asked, in_process=False
    ),
    "an event by name": Story(naming_its_event, send_by_name, in_process=False),
    "cancel what waits below": Story(asking_below, cancel_when_asked, in_process=False),
    "a failure below": Story(failing_below),
    "fail fast": Story(failing_fast),
    "items": Story(trying_items),
    "added": Story(adding),
}


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", STORIES)
def test_a_crash_at_any_call(name: str, after: bool, processes: int) -> None:
    """Wherever a process dies, the run ends as it would have, and nothing is left of it."""
    survives(STORIES[name], after, processes)


@pytest.mark.parametrize("name", [name for name, story in STORIES.items() if story.in_process])
def test_without_a_crash_it_is_as_in_process(name: str) -> None:
    """What comes of the flow on a worker is what comes of it in process."""
    is_as_in_process(STORIES[name])
