"""Runs that rest: waiting, sleeping, being saved, and going on (rule S12)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowcraft import (
    FlowcraftError,
    FlowRuntime,
    InvalidRunState,
    RetryPolicy,
    SerializationError,
    create_flow,
)
from flowcraft.core.builder import FlowBuilder
from flowcraft.engine.context import CancelToken
from flowcraft.testing import TestEnvironment, VirtualClock
from tests.unit.runs import Ctx, Events, drive, echo, one, run


def approval() -> FlowBuilder:
    flow = create_flow("approval").node("ask", one).wait("w", title="Well?", actions=["yes", "no"])
    flow.node("yes", echo).node("no", echo)
    return flow.edge("ask", "w").edge("w", "yes", action="yes").edge("w", "no", action="no")


def resume(flow: Any, state: Any, runtime: FlowRuntime | None = None, **options: Any) -> Any:
    return drive((runtime or FlowRuntime()).resume(flow, state, **options))


def test_a_run_that_waits_returns_and_says_for_what() -> None:
    """A run with nothing left but waiting is ``awaiting``, and lists the waits."""
    result = run(approval())
    assert (result.status, dict(result.outputs)) == ("awaiting", {"ask": 1})
    (wait,) = result.awaiting
    assert (wait.node_id, wait.path, wait.reason) == ("w", ("w",), "external_event")
    assert (wait.title, wait.actions, wait.due_at) == ("Well?", ("yes", "no"), None)
    with pytest.raises(InvalidRunState, match="w"):
        result.raise_for_status()


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("action", ["yes", "no"])
def test_an_answer_routes_by_its_action(as_text: bool, action: str) -> None:
    """A run goes on from its text and from its result, and the action chooses the branch."""
    first = run(approval())
    result = resume(approval(), first.state if as_text else first, output={"by": 1}, action=action)
    assert result.status == "completed"
    assert dict(result.outputs) == {"ask": 1, "w": {"by": 1}, action: {"by": 1}}
    assert result.run_id == first.run_id


def test_one_saved_state_may_be_resumed_twice() -> None:
    """Two resumptions of one saved state know nothing of each other."""
    first = run(approval())
    yes = resume(approval(), first, output=1, action="yes")
    no = resume(approval(), first, output=2, action="no")
    assert ("no" in yes.outputs, "yes" in no.outputs) == (False, False)
    assert (first.status, "w" in first.outputs) == ("awaiting", False)


@pytest.mark.parametrize("node_id", ["nowhere", "ask", "yes", ("w", "deeper"), ()])
def test_an_answer_to_a_node_that_does_not_wait_is_refused(node_id: Any) -> None:
    """Unknown, finished and pending nodes cannot be answered; the message lists what waits."""
    first = run(approval())
    if node_id == ():
        assert resume(approval(), first, node_id=node_id, action="yes").status == "completed"
        return
    with pytest.raises(InvalidRunState, match="waits for: w"):
        resume(approval(), first, node_id=node_id)


def test_a_node_that_was_answered_does_not_wait_any_longer() -> None:
    """What was answered in one resumption cannot be answered in the next."""
    flow = create_flow("f").wait("a").wait("b")
    second = resume(flow, run(flow), node_id="a", output=1)
    assert [wait.node_id for wait in second.awaiting] == ["b"]
    with pytest.raises(InvalidRunState, match="'a'"):
        resume(flow, second, node_id="a")
    assert dict(resume(flow, second, output=2).outputs) == {"a": 1, "b": 2}


def test_several_waits_need_a_name() -> None:
    """With several open waits an answer without a name is refused and lists them."""
    flow = create_flow("f").wait("a").wait("b")
    with pytest.raises(InvalidRunState, match="a, b"):
        resume(flow, run(flow), output=1)


def test_a_run_that_is_over_cannot_be_resumed() -> None:
    """A final run waits for nothing."""
    flow = create_flow("f").node("a", one)
    with pytest.raises(InvalidRunState, match="completed"):
        resume(flow, run(flow))


def test_another_version_of_the_blueprint_is_refused() -> None:
    """A saved run is not continued with a blueprint that differs from its own."""
    first = run(approval())
    with pytest.raises(FlowcraftError, match="another version"):
        resume(approval().node("more", one), first)


def test_an_answer_that_cannot_be_stored_is_refused_and_changes_nothing() -> None:
    """An answer must be storable, and an action text; after the refusal the run still waits."""
    first = run(approval())
    with pytest.raises(SerializationError, match=r"output\.x"):
        resume(approval(), first, output={"x": object()})
    with pytest.raises(FlowcraftError, match="action"):
        resume(approval(), first, output=1, action=object())
    assert resume(approval(), first, action="yes").status == "completed"


def nested() -> FlowBuilder:
    """Two children that wait, one of them twice and one level deeper."""
    inner = create_flow("inner").wait("x").wait("y").node("sum", echo)
    inner.edge("x", "sum").edge("y", "sum")
    outer = create_flow("outer").subflow("in", inner)
    return create_flow("f").subflow("s", outer).subflow("t", create_flow("single").wait("z"))


def test_waits_in_subflows_are_named_by_their_path() -> None:
    """Waits of children are listed with their path, and answered by it, in any order."""
    flow = nested()
    result = run(flow)
    paths = {("s", "in", "x"), ("s", "in", "y"), ("t", "z")}
    assert {wait.path for wait in result.awaiting} == paths
    result = resume(flow, result.state, node_id=["s", "in", "y"], output=2)
    result = resume(flow, result.state, node_id="t", output=3)
    result = resume(flow, result.state, node_id="s", output=1)
    assert result.status == "completed"
    assert dict(result.outputs) == {"s": {"x": 1, "y": 2}, "t": 3}


@pytest.mark.parametrize("node_id", ["s", ["s"], ["s", "in"], None])
def test_a_subflow_with_several_waits_needs_a_longer_path(node_id: Any) -> None:
    """A subflow's id stands for its wait only where there is one."""
    flow = nested()
    with pytest.raises(InvalidRunState, match="s/in/x"):
        resume(flow, run(flow), node_id=node_id)


def test_other_branches_do_not_wait() -> None:
    """A wait pauses its branch alone, and the rest of the run is done when it returns."""
    flow = create_flow("f").wait("w").node("a", one).node("b", echo).edge("a", "b")
    flow.node("join", echo).edge("b", "join").edge("w", "join")
    first = run(flow)
    assert set(first.outputs) == {"a", "b"}
    assert resume(flow, first, output=2).outputs["join"] == {"b": 1, "w": 2}


def test_events_go_on_where_they_stopped() -> None:
    """A resumed run tells no start again, but the wait's end and what follows."""
    events = Events()
    flow = approval()
    resume(flow, run(flow), FlowRuntime(listeners=[events]), action="yes")
    names = events.names(kinds=["workflow:start", "node:start", "node:finish", "workflow:finish"])
    assert names == ["node:finish w", "node:start yes", "node:finish yes", "workflow:finish"]


def sleeper() -> FlowBuilder:
    flow = create_flow("f").node("a", one).sleep("s", "1d").node("b", echo)
    return flow.edge("a", "s").edge("s", "b")


def test_timers_return_gives_the_run_back_before_its_timers() -> None:
    """With ``timers="return"`` a sleeping run is ``awaiting`` with the time when it is due."""

    async def main() -> None:
        clock, runtime = VirtualClock(1_000.0), FlowRuntime()
        clock.attach(runtime)
        first = await sleeper().run(runtime, timers="return")
        (wait,) = first.awaiting
        assert (first.status, wait.reason, wait.due_at) == ("awaiting", "timer", 1_000.0 + 86_400)
        assert (first.outputs["s"], clock.now()) == (1, 1_000.0)
        early = await runtime.resume(sleeper(), first.state, node_id="s", output="not used")
        assert (early.status, early.outputs["b"], clock.now()) == ("completed", 1, 1_000.0)

    drive(main())


@pytest.mark.parametrize("options", [{}, {"answer": False}])
def test_a_run_that_only_sleeps_goes_on_when_it_is_time(options: dict[str, Any]) -> None:
    """Resumed without an answer, a sleeping run rests again, or goes on if it is due."""

    async def main() -> None:
        clock, runtime = VirtualClock(), FlowRuntime()
        clock.attach(runtime)
        first = await sleeper().run(runtime, timers="return")
        again = await runtime.resume(sleeper(), first.state, timers="return", **options)
        assert (again.status, again.awaiting) == ("awaiting", first.awaiting)
        clock.advance("25h")
        last = await runtime.resume(sleeper(), again.state, timers="return", **options)
        assert (last.status, last.outputs["b"]) == ("completed", 1)

    drive(main())


def test_a_resume_without_an_answer_leaves_waits_open() -> None:
    """``answer=False`` lets time pass for timers and answers nobody."""

    async def main() -> None:
        clock, runtime = VirtualClock(), FlowRuntime()
        clock.attach(runtime)
        flow = create_flow("f").wait("w").sleep("s", "1h").node("after", echo).edge("s", "after")
        first = await flow.run(runtime, timers="return")
        clock.advance("2h")
        second = await runtime.resume(flow, first.state, answer=False, timers="return")
        assert [wait.node_id for wait in second.awaiting] == ["w"]
        assert "after" in second.outputs

    drive(main())


def test_an_answer_that_comes_before_its_wait_is_kept() -> None:
    """An answer for a wait that has not begun is kept for it, also in the saved run."""
    flow = create_flow("f").wait("a").wait("b").edge("a", "b")
    first = run(flow)
    second = resume(flow, first.state, node_id="b", output="early")
    assert [wait.node_id for wait in second.awaiting] == ["a"]
    third = resume(flow, second.state, output="first")
    assert (third.status, dict(third.outputs)) == ("completed", {"a": "first", "b": "early"})


def test_a_wait_takes_only_the_actions_it_names() -> None:
    """An answer with another action than the wait's own is refused, and they are listed."""
    first = run(approval())
    with pytest.raises(InvalidRunState, match=r"'yes', 'no'.*'maybe'"):
        resume(approval(), first, action="maybe")
    assert resume(approval(), first).status == "completed"


def test_pending_timers_go_on_in_a_resumed_run() -> None:
    """Timers of a saved run are armed again for what is left of their time, or fire if overdue."""

    async def main() -> None:
        clock, runtime = VirtualClock(0.0, autojump=True), FlowRuntime()
        clock.attach(runtime)
        flow = create_flow("f").wait("w").sleep("hour", "1h").sleep("day", "1d")
        flow.node("end", echo).edge("w", "end").edge("hour", "end").edge("day", "end")
        first = await flow.run(runtime, timers="return")
        clock.advance("2h")
        second = await runtime.resume(flow, first.state, node_id="w", output="x")
        assert second.outputs["end"] == {"w": "x", "hour": None, "day": None}
        assert clock.now() == 86_400

    drive(main())


def test_a_wait_times_out_with_its_action() -> None:
    """A wait whose time is up goes on with the action ``timeout`` and no output."""

    async def main() -> Any:
        flow = create_flow("f").wait("w", timeout="2d").node("late", echo).node("ok", echo)
        flow.edge("w", "late", action="timeout").edge("w", "ok")
        async with TestEnvironment(flow) as env:
            await env.start(flow)
            await env.advance("47h")
            before = str(env.status)
            await env.advance("1h")
            return before, str(env.status), dict(env.result.outputs)

    assert drive(main()) == ("awaiting", "completed", {"w": None, "late": None})


def test_an_answer_in_time_forgets_the_timeout() -> None:
    """After an answer the timeout is of no effect, whatever time passes."""

    async def main() -> Any:
        flow = create_flow("f").wait("w", timeout="2d").wait("other").node("late", echo)
        flow.edge("w", "late", action="timeout")
        async with TestEnvironment(flow) as env:
            await env.start(flow)
            await env.answer("w", "in time")
            await env.advance("9d")
            return str(env.status), dict(env.result.outputs)

    assert drive(main()) == ("awaiting", {"w": "in time"})


def test_a_year_of_sleep_passes_in_virtual_time() -> None:
    """Sleeps of any length up to a year work, one after the other, and hand on their input."""

    async def main() -> Any:
        flow = create_flow("f").node("a", one).sleep("s1", "365d").sleep("s2", "366d")
        flow.edge("a", "s1").edge("s1", "s2")
        async with TestEnvironment(flow) as env:
            begin = env.now
            result = await env.run(flow)
            return result.outputs["s2"], (env.now - begin).days

    assert drive(main()) == (1, 731)


def test_a_sleep_is_visible_from_when_it_begins_and_may_end_early() -> None:
    """A sleep's output is there at once; a resume ends it before its time."""

    async def main() -> Any:
        flow = create_flow("f").node("a", one).sleep("s", "1h").node("b", echo)
        flow.edge("a", "s").edge("s", "b")
        async with TestEnvironment(flow) as env:
            await env.start(flow)
            seen = env.result.outputs["s"]
            await env.answer("s", "not used")
            return seen, str(env.status), env.result.outputs["b"], env.result.outputs["s"]

    assert drive(main()) == (1, "completed", 1, 1)


def test_a_resumed_run_can_be_cancelled() -> None:
    """A token set before a resume cancels the run instead of answering."""
    token = CancelToken()
    token.cancel()
    assert resume(approval(), run(approval()), action="yes", cancel=token).status == "cancelled"


@pytest.mark.parametrize("is_child", [False, True])
def test_a_run_that_rests_and_is_cancelled_undoes_each_node_once(is_child: bool) -> None:
    """What a cancelled resume undoes is called, told and listed once, in children too."""
    undone: list[str] = []

    async def undo(ctx: Ctx) -> None:
        undone.append(ctx.idempotency_key)

    flow = create_flow("pay").node("charge", one, compensate="refund").node("refund", undo)
    flow = flow.wait("ok").edge("charge", "ok")
    if is_child:
        flow = create_flow("parent").subflow("s1", flow).subflow("s2", flow)
    runtime, events, token = FlowRuntime(), Events(), CancelToken()
    first = run(flow, runtime=runtime)
    token.cancel()
    runtime.subscribe(events, ["compensation:start"])
    result = resume(flow, first, runtime, cancel=token, answer=False)
    assert result.status == "cancelled"
    assert len(undone) == len(set(undone)) == len(events) == (2 if is_child else 1)


def test_two_resumptions_may_run_at_once() -> None:
    """One saved state may be resumed several times beside each other."""

    async def main() -> list[Any]:
        runtime, flow = FlowRuntime(), approval()
        state = (await flow.run(runtime)).state
        work = [runtime.resume(flow, state, output=n, action="yes") for n in range(20)]
        return [result.outputs["yes"] for result in await asyncio.gather(*work)]

    assert drive(main()) == list(range(20))


def test_a_wait_in_a_loop_is_answered_once_per_iteration() -> None:
    """Each iteration waits anew, and keeps what the earlier ones did."""

    async def total(ctx: Ctx) -> None:
        await ctx.context.add("total", ctx.input)

    flow = create_flow("f").wait("w").node("add", total).edge("w", "add")
    flow.loop("l", "total < 5", start="w", end="add").node("begin", one).edge("begin", "l")
    result = run(flow, {"total": 0})
    answers = 0
    while result.status == "awaiting":
        answers += 1
        result = resume(flow, result.state, output=2)
    assert (result.status, answers, result.context["total"]) == ("completed", 3, 6)


def test_a_saved_run_keeps_batches_failures_and_retries() -> None:
    """What a run went through before it rested is still known after it was saved."""

    async def item(ctx: Ctx) -> Any:
        if ctx.input == 1:
            raise ValueError("item")
        return ctx.input

    flow = create_flow("f").batch("b", item, inputs="list", failure_mode="collect")
    flow.wait("w").edge("b", "w").node("bad", item, inputs="one", retry=RetryPolicy(2, delay=0))
    first = run(flow, {"list": [0, 1, 2], "one": 1})
    second = resume(flow, first.state, output=1)
    assert second.status == "failed"
    assert [(error.node_id, error.attempts) for error in second.errors] == [("bad", 2)]
    assert second.errors == first.errors
    assert second.outputs["b_gather"][2] == 2
