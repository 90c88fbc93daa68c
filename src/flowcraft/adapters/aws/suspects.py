"""Runs that may be stuck: one pass over the rows of the runs that are not over.

Rows only name candidates: they are read as they were a moment ago, from the index of the status
table if it has one, else from all of its pages. What counts is the item of each candidate, which
is read as it is now.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from flowcraft.adapters.aws.bulk import GET_KEYS, get_items
from flowcraft.adapters.aws.item import (
    Value,
    has_epoch,
    is_ours,
    number,
    status_code,
    status_name,
)
from flowcraft.adapters.aws.mending import Mender, updated_at
from flowcraft.adapters.aws.orphans import Orphans
from flowcraft.adapters.aws.pages import (
    Places,
    Read,
    Row,
    beginning,
    next_pages,
    read_places,
    scans,
    written,
)
from flowcraft.adapters.aws.parts import WRITTEN_AT
from flowcraft.adapters.aws.records import Records
from flowcraft.adapters.aws.rows import revision_of, touched_at
from flowcraft.adapters.aws.status_index import StatusIndex, may_pass
from flowcraft.adapters.aws.transport import Transport
from flowcraft.errors import StorageError
from flowcraft.ports.clock import Clock
from flowcraft.ports.runs import Head
from flowcraft.ports.suspicion import Depth, Suspects, Suspicion

logger = logging.getLogger("flowcraft.aws")

STALE_SECONDS: Final = 60.0
"""Reads that are not consistent, and those of an index, may lag behind; never as far as this."""

_FAR_AWAY: Final = 1e15

_IN_ROWS: Final = "runId, e, r, lastUpdated"
_IN_ITEMS: Final = f"runId, e, r, s, u, d, {WRITTEN_AT}"


class Finder:
    """Finds runs that may be stuck.

    Args:
        records: The context table.
        statuses: Carries out requests about the status table.
        status_table_name: Its name.
        mender: Sees to rows on the way.
        clock: The service's time.
        segments: How many parts of a table are scanned at a time.
    """

    def __init__(
        self,
        records: Records,
        statuses: Transport,
        status_table_name: str,
        mender: Mender,
        clock: Clock,
        segments: int,
    ) -> None:
        self._records = records
        self._statuses = statuses
        self._status_table_name = status_table_name
        self._mender = mender
        self._clock = clock
        self._segments = segments
        self._orphans = Orphans(records, clock)
        self._index = StatusIndex(statuses, status_table_name, clock)

    async def page(self, suspicion: Suspicion, after: str | None) -> Suspects:
        """A page of runs that may be stuck: a page of each read that is not at its end."""
        if suspicion.depth is Depth.RECORDS:
            return await self._page_of_records(suspicion, after)
        index = await self._index_for(suspicion) if after is None else read_places(after)[1]["by"]
        try:
            rows, places = await self._rows(suspicion, after, index)
        except StorageError as error:
            if index is None or may_pass(error):
                raise
            self._index.give_up(error)
            index = None
            rows, places = await self._rows(suspicion, None, None)
        of_runs = {str(row["runId"]["S"]): row for row in rows if has_epoch(row)}
        found = await self._look_at(suspicion, of_runs)
        return found._replace(after=written(places, by=index) if places else None)

    # -- by rows ----------------------------------------------------------------------------

    async def _index_for(self, suspicion: Suspicion) -> str | None:
        """The index to use, unless what is asked for may be too new to be in it."""
        return None if self._is_about_now(suspicion) else await self._index.name()

    def _is_about_now(self, suspicion: Suspicion) -> bool:
        return self._clock.now() - suspicion.before < STALE_SECONDS

    async def _rows(
        self, suspicion: Suspicion, after: str | None, index: str | None
    ) -> tuple[list[Row], Places]:
        """A page of rows, and where the next one begins."""
        if index is None:
            reads = scans(self._row_scan(suspicion), self._segments)
        else:
            reads = _queries(self._status_table_name, index, suspicion)
        places = beginning(reads) if after is None else read_places(after)[0]
        return await next_pages(self._statuses, reads, places)

    def _row_scan(self, suspicion: Suspicion) -> dict[str, Any]:
        values: dict[str, Any] = {}
        if suspicion.depth is Depth.ROWS:
            condition = _one_of("#status", suspicion.statuses, values)
        else:
            condition = _suspected(suspicion, values)
        return {
            "TableName": self._status_table_name,
            "ConsistentRead": self._is_about_now(suspicion),
            # The epoch tells the rows of this package from those of others.
            "FilterExpression": f"attribute_exists(e) AND {condition}",
            "ExpressionAttributeNames": {"#status": "status"},
            "ExpressionAttributeValues": values,
        }

    # -- by records -------------------------------------------------------------------------

    async def _page_of_records(self, suspicion: Suspicion, after: str | None) -> Suspects:
        values: dict[str, Any] = {}
        live = _one_of("s", [status_code(each) for each in suspicion.statuses], values)
        request = {
            "TableName": self._records.table_name,
            "ConsistentRead": self._is_about_now(suspicion),
            # Beside live runs, what is kept of any: of those that are gone it is to go, too.
            "FilterExpression": f"attribute_exists(b) OR (attribute_exists(e) AND "
            f"attribute_exists(h) AND {live})",
            "ProjectionExpression": _IN_ITEMS,
            "ExpressionAttributeValues": values,
        }
        reads = scans(request, self._segments)
        places = beginning(reads) if after is None else read_places(after)[0]
        found_items, places = await next_pages(self._records.service, reads, places)
        await self._orphans.clear(found_items)
        items = [item for item in found_items if has_epoch(item)]
        rows = await self._rows_of(items)
        doubtful = {
            run_id: rows.get(run_id)
            for run_id, item in ((str(each["runId"]["S"]), each) for each in items)
            if _is_doubtful(suspicion, item, rows.get(run_id))
        }
        found = await self._look_at(suspicion, doubtful)
        return found._replace(after=written(places) if places else None)

    async def _rows_of(self, items: Sequence[Row]) -> dict[str, Row]:
        ids = [str(item["runId"]["S"]) for item in items]
        rows = await get_items(self._statuses, self._status_table_name, "runId", ids, _IN_ROWS)
        return dict(rows)

    # -- candidates -------------------------------------------------------------------------

    async def _look_at(self, suspicion: Suspicion, rows: Mapping[str, Row | None]) -> Suspects:
        """Read the runs that rows are of, see to the rows, and keep the runs that are suspected."""
        heads: list[Head] = []
        failed: list[str] = []
        mended = 0
        ids = list(rows)
        for first in range(0, len(ids), GET_KEYS):
            some = ids[first : first + GET_KEYS]
            table = self._records.table_name
            found = await get_items(self._records.service, table, "runId", some)
            for run_id in some:
                row, data = rows[run_id], found.get(run_id)
                if data is not None and not is_ours(data):
                    continue
                try:
                    item = self._records.take(run_id, data)
                except StorageError as error:
                    logger.error("Run '%s' cannot be read: %s", run_id, error)
                    failed.append(run_id)
                    continue
                mended += await self._mender.mend(run_id, row, item)
                if item is None:
                    continue
                head = replace(item.head, updated_at=updated_at(row, item))
                if suspicion.is_about(head) and not head.is_gone(self._clock.now()):
                    heads.append(head)
        return Suspects(heads, None, mended, tuple(failed))


def _is_doubtful(suspicion: Suspicion, item: Row, row: Row | None) -> bool:
    """Whether a run is to be looked at, by parts of its item and of its row."""
    if row is None or not has_epoch(row):
        return row is None  # one of another system's stays as it is
    if row["e"] != item["e"] or revision_of(row) < revision_of(item):
        return True
    try:
        touched = max(float(item["u"]["N"]), touched_at(row))
        due_at = float(item["d"]["N"]) if "d" in item else None
        return suspicion.covers(status_name(item["s"]["S"]), touched, due_at)
    except (LookupError, TypeError, ValueError):
        return True  # whoever reads all of it says what is wrong


# --- requests ------------------------------------------------------------------------------


def _one_of(path: str, options: Sequence[str], values: dict[str, Any]) -> str:
    """The condition that an attribute is one of some texts, which are added to the values."""
    names = []
    for option in options:
        names.append(f":is{len(values)}")
        values[names[-1]] = {"S": option}
    return f"{path} IN ({', '.join(names)})"


def _suspected(suspicion: Suspicion, values: dict[str, Any]) -> str:
    """The condition that a row makes its run suspect."""
    values[":before"] = _time(suspicion.before)
    kinds = (("lastUpdated", suspicion.untouched), ("dueAt", suspicion.overdue))
    parts = [
        f"{_one_of('#status', statuses, values)} AND {name} < :before"
        for name, statuses in kinds
        if statuses
    ]
    # Parentheses around one part would be refused, as redundant.
    return f"({' OR '.join(parts)})" if len(parts) > 1 else parts[0]


def _queries(table_name: str, index: str, suspicion: Suspicion) -> list[Read]:
    """A query for each status: those of final ones are never asked for.

    Rows are asked for from the one that was not written for longest to those of just now. An
    overdue run is among them unless its row was written after its timer was overdue, so unless
    something else goes on in it.
    """
    return [
        Read("Query", _query(table_name, index, suspicion, each)) for each in suspicion.statuses
    ]


def _query(table_name: str, index: str, suspicion: Suspicion, status: str) -> dict[str, Any]:
    key, condition = "#status = :status", "attribute_exists(e)"
    values: dict[str, Any] = {":status": {"S": status}}
    if suspicion.depth is not Depth.ROWS:
        key += " AND lastUpdated < :before"
        values[":before"] = _time(suspicion.before)
        if status not in suspicion.untouched:
            condition += " AND dueAt < :before"
    return {
        "TableName": table_name,
        "IndexName": index,
        "KeyConditionExpression": key,
        "FilterExpression": condition,
        "ExpressionAttributeNames": {"#status": "status"},
        "ExpressionAttributeValues": values,
    }


def _time(at: float) -> Value:
    """A time as tables have it; one that is endlessly far away is as good as a very far one."""
    return number(min(max(at, 0.0), _FAR_AWAY))
