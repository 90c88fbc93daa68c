"""Drawings as JSON data: where boxes and lines stand, for a page that colours them by itself.

The places are those of the layout that every drawing has. What a node is called is cut to what its
box has room for where it is drawn; here it is whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from unicodedata import east_asian_width

from starlette.responses import Response

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.layout import Layout, Point, Size, lay_out
from flowcraft.core.picture import Box, Line, Picture, picture_of
from flowcraft.web.call import Call, json_bytes
from flowcraft.web.fleet import blueprint_of

BOX_HEIGHT: Final = 46.0
NARROWEST: Final = 156.0
WIDEST: Final = 248.0
LETTER: Final = 7.2
"""What a letter of a name takes, about: in pixels, as everything here."""
BESIDE_NAME: Final = 44.0
"""The sign of the state, and room at both ends."""
LABEL_HEIGHT: Final = 18.0
LABEL_LETTER: Final = 6.2
WIDEST_LABEL: Final = 190.0
SELF_ROOM: Final = 34.0
"""At each side of a box with an edge to itself."""
MARGIN: Final = 24.0


def picture_data(blueprint: WorkflowBlueprint) -> dict[str, Any]:
    """The drawing of a blueprint, as JSON data.

    Returns:
        ``boxes`` with the centre and the size of each, in document order; ``lines`` between them,
        by their numbers, with ``points`` from their source to their target, or none where a box
        has an edge to itself; the ``width`` and ``height`` of it all, in pixels.
    """
    picture = picture_of(blueprint)
    drawn = [line for line in picture.lines if line.source != line.target]
    layout = _layout(picture, drawn)
    places = iter(zip(layout.routes, layout.labels, strict=True))
    lines = []
    for line in picture.lines:
        route, label = ((), None) if line.source == line.target else next(places)
        lines.append(_line(line, route, label))
    boxes = zip(picture.boxes, layout.boxes, strict=True)
    return {
        "title": picture.title,
        "boxes": [_box(box, place) for box, place in boxes],
        "lines": lines,
        "starts": list(picture.starts),
        "width": round(layout.size.width + 2 * MARGIN, 1),
        "height": round(layout.size.height + 2 * MARGIN, 1),
    }


def _layout(picture: Picture, drawn: Sequence[Line]) -> Layout:
    selfish = {line.source for line in picture.lines if line.source == line.target}
    sizes = [
        Size(_width(box) + 2 * SELF_ROOM * (at in selfish), BOX_HEIGHT)
        for at, box in enumerate(picture.boxes)
    ]
    ends = [
        (line.target, line.source) if line.is_back else (line.source, line.target) for line in drawn
    ]
    return lay_out(sizes, ends, [_label_size(line) for line in drawn])


def _box(box: Box, place: Point) -> dict[str, Any]:
    return {
        "id": box.id,
        "uses": box.uses,
        "isBuiltin": box.is_builtin,
        "x": round(place.x + MARGIN, 1),
        "y": round(place.y + MARGIN, 1),
        "width": round(_width(box), 1),
        "height": BOX_HEIGHT,
    }


def _line(line: Line, route: Sequence[Point], label: Point | None) -> dict[str, Any]:
    return {
        "source": line.source,
        "target": line.target,
        "labels": list(line.labels),
        "kind": line.kind,
        "isBack": line.is_back,
        "points": [_place(point) for point in (route[::-1] if line.is_back else route)],
        "labelAt": None if label is None else _place(label),
    }


def _place(point: Point) -> list[float]:
    return [round(point.x + MARGIN, 1), round(point.y + MARGIN, 1)]


def _width(box: Box) -> float:
    # Of the key that it uses there is as much to be seen as fits.
    return min(WIDEST, max(NARROWEST, _letters(box.id) * LETTER + BESIDE_NAME))


def _label_size(line: Line) -> Size | None:
    if not line.labels:
        return None
    width = _letters(" / ".join(line.labels)) * LABEL_LETTER + 12
    return Size(min(WIDEST_LABEL, width), LABEL_HEIGHT)


def _letters(text: str) -> float:
    """About how many letters wide a text is; what is longer than a box is not counted."""
    return sum(1.7 if east_asian_width(sign) in "WF" else 1.0 for sign in text[:60])


# --- over HTTP -----------------------------------------------------------------------------


async def run_picture(call: Call) -> Response:
    """The drawing of a run's blueprint, nodes that it has added included."""
    await call.stage.station()
    run = await call.client.get_run(call.ids["runId"])
    return await _drawn(run.blueprint)


async def blueprint_picture(call: Call) -> Response:
    """The drawing of a blueprint."""
    return await _drawn(await blueprint_of(call))


async def _drawn(blueprint: WorkflowBlueprint) -> Response:
    body = await asyncio.to_thread(lambda: json_bytes(picture_data(blueprint)))
    return Response(body, media_type="application/json")
