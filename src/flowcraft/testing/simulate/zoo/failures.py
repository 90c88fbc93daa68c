"""Nodes that fail: retries, fallbacks, compensation."""

from __future__ import annotations

from typing import Any

from flowcraft.core.builder import FlowBuilder, create_flow
from flowcraft.core.retry_policy import RetryPolicy
from flowcraft.testing.simulate.zoo.nodes import node, passed_on, story


async def flaky(ctx: Any) -> int:
    """Succeed at the third attempt."""
    if ctx.attempt < 3:
        raise ValueError("not yet")
    return 3


def retrying_for(delay_seconds: float) -> FlowBuilder:
    """A node that succeeds at its third attempt, beside one that does at once."""
    retry = RetryPolicy(max_attempts=9, delay=delay_seconds, jitter=False)
    flow = create_flow("retrying").node("f", flaky, retry=retry).node("o", node("o"))
    return flow.node("b", node(passed_on)).edge("f", "b")


async def bad(ctx: Any) -> None:
    """Fail."""
    raise ValueError(f"{ctx.node_id} is bad")


def compensated() -> FlowBuilder:
    """What was done is undone when something behind it fails for good."""
    flow = create_flow("compensated").node("a", node("a"), compensate="undo")
    flow.node("a2", node("a2"), compensate="undo2").edge("a", "a2")
    flow.node("bad", bad, fallback="help").node("help", node("help")).edge("a2", "bad")
    flow.node("end", node("end")).edge("help", "end").node("worse", bad).edge("end", "worse")
    return flow.node("undo", node("u")).node("undo2", node("u2"))


def fallbacks() -> FlowBuilder:
    """A fallback that fails, and has a fallback of its own."""
    flow = create_flow("fallbacks").node("a", bad, fallback="b").node("b", bad, fallback="c")
    flow.node("c", node("c")).node("end", node(passed_on))
    return flow.edge("a", "end")


def failing_below() -> FlowBuilder:
    """A child run that fails, beside something that can be undone."""
    child = create_flow("failing_child").node("x", bad)
    flow = create_flow("failing_below").node("a", node(1), compensate="undo")
    flow.node("undo", node("undone")).subflow("c", child).edge("a", "c")
    return flow


async def item_that_fails(ctx: Any) -> Any:
    """Fail for the odd ones, twice; for 4 always."""
    if ctx.input == 4 or (ctx.input % 2 and ctx.attempt < 3):
        raise ValueError(f"item {ctx.input}")
    return ctx.input


def failing_items() -> FlowBuilder:
    """A batch of which some items are tried again, and one fails."""
    retry = RetryPolicy(max_attempts=4, delay=5, jitter=False)
    flow = create_flow("failing_items").node("list", node([0, 1, 2, 3, 4]))
    flow.batch("b", item_that_fails, uses="zoo_failing", retry=retry).edge("list", "b")
    return flow.node("end", node("end")).edge("b", "end")


STORIES = (
    story("retry", lambda: retrying_for(1.0)),
    story("retry-later", lambda: retrying_for(60.0)),
    story("compensation", compensated),
    story("fallbacks", fallbacks),
    story("failure-below", failing_below),
    story("failing-items", failing_items, is_settled=False, statuses=("failed", "completed")),
    story(
        "failing-shards",
        failing_items,
        shard_items=2,
        is_settled=False,
        statuses=("failed", "completed"),
    ),
)
