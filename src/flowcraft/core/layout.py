"""Where the boxes and lines of a drawing stand.

Within its layer each box is drawn to the mean of what it is joined to, and kept apart from its
neighbours: for one layer that is a least-squares problem with an order, which pooling neighbours
that violate it solves exactly (isotonic regression; M. Ayer and others, 1955).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from flowcraft.core.layers import Layering, Lines, layering_of

GAP: Final = 28.0
"""Between boxes of a layer."""
BEND_GAP: Final = 16.0
LAYER_GAP: Final = 30.0
PASSES: Final = 12
PORT_GAP: Final = 18.0

# Long lines are to be straight, so bends hold each other more than boxes do.
_WEIGHTS: Final = (1.0, 2.0, 8.0)


class Point(NamedTuple):
    """A place in the drawing, from its upper left corner, in pixels."""

    x: float
    y: float


class Size(NamedTuple):
    """What a box or a label takes, in pixels."""

    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Layout:
    """A drawing's places.

    Attributes:
        boxes: The centre of each box.
        routes: The points of each line, from its source's lower edge to its target's upper one.
        labels: The centre of each line's label; ``None`` where it has none.
        size: What the drawing takes.
    """

    boxes: tuple[Point, ...]
    routes: tuple[tuple[Point, ...], ...]
    labels: tuple[Point | None, ...]
    size: Size


def lay_out(boxes: Sequence[Size], lines: Lines, labels: Sequence[Size | None]) -> Layout:
    """Find places for boxes, lines and labels; lines lead downwards.

    Args:
        boxes: The sizes of the boxes.
        lines: Pairs of boxes, without cycles.
        labels: The size of each line's label, or ``None``.
    """
    step = 2 if any(labels) else 1
    layering = layering_of(len(boxes), lines, step)
    sizes = _sizes(boxes, layering, labels)
    x = _columns(layering, sizes, len(boxes))
    tops, height = _rows(layering, sizes)
    left = min((x[each] - sizes[each].width / 2 for each in range(len(sizes))), default=0.0)
    right = max((x[each] + sizes[each].width / 2 for each in range(len(sizes))), default=0.0)
    x = [place - left for place in x]
    row_of = {each: row for row, layer in enumerate(layering.layers) for each in layer}
    centres = [Point(x[each], sum(tops[row_of[each]]) / 2) for each in range(len(sizes))]
    ports = _ports(layering, centres, sizes)
    routes = tuple(
        _route(chain, at, ports, centres, sizes, tops, row_of)
        for at, chain in enumerate(layering.chains)
    )
    places = tuple(
        None if label is None else _label_place(chain, centres)
        for chain, label in zip(layering.chains, labels, strict=True)
    )
    return Layout(tuple(centres[: len(boxes)]), routes, places, Size(right - left, height))


def _sizes(boxes: Sequence[Size], layering: Layering, labels: Sequence[Size | None]) -> list[Size]:
    sizes = [*boxes, *[Size(0.0, 0.0)] * (len(layering.above) - len(boxes))]
    for chain, label in zip(layering.chains, labels, strict=True):
        if label is not None and len(chain) > 2:
            sizes[_middle(chain)] = label
    return sizes


def _middle(chain: Sequence[int]) -> int:
    """The bend that carries the label: the first, near to where it is decided."""
    return chain[1]


def _label_place(chain: Sequence[int], centres: Sequence[Point]) -> Point:
    if len(chain) > 2:
        return centres[_middle(chain)]
    (x0, y0), (x1, y1) = centres[chain[0]], centres[chain[1]]
    return Point((x0 + x1) / 2, (y0 + y1) / 2)


def _rows(layering: Layering, sizes: Sequence[Size]) -> tuple[list[tuple[float, float]], float]:
    """The upper and lower edge of each layer, and the height of all."""
    tops, y = [], 0.0
    for layer in layering.layers:
        height = max(sizes[each].height for each in layer) if layer else 0.0
        tops.append((y, y + height))
        y += height + LAYER_GAP
    return tops, max(0.0, y - LAYER_GAP)


# ---------------------------------------------------------------- across


def _columns(layering: Layering, sizes: Sequence[Size], boxes: int) -> list[float]:
    """The centre of each box and bend, across."""
    x = [0.0] * len(sizes)
    for layer in layering.layers:
        place = 0.0
        for left, each in zip((None, *layer), layer, strict=False):
            place += 0.0 if left is None else _apart(left, each, sizes, boxes)
            x[each] = place
        middle = place / 2
        for each in layer:
            x[each] -= middle
    for number in range(PASSES):
        downwards = number % 2 == 0
        both = number >= PASSES - 2
        layers = layering.layers if downwards else layering.layers[::-1]
        for layer in layers:
            _place_layer(layer, x, layering, sizes, boxes, downwards, both)
    return x


def _apart(left: int, right: int, sizes: Sequence[Size], boxes: int) -> float:
    gap = GAP if left < boxes and right < boxes else BEND_GAP
    return (sizes[left].width + sizes[right].width) / 2 + gap


def _place_layer(
    layer: Sequence[int],
    x: list[float],
    layering: Layering,
    sizes: Sequence[Size],
    boxes: int,
    downwards: bool,
    both: bool,
) -> None:
    """Move the members of a layer to where they would be, as far as their order allows."""
    wanted, weights, offsets = [], [], []
    offset = 0.0
    previous: int | None = None
    for each in layer:
        above, below = layering.above[each], layering.below[each]
        others = (*above, *below) if both else above if downwards else below
        pull = [_WEIGHTS[(each >= boxes) + (other >= boxes)] for other in others]
        total = sum(pull)
        mean = (
            sum(w * x[o] for w, o in zip(pull, others, strict=True)) / total if others else x[each]
        )
        offset += 0.0 if previous is None else _apart(previous, each, sizes, boxes)
        wanted.append(mean - offset)
        weights.append(total or 0.1)
        offsets.append(offset)
        previous = each
    for each, place, at in zip(layer, _in_order(wanted, weights), offsets, strict=True):
        x[each] = place + at


def _in_order(wanted: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The values nearest to those that are wanted that do not fall, by weighted squares."""
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(wanted, weights, strict=True):
        mean, total, count = value, weight, 1
        while pools and pools[-1][0] > mean:
            before, its_total, its_count = pools.pop()
            mean = (mean * total + before * its_total) / (total + its_total)
            total, count = total + its_total, count + its_count
        pools.append((mean, total, count))
    return [mean for mean, _, count in pools for _ in range(count)]


# ---------------------------------------------------------------- lines


def _ports(
    layering: Layering, centres: Sequence[Point], sizes: Sequence[Size]
) -> dict[tuple[int, int], float]:
    """Where each line leaves and enters its boxes, across: beside each other, without crossing.

    The keys are a line's number and 0 for its source, 1 for its target.
    """
    ends: dict[tuple[int, int], list[tuple[float, int]]] = {}
    for at, chain in enumerate(layering.chains):
        ends.setdefault((chain[0], 0), []).append((centres[chain[1]].x, at))
        ends.setdefault((chain[-1], 1), []).append((centres[chain[-2]].x, at))
    ports = {}
    for (box, side), lines in ends.items():
        gap = min(PORT_GAP, sizes[box].width * 0.7 / max(1, len(lines)))
        for place, (_, at) in enumerate(sorted(lines)):
            ports[(at, side)] = centres[box].x + gap * (place - (len(lines) - 1) / 2)
    return ports


def _route(
    chain: Sequence[int],
    at: int,
    ports: dict[tuple[int, int], float],
    centres: Sequence[Point],
    sizes: Sequence[Size],
    tops: Sequence[tuple[float, float]],
    row_of: dict[int, int],
) -> tuple[Point, ...]:
    """From edge to edge; through a layer in between straight down, so that no box is crossed."""
    source, target = chain[0], chain[-1]
    points = [Point(ports[(at, 0)], centres[source].y + sizes[source].height / 2)]
    for bend in chain[1:-1]:
        top, bottom = tops[row_of[bend]]
        points += [Point(centres[bend].x, top), Point(centres[bend].x, bottom)]
    points.append(Point(ports[(at, 1)], centres[target].y - sizes[target].height / 2))
    return (points[0], points[-1]) if _is_nearly_straight(points) else tuple(points)


def _is_nearly_straight(points: Sequence[Point]) -> bool:
    """Whether a straight line stays within the room that the bends have to themselves."""
    first, last = points[0], points[-1]
    slope = (last.x - first.x) / max(1.0, last.y - first.y)
    return all(
        abs(first.x + slope * (point.y - first.y) - point.x) <= BEND_GAP / 2 for point in points
    )
