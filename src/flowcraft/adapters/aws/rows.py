"""Status rows: what people see of runs, and how those are found that stand still.

A row follows the run item, which is right where the two disagree: a row that was not written,
because its writer died first, is mended by whoever lists runs next.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from flowcraft.adapters.aws.item import Value, another_systems, has_epoch, number, ttl_value
from flowcraft.adapters.aws.packing import pack_text
from flowcraft.adapters.aws.pages import Row, beginning, next_pages, scans
from flowcraft.adapters.aws.transport import AwsError, Transport
from flowcraft.core.state import FINAL_STATUSES
from flowcraft.ports.clock import LATEST
from flowcraft.ports.runs import Head, Query

HEARTBEAT_SECONDS: Final = 60.0
"""While something happens in a run its row is touched at most this often."""

_MISSING: Final = "attribute_not_exists({})"
_ABSENT: Final = _MISSING.format("runId")


class StatusRows:
    """The status table.

    Args:
        service: DynamoDB.
        table_name: The status table.
        segments: How many parts of the table are scanned at a time.
    """

    def __init__(self, service: Transport, table_name: str, segments: int = 1) -> None:
        self._service = service
        self._table_name = table_name
        self._segments = segments

    async def begin(self, head: Head) -> bool:
        """Write the row of a run that is about to begin, unless there is one of its id.

        Raises:
            InvalidRunState: The one that is there is another system's.
        """
        if await self._put(head, 0, _ABSENT, {}):
            return True
        request = {"TableName": self._table_name, "Key": _key(head.run_id), "ConsistentRead": True}
        there = (await self._service.call("GetItem", request)).get("Item")
        if there and "e" not in there:
            raise another_systems(self._table_name, head.run_id)
        return False

    async def replace(self, head: Head, revision: int = 0) -> bool:
        """Write the row of a run under whose id another one may have one; whether it was."""
        older = f"{_ABSENT} OR (attribute_exists(e) AND (e <> :e OR r < :r))"
        return await self._put(head, revision, older, _mark(head, revision))

    async def write(self, head: Head, revision: int) -> bool:
        """Write a row, unless there is a newer one, or one of another run; whether it was."""
        older = f"{_ABSENT} OR (e = :e AND r < :r)"
        return await self._put(head, revision, older, _mark(head, revision))

    async def restore(self, head: Head, revision: int, there: Mapping[str, Any]) -> bool:
        """Write a row in the place of one that was altered, unless that changed; whether it was."""
        names = ("r", "lastUpdated", "createdAt")
        same = [f"{name} = :{name}" if name in there else _MISSING.format(name) for name in names]
        values = {f":{name}": there[name] for name in names if name in there}
        condition = " AND ".join(["e = :e", *same])
        return await self._put(head, revision, condition, {**values, ":e": there["e"]})

    async def is_behind(self, head: Head, revision: int) -> bool:
        """Whether a row is missing, or older than the record."""
        request = {
            "TableName": self._table_name,
            "Key": _key(head.run_id),
            "ConsistentRead": True,
            "ProjectionExpression": "e, r",
        }
        row = (await self._service.call("GetItem", request)).get("Item")
        if not row:
            return True
        is_its = has_epoch(row) and bytes(row["e"]["B"]) == pack_text(head.epoch)
        return is_its and revision_of(row) < revision

    async def touch(self, head: Head, revision: int, now: float) -> None:
        """Note that something happens in a run; a row that is missing or behind is written."""
        request = {
            "TableName": self._table_name,
            "Key": _key(head.run_id),
            "UpdateExpression": "SET lastUpdated = :now",
            "ConditionExpression": "e = :e AND r >= :r AND lastUpdated < :now",
            "ExpressionAttributeValues": {**_mark(head, revision), ":now": _seconds(now)},
        }
        if not await self._if_allowed("UpdateItem", request):
            await self.write(head, revision)

    async def hide(self, head: Head, at: float) -> None:
        """Let the row of a run be found among those that have expired."""
        sooner = "(attribute_not_exists(expiresAt) OR expiresAt > :at)"
        request = {
            "TableName": self._table_name,
            "Key": _key(head.run_id),
            "UpdateExpression": "SET expiresAt = :at, #ttl = :ttl",
            "ConditionExpression": f"e = :e AND {sooner}",
            "ExpressionAttributeNames": {"#ttl": "ttl"},
            "ExpressionAttributeValues": {
                ":e": {"B": pack_text(head.epoch)},
                ":at": number(at),
                ":ttl": ttl_value(at),
            },
        }
        await self._if_allowed("UpdateItem", request)

    async def remove(self, run_id: str, epoch: str) -> bool:
        """Forget the row of a run; whether there was one."""
        request = {
            "TableName": self._table_name,
            "Key": _key(run_id),
            "ConditionExpression": "e = :e",
            "ExpressionAttributeValues": {":e": {"B": pack_text(epoch)}},
        }
        return await self._if_allowed("DeleteItem", request)

    async def _put(
        self, head: Head, revision: int, condition: str, values: Mapping[str, Value]
    ) -> bool:
        request: dict[str, Any] = {
            "TableName": self._table_name,
            "Item": _row(head, revision),
            "ConditionExpression": condition,
        }
        if values:
            request["ExpressionAttributeValues"] = values
        return await self._if_allowed("PutItem", request)

    async def _if_allowed(self, operation: str, request: Mapping[str, Any]) -> bool:
        try:
            await self._service.call(operation, request)
        except AwsError as error:
            if not error.is_refused_condition:
                raise
            return False
        return True

    # -- finding ----------------------------------------------------------------------------

    async def scan(
        self, query: Query, now: float, service: Transport | None = None
    ) -> AsyncIterator[Row]:
        """All rows of this package that a query is about, in no order; ``after`` is not heeded.

        Args:
            query: Which ones.
            now: The time.
            service: Carries these requests out, for who counts what is read.
        """
        conditions, names, values = conditions_of(query, now)
        request: dict[str, Any] = {
            "TableName": self._table_name,
            "ConsistentRead": True,
            "FilterExpression": " AND ".join(conditions),
        }
        if names:
            request["ExpressionAttributeNames"] = names
        if values:
            request["ExpressionAttributeValues"] = values
        reads = scans(request, self._segments)
        places = beginning(reads)
        while places:
            rows, places = await next_pages(service or self._service, reads, places)
            for row in rows:
                if has_epoch(row):
                    yield row


def conditions_of(query: Query, now: float) -> tuple[list[str], dict[str, str], dict[str, Value]]:
    """The conditions on rows that a query makes, with the names and values in them."""
    # The epoch tells the rows of this package from those of others.
    conditions = ["attribute_exists(e)"]
    names: dict[str, str] = {}
    values: dict[str, Value] = {}
    if query.status is not None:
        names["#status"] = "status"
        values[":status"] = {"S": query.status}
        conditions.append("#status = :status")
    if query.blueprint_id is not None:
        values[":blueprint"] = {"S": query.blueprint_id}
        conditions.append("blueprintId = :blueprint")
    for place, (name, value) in enumerate(query.tags.items()):
        names |= {"#tags": "tags", f"#tag{place}": name}
        values[f":tag{place}"] = {"S": value}
        conditions.append(f"#tags.#tag{place} = :tag{place}")
    for name, comparison, bound in (
        ("createdAt", ">=", query.created_from),
        ("createdAt", "<", query.created_until),
        ("dueAt", "<", query.due_before),
        ("lastUpdated", "<", query.updated_before),
    ):
        if bound is not None and math.isfinite(bound):
            values[f":time{len(values)}"] = number(bound)
            conditions.append(f"{name} {comparison} :time{len(values) - 1}")
    if query.awaits is not None:
        values[":event"] = {"S": query.awaits}
        conditions.append("contains(awaits, :event)")
    if query.lapsed is not None:
        values[":now"] = number(now)
        lapsed = "expiresAt <= :now"
        if math.isfinite(query.lapsed):
            names["#parent"] = "parent"
            values[":lapsed"] = number(query.lapsed)
            own = "attribute_not_exists(expiresAt) AND attribute_not_exists(#parent)"
            lapsed += f" OR ({own} AND attribute_exists(finalStatus) AND lastUpdated < :lapsed)"
            lapsed = f"({lapsed})"
        conditions.append(lapsed)
    if not query.parts:
        conditions.append("attribute_not_exists(isPart)")
    return conditions, names, values


def place_in_list(row: Mapping[str, Any]) -> tuple[float, str]:
    """Where a run stands in lists, read backwards: its start, then its id."""
    created_at = _number(row, "createdAt", LATEST)
    return 0.0 if created_at is None else created_at, str(row["runId"]["S"])


def touched_at(row: Mapping[str, Any]) -> float:
    """When a row was last written or touched; long ago, where it does not say so."""
    touched = _number(row, "lastUpdated", LATEST)
    return 0.0 if touched is None else touched


def revision_of(row: Mapping[str, Any]) -> int:
    """The revision of the run item that a row shows; none yet, where it does not say so."""
    revision = _number(row, "r", math.inf)
    return -1 if revision is None else int(revision)


def is_whole(row: Mapping[str, Any]) -> bool:
    """Whether a row, as far as it was read, is as one is written: nobody has altered it by hand."""
    if _number(row, "r", math.inf) is None or _number(row, "lastUpdated", LATEST) is None:
        return False
    # These may not have been read.
    has_start = "createdAt" not in row or _number(row, "createdAt", LATEST) is not None
    return has_start and all(
        _is_text(row[name]) for name in ("status", "blueprintId") if name in row
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("S"), str)


def _number(row: Mapping[str, Any], name: str, bound: float) -> float | None:
    """A number of a row from 0 up to a bound; ``None`` where it is none."""
    try:
        number_there = float(row[name]["N"])
    except (LookupError, TypeError, ValueError):
        return None
    return number_there if 0 <= number_there < bound else None


def _key(run_id: str) -> dict[str, Value]:
    return {"runId": {"S": run_id}}


def _mark(head: Head, revision: int) -> dict[str, Value]:
    return {":e": {"B": pack_text(head.epoch)}, ":r": {"N": str(revision)}}


def _seconds(time: float) -> Value:
    return number(time)


def _row(head: Head, revision: int) -> dict[str, Value]:
    row = head.row
    values: dict[str, Value | None] = {
        "runId": {"S": head.run_id},
        "status": {"S": row.status},
        "finalStatus": {"S": row.status} if row.status in FINAL_STATUSES else None,
        "blueprintId": {"S": head.blueprint_id},
        "createdAt": number(head.created_at),
        # Never before the start, whatever the clocks: lists are read by that (newest.py).
        "lastUpdated": _seconds(max(head.updated_at, head.created_at)),
        "dueAt": None if row.due_at is None else number(row.due_at),
        "tags": {"M": {name: {"S": value} for name, value in head.tags.items()}}
        if head.tags
        else None,
        "awaits": {"L": [{"S": event} for event in row.awaits]} if row.awaits else None,
        "parent": None if head.parent is None else {"S": head.parent},
        "isPart": {"BOOL": True} if head.is_part else None,
        "heartbeatSeconds": number(HEARTBEAT_SECONDS),
        "expiresAt": None if head.expires_at is None else number(head.expires_at),
        "ttl": None if head.expires_at is None else ttl_value(head.expires_at),
        "e": {"B": pack_text(head.epoch)},
        "r": {"N": str(revision)},
    }
    return {name: value for name, value in values.items() if value is not None}
