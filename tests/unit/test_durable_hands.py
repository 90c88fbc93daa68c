"""Messages that are handed in, received beyond the hands there are, and kept in hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.adapters.aws.large_messages import LargeMessages
from flowcraft.adapters.system import SystemIdentifiers
from flowcraft.aws import SqsAdapter
from flowcraft.engine.heartbeat import Heartbeat
from flowcraft.engine.worker import Worker
from flowcraft.errors import StorageCorrupt, StorageError
from flowcraft.ports.queue import Outgoing
from flowcraft.ports.together import Ports
from flowcraft.testing import VirtualClock
from flowcraft.testing.clock import START
from tests.acceptance.aws_worker_world import AwsWorld
from tests.unit.durable import Gate, Process, World, play
from tests.unit.runs import Ctx, drive, turns
from tests.unit.test_aws_adapter import Fleet, order
from tests.unit.test_durable_races import deliver, held

RUN = "run"


# -- handed in --------------------------------------------------------------------------------


class Backwards:
    """A codec that turns texts round."""

    def encode(self, text: str) -> str:
        return text[::-1]

    def decode(self, text: str) -> str:
        return text[::-1]


@pytest.mark.parametrize("codec", [None, Backwards()])
@pytest.mark.parametrize("size", [1, 300_000])
def test_what_is_handed_in_is_read_as_what_is_received(codec: Any, size: int) -> None:
    """A body as SQS has it may be encoded, or an address of what is kept in the table."""

    async def work() -> None:
        fleet = await Fleet(VirtualClock(), order).open()
        options = fleet.runtime.options
        fleet.adapter = SqsAdapter(
            options, **fleet.resources, clock=fleet.clock, heartbeat=False, codec=codec
        )
        run = await fleet.adapter.start_run("order", {"amount": 21})
        await fleet.work()
        await fleet.adapter.resume_with_action(run, "yes", "x" * size)
        await fleet.work()
        assert (await run.get()).status == "completed"
        await fleet.close()

    drive(work())


async def handed_in(world: World, gate: asyncio.Event) -> asyncio.Task[bool]:
    """A worker that polls nothing, on a message that somebody else received."""
    flow = create_flow("f").node("a", held(world, gate, "a"))
    await world.knows(flow).client.start_run(flow, run_id=RUN)
    process = Process(world, world.runtime.options)
    world.processes.append(process)
    await process.worker.open()
    (delivery,) = await world.receive()
    task = asyncio.ensure_future(process.worker.handle_job(delivery.body))
    await world.settle()
    assert world.bodies == {"run:a": 1}
    return task


@pytest.mark.parametrize("all_at_once", [False, True])
def test_whoever_waits_no_longer_does_not_fail_the_node(all_at_once: bool) -> None:
    """A call that is cancelled hands its work back, alone or with all that its loop has."""

    async def story(world: World) -> None:
        gate = asyncio.Event()
        task = await handed_in(world, gate)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for each in others if all_at_once else (task,):
            each.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (world.status(RUN), len(world.facts(RUN))) == ("running", 1)
        gate.set()
        await world.process()
        assert (await world.finish(RUN)).outputs == {"a": "a"}

    play(story)


def opened_by(world: World, opened: Callable[[], None]) -> Worker:
    """A worker whose ports are counted."""

    @asynccontextmanager
    async def ports() -> AsyncIterator[Ports]:
        await asyncio.sleep(0)
        opened()
        yield world.ports

    return Worker(
        ports,
        world.runtime.options,
        clock=world.clock,
        identifiers=SystemIdentifiers(),
        heartbeat=False,
    )


def test_of_many_that_are_handed_in_first_one_opens() -> None:
    """Calls at the same time open the ports once: there is one heartbeat, and it is ended."""

    async def story(world: World) -> None:
        opened: list[int] = []
        worker = opened_by(world, lambda: opened.append(1))
        await asyncio.gather(worker.open(), worker.open())
        await worker.stop()
        assert opened == [1]

    play(story)


def test_what_was_opened_in_part_is_opened_anew() -> None:
    """Where blueprints could not be stored the next call does not go on without them."""

    async def story(world: World) -> None:
        blobs = world.ports.blobs

        class Away:
            async def put(self, *_: Any, **__: Any) -> None:
                world.ports = world.ports._replace(blobs=blobs)
                raise StorageError("away", is_fatal=True)

        world.knows(create_flow("f").node("a", world.body("a")))
        world.ports = world.ports._replace(blobs=Away())  # type: ignore[arg-type]
        opened: list[int] = []
        worker = opened_by(world, lambda: opened.append(1))
        with pytest.raises(StorageError, match="away"):
            await worker.open()
        await worker.open()
        await worker.stop()
        assert opened == [1, 1]
        assert await blobs.get("latest/f") is not None

    play(story)


# -- received ---------------------------------------------------------------------------------


def test_what_cannot_be_read_does_not_take_others_along() -> None:
    """A large text that is damaged, or not there, is told of; what came with it is delivered."""

    class Damaged:
        async def put(self, key: str, text: str, *, replace: bool = False) -> None:
            pass

        async def get(self, key: str) -> str | None:
            raise StorageCorrupt("It is damaged.")

        async def delete(self, key: str) -> None:
            pass

    async def story(world: World) -> None:
        queue = LargeMessages(world.ports.queue, Damaged())
        await queue.send([Outgoing("small"), Outgoing("x" * 300_000)])
        received = await queue.receive(10, 0)
        assert [each.problem for each in received] == [None, "It is damaged."]
        assert received[0].body == "small"

    play(story)


def test_long_nodes_are_shared_among_workers() -> None:
    """Messages that one request brought along do not wait for hours while others are idle."""

    async def story(world: World) -> None:
        async def long(ctx: Ctx) -> None:
            world.count(ctx)
            over = asyncio.get_running_loop().create_future()
            timer = world.clock.call_at(world.clock.now() + 3600, lambda: over.set_result(None))
            try:
                await over
            finally:
                timer.cancel()

        flow = create_flow("f")
        for number in range(8):
            flow.node(f"n{number}", long)
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        begun_at = world.clock.now()
        for _ in range(4):
            await world.process(concurrency=1)
        await world.finish(RUN)
        assert world.clock.now() - begun_at < 2.2 * 3600
        assert set(world.bodies.values()) == {1}

    play(story, AwsWorld())


# -- kept -------------------------------------------------------------------------------------


def test_leases_are_prolonged_while_the_queue_has_trouble() -> None:
    """A queue that refuses to hide messages does not cost leases that could be prolonged."""

    class Away:
        async def extend(self, handles: Any) -> None:
            raise StorageError("away")

    async def story(world: World) -> None:
        gate = asyncio.Event()
        flow = create_flow("f").node("a", held(world, gate))
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        process = await world.idle()
        await deliver(process, world)
        (before,) = world.leases(RUN).values()
        world.clock.advance(10)
        heart = Heartbeat(world.storage.open_ports, process.worker, 30.0)
        with pytest.raises(StorageError, match="away"):
            await heart.beat(world.ports._replace(queue=Away()))  # type: ignore[arg-type]
        (after,) = world.leases(RUN).values()
        assert after.expires_at == before.expires_at + 10

    play(story)


def test_a_queue_that_does_not_answer_keeps_no_lease_from_being_prolonged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The heartbeat gives up on hiding messages after a third of a lease, and says so once."""

    async def story(world: World) -> None:
        end = asyncio.Event()

        async def long(ctx: Ctx) -> None:
            await end.wait()

        flow = create_flow("f").node("a", long)
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        process = await world.idle(lease_seconds=0.03)
        process.worker._begin((await world.receive())[0])
        await turns(20)
        heart = Heartbeat(process._open, process.worker, 0.03)
        silent = Gate(world.ports.queue, "extend")
        world.clock.advance(0.02)
        await heart.beat(world.ports._replace(queue=silent))
        record = await world.ports.runs.read(RUN)
        assert record is not None
        (lease,) = record.leases
        assert lease.expires_at == START + 0.05
        end.set()
        await world.settle()

    play(story)
    assert "The queue has not answered" in caplog.text


def test_what_the_last_poll_of_a_worker_brings_is_put_back_at_once() -> None:
    """A worker that is to stop, its hands full, keeps no message waiting for one of them."""

    async def story(world: World) -> None:
        end = asyncio.Event()
        flow = create_flow("f").node("a", held(world, end))
        await world.knows(flow).client.start_run(flow, run_id="one")
        await world.client.start_run(flow, run_id="two")
        process = await world.idle(concurrency=1)
        first, second = await world.receive()
        process.worker._begin(first)
        await turns(20)
        process.worker.drain()
        process.worker._begin(second)
        await turns(20)
        assert [each.job.run_id for each in process.worker._strands.values() if each.job] == ["one"]
        (again,) = await world.receive()
        assert '"runId":"two"' in again.body
        end.set()
        await world.settle()

    play(story)
