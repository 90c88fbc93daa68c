"""A worker process on an emulator of AWS, for test_aws_workers.py and test_aws_sizes.py.

``… DIRECTORY``; the file `place.json` there says where queue and tables are, and in `notes.txt`
it notes what it does.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

from flowcraft import FlowRuntime, create_flow
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter
from flowcraft.core.builder import FlowBuilder
from tests.acceptance.blocking_worker import note
from tests.emulators.aws import AwsNames, client

LONG_SECONDS = 8.0
LEASE_SECONDS = 1.0
GRAPH_WIDTH, GRAPH_LAYERS = 50, 20


def flows(directory: Path) -> list[FlowBuilder]:
    """What the worker can do."""

    async def blocks(ctx: Any) -> str:
        note(directory, "blocks begins")
        time.sleep(LONG_SECONDS)  # what no async node should do
        note(directory, "blocks ends")
        return "done"

    async def long(ctx: Any) -> str:
        note(directory, "long begins")
        await asyncio.sleep(LONG_SECONDS)
        note(directory, "long ends")
        return "done"

    async def fragile(ctx: Any) -> int:
        note(directory, f"{ctx.attempt}|{ctx.idempotency_key} begins")
        if ctx.attempt == 1:
            await asyncio.sleep(3600)
        return int(ctx.attempt)

    return [
        create_flow("block").node("blocks", blocks, uses="blocks"),
        create_flow("long").node("long", long, uses="long"),
        create_flow("fragile").node("fragile", fragile, uses="fragile"),
        *large_flows(),
        graph(),
        create_flow("batch").batch("twice", twice, uses="twice", inputs="items"),
    ]


def dense_text(size: int) -> str:
    """A text that hardly gets smaller, whatever is done to it, and is made in no time."""
    return base64.b85encode(Random(size).randbytes(size * 4 // 5)).decode()


async def text(ctx: Any) -> str:
    """A text as large as its input says."""
    return dense_text(int(ctx.input))


async def length(ctx: Any) -> int:
    """How long a text is that another node made."""
    return len(ctx.input)


async def twice(ctx: Any) -> int:
    """Twice the item."""
    return 2 * int(ctx.input)


async def total(ctx: Any) -> int:
    """One more than the sum of what leads here."""
    given = ctx.input if isinstance(ctx.input, dict) else {}
    return 1 + sum(given.values())


def large_flows() -> list[FlowBuilder]:
    """A large output of a node, and of a child run; a large answer."""
    plain = create_flow("large").node("text", text, uses="text", inputs="size")
    plain.node("length", length, uses="length").edge("text", "length")
    child = create_flow("large-child").node("text", text, uses="text", inputs="size")
    parent = create_flow("large-parent").subflow(
        "child", "large-child", inputs={"size": "size"}, outputs={"text": "text"}
    )
    parent.node("length", length, uses="length", inputs="text").edge("child", "length")
    answer = create_flow("large-answer").wait("ask").node("length", length, uses="length")
    return [plain, child, parent, answer.edge("ask", "length")]


def graph() -> FlowBuilder:
    """1,000 nodes in layers, each after two of the layer before."""
    flow = create_flow("graph")
    for layer in range(GRAPH_LAYERS):
        for number in range(GRAPH_WIDTH):
            flow.node(f"{layer}-{number}", total, uses="total")
            if layer:
                flow.edge(f"{layer - 1}-{number}", f"{layer}-{number}")
                flow.edge(f"{layer - 1}-{(number + 1) % GRAPH_WIDTH}", f"{layer}-{number}")
    return flow


def adapter(directory: Path, **options: Any) -> SqsAdapter:
    """The adapter on the resources of a directory's file."""
    place = json.loads((directory / "place.json").read_text(encoding="utf-8"))
    names, lease_seconds = AwsNames(**place["names"]), place["lease_seconds"]
    sqs, dynamodb = client("sqs", place["endpoint"]), client("dynamodb", place["endpoint"])
    return SqsAdapter(
        FlowRuntime(flows=flows(directory)).options,
        coordination_store=DynamoDbCoordinationStore(dynamodb, names.coordination),
        sqs_client=sqs,
        dynamodb_client=dynamodb,
        queue_url=place["queue_url"],
        context_table_name=names.contexts,
        status_table_name=names.statuses,
        **{"lease_seconds": lease_seconds, "poll_seconds": 1, "reconcile_every_seconds": 60.0}
        | options,
    )


def peak_bytes() -> int:
    """The most memory that this process has had; what getrusage says begins with its parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    given = Path(sys.argv[1])
    note(given, "worker starts")
    note(given, f"{peak_bytes()} before")
    adapter(given).run()
    note(given, f"{peak_bytes()} peak")
