"""Threads for plain functions: outcomes, reuse, and those that are given up on."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from flowcraft.engine.threads import DaemonThreads, ThreadPool
from tests.unit.runs import drive

VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("VARIABLE", default=0)


def until(condition: Callable[[], bool]) -> None:
    """Wait in small steps, in real time, for what other threads do."""
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it did not happen within 5 s"
        time.sleep(0.0005)


async def call(function: Any, *arguments: Any, threads: DaemonThreads | None = None) -> Any:
    return await (threads or DaemonThreads()).call(function, *arguments)


def test_a_call_gives_what_the_function_returns() -> None:
    """Arguments go in, the result comes out, and the work was done in a daemon thread."""
    seen: list[threading.Thread] = []

    def add(one: int, other: int) -> int:
        seen.append(threading.current_thread())
        return one + other

    assert drive(call(add, 1, 2)) == 3
    assert seen[0].daemon
    assert seen[0] is not threading.current_thread()


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        StopIteration(1),
        GeneratorExit("x"),
        SystemExit(2),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_call_raises_what_the_function_raises(error: BaseException) -> None:
    """Every exception comes out as itself, or as a RuntimeError that a coroutine makes of it."""

    def fails() -> None:
        raise error

    async def main() -> BaseException:
        try:
            await DaemonThreads().call(fails)
        except BaseException as raised:
            return raised
        raise AssertionError("nothing was raised")

    raised = drive(main())
    if isinstance(error, StopIteration):
        assert isinstance(raised, RuntimeError)
    else:
        assert raised is error


def test_threads_are_used_again() -> None:
    """Calls one after the other need one thread, calls at once one each."""
    pool = ThreadPool()
    threads = DaemonThreads(pool)
    meeting = threading.Barrier(4)

    async def main() -> tuple[int, int]:
        first = {await threads.call(threading.get_ident) for _ in range(20)}
        await asyncio.gather(*(threads.call(meeting.wait, 5) for _ in range(4)))
        return len(first), threads.calls

    assert drive(main()) == (1, 0)
    assert pool._started == 4


def test_the_callers_context_variables_are_seen_and_not_changed() -> None:
    """A call sees the caller's context variables; what it sets stays with it."""

    def change() -> int:
        before = VARIABLE.get()
        VARIABLE.set(99)
        return before

    async def main() -> tuple[int, int, int]:
        VARIABLE.set(7)
        threads = DaemonThreads()
        return await threads.call(change), await threads.call(change), VARIABLE.get()

    assert drive(main()) == (7, 7, 7)


def test_a_call_nobody_waits_for_is_counted_until_it_returns() -> None:
    """A cancelled call goes on, is counted as abandoned, and its result is dropped."""
    threads, go = DaemonThreads(), threading.Event()

    async def main() -> None:
        task = asyncio.ensure_future(threads.call(go.wait, 5))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert (threads.calls, threads.abandoned) == (1, 1)
        go.set()
        while threads.calls:
            await asyncio.sleep(0.0005)

    drive(main())
    assert threads.abandoned == 0


def test_a_call_that_outlives_its_loop_is_counted_off_as_well() -> None:
    """A thread that returns when its event loop is long closed leaves the counts at zero."""
    threads, go = DaemonThreads(), threading.Event()

    async def main() -> None:
        task = asyncio.ensure_future(threads.call(go.wait, 5))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    drive(main())
    assert (threads.calls, threads.abandoned) == (1, 1)
    go.set()
    until(lambda: threads.calls == 0)
    assert threads.abandoned == 0


def test_a_cancellation_that_comes_too_late_abandons_nothing() -> None:
    """A call whose result is there when its task is cancelled counts as returned."""
    threads = DaemonThreads()

    async def main() -> None:
        over = threading.Event()
        task = asyncio.ensure_future(threads.call(over.set))
        await asyncio.sleep(0)
        over.wait(5)
        until(lambda: threads._pool._idle > 0)
        while threads.calls:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    drive(main())
    assert (threads.calls, threads.abandoned) == (0, 0)


def test_idle_threads_end() -> None:
    """A thread with nothing to do ends after a while, and a later call gets a new one."""
    pool = ThreadPool(idle_seconds=0.001)
    threads = DaemonThreads(pool)

    async def main() -> threading.Thread:
        thread: threading.Thread = await threads.call(threading.current_thread)
        return thread

    first = drive(main())
    until(lambda: not first.is_alive())
    assert drive(main()) is not first


def test_an_idle_thread_holds_on_to_nothing() -> None:
    """What a call worked on can be freed although its thread waits for the next one."""

    class Thing:
        def work(self) -> int:
            return 1

    thing = Thing()
    reference = weakref.ref(thing)
    assert drive(call(thing.work)) == 1
    del thing
    until(lambda: reference() is None)
