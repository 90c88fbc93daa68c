"""Messages as they may come: again, late, for nothing, unreadable, for code that is not here."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.core import events as ev
from flowcraft.core.builder import FlowBuilder
from flowcraft.engine.jobs import Job, read_job, write_job
from flowcraft.ports.queue import Outgoing
from flowcraft.ports.runs import Change, Entry
from tests.unit.durable import (
    LEASE_SECONDS,
    ClockAhead,
    Died,
    Life,
    Process,
    World,
    play,
    without,
)
from tests.unit.runs import Ctx

RUN = "run"


def diamond(world: World) -> FlowBuilder:
    flow = create_flow("d")
    for name in "abcd":
        flow.node(name, world.body(name))
    return flow.edge("a", "b").edge("a", "c").edge("b", "d").edge("c", "d")


async def started(world: World, flow: FlowBuilder) -> Process:
    """A run that was started, and a process that is handed messages."""
    await world.knows(flow).client.start_run(flow, run_id=RUN)
    return await world.idle()


async def handle(process: Process, world: World) -> None:
    """Hand over what can be seen, one after the other."""
    for delivery in await world.receive():
        await process.worker.handle(delivery)
    await world.settle()


def test_a_message_that_comes_again_does_nothing() -> None:
    """Whatever was done for it by then: nothing runs twice, and nothing is sent."""

    async def story(world: World) -> None:
        process = await started(world, diamond(world))
        seen: list[Job] = []
        while messages := world.messages():
            seen += messages
            await handle(process, world)
            await world.send(*seen)
            await handle(process, world)
        assert world.status(RUN) == "completed"
        assert set(world.bodies.values()) == {1}

    play(story)


def test_a_copy_for_a_node_that_another_thread_has_is_dropped() -> None:
    """A second message for a place, of a thread of its own, neither runs nor waits."""

    async def story(world: World) -> None:
        process = await started(world, diamond(world))
        await handle_one(process, world)
        (job,) = world.messages()
        await world.send(replace(job, thread="other"))
        await handle(process, world)
        assert (world.messages(), world.status(RUN)) == ([], "completed")
        assert set(world.bodies.values()) == {1}

    play(story)


async def handle_one(process: Process, world: World) -> None:
    (delivery,) = await world.ports.queue.receive(1, 0)
    await process.worker.handle(delivery)
    await world.settle()


def test_a_thread_that_died_before_it_sent_goes_on() -> None:
    """What was committed and not sent is sent when the message comes again."""

    async def story(world: World) -> None:
        await world.knows(diamond(world)).client.start_run("d", run_id=RUN)
        mortal = await world.process(Life(1, name="send"))
        await world.settle()
        assert mortal.life.dead
        assert len(world.messages()) == 1
        await world.process()
        assert (await world.finish(RUN)).outputs.keys() == set("abcd")

    play(story)


def test_what_was_given_back_and_not_sent_goes_on_with_a_copy() -> None:
    """A node is handed back by a worker that dies before it sends that: a copy has it begin anew.

    The copy was delivered while the node ran, and is all that is left of the message.
    """

    async def story(world: World) -> None:
        async def endless_at_first(ctx: Ctx) -> None:
            world.count(ctx)
            if world.bodies.total() == 2:
                await asyncio.Event().wait()

        flow = create_flow("f").node("a", world.body()).node("b", endless_at_first)
        await world.knows(flow.edge("a", "b")).client.start_run(flow, run_id=RUN)
        (job,) = world.messages()
        first, second = await world.idle(), await world.idle()
        (delivery,) = await world.receive()
        call = asyncio.ensure_future(first.worker.handle_job(delivery.body))
        await world.settle()
        await world.send(job)
        await handle(second, world)
        first.life.name, first.life.last = "send", len(first.life.calls) + 1
        await first.worker.rest(0.0, 1.0, [call])
        assert isinstance(call.exception(), Died)
        assert world.leases(RUN) == {}
        await world.ports.queue.delete([delivery.handle])
        await world.process()
        await world.finish(RUN)
        assert world.bodies.total() == 3

    play(story)


def test_a_lease_that_has_not_expired_for_the_store_is_asked_for_again_later() -> None:
    """It has for the worker, whose clock is ahead; its message comes again, and ends the lease.

    The node was claimed while its run was cancelled, and the worker that did died of that.
    """

    async def story(world: World) -> None:
        await world.knows(diamond(world)).client.start_run("d", run_id=RUN)
        first = await world.idle()
        ahead = await world.idle(clock=ClockAhead(world.clock, 2.0))
        (start,) = await world.receive()

        async def cancel() -> None:
            first.life.before["write"] = endless.wait
            await world.client.cancel_run(RUN)
            await handle(ahead, world)

        endless = asyncio.Event()
        first.life.before["write"] = cancel
        claiming = asyncio.ensure_future(first.worker.handle_job(start.body))
        await world.settle()
        claiming.cancel()
        await asyncio.gather(claiming, return_exceptions=True)
        assert (world.status(RUN), list(world.leases(RUN))) == ("cancelled", ["0/1"])

        await world.advance(LEASE_SECONDS - 1)
        await world.ports.queue.send([Outgoing(start.body)])
        ahead.life.calls.clear()
        await handle(ahead, world)
        assert (ahead.life.calls.count("write"), list(world.leases(RUN))) == (1, ["0/1"])
        await world.advance(LEASE_SECONDS)
        await handle(ahead, world)
        assert (world.leases(RUN), world.messages()) == ({}, [])
        assert world.bodies.total() == 0

    play(story)


@pytest.mark.parametrize("what", ["epoch", "run", "deleted"])
def test_a_message_for_no_run_does_nothing(what: str) -> None:
    """One of another start, of no run, of one that was deleted: it is dropped."""

    async def story(world: World) -> None:
        process = await started(world, diamond(world))
        (job,) = world.messages()
        other = {"epoch": replace(job, epoch="other"), "run": replace(job, run_id="other")}
        if what == "deleted":
            await world.receive()
            await world.ports.runs.remove(RUN, job.epoch)
        for each in (other.get(what, job), replace(other.get(what, job), place="0/1")):
            await world.send(each)
        before = len(world.messages())
        deliveries = await world.receive()
        for delivery in deliveries:
            if (
                read_job(delivery.body, world.runtime.options.serializer) != job
                or what == "deleted"
            ):
                await process.worker.handle(delivery)
        await world.settle()
        assert len(world.messages()) == before - 2
        assert not world.bodies

    play(story)


UNREADABLE = {
    "no JSON": "{",
    "a list": "[]",
    "nothing": "{}",
    "no version": '{"runId": "r", "nodeId": "n"}',
    "the future": '{"v": 99, "runId": "r", "epoch": "e", "blueprintId": "b", "thread": "t"}',
    "lacks": '{"v": 1, "runId": "r"}',
    "no event": '{"v":1,"runId":"r","epoch":"e","blueprintId":"b","thread":"t",'
    '"event":"[\\"X\\"]"}',
    "no text": '{"v":1,"runId":"r","epoch":"e","blueprintId":"b","thread":"t","event":{"a":1}}',
    "damaged": '{"v":1,"runId":"r","epoch":"e","blueprintId":"b","thread":"t",'
    '"event":"[\\"NodeFailed\\",0,1,\\"x\\"]"}',
    "nested": "[" * 100_000,
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_left(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """It stays on the queue, one error names it, and the worker goes on with the others."""

    async def story(world: World) -> None:
        await world.ports.queue.send([Outgoing(UNREADABLE[name])])
        await world.knows(diamond(world)).client.start_run("d", run_id=RUN)
        await world.process()
        await world.advance(5 * LEASE_SECONDS)
        assert world.status(RUN) == "completed"
        assert len(world.ports.queue._messages) == 1  # type: ignore[attr-defined]

    with caplog.at_level(logging.ERROR):
        play(story)
    (record,) = caplog.records
    assert "Message 1 is left on the queue" in record.getMessage()


@pytest.mark.parametrize("field", ["dueAt", "putBack", "firstAt", "place", "eventId"])
def test_a_field_of_another_type_is_unreadable(
    field: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A message in which a field is of another type is left on the queue, and named once."""

    async def story(world: World) -> None:
        await started(world, diamond(world))
        (job,) = world.messages()
        due = replace(job, event=ev.PauseRequested(), thread="other")
        data = json.loads(write_job(due, world.runtime.options.serializer))
        await world.ports.queue.send([Outgoing(json.dumps(data | {field: {"a": 1}}))])
        await world.process()
        await world.advance(5 * LEASE_SECONDS)
        assert world.bodies.total() == 4

    with caplog.at_level(logging.ERROR):
        play(story)
    assert [each.getMessage().partition(":")[0] for each in caplog.records] == [
        "Message 2 is left on the queue"
    ]


def test_facts_of_the_future_leave_the_message(caplog: pytest.LogCaptureFixture) -> None:
    """A run that a newer version wrote to is left to workers of that version."""

    async def story(world: World) -> None:
        await started(world, diamond(world))
        (job,) = world.messages()
        entry = Entry('[99,["Unheard"],[]]', world.clock.now())
        await world.ports.runs.write(Change(RUN, job.epoch, 1, entries=(entry,)))
        await world.process()
        await world.advance(3 * LEASE_SECONDS)
        assert (world.messages(), world.status(RUN)) == ([job], "running")
        assert not world.bodies

    with caplog.at_level(logging.ERROR):
        play(story)
    assert "written by a newer version" in caplog.text


# -- implementations --------------------------------------------------------------------------


def lacking(world: World, *, rescue: str | None = None) -> FlowBuilder:
    flow = create_flow("f").node("a", world.body("a"))
    flow.node("b", world.body("b"), uses="special", fallback=rescue).edge("a", "b")
    return flow.node("help", world.body("help")) if rescue else flow


def test_a_node_waits_for_a_worker_that_has_it() -> None:
    """A worker without the implementation puts the message back; another one runs the node."""

    async def story(world: World) -> None:
        flow = lacking(world)
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        lacks_it = await world.process(options=without(world, "special"))
        await world.advance(3600)
        assert (world.status(RUN), world.bodies) == ("running", {"run:a": 1})
        (job,) = world.messages()
        assert (job.node_id, job.put_back > 5) == ("b", True)
        # Which of two that wait for a message in memory gets it is always the same one.
        await lacks_it.kill()
        await world.process()
        run = await world.finish(RUN)
        assert (run.outputs["b"], world.bodies["run:b"]) == ("b", 1)

    play(story)


def test_a_copy_of_what_others_have_done_is_not_put_back_again() -> None:
    """A worker that lacks the node looks at the run before it sends a copy of the message on."""

    async def story(world: World) -> None:
        flow = lacking(world)
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        lacks_it = await world.idle(without(world, "special"))
        knows_it = await world.idle()
        for _ in range(2):  # the start, which ends before b, and b, which is put back
            (delivery,) = await world.receive()
            lacks_it.worker._begin(delivery)
            await world.settle()
            world.clock.advance(1.0)
        (delivery,) = await world.receive()
        knows_it.worker._begin(delivery)
        await world.settle()
        assert world.status(RUN) == "completed"
        lacks_it.worker._begin(delivery)
        await world.settle()
        assert world.messages() == []

    play(story)


def test_a_message_is_put_back_before_it_is_deleted() -> None:
    """A worker that dies while it puts a message back does not lose it."""

    async def story(world: World, number: int, after: bool) -> bool:
        flow = lacking(world)
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        mortal = await world.process(Life(number, after=after), without(world, "special"))
        await world.advance(40)
        await mortal.kill()
        assert world.messages()
        await world.process()
        assert (await world.finish(RUN)).outputs["b"] == "b"
        return mortal.life.dead

    for number in range(1, 30):
        for after in (False, True):
            play(lambda world, n=number, a=after: story(world, n, a))  # type: ignore[misc]


def test_in_the_end_a_node_that_nobody_has_fails() -> None:
    """After its time it fails fatally, unstarted and without fallback."""

    async def story(world: World) -> None:
        flow = lacking(world, rescue="help")
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        options = without(world, "special")
        await world.process(options=options, implementation_timeout_seconds=7200)
        await world.advance(7100)
        assert world.status(RUN) == "running"
        run = await world.finish(RUN)
        (error,) = run.errors
        assert (run.status, error.type, error.is_fatal) == ("failed", "ImplementationMissing", True)
        assert world.bodies == {"run:a": 1}
        assert world.clock.now() < 1_704_067_200 + 7300

    play(story)


# -- everything twice -------------------------------------------------------------------------


class Twice:
    """A queue that delivers each message twice, to whoever comes."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    async def send(self, messages: Any) -> None:
        await self._queue.send([each for each in messages for _ in range(2)])


def everything(world: World) -> FlowBuilder:
    async def more(ctx: Ctx) -> None:
        world.count(ctx)
        await asyncio.sleep(0)
        await ctx.context.add("n", 1)

    child = create_flow("child").node("x", world.body("x")).sleep("s", "5s").edge("x", "s")
    flow = create_flow("f").node("a", world.body([1, 2, 3, 4])).node("b", world.body("b"))
    flow.batch("i", world.body(lambda c: c.input * 2), uses="item").edge("a", "i")
    flow.subflow("c", child).edge("b", "c").node("more", more).wait("w", timeout="1m")
    flow.loop("l", "n < 3", start="more", end="more").edge("a", "l").edge("l", "w", action="break")
    flow.node("end", world.body(lambda c: sorted(c.input)))
    return flow.edge("i", "end").edge("c", "end").edge("w", "end", action="timeout")


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_message_comes_twice(processes: int) -> None:
    """Two workers and two of each message: every body runs once, and all comes out right."""

    async def story(world: World) -> None:
        world.ports = world.storage._ports = world.ports._replace(queue=Twice(world.ports.queue))
        flow = everything(world)
        await world.knows(flow).client.start_run(flow, {"n": 0}, run_id=RUN)
        for _ in range(processes):
            await world.process()
        run = await world.finish(RUN)
        assert (run.status, run.outputs["end"]) == ("completed", ["c", "i_gather", "w"])
        assert run.context["n"] == 3
        assert set(world.bodies.values()) == {1}
        assert world.doubled() == []

    play(story)
