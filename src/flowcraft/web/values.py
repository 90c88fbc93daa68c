"""Values of runs as JSON: whole where they are small, otherwise their beginning and an address."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from flowcraft.core.value_types import Refused
from flowcraft.engine.json_text import write_deep
from flowcraft.engine.jsonable import jsonable

MOST_VALUE_CHARACTERS: Final = 20_000
"""Of the JSON text of one value that stands in the answer about a run."""

MOST_ANSWER_CHARACTERS: Final = 1_000_000
"""Of all values of an answer together."""

MOST_DEPTH: Final = 100
MOST_BITS: Final = 10_000
"""Python gives no decimal text of numbers much larger than this."""

PREVIEW_CHARACTERS: Final = 1_000
PIECE_CHARACTERS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Cut:
    """A value that does not stand in an answer.

    Attributes:
        size: The length of its JSON text, in characters.
        preview: How that begins.
        href: Where all of it is.
    """

    size: int
    preview: str
    href: str


class Cutter:
    """Puts values into one answer as long as there is room.

    Args:
        most: Characters of one value.
        most_in_all: Characters of all of them.
    """

    def __init__(
        self, most: int = MOST_VALUE_CHARACTERS, most_in_all: int = MOST_ANSWER_CHARACTERS
    ) -> None:
        self._most = most
        self._left = most_in_all

    def fit(self, value: Any, href: Callable[[], str]) -> tuple[Any, Cut | None]:
        """A value as JSON data; or nothing, and what to know of it where it is too large.

        Args:
            value: The value.
            href: Gives the address of all of it.
        """
        text = json_text(value)
        if len(text) <= min(self._most, self._left):
            try:
                data = json.loads(text)
            except (RecursionError, ValueError):  # deep, or a number of thousands of digits
                pass
            else:
                if not is_deep(data):
                    self._left -= len(text)
                    return data, None
        return None, Cut(len(text), text[:PREVIEW_CHARACTERS], href())


def is_deep(data: Any) -> bool:
    """Whether JSON data is nested deeper than programs can be expected to read."""
    level = [data]
    for _ in range(MOST_DEPTH):
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below.extend(each.values())
            elif isinstance(each, list):
                below.extend(each)
        if not below:
            return False
        level = below
    return True


def json_text(value: Any) -> str:
    """A value as JSON text, however deeply it is nested."""
    try:
        return json.dumps(jsonable(value), ensure_ascii=False, separators=(",", ":"))
    except (RecursionError, ValueError):
        return _deep_text(value)


def _deep_text(value: Any) -> str:
    def prepare(each: Any) -> Any:
        if isinstance(each, int) and each.bit_length() > MOST_BITS:
            return hex(each)
        if isinstance(each, dict):
            return {str(name): inner for name, inner in each.items()}
        if isinstance(each, list | tuple | set | frozenset):
            return list(each)
        return jsonable(each)

    try:
        return write_deep(value, prepare)
    except Refused as error:
        return json.dumps(f"This value cannot be shown: {error}")


def pieces(text: str) -> Iterator[bytes]:
    """A text in pieces of which no connection has too much."""
    for start in range(0, len(text), PIECE_CHARACTERS):
        yield text[start : start + PIECE_CHARACTERS].encode("utf-8", "backslashreplace")


def shortened(text: str, most: int) -> str:
    """A text, with how much is left out where it is too long."""
    if len(text) <= most:
        return text
    return f"{text[:most]}… ({len(text):,} characters)"
