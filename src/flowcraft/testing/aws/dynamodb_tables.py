"""A table: its items, the states that reads may still see, and its indexes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from flowcraft.testing.aws.dynamodb_items import Item, sizes_of
from flowcraft.testing.aws.dynamodb_schema import Index, KeySchema, key_parts
from flowcraft.testing.aws.dynamodb_shelves import CHECKSUMS, Key, Row, Shelf, Stand, tie_of

Choose = Callable[[int], int]
"""Of so many states, 0 being the newest, which one a read sees."""

_GRAVES: Final = 1000


@dataclass(slots=True)
class State:
    """What an item was, or is.

    Attributes:
        item: Its attributes; None if there was no item. Never changed.
        sizes: How many bytes its attributes count for, by name.
        size: How many bytes it counts for; 0 if there was none.
        ended_at: When the next state came; infinity for the newest.
    """

    item: Item | None
    sizes: dict[str, int]
    size: int
    ended_at: float = math.inf


def state_of(item: Item, sizes: dict[str, int] | None = None) -> State:
    """The state of an item; sizes of attributes that are known need not be measured again."""
    known = sizes_of(item) if sizes is None else sizes
    return State(item, known, sum(known.values()))


def absent() -> State:
    """The state of an item that is not there."""
    return State(None, {}, 0)


@dataclass(slots=True)
class Record:
    """An item with the states that it has had lately.

    Attributes:
        key: Its key.
        states: The newest first.
        rows: Where it stands in the indexes: (index, partition, row).
    """

    key: Key
    states: list[State]
    rows: set[tuple[str, Any, Row]]


@dataclass(frozen=True, slots=True)
class Staleness:
    """How far behind reads may be that are not consistent.

    Attributes:
        states: How many states of an item may be seen, the newest included; 1 for never stale.
        seconds: How long after the next one came a state may still be seen.
        choose: Which one is seen.
    """

    states: int
    seconds: float
    choose: Choose


class Table:
    """A table with its items.

    Args:
        name: Its name.
        schema: Its key.
        indexes: Its global secondary indexes, by name.
        staleness: How far behind reads may be.

    Attributes:
        description: What DescribeTable tells of it, without what changes.
        active_at: From when on it is there, in seconds since the epoch.
        ttl_attribute: The attribute that says when items expire, or None.
        read_units: How many units reads have consumed.
        write_units: How many units writes have consumed.
        largest_item: The size of the largest item that was ever stored, in bytes.
    """

    def __init__(
        self, name: str, schema: KeySchema, indexes: dict[str, Index], staleness: Staleness
    ) -> None:
        self.name = name
        self.schema = schema
        self.indexes = indexes
        self.description: dict[str, Any] = {}
        self.active_at = 0.0
        self.ttl_attribute: str | None = None
        self.read_units = 0.0
        self.write_units = 0.0
        self.largest_item = 0
        self.shelf = Shelf()
        self.index_shelves = {index: Shelf() for index in indexes}
        self._staleness = staleness
        self._records: dict[Key, Record] = {}
        self._graves: deque[Key] = deque()

    def newest(self, key: Key) -> State:
        """What an item is."""
        record = self._records.get(key)
        return record.states[0] if record else absent()

    def seen(self, key: Key, consistent: bool, now: float) -> State:
        """What a read sees of an item.

        Args:
            key: Its key.
            consistent: Whether it has to be the newest state.
            now: The time, in seconds since the epoch.
        """
        record = self._records.get(key)
        if record is None:
            return absent()
        states = record.states
        if consistent or len(states) == 1:
            return states[0]
        since = now - self._staleness.seconds
        visible = 1
        while visible < len(states) and states[visible].ended_at >= since:
            visible += 1
        return states[self._staleness.choose(visible) if visible > 1 else 0]

    def items(self) -> list[Item]:
        """All items that are there, in the order of scans. Not to be changed."""
        rows = self.shelf.all_rows(None, 0, CHECKSUMS)
        found = (self._records[row.key].states[0].item for _, row in rows)
        return [item for item in found if item is not None]

    def write(self, key: Key, state: State, now: float) -> None:
        """Give an item its next state.

        Args:
            key: Its key.
            state: The state.
            now: The time, in seconds since the epoch.
        """
        self.largest_item = max(self.largest_item, state.size)
        record = self._records.get(key)
        if record is None:
            if state.item is None:
                return
            record = self._records[key] = Record(key, [absent()], set())
            self.shelf.add(*self._row_of(key))
        record.states[0].ended_at = now
        record.states.insert(0, state)
        del record.states[self._staleness.states :]
        self._place(record)
        self._bury(record, now)

    def _row_of(self, key: Key) -> Stand:
        partition, order = key_parts(key)
        return partition, Row(order, b"", key)

    def _place(self, record: Record) -> None:
        """Have the record stand in the indexes wherever one of its states belongs."""
        if not self.indexes:
            return
        rows: set[tuple[str, Any, Row]] = set()
        for name, index in self.indexes.items():
            for state in record.states:
                index_key = index.schema.key_if_any(state.item)
                if index_key is not None:
                    rows.add((name, *index_row(index_key, record.key)))
        for name, partition, row in record.rows - rows:
            self.index_shelves[name].discard(partition, row)
        for name, partition, row in rows - record.rows:
            self.index_shelves[name].add(partition, row)
        record.rows = rows

    def _bury(self, record: Record, now: float) -> None:
        """Forget items that are gone once nobody can see them, or if there are too many."""
        if record.states[0].item is None:
            self._graves.append(record.key)
        while self._graves and (
            len(self._graves) > _GRAVES or self._is_forgotten(self._graves[0], now)
        ):
            self._forget(self._graves.popleft())

    def _is_forgotten(self, key: Key, now: float) -> bool:
        record = self._records.get(key)
        if record is None or record.states[0].item is not None or len(record.states) == 1:
            return True
        return record.states[1].ended_at < now - self._staleness.seconds

    def _forget(self, key: Key) -> None:
        record = self._records.get(key)
        # It may have come back since, or have been buried twice.
        if record is None or record.states[0].item is not None:
            return
        record.states = record.states[:1]
        self._place(record)
        self.shelf.discard(*self._row_of(key))
        del self._records[key]


def index_row(index_key: Key, key: Key) -> Stand:
    """The partition and the row of an item in an index."""
    partition, order = key_parts(index_key)
    return partition, Row(order, tie_of(key), key)
