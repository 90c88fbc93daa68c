"""Runs that nobody works on get going again, with few copies of their messages."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.core.builder import FlowBuilder
from flowcraft.engine.reconcile import Reconciler
from flowcraft.ports.queue import Outgoing
from flowcraft.ports.runs import Row
from flowcraft.ports.suspicion import Suspects
from flowcraft.testing import VirtualClock
from tests.unit.durable import LEASE_SECONDS, Gate, Process, World, play

RUN = "run"
T = 300.0
EVERY = 60.0


def purge(world: World) -> None:
    """All messages are gone, as after somebody purged the queue."""
    world.ports.queue._messages.clear()  # type: ignore[attr-defined]
    world.ports.queue._order.clear()  # type: ignore[attr-defined]


async def reconciling(world: World, **more: Any) -> Process:
    """A process that takes no messages, and looks for stuck runs."""
    return await world.idle(reconcile_every_seconds=EVERY, **more)


async def stop(process: Process) -> None:
    """Stop a process that takes no messages."""
    process.worker._poller = None
    await process.worker.stop()


def one_node(world: World) -> FlowBuilder:
    return create_flow("f").node("a", world.body("a"))


class Watched:
    """A queue that notes when messages are sent to it."""

    def __init__(self, queue: Any, clock: VirtualClock) -> None:
        self._queue = queue
        self._clock = clock
        self.times: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    async def send(self, messages: Sequence[Outgoing]) -> None:
        self.times += [self._clock.now()] * len(messages)
        await self._queue.send(messages)


def watch_queue(world: World) -> Watched:
    queue = Watched(world.ports.queue, world.clock)
    world.ports = world.storage._ports = world.ports._replace(queue=queue)
    return queue


async def lost(world: World, flow: FlowBuilder) -> None:
    """A run whose messages are all gone before anybody saw them."""
    await world.knows(flow).client.start_run(flow, run_id=RUN)
    purge(world)


# --- getting going -------------------------------------------------------------------------


def test_a_worker_finds_a_stuck_run_by_itself() -> None:
    """A run whose message is lost goes on within the threshold and a round; nobody asks for it."""

    async def story(world: World) -> None:
        await lost(world, one_node(world))
        begun = world.clock.now()
        await world.process(reconcile_every_seconds=EVERY)
        await world.advance(T - 1)
        assert world.status(RUN) == "running"
        await world.advance(EVERY + 1)
        assert world.status(RUN) == "completed"
        assert world.clock.now() == begun + T + EVERY

    play(story)


def test_without_the_option_a_worker_does_not_look() -> None:
    """``None`` for the time of a round switches the looks off."""

    async def story(world: World) -> None:
        await lost(world, one_node(world))
        await world.process(reconcile_every_seconds=None)
        await world.advance(86_400)
        assert world.status(RUN) == "running"

    play(story)


def sleeping(world: World) -> FlowBuilder:
    flow = create_flow("f").sleep("s", "1h").node("b", world.body("b"))
    return flow.edge("s", "b")


def test_a_lost_timer_of_a_resting_run_fires() -> None:
    """A run that only sleeps is looked at when its timer is overdue, and not before."""

    async def story(world: World) -> None:
        await world.knows(sleeping(world)).client.start_run("f", run_id=RUN)
        process = await world.process(reconcile_every_seconds=EVERY)
        await world.settle()
        purge(world)
        await world.advance(3600 + T - 1)
        assert world.status(RUN) == "awaiting"
        assert "read" not in process.life.calls[-30:]
        await world.advance(EVERY + 1)
        assert world.status(RUN) == "completed"

    play(story)


def test_a_lost_timer_of_a_paused_run_fires() -> None:
    """Timers go on while a run is paused: that of a wait ends it, and what follows is held back."""

    async def story(world: World) -> None:
        flow = create_flow("f").wait("w", timeout="1h").node("b", world.body("b"))
        flow.edge("w", "b", action="timeout")
        await world.knows(flow).client.start_run("f", run_id=RUN)
        await world.process(reconcile_every_seconds=EVERY)
        await world.settle()
        await world.client.pause_run(RUN)
        await world.settle()
        purge(world)
        await world.advance(3600 + T + EVERY)
        assert world.status(RUN) == "paused"
        assert (await world.client.get_run(RUN)).states == {"w": "succeeded", "b": "ready"}
        await world.client.continue_run(RUN)
        await world.advance(1)
        assert (await world.client.get_run(RUN)).outputs["b"] == "b"

    play(story)


def test_an_overdue_timer_of_a_busy_run_fires() -> None:
    """A run in which other branches go on is no less overdue; only its timer is sent again."""

    async def story(world: World) -> None:
        busy = sleeping(world)
        held = asyncio.Event()

        async def hold(ctx: Any) -> None:
            world.count(ctx)
            await held.wait()

        busy.node("long", hold)
        queue = watch_queue(world)
        await world.knows(busy).client.start_run("f", run_id=RUN)
        process = await world.process(reconcile_every_seconds=EVERY)
        await world.settle()
        purge(world)
        queue.times.clear()
        for _ in range(int((3600 + T + 2 * EVERY) // 5)):
            await world.advance(5)
            await process.beat()
        run = await world.client.get_run(RUN)
        assert (run.states["b"], run.states["long"]) == ("succeeded", "running")
        assert len(queue.times) == 1
        held.set()
        await world.advance(10)
        assert world.status(RUN) == "completed"
        assert world.bodies == {f"{RUN}:b": 1, f"{RUN}:long": 1}

    play(story)


def test_a_timer_that_is_not_overdue_is_not_copied() -> None:
    """A run that waits for its next attempt is not stuck, however long that takes."""

    async def story(world: World) -> None:
        async def fails(ctx: Any) -> None:
            raise ValueError("not yet")

        flow = create_flow("f").node(
            "a", fails, config={"maxRetries": 2, "retryDelay": 4_000_000, "jitter": False}
        )
        queue = watch_queue(world)
        await world.knows(flow).client.start_run("f", run_id=RUN)
        await world.process(reconcile_every_seconds=EVERY)
        await world.settle()
        queue.times.clear()
        await world.advance(3900)
        assert (world.status(RUN), queue.times) == ("running", [])
        # Its message is lost after many looks that found nothing to do.
        purge(world)
        await world.advance(100 + T + EVERY)
        assert world.status(RUN) == "failed"

    play(story)


# --- copies --------------------------------------------------------------------------------


def test_resends_back_off() -> None:
    """What is lost again and again is sent after T, and then 2 T, 4 T, 8 T after the last time."""

    async def story(world: World) -> None:
        await lost(world, one_node(world))
        begun, queue = world.clock.now(), watch_queue(world)
        await reconciling(world)
        for _ in range(700):
            await world.advance(EVERY)
            purge(world)
        waits = [b - a for a, b in itertools.pairwise([begun, *queue.times])]
        assert waits[0] == pytest.approx(T, abs=EVERY)
        assert waits[1:] == [2 * T, 4 * T, 8 * T, 16 * T, 32 * T, 64 * T]

    play(story)


def test_progress_begins_anew() -> None:
    """A run that has moved on is sent for after the threshold again, and then twice that."""

    async def story(world: World) -> None:
        flow = create_flow("f").node("a", world.body("a")).node("b", world.body("b"))
        flow.edge("a", "b")
        await lost(world, flow)
        queue = watch_queue(world)
        idle = await reconciling(world)
        for _ in range(40):
            await world.advance(EVERY)
            purge(world)
        assert len(queue.times) == 3
        await world.advance(8 * T)
        (delivery,) = await world.receive()
        idle.worker.draining = True  # so that it does not go on with the second node
        await idle.worker.handle(delivery)
        assert world.bodies == {f"{RUN}:a": 1}
        purge(world)
        moved, before = world.clock.now(), len(queue.times)
        for _ in range(20):
            await world.advance(EVERY)
            purge(world)
        waits = [b - a for a, b in itertools.pairwise([moved, *queue.times[before:]])]
        assert waits[0] == pytest.approx(T, abs=EVERY)
        assert waits[1:] == [2 * T]

    play(story)


def test_a_long_backlog_breeds_no_storm() -> None:
    """Sixty nodes that no worker comes to for three days have a few copies each, not thousands."""

    async def story(world: World) -> None:
        flow = create_flow("f").node("s", world.body(0))
        for number in range(60):
            flow.node(f"n{number}", world.body(number)).edge("s", f"n{number}")
        await world.knows(flow).client.start_run("f", run_id=RUN)
        idle = await reconciling(world)
        idle.worker.draining = True  # so that what follows is left to others
        for _ in range(2):
            (delivery,) = await world.receive()
            await idle.worker.handle(delivery)
            await world.settle()
        assert len(world.messages()) == 60 + 1  # which watches over what the start has led to
        await world.advance(3 * 86_400)
        assert 60 < len(world.messages()) <= 60 * 11 + 1
        await world.process()
        run = await world.finish(RUN)
        assert (run.status, set(world.bodies.values())) == ("completed", {1})

    play(story)


def test_by_hand_backs_off_too_unless_it_is_forced() -> None:
    """Who asks again and again gets one resend; with ``force`` each call sends."""

    async def story(world: World) -> None:
        await lost(world, one_node(world))
        reconcile = world.client.reconcile
        assert (await reconcile()).stalled_runs == 0
        await world.advance(T + 1)
        stats = [await reconcile() for _ in range(3)]
        assert [each.stalled_runs for each in stats] == [1, 1, 1]
        assert [each.reconciled_runs for each in stats] == [1, 0, 0]
        assert len(world.messages()) == 1
        purge(world)
        assert (await reconcile(stalled_threshold_seconds=1, force=True)).reconciled_runs == 1
        assert len(world.messages()) == 1
        await world.process()
        assert (await world.finish(RUN)).status == "completed"

    play(story)


def test_forced_it_sends_what_rests_waits_for() -> None:
    """After a purge ``force`` sends timers that are not due yet, once and for all runs."""

    async def story(world: World) -> None:
        await world.knows(sleeping(world)).client.start_run("f", run_id=RUN)
        await world.process()
        await world.settle()
        purge(world)
        await world.advance(10)
        stats = await world.client.reconcile(stalled_threshold_seconds=0, force=True)
        assert (stats.stalled_runs, stats.reconciled_runs) == (1, 1)
        begun = world.clock.now()
        assert (await world.finish(RUN)).status == "completed"
        assert world.clock.now() == begun + 3600 - 10

    play(story)


# --- children ------------------------------------------------------------------------------


def family(world: World, child: FlowBuilder) -> FlowBuilder:
    world.knows(child)
    return create_flow("f").subflow("s", "child")


async def start_parent_of_work(world: World) -> asyncio.Event:
    """Start a run whose child works until the event is set."""
    hold = asyncio.Event()

    async def long(ctx: Any) -> str:
        await hold.wait()
        return "done"

    flow = family(world, create_flow("child").node("a", long))
    await world.knows(flow).client.start_run("f", run_id=RUN)
    return hold


async def resent(world: World) -> int:
    """How many messages a look sends when the time has come."""
    await world.client.aclose()
    queue = watch_queue(world)
    await world.advance(T + 1)
    await world.client.reconcile()
    await world.settle()
    return len(queue.times)


def test_a_parent_of_a_child_that_works_is_not_stuck() -> None:
    """As long as a child has work, its parent is not sent for, however long that takes."""

    async def story(world: World) -> None:
        hold = await start_parent_of_work(world)
        process = await world.process()
        await world.settle()
        for _ in range(int(2 * T / 5)):
            await world.advance(5)
            await process.beat()
        assert (await world.client.reconcile()).stalled_runs == 0
        hold.set()
        assert (await world.finish(RUN)).status == "completed"

    play(story)


def test_looks_that_find_nothing_to_do_delay_nothing() -> None:
    """After hours in which all was well, a message that is lost is noticed as soon as ever."""

    async def story(world: World) -> None:
        hold = await start_parent_of_work(world)
        process = await world.process(reconcile_every_seconds=EVERY)
        await world.settle()
        for _ in range(1000):
            await world.advance(5)
            await process.beat()
        hold.set()
        while world.status(f"{RUN}/s::1") != "completed":
            await asyncio.sleep(0)
        await process.kill()
        purge(world)
        await world.process(reconcile_every_seconds=EVERY)
        await world.advance(2 * T + 3 * EVERY)
        assert world.status(RUN) == "completed"

    play(story)


def test_a_parent_that_did_not_hear_of_the_end_is_told() -> None:
    """The result of a child is handed over again if its message was lost."""

    async def story(world: World) -> None:
        child = create_flow("child").node("s", world.body(0)).node("z", world.body("z"))
        for number in range(3):
            child.node(f"n{number}", world.body(number))
            child.edge("s", f"n{number}").edge(f"n{number}", "z")
        await world.knows(family(world, child)).client.start_run("f", run_id=RUN)
        process = await world.process()
        child_id = f"{RUN}/s::1"
        while world.status(child_id) != "completed":
            await asyncio.sleep(0)
        await process.kill()
        purge(world)
        assert world.status(RUN) == "running"
        assert await resent(world) == 1
        await world.process()
        assert (await world.finish(RUN)).outputs["s"] == "z"

    play(story)


def test_a_child_that_is_missing_is_started() -> None:
    """A parent that died before it stored its child has it stored by who looks."""

    async def story(world: World) -> None:
        world.knows(family(world, create_flow("child").node("a", world.body("a"))))
        await world.client.start_run("f", run_id=RUN)
        assert await resent(world) == 1
        await world.process()
        assert (await world.finish(RUN)).status == "completed"

    play(story)


def test_a_parent_that_did_not_hear_that_its_child_rests_is_told() -> None:
    """A parent whose child only waits is ``awaiting``, also if the message about it was lost."""

    async def story(world: World) -> None:
        child = create_flow("child").wait("w")
        await world.knows(family(world, child)).client.start_run("f", run_id=RUN)
        process = await world.process()
        while world.status(f"{RUN}/s::1") != "awaiting":
            await asyncio.sleep(0)
        await process.kill()
        purge(world)
        assert world.status(RUN) == "running"
        await resent(world)
        await world.process()
        await world.settle()
        assert world.status(RUN) == "awaiting"
        await world.client.resume_with_action(RUN, node_id=("s", "w"))
        assert (await world.finish(RUN)).status == "completed"

    play(story)


# --- rows ----------------------------------------------------------------------------------


def test_a_row_that_is_out_of_date_is_mended() -> None:
    """A run that is over by its facts, and running by its row, is shown as over."""

    async def story(world: World) -> None:
        await world.knows(one_node(world)).client.start_run("f", run_id=RUN)
        await world.process()
        await world.finish(RUN)
        stored = world.ports.runs._runs[RUN]  # type: ignore[attr-defined]
        stored.head = replace(stored.head, row=Row("running"))
        await world.advance(T + 1)
        assert (await world.client.reconcile()).reconciled_runs == 1
        assert world.status(RUN) == "completed"

    play(story)


# --- many workers --------------------------------------------------------------------------


def finds(*processes: Process) -> list[int]:
    """How often each of some processes has looked for runs."""
    return [process.life.calls.count("suspects") for process in processes]


def test_of_many_workers_one_looks() -> None:
    """Three workers look as often as one; the one that does it is the same from round to round."""

    async def story(world: World) -> None:
        processes = [await reconciling(world) for _ in range(3)]
        await world.advance(10 * EVERY)
        assert sorted(finds(*processes)) == [0, 0, 10]

    play(story)


def test_another_takes_over_from_one_that_is_gone() -> None:
    """When the one that looks dies, another does it after three rounds."""

    async def story(world: World) -> None:
        first = await reconciling(world)
        await world.advance(EVERY)
        second = await reconciling(world)
        await first.kill()
        await world.advance(2 * EVERY)
        assert finds(second) == [0]
        await world.advance(EVERY)
        assert finds(second) == [1]

    play(story)


def test_one_that_stops_gives_the_lock_up() -> None:
    """When the one that looks is stopped, the next round is another's."""

    async def story(world: World) -> None:
        first = await reconciling(world)
        await world.advance(EVERY)
        second = await reconciling(world)
        await stop(first)
        await world.advance(EVERY)
        assert finds(first, second) == [1, 1]

    play(story)


def test_a_look_that_takes_too_long_does_no_harm() -> None:
    """Who is held up beyond the time of the lock ends its look, and nothing is sent twice."""

    async def story(world: World) -> None:
        await lost(world, one_node(world))
        await world.knows(one_node(world)).client.start_run("f", run_id="other")
        purge(world)
        queue, runs = watch_queue(world), world.ports.runs
        gate = Gate(runs, "suspects")
        world.ports = world.storage._ports = world.ports._replace(runs=gate)
        await world.advance(T)
        slow = await reconciling(world)
        await world.advance(EVERY)
        assert gate.waiting.is_set()
        world.ports = world.storage._ports = world.ports._replace(runs=runs)
        quick = await reconciling(world)
        await world.advance(4 * EVERY)
        assert len(queue.times) == 2
        gate.open.set()
        await world.advance(EVERY)
        assert len(queue.times) == 2
        assert "read" not in slow.life.calls
        assert finds(quick)[0] > 0

    play(story)


def test_a_stop_waits_for_the_run_in_hand() -> None:
    """A worker that is stopped in a look finishes the run it looks at, and looks at no other."""

    async def story(world: World) -> None:
        await lost(world, one_node(world))
        await world.client.start_run("f", run_id="other")
        purge(world)
        gate = Gate(world.ports.runs, "read")
        queue = watch_queue(world)
        world.ports = world.storage._ports = world.ports._replace(runs=gate)
        process = await reconciling(world)
        await world.advance(T + EVERY)
        assert gate.waiting.is_set()
        stopping = asyncio.ensure_future(stop(process))
        await world.settle()
        gate.open.set()
        await world.settle()
        await stopping
        assert len(queue.times) == 1
        assert await world.ports.coordination.get("reconciler") is None

    play(story)


def test_who_cannot_read_a_run_lets_another_look(caplog: pytest.LogCaptureFixture) -> None:
    """A look in which something failed gives the lock up: the next one may know better."""

    async def story(world: World) -> None:
        await lost(world, one_node(world))
        runs = world.ports.runs

        class Broken:
            def __getattr__(self, name: str) -> Any:
                return getattr(runs, name)

            async def read(self, run_id: str, since: int = 0) -> Any:
                raise ValueError("unreadable")

        world.ports = world.storage._ports = world.ports._replace(runs=Broken())
        await reconciling(world)
        await world.advance(1)
        world.ports = world.storage._ports = world.ports._replace(runs=runs)
        await world.process(reconcile_every_seconds=EVERY)
        await world.advance(T + EVERY)
        assert world.status(RUN) == "completed"

    with caplog.at_level(logging.ERROR):
        play(story)
    assert "Run 'run' cannot be reconciled" in caplog.text


def test_trouble_with_the_stores_does_not_end_the_rounds(caplog: pytest.LogCaptureFixture) -> None:
    """A look that fails as a whole is logged, and the next one comes in its time."""

    async def story(world: World) -> None:
        await lost(world, one_node(world))
        runs = world.ports.runs
        left = [1]

        class Broken:
            def __getattr__(self, name: str) -> Any:
                return getattr(runs, name)

            async def suspects(self, *arguments: Any) -> Suspects:
                if left:
                    left.pop()
                    raise ValueError("no answer")
                return await runs.suspects(*arguments)

        world.ports = world.storage._ports = world.ports._replace(runs=Broken())
        await world.process(reconcile_every_seconds=EVERY)
        await world.advance(T + EVERY)
        assert world.status(RUN) == "completed"

    with caplog.at_level(logging.ERROR):
        play(story)
    assert "Stuck runs could not be looked for" in caplog.text


# --- thresholds ----------------------------------------------------------------------------


def test_a_threshold_is_at_least_two_leases() -> None:
    """A worker that died must not be taken for lost messages; the default follows the lease."""

    async def story(world: World) -> None:
        with pytest.raises(ValueError, match="at least 60, not 59"):
            await world.process(stalled_threshold_seconds=59.0)
        with pytest.raises(ValueError, match="at least 60, not 59"):
            await world.client.reconcile(stalled_threshold_seconds=59)
        with pytest.raises(ValueError, match="reconcile_every_seconds is a positive number"):
            await world.process(reconcile_every_seconds=0.0)
        process = await world.process(stalled_threshold_seconds=2 * LEASE_SECONDS)
        assert process.worker.duties._stalled_seconds == 60.0
        patient = await world.process(lease_seconds=600.0)
        assert patient.worker.duties._stalled_seconds == 2400.0

    play(story)


def test_a_look_turns_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """More stuck runs than a page holds are all found, also if one is deleted meanwhile."""

    async def story(world: World) -> None:
        world.knows(one_node(world))
        for number in range(250):
            await world.client.start_run("f", run_id=f"{number:03}")
        purge(world)
        await world.advance(T + 1)
        station = await world.client._opened()
        stats = await Reconciler(station, T).run()
        assert (stats.scanned_items, stats.reconciled_runs) == (250, 250)

    play(story)
