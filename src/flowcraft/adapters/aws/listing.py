"""Listing runs: by their rows, as their items say."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from flowcraft.adapters.aws.bulk import get_items
from flowcraft.adapters.aws.item import RunItem, is_ours
from flowcraft.adapters.aws.packing import pack_text, unpack_text
from flowcraft.adapters.aws.records import Records
from flowcraft.adapters.aws.rows import StatusRows, place_in_list, revision_of, touched_at
from flowcraft.errors import RunNotFound, StorageError
from flowcraft.ports.clock import Clock
from flowcraft.ports.runs import Head, Query

logger = logging.getLogger("flowcraft.aws")

LOOK_AHEAD: Final = 100
"""Items that are read in one go."""

ORPHAN_SECONDS: Final = 900.0
"""A row without an item is of a start that broke off, and is removed, after so long."""

Row = Mapping[str, Any]


class Listing:
    """Lists runs.

    Args:
        records: The context table.
        rows: The status table.
        clock: The service's time.
    """

    def __init__(self, records: Records, rows: StatusRows, clock: Clock) -> None:
        self._records = records
        self._rows = rows
        self._clock = clock

    async def find(self, query: Query) -> list[Head]:
        """List runs, newest first.

        Every page of the status table is read; rows that are behind their run are mended.

        Raises:
            RunNotFound: There is no run any more that the list should go on behind.
        """
        behind = None if query.after is None else await self._place_of(query.after)
        rows = [row async for row in self._rows.scan(query)]
        if behind is not None:
            rows = [row for row in rows if place_in_list(row) < behind]
        rows.sort(key=place_in_list, reverse=True)
        found: list[Head] = []
        while rows and len(found) < query.limit:
            some, rows = rows[:LOOK_AHEAD], rows[LOOK_AHEAD:]
            for row, item in await self._with_items(some):
                head = await self._head(row, item)
                if head is not None and matches(head, query):
                    found.append(head)
        return found[: query.limit]

    async def _place_of(self, run_id: str) -> tuple[float, str]:
        item = await self._records.item(run_id)
        if item is None:
            raise RunNotFound(f"There is no run '{run_id}' to go on behind.")
        return item.head.created_at, run_id

    async def _with_items(self, rows: Sequence[Row]) -> list[tuple[Row, RunItem | None]]:
        ids = [str(row["runId"]["S"]) for row in rows]
        table = self._records.table_name
        items = await get_items(self._records.service, table, "runId", ids)
        read = {id_: self._records.take(id_, item) for id_, item in items.items() if is_ours(item)}
        return [(row, read.get(id_)) for row, id_ in zip(rows, ids, strict=True)]

    async def _head(self, row: Row, item: RunItem | None) -> Head | None:
        """The run of a row, which is mended where it is behind."""
        is_its = item is not None and pack_text(item.head.epoch) == bytes(row["e"]["B"])
        try:
            if item is None:
                await self._clear_away(row)
            elif not is_its:
                await self._rows.replace(item.head)
            elif revision_of(row) < item.revision:
                await self._rows.write(item.head, item.revision)
        except StorageError as error:
            logger.warning("The row of run '%s' was not mended: %s", row["runId"]["S"], error)
        if item is None:
            return None
        touched = touched_at(row) if is_its else 0.0
        return replace(item.head, updated_at=max(item.head.updated_at, touched))

    async def _clear_away(self, row: Row) -> None:
        if self._clock.now() - touched_at(row) > ORPHAN_SECONDS:
            await self._rows.remove(str(row["runId"]["S"]), unpack_text(bytes(row["e"]["B"])))


def matches(head: Head, query: Query) -> bool:
    """Whether a run is one that was asked for; its place in the list aside."""
    due_at = head.row.due_at
    return (
        (query.parts or not head.is_part)
        and query.status in (None, head.row.status)
        and query.blueprint_id in (None, head.blueprint_id)
        and query.tags.items() <= head.tags.items()
        and (query.created_from is None or head.created_at >= query.created_from)
        and (query.created_until is None or head.created_at < query.created_until)
        and (query.due_before is None or (due_at is not None and due_at < query.due_before))
        and (query.updated_before is None or head.updated_at < query.updated_before)
        and (query.awaits is None or query.awaits in head.row.awaits)
    )
