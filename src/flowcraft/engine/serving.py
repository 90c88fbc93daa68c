"""A worker as a process of its own: from its start to the signal that ends it.

What a worker meets while it works is waited for (``patience.py``), and so is what it meets while it
starts: workers start when others have died, which is when there is trouble. What does not pass
within a lease is raised, for whoever starts processes again.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Final

from flowcraft.engine.patience import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, may_pass
from flowcraft.engine.worker import Worker
from flowcraft.errors import StorageError
from flowcraft.ports.clock import Clock

logger = logging.getLogger("flowcraft.worker")

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


async def serve(worker: Worker, prepare: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Work until SIGTERM or SIGINT, then drain.

    Args:
        worker: Does the work.
        prepare: What is to be done before it starts.
        clock: The time.

    Raises:
        StorageError: Queue or stores cannot be used, and will not be soon.
    """
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not stop.done():
            logger.info("Told to stop: takes nothing new, and lets running nodes end")
            stop.set_result(None)

    for number in SIGNALS:
        loop.add_signal_handler(number, end)
    try:
        await _start(worker, prepare, clock, stop)
        if not stop.done():
            logger.info("Ready, and waiting for messages")
        await stop
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
        await worker.stop()


async def _start(
    worker: Worker,
    prepare: Callable[[], Awaitable[None]],
    clock: Clock,
    stop: asyncio.Future[None],
) -> None:
    """Start the worker; as long as a lease, trouble that may pass is waited for."""
    end = clock.now() + worker.lease_seconds
    pause = FIRST_PAUSE_SECONDS
    while not stop.done():
        try:
            await prepare()
            await worker.start()
        except StorageError as error:
            if not may_pass(error) or clock.now() + pause >= end:
                raise
            logger.warning("The worker cannot start yet, and tries again in %g s: %s", pause, error)
        else:
            return
        await _rest(clock, clock.now() + pause, stop)
        pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)


async def _rest(clock: Clock, until: float, stop: asyncio.Future[None]) -> None:
    """Wait for a time, or for the signal if that comes first."""
    over = asyncio.Event()
    timer = clock.call_at(until, over.set)
    stop.add_done_callback(lambda _: over.set())
    try:
        await over.wait()
    finally:
        timer.cancel()
