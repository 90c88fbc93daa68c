"""A worker process with nodes that block or take long, for test_workers.py.

``… DIRECTORY LEASE_SECONDS``; it notes there what it does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from flowcraft import FlowRuntime, create_flow
from flowcraft.core.builder import FlowBuilder
from flowcraft.sqlite import SqliteAdapter

BLOCK_SECONDS = 5.0
LOOK_SECONDS = 0.02


def note(directory: Path, text: str) -> None:
    with (directory / "notes.txt").open("a", encoding="utf-8") as file:
        file.write(f"{text} {os.getpid()}\n")


def notes(directory: Path) -> list[str]:
    path = directory / "notes.txt"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def flows(directory: Path) -> list[FlowBuilder]:
    async def blocks(ctx: Any) -> str:
        note(directory, "blocks begins")
        time.sleep(BLOCK_SECONDS)  # what no async node should do
        note(directory, "blocks ends")
        return "done"

    async def short(ctx: Any) -> None:
        note(directory, f"{ctx.node_id} begins")
        while not (directory / "go").exists():
            await asyncio.sleep(LOOK_SECONDS)
        note(directory, f"{ctx.node_id} ends")

    async def endless(ctx: Any) -> None:
        note(directory, f"{ctx.node_id} begins")
        await asyncio.sleep(0 if (directory / "go").exists() else 3600)
        note(directory, f"{ctx.node_id} ends")

    async def double(ctx: Any) -> int:
        note(directory, f"{ctx.input} begins")
        return int(ctx.input) * 2

    many = create_flow("many")
    for number in range(10):
        many.node(f"short{number}", short, uses="short")
        many.node(f"endless{number}", endless, uses="endless")
    batch = create_flow("batch").batch("double", double, uses="double", inputs="items")
    return [create_flow("block").node("blocks", blocks, uses="blocks"), many, batch]


def adapter(directory: Path, lease_seconds: float) -> SqliteAdapter:
    runtime = FlowRuntime(flows=flows(directory))
    return SqliteAdapter(
        directory / "runs.db",
        runtime.options,
        lease_seconds=lease_seconds,
        poll_seconds=0.1,
        concurrency=30,
        drain_timeout_seconds=1.5,
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    given = Path(sys.argv[1])
    note(given, "worker starts")
    adapter(given, float(sys.argv[2])).run()
