"""Layers of a graph without cycles, and the order in each: the first steps of a drawing.

The method is that of K. Sugiyama, S. Tagawa and M. Toda, "Methods for Visual Understanding of
Hierarchical System Structures" (1981): every line leads to a lower layer, a line over several
layers has a bend in each of them, and the order in the layers is improved by barycentres, downwards
and upwards in turn.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

MOST_BENDS: Final = 20_000
"""Bends in all; the longest lines of a graph that needs more go straight."""

SWEEPS: Final = 8

Lines = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Layering:
    """Boxes and bends in layers. Numbers from ``count`` on are bends.

    Attributes:
        layers: The numbers in each layer, from the left.
        above: The numbers that each is joined to in the layer above it.
        below: The same below.
        chains: For each line the numbers that it goes through, ends included.
    """

    layers: tuple[tuple[int, ...], ...]
    above: tuple[tuple[int, ...], ...]
    below: tuple[tuple[int, ...], ...]
    chains: tuple[tuple[int, ...], ...]


def layering_of(count: int, lines: Lines, step: int = 1) -> Layering:
    """Put boxes into layers, and find an order with few crossings.

    Args:
        count: How many boxes there are; they are ``0 … count - 1``.
        lines: Pairs of boxes, without cycles.
        step: How many layers a line goes down at least; with 2 each has a bend for its label.
    """
    rank = _ranks(count, lines, step)
    rows: list[list[int]] = [[] for _ in range(max(rank, default=-1) + 1)]
    for box in range(count):
        rows[rank[box]].append(box)
    bent = _bent(lines, rank)
    chains: list[tuple[int, ...]] = []
    total = count
    for at, (source, target) in enumerate(lines):
        bends: list[int] = []
        for row in range(rank[source] + 1, rank[target]) if at in bent else ():
            bends.append(total)
            rows[row].append(total)
            total += 1
        chains.append((source, *bends, target))
    above: list[list[int]] = [[] for _ in range(total)]
    below: list[list[int]] = [[] for _ in range(total)]
    for at, chain in enumerate(chains):
        if at in bent:
            for upper, lower in pairwise(chain):
                below[upper].append(lower)
                above[lower].append(upper)
    ordered = _ordered(rows, above, below)
    joined = [tuple(map(tuple, ends)) for ends in (above, below)]
    return Layering(tuple(map(tuple, ordered)), joined[0], joined[1], tuple(chains))


def _ranks(count: int, lines: Lines, step: int) -> list[int]:
    """The layer of each box: as high as it can be; where it starts, near to what follows."""
    following: list[list[int]] = [[] for _ in range(count)]
    missing = [0] * count
    for source, target in lines:
        following[source].append(target)
        missing[target] += 1
    starts = [box for box in range(count) if not missing[box]]
    rank = [0] * count
    todo = list(starts)
    while todo:
        box = todo.pop()
        for target in following[box]:
            rank[target] = max(rank[target], rank[box] + step)
            missing[target] -= 1
            if not missing[target]:
                todo.append(target)
    for box in starts:
        if following[box]:
            rank[box] = min(rank[target] for target in following[box]) - step
    return rank


def _bent(lines: Lines, rank: Sequence[int]) -> set[int]:
    """The lines that get bends, the short ones first."""
    spans = sorted(
        (rank[target] - rank[source] - 1, at) for at, (source, target) in enumerate(lines)
    )
    left, bent = MOST_BENDS, set()
    for span, at in spans:
        left -= span
        if left < 0:
            break
        bent.add(at)
    return bent


Joined = Sequence[Sequence[int]]


def _ordered(rows: list[list[int]], above: Joined, below: Joined) -> list[list[int]]:
    """The rows in the best order that was found."""
    rows = _first_order(rows, below)
    best, fewest = rows, _crossings(rows, below)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        downwards = sweep % 2 == 0
        rows = _swept(rows, above if downwards else below, downwards)
        crossings = _crossings(rows, below)
        if crossings < fewest:
            best, fewest = rows, crossings
    return best


def _first_order(rows: list[list[int]], below: Joined) -> list[list[int]]:
    """The order in which a search meets them, which keeps together what belongs together."""
    met: dict[int, int] = {}
    for row in rows:
        todo = [each for each in reversed(row) if each not in met]
        while todo:
            each = todo.pop()
            if each not in met:
                met[each] = len(met)
                todo.extend(reversed(below[each]))
    return [sorted(row, key=met.__getitem__) for row in rows]


def _swept(rows: list[list[int]], joined: Joined, downwards: bool) -> list[list[int]]:
    """Each row sorted by the mean place of what its members are joined to in the row before."""
    swept = list(rows)
    order = range(1, len(rows)) if downwards else range(len(rows) - 2, -1, -1)
    for number in order:
        before = swept[number - 1 if downwards else number + 1]
        place = {each: at for at, each in enumerate(before)}
        means = {}
        for at, each in enumerate(swept[number]):
            places = [place[other] for other in joined[each]]
            # Who is joined to nothing stays about where it was.
            share = at / max(1, len(swept[number])) * len(before)
            means[each] = sum(places) / len(places) if places else share
        swept[number] = sorted(swept[number], key=means.__getitem__)
    return swept


def _crossings(rows: list[list[int]], below: Joined) -> int:
    """How many pairs of lines cross between neighbouring rows."""
    crossings = 0
    for upper, lower in pairwise(rows):
        place = {each: at for at, each in enumerate(lower)}
        passed: list[int] = []
        for each in upper:
            ends = sorted(place[other] for other in below[each])
            crossings += sum(len(passed) - bisect_right(passed, end) for end in ends)
            for end in ends:
                passed.insert(bisect_right(passed, end), end)
    return crossings
