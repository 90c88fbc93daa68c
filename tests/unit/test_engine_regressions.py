"""Defects of the engine that were found by reading and breaking it; each stays found."""

from __future__ import annotations

import threading
from typing import Any

from flowcraft import create_flow
from flowcraft.engine.threads import DaemonThreads, ThreadPool
from tests.unit.runs import SyncCtx, drive


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
