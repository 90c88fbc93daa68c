"""Batches and nodes that are added while a run is under way (rules S7, S11)."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from flowcraft import FlowRuntime, Node, NodeResult, RetryPolicy, create_flow
from flowcraft.core.builder import FlowBuilder
from tests.unit.runs import Ctx, Events, SyncCtx, drive, echo, one, run, turns


def batch(worker: Any, **options: Any) -> FlowBuilder:
    return create_flow("f").batch("b", worker, inputs="list", uses="work", **options)


async def odd_fails(ctx: Ctx) -> int:
    value: int = ctx.input
    if value % 2:
        raise ValueError(f"bad {value}")
    return value * 10


def test_results_are_in_input_order_whoever_ends_first() -> None:
    """Results come in the order of the items, though later items end first."""
    ended: list[int] = []

    async def backwards(ctx: Ctx) -> int:
        await turns(20 - 2 * ctx.input)
        ended.append(ctx.input)
        value: int = ctx.input
        return value * value

    result = run(batch(backwards), {"list": list(range(8))})
    assert result.outputs["b_gather"] == [n * n for n in range(8)]
    assert ended != sorted(ended)


@pytest.mark.parametrize("empty", [[], None, 0, ""])
def test_nothing_to_do_gives_an_empty_result(empty: Any) -> None:
    """An empty list, null and 0 give an empty list of results, and what follows runs."""
    flow = batch(one, output_key="results").node("after", echo).edge("b", "after")
    result = run(flow, {"list": empty})
    assert (result.status, result.outputs["after"], result.context["results"]) == (
        "completed",
        [],
        [],
    )


@pytest.mark.parametrize("wrong", ["text", 5, {"a": 1}, True])
def test_what_is_no_list_fails_the_batch(wrong: Any) -> None:
    """A batch over something else than a list fails and says what it was given."""
    result = run(batch(one), {"list": wrong})
    assert result.status == "failed"
    assert "list" in result.errors[0].message


def test_failing_items_fail_the_batch_after_the_others_ran() -> None:
    """Each failing item is an error named after its worker; the gather node does not run."""
    flow = batch(odd_fails).node("after", one).edge("b", "after")
    result = run(flow, {"list": [0, 1, 2, 3]})
    assert result.status == "failed"
    assert [(error.node_id, error.message) for error in result.errors] == [
        ("work[1]", "bad 1"),
        ("work[3]", "bad 3"),
    ]
    assert result.outputs["b_scatter"] == {"gatherNodeId": "b_gather", "hasMore": False}
    assert not {"b_gather", "after"} & set(result.outputs)


def test_failing_items_can_be_collected() -> None:
    """With ``collect`` a failing item leaves its index and error in the place of its result."""
    result = run(batch(odd_fails, failure_mode="collect"), {"list": [0, 1, 2]})
    error = {"type": "ValueError", "message": "bad 1"}
    assert result.outputs["b_gather"] == [0, {"index": 1, "error": error}, 20]
    assert (result.status, result.errors) == ("completed", ())


def test_no_more_than_a_hundred_errors_are_kept() -> None:
    """Of many failing items the first hundred errors are kept."""
    result = run(batch(odd_fails), {"list": [1] * 300})
    assert (result.status, len(result.errors)) == ("failed", 100)


def test_each_item_is_retried_by_itself() -> None:
    """Items have attempts of their own; those that went well are not repeated."""
    calls: Counter[int] = Counter()

    async def flaky(ctx: Ctx) -> int:
        calls[ctx.input] += 1
        if ctx.attempt <= ctx.input:
            raise ValueError
        attempt: int = ctx.attempt
        return attempt

    result = run(batch(flaky, retry=RetryPolicy(3, delay=0)), {"list": [0, 1, 2, 3]})
    assert dict(calls) == {0: 1, 1: 2, 2: 3, 3: 3}
    (error,) = result.errors
    assert (error.node_id, error.attempts) == ("work[3]", 3)


def test_each_item_has_a_timeout_of_its_own() -> None:
    """An item that takes too long fails alone."""

    async def slow(ctx: Ctx) -> str:
        if ctx.input:
            await asyncio.Event().wait()
        return "quick"

    result = run(batch(slow, timeout=0.005, failure_mode="collect"), {"list": [0, 1]})
    first, second = result.outputs["b_gather"]
    assert (first, second["error"]["type"]) == ("quick", "NodeTimeout")


@pytest.mark.parametrize(("options", "most"), [({"concurrency": 3}, 3), ({"chunk_size": 4}, 4)])
def test_items_under_way_are_limited(options: dict[str, int], most: int) -> None:
    """``concurrency`` and ``chunk_size`` bound how many items are under way at once."""
    under_way = peak = 0

    async def work(ctx: Ctx) -> None:
        nonlocal under_way, peak
        under_way += 1
        peak = max(peak, under_way)
        await turns(10)
        under_way -= 1

    assert run(batch(work, **options), {"list": list(range(20))}).status == "completed"
    assert peak == most


def test_chunks_begin_together() -> None:
    """With ``chunk_size`` the next items begin when all of the ones before have ended."""
    log: list[str] = []

    async def work(ctx: Ctx) -> None:
        log.append("+")
        await turns(1 + ctx.input)
        log.append("-")

    run(batch(work, chunk_size=3), {"list": [1, 5, 9, 2, 3, 4, 1]})
    assert "".join(log) == "+++---" * 2 + "+-"


@pytest.mark.parametrize("kind", ["async", "plain", "class"])
def test_workers_may_be_of_every_kind(kind: str) -> None:
    """Functions, plain functions and classes all do items, with a context like nodes."""

    async def work(ctx: Ctx) -> list[Any]:
        await ctx.context.add("count", 1)
        return [ctx.node_id, ctx.input]

    def plain(ctx: SyncCtx) -> list[Any]:
        ctx.context.add("count", 1)
        return [ctx.node_id, ctx.input]

    class Worker(Node[Any, Any]):
        async def exec(self, ctx: Ctx, prepared: Any) -> list[Any]:
            return await work(ctx)

    worker = {"async": work, "plain": plain, "class": Worker}[kind]
    result = run(batch(worker), {"list": ["x", "y"]})
    assert result.outputs["b_gather"] == [["work[0]", "x"], ["work[1]", "y"]]
    assert result.context["count"] == 2


def test_items_have_keys_of_their_own() -> None:
    """Idempotency keys differ from item to item and stay the same for an item's attempts."""
    keys: list[tuple[int, str]] = []

    async def work(ctx: Ctx) -> None:
        keys.append((ctx.input, ctx.idempotency_key))
        if ctx.attempt == 1:
            raise ValueError

    run(batch(work, retry=RetryPolicy(2, delay=0)), {"list": [1, 2, 3]})
    assert len(keys) == 6
    assert len(set(keys)) == len({key for _, key in keys}) == 3


def test_a_worker_that_nobody_registered_fails_the_batch() -> None:
    """A batch whose worker is missing fails with its name."""
    flow = create_flow("f").batch("b", "nowhere", inputs="list")
    result = run(flow, {"list": [1, 2]})
    assert result.status == "failed"
    assert {error.type for error in result.errors} == {"ImplementationMissing"}
    assert "nowhere" in result.errors[0].message


def test_an_item_of_a_failing_fast_run_stops_the_others() -> None:
    """When a run fails fast, a failing item ends the batch at once."""
    ran: list[int] = []

    async def work(ctx: Ctx) -> None:
        ran.append(ctx.input)
        if ctx.input == 2:
            raise ValueError

    result = run(batch(work, concurrency=1), {"list": list(range(50))}, on_failure="fail_fast")
    assert (result.status, ran) == ("failed", [0, 1, 2])


def test_ten_thousand_items_are_a_normal_batch() -> None:
    """10,000 items run, do not count as node executions, and keep their order."""
    flow = batch(echo, output_key="out").node("count", lambda ctx: len(ctx.input), uses="len")
    flow.edge("b", "count")
    result = run(flow, {"list": list(range(10_000))}, runtime=FlowRuntime(max_executions=10))
    assert (result.status, result.outputs["count"]) == ("completed", 10_000)
    assert result.context["out"] == list(range(10_000))


def test_two_batches_may_run_beside_each_other() -> None:
    """Batches of one run do not mix their results, also with one worker."""
    flow = batch(echo).batch("c", echo, inputs="other", uses="work")
    flow.node("join", echo).edge("b", "join").edge("c", "join")
    result = run(flow, {"list": [1, 2], "other": ["x"]})
    assert result.outputs["join"] == {"b_gather": [1, 2], "c_gather": ["x"]}


def test_a_node_may_add_nodes_and_wait_for_them() -> None:
    """Added nodes run like others; the node named by ``gatherNodeId`` waits for them."""

    async def adds(ctx: Ctx) -> NodeResult[Any]:
        nodes = [{"id": f"n{i}", "uses": "work", "params": {"i": i}} for i in range(3)]
        return NodeResult({"gatherNodeId": "end"}, dynamic_nodes=nodes)

    async def work(ctx: Ctx) -> Any:
        await turns(ctx.params["i"])
        return ctx.params["i"]

    async def end(ctx: Ctx) -> Any:
        return [await ctx.context.get(f"n{i}") for i in range(3)]

    flow = create_flow("f").node("adds", adds).node("end", end).edge("adds", "end")
    result = run(flow, runtime=FlowRuntime(registry={"work": work}))
    assert (result.status, result.outputs["end"]) == ("completed", [0, 1, 2])


@pytest.mark.parametrize(
    "nodes",
    [
        [{"id": "x"}],
        [{"uses": "work"}],
        ["x"],
        [{"id": "adds", "uses": "work"}],
        [{"id": "x", "uses": "work"}, {"id": "x", "uses": "work"}],
    ],
)
def test_added_nodes_that_make_no_sense_fail_the_node(nodes: list[Any]) -> None:
    """Malformed definitions and ids that exist already fail the node that adds them."""

    async def adds(ctx: Ctx) -> NodeResult[Any]:
        await ctx.context.set("lost", 1)
        return NodeResult(1, dynamic_nodes=nodes)

    flow = create_flow("f").node("adds", adds)
    result = run(flow, runtime=FlowRuntime(registry={"work": one}))
    assert (result.status, result.errors[0].node_id) == ("failed", "adds")
    assert "lost" not in result.context


def test_runs_do_not_share_added_nodes() -> None:
    """Nodes that one run adds are not there in the next run of the same blueprint."""

    async def adds(ctx: Ctx) -> NodeResult[Any]:
        return NodeResult(1, dynamic_nodes=[{"id": "x", "uses": "work"}])

    flow, runtime = create_flow("f").node("adds", adds), FlowRuntime(registry={"work": one})

    async def main() -> None:
        for result in await asyncio.gather(*(flow.run(runtime) for _ in range(3))):
            assert dict(result.outputs) == {"adds": 1, "x": 1}

    drive(main())
    assert [node.id for node in flow.to_blueprint().nodes] == ["adds"]


def test_every_item_is_told_once() -> None:
    """Each item's start and end is told once, also where items are handed out in parts."""
    events = Events()
    run(
        batch(echo, concurrency=7),
        {"list": list(range(100))},
        runtime=FlowRuntime(listeners=[events]),
    )
    counts = Counter((e.type, e.payload["item"]) for e in events if "item" in e.payload)
    assert set(counts.values()) == {1}
    assert len(counts) == 200
