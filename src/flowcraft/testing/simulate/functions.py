"""Functions of AWS Lambda, and the service that calls them, in virtual time.

A function is an instance that gets one event at a time. Between two calls it is frozen: whatever it
left going gets no turn until the next one. At its timeout it is killed, and so it is where a fault
has it die; the messages of the event then come again by themselves, and another instance begins.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from flowcraft.adapters.aws.lambda_ import LambdaHandler, ReconcilerHandler
from flowcraft.engine.adapter import Adapter
from flowcraft.engine.heartbeat import Heartbeat
from flowcraft.engine.options import RuntimeOptions
from flowcraft.errors import FlowcraftError
from flowcraft.ports.queue import Delivery
from flowcraft.testing.simulate.clock import CountedIdentifiers, SimulationClock
from flowcraft.testing.simulate.faults import Life
from flowcraft.testing.simulate.loop import SimulationLoop, world_context
from flowcraft.testing.simulate.processes import (
    LEASE_SECONDS,
    POLL_SECONDS,
    RECONCILE_SECONDS,
    STALLED_SECONDS,
    Person,
)
from flowcraft.testing.simulate.threads import DirectCalls

if TYPE_CHECKING:
    from flowcraft.testing.simulate.world import World

logger = logging.getLogger("flowcraft.simulation")

FUNCTION_SECONDS: Final = 60.0
"""How long a call may take: longer than any node of a simulation does."""

MARGIN_SECONDS: Final = 10.0
EVENT_MESSAGES: Final = 10
NOT_DELETED: Final = 0.03
"""How likely the service calls with an event once more, although all of it was done."""

QUEUE_NAME: Final = "jobs"


class Deadline:
    """What Lambda says of a call."""

    def __init__(self, loop: SimulationLoop, seconds: float) -> None:
        self._loop = loop
        self._until = loop.time() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """How long it may still take."""
        return max(0, int((self._until - self._loop.time()) * 1000))


class FunctionProcess:
    """An instance of a function, with the service that calls it; stands for a worker.

    Args:
        world: Where it is.
        life: What happens to the instance.
        options: What it can run.

    Attributes:
        life: What happens to the instance.
        calls: How often it was called.
        is_killed: Whether it was ended at its timeout.
    """

    def __init__(self, world: World, life: Life, options: RuntimeOptions) -> None:
        self.life = life
        self.calls = 0
        self.is_killed = False
        self._world = world
        self._chance = world.chance.fork("function", life.name)
        machine = SimulationClock(world.loop, world.skew(life.name))
        self._open_ports, clock = world.backend.connect(machine, life)
        self._adapter = Adapter(
            self._open_ports,
            options,
            clock=clock,
            identifiers=CountedIdentifiers(life.name),
            shard_items=world.told.story.shard_items,
            concurrency=world.scenario.concurrency,
            lease_seconds=LEASE_SECONDS,
            reconcile_every_seconds=None,
            heartbeat=False,
            presence=False,
        )
        self._handler = LambdaHandler(self._adapter, QUEUE_NAME, MARGIN_SECONDS)
        life.on_stop = life.die  # nobody asks an instance to end

    def start(self) -> None:
        """Let the service call it."""
        self._world.loop.create_task(self._serve(), context=world_context())

    def stop(self) -> None:
        """Replace it: it gets no further call, and ends."""
        self.life.die()

    # -- the service ------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Receive messages, call with them, and delete what is done."""
        queue = self._world.ports.queue
        while not self.life.is_dead:
            deliveries = await queue.receive(EVENT_MESSAGES, POLL_SECONDS)
            if not deliveries or self.life.is_dead:
                continue  # whoever received them is gone: they come again
            done = await self._invoke(deliveries)
            if done and not self._chance.happens(NOT_DELETED):
                await queue.delete(done)

    async def _invoke(self, deliveries: Sequence[Delivery]) -> list[str]:
        """Call with some messages; gives the handles of those that are done."""
        life, loop = self.life, self._world.loop
        self.calls += 1
        loop.release(life)
        deadline = Deadline(loop, FUNCTION_SECONDS)
        call = loop.create_task(self._call(_event(deliveries), deadline), context=life.context)
        gone: asyncio.Future[None] = loop.create_future()

        def die() -> None:
            if not gone.done():
                gone.set_result(None)

        before, life.on_death = life.on_death, die
        await asyncio.wait({call, gone}, timeout=FUNCTION_SECONDS, return_when="FIRST_COMPLETED")
        life.on_death = before
        if life.is_dead:
            before()
            return []
        if not call.done():
            self.is_killed = True
            life.die()
            return []
        life.is_held = True  # it is frozen
        if (error := call.exception()) is not None:
            logger.warning("A call of %s failed: %s", life.name, error)
            return []
        if deadline.get_remaining_time_in_millis() < MARGIN_SECONDS * 1000:
            life.harm()  # nodes may have been handed back, and begin anew
        failed = {each["itemIdentifier"] for each in call.result()["batchItemFailures"]}
        return [each.handle for each in deliveries if each.id not in failed]

    # -- the instance -----------------------------------------------------------------------

    async def _call(self, event: Any, deadline: Deadline) -> dict[str, Any]:
        worker = self._adapter._worker = self._adapter._worker or self._adapter._new_worker()
        await worker.open()
        worker.station.threads = DirectCalls()
        beating = asyncio.ensure_future(self._beat())
        try:
            return await self._handler.answer(event, deadline)
        finally:
            beating.cancel()

    async def _beat(self) -> None:
        """What the thread of a heartbeat does while a call lasts."""
        worker = self._adapter.worker
        assert worker is not None
        heartbeat = Heartbeat(self._open_ports, worker, worker.lease_seconds)
        pause = worker.lease_seconds / 3
        while True:
            await asyncio.sleep(pause)
            try:
                async with self._open_ports() as ports:
                    pause = await heartbeat.beat_once(ports)
            except Exception:
                logger.exception("Leases cannot be prolonged; trying again")


def _event(deliveries: Sequence[Delivery]) -> dict[str, Any]:
    """What an event source mapping calls with."""
    return {
        "Records": [
            {
                "messageId": each.id,
                "receiptHandle": each.handle,
                "body": each.body,
                "attributes": {},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{QUEUE_NAME}",
                "awsRegion": "us-east-1",
            }
            for each in deliveries
        ]
    }


async def look_now_and_then(person: Person) -> None:
    """What a schedule does: call a function that looks for stuck runs, until the run is over."""

    async def look() -> dict[str, Any]:
        stats = await person.client.reconcile(stalled_threshold_seconds=STALLED_SECONDS)
        return {"scanned_items": stats.scanned_items}

    handler = ReconcilerHandler(look)
    while await person.until(lambda _: True):
        await person.rest(RECONCILE_SECONDS)
        try:
            answer = await handler.answer(Deadline(person.world.loop, FUNCTION_SECONDS))
        except FlowcraftError as error:
            logger.warning("The look failed: %s", error)
        else:
            assert answer["scanned_items"] >= 0
        if await person.status() in ("completed", "failed", "cancelled"):
            return
