"""What durable runs on one machine cost: ``make bench-durable``.

Everything is measured in one run on one machine, beside two floors: a bare SQLite transaction per
node with the same durability, and the same engine on memory. Nodes are trivial async functions.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.shapes import graph
from flowcraft import FlowRuntime, NodeContext
from flowcraft.adapters.sqlite import Database
from flowcraft.adapters.system import SystemClock
from flowcraft.engine.adapter import Adapter
from flowcraft.memory import MemoryAdapter
from flowcraft.sqlite import SqliteAdapter

GOAL_NODES_PER_SECOND = 3_000
ROUNDS = 5
Json = dict[str, Any]

ended: list[float] = []
hops: list[float] = []


async def trivial(_ctx: NodeContext[Any]) -> int:
    return 1


async def first(_ctx: NodeContext[Any]) -> None:
    ended.append(perf_counter())


async def behind(_ctx: NodeContext[Any]) -> None:
    hops.append(perf_counter() - ended[-1])


REGISTRY = {"trivial": trivial, "first": first, "behind": behind}


def plain(shape: str, nodes: int) -> Json:
    """A chain or fan of trivial nodes."""
    names, edges = graph(shape, nodes)
    return {
        "id": f"{shape}-{nodes}",
        "nodes": [{"id": name, "uses": "trivial"} for name in names],
        "edges": [{"source": source, "target": target} for source, target in edges],
    }


def batch() -> Json:
    """A batch over the context key ``items``."""
    names = {"gatherNodeId": "gather"}
    scatter = {"workerUsesKey": "trivial", **names}
    return {
        "id": "batch",
        "nodes": [
            {"id": "scatter", "uses": "batch-scatter", "params": scatter, "inputs": "items"},
            {"id": "gather", "uses": "batch-gather", "params": names},
        ],
        "edges": [{"source": "scatter", "target": "gather"}],
    }


def hop() -> Json:
    """A node with two successors: one stays in hand, the other goes through the queue."""
    uses = {"s": "first", "in_hand": "trivial", "sent": "behind"}
    return {
        "id": "hop",
        "nodes": [{"id": name, "uses": key} for name, key in uses.items()],
        "edges": [{"source": "s", "target": "in_hand"}, {"source": "s", "target": "sent"}],
    }


def runtime() -> FlowRuntime:
    """A runtime that knows all of it."""
    blueprints = [plain("chain", 100), plain("chain", 1_000), plain("fan", 100), batch(), hop()]
    known = {blueprint["id"]: blueprint for blueprint in blueprints}
    return FlowRuntime(blueprints=known, registry=REGISTRY, max_executions=None)


async def run_all(adapter: Adapter, blueprint_id: str, count: int, context: Json) -> float:
    """Seconds for a number of runs at once."""
    began = perf_counter()
    runs = [await adapter.start_run(blueprint_id, context) for _ in range(count)]
    for run in runs:
        (await run.result()).raise_for_status()
    return perf_counter() - began


async def rate(work: Callable[[], Awaitable[float]], units: int) -> float:
    """Units a second, the median of some rounds after one for warming up."""
    await work()
    return statistics.median([units / await work() for _ in range(ROUNDS)])


def floor(path: Path, durability: Any, count: int = 2_000) -> float:
    """Transactions a second that do nothing but insert a row, as many as there are nodes."""
    with Database(path, SystemClock(), durability=durability) as database:
        with database.transaction as execute:
            execute("CREATE TABLE bare (id INTEGER PRIMARY KEY, data TEXT)")
        began = perf_counter()
        for _ in range(count):
            with database.transaction as execute:
                execute("INSERT INTO bare (data) VALUES (?)", ("x" * 100,))
        return count / (perf_counter() - began)


async def measure(adapter: Adapter) -> dict[str, float]:
    """Everything about one adapter."""
    items = {"items": list(range(5_000))}
    async with adapter:
        found = {
            "10 chains of 100": await rate(lambda: run_all(adapter, "chain-100", 10, {}), 1_000),
            "chain of 1,000": await rate(lambda: run_all(adapter, "chain-1000", 1, {}), 1_000),
            "10 fans of 100": await rate(lambda: run_all(adapter, "fan-100", 10, {}), 1_000),
            "batch of 5,000": await rate(lambda: run_all(adapter, "batch", 1, items), 5_000),
        }
        hops.clear()
        for _ in range(50):
            await run_all(adapter, "hop", 1, {})
        found["hop"] = statistics.median(hops) * 1_000
    return found


async def large_batch(items: int) -> None:
    """A batch of a thousand items and a large one: seconds, and memory at the peak."""
    with tempfile.TemporaryDirectory() as directory:
        async with SqliteAdapter(Path(directory) / "runs.db", runtime().options) as adapter:
            for count in (1_000, items):
                seconds = await run_all(adapter, "batch", 1, {"items": list(range(count))})
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
                each = seconds / count * 1e6
                print(f"{count:,} items: {seconds:.1f} s, {each:.0f} µs an item, {peak} MB")


def processes(count: int, chains: int = 40) -> float:
    """Nodes a second of worker processes on one file, while this one only looks on."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "runs.db"
        command = [sys.executable, "-m", "benchmarks.durable", "--worker", str(path)]
        workers = [subprocess.Popen(command) for _ in range(count)]
        try:
            return asyncio.run(_seconds_elsewhere(path, chains))
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.wait()


async def _seconds_elsewhere(path: Path, chains: int) -> float:
    client = SqliteAdapter(path, runtime().options)
    await run_all(client, "chain-100", 4, {})  # the workers have started by then
    rates = [chains * 100 / await run_all(client, "chain-100", chains, {}) for _ in range(3)]
    await client.aclose()
    return statistics.median(rates)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table; 1 if the goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.durable")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help="measure a batch of so many items alone")
    options = parser.parse_args(arguments)
    if options.batch is not None:
        asyncio.run(large_batch(options.batch))
        return 0
    if options.worker is not None:
        SqliteAdapter(options.worker, runtime().options, poll_seconds=0.2).run()
        return 0
    tables: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        for durability in ("normal", "full"):
            name, path = f"SQLite, {durability}", Path(directory) / f"{durability}.db"
            bare = floor(Path(directory) / f"bare-{durability}.db", durability)
            adapter = SqliteAdapter(path, runtime().options, durability=durability)
            tables[name] = {"bare": bare, **asyncio.run(measure(adapter))}
        tables["memory"] = asyncio.run(measure(MemoryAdapter(runtime().options)))
    one, two = processes(1), processes(2)
    _print(tables, one, two)
    reached = tables["SQLite, normal"]["10 chains of 100"] >= GOAL_NODES_PER_SECOND
    print(f"\nGoal: {GOAL_NODES_PER_SECOND:,} nodes a second and process: ", end="")
    print("reached" if reached else "MISSED")
    return 0 if reached else 1


def _print(tables: dict[str, dict[str, float]], one: float, two: float) -> None:
    rows = ["bare", "10 chains of 100", "chain of 1,000", "10 fans of 100", "batch of 5,000"]
    titles = {"bare": "bare transactions"}
    print(f"{'Nodes (items) a second':24}" + "".join(f"{name:>16}" for name in tables))
    for row in rows:
        cells = [table.get(row) for table in tables.values()]
        texts = ["" if cell is None else f"{cell:,.0f}" for cell in cells]
        print(f"{titles.get(row, row):24}" + "".join(f"{text:>16}" for text in texts))
    hop_texts = [f"{table['hop']:.2f}" for table in tables.values()]
    print(f"{'hop through the queue, ms':24}" + "".join(f"{text:>16}" for text in hop_texts))
    print(f"\n40 chains of 100 by other processes: one {one:,.0f} nodes a second, two {two:,.0f}")


if __name__ == "__main__":
    sys.exit(main())
