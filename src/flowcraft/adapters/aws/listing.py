"""Listing runs: by their rows, as their items say."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from flowcraft.adapters.aws.bulk import get_items
from flowcraft.adapters.aws.item import RunItem, is_ours
from flowcraft.adapters.aws.mending import Mender, updated_at
from flowcraft.adapters.aws.newest import Newest, Tally, is_by_index
from flowcraft.adapters.aws.pages import Row
from flowcraft.adapters.aws.records import Records
from flowcraft.adapters.aws.rows import StatusRows, place_in_list
from flowcraft.adapters.aws.status_index import FOR_LISTS, StatusIndex, may_pass
from flowcraft.adapters.aws.transport import Transport
from flowcraft.errors import RunNotFound, StorageError
from flowcraft.ports.clock import Clock
from flowcraft.ports.runs import Head, Heads, Query

logger = logging.getLogger("flowcraft.aws")

LOOK_AHEAD: Final = 100
"""Items that are read in one go."""

Place = tuple[float, str]
"""Where a run stands in lists, read backwards: its start, then its id."""


class Listing:
    """Lists runs.

    Args:
        records: The context table.
        rows: The status table.
        statuses: Carries out requests about the status table.
        status_table_name: Its name.
        mender: Sees to rows that are behind.
        clock: The service's time.
    """

    def __init__(
        self,
        records: Records,
        rows: StatusRows,
        statuses: Transport,
        status_table_name: str,
        mender: Mender,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._records = records
        self._rows = rows
        self._statuses = statuses
        self._status_table_name = status_table_name
        self._mender = mender
        self._index = StatusIndex(statuses, status_table_name, clock, FOR_LISTS, "lists of runs")

    async def find(self, query: Query) -> Heads:
        """List runs, newest first, and tell how many rows were read for that.

        By the index of the status table, if it has one, no more rows are read than there may be
        runs in that are on the page or before it; without one, and for what the engine looks for,
        all of the table is. Either way rows only name runs: their items, read as they are now, say
        whether they are listed, and rows that are behind them are mended.

        Raises:
            RunNotFound: There is no run any more that the list should go on behind.
        """
        behind = None if query.after is None else await self._place_of(query.after)
        tally = Tally(self._statuses)
        if is_by_index(query) and (index := await self._index.name()) is not None:
            found = await self._by_index(tally, index, query, behind)
            if found is not None:
                return Heads(found, tally.rows)
        return Heads(await self._by_scan(tally, query, behind), tally.rows, scanned=True)

    async def _by_index(
        self, tally: Tally, index: str, query: Query, behind: Place | None
    ) -> list[Head] | None:
        """The runs by an index; ``None`` if that turns out to be of no use."""
        now = self._clock.now()
        newest = Newest(tally, self._status_table_name, index, query, behind, now)
        found: list[Head] = []
        while (left := query.limit - len(found)) > 0:
            wanted = min(left, LOOK_AHEAD)
            try:
                rows = await newest.next(wanted)
            except StorageError as error:
                if may_pass(error):
                    raise
                self._index.give_up(error)
                return None
            found += await self._listed(rows, query, now)
            if len(rows) < wanted:
                break
        return found

    async def _by_scan(self, tally: Tally, query: Query, behind: Place | None) -> list[Head]:
        now = self._clock.now()
        rows = [row async for row in self._rows.scan(query, now, tally)]
        if behind is not None:
            rows = [row for row in rows if place_in_list(row) < behind]
        rows.sort(key=place_in_list, reverse=True)
        found: list[Head] = []
        while rows and len(found) < query.limit:
            some, rows = rows[:LOOK_AHEAD], rows[LOOK_AHEAD:]
            found += await self._listed(some, query, now)
        return found[: query.limit]

    async def _listed(self, rows: Sequence[Row], query: Query, now: float) -> list[Head]:
        """The runs of rows that are listed, in the order of the rows."""
        heads = [await self._head(row, item) for row, item in await self._with_items(rows)]
        return [
            head
            for head in heads
            if head is not None and query.is_of_time(head, now) and matches(head, query)
        ]

    async def _place_of(self, run_id: str) -> Place:
        item = await self._records.item(run_id)
        if item is None:
            raise RunNotFound(f"There is no run '{run_id}' to go on behind.")
        return item.head.created_at, run_id

    async def _with_items(self, rows: Sequence[Row]) -> list[tuple[Row, RunItem | None]]:
        ids = [str(row["runId"]["S"]) for row in rows]
        table = self._records.table_name
        items = await get_items(self._records.service, table, "runId", ids)
        found: list[tuple[Row, RunItem | None]] = []
        for row, id_ in zip(rows, ids, strict=True):
            data = items.get(id_)
            try:
                # Of another system's item there is nothing to read.
                item = self._records.take(id_, data) if data and is_ours(data) else None
            except StorageError as error:
                logger.error("Run '%s' cannot be read, and is not listed: %s", id_, error)
                continue
            found.append((row, item))
        return found

    async def _head(self, row: Row, item: RunItem | None) -> Head | None:
        """The run of a row, which is mended where it is behind."""
        await self._mender.mend(str(row["runId"]["S"]), row, item)
        return None if item is None else replace(item.head, updated_at=updated_at(row, item))


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
