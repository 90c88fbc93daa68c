"""Capacity units: what a request consumes, and how the answer tells of it.

Source: "DynamoDB read and write operations" in the developer guide. A refused condition consumes
the units of the item that is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from flowcraft.testing.aws.dynamodb_errors import refused
from flowcraft.testing.aws.dynamodb_schema import Index
from flowcraft.testing.aws.dynamodb_tables import State, Table

_READ_BYTES: Final = 4096
_WRITE_BYTES: Final = 1024


def read_units(size: int, consistent: bool) -> float:
    """The units of reading so many bytes: one for every 4 KB begun, half if it may be stale."""
    units = max(1, -(-size // _READ_BYTES))
    return float(units) if consistent else units / 2


def write_units(*sizes: int) -> float:
    """The units of writing an item that had and has these sizes: one for every KB begun."""
    return float(max(1, -(-max(sizes) // _WRITE_BYTES)))


def index_units(index: Index, old: State, new: State) -> float:
    """The units of bringing an index up to date.

    A row that comes, goes or changes is a write; one that changes its key goes and comes.
    """
    before = index.schema.key_if_any(old.item)
    after = index.schema.key_if_any(new.item)
    old_size = 0 if before is None else index.size(old.sizes)
    new_size = 0 if after is None else index.size(new.sizes)
    if before is None and after is None:
        return 0.0
    if before is None or after is None:
        return write_units(old_size, new_size)
    if before != after:
        return write_units(old_size) + write_units(new_size)
    assert old.item is not None
    assert new.item is not None
    if index.part_of(old.item) == index.part_of(new.item):
        return 0.0
    return write_units(old_size, new_size)


class Usage:
    """What a request consumes, counted for the tables too.

    Args:
        mode: ``ReturnConsumedCapacity`` of the request.
    """

    def __init__(self, mode: object) -> None:
        if mode not in (None, "NONE", "TOTAL", "INDEXES"):
            raise refused(f"ReturnConsumedCapacity is NONE, TOTAL or INDEXES, not {mode!r}")
        self._mode = mode or "NONE"
        self._tables: dict[str, dict[str | None, float]] = {}

    def read(self, table: Table, units: float, index: str | None = None) -> None:
        """Count units of reading a table, or one of its indexes."""
        table.read_units += units
        self._add(table, index, units)

    def write(self, table: Table, old: State, new: State | None, factor: int = 1) -> None:
        """Count the units of a write.

        Args:
            table: Where it is.
            old: What was there.
            new: What is there now; None if nothing changed.
            factor: 2 within a transaction.
        """
        after = old if new is None else new
        self._write(table, None, write_units(old.size, after.size) * factor)
        if new is not None:
            for name, index in table.indexes.items():
                self._write(table, name, index_units(index, old, new) * factor)

    def _write(self, table: Table, index: str | None, units: float) -> None:
        if units:
            table.write_units += units
            self._add(table, index, units)

    def _add(self, table: Table, index: str | None, units: float) -> None:
        used = self._tables.setdefault(table.name, {None: 0.0})
        used[index] = used.get(index, 0.0) + units

    def single(self) -> dict[str, Any]:
        """The part of the answer that tells of the units, for a request to one table."""
        told = self._told()
        return {"ConsumedCapacity": told[0]} if told else {}

    def several(self) -> dict[str, Any]:
        """The part of the answer that tells of the units, for a request to several tables."""
        told = self._told()
        return {"ConsumedCapacity": told} if told else {}

    def _told(self) -> list[dict[str, Any]]:
        if self._mode == "NONE":
            return []
        return [self._told_of(table, used) for table, used in self._tables.items()]

    def _told_of(self, table: str, used: dict[str | None, float]) -> dict[str, Any]:
        told: dict[str, Any] = {"TableName": table, "CapacityUnits": _sum(used.values())}
        if self._mode == "INDEXES":
            told["Table"] = {"CapacityUnits": used[None]}
            indexes = {name: {"CapacityUnits": units} for name, units in used.items() if name}
            if indexes:
                told["GlobalSecondaryIndexes"] = indexes
        return told


def _sum(units: Iterable[float]) -> float:
    return float(sum(units))
