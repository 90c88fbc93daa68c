"""Flows put together at random, run and stopped at random: what holds for all of them.

Every seed is a test of its own; the same seed gives the same flow and the same moment.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from flowcraft import FlowRuntime, Node, RetryPolicy, RunResult, create_flow
from flowcraft.core.builder import FlowBuilder
from flowcraft.engine.context import CancelToken
from flowcraft.testing import VirtualClock
from tests.unit.runs import Ctx, Events, SyncCtx, drive, echo, turns

AT_WORK = {"ready", "running", "retrying", "waiting", "sleeping", "child"}
SEEDS = range(150)


def drawn(*what: object) -> random.Random:
    """Randomness that depends on these alone."""
    return random.Random("/".join(map(str, what)))


async def work(ctx: Ctx) -> int:
    """Takes some turns, and fails now and then."""
    chance = drawn(ctx.run_id, ctx.idempotency_key, ctx.attempt)
    await turns(chance.randrange(4))
    if chance.random() < 0.15:
        raise ValueError(ctx.node_id)
    await ctx.context.add("n", 1)
    return 1


def plain(ctx: SyncCtx) -> int:
    ctx.context.add("n", 1)
    return 2


class Work(Node[Any, int]):
    """The same as a class."""

    async def exec(self, ctx: Ctx, prepared: Any) -> int:
        return await work(ctx)


def add_node(flow: FlowBuilder, node_id: str, chance: random.Random) -> None:
    """Add a node of some kind."""
    retry = RetryPolicy(chance.randrange(1, 3), delay=chance.choice([0, 3]))
    kind = chance.randrange(8)
    if kind == 0:
        flow.sleep(node_id, "10s")
    elif kind == 1:
        child = create_flow("child").node("x", work, uses="work").sleep("nap", "5s")
        flow.subflow(node_id, child.edge("x", "nap"), retry=retry)
    elif kind == 2:
        mode: Any = chance.choice(["fail", "collect"])
        flow.batch(node_id, work, uses="work", inputs="list", retry=retry, failure_mode=mode)
    elif kind == 3:
        flow.node(node_id, Work, retry=retry, compensate="undo")
    elif kind == 4:
        flow.node(node_id, plain, uses="plain", compensate="undo")
    elif kind == 5:
        flow.wait(node_id, timeout="20s")
    else:
        join: Any = chance.choice(["all", "any"])
        timeout = chance.choice([None, 30])
        flow.node(node_id, work, uses="work", retry=retry, timeout=timeout, join=join)


def build(seed: int) -> FlowBuilder:
    """A flow of up to a dozen nodes, without cycles."""
    chance, flow = drawn("flow", seed), create_flow("f")
    for n in range(chance.randrange(3, 12)):
        add_node(flow, f"n{n}", chance)
        for source in {chance.randrange(n) for _ in range(chance.randrange(3)) if n}:
            flow.edge(f"n{source}", f"n{n}")
    return flow.node("undo", echo, uses="echo")


async def play(flow: FlowBuilder, seed: int, mode: str) -> tuple[RunResult | None, Events]:
    """Run a flow, and stop it in some way after some turns; ``None`` if it was dropped."""
    events, token = Events(), CancelToken()
    runtime, chance = FlowRuntime(listeners=[events]), drawn("stop", seed)
    VirtualClock(autojump=True).attach(runtime)
    running = asyncio.ensure_future(
        runtime.run(
            flow,
            {"list": [1, 2, 3], "n": 0},
            run_id="r",
            cancel=token,
            on_failure="fail_fast" if mode == "fail fast" else None,
            concurrency=chance.choice([1, 2, None]),
        )
    )
    if mode in ("cancel", "drop"):
        await turns(chance.randrange(60))
        stop = token.cancel if mode == "cancel" else running.cancel
        stop()
    await asyncio.wait([running], timeout=5)
    assert running.done(), "the run does not end"
    return None if running.cancelled() else running.result(), events


@pytest.mark.parametrize("seed", SEEDS)
def test_every_run_ends_leaves_nothing_and_can_be_replayed(seed: int) -> None:
    """A run ends with nothing at work, tells every start once, and its events rebuild it."""
    mode = drawn("mode", seed).choice(["whole", "cancel", "drop", "fail fast"])
    flow = build(seed)

    async def main() -> None:
        result, events = await play(flow, seed, mode)
        starts = Counter(
            (event.run_id, event.node_id, event.attempt, event.payload.get("item"))
            for event in events.of("node:start")
        )
        assert set(starts.values()) <= {1}
        if result is None:
            return
        assert result.status.is_final
        assert not AT_WORK & set(result.states.values())
        replayed = await FlowRuntime().replay(flow, events)
        assert (replayed.status, replayed.states) == (result.status, result.states)
        assert (dict(replayed.outputs), dict(replayed.context)) == (
            dict(result.outputs),
            dict(result.context),
        )

    drive(main())
