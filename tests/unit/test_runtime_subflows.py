"""Subflows, loops and compensation (rules S10, S13, S19) as a run's caller sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flowcraft import FlowRuntime, Node, RetryPolicy, create_flow
from flowcraft.core.builder import FlowBuilder
from tests.unit.runs import Ctx, Events, SyncCtx, echo, one, run


async def fails(ctx: Ctx) -> None:
    raise ValueError("inside")


async def read_key(ctx: Ctx) -> Any:
    return await ctx.context.get("key")


async def add_one(ctx: Ctx) -> None:
    await ctx.context.add("n", 1)


def test_a_child_gets_the_nodes_input_by_default() -> None:
    """Without ``inputs`` the node's input goes to the child's start nodes, and nothing else."""
    child = create_flow("child").node("a", echo).node("b", read_key)
    flow = create_flow("f").node("x", one).subflow("s", child).edge("x", "s")
    assert run(flow, {"key": "parent"}).outputs["s"] == {"a": 1, "b": None}


def test_a_child_gets_only_the_mapped_keys() -> None:
    """With ``inputs`` the child's context has the mapped keys alone."""

    async def keys(ctx: Ctx) -> list[str]:
        return sorted(await ctx.context.to_dict())

    child = create_flow("child").node("a", keys)
    flow = create_flow("f").subflow("s", child, inputs={"mine": "key", "none": "missing"})
    assert run(flow, {"key": 1, "other": 2}).outputs["s"] == ["mine", "none"]


def test_the_result_of_a_child_is_that_of_its_terminals() -> None:
    """A single terminal's output is the node's; of several, a map of those that ran."""
    single = create_flow("single").node("a", one).node("b", echo).edge("a", "b")
    several = create_flow("several").node("a", one).node("b", echo).node("c", echo).node("d", echo)
    several.edge("a", "b").edge("a", "c").edge("a", "d", condition="false")
    flow = create_flow("f").subflow("s", single).subflow("t", several)
    outputs = run(flow).outputs
    assert (outputs["s"], outputs["t"]) == (1, {"b": 1, "c": 1})


def test_outputs_map_the_childs_keys_to_the_parents() -> None:
    """With ``outputs`` mapped keys are set in the parent; a context key goes before an output."""

    async def writes(ctx: Ctx) -> str:
        await ctx.context.set("a", "context")
        await ctx.context.set("more", [1])
        return "output"

    child = create_flow("child").node("b", writes)
    flow = create_flow("f").subflow("s", child, outputs={"x": "a", "y": "b", "z": "missing"})
    result = run(flow)
    assert [result.context[key] for key in "xyz"] == ["context", "output", None]
    assert {"a": "context", "more": [1]}.items() <= result.outputs["s"].items()


def test_a_childs_failure_fails_the_node_with_its_causes() -> None:
    """The parent's error names the child's error, through every level."""
    inner = create_flow("inner").node("deep", fails)
    flow = create_flow("f").subflow("s", create_flow("outer").subflow("t", inner))
    (error,) = run(flow).errors
    assert (error.type, error.node_id) == ("SubflowFailed", "s")
    assert any("deep" in text and "inside" in text for _, text in error.causes)


def test_a_failed_child_is_retried_as_a_new_run_with_the_same_input() -> None:
    """Each attempt of a subflow is a new child, which starts from scratch."""
    seen: list[tuple[str, Any]] = []

    async def flaky(ctx: Ctx) -> Any:
        seen.append((ctx.run_id, ctx.input))
        if len(seen) < 3:
            raise ValueError
        return ctx.input

    child = create_flow("child").node("a", flaky)
    flow = create_flow("f").node("x", one).subflow("s", child, retry=RetryPolicy(3, delay=0))
    result = run(flow.edge("x", "s"))
    assert (result.status, result.outputs["s"]) == ("completed", 1)
    assert len({run_id for run_id, _ in seen}) == 3
    assert [given for _, given in seen] == [1, 1, 1]


def test_a_failed_child_takes_the_fallback() -> None:
    """A subflow's fallback runs in its place."""
    flow = create_flow("f").subflow("s", create_flow("child").node("a", fails), fallback="h")
    result = run(flow.node("h", one))
    assert (result.status, result.outputs["h"]) == ("completed", 1)


def test_a_child_nobody_knows_fails_the_node_and_lists_the_others() -> None:
    """An unknown blueprint id fails the node and says which ids there are."""
    runtime = FlowRuntime(blueprints={"known": create_flow("known").node("a", one).to_blueprint()})
    (error,) = run(create_flow("f").subflow("s", "unknown"), runtime=runtime).errors
    assert "'unknown'" in error.message
    assert "known" in error.message


def test_a_flow_that_calls_itself_without_an_end_fails_clearly() -> None:
    """Subflows within subflows are bounded, with an error that says so."""
    flow = create_flow("f")
    flow.subflow("s", flow)
    result = run(flow)
    assert result.status == "failed"
    assert "limit" in str(result.errors[0].causes)


def test_a_flow_may_call_itself_with_an_end() -> None:
    """A child that is its own parent works as long as it ends."""

    async def minus(ctx: Ctx) -> int:
        n: int = await ctx.context.get("n")
        return n - 1

    flow = create_flow("f").node("minus", minus)
    flow.subflow("again", flow, inputs={"n": "minus"}).edge("minus", "again", condition="minus > 0")
    result = run(flow, {"n": 5})
    assert result.status == "completed"


EMPTY: dict[str, Callable[[], FlowBuilder]] = {
    "no nodes": lambda: create_flow("child"),
    "empty batch": lambda: create_flow("child").batch("b", "work", inputs="nothing"),
    "fails at once": lambda: create_flow("child").subflow("s", "unknown"),
}


@pytest.mark.parametrize("name", EMPTY)
def test_many_children_that_end_at_once_are_no_matter_of_depth(name: str) -> None:
    """A thousand children in a row that end the moment they start need no stack."""
    child = EMPTY[name]()
    flow = create_flow("f").subflow("s0", child, fallback="s1" if name == "fails at once" else None)
    for n in range(1, 1_000):
        last = n == 999 or name != "fails at once"
        flow.subflow(f"s{n}", child, fallback=None if last else f"s{n + 1}")
        if name != "fails at once":
            flow.edge(f"s{n - 1}", f"s{n}")
    result = run(flow)
    assert result.status == ("failed" if name == "fails at once" else "completed")
    assert len(result.states) == 1_000


def test_a_loop_runs_its_body_while_its_condition_holds() -> None:
    """The body runs once per iteration, not at all where the condition is false at first."""
    for start, rounds in ((0, 3), (5, 0)):
        flow = create_flow("f").node("begin", one).node("body", add_one).node("end", read_key)
        flow.loop("l", "n < 3", start="body", end="body").edge("begin", "l").edge("l", "end")
        events = Events()
        result = run(flow, {"n": start}, runtime=FlowRuntime(listeners=[events]))
        assert result.context["n"] == start + rounds
        assert events.names("body", kinds=["node:start"]) == ["node:start body"] * rounds
        assert result.outputs["end"] is None
        assert result.outputs["l"] is None


def test_loops_in_loops_count_their_own_rounds() -> None:
    """An inner loop starts anew in each round of the outer one."""
    seen: list[tuple[int, int]] = []

    async def inner(ctx: Ctx) -> None:
        await ctx.context.add("j", 1)
        seen.append((await ctx.context.get("i"), ctx.iteration))

    async def outer(ctx: Ctx) -> None:
        await ctx.context.add("i", 1)
        await ctx.context.set("j", 0)

    flow = create_flow("f").node("begin", one).node("x", inner).node("y", outer)
    flow.loop("in", "j < 2", start="x", end="x").edge("in", "y")
    flow.loop("out", "i < 3", start="in", end="y").edge("begin", "out")
    result = run(flow, {"i": 0, "j": 0})
    assert (result.status, result.context["i"]) == ("completed", 3)
    assert [i for i, _ in seen] == [0, 0, 1, 1, 2, 2]
    assert [iteration for _, iteration in seen] == [0, 1] * 3


def test_a_loop_around_a_batch_and_a_subflow() -> None:
    """Each iteration runs its own batch and child."""

    async def doubles(ctx: Ctx) -> Any:
        return ctx.input * 2

    async def keep(ctx: Ctx) -> None:
        await ctx.context.set("list", ctx.input)
        await ctx.context.add("n", 1)

    child = create_flow("child").node("c", echo)
    flow = create_flow("f").node("begin", one).batch("b", doubles, inputs="list")
    flow.subflow("s", child).node("keep", keep).edge("b", "s").edge("s", "keep")
    flow.loop("l", "n < 4", start="b", end="keep").edge("begin", "l")
    result = run(flow, {"list": [1, 2], "n": 0})
    assert (result.status, result.context["list"]) == ("completed", [16, 32])


def test_a_loop_without_an_end_hits_the_limit() -> None:
    """A run that would go on for ever fails at its limit, and says what to do."""
    flow = create_flow("f").node("begin", one).node("body", add_one)
    flow.loop("l", "true", start="body", end="body").edge("begin", "l")
    result = run(flow, runtime=FlowRuntime(max_executions=100))
    (error,) = result.errors
    assert (result.status, error.type) == ("failed", "LimitExceeded")
    assert "max_executions" in error.message
    assert result.context["n"] <= 100


def test_a_cycle_without_a_start_begins_at_its_first_node() -> None:
    """A graph that is all cycle starts at its first node, or where it says (S1)."""

    async def step(ctx: Ctx) -> None:
        await ctx.context.add("n", 1)
        if not await ctx.context.has("first"):
            await ctx.context.set("first", ctx.node_id)

    def cycle() -> FlowBuilder:
        flow = create_flow("f").node("a", step).node("b", step)
        return flow.edge("a", "b").edge("b", "a", condition="n < 4")

    assert run(cycle(), {"n": 0}).context["first"] == "a"
    assert run(cycle().cycle_entry("b"), {"n": 0}).context["first"] == "b"


def test_compensation_runs_in_reverse_with_what_the_node_had() -> None:
    """What was completed is undone in reverse order, each with its input and output."""
    undone: list[Any] = []

    async def undo(ctx: Ctx) -> None:
        undone.append((ctx.node_id, ctx.input))

    class Undo(Node[Any, None]):
        async def exec(self, ctx: Ctx, prepared: Any) -> None:
            undone.append(("class", prepared))

    def plain(ctx: SyncCtx) -> None:
        undone.append(("plain", ctx.input))

    flow = create_flow("f").node("a", one, compensate="ua").node("b", echo, compensate="ub")
    flow.node("c", echo, compensate="uc").node("d", fails, compensate="ub")
    flow.node("ua", undo).node("ub", Undo).node("uc", plain)
    flow.edge("a", "b").edge("b", "c").edge("c", "d")
    result = run(flow)
    given = {"input": 1, "output": 1}
    assert undone == [("plain", given), ("class", given), ("ua", {"input": None, "output": 1})]
    assert result.compensations == (("uc", None), ("ub", None), ("ua", None))
    assert (result.status, len(result.errors)) == ("failed", 1)


def test_a_compensation_that_fails_is_reported_and_stops_no_other() -> None:
    """A failing compensation has its attempts; its error is kept, and the others still run."""
    undone: list[int] = []

    async def undo(ctx: Ctx) -> None:
        undone.append(ctx.attempt)

    flow = create_flow("f").node("a", one, compensate="ua").node("b", one, compensate="ub")
    flow.node("ua", undo).node("ub", fails, retry=RetryPolicy(2, delay=0)).node("c", fails)
    flow.edge("a", "b").edge("b", "c")
    result = run(flow)
    (first, error), (second, nothing) = result.compensations
    assert (first, second, nothing, undone) == ("ub", "ua", None, [1])
    assert error is not None
    assert (error.type, error.attempts) == ("ValueError", 2)
    assert [error.node_id for error in result.errors] == ["c"]


def test_nothing_is_undone_in_a_run_that_completes() -> None:
    """Without a failure no compensation runs, also where a fallback saved the run."""
    undone: list[int] = []

    async def undo(ctx: Ctx) -> None:
        undone.append(1)

    flow = create_flow("f").node("a", one, compensate="u").node("u", undo)
    flow.node("b", fails, fallback="h").node("h", one).edge("a", "b")
    result = run(flow)
    assert (result.status, undone, result.compensations) == ("completed", [], ())


def test_a_node_in_a_loop_is_undone_once_per_iteration() -> None:
    """Every completed iteration of a node is undone, the last one first."""
    undone: list[Any] = []

    async def book(ctx: Ctx) -> Any:
        await ctx.context.add("n", 1)
        return await ctx.context.get("n")

    async def undo(ctx: Ctx) -> None:
        undone.append(ctx.input["output"])

    flow = create_flow("f").node("begin", one).node("book", book, compensate="u").node("u", undo)
    flow.loop("l", "n < 3", start="book", end="book").edge("begin", "l").node("bad", fails)
    result = run(flow.edge("l", "bad"), {"n": 0})
    assert (result.status, undone) == ("failed", [3, 2, 1])


def test_a_child_that_rests_again_when_its_time_is_up_ends_the_wait() -> None:
    """A child whose timer leads it to the next question hands the run back, and does not hang."""
    child = create_flow("child").wait("soon", timeout="1ms").wait("open").edge("soon", "open")
    flow = create_flow("f").subflow("s", child)
    result = run(flow)
    assert (result.status, [wait.path for wait in result.awaiting]) == (
        "awaiting",
        [("s", "open")],
    )
