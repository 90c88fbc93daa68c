"""Plain functions, and everything else that can be called like a node."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Awaitable
from typing import Any

import pytest

from flowcraft import FlowcraftError, FlowRuntime, NodeResult, create_flow
from tests.unit.runs import Ctx, SyncCtx, echo, run

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("NAME", default="nobody")


def add(amount: int, ctx: SyncCtx) -> int:
    total: int = ctx.input["n"] + amount
    return total


async def add_later(amount: int, ctx: Ctx) -> int:
    total: int = ctx.input["n"] + amount
    return total


class Adder:
    """Adds an amount of its own; plain or async."""

    def __init__(self, amount: int) -> None:
        self.amount = amount

    def __call__(self, ctx: SyncCtx) -> int:
        return add(self.amount, ctx)

    def method(self, ctx: SyncCtx) -> int:
        return add(self.amount, ctx)

    async def later(self, ctx: Ctx) -> int:
        return await add_later(self.amount, ctx)

    @staticmethod
    def static(ctx: SyncCtx) -> int:
        return add(1, ctx)


class AsyncAdder:
    """Adds one, called as an async function."""

    async def __call__(self, ctx: Ctx) -> int:
        return await add_later(1, ctx)


def wrapper(ctx: Any) -> Awaitable[int]:
    """A plain function that gives a coroutine to be awaited."""
    return add_later(1, ctx)


CALLABLES: list[Any] = [
    functools.partial(add, 1),
    functools.partial(add_later, 1),
    Adder(1),
    Adder(1).method,
    Adder(1).later,
    Adder.static,
    AsyncAdder(),
    lambda ctx: ctx.input["n"] + 1,
    wrapper,
    functools.partial(wrapper),
]


@pytest.mark.parametrize("implementation", CALLABLES, ids=range(len(CALLABLES)))
def test_whatever_can_be_called_with_a_context_is_a_node(implementation: Any) -> None:
    """Partials, methods, objects that can be called, lambdas and wrappers all work."""
    flow = create_flow("f").node("a", implementation, uses="it", inputs={"n": "n"})
    assert run(flow, {"n": 41}).outputs["a"] == 42


def test_plain_functions_run_beside_the_loop() -> None:
    """A plain function runs in another thread, an async one in the loop's."""
    flow = create_flow("f").node("plain", lambda ctx: threading.get_ident(), uses="plain")

    async def here(ctx: Ctx) -> int:
        return threading.get_ident()

    outputs = run(flow.node("async", here)).outputs
    assert outputs["async"] == threading.get_ident()
    assert outputs["plain"] != threading.get_ident()


def test_the_callers_context_variables_reach_nodes_of_both_kinds() -> None:
    """A node sees the context variables of whoever started the run."""

    async def read(ctx: Ctx) -> str:
        return NAME.get()

    flow = create_flow("f").node("a", read).node("b", lambda ctx: NAME.get(), uses="plain")
    token = NAME.set("caller")
    try:
        outputs = run(flow).outputs
    finally:
        NAME.reset(token)
    assert dict(outputs) == {"a": "caller", "b": "caller"}


def test_no_node_sees_context_variables_that_another_node_set() -> None:
    """What a node leaves in a context variable reaches neither later nodes nor the caller."""

    async def spoil(ctx: Ctx) -> str:
        before = NAME.get()
        NAME.set(ctx.node_id)
        return before

    def spoil_too(ctx: SyncCtx) -> str:
        before = NAME.get()
        NAME.set(ctx.node_id)
        return before

    flow = create_flow("f").node("a", spoil).node("b", spoil).node("c", spoil_too)
    flow.node("d", spoil_too).node("e", spoil).edge("a", "b").edge("b", "c").edge("c", "d")
    flow.edge("d", "e")
    assert set(run(flow).outputs.values()) == {"nobody"}
    assert NAME.get() == "nobody"


class Awkward:
    """Cannot be compared, as arrays cannot."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value of this comparison is ambiguous")


def test_context_variables_may_hold_what_cannot_be_compared(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A context variable whose values refuse to be compared disturbs nothing."""
    variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable")

    async def change(ctx: Ctx) -> int:
        variable.set(Awkward())
        return 1

    flow = create_flow("f").node("a", change).node("b", change).edge("a", "b")

    def main() -> Any:
        variable.set(Awkward())
        return run(flow).status

    assert contextvars.copy_context().run(main) == "completed"
    assert caplog.records == []


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        SystemExit(3),
        GeneratorExit("x"),
        asyncio.CancelledError("x"),
        StopIteration(1),
        StopAsyncIteration(1),
        BaseExceptionGroup("x", [ValueError("y"), KeyError("z")]),
        type("Custom", (BaseException,), {})("x"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_whatever_a_node_raises_fails_that_node_alone(error: BaseException, kind: str) -> None:
    """No exception class of a node ends the run or the process; the others go on."""

    async def raises(ctx: Ctx) -> None:
        raise error

    def raises_in_a_thread(ctx: SyncCtx) -> None:
        raise error

    flow = create_flow("f").node("bad", raises if kind == "async" else raises_in_a_thread)
    flow.node("good", echo).node("better", echo).edge("good", "better")
    result = run(flow)
    assert (result.status, set(result.outputs)) == ("failed", {"good", "better"})
    assert [error.node_id for error in result.errors] == ["bad"]
    assert result.errors[0].message


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_keyboard_interrupt_ends_the_run(kind: str) -> None:
    """Ctrl-C is not an outcome of a node: it comes out of the run, which leaves no task."""

    async def stop(ctx: Ctx) -> None:
        raise KeyboardInterrupt

    def stop_in_a_thread(ctx: SyncCtx) -> None:
        raise KeyboardInterrupt

    flow = create_flow("f").node("bad", stop if kind == "async" else stop_in_a_thread)
    runtime = FlowRuntime()
    with pytest.raises(KeyboardInterrupt):
        flow.node("good", echo).run_sync(runtime=runtime)
    assert not runtime.sessions


def test_an_error_keeps_its_causes_and_names() -> None:
    """The record of an error has its class, text, causes, base classes and traceback."""

    def fails(ctx: SyncCtx) -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise LookupError("outer") from error

    (error,) = run(create_flow("f").node("a", fails)).errors
    assert (error.type, error.message, error.node_id) == ("LookupError", "outer", "a")
    assert error.causes == (("KeyError", "'inner'"),)
    assert {"Exception", "LookupError"} <= set(error.names)
    assert "in fails" in (error.traceback or "")


def test_errors_of_a_task_group_are_among_the_causes() -> None:
    """What failed inside of a task group is recorded, not only that something did."""

    async def fails(ctx: Ctx) -> None:
        async def bad() -> None:
            raise ValueError("inside")

        async with asyncio.TaskGroup() as group:
            group.create_task(bad())

    (error,) = run(create_flow("f").node("a", fails)).errors
    assert ("ValueError", "inside") in error.causes


def test_nodes_may_use_timeouts_and_task_groups() -> None:
    """The standard library's own cancellation works inside of a node, beside the engine's."""

    async def gives_up(ctx: Ctx) -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return "gave up"
        return "never"

    async def gathers(ctx: Ctx) -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0, n)) for n in range(3)]
        return [task.result() for task in tasks]

    flow = create_flow("f").node("a", gives_up, timeout=5).node("b", gathers, timeout=5)
    assert dict(run(flow).outputs) == {"a": "gave up", "b": [0, 1, 2]}


def test_a_node_may_run_another_flow() -> None:
    """Nodes of both kinds may run a flow on their own runtime, though it is full."""
    runtime, inner = (
        FlowRuntime(concurrency=1),
        create_flow("inner").node("x", lambda ctx: 1, uses="x"),
    )

    async def outer(ctx: Ctx) -> Any:
        return (await inner.run(runtime)).outputs["x"]

    def outer_plain(ctx: SyncCtx) -> Any:
        return inner.run_sync(runtime=runtime).outputs["x"]

    flow = create_flow("f").node("a", outer).node("b", outer_plain)
    assert dict(run(flow, runtime=runtime).outputs) == {"a": 1, "b": 1}


def test_an_error_without_a_readable_text_is_kept_all_the_same() -> None:
    """An exception whose text cannot be made is recorded by its class."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    async def fails(ctx: Ctx) -> None:
        raise Mute

    (error,) = run(create_flow("f").node("a", fails)).errors
    assert error.type == "Mute"
    assert "Mute" in error.message


def test_an_output_that_cannot_be_stored_fails_the_node_with_its_place() -> None:
    """A value that cannot be stored fails the node once, and the message says where it is."""
    calls: list[int] = []

    async def bad(ctx: Ctx) -> Any:
        calls.append(1)
        return {"rows": [1, {"file": object()}]}

    (error,) = run(
        create_flow("f").node("a", bad, config={"maxRetries": 3, "retryDelay": 0})
    ).errors
    assert error.type == "SerializationError"
    assert "output.rows[1].file" in error.message
    assert calls == [1]


def test_a_result_may_say_that_the_node_failed() -> None:
    """``NodeResult(error=…)`` fails the attempt as an exception does."""

    async def failing(ctx: Ctx) -> NodeResult[None]:
        return NodeResult(error={"message": "out of stock"})

    (error,) = run(create_flow("f").node("a", failing)).errors
    assert error.message == "out of stock"


@pytest.mark.parametrize("action", [["a"], {"a": 1}, object()])
def test_an_action_is_text(action: Any) -> None:
    """An action that is no text fails the node instead of choosing nothing."""

    async def acts(ctx: Ctx) -> NodeResult[int]:
        return NodeResult(1, action)

    (error,) = run(create_flow("f").node("a", acts)).errors
    assert "action" in error.message


def test_a_fatal_error_is_not_retried_and_takes_no_fallback() -> None:
    """``FlowcraftError(is_fatal=True)`` fails the node for good (S4)."""
    calls: list[int] = []

    async def fatal(ctx: Ctx) -> None:
        calls.append(1)
        raise FlowcraftError("over", is_fatal=True)

    flow = create_flow("f").node("a", fatal, fallback="b", config={"maxRetries": 5})
    result = run(flow.node("b", echo))
    assert (result.status, calls, "b" in result.outputs) == ("failed", [1], False)


def test_none_is_an_output() -> None:
    """A node that returns nothing has completed, and its output is there and is None."""

    async def nothing(ctx: Ctx) -> None:
        return None

    result = run(create_flow("f").node("a", nothing).node("b", echo).edge("a", "b"))
    assert dict(result.outputs) == {"a": None, "b": None}
    assert result.context["a"] is None
