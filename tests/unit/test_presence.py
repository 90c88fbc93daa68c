"""The trace that workers leave: which versions there are, and what these can run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.engine.presence import (
    EVERY_SECONDS,
    FIRST_SECONDS,
    KINDS,
    TRIES,
    Presence,
    kind_of,
    workers_seen,
)
from flowcraft.engine.station import Station
from flowcraft.engine.worker_kinds import (
    KEPT_SECONDS,
    MOST_KINDS,
    MOST_USES,
    Seen,
    WorkerKind,
    read_kinds,
    write_kinds,
)
from flowcraft.errors import StorageUnavailable
from flowcraft.memory import MemoryAdapter, MemoryStorage
from flowcraft.testing import VirtualClock
from tests.unit.durable import Life, World
from tests.unit.durable_sqlite import SqliteWorld
from tests.unit.runs import drive


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """Runs in memory, and in a file."""
    return World() if request.param == "memory" else SqliteWorld(tmp_path / "runs.db")


async def body(_: Any) -> int:
    """A node."""
    return 1


def kind(version: str = "1.0", *uses: str) -> WorkerKind:
    """Workers of some version."""
    flow = create_flow("f").node("a", body, uses="a").to_blueprint()
    return WorkerKind.of(version, "3.12.1", uses, [flow])


async def seen(world: World) -> list[Seen]:
    """What there is to see now."""
    return await workers_seen(world.ports.coordination, world.clock.now())


def test_workers_that_are_alike_are_counted_as_one_kind(world: World) -> None:
    """Three workers, two of them alike, are two kinds, each with what it can run."""

    async def play() -> list[Seen]:
        other = FlowRuntime(flows=[create_flow("o").node("b", body, uses="b")])
        for options in (None, None, other.options):
            await world.process(options=options, presence=True)
        assert await seen(world) == []
        await world.advance(FIRST_SECONDS)
        found = await seen(world)
        await world.end()
        return found

    world.knows(create_flow("f").node("a", body, uses="a"))
    alike, single = drive(play())
    assert (alike.workers, single.workers) == (2, 1)
    assert (alike.kind.has("a"), alike.kind.has("b")) == (True, False)
    assert (single.kind.has("a"), single.kind.has("b")) == (False, True)
    assert alike.kind.package == single.kind.package


def test_who_is_gone_is_counted_no_more_and_forgotten_after_a_week(world: World) -> None:
    """A kind is listed for a week after its last worker, with no workers after half an hour."""

    async def play() -> list[list[tuple[int, float]]]:
        process = await world.process(presence=True)
        await world.advance(3 * EVERY_SECONDS)
        looks = [await seen(world)]
        await process.kill()
        for seconds in (3 * EVERY_SECONDS, KEPT_SECONDS - 4 * EVERY_SECONDS, 2 * EVERY_SECONDS):
            await world.advance(seconds)
            looks.append(await seen(world))
        await world.end()
        return [[(each.workers, each.seen_at - each.first_at) for each in look] for look in looks]

    age = 2 * EVERY_SECONDS
    assert drive(play()) == [[(1, age)], [(0, age)], [(0, age)], []]


@pytest.mark.parametrize("call", range(1, 7))
@pytest.mark.parametrize("after", [False, True])
def test_a_worker_that_dies_while_it_leaves_its_trace_harms_nobody(
    world: World, call: int, after: bool
) -> None:
    """Whatever call a worker dies at, the next one is seen, and all of the text can be read."""

    async def play() -> list[Seen]:
        # Calls are counted from its start on: those of the queue and of blueprints are before.
        life = Life()
        await world.process(life, presence=True)
        life.last, life.after = len(life.calls) + call, after
        await world.advance(FIRST_SECONDS + 2 * EVERY_SECONDS)
        assert life.dead
        await world.process(presence=True)
        await world.advance(FIRST_SECONDS + EVERY_SECONDS)
        found = await seen(world)
        await world.end()
        return found

    (found,) = drive(play())
    assert found.workers in (1, 2)


def test_where_nothing_can_be_noted_a_worker_works_on(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that refuses marks costs no run anything, and is told of once."""
    refused = StorageUnavailable("no rights here")

    async def refuse(*_: Any, **__: Any) -> int:
        raise refused

    async def play() -> str:
        monkeypatch.setattr(type(world.ports.coordination), "increment", refuse)
        world.knows(create_flow("f").node("a", body, uses="a"))
        await world.process(presence=True)
        await world.advance(FIRST_SECONDS + 3 * EVERY_SECONDS)
        await world.client.start_run("f", run_id="r")
        status = (await world.finish("r")).status
        await world.end()
        return str(status)

    caplog.set_level("INFO", "flowcraft.worker")
    assert drive(play()) == "completed"
    told = [each for each in caplog.messages if "could not be noted" in each]
    assert told == ["What this worker is could not be noted for others: no rights here"]


def test_a_worker_that_comes_and_goes_leaves_nothing(world: World) -> None:
    """One that ends within its first seconds makes no request about itself."""

    async def play() -> list[str]:
        process = await world.process(presence=True)
        started = len(process.life.calls)
        await world.advance(FIRST_SECONDS - 1.0)
        await process.worker.duties.stop(1.0)
        await world.advance(EVERY_SECONDS)
        assert await world.ports.coordination.get(KINDS) is None
        await world.end()
        return process.life.calls[started:]

    assert drive(play()) == []


def test_a_function_that_is_handed_its_messages_is_seen_too() -> None:
    """Who is called with messages leaves a trace in a call, once it has been there for a while."""

    async def play() -> list[int]:
        clock = VirtualClock()
        storage = MemoryStorage(clock)
        adapter = MemoryAdapter(
            FlowRuntime().options, storage=storage, heartbeat=False, clock=clock
        )
        numbers = []
        for seconds in (0.0, FIRST_SECONDS, 1.0, EVERY_SECONDS):
            clock.advance(seconds)
            await adapter.handle_jobs([], seconds=0.0)
            found = await workers_seen(storage._ports.coordination, clock.now())
            numbers.append(sum(each.workers for each in found))
        await adapter.stop()
        return numbers

    assert drive(play()) == [0, 1, 1, 1]


def test_many_kinds_and_many_keys_stay_within_bounds() -> None:
    """Of too many kinds the latest are kept, and of too many keys none, which says so."""
    kinds = [kind(f"1.{number}", "a") for number in range(2 * MOST_KINDS)]
    text = write_kinds({each.id: Seen(each, 1.0, float(at)) for at, each in enumerate(kinds)})
    assert list(read_kinds(text, 10.0)) == [each.id for each in reversed(kinds[MOST_KINDS:])]
    many = kind("1", *(f"key-{number}" for number in range(MOST_USES + 1)))
    assert (many.uses, many.has("key-1"), kind("1", "a").has("b")) == (None, None, False)
    most = [kind(f"{number}", *(str(each) for each in range(MOST_USES))) for number in range(40)]
    longest = write_kinds({each.id: Seen(each, 1e10, 1e10) for each in most})
    assert len(longest) < 32_000


@pytest.mark.parametrize("text", [None, 3, "", "{}", "[1]", '[{"package":"1"}]', "[[[["])
def test_a_text_that_cannot_be_read_is_written_anew(text: str | int | None) -> None:
    """What is no text of this kind counts as none, and a kind that is read is what was written."""
    assert read_kinds(text, 0.0) == {}
    there = {kind().id: Seen(kind(), 1.0, 2.0), kind("2", "a").id: Seen(kind("2", "a"), 3.0, 4.0)}
    assert read_kinds(write_kinds(there), 5.0) == there


def test_who_is_always_outrun_gives_up_until_the_next_time() -> None:
    """A text that others change at every try costs a worker three tries, and no more."""
    swaps = 0

    class Outrun:
        """Somebody else is always faster."""

        async def increment(
            self, key: str, by: int = 1, *, ttl_seconds: float | None = None
        ) -> int:
            return 1

        async def get(self, key: str) -> None:
            return None

        async def swap(self, *_: Any, **__: Any) -> Any:
            nonlocal swaps
            swaps += 1
            return type("Swapped", (), {"done": False})

    async def play() -> None:
        world = World()
        async with world.storage.open_ports() as ports:
            options = world.runtime.options
            station = Station(
                ports._replace(coordination=Outrun()),
                *(options, world.clock, world.runtime.identifiers),
            )
            await Presence(station, first_seconds=0.0).mark_if_due()
            assert kind_of(station).uses == tuple(sorted(kind_of(station).uses or ()))

    drive(play())
    assert swaps == TRIES


def test_kinds_are_told_apart_by_what_matters() -> None:
    """Version, keys and blueprints make a kind; the order of what was registered does not."""
    flows = [create_flow(name).node("a", body, uses="a").to_blueprint() for name in "fg"]

    def of(version: str, uses: str, blueprints: list[WorkflowBlueprint]) -> str:
        return WorkerKind.of(version, "3.12.1", tuple(uses), blueprints).id

    same = {of("1", "ab", flows), of("1", "ba", flows[::-1])}
    others = {of("2", "ab", flows), of("1", "a", flows), of("1", "ab", flows[:1])}
    assert len(same) == 1
    assert len(same | others) == 4
