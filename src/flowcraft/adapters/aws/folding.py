"""When facts are settled, and when they leave the item: what a write costs goes by its size.

An item is written whole, in started kilobytes. A fact by itself takes some 25 bytes, one that is
packed with others 5 to 10, and one in a segment none. Settling facts costs no request: it is done
by a write that comes anyway. A segment is a request of its own, and a write unit, which it is
worth if it keeps the writes that follow under the next kilobyte.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from flowcraft.adapters.aws.item import SEGMENT_FACTS, RunItem
from flowcraft.adapters.aws.packing import Packed, pack_facts, size_of_all
from flowcraft.adapters.aws.sizes import WRITE_UNIT

SETTLE_FACTS: Final = 6
"""So many facts are settled together: packing them costs time, and writes that are under way
meanwhile may be refused."""

LAG_FACTS: Final = 4
"""At most so many of the newest facts stay unsettled for the sake of writes under way: who claims
a place has to know all that is settled."""

SEGMENT_SHARE: Final = 4
"""Settled facts leave the item if they are more than one part in so many of it. Once some have
left, the others are going to as well, and the sooner the better."""

GROWTH_BYTES: Final = 160
"""About how much an item grows until facts are settled the next time, by one writer."""

WRITER_GROWTH_BYTES: Final = 60
"""How much more it grows for each further writer: while a segment is written, and then the item
that has it, each of them appends two facts."""

MOST: Final = 150
"""At most so many facts are settled, and so many places forgotten, by one write: its expression
names each of them, and is limited to 4 KB."""

_PACKED_FACT: Final = 10
"""About how many bytes a settled fact takes."""


class Fold(NamedTuple):
    """What a write settles.

    Attributes:
        settled: How many facts are settled then.
        packed: Those of them that stay in the item.
        segments: How many segments of facts leave it.
        ahead: Facts that are to leave it the next time, segment by segment: they stay until
            those are stored.
        removed: How many facts at the beginning of the tail are settled.
        over: Places that are over, and need not be remembered any more.
    """

    settled: int
    packed: bytes
    segments: int
    ahead: tuple[tuple[Packed, ...], ...]
    removed: int
    over: tuple[str, ...]


def fold(
    item: RunItem, added: int, writers: int = 1, *, stored: int = 0, is_last: bool = False
) -> Fold | None:
    """What to settle with the next write, if anything.

    Args:
        item: The item as it is known.
        added: How many bytes the write adds to it.
        writers: How many write to the run at a time, as far as was seen.
        stored: How many segments are stored, whether or not their facts have left the item.
        is_last: Whether hardly another write follows: then nothing is to be gained by segments.
    """
    under_way = len(item.live()) - 1
    count = len(item.tail) - min(max(0, under_way), LAG_FACTS)
    if count < 1:
        return None
    count = min(count, MOST)
    size = item.size + added
    gain = size_of_all(item.tail[:count]) - count * _PACKED_FACT
    is_worth_it = gain > 0 and _units(size) > _units(size - gain)
    if count < SETTLE_FACTS and not is_worth_it:
        return None
    first = item.in_segments
    facts = [fact for _, fact in item.here(first)][: item.settled - first + count]
    size -= size_of_all(item.tail[:count]) + len(item.packed)
    packed = pack_facts(facts, item.begun_ms, item.thread)
    segments, ahead = 0, list[tuple[Packed, ...]]()
    growth = GROWTH_BYTES + WRITER_GROWTH_BYTES * (writers - 1)
    is_large = size + len(packed) + growth > WRITE_UNIT
    is_much = item.segments > 0 or len(packed) * SEGMENT_SHARE > size + len(packed)
    if is_large and not is_last and is_much:
        segments = min(max(0, stored - item.segments), len(facts) // SEGMENT_FACTS)
        del facts[: segments * SEGMENT_FACTS]
        if segments:
            packed = pack_facts(facts, item.begun_ms, item.thread) if facts else b""
        whole = range(0, len(facts) - SEGMENT_FACTS + 1, SEGMENT_FACTS)
        ahead = [tuple(facts[first : first + SEGMENT_FACTS]) for first in whole]
    settled = item.settled + count
    over = tuple(place for place, seen in item.seen_over.items() if seen <= settled)
    return Fold(settled, packed, segments, tuple(ahead), count, over[:MOST])


def _units(size: int) -> int:
    return -(-size // WRITE_UNIT)
