"""Once more: runs over again, wishes that overtake a backlog, stores with passing trouble."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.client import FlowClient
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.builder import FlowBuilder
from flowcraft.engine import worker as worker_module
from flowcraft.errors import InvalidRunState, StorageBusy, StorageCorrupt
from flowcraft.memory import MemoryAdapter
from flowcraft.sqlite import SqliteAdapter
from tests.unit.durable import LEASE_SECONDS, World, play
from tests.unit.runs import Ctx, drive, turns

RUN = "run"


# -- runs over again --------------------------------------------------------------------------


def mended(world: World, broken: list[bool]) -> FlowBuilder:
    """A diamond of which one side fails until it is mended."""

    async def side(ctx: Ctx) -> str:
        world.count(ctx)
        if broken:
            raise ValueError("broken")
        return f"mended {ctx.input}"

    flow = create_flow("f").node("a", world.body(7)).node("ok", world.body("ok"))
    flow.node("bad", side, uses="bad").node("z", world.body(lambda ctx: ctx.input))
    return flow.edge("a", "ok").edge("a", "bad").edge("ok", "z").edge("bad", "z")


@pytest.mark.parametrize("way", ["retry", "rerun"])
def test_what_was_patched_is_taken_over_by_a_new_run(way: str) -> None:
    """A context that was changed while the run was paused is the new run's, in its order."""

    async def story(world: World) -> None:
        async def read(ctx: Ctx) -> Any:
            await ctx.context.set("own", "later")
            return await ctx.context.get("patched")

        async def fail(ctx: Ctx) -> Any:
            world.count(ctx)
            seen = [await ctx.context.get(key) for key in ("patched", "own", "gone")]
            if world.bodies[ctx.idempotency_key] == 1 and ctx.run_id == RUN:
                raise ValueError(f"{seen}")
            return seen

        flow = create_flow("f").wait("w").node("a", read).node("z", fail)
        flow.edge("w", "a").edge("a", "z")
        client = world.knows(flow).client
        await client.start_run("f", {"gone": 1, "own": "early"}, run_id=RUN)
        await world.process()
        await client.pause_run(RUN)
        await client.patch_context(RUN, {"patched": 1, "own": "between"}, delete=["gone"])
        await client.continue_run(RUN)
        await client.resume_with_action(RUN)
        assert (await world.finish(RUN)).status == "failed"
        again = await (client.retry_failed(RUN) if way == "retry" else client.rerun_from(RUN, "z"))
        assert (await world.finish(again)).outputs == {"w": None, "a": 1, "z": [1, "later", None]}

    play(story)


def test_failed_nodes_of_a_run_that_is_over_are_retried_in_a_new_one() -> None:
    """What succeeded is taken over, what failed and what is behind it runs; the old run stays."""

    async def story(world: World) -> None:
        broken = [True]
        await world.knows(mended(world, broken)).client.start_run("f", run_id=RUN)
        await world.process()
        assert (await world.finish(RUN)).status == "failed"
        broken.clear()
        again = await world.client.retry_failed(RUN)
        assert await world.client.retry_failed(RUN) == again != RUN
        run = await world.finish(again)
        assert run.outputs["z"] == {"ok": "ok", "bad": "mended 7"}
        assert (await world.client.get_run(RUN)).status == "failed"
        ran_again = {key for key in world.bodies if not key.startswith(f"{RUN}:")}
        assert {key.rpartition(":")[2] for key in ran_again} == {"bad", "z"}

    play(story)


def test_nothing_to_retry_is_refused() -> None:
    """A run that completed has no failed node."""

    async def story(world: World) -> None:
        await world.knows(create_flow("f").node("a", world.body())).client.start_run(
            "f", run_id=RUN
        )
        await world.process()
        await world.finish(RUN)
        with pytest.raises(InvalidRunState, match="no failed node"):
            await world.client.retry_failed(RUN)

    play(story)


def test_a_run_goes_once_more_from_a_node_with_another_input() -> None:
    """The node is given what is passed, what leads to it is taken over, loops and batches too."""

    async def story(world: World) -> None:
        async def work(ctx: Ctx) -> int:
            world.count(ctx)
            return int(ctx.input) * 2

        flow = create_flow("f").batch("x", work, inputs="items")
        flow.node("sum", world.body(lambda ctx: sum(ctx.input)))
        flow.node("last", world.body(lambda ctx: f"got {ctx.input}"))
        flow.edge("x", "sum").edge("sum", "last")
        await world.knows(flow).client.start_run("f", {"items": [1, 2, 3]}, run_id=RUN)
        await world.process()
        assert (await world.finish(RUN)).outputs["last"] == "got 12"
        bodies = world.bodies.total()
        again = await world.client.rerun_from(RUN, "last", inputs={"last": 99}, new_run_id="new")
        run = await world.finish(again)
        assert (run.outputs["sum"], run.outputs["last"]) == (12, "got 99")
        assert world.bodies.total() == bodies + 1
        with pytest.raises(InvalidRunState, match="already"):
            await world.client.rerun_from(RUN, "last", new_run_id="new")

    play(story)


def test_a_scheduled_run_that_is_started_again_keeps_its_time() -> None:
    """A second start of the same run without a time does not start it early."""

    async def story(world: World) -> None:
        flow = create_flow("f").node("a", world.body())
        at = world.clock.now() + 3600
        client = world.knows(flow).client
        await client.start_run("f", run_id=RUN, start_at=datetime.fromtimestamp(at, UTC))
        await client.start_run("f", run_id=RUN)
        await world.process()
        await world.advance(600)
        assert not world.bodies
        await world.finish(RUN)
        assert world.clock.now() >= at

    play(story)


# -- wishes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("wish", ["cancel_run", "pause_run"])
def test_a_wish_overtakes_what_is_queued(wish: str) -> None:
    """With one hand and twenty queued nodes, cancelling or pausing takes effect at once."""

    async def story(world: World) -> None:
        gate = asyncio.Event()

        async def first(ctx: Ctx) -> None:
            world.count(ctx)
            await gate.wait()

        flow = create_flow("f")
        for number in range(20):
            flow.node(f"n{number}", first, uses="n")
        await world.knows(flow).client.start_run("f", run_id=RUN)
        await world.process(concurrency=1)
        await world.settle()
        await getattr(world.client, wish)(RUN)
        gate.set()
        await world.advance(10)
        expected = "cancelled" if wish == "cancel_run" else "paused"
        assert (world.status(RUN), world.bodies.total()) == (expected, 1)

    play(story)


# -- trouble ----------------------------------------------------------------------------------


class Troubled:
    """A port whose next calls of one method fail."""

    def __init__(self, port: Any, name: str, *errors: Exception) -> None:
        self._port, self._name, self._errors = port, name, list(errors)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._port, name)
        if name != self._name:
            return value

        async def call(*arguments: Any, **options: Any) -> Any:
            if self._errors:
                raise self._errors.pop(0)
            return await value(*arguments, **options)

        return call


@pytest.mark.parametrize("name", ["write", "send", "delete", "receive", "read"])
def test_passing_trouble_costs_no_attempt(name: str) -> None:
    """Three times busy at any call: the run completes, and each body ran once."""

    async def story(world: World) -> None:
        flow = create_flow("f").node("a", world.body(1)).node("b", world.body(2))
        flow.node("c", world.body(3)).edge("a", "b").edge("a", "c")
        await world.knows(flow).client.start_run("f", run_id=RUN)
        busy = [StorageBusy("locked") for _ in range(3)]
        process = await world.idle()
        station = process.worker.station
        for port in (station.queue, station.runs, station.blobs):
            port._port = Troubled(port._port, name, *busy)  # type: ignore[union-attr]
        await world.process()
        for delivery in await world.receive():
            process.worker._begin(delivery)
        run = await world.finish(RUN)
        assert run.status == "completed"
        assert set(world.bodies.values()) == {1}

    play(story)


def test_lasting_trouble_leaves_the_message() -> None:
    """A store that is damaged is not asked again and again; the message comes again by itself."""

    async def story(world: World) -> None:
        flow = create_flow("f").node("a", world.body(1))
        await world.knows(flow).client.start_run("f", run_id=RUN)
        process = await world.idle()
        port = process.worker.station.runs
        port._port = Troubled(port._port, "read", StorageCorrupt("damaged"))  # type: ignore[attr-defined]
        for delivery in await world.receive():
            process.worker._begin(delivery)
        await world.settle()
        assert len(world.messages()) == 1
        await world.advance(LEASE_SECONDS)
        await world.process()
        assert (await world.finish(RUN)).status == "completed"

    play(story)


def test_a_subflow_that_cannot_be_planned_fails_its_node() -> None:
    """Its blueprint is refused: the node fails, and the message does not come again for ever."""

    async def story(world: World) -> None:
        loop = {"id": "c", "uses": "loop-controller", "params": {"condition": "true"}}
        world.runtime.blueprints["endless"] = WorkflowBlueprint.from_dict(
            {"id": "endless", "nodes": [loop], "edges": []}
        )
        node = {"id": "s", "uses": "subflow", "params": {"blueprintId": "endless"}}
        process = await world.idle(replace(world.runtime.options, blueprints={}))
        process.worker.station.options = world.runtime.options
        await world.client.start_run({"id": "f", "nodes": [node], "edges": []}, run_id=RUN)
        for delivery in await world.receive():
            process.worker._begin(delivery)
        await world.settle()
        await world.process(options=replace(world.runtime.options, blueprints={}))
        run = await world.finish(RUN)
        assert (run.status, run.errors[0].type) == ("failed", "BlueprintError")

    play(story)


# -- draining ---------------------------------------------------------------------------------


def test_a_node_that_cannot_be_stopped_does_not_keep_its_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that drains gives up on it and says so; its lease runs out for another worker."""
    monkeypatch.setattr(worker_module, "HAND_BACK_WAIT_SECONDS", 0.01)

    async def story(world: World) -> None:
        stubborn = [True]

        async def node(ctx: Ctx) -> str:
            world.count(ctx)
            while stubborn:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.001)
            return "done"

        flow = create_flow("f").node("stubborn", node, uses="stubborn")
        await world.knows(flow).client.start_run("f", run_id=RUN)
        process = await world.idle(drain_timeout_seconds=0.0)
        for delivery in await world.receive():
            process.worker._begin(delivery)
        await turns(20)
        left = [*process.worker._strands]
        process.worker._poller = None  # ``idle`` has ended it
        try:
            await process.worker.stop()
        finally:
            stubborn.clear()
        await asyncio.gather(*left, return_exceptions=True)
        await world.process()
        assert (await world.finish(RUN)).outputs["stubborn"] == "done"

    play(story)
    assert "Nodes 'stubborn' do not let themselves be stopped" in caplog.text


# -- bad requests -----------------------------------------------------------------------------


def test_what_makes_no_sense_is_refused() -> None:
    """Options, patches and lists that cannot be meant are errors that name what is wrong."""

    async def story(world: World) -> None:
        client = world.knows(create_flow("f").wait("w")).client
        await client.start_run("f", run_id=RUN)
        with pytest.raises(ValueError, match="'_x'"):
            await client.patch_context(RUN, {"_x": 1})
        with pytest.raises(ValueError, match="nothing"):
            await client.patch_context(RUN)
        with pytest.raises(ValueError, match="limit"):
            await client.list_runs(limit=0)
        with pytest.raises(ValueError, match="'running' or 'awaiting'"):
            await client.list_runs(status="foo")
        with pytest.raises(ValueError, match="concurrency"):
            MemoryAdapter(world.runtime.options, concurrency=0)
        with pytest.raises(TypeError, match="concurency"):
            MemoryAdapter(world.runtime.options, concurency=3)

    play(story)


def test_a_client_needs_nothing_but_the_file(tmp_path: Any) -> None:
    """It starts what a worker has made known, waits for it, and lists it."""

    async def main() -> None:
        async def one(ctx: Ctx) -> int:
            return 1

        runtime = World().knows(create_flow("f").node("a", one)).runtime
        async with (
            SqliteAdapter(tmp_path / "runs.db", runtime.options, poll_seconds=0.02),
            FlowClient.sqlite(tmp_path / "runs.db") as client,
        ):
            run = await client.start_run("f", tags={"who": "me"})
            assert (await run.result(timeout=5)).outputs["a"] == 1
            page = await client.list_runs(tags={"who": "me"})
            assert [each.run_id for each in page.runs] == [run]

    drive(main())
