"""Where limits, long timers, schedules, retention and budgets of durable runs meet each other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from flowcraft import Limit, create_flow
from flowcraft.core.limits import Limits
from flowcraft.engine.swap_limits import read_room
from tests.unit.durable import Process, World, play
from tests.unit.test_durable_schedules import LOOKS
from tests.unit.test_long_timers import LongWorld, with_world

HOUR = 3600.0


def limited(world: World, **limits: Limit) -> None:
    """Let all processes that are started from now on keep to limits."""
    world.runtime.options = replace(world.runtime.options, limits=Limits(limits))


async def working(world: World, seconds: float, process: Process) -> None:
    """Let time pass in which a process renews what it has in hand."""
    for _ in range(round(seconds / 10)):
        await world.advance(10)
        await process.beat()


def fan(world: LongWorld, count: int) -> list[str]:
    """Make a flow of limited nodes known; gives who has begun."""
    began: list[str] = []

    async def note(ctx: Any) -> None:
        began.append(ctx.node_id)

    flow = create_flow("fan")
    for number in range(count):
        flow.node(f"n{number}", note, uses="note", concurrency_key="k")
    world.knows(flow)
    return began


class Held:
    """A flow whose one node is limited, and holds on until it is told to go on."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.began: list[str] = []
        self.at: list[float] = []
        self.go_on = asyncio.Event()
        world.knows(create_flow("held").node("n", self._body, concurrency_key="k"))

    async def _body(self, ctx: Any) -> None:
        self.began.append(ctx.run_id)
        self.at.append(self.world.clock.now())
        await self.go_on.wait()

    async def start(self, *run_ids: str) -> None:
        """Start runs, one after the other."""
        for run_id in run_ids:
            await self.world.client.start_run("held", run_id=run_id)
            await self.world.settle()


# -- limits and long timers ---------------------------------------------------------------------


def test_nodes_of_one_run_that_begin_hours_later_all_begin() -> None:
    """Of several limited nodes whose starts are due in the same hour, hours ahead, none is lost."""

    async def work(world: LongWorld) -> None:
        began = fan(world, 12)
        limited(world, k=Limit(rate=6, per_seconds=HOUR))
        await world.worker()
        await world.client.start_run("fan", run_id="r")
        await world.advance(2 * HOUR)
        assert sorted(began) == sorted(f"n{number}" for number in range(12))
        assert world.status("r") == "completed"

    with_world(work)


# -- limits and the look for stuck runs ---------------------------------------------------------


def test_who_waits_for_a_start_is_not_taken_for_stuck() -> None:
    """Nobody is promised two starts, although nothing happens in a run for minutes on end."""

    async def work(world: LongWorld) -> None:
        began = fan(world, 30)
        limited(world, k=Limit(rate=6, per_seconds=HOUR))
        await world.worker(reconcile_every_seconds=60.0)
        await world.client.start_run("fan", run_id="r")
        await world.advance(5 * HOUR)
        assert (len(began), world.status("r")) == (30, "completed")
        assert (world.messages(), world.entries) == ([], {})
        room = read_room(world.agreed["limit/k"])
        assert room.promised_until <= world.clock.now()

    with_world(work)


def test_who_waits_for_a_place_is_not_taken_for_stuck() -> None:
    """However long somebody stands in line, there is one message of it."""

    async def work(world: World) -> None:
        held = Held(world)
        limited(world, k=Limit(concurrency=1))
        process = await world.process(reconcile_every_seconds=60.0)
        await held.start("a", "b")
        await working(world, 2 * HOUR, process)
        assert held.began == ["a"]
        assert [each.run_id for each in world.messages()] == ["a", "b"]

    play(work)


def test_who_is_lost_in_line_is_found() -> None:
    """A message in line that is lost is sent again, some minutes after it should have come."""

    async def work(world: World) -> None:
        held = Held(world)
        limited(world, k=Limit(concurrency=1))
        process = await world.process(reconcile_every_seconds=60.0)
        await held.start("a", "b")
        await working(world, 2 * HOUR, process)
        queue: Any = world.ports.queue
        lost = [key for key, each in queue._messages.items() if '"runId":"b"' in each.body]
        assert len(lost) == 1
        del queue._messages[lost[0]]
        await working(world, HOUR, process)
        assert [each.run_id for each in world.messages()] == ["a", "b"]
        held.go_on.set()
        await world.settle()
        assert held.began == ["a", "b"]

    play(work)


def test_who_waits_for_a_limit_that_is_gone_begins_within_a_quarter_of_an_hour() -> None:
    """Somebody in line looks in often enough, on queues of any delay too."""

    async def work(world: World) -> None:
        held = Held(world)
        free = world.runtime.options
        limited(world, k=Limit(concurrency=1))
        process = await world.process()
        await held.start("a", "b")
        await working(world, 2.5 * HOUR, process)
        process.worker.draining = True  # it is replaced, and goes on with what it has in hand
        await world.process(options=free)
        await working(world, 900, process)
        assert held.began == ["a", "b"]

    play(work)


@pytest.mark.parametrize("verb", ["cancel", "delete"])
def test_who_leaves_the_line_of_a_rate_keeps_nobody_waiting(verb: str) -> None:
    """Starts that were promised to runs that are cancelled or deleted are promised to others."""

    async def work(world: LongWorld) -> None:
        held = Held(world)
        held.go_on.set()
        limited(world, k=Limit(rate=1, per_seconds=60))
        await world.worker()
        await held.start("first")
        for number in range(100):
            await held.start(f"r{number}")
        for number in range(100):
            if verb == "delete":
                await world.client.delete_run(f"r{number}", force=True)
            else:
                await world.client.cancel_run(f"r{number}")
        await world.settle()
        await held.start("new")
        await world.advance(180)
        assert held.began == ["first", "new"]
        await world.advance(2 * HOUR)
        assert (world.messages(), world.entries) == ([], {})

    with_world(work)


def test_starts_that_were_given_back_bring_nobody_in_too_early() -> None:
    """Where every other one leaves the line all others begin, no faster than the rate."""

    async def work(world: LongWorld) -> None:
        held = Held(world)
        held.go_on.set()
        limited(world, k=Limit(rate=1, per_seconds=60))
        await world.worker()
        for number in range(40):
            await held.start(f"r{number}")
        for number in range(1, 40, 2):
            await world.client.cancel_run(f"r{number}")
        for number in range(40, 60):
            await held.start(f"r{number}")
        await world.advance(1.5 * HOUR)
        assert len(held.began) == 40
        starts = sorted(held.at)
        assert all(later - sooner >= 59.999 for sooner, later in pairwise(starts))

    with_world(work)


def test_what_is_limited_and_undone_in_a_paused_run_begins() -> None:
    """A limited compensation has its turn although the run was paused when it was cancelled."""

    async def work(world: World) -> None:
        undo = world.body()
        flow = create_flow("f").node("a", world.body(), compensate="u").wait("w").edge("a", "w")
        world.knows(flow.node("u", undo, concurrency_key="k"))
        limited(world, k=Limit(concurrency=1))
        await world.process()
        await world.client.start_run("f", run_id="r")
        await world.settle()
        await world.client.pause_run("r")
        await world.settle()
        await world.client.cancel_run("r")
        await world.settle()
        assert world.status("r") == "cancelled"
        assert set(world.bodies.values()) == {1}
        assert len(world.bodies) == 2

    play(work)


# -- schedules ----------------------------------------------------------------------------------


def told(world: World, *flows: str) -> list[tuple[str, Any]]:
    """Make flows known; gives which have run, and the region that each was given."""
    ran: list[tuple[str, Any]] = []

    def noting(name: str) -> Any:
        async def note(ctx: Any) -> None:
            ran.append((name, await ctx.context.get("region")))

        return note

    for name in flows:
        world.knows(create_flow(name).node("n", noting(name), uses=name))
    return ran


def test_what_is_due_before_a_change_is_done_as_it_was() -> None:
    """A tick that nobody had looked at yet has the flow and the context of before the change."""

    async def work(world: World) -> None:
        ran = told(world, "old", "new")
        schedules = world.client.schedules
        await schedules.create("s", "old", every="10m", context={"region": "eu"})
        await world.advance(601)
        await schedules.update("s", flow="new", context={"region": "us"})
        await world.process(**LOOKS)
        await world.advance(20)
        assert ran == [("old", "eu")]
        await world.advance(600)
        assert ran == [("old", "eu"), ("new", "us")]

    play(work)


def test_very_many_ticks_that_are_in_time_are_no_trouble() -> None:
    """Ten thousand ticks within the grace are decided in several looks, none of which fails."""

    async def work(world: World) -> None:
        told(world, "f")
        schedules = world.client.schedules
        await schedules.create("s", "f", every="1s", grace_seconds=86_400)
        await world.advance(10_000)
        looks: Sequence[Any] = [await schedules.fire_due() for _ in range(4)]
        assert [each.failed for each in looks] == [0, 0, 0, 0]
        assert sum(each.started_runs for each in looks) == 1
        (skipped, started) = (await schedules.get("s")).ticks
        assert (started.outcome, skipped.reason) == ("started", "overlap")

    play(work)


def test_a_run_that_is_being_deleted_keeps_no_tick_back() -> None:
    """Whoever deletes a run and dies leaves it hidden: for its schedule it is over."""

    async def work(world: World) -> None:
        world.knows(create_flow("f").sleep("s", "20d"))
        await world.client.schedules.create("s", "f", every="10m")
        await world.process(**LOOKS)
        await world.advance(605)
        run_id = str((await world.client.schedules.get("s")).ticks[0].run_id)
        record = world.record(run_id)
        assert record is not None
        await world.ports.runs.remove(run_id, record.head.epoch, only_hide=True)
        await world.advance(600)
        outcomes = [each.outcome for each in (await world.client.schedules.get("s")).ticks]
        assert outcomes == ["started", "started"]

    play(work)
