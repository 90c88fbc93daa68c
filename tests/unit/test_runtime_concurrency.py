"""How many nodes are under way at once, and when a node starts."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow
from tests.unit.runs import Ctx, SyncCtx, drive, echo, one, run, turns


class Gauge:
    """Counts what is under way at once, from any thread."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_the_limit_holds_for_async_nodes_and_is_used_up(limit: int) -> None:
    """Exactly as many nodes run at once as the limit says, where there are enough."""
    gauge = Gauge()

    async def work(ctx: Ctx) -> None:
        with gauge:
            await turns()

    flow = create_flow("f")
    for n in range(30):
        flow.node(f"n{n}", work)
    assert run(flow, concurrency=limit).status == "completed"
    assert gauge.most == limit


def test_the_limit_holds_for_plain_functions() -> None:
    """Threads count, too: with a limit of 3, three calls meet and a fourth never joins them."""
    gauge = Gauge()
    meeting = threading.Barrier(3)

    def work(ctx: SyncCtx) -> None:
        with gauge:
            meeting.wait(5)

    flow = create_flow("f")
    for n in range(12):
        flow.node(f"n{n}", work)
    assert run(flow, runtime=FlowRuntime(concurrency=3)).status == "completed"
    assert gauge.most == 3


def test_the_limit_includes_children_and_items() -> None:
    """Nodes of subflows and items of batches share the limit of the run that started them."""
    gauge = Gauge()

    async def work(ctx: Ctx) -> None:
        with gauge:
            await turns(3)

    child = create_flow("child").node("c1", work).node("c2", work)
    flow = create_flow("f").node("list", lambda ctx: list(range(10)), uses="list")
    flow.batch("many", work).edge("list", "many")
    for n in range(5):
        flow.subflow(f"s{n}", child).node(f"n{n}", work)
    assert run(flow, concurrency=4).status == "completed"
    assert gauge.most == 4


def test_a_limit_of_one_runs_a_subflow() -> None:
    """A parent that waits for its child takes no place: a limit of one is enough."""
    flow = create_flow("f").subflow("s", create_flow("child").node("c", one)).node("after", echo)
    flow.edge("s", "after")
    assert run(flow, concurrency=1).outputs["after"] == 1


@pytest.mark.parametrize("limit", [0, -1, None])
def test_a_limit_that_is_not_positive_means_the_default(limit: int | None) -> None:
    """Zero, a negative number and nothing mean the runtime's default."""
    gauge = Gauge()

    async def main() -> None:
        together = asyncio.Event()

        async def work(ctx: Ctx) -> None:
            with gauge:
                if gauge.now == 20:
                    together.set()
                await together.wait()

        flow = create_flow("f")
        for n in range(20):
            flow.node(f"n{n}", work)
        await asyncio.wait_for(flow.run(FlowRuntime(), concurrency=limit), 5)

    drive(main())
    assert gauge.most == 20


def test_a_node_starts_as_soon_as_its_inputs_are_there() -> None:
    """There are no waves: a short branch is through while a long one is still at its first node."""
    order: list[str] = []

    async def main() -> None:
        gate = asyncio.Event()

        async def slow(ctx: Ctx) -> None:
            await gate.wait()
            order.append("slow")

        async def quick(ctx: Ctx) -> None:
            order.append(ctx.node_id)
            if ctx.node_id == "q3":
                gate.set()

        flow = create_flow("f").node("slow", slow)
        for n in range(4):
            flow.node(f"q{n}", quick)
        flow.edge("q0", "q1").edge("q1", "q2").edge("q2", "q3")
        await flow.run(FlowRuntime())

    drive(main())
    assert order == ["q0", "q1", "q2", "q3", "slow"]


def test_nodes_may_wait_for_each_other() -> None:
    """Parallel nodes are really under way together: each can wait for the other."""

    async def main() -> Any:
        first, second = asyncio.Event(), asyncio.Event()

        async def a(ctx: Ctx) -> str:
            first.set()
            await second.wait()
            return "a"

        async def b(ctx: Ctx) -> str:
            second.set()
            await first.wait()
            return "b"

        flow = create_flow("f").node("a", a).node("b", b).node("join", echo)
        flow.edge("a", "join").edge("b", "join")
        return (await flow.run(FlowRuntime())).outputs["join"]

    assert drive(main()) == {"a": "a", "b": "b"}


def test_a_node_that_waits_does_not_hold_up_what_became_ready_after_it() -> None:
    """A successor starts although the node that was started before it still waits."""

    async def main() -> list[str]:
        gate, order = asyncio.Event(), list[str]()

        async def waits(ctx: Ctx) -> None:
            order.append("begins to wait")
            await gate.wait()
            order.append("waited")

        async def opens(ctx: Ctx) -> None:
            order.append("opens")
            gate.set()

        flow = create_flow("f").node("root", one).node("waits", waits).node("opens", opens)
        flow.edge("root", "waits").edge("root", "opens")
        await flow.run(FlowRuntime(), concurrency=2)
        return order

    assert drive(main()) == ["begins to wait", "opens", "waited"]


def test_short_nodes_without_an_await_let_the_loop_turn() -> None:
    """A long chain of nodes that never wait leaves room for other tasks in the loop."""

    async def main() -> int:
        ticks, over = 0, asyncio.Event()

        async def tick() -> None:
            nonlocal ticks
            while not over.is_set():
                ticks += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(tick())
        flow = create_flow("f").node("n0", one)
        for n in range(999):
            flow.node(f"n{n + 1}", one).edge(f"n{n}", f"n{n + 1}")
        await flow.run(FlowRuntime())
        over.set()
        await other
        return ticks

    assert drive(main()) > 10
