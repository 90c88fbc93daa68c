"""Simulated processes: workers, and people with a client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from flowcraft.core.state import FINAL_STATUSES
from flowcraft.engine.client import FlowClient
from flowcraft.engine.heartbeat import Heartbeat
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.worker import Worker
from flowcraft.errors import RunNotFound, StorageError
from flowcraft.ports.together import Ports
from flowcraft.testing.simulate.clock import CountedIdentifiers, SimulationClock
from flowcraft.testing.simulate.faults import Life
from flowcraft.testing.simulate.threads import DirectCalls

if TYPE_CHECKING:
    from flowcraft.testing.simulate.world import World

T = TypeVar("T")

logger = logging.getLogger("flowcraft.simulation")

LEASE_SECONDS: Final = 30.0
POLL_SECONDS: Final = 20.0
"""How long a look for messages waits: as long as SQS allows."""

STALLED_SECONDS: Final = 120.0
RECONCILE_SECONDS: Final = 60.0
SCHEDULES_SECONDS: Final = 15.0
GLANCE_SECONDS: Final = 30.0
"""How often somebody who waits for a request looks whether the run is over."""

REQUESTS_AT_LEAST: Final = 12
REQUESTS_OF_A_BODY: Final = 5
"""About as many requests as a run makes, with all that is around it."""

MOST_TURNS: Final = 8
TRIES: Final = 50
PAUSE_SECONDS: Final = 1.0


class WorkerProcess:
    """A worker as a process has it.

    Args:
        world: Where it is.
        life: What happens to it.
        options: What it can run.

    Attributes:
        life: What happens to it.
    """

    def __init__(self, world: World, life: Life, options: RuntimeOptions) -> None:
        self.life = life
        self._world = world
        scenario = world.scenario
        machine = SimulationClock(world.loop, world.skew(life.name))
        self._open_ports, clock = world.backend.connect(machine, life)
        self.worker = Worker(
            self._open_ports,
            options,
            clock=clock,
            identifiers=CountedIdentifiers(life.name),
            concurrency=scenario.concurrency,
            lease_seconds=LEASE_SECONDS,
            poll_seconds=POLL_SECONDS,
            reconcile_every_seconds=RECONCILE_SECONDS if world.reconciles else None,
            schedules_every_seconds=SCHEDULES_SECONDS if world.told.story.schedules else None,
            stalled_threshold_seconds=STALLED_SECONDS,
            codec=world.told.story.codec_of(life.name),
            heartbeat=False,
            presence=False,
        )
        life.on_stop = self.stop

    def start(self) -> None:
        """Begin to work."""
        self._world.loop.create_task(self._main(), context=self.life.context)

    def stop(self) -> None:
        """Ask it to end, as a deployment does."""
        self._world.loop.create_task(self._end(), context=self.life.context)

    async def _main(self) -> None:
        worker = self.worker
        try:
            await worker.start()
        except StorageError:
            # A process that cannot start ends; whatever runs it starts another one.
            logger.exception("%s could not start", self.life.name)
            self.life.die()
            return
        # There are no threads here, neither for plain nodes nor for the heartbeat.
        worker.station.threads = DirectCalls()
        heartbeat = Heartbeat(self._open_ports, worker, worker.lease_seconds)
        while True:
            try:
                async with self._open_ports() as ports:
                    await self._beat(heartbeat, ports)
            except Exception:
                logger.exception("Leases cannot be prolonged; trying again")
                await asyncio.sleep(worker.lease_seconds / 3)

    async def _beat(self, heartbeat: Heartbeat, ports: Ports) -> None:
        """What the thread of a heartbeat does."""
        pause = heartbeat.interval_seconds(ports)
        while True:
            await asyncio.sleep(pause)
            pause = await heartbeat.beat_once(ports)

    async def _end(self) -> None:
        worker = self.worker
        if worker._station is None or worker.draining:
            return
        await worker.stop()
        self.life.die()


class Person:
    """Somebody with a client, who tries again what fails.

    Attributes:
        client: Starts and steers runs.
        world: Where the person is.
        life: What happens to the process of the client.
        chance: Decides when the person does something.
    """

    def __init__(self, world: World, life: Life) -> None:
        self.world = world
        self.life = life
        self.chance = world.chance.fork("person", life.name)
        machine = SimulationClock(world.loop, world.skew(life.name))
        open_ports, clock = world.backend.connect(machine, life)
        self.client = FlowClient(
            open_ports,
            world.options,
            clock=clock,
            identifiers=CountedIdentifiers(life.name),
            shard_items=world.told.story.shard_items,
            codec=world.told.story.codec_of(life.name),
        )

    async def insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Do something until it succeeds."""
        for _ in range(TRIES):
            try:
                return await call()
            except StorageError:
                await asyncio.sleep(PAUSE_SECONDS)
        return await call()

    async def status(self) -> str | None:
        """The status of the run; ``None`` before there is one."""
        try:
            return str((await self.insist(lambda: self.client.get_run(self.world.run_id))).status)
        except RunNotFound:
            return None

    async def linger(self, turns: int) -> None:
        """Let some turns of the event loop pass, so that something has happened meanwhile."""
        for _ in range(turns):
            await asyncio.sleep(0)

    async def any_moment(self) -> bool:
        """Wait for any of the requests that a run may make; false if it is over before."""
        world = self.world
        most = REQUESTS_AT_LEAST + REQUESTS_OF_A_BODY * world.told.story.truth.bodies.total()
        request = world.request(1 + self.chance.below(most))
        while not request.done():
            await asyncio.wait({request}, timeout=GLANCE_SECONDS)
            if not request.done() and await self.status() in FINAL_STATUSES:
                return False
        await self.linger(self.chance.below(MOST_TURNS))
        return True

    async def rest(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    async def until(self, is_so: Callable[[Any], bool], *, every_seconds: float = 3.0) -> bool:
        """Look at the run until something is so; false if it is over before."""
        while True:
            try:
                run = await self.insist(lambda: self.client.get_run(self.world.run_id))
            except RunNotFound:
                run = None
            if run is not None and is_so(run):
                return True
            if run is not None and run.status.is_final:
                return False
            await asyncio.sleep(every_seconds)
