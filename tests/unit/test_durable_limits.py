"""Limits of durable runs: what they cost, who waits, and what becomes of those who die."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from flowcraft import FlowRuntime, Limit, create_flow
from flowcraft.core.limits import Visitor
from flowcraft.engine.swap_limits import SwapLimits, read_room
from flowcraft.ports.limits import LimitStore, Place
from flowcraft.testing.simulate.aws import AwsBackend
from flowcraft.testing.simulate.play import play
from flowcraft.testing.simulate.scenario import Scenario
from flowcraft.testing.simulate.zoo.nodes import node, passed_on, story
from tests.unit.durable import LEASE_SECONDS, Gate, Process, World
from tests.unit.durable import play as in_world


async def a_while(ctx: Any) -> Any:
    """Take a few seconds of virtual time."""
    await asyncio.sleep(3.0)
    return ctx.node_id


def requests_of(build: Any, limits: Any, workers: int = 1) -> int:
    """How many requests to AWS a run takes, from its start to its end."""
    played = play(
        story("counted", build, limits=limits), Scenario("counted", 3, workers), AwsBackend
    )
    assert not played.problems, played.problems[0]
    return sum(played.made.values())


def a_chain(count: int, key: str | None) -> Any:
    def build() -> Any:
        flow = create_flow("chain").node("n0", node(0))
        for number in range(1, count):
            name = None if key is None else key.format(number)
            flow.node(f"n{number}", node(passed_on), concurrency_key=name)
            flow.edge(f"n{number - 1}", f"n{number}")
        return flow

    return build


def a_fan(count: int, key: str | None) -> Any:
    def build() -> Any:
        flow = create_flow("fan").node("a", node(0))
        for number in range(count):
            flow.node(f"n{number}", a_while, uses="a_while", concurrency_key=key)
            flow.edge("a", f"n{number}")
        return flow

    return build


@pytest.mark.parametrize(
    ("key", "limits", "most"),
    [
        ("k{}", {"k*": Limit(concurrency=5)}, 2),
        ("k", {"k": Limit(concurrency=5)}, 2),
        ("k{}", {"k*": Limit(rate=100)}, 1),
        ("k{}", {"k*": Limit(concurrency=5, rate=100)}, 2),
        # The place in hand is the one that the next node needs: it cannot be claimed at once.
        ("k", {"k": Limit(concurrency=1)}, 3),
    ],
)
def test_a_limited_node_takes_two_requests_more(key: str, limits: Any, most: int) -> None:
    """Where there is room a limit costs one request to come in, and one to leave."""
    count = 21
    without = requests_of(a_chain(count, None), None)
    assert requests_of(a_chain(count, key), limits) - without <= most * (count - 1)


def test_a_limit_for_another_key_costs_nothing() -> None:
    """Nodes without a key, and keys without a limit, take no request more."""
    limits = {"else": Limit(concurrency=1)}
    without = requests_of(a_chain(10, None), None)
    assert requests_of(a_chain(10, None), limits) == without
    assert requests_of(a_chain(10, "k"), limits) == without


@pytest.mark.slow
def test_waiting_does_not_breed_requests() -> None:
    """Behind a limit of one the requests grow as the number of those who wait, and hardly more."""
    limits = {"k": Limit(concurrency=1)}
    extra = []
    for count in (20, 80):
        without = requests_of(a_fan(count, None), None, workers=2)
        extra.append((requests_of(a_fan(count, "k"), limits, workers=2) - without) / count)
    assert extra[0] < 30
    assert extra[1] < 1.5 * extra[0]


class Line:
    """A world with one key, whose nodes hold on until they are told to go on."""

    def __init__(self, world: World, **limits: Limit) -> None:
        self.world = world
        self.began: list[str] = []
        self.go_on = asyncio.Event()
        flow = create_flow("line").node("x", self._body, uses="x", concurrency_key="db")
        self.runtime = FlowRuntime(flows=[flow], limits=limits or {"db": Limit(concurrency=1)})
        world.runtime = self.runtime

    async def _body(self, ctx: Any) -> str:
        self.began.append(ctx.run_id)
        if ctx.run_id.startswith("held"):
            await self.go_on.wait()
        return str(ctx.run_id)

    async def start(self, *run_ids: str) -> None:
        """Start runs, one after the other, and let what follows happen."""
        for run_id in run_ids:
            await self.world.client.start_run("line", run_id=run_id)
            await self.world.settle()

    def holders(self) -> int:
        """How many places are in use, or kept."""
        items = self.world.storage._ports.coordination._items
        text = items.get("limit/db", (None, 0))[0]
        return len(read_room(text).holders)


def test_who_waits_is_sent_for_in_turn() -> None:
    """When a node ends, the next one begins at once, in the order of their starts."""

    async def work(world: World) -> None:
        line = Line(world)
        await world.process()
        await line.start("held", "b", "c", "d")
        assert line.began == ["held"]
        line.go_on.set()
        await world.settle()
        assert line.began == ["held", "b", "c", "d"]  # no time has passed
        for run_id in ("held", "b", "c", "d"):
            assert world.status(run_id) == "completed"
        assert line.holders() == 0

    in_world(work)


def test_waiting_takes_no_worker() -> None:
    """Those who wait are no strands of any worker: others work meanwhile."""

    async def work(world: World) -> None:
        line = Line(world)
        process = await world.process(concurrency=2)
        await line.start("held", *(f"w{number}" for number in range(20)))
        assert len(process.worker._strands) == 1
        line.go_on.set()
        for number in range(20):
            assert (await world.finish(f"w{number}")).status == "completed"

    in_world(work)


def test_the_place_of_a_dead_worker_comes_back() -> None:
    """When a holder dies, its attempt and whoever waits go on by themselves."""

    async def work(world: World) -> None:
        line = Line(world)
        first = await world.process()
        await line.start("held", "b", "c")
        await first.kill()
        line.go_on.set()
        await world.process()
        for run_id in ("b", "c", "held"):
            assert (await world.finish(run_id)).status == "completed"
        assert line.holders() == 0

    in_world(work)


def test_who_is_cancelled_while_it_waits_keeps_nobody_back() -> None:
    """Runs that are cancelled, or deleted, in line give what is kept for them to the next."""

    async def work(world: World) -> None:
        line = Line(world)
        await world.process()
        await line.start("held", "b", "c", "d")
        await world.client.cancel_run("b")
        await world.settle()
        assert world.status("b") == "cancelled"
        await world.client.cancel_run("c")
        await world.settle()
        await world.client.delete_run("c")
        line.go_on.set()
        await world.settle()
        assert line.began == ["held", "d"]
        assert world.status("d") == "completed"
        assert line.holders() == 0

    in_world(work)


def test_who_is_paused_while_it_waits_gives_its_place_on() -> None:
    """A run that is paused in line takes no place when it is its turn, and begins later."""

    async def work(world: World) -> None:
        line = Line(world)
        await world.process()
        await line.start("held", "b", "c")
        await world.client.pause_run("b")
        await world.settle()
        line.go_on.set()
        await world.settle()
        assert line.began == ["held", "c"]
        await world.client.continue_run("b")
        assert (await world.finish("b")).status == "completed"
        assert line.holders() == 0

    in_world(work)


@pytest.mark.parametrize("key", ["db", "another"])
def test_who_knows_no_such_limit_gives_the_place_to_the_next(key: str) -> None:
    """A worker of another version runs what was called: those behind it are called after that."""

    async def work(world: World) -> None:
        line = Line(world)
        first = await world.process()
        await line.start("held", "b", "c", "d")
        assert first.worker._poller is not None
        first.worker._poller.cancel()
        limits = None if key == "db" else {key: Limit(concurrency=1)}
        other = FlowRuntime(
            flows=[create_flow("line").node("x", line._body, uses="x", concurrency_key=key)],
            limits=limits,
        )
        await world.process(options=other.options)
        line.go_on.set()
        await world.settle()
        assert line.began == ["held", "b", "c", "d"]  # no time has passed
        assert line.holders() == 0

    in_world(work)


def test_who_has_another_key_when_it_is_called_gives_the_place_to_the_next() -> None:
    """A key is that of the context when the attempt begins: the place of the former one is free."""

    async def work(world: World) -> None:
        line, switch = Line(world), asyncio.Event()

        async def move(ctx: Any) -> None:
            if ctx.run_id == "b":
                await switch.wait()
                await ctx.context.set("t", "two")

        flow = create_flow("line").node("move", move, uses="move")
        flow.node("x", line._body, uses="x", concurrency_key="t:{context.t}")
        world.runtime = FlowRuntime(flows=[flow], limits={"t:*": Limit(concurrency=1)})
        await world.process()
        for run_id in ("held", "b", "c"):
            await world.client.start_run("line", {"t": "one"}, run_id=run_id)
            await world.settle()
        switch.set()
        await world.settle()
        line.go_on.set()
        await world.settle()
        assert line.began == ["held", "b", "c"]  # no time has passed

    in_world(work)


async def _displace(process: Process, world: World) -> None:
    """Have somebody else take all places of the key, as after a stall that nobody noticed."""
    limits = SwapLimits(world.storage._ports.coordination)
    strand = next(iter(process.worker._strands.values())).strand
    assert strand is not None
    place = strand.gate.place
    assert place is not None
    now = world.clock.now()
    await limits.leave(Place(place.key, place.limit, place.token), now, LEASE_SECONDS)
    visitor = Visitor("other", LEASE_SECONDS, may_wait=False)
    assert (await limits.enter(place.key, place.limit, visitor, now)).granted


def test_who_has_lost_its_place_begins_anew() -> None:
    """An attempt whose place is somebody else's is stopped at the next heartbeat, at no cost."""

    async def work(world: World) -> None:
        line = Line(world)
        process = await world.process()
        await line.start("held")
        await _displace(process, world)
        await process.beat()
        await world.settle()
        assert line.began == ["held"]
        line.go_on.set()
        stored = await world.finish("held")
        assert (stored.status, line.began) == ("completed", ["held", "held"])
        assert not [each for each in world.events("held") if "Lost" in type(each).__name__]

    in_world(work)


def test_a_place_is_kept_while_its_node_runs() -> None:
    """The heartbeat keeps a place for as long as a node takes."""

    async def work(world: World) -> None:
        line = Line(world)
        process = await world.process()
        await line.start("held", "b")
        for _ in range(12):
            await world.advance(LEASE_SECONDS / 3)
            await process.beat()
            await world.settle()
        assert line.began == ["held"]
        line.go_on.set()
        assert (await world.finish("b")).status == "completed"

    in_world(work)


async def _reserving(world: World, flow: Any) -> tuple[Process, Gate]:
    """Start a run; its worker is held up when it asks for a place for what follows."""
    world.runtime = FlowRuntime(flows=[flow], limits={"db": Limit(concurrency=2)})
    process = await world.process()
    gate = Gate(process.worker.station.limits, "enter")
    process.worker.station.limits = cast("LimitStore", gate)
    await world.client.start_run(flow, {"n": 1}, run_id="r")
    await gate.waiting.wait()
    await world.settle()
    return process, gate


def test_what_is_paused_while_a_place_is_asked_for_is_not_claimed() -> None:
    """A worker hears of a pause between a decision and its write: what follows stays unclaimed."""

    async def work(world: World) -> None:
        flow = create_flow("f").node("a", world.body("a"))
        flow.node("b", world.body("b"), concurrency_key="db").edge("a", "b")
        _, gate = await _reserving(world, flow)
        await world.client.pause_run("r")
        await world.settle()
        gate.open.set()
        await world.settle()
        assert world.status("r") == "paused"
        record = await world.ports.runs.read("r")
        assert record is not None
        assert not record.leases
        await world.client.continue_run("r")
        await world.settle()
        assert world.status("r") == "completed"  # no time has passed

    in_world(work)


def test_a_condition_sees_what_was_written_while_a_place_was_asked_for() -> None:
    """What an edge's condition gave counts only if nothing that it may read was written since."""

    async def work(world: World) -> None:
        go_on = asyncio.Event()

        async def change(ctx: Any) -> None:
            await go_on.wait()
            await ctx.context.set("n", 10)

        flow = create_flow("f").node("a", world.body("a")).node("change", change)
        flow.node("b", world.body("b"), concurrency_key="db").edge("a", "b", condition="n < 5")
        flow.node("c", world.body("c")).edge("a", "c", condition="n >= 5")
        _, gate = await _reserving(world, flow)
        go_on.set()
        await world.settle()
        gate.open.set()
        await world.settle()
        assert world.status("r") == "completed"
        assert world.bodies == {"r:a": 1, "r:c": 1}

    in_world(work)
