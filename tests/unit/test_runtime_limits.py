"""Limits in process: all runs of a runtime together."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from flowcraft import FlowBuilder, FlowRuntime, Limit, create_flow
from flowcraft.engine import local_limits
from flowcraft.testing import TestEnvironment, VirtualClock


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that has an event loop."""

    @functools.wraps(test)
    def run(**arguments: Any) -> None:
        asyncio.run(test(**arguments))

    return run


class Meter:
    """Counts who is under way, by key.

    Attributes:
        most: The most at a time, by key.
        order: Who began, in order.
    """

    def __init__(self, turns: int = 3) -> None:
        self._turns = turns
        self._now: Counter[str] = Counter()
        self.most: dict[str, int] = defaultdict(int)
        self.order: list[Any] = []

    async def body(self, ctx: Any) -> Any:
        """Be under way for some turns of the loop."""
        value = ctx.input
        key = str(value.get("tenant")) if isinstance(value, dict) else "all"
        self.order.append(ctx.node_id)
        self._now[key] += 1
        self.most[key] = max(self.most[key], self._now[key])
        for _ in range(self._turns):
            await asyncio.sleep(0)
        self._now[key] -= 1
        return value


def fan(meter: Meter, count: int, key: str) -> FlowBuilder:
    flow = create_flow("fan").node("a", lambda ctx: 1, uses="a").node("z", lambda ctx: 2, uses="z")
    for number in range(count):
        name = f"b{number}"
        flow.node(name, meter.body, uses="meter", concurrency_key=key)
        flow.edge("a", name).edge(name, "z")
    return flow


@pytest.mark.parametrize("most", [1, 3])
@in_a_loop
async def test_no_more_are_under_way_than_may(most: int) -> None:
    """Nodes of a key wait for each other, in the order in which they became ready."""
    meter = Meter()
    runtime = FlowRuntime(limits={"db": Limit(concurrency=most)})
    result = await fan(meter, 10, "db").run(runtime)
    assert (result.status, meter.most["all"]) == ("completed", most)
    assert meter.order == [f"b{number}" for number in range(10)]


@in_a_loop
async def test_what_has_no_limit_is_not_limited() -> None:
    """A key that nothing is said about, and a runtime without limits, limit nothing."""
    for runtime in (FlowRuntime(), FlowRuntime(limits={"else": Limit(concurrency=1)})):
        meter = Meter()
        await fan(meter, 5, "db").run(runtime)
        assert meter.most["all"] == 5


@in_a_loop
async def test_each_key_has_a_limit_of_its_own() -> None:
    """Items of a batch are limited by what they are, one tenant beside the other."""
    meter = Meter()
    tenants = [{"tenant": name} for name in "aabbbcaab"]
    flow = create_flow("batch").node("list", lambda ctx: tenants)
    flow.batch("b", meter.body, uses="item", concurrency_key="tenant:{input.tenant}")
    flow.edge("list", "b")
    limits = {"tenant:*": Limit(concurrency=2), "tenant:c": Limit(concurrency=1)}
    result = await flow.run(FlowRuntime(limits=limits))
    assert result.outputs["b_gather"] == tenants
    assert meter.most == {"a": 2, "b": 2, "c": 1}


@in_a_loop
async def test_runs_share_a_limit() -> None:
    """All runs of a runtime are limited together, and child runs too."""
    meter = Meter()
    child = create_flow("child").node("x", meter.body, uses="meter", concurrency_key="db")
    flow = create_flow("parent").subflow("c", child)
    flow.node("y", meter.body, uses="meter", concurrency_key="db")
    runtime = FlowRuntime(flows=[flow, child], limits={"db": Limit(concurrency=2)})
    results = await asyncio.gather(*(runtime.run("parent") for _ in range(6)))
    assert {result.status for result in results} == {"completed"}
    assert meter.most["all"] <= 2


def test_threads_share_a_limit() -> None:
    """Runs in several threads are limited together, and wake each other."""
    inside, most, lock = [0], [0], threading.Lock()

    def body(ctx: Any) -> int:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        with lock:
            inside[0] -= 1
        return 1

    flow = create_flow("t")
    for number in range(20):
        flow.node(f"n{number}", body, uses="body", concurrency_key="db")
    runtime = FlowRuntime(flows=[flow], limits={"db": Limit(concurrency=1)})
    statuses: list[str] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(str(asyncio.run(_run(runtime)))))
        for _ in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join(timeout=30)
    assert (statuses, most[0]) == (["completed"] * 4, 1)


async def _run(runtime: FlowRuntime) -> str:
    return str((await runtime.run("t")).status)


@in_a_loop
async def test_a_failure_gives_its_place_back() -> None:
    """A node that fails, and is tried again, keeps nobody from their turn."""
    tried: Counter[str] = Counter()

    async def flaky(ctx: Any) -> int:
        tried[ctx.node_id] += 1
        if ctx.attempt == 1:
            raise ValueError("not yet")
        return 1

    flow = create_flow("f")
    for name in "abc":
        config = {"maxRetries": 2, "retryDelay": 0}
        flow.node(name, flaky, uses="flaky", concurrency_key="db", config=config)
    result = await flow.run(FlowRuntime(limits={"db": Limit(concurrency=1)}))
    assert (result.status, tried) == ("completed", {"a": 2, "b": 2, "c": 2})


@in_a_loop
async def test_who_waits_is_stopped_with_its_run() -> None:
    """A run that fails fast takes its nodes out of the line, and other runs go on."""
    began: list[str] = []
    hold = asyncio.Event()

    async def slow(ctx: Any) -> int:
        began.append(ctx.node_id)
        await hold.wait()
        return 1

    async def bad(ctx: Any) -> None:
        raise ValueError("bad")

    flow = create_flow("f").node("bad", bad)
    for name in "abc":
        flow.node(name, slow, uses="slow", concurrency_key="db")
    runtime = FlowRuntime(flows=[flow], limits={"db": Limit(concurrency=1)})
    blueprint = {**flow.to_blueprint().to_dict(), "metadata": {"onFailure": "fail_fast"}}
    result = await runtime.run(blueprint)
    assert (result.status, len(began) <= 1) == ("failed", True)
    hold.set()
    other = create_flow("other").node("x", slow, uses="slow2", concurrency_key="db")
    assert (await other.run(runtime)).status == "completed"


@in_a_loop
async def test_a_run_that_is_cancelled_leaves_the_line() -> None:
    """Whoever gives up on a run leaves no place taken, and nobody in line."""
    hold = asyncio.Event()

    async def slow(ctx: Any) -> int:
        await hold.wait()
        return 1

    flow = create_flow("f")
    for name in "ab":
        flow.node(name, slow, uses="slow", concurrency_key="db")
    runtime = FlowRuntime(flows=[flow], limits={"db": Limit(concurrency=1)})
    first, second = (asyncio.ensure_future(runtime.run("f")) for _ in range(2))
    for _ in range(5):
        await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    hold.set()
    assert (await second).status == "completed"
    assert not runtime.limits._lines


@in_a_loop
async def test_starts_follow_the_rate() -> None:
    """Nodes of a rate begin one after the other, and no window has more than it allows."""
    clock, starts = VirtualClock(), []

    async def note(ctx: Any) -> None:
        starts.append(clock.now())

    flow = create_flow("f")
    for number in range(7):
        flow.node(f"n{number}", note, uses="note", concurrency_key="api")
    limits = {"api": Limit(rate=4, per_seconds=60, burst=2)}
    runtime = FlowRuntime(flows=[flow], limits=limits, clock=clock)
    run = asyncio.ensure_future(runtime.run("f"))
    while not run.done():
        for _ in range(10):
            await asyncio.sleep(0)
        clock.advance(1)
    assert (await run).status == "completed"
    begun = [at - starts[0] for at in starts]
    assert begun == [0, 0, 20, 40, 60, 80, 100]


@in_a_loop
async def test_keys_that_are_used_once_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates of very many keys take no more memory than those that somebody used lately."""
    monkeypatch.setattr(local_limits, "KEPT_LINES", 10)
    clock = VirtualClock()
    flow = create_flow("f").node("a", lambda ctx: 1, concurrency_key="tenant:{context.tenant}")
    limits = {"tenant:*": Limit(rate=1, per_seconds=60)}
    runtime = FlowRuntime(flows=[flow], limits=limits, clock=clock)
    for number in range(100):
        await runtime.run("f", {"tenant": number})
        clock.advance(10)
    assert len(runtime.limits._lines) <= 20


@in_a_loop
async def test_the_test_environment_has_limits() -> None:
    """Limits hold in an environment with virtual time, too."""
    meter = Meter()
    flow = fan(meter, 4, "db")
    runtime = FlowRuntime(flows=[flow], limits={"db": Limit(concurrency=1)})
    async with TestEnvironment(runtime) as env:
        run = await env.run("fan")
        assert run.status == "completed"
    assert meter.most["all"] == 1
