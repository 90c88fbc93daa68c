"""Workflows in virtual time: sleeps, backoff, timeouts, answers, and what is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.engine.context import NodeContext, SyncNodeContext
from flowcraft.engine.runtime import FlowRuntime
from flowcraft.errors import FlowcraftError, InvalidRunState, RunTimeout, SerializationError
from flowcraft.testing import Stepper, TestEnvironment, VirtualClock, fake_node
from flowcraft.testing.clock import START

APPROVAL = {
    "id": "approval",
    "nodes": [
        {"id": "ask", "uses": "wait", "params": {"timeout": "7d"}},
        {"id": "ship", "uses": "work"},
        {"id": "remind", "uses": "work"},
    ],
    "edges": [
        {"source": "ask", "target": "ship", "action": "yes"},
        {"source": "ask", "target": "remind", "action": "timeout"},
    ],
}
TWO_WAITS = {
    "id": "two",
    "nodes": [{"id": "a", "uses": "wait"}, {"id": "b", "uses": "wait"}],
    "edges": [],
}
NAP = {"id": "nap", "nodes": [{"id": "nap", "uses": "sleep", "params": {"duration": "1d"}}]}


def one_node(**config: Any) -> dict[str, Any]:
    """A blueprint of one node that uses ``work``."""
    return {"id": "one", "nodes": [{"id": "node", "uses": "work", "config": config}]}


def run(steps: Coroutine[Any, Any, None]) -> None:
    """Run a test's steps; a defect that hangs fails the test."""
    asyncio.run(asyncio.wait_for(steps, 20))


async def hang(ctx: NodeContext[Any]) -> None:
    """A node that waits for what never comes."""
    await asyncio.get_running_loop().create_future()


def test_a_day_of_sleep_passes_when_the_test_says_so() -> None:
    """A sleeping run stays where it is until its time has come, not a second earlier."""

    async def steps() -> None:
        work = fake_node(lambda value: value + 1)
        flow = create_flow("f").node("a", work, uses="a").sleep("s", "1d").node("b", work, uses="a")
        flow.edge("a", "s").edge("s", "b")
        async with TestEnvironment(flow) as env:
            handle = await env.start(flow, {"_inputs.a": 1})
            assert (env.status, work.call_count) == ("awaiting", 1)
            await env.advance(86_399)
            assert (handle.status, work.call_count) == ("awaiting", 1)
            await env.advance("1s")
            assert (handle.status, env.result.outputs["b"]) == ("completed", 3)
            assert env.now == datetime(2024, 1, 2, tzinfo=UTC)

    run(steps())


def test_one_advance_passes_through_everything_that_follows() -> None:
    """Sleeps behind sleeps, with nodes in between, each begin at their own time."""

    async def steps() -> None:
        async def stamp(ctx: NodeContext[Any]) -> float:
            return env.clock.now() - START

        flow = create_flow("f")
        for number in range(3):
            flow.sleep(f"s{number}", "1h").node(f"n{number}", stamp, uses="stamp")
            flow.edge(f"s{number}", f"n{number}")
        flow.edge("n0", "s1").edge("n1", "s2")
        async with TestEnvironment(flow) as env:
            handle = await env.start(flow)
            await env.advance("1d")
            outputs = handle.result.outputs
            assert [outputs[f"n{number}"] for number in range(3)] == [3600, 7200, 10800]
            assert env.clock.now() == START + 86_400

    run(steps())


def test_backoff_of_minutes_takes_virtual_time_only() -> None:
    """Each attempt begins exactly when its delay is over."""

    async def steps() -> None:
        work = fake_node(sequence=[OSError("one"), OSError("two"), "fine"])
        blueprint = one_node(maxRetries=3, retryDelay=60_000, backoff=2, jitter=False)
        async with TestEnvironment(registry={"work": work}) as env:
            handle = await env.start(blueprint)
            await env.advance(59.9)
            assert (work.call_count, handle.status) == (1, "running")
            await env.advance(0.1)
            assert work.call_count == 2
            await env.advance("2m")
            assert (work.call_count, handle.status) == (3, "completed")

    run(steps())


def test_a_node_that_sleeps_by_the_clock_times_out() -> None:
    """A node's timeout is virtual time, as is the delay of a fake."""

    async def steps() -> None:
        work = fake_node("late", delay="10m")
        async with TestEnvironment(registry={"work": work}) as env:
            await env.start(one_node(timeout=60_000))
            await env.advance("59s")
            assert env.status == "running"
            await env.advance("1s")
            assert [error.type for error in env.result.errors] == ["NodeTimeout"]

    run(steps())


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_the_timeout_of_a_node_that_hangs_can_be_tested(kind: str) -> None:
    """With ``while_busy`` time passes although a node hangs, and its timeout ends it."""
    told = threading.Event()

    def blocked(ctx: SyncNodeContext[Any]) -> None:
        ctx.cancelled.wait(10)
        told.set()

    async def steps() -> None:
        work = hang if kind == "async" else blocked
        async with TestEnvironment(registry={"work": work}) as env:
            await env.start(one_node(timeout=60_000), while_busy=True)
            await env.advance("59s", while_busy=True)
            assert env.status == "running"
            await env.advance("1s", while_busy=True)
            assert [error.type for error in env.result.errors] == ["NodeTimeout"]
            result = await env.run(one_node(timeout=60_000), while_busy=True)
            assert (result.status, env.clock.now()) == ("failed", START + 120)

    run(steps())
    assert kind == "async" or told.wait(5)


def test_time_does_not_pass_while_a_node_is_blocked() -> None:
    """Advancing gives up with the name of the node, and time stands where it was."""

    async def steps() -> None:
        async def work(ctx: NodeContext[Any]) -> str:
            await door.wait()
            return "through"

        door = asyncio.Event()
        async with TestEnvironment(registry={"work": work}, patience_seconds=0) as env:
            with pytest.raises(RunTimeout, match="node 'node' of run 'r1' has been at work"):
                await env.start(one_node(), run_id="r1")
            with pytest.raises(RunTimeout):
                await env.advance("1d")
            assert (env.clock.now(), env.status) == (START, "running")
            door.set()
            await env.advance("1d")
            assert (env.status, env.result.outputs["node"]) == ("completed", "through")

    run(steps())


def test_patience_is_for_each_node_anew() -> None:
    """A chain that takes long in all is waited for, as long as its nodes make progress."""

    async def steps() -> None:
        async def work(ctx: NodeContext[Any]) -> None:
            for _ in range(15):
                await asyncio.sleep(0)

        ids = [str(number) for number in range(10)]
        chain = {
            "id": "chain",
            "nodes": [{"id": id_, "uses": "work"} for id_ in ids],
            "edges": [{"source": a, "target": b} for a, b in pairwise(ids)],
        }
        async with TestEnvironment(registry={"work": work}, patience_seconds=0) as env:
            assert (await env.start(chain)).status == "completed"

    run(steps())


def test_real_waiting_that_ends_is_waited_for() -> None:
    """A node that answers after real work is done before time goes on."""

    async def steps() -> None:
        def work(ctx: SyncNodeContext[Any]) -> float:
            done = threading.Event()
            threading.Thread(target=done.set).start()
            done.wait(5)
            return env.clock.now()

        blueprint = {
            "id": "b",
            "nodes": [
                {"id": "s", "uses": "sleep", "params": {"duration": "1h"}},
                {"id": "n", "uses": "work"},
            ],
            "edges": [{"source": "s", "target": "n"}],
        }
        async with TestEnvironment(registry={"work": work}) as env:
            await env.start(blueprint)
            await env.advance("1d")
            assert env.result.outputs["n"] == START + 3600

    run(steps())


@pytest.mark.parametrize(("answer", "expected"), [(True, "ship"), (False, "remind")])
def test_an_answer_in_time_or_none(answer: bool, expected: str) -> None:
    """A wait is answered while its timeout runs, or the timeout chooses the other branch."""

    async def steps() -> None:
        async with TestEnvironment(registry={"work": fake_node(lambda value: value)}) as env:
            handle = await env.start(APPROVAL)
            await env.advance("6d")
            assert [wait.node_id for wait in handle.awaiting] == ["ask"]
            if answer:
                await env.answer("ask", {"by": "ops"}, "yes")
            await env.advance("1d")
            assert handle.status == "completed"
            assert handle.trace.started(expected)
            if answer:
                assert handle.result.outputs["ship"] == {"by": "ops"}

    run(steps())


def test_a_run_that_only_waits_for_people_is_answered_too() -> None:
    """Waits without a timeout are answered one by one, after any time."""

    async def steps() -> None:
        async with TestEnvironment() as env:
            handle = await env.start(TWO_WAITS)
            await env.advance("100d")
            await handle.answer("b", 2)
            assert handle.status == "awaiting"
            assert [wait.node_id for wait in handle.awaiting] == ["a"]
            await handle.answer(output=1)
            assert (handle.status, dict(handle.result.outputs)) == ("completed", {"b": 2, "a": 1})
            assert handle.trace.order() == ["a", "b"]

    run(steps())


def test_an_answer_may_come_before_its_wait() -> None:
    """An answer to a wait that is still to come is kept for it, in single steps as well."""
    flow = create_flow("f").sleep("nap", "1h").wait("ask").edge("nap", "ask")

    async def steps() -> None:
        async with TestEnvironment(flow) as env:
            await env.start(flow)
            await env.answer("ask", "early")
            assert env.status == "awaiting"
            await env.advance("1h")
            assert (env.status, env.result.outputs["ask"]) == ("completed", "early")
        stepper = Stepper(flow)
        assert stepper.answer("ask", "early").node == "ask"
        assert (await stepper.finish()).outputs["ask"] == "early"

    run(steps())


def test_the_timer_of_an_answered_wait_is_forgotten() -> None:
    """Once a wait is answered nothing is due for it any more, though the run waits on."""
    flow = create_flow("f").wait("first", timeout="7d").wait("second").edge("first", "second")

    async def steps() -> None:
        async with TestEnvironment(flow) as env:
            await env.start(flow)
            await env.answer("first")
            assert [wait.node_id for wait in env.result.awaiting] == ["second"]
            assert env.clock.next_due is None

    run(steps())


def test_a_sleeping_node_can_be_woken() -> None:
    """An answer to a sleep ends it early, and its timer does nothing any more."""

    async def steps() -> None:
        async with TestEnvironment() as env:
            await env.start(NAP)
            await env.answer("nap")
            assert (env.status, env.clock.now()) == ("completed", START)
            assert env.clock.next_due is None

    run(steps())


@pytest.mark.parametrize("blueprint", [TWO_WAITS, APPROVAL], ids=["at rest", "live"])
def test_an_answer_nobody_waits_for_is_refused(blueprint: dict[str, Any]) -> None:
    """The refusal lists what the run waits for, and the run waits on as before."""

    async def steps() -> None:
        async with TestEnvironment(registry={"work": fake_node()}) as env:
            handle = await env.start(blueprint)
            waits = ", ".join(wait.node_id for wait in handle.awaiting)
            with pytest.raises(InvalidRunState, match=f"waits for: {waits}"):
                await env.answer("ship", 1)
            assert handle.status == "awaiting"
            with pytest.raises(SerializationError):
                await env.answer(handle.awaiting[0].path, object())
            await env.answer(handle.awaiting[0].path, 1)

    run(steps())


def test_a_run_is_run_to_its_end_at_once() -> None:
    """``run`` lets as much time pass as the run needs."""

    async def steps() -> None:
        async with TestEnvironment() as env:
            result = await env.run(NAP)
            assert (result.status, env.clock.now()) == ("completed", START + 86_400)
            rests = await env.run(TWO_WAITS)
            assert rests.status == "awaiting"

    run(steps())


@pytest.mark.parametrize("blueprint", [NAP, TWO_WAITS], ids=["live", "at rest"])
def test_a_run_can_be_cancelled(blueprint: dict[str, Any]) -> None:
    """Cancelling ends a run that sleeps or waits; twice is refused."""

    async def steps() -> None:
        async with TestEnvironment() as env:
            handle = await env.start(blueprint)
            await handle.cancel()
            assert handle.status == "cancelled"
            with pytest.raises(InvalidRunState, match="nothing is left to stop"):
                await handle.cancel()

    run(steps())


def test_several_runs_share_the_time() -> None:
    """Runs started at different times wake at different times; each has its own trace."""

    async def steps() -> None:
        async with TestEnvironment() as env:
            first = await env.start(NAP, run_id="r")
            await env.advance("12h")
            second = await env.start(NAP, run_id="r2")
            await env.advance("12h")
            assert (first.status, second.status) == ("completed", "awaiting")
            assert {event.run_id for event in first.trace.events} == {"r"}
            assert [handle.run_id for handle in env.runs] == ["r", "r2"]
            with pytest.raises(FlowcraftError, match="run 'r' was started here already"):
                await env.start(NAP, run_id="r")

    run(steps())


def test_a_subflow_sleeps_and_waits_in_virtual_time() -> None:
    """A child's sleep passes, and its wait is answered by the way that leads to it."""
    child = {
        "id": "child",
        "nodes": [
            {"id": "nap", "uses": "sleep", "params": {"duration": "1h"}},
            {"id": "ask", "uses": "wait"},
        ],
        "edges": [{"source": "nap", "target": "ask"}],
    }
    parent = {
        "id": "parent",
        "nodes": [{"id": "sub", "uses": "subflow", "params": {"blueprintId": "child"}}],
    }

    async def steps() -> None:
        async with TestEnvironment(blueprints={"child": child}) as env:
            handle = await env.start(parent)
            await env.advance(timedelta(hours=1))
            assert handle.awaiting[0].path == ("sub", "ask")
            await env.answer(["sub", "ask"], "ok")
            assert handle.result.outputs["sub"] == "ok"
            assert handle.trace.started("sub/ask")

    run(steps())


def test_what_a_start_raises_reaches_the_test() -> None:
    """A blueprint or context that is refused raises where the run is started."""

    async def steps() -> None:
        async with TestEnvironment() as env:
            with pytest.raises(FlowcraftError, match="does not know a blueprint 'nope'"):
                await env.start("nope")
            with pytest.raises(SerializationError):
                await env.start(NAP, {"value": object()})
            with pytest.raises(ValueError, match="duration"):
                await env.advance("-1s")

    run(steps())


def test_the_runtime_gets_its_clock_back() -> None:
    """Leaving stops what is under way and undoes every change to the runtime."""

    async def steps() -> None:
        runtime = FlowRuntime(registry={"work": hang})
        before = (runtime.clock, runtime.options, runtime.bus.active)
        async with TestEnvironment(runtime, patience_seconds=0) as env:
            assert runtime.clock is env.clock
            with pytest.raises(RunTimeout):
                await env.start(one_node())
        assert (runtime.clock, runtime.options, runtime.bus.active) == before
        assert not runtime.sessions

    run(steps())


def test_two_environments_do_not_share_a_runtime() -> None:
    """A second environment for the same runtime is refused; after the first it is welcome."""

    async def steps() -> None:
        runtime = FlowRuntime()
        async with TestEnvironment(runtime):
            with pytest.raises(RuntimeError, match="follows a virtual clock already"):
                async with TestEnvironment(runtime):
                    pass
        async with TestEnvironment(runtime) as env:
            assert (await env.run(NAP)).status == "completed"

    run(steps())


def test_two_environments_have_times_of_their_own() -> None:
    """Advancing one environment does not move the other, unless they share a clock."""

    async def steps() -> None:
        shared = VirtualClock()
        async with (
            TestEnvironment() as alone,
            TestEnvironment(clock=shared) as one,
            TestEnvironment(clock=shared) as other,
        ):
            for env in (alone, one, other):
                await env.start(NAP)
            await one.advance("1d")
            assert [e.status for e in (alone, one, other)] == [
                "awaiting",
                "completed",
                "completed",
            ]

    run(steps())


def test_an_environment_needs_a_runtime_without_runs() -> None:
    """A runtime with a run under way, which follows the real clock, is refused."""

    async def steps() -> None:
        runtime = FlowRuntime(registry={"work": hang})
        running = asyncio.create_task(runtime.run(one_node()))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="has runs under way"):
            async with TestEnvironment(runtime):
                pass
        running.cancel()
        await asyncio.wait([running])

    run(steps())


def test_mistakes_in_setting_up_are_explained() -> None:
    """Contradictory arguments, use outside of ``async with`` and without a run are refused."""
    with pytest.raises(ValueError, match="not both"):
        TestEnvironment(FlowRuntime(), strict=True)
    with pytest.raises(ValueError, match="without autojump"):
        TestEnvironment(clock=VirtualClock(autojump=True))

    async def steps() -> None:
        env = TestEnvironment()
        with pytest.raises(RuntimeError, match="async with"):
            await env.advance("1d")
        async with env:
            with pytest.raises(InvalidRunState, match="No run was started"):
                _ = env.status

    run(steps())


def test_an_error_nobody_saw_is_raised_on_leaving() -> None:
    """What breaks a run outside of its nodes fails the test, even if it never looks."""

    class Interrupt(BaseException):
        pass

    async def steps() -> None:
        async with TestEnvironment() as env:
            await env.start(NAP)
            (session,) = env.runtime.sessions
            session.abort(Interrupt("broken"))
            await env.settle()

    with pytest.raises(Interrupt, match="broken"):
        run(steps())


def test_pytest_does_not_collect_the_environment() -> None:
    """The class says that it is no test case, although its name begins like one."""
    assert TestEnvironment.__test__ is False


def test_a_run_that_was_stopped_with_its_environment_says_so() -> None:
    """Whoever asks for a run after its environment was left is told why there is no result."""

    async def forever(_ctx: NodeContext[Any]) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        flow = create_flow("f").node("a", forever)
        async with TestEnvironment(flow, patience_seconds=0) as env:
            with pytest.raises(RunTimeout):
                await env.start(flow)
            handle = env._latest()
        with pytest.raises(InvalidRunState, match="was under way when its TestEnvironment was"):
            _ = handle.status

    asyncio.run(main())
