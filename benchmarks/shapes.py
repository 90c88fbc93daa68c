"""The graphs, as ids and pairs of ids; every contender builds its own form from them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

Graph = tuple[list[str], list[tuple[str, str]]]


def chain(nodes: int) -> Graph:
    """Nodes in a row."""
    names = [f"n{i}" for i in range(nodes)]
    return names, list(pairwise(names))


def fan(nodes: int) -> Graph:
    """One start, one end, and all others side by side between them.

    Raises:
        ValueError: Fewer than three nodes make no fan.
    """
    if nodes < 3:
        raise ValueError(f"A fan has at least 3 nodes, not {nodes}.")
    start, end = "start", "end"
    between = [f"n{i}" for i in range(nodes - 2)]
    edges = [(start, name) for name in between] + [(name, end) for name in between]
    return [start, *between, end], edges


def graph(shape: str, nodes: int) -> Graph:
    """The graph of a shape."""
    return fan(nodes) if shape.startswith("fan") else chain(nodes)


def batch() -> dict[str, Any]:
    """The blueprint of a batch over the context key ``items``, of nodes that are ``trivial``."""
    names = {"gatherNodeId": "gather", "outputKey": "results"}
    scatter = {"workerUsesKey": "trivial", **names}
    return {
        "id": "batch",
        "nodes": [
            {"id": "scatter", "uses": "batch-scatter", "params": scatter, "inputs": "items"},
            {"id": "gather", "uses": "batch-gather", "params": names},
        ],
        "edges": [{"source": "scatter", "target": "gather"}],
    }
