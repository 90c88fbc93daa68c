"""Reading a table page by page, several places at a time, and going on later where one was."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from flowcraft.adapters.aws.transport import Answer, Transport

LARGEST_SEGMENTS: Final = 100
"""More parts of a table than this are not read at a time."""

Row = Mapping[str, Any]
Places = Mapping[int, Row | None]
"""Which of some reads are not at their end, and behind which item each of them goes on."""


class Read(NamedTuple):
    """One read of many pages.

    Attributes:
        operation: ``Scan`` or ``Query``.
        request: What it asks for, without a place to go on.
    """

    operation: str
    request: Mapping[str, Any]


def checked_segments(segments: int) -> int:
    """How many parts of a table are read at a time.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is none that makes sense.
    """
    if isinstance(segments, bool) or not isinstance(segments, int):
        raise TypeError(f"scan_segments is a whole number, not {segments!r}.")
    if not 1 <= segments <= LARGEST_SEGMENTS:
        raise ValueError(f"scan_segments is from 1 to {LARGEST_SEGMENTS}, not {segments}.")
    return segments


def scans(request: Mapping[str, Any], segments: int) -> list[Read]:
    """A scan, in so many segments."""
    if segments == 1:
        return [Read("Scan", request)]
    parts = ({"Segment": each, "TotalSegments": segments} for each in range(segments))
    return [Read("Scan", {**request, **part}) for part in parts]


def beginning(reads: Sequence[Read]) -> Places:
    """The places of reads that begin."""
    return dict.fromkeys(range(len(reads)))


async def next_pages(
    service: Transport, reads: Sequence[Read], places: Places
) -> tuple[list[Row], Places]:
    """A page of each read that is not at its end, at the same time; and where to go on."""
    numbers = list(places)
    calls = [_page(service, reads[number], places[number]) for number in numbers]
    if len(calls) == 1:
        answers: list[Any] = [await calls[0]]
    else:
        answers = await asyncio.gather(*calls, return_exceptions=True)
    rows: list[Row] = []
    left: dict[int, Row | None] = {}
    for number, answer in zip(numbers, answers, strict=True):
        if isinstance(answer, BaseException):
            raise answer
        rows += answer.get("Items", ())
        if answer.get("LastEvaluatedKey"):
            left[number] = answer["LastEvaluatedKey"]
    return rows, left


async def _page(service: Transport, read: Read, place: Row | None) -> Answer:
    more = {} if place is None else {"ExclusiveStartKey": place}
    return await service.call(read.operation, {**read.request, **more})


def written(places: Places, **more: Any) -> str:
    """Places as a text that :func:`read_places` reads."""
    return json.dumps({**more, "places": list(places.items())}, separators=(",", ":"))


def read_places(text: str) -> tuple[Places, dict[str, Any]]:
    """The places in a text, and what was written with them."""
    data = json.loads(text)
    return dict(data.pop("places")), data
