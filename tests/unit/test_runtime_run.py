"""Starting runs: what can be run, with which context, where, and how it is told."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from flowcraft import (
    BlueprintError,
    FlowcraftError,
    FlowRuntime,
    RunFailed,
    RunStatus,
    SerializationError,
    WorkflowBlueprint,
    create_flow,
)
from flowcraft.engine.watch import WATCH
from tests.deep import identical
from tests.unit.runs import Ctx, SyncCtx, drive, echo, one, run

ODD_IDS = [
    " ",
    "\0",
    "a.b/c:d,e#1[0]",
    "__proto__",
    "__class__",
    "_outputs.x",
    "\u202e\u200b",
    "日本語 🚀",
    "x" * 100_000,
    "0",
    "None",
]


async def value(ctx: Ctx) -> Any:
    return await ctx.context.get("value")


def double(ctx: SyncCtx) -> Any:
    return ctx.input * 2


def chain(length: int) -> dict[str, Any]:
    """A blueprint of ``length`` nodes in a row."""
    return {
        "id": "chain",
        "nodes": [{"id": f"n{i}", "uses": "step"} for i in range(length)],
        "edges": [{"source": f"n{i}", "target": f"n{i + 1}"} for i in range(length - 1)],
    }


def test_a_flow_runs_in_a_loop_and_from_plain_code() -> None:
    """The same flow gives the same result by ``await flow.run`` and by ``flow.run_sync``."""
    flow = create_flow("simple").node("start", value).node("double", double)
    flow.edge("start", "double")

    async def main() -> Any:
        return (await flow.run(FlowRuntime(), {"value": 42})).outputs["double"]

    assert drive(main()) == flow.run_sync({"value": 42}).context["double"] == 84


def test_run_sync_in_a_running_loop_is_refused() -> None:
    """Inside a running loop ``run_sync`` says what to do instead, and starts nothing."""
    ran: list[int] = []

    async def note(ctx: Ctx) -> None:
        ran.append(1)

    async def main() -> None:
        with pytest.raises(RuntimeError, match="await"):
            create_flow("f").node("a", note).run_sync()

    drive(main())
    assert ran == []


def test_errors_of_run_sync_have_no_causes_of_the_engine() -> None:
    """A node's error in a run from plain code has only the causes that the node gave it."""

    async def fails(ctx: Ctx) -> None:
        raise ValueError("bad")

    (error,) = create_flow("f").node("a", fails).run_sync().errors
    assert error.causes == ()


def test_blueprints_run_as_dict_object_and_id() -> None:
    """A blueprint may be given as a dict, as an object, or by the id the runtime knows it by."""
    blueprint = chain(3)
    runtime = FlowRuntime(registry={"step": one}, blueprints={"chain": blueprint})
    forms: list[Any] = [blueprint, WorkflowBlueprint.from_dict(blueprint), "chain"]
    for form in forms:
        result = run(form, runtime=runtime)
        assert (result.status, len(result.outputs)) == (RunStatus.COMPLETED, 3)
        assert result.blueprint_id == "chain"


def test_an_unknown_id_lists_the_known_ones() -> None:
    """Running an id that the runtime does not know names those that it knows."""
    runtime = FlowRuntime(blueprints={"chain": chain(1)})
    with pytest.raises(FlowcraftError, match="chain"):
        run("chian", runtime=runtime)


def test_a_malformed_blueprint_lists_every_problem() -> None:
    """A malformed blueprint is refused before anything runs, with all problems at once."""
    bad = {"id": "b", "nodes": [{"id": "a"}, {"uses": "x"}, {"id": "a", "uses": "x"}], "edges": []}
    with pytest.raises(BlueprintError) as caught:
        run(bad)
    assert len(caught.value.problems) >= 3


@pytest.mark.parametrize("given", [{"value": 1}, '{"value": 1}', json.dumps({"value": 1})])
def test_the_context_may_be_a_mapping_or_json_text(given: Any) -> None:
    """The initial context is the same as a mapping and as JSON text."""
    assert run(create_flow("f").node("a", value), given).outputs["a"] == 1


@pytest.mark.parametrize("text", ["", "{", "[1]", "1", "null", '{"a": 1} x', "{'a': 1}"])
def test_context_text_that_is_no_json_object_is_refused(text: str) -> None:
    """Text that is no JSON object is refused with an error of the package."""
    with pytest.raises(FlowcraftError, match="context"):
        run(create_flow("f").node("a", one), text)


def test_context_text_may_be_nested_deeply() -> None:
    """Context given as text may be as deep as context given as values."""
    depth = 20_000
    text = '{"value": ' + "[" * depth + "]" * depth + "}"
    result = run(create_flow("f").node("a", value), text)
    assert result.status == "completed"


@pytest.mark.parametrize(
    ("context", "place"),
    [
        ({"a": {"b": [1, object()]}}, r"context\.a\.b\[1\]"),
        ({"a": lambda: 1}, r"context\.a"),
        ({"a": "\ud800"}, r"context\.a"),
        ({"a": {1: 2}}, r"context\.a"),
    ],
)
def test_context_that_cannot_be_stored_is_refused_with_its_place(
    context: dict[str, Any], place: str
) -> None:
    """An initial context that cannot be stored is refused, and the place is named."""
    with pytest.raises(SerializationError, match=place):
        run(create_flow("f").node("a", one), context)


def test_changing_the_given_context_later_changes_nothing() -> None:
    """The run has its own copy of the initial context."""
    given = {"value": [1]}

    async def main() -> Any:
        run = asyncio.ensure_future(FlowRuntime().run(flow, given))
        await asyncio.sleep(0)
        given["value"].append(2)
        return (await run).outputs["b"]

    flow = create_flow("f").node("a", one).node("b", value).edge("a", "b")
    assert drive(main()) == [1]


def test_a_missing_implementation_fails_the_node_without_a_fallback() -> None:
    """A node without an implementation fails at once, unstarted, and its fallback is not run."""
    flow = create_flow("f").node("a", "nowhere", fallback="b", config={"maxRetries": 3})
    flow.node("b", one)
    result = run(flow)
    (error,) = result.errors
    assert (error.type, error.attempts, error.is_fatal) == ("ImplementationMissing", 1, True)
    assert "nowhere" in error.message
    assert "b" not in result.outputs


@pytest.mark.parametrize("options", [{"timers": "later"}, {"on_failure": "fail-fast"}])
def test_options_that_do_not_exist_are_refused(options: dict[str, Any]) -> None:
    """An option with a value that does not exist is refused, not taken for another one."""
    with pytest.raises(ValueError, match=next(iter(options.values()))):
        run(create_flow("f").node("a", one), **options)


def test_strict_refuses_cycles_for_a_run_and_for_a_runtime() -> None:
    """Cycles are refused where the run or else the runtime says so."""
    flow = create_flow("f").node("a", one).node("b", one).edge("a", "b").edge("b", "a", action="x")
    with pytest.raises(BlueprintError, match="cycle"):
        run(flow, strict=True)
    with pytest.raises(BlueprintError, match="cycle"):
        run(flow, runtime=FlowRuntime(strict=True))
    assert run(flow, runtime=FlowRuntime(strict=True), strict=False).status == "completed"


@pytest.mark.parametrize("node_id", ODD_IDS, ids=lambda text: ascii(text[:12]))
def test_ids_may_be_any_text(node_id: str) -> None:
    """A node with any id gets input, gives output, waits in a saved run, and is found again."""
    flow = create_flow("f").node(node_id, value).node("b", echo).wait("w")
    flow.edge(node_id, "b").edge("b", "w")
    runtime = FlowRuntime()

    async def main() -> Any:
        first = await runtime.run(flow, {"value": [1]})
        return await runtime.resume(flow, first.state, output=2)

    result = drive(main())
    assert (result.outputs[node_id], result.outputs["b"], result.outputs["w"]) == ([1], [1], 2)


def test_run_ids_are_fresh_unless_given() -> None:
    """Each run has an id of its own, or the one it is given."""
    flow = create_flow("f").node("a", one)
    assert run(flow).run_id != run(flow).run_id
    assert run(flow, run_id="mine").run_id == "mine"


def test_raise_for_status_passes_on_what_failed() -> None:
    """``raise_for_status`` gives a completed result back and raises for a failed one."""

    async def fails(ctx: Ctx) -> None:
        raise ValueError("the reason")

    result = run(create_flow("f").node("a", one))
    assert result.raise_for_status() is result
    with pytest.raises(RunFailed, match=r"'a'.*the reason"):
        run(create_flow("f").node("a", fails)).raise_for_status()


@pytest.mark.slow
def test_a_chain_of_20000_nodes_runs() -> None:
    """A chain is as long as the execution limit allows, whatever the interpreter's stack."""
    runtime = FlowRuntime(registry={"step": echo}, max_executions=None)
    result = run(chain(20_000), runtime=runtime)
    assert (result.status, len(result.outputs)) == ("completed", 20_000)


def nested(depth: int) -> Any:
    """A list in a list in a list …"""
    deep: Any = 0
    for _ in range(depth):
        deep = [deep]
    return deep


def test_values_may_be_100000_levels_deep() -> None:
    """A deep value passes from the initial context through a node to the result."""
    deep = nested(100_000)
    result = run(create_flow("f").node("a", value), {"value": deep})
    assert identical(result.outputs["a"], deep)


def test_deep_values_survive_saving_and_resuming() -> None:
    """A saved run holds deep values, and a deep answer is accepted."""
    deep = nested(10_000)
    flow = create_flow("f").node("a", value).wait("w").node("b", echo).edge("a", "w").edge("w", "b")
    runtime = FlowRuntime()

    async def main() -> Any:
        first = await runtime.run(flow, {"value": deep})
        return await runtime.resume(flow, first.state, output={"deep": deep})

    result = drive(main())
    assert identical(result.outputs["a"], deep)
    assert identical(result.outputs["b"], {"deep": deep})


def test_values_may_have_10_megabytes() -> None:
    """Large values pass through nodes unharmed."""
    text = "ä" * 5_000_000
    result = run(create_flow("f").node("a", value).node("b", echo).edge("a", "b"), {"value": text})
    assert result.outputs["b"] == text


def test_a_thousand_runs_at_once_on_one_runtime() -> None:
    """A thousand runs beside each other do not see each other."""
    flow = create_flow("f").node("a", value).node("b", echo).edge("a", "b")
    runtime = FlowRuntime()

    async def main() -> list[Any]:
        results = await asyncio.gather(*(runtime.run(flow, {"value": n}) for n in range(1_000)))
        return [result.outputs["b"] for result in results]

    assert drive(main()) == list(range(1_000))
    assert not runtime.sessions


def test_one_runtime_serves_one_loop_after_the_other() -> None:
    """A runtime may be used in one event loop after the other, threads and listeners included."""
    told: list[str] = []

    async def listen(event: Any) -> None:
        await asyncio.sleep(0)
        told.append(event.type)

    runtime = FlowRuntime(listeners=[listen])
    flow = create_flow("f").node("a", value).node("b", double).edge("a", "b")
    results = [flow.run_sync({"value": n}, runtime=runtime).outputs["b"] for n in (1, 2)]
    assert results == [2, 4]
    assert told.count("workflow:finish") == 2


def test_one_runtime_serves_loops_in_several_threads_at_once() -> None:
    """A runtime may be used from threads with a loop each, async listeners included."""
    told: list[str] = []
    failures: list[BaseException] = []

    async def listen(event: Any) -> None:
        await asyncio.sleep(0)
        told.append(event.run_id)

    async def pause(ctx: Ctx) -> Any:
        await asyncio.sleep(0)
        return ctx.input

    runtime = FlowRuntime(listeners=[listen])
    flow = create_flow("f").node("a", pause).node("b", lambda ctx: 1, uses="plain").edge("a", "b")

    def work(name: int) -> None:
        try:
            for n in range(10):
                assert flow.run_sync(runtime=runtime, run_id=f"{name}-{n}").status == "completed"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert failures == []
    assert len(told) == 4 * 10 * 6


def test_a_node_that_computes_for_long_holds_up_the_others_and_nothing_breaks() -> None:
    """An async node that never awaits holds up the loop; the timeouts of others still count."""
    release = threading.Event()

    def tell(ctx: SyncCtx) -> int:
        release.set()
        return 1

    async def hog(ctx: Ctx) -> bool:
        return release.wait(5)

    flow = create_flow("f").node("plain", tell).node("hog", hog)
    result = run(flow)
    assert result.outputs["hog"] is True


def test_a_node_that_keeps_the_loop_busy_is_named_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two looks at a loop that does not answer are enough to name the node, once."""

    async def hog(ctx: Ctx) -> int:
        for _ in range(5):
            WATCH.look()
        return 1

    flow = create_flow("f").node("hog", hog).node("other", one)
    assert run(flow).status == "completed"
    assert [record.getMessage().split("'")[1] for record in caplog.records] == ["hog"]
