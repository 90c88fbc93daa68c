"""A worker process on a file: ``… PATH CONCURRENCY``; it works until its input is closed.

It says ``ready`` once it polls, and at the end, as JSON, what it did and what memory it took.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from pathlib import Path

from benchmarks.durable.flows import executed, runtime
from flowcraft.sqlite import SqliteAdapter


def peak_bytes() -> int:
    """The most memory that was resident in this process.

    Linux knows it for the program; what ``getrusage`` says there may be its parent's, from the
    moment when it was started.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


async def work(path: str, concurrency: int) -> None:
    """Work until standard input is closed."""
    async with SqliteAdapter(path, runtime().options, concurrency=concurrency):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    told = {"process": os.getpid(), "nodes": executed.total(), "peak_bytes": peak_bytes()}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))
