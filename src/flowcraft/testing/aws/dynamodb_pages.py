"""Requests that read items page by page: Query and Scan, of tables and of indexes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from flowcraft.testing.aws.dynamodb_conditions import Condition, given_paths
from flowcraft.testing.aws.dynamodb_errors import refused
from flowcraft.testing.aws.dynamodb_items import Item, taken_item
from flowcraft.testing.aws.dynamodb_paths import Tree
from flowcraft.testing.aws.dynamodb_ranges import Range, range_of
from flowcraft.testing.aws.dynamodb_reading import shown
from flowcraft.testing.aws.dynamodb_requests import (
    Expressions,
    Request,
    choice,
    flag,
    table_named,
    whole_number,
)
from flowcraft.testing.aws.dynamodb_schema import Index, KeySchema, key_parts
from flowcraft.testing.aws.dynamodb_shelves import CHECKSUMS, Key, Row, Shelf, Stand
from flowcraft.testing.aws.dynamodb_tables import State, Table, index_row
from flowcraft.testing.aws.dynamodb_usage import Usage, read_units

PAGE_BYTES: Final = 1024 * 1024
SEGMENTS: Final = 1_000_000
_LARGEST_LIMIT: Final = 2**31 - 1


class Pager:
    """Carries out requests that read page by page.

    Args:
        tables: The tables by name.
    """

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables

    def query(self, request: Request, now: float) -> dict[str, Any]:
        """Carry out Query."""
        page = _Page(table_named(self._tables, request["TableName"], now), request, now)
        condition = page.expressions.condition("KeyConditionExpression")
        assert condition is not None
        meant = range_of(condition, page.schema, page.expressions.values)
        page.read_expressions(keys_are_filtered=False)
        rows = _rows(page, meant, flag(request, "ScanIndexForward", otherwise=True))
        return page.answer(rows)

    def scan(self, request: Request, now: float) -> dict[str, Any]:
        """Carry out Scan."""
        page = _Page(table_named(self._tables, request["TableName"], now), request, now)
        page.read_expressions(keys_are_filtered=True)
        low, high = _segment(request)
        return page.answer(page.shelf.all_rows(page.start, low, high))


def _rows(page: _Page, meant: Range, forward: bool) -> Iterable[Stand]:
    rows = page.shelf.rows(meant.partition)
    low, high = meant.within(rows)
    if page.start is not None:
        partition, row = page.start
        if partition != meant.partition or not meant.has(row):
            raise refused("ExclusiveStartKey is outside of what the query condition allows")
        if forward:
            low = max(low, bisect_right(rows, row))
        else:
            high = min(high, bisect_left(rows, row))
    chosen = islice(rows, low, high) if forward else reversed(rows[low:high])
    return ((meant.partition, row) for row in chosen)


def _segment(request: Request) -> tuple[int, int]:
    segment = whole_number(request, "Segment", 0, SEGMENTS - 1)
    count = whole_number(request, "TotalSegments", 1, SEGMENTS)
    if segment is None and count is None:
        return 0, CHECKSUMS
    if segment is None or count is None or segment >= count:
        raise refused("Segment and TotalSegments come together, and Segment is the smaller one")
    return segment * CHECKSUMS // count, (segment + 1) * CHECKSUMS // count


class _Page:
    """A page that is being read."""

    def __init__(self, table: Table, request: Request, now: float) -> None:
        self.usage = Usage(request.get("ReturnConsumedCapacity"))
        self.expressions = Expressions(request)
        self._table = table
        self._request = request
        self._now = now
        self._index = _index_named(table, request.get("IndexName"))
        self._consistent = flag(request, "ConsistentRead")
        self.schema: KeySchema = self._index.schema if self._index else table.schema
        self.shelf: Shelf = table.index_shelves[self._index.name] if self._index else table.shelf
        if self._index and self._consistent:
            raise refused("Consistent reads are not supported on global secondary indexes")
        self._limit = whole_number(request, "Limit", 1, _LARGEST_LIMIT)
        self._filter: Condition | None = None
        self._tree: Tree | None = None
        self._count_only = False
        self._chosen: dict[Key, State] = {}
        self.start = self._start()

    def _start(self) -> Stand | None:
        """Behind which row of which partition to begin."""
        given = self._request.get("ExclusiveStartKey")
        if given is None:
            return None
        item = taken_item(given)
        names = {*self.schema.names, *self._table.schema.names}
        if item.keys() != names:
            raise refused(f"ExclusiveStartKey has to have exactly {', '.join(sorted(names))}")
        self._table.schema.check_item(item)
        self.schema.check_item(item)
        key = self._table.schema.key_of(item)
        if self._index:
            return index_row(self.schema.key_of(item), key)
        partition, order = key_parts(key)
        return partition, Row(order, b"", key)

    def read_expressions(self, keys_are_filtered: bool) -> None:
        """Read filter and projection.

        Args:
            keys_are_filtered: Whether the filter may be about key attributes.
        """
        self._filter = self.expressions.condition("FilterExpression")
        self._tree = self.expressions.projection()
        self.expressions.finish()
        self._select()
        self._check_projected()
        if self._filter is not None and not keys_are_filtered:
            for path in given_paths(self._filter):
                if path[0] in self.schema.names:
                    raise refused(f"The filter of a query may not be about a key: {path[0]}")

    def _check_projected(self) -> None:
        """Refuse a filter or a projection of attributes that the index does not have."""
        if not self._index or self._index.projected is None:
            return
        asked = [path[0] for path in given_paths(self._filter)] if self._filter else []
        missing = {str(name) for name in (*asked, *(self._tree or ()))} - self._index.projected
        if missing:
            raise refused(f"The index {self._index.name} does not have {sorted(missing)}")

    def _select(self) -> None:
        usual = "ALL_PROJECTED_ATTRIBUTES" if self._index else "ALL_ATTRIBUTES"
        usual = usual if self._tree is None else "SPECIFIC_ATTRIBUTES"
        select = choice(
            self._request,
            "Select",
            usual,
            "ALL_ATTRIBUTES",
            "ALL_PROJECTED_ATTRIBUTES",
            "SPECIFIC_ATTRIBUTES",
            "COUNT",
        )
        if (select == "SPECIFIC_ATTRIBUTES") is not (self._tree is not None):
            raise refused(f"Select {select} does not fit the ProjectionExpression, or its lack")
        if select == "ALL_PROJECTED_ATTRIBUTES" and not self._index:
            raise refused("Select ALL_PROJECTED_ATTRIBUTES is for indexes")
        if select == "ALL_ATTRIBUTES" and self._index and self._index.projected is not None:
            raise refused(f"The index {self._index.name} does not have ALL_ATTRIBUTES")
        self._count_only = select == "COUNT"

    def answer(self, rows: Iterable[Stand]) -> dict[str, Any]:
        """Read the page from rows, beginning with the first."""
        found: list[Item] = []
        scanned = size = 0
        last: Item | None = None
        more = False
        for state, item in self._seen(rows):
            item_size = self._index.size(state.sizes) if self._index else state.size
            if scanned and size + item_size > PAGE_BYTES:
                more = True
                break
            scanned, size, last = scanned + 1, size + item_size, state.item
            if self._filter is None or self._filter.holds(item, self.expressions.values):
                found.append(item)
            if scanned == self._limit:
                more = True
                break
        units = read_units(size, self._consistent)
        self.usage.read(self._table, units, self._index.name if self._index else None)
        return {**self._told(found, scanned), **self._key(last, more), **self.usage.single()}

    def _seen(self, rows: Iterable[Stand]) -> Iterator[tuple[State, Item]]:
        """What a read sees of each row: the state of the item, and the part the index has."""
        for partition, row in rows:
            state = self._state(row.key)
            if state.item is None:
                continue
            if not self._index:
                yield state, state.item
                continue
            # A row stands there for every state that may be seen; only that of this one is meant.
            key = self._index.schema.key_if_any(state.item)
            if key is not None and index_row(key, row.key) == (partition, row):
                yield state, self._index.part_of(state.item)

    def _state(self, key: Key) -> State:
        """The state of an item, the same for all of its rows in an index."""
        if self._consistent:
            return self._table.newest(key)
        state = self._chosen.get(key)
        if state is None:
            state = self._chosen[key] = self._table.seen(key, False, self._now)
        return state

    def _told(self, found: list[Item], scanned: int) -> dict[str, Any]:
        counts = {"Count": len(found), "ScannedCount": scanned}
        if self._count_only:
            return counts
        return {"Items": [shown(item, self._tree) for item in found], **counts}

    def _key(self, last: Item | None, more: bool) -> dict[str, Any]:
        if not more or last is None:
            return {}
        key = {**self._table.schema.attributes_of(last), **self.schema.attributes_of(last)}
        return {"LastEvaluatedKey": key}


def _index_named(table: Table, name: object) -> Index | None:
    if name is None:
        return None
    if not isinstance(name, str) or name not in table.indexes:
        raise refused(f"The table {table.name} does not have the index {name!r}")
    return table.indexes[name]
