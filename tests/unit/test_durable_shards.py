"""Large batches of durable runs: cut into shards that are stored beside the run (rule S11)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowcraft import NodeResult, RetryPolicy, create_flow
from flowcraft.client import FlowClient
from flowcraft.core.builder import FlowBuilder
from flowcraft.core.state import FINAL_STATUSES
from flowcraft.engine import wishes
from flowcraft.errors import InvalidRunState, RunNotFound
from flowcraft.ports.runs import Change, Claim
from flowcraft.testing import TelemetryRecorder
from tests.unit.durable import LEASE_SECONDS, Life, World, play
from tests.unit.runs import Ctx, drive
from tests.unit.test_durable_crashes import RUN, Story, cancel, is_as_in_process, survives

SHARD_ITEMS = 2


def cut(world: World, work: Callable[[Ctx], Any], items: list[Any], **options: Any) -> FlowBuilder:
    """A batch that is cut, between two nodes."""
    world.shard_items = SHARD_ITEMS
    flow = create_flow("batch").node("list", world.body(items))
    flow.batch("b", work, uses="item", **options)
    return flow.node("end", world.body(lambda c: c.input)).edge("list", "b").edge("b", "end")


def plain(world: World) -> FlowBuilder:
    return cut(world, world.body(lambda c: c.input * 10), [1, 2, 3, 4, 5])


def limited(world: World) -> FlowBuilder:
    return cut(world, world.body(lambda c: c.input), [1, 2, 3], concurrency=1)


def collecting(world: World) -> FlowBuilder:
    """Items that write, that fail for good, and that succeed at their second attempt."""

    async def item(ctx: Ctx) -> int:
        world.count(ctx)
        await ctx.context.add("sum", ctx.input)
        await asyncio.sleep(0)
        if ctx.input == 2 or (ctx.input == 3 and ctx.attempt == 1):
            raise ValueError("no")
        return int(ctx.input)

    retry = RetryPolicy(max_attempts=2, delay=10.0, jitter=False)
    return cut(world, item, [1, 2, 3], failure_mode="collect", retry=retry)


def in_a_loop(world: World) -> FlowBuilder:
    """Each round of a loop has shards of its own."""
    world.shard_items = 1

    async def count(ctx: Ctx) -> list[int]:
        world.count(ctx)
        await ctx.context.add("n", 1)
        return [1, 2]

    flow = create_flow("loop").node("before", world.body(0)).node("list", count)
    flow.batch("b", world.body(lambda c: c.input), uses="item").edge("list", "b")
    flow.node("more", world.body(lambda c: c.input)).edge("b", "more")
    flow.loop("again", "n < 2", start="list", end="more")
    flow.node("after", world.body("after"))
    return flow.edge("before", "again").edge("again", "after")


STORIES = {
    "plain": Story(plain),
    "limited": Story(limited),
    "collecting": Story(collecting),
    "loop": Story(in_a_loop),
    "cancel": Story(plain, cancel, in_process=False, settled=False),
}


@pytest.mark.parametrize("name", [name for name, story in STORIES.items() if story.in_process])
def test_without_a_crash_it_is_as_in_process(name: str) -> None:
    """What comes of a batch that is cut is what comes of it in process, bodies included."""
    is_as_in_process(STORIES[name])


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", STORIES)
def test_a_crash_at_any_call(name: str, after: bool, processes: int) -> None:
    """Wherever a process dies, the run ends as it would have, and nothing is left of it."""
    survives(STORIES[name], after, processes)


def shards_of(world: World) -> dict[str, str | None]:
    """The statuses of all shards, by the place of their first item."""
    return {
        run_id.partition("#")[2]: world.status(run_id)
        for run_id in world.run_ids()
        if "#" in run_id
    }


def test_shards_are_no_runs_of_their_own() -> None:
    """Nobody lists, reads, steers or waits for one; they go when their run is deleted."""

    async def story(world: World) -> None:
        flow = plain(world)
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        await world.process()
        await world.finish(RUN)
        assert shards_of(world) == dict.fromkeys("024", "completed")
        (only,) = (await world.client.list_runs()).runs
        assert only.run_id == RUN
        shard = next(run_id for run_id in world.run_ids() if "#" in run_id)
        for verb in (world.client.get_run, world.client.cancel_run, world.client.delete_run):
            with pytest.raises(RunNotFound, match="no run but a part of one"):
                await verb(shard)
        await world.client.delete_run(RUN)
        assert not world.run_ids()

    play(story)


def test_an_item_sees_the_runs_context_and_name() -> None:
    """Run id, idempotency key and context are those of the run; items do not see each other."""
    seen = []

    async def item(ctx: Ctx) -> None:
        seen.append((ctx.run_id, ctx.idempotency_key, await ctx.context.get("given")))
        assert (await ctx.context.to_dict())["list"] == [1, 2, 3]
        await ctx.context.set("given", "changed")

    async def story(world: World) -> None:
        flow = cut(world, item, [1, 2, 3], concurrency=1)
        await world.knows(flow).client.start_run(flow, {"given": "first"}, run_id=RUN)
        await world.process()
        run = await world.finish(RUN)
        assert run.context["given"] == "changed"

    play(story)
    assert {run_id for run_id, _, _ in seen} == {RUN}
    assert [value for _, _, value in seen] == ["first", "first", "changed"]
    assert len({key for _, key, _ in seen}) == 3


def test_events_of_a_batch_are_the_runs() -> None:
    """Listeners hear of items under the run's id and their place in the list, and of no shard."""

    async def story(world: World) -> None:
        heard: list[Any] = []
        world.runtime.bus.subscribe(heard.append)
        flow = plain(world)
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        await world.process()
        await world.finish(RUN)
        assert {event.run_id for event in heard} == {RUN}
        types = [event.type for event in heard]
        for once in ("workflow:start", "workflow:finish", "batch:start", "batch:finish"):
            assert types.count(once) == 1, once
        finished = [
            event.payload["item"]
            for event in heard
            if event.type == "node:finish" and "item" in event.payload
        ]
        assert sorted(finished) == [0, 1, 2, 3, 4]

    play(story)


def test_attempts_at_items_are_measured_as_the_runs() -> None:
    """A trace shows them under the id that people know, and no shard counts as a run."""

    async def story(world: World) -> None:
        told = TelemetryRecorder()
        flow = plain(world)
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        await world.process(telemetry=told)
        await world.finish(RUN)
        assert len(told.spans) == 7
        assert {span.attributes["run"] for span in told.spans} == {RUN}
        assert told.total("flowcraft.runs.finished") == 1

    play(story)


def test_a_client_of_a_file_says_how_large_shards_are(tmp_path: Path) -> None:
    """Whoever starts a run decides: the size is kept with the run."""

    async def started() -> int | None:
        flow = create_flow("f").batch("b", print, uses="item", inputs="items")
        async with FlowClient.sqlite(tmp_path / "runs.db", shard_items=3) as client:
            run = await client.start_run(flow, {"items": [1, 2, 3, 4]})
            return (await client.get_run(run))._run.state.shard_size

    assert drive(started()) == 3


@pytest.mark.parametrize("items", [2, 7])
def test_pausing(items: int) -> None:
    """Nothing begins while a run is paused, be its batch cut or not; then all of it goes on."""

    async def story(world: World) -> None:
        gate, begun = asyncio.Event(), []

        async def item(ctx: Ctx) -> int:
            begun.append(ctx.input)
            await gate.wait()
            return int(ctx.input)

        flow = cut(world, item, list(range(items)))
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        await world.process(concurrency=1)
        await world.until(lambda: bool(begun), "an item under way")
        await world.client.pause_run(RUN)
        gate.set()
        await world.advance(120)
        assert (world.status(RUN), len(begun)) == ("paused", 1)
        await world.client.patch_context(RUN, {"now": "it can be changed"})
        await world.advance(1)
        await world.client.continue_run(RUN)
        run = await world.finish(RUN)
        assert run.outputs["end"] == list(range(items))
        assert sorted(begun) == list(range(items))

    play(story)


def test_pausing_again_and_again() -> None:
    """Pause and continue in quick succession leave no shard behind in the state before."""

    async def story(world: World) -> None:
        flow = plain(world)
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        for _ in range(2):
            await world.process()
        for turn in range(40):
            if world.status(RUN) in FINAL_STATUSES:
                break
            with contextlib.suppress(InvalidRunState):
                await (world.client.continue_run if turn % 2 else world.client.pause_run)(RUN)
            for _ in range(turn % 5):
                await asyncio.sleep(0)
        await world.settle()
        if world.status(RUN) not in FINAL_STATUSES:
            with contextlib.suppress(InvalidRunState):
                await world.client.continue_run(RUN)
        run = await world.finish(RUN)
        assert run.outputs["end"] == [10, 20, 30, 40, 50]
        assert set(world.bodies.values()) == {1}

    play(story)


def test_a_claim_of_nobody_in_a_shard_does_not_hold_up_a_run_that_goes_on() -> None:
    """An item that was put aside, and claimed by a worker that died, is begun when it is due."""

    async def story(world: World) -> None:
        async def item(ctx: Ctx) -> int:
            if ctx.input == 1:
                await world.client.pause_run(RUN)
            return int(ctx.input)

        flow = cut(world, item, [1, 2, 3])
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        await world.process(concurrency=1)
        await world.until(lambda: world.status(RUN) == "paused")
        record = world.record(f"{RUN}/b_scatter:#2")
        assert record is not None
        late = Claim("1#2/1", "late", "gone", LEASE_SECONDS)
        change = Change(
            record.head.run_id, record.head.epoch, record.head.facts, "gone", claim=late
        )
        assert (await world.ports.runs.write(change)).granted
        await world.client.continue_run(RUN)
        assert (await world.finish(RUN)).outputs["end"] == [1, 2, 3]

    play(story)


def test_cancelling_past_a_backlog() -> None:
    """Whatever is queued before its message, no further item begins, and the run is over."""

    async def story(world: World) -> None:
        begun = []

        async def item(ctx: Ctx) -> None:
            begun.append(ctx.input)
            if len(begun) == 1:
                await world.client.cancel_run(RUN, reason="enough")

        world.shard_items = 10
        flow = create_flow("f").batch("b", item, inputs="items")
        await world.knows(flow).client.start_run(flow, {"items": list(range(35))}, run_id=RUN)
        await world.process(concurrency=1)
        run = await world.finish(RUN)
        assert run.status == "cancelled"
        assert len(begun) < 5
        assert set(shards_of(world).values()) == {"cancelled"}

    play(story)


def test_what_a_worker_knows_of_a_cancel_counts_before_the_shard_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No item begins on a worker that has read that the run stops, though nobody told its shard."""

    async def tell_nobody(*_: Any) -> None:
        """What is left of it when the client dies on the way."""

    monkeypatch.setattr(wishes, "_tell_shards", tell_nobody)

    async def story(world: World) -> None:
        begun = []

        async def item(ctx: Ctx) -> None:
            begun.append(ctx.input)
            await world.client.cancel_run(RUN)
            station = process.worker.station
            run = await station.open(RUN, station._open[RUN].epoch)
            assert run is not None
            await station.refresh(run)

        flow = cut(world, item, [1, 2, 3], concurrency=1)
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        process = await world.process(concurrency=1)
        run = await world.finish(RUN)
        assert (run.status, begun) == ("cancelled", [1])
        assert "cancelled" in shards_of(world).values()

    play(story)


def test_fail_fast() -> None:
    """The first item that fails stops the other shards too."""

    async def story(world: World) -> None:
        async def item(ctx: Ctx) -> None:
            world.count(ctx)
            if ctx.input == 3:
                raise ValueError("three")

        flow = cut(world, item, list(range(9)), concurrency=2)
        await world.knows(flow).client.start_run(flow, run_id=RUN, on_failure="fail_fast")
        await world.process(concurrency=2)
        run = await world.finish(RUN)
        assert (run.status, [each.message for each in run.errors]) == ("failed", ["three"])
        assert world.bodies.total() < 10

    play(story)


@pytest.mark.parametrize("calls", range(9, 30, 3))
def test_a_shard_that_was_forgotten_is_got_going_again(calls: int) -> None:
    """A purged queue: the reconciler finds the shards, and the items that had not ended."""

    async def story(world: World) -> None:
        flow = plain(world)
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        process = await world.process(Life(calls))
        await world.settle()
        assert shards_of(world)
        await process.kill()
        world.processes.remove(process)
        world.ports.queue._messages.clear()  # type: ignore[attr-defined]
        await world.advance(1000)
        stats = await world.client.reconcile()
        assert stats.reconciled_runs > 0
        await world.process()
        run = await world.finish(RUN)
        assert run.outputs["end"] == [10, 20, 30, 40, 50]

    play(story)


@pytest.mark.parametrize("options", [{}, {"concurrency": 1}, {"chunk_size": 2}], ids=str)
@pytest.mark.parametrize(("shard_items", "anew"), [(9, [1, 4, 7]), (2, [0, 1, 4, 5, 6, 7])])
def test_retrying_what_failed_takes_over_what_succeeded(
    shard_items: int, anew: list[int], options: dict[str, Any]
) -> None:
    """The items that failed run again, of a cut batch with those of their shard; no others do."""

    async def story(world: World) -> None:
        begun: list[int] = []
        broken = [True]

        async def item(ctx: Ctx) -> int:
            begun.append(ctx.input)
            if ctx.input in (1, 4, 7) and broken[0]:
                raise ValueError("broken")
            return int(ctx.input)

        flow = cut(world, item, list(range(8)), **options)
        world.shard_items = shard_items
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        await world.process()
        assert len((await world.finish(RUN)).errors) == 3
        broken[0] = False
        begun.clear()
        run = await world.finish(await world.client.retry_failed(RUN))
        assert (run.status, run.outputs["end"]) == ("completed", list(range(8)))
        assert sorted(begun) == anew
        assert run.outputs["list"] == list(range(8))

    play(story)


def test_an_item_that_succeeded_at_last_is_taken_over() -> None:
    """A run from a later node has the results of items that needed several attempts."""

    async def story(world: World) -> None:
        async def item(ctx: Ctx) -> int:
            world.count(ctx)
            if ctx.attempt == 1:
                raise ValueError("not yet")
            return int(ctx.input)

        flow = cut(world, item, [1, 2], retry=RetryPolicy(max_attempts=2, delay=5.0))
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        await world.process()
        await world.finish(RUN)
        counted = world.bodies.total()
        run = await world.finish(await world.client.rerun_from(RUN, "end"))
        assert run.outputs["end"] == [1, 2]
        assert world.bodies.total() == counted + 1

    play(story)


@pytest.mark.parametrize("shard_items", [9, 2])
def test_retrying_in_a_run_that_goes_on(shard_items: int) -> None:
    """The items that failed run again in the same run, and a later run takes over the last word."""

    async def story(world: World) -> None:
        broken, gate, begun = [True], asyncio.Event(), []

        async def item(ctx: Ctx) -> int:
            begun.append(ctx.input)
            if ctx.input == 0 and broken[0]:
                raise ValueError("broken")
            if ctx.input == 5:
                await gate.wait()
            return int(ctx.input)

        flow = cut(world, item, list(range(6)))
        world.shard_items = shard_items
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        await world.process()
        await world.until(lambda: 5 in begun, "the last item")
        await world.settle()
        broken[0] = False
        await world.client.retry_failed(RUN)
        await world.settle()
        gate.set()
        run = await world.finish(RUN)
        assert (run.status, run.outputs["end"]) == ("completed", list(range(6)))
        counted = len(begun)
        again = await world.finish(await world.client.rerun_from(RUN, "end"))
        assert (again.outputs["end"], len(begun)) == (list(range(6)), counted)
        for run_id in (RUN, again.run_id):
            await world.client.delete_run(run_id)
        assert not world.run_ids()

    play(story)


@pytest.mark.parametrize("verb", ["retry_failed", "rerun_from"])
@pytest.mark.parametrize("shard_items", [9, 4])
def test_a_run_after_one_that_was_cancelled_lacks_no_item(shard_items: int, verb: str) -> None:
    """Items that the cancel kept from running run in the new run; nothing stands in for them."""

    async def story(world: World) -> None:
        begun = []

        async def item(ctx: Ctx) -> int:
            begun.append(ctx.input)
            if ctx.input == 5 and begun.count(5) == 1:
                await world.client.cancel_run(RUN)
            return int(ctx.input)

        flow = cut(world, item, list(range(8)))
        world.shard_items = shard_items
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        await world.process(concurrency=1)
        assert (await world.finish(RUN)).status == "cancelled"
        assert 7 not in begun
        client = world.client
        new = client.retry_failed(RUN) if verb == "retry_failed" else client.rerun_from(RUN, "end")
        run = await world.finish(await new)
        assert (run.status, run.outputs["end"]) == ("completed", list(range(8)))

    play(story)


@pytest.mark.parametrize("broken", [1, 5])
@pytest.mark.parametrize("shard_items", [9, 4])
def test_a_run_after_one_that_failed_fast_begins(shard_items: int, broken: int) -> None:
    """What stopped the earlier run is to happen anew: it does not stop the new one."""

    async def story(world: World) -> None:
        begun = []

        async def item(ctx: Ctx) -> int:
            begun.append(ctx.input)
            if ctx.input == broken and begun.count(broken) == 1:
                raise ValueError("broken")
            return int(ctx.input)

        flow = cut(world, item, list(range(8)))
        world.shard_items = shard_items
        await world.knows(flow).client.start_run(flow, run_id=RUN, on_failure="fail_fast")
        await world.process(concurrency=1)
        assert (await world.finish(RUN)).status == "failed"
        run = await world.finish(await world.client.retry_failed(RUN))
        assert (run.status, run.outputs["end"]) == ("completed", list(range(8)))

    play(story)


@pytest.mark.parametrize("calls", range(39, 53))
def test_the_results_of_a_shard_are_told_again(calls: int) -> None:
    """A purged queue: what a shard that is over has told its run is found by the reconciler."""

    async def story(world: World) -> None:
        flow = plain(world)
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        process = await world.process(Life(calls))
        await world.settle()
        assert "completed" in shards_of(world).values()
        await process.kill()
        world.processes.remove(process)
        world.ports.queue._messages.clear()  # type: ignore[attr-defined]
        await world.advance(1000)
        await world.client.reconcile()
        await world.process()
        assert (await world.finish(RUN)).outputs["end"] == [10, 20, 30, 40, 50]

    play(story)


@pytest.mark.parametrize("into", ["g", "end"])
@pytest.mark.parametrize("shard_items", [9, 2])
def test_a_batch_that_a_node_adds(shard_items: int, into: str) -> None:
    """A gather node that is there waits for it; one that is added too begins at once, with none."""

    async def story(world: World) -> None:
        given = {"workerUsesKey": "item", "gatherNodeId": into}
        gather = {"uses": "batch-gather", "params": {"gatherNodeId": into}}
        added = [{"id": "s", "uses": "batch-scatter", "params": given, "inputs": "x"}]
        added += [{"id": "g", **gather}] if into == "g" else []

        async def adds(ctx: Ctx) -> NodeResult[Any]:
            return NodeResult({"gatherNodeId": "end"}, dynamic_nodes=added)

        async def item(ctx: Ctx) -> int:
            return int(ctx.input)

        world.shard_items = shard_items
        world.runtime.registry.register("item", item)
        flow = create_flow("f").node("a", adds).edge("a", "end")
        flow.node("end", "batch-gather", params={"gatherNodeId": "end"})
        client = world.knows(flow).client
        await client.start_run(flow, {"x": [1, 2, 3, 4, 5]}, run_id=RUN)
        await world.process()
        run = await world.finish(RUN)
        assert (run.status, run.errors) == ("completed", ())
        expected = {"end": [1, 2, 3, 4, 5]} if into == "end" else {"g": [], "end": []}
        assert {name: run.outputs[name] for name in expected} == expected

    play(story)
