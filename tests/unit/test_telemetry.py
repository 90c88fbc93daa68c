"""What workers count and time, and what a telemetry that fails does to them: nothing."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from flowcraft import RetryPolicy, create_flow
from flowcraft.adapters.system import SystemIdentifiers
from flowcraft.engine.client import FlowClient
from flowcraft.errors import StorageBusy
from flowcraft.ports.queue import Outgoing
from flowcraft.ports.telemetry import Attributes, Span, Telemetry
from flowcraft.testing import TelemetryRecorder
from tests.unit.durable import LEASE_SECONDS, Process, World, play

RUN = "run"


async def hanging(world: World) -> tuple[TelemetryRecorder, Process]:
    """A process in the middle of a node that does not end, and what it has told."""
    told = TelemetryRecorder()

    async def hang(ctx: Any) -> None:
        await asyncio.Event().wait()

    flow = create_flow("f").node("a", hang)
    await world.knows(flow).client.start_run("f", run_id=RUN)
    process = await world.process(telemetry=told)
    await world.settle()
    return told, process


def test_a_run_is_counted_and_timed() -> None:
    """Messages, commits, the end of the run, and each attempt with its outcome and duration."""

    async def story(world: World) -> None:
        told = TelemetryRecorder()
        tries = [ValueError("first"), None]

        async def slow(ctx: Any) -> str:
            await asyncio.sleep(0)
            world.clock.advance(2.5)
            error = tries.pop(0)
            if error is not None:
                raise error
            return "done"

        flow = create_flow("f").node("a", world.body(1))
        flow.node("b", slow, retry=RetryPolicy(max_attempts=2, delay=5.0)).edge("a", "b")
        await world.knows(flow).client.start_run("f", run_id=RUN)
        await world.process(telemetry=told)
        await world.finish(RUN)
        # One to start, and one for the second attempt, which is due in more than two seconds.
        assert told.total("flowcraft.jobs.received") == 2
        assert told.total("flowcraft.jobs.handled", blueprint="f", outcome="done") == 2
        assert told.total("flowcraft.jobs.handled") == 2
        assert told.total("flowcraft.commits", blueprint="f", verdict="done") == 4
        assert told.total("flowcraft.commits") == 4
        assert told.total("flowcraft.runs.finished", blueprint="f", status="completed") == 1
        duration = "flowcraft.attempt.duration"
        assert told.seconds(duration, node="a", outcome="succeeded") == [0.0]
        took = [told.seconds(duration, node="b", outcome=how) for how in ("failed", "succeeded")]
        assert took == [[pytest.approx(2.5)], [pytest.approx(2.5)]]
        assert len(told.seconds(duration, blueprint="f")) == 3
        spans = [(each.attributes["node"], each.attributes["attempt"]) for each in told.spans]
        assert spans == [("a", 1), ("b", 1), ("b", 2)]
        assert all(each.is_over and each.attributes["run"] == RUN for each in told.spans)
        outcomes = [each.attributes["outcome"] for each in told.spans]
        assert outcomes == ["succeeded", "failed", "succeeded"]

    play(story)


def test_messages_that_come_again_are_counted_as_such() -> None:
    """A message that is put off, one that cannot be read and one with trouble have outcomes."""

    async def story(world: World) -> None:
        told = TelemetryRecorder()
        runs, broken = world.ports.runs, [True]

        class Broken:
            def __getattr__(self, name: str) -> Any:
                return getattr(runs, name)

            async def read(self, run_id: str, since: int = 0) -> Any:
                if broken:
                    broken.clear()
                    raise ValueError("trouble")
                return await runs.read(run_id, since)

        flow = create_flow("f").node("a", "nobody has this")
        await world.client.start_run(flow, run_id=RUN)
        world.ports = world.storage._ports = world.ports._replace(runs=Broken())
        await world.ports.queue.send([Outgoing("what?")])
        await world.process(telemetry=told)
        # The start is watched for a lease, since it was sent on and not kept.
        await world.advance(2 * LEASE_SECONDS + 1)
        handled = "flowcraft.jobs.handled"
        assert told.total(handled, outcome="trouble", blueprint="f") == 1
        assert told.total(handled, outcome="put_off", blueprint="f") >= 1
        assert told.total(handled, outcome="unreadable", blueprint="") == 3
        assert told.total(handled, outcome="done", blueprint="f") == 1

    play(story)


def test_lost_leases_and_takeovers_are_counted() -> None:
    """Who takes over counts it, and who comes back too late counts what it lost."""

    async def story(world: World) -> None:
        late, quick = TelemetryRecorder(), TelemetryRecorder()
        end = asyncio.Event()
        first = [True]

        async def slow(ctx: Any) -> str:
            if first:
                first.clear()
                await end.wait()
            return "done"

        flow = create_flow("f").node("a", slow)
        await world.knows(flow).client.start_run("f", run_id=RUN)
        zombie = await world.process(telemetry=late)
        await world.settle()
        assert zombie.worker._poller is not None
        zombie.worker._poller.cancel()
        world.clock.advance(LEASE_SECONDS + 1)
        await world.process(telemetry=quick)
        await world.until(lambda: world.status(RUN) == "completed")
        end.set()
        await world.settle()
        assert late.total("flowcraft.leases.lost", blueprint="f") == 1
        assert late.total("flowcraft.commits", verdict="lost") == 1
        assert late.total("flowcraft.jobs.handled", outcome="left") == 1
        assert quick.total("flowcraft.leases.taken_over", blueprint="f") == 1
        assert quick.total("flowcraft.leases.lost") == 0
        assert quick.total("flowcraft.runs.finished") == 1
        assert late.total("flowcraft.runs.finished") == 0

    play(story)


def test_an_attempt_that_loses_its_lease_on_the_way_is_lost() -> None:
    """What the heartbeat stops is counted, and its span says so."""

    async def story(world: World) -> None:
        told = TelemetryRecorder()
        first = [True]

        async def hang(ctx: Any) -> str:
            if first:
                first.clear()
                await asyncio.Event().wait()
            return "done"

        flow = create_flow("f").node("a", hang)
        await world.knows(flow).client.start_run("f", run_id=RUN)
        process = await world.process(telemetry=told)
        await world.settle()
        (lease,) = world.leases(RUN).values()
        process.worker.beats()
        strand = next(each.strand for each in process.worker._strands.values())
        assert strand is not None
        strand.lose(lease.token)
        await world.settle()
        assert told.total("flowcraft.leases.lost") == 1
        assert [each.attributes["outcome"] for each in told.spans] == ["lost"]
        await world.finish(RUN)

    play(story)


def test_an_attempt_that_is_handed_back_or_stopped_says_so() -> None:
    """A worker that drains, and a run that is cancelled, end attempts with words of their own."""

    async def story(world: World) -> None:
        told, process = await hanging(world)
        (strand,) = [each.strand for each in process.worker._strands.values()]
        assert strand is not None
        strand.hand_back()
        await world.settle()
        await world.client.cancel_run(RUN)
        await world.finish(RUN)
        outcomes = [each.attributes["outcome"] for each in told.spans]
        assert outcomes == ["handed_back", "stopped"]
        assert told.total("flowcraft.runs.finished", status="cancelled") == 1

    play(story)


def test_repeated_calls_of_ports_are_counted() -> None:
    """Each time that a call is tried again is counted, with the port and the call."""

    async def story(world: World) -> None:
        told = TelemetryRecorder()
        blobs, left = world.ports.blobs, [1, 2]

        class Busy:
            def __getattr__(self, name: str) -> Any:
                return getattr(blobs, name)

            async def get(self, key: str) -> Any:
                if left:
                    left.pop()
                    raise StorageBusy("locked")
                return await blobs.get(key)

        world.ports = world.storage._ports = world.ports._replace(blobs=Busy())
        flow = create_flow("f").node("a", world.body(1))
        world.knows(flow)
        process = await world.process(telemetry=told)
        get = asyncio.ensure_future(process.worker.station.blobs.get("latest/f"))
        await world.until(get.done)
        assert told.total("flowcraft.port.retries", port="blobs", call="get") == 2
        assert told.total("flowcraft.port.retries") == 2

    play(story)


def test_resends_are_counted() -> None:
    """Messages that a look sends again are counted for their blueprint."""

    async def story(world: World) -> None:
        told = TelemetryRecorder()
        flow = create_flow("f").node("a", world.body(1))
        await world.knows(flow).client.start_run("f", run_id=RUN)
        world.ports.queue._messages.clear()  # type: ignore[attr-defined]
        await world.idle(telemetry=told, reconcile_every_seconds=60.0)
        await world.advance(400)
        assert told.total("flowcraft.reconciler.resends", blueprint="f") == 1

    play(story)


# --- telemetry that fails ------------------------------------------------------------------


class FailsAlways:
    """Raises whatever it is told."""

    def count(self, name: str, amount: int, attributes: Attributes) -> None:
        raise RuntimeError("no connection")

    def record(self, name: str, seconds: float, attributes: Attributes) -> None:
        raise RuntimeError("no connection")

    def span(self, name: str, attributes: Attributes) -> AbstractContextManager[Span]:
        raise RuntimeError("no connection")


class BrokenSpan:
    """A span that raises when it is spoken to, and when it ends."""

    def set_attribute(self, key: str, value: str | int, /) -> None:
        raise RuntimeError("no connection")


class FailsAtTheEnd(TelemetryRecorder):
    """Its spans raise once they have begun."""

    @contextmanager
    def span(self, name: str, attributes: Attributes) -> Any:
        yield BrokenSpan()
        raise RuntimeError("no connection")


class Swallows(TelemetryRecorder):
    """Its spans keep errors from going on."""

    @contextmanager
    def span(self, name: str, attributes: Attributes) -> Any:
        try:
            yield BrokenSpan()
        except BaseException:
            return


@pytest.mark.parametrize("telemetry", [FailsAlways(), FailsAtTheEnd(), Swallows()])
def test_a_telemetry_that_fails_breaks_nothing(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    """Runs end as they do without it, and each kind of failure is logged once."""

    async def story(world: World) -> None:
        async def fails(ctx: Any) -> None:
            raise ValueError("as planned")

        flow = create_flow("f").node("a", world.body(1)).node("b", fails).edge("a", "b")
        for number in range(3):
            await world.knows(flow).client.start_run(flow, run_id=f"{RUN}{number}")
        await world.process(telemetry=telemetry)
        for number in range(3):
            run = await world.finish(f"{RUN}{number}")
            assert (run.status, run.errors[0].message) == ("failed", "as planned")
        assert all(count == 1 for count in world.bodies.values())

    with caplog.at_level(logging.ERROR):
        play(story)
    texts = [each.getMessage() for each in caplog.records if "telemetry" in each.getMessage()]
    assert len(texts) == len(set(texts))
    assert any("flowcraft.attempt'" in text for text in texts)


def test_an_attempt_that_is_broken_off_ends_its_span() -> None:
    """A process that is killed in the middle of an attempt leaves no span open."""

    async def story(world: World) -> None:
        told, process = await hanging(world)
        await process.kill()
        (span,) = told.spans
        assert span.is_over
        assert span.attributes["outcome"] == "broken_off"
        assert isinstance(span.error, asyncio.CancelledError)

    play(story)


def test_a_node_runs_inside_its_span() -> None:
    """What a node does belongs to the span: context variables that it sets are seen."""

    async def story(world: World) -> None:
        told = TelemetryRecorder()
        seen: list[int] = []

        async def look(ctx: Any) -> None:
            seen.append(sum(not each.is_over for each in told.spans))

        flow = create_flow("f").node("a", look)
        await world.knows(flow).client.start_run("f", run_id=RUN)
        await world.process(telemetry=told)
        await world.finish(RUN)
        assert seen == [1]

    play(story)


# --- what comes late, stands still or is in many parts -----------------------------------------


def test_the_age_of_messages_is_timed() -> None:
    """From when a message was to be worked on to when that begins: a delay is none of its age."""

    async def story(world: World) -> None:
        told = TelemetryRecorder()
        tries = [ValueError("first"), None]

        async def shaky(ctx: Any) -> None:
            error = tries.pop(0)
            if error is not None:
                raise error

        flow = create_flow("f").node("a", shaky, retry=RetryPolicy(max_attempts=2, delay=5.0))
        world.knows(flow)
        async with FlowClient(
            world.storage.open_ports,
            world.runtime.options,
            clock=world.clock,
            identifiers=SystemIdentifiers(),
            telemetry=told,
        ) as client:
            await client.start_run("f", run_id=RUN)
        world.clock.advance(7.0)
        await world.process(telemetry=told)
        await world.finish(RUN)
        assert told.seconds("flowcraft.jobs.queue_age", blueprint="f") == [7.0, 0.0]
        assert told.total("flowcraft.jobs.in_flight") == 0
        begun = [each.value for each in told.counts if each.name == "flowcraft.jobs.in_flight"]
        assert begun == [1, -1, 1, -1]

    play(story)


def test_failures_are_counted_by_type() -> None:
    """Each failed attempt by its error, and each node that failed for good."""

    async def story(world: World) -> None:
        told = TelemetryRecorder()
        errors = [ValueError("first"), KeyError("second")]

        async def fails(ctx: Any) -> None:
            raise errors.pop(0)

        flow = create_flow("f").node("a", fails, retry=RetryPolicy(max_attempts=2, delay=0.0))
        await world.knows(flow).client.start_run("f", run_id=RUN)
        await world.process(telemetry=told)
        await world.finish(RUN)
        attempts, nodes = "flowcraft.attempt.failures", "flowcraft.node.failures"
        assert told.total(attempts, blueprint="f", node="a", error="ValueError") == 1
        assert told.total(attempts, blueprint="f", node="a", error="KeyError") == 1
        assert told.total(nodes, blueprint="f", node="a", error="KeyError") == 1
        assert (told.total(attempts), told.total(nodes)) == (2, 1)
        assert len(told.seconds("flowcraft.node.duration", node="a", status="failed")) == 1
        assert len(told.seconds("flowcraft.runs.duration", status="failed")) == 1

    play(story)


def test_lost_workers_are_failures_of_attempts() -> None:
    """Who takes over counts the attempt as failed by the loss of its worker."""

    async def story(world: World) -> None:
        told, process = await hanging(world)
        await process.kill()
        await world.process(telemetry=told)
        await world.advance(LEASE_SECONDS + 1)
        assert told.total("flowcraft.attempt.failures", node="a", error="WorkerLost") == 1
        assert told.total("flowcraft.node.failures") == 0

    play(story)


@pytest.mark.parametrize("shard_items", [2, 500])
def test_the_progress_of_a_batch_is_counted(shard_items: int) -> None:
    """Items that are handed out and settled, each once, in however many records they are."""

    async def story(world: World) -> None:
        told = TelemetryRecorder()
        world.shard_items = shard_items

        async def odd(ctx: Any) -> None:
            if ctx.input % 2 == 0:
                raise ValueError("even")

        flow = create_flow("f").node("items", world.body([1, 2, 3, 4, 5]))
        flow.batch("many", odd).edge("items", "many")
        await world.knows(flow).client.start_run("f", run_id=RUN)
        await world.process(telemetry=told)
        await world.finish(RUN)
        about = {"blueprint": "f", "node": "many_scatter"}
        assert told.total("flowcraft.batch.items.started", **about) == 5
        settled = "flowcraft.batch.items.settled"
        assert told.total(settled, **about, outcome="succeeded") == 3
        assert told.total(settled, **about, outcome="failed") == 2
        assert told.total(settled) == 5

    play(story)


def test_each_look_for_stuck_runs_tells_what_it_found() -> None:
    """Also that it found none: an alarm sees that somebody looks."""

    async def story(world: World) -> None:
        told = TelemetryRecorder()
        flow = create_flow("f").node("a", world.body(1))
        await world.knows(flow).client.start_run("f", run_id=RUN)
        world.ports.queue._messages.clear()  # type: ignore[attr-defined]
        await world.idle(telemetry=told, reconcile_every_seconds=60.0)
        await world.advance(400)
        found = [each.value for each in told.counts if each.name == "flowcraft.runs.stalled"]
        assert len(found) > 2
        assert sum(found) == 1

    play(story)
