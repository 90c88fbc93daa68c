"""Cancelling a run, from inside, outside and by its caller; and failing fast."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from flowcraft import (
    CancelToken,
    FlowRuntime,
    Node,
    RetryPolicy,
    RunCancelled,
    RunResult,
    create_flow,
)
from flowcraft.core.builder import FlowBuilder
from tests.unit.runs import Ctx, Events, SyncCtx, drive, echo, one, run, turns


async def forever(ctx: Ctx) -> None:
    await asyncio.Event().wait()


async def raises(ctx: Ctx) -> None:
    raise ValueError("always")


def blocks(ctx: SyncCtx) -> None:
    ctx.cancelled.wait(5)


class Forever(Node[Any, None]):
    """A class node that never ends by itself."""

    async def exec(self, ctx: Ctx, prepared: Any) -> None:
        await asyncio.Event().wait()


def items(ctx: SyncCtx) -> list[int]:
    return list(range(50))


def in_batch() -> FlowBuilder:
    flow = create_flow("f").node("list", items).batch("b", forever, concurrency=3)
    return flow.edge("list", "b")


def in_subflow() -> FlowBuilder:
    inner = create_flow("inner").node("x", forever)
    return create_flow("f").subflow("s", create_flow("outer").subflow("t", inner))


def in_waiting_subflow() -> FlowBuilder:
    child = create_flow("child").wait("w")
    return create_flow("f").subflow("s", child).node("other", forever)


def in_item_retry() -> FlowBuilder:
    flow = create_flow("f").node("list", items)
    flow.batch("b", raises, concurrency=3, retry=RetryPolicy(3, delay=60))
    return flow.edge("list", "b")


MOMENTS: dict[str, Callable[[], FlowBuilder]] = {
    "async node": lambda: create_flow("f").node("a", forever),
    "plain node": lambda: create_flow("f").node("a", blocks),
    "class node": lambda: create_flow("f").node("a", Forever),
    "sleeping": lambda: create_flow("f").sleep("a", "1h"),
    "waiting with a timeout": lambda: create_flow("f").wait("a", timeout="1h"),
    "waiting beside a node": lambda: create_flow("f").wait("a").node("b", forever),
    "between attempts": lambda: create_flow("f").node("a", raises, retry=RetryPolicy(3, delay=60)),
    "items": in_batch,
    "item between attempts": in_item_retry,
    "subflow in a subflow": in_subflow,
    "subflow that waits": in_waiting_subflow,
}


async def cancel_soon(flow: FlowBuilder, runtime: FlowRuntime) -> RunResult:
    """Start a flow that ends with ``after``, and cancel it once it has got somewhere."""
    token = CancelToken()
    work = asyncio.ensure_future(flow.run(runtime, cancel=token))
    await turns(20)
    assert not work.done()
    token.cancel()
    return await asyncio.wait_for(work, 5)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_can_be_cancelled_at_any_moment(moment: str) -> None:
    """Wherever a run is, it ends ``cancelled``, starts nothing more and leaves no task."""
    events = Events()
    flow = MOMENTS[moment]()
    last = list(flow.to_blueprint().nodes)[-1].id
    flow.node("after", one).edge(last.removesuffix("_gather"), "after")
    runtime = FlowRuntime(listeners=[events])
    result = drive(cancel_soon(flow, runtime))
    assert (result.status, result.errors, result.awaiting) == ("cancelled", (), ())
    assert "after" not in result.outputs
    assert not {"running", "waiting", "sleeping", "retrying", "child"} & set(result.states.values())
    root = [event for event in events if event.run_id == result.run_id]
    assert [event.type for event in root].count("workflow:cancel") == 1
    assert [event.type for event in root].count("workflow:finish") == 1
    assert root[-1].type == "workflow:finish"
    assert not runtime.sessions
    with pytest.raises(RunCancelled, match="caller"):
        result.raise_for_status()


def test_a_token_that_is_set_before_the_start_runs_nothing() -> None:
    """A run whose token is set already ends at once, and no node begins."""
    token, ran = CancelToken(), list[int]()
    token.cancel()

    async def note(ctx: Ctx) -> None:
        ran.append(1)

    result = run(create_flow("f").node("a", note), cancel=token)
    assert (result.status, ran) == ("cancelled", [])


def test_a_token_may_be_set_from_another_thread() -> None:
    """Another thread may cancel a run whose loop only waits."""
    token = CancelToken()
    timer = threading.Timer(0.005, token.cancel)
    timer.start()
    assert run(create_flow("f").node("a", forever), cancel=token).status == "cancelled"
    timer.join()


def test_a_node_may_cancel_its_own_run() -> None:
    """A node that cancels its run and goes on has its own outcome kept."""
    token = CancelToken()

    async def stops(ctx: Ctx) -> str:
        token.cancel()
        return "done"

    flow = create_flow("f").node("a", stops).node("b", one).edge("a", "b")
    result = run(flow, cancel=token)
    assert result.status == "cancelled"
    assert "b" not in result.outputs


def test_a_token_is_of_no_effect_after_the_end() -> None:
    """A token may be set long after its run and loop are gone; it has kept nothing alive."""
    token = CancelToken()
    result = run(create_flow("f").node("a", one), cancel=token)
    token.cancel()
    assert result.status == "completed"


def test_one_token_cancels_several_runs() -> None:
    """Runs that share a token end together."""

    async def main() -> list[str]:
        token, runtime = CancelToken(), FlowRuntime()
        flow = create_flow("f").node("a", forever)
        work = [asyncio.ensure_future(flow.run(runtime, cancel=token)) for _ in range(5)]
        await turns()
        token.cancel()
        return [str(result.status) for result in await asyncio.gather(*work)]

    assert drive(main()) == ["cancelled"] * 5


def test_a_node_that_swallows_its_cancellation_does_not_save_the_run() -> None:
    """A node that goes on after being cancelled is waited for; the run ends cancelled."""
    log: list[str] = []

    async def stubborn(ctx: Ctx) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await turns(3)
            log.append(f"cleaned up, told: {ctx.cancelled.is_set()}")
        return "late"

    flow = create_flow("f").node("a", stubborn).node("b", one).edge("a", "b")
    result = drive(cancel_soon(flow, FlowRuntime()))
    assert (result.status, log) == ("cancelled", ["cleaned up, told: True"])
    assert "b" not in result.outputs


def test_a_plain_function_is_told_and_left_behind() -> None:
    """A cancelled run does not wait for a thread: it tells it, and counts it as abandoned."""
    go, told = threading.Event(), list[bool]()

    def busy(ctx: SyncCtx) -> None:
        told.append(ctx.cancelled.wait(5))
        go.wait(5)

    runtime = FlowRuntime()

    async def main() -> tuple[RunResult, int]:
        result = await cancel_soon(create_flow("f").node("a", busy), runtime)
        abandoned = runtime.threads.abandoned
        go.set()
        while runtime.threads.calls:
            await asyncio.sleep(0.001)
        return result, abandoned

    result, abandoned = drive(main())
    assert (result.status, abandoned, told) == ("cancelled", 1, [True])
    assert runtime.threads.abandoned == 0


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_caller_may_drop_the_run(moment: str) -> None:
    """When the task that awaits a run is cancelled, nothing of the run goes on."""
    runtime = FlowRuntime()
    flow = MOMENTS[moment]()

    async def main() -> None:
        work = asyncio.ensure_future(flow.run(runtime))
        await turns(20)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert asyncio.all_tasks() == {asyncio.current_task()}

    drive(main())
    assert not runtime.sessions


def busy_flow() -> FlowBuilder:
    """Nodes of several kinds that begin and end all the time."""

    async def short(ctx: Ctx) -> None:
        await turns(2)

    flow = create_flow("f").node("list", items, uses="items").batch("b", short, uses="short")
    flow.edge("list", "b").subflow("s", create_flow("c").node("x", short, uses="short"))
    for n in range(6):
        flow.node(f"n{n}", short, uses="short").node(f"m{n}", one, uses="one")
        flow.edge(f"n{n}", f"m{n}")
    return flow


@pytest.mark.parametrize("how", ["drop", "cancel"])
def test_a_run_may_be_stopped_at_every_turn(how: str) -> None:
    """Whichever turn of the loop it is, a run that is dropped or cancelled ends soon."""

    async def main() -> None:
        for count in range(60):
            runtime, token = FlowRuntime(), CancelToken()
            work = asyncio.ensure_future(busy_flow().run(runtime, cancel=token))
            await turns(count)
            if how == "drop":
                work.cancel()
            else:
                token.cancel()
            await asyncio.wait([work], timeout=2)
            assert work.done(), f"it goes on after {count} turns"
            assert how == "drop" or work.result().status in ("cancelled", "completed")
            assert not runtime.sessions

    drive(main())


def test_a_caller_may_give_a_run_a_time_limit() -> None:
    """``asyncio.timeout`` around a run ends it with the caller's TimeoutError."""

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                await create_flow("f").node("a", forever).run(FlowRuntime())

    drive(main())


def test_dropping_a_run_lets_its_nodes_clean_up() -> None:
    """A node of a dropped run is cancelled, and its ``finally`` has run when the caller goes on."""
    log: list[str] = []

    async def careful(ctx: Ctx) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await turns(3)
            log.append("clean")

    async def main() -> None:
        work = asyncio.ensure_future(create_flow("f").node("a", careful).run(FlowRuntime()))
        await turns()
        work.cancel()
        await asyncio.wait([work])
        assert log == ["clean"]

    drive(main())


def test_cancelling_compensates_what_was_done_and_then_ends() -> None:
    """Compensation runs for a cancelled run as well, and is not itself cancelled."""
    undone: list[Any] = []

    async def undo(ctx: Ctx) -> None:
        await turns(3)
        undone.append(ctx.input["output"])

    flow = create_flow("f").node("book", one, compensate="undo").node("undo", undo)
    flow.node("long", forever).edge("book", "long")
    result = drive(cancel_soon(flow, FlowRuntime()))
    assert (result.status, undone) == ("cancelled", [1])
    assert result.compensations == (("undo", None),)


def test_cancelling_again_during_compensation_changes_nothing() -> None:
    """A token set while compensation runs neither stops nor repeats it."""
    token, undone = CancelToken(), list[int]()

    async def undo(ctx: Ctx) -> None:
        token.cancel()
        await turns(3)
        undone.append(1)

    flow = create_flow("f").node("book", one, compensate="undo").node("undo", undo)
    flow.node("bad", raises).edge("book", "bad")
    result = run(flow, cancel=token)
    assert (result.status, undone) == ("failed", [1])


def test_failing_fast_stops_what_runs_and_starts_nothing_more() -> None:
    """With ``fail_fast`` a failure cancels the other nodes at once."""

    class Late(Node[Any, None]):
        cleaned: ClassVar[list[int]] = []

        async def exec(self, ctx: Ctx, prepared: Any) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                self.cleaned.append(1)

    def build() -> FlowBuilder:
        flow = create_flow("f").node("late", Late).node("plain", blocks).sleep("sleep", "1h")
        flow.wait("wait").subflow("sub", create_flow("c").node("x", forever)).node("after", one)
        flow.node("root", one).node("bad", raises).edge("root", "bad").edge("late", "after")
        return flow

    by_blueprint = run(build().on_failure("fail_fast"))
    by_option = run(build(), on_failure="fail_fast")
    for result in (by_blueprint, by_option):
        assert (result.status, [error.node_id for error in result.errors]) == ("failed", ["bad"])
        assert set(result.outputs) == {"root"}
    assert Late.cleaned == [1, 1]


def test_failing_fast_leaves_out_what_had_no_place_yet() -> None:
    """Nodes that wait for a place when the run fails fast never begin."""
    ran: list[str] = []

    async def note(ctx: Ctx) -> None:
        ran.append(ctx.node_id)
        if ctx.node_id == "n3":
            raise ValueError

    flow = create_flow("f")
    for n in range(10):
        flow.node(f"n{n}", note)
    result = run(flow, concurrency=1, on_failure="fail_fast")
    assert ran == ["n0", "n1", "n2", "n3"]
    assert (result.states["n2"], result.states["n3"], result.states["n9"]) == (
        "succeeded",
        "failed",
        "cancelled",
    )


def test_without_failing_fast_healthy_branches_finish_first() -> None:
    """By default a failure stops only what depends on it, and the option beats the blueprint."""
    flow = create_flow("f").node("bad", raises).node("after", one).edge("bad", "after")
    flow.node("a", echo).node("b", one).edge("a", "b").on_failure("fail_fast")
    result = run(flow, on_failure="continue")
    assert (result.status, set(result.outputs)) == ("failed", {"a", "b"})
    assert result.states["after"] == "blocked"


def test_a_listener_that_cancels_as_a_node_begins_keeps_it_from_beginning() -> None:
    """Who cancels on ``node:start`` stops that node before any code of it runs."""
    token, began = CancelToken(), []

    async def body(_ctx: Ctx) -> None:
        began.append("body")

    def listener(event: Any) -> None:
        if event.type == "node:start":
            token.cancel()

    runtime = FlowRuntime(listeners=[listener])
    result = run(create_flow("f").node("a", body), runtime=runtime, cancel=token)
    assert (result.status, result.states["a"], began) == ("cancelled", "cancelled", [])
