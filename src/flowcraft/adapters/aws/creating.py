"""How a record begins: what is beside it first, then its row, then the item."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from flowcraft.adapters.aws.item import SEGMENT_FACTS, RunItem, begun_ms, new_item, start_thread
from flowcraft.adapters.aws.packing import Packed, pack_fact, pack_facts, pack_text
from flowcraft.adapters.aws.parts import SEPARATOR
from flowcraft.adapters.aws.records import Records
from flowcraft.adapters.aws.rows import StatusRows
from flowcraft.adapters.aws.transport import AwsError
from flowcraft.errors import StorageBusy, StorageFull
from flowcraft.ports.clock import Clock
from flowcraft.ports.runs import Created, Entry, Head

_ROUNDS = 10

LONGEST_RUN_ID_BYTES: Final = 1_900
"""DynamoDB takes keys of 2,048 bytes: those of segments and values have the run id and more."""

LONGEST_KEY_BYTES: Final = 1_500
"""Idempotency keys that are longer are kept by their hash."""

_TAIL_FACTS: Final = 2
"""A run that begins with more facts than these begins with them settled."""


class Creator:
    """Begins records.

    Args:
        records: The context table.
        rows: The status table.
        clock: The service's time.
        retention_seconds: How long after its end a run counts as absent; never by default.
    """

    def __init__(
        self,
        records: Records,
        rows: StatusRows,
        clock: Clock,
        retention_seconds: float | None = None,
    ) -> None:
        self._clock = clock
        self._retention_seconds = retention_seconds
        self._records = records
        self._rows = rows

    async def create(self, head: Head, entries: Sequence[Entry], thread: str) -> Created:
        """Begin a record, unless there is one of this run id or key.

        The row comes before the item, so that no run is there that nobody finds.
        """
        _check_id(head.run_id)
        expires_at = head.expiry(head.row, self._clock.now(), self._retention_seconds)
        head = replace(head, expires_at=expires_at)
        facts = await self._records.pack(head, entries, thread)
        segments = len(facts) // SEGMENT_FACTS
        cut = [facts[at * SEGMENT_FACTS :][:SEGMENT_FACTS] for at in range(segments)]
        if cut:
            await self._records.parts.put_segments(head, 0, cut)
        has_row = await self._rows.begin(head)
        item = _item(head, facts, segments)
        there = await (self._put(head, item) if head.key is None else self._put_keyed(head, item))
        if there is not None:
            if not has_row and there.head.epoch == head.epoch:
                # boto3 may have repeated the request, or whoever began it died before the row.
                await self._rows.replace(there.head, there.revision)
            return Created(there.head, is_new=False)
        if not has_row:
            await self._rows.replace(head)
        new = self._records.take(head.run_id, item)
        assert new is not None
        return Created(new.head, is_new=True)

    async def _put(self, head: Head, item: Mapping[str, Any]) -> RunItem | None:
        """Put the item; gives the one that is there instead."""
        request = {
            "TableName": self._records.table_name,
            "Item": item,
            "ConditionExpression": "attribute_not_exists(runId)",
        }
        for _ in range(_ROUNDS):
            try:
                await self._records.service.call("PutItem", request)
            except AwsError as error:
                if not error.is_refused_condition:
                    raise
                there = await self._records.item(head.run_id)
                if there is not None:
                    return there
                continue  # it was removed just now
            return None
        raise _contended(head)

    async def _put_keyed(self, head: Head, item: Mapping[str, Any]) -> RunItem | None:
        """Put the item together with the one that says which run has the key."""
        assert head.key is not None
        key = _key(head.key)
        expected: Mapping[str, Any] | None = None
        for _ in range(_ROUNDS):
            try:
                await self._records.service.call(
                    "TransactWriteItems", self._transaction(head, key, item, expected)
                )
            except AwsError as error:
                if error.code not in (
                    "TransactionCanceledException",
                    "TransactionInProgressException",
                ):
                    raise
            else:
                return None
            there = await self._records.item(head.run_id)
            if there is not None:
                return there
            expected = await self._holder(key)
            if expected is not None:
                there = await self._records.item(str(expected["run"]["S"]))
                if there is not None and there.head.key == head.key:
                    return there
                # The run it had is gone: the key is free.
        raise _contended(head)

    def _transaction(
        self, head: Head, key: str, item: Mapping[str, Any], expected: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        table = self._records.table_name
        pointer: dict[str, Any] = {
            "TableName": table,
            # The epoch, since the same run id may get the same key again.
            "Item": {"runId": {"S": key}, "run": {"S": head.run_id}, "e": item["e"]},
            "ConditionExpression": "attribute_not_exists(runId)",
        }
        if expected is not None:
            is_it = "e = :e" if "e" in expected else "attribute_not_exists(e)"
            values = {":run": expected["run"], ":e": expected.get("e")}
            pointer["ConditionExpression"] = f"#run = :run AND {is_it}"
            pointer["ExpressionAttributeNames"] = {"#run": "run"}
            pointer["ExpressionAttributeValues"] = {
                name: value for name, value in values.items() if value is not None
            }
        run = {
            "TableName": table,
            "Item": item,
            "ConditionExpression": "attribute_not_exists(runId)",
        }
        return {"TransactItems": [{"Put": pointer}, {"Put": run}]}

    async def _holder(self, key: str) -> Mapping[str, Any] | None:
        """The item that says which run has a key."""
        request = {
            "TableName": self._records.table_name,
            "Key": {"runId": {"S": key}},
            "ConsistentRead": True,
        }
        return (await self._records.service.call("GetItem", request)).get("Item") or None

    async def free_key(self, head: Head) -> None:
        """Let others have the key of a run that is gone."""
        assert head.key is not None
        values = {":run": {"S": head.run_id}, ":e": {"B": pack_text(head.epoch)}}
        request = {
            "TableName": self._records.table_name,
            "Key": {"runId": {"S": _key(head.key)}},
            "ConditionExpression": "#run = :run AND (attribute_not_exists(e) OR e = :e)",
            "ExpressionAttributeNames": {"#run": "run"},
            "ExpressionAttributeValues": values,
        }
        try:
            await self._records.service.call("DeleteItem", request)
        except AwsError as error:
            if not error.is_refused_condition:
                raise


def _item(head: Head, facts: Sequence[Packed], segments: int) -> dict[str, Any]:
    rest = facts[segments * SEGMENT_FACTS :]
    begun, thread = begun_ms(head), start_thread(head.epoch)
    if len(facts) <= _TAIL_FACTS:
        tail = tuple(pack_fact(fact, begun, thread) for fact in rest)
        return new_item(head, b"", 0, 0, tail)
    packed = pack_facts(rest, begun, thread) if rest else b""
    return new_item(head, packed, len(facts), segments, ())


def _key(key: str) -> str:
    data = key.encode()
    if len(data) > LONGEST_KEY_BYTES:
        # The separator keeps it apart from keys that are kept as they are, as a text may be.
        return f"{SEPARATOR}key{SEPARATOR}{SEPARATOR}{hashlib.sha256(data).hexdigest()}"
    return f"{SEPARATOR}key{SEPARATOR}{key}"


def _check_id(run_id: str) -> None:
    size = len(run_id.encode())
    if size > LONGEST_RUN_ID_BYTES:
        raise StorageFull(
            f"The run id '{run_id[:40]}…' has {size:,} bytes, and {LONGEST_RUN_ID_BYTES:,} bytes "
            "is the most: child runs and batches are named after their run and their node. "
            "Choose shorter ids, or nest subflows less deep.",
            is_fatal=True,
        )


def _contended(head: Head) -> StorageBusy:
    return StorageBusy(
        f"Run '{head.run_id}' could not be started: others start and remove runs under its id or "
        "key all the time."
    )
