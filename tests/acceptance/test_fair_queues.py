"""A thousand tenants on one queue, one of which floods it; in virtual time, on the fake of SQS."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.engine.client import FlowClient
from flowcraft.engine.worker import Worker
from flowcraft.testing.simulate.aws import AwsBackend
from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.clock import CountedIdentifiers, SimulationClock
from flowcraft.testing.simulate.faults import Life
from flowcraft.testing.simulate.loop import SimulationLoop

TENANTS = 1_000
FLOOD = 1_200
"""Runs that one tenant starts at once."""
SECONDS = 75.0
"""How long the others take to start a run each."""
WARM_UP_SECONDS = 12.0
"""How long that tenant is alone; by then its runs no longer end all at the same time."""
WORKERS, CONCURRENCY = 15, 10
SHORTEST_SECONDS, LONGEST_SECONDS = 2.0, 10.0
"""How long a run takes."""
REQUEST_SECONDS = 0.03
"""How long a request takes, which costs no time on the fakes themselves."""


class Far(Life):
    """A process whose requests take a while, and never fail."""

    async def request(
        self, name: str, effect: Callable[[], Awaitable[Any]], trouble: Any, **more: Any
    ) -> Any:
        """Carry out a request."""
        if name != "ReceiveMessage":
            await asyncio.sleep(REQUEST_SECONDS)
            return await effect()
        answer = await effect()
        await asyncio.sleep(REQUEST_SECONDS)
        return answer


class Queue:
    """A fleet at work, and the tenants that start runs."""

    def __init__(self, *, is_fair: bool, tenants: int = TENANTS, seconds: float = SECONDS) -> None:
        self.tenants = tenants
        self.seconds = seconds
        self.chance = Chance("tenants", 1)
        self.loop = SimulationLoop(self.chance.fork("order"))
        self.backend = AwsBackend(self.loop, self.chance.fork("aws"), visibility_seconds=60.0)
        self.is_fair = is_fair
        self.begun: dict[str, float] = {}
        self.asked: dict[str, float] = {}
        flow = create_flow("work").node("n", self._body, uses="n")
        self.options = FlowRuntime(flows=[flow]).options

    async def _body(self, ctx: Any) -> None:
        self.begun[ctx.run_id] = self.loop.time()
        chance = self.chance.fork("work", ctx.run_id)
        await asyncio.sleep(chance.between(SHORTEST_SECONDS, LONGEST_SECONDS))

    def _connect(self, name: str) -> Any:
        life = Far(name, self.loop, self.chance.fork(name))
        return self.backend.connect(SimulationClock(self.loop), life)

    def _worker(self, name: str) -> Worker:
        open_ports, clock = self._connect(name)
        return Worker(
            open_ports,
            self.options,
            clock=clock,
            identifiers=CountedIdentifiers(name),
            concurrency=CONCURRENCY,
            lease_seconds=60.0,
            poll_seconds=20.0,
            reconcile_every_seconds=None,
            heartbeat=False,
        )

    async def _start(self, client: FlowClient, tenant: str, number: int) -> None:
        run_id = f"{tenant}-{number}"
        self.asked[run_id] = self.loop.time()
        await client.start_run("work", run_id=run_id, fairness_key=tenant if self.is_fair else None)

    async def _play(self, flood: int) -> None:
        workers = [self._worker(f"worker-{number}") for number in range(WORKERS)]
        for worker in workers:
            await worker.start()
        open_ports, clock = self._connect("client")
        client = FlowClient(
            open_ports, self.options, clock=clock, identifiers=CountedIdentifiers("client")
        )
        await asyncio.gather(*(self._start(client, "flood", each) for each in range(flood)))
        await asyncio.sleep(WARM_UP_SECONDS)
        start = self.loop.time()
        chance = self.chance.fork("starts")
        times = [chance.between(0.0, self.seconds) for _ in range(self.tenants)]

        async def later(tenant: int) -> None:
            await asyncio.sleep(times[tenant])
            await self._start(client, f"tenant-{tenant}", 0)

        await asyncio.gather(*(later(each) for each in range(self.tenants)))
        waiting = flood - sum(each.startswith("flood") for each in self.begun)
        assert waiting or not flood, "the flood was over before the others had started"
        quiet = {f"tenant-{each}-0" for each in range(self.tenants)}
        while not quiet <= self.begun.keys():
            await asyncio.sleep(5.0)
            assert self.loop.time() < start + 3_600, "some never begin"
        for worker in workers:
            await worker.stop()
        await client.aclose()

    def median(self, flood: int) -> float:
        """The median time from the start of a quiet tenant's run to its node, in seconds."""
        try:
            self.loop.run(self._play(flood))
        finally:
            self.loop.bury([])
            self.loop.close()
        waits = [
            at - self.asked[run_id]
            for run_id, at in self.begun.items()
            if not run_id.startswith("flood")
        ]
        assert len(waits) == self.tenants
        return statistics.median(waits)


@pytest.mark.slow
def test_a_tenant_that_floods_the_queue_keeps_nobody_waiting() -> None:
    """With fairness keys the others' runs begin within twice the time; without, they wait long."""
    quiet = Queue(is_fair=True).median(0)
    flooded = Queue(is_fair=True).median(FLOOD)
    unfair = Queue(is_fair=False, tenants=100, seconds=15.0).median(FLOOD)
    assert flooded <= 2 * quiet, (quiet, flooded)
    assert unfair > 10 * quiet, (quiet, unfair)
