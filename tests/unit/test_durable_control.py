"""Cancelling and pausing durable runs, at any moment of theirs (rules S12, S14)."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from flowcraft import RetryPolicy, create_flow
from flowcraft.core.builder import FlowBuilder
from flowcraft.core.events import PauseRequested
from flowcraft.engine.jobs import read_job
from flowcraft.memory import MemoryAdapter
from tests.unit.durable import World, play
from tests.unit.runs import Ctx, SyncCtx

RUN = "run"


# -- cancelling -------------------------------------------------------------------------------


async def endless(ctx: Ctx) -> None:
    await asyncio.Event().wait()


async def failing(ctx: Ctx) -> None:
    raise ValueError("no")


def kept_busy(flow: FlowBuilder, kind: str) -> FlowBuilder:
    """Add a node that keeps a run from ending."""
    if kind == "sleep":
        return flow.sleep("x", "1d")
    if kind == "wait":
        return flow.wait("x")
    if kind == "subflow":
        return flow.subflow("x", kept_busy(create_flow("child"), "wait"))
    if kind == "running below":
        return flow.subflow("x", create_flow("child").node("e", endless))
    delays = {"retry in hand": 1.5, "retry later": 90.0}
    if kind in delays:
        retry = RetryPolicy(max_attempts=99, delay=delays[kind], backoff=1, jitter=False)
        return flow.node("x", failing, retry=retry)
    return flow.node("x", endless)


@pytest.mark.parametrize(
    "kind",
    ["sleep", "wait", "subflow", "running", "running below", "retry in hand", "retry later"],
)
def test_cancelling(kind: str) -> None:
    """Wherever it stands, a run is cancelled, its work undone, its children are cancelled too."""

    async def story(world: World) -> None:
        flow = create_flow("f").node("a", world.body("a"), compensate="undo")
        flow.node("undo", world.body("undone"))
        kept_busy(flow, kind).edge("a", "x")
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        await world.process()
        await world.settle()
        await world.client.cancel_run(RUN, reason="enough")
        run = await world.finish(RUN)
        assert (run.status, [node for node, _ in run.compensations]) == ("cancelled", ["undo"])
        assert {each.status for each in (await world.client.list_runs()).runs} == {"cancelled"}

    play(story)


def test_cancelling_a_plain_function() -> None:
    """A function in a thread is told to end, and the run does not wait for it."""

    async def story() -> None:
        begun, end = threading.Event(), threading.Event()

        def blocks(ctx: SyncCtx) -> None:
            begun.set()
            end.wait(5)

        flow = create_flow("f").node("a", blocks)
        world = World()
        options = world.knows(flow).runtime.options
        async with MemoryAdapter(options, poll_seconds=0.01, heartbeat=False) as adapter:
            run = await adapter.start_run(flow)
            await asyncio.to_thread(begun.wait, 5)
            await adapter.cancel_run(run)
            assert (await adapter.wait_for_run(run, timeout=5)).status == "cancelled"
            end.set()

    asyncio.run(story())


# -- pausing ----------------------------------------------------------------------------------


def test_a_paused_run_goes_on_in_another_process() -> None:
    """What runs ends, what follows waits, the context can be changed, and another goes on."""

    async def story(world: World) -> None:
        end = asyncio.Event()

        async def begins(ctx: Ctx) -> str:
            await end.wait()
            return "a"

        async def reads(ctx: Ctx) -> Any:
            return await ctx.context.get("key")

        flow = create_flow("f").node("a", begins).node("b", reads).edge("a", "b")
        await world.knows(flow).client.start_run(flow, {"old": 1}, run_id=RUN)
        first = await world.process()
        await world.settle()
        await world.client.pause_run(RUN)
        await world.settle()
        end.set()
        await world.settle()
        assert (world.status(RUN), world.messages()) == ("paused", [])
        await first.kill()
        await world.process()
        await world.client.patch_context(RUN, {"key": "new"}, delete=["old"])
        await world.advance(100)
        await world.client.continue_run(RUN)
        run = await world.finish(RUN)
        assert (run.outputs["b"], "old" in run.context) == ("new", False)

    play(story)


def test_what_is_queued_does_not_begin_while_a_run_is_paused() -> None:
    """Nodes whose turn has come, but which no worker has begun, wait until the run goes on."""

    async def story(world: World) -> None:
        end = asyncio.Event()

        async def begins(ctx: Ctx) -> None:
            world.count(ctx)
            await end.wait()

        flow = create_flow("f").node("a", begins).node("b", world.body()).node("c", world.body())
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        await world.process(concurrency=1)
        await world.settle()
        assert world.bodies == {"run:a": 1}
        paused = await world.idle()
        await world.client.pause_run(RUN)
        for delivery in await world.receive():
            job = read_job(delivery.body, world.runtime.options.serializer)
            if isinstance(job.event, PauseRequested):
                await paused.worker.handle(delivery)
        end.set()
        await world.advance(100)
        assert world.bodies == {"run:a": 1}
        await world.client.continue_run(RUN)
        assert (await world.finish(RUN)).status == "completed"

    play(story)
