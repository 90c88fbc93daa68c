"""Durable runs and schedules in the virtual time of a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from flowcraft.adapters.memory import MemoryBlobs, MemoryCoordination, MemoryQueue, MemoryRuns
from flowcraft.engine.adapter import Adapter
from flowcraft.ports.together import Ports
from flowcraft.testing.activity import Activity
from flowcraft.testing.clock import VirtualClock
from flowcraft.testing.environment import TestEnvironment

VISIBILITY_SECONDS: Final = 30.0
POLL_SECONDS: Final = 86_400.0
LOOK_SECONDS: Final = 3_600.0
"""Messages and changes are noticed at once here: time need not stop to look for some."""


@asynccontextmanager
async def durable(env: TestEnvironment, **worker_options: Any) -> AsyncIterator[Adapter]:
    """An adapter whose runs, timers and schedules follow the clock of an environment.

    It knows the flows of the environment's runtime, and keeps everything in memory. As long as it
    is at work, ``await env.advance(…)`` lets no time pass.

    Args:
        env: The environment, inside of its ``async with``.
        worker_options: What a :class:`~flowcraft.engine.worker.Worker` takes.

    Yields:
        The adapter, started; it is stopped at the end.
    """
    clock, adapters = env.clock, list[Adapter]()
    activity = Activity(lambda: any(map(_is_at_work, adapters)), clock)
    options = env.runtime.options
    adapter = Adapter(
        _opener(clock),
        replace(options, middleware=(activity, *options.middleware)),
        clock=clock,
        identifiers=env.runtime.identifiers,
        **{
            "heartbeat": False,
            "poll_seconds": POLL_SECONDS,
            "reconcile_every_seconds": None,
            "schedules_every_seconds": LOOK_SECONDS,
            "presence": False,
            **worker_options,
        },
    )
    adapters.append(adapter)
    clock.follow(activity)
    await adapter.start()
    try:
        await env.settle()
        yield adapter
    finally:
        adapters.clear()  # nothing waits for it any more
        await _stop(adapter, clock)


def _opener(clock: VirtualClock) -> Any:
    ports = Ports(
        MemoryQueue(clock, visibility_seconds=VISIBILITY_SECONDS),
        MemoryRuns(clock),
        MemoryBlobs(),
        MemoryCoordination(clock),
    )

    @asynccontextmanager
    async def open_ports() -> AsyncIterator[Ports]:
        yield ports

    return open_ports


def _is_at_work(adapter: Adapter) -> bool:
    worker = adapter.worker
    if worker is None:
        return False
    if worker.busy:
        # One that has a retry in its hands only waits for time to pass.
        return bool(worker._to_delete or worker._strands.keys() - worker.station.sleeping)
    return any(rounds._looking for rounds in worker.duties._rounds)


async def _stop(adapter: Adapter, clock: VirtualClock) -> None:
    """Stop it; the last look for messages ends when its time is over."""
    stopping = asyncio.ensure_future(adapter.stop())
    while not stopping.done():
        await clock.settle(while_busy=True)
        due = clock.next_due
        if not stopping.done() and due is not None:
            clock.advance_to(max(due, clock.now()))
    await stopping
