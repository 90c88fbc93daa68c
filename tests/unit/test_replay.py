"""Rebuilding runs from their recorded events, and executing them anew from a node on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flowcraft import FlowcraftError, FlowRuntime, NodeResult, RetryPolicy, RunResult, create_flow
from flowcraft.core.builder import FlowBuilder
from flowcraft.engine.context import CancelToken
from flowcraft.testing import TestEnvironment, VirtualClock
from tests.unit.runs import Ctx, Events, drive, echo, one, run, turns

TWICE = RetryPolicy(2, delay=0)
CALLS: list[str] = []


async def noted(ctx: Ctx) -> Any:
    """Notes that it was called, adds to a count, and gives its input."""
    CALLS.append(ctx.node_id)
    await ctx.context.add("count", 1)
    return ctx.input


async def flaky(ctx: Ctx) -> int:
    CALLS.append(ctx.node_id)
    if ctx.attempt == 1:
        raise ValueError("once")
    return 2


async def fails(ctx: Ctx) -> None:
    CALLS.append(ctx.node_id)
    await ctx.context.set("lost", 1)
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise ValueError("always") from error


async def odd(ctx: Ctx) -> Any:
    CALLS.append(ctx.node_id)
    if ctx.input % 2 and ctx.attempt == 1:
        raise ValueError(f"item {ctx.input}")
    return ctx.input


async def adds(ctx: Ctx) -> NodeResult[Any]:
    CALLS.append(ctx.node_id)
    nodes = [{"id": f"extra{n}", "uses": "noted", "inputs": "list"} for n in range(2)]
    return NodeResult({"gatherNodeId": "end"}, dynamic_nodes=nodes)


async def acts(ctx: Ctx) -> NodeResult[int]:
    CALLS.append(ctx.node_id)
    return NodeResult(3, "go")


def looping() -> FlowBuilder:
    flow = create_flow("f").node("n", noted).node("m", odd, inputs="count", retry=TWICE)
    flow.edge("n", "m").loop("l", "count < 6", start="n", end="m").node("begin", noted)
    return flow.edge("begin", "l").node("end", noted, inputs="m").edge("l", "end")


def nested_loops() -> FlowBuilder:
    flow = create_flow("f").node("begin", noted)
    flow.batch("b", noted, inputs="list").loop("inner", "count < 9", start="b", end="b")
    flow.node("after", noted).edge("inner", "after")
    flow.loop("outer", "count < 15", start="inner", end="after")
    return flow.edge("begin", "outer").node("end", noted).edge("outer", "end")


def dynamic() -> FlowBuilder:
    flow = create_flow("f").node("adds", adds).node("end", noted).edge("adds", "end")
    return flow.node("unused", noted, uses="noted", inputs="list")


def with_child(worker: Any) -> FlowBuilder:
    child = create_flow("child").node("c", worker, retry=TWICE).node("d", noted).edge("c", "d")
    flow = create_flow("f").subflow("s", child, inputs={"list": "list"}, outputs={"x": "d"})
    return flow.node("end", noted, inputs="x").edge("s", "end")


FLOWS: dict[str, Callable[[], FlowBuilder]] = {
    "chain": lambda: create_flow("f").node("a", noted).node("b", noted).edge("a", "b"),
    "actions": lambda: (
        create_flow("f").node("a", acts).node("b", noted).node("c", noted).node("d", noted)
        .edge("a", "b", action="go").edge("a", "c", action="stop")
        .edge("b", "d", transform="input + 1").edge("c", "d")
    ),
    "retries": lambda: (
        create_flow("f").node("a", flaky, retry=TWICE).node("b", noted).edge("a", "b")
    ),
    "failure": lambda: (
        create_flow("f").node("a", fails, retry=TWICE).node("b", noted).node("c", noted)
        .edge("a", "b")
    ),
    "fallback": lambda: (
        create_flow("f").node("a", fails, fallback="h").node("h", noted).node("b", noted)
        .edge("a", "b")
    ),
    "missing": lambda: create_flow("f").node("a", "nowhere", fallback="b").node("b", noted),
    "fail fast": lambda: (
        create_flow("f").node("a", fails).node("b", noted).sleep("s", "1h").on_failure("fail_fast")
    ),
    "loop": looping,
    "nested loops": nested_loops,
    "batch": lambda: create_flow("f").batch("b", noted, inputs="list", output_key="out"),
    "item retries": lambda: create_flow("f").batch("b", odd, inputs="list", retry=TWICE),
    "items fail": lambda: create_flow("f").batch("b", odd, inputs="list"),
    "items collected": lambda: (
        create_flow("f").batch("b", odd, inputs="list", failure_mode="collect", concurrency=2)
    ),
    "dynamic": dynamic,
    "subflow": lambda: with_child(flaky),
    "subflow fails": lambda: with_child(fails),
    "sleep": lambda: (
        create_flow("f").node("a", noted).sleep("s", "1h").node("b", noted)
        .edge("a", "s").edge("s", "b")
    ),
    "wait times out": lambda: (
        create_flow("f").wait("w", timeout="1h").node("b", noted).node("c", noted)
        .edge("w", "b", action="timeout").edge("w", "c", action="yes")
    ),
    "compensation": lambda: (
        create_flow("f").node("a", noted, compensate="u").node("u", flaky, retry=TWICE)
        .node("b", noted, compensate="v").node("v", fails).node("c", fails)
        .edge("a", "b").edge("b", "c")
    ),
    "limit": lambda: create_flow("f").node("a", noted).node("b", noted).edge("a", "b").edge(
        "b", "a", condition="true"
    ),
}  # fmt: skip


def told(result: RunResult) -> dict[str, Any]:
    """What a result says, without tracebacks."""
    return {
        "run": (result.run_id, result.blueprint_id, str(result.status)),
        "outputs": dict(result.outputs),
        "context": dict(result.context),
        "states": result.states,
        "errors": [error._replace(traceback=None) for error in result.errors],
        "awaiting": result.awaiting,
        "compensations": [
            (node_id, error and error._replace(traceback=None))
            for node_id, error in result.compensations
        ],
    }


async def record(flow: FlowBuilder, **options: Any) -> tuple[RunResult, Events]:
    events, clock = Events(), VirtualClock(autojump=True)
    runtime = FlowRuntime(listeners=[events], max_executions=50)
    clock.attach(runtime)
    return await flow.run(runtime, {"list": [1, 2, 3]}, **options), events


@pytest.mark.parametrize("name", FLOWS)
def test_a_replayed_run_is_what_it_was_and_executes_nothing(name: str) -> None:
    """The events of a run lead to the same result, and no node is called for it."""
    flow = FLOWS[name]()

    async def main() -> None:
        result, events = await record(flow)
        CALLS.clear()
        listener = Events()
        replayed = await FlowRuntime(listeners=[listener]).replay(flow, events)
        assert told(replayed) == told(result)
        assert CALLS == []
        assert listener == []

    drive(main())


@pytest.mark.parametrize("name", FLOWS)
def test_a_recording_cut_short_gives_the_run_as_it_was_then(name: str) -> None:
    """Every beginning of a recording can be replayed; with each event no less is settled."""
    flow = FLOWS[name]()

    async def main() -> None:
        result, events = await record(flow)
        runtime, seen = FlowRuntime(), set[str]()
        for count in range(1, len(events) + 1):
            part = await runtime.replay(flow, events[:count])
            assert seen <= set(part.states)
            seen = set(part.states)
        assert told(part) == told(result)

    drive(main())


def in_virtual_time() -> FlowRuntime:
    runtime = FlowRuntime(max_executions=50)
    VirtualClock(autojump=True).attach(runtime)
    return runtime


@pytest.mark.parametrize("name", FLOWS)
def test_a_run_cut_short_goes_on_to_the_same_end(name: str) -> None:
    """A run cut off after any of its events, saved and resumed, ends as the whole one did."""
    flow = FLOWS[name]()

    async def main() -> None:
        result, events = await record(flow)
        for count in range(1, len(events)):
            part = await FlowRuntime().replay(flow, events[:count])
            if not part.status.is_final:
                again = await in_virtual_time().resume(flow, part.state, answer=False)
                assert told(again) == told(result), f"after {count} events"

    drive(main())


@pytest.mark.parametrize("name", FLOWS)
def test_replaying_from_any_node_ends_the_same(name: str) -> None:
    """With unchanged code a run that is executed anew from any node on ends as it did."""
    flow = FLOWS[name]()

    async def main() -> None:
        result, events = await record(flow)
        for node in flow.to_blueprint().nodes:
            again = await in_virtual_time().replay_from(flow, events, node.id)
            assert again.status == result.status
            assert (dict(again.outputs), again.states) == (dict(result.outputs), result.states)

    drive(main())


def test_replaying_from_a_node_keeps_what_does_not_depend_on_it() -> None:
    """Only the node and what follows it are executed; the rest keeps its recorded outcome."""
    flow = create_flow("f").node("a", noted).node("b", noted).node("c", noted).node("d", noted)
    flow.edge("a", "b").edge("b", "d").edge("c", "d")

    async def main() -> None:
        result, events = await record(flow)
        CALLS.clear()
        again = await FlowRuntime().replay_from(flow, events, "b")
        assert CALLS == ["b", "d"]
        assert told(again) == told(result)

    drive(main())


def test_replaying_from_a_node_uses_the_code_of_today() -> None:
    """After a mistake in a node was corrected, a failed run goes on from there."""
    broken = create_flow("f").node("a", noted, uses="a").node("b", fails, uses="b")
    broken.node("c", noted, uses="c").edge("a", "b").edge("b", "c")
    mended = create_flow("f").node("a", noted, uses="a").node("b", one, uses="b")
    mended.node("c", noted, uses="c").edge("a", "b").edge("b", "c")

    async def main() -> None:
        result, events = await record(broken)
        assert result.status == "failed"
        CALLS.clear()
        again = await FlowRuntime().replay_from(mended, events, "b")
        assert (again.status, again.outputs["c"], CALLS) == ("completed", 1, ["c"])

    drive(main())


def test_a_run_that_was_answered_is_replayed_with_its_answers() -> None:
    """Answers, early ends of sleeps and several resumptions are part of the recording."""
    child = create_flow("child").wait("cw").node("c", noted).edge("cw", "c")
    flow = create_flow("f").wait("w", timeout="2h").node("yes", noted).node("no", noted)
    flow.edge("w", "yes", action="yes").edge("w", "no").sleep("s", "1d").node("late", noted)
    flow.edge("s", "late").subflow("sub", child)

    async def main() -> None:
        async with TestEnvironment(flow) as env:
            await env.start(flow)
            await env.answer("w", {"a": 1}, "yes")
            await env.advance("1h")
            await env.answer(["sub", "cw"], 7)
            await env.answer("s")
            result = env.result
            assert result.status == "completed"
            replayed = await FlowRuntime().replay(flow, env.events)
        assert told(replayed) == told(result)

    drive(main())


def test_a_cancelled_run_is_replayed_as_cancelled() -> None:
    """The moment of cancelling is part of the recording, and so is what it stopped."""
    token, events = CancelToken(), Events()

    async def stops(ctx: Ctx) -> None:
        token.cancel()
        await turns(50)

    flow = create_flow("f").node("a", one).node("b", stops).node("c", one)
    flow.edge("a", "b").edge("b", "c").sleep("s", "1h")
    result = run(flow, runtime=FlowRuntime(listeners=[events]), cancel=token)
    replayed = drive(FlowRuntime().replay(flow, events))
    assert result.status == "cancelled"
    assert told(replayed) == told(result)


def test_a_run_cancelled_before_its_start_is_replayed() -> None:
    """A run whose token was set from the start is replayed as one in which nothing began."""
    token, events = CancelToken(), Events()
    token.cancel()
    flow = create_flow("f").node("a", noted).sleep("s", "1h")
    result = run(flow, runtime=FlowRuntime(listeners=[events]), cancel=token)
    assert told(drive(FlowRuntime().replay(flow, events))) == told(result)
    assert (result.status, result.states) == ("cancelled", {})


def test_a_cancelled_batch_is_replayed_as_cancelled() -> None:
    """Items that were stopped, and those that never began, are part of the recording."""
    token, events = CancelToken(), Events()

    async def stops(ctx: Ctx) -> None:
        await turns(2)
        if ctx.input == 3:
            token.cancel()
            await turns(50)

    flow = create_flow("f").batch("b", stops, inputs="list", concurrency=2)
    runtime = FlowRuntime(listeners=[events])
    result = run(flow, {"list": list(range(9))}, runtime=runtime, cancel=token)
    assert told(drive(FlowRuntime().replay(flow, events))) == told(result)
    assert result.status == "cancelled"


def test_a_replayed_run_that_waits_can_be_resumed() -> None:
    """A run rebuilt from its events is as good as the saved one."""
    flow = create_flow("f").node("a", noted).wait("w").node("b", echo).edge("a", "w").edge("w", "b")

    async def main() -> Any:
        _, events = await record(flow)
        rebuilt = await FlowRuntime().replay(flow, events)
        return await FlowRuntime().resume(flow, rebuilt.state, output=5)

    assert drive(main()).outputs["b"] == 5


def test_events_of_several_runs_are_told_apart() -> None:
    """A recording that holds other runs' events too gives the run that it begins with."""
    flow, events = create_flow("f").node("a", echo, inputs="n"), Events()
    runtime = FlowRuntime(listeners=[events])
    run(flow, {"n": 1}, runtime=runtime)
    run(flow, {"n": 2}, runtime=runtime)
    assert drive(FlowRuntime().replay(flow, events)).outputs["a"] == 1


@pytest.mark.parametrize("count", [0, 1])
def test_events_without_a_start_are_refused(count: int) -> None:
    """A recording that lacks the run's start is refused."""
    flow, events = create_flow("f").node("a", one), Events()
    run(flow, runtime=FlowRuntime(listeners=[events]))
    with pytest.raises(FlowcraftError, match="'f'"):
        drive(FlowRuntime().replay(flow, events[1 : 1 + count]))


def test_events_of_another_blueprint_are_refused() -> None:
    """A recording of another blueprint is refused, and so is a node that does not exist."""
    flow, events = create_flow("f").node("a", one), Events()
    run(flow, runtime=FlowRuntime(listeners=[events]))
    with pytest.raises(FlowcraftError, match="'g'"):
        drive(FlowRuntime().replay(create_flow("g").node("a", one), events))
    with pytest.raises(FlowcraftError, match="'b'"):
        drive(FlowRuntime().replay_from(flow, events, "b"))
