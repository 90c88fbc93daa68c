"""A worker process for the order example: ``python -m examples.order_worker DIRECTORY``.

Any number of them work on the same directory; each can be stopped or killed at any time.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from pathlib import Path
from typing import Any

from examples.order_workflow import order
from examples.shop import Shop
from flowcraft import FlowRuntime, Middleware
from flowcraft.engine.adapter import Adapter
from flowcraft.engine.middleware import Proceed
from flowcraft.sqlite import SqliteAdapter

LEASE_SECONDS = 2.0
AWS_FILE = "aws.json"


class Journal(Middleware):
    """Writes down which process begins and ends what; slows nodes down a little.

    Args:
        path: The file, which all workers append to.
        pause_seconds: How long each node takes, so that there is something to interrupt.
    """

    def __init__(self, path: Path, pause_seconds: float) -> None:
        self._path = path
        self._pause_seconds = pause_seconds

    async def around(self, ctx: Any, proceed: Proceed) -> Any:
        """Note the attempt before and after it."""
        self._note("begin", ctx)
        await asyncio.sleep(self._pause_seconds)
        result = await proceed()
        self._note("end", ctx)
        return result

    def _note(self, what: str, ctx: Any) -> None:
        line = f"{what}\t{os.getpid()}\t{ctx.idempotency_key}\t{ctx.attempt}\n"
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line)


def runtime_for(directory: Path, pause_seconds: float = 0.0) -> FlowRuntime:
    """The runtime of a worker or client in a directory."""
    return FlowRuntime(
        flows=[order()],
        dependencies={Shop: Shop(directory / "shop.json")},
        middleware=[Journal(directory / "journal.tsv", pause_seconds)],
    )


def adapter_for(directory: Path, pause_seconds: float = 0.0) -> Adapter:
    """The adapter on AWS if the directory says so, else on the directory's own database."""
    options = runtime_for(directory, pause_seconds).options
    if (directory / AWS_FILE).exists():
        # boto3 is needed there alone.
        from examples.order_aws import adapter_in  # noqa: PLC0415

        return adapter_in(directory / AWS_FILE, options, LEASE_SECONDS)
    return SqliteAdapter(
        directory / "runs.db",
        options,
        lease_seconds=LEASE_SECONDS,
        poll_seconds=0.2,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds that each node takes")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(process)d %(message)s")
    adapter_for(options.directory, options.pause).run()
