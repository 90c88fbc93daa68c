"""Timers that are no messages until their time comes near."""

from __future__ import annotations

from typing import Any

from flowcraft.core.builder import FlowBuilder, create_flow
from flowcraft.core.retry_policy import RetryPolicy
from flowcraft.testing.simulate.answering import answer
from flowcraft.testing.simulate.processes import Person
from flowcraft.testing.simulate.zoo.nodes import node, passed_on, story
from flowcraft.testing.simulate.zoo.people import ENDS, cancel_now

CROWD = 40
"""More sleepers in one hour than there is room for in one text."""


def sleeping_for(duration: str) -> FlowBuilder:
    """A long pause between two nodes."""
    flow = create_flow("sleeping_long").node("a", node(1)).sleep("s", duration)
    return flow.node("b", node(passed_on)).edge("a", "s").edge("s", "b")


def asking_for(duration: str) -> FlowBuilder:
    """A question that may be answered for long."""
    flow = create_flow("asking_long").node("a", node(1)).wait("w", timeout=duration)
    return flow.node("b", node(passed_on)).edge("a", "w").edge("w", "b")


def crowd() -> FlowBuilder:
    """Many who sleep, and wake within the same hour."""
    flow = create_flow("crowd").node("a", node(1)).node("z", node(len_of_input))
    for number in range(CROWD):
        name = f"s{number}"
        flow.sleep(name, f"{100 + number}m").edge("a", name).edge(name, "z")
    return flow


def len_of_input(ctx: Any) -> int:
    """How many have come."""
    return len(ctx.input)


async def flaky_for_hours(ctx: Any) -> int:
    """Succeed at the third attempt."""
    if ctx.attempt < 3:
        raise ValueError("not yet")
    return 3


def retrying_for_hours() -> FlowBuilder:
    """A node that is tried again hours later."""
    retry = RetryPolicy(max_attempts=9, delay=5400.0, max_delay=5400.0, jitter=False)
    flow = create_flow("retrying_long").node("f", flaky_for_hours, retry=retry)
    return flow.node("b", node(passed_on)).edge("f", "b")


def sleeping_below() -> FlowBuilder:
    """A child run that sleeps for days, beside a wait for days."""
    child = create_flow("sleeping_child").node("x", node(1)).sleep("s", "3d").node("y", node(2))
    child.edge("x", "s").edge("s", "y")
    flow = create_flow("sleeping_below").node("a", node(1)).subflow("c", child)
    flow.wait("w", timeout="10d").node("b", node("b"))
    return flow.edge("a", "c").edge("a", "w").edge("c", "b").edge("w", "b")


async def cancel_asleep(person: Person) -> None:
    """Cancel the run once it sleeps, or while it is about to."""
    await person.until(bool)
    await person.rest(person.chance.between(0.0, 900.0))
    await cancel_now(person)


STORIES = (
    story("sleep-hours", lambda: sleeping_for("2h")),
    story("retry-hours", retrying_for_hours),
    story("answer-days", lambda: asking_for("10d"), people=(answer,), answers={"w": "yes"}),
    story(
        "cancel-days",
        lambda: sleeping_for("3d"),
        people=(cancel_asleep,),
        is_settled=False,
        statuses=ENDS,
    ),
    story(
        "cancel-below-days",
        sleeping_below,
        people=(cancel_asleep,),
        is_settled=False,
        statuses=ENDS,
    ),
    story("crowd", crowd),
)

LONGER = (
    story("sleep-month", lambda: sleeping_for("30d")),
    story("sleep-year", lambda: sleeping_for("365d")),
    story("wait-month", lambda: asking_for("30d")),
)
"""A run of one of these takes minutes: they are simulated when they are named."""
