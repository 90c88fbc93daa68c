"""This package: one runtime, the blueprint prepared, run again and again."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter
from typing import Any

from benchmarks.serving import Run, main
from benchmarks.shapes import batch, graph
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.engine.context import NodeContext, SyncNodeContext
from flowcraft.engine.nodes import NodeResult
from flowcraft.engine.runtime import FlowRuntime

CHILD = {"id": "child", "nodes": [{"id": "only", "uses": "trivial"}], "edges": []}
Json = dict[str, Any]


async def trivial(_ctx: NodeContext[Any]) -> int:
    return 1


async def giving_way(_ctx: NodeContext[Any]) -> int:
    await asyncio.sleep(0)
    return 1


def plain(_ctx: SyncNodeContext[Any]) -> int:
    return 1


async def count(ctx: NodeContext[Any]) -> NodeResult[int]:
    await ctx.context.add("round", 1)
    return NodeResult(1)


REGISTRY: dict[str, Any] = {
    "trivial": trivial,
    "giving-way": giving_way,
    "plain": plain,
    "count": count,
}


def plain_graph(shape: str, nodes: int, uses: str, **params: Any) -> Json:
    """A blueprint of a shape whose nodes are all of one kind."""
    names, edges = graph(shape, nodes)
    return {
        "id": shape,
        "nodes": [{"id": name, "uses": uses, "params": params} for name in names],
        "edges": [{"source": source, "target": target} for source, target in edges],
    }


def loop(rounds: int) -> Json:
    """A controller and one node, round after round."""
    condition = {"condition": f"round < {rounds}"}
    return {
        "id": "loop",
        "nodes": [
            {"id": "body", "uses": "count"},
            {"id": "again", "uses": "loop-controller", "params": condition},
        ],
        "edges": [
            {"source": "body", "target": "again"},
            {"source": "again", "target": "body", "action": "continue"},
        ],
        "metadata": {"cycleEntryPoints": ["body"]},
    }


SHAPES: dict[str, Callable[[int], Json]] = {
    "chain": lambda nodes: plain_graph("chain", nodes, "trivial"),
    "fan": lambda nodes: plain_graph("fan", nodes, "trivial"),
    "giving-way": lambda nodes: plain_graph("chain", nodes, "giving-way"),
    "threads": lambda nodes: plain_graph("chain", nodes, "plain"),
    "subflows": lambda nodes: plain_graph("chain", nodes, "subflow", blueprintId="child"),
    "batch": lambda _: batch(),
    "loop": loop,
}

INITIAL: dict[str, Callable[[int], Json]] = {
    "batch": lambda items: {"items": list(range(items))},
    "loop": lambda _rounds: {"round": 0},
}


def new_runtime() -> FlowRuntime:
    """A runtime that knows the nodes; without a bound, since graphs are larger than it."""
    return FlowRuntime(registry=REGISTRY, blueprints={"child": CHILD}, max_executions=None)


class Flowcraft:
    """The runtime in this process."""

    def __init__(self) -> None:
        self._runtime = new_runtime()

    def about(self) -> dict[str, Any]:
        """The package, as it is installed or lies beside this directory."""
        try:
            found = version("flowcraft-sqs")
        except PackageNotFoundError:
            found = "not installed"
        return {"name": "Flowcraft for Python", "version": found}

    async def prepare(self, shape: str, nodes: int) -> tuple[Run, dict[str, float]]:
        """Read the blueprint, build its plan, and check that a run does what it should."""
        form = SHAPES[shape](nodes)
        given: Json = {}
        if shape in INITIAL:
            given = INITIAL[shape](nodes)
        self._runtime = new_runtime()  # the old one keeps the plans of earlier graphs
        gc.collect()
        started = perf_counter()
        blueprint = WorkflowBlueprint.from_dict(form)
        read = perf_counter()
        self._runtime.plan_of(blueprint)
        planned = perf_counter()

        async def run() -> object:
            return await self._runtime.run(blueprint, given)

        await self._check(blueprint, given, shape, nodes)
        return run, {"reading_seconds": read - started, "planning_seconds": planned - read}

    async def _check(
        self, blueprint: WorkflowBlueprint, given: Json, shape: str, nodes: int
    ) -> None:
        result = (await self._runtime.run(blueprint, given)).raise_for_status()
        if shape == "batch":
            done = len(result.context["results"])
        elif shape == "loop":
            done = result.context["round"]
        else:
            done = len(result.outputs)
        if done != nodes:
            raise RuntimeError(f"{shape}: {done} of {nodes} were executed")

    async def memory(self, nodes: int) -> dict[str, float]:
        """Bytes per node that the plan, and then a finished run, hold on to."""
        blueprint = WorkflowBlueprint.from_dict(SHAPES["chain"](nodes))
        await self._runtime.run(WorkflowBlueprint.from_dict(SHAPES["chain"](10)), {})
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        self._runtime.plan_of(blueprint)
        gc.collect()
        planned = tracemalloc.get_traced_memory()[0]
        result = await self._runtime.run(blueprint, {})
        gc.collect()
        finished, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        result.raise_for_status()
        return {
            "plan_bytes": (planned - before) / nodes,
            "run_bytes": (finished - planned) / nodes,
            "peak_bytes": (peak - planned) / nodes,
        }


if __name__ == "__main__":
    main(Flowcraft())
