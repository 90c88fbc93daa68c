"""What happens between two steps of a worker: other workers, heartbeats, people."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from flowcraft import RetryPolicy, RuntimeOptions, create_flow
from flowcraft.adapters.system import SystemIdentifiers
from flowcraft.core import events as ev
from flowcraft.core.builder import FlowBuilder
from flowcraft.core.expressions import SafeEvaluator
from flowcraft.engine.client import FlowClient
from flowcraft.engine.heartbeat import Heartbeat
from flowcraft.ports.queue import Outgoing
from flowcraft.ports.runs import Change, Claim, Written
from flowcraft.testing.clock import START
from tests.unit.durable import LEASE_SECONDS, Gate, Life, Mortal, Process, World, play
from tests.unit.runs import Ctx, turns

RUN = "run"

HELD_BACK = [(9, 0, "NodeHeldBack"), (9, 1, "ItemHeldBack"), (2, 2, "ItemHeldBack")]
"""Items of a shard, how often messages are handed out before the pause, what is held back."""


async def deliver(process: Process, world: World) -> list[asyncio.Task[None]]:
    """Hand a process all messages that can be seen, and let it go as far as it can."""
    tasks = []
    for delivery in await world.receive():
        process.worker._begin(delivery)
        tasks.append([*process.worker._strands][-1])
    await turns(20)
    return tasks


def held(world: World, gate: asyncio.Event, result: Any = None) -> Any:
    """A node that ends when the gate is opened."""

    async def holding(ctx: Ctx) -> Any:
        world.count(ctx)
        await gate.wait()
        return result

    world._made += 1
    holding.__qualname__ = f"holding{world._made}"
    return holding


# -- heartbeats -------------------------------------------------------------------------------


def test_a_heartbeat_that_comes_late_does_not_stop_the_next_node() -> None:
    """A lease that was given up since the heartbeat looked is not the lease of what runs now."""

    async def story(world: World) -> None:
        first, second = asyncio.Event(), asyncio.Event()
        flow = create_flow("f").node("a", held(world, first)).node("b", held(world, second))
        flow.edge("a", "b")
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        process = await world.process()
        await world.settle()
        runs = Gate(world.ports.runs, "renew")
        ports = world.ports._replace(runs=runs)
        heart = Heartbeat(world.storage.open_ports, process.worker, 30.0)
        beat = asyncio.ensure_future(heart.beat(ports))
        await runs.waiting.wait()
        first.set()
        await world.settle()
        assert world.bodies == {"run:a": 1, "run:b": 1}
        runs.open.set()
        await beat
        await world.settle()
        second.set()
        run = await world.finish(RUN)
        assert (run.status, world.bodies["run:b"]) == ("completed", 1)
        assert not [event for event in world.events(RUN) if isinstance(event, ev.NodeLost)]

    play(story)


# -- expressions ------------------------------------------------------------------------------


def two_loops(world: World, a: asyncio.Event, b: asyncio.Event) -> FlowBuilder:
    """Two starts; the second leads to two loops, to the first of which the other leads as well."""

    async def round_(ctx: Ctx) -> str:
        world.count(ctx)
        await ctx.context.add("n", 10)
        return ctx.node_id

    flow = create_flow("f").node("a", held(world, a)).node("b", held(world, b))
    flow.node("p", round_).node("q", round_)
    flow.loop("x", "n > 5", start="p", end="p").loop("y", "n < 5", start="q", end="q")
    return flow.edge("a", "x").edge("b", "x").edge("b", "y")


async def beside_each_other(world: World, *gates: asyncio.Event) -> None:
    """Run two starts on two workers; they end one after the other, the second unaware."""
    one, two = await world.idle(), await world.idle()
    first = await deliver(one, world)
    second = await deliver(two, world)
    for gate, tasks in zip(gates, (first, second), strict=True):
        gate.set()
        await asyncio.gather(*tasks)
    await world.process()


def test_what_an_expression_gave_is_not_taken_for_another() -> None:
    """Of what was foreseen, what came otherwise is not mixed up with what came so."""

    async def story(world: World) -> None:
        a, b = asyncio.Event(), asyncio.Event()
        flow = two_loops(world, a, b)
        await world.knows(flow).client.start_run(flow, {"n": 1}, run_id=RUN)
        await beside_each_other(world, a, b)
        run = await world.finish(RUN)
        assert (run.status, run.outputs.get("q"), run.outputs.get("p")) == ("completed", "q", None)

    play(story)


class Spoken(SafeEvaluator):
    """An evaluator that knows a word of its own."""

    def evaluate(self, expression: str, context: Mapping[str, Any]) -> Any:
        return True if expression == "certainly" else super().evaluate(expression, context)


def test_a_client_without_the_evaluator_reads_the_same() -> None:
    """What was evaluated for a fact goes with it, also where it was not foreseen."""

    async def story(world: World) -> None:
        world.runtime.options = replace(world.runtime.options, evaluator=Spoken())
        a, b = asyncio.Event(), asyncio.Event()
        flow = create_flow("f").node("a", held(world, a)).node("b", held(world, b)).wait("w")
        flow.node("p", world.body("p")).edge("a", "w").edge("b", "w")
        flow.edge("w", "p", condition="certainly")
        # The answer is there before its time, so that the wait is over as soon as it begins.
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        await world.client.send_event(RUN, "w", "answer")
        await beside_each_other(world, a, b)
        run = await world.finish(RUN)
        assert run.outputs["p"] == "p"
        other = FlowClient(
            world.storage.open_ports,
            RuntimeOptions(),
            clock=world.clock,
            identifiers=SystemIdentifiers(),
        )
        assert (await other.get_run(RUN)).states == run.states

    play(story)


# -- time -------------------------------------------------------------------------------------


def test_what_two_workers_foresee_alike_is_due_at_one_time() -> None:
    """What follows from a fact is due when its writer says, whoever foresaw the same."""

    async def story(world: World) -> None:
        end = asyncio.Event()
        flow = create_flow("f").node("a", held(world, end)).sleep("s", "10s").edge("a", "s")
        flow.node("b", world.body("b")).edge("s", "b")
        client = world.knows(flow).client
        await client.start_run(flow, run_id=RUN)
        one, two = await world.idle(), await world.idle()
        await deliver(one, world)
        await client.pause_run(RUN)
        await deliver(one, world)
        end.set()
        await world.settle()
        # Somebody asks twice, and two workers hear of it at about the same time.
        await client.continue_run(RUN)
        await client.continue_run(RUN)
        gates = []
        for process, delivery in zip((one, two), await world.receive(), strict=True):
            gates.append(Gate(world.ports.runs, "write"))
            process.worker.station.runs = gates[-1]
            process.worker._begin(delivery)
            await turns(20)
            world.clock.advance(0.5)
        for gate in gates:
            gate.open.set()
            await turns(20)
        world.clock.advance(9.0)
        await deliver(two, world)
        await world.process()
        assert (await world.finish(RUN)).outputs["b"] == "b"

    play(story)


class Impatient:
    """A queue that delays no message for longer than a quarter of an hour."""

    max_delay_seconds = 900.0

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    async def send(self, messages: Sequence[Outgoing]) -> None:
        assert all(each.delay_seconds <= 900 for each in messages)
        await self._queue.send(messages)


def test_a_run_does_not_start_before_its_time_on_any_queue() -> None:
    """A start that lies further ahead than the queue can delay a message is waited for."""

    async def story(world: World) -> None:
        queue = Impatient(world.ports.queue)
        world.ports = world.storage._ports = world.ports._replace(queue=queue)
        await starts_in_time(world)

    play(story)


async def starts_in_time(world: World, *, reconciled: bool = False) -> None:
    """See that a run that is to start tomorrow does so tomorrow."""
    flow = create_flow("f").node("a", world.body("a"))
    tomorrow = world.clock.now() + 86_400
    await world.knows(flow).client.start_run(
        flow, run_id=RUN, start_at=datetime.fromtimestamp(tomorrow, UTC)
    )
    await world.process()
    await world.advance(7200)
    if reconciled:
        await world.client.reconcile()
        await world.settle()
    assert not world.bodies
    await world.finish(RUN)
    assert world.clock.now() >= tomorrow


def test_reconciling_does_not_start_a_run_before_its_time() -> None:
    """A run that is to start later is not stuck."""
    play(lambda world: starts_in_time(world, reconciled=True))


def test_a_sleep_at_the_start_begins_when_the_run_starts() -> None:
    """A run that is to start later sleeps from then on, not from when it was stored."""

    async def story(world: World) -> None:
        flow = create_flow("f").sleep("s", "1h").node("b", world.body("b")).edge("s", "b")
        tomorrow = world.clock.now() + 86_400
        await world.knows(flow).client.start_run(
            flow, run_id=RUN, start_at=datetime.fromtimestamp(tomorrow, UTC)
        )
        await world.process()
        await world.finish(RUN)
        assert world.clock.now() >= tomorrow + 3600

    play(story)


# -- cancelling -------------------------------------------------------------------------------


def with_child(world: World) -> FlowBuilder:
    child = create_flow("child").node("x", world.body("x")).wait("w").edge("x", "w")
    return create_flow("f").node("a", world.body("a")).subflow("c", child).edge("a", "c")


def test_a_child_is_not_started_after_its_parent_was_cancelled() -> None:
    """A worker dies before it stores a child; whoever takes over knows of the cancellation."""

    async def story(world: World) -> None:
        flow = with_child(world)
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        mortal = await world.process(Life(1, name="create"))
        await world.settle()
        assert mortal.life.dead
        await world.client.cancel_run(RUN)
        await world.process()
        run = await world.finish(RUN)
        assert run.status == "cancelled"
        assert list(world.bodies) == ["run:a"]

    play(story)


def test_a_child_that_is_being_stored_is_cancelled_with_its_parent() -> None:
    """The cancellation overtakes the worker that stores the child."""

    async def story(world: World) -> None:
        flow = with_child(world)
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        one, two = await world.idle(), await world.idle()
        gate = Gate(world.ports.runs, "create")
        one.worker.station.runs = gate
        await deliver(one, world)
        await gate.waiting.wait()
        await world.client.cancel_run(RUN)
        while await deliver(two, world):
            await world.settle()
        gate.open.set()
        await world.process()
        assert (await world.finish(RUN)).status == "cancelled"

    play(story)


def test_nothing_begins_after_the_cancellation() -> None:
    """A worker that learns of a cancellation between two nodes does not begin the second."""

    async def story(world: World) -> None:
        flow = create_flow("f").node("a", world.body("a")).node("b", world.body("b"))
        flow.node("c", world.body("c")).edge("a", "b").edge("a", "c")
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        process = await world.idle()
        gate = Gate(world.ports.queue, "send")
        process.worker.station.queue = gate
        await deliver(process, world)
        await gate.waiting.wait()
        await world.client.cancel_run(RUN)
        await deliver(process, world)
        gate.open.set()
        await world.process()
        assert (await world.finish(RUN)).status == "cancelled"
        assert list(world.bodies) == ["run:a"]

    play(story)


def test_a_run_that_fails_as_it_goes_on_stops_what_is_queued_and_what_is_in_hand() -> None:
    """A decision starts a node and stops the run: the node in hand and the others are closed."""

    async def story(world: World) -> None:
        for name in "abc":
            world.runtime.options.registry.register(name, world.body(name))
        nodes: list[dict[str, Any]] = [{"id": name, "uses": name} for name in "abc"]
        nodes.append({"id": "w", "uses": "wait", "params": {"timeout": "never"}})
        edges = [{"source": "a", "target": "b"}, {"source": "a", "target": "w"}]
        data = {"id": "f", "nodes": nodes, "edges": edges, "metadata": {"onFailure": "fail_fast"}}
        await world.client.start_run(data, run_id=RUN)
        process = await world.idle()
        await deliver(process, world)
        await world.settle()
        await world.process()
        run = await world.finish(RUN)
        assert (run.status, [each.node_id for each in run.errors]) == ("failed", ["w"])
        assert world.bodies == {"run:a": 1}
        assert world.clock.now() < START + LEASE_SECONDS

    play(story)


# -- telling ----------------------------------------------------------------------------------


def test_the_start_of_a_child_is_told_once() -> None:
    """A worker dies after it stored a child: the one that takes over does not tell of it again."""

    async def story(world: World) -> None:
        starts: list[str] = []
        world.runtime.subscribe(lambda event: starts.append(event.run_id), ["workflow:start"])
        flow = with_child(world)
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        mortal = await world.process(Life(1, name="send"))
        await world.settle()
        assert mortal.life.dead
        await world.process()
        await world.advance(100)
        assert len(starts) == len(set(starts)) == 2

    play(story)


@pytest.mark.parametrize(("shard_items", "rounds", "what"), HELD_BACK)
def test_what_is_held_back_as_the_run_goes_on_is_begun(
    shard_items: int, rounds: int, what: str
) -> None:
    """Between the look that finds a run paused and the write that puts a node aside it goes on."""

    async def story(world: World) -> None:
        flow = create_flow("f").node("a", world.body([1, 2, 3]))
        flow.batch("b", world.body(lambda c: c.input), uses="item").edge("a", "b")
        world.shard_items = shard_items
        client = world.knows(flow).client
        await client.start_run(flow, run_id=RUN)
        one, two = await world.idle(), await world.idle()
        for _ in range(rounds):
            await deliver(one, world)
        await client.pause_run(RUN)
        writing = one.worker.station.runs
        went_on: list[str] = []

        class GoesOn:
            def __getattr__(self, name: str) -> Any:
                return getattr(writing, name)

            async def write(self, change: Change) -> Written:
                if not went_on and any(what in entry.data for entry in change.entries):
                    went_on.append(what)
                    await client.continue_run(RUN)
                    await deliver(two, world)
                return await writing.write(change)

        one.worker.station.runs = GoesOn()
        await deliver(one, world)
        await deliver(one, world)
        await world.process()
        assert (await world.finish(RUN)).status == "completed"
        assert went_on
        assert set(world.bodies.values()) == {1}

    play(story)


def test_what_was_held_back_is_begun_although_a_worker_died_with_its_lease() -> None:
    """Of two deliveries one holds a node back, the other takes its lease too late, and dies."""

    async def story(world: World) -> None:
        flow = create_flow("f").node("a", world.body("a"))
        client = world.knows(flow).client
        await client.start_run(flow, run_id=RUN)
        await client.pause_run(RUN)
        one, mortal = await world.idle(), await world.idle()
        await deliver(one, world)
        gate = Gate(world.ports.runs, "write")
        mortal.life.last, mortal.life.after, mortal.life.name = 1, True, "write"
        mortal.life.calls.clear()
        mortal.worker.station.runs = Mortal(gate, mortal.life)
        [delivery] = await world.receive()
        await world.ports.queue.send([Outgoing(delivery.body)])
        [again] = await world.receive()
        mortal.worker._begin(again)
        await gate.waiting.wait()
        one.worker._begin(delivery)
        await turns(20)
        gate.open.set()
        await world.settle()
        assert mortal.life.dead
        await world.process()
        await world.advance(2 * LEASE_SECONDS)
        await client.continue_run(RUN)
        assert (await world.finish(RUN)).status == "completed"

    play(story)


def test_a_message_that_two_workers_have_is_not_lost_with_one_of_them() -> None:
    """A worker dies with a retry in hand; another that had the same message watches over it."""

    async def story(world: World) -> None:
        begun: list[float] = []

        async def stubborn(ctx: Ctx) -> str:
            world.count(ctx)
            begun.append(world.clock.now() - START)
            if ctx.attempt < 3:
                raise ValueError("not yet")
            return "at last"

        retry = RetryPolicy(max_attempts=4, delay=1, backoff=1, jitter=False)
        flow = create_flow("f").node("a", stubborn, retry=retry)
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        one, two = await world.idle(), await world.idle()
        [delivery] = await world.receive()
        one.worker._begin(delivery)
        await turns(20)
        two.worker._begin(delivery)
        await turns(20)
        world.clock.advance(1.0)
        await turns(20)
        assert world.bodies == {"run:a": 2}
        await one.kill()
        await world.process()
        assert (await world.finish(RUN)).outputs == {"a": "at last"}
        assert begun == [0.0, 1.0, LEASE_SECONDS]

    play(story)


def test_a_claim_that_is_carried_out_late_keeps_nobody_from_the_node_for_ever() -> None:
    """A request that was given up gets a lease after all: whoever finds it waits until it ends."""

    async def story(world: World) -> None:
        flow = create_flow("f").node("a", world.body("a"))
        client = world.knows(flow).client
        await client.start_run(flow, run_id=RUN)
        await client.pause_run(RUN)
        await world.process()
        await world.settle()
        record = await world.ports.runs.read(RUN)
        assert record is not None
        ghost = Claim("0/1", "ghost", "gone", LEASE_SECONDS)
        written = await world.ports.runs.write(
            Change(RUN, record.head.epoch, record.head.facts, "gone", claim=ghost)
        )
        assert written.granted
        await client.continue_run(RUN)
        assert (await world.finish(RUN)).outputs == {"a": "a"}
        assert world.clock.now() < START + 3 * LEASE_SECONDS

    play(story)


class Slow:
    """Runs that are read in time, and whose answers come late."""

    def __init__(self, runs: Any) -> None:
        self._runs = runs
        self.comes = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runs, name)

    async def read(self, *arguments: Any) -> Any:
        answer = await self._runs.read(*arguments)
        await self.comes.wait()
        return answer


def test_who_read_a_run_long_ago_does_not_delete_what_another_left() -> None:
    """Of a start's deliveries the first hears of the run when the second is through, and dead."""

    async def story(world: World) -> None:
        flow = create_flow("f").node("a", world.body("a")).sleep("s", "5m").edge("a", "s")
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        one, two = await world.idle(), await world.idle()
        slow = one.worker.station.runs = Slow(world.ports.runs)
        (delivery,) = await world.receive()
        # As on SQS, where the message is gone whichever delivery of it is deleted.
        one.worker._begin(replace(delivery, handle="1/2"))
        await turns(20)
        world.clock.advance(LEASE_SECONDS + 5)
        two.life.last, two.life.name = 1, "send"
        two.life.calls.clear()
        (again,) = await world.receive()
        assert again.handle == "1/2"
        two.worker._begin(again)
        await turns(20)
        assert two.life.dead
        slow.comes.set()
        await turns(20)
        await world.process()
        assert (await world.finish(RUN)).status == "completed"
        assert world.bodies == {"run:a": 1}

    play(story)


class GateAt(Gate):
    """Holds up one call of a method, by its number from 1."""

    def __init__(self, port: Any, name: str, number: int) -> None:
        super().__init__(port, name)
        self._left = number

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            self._left -= 1
            if self._left:
                return getattr(self._port, name)
        return super().__getattr__(name)


def test_who_finds_a_run_stopped_by_another_sees_to_what_that_led_to() -> None:
    """A delivery writes the last fact of a child and dies; the other one tells the parent."""

    async def story(world: World) -> None:
        child = create_flow("child").node("x", world.body("x"))
        flow = create_flow("f").subflow("c", child)
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        starter, one, two = [await world.idle() for _ in range(3)]
        await deliver(starter, world)  # the child's start is sent, and waits
        (queued,) = await world.receive()
        child_id = json.loads(queued.body)["runId"]
        await world.client.cancel_run(child_id)
        (delivery,) = [each for each in await world.receive() if "CancelRequested" in each.body]
        writes = GateAt(world.ports.runs, "write", 1)
        one.worker.station.runs = writes
        one.life.last, one.life.name = 1, "send"
        one.life.calls.clear()
        one.worker._begin(delivery)
        await turns(20)
        reads = GateAt(world.ports.runs, "read", 3)
        two.worker.station.runs = reads
        two.worker._begin(delivery)
        await turns(20)
        assert writes.waiting.is_set()
        assert reads.waiting.is_set()
        writes.open.set()
        await turns(20)
        assert one.life.dead
        reads.open.set()
        await turns(20)
        await world.process()
        assert (await world.finish(RUN)).status == "failed"

    play(story)
