"""This package within one process: ``… NAME``, a worker and a client on one file, or on memory.

Between two requests this process does nothing at all, so it does not disturb other contenders.
"""

from __future__ import annotations

import asyncio
import platform
import sqlite3
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from benchmarks.durable.cases import BARE_FULL, BARE_NORMAL, FULL, MEMORY, TOGETHER
from benchmarks.durable.flows import runtime
from benchmarks.serving import Run, serve
from flowcraft.adapters.sqlite import Database
from flowcraft.adapters.system import SystemClock
from flowcraft.engine.adapter import Adapter
from flowcraft.memory import MemoryAdapter
from flowcraft.sqlite import SqliteAdapter

SYNCHRONOUS = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}
"""https://www.sqlite.org/pragma.html#pragma_synchronous"""


def package_version() -> str:
    """As it is installed, or lies beside this directory."""
    try:
        return version("flowcraft-sqs")
    except PackageNotFoundError:
        return "not installed"


def settings(database: Database) -> str:
    """What an open file says of itself."""
    with database.snapshot as execute:
        (journal,) = execute("PRAGMA journal_mode").fetchone()
        (synchronous,) = execute("PRAGMA synchronous").fetchone()
    return f"journal_mode={journal.upper()}, synchronous={SYNCHRONOUS[synchronous]}"


class Bare:
    """One transaction with one insert for each node, and nothing else.

    Args:
        path: The file.
        durability: As of ``SqliteAdapter``.
    """

    def __init__(self, path: Path, durability: Literal["normal", "full"]) -> None:
        self._database = Database(path, SystemClock(), durability=durability)
        with self._database.transaction as execute:
            execute("CREATE TABLE bare (id INTEGER PRIMARY KEY, data TEXT)")

    def about(self) -> dict[str, Any]:
        """The library, and how the file is open."""
        python = platform.python_version()
        name = f"SQLite {sqlite3.sqlite_version} from Python {python}"
        return {"name": "bare transactions", "version": name, "settings": settings(self._database)}

    async def prepare(self, _shape: str, nodes: int) -> tuple[Run, dict[str, float]]:
        """The same for every shape."""
        transaction, data = self._database.transaction, "x" * 100

        async def run() -> None:
            for _ in range(nodes):
                with transaction as execute:
                    execute("INSERT INTO bare (data) VALUES (?)", (data,))

        return run, {}

    async def close(self) -> None:
        """Close the file."""
        self._database.close()


class Durable:
    """A worker and a client in one process.

    Args:
        adapter: Makes both.
        settings: How it keeps what is written.
    """

    def __init__(self, adapter: Adapter, settings: str) -> None:
        self._adapter = adapter
        self._settings = settings

    def about(self) -> dict[str, Any]:
        """The package, and how it keeps what is written."""
        name = "Flowcraft for Python"
        return {"name": name, "version": package_version(), "settings": self._settings}

    async def prepare(self, shape: str, nodes: int) -> tuple[Run, dict[str, float]]:
        """A shape in the plural is ten runs of 100 at once; the outcome is checked here."""
        await self._adapter.start()
        count = TOGETHER if shape in ("chains", "fans") else 1
        blueprint = shape if shape == "batch" else f"{shape.rstrip('s')}-{nodes // count}"
        context = {"items": list(range(nodes))} if shape == "batch" else {}

        async def run() -> int:
            runs = [await self._adapter.start_run(blueprint, context) for _ in range(count)]
            done = 0
            for each in runs:
                result = (await each.result()).raise_for_status()
                done += len(result.context["results"] if shape == "batch" else result.outputs)
            return done

        done = await run()
        if done != nodes:
            raise RuntimeError(f"{shape}: {done} of {nodes} were executed")
        return run, {}

    async def close(self) -> None:
        """Let the worker drain."""
        await self._adapter.stop()


def contender(name: str, directory: Path) -> Bare | Durable:
    """The contender of a name."""
    path = directory / "runs.db"
    durability: Literal["normal", "full"] = "full" if name in (FULL, BARE_FULL) else "normal"
    if name in (BARE_NORMAL, BARE_FULL):
        return Bare(path, durability)
    options = runtime().options
    if name == MEMORY:
        return Durable(MemoryAdapter(options), "nothing is kept")
    adapter = SqliteAdapter(path, options, durability=durability)
    with Database(path, SystemClock(), durability=durability) as database:
        return Durable(adapter, settings(database))


async def served(name: str) -> None:
    """Answer requests about a contender, and let its worker drain at the end."""
    with TemporaryDirectory(prefix="flowcraft-bench-") as directory:
        one = contender(name, Path(directory))
        try:
            await serve(one)
        finally:
            await one.close()


if __name__ == "__main__":
    asyncio.run(served(sys.argv[1]))
