"""Trouble of all kinds: full stores, damaged records, loops that end, suspended processes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.client import FlowClient
from flowcraft.core import events as ev
from flowcraft.engine.client import FlowClient as EngineClient
from flowcraft.engine.hands import InHand
from flowcraft.engine.heartbeat import Beat, Heartbeat
from flowcraft.engine.jobs import Job, write_job
from flowcraft.engine.serializer import JsonSerializer
from flowcraft.engine.strand import MOST_STEPS, Strand
from flowcraft.errors import (
    SerializationError,
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageUnavailable,
)
from flowcraft.memory import MemoryStorage
from flowcraft.ports.runs import Held, Holding, Renewed, Row
from flowcraft.ports.together import Ports
from flowcraft.sqlite import SqliteAdapter
from tests.unit.durable import LEASE_SECONDS, Process, World, play
from tests.unit.runs import Ctx, drive

RUN = "run"


def holding(world: World, gate: asyncio.Event) -> Any:
    """A node that ends when the gate is opened."""

    async def held(ctx: Ctx) -> str:
        world.count(ctx)
        await gate.wait()
        return "done"

    return held


class Refusing:
    """A store that does not write what an attempt came to, while it refuses it."""

    def __init__(self, port: Any, error: StorageError, refuses: Callable[[str], bool]) -> None:
        self._port = port
        self._error = error
        self._refuses = refuses

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    async def write(self, change: Any) -> Any:
        if change.holding is not None and any(self._refuses(each.data) for each in change.entries):
            raise self._error
        return await self._port.write(change)


def refuse(process: Process, error: StorageError, refuses: Callable[[str], bool]) -> None:
    """Have a process's store refuse outcomes by their text."""
    port = process.worker.station.runs
    port._port = Refusing(port._port, error, refuses)  # type: ignore[attr-defined]


# -- outcomes that cannot be stored -----------------------------------------------------------


@pytest.mark.parametrize("error", [StorageFull("full"), StorageUnavailable("disk I/O error")])
def test_an_outcome_is_kept_for_as_long_as_it_cannot_be_stored(error: StorageError) -> None:
    """The disk is full for ten leases: the body runs once, and the run does not fail for it."""

    async def story(world: World) -> None:
        is_full = [True]
        flow = create_flow("f").node("a", world.body(1))
        await world.knows(flow).client.start_run("f", run_id=RUN)
        process = await world.process()
        refuse(process, error, lambda _: bool(is_full))
        await world.advance(10 * LEASE_SECONDS)
        assert world.status(RUN) == "running"
        is_full.clear()
        run = await world.finish(RUN)
        assert (run.status, run.outputs, world.bodies) == ("completed", {"a": 1}, {"run:a": 1})

    play(story)


def test_an_outcome_that_is_kept_is_told_of_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log has the same trouble now and then, however often it is tried, and another at once."""

    async def story(world: World) -> None:
        is_full = [True]
        flow = create_flow("f").node("a", world.body(1))
        await world.knows(flow).client.start_run("f", run_id=RUN)
        process = await world.process()
        refuse(process, StorageFull("full"), lambda _: bool(is_full))
        await world.advance(300.0)
        is_full.clear()
        assert (await world.finish(RUN)).status == "completed"

    play(story)
    told = [each for each in caplog.records if "is kept here" in each.getMessage()]
    assert 5 <= len(told) <= 6


def test_what_a_store_can_never_take_fails_its_node() -> None:
    """An output that is too large is the failure of its node, with what the store says about it."""

    async def story(world: World) -> None:
        flow = create_flow("f").node("a", world.body("a novel"))
        await world.knows(flow).client.start_run("f", run_id=RUN)
        process = await world.process()
        error = StorageError("A text is too large.", is_fatal=True)
        refuse(process, error, lambda text: "a novel" in text)
        run = await world.finish(RUN)
        assert (run.status, run.errors[0].message) == ("failed", "A text is too large.")
        assert world.bodies == {"run:a": 1}

    play(story)


@pytest.mark.parametrize("text", ["no such file: \udcff", "\ud83d cut in two"])
def test_an_error_with_half_a_character_is_an_error_like_others(text: str) -> None:
    """Exceptions may hold what UTF-8 does not have; every fact can be stored all the same."""

    async def story(world: World) -> None:
        async def node(ctx: Ctx) -> None:
            world.count(ctx)
            raise FileNotFoundError(text)

        flow = create_flow("f").node("a", node)
        await world.knows(flow).client.start_run("f", run_id=RUN)
        await world.process()
        run = await world.finish(RUN)
        assert [fact.data.encode() for fact in world.facts(RUN)]
        assert (run.errors[0].message, world.bodies["run:a"]) == (text, 1)

    play(story)


def test_a_message_with_half_a_character_can_be_sent() -> None:
    """What somebody writes into a reason travels as JSON escapes."""
    job = Job(RUN, "epoch", "f", "thread", event=ev.CancelRequested("\udcff"))
    assert write_job(job, JsonSerializer()).encode()


# -- loops that end, processes that were suspended --------------------------------------------


def test_a_loop_that_ends_with_work_under_way_fails_nothing() -> None:
    """Ctrl-C, or a program that forgets to stop its adapter: as if the process had been killed."""

    async def story(world: World) -> None:
        gate = asyncio.Event()
        flow = create_flow("f").node("a", holding(world, gate))
        await world.knows(flow).client.start_run("f", run_id=RUN)
        process = await world.process()
        await world.settle()
        tasks = process._tasks()
        for task in tasks:
            task.cancel()  # as asyncio.run does at its end
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not [event for event in world.events(RUN) if isinstance(event, ev.NodeFailed)]
        gate.set()
        await world.process()
        run = await world.finish(RUN)
        assert (run.status, run.timeline[0].lost) == ("completed", 1)

    play(story)


def test_a_worker_does_not_take_over_from_itself() -> None:
    """Suspended for longer than its lease, a process goes on with what it was doing."""

    async def story(world: World) -> None:
        gate = asyncio.Event()
        flow = create_flow("f").node("a", holding(world, gate))
        await world.knows(flow).client.start_run("f", run_id=RUN)
        await world.process()
        await world.advance(3 * LEASE_SECONDS)  # and no heartbeat
        gate.set()
        run = await world.finish(RUN)
        assert (run.status, world.bodies, run.timeline[0].lost) == ("completed", {"run:a": 1}, 0)

    play(story)


def test_a_lease_that_is_being_taken_over_is_not_prolonged() -> None:
    """The heartbeat of who takes over does not keep the lease of who is gone alive."""

    async def story(world: World) -> None:
        process = await world.idle()
        worker = process.worker
        strand = Strand(worker, Job(RUN, "epoch", "f", "thread"))
        task = asyncio.ensure_future(asyncio.sleep(0))
        for expired in (True, False):
            strand.holding = Holding("0/1", "token", expired=expired)
            worker._strands[task] = InHand("1/1", world.clock.now(), strand=strand)
            assert [beat.lease is None for beat in worker.beats()] == [expired]
        del worker._strands[task]
        await task

    play(story)


class Waiting:
    """Has nothing to keep, and says when it was asked."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def beats(self) -> Sequence[Beat]:
        self.asked.set()
        return ()

    def hidden(self, beat: Beat) -> None:
        """The message is hidden for longer."""

    def lost(self, beat: Beat) -> None:
        raise AssertionError(beat)

    def displaced(self, beat: Beat) -> None:
        """Somebody else has the place under a limit."""

    def stopping(self, beat: Beat) -> None:
        raise AssertionError(beat)


def test_a_heartbeat_that_cannot_open_its_ports_tries_again() -> None:
    """The thread does not end for an error at its start, which would cost all leases."""
    storage, errors = MemoryStorage(), [StorageUnavailable("too many open files")]

    @contextlib.asynccontextmanager
    async def open_ports() -> AsyncIterator[Ports]:
        if errors:
            raise errors.pop()
        yield storage._ports

    keeper = Waiting()
    heart = Heartbeat(open_ports, keeper, 0.003)
    heart.start()
    assert keeper.asked.wait(5.0)
    heart.stop()


def test_a_store_that_gives_no_answer_does_not_keep_the_next_beat_waiting() -> None:
    """Leases that could not be prolonged in time are asked for again, with what else is due."""

    class Runs:
        beats = 0

        async def renew(self, leases: Sequence[Held], seconds: float) -> Sequence[Renewed]:
            self.beats += 1
            if self.beats == 1:
                await asyncio.Event().wait()
            return [Renewed(held=True, stopping=False)] * len(leases)

    class Keeps(Waiting):
        def beats(self) -> Sequence[Beat]:
            return [Beat("", Held("run", "place", "token"), None, None, 0.0)]

    async def work() -> None:
        runs = Runs()
        ports = MemoryStorage()._ports._replace(runs=cast("Any", runs))
        heart = Heartbeat(MemoryStorage().open_ports, Keeps(), 0.03)
        for _ in range(2):
            await heart.beat(ports)
        assert runs.beats == 2

    drive(work())


def test_after_trouble_the_next_beat_comes_sooner() -> None:
    """A store that refuses beat after beat is asked more often than a lease has thirds."""

    class Runs:
        errors: ClassVar[list[Exception]] = [StorageBusy("throttled"), StorageBusy("throttled")]

        async def renew(self, leases: Sequence[Held], seconds: float) -> Sequence[Renewed]:
            if self.errors:
                raise self.errors.pop()
            return [Renewed(held=True, stopping=False)] * len(leases)

    class Keeps(Waiting):
        def beats(self) -> Sequence[Beat]:
            return [Beat("", Held("run", "place", "token"), None, None, 0.0)]

    async def work() -> None:
        storage = MemoryStorage()
        ports = storage._ports._replace(runs=cast("Any", Runs()))
        heart = Heartbeat(storage.open_ports, Keeps(), 30.0)
        assert [await heart.beat_once(ports) for _ in range(4)] == [2.5, 2.5, 10.0, 10.0]

    drive(work())


def test_after_a_beat_without_an_answer_the_next_one_comes_sooner() -> None:
    """A store that is silent for a third of the lease leaves no time for a whole pause."""

    class Runs:
        async def renew(self, leases: Sequence[Held], seconds: float) -> Sequence[Renewed]:
            await asyncio.Event().wait()
            return ()

    class Keeps(Waiting):
        def beats(self) -> Sequence[Beat]:
            return [Beat("", Held("run", "place", "token"), None, None, 0.0)]

    async def work() -> None:
        ports = MemoryStorage()._ports._replace(runs=cast("Any", Runs()))
        heart = Heartbeat(MemoryStorage().open_ports, Keeps(), 0.03)
        assert await heart.beat_once(ports) == heart.interval_seconds(ports) / 4

    drive(work())


# -- wishes whose worker dies -----------------------------------------------------------------


@pytest.mark.parametrize("verb", ["skip_node", "retry_failed"])
def test_what_a_wish_led_to_outlives_its_worker(verb: str) -> None:
    """Killed while it runs what a wish made ready: the wish, which comes again, goes on with it."""

    async def story(world: World) -> None:
        gate, fails = asyncio.Event(), [True]

        async def node(ctx: Ctx) -> str:
            if fails:
                raise ValueError("not yet")
            await gate.wait()
            return "done"

        flow = create_flow("f").node("a", node, uses="a").wait("w")
        if verb == "skip_node":
            flow.edge("w", "a")
        await world.knows(flow).client.start_run("f", run_id=RUN, on_failure="continue")
        first = await world.process()
        await world.until(lambda: world.status(RUN) == "awaiting", "its rest")
        fails.clear()
        if verb == "skip_node":
            await world.client.skip_node(RUN, "w", "skipped")
        else:
            await world.client.retry_failed(RUN)
        await world.settle()
        await first.kill()
        gate.set()
        await world.process()
        await world.until(lambda: not world.leases(RUN), "what follows")
        if verb == "retry_failed":
            await world.client.resume_with_action(RUN)
        run = await world.finish(RUN)
        assert (run.status, run.outputs["a"]) == ("completed", "done")

    play(story)


# -- taking turns -----------------------------------------------------------------------------


def test_a_long_run_lets_others_have_a_turn() -> None:
    """One hand, a chain of three turns, and a run that came later: it is not the last to end."""

    async def story(world: World) -> None:
        order: list[str] = []

        async def node(ctx: Ctx) -> None:
            order.append(ctx.run_id)

        long, short = create_flow("long"), create_flow("short").node("a", node, uses="node")
        for number in range(3 * MOST_STEPS):
            long.node(f"n{number}", node, uses="node")
        for number in range(1, 3 * MOST_STEPS):
            long.edge(f"n{number - 1}", f"n{number}")
        world.knows(long, short)
        await world.client.start_run("long", run_id="long")
        await world.client.start_run("short", run_id="short")
        await world.process(concurrency=1)
        await world.finish("long")
        assert order.index("short") == MOST_STEPS
        assert len(order) == 3 * MOST_STEPS + 1

    play(story)


def test_nodes_that_wait_for_nothing_leave_the_event_loop_to_others() -> None:
    """Whoever else runs in the loop gets a turn between two nodes of a chain."""

    async def story(world: World) -> None:
        turns: list[int] = []
        ticks = 0
        flow = create_flow("f")
        for number in range(20):
            flow.node(f"n{number}", world.body(lambda ctx: turns.append(ticks), turns=0))
        for number in range(1, 20):
            flow.edge(f"n{number - 1}", f"n{number}")
        await world.knows(flow).client.start_run("f", run_id=RUN)
        process = await world.idle()
        for delivery in await world.receive():
            process.worker._begin(delivery)
        while process.worker.busy:
            ticks += 1
            await asyncio.sleep(0)
        assert len(set(turns)) == 20

    play(story)


# -- damaged records --------------------------------------------------------------------------


async def waiting_run(world: World) -> EngineClient:
    """A run that was given its answer, which no worker has taken up."""
    flow = create_flow("f").wait("w").node("a", world.body(1)).edge("w", "a")
    other = create_flow("other").node("a", world.body("other"))
    await world.knows(flow, other).client.start_run("f", run_id=RUN)
    process = await world.process()
    await world.settle()
    await process.kill()
    await world.client.resume_with_action(RUN)
    return world.client


@pytest.mark.parametrize("kept", [(), (1,)], ids=["all", "the first"])
def test_missing_facts_are_told_of_and_harm_no_other_run(
    kept: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Facts are gone: client and log say that the record is damaged; the message stays."""

    async def story(world: World) -> None:
        client = await waiting_run(world)
        facts = world.ports.runs._runs[RUN].facts  # type: ignore[attr-defined]
        facts[:] = [replace(facts[0], number=number) for number in kept]
        await world.process()
        await client.start_run("other", run_id="other")
        await world.until(lambda: world.status("other") == "completed")
        with pytest.raises(StorageCorrupt, match=r"The record of run 'run' is damaged\."):
            await client.get_run(RUN)
        assert [job.run_id for job in world.messages()] == [RUN]

    play(story)
    assert "The record of run 'run' is damaged" in caplog.text


def test_a_row_that_says_what_is_not_so_holds_up_no_worker() -> None:
    """Somebody wrote by hand that a run is over: what the log says is carried on with."""

    async def story(world: World) -> None:
        await waiting_run(world)
        run = world.ports.runs._runs[RUN]  # type: ignore[attr-defined]
        run.head = replace(run.head, row=Row("completed"))
        await world.process()
        await world.until(lambda: world.bodies["run:a"] == 1, "the node")
        await world.settle()
        assert (await world.client.get_run(RUN)).status == "completed"

    play(story)


def test_a_damaged_blueprint_is_told_of() -> None:
    """A blueprint that is no JSON any more is named, and not the parser's error alone."""

    async def story(world: World) -> None:
        await waiting_run(world)
        blobs = world.ports.blobs._texts  # type: ignore[attr-defined]
        for key in [key for key in blobs if key.startswith("blueprint/")]:
            blobs[key] = "{"
        world._client = None
        with pytest.raises(SerializationError, match=r"The blueprint with the hash .* is damaged"):
            await world.client.get_run(RUN)

    play(story)


# -- names that are taken ---------------------------------------------------------------------


def test_a_retry_is_not_one_of_a_run_that_had_the_id_before() -> None:
    """Deleted, started again under its id and failed again, a run is retried anew."""

    async def story(world: World) -> None:
        broken = [True]

        async def node(ctx: Ctx) -> Any:
            if broken:
                raise ValueError("broken")
            return ctx.input

        world.knows(create_flow("f").node("a", node, inputs="n"))
        await world.process()
        again, given = [], []
        for n in (1, 2):
            broken[:] = [True]
            await world.client.start_run("f", {"n": n}, run_id=RUN)
            await world.finish(RUN)
            broken.clear()
            again.append(await world.client.retry_failed(RUN))
            assert await world.client.retry_failed(RUN) == again[-1]
            given.append((await world.finish(again[-1])).outputs["a"])
            await world.client.delete_run(RUN)
        assert (given, len(set(again)), again[0]) == ([1, 2], 2, "run~retry")

    play(story)


def test_a_subflow_whose_id_is_taken_fails_its_node() -> None:
    """Somebody has started a run under the id of a child run: its parent does not wait for ever."""

    async def story(world: World) -> None:
        node = {"id": "s", "uses": "subflow", "params": {"blueprintId": "inner"}}
        world.knows(create_flow("inner").node("a", world.body(1)))
        await world.client.start_run("inner", run_id="run/s::1")
        await world.client.start_run({"id": "f", "nodes": [node], "edges": []}, run_id=RUN)
        await world.process()
        run = await world.finish(RUN)
        assert run.status == "failed"
        assert "somebody started another run under this id" in run.errors[0].message

    play(story)


# -- starting ---------------------------------------------------------------------------------


def test_an_adapter_that_could_not_start_can_be_started_again(tmp_path: Path) -> None:
    """Once the directory is there it works, and does not take itself for one that does already."""

    async def node(ctx: Ctx) -> int:
        return 1

    async def story() -> None:
        path = tmp_path / "data" / "runs.db"
        options = FlowRuntime(flows=[create_flow("f").node("a", node)]).options
        adapter = SqliteAdapter(path, options)
        with pytest.raises(StorageUnavailable):
            await adapter.start()
        path.parent.mkdir()
        async with adapter:
            run = await adapter.start_run("f")
            assert (await run.result(timeout=5)).status == "completed"

    drive(story())


def test_a_file_is_the_same_one_in_another_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative name means what it meant when the client was made."""
    monkeypatch.chdir(tmp_path)
    client = FlowClient.sqlite("runs.db").sync
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = client.start_run(create_flow("f").wait("w"))
    assert (tmp_path / "runs.db").exists()
    assert client.get_run(run).status == "awaiting"


def test_a_name_that_is_no_file_is_refused() -> None:
    """SQLite's memory is that of one connection, so a client and a worker would not meet."""
    with pytest.raises(ValueError, match="MemoryAdapter"):
        FlowClient.sqlite(":memory:")
