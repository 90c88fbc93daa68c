"""Rows of a list, the newest run first, from an index that has them by when they were written.

A list is in the order in which runs were started; the index has the rows of each status in the
order in which they were last written. No row is written before its run was started. So whoever has
read the rows of all statuses down to some time has those of all runs that were started since, and
can give them out in order: a page of the newest runs reads little more than the page.

Deep pages read what is before them, too; and so do lists of runs that have lived for long. That is
the price of having one index and not two, of which the second would be written with each run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from flowcraft.adapters.aws.item import has_epoch, number
from flowcraft.adapters.aws.pages import Read, Row, beginning, next_pages
from flowcraft.adapters.aws.rows import conditions_of, place_in_list, touched_at
from flowcraft.adapters.aws.transport import Answer, Request, Transport
from flowcraft.core.state import RunStatus
from flowcraft.ports.runs import Query

SKEW_SECONDS: Final = 2.0
"""By so much a row of an earlier version may have been written before its run was started: by
another machine, whose clock was behind."""

LEAST_ROWS: Final = 50
"""The first page of each status has as many as are asked for, and at least these."""

MORE_TIMES: Final = 4
"""Each further page has so many times as many: what is read in vain stays in proportion."""

MOST_ROWS: Final = 5_000
"""A page of more than this is as long as DynamoDB makes it."""


class Tally:
    """A service whose answers tell how many rows were read.

    Args:
        service: DynamoDB.
    """

    def __init__(self, service: Transport) -> None:
        self._service = service
        self.rows = 0

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request; see ``Transport.call``."""
        answer = await self._service.call(operation, request)
        self.rows += int(answer.get("ScannedCount", len(answer.get("Items", ()))))
        return answer


class Newest:
    """The rows of a list, read as far as somebody asks for them.

    Args:
        service: DynamoDB.
        table_name: The status table.
        index: Its index on ``status`` and ``lastUpdated``.
        query: What is listed: any filters but those of :func:`is_by_index`.
        behind: Only rows behind this place in the list.
        now: The time.
    """

    def __init__(
        self,
        service: Transport,
        table_name: str,
        index: str,
        query: Query,
        behind: tuple[float, str] | None,
        now: float,
    ) -> None:
        self._service = service
        self._behind = behind
        self._rows = max(query.limit, LEAST_ROWS)
        statuses = list(RunStatus) if query.status is None else [query.status]
        self._reads = [
            Read("Query", _query(table_name, index, query, str(each), now)) for each in statuses
        ]
        self._places = beginning(self._reads)
        self._reached = dict.fromkeys(self._places, math.inf)
        self._seen: set[str] = set()
        self._waiting: list[Row] = []

    async def next(self, count: int) -> list[Row]:
        """The next rows, the newest run first; fewer than asked for only at the end."""
        while (last := self._last_needed(count)) is not None:
            await self._read_down_to(last)
        given, self._waiting = self._waiting[:count], self._waiting[count:]
        return given

    def _last_needed(self, count: int) -> float | None:
        """Down to when is to be read, for so many rows; ``None`` if that is so already."""
        if not self._places:
            return None
        if len(self._waiting) < count:
            return -math.inf
        start, _ = place_in_list(self._waiting[count - 1])
        return start if max(self._reached.values()) + SKEW_SECONDS >= start else None

    async def _read_down_to(self, start: float) -> None:
        """A further page of each status that may have a run as new as that."""
        places = {
            each: place
            for each, place in self._places.items()
            if self._reached[each] + SKEW_SECONDS >= start
        }
        limit = {} if self._rows > MOST_ROWS else {"Limit": self._rows}
        reads = [read._replace(request={**read.request, **limit}) for read in self._reads]
        self._rows *= MORE_TIMES
        rows, left = await next_pages(self._service, reads, places)
        others = {each: place for each, place in self._places.items() if each not in places}
        self._places = {**others, **left}
        self._reached = {
            each: touched_at(place) if each in left and place is not None else self._reached[each]
            for each, place in self._places.items()
        }
        self._take(rows)

    def _take(self, rows: list[Row]) -> None:
        for row in rows:
            run_id = str(row["runId"]["S"])
            # One whose status changes may be seen twice.
            if not has_epoch(row) or run_id in self._seen:
                continue
            self._seen.add(run_id)
            if self._behind is None or place_in_list(row) < self._behind:
                self._waiting.append(row)
        self._waiting.sort(key=place_in_list, reverse=True)


def is_by_index(query: Query) -> bool:
    """Whether a list can be read from the index: what the engine itself looks for cannot.

    That has to be found at once, and an index lags behind; or it is not in the order of the list.
    """
    others = (query.due_before, query.updated_before, query.awaits, query.lapsed)
    return not query.parts and all(each is None for each in others)


def _query(table_name: str, index: str, query: Query, status: str, now: float) -> dict[str, Any]:
    conditions, names, values = conditions_of(replace(query, status=None), now)
    key = "#status = :status"
    more: Mapping[str, Any] = {":status": {"S": status}}
    if query.created_from is not None and math.isfinite(query.created_from):
        key += " AND lastUpdated >= :since"
        more = {**more, ":since": number(max(0.0, query.created_from - SKEW_SECONDS))}
    return {
        "TableName": table_name,
        "IndexName": index,
        "KeyConditionExpression": key,
        "FilterExpression": " AND ".join(conditions),
        "ExpressionAttributeNames": {**names, "#status": "status"},
        "ExpressionAttributeValues": {**values, **more},
        "ScanIndexForward": False,
    }
