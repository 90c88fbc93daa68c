"""Runs in detail, and followed from look to look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from flowcraft import NodeContext, NodeResult, create_flow
from flowcraft.engine.inspecting import BatchDetails, NodeDetails, RunDetails
from flowcraft.errors import RunNotFound
from tests.unit.aws_fleet import FakeFleet
from tests.unit.durable import World, play
from tests.unit.durable_sqlite import SqliteWorld
from tests.unit.runs import drive

Ctx = NodeContext[Any]
RUN = "run"
Story = Callable[[World], Coroutine[Any, Any, None]]


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """Runs in memory, and in a file."""
    return World() if request.param == "memory" else SqliteWorld(tmp_path / "runs.db")


def node_of(run: RunDetails, name: str) -> NodeDetails:
    """An instance of a node by its name."""
    return next(node for node in run.nodes if node.name == name)


def test_which_edges_were_taken_and_that_a_run_is_paused_are_told(world: World) -> None:
    """Of a branch the way that was chosen, of nodes without a choice all; pausing shows at once."""

    async def choose(ctx: Ctx) -> NodeResult[None]:
        return NodeResult(action="left")

    async def story(world: World) -> None:
        flow = create_flow("f").node("choose", choose).node("a", world.body())
        flow.node("b", world.body()).node("c", world.body()).wait("ask")
        flow.edge("choose", "a", action="left").edge("choose", "b", action="right")
        flow.edge("a", "c").edge("a", "ask")
        world.knows(flow)
        await world.client.start_run(flow, {}, run_id=RUN)
        await world.process()
        await world.advance(60)
        run = await world.client.inspect_run(RUN)
        took = {node.name: node.took for node in run.nodes}
        assert took == {"choose": ("a",), "a": ("c", "ask"), "b": (), "c": (), "ask": ()}
        assert not run.paused
        await world.client.pause_run(RUN)
        assert (await world.client.inspect_run(RUN)).paused

    play(story, world)


def test_attempts_errors_and_values_are_told(world: World) -> None:
    """Each attempt has its times and error, a node its values, and what did not begin is there."""
    failures = [ConnectionError("line down"), ValueError("declined")]

    async def charge(ctx: Ctx) -> dict[str, int]:
        world.count(ctx)
        if failures:
            raise failures.pop(0)
        await ctx.context.set("charged", True)
        return {"amount": ctx.input}

    async def story(world: World) -> None:
        flow = create_flow("order").metadata(version="7").node("check", world.body(21))
        flow.node("charge", charge, config={"maxRetries": 3, "retryDelay": 4_000})
        flow.wait("approve", title="Approve it", actions=["yes"], timeout=600)
        flow.node("ship", world.body()).edge("check", "charge").edge("charge", "approve")
        flow.edge("approve", "ship")
        world.knows(flow)
        await world.client.start_run(flow, {"given": 1}, run_id=RUN, tags={"tenant": "acme"})
        await world.process()
        await world.advance(60)
        run = await world.client.inspect_run(RUN)
        assert (run.blueprint_id, run.version, run.status) == ("order", "7", "awaiting")
        assert (run.tags, run.counts) == (
            {"tenant": "acme"},
            {"succeeded": 2, "waiting": 1, "pending": 1},
        )
        charged = node_of(run, "charge")
        assert [(each.number, each.error and each.error.type) for each in charged.attempts] == [
            (1, "ConnectionError"),
            (2, "ValueError"),
            (3, None),
        ]
        first, second, third = charged.attempts
        assert first.started_at == charged.started_at
        assert second.started_at is not None
        assert first.ended_at is not None
        assert first.ended_at < second.started_at
        assert third.ended_at == charged.ended_at
        assert (charged.input, charged.output) == (21, {"amount": 21})
        assert run.context == {"given": 1, "charged": True}
        assert [node.name for node in run.nodes] == ["check", "charge", "approve", "ship"]
        assert node_of(run, "ship").status == "pending"
        (wait,) = run.awaiting
        assert (wait.path, wait.title, wait.actions) == (("approve",), "Approve it", ("yes",))
        assert node_of(run, "approve").due_at == run.due_at
        assert run.parent is None

    play(story, world)


def test_a_failed_run_tells_its_causes_and_who_has_work(world: World) -> None:
    """A running node has a lease, one between attempts its next time, and a failed one an error."""
    seen: list[RunDetails] = []

    async def look(ctx: Ctx) -> None:
        world.count(ctx)
        seen.append(await world.client.inspect_run(RUN))
        raise RuntimeError("bad") from KeyError("a")

    async def story(world: World) -> None:
        flow = create_flow("f").node("look", look, config={"maxRetries": 2, "retryDelay": 5_000})
        flow.node("after", world.body()).edge("look", "after")
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        await world.process()
        await world.settle()
        between = await world.client.inspect_run(RUN)
        await world.finish(RUN)
        running = node_of(seen[0], "look")
        assert running.status == "running"
        assert running.lease_until is not None
        assert [(each.number, each.ended_at) for each in running.attempts] == [(1, None)]
        retrying = node_of(between, "look")
        assert (retrying.status, retrying.lease_until) == ("retrying", None)
        assert retrying.due_at == between.due_at
        assert [each.number for each in retrying.attempts] == [1]
        over = await world.client.inspect_run(RUN)
        (error,) = over.errors
        assert error.causes == (("KeyError", "'a'"),)
        assert over.counts == {"failed": 1, "blocked": 1}
        assert [each.number for each in node_of(over, "look").attempts] == [1, 2]
        assert all(each.error is not None for each in node_of(over, "look").attempts)
        assert over.ended_at is not None

    play(story, world)


def test_a_look_reads_only_what_is_new(world: World) -> None:
    """Each further look takes a read of the run and one of each child that it waits for."""

    async def story(world: World) -> None:
        inner = create_flow("inner").wait("ask")
        flow = create_flow("outer").subflow("sub", inner).node("after", world.body("done"))
        flow.edge("sub", "after")
        await world.knows(flow, inner).client.start_run(flow, run_id=RUN)
        await world.process()
        await world.settle()
        follower = await world.client.follow_run(RUN)
        first = await follower.look()
        sub = node_of(first, "sub")
        assert (sub.child_run_id, sub.child_status) == (f"{RUN}/sub::1", "awaiting")
        assert [wait.path for wait in first.awaiting] == [("sub", "ask")]
        child = await world.client.inspect_run(f"{RUN}/sub::1")
        assert child.parent == RUN
        before = follower.reads
        assert await follower.look() == first
        assert follower.reads == before + 2
        await world.client.resume_with_action(RUN)
        await world.finish(RUN)
        last = await follower.look()
        assert last.counts == {"succeeded": 2}
        assert last.context == {}
        assert node_of(last, "after").output is None
        assert (await world.client.inspect_run(RUN)).nodes[-1].output == "done"

    play(story, world)


def test_a_batch_that_is_cut_is_counted_item_by_item(world: World) -> None:
    """Items of shards under way count at once, not with the end of their shard."""

    async def item(ctx: Ctx) -> int:
        world.count(ctx)
        if ctx.input == 1:
            raise ValueError("one")
        return int(ctx.input)

    async def story(world: World) -> None:
        world.shard_items = 3
        flow = create_flow("f").node("list", world.body(list(range(8))))
        flow.batch("b", item, uses="item", failure_mode="collect", concurrency=1)
        flow.edge("list", "b")
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        follower = await world.client.follow_run(RUN)
        seen: list[BatchDetails] = []
        process = await world.process()
        while not (run := await follower.look()).status.is_final:
            batch = next((node.batch for node in run.nodes if node.batch), None)
            if batch is not None and batch not in seen:
                seen.append(batch)
            await world.advance(0.001)
        del process
        batch = next(node.batch for node in run.nodes if node.batch)
        assert batch == BatchDetails(8, 8, 1, 0, 3, 3)
        assert all(each.items == 8 for each in seen)
        assert [each.done for each in seen] == sorted(each.done for each in seen)

    play(story, world)


def test_items_of_an_open_shard_are_in_the_count(world: World) -> None:
    """While an item waits for its next attempt those beside it are done, and it is under way."""

    async def item(ctx: Ctx) -> int:
        world.count(ctx)
        if ctx.input == 2 and ctx.attempt == 1:
            raise ValueError("two")
        return int(ctx.input)

    async def story(world: World) -> None:
        world.shard_items = 3
        flow = create_flow("f").node("list", world.body([0, 1, 2, 3]))
        flow.batch("b", item, uses="item")
        flow.edge("list", "b")
        blueprint = flow.to_blueprint().to_dict()
        for node in blueprint["nodes"]:
            if node["uses"] == "batch-scatter":
                node["config"] = {"maxRetries": 2, "retryDelay": 60_000}
        await world.knows(flow).client.start_run(blueprint, run_id=RUN)
        await world.process()
        await world.settle()
        run = await world.client.inspect_run(RUN)
        batch = next(node.batch for node in run.nodes if node.batch)
        assert batch == BatchDetails(4, 3, 0, 1, 2, 1)
        await world.finish(RUN)

    play(story, world)


def test_a_list_tells_the_events_that_runs_wait_for(world: World) -> None:
    """The summary of a run names events and keys, those of waits that have them."""

    async def story(world: World) -> None:
        flow = create_flow("f").wait("a", event="paid", correlation_key="number").wait("b")
        await world.knows(flow).client.start_run(flow, {"number": 17}, run_id=RUN)
        await world.process()
        await world.settle()
        (run,) = (await world.client.list_runs()).runs
        assert run.awaits == (("paid", "17"),)

    play(story, world)


def test_a_run_that_is_deleted_is_followed_no_more(world: World) -> None:
    """Who follows a run learns that it is gone, by the same error as who asks for it."""

    async def story(world: World) -> None:
        flow = create_flow("f").node("a", world.body())
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        await world.process()
        await world.finish(RUN)
        follower = await world.client.follow_run(RUN)
        await follower.look()
        await world.client.delete_run(RUN)
        with pytest.raises(RunNotFound, match="no more"):
            await follower.look()
        with pytest.raises(RunNotFound):
            await world.client.inspect_run(RUN)

    play(story, world)


def test_on_aws_a_look_at_a_run_is_one_request() -> None:
    """A run that rests costs one read of its item at each look, and its cost is told."""

    async def work() -> None:
        fleet = await FakeFleet.made()
        flow = create_flow("f").node("a", lambda ctx: 1).wait("ask").edge("a", "ask")
        async with fleet.adapter(flow) as adapter:
            await adapter.start_run("f", run_id=RUN)
            while (await adapter.get_run(RUN)).status != "awaiting":
                await asyncio.sleep(0.01)
        async with fleet.client() as client:
            follower = await client.follow_run(RUN)
            first = await follower.look()
            before = len(fleet.sent)
            second = await follower.look()
            assert [request.split()[0] for request in fleet.sent[before:]] == ["GetItem"]
        assert first.counts == second.counts == {"succeeded": 1, "waiting": 1}
        assert second.cost is not None
        assert second.cost.requests > 0

    drive(work())
