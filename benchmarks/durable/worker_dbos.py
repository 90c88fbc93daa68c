"""DBOS with SQLite as its system database: ``… dbos`` as it comes, ``… dbos-wal`` tuned.

Runs in an environment of its own, in which this package is not installed. Workflows and steps are
plain functions, with which it is faster than with async ones. DBOS leaves SQLite's defaults as they
are, a rollback journal and ``synchronous=FULL``; tuned means a write-ahead log and
``synchronous=NORMAL``, which is what our ``durability="normal"`` is. It has no option for that, so
each of its connections is told when it is opened.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.serving import Run, serve

TOGETHER = 10
SYNCHRONOUS = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}


def on_connections(event: str, listener: Any) -> Any:
    """Call a listener with the connections that its database library opens.

    Returns:
        A function that ends it.
    """
    library: Any = importlib.import_module("sqlalchemy")
    library.event.listen(library.pool.Pool, event, listener)
    return lambda: library.event.remove(library.pool.Pool, event, listener)


def tune(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


class Dbos:
    """The library as its documentation uses it.

    Args:
        directory: Where its file is.
    """

    def __init__(self, directory: Path) -> None:
        self._library: Any = importlib.import_module("dbos").DBOS
        self._library(
            config={
                "name": "benchmark",
                "system_database_url": f"sqlite:///{directory / 'dbos.sqlite'}",
                "log_level": "WARNING",
                "enable_otlp": False,
            }
        )

        @self._library.step()  # type: ignore[untyped-decorator]
        def trivial() -> int:
            return 1

        @self._library.workflow()  # type: ignore[untyped-decorator]
        def chain(steps: int) -> int:
            return sum(trivial() for _ in range(steps))

        self._chain = chain
        self._library.launch()

    def about(self) -> dict[str, Any]:
        """The version, and how its file is open, asked on one of its own connections."""
        seen: list[str] = []

        def look(connection: Any, _record: Any, _proxy: Any) -> None:
            (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
            (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
            seen.append(f"journal_mode={journal.upper()}, synchronous={SYNCHRONOUS[synchronous]}")

        stop = on_connections("checkout", look)
        self._library.start_workflow(self._chain, 1).get_result()
        stop()
        return {"name": "DBOS", "version": version("dbos"), "settings": " / ".join(sorted({*seen}))}

    async def prepare(self, shape: str, nodes: int) -> tuple[Run, dict[str, float]]:
        """A workflow of as many steps; ``chains`` are ten workflows at once."""
        count = TOGETHER if shape == "chains" else 1
        started: list[str] = []

        def workflows() -> int:
            start, steps = self._library.start_workflow, nodes // count
            handles = [start(self._chain, steps) for _ in range(count)]
            started[:] = [handle.get_workflow_id() for handle in handles]
            return sum(handle.get_result() for handle in handles)

        async def run() -> int:
            # It is not to be called in an event loop.
            return await asyncio.to_thread(workflows)

        done, kept = await run(), await asyncio.to_thread(self._kept, started)
        if (done, kept) != (nodes, nodes):
            raise RuntimeError(f"{shape}: {done} of {nodes} were executed, {kept} recorded")
        return run, {}

    def _kept(self, workflows: list[str]) -> int:
        """How many steps of some workflows it has recorded."""
        return sum(len(self._library.list_workflow_steps(each)) for each in workflows)

    def close(self) -> None:
        """End its threads."""
        self._library.destroy()


def main(name: str) -> None:
    """Serve one of the two."""
    with TemporaryDirectory(prefix="flowcraft-bench-") as directory:
        if name == "dbos-wal":
            on_connections("connect", tune)
        contender = Dbos(Path(directory))
        try:
            asyncio.run(serve(contender))
        finally:
            contender.close()


if __name__ == "__main__":
    main(sys.argv[1])
