"""Which live runs still need which implementations."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.adapters.memory import MemoryRuns
from flowcraft.engine.draining import Needed
from flowcraft.errors import StorageBusy
from flowcraft.sqlite import SqliteAdapter
from tests.unit.codecs import ToyCodec
from tests.unit.durable import World
from tests.unit.durable_sqlite import SqliteWorld
from tests.unit.runs import drive


async def body(_: Any) -> int:
    """A node."""
    return 1


def order(version: str, charge: str) -> Any:
    """A flow of which a version has another implementation of one node."""
    flow = create_flow("order").metadata(version=version)
    flow.node("check", body, uses="check").wait("ask").node("charge", body, uses=charge)
    return flow.edge("check", "ask").edge("ask", "charge")


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """Runs in memory, and in a file."""
    return World() if request.param == "memory" else SqliteWorld(tmp_path / "runs.db")


def by_uses(needed: tuple[Needed, ...]) -> dict[str, tuple[str | None, int, int]]:
    """Version, runs that need it and live runs, by key and version."""
    return {
        f"{each.uses} {each.version}": (each.blueprint_id, each.runs, each.live) for each in needed
    }


def test_what_a_run_is_past_is_needed_no_more(world: World) -> None:
    """Runs of two versions that wait in the middle need what is behind the wait, each its own."""
    old, new = order("1", "charge"), order("2", "charge-2")

    async def report() -> Any:
        world.knows(old, order("2", "charge-2"))
        process = await world.process()
        client = world.client
        for number in range(7):
            await client.start_run(old.to_blueprint(), run_id=f"old-{number}")
            await world.advance(1.0)
        await client.start_run(new.to_blueprint(), run_id="new")
        await client.start_run(old.to_blueprint(), run_id="done")
        await world.settle()
        await client.resume_with_action("done")
        await world.finish("done")
        await process.kill()
        await client.start_run(new.to_blueprint(), run_id="begins")
        found = await client.drain_report()
        await world.end()
        return found

    found = drive(report())
    assert found.runs == 9
    assert by_uses(found.needed) == {
        "charge 1": ("order", 7, 7),
        "check 1": ("order", 0, 7),
        "charge-2 2": ("order", 2, 2),
        "check 2": ("order", 1, 2),
    }
    charge = next(each for each in found.needed if each.uses == "charge")
    assert charge.examples == tuple(f"old-{number}" for number in range(5))
    assert charge.oldest_at == datetime.fromtimestamp(world.clock.now() - 7, UTC)
    assert found.reads == 1 + 9
    assert [each.uses for each in found.needed_by({"check", "charge-2"})] == ["charge"]
    assert found.needed_by(FlowRuntime(flows=[old, new]).options.registry) == ()
    assert [each.uses for each in found.needed_by([])] == ["charge", "charge-2", "check"]
    text = str(found)
    assert text.startswith("9 live runs at ")
    assert "charge of order version 1 (" in text
    assert "needed by 7 of 7 live runs since 20" in text
    assert "check of order version 1 (" in text
    assert "needed by none of 7 live runs" in text


def test_without_looking_inside_every_key_counts(world: World) -> None:
    """Rows alone tell blueprints, at one read a page: that says too much, and never too little."""
    flow = order("1", "charge")

    async def report() -> Any:
        world.knows(flow)
        await world.process()
        for number in range(250):
            await world.client.start_run("order", run_id=f"r{number:03}")
        await world.settle()
        found = await world.client.drain_report(look_inside=False)
        inside = await world.client.drain_report()
        await world.end()
        return found, inside

    found, inside = drive(report())
    assert by_uses(found.needed) == {
        "charge 1": ("order", 250, 250),
        "check 1": ("order", 250, 250),
    }
    assert found.reads == 3
    assert inside.reads == 3 + 250
    assert by_uses(inside.needed)["check 1"] == ("order", 0, 250)


def test_batches_children_and_undoing_are_seen(world: World) -> None:
    """The worker of a batch, the nodes of a child run and what undoes something are needed."""
    child = create_flow("child").wait("ask").node("x", body, uses="child.x").edge("ask", "x")
    flow = create_flow("parent").node("a", body, uses="a", compensate="undo")
    flow.node("undo", body, uses="undo").subflow("sub", child).edge("a", "sub")
    flow.batch("each", body, uses="item", inputs="list").edge("sub", "each")

    async def report() -> Any:
        world.knows(flow)
        world.shard_items = 2
        await world.process()
        await world.client.start_run("parent", {"list": [1, 2, 3]}, run_id="r")
        await world.settle()
        found = await world.client.drain_report()
        await world.end()
        return found

    found = drive(report())
    needed = {each.uses: each.blueprint_id for each in found.needed if each.may_run}
    assert needed == {"child.x": "child", "undo": "parent", "item": "parent"}
    assert found.runs == 2


def test_runs_that_cannot_be_read_are_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A run whose payloads cannot be decoded here is counted apart, and the others are reported."""
    flow = order("1", "charge")

    async def report() -> Any:
        world.knows(flow)
        await world.client.start_run("order", run_id="readable")
        world.codec, world._client = ToyCodec(), None
        await world.client.start_run(order("2", "charge"), run_id="encoded")
        world.codec, world._client = None, None
        with caplog.at_level(logging.ERROR):
            found = await world.client.drain_report()
        await world.end()
        return found

    found = drive(report())
    assert (found.runs, found.unread, found.unread_runs) == (1, ("encoded",), 1)
    assert "1 could not be read, see the log: encoded" in str(found)
    assert "Run 'encoded' cannot be read" in caplog.text


def test_a_store_that_cannot_be_used_gives_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trouble with the store is raised: a report that lacks runs would be taken for a good one."""
    world = World()

    async def report() -> None:
        world.knows(order("1", "charge"))
        await world.client.start_run("order", run_id="r")

        async def busy(*_: object) -> None:
            raise StorageBusy("busy")

        monkeypatch.setattr(MemoryRuns, "read", busy)
        with pytest.raises(StorageBusy):
            await world.client.drain_report()
        await world.end()

    drive(report())


def test_it_is_there_for_code_that_is_not_async(tmp_path: Path) -> None:
    """The blocking facade has it, too."""
    flow = order("1", "charge")
    adapter = SqliteAdapter(tmp_path / "runs.db", FlowRuntime(flows=[flow]).options)
    adapter.sync.start_run("order", run_id="r")
    found = adapter.sync.drain_report()
    assert found.needed_by({"check"})[0].examples == ("r",)
    assert found.needed_by(FlowRuntime(flows=[flow]).options.registry) == ()
