"""LangGraph: the same graphs, compiled once and invoked again and again.

Runs in an environment of its own, in which this package is not installed.
"""

from __future__ import annotations

import importlib
import operator
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from time import perf_counter
from typing import Annotated, Any, TypedDict

from benchmarks.serving import Run, main
from benchmarks.shapes import graph

Step = Callable[[Any], Awaitable[dict[str, Any]]]


class Outputs(TypedDict):
    """Every node's output under its name, as the other engines keep them."""

    outputs: Annotated[dict[str, int], operator.or_]


class Count(TypedDict):
    """The least that can be written down: how many nodes there were."""

    count: Annotated[int, operator.add]


def keeping(name: str) -> Step:
    """A node that returns its output."""

    async def trivial(_state: Outputs) -> dict[str, Any]:
        return {"outputs": {name: 1}}

    return trivial


async def counting(_state: Count) -> dict[str, Any]:
    return {"count": 1}


class LangGraph:
    """The library as its documentation uses it, without a checkpointer."""

    def about(self) -> dict[str, Any]:
        """The installed version."""
        return {"name": "LangGraph", "version": version("langgraph")}

    async def prepare(self, shape: str, nodes: int) -> tuple[Run, dict[str, float]]:
        """Compile the graph; ``-count`` in the shape keeps a count instead of outputs."""
        counts = shape.endswith("-count")
        started = perf_counter()
        compiled = self._compiled(shape, nodes, counts)
        planned = perf_counter()
        given: dict[str, Any] = {"count": 0} if counts else {"outputs": {}}
        # Each superstep counts against the limit, and a chain has as many as nodes.
        config = {"recursion_limit": nodes + 10}

        async def run() -> object:
            return await compiled.ainvoke(given, config)

        result = await compiled.ainvoke(given, config)
        done = result["count"] if counts else len(result["outputs"])
        if done != nodes:
            raise RuntimeError(f"{shape}: {done} of {nodes} were executed")
        return run, {"planning_seconds": planned - started}

    def _compiled(self, shape: str, nodes: int, counts: bool) -> Any:
        library: Any = importlib.import_module("langgraph.graph")
        names, edges = graph(shape, nodes)
        builder = library.StateGraph(Count if counts else Outputs)
        for name in names:
            builder.add_node(name, counting if counts else keeping(name))
        for source, target in edges:
            builder.add_edge(source, target)
        builder.add_edge(library.START, names[0])
        builder.add_edge(names[-1], library.END)
        return builder.compile()


if __name__ == "__main__":
    main(LangGraph())
