"""Whoever starts a run stores the child flows it knows, so that workers that lack them run it."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.adapters.system import SystemIdentifiers
from flowcraft.core.builder import FlowBuilder
from flowcraft.engine.client import FlowClient
from flowcraft.engine.options import RuntimeOptions
from tests.unit.durable import World, play

RUN = "run"


class Counted:
    """Texts by key, and what was asked for."""

    def __init__(self, blobs: Any) -> None:
        self._blobs = blobs
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._blobs, name)

        async def call(key: str, *arguments: Any, **options: Any) -> Any:
            self.asked.append(f"{name} {key}")
            return await method(key, *arguments, **options)

        return call


def three_deep(world: World) -> FlowBuilder:
    """A flow whose child has a child."""
    low = create_flow("low").node("c", world.body(3))
    middle = create_flow("middle").node("b", world.body(2)).subflow("low", low)
    return create_flow("high").node("a", world.body(1)).subflow("middle", middle.edge("b", "low"))


def without(world: World, *names: str) -> RuntimeOptions:
    """What a worker has that knows all nodes, and lacks some of the flows."""
    options = world.runtime.options
    kept = {id_: each for id_, each in options.blueprints.items() if id_ not in names}
    return FlowRuntime(registry=options.registry, blueprints=kept).options


def client_of(world: World, options: RuntimeOptions) -> FlowClient:
    """A client that knows something else."""
    return FlowClient(
        world.storage.open_ports, options, clock=world.clock, identifiers=SystemIdentifiers()
    )


def test_a_worker_without_a_child_flow_runs_what_only_the_starter_knows() -> None:
    """A child flow, and the child flow of that, come with the run to a worker that has neither."""

    async def story(world: World) -> None:
        world.knows(three_deep(world))
        await world.client.start_run("high", run_id=RUN)
        await world.process(options=without(world, "middle", "low"))
        run = await world.finish(RUN)
        assert str(run.status) == "completed", run.errors
        assert run.outputs["middle"] == 3

    play(story)


def test_a_flow_brings_its_child_flows_along() -> None:
    """A flow that is handed to a client that knows nothing comes with its child flows."""

    async def story(world: World) -> None:
        flow = three_deep(world)
        world.knows(flow)
        async with client_of(world, FlowRuntime().options) as client:
            await client.start_run(flow, run_id=RUN)
        await world.process(options=without(world, "high", "middle", "low"))
        assert str((await world.finish(RUN)).status) == "completed"

    play(story)


def test_a_flow_that_calls_itself_is_its_own_child_flow() -> None:
    """A worker that lacks a flow which is its own subflow finds it as such."""

    async def story(world: World) -> None:
        flow = create_flow("again").node("a", world.body()).subflow("b", "again")
        flow.edge("a", "b", action="once more")
        async with client_of(world, FlowRuntime().options) as client:
            await client.start_run(flow, run_id=RUN)
        process = await world.idle()
        known = await process.worker.station.latest("again")
        assert known == flow.to_blueprint()

    play(story)


def test_what_a_worker_stored_is_not_replaced_by_a_starter() -> None:
    """The child flow that a worker brought along stays, whatever version a starter has of it."""

    async def story(world: World) -> None:
        parent = create_flow("parent").subflow("c", create_flow("child").node("x", world.body(1)))
        newer = create_flow("parent").subflow("c", create_flow("child").node("y", world.body(2)))
        world.knows(newer)
        await (await world.process()).kill()
        async with client_of(world, FlowRuntime(flows=[parent]).options) as client:
            await client.start_run("parent", run_id=RUN)
        await world.process(options=without(world, "parent", "child"))
        assert (await world.finish(RUN)).outputs["c"] == 2

    play(story)


def test_what_is_known_to_be_stored_costs_nothing_and_else_one_read() -> None:
    """A first start asks once for each child flow, and a second one for none."""

    async def story(world: World) -> None:
        world.knows(three_deep(world))
        await (await world.process()).kill()
        station = await world.client._opened()
        blobs = Counted(station.blobs)
        station.blobs = cast("Any", blobs)
        await world.client.start_run("high", run_id=RUN)
        own, *others = blobs.asked
        assert own.startswith("put blueprint/")
        assert others == ["get latest/middle", "get latest/low"]
        blobs.asked.clear()
        await world.client.start_run("high", run_id="another")
        assert blobs.asked == []

    play(story)


def test_a_worker_asks_for_nothing_that_it_stored_as_it_began() -> None:
    """A child run, begun by a worker that knows the flows, costs no read of child flows."""

    async def story(world: World) -> None:
        world.knows(three_deep(world))
        process = await world.idle()
        blobs = Counted(process.worker.station.blobs)
        process.worker.station.blobs = cast("Any", blobs)
        blueprint = world.runtime.blueprints["high"]
        await process.worker.station.keep_below(blueprint)
        assert blobs.asked == []

    play(story)


def test_a_child_flow_that_cannot_be_planned_keeps_no_run_from_starting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What is wrong with a child flow is its node's failure, and the run starts all the same."""

    async def story(world: World) -> None:
        bad = {
            "id": "bad",
            "nodes": [{"id": "r", "uses": "loop-controller", "params": {"condition": "true"}}],
        }
        flow = create_flow("parent").node("a", world.body(1)).subflow("c", "bad").edge("a", "c")
        world.knows(flow)
        options = FlowRuntime(
            registry=world.runtime.options.registry,
            blueprints={**world.runtime.options.blueprints, "bad": bad},
        ).options
        async with client_of(world, options) as client:
            await client.start_run("parent", run_id=RUN)
        await world.process()
        run = await world.finish(RUN)
        assert str(run.status) == "failed"
        assert [error.node_id for error in run.errors] == ["c"]

    with caplog.at_level(logging.WARNING, "flowcraft"):
        play(story)
    assert "'bad'" in caplog.text
