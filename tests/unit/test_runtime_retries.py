"""Retries and timeouts (rule S9), in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from datetime import timedelta
from typing import Any

import pytest

from flowcraft import FlowRuntime, NodeResult, RetryPolicy, create_flow
from flowcraft.testing import TestEnvironment, VirtualClock
from tests.unit.runs import Ctx, Events, SyncCtx, drive, one, run

START = 1_704_067_200.0


class CardDeclined(Exception):
    """Not worth another try."""


class Declined3ds(CardDeclined):
    """A kind of it."""


def failing(*errors: BaseException | None) -> Any:
    """A node that raises one after the other, then succeeds; and when its calls were."""
    calls: list[tuple[int, int]] = []

    async def node(ctx: Ctx) -> int:
        calls.append((ctx.attempt, ctx.max_attempts))
        error = errors[ctx.attempt - 1] if ctx.attempt <= len(errors) else None
        if error is not None:
            raise error
        return ctx.attempt

    node.calls = calls  # type: ignore[attr-defined]
    return node


async def times_of(retry: RetryPolicy, node: Any) -> tuple[Any, list[float]]:
    """Run a node in virtual time: its result, and when each attempt began, from the start."""
    clock = VirtualClock(START, autojump=True)
    events = Events()
    runtime = FlowRuntime(listeners=[events])
    clock.attach(runtime)
    result = await create_flow("f").node("a", node, retry=retry).run(runtime, run_id="r")
    return result, [round(event.timestamp - START, 6) for event in events.of("node:start")]


def test_delays_grow_up_to_their_bound() -> None:
    """Attempts are delayed by ``delay`` times ``backoff`` to the power, at most ``max_delay``."""
    retry = RetryPolicy(max_attempts=6, delay=1, backoff=3, max_delay=10, jitter=False)
    node = failing(*[ValueError()] * 5)
    result, times = drive(times_of(retry, node))
    assert times == [0, 1, 4, 13, 23, 33]
    assert result.outputs["a"] == 6
    assert node.calls == [(n, 6) for n in range(1, 7)]


def test_jitter_stays_within_its_bounds_and_is_the_same_again() -> None:
    """A jittered delay lies between half and all of it, and depends on the run alone."""
    retry = RetryPolicy(max_attempts=4, delay=10, backoff=1)
    first = drive(times_of(retry, failing(*[ValueError()] * 3)))[1]
    again = drive(times_of(retry, failing(*[ValueError()] * 3)))[1]
    delays = [after - before for before, after in itertools.pairwise(first)]
    assert first == again
    assert all(5 <= delay <= 10 for delay in delays)
    assert len(set(delays)) == 3


@pytest.mark.parametrize(
    ("policy", "error", "attempts"),
    [
        ({"retry_on": (TimeoutError,)}, TimeoutError(), 3),
        ({"retry_on": (TimeoutError,)}, ValueError(), 1),
        ({"retry_on": (OSError,)}, ConnectionResetError(), 3),
        ({"give_up_on": (CardDeclined,)}, CardDeclined(), 1),
        ({"give_up_on": (CardDeclined,)}, Declined3ds(), 1),
        ({"give_up_on": (Declined3ds,)}, CardDeclined(), 3),
        ({"retry_on": (Exception,), "give_up_on": (CardDeclined,)}, CardDeclined(), 1),
        ({"retry_on": ("CardDeclined",)}, Declined3ds(), 3),
        ({"give_up_on": CardDeclined}, CardDeclined(), 1),
    ],
)
def test_policies_choose_errors_along_the_class_hierarchy(
    policy: dict[str, Any], error: Exception, attempts: int
) -> None:
    """``retry_on`` and ``give_up_on`` take classes or names, and mean their subclasses too."""
    node = failing(*[error] * 5)
    retry = RetryPolicy(max_attempts=3, delay=0, **policy)
    (failure,) = run(create_flow("f").node("a", node, retry=retry)).errors
    assert (len(node.calls), failure.attempts) == (attempts, attempts)


def test_an_attempt_that_fails_by_its_result_is_retried() -> None:
    """``NodeResult(error=…)`` counts as a failed attempt."""

    async def node(ctx: Ctx) -> NodeResult[int]:
        return NodeResult(error="not yet") if ctx.attempt < 3 else NodeResult(7)

    retry = RetryPolicy(max_attempts=3, delay=0)
    assert run(create_flow("f").node("a", node, retry=retry)).outputs["a"] == 7


def test_the_idempotency_key_is_the_same_for_every_attempt_and_no_other_node() -> None:
    """Attempts of one node share a key; other nodes and runs have others."""
    keys: list[tuple[str, str]] = []

    async def node(ctx: Ctx) -> None:
        keys.append((ctx.node_id, ctx.idempotency_key))
        if ctx.attempt < 3:
            raise ValueError

    retry = RetryPolicy(max_attempts=3, delay=0)
    flow = create_flow("f").node("a", node, retry=retry).node("b", node, retry=retry)
    run(flow, run_id="one")
    run(flow, run_id="two")
    assert len(keys) == 12
    assert len(set(keys)) == len({key for _, key in keys}) == 4


def test_a_node_between_attempts_takes_no_place() -> None:
    """While a node waits for its next attempt, others run, even with a limit of one."""

    async def main() -> Any:
        flow = create_flow("f").node("a", failing(ValueError()), retry=RetryPolicy(2, delay=60))
        flow.node("b", one)
        async with TestEnvironment(flow) as env:
            handle = await env.start(flow, concurrency=1)
            before = (str(handle.status), dict(handle.result.outputs))
            await env.advance("60s")
            return before, str(handle.status), handle.result.outputs["a"]

    assert drive(main()) == (("running", {"b": 1}), "completed", 2)


def test_timers_return_still_waits_for_retries() -> None:
    """With ``timers="return"`` a run between two attempts is running: it goes on."""

    async def main() -> Any:
        clock, runtime = VirtualClock(autojump=True), FlowRuntime()
        clock.attach(runtime)
        flow = create_flow("f").node("a", failing(ValueError()), retry=RetryPolicy(2, delay=60))
        return await flow.run(runtime, timers="return")

    assert drive(main()).status == "completed"


def test_a_timeout_cancels_an_async_node() -> None:
    """An async node is cancelled when its time is up, told so, and the next attempt is fresh."""
    log: list[Any] = []

    async def node(ctx: Ctx) -> str:
        if ctx.attempt == 2:
            return "second"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append(ctx.cancelled.is_set())
            raise
        return "never"

    retry = RetryPolicy(max_attempts=2, delay=0)
    result = run(create_flow("f").node("a", node, timeout=0.005, retry=retry))
    assert (result.outputs["a"], log) == ("second", [True])


def test_the_error_of_a_timeout_says_how_long_it_was() -> None:
    """A node that took too long fails with ``NodeTimeout``, which is a ``TimeoutError``."""

    async def node(ctx: Ctx) -> None:
        await asyncio.Event().wait()

    (error,) = run(create_flow("f").node("a", node, timeout=0.005)).errors
    assert (error.type, error.node_id) == ("NodeTimeout", "a")
    assert "TimeoutError" in error.names
    assert "5 ms" in error.message


def test_a_node_that_swallows_its_timeout_has_timed_out_all_the_same() -> None:
    """What a node returns after its time was up is refused."""

    async def node(ctx: Ctx) -> str:
        await ctx.context.set("late", True)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "late"

    result = run(create_flow("f").node("a", node, timeout=0.005))
    assert result.errors[0].type == "NodeTimeout"
    assert dict(result.context) == {}


def test_a_node_that_cleans_up_with_an_error_has_timed_out_all_the_same() -> None:
    """A node that turns its cancellation into an error of its own has still timed out."""

    async def node(ctx: Ctx) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("cleanup")

    (error,) = run(create_flow("f").node("a", node, timeout=0.005)).errors
    assert error.type == "NodeTimeout"
    assert ("RuntimeError", "cleanup") in error.causes


def test_a_plain_function_that_takes_too_long_is_given_up_on() -> None:
    """The late outcome of a thread is refused; it is told, and counted until it returns."""
    go, returned = threading.Event(), threading.Event()
    seen: list[bool] = []
    clock = VirtualClock()
    runtime = FlowRuntime(clock=clock)
    begun = asyncio.Event()
    loop: asyncio.AbstractEventLoop | None = None

    def node(ctx: SyncCtx) -> str:
        if ctx.attempt == 2:
            return "second"
        assert loop is not None
        loop.call_soon_threadsafe(begun.set)
        ctx.context.set("late", True)
        seen.append(ctx.cancelled.wait(5))
        go.wait(5)
        ctx.context.set("later", True)
        returned.set()
        return "first"

    async def main() -> Any:
        nonlocal loop
        loop = asyncio.get_running_loop()
        retry = RetryPolicy(max_attempts=2, delay=0)
        flow = create_flow("f").node("a", node, timeout=0.005, retry=retry)
        run = asyncio.ensure_future(flow.run(runtime))
        await begun.wait()
        clock.advance(0.005)  # time passes for the first attempt alone
        result = await run
        abandoned = runtime.threads.abandoned
        go.set()
        while runtime.threads.abandoned:
            await asyncio.sleep(0.001)
        return result, abandoned

    result, abandoned = drive(main())
    assert (result.outputs["a"], abandoned, seen) == ("second", 1, [True])
    assert returned.is_set()
    assert not {"late", "later"} & set(result.context)
    assert runtime.threads.calls == 0


def test_the_deadline_is_told_on_the_runs_clock() -> None:
    """``ctx.deadline`` is when the attempt times out; without a timeout there is none."""

    async def node(ctx: Ctx) -> Any:
        return ctx.deadline

    async def main() -> Any:
        flow = create_flow("f").node("a", node, timeout=90).node("b", node)
        async with TestEnvironment(flow) as env:
            result = await env.run(flow)
            return result.outputs["a"] - env.now, result.outputs["b"]

    assert drive(main()) == (timedelta(seconds=90), None)


def test_a_timeout_counts_from_each_attempts_start() -> None:
    """Time spent waiting for the next attempt does not count."""

    async def main() -> Any:
        clock = VirtualClock(autojump=True)
        runtime = FlowRuntime()
        clock.attach(runtime)

        async def node(ctx: Ctx) -> int:
            await clock.sleep(50)
            if ctx.attempt < 3:
                raise ValueError
            return ctx.attempt

        retry = RetryPolicy(max_attempts=3, delay=100, jitter=False)
        return await create_flow("f").node("a", node, timeout=60, retry=retry).run(runtime)

    assert drive(main()).outputs["a"] == 3


def test_a_fallback_runs_after_the_last_attempt_only() -> None:
    """A fallback node takes the failed node's place once its attempts are used up."""
    node = failing(*[ValueError("no")] * 5)

    async def instead(ctx: Ctx) -> Any:
        return {"input": ctx.input, "error": await ctx.context.get("_catch_error")}

    flow = create_flow("f").node("a", node, retry=RetryPolicy(3, delay=0), fallback="b")
    flow.node("b", instead).node("c", one).edge("a", "c")
    result = run(flow)
    error = {"nodeId": "a", "type": "ValueError", "message": "no", "attempts": 3}
    assert result.outputs["b"] == {"input": None, "error": error}
    assert (result.status, result.outputs["c"], len(node.calls)) == ("completed", 1, 3)
    assert result.errors == ()


@pytest.mark.parametrize("ways", [(), ("a",), ("a", "b")])
@pytest.mark.parametrize("ring", ["ab", "abc"])
def test_nodes_that_stand_in_for_one_another_are_each_tried_once(
    ring: str, ways: tuple[str, ...]
) -> None:
    """Where every fallback has failed, the last error stands, with or without edges of theirs."""
    began: list[str] = []

    async def fails(ctx: Ctx) -> None:
        began.append(ctx.node_id)
        raise ValueError(ctx.node_id)

    flow = create_flow("ring")
    for name, fallback in zip(ring, ring[1:] + ring[0], strict=True):
        flow.node(name, fails, uses="fails", fallback=fallback)
    for name in ways:
        flow.node(f"after-{name}", one, uses="one").edge(name, f"after-{name}")
    result = run(flow)
    assert (result.status, began) == ("failed", list(ring))
    assert [error.node_id for error in result.errors] == [ring[-1]]
