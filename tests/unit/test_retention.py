"""Runs that expire, in memory and on SQLite: workers remove them, with all that belongs to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowcraft import FlowRuntime, NodeContext, create_flow
from flowcraft.client import FlowClient
from flowcraft.errors import InvalidRunState, RunNotFound
from flowcraft.memory import MemoryAdapter, MemoryStorage
from flowcraft.sqlite import SqliteAdapter
from tests.unit.durable import World
from tests.unit.durable_sqlite import SqliteWorld

DAY = 86_400.0
KEPT = 7 * DAY


async def numbers(_: NodeContext[Any]) -> list[int]:
    """Items."""
    return [1, 2, 3, 4, 5]


async def passed(ctx: NodeContext[Any]) -> Any:
    """What it is given."""
    return ctx.input


def family() -> Any:
    """A run with a child run and a batch in shards."""
    child = create_flow("child").node("x", passed)
    flow = create_flow("family").node("list", numbers).batch("b", passed, uses="item")
    return flow.subflow("c", child).edge("list", "b").edge("b", "c")


def keep_for(world: World, seconds: float | None) -> None:
    """Let the stores and processes of a world keep runs for so long, from now on."""
    world.ports.runs._retention_seconds = seconds  # type: ignore[attr-defined]
    world.storage.retention_seconds = seconds
    world.runtime.options = replace(world.runtime.options, retention_seconds=seconds)


def left(world: World) -> list[str]:
    """What is stored of runs."""
    runs = world.ports.runs
    if isinstance(world, SqliteWorld):
        tables = ("runs", "facts", "leases", "tags", "awaited", "messages")
        with runs._database.snapshot as execute:  # type: ignore[attr-defined]
            rows = {table: execute(f"SELECT * FROM {table}").fetchall() for table in tables}
        return [f"{table} {row}" for table, some in rows.items() for row in some]
    return [*runs._runs, *runs._keys, *world.bodies_of_messages()]  # type: ignore[attr-defined]


Open = Callable[[], World]


@pytest.fixture(params=["memory", "sqlite"])
def new_world(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Makes a world with that storage."""
    if request.param == "memory":
        return World
    return lambda: SqliteWorld(tmp_path / "runs.db")


def with_world(new_world: Open, case: Callable[[World], Awaitable[None]]) -> None:
    """Run a case in a world of its own."""

    async def main() -> None:
        world = new_world()
        world.shard_items = 2
        try:
            await case(world)
        finally:
            await world.end()

    asyncio.run(main())


def test_a_worker_removes_what_has_expired(new_world: Open) -> None:
    """A week after its end a run is absent, and a minute later nothing is left of it."""

    async def case(world: World) -> None:
        keep_for(world, KEPT)
        world.knows(family())
        await world.process(reconcile_every_seconds=60.0)
        await world.client.start_run("family", run_id="r", idempotency_key="k", tags={"a": "b"})
        await world.finish("r")
        ended_at = world.facts("r")[-1].at
        assert len(world.run_ids()) == 5
        await world.advance(ended_at + KEPT - 1 - world.clock.now())
        assert (await world.client.get_run("r")).status == "completed"
        await world.advance(2)
        with pytest.raises(RunNotFound):
            await world.client.get_run("r")
        await world.advance(60)
        assert left(world) == []

    with_world(new_world, case)


def test_runs_that_live_are_never_removed(new_world: Open) -> None:
    """A run that waits for longer than runs are kept stays, and its finished child with it."""

    async def case(world: World) -> None:
        keep_for(world, KEPT)
        child = create_flow("child").node("x", passed)
        world.knows(create_flow("f").subflow("c", child).wait("w").edge("c", "w"))
        await world.process(reconcile_every_seconds=3600.0)
        await world.client.start_run("f", run_id="r")
        await world.advance(3 * KEPT)
        assert sorted(world.run_ids()) == ["r", "r/c::1"]
        await world.client.resume_with_action("r", output=1)
        await world.finish("r")
        await world.advance(KEPT + 7200)
        assert left(world) == []

    with_world(new_world, case)


def test_retention_that_comes_later_is_for_old_runs_too(new_world: Open) -> None:
    """What was over before is removed within an hour; a change is for what ends from then on."""

    async def case(world: World) -> None:
        world.knows(family(), create_flow("g").node("x", passed))
        await world.process(reconcile_every_seconds=600.0)
        await world.client.start_run("family", run_id="r")
        await world.finish("r")
        await world.advance(KEPT)
        for process in world.processes:
            await process.kill()
        keep_for(world, KEPT)
        process = await world.process(reconcile_every_seconds=600.0)
        await world.client.start_run("g", run_id="week")
        await world.advance(3600 + 600)
        assert world.run_ids() == ["week"]
        await process.kill()
        keep_for(world, DAY)
        await world.process(reconcile_every_seconds=600.0)
        await world.client.start_run("g", run_id="day")
        await world.advance(DAY + 1200)
        assert world.run_ids() == ["week"]
        await world.advance(KEPT)
        assert left(world) == []

    with_world(new_world, case)


def test_an_id_is_free_once_its_run_has_expired(new_world: Open) -> None:
    """Nobody has removed it yet: the one that begins takes its place, and its key."""

    async def case(world: World) -> None:
        keep_for(world, KEPT)
        world.knows(family())
        await world.process()
        for number in range(2):
            await world.client.start_run("family", run_id="r", idempotency_key="k")
            run = await world.finish("r")
            assert run.created_at.timestamp() == pytest.approx(world.clock.now(), abs=60), number
            assert len(world.run_ids()) == 5
            await world.advance(KEPT + 1)

    with_world(new_world, case)


def test_who_dies_while_deleting_leaves_it_to_the_workers(new_world: Open) -> None:
    """A run that was hidden, and no more, is removed by the next look, without any retention."""

    async def case(world: World) -> None:
        world.knows(family())
        await world.process(reconcile_every_seconds=60.0)
        await world.client.start_run("family", run_id="r")
        await world.finish("r")
        head = world.record("r")
        assert head is not None
        await world.ports.runs.remove("r", head.head.epoch, only_hide=True)
        with pytest.raises(RunNotFound):
            await world.client.get_run("r")
        await world.advance(120)
        assert left(world) == []

    with_world(new_world, case)


def test_a_child_that_is_stored_late_goes_too() -> None:
    """Its run was deleted while it was stored: whoever looks for stuck runs removes it."""

    async def case(world: World) -> None:
        child = create_flow("child").wait("w")
        world.knows(create_flow("f").subflow("c", child))
        await world.process(reconcile_every_seconds=60.0)
        await world.client.start_run("f", run_id="r")
        await world.advance(10)
        run = world.record("r")
        assert run is not None
        await world.ports.runs.remove("r", run.head.epoch)
        assert world.run_ids() == ["r/c::1"]
        with pytest.raises(InvalidRunState):
            await world.client.delete_run("r/c::1")
        await world.client.delete_run("r/c::1", force=True)
        assert left(world) == []

    with_world(World, case)


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), 1e300, 10**400])
def test_a_retention_that_makes_no_sense_is_refused(tmp_path: Path, seconds: float) -> None:
    """It is a positive number of seconds that has an end."""
    options = FlowRuntime().options
    path = tmp_path / "runs.db"
    with pytest.raises(ValueError, match="retention_seconds"):
        MemoryAdapter(options, retention_seconds=seconds)
    with pytest.raises(ValueError, match="retention_seconds"):
        SqliteAdapter(path, options, retention_seconds=seconds)
    with pytest.raises(ValueError, match="retention_seconds"):
        FlowClient.sqlite(path, retention_seconds=seconds)
    with pytest.raises(TypeError, match="retention_seconds"):
        MemoryAdapter(options, retention_seconds="a week")  # type: ignore[arg-type]


def test_a_storage_tells_its_adapters_how_long() -> None:
    """Adapters that share a storage in memory keep runs as long as it does."""
    storage = MemoryStorage(retention_seconds=5.0)
    adapter = MemoryAdapter(FlowRuntime().options, storage=storage)
    assert adapter._options.retention_seconds == 5.0
