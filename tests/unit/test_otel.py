"""Runs as traces of OpenTelemetry: one tree each, whatever happens on the way."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from flowcraft import RetryPolicy, create_flow
from flowcraft.adapters.system import SystemIdentifiers
from flowcraft.core import events as ev
from flowcraft.engine.client import FlowClient
from flowcraft.engine.facts import event_data, read_event
from flowcraft.engine.tracing import span_id_of, trace_id_of
from flowcraft.otel import OpenTelemetryTelemetry
from flowcraft.ports.telemetry import SpanAddress, SpanStart
from tests.unit.durable import LEASE_SECONDS, World, play
from tests.unit.traces import Exported, Told, tree

RUN = "run"


def client_of(world: World, exported: Exported) -> FlowClient:
    """A client that traces."""
    return FlowClient(
        world.storage.open_ports,
        world.runtime.options,
        clock=world.clock,
        identifiers=SystemIdentifiers(),
        telemetry=exported.telemetry,
    )


def named(spans: list[Told], name: str) -> list[Told]:
    """The spans of a name."""
    return [each for each in spans if each.name == name]


def test_a_run_is_one_tree() -> None:
    """Run, nodes and attempts are told once each, and each attempt links to the one before it."""

    async def story(world: World) -> None:
        exported = Exported()
        tries = [ValueError("first"), None]

        async def shaky(ctx: Any) -> str:
            error = tries.pop(0)
            if error is not None:
                raise error
            return "done"

        flow = create_flow("f").node("a", world.body(1))
        flow.node("b", shaky, retry=RetryPolicy(max_attempts=2, delay=5.0)).edge("a", "b")
        await world.knows(flow).client.start_run("f", run_id=RUN)
        await world.process(telemetry=exported.telemetry)
        await world.finish(RUN)
        spans = exported.spans()
        assert tree(spans) == [
            "run f completed",
            "  node a succeeded",
            "    attempt a #1 succeeded",
            "  node b succeeded",
            "    attempt b #1 failed",
            "    attempt b #2 succeeded",
        ]
        first, second = named(spans, "attempt b")
        (of_a,) = named(spans, "attempt a")
        assert first.links == (("cause", of_a.trace_id, of_a.span_id),)
        assert second.links == (("retry", first.trace_id, first.span_id),)
        assert (first.status, second.status) == ("ERROR", "UNSET")
        assert first.attributes["error.type"] == "ValueError"
        assert first.trace_id == (await world.client.get_run(RUN)).trace_id

    play(story)


def test_ids_follow_from_the_run() -> None:
    """The same run gives the same ids in every process, and another start of it gives others."""
    assert trace_id_of("epoch") == trace_id_of("epoch") != trace_id_of("another")
    ids = {span_id_of(epoch, run, what) for epoch in "ab" for run in "cd" for what in "ef"}
    assert len(ids) == 8
    assert all(0 < each < 2**64 for each in ids)
    assert 0 < trace_id_of("epoch") < 2**128


def test_a_start_without_a_caller_is_stored_as_before() -> None:
    """Who does not trace stores no byte more, and the fact of who does is read by everybody."""
    plain = ev.RunStarted("run", {})
    traced = plain._replace(caller=SpanAddress(1, 2).traceparent)
    assert event_data(traced) == [*event_data(plain), traced.caller]
    assert read_event(event_data(plain)) == plain
    assert read_event(event_data(traced)) == traced


def test_a_trace_survives_the_death_of_a_worker() -> None:
    """Who takes over tells of the attempt that was lost, so that the tree is whole."""

    async def story(world: World) -> None:
        one, other = Exported(), Exported()
        first = [True]

        async def hang(ctx: Any) -> str:
            if first:
                first.clear()
                await asyncio.Event().wait()
            return "done"

        flow = create_flow("f").node("a", world.body(1)).node("b", hang).edge("a", "b")
        await world.knows(flow).client.start_run("f", run_id=RUN)
        process = await world.process(telemetry=one.telemetry)
        await world.settle()
        await process.kill()
        await world.process(telemetry=other.telemetry)
        await world.finish(RUN)
        assert [each.name for each in one.spans()] == ["attempt a", "node a"]
        spans = one.spans() + other.spans()
        assert tree(spans) == [
            "run f completed",
            "  node a succeeded",
            "    attempt a #1 succeeded",
            "  node b succeeded",
            "    attempt b #1 lost",
            "    attempt b #2 succeeded",
        ]
        lost, again = named(spans, "attempt b")
        assert again.links == (("retry", lost.trace_id, lost.span_id),)

    play(story)


def test_a_late_worker_tells_of_nothing() -> None:
    """An attempt whose lease was lost is told once: by whoever took over."""

    async def story(world: World) -> None:
        late, quick = Exported(), Exported()
        end = asyncio.Event()
        first = [True]

        async def slow(ctx: Any) -> str:
            if first:
                first.clear()
                await end.wait()
            return "done"

        flow = create_flow("f").node("a", slow)
        await world.knows(flow).client.start_run("f", run_id=RUN)
        zombie = await world.process(telemetry=late.telemetry)
        await world.settle()
        assert zombie.worker._poller is not None
        zombie.worker._poller.cancel()
        world.clock.advance(LEASE_SECONDS + 1)
        await world.process(telemetry=quick.telemetry)
        await world.until(lambda: world.status(RUN) == "completed")
        end.set()
        await world.settle()
        assert late.spans() == []
        assert tree(quick.spans()) == [
            "run f completed",
            "  node a succeeded",
            "    attempt a #1 lost",
            "    attempt a #2 succeeded",
        ]

    play(story)


def test_an_attempt_that_is_handed_back_is_told_once() -> None:
    """It begins anew under the same number, and only what came to an end is told."""

    async def story(world: World) -> None:
        exported = Exported()
        first = [True]

        async def hang(ctx: Any) -> str:
            if first:
                first.clear()
                await asyncio.Event().wait()
            return "done"

        await world.knows(create_flow("f").node("a", hang)).client.start_run("f", run_id=RUN)
        process = await world.process(telemetry=exported.telemetry)
        await world.settle()
        (strand,) = [each.strand for each in process.worker._strands.values()]
        assert strand is not None
        strand.hand_back()
        await world.finish(RUN)
        assert tree(exported.spans()) == [
            "run f completed",
            "  node a succeeded",
            "    attempt a #1 succeeded",
        ]

    play(story)


def test_child_runs_and_shards_are_in_the_trace() -> None:
    """A subflow, and a batch in several records, are part of the tree that two workers tell."""

    async def story(world: World) -> None:
        one, other = Exported(), Exported()
        world.shard_items = 2
        child = create_flow("child").node("leaf", world.body(1))
        flow = create_flow("f").subflow("sub", "child", outputs={})
        flow.batch("many", world.body(2), inputs="items", output_key="found")
        world.knows(child, flow)
        await world.client.start_run("f", {"items": [1, 2, 3]}, run_id=RUN)
        await world.process(telemetry=one.telemetry, concurrency=1)
        await world.process(telemetry=other.telemetry, concurrency=1)
        await world.finish(RUN)
        assert one.spans()
        assert other.spans()
        lines = tree(one.spans() + other.spans())
        assert [line.strip() for line in lines if "attempt" in line] == [
            "attempt many_scatter [0] #1 succeeded",
            "attempt many_scatter [1] #1 succeeded",
            "attempt many_scatter [2] #1 succeeded",
            "attempt leaf #1 succeeded",
        ]
        below = lines.index("  node sub succeeded")
        assert lines[below + 1] == "    run child completed"

    play(story)


def test_a_retried_subflow_links_its_runs() -> None:
    """The child of the second attempt links to the child of the first."""

    async def story(world: World) -> None:
        exported = Exported()
        tries = [ValueError("first"), None]

        async def shaky(ctx: Any) -> str:
            error = tries.pop(0)
            if error is not None:
                raise error
            return "done"

        child = create_flow("child").node("leaf", shaky)
        flow = create_flow("f").subflow("sub", "child", retry=RetryPolicy(max_attempts=2, delay=5))
        world.knows(child, flow)
        await world.client.start_run("f", run_id=RUN)
        await world.process(telemetry=exported.telemetry)
        await world.finish(RUN)
        spans = exported.spans()
        assert len(tree(spans)) == 8
        first, second = named(spans, "run child")
        assert second.links == (("retry", first.trace_id, first.span_id),)
        assert first.links == ()

    play(story)


def test_a_node_that_is_retried_on_request_is_told_again() -> None:
    """Another round of a node that had failed is another span, and its attempts are in it."""

    async def story(world: World) -> None:
        exported = Exported()
        tries = [ValueError("first"), None]

        async def shaky(ctx: Any) -> str:
            error = tries.pop(0)
            if error is not None:
                raise error
            return "done"

        flow = create_flow("f").node("a", shaky).wait("w")
        await world.knows(flow).client.start_run("f", run_id=RUN)
        await world.process(telemetry=exported.telemetry)
        await world.settle()
        await world.client.retry_failed(RUN)
        await world.settle()
        await world.client.resume_with_action(RUN)
        await world.finish(RUN)
        assert tree(exported.spans()) == [
            "run f completed",
            "  node a failed",
            "    attempt a #1 failed",
            "  node a succeeded",
            "    attempt a #2 succeeded",
            "  node w succeeded",
        ]

    play(story)


def test_a_run_links_to_the_span_that_started_it() -> None:
    """The caller's span is a link of the run, which stays a trace of its own."""

    async def story(world: World) -> None:
        exported = Exported()
        flow = create_flow("f").node("a", world.body(1))
        world.knows(flow)
        tracer = exported.provider.get_tracer("caller")
        async with client_of(world, exported) as client:
            with tracer.start_as_current_span("request"):
                await client.start_run("f", run_id=RUN)
            await client.start_run("f", run_id="alone")
        await world.process(telemetry=exported.telemetry)
        await world.finish(RUN)
        await world.finish("alone")
        spans = exported.spans()
        (request,) = named(spans, "request")
        run, alone = sorted(named(spans, "run f"), key=lambda each: len(each.links), reverse=True)
        assert run.links == (("caller", request.trace_id, request.span_id),)
        assert run.parent_id is None
        assert run.trace_id not in (request.trace_id, alone.trace_id)
        assert alone.links == ()

    play(story)


def test_what_a_node_does_is_inside_its_attempt() -> None:
    """The attempt is the current span of an async node, and of a plain function in its thread."""

    async def story(world: World) -> None:
        exported = Exported()
        tracer = exported.provider.get_tracer("user")

        async def asks(ctx: Any) -> None:
            with tracer.start_as_current_span("inside a"):
                await asyncio.sleep(0)

        def blocks(ctx: Any) -> None:
            with tracer.start_as_current_span("inside b"):
                pass

        flow = create_flow("f").node("a", asks).node("b", blocks).edge("a", "b")
        await world.knows(flow).client.start_run("f", run_id=RUN)
        await world.process(telemetry=exported.telemetry)
        deadline = asyncio.get_running_loop().time() + 10
        while world.status(RUN) != "completed":  # a thread takes real time
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.001)
        assert tree(exported.spans()) == [
            "run f completed",
            "  node a succeeded",
            "    attempt a #1 succeeded",
            "      inside a",
            "  node b succeeded",
            "    attempt b #1 succeeded",
            "      inside b",
        ]
        assert not trace.get_current_span().get_span_context().is_valid

    play(story)


def test_what_is_not_sampled_is_told_by_nobody() -> None:
    """The first process decides whether a trace is kept, and the messages say so to the others."""

    async def story(world: World) -> None:
        never, always = Exported(ALWAYS_OFF), Exported()
        world.knows(create_flow("f").node("a", world.body(1)))
        async with client_of(world, never) as client:
            await client.start_run("f", run_id=RUN)
        (message,) = world.ports.queue._messages.values()  # type: ignore[attr-defined]
        assert message.trace.endswith("-00")
        await world.process(telemetry=always.telemetry)
        await world.finish(RUN)
        assert always.spans() == never.spans() == []

    play(story)


def test_with_a_codec_errors_are_told_by_type_alone() -> None:
    """What a node says of its failure is payload, which a trace must not show."""

    class Reversed:
        def encode(self, text: str) -> str:
            return text[::-1]

        def decode(self, text: str) -> str:
            return text[::-1]

    async def story(world: World) -> None:
        world.codec = Reversed()
        exported = Exported()

        async def fails(ctx: Any) -> None:
            raise ValueError("the secret")

        await world.knows(create_flow("f").node("a", fails)).client.start_run("f", run_id=RUN)
        await world.process(telemetry=exported.telemetry)
        await world.finish(RUN)
        raw = exported.raw()
        assert len(raw) == 3
        assert "secret" not in "".join(each.to_json() for each in raw)
        assert all(each.status.description == "ValueError" for each in raw)

    play(story)


def test_a_tracer_without_ids_of_ours_keeps_the_trace() -> None:
    """Where ids cannot be chosen the spans of a run are in one trace, without the tree."""

    class Plain:
        """A tracer of another make."""

        def __init__(self, tracer: Any) -> None:
            self._tracer = tracer

        def start_span(self, *arguments: Any, **options: Any) -> Any:
            return self._tracer.start_span(*arguments, **options)

    class Provider:
        def __init__(self, provider: Any) -> None:
            self._provider = provider

        def get_tracer(self, name: str) -> Any:
            return Plain(self._provider.get_tracer("plain"))

    async def story(world: World) -> None:
        exported = Exported()
        telemetry = OpenTelemetryTelemetry(tracer_provider=Provider(exported.provider))
        flow = create_flow("f").node("a", world.body(1))
        await world.knows(flow).client.start_run("f", run_id=RUN)
        await world.process(telemetry=telemetry)
        await world.finish(RUN)
        record = world.record(RUN)
        assert record is not None
        spans = exported.spans()
        assert {each.name for each in spans} == {"run f", "node a", "attempt a"}
        assert {each.trace_id for each in spans} == {f"{trace_id_of(record.head.epoch):032x}"}

    play(story)


def test_a_provider_that_is_set_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans go nowhere until the application has set a provider, and to that one from then on."""
    exported = Exported()
    telemetry = OpenTelemetryTelemetry()
    start = SpanStart("run f", SpanAddress(1, 2), None, {})
    telemetry.open_span(start).end({}, None, 1.0)
    assert telemetry.samples(start)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: exported.provider)
    telemetry.open_span(start).end({"x": 1}, ("ValueError", "no"), 1.0)
    (span,) = exported.spans()
    assert (span.trace_id, span.span_id) == (f"{1:032x}", f"{2:016x}")
    assert (span.attributes["x"], span.status) == (1, "ERROR")


class Fails(Exported):
    """A telemetry whose spans fail, one way or another."""

    def __init__(self, where: str) -> None:
        super().__init__()

        def fail(*_: Any) -> Any:
            raise RuntimeError("no connection")

        if where in ("open_span", "caller", "samples", "count", "record", "flush"):
            setattr(self.telemetry, where, fail)
            return
        begin = self.telemetry.open_span

        def broken(start: SpanStart) -> Any:
            span = begin(start)
            setattr(span, where, fail)
            return span

        self.telemetry.open_span = broken  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "where", ["open_span", "caller", "samples", "count", "record", "flush", "current", "end"]
)
def test_a_telemetry_that_fails_fails_alone(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it raises is logged, and runs end as they do without it."""

    async def story(world: World) -> None:
        failing = Fails(where)

        async def fails(ctx: Any) -> None:
            raise ValueError("as planned")

        flow = create_flow("f").node("a", world.body(1)).node("b", fails).edge("a", "b")
        world.knows(flow)
        async with client_of(world, failing) as client:
            await client.start_run(flow, run_id=RUN)
        process = await world.process(telemetry=failing.telemetry)
        run = await world.finish(RUN)
        assert (run.status, run.errors[0].message) == ("failed", "as planned")
        await process.worker.station.flush()

    with caplog.at_level(logging.ERROR):
        play(story)
    texts = [each.getMessage() for each in caplog.records if "telemetry" in each.getMessage()]
    assert texts
    assert max(Counter(texts).values()) <= 2, "once by the client, once by the worker"


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (f"00-{1:032x}-{2:016x}-01", True),
        (f"00-{1:032x}-{2:016x}-00", True),
        (f"01-{1:032x}-{2:016x}-01-more", True),
        (f"00-{1:032x}-{2:016x}-01-more", False),
        (f"ff-{1:032x}-{2:016x}-01", False),
        (f"00-{0:032x}-{2:016x}-01", False),
        (f"00-{1:032x}-{0:016x}-01", False),
        (f"00-{1:032X}-{2:016x}-1", False),
        ("", False),
        (None, False),
        (7, False),
    ],
)
def test_a_traceparent_is_read_as_it_is_specified(text: Any, is_one: bool) -> None:
    """What is none of W3C Trace Context names no span, and what is one is written the same."""
    found = SpanAddress.read(text)
    assert (found is not None) == is_one
    if found is not None and text.startswith("00"):
        assert found.traceparent == text
