"""Which runs stand still, as a reconciler would find them, and nothing changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.engine.pretending import PretendedCoordination, pretended
from flowcraft.engine.standing import StandingRuns
from flowcraft.memory import MemoryStorage
from flowcraft.ports.queue import Outgoing
from flowcraft.ports.runs import Change, Held, Query, Verdict
from flowcraft.testing import VirtualClock
from tests.unit.aws_fleet import FakeFleet
from tests.unit.durable import World
from tests.unit.durable_sqlite import SqliteWorld
from tests.unit.runs import drive


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """Runs in memory, and in a file."""
    return World() if request.param == "memory" else SqliteWorld(tmp_path / "runs.db")


async def body(_: Any) -> int:
    """A node."""
    return 1


def flows() -> list[Any]:
    """A node, a wait, a sleep, and a child that works."""
    return [
        create_flow("work").node("a", body, uses="a"),
        create_flow("asks").wait("ask"),
        create_flow("sleeps").sleep("rest", "20m").node("a", body, uses="a").edge("rest", "a"),
        create_flow("parent").subflow("child", "work"),
    ]


async def lose_messages(world: World) -> None:
    """Somebody purges the queue."""
    while deliveries := await world.ports.queue.receive(100, 0.0):
        await world.ports.queue.delete([each.handle for each in deliveries])


async def all_that_is_stored(world: World) -> list[Any]:
    """Runs with their facts and leases."""
    heads = await world.ports.runs.find(Query(limit=100, parts=True))
    return [await world.ports.runs.read(head.run_id) for head in heads]


def test_it_finds_what_a_reconciler_finds_and_changes_nothing(world: World) -> None:
    """Of runs of all kinds whose messages are lost those are found that a reconciler sends for."""

    async def play() -> tuple[list[str], int, int, list[str], bool]:
        world.knows(*flows())
        process = await world.process()
        for flow in ("asks", "sleeps"):
            await world.client.start_run(flow, run_id=flow)
        await world.settle()
        await process.kill()
        for flow in ("work", "parent"):
            await world.client.start_run(flow, run_id=flow)
        await lose_messages(world)
        await world.advance(1600.0)
        before = await all_that_is_stored(world)
        look = await world.client.standing_runs()
        is_same = before == await all_that_is_stored(world)
        stats = await world.client.reconcile()
        again = await world.client.standing_runs()
        await world.end()
        ids = [each.run_id for each in look.runs]
        return ids, stats.stalled_runs, look.unread, [each.run_id for each in again.runs], is_same

    ids, stalled, unread, again, is_same = drive(play())
    assert is_same
    assert (sorted(ids), unread) == (["parent", "sleeps", "work"], 0)
    assert stalled == len(ids)
    # What was sent again lately is told all the same: nobody has worked on it yet. The child that
    # was missing has just begun.
    assert sorted(again) == ["sleeps", "work"]


def test_it_tells_since_when_a_run_waits_and_stops_at_a_limit(world: World) -> None:
    """The longest wait comes first, by what the record says; of many runs as many as asked for."""

    async def play() -> tuple[StandingRuns, StandingRuns, float]:
        world.knows(*flows())
        for number in range(5):
            await world.client.start_run("work", run_id=f"run-{number}")
            await world.advance(10.0)
        started = world.clock.now() - 50.0
        await world.advance(100.0)
        whole = await world.client.standing_runs(for_seconds=60.0)
        few = await world.client.standing_runs(for_seconds=60.0, limit=2)
        await world.end()
        return whole, few, started

    whole, few, started = drive(play())
    assert [each.run_id for each in whole.runs] == [f"run-{number}" for number in range(5)]
    assert whole.runs[0].since.timestamp() == pytest.approx(started, abs=1.0)
    assert (whole.is_whole, few.is_whole, len(few.runs)) == (True, False, 2)
    assert {each.messages for each in whole.runs} == {1}


def test_a_run_that_is_worked_on_or_waits_for_people_is_none(world: World) -> None:
    """Neither a wait for an answer, nor a timer in time, nor a finished run stands still."""

    async def play() -> StandingRuns:
        world.knows(*flows())
        await world.process()
        for flow in ("work", "asks", "sleeps", "parent"):
            await world.client.start_run(flow, run_id=flow)
        await world.advance(900.0)
        look = await world.client.standing_runs()
        await world.end()
        return look

    assert drive(play()).runs == ()


def test_on_aws_not_even_rows_that_are_behind_are_mended() -> None:
    """A look at a fleet on fakes makes no request that writes, and finds the run."""

    async def play() -> tuple[StandingRuns, list[str]]:
        fleet = await FakeFleet.made()
        flow = create_flow("work").node("a", body, uses="a")
        async with fleet.client(flow, bucket=None) as client:
            await client.start_run("work", run_id="work")
            fleet.sent.clear()
            look = await client.standing_runs(for_seconds=0.0)
        return look, sorted({each.split(" ")[0] for each in fleet.sent})

    look, asked = drive(play())
    assert [each.run_id for each in look.runs] == ["work"]
    assert set(asked) <= {
        "BatchGetItem",
        "DescribeTable",
        "GetItem",
        "GetQueueAttributes",
        "Query",
        "Scan",
    }


@pytest.mark.parametrize("wrong", [{"for_seconds": -1.0}, {"limit": 0}])
def test_arguments_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    """Time that runs backwards, and no runs at all, are refused by name."""

    async def play() -> None:
        world = World()
        with pytest.raises(ValueError, match=next(iter(wrong))):
            await world.client.standing_runs(**wrong)
        await world.end()

    drive(play())


def test_ports_that_pretend_take_everything_and_keep_it_to_themselves() -> None:
    """Messages, texts, runs and marks that are written there are nowhere else."""

    async def play() -> None:
        storage = MemoryStorage(VirtualClock())
        real = storage._ports
        ports = pretended(real)
        await ports.queue.send([Outgoing("{}")])
        await ports.queue.delete(["1"])
        await ports.queue.extend(["1"])
        assert not await ports.queue.receive(1, 0.0)
        assert not await real.queue.receive(1, 0.0)
        await ports.blobs.put("key", "text")
        await ports.blobs.delete("key")
        assert await real.blobs.get("key") is await ports.blobs.get("key") is None
        written = await ports.runs.write(Change("run", "epoch", 0))
        assert (written.verdict, written.row_written) == (Verdict.STALE, False)
        (renewed,) = await ports.runs.renew([Held("run", "place", "token")], 1.0)
        assert not renewed.held
        await check_marks(ports.coordination, real.coordination)

    drive(play())


async def check_marks(pretending: Any, real: Any) -> None:
    """Marks behave as they do in any store, on top of what is there."""
    assert await real.set_if_not_exist("there", "text")
    assert await pretending.get("there") == "text"
    assert not await pretending.set_if_not_exist("there", "other")
    assert await pretending.extend_ttl("there", "text", 1.0)
    assert await pretending.swap("there", "wrong", "new") == (False, "text")
    assert await pretending.swap("there", "text", "new") == (True, "new")
    assert not await pretending.delete("there", "text")
    assert await pretending.delete("there")
    assert await pretending.get("there") is None
    assert (await pretending.increment("count"), await pretending.increment("count", 2)) == (1, 3)
    assert await pretending.set_if_not_exist("text", "a")
    with pytest.raises(ValueError, match="holds a text"):
        await pretending.increment("text")
    assert await real.get("there") == "text"
    assert await real.get("count") is await real.get("text") is None
    assert await PretendedCoordination(None).get("there") is None
