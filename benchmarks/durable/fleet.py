"""Worker processes on one file, seen by a client in this process, which runs no node.

When something began and ended is taken from the clock and the record, not from when this client
came to look.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.contenders import environment
from benchmarks.durable.flows import runtime
from benchmarks.rounds import Spread
from benchmarks.workers import ROOT, ContenderFailed
from flowcraft.engine.client import FlowClient
from flowcraft.engine.stored import StoredRun
from flowcraft.sqlite import SqliteAdapter

END_SECONDS = 60.0
"""How long a worker process may take to drain."""


@dataclass(slots=True)
class Fleet:
    """Worker processes and a client.

    Attributes:
        client: The client.
        told: What the processes said at their end: ``nodes``, ``peak_bytes``.
    """

    client: FlowClient
    told: list[Mapping[str, int]] = field(default_factory=list)

    async def seconds(self, blueprint: str, context: dict[str, Any], count: int = 1) -> float:
        """From the first start of some runs to the end of the last node."""
        began = time.time()
        ids = [await self.client.start_run(blueprint, context) for _ in range(count)]
        # The last one first: what is read meanwhile would take time from the workers.
        runs = [await self.run(run_id) for run_id in reversed(ids)]
        return max(map(_end, runs)) - began

    async def run(self, run_id: str) -> StoredRun:
        """A run, when it has been completed."""
        run = await self.client.wait_for_run(run_id)
        run.raise_for_status()
        return run


@asynccontextmanager
async def fleet(count: int = 1, concurrency: int = 10) -> AsyncIterator[Fleet]:
    """A number of worker processes on a file of their own, which are at work.

    Raises:
        ContenderFailed: A process did not start, or not end as it should.
    """
    with TemporaryDirectory(prefix="flowcraft-bench-") as directory:
        path = str(Path(directory) / "runs.db")
        processes = [await _start(path, concurrency) for _ in range(count)]
        try:
            for process in processes:
                await _line(process)
            async with SqliteAdapter.client_of(path, runtime().options) as client:
                found = Fleet(client)
                yield found
            found.told += [await _end_of(process) for process in processes]
        finally:
            for process in processes:
                if process.returncode is None:
                    process.kill()
                    await process.wait()


async def _start(path: str, concurrency: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.durable.process", path, str(concurrency)),
        cwd=ROOT,
        env=environment(os.environ, PYTHONPATH=str(ROOT / "src")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def _line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        code = await process.wait()
        raise ContenderFailed(f"a worker process ended with code {code}; see above")
    return line


async def _end_of(process: asyncio.subprocess.Process) -> Mapping[str, int]:
    assert process.stdin is not None
    process.stdin.close()
    async with asyncio.timeout(END_SECONDS):
        told: dict[str, int] = json.loads(await _line(process))
        await process.wait()
    return told


def _end(run: StoredRun) -> float:
    return max(step.ended_at.timestamp() for step in run.timeline if step.ended_at is not None)


# Hops ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hops:
    """How long it takes from the end of a node to the beginning of one behind it.

    Attributes:
        milliseconds: One figure for each hop that was as it should be.
        others: How many were not: they should have led to another process, and did not.
    """

    milliseconds: list[float]
    others: int

    @property
    def spread(self) -> Spread:
        """Smallest, median, largest."""
        return Spread.of(self.milliseconds)


async def hops_within(count: int) -> Hops:
    """Through the queue, within one worker process with nothing else to do."""
    async with fleet() as one:
        return await _hops(one, "hop", count, crossed=False)


async def hops_across(count: int) -> Hops:
    """To another worker process: each runs one node at a time, and the first has more to do."""
    async with fleet(2, concurrency=1) as two:
        return await _hops(two, "hop-away", count, crossed=True)


async def _hops(workers: Fleet, blueprint: str, count: int, *, crossed: bool) -> Hops:
    # Pauses of any length: the workers' looks at the queue must not keep step with the runs.
    pauses, found, others = random.Random(1), [], 0
    await workers.seconds(blueprint, {})
    for _ in range(count):
        await asyncio.sleep(pauses.uniform(0.0, 0.25))
        run = await workers.run(await workers.client.start_run(blueprint, {}))
        hop = run.outputs["sent"]
        if hop["crossed"] == crossed:
            found.append(hop["ms"])
        else:
            others += 1
    if not found:
        raise ContenderFailed("no hop led where it should")
    return Hops(found, others)


# Several processes --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shared:
    """One file, and one or two worker processes on it.

    Attributes:
        one: Nodes a second of one process, round by round.
        two: Nodes a second of two processes together, in the same rounds.
        shares: Which part of the nodes each of the two ran, the smaller one first.
    """

    one: list[float]
    two: list[float]
    shares: list[float]

    @property
    def ratio(self) -> Spread:
        """How many times as many nodes two processes run as one."""
        return Spread.of([two / one for one, two in zip(self.one, self.two, strict=True)])


async def shared(rounds: int, chains: int = 40) -> Shared:
    """Chains of 100, so many at once, in turn by one process and by two on another file."""
    by_one: list[float] = []
    by_two: list[float] = []
    async with fleet(1) as one, fleet(2) as two:
        for _ in range(rounds + 1):
            for workers, rates in ((one, by_one), (two, by_two)):
                seconds = await workers.seconds("chain-100-counted", {}, chains)
                rates.append(chains * 100 / seconds)
    parts = sorted(each["nodes"] for each in two.told)
    # The first round was for warming up.
    return Shared(by_one[1:], by_two[1:], [part / sum(parts) for part in parts])


# Batches ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Batch:
    """Batches of one size by a worker process of their own.

    Attributes:
        items: How many items each has.
        seconds: From the start to the end, batch by batch.
        fixed: The same for a batch of one item in the same process.
        peak_bytes: The most memory that was resident in the process.
    """

    items: int
    seconds: list[float]
    fixed: list[float]
    peak_bytes: int

    @property
    def microseconds(self) -> float:
        """What an item costs, everything included."""
        return median(self.seconds) / self.items * 1e6

    @property
    def microseconds_beyond(self) -> float:
        """What each further item costs: less what a batch of one item takes."""
        return (median(self.seconds) - median(self.fixed)) / (self.items - 1) * 1e6


async def batches(small: int, large: int, times: int = 4) -> list[Batch]:
    """A large batch, and small ones before and after it; each size has its process and file."""
    async with fleet() as few, fleet() as many:
        fixed = ([await _one(few) for _ in range(times)], [await _one(many) for _ in range(times)])
        seconds = [await _batch(few, small) for _ in range(times)]
        long = await _batch(many, large)
        seconds += [await _batch(few, small) for _ in range(times)]
        fixed[0].extend([await _one(few) for _ in range(times)])
    return [
        Batch(small, seconds, fixed[0], few.told[0]["peak_bytes"]),
        Batch(large, [long], fixed[1], many.told[0]["peak_bytes"]),
    ]


async def _one(workers: Fleet) -> float:
    return await _batch(workers, 1)


async def _batch(workers: Fleet, items: int) -> float:
    return await workers.seconds("batch", {"items": list(range(items))})
