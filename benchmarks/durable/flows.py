"""The flows that are run, and their nodes: trivial async functions."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from time import perf_counter
from typing import Any, Final

from benchmarks.shapes import batch, graph
from flowcraft import FlowRuntime, NodeContext

BUSY_SECONDS: Final = 0.6
"""How long a worker has its hands full, so that another one takes what it sent."""

Json = dict[str, Any]

executed: Counter[str] = Counter()
"""How many nodes of a kind this process has executed."""


async def trivial(_ctx: NodeContext[Any]) -> int:
    return 1


async def counted(_ctx: NodeContext[Any]) -> int:
    executed["counted"] += 1
    return 1


async def first(_ctx: NodeContext[Any]) -> Json:
    return {"at": perf_counter(), "process": os.getpid()}


async def busy(_ctx: NodeContext[Any]) -> None:
    await asyncio.sleep(BUSY_SECONDS)


async def behind(ctx: NodeContext[Any]) -> Json:
    # This clock is the same for all processes of a machine.
    seconds = perf_counter() - ctx.input["at"]
    return {"ms": seconds * 1e3, "crossed": ctx.input["process"] != os.getpid()}


REGISTRY = {
    "trivial": trivial,
    "counted": counted,
    "first": first,
    "busy": busy,
    "behind": behind,
}


def plain(shape: str, nodes: int, uses: str = "trivial") -> Json:
    """A chain or fan of nodes of one kind."""
    names, edges = graph(shape, nodes)
    return {
        "id": f"{shape}-{nodes}" if uses == "trivial" else f"{shape}-{nodes}-{uses}",
        "nodes": [{"id": name, "uses": uses} for name in names],
        "edges": [{"source": source, "target": target} for source, target in edges],
    }


def hop(blueprint_id: str, in_hand: str) -> Json:
    """A node with two successors: one stays in hand, the other goes through the queue."""
    uses = {"s": "first", "in_hand": in_hand, "sent": "behind"}
    return {
        "id": blueprint_id,
        "nodes": [{"id": name, "uses": key} for name, key in uses.items()],
        "edges": [{"source": "s", "target": "in_hand"}, {"source": "s", "target": "sent"}],
    }


def runtime() -> FlowRuntime:
    """A runtime that knows all of it; without a bound, since batches are larger than it."""
    blueprints = [
        plain("chain", 100),
        plain("chain", 1_000),
        plain("chain", 100, "counted"),
        plain("fan", 100),
        batch(),
        hop("hop", "trivial"),
        hop("hop-away", "busy"),
    ]
    known = {blueprint["id"]: blueprint for blueprint in blueprints}
    return FlowRuntime(blueprints=known, registry=REGISTRY, max_executions=None)
