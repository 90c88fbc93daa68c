"""What is measured: graphs of a shape and a size, and who takes part in which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

FLOOR: Final = "floor"
FLOWCRAFT: Final = "flowcraft"
NPM: Final = "npm"
LANGGRAPH: Final = "langgraph"

SHAPES: Final = ("chain", "fan")
SIZES: Final = (10, 100, 1_000, 3_000, 10_000, 100_000)
QUICK_SIZES: Final = (10, 100, 1_000, 3_000)
MILLION: Final = 1_000_000
MEMORY_NODES: Final = 100_000

# Beyond these sizes a single run of the contender takes many seconds.
LARGEST: Final = {NPM: 3_000, LANGGRAPH: 1_000}


@dataclass(frozen=True, slots=True)
class Case:
    """One graph that contenders run in turn.

    Attributes:
        shape: ``chain``, ``fan``, or what a worker knows besides them.
        nodes: How many nodes (or items, child runs, iterations) one run executes.
        contenders: Who takes part.
        title: What the units are, for cases that are information only.
    """

    shape: str
    nodes: int
    contenders: tuple[str, ...]
    title: str = ""

    @property
    def name(self) -> str:
        """Shape and size, such as ``chain of 1,000``."""
        return self.title or f"{self.shape} of {self.nodes:,}"


def engine_cases(sizes: Sequence[int]) -> list[Case]:
    """The chains and fans, with everyone who takes part at that size."""
    return [Case(shape, nodes, _taking_part(nodes)) for shape in SHAPES for nodes in sizes]


def information_cases() -> list[Case]:
    """What has no goal, and is good to know."""
    both, ours = (FLOOR, FLOWCRAFT), (FLOWCRAFT,)
    return [
        Case("giving-way", 1_000, both, "chain of 1,000 nodes that each give way once"),
        Case("together", 1_000, (FLOOR,), "1,000 tasks made first, then awaited"),
        Case("threads", 1_000, ours, "chain of 1,000 plain functions, in threads"),
        Case("batch", 10_000, ours, "batch of 10,000 items"),
        Case("loop", 1_000, ours, "loop of 1,000 rounds, two nodes in each"),
        Case("subflows", 200, ours, "chain of 200 subflows of one node"),
        Case("chain-count", 100, (LANGGRAPH,), "chain of 100 that keeps a count, no outputs"),
        Case("fan-count", 100, (LANGGRAPH,), "fan of 100 that keeps a count, no outputs"),
    ]


def _taking_part(nodes: int) -> tuple[str, ...]:
    others = tuple(name for name, largest in LARGEST.items() if nodes <= largest)
    return (FLOOR, FLOWCRAFT, *others)
