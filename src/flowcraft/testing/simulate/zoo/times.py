"""Waiting: for time, and for answers."""

from __future__ import annotations

from contextlib import suppress

from flowcraft.core.builder import FlowBuilder, create_flow
from flowcraft.errors import NobodyWaits
from flowcraft.testing.simulate.answering import PATIENCE_SECONDS, answer
from flowcraft.testing.simulate.processes import Person
from flowcraft.testing.simulate.zoo.nodes import node, passed_on, story


def wait_out() -> FlowBuilder:
    """A wait that nobody answers."""
    flow = create_flow("wait_out").node("a", node(1)).wait("w", timeout="3m")
    return flow.node("b", node(passed_on)).edge("a", "w").edge("w", "b")


def asking() -> FlowBuilder:
    """A question."""
    flow = create_flow("asking").node("a", node(1)).wait("w", timeout="10m")
    return flow.node("b", node(passed_on)).edge("a", "w").edge("w", "b")


def asking_beside() -> FlowBuilder:
    """Two questions in ways of their own, and work beside them."""
    flow = create_flow("asking_beside").node("a", node(1)).node("z", node(passed_on))
    for name in ("v", "w"):
        flow.wait(name).node(f"after_{name}", node(passed_on))
        flow.edge("a", name).edge(name, f"after_{name}").edge(f"after_{name}", "z")
    return flow.node("work", node("work")).edge("a", "work").edge("work", "z")


def asking_below() -> FlowBuilder:
    """A question in a child run, behind two nodes: whoever is last makes it rest."""
    child = create_flow("asking_child").node("x", node(1)).node("y", node(2)).wait("q")
    child.node("z", node(passed_on)).edge("x", "q").edge("y", "q").edge("q", "z")
    flow = create_flow("asking_below").node("a", node(1)).subflow("c", child)
    return flow.node("b", node(passed_on)).edge("a", "c").edge("c", "b")


def named() -> FlowBuilder:
    """A question that is known by an event and a key."""
    flow = create_flow("named").node("x", node({"id": 7})).node("z", node(passed_on))
    flow.wait("q", event="paid", correlation_key="x.id")
    return flow.edge("x", "q").edge("q", "z")


def sleeping() -> FlowBuilder:
    """A pause that is longer than the delay of a message may be."""
    flow = create_flow("sleeping").node("a", node(1)).sleep("s", "20m")
    return flow.node("b", node(passed_on)).edge("a", "s").edge("s", "b")


def sleeping_beside() -> FlowBuilder:
    """A pause beside work."""
    flow = create_flow("sleeping_beside").node("a", node(1)).sleep("s", "90s")
    flow.node("w", node("w")).node("v", node("v")).node("z", node("z"))
    flow.edge("a", "s").edge("a", "w").edge("w", "v").edge("v", "z")
    return flow.edge("s", "z")


async def send_by_name(person: Person) -> None:
    """Send what the run waits for by its name and key."""
    while await person.until(lambda run: bool(run.awaiting)):
        with suppress(NobodyWaits):
            await person.insist(
                lambda: person.client.send_event(event="paid", correlation_key=7, output="paid")
            )
        await person.rest(PATIENCE_SECONDS)


STORIES = (
    story("wait", wait_out),
    story("answer", asking, people=(answer,), answers={"w": "yes"}),
    story("answers", asking_beside, people=(answer,), answers={"v": "1", "w": "2"}),
    story("answer-below", asking_below, people=(answer,), answers={"q": "yes"}),
    story("event", named, people=(send_by_name,), answers={"q": "paid"}),
    story("sleep", sleeping),
    story("sleep-beside", sleeping_beside),
)
