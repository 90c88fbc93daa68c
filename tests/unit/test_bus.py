"""Events: which, when, in which order, and what listeners can and cannot do (rule S16)."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from flowcraft import FlowEvent, FlowRuntime, NodeResult, RetryPolicy, create_flow
from flowcraft.testing import TestEnvironment, VirtualClock
from tests.unit.runs import Ctx, Events, drive, echo, one, run, turns


def listened(*listeners: Any) -> FlowRuntime:
    return FlowRuntime(listeners=listeners)


async def flaky(ctx: Ctx) -> int:
    if ctx.attempt == 1:
        raise ValueError("once")
    return 2


async def raises(ctx: Ctx) -> None:
    raise ValueError("always")


def test_a_chain_is_told_in_order() -> None:
    """Start and finish of the run and of each node come once, in the order they happened."""
    events = Events()
    run(create_flow("f").node("a", one).node("b", echo).edge("a", "b"), runtime=listened(events))
    assert events.names(
        kinds=["workflow:start", "node:start", "node:finish", "workflow:finish"]
    ) == [
        "workflow:start",
        "node:start a",
        "node:finish a",
        "node:start b",
        "node:finish b",
        "workflow:finish",
    ]


def test_events_say_where_they_belong() -> None:
    """Every event has type, time, run and blueprint; those of nodes have node and attempt."""
    events = Events()
    clock = VirtualClock(1_000.0, autojump=True)
    runtime = listened(events)
    clock.attach(runtime)
    flow = create_flow("f").node("a", flaky, retry=RetryPolicy(2, delay=10, jitter=False))

    async def main() -> None:
        await flow.run(runtime, run_id="r")

    drive(main())
    assert {(event.run_id, event.blueprint_id) for event in events} == {("r", "f")}
    times = [(e.type, e.timestamp, e.attempt) for e in events if e.node_id == "a"]
    assert times == [
        ("node:start", 1_000.0, 1),
        ("node:retry", 1_000.0, 2),
        ("node:start", 1_010.0, 2),
        ("node:finish", 1_010.0, 2),
    ]


def test_each_outcome_of_an_attempt_is_told_once() -> None:
    """Success, retry, failure, fallback, skip: one event each, and none twice."""
    events = Events()
    retry = RetryPolicy(2, delay=0)
    flow = create_flow("f").node("ok", flaky, retry=retry).node("bad", raises, retry=retry)
    flow.node("after", one).edge("bad", "after").node("no", one)
    flow.edge("ok", "no", condition="result.output > 5")
    flow.node("saved", raises, fallback="stand-in").node("stand-in", one)
    run(flow, runtime=listened(events))
    counted = Counter(events.names("ok", "bad", "after", "no", "saved", "stand-in"))
    assert {name: n for name, n in counted.items() if not name.startswith("edge")} == {
        "node:start ok": 2,
        "node:retry ok": 1,
        "node:finish ok": 1,
        "node:start bad": 2,
        "node:retry bad": 1,
        "node:error bad": 1,
        "node:skipped after": 1,
        "node:skipped no": 1,
        "node:start saved": 1,
        "node:error saved": 1,
        "node:fallback saved": 1,
        "context:change saved": 1,
        "node:start stand-in": 1,
        "node:finish stand-in": 1,
    }


def test_payloads_tell_what_happened() -> None:
    """Inputs, outputs, actions, errors and context changes are in the payloads."""
    events = Events()

    async def acts(ctx: Ctx) -> NodeResult[int]:
        await ctx.context.set("key", [1])
        return NodeResult(7, "go")

    flow = create_flow("f").node("a", acts, inputs="given").node("bad", raises)
    run(flow.edge("a", "bad", action="go"), {"given": {"x": 1}}, runtime=listened(events))
    (finish,) = (event for event in events.of("node:finish"))
    (change,) = events.of("context:change")
    (error,) = events.of("node:error")
    assert events.of("node:start")[0].payload["input"] == {"x": 1}
    assert (finish.payload["output"], finish.payload["action"]) == (7, "go")
    assert (change.payload["op"], change.payload["name"]) == ("set", "key")
    assert (error.payload["type"], error.payload["message"]) == ("ValueError", "always")
    assert events.of("workflow:finish")[0].payload["status"] == "failed"


def test_events_of_children_have_their_own_run() -> None:
    """A subflow's events have the child's run and blueprint, between start and end of its node."""
    events = Events()
    flow = create_flow("f").subflow("s", create_flow("child").node("c", one))
    run(flow, runtime=listened(events), run_id="r")
    names = [(event.blueprint_id, event.type, event.node_id) for event in events]
    inner = [names.index(entry) for entry in names if entry[0] == "child"]
    assert inner
    assert names.index(("f", "node:start", "s")) < min(inner)
    assert max(inner) < names.index(("f", "node:finish", "s"))
    assert {event.run_id == "r" for event in events if event.blueprint_id == "child"} == {False}


def test_iterations_are_told() -> None:
    """In a loop each event says which iteration it is about."""
    events = Events()

    async def count(ctx: Ctx) -> None:
        await ctx.context.add("n", 1)

    flow = create_flow("f").node("count", count).loop("l", "n < 3", start="count", end="count")
    flow.node("begin", one).edge("begin", "l")
    run(flow, {"n": 0}, runtime=listened(events))
    starts = [event.iteration for event in events.of("node:start") if event.node_id == "count"]
    assert len(starts) == len(set(starts)) == 3


def test_listeners_cannot_change_the_run() -> None:
    """Payloads are copies: whatever a listener does to them, the run is as it was."""

    def spoil(event: FlowEvent) -> None:
        for value in event.payload.values():
            if isinstance(value, dict | list):
                value.clear()

    async def makes(ctx: Ctx) -> Any:
        await ctx.context.set("key", [1])
        return {"a": [1]}

    flow = create_flow("f").node("a", makes).node("b", echo).edge("a", "b")
    flow.batch("many", echo, inputs="list").node("c", lambda ctx: ctx.context.get("key"), uses="c")
    flow.edge("b", "c")
    result = run(flow, {"list": [[1], [2]]}, runtime=listened(spoil))
    assert (result.outputs["b"], result.outputs["c"]) == ({"a": [1]}, [1])
    assert result.outputs["many_gather"] == [[1], [2]]
    assert result.context["list"] == [[1], [2]]


def test_a_listener_that_raises_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Listeners that raise, plain or async, are logged; the run and other listeners go on."""
    events = Events()

    def bad(event: FlowEvent) -> None:
        raise RuntimeError("plain listener")

    async def bad_later(event: FlowEvent) -> None:
        raise RuntimeError("async listener")

    result = run(create_flow("f").node("a", one), runtime=listened(bad, bad_later, events))
    assert result.status == "completed"
    assert events.names() == ["workflow:start", "node:start a", "node:finish a", "workflow:finish"]
    assert "plain listener" in caplog.text
    assert "async listener" in caplog.text


def test_a_listener_that_is_cancelled_disturbs_nobody() -> None:
    """A listener that raises CancelledError, plain or async, does not cancel the run."""

    def bad(event: FlowEvent) -> None:
        raise asyncio.CancelledError

    async def bad_later(event: FlowEvent) -> None:
        raise asyncio.CancelledError

    result = run(create_flow("f").node("a", one), runtime=listened(bad, bad_later))
    assert result.status == "completed"


def test_listeners_need_not_be_hashable() -> None:
    """An object that cannot be hashed is a listener like others."""

    @dataclass
    class Counts:
        told: int = 0

        async def __call__(self, event: FlowEvent) -> None:
            self.told += 1

    counts = Counts()
    run(create_flow("f").node("a", one), runtime=listened(counts))
    assert counts.told == 4


def test_async_listeners_are_told_one_after_the_other_and_waited_for() -> None:
    """An async listener never runs twice at once, keeps the order, and is through at the end."""
    log: list[str] = []
    inside = 0

    async def slow(event: FlowEvent) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        await turns(7 if event.type == "node:start" else 1)
        log.append(event.type)
        inside -= 1

    run(create_flow("f").node("a", one), runtime=listened(slow))
    assert log == ["workflow:start", "node:start", "node:finish", "workflow:finish"]


def test_a_listener_may_start_another_run() -> None:
    """An async listener that runs a flow on the same runtime does not wait for itself."""
    follow_up = create_flow("g").node("b", one)
    runtime, ended = FlowRuntime(), list[str]()

    async def listen(event: FlowEvent) -> None:
        if event.type == "workflow:finish" and event.blueprint_id == "f":
            result = await follow_up.run(runtime)
            ended.append(str(result.status))

    runtime.subscribe(listen)
    assert run(create_flow("f").node("a", one), runtime=runtime).status == "completed"
    assert ended == ["completed"]


def test_subscriptions_can_be_limited_and_ended() -> None:
    """A listener may ask for some types only, and unsubscribe, also while it is told."""
    runtime, some, first = FlowRuntime(), Events(), Events()
    runtime.subscribe(some, ["node:start"])

    def once(event: FlowEvent) -> None:
        first(event)
        stop()

    stop = runtime.subscribe(once)
    flow = create_flow("f").node("a", one)
    run(flow, runtime=runtime)
    run(flow, runtime=runtime)
    assert some.names() == ["node:start a", "node:start a"]
    assert first.names() == ["workflow:start"]
    stop()


def test_waits_and_timers_are_told_when_they_begin_and_end() -> None:
    """A wait and a sleep tell that they wait and since when, and that they ended, once."""

    async def main() -> tuple[Any, ...]:
        flow = create_flow("f").wait("w").sleep("s", "10s")
        async with TestEnvironment(flow) as env:
            await env.start(flow)
            await env.answer("w", 1, "yes")
            await env.advance("10s")
            return env.events

    events = Events(drive(main()))
    for node_id, reason in (("w", "external_event"), ("s", "timer")):
        assert events.names(node_id) == [
            f"node:start {node_id}",
            f"node:awaiting {node_id}",
            f"node:finish {node_id}",
        ]
        (waits,) = (e for e in events.of("node:awaiting") if e.node_id == node_id)
        assert waits.payload["reason"] == reason


def test_batches_tell_their_start_their_items_and_their_end() -> None:
    """A batch tells how many items it has and how it ended; each item has start and finish."""
    events = Events()
    flow = create_flow("f").batch("b", echo, inputs="list", uses="work")
    run(flow, {"list": ["x", "y"]}, runtime=listened(events))
    (start,), (finish,) = events.of("batch:start"), events.of("batch:finish")
    assert (start.payload["items"], finish.payload["failed"]) == (2, 0)
    items = [event for event in events if "item" in event.payload]
    assert Counter((e.type, e.payload["item"], e.payload["name"]) for e in items) == {
        ("node:start", 0, "work[0]"): 1,
        ("node:start", 1, "work[1]"): 1,
        ("node:finish", 0, "work[0]"): 1,
        ("node:finish", 1, "work[1]"): 1,
    }


def test_a_condition_that_cannot_be_evaluated_is_told() -> None:
    """A broken condition is false, and an event says why."""
    events = Events()
    flow = create_flow("f").node("a", one).node("b", one)
    flow.edge("a", "b", condition="result.output.missing.more > 1 +")
    result = run(flow, runtime=listened(events))
    assert "b" not in result.outputs
    told = [event.payload for event in events.of("edge:evaluate")]
    assert any(payload.get("error") for payload in told)


def test_an_evaluator_that_breaks_is_told_and_takes_no_run_down() -> None:
    """An evaluator of one's own that raises anything makes the condition false."""

    class Broken:
        def evaluate(self, *arguments: Any) -> Any:
            raise RuntimeError("boom")

    events = Events()
    flow = create_flow("f").node("a", one).node("b", one).edge("a", "b", condition="x")
    runtime = FlowRuntime(evaluator=Broken(), listeners=[events])
    result = run(flow, runtime=runtime)
    assert (result.status, "b" in result.outputs) == ("completed", False)
    assert "boom" in str([event.payload for event in events.of("edge:evaluate")])


def test_a_run_that_is_dropped_tells_nothing_more() -> None:
    """After its caller dropped a run, no event of it comes any more."""
    events = Events()

    async def main() -> None:
        async def waits(ctx: Ctx) -> None:
            await asyncio.Event().wait()

        work = asyncio.ensure_future(create_flow("f").node("a", waits).run(listened(events)))
        await turns()
        work.cancel()
        await asyncio.wait([work])

    drive(main())
    assert events.names() == ["workflow:start", "node:start a"]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_listener_that_raises_no_exception_but_worse_disturbs_no_run(
    is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that is no ``Exception`` is logged like any other, unless it ends the process."""

    class Unusual(BaseException):
        pass

    def listener(_event: Any) -> None:
        raise Unusual

    async def async_listener(_event: Any) -> None:
        raise Unusual

    async def node(_ctx: Any) -> int:
        return 1

    runtime = FlowRuntime(listeners=[async_listener if is_async else listener])
    assert runtime.run_sync(create_flow("f").node("n", node)).status == "completed"
    assert "event listener raised" in caplog.text
