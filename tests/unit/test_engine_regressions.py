"""Defects of the engine that were found by reading and breaking it; each stays found."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from flowcraft import FlowRuntime, Node, NodeResult, create_flow
from flowcraft.engine.threads import DaemonThreads, ThreadPool
from flowcraft.testing import VirtualClock
from tests.unit.runs import Ctx, SyncCtx, drive, run


def plain(ctx: SyncCtx) -> str:
    """A plain function that says in which thread it runs."""
    return threading.current_thread().name


def our_threads() -> list[str]:
    """Names of the threads that the engine keeps."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("flowcraft")]


def test_runtimes_share_their_threads() -> None:
    """A script that runs a flow a hundred times, each in a runtime of its own, needs few."""
    before = len(our_threads())
    flow = create_flow("f").node("a", plain).node("b", plain, uses="again").edge("a", "b")
    for _ in range(100):
        assert flow.run_sync({}).status == "completed"
    assert len(our_threads()) - before <= 3


def test_a_chain_of_plain_functions_needs_one_thread() -> None:
    """A thread is there for the next call as soon as anybody knows that its call is over."""
    threads = DaemonThreads(ThreadPool())

    async def main() -> set[str]:
        return {await threads.call(plain, None) for _ in range(100)}

    assert len(drive(main())) == 1


def test_idle_threads_end() -> None:
    """A thread that has had nothing to do for a while ends, and the next call makes another."""
    threads = DaemonThreads(ThreadPool(idle_seconds=0.0))
    seen: list[Any] = []

    async def main() -> None:
        for _ in range(3):
            seen.append(await threads.call(threading.current_thread))

    drive(main())
    for thread in seen:
        thread.join(5)
        assert not thread.is_alive()


class Plain(Node[Any, Any]):
    """A class whose steps are plain methods, but for ``fallback``."""

    def prep(self, ctx: SyncCtx) -> Any:  # type: ignore[override]
        """Read and write the context without awaiting anything."""
        ctx.context.set("in prep", plain(ctx))
        return ctx.context.get("given")

    def exec(self, ctx: SyncCtx, prepared: Any) -> Any:  # type: ignore[override]
        """See what ``prep`` wrote."""
        return [prepared, ctx.context.get("in prep"), plain(ctx)]

    def post(self, ctx: SyncCtx, result: Any) -> Any:  # type: ignore[override]
        """Write once more."""
        ctx.context.add("count", 1)
        return NodeResult([*result, plain(ctx)])


def test_plain_methods_run_in_threads_with_a_context_for_threads() -> None:
    """The steps of a class that are plain methods block no other node, and share their writes."""
    result = run(create_flow("f").node("a", Plain), {"given": 7})
    given, *names = result.outputs["a"]
    assert given == 7
    assert all(name.startswith("flowcraft-node") for name in names)
    assert result.context["in prep"].startswith("flowcraft-node")
    assert result.context["count"] == 1


def test_plain_methods_block_nobody() -> None:
    """Two nodes whose plain ``exec`` waits for the other's are under way at the same time."""
    meeting = threading.Barrier(2)

    class Meets(Node[Any, Any]):
        def exec(self, ctx: SyncCtx, prepared: Any) -> bool:  # type: ignore[override]
            meeting.wait(5)
            return True

    assert run(create_flow("f").node("a", Meets).node("b", Meets)).status == "completed"


def test_a_plain_exec_that_takes_too_long_leaves_nothing_behind() -> None:
    """It is given up on; what it writes late is not among the writes of the steps that follow."""
    given_up, wrote = threading.Event(), threading.Event()

    class Slow(Node[Any, Any]):
        def exec(self, ctx: SyncCtx, prepared: Any) -> None:  # type: ignore[override]
            assert ctx.cancelled.wait(5)
            given_up.wait(5)
            ctx.context.set("late", True)
            wrote.set()

        async def fallback(self, ctx: Ctx, error: BaseException) -> str:
            given_up.set()
            await asyncio.to_thread(wrote.wait, 5)
            await ctx.context.set("fell back", True)
            return type(error).__name__

    result = run(create_flow("f").node("a", Slow, timeout=0.005))
    assert result.outputs["a"] == "NodeTimeout"
    assert result.context["fell back"] is True
    assert "late" not in result.context


def test_a_node_that_kept_the_loop_past_its_timeout_has_failed() -> None:
    """A timeout counts although the event loop was kept from noticing it in time."""
    clock = VirtualClock()
    runtime = FlowRuntime()

    async def hog(ctx: Ctx) -> str:
        if ctx.attempt == 1:
            clock._now += 61  # time passes, and nobody is told
        return "done"

    class Hog(Node[Any, Any]):
        async def exec(self, ctx: Ctx, prepared: Any) -> str:
            return await hog(ctx)

        async def fallback(self, ctx: Ctx, error: BaseException) -> str:
            return type(error).__name__

    async def main() -> Any:
        clock.attach(runtime)
        flow = create_flow("f").node("a", hog, timeout=60).node("b", Hog, timeout=60)
        return await flow.run(runtime)

    result = drive(main())
    (error,) = result.errors
    assert (error.type, error.node_id, error.causes) == ("NodeTimeout", "a", ())
    assert result.outputs["b"] == "NodeTimeout"
