"""Nodes that are classes: their steps, what is repeated, and what is rolled back."""

from __future__ import annotations

import asyncio
import functools
import threading
from datetime import timedelta
from typing import Any, ClassVar, cast

import pytest

from flowcraft import (
    FlowcraftError,
    FlowRuntime,
    Middleware,
    Node,
    NodeResult,
    RetryPolicy,
    create_flow,
)
from flowcraft.core import events as ev
from tests.unit.runs import Ctx, echo, run

AT_ONCE = RetryPolicy(max_attempts=3, delay=0)


class Logged(Node[Any, Any]):
    """Notes its steps; ``plan`` says what each ``exec`` does."""

    log: ClassVar[list[Any]]
    plan: ClassVar[list[Any]]

    def __init_subclass__(cls) -> None:
        cls.log = []

    async def prep(self, ctx: Ctx) -> Any:
        self.log.append("prep")
        await ctx.context.set("prepared", ctx.attempt)
        return [ctx.attempt]

    async def exec(self, ctx: Ctx, prepared: Any) -> Any:
        self.log.append(("exec", ctx.attempt, list(prepared)))
        await ctx.context.set(f"exec{ctx.attempt}", True)
        await ctx.context.add("count", 1)
        step = self.plan[ctx.attempt - 1]
        if isinstance(step, BaseException):
            raise step
        return step

    async def post(self, ctx: Ctx, result: Any) -> NodeResult[Any]:
        self.log.append(("post", result))
        return await super().post(ctx, result)

    async def recover(self, ctx: Ctx, error: BaseException) -> None:
        self.log.append(("recover", type(error).__name__))


def test_the_steps_run_in_order() -> None:
    """``prep``, ``exec``, ``post``: each gets what the one before gave."""

    class Good(Logged):
        plan: ClassVar[list[Any]] = ["done"]

    result = run(create_flow("f").node("a", Good))
    assert Good.log == ["prep", ("exec", 1, [1]), ("post", "done")]
    assert result.outputs["a"] == "done"
    assert result.context["prepared"] == 1


def test_only_exec_is_repeated_and_failed_attempts_leave_no_writes() -> None:
    """Retries repeat ``exec`` with what ``prep`` made; writes of failed attempts are gone."""

    class Flaky(Logged):
        plan: ClassVar[list[Any]] = [ValueError(1), ValueError(2), "done"]

    result = run(create_flow("f").node("a", Flaky, retry=AT_ONCE))
    execs = [("exec", n, [1]) for n in (1, 2, 3)]
    assert Flaky.log == ["prep", *execs, ("post", "done")]
    assert result.context["prepared"] == 1
    assert result.context["exec3"] is True
    assert result.context["count"] == 1
    assert "exec1" not in result.context
    assert "exec2" not in result.context


def test_a_failed_class_node_recovers_once_and_leaves_no_writes() -> None:
    """After the last attempt ``recover`` is told of the error, and nothing is written."""

    class Bad(Logged):
        plan: ClassVar[list[Any]] = [ValueError(1), KeyError(2), LookupError(3)]

    result = run(create_flow("f").node("a", Bad, retry=AT_ONCE))
    assert Bad.log[-1] == ("recover", "LookupError")
    assert sum(entry[0] == "recover" for entry in Bad.log) == 1
    assert (result.errors[0].type, result.errors[0].attempts) == ("LookupError", 3)
    assert "prepared" not in result.context


def test_the_fallback_step_takes_the_place_of_exec() -> None:
    """When ``exec`` has used up its attempts, ``fallback`` gives the result, and ``post`` runs."""

    class Saved(Logged):
        plan: ClassVar[list[Any]] = [ValueError(1), ValueError(2), ValueError(3)]

        async def fallback(self, ctx: Ctx, error: BaseException) -> Any:
            await ctx.context.set("fell back", True)
            return f"instead of {error}"

    result = run(create_flow("f").node("a", Saved, retry=AT_ONCE))
    assert result.status == "completed"
    assert result.outputs["a"] == "instead of 3"
    assert Saved.log[-1] == ("post", "instead of 3")
    assert result.context["fell back"] is True
    assert result.context["prepared"] == 1
    assert "exec3" not in result.context


@pytest.mark.parametrize("step", ["prep", "post"])
def test_an_error_outside_of_exec_is_not_retried(step: str) -> None:
    """An error in ``prep`` or ``post`` fails the node at once, and ``recover`` is told."""

    class Bad(Logged):
        plan: ClassVar[list[Any]] = ["done"] * 3

    async def fails(self: Any, *arguments: Any) -> Any:
        raise ValueError(step)

    setattr(Bad, step, fails)
    result = run(create_flow("f").node("a", Bad, retry=AT_ONCE))
    (error,) = result.errors
    assert (error.type, error.message, error.attempts) == ("ValueError", step, 1)
    assert Bad.log[-1] == ("recover", "ValueError")


def test_a_fatal_error_of_exec_takes_no_fallback_step() -> None:
    """A fatal error is neither retried nor replaced by the ``fallback`` step."""

    class Fatal(Logged):
        plan: ClassVar[list[Any]] = [FlowcraftError("over", is_fatal=True)]

        async def fallback(self, ctx: Ctx, error: BaseException) -> Any:
            return "saved"

    result = run(create_flow("f").node("a", Fatal, retry=AT_ONCE))
    assert (result.status, result.errors[0].attempts) == ("failed", 1)
    assert Fatal.log[-1] == ("recover", "FlowcraftError")


def test_steps_may_be_plain_methods() -> None:
    """Each step may be a plain method as well."""

    class Plain(Node[Any, Any]):
        def prep(self, ctx: Ctx) -> Any:
            return ctx.input + 1

        def exec(self, ctx: Ctx, prepared: Any) -> Any:
            return prepared * 2

        def post(self, ctx: Ctx, result: Any) -> Any:
            return NodeResult(result, "go")

    flow = create_flow("f").node("a", Plain, inputs="n").node("b", echo).node("c", echo)
    flow.edge("a", "b", action="go").edge("a", "c", action="stop")
    assert dict(run(flow, {"n": 1}).outputs) == {"a": 4, "b": 4}


def test_plain_steps_run_in_threads_and_share_the_context_with_the_others() -> None:
    """A plain step has the context with blocking methods; its writes are the node's own."""

    class Mixed(Node[Any, Any]):
        async def prep(self, ctx: Ctx) -> int:
            await ctx.context.set("from prep", 1)
            return threading.get_ident()

        def exec(self, ctx: Any, prepared: int) -> Any:
            ctx.context.set(f"try {ctx.attempt}", True)
            ctx.context.add("count", 1)
            if ctx.attempt == 1:
                raise ValueError
            return [prepared == threading.get_ident(), ctx.context.get("from prep")]

        async def post(self, ctx: Ctx, result: Any) -> NodeResult[Any]:
            return NodeResult([*result, await ctx.context.get("count")])

    retry = RetryPolicy(max_attempts=2, delay=0)
    result = run(create_flow("f").node("a", Mixed, retry=retry))
    assert result.outputs["a"] == [False, 1, 1]
    written = {
        key: value for key, value in result.context.items() if key not in ("a", "_outputs.a")
    }
    assert written == {"from prep": 1, "try 2": True, "count": 1}


def test_a_plain_exec_that_takes_too_long_is_given_up_on() -> None:
    """A blocking ``exec`` is abandoned by its timeout; what it writes later is lost."""
    go = threading.Event()

    class Slow(Node[Any, Any]):
        def exec(self, ctx: Any, prepared: Any) -> Any:
            ctx.cancelled.wait(5)
            ctx.context.set("late", True)
            go.wait(5)
            return "late"

        def fallback(self, ctx: Any, error: BaseException) -> Any:
            go.set()
            return type(error).__name__

    result = run(create_flow("f").node("a", Slow, timeout=0.005))
    assert result.outputs["a"] == "NodeTimeout"
    assert "late" not in result.context


def test_each_execution_has_an_instance_of_its_own() -> None:
    """Two nodes of one class share nothing; a partial of the class gives it arguments."""

    class Counts(Node[Any, Any]):
        def __init__(self, start: int = 0) -> None:
            self.count = start

        async def exec(self, ctx: Ctx, prepared: Any) -> int:
            self.count += 1
            await asyncio.sleep(0)
            return self.count

    flow = create_flow("f").node("a", Counts).node("b", Counts)
    flow.node("c", functools.partial(Counts, 10), uses="from ten")
    assert dict(run(flow).outputs) == {"a": 1, "b": 1, "c": 11}


def test_a_class_without_exec_says_what_to_write() -> None:
    """A class that has no ``exec`` fails its node with the signature it should have."""

    class Empty(Node[Any, Any]):
        pass

    (error,) = run(create_flow("f").node("a", Empty)).errors
    assert "exec(self, ctx, prepared)" in error.message


def test_an_error_in_recover_is_logged_and_hides_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """When ``recover`` itself raises, the node's own error still stands."""

    class Bad(Node[Any, Any]):
        async def exec(self, ctx: Ctx, prepared: Any) -> None:
            raise ValueError("mine")

        async def recover(self, ctx: Ctx, error: BaseException) -> None:
            raise RuntimeError("recover")

    (error,) = run(create_flow("f").node("a", Bad)).errors
    assert (error.type, error.message) == ("ValueError", "mine")
    assert "recover" in caplog.text


def test_a_timeout_of_exec_is_an_error_like_others() -> None:
    """``exec`` that takes too long is repeated; at last ``fallback`` gives the result."""

    class Slow(Node[Any, Any]):
        log: ClassVar[list[str]] = []

        async def prep(self, ctx: Ctx) -> None:
            self.log.append("prep")

        async def exec(self, ctx: Ctx, prepared: Any) -> None:
            self.log.append("exec")
            await asyncio.Event().wait()

        async def fallback(self, ctx: Ctx, error: BaseException) -> str:
            return type(error).__name__

    retry = RetryPolicy(max_attempts=2, delay=0)
    result = run(create_flow("f").node("a", Slow, timeout=0.005, retry=retry))
    assert Slow.log == ["prep", "exec", "exec"]
    assert result.outputs["a"] == "NodeTimeout"


def test_a_timeout_that_stands_is_told_to_recover() -> None:
    """A class node that fails by its timeout gets to clean up."""

    class Slow(Logged):
        async def exec(self, ctx: Ctx, prepared: Any) -> None:
            await asyncio.Event().wait()

    result = run(create_flow("f").node("a", Slow, timeout=0.005))
    assert result.errors[0].type == "NodeTimeout"
    assert Slow.log == ["prep", ("recover", "NodeTimeout")]


def test_middleware_sees_the_errors_of_class_nodes() -> None:
    """Middleware is given the error that the class raised, retried or not."""
    seen: list[str] = []

    class Watch(Middleware):
        async def after(self, ctx: Any, result: Any, error: BaseException | None) -> None:
            seen.append(type(error).__name__)

    class Bad(Node[Any, Any]):
        async def exec(self, ctx: Ctx, prepared: Any) -> None:
            raise ValueError

    retry = RetryPolicy(max_attempts=2, delay=0)
    run(create_flow("f").node("a", Bad, retry=retry), runtime=FlowRuntime(middleware=[Watch()]))
    assert seen == ["ValueError", "ValueError"]


def test_a_lost_attempt_does_not_use_up_a_class_node() -> None:
    """A worker that was lost is no failure: ``exec`` is repeated as often as the policy says."""
    attempts: list[int] = []

    class Unlucky(Node[Any, Any]):
        async def exec(self, ctx: Ctx, prepared: Any) -> Any:
            attempts.append(ctx.attempt)
            if ctx.attempt == 1:
                cast(Any, ctx._origin.run).feed(ev.NodeLost(ctx._origin.key, 1))
            if ctx.attempt == 2:
                raise ValueError("once")
            return ctx.attempt

    flow = create_flow("lost").node("n", Unlucky, retry=RetryPolicy(max_attempts=2, delay=0))
    result = run(flow)

    assert attempts == [1, 2, 3]
    assert result.outputs["n"] == 3


def test_a_step_that_ran_out_of_time_still_sees_its_deadline() -> None:
    """A plain step sees when its time is up, and ``fallback`` when it was."""
    seen: list[Any] = []

    class Slow(Node[Any, str]):
        def exec(self, ctx: Any, prepared: Any) -> str:  # type: ignore[override]
            ctx.cancelled.wait(5)
            seen.append(ctx.deadline)
            return "late"

        async def fallback(self, ctx: Any, error: BaseException) -> str:
            seen.append(ctx.deadline)
            return "instead"

    flow = create_flow("late").node("n", Slow, timeout=timedelta(milliseconds=20))
    result = flow.run_sync()
    assert result.outputs["n"] == "instead"
    assert seen
    assert all(each is not None for each in seen)


class Unusual(BaseException):
    """An error that is no ``Exception``."""


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit, Unusual])
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("prep", ["prep", "recover"]),
        ("exec", ["prep", "exec", "exec", "exec", "fallback", "post"]),
        ("post", ["prep", "exec", "post", "recover"]),
    ],
)
def test_an_error_of_any_kind_is_an_error_of_its_step(
    error: type[BaseException], where: str, expected: list[str]
) -> None:
    """Only ``exec`` is repeated, and ``recover`` is told, whatever kind of error it is."""
    log: list[str] = []

    class Steps(Node[Any, Any]):
        async def prep(self, ctx: Ctx) -> None:
            self._take("prep")

        async def exec(self, ctx: Ctx, prepared: Any) -> None:
            self._take("exec")

        async def fallback(self, ctx: Ctx, error: BaseException) -> None:
            log.append("fallback")

        async def post(self, ctx: Ctx, result: Any) -> NodeResult[Any]:
            self._take("post")
            return NodeResult(result)

        async def recover(self, ctx: Ctx, error: BaseException) -> None:
            log.append("recover")

        def _take(self, step: str) -> None:
            log.append(step)
            if step == where:
                raise error

    result = run(create_flow("f").node("n", Steps, retry=AT_ONCE))
    assert log == expected
    assert result.status == ("completed" if where == "exec" else "failed")
