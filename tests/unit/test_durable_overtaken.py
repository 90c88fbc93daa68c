"""Messages that others may have by now, and those that are in several hands at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from flowcraft import Limit, create_flow
from flowcraft.core.limits import Limits, Visitor
from flowcraft.engine.strand import MOST_RECEIVES
from flowcraft.ports.queue import Delivery
from flowcraft.ports.runs import Change, Claim
from tests.unit.durable import LEASE_SECONDS, Process, World, play, without
from tests.unit.runs import Ctx

RUN = "run"


async def held_up(world: World) -> tuple[Delivery, asyncio.Event]:
    """A run of two nodes, whose first one goes on when it may; and its message, received."""
    may = asyncio.Event()

    async def first(ctx: Ctx) -> None:
        world.count(ctx)
        await may.wait()

    flow = create_flow("f").node("a", first).node("b", world.body()).edge("a", "b")
    await world.knows(flow).client.start_run(flow, run_id=RUN)
    (delivery,) = await world.receive()
    return delivery, may


async def full(world: World) -> Process:
    """A process that has no place left for the node of a run that was started."""
    flow = create_flow("f").node("a", world.body("a"), uses="special", concurrency_key="k")
    world.knows(flow)
    limits = Limits({"k": Limit(concurrency=1)})
    world.runtime.options = replace(world.runtime.options, limits=limits)
    process = await world.idle()
    limit = limits.of("k")
    assert limit is not None
    visitor = Visitor("other", LEASE_SECONDS)
    await process.worker.station.limits.enter("k", limit, visitor, world.clock.now())
    await world.client.start_run(flow, run_id=RUN)
    return process


async def begin(world: World, process: Process, delivery: Delivery, seconds: float) -> None:
    """Have a worker begin with a delivery that is hidden from others for so long."""
    process.worker._begin(delivery, world.clock.now() + seconds)
    await world.settle()


def test_who_may_have_been_overtaken_begins_nothing() -> None:
    """A delivery that has been visible again before it is looked at is left to whoever has it."""

    async def story(world: World) -> None:
        process = await world.idle()
        delivery, may = await held_up(world)
        may.set()
        process.life.calls.clear()
        await begin(world, process, delivery, -0.1)
        assert (process.life.calls, world.bodies.total(), len(world.messages())) == ([], 0, 1)
        await world.process()
        assert (await world.finish(RUN)).status == "completed"

    play(story)


def test_who_was_overtaken_with_a_node_in_hand_ends_it_and_begins_no_other() -> None:
    """Its outcome counts, since the lease was prolonged; what follows has a message of its own."""

    async def story(world: World) -> None:
        process = await world.idle()
        delivery, may = await held_up(world)
        await begin(world, process, delivery, LEASE_SECONDS / 2)
        await world.advance(LEASE_SECONDS - 1)
        may.set()
        await world.settle()
        assert [job.node_id for job in world.messages()] == ["b"]
        await world.process()
        await world.finish(RUN)
        assert set(world.bodies.values()) == {1}

    play(story)


def test_a_delivery_is_kept_by_beats_that_come_in_time() -> None:
    """A beat keeps it while the queue hides it; one that comes too late changes nothing."""

    async def story(world: World) -> None:
        process = await world.idle()
        delivery, may = await held_up(world)
        await begin(world, process, delivery, LEASE_SECONDS)
        (hand,) = process.worker._strands.values()
        await world.advance(LEASE_SECONDS - 1)
        await process.beat()
        kept_until = world.clock.now() + LEASE_SECONDS
        assert hand.hidden_until == kept_until
        await world.advance(LEASE_SECONDS + 1)
        await process.beat()
        assert hand.hidden_until == kept_until
        may.set()

    play(story)


@pytest.mark.parametrize(
    ("receives", "given_up", "sent"),
    [(1, None, 1), (2, None, 0), (MOST_RECEIVES + 1, None, 1), (2, 4, 0), (2, 3, 1)],
)
def test_a_copy_beside_a_lease_is_left_where_another_hand_has_it(
    receives: int, given_up: int | None, sent: int
) -> None:
    """Who has the first copy sends one that waits for the lease; so does a copy of too many."""

    async def story(world: World) -> None:
        holder, other = await world.idle(), await world.idle()
        world.ports.queue.max_receives = given_up  # type: ignore[attr-defined]
        delivery, may = await held_up(world)
        call = asyncio.ensure_future(holder.worker.handle_job(delivery.body))
        await world.settle()
        await begin(world, other, replace(delivery, receives=receives), LEASE_SECONDS)
        assert other.life.calls.count("send") == sent
        assert len(world.messages()) == 1
        may.set()
        assert await call

    play(story)


@pytest.mark.parametrize(("receives", "sent"), [(1, 1), (2, 0), (MOST_RECEIVES + 1, 1)])
def test_a_copy_of_a_node_that_is_not_known_is_left_where_another_hand_has_it(
    receives: int, sent: int
) -> None:
    """Who has the first copy puts it back; if each did there would be more and more of them."""

    async def story(world: World) -> None:
        flow = create_flow("f").node("a", world.body("a"), uses="special")
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        process = await world.idle(without(world, "special"))
        (start,) = await world.receive()
        await begin(world, process, start, LEASE_SECONDS)
        (delivery,) = await world.receive()
        process.life.calls.clear()
        await begin(world, process, replace(delivery, receives=receives), LEASE_SECONDS)
        assert process.life.calls.count("send") == sent
        assert [job.put_back for job in world.messages() if job.place] == [sent]

    play(story)


@pytest.mark.parametrize(("receives", "in_line"), [(1, 1), (2, 0), (MOST_RECEIVES + 1, 1)])
def test_a_copy_stands_in_no_line_where_another_hand_has_it(receives: int, in_line: int) -> None:
    """Who has the first copy stands in line; if each did there would be more and more of them."""

    async def story(world: World) -> None:
        process = await full(world)
        (start,) = await world.receive()
        await begin(world, await world.idle(without(world, "special")), start, LEASE_SECONDS)
        (delivery,) = await world.receive()
        await begin(world, process, replace(delivery, receives=receives), LEASE_SECONDS)
        assert len([job for job in world.messages() if job.limit_key == "k"]) == in_line

    play(story)


def test_who_has_sent_something_for_a_copy_stands_in_line_with_it() -> None:
    """Whoever began the run has died: the next delivery does all that is to be done, and once."""

    async def story(world: World) -> None:
        process = await full(world)
        (start,) = await world.receive()
        await begin(world, process, replace(start, receives=2), LEASE_SECONDS)
        assert [job.limit_key for job in world.messages()] == ["k"]

    play(story)


def test_a_copy_of_what_continued_a_run_watches_what_is_held() -> None:
    """Who continued it has died, and claims that came late hold its nodes: nobody else looks."""

    async def story(world: World) -> None:
        flow = create_flow("f").node("a", world.body("a")).node("b", world.body("b"))
        client = world.knows(flow).client
        await client.start_run(flow, run_id=RUN)
        await client.pause_run(RUN)
        process = await world.process()
        await world.advance(2 * LEASE_SECONDS)
        await process.kill()
        ledger = await (await client._opened()).read(RUN)
        assert ledger is not None
        for place, more_seconds in (("0/1", 5.0), ("1/1", 0.0)):
            claim = Claim(place, f"late {place}", "gone", LEASE_SECONDS + more_seconds)
            late = Change(RUN, ledger.epoch, ledger.number, "gone", claim=claim)
            assert (await world.ports.runs.write(late)).granted
        await client.continue_run(RUN)
        mortal, other = await world.idle(), await world.idle()
        mortal.life.calls.clear()
        mortal.life.name, mortal.life.last, mortal.life.after = "write", 1, True
        (delivery,) = await world.receive()
        await begin(world, mortal, delivery, LEASE_SECONDS)
        assert (mortal.life.dead, world.status(RUN)) == (True, "running")
        await begin(world, other, delivery, LEASE_SECONDS)
        await world.process()
        await world.advance(3 * LEASE_SECONDS)
        assert (world.status(RUN), world.bodies) == ("completed", {"run:a": 1, "run:b": 1})

    play(story)


def test_who_dies_early_is_taken_over_when_its_lease_ends() -> None:
    """Its message comes again just before that, and is not hidden for as long once more."""

    async def story(world: World) -> None:
        began: list[float] = []

        async def body(_: Ctx) -> None:
            began.append(world.clock.now())
            if len(began) == 1:
                await asyncio.Event().wait()

        flow = create_flow("f").node("a", body)
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        mortal = await world.idle()
        (delivery,) = await world.receive()
        hidden_until = world.clock.now() + LEASE_SECONDS
        await world.advance(1.0)
        mortal.worker._begin(delivery, hidden_until)
        await world.settle()
        await mortal.kill()
        await world.process()
        await world.advance(2 * LEASE_SECONDS)
        assert [at - began[0] for at in began] == [0.0, LEASE_SECONDS]

    play(story)
