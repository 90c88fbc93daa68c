"""The worker processes of a campaign: started, killed, stopped for a while, ended."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from random import Random
from typing import Final

from tests.acceptance.chaos import worker
from tests.acceptance.chaos.worker import Place

LOOK_SECONDS: Final = 0.01
DRAIN_SECONDS: Final = 60.0
STOP_SHARE: Final = 0.35
"""At so many of the moments at which somebody is killed, somebody is stopped as well."""

STOP_LEASES: Final = (1.2, 2.5)
"""For how many leases one is stopped."""


@dataclass(slots=True)
class Harm:
    """What was done to a process.

    Attributes:
        what: ``kill`` or ``stop``.
        since: When, by the monotonic clock.
        until: When it was over; the same for a kill.
    """

    what: str
    since: float
    until: float


@dataclass(slots=True)
class Worker:
    """A worker process.

    Attributes:
        number: From 0; no two have the same.
        process: The process.
        harms: What was done to it.
        is_stopped: Whether it is stopped just now.
    """

    number: int
    process: ForkServerProcess
    harms: list[Harm] = field(default_factory=list)
    is_stopped: bool = False

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process.pid is not None
        return self.process.pid

    async def ended(self) -> int:
        """Wait for its end; gives the exit code."""
        while self.process.exitcode is None:
            await asyncio.sleep(LOOK_SECONDS)
        return self.process.exitcode


class Fleet:
    """Workers, as many as there should be, whatever becomes of each.

    They are forked from a process that has imported everything: a replacement is there at once,
    and takes little of the time that the others need.

    Args:
        place: Where they work.
        count: How many there are.

    Attributes:
        workers: All that there ever were, by number.
        problems: What no worker should have done.
    """

    def __init__(self, place: Place, count: int) -> None:
        self._place = place
        self._count = count
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([worker.__name__])
        self.workers: list[Worker] = []
        self.problems: list[str] = []
        self._alive: list[Worker] = []

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Fleet]:
        """Have workers; at the end, those that are left are killed."""
        try:
            for _ in range(self._count):
                self._add()
            yield self
        finally:
            for each in self._alive:
                each.process.kill()
                each.process.join()

    def _add(self) -> None:
        number = len(self.workers)
        process = self._context.Process(
            target=worker.work, args=(self._place, number), name=f"chaos worker {number}"
        )
        process.start()
        self.workers.append(Worker(number, process))
        self._alive.append(self.workers[-1])

    async def kill(self, chance: Random) -> None:
        """Kill one, whatever it is at, and start another in its place."""
        victim = self._alive.pop(chance.randrange(len(self._alive)))
        victim.process.kill()
        await victim.ended()
        now = time.monotonic()
        victim.harms.append(Harm("kill", now, now))
        self._add()

    async def stop(self, chance: Random) -> None:
        """Stop one for longer than its leases last, and let it go on, unless it is killed."""
        candidates = [each for each in self._alive if not each.is_stopped]
        if len(candidates) < 2:
            return  # somebody has to work
        victim = chance.choice(candidates)
        seconds = chance.uniform(*STOP_LEASES) * self._place.times.lease
        harm = Harm("stop", time.monotonic(), float("inf"))
        victim.harms.append(harm)
        victim.is_stopped = True
        os.kill(victim.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            victim.is_stopped = False
            if victim in self._alive:
                os.kill(victim.pid, signal.SIGCONT)
            harm.until = time.monotonic()

    async def harass(self, chance: Random, every_seconds: float) -> None:
        """Kill one every so often, and stop some, until this is cancelled."""
        stops: set[asyncio.Task[None]] = set()
        try:
            while True:
                await asyncio.sleep(every_seconds * chance.uniform(0.5, 1.5))
                self.replace_the_dead()
                if chance.random() < STOP_SHARE:
                    stop = asyncio.create_task(self.stop(chance))
                    stops.add(stop)
                    stop.add_done_callback(stops.discard)
                await self.kill(chance)
        finally:
            for each in tuple(stops):
                each.cancel()
            await asyncio.gather(*stops, return_exceptions=True)

    def replace_the_dead(self) -> None:
        """A worker that has ended by itself is a problem, and is replaced all the same."""
        for each in tuple(self._alive):
            if (code := each.process.exitcode) is not None:
                self.problems.append(f"worker {each.number} has ended by itself, with {code}")
                self._alive.remove(each)
                self._add()

    async def drain(self) -> None:
        """Let all of them end what they are at, and end."""
        self.replace_the_dead()
        for each in self._alive:
            each.process.terminate()
        for each in tuple(self._alive):
            try:
                async with asyncio.timeout(DRAIN_SECONDS):
                    code = await each.ended()
            except TimeoutError:
                self.problems.append(f"worker {each.number} does not end")
                continue
            if code:
                self.problems.append(f"worker {each.number} has ended with {code}")
            self._alive.remove(each)

    def count(self, what: str) -> int:
        """How often workers were harmed so: ``kill`` or ``stop``."""
        return sum(harm.what == what for each in self.workers for harm in each.harms)
