"""Limits by key: those who wait, at any moment, while others die with a place."""

from __future__ import annotations

import asyncio
from typing import Any

from flowcraft.core.builder import FlowBuilder, create_flow
from flowcraft.core.limits import Limit
from flowcraft.core.retry_policy import RetryPolicy
from flowcraft.testing.simulate.zoo.nodes import node, passed_on, story
from flowcraft.testing.simulate.zoo.people import (
    ENDS,
    cancel,
    pause_and_go_on,
    pause_anywhere,
    reconcile,
)


async def a_while(ctx: Any) -> Any:
    """Take a few seconds."""
    await asyncio.sleep(3.0)
    return ctx.node_id


def one_at_a_time() -> FlowBuilder:
    """Four ways that meet, and one of them at a time."""
    flow = create_flow("one_at_a_time").node("a", node(1)).node("z", node(passed_on))
    for number in range(4):
        name = f"b{number}"
        flow.node(name, a_while, uses="zoo_a_while", concurrency_key="db")
        flow.edge("a", name).edge(name, "z")
    return flow


def in_a_row() -> FlowBuilder:
    """Two rows of nodes of one key, each with what is not limited in its midst."""
    flow = create_flow("in_a_row")
    for row in "ab":
        flow.node(f"{row}0", node(row), concurrency_key="db")
        flow.node(f"{row}1", node(passed_on), concurrency_key="db").edge(f"{row}0", f"{row}1")
        flow.node(f"{row}2", node(passed_on)).edge(f"{row}1", f"{row}2")
        flow.node(f"{row}3", node(passed_on), concurrency_key="db").edge(f"{row}2", f"{row}3")
    return flow


async def flaky_item(ctx: Any) -> Any:
    """Fail once."""
    if ctx.attempt < 2:
        raise ValueError("not yet")
    return ctx.input["tenant"]


TENANTS = [{"tenant": name} for name in ("a", "a", "b", "a", "b", "c")]


def by_tenant() -> FlowBuilder:
    """A batch whose items are limited by what they are, each of which is tried again."""
    flow = create_flow("by_tenant").node("list", node(TENANTS))
    retry = RetryPolicy(max_attempts=5, delay=1, jitter=False)
    flow.batch(
        "b",
        flaky_item,
        uses="zoo_flaky_item",
        retry=retry,
        concurrency_key="tenant:{input.tenant}",
    )
    return flow.edge("list", "b")


def spaced() -> FlowBuilder:
    """Four ways that meet, each of which begins ten seconds after the one before."""
    flow = create_flow("spaced").node("a", node(1)).node("z", node(passed_on))
    for number in range(4):
        name = f"b{number}"
        flow.node(name, node(name), concurrency_key="api").edge("a", name).edge(name, "z")
    return flow


def above_and_below() -> FlowBuilder:
    """A child run whose node has the key of nodes beside it, and one that is undone."""
    child = create_flow("limited_child").node("x", node(1), concurrency_key="db")
    flow = create_flow("above_and_below").subflow("c", child)
    flow.node("d", node("d"), concurrency_key="db", compensate="undo")
    flow.node("undo", node("u"), concurrency_key="db").node("bad", _bad, uses="zoo_limited_bad")
    return flow.edge("c", "bad").edge("d", "bad")


async def _bad(ctx: Any) -> None:
    raise ValueError(f"{ctx.node_id} is bad")


ONE = {"db": Limit(concurrency=1)}
TWO = {"db": Limit(concurrency=2)}
EACH = {"tenant:*": Limit(concurrency=1)}
RATE = {"api": Limit(rate=2, per_seconds=20)}
BOTH = {"db": Limit(concurrency=2, rate=3, per_seconds=9, burst=2)}

STORIES = (
    story("limit", one_at_a_time, limits=ONE),
    story("limit-two", one_at_a_time, limits=TWO),
    story("limit-row", in_a_row, limits=ONE),
    story("limit-row-two", in_a_row, limits=TWO),
    story("limit-items", by_tenant, limits=EACH),
    story("limit-shards", by_tenant, limits=EACH, shard_items=2),
    story("limit-rate", spaced, limits=RATE),
    story("limit-both", one_at_a_time, limits=BOTH),
    story("limit-below", above_and_below, limits=ONE),
    story("limit-pause", one_at_a_time, limits=ONE, people=(pause_and_go_on,)),
    story("limit-pause-anywhere", in_a_row, limits=TWO, people=(pause_anywhere,)),
    story("limit-reconcile", one_at_a_time, limits=ONE, people=(reconcile,)),
    story(
        "limit-cancel",
        one_at_a_time,
        limits=ONE,
        people=(cancel,),
        is_settled=False,
        statuses=ENDS,
    ),
)
