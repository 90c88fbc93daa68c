"""Code around nodes, and what nodes are given besides their input (rule S18)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from flowcraft import FlowRuntime, Middleware, RetryPolicy, create_flow
from flowcraft.engine.middleware import Proceed
from tests.unit.runs import Ctx, Events, SyncCtx, echo, one, run


class Note(Middleware):
    """Notes what it is called for."""

    def __init__(self, name: str, log: list[Any]) -> None:
        self.name = name
        self.log = log

    async def before(self, ctx: Any) -> None:
        self.log.append(f"before {self.name} {ctx.node_id}")

    async def around(self, ctx: Any, proceed: Proceed) -> Any:
        self.log.append(f"around {self.name}")
        result = await proceed()
        self.log.append(f"through {self.name}")
        return result

    async def after(self, ctx: Any, result: Any, error: BaseException | None) -> None:
        self.log.append(f"after {self.name} {result} {error!r}")


def test_layers_lie_around_each_node_in_order() -> None:
    """The first layer is the outermost; each has its turn before, around and after."""
    log: list[Any] = []
    runtime = FlowRuntime(middleware=[Note("1", log), Note("2", log)])
    run(create_flow("f").node("a", one), runtime=runtime)
    assert log == [
        "before 1 a",
        "around 1",
        "before 2 a",
        "around 2",
        "through 2",
        "after 2 1 None",
        "through 1",
        "after 1 1 None",
    ]


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_layers_see_the_error_and_every_attempt(kind: str) -> None:
    """``after`` is told of the error, once for each attempt, of nodes of both kinds."""
    log: list[Any] = []

    async def later(ctx: Ctx) -> int:
        return fails(ctx)

    def fails(ctx: Any) -> int:
        if ctx.attempt == 1:
            raise ValueError("first")
        return 2

    def plain(ctx: SyncCtx) -> int:
        return fails(ctx)

    flow = create_flow("f").node(
        "a", later if kind == "async" else plain, retry=RetryPolicy(2, delay=0)
    )
    run(flow, runtime=FlowRuntime(middleware=[Note("1", log)]))
    assert [entry for entry in log if entry.startswith("after")] == [
        "after 1 None ValueError('first')",
        "after 1 2 None",
    ]


@pytest.mark.parametrize("method", ["before", "around", "after"])
def test_an_error_of_a_layer_fails_the_attempt(method: str) -> None:
    """An error in middleware counts as the node's own, and is retried like it."""
    calls: list[int] = []

    async def fails(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        raise RuntimeError(method)

    layer = type("Layer", (Middleware,), {method: fails})()
    flow = create_flow("f").node("a", one, retry=RetryPolicy(2, delay=0))
    (error,) = run(flow, runtime=FlowRuntime(middleware=[layer])).errors
    assert (error.type, error.message, error.attempts) == ("RuntimeError", method, 2)
    assert len(calls) == 2


def test_a_layer_may_answer_for_a_node_and_change_its_result() -> None:
    """``around`` may leave the node out, and what it returns is the node's result."""
    ran: list[int] = []

    async def note(ctx: Ctx) -> int:
        ran.append(1)
        return 1

    class Cache(Middleware):
        async def around(self, ctx: Any, proceed: Proceed) -> Any:
            return "cached" if ctx.node_id == "a" else [await proceed()]

    flow = create_flow("f").node("a", note).node("b", note)
    outputs = run(flow, runtime=FlowRuntime(middleware=[Cache()])).outputs
    assert (dict(outputs), ran) == ({"a": "cached", "b": [1]}, [1])


def test_a_layer_may_rescue_a_node() -> None:
    """``around`` may catch a node's error by its class and give a result instead."""

    async def fails(ctx: Ctx) -> None:
        raise KeyError("x")

    class Rescue(Middleware):
        async def around(self, ctx: Any, proceed: Proceed) -> Any:
            try:
                return await proceed()
            except KeyError:
                return "rescued"

    runtime = FlowRuntime(middleware=[Rescue()])
    assert run(create_flow("f").node("a", fails), runtime=runtime).outputs["a"] == "rescued"


def test_writes_of_a_layer_are_committed_with_the_node() -> None:
    """Middleware may use the node's context; its writes share the node's fate."""

    class Stamp(Middleware):
        async def before(self, ctx: Any) -> None:
            await ctx.context.add("calls", 1)

    flow = create_flow("f").node("a", one).node("b", one).edge("a", "b")
    assert run(flow, runtime=FlowRuntime(middleware=[Stamp()])).context["calls"] == 2


def test_a_timeout_covers_the_layers_too() -> None:
    """A layer that hangs is cut off by the node's timeout."""

    class Slow(Middleware):
        async def before(self, ctx: Any) -> None:
            await asyncio.Event().wait()

    flow = create_flow("f").node("a", one, timeout=0.005)
    assert run(flow, runtime=FlowRuntime(middleware=[Slow()])).errors[0].type == "NodeTimeout"


def test_layers_are_around_items_and_compensations_and_nodes_of_children() -> None:
    """Whatever executes a callable goes through the middleware."""
    log: list[Any] = []

    async def fails(ctx: Ctx) -> None:
        raise ValueError

    flow = create_flow("f").node("done", one, compensate="undo").node("undo", echo)
    flow.batch("b", one, inputs="list").subflow("s", create_flow("c").node("x", one))
    flow.node("bad", fails).edge("done", "bad")
    run(flow, {"list": [1]}, runtime=FlowRuntime(middleware=[Note("1", log)]))
    seen = {entry.split()[2].rsplit(".", 1)[-1] for entry in log if entry.startswith("before")}
    assert {"done", "x", "bad", "undo"} <= seen
    assert any(name.endswith("one[0]") for name in seen)


class Gateway:
    """Something a node depends on."""


def test_dependencies_are_found_by_type_or_any_key() -> None:
    """Nodes of both kinds get the very objects that the runtime was given."""
    gateway, seen = Gateway(), list[Any]()

    async def node(ctx: Ctx) -> None:
        seen.append(ctx.dependency(Gateway))

    def plain(ctx: SyncCtx) -> None:
        seen.append(ctx.dependency("named"))  # type: ignore[arg-type]

    runtime = FlowRuntime(dependencies={Gateway: gateway, "named": gateway})
    assert run(create_flow("f").node("a", node).node("b", plain), runtime=runtime).errors == ()
    assert seen[0] is seen[1] is gateway


def test_a_missing_dependency_fails_the_node_for_good_and_lists_the_others() -> None:
    """A dependency nobody gave is no matter for a retry; the message says what there is."""

    async def node(ctx: Ctx) -> None:
        ctx.dependency(Gateway)

    flow = create_flow("f").node("a", node, retry=RetryPolicy(3, delay=0))
    (error,) = run(flow, runtime=FlowRuntime(dependencies={"other": 1})).errors
    assert error.attempts == 1
    assert "Gateway" in error.message
    assert "other" in error.message


def test_a_nodes_log_records_say_where_they_come_from(caplog: pytest.LogCaptureFixture) -> None:
    """``ctx.logger`` adds run, blueprint, node, attempt and iteration to each record."""

    async def node(ctx: Ctx) -> None:
        ctx.logger.warning("hello")

    with caplog.at_level(logging.WARNING):
        run(create_flow("f").node("a", node), run_id="r1")
    fields = vars(caplog.records[0])
    wanted = {"run_id": "r1", "blueprint_id": "f", "node_id": "a", "attempt": 1, "iteration": 0}
    assert {name: fields[name] for name in wanted} == wanted


def test_heartbeats_are_told_to_listeners() -> None:
    """Progress of nodes of both kinds reaches listeners, async ones too."""
    events, later = Events(), list[Any]()

    async def listen(event: Any) -> None:
        later.append(event.payload.get("progress"))

    async def node(ctx: Ctx) -> None:
        await ctx.heartbeat(0.5, {"rows": 10})

    def plain(ctx: SyncCtx) -> None:
        ctx.heartbeat(0.25)

    runtime = FlowRuntime(listeners=[events, listen])
    run(create_flow("f").node("a", node).node("b", plain), runtime=runtime)
    told = {
        e.node_id: (e.payload["progress"], e.payload["detail"]) for e in events.of("node:progress")
    }
    assert told == {"a": (0.5, {"rows": 10}), "b": (0.25, None)}
    assert {0.5, 0.25} <= set(later)
