"""The history of durable runs: told from their facts, exported, read, and replayed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowcraft import FlowRuntime
from flowcraft.client import HistoryEvent, read_history
from flowcraft.core.builder import FlowBuilder
from flowcraft.engine.history_events import DAMAGED, LATE, MISSING
from flowcraft.testing import VirtualClock
from tests.unit.durable import World, play
from tests.unit.runs import Events
from tests.unit.test_replay import CALLS, FLOWS, told

DURABLE = [name for name in FLOWS if name != "missing"]
"""A worker that lacks an implementation leaves a node to others."""

CONTEXT = {"list": [1, 2, 3]}


async def ended(world: World, flow: FlowBuilder, **options: Any) -> Any:
    """A durable run, over."""
    run = await world.client.start_run(flow, CONTEXT, run_id="r", **options)
    return await world.finish(run)


async def history(world: World, run_id: str = "r", **options: Any) -> list[HistoryEvent]:
    return [event async for event in world.client.history(run_id, **options)]


def a_world(flow: FlowBuilder, shard_items: int = 500) -> World:
    world = World().knows(flow)
    world.runtime.options = replace(world.runtime.options, max_executions=50)
    world.shard_items = shard_items
    return world


@pytest.mark.parametrize("shard_items", [2, 500])
@pytest.mark.parametrize("name", DURABLE)
def test_a_history_leads_to_what_is_stored(name: str, shard_items: int, tmp_path: Path) -> None:
    """Exported, read and replayed, a run of any kind is what the store says, and nothing runs."""
    flow = FLOWS[name]()

    async def work(world: World) -> None:
        await world.process()
        result = await ended(world, flow)
        CALLS.clear()
        events = await history(world)
        file = tmp_path / "r.jsonl"
        assert await world.client.export_history("r", file) == len(events)
        read = list(read_history(file))
        assert [vars_of(e) for e in read] == [vars_of(e) for e in events]
        for each in (events, read):
            assert told(await FlowRuntime().replay(flow, each)) == told(result)
        assert CALLS == []

    play(work, a_world(flow, shard_items))


def vars_of(event: HistoryEvent) -> Any:
    return (event.type, event.timestamp, event.node_id, event.record, event.fact, event.stored)


@pytest.mark.parametrize("shard_items", [2, 500])
@pytest.mark.parametrize("name", DURABLE)
def test_any_part_of_a_history_runs_anew(name: str, shard_items: int) -> None:
    """Executed anew from any of its nodes on, with unchanged code, a run ends as it did."""
    flow = FLOWS[name]()

    async def work(world: World) -> None:
        await world.process()
        result = await ended(world, flow)
        events = await history(world)
        for node in flow.to_blueprint().nodes:
            runtime = FlowRuntime()
            VirtualClock(autojump=True).attach(runtime)
            again = await runtime.replay_from(flow, events, node.id)
            assert again.status == result.status, node.id
            assert (dict(again.outputs), again.states) == (dict(result.outputs), result.states)

    play(work, a_world(flow, shard_items))
