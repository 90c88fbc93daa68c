"""Tasks whose first turn is taken at once, and runs that are over before the loop turns."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, copy_context
from datetime import timedelta
from functools import wraps
from typing import Any

import pytest

from flowcraft import CancelToken, FlowRuntime, NodeContext, create_flow
from flowcraft.engine import begun
from flowcraft.engine.begun import DEEPEST, begin_task

Ctx = NodeContext[Any]


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test in an event loop of its own."""

    @wraps(test)
    def run(**given: Any) -> None:
        async def main() -> None:
            await test(**given)

        asyncio.run(main())

    return run


VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="untouched")


def flow_of(*steps: Callable[[Ctx], Awaitable[Any]]) -> Any:
    """A chain of node functions."""
    flow = create_flow("begun")
    for number, step in enumerate(steps):
        flow.node(f"n{number}", step, uses=f"n{number}")
        if number:
            flow.edge(f"n{number - 1}", f"n{number}")
    return flow


async def one(_ctx: Ctx) -> int:
    return 1


@in_loop
async def test_a_run_that_waits_for_nothing_leaves_no_task() -> None:
    """When the caller goes on, the runner's task is over and forgotten."""
    result = await FlowRuntime().run(flow_of(one, one))
    assert result.outputs["n1"] == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_loop
async def test_other_tasks_get_a_turn_between_runs() -> None:
    """Run after run without any wait does not keep the event loop to itself."""
    runtime, flow, turns = FlowRuntime(), flow_of(one), 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(10):
        await runtime.run(flow)
    task.cancel()
    assert turns >= 10


@in_loop
async def test_a_node_has_a_task_of_its_own_before_and_after_it_waits() -> None:
    """The current task in a node is the runner, not the caller, from its first line on."""
    seen: list[Any] = []

    async def node(_ctx: Ctx) -> None:
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    await FlowRuntime().run(flow_of(node))
    assert seen[0] is seen[1]
    assert seen[0] is not asyncio.current_task()


@in_loop
async def test_a_timeout_set_before_the_first_wait_ends_that_wait() -> None:
    """``asyncio.timeout`` in a node that was begun at once stops the node, not the caller."""

    async def node(_ctx: Ctx) -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            return "in time"
        return "never"

    result = await FlowRuntime().run(flow_of(node))
    assert result.outputs["n0"] == "in time"


@in_loop
async def test_context_variables_of_a_node_do_not_reach_the_caller() -> None:
    """What a node sets before its first wait stays with it."""

    async def node(_ctx: Ctx) -> str:
        VARIABLE.set("changed")
        await asyncio.sleep(0)
        return VARIABLE.get()

    async def next_node(_ctx: Ctx) -> str:
        return VARIABLE.get()

    result = await FlowRuntime().run(flow_of(node, next_node))
    assert dict(result.outputs) == {"n0": "changed", "n1": "untouched"}
    assert VARIABLE.get() == "untouched"


@in_loop
async def test_a_cancelled_caller_stops_the_node_that_was_begun_at_once() -> None:
    """Cancelling whoever awaits the run cancels the node in the middle of its first wait."""
    stopped = asyncio.Event()

    async def node(_ctx: Ctx) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    task = asyncio.create_task(FlowRuntime().run(flow_of(node)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stopped.is_set()


@in_loop
async def test_runs_within_runs_do_not_fill_the_stack() -> None:
    """Nodes that run a flow whose nodes run a flow, and so on: deep ones wait for their turn."""
    runtime = FlowRuntime()

    async def node(ctx: Ctx) -> int:
        left = await ctx.context.get("left")
        if left == 0:
            return 0
        inner = await runtime.run(flow_of(node), {"left": left - 1})
        return int(inner.raise_for_status().outputs["n0"]) + 1

    result = await runtime.run(flow_of(node), {"left": 10 * DEEPEST})
    assert result.outputs["n0"] == 10 * DEEPEST


@in_loop
async def test_an_interrupt_in_the_first_turn_reaches_the_caller() -> None:
    """What ends the process goes up through the caller, and the task ends without a word."""

    async def node(_ctx: Ctx) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await FlowRuntime().run(flow_of(node))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_loop
async def test_an_error_of_the_first_turn_is_raised_where_it_was_begun() -> None:
    """``begin_task`` raises what the coroutine raises before its first wait."""
    tasks: list[asyncio.Task[None]] = []

    async def broken() -> None:
        raise ValueError("at once")

    with pytest.raises(ValueError, match="at once"):
        begin_task(broken(), asyncio.get_running_loop(), copy_context(), tasks.append)
    await asyncio.wait(tasks)
    assert tasks[0].exception() is None


@in_loop
async def test_an_interrupt_before_the_first_turn_leaves_the_caller_the_current_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C between two steps of beginning a task changes neither whose turn it is nor more."""
    caller, depth = asyncio.current_task(), begun._depth.value

    def interrupted(_loop: Any, _task: Any) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio.tasks, "_enter_task", interrupted)
    with pytest.raises(KeyboardInterrupt):
        await FlowRuntime().run(flow_of(one))
    assert asyncio.current_task() is caller
    assert begun._depth.value == depth


@in_loop
async def test_a_task_that_was_cancelled_before_its_turn_is_interrupted_where_it_waits() -> None:
    """A cancellation between the first turn and the loop's is not lost."""
    tasks: list[asyncio.Task[None]] = []
    heard: list[str] = []

    async def waiting() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise

    begin_task(waiting(), asyncio.get_running_loop(), copy_context(), tasks.append)
    tasks[0].cancel()
    await asyncio.wait(tasks)
    assert heard == ["cancelled"]
    assert tasks[0].cancelled()


def test_a_coroutine_driven_by_hand_is_begun_by_the_loop() -> None:
    """Without a task that awaits it, as in a callback, the task waits for its turn."""

    async def main() -> list[str]:
        loop, said = asyncio.get_running_loop(), []
        tasks: list[asyncio.Task[None]] = []

        async def late() -> None:
            said.append("run")

        def callback() -> None:
            begin_task(late(), loop, copy_context(), tasks.append)
            said.append("made")

        loop.call_soon(callback)
        await asyncio.sleep(0)
        await asyncio.wait(tasks)
        return said

    assert asyncio.run(main()) == ["made", "run"]


@in_loop
async def test_several_runs_may_wait_for_the_same_future() -> None:
    """What a node waits for in its first turn may be waited for by others at the same time."""
    shared = asyncio.get_running_loop().create_future()

    async def node(_ctx: Ctx) -> int:
        return int(await shared)

    runtime = FlowRuntime()
    asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, shared.set_result, 7)
    results = await asyncio.gather(*(runtime.run(flow_of(node)) for _ in range(3)))
    assert [result.outputs["n0"] for result in results] == [7, 7, 7]


@in_loop
async def test_cancelling_before_the_loop_gets_to_it_cancels_what_a_node_waits_for() -> None:
    """The tasks that a node gathers in its first turn do not outlive a run that is cancelled."""

    async def node(_ctx: Ctx) -> None:
        await asyncio.gather(asyncio.Event().wait(), asyncio.Event().wait())

    token = CancelToken()
    run = asyncio.create_task(FlowRuntime().run(flow_of(node), cancel=token))
    await asyncio.sleep(0)
    token.cancel()
    assert (await run).status == "cancelled"
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_loop
async def test_a_thread_that_is_given_up_on_in_the_first_turn_is_counted_until_it_ends() -> None:
    """A plain function whose run is cancelled at once is abandoned, and then it is not."""
    runtime, go = FlowRuntime(), threading.Event()

    def node(_ctx: Any) -> None:
        go.wait(5)

    token = CancelToken()
    flow = create_flow("thread").node("n", node, uses="n")
    run = asyncio.create_task(runtime.run(flow, cancel=token))
    await asyncio.sleep(0)
    token.cancel()
    assert (await run).status == "cancelled"
    assert runtime.threads.abandoned == 1
    go.set()
    while runtime.threads.calls:
        await asyncio.sleep(0)
    assert runtime.threads.abandoned == 0


@in_loop
async def test_a_task_factory_that_wraps_coroutines_is_left_to_do_it() -> None:
    """Where the loop makes its tasks another way, runs go on as everything else does."""

    def factory(loop: Any, coroutine: Any, **more: Any) -> Any:
        async def wrapped() -> Any:
            return await coroutine

        return asyncio.Task(wrapped(), loop=loop, **more)

    async def node(_ctx: Ctx) -> int:
        await asyncio.sleep(0)
        return 1

    asyncio.get_running_loop().set_task_factory(factory)
    result = await FlowRuntime().run(flow_of(node, node))
    assert result.status == "completed"


async def short(_ctx: Ctx) -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    "flow",
    [
        flow_of(one, one, one),
        create_flow("bounded").node("n", short, timeout=60),
        create_flow("late").node("n", short, timeout=timedelta(microseconds=1)),
        create_flow("sleeps").sleep("s", 1).node("n", one).edge("s", "n"),
        create_flow("waits").wait("w", timeout="1ms"),
    ],
    ids=lambda flow: flow.to_blueprint().id,
)
@in_loop
async def test_a_finished_run_leaves_no_garbage(flow: Any) -> None:
    """Nothing of a run refers back to itself: its memory is free as soon as the result is."""
    runtime = FlowRuntime()
    blueprint = runtime.add_flow(flow)
    await runtime.run(blueprint)
    gc.collect()
    gc.disable()
    try:
        await runtime.run(blueprint)
        assert gc.collect() == 0
    finally:
        gc.enable()


@in_loop
async def test_a_caller_that_is_cancelled_twice_hears_of_that_and_nothing_else() -> None:
    """Whoever gives up on a run a second time does not trip over what the nodes still clean up."""
    cleaned = asyncio.Event()

    async def slow(_ctx: Ctx) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await cleaned.wait()

    failures: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: failures.append(about))
    token = CancelToken()
    run = asyncio.create_task(FlowRuntime().run(flow_of(slow), cancel=token))
    await asyncio.sleep(0)
    run.cancel()
    token.cancel()
    await asyncio.sleep(0)
    run.cancel()
    await asyncio.wait([run])
    cleaned.set()
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0)
    assert run.cancelled()
    assert failures == []
