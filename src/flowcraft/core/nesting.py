"""Where the loops of a graph are, which node each is entered by, and how they nest.

A loop is a strongly connected part of the graph; its *header* is the node that a depth-first
search from the starts, in document order, meets first (rule S3). The edges that lead to the
header from inside are the loop's back edges. Without them the part falls into smaller parts,
which are the loops nested in it, and so on. Unlike natural loops this is defined for every
graph, also for cycles that are entered at several places. The construction is the one of
B. Steensgaard, "Sequentializing Program Dependence Graphs for Irreducible Programs" (1993).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowcraft.core.graph import strongly_connected_components


@dataclass(frozen=True, slots=True)
class Nesting:
    """The loops of a graph.

    Attributes:
        headers: The header node of each loop.
        parents: The loop around each loop, or -1.
        loops_of: For each node the loops that enclose it, outermost first.
    """

    headers: tuple[int, ...]
    parents: tuple[int, ...]
    loops_of: tuple[tuple[int, ...], ...]


def find_nesting(following: Sequence[Sequence[int]], starts: Sequence[int]) -> Nesting:
    """Find all loops of a graph given by the successors of each node.

    Takes time in proportion to nodes and edges, times the depth of nesting.
    """
    count = len(following)
    if _is_acyclic(following):
        return Nesting((), (), ((),) * count)
    order = _preorder(following, starts)
    headers: list[int] = []
    parents: list[int] = []
    loops_of: list[tuple[int, ...]] = [()] * count
    todo: list[tuple[list[int], tuple[int, ...], int]] = [(list(range(count)), (), -1)]
    while todo:
        members, around, closed = todo.pop()
        for part in _cyclic_parts(following, members, closed):
            loop = len(headers)
            header = min(part, key=order.__getitem__)
            headers.append(header)
            parents.append(around[-1] if around else -1)
            inside = (*around, loop)
            for index in part:
                loops_of[index] = inside
            todo.append((part, inside, header))
    return Nesting(tuple(headers), tuple(parents), tuple(loops_of))


def _cyclic_parts(
    following: Sequence[Sequence[int]], members: list[int], closed: int
) -> list[list[int]]:
    """Strongly connected parts with a cycle among ``members``, edges into ``closed`` left out."""
    position = {index: at for at, index in enumerate(members)}
    inner = [
        [position[t] for t in following[index] if t in position and t != closed]
        for index in members
    ]
    parts = strongly_connected_components(len(members), inner)
    return [
        [members[at] for at in part] for part in parts if len(part) > 1 or part[0] in inner[part[0]]
    ]


def _is_acyclic(following: Sequence[Sequence[int]]) -> bool:
    waiting = [0] * len(following)
    for targets in following:
        for target in targets:
            waiting[target] += 1
    free = [index for index, count in enumerate(waiting) if count == 0]
    seen = 0
    while free:
        index = free.pop()
        seen += 1
        for target in following[index]:
            waiting[target] -= 1
            if waiting[target] == 0:
                free.append(target)
    return seen == len(following)


def _preorder(following: Sequence[Sequence[int]], starts: Sequence[int]) -> list[int]:
    """The order in which a depth-first search meets the nodes; unmet ones come last."""
    count = len(following)
    order = [-1] * count
    number = 0
    for root in (*starts, *range(count)):
        todo = [root]
        while todo:
            index = todo.pop()
            if order[index] >= 0:
                continue
            order[index] = number
            number += 1
            todo.extend(reversed(following[index]))
    return order
