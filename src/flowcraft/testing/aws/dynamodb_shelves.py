"""The order in which a table or an index keeps its items: partitions, and rows within them.

Partitions stand in the order of a checksum of their key, as on AWS, where a scan meets them in an
order that means nothing. Rows of a partition stand in the order of their sort keys.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final, NamedTuple
from zlib import crc32

Key = tuple[Any, ...]
"""The values of the key attributes as they are compared: str, bytes or Decimal."""

CHECKSUMS: Final = 1 << 32


class Row(NamedTuple):
    """Where an item stands in a partition.

    Attributes:
        order: Its sort key; 0 if there is none.
        tie: What tells rows with the same sort key apart, in an index.
        key: The key of the item in its table.
    """

    order: Any
    tie: bytes
    key: Key


Stand = tuple[Any, Row]
"""A partition, and a row in it."""


class Place(NamedTuple):
    """Where a partition stands.

    Attributes:
        checksum: Of its key, below 2³².
        text: Its key as bytes.
        partition: Its key.
    """

    checksum: int
    text: bytes
    partition: Any


def bytes_of(part: Any) -> bytes:
    """A part of a key as bytes, different for different ones of one type."""
    if isinstance(part, bytes):
        return part
    return str(part.normalize() if isinstance(part, Decimal) else part).encode()


def place_of(partition: Any) -> Place:
    """Where the partition of a key stands."""
    text = bytes_of(partition)
    return Place(crc32(text), text, partition)


def tie_of(key: Key) -> bytes:
    """What tells the rows of two items apart; different for different keys."""
    parts = [bytes_of(part) for part in key]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


class Shelf:
    """The rows of a table or of an index."""

    def __init__(self) -> None:
        self._partitions: dict[Any, list[Row]] = {}
        self._places: list[Place] = []

    def add(self, partition: Any, row: Row) -> None:
        """Put a row where it belongs; it is not there yet."""
        rows = self._partitions.get(partition)
        if rows is None:
            self._partitions[partition] = [row]
            insort(self._places, place_of(partition))
        else:
            insort(rows, row)

    def discard(self, partition: Any, row: Row) -> None:
        """Take a row away; it is there."""
        rows = self._partitions[partition]
        del rows[bisect_left(rows, row)]
        if not rows:
            del self._partitions[partition]
            del self._places[bisect_left(self._places, place_of(partition))]

    def rows(self, partition: Any) -> list[Row]:
        """The rows of a partition, in order. Not to be changed."""
        return self._partitions.get(partition, [])

    def all_rows(self, after: Stand | None, low: int, high: int) -> Iterator[Stand]:
        """Rows of all partitions whose checksum is at least ``low`` and below ``high``.

        Args:
            after: The partition and the row behind which to begin; they may be gone.
            low: The first checksum.
            high: Behind the last checksum.
        """
        start = bisect_left(self._places, low, key=lambda place: place.checksum)
        if after is not None:
            partition, row = after
            place = place_of(partition)
            start = bisect_left(self._places, place)
            if start < len(self._places) and self._places[start] == place:
                rows = self._partitions[partition]
                yield from ((partition, each) for each in rows[bisect_right(rows, row) :])
                start += 1
        for index in range(start, len(self._places)):
            if self._places[index].checksum >= high:
                return
            partition = self._places[index].partition
            yield from ((partition, each) for each in self._partitions[partition])
