"""Workers of the order example are killed at seeded moments, and the orders must come out right.

    python -m tests.acceptance.killing --rounds 200 --seed 1

In each round one or two of two worker processes are killed with SIGKILL at random moments while
an order is worked on; others take their place. The last line is ``N rounds, N violations``; the
exit code is 1 if there was one, and each is printed with the seed that repeats it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from examples.order_worker import runtime_for
from flowcraft.engine.stored import StoredRun
from flowcraft.sqlite import SqliteAdapter

ROOT: Final = Path(__file__).resolve().parents[2]
ORDER: Final = {
    "customer": "Ada",
    "items": [
        {"sku": "cup", "quantity": 4},
        {"sku": "tea", "quantity": 10},
        {"sku": "pot", "quantity": 1},
    ],
}
PAUSE_SECONDS: Final = 0.02
LAST_KILL_SECONDS: Final = 2.2
"""About as long as an order takes that nobody disturbs."""

PATIENCE_SECONDS: Final = 60.0
AT_ONCE: Final = 4


class Workers:
    """Worker processes on one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes: list[asyncio.subprocess.Process] = []
        self.killed: list[int] = []

    async def add(self) -> None:
        """Start another one."""
        self._processes.append(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "examples.order_worker", str(self._directory)),
                *("--pause", str(PAUSE_SECONDS)),
                cwd=ROOT,
                stderr=asyncio.subprocess.DEVNULL,
            )
        )

    async def kill(self, chance: random.Random) -> None:
        """Kill one, and start another in its place."""
        victim = self._processes.pop(chance.randrange(len(self._processes)))
        victim.kill()
        self.killed.append(victim.pid)
        await victim.wait()
        await self.add()

    async def stop(self) -> list[int | None]:
        """Let all of them end; gives their exit codes."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        return [await process.wait() for process in self._processes]


@asynccontextmanager
async def _two_workers(directory: Path) -> AsyncIterator[Workers]:
    workers = Workers(directory)
    try:
        for _ in range(2):
            await workers.add()
        yield workers
    finally:
        await workers.stop()


async def play(seed: int) -> list[str]:
    """One round; gives what was not as it should be."""
    chance = random.Random(seed)
    moments = sorted(
        chance.uniform(0.0, LAST_KILL_SECONDS) for _ in range(chance.choice((1, 1, 2)))
    )
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        # Every other round the batch of three is cut into records of an item each.
        client = SqliteAdapter(
            directory / "runs.db", runtime_for(directory).options, shard_items=1 + 2 * (seed % 2)
        )
        async with _two_workers(directory) as workers:
            await _until_somebody_works(directory)
            run_id = await client.start_run("order", {"order": ORDER})
            killing = asyncio.create_task(_kill_at(moments, workers, chance))
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    result = await _see_through(client, str(run_id))
            except TimeoutError:
                run = await client.get_run(run_id)
                return [f"it is {run.status} after {PATIENCE_SECONDS:g} s: {run.states}"]
            await killing
        await client.aclose()
        return [*_wrong_results(result, directory), *_run_too_often(directory, workers.killed)]


async def _until_somebody_works(directory: Path) -> None:
    """Wait for the first worker to have opened the database."""
    while not (directory / "runs.db-wal").exists():
        await asyncio.sleep(0.01)


async def _kill_at(moments: Sequence[float], workers: Workers, chance: random.Random) -> None:
    passed = 0.0
    for moment in moments:
        await asyncio.sleep(moment - passed)
        passed = moment
        await workers.kill(chance)


async def _see_through(client: SqliteAdapter, run_id: str) -> StoredRun:
    """Approve the order when that is asked for, and wait for the end."""
    while True:
        run = await client.get_run(run_id)
        if any(wait.reason == "external_event" for wait in run.awaiting):
            break
        await asyncio.sleep(0.02)
    await client.resume_with_action(run_id, "approve", {"by": "Grace"})
    return await client.wait_for_run(run_id)


def _wrong_results(result: StoredRun, directory: Path) -> Iterator[str]:
    if result.status != "completed":
        yield f"it {result.status}: {result.errors}"
        return
    expected = {
        "prices_gather": [34.0, 40.0, 39.0],
        "total": 113.0,
        "deliver": "parcel approved by Grace, on its way",
    }
    for node, output in expected.items():
        if result.outputs[node] != output:
            yield f"{node}: {result.outputs[node]!r} instead of {output!r}"
    books = adapter_books(directory)
    if books["stock"] != {"cup": 36, "tea": 90, "pot": 1}:
        yield f"the stock is {books['stock']}"
    charged = [amount for amount in books["done"].values() if amount == 113.0]
    if len(charged) != 1:
        yield f"the customer was charged {len(charged)} times"


def adapter_books(directory: Path) -> dict[str, Any]:
    """The shop's books."""
    from examples.shop import Shop  # noqa: PLC0415 - as little as possible in the parent

    return Shop(directory / "shop.json").books()


def _run_too_often(directory: Path, killed: Sequence[int]) -> Iterator[str]:
    """Each body runs once, and once more for each time that its worker was killed during it."""
    begun: Counter[str] = Counter()
    cut_off: Counter[str] = Counter()
    under_way: dict[tuple[str, str, str], int] = {}
    for line in (directory / "journal.tsv").read_text(encoding="utf-8").splitlines():
        what, pid, key, attempt = line.split("\t")
        if what == "begin":
            begun[key] += 1
            under_way[pid, key, attempt] = 1
        else:
            under_way.pop((pid, key, attempt), None)
    for pid, key, _ in under_way:
        # The payment service fails on purpose: an attempt that raises has no end either.
        cut_off[key] += int(int(pid) in killed or key.endswith(":charge"))
    for key, count in begun.items():
        # A worker that dies between the end of a node and the write repeats it once.
        if count > 1 + cut_off[key] + _ended_unwritten(directory, key, killed):
            yield f"{key} ran {count} times, {cut_off[key]} of them cut off"


def _ended_unwritten(directory: Path, key: str, killed: Sequence[int]) -> int:
    """How often the node's last step in a killed process was its very end."""
    lines = (directory / "journal.tsv").read_text(encoding="utf-8").splitlines()
    last = {pid: line for line in lines for pid in [line.split("\t")[1]] if int(pid) in killed}
    return sum(line.startswith("end\t") and line.split("\t")[2] == key for line in last.values())


async def campaign(rounds: int, seed: int) -> int:
    """Play rounds, several at once; gives the number of violations."""
    violations = 0
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        nonlocal violations
        async with slots:
            problems = await play(number)
        for problem in problems:
            violations += 1
            print(f"seed {number}: {problem}", flush=True)

    await asyncio.gather(*(one(seed + number) for number in range(rounds)))
    print(f"{rounds} rounds, {violations} violations")
    return violations


def main(arguments: Sequence[str] | None = None) -> int:
    """Play as many rounds as the command line says; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.killing")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    return 1 if asyncio.run(campaign(options.rounds, options.seed)) else 0


if __name__ == "__main__":
    sys.exit(main())
