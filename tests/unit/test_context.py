"""What a node sees of the context, and when others see what it wrote (rule S8)."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from flowcraft import (
    FlowRuntime,
    JsonSerializer,
    RetryPolicy,
    SerializationError,
    create_flow,
)
from flowcraft.engine.context import CancelToken
from tests.unit.runs import Ctx, SyncCtx, drive, echo, one, run

TWICE = RetryPolicy(max_attempts=2, delay=0)


@dataclass
class Money:
    amount: int


def test_a_node_reads_what_was_committed_before_it_started() -> None:
    """A parallel node that commits meanwhile changes nothing for one that is under way."""

    async def main() -> Any:
        committed = asyncio.Event()

        async def reads(ctx: Ctx) -> Any:
            before = await ctx.context.get("n")
            await committed.wait()
            everything = await ctx.context.to_dict()
            return {
                "before": before,
                "after": await ctx.context.get("n"),
                "dict": everything["n"],
                "new": await ctx.context.has("new"),
                "new in dict": "new" in everything,
                "gone": await ctx.context.get("gone"),
                "output": await ctx.context.has("writes"),
                "output key": await ctx.context.has("_outputs.writes"),
            }

        async def writes(ctx: Ctx) -> int:
            await ctx.context.set("n", 2)
            await ctx.context.set("new", 1)
            await ctx.context.delete("gone")
            return 5

        async def tells(ctx: Ctx) -> Any:
            seen = [await ctx.context.get(key) for key in ("n", "new", "gone", "writes")]
            committed.set()
            return seen

        flow = create_flow("f").node("reads", reads).node("writes", writes).node("tells", tells)
        flow.edge("writes", "tells")
        return (await flow.run(FlowRuntime(), {"n": 1, "gone": "here"})).outputs

    outputs = drive(main())
    assert outputs["reads"] == {
        "before": 1,
        "after": 1,
        "dict": 1,
        "new": False,
        "new in dict": False,
        "gone": "here",
        "output": False,
        "output key": False,
    }
    assert outputs["tells"] == [2, 1, None, 5]


def test_a_plain_function_reads_a_snapshot_too() -> None:
    """The snapshot holds for functions in threads while the loop goes on committing."""
    committed = threading.Event()

    def reads(ctx: SyncCtx) -> list[Any]:
        seen = [ctx.context.get("n")]
        assert committed.wait(5)
        return [*seen, ctx.context.get("n"), ctx.context.to_dict()["n"], ctx.context.has("new")]

    def writes(ctx: SyncCtx) -> None:
        ctx.context.set("n", 2)
        ctx.context.set("new", 2)

    async def tells(ctx: Ctx) -> None:
        committed.set()

    flow = create_flow("f").node("reads", reads).node("writes", writes).node("tells", tells)
    flow.edge("writes", "tells")
    assert run(flow, {"n": 1}).outputs["reads"] == [1, 1, 1, False]


def test_a_node_sees_its_own_writes_at_once() -> None:
    """Set, delete and add are seen by the node itself before anyone else."""

    async def writes(ctx: Ctx) -> list[Any]:
        context = ctx.context
        await context.set("a", 1)
        await context.add("a", 2)
        await context.add("old", 1)
        deleted = [await context.delete("x"), await context.delete("x")]
        await context.delete("d")
        await context.add("d", 3)
        found = [await context.get(key) for key in ("a", "old", "x", "d")]
        return [*found, await context.has("x"), deleted, sorted(await context.to_dict())]

    result = run(create_flow("f").node("n", writes), {"old": 10, "x": 1, "d": 9})
    assert result.outputs["n"] == [3, 11, None, 3, False, [True, False], ["a", "d", "old"]]
    assert {key: result.context[key] for key in ("a", "old", "d")} == {"a": 3, "old": 11, "d": 3}
    assert "x" not in result.context


def test_writes_become_visible_with_the_output_or_not_at_all() -> None:
    """A failed attempt and a failed node leave no trace; a later success leaves its writes."""

    async def flaky(ctx: Ctx) -> int:
        await ctx.context.set(f"try{ctx.attempt}", True)
        await ctx.context.add("count", 1)
        await ctx.context.delete("kept")
        if ctx.attempt == 1 or ctx.node_id == "bad":
            raise ValueError
        return 1

    flow = create_flow("f").node("good", flaky, retry=TWICE)
    result = run(flow, {"kept": 1})
    assert (dict(result.context), result.status) == (
        {"try2": True, "count": 1, "_outputs.good": 1, "good": 1},
        "completed",
    )
    result = run(create_flow("f").node("bad", flaky, retry=TWICE), {"kept": 1})
    assert dict(result.context) == {"kept": 1}


def test_additions_of_parallel_nodes_all_count() -> None:
    """Fifty nodes, half of them in threads, add to one key and nothing is lost."""

    async def adds(ctx: Ctx) -> None:
        await ctx.context.get("total")
        await asyncio.sleep(0)
        await ctx.context.add("total", 2)

    def adds_too(ctx: SyncCtx) -> None:
        ctx.context.get("total")
        ctx.context.add("total", 2)

    flow = create_flow("f")
    for n in range(25):
        flow.node(f"a{n}", adds).node(f"b{n}", adds_too)
    assert run(flow, {"total": 1}).context["total"] == 101


@pytest.mark.parametrize("present", ["text", [1], True, {"a": 1}])
def test_adding_to_something_else_fails_the_node_with_the_key(present: Any) -> None:
    """``add`` on a key that holds no number fails the node and says so, whoever wrote it."""

    async def adds(ctx: Ctx) -> None:
        await ctx.context.set("other", 1)
        await ctx.context.add("key", 1)

    async def writes_then_adds(ctx: Ctx) -> None:
        await ctx.context.set("key", present)
        await ctx.context.add("key", 1)

    result = run(create_flow("f").node("a", adds), {"key": present})
    assert "context.add('key')" in result.errors[0].message
    assert "other" not in result.context
    result = run(create_flow("f").node("a", writes_then_adds))
    assert "context.add('key'" in result.errors[0].message


@pytest.mark.parametrize("amount", ["1", True, None, [1]])
def test_only_numbers_can_be_added(amount: Any) -> None:
    """``add`` takes numbers only, and a bool is none."""

    async def adds(ctx: Ctx) -> None:
        await ctx.context.add("key", amount)

    (error,) = run(create_flow("f").node("a", adds)).errors
    assert (error.type, "takes a number" in error.message) == ("TypeError", True)


@pytest.mark.parametrize("method", ["set", "delete", "add"])
def test_engine_keys_cannot_be_written(method: str) -> None:
    """A node that writes a key of the engine's fails with the reason."""

    async def writes(ctx: Ctx) -> None:
        arguments = {"set": ("_outputs.b", 1), "delete": ("_outputs.b",), "add": ("_outputs.b", 1)}
        await getattr(ctx.context, method)(*arguments[method])

    (error,) = run(create_flow("f").node("a", writes)).errors
    assert "_outputs.b" in error.message


def test_keys_are_text() -> None:
    """A key that is no text is refused at the write."""

    async def writes(ctx: Ctx) -> None:
        await ctx.context.set(1, 1)  # type: ignore[arg-type]

    (error,) = run(create_flow("f").node("a", writes)).errors
    assert (error.type, "text" in error.message) == ("TypeError", True)


def test_a_value_that_cannot_be_stored_is_refused_where_it_is_set() -> None:
    """``set`` raises at once and names key and place, so that the node may deal with it."""

    async def writes(ctx: Ctx) -> str:
        try:
            await ctx.context.set("key", {"a": [object()]})
        except SerializationError as error:
            return str(error)
        return "accepted"

    result = run(create_flow("f").node("a", writes))
    assert "context['key'].a[0]" in result.outputs["a"]
    assert "key" not in result.context


def test_no_node_can_change_what_others_see() -> None:
    """Changing inputs, outputs, parameters and context values in place changes nothing."""
    kept: list[Any] = []

    async def makes(ctx: Ctx) -> Any:
        output = {"list": [1]}
        await ctx.context.set("shared", output)
        kept.append(output)
        return output

    async def spoils(ctx: Ctx) -> Any:
        kept[0]["list"].append("late")
        ctx.input["list"].append("input")
        (await ctx.context.get("shared"))["list"].append("context")
        (await ctx.context.get("makes"))["list"].append("output")
        (await ctx.context.to_dict())["shared"]["list"].append("dict")
        ctx.params["options"].append("params")
        with pytest.raises(TypeError):
            ctx.params["new"] = 1  # type: ignore[index]
        return ctx.input

    async def reads(ctx: Ctx) -> Any:
        return [await ctx.context.get("shared"), await ctx.context.get("makes"), ctx.params]

    params = {"options": [1]}
    flow = create_flow("f").node("makes", makes).node("spoils", spoils, params=params)
    flow.node("reads", reads, inputs="makes", params=params)
    flow.edge("makes", "spoils").edge("spoils", "reads")
    before = flow.to_blueprint().to_dict()
    result = run(flow)
    assert result.outputs["reads"] == [{"list": [1]}, {"list": [1]}, {"options": [1]}]
    assert result.outputs["makes"] == {"list": [1]}
    assert result.outputs["spoils"] == {"list": [1, "input"]}
    assert flow.to_blueprint().to_dict() == before


def test_the_result_hands_out_copies() -> None:
    """Changing what a result gives changes neither the result nor what is saved."""
    flow = create_flow("f").node("a", lambda ctx: [1], uses="list").wait("w").edge("a", "w")
    result = run(flow, {"key": [1]})
    result.outputs["a"].append(2)
    result.context["key"].append(2)
    assert (result.outputs["a"], result.context["key"]) == ([1], [1])
    with pytest.raises(TypeError):
        result.context["key"] = 2  # type: ignore[index]
    resumed = drive(FlowRuntime().resume(flow, result, output=1))
    assert (resumed.outputs["a"], resumed.context["key"]) == ([1], [1])


def test_siblings_get_inputs_of_their_own() -> None:
    """Two successors of one node cannot spoil each other's input."""

    async def spoils(ctx: Ctx) -> Any:
        ctx.input.append(ctx.node_id)
        await asyncio.sleep(0)
        return ctx.input

    flow = create_flow("f").node("a", lambda ctx: [], uses="list").node("b", spoils)
    flow.node("c", spoils).edge("a", "b").edge("a", "c")
    outputs = run(flow).outputs
    assert (outputs["a"], outputs["b"], outputs["c"]) == ([], ["b"], ["c"])


def test_a_deleted_output_name_stays_hidden_until_the_next_output() -> None:
    """A node may delete the alias of another one's output; the output itself stays."""

    async def deletes(ctx: Ctx) -> list[Any]:
        return [await ctx.context.delete("a"), await ctx.context.get("a")]

    flow = create_flow("f").node("a", one).node("b", deletes).node("c", echo, inputs="a")
    flow.edge("a", "b").edge("b", "c")
    result = run(flow)
    assert result.outputs["b"] == [True, None]
    assert "a" not in result.context
    assert result.outputs["a"] == 1


def test_values_of_registered_types_stay_what_they_are_everywhere() -> None:
    """Registered types pass through output, context, input, subflow, events, result and save."""
    serializer = JsonSerializer()
    serializer.register(Money)

    async def pays(ctx: Ctx) -> Money:
        await ctx.context.set("m", Money(2))
        return Money(1)

    async def sees(ctx: Ctx) -> list[str]:
        everything = await ctx.context.to_dict()
        values = [ctx.input, await ctx.context.get("m"), everything["m"]]
        return [repr(value) for value in values]

    child = create_flow("child").node("c", sees, inputs="given")
    flow = create_flow("f").node("a", pays).node("b", sees).wait("w")
    flow.subflow("s", child, inputs={"m": "m", "given": "a"})
    flow.edge("a", "b").edge("b", "w").edge("a", "s")
    told: list[Any] = []
    runtime = FlowRuntime(serializer=serializer, listeners=[told.append])

    async def main() -> Any:
        first = await runtime.run(flow)
        return await runtime.resume(flow, first.state, output=Money(3))

    result = drive(main())
    assert (result.outputs["a"], result.outputs["w"]) == (Money(1), Money(3))
    assert dict(result.context)["m"] == Money(2)
    seen = ["Money(amount=1)", "Money(amount=2)", "Money(amount=2)"]
    assert (result.outputs["b"], result.outputs["s"]) == (seen, seen)
    assert Money(1) in [event.payload.get("output") for event in told]


def test_a_token_tells_callbacks_once_and_late_ones_at_once() -> None:
    """A token is set once; who asks to be told after that is told immediately."""
    token, told = CancelToken(), list[int]()
    token.on_cancel(lambda: told.append(1))
    assert not token
    token.cancel()
    token.cancel()
    assert (told, bool(token), token.is_set(), token.wait(0)) == ([1], True, True, True)
    token.on_cancel(lambda: told.append(2))
    assert told == [1, 2]


@pytest.mark.parametrize("verb", ["set", "add", "delete"])
def test_a_key_that_cannot_be_stored_is_refused(verb: str) -> None:
    """Half of a surrogate pair is no key: the node fails, and the run can still be saved."""

    async def node(ctx: Ctx) -> None:
        arguments = () if verb == "delete" else (1,)
        await getattr(ctx.context, verb)("\ud800", *arguments)

    result = run(create_flow("f").node("n", node))
    assert "half of a surrogate pair" in result.errors[0].message
    assert result.state.encode()


@pytest.mark.parametrize("verb", ["get", "has"])
def test_a_key_that_is_no_text_is_refused(verb: str) -> None:
    """Reading under a key that is none says so, as writing does."""

    async def node(ctx: Ctx) -> None:
        await getattr(ctx.context, verb)(5)

    (error,) = run(create_flow("f").node("n", node)).errors
    assert error.message == "Context keys are text, not int"
