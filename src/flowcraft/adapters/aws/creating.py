"""How a record begins: what is beside it first, then its row, then the item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from flowcraft.adapters.aws.item import SEGMENT_FACTS, RunItem, begun_ms, new_item, start_thread
from flowcraft.adapters.aws.packing import Packed, pack_fact, pack_facts
from flowcraft.adapters.aws.parts import SEPARATOR
from flowcraft.adapters.aws.records import Records
from flowcraft.adapters.aws.rows import StatusRows
from flowcraft.adapters.aws.transport import AwsError
from flowcraft.errors import StorageBusy
from flowcraft.ports.runs import Created, Entry, Head

_ROUNDS = 10

_TAIL_FACTS: Final = 2
"""A run that begins with more facts than these begins with them settled."""


class Creator:
    """Begins records.

    Args:
        records: The context table.
        rows: The status table.
    """

    def __init__(self, records: Records, rows: StatusRows) -> None:
        self._records = records
        self._rows = rows

    async def create(self, head: Head, entries: Sequence[Entry], thread: str) -> Created:
        """Begin a record, unless there is one of this run id or key.

        The row comes before the item, so that no run is there that nobody finds.
        """
        facts = [await self._records.pack(head, entry, thread) for entry in entries]
        segments = len(facts) // SEGMENT_FACTS
        cut = [facts[at * SEGMENT_FACTS :][:SEGMENT_FACTS] for at in range(segments)]
        if cut:
            await self._records.parts.put_segments(head, 0, cut)
        has_row = await self._rows.begin(head)
        item = _item(head, facts, segments)
        there = await (self._put(head, item) if head.key is None else self._put_keyed(head, item))
        if there is not None:
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
        expected: str | None = None
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
                there = await self._records.item(expected)
                if there is not None and there.head.key == head.key:
                    return there
                # The run it had is gone: the key is free.
        raise _contended(head)

    def _transaction(
        self, head: Head, key: str, item: Mapping[str, Any], expected: str | None
    ) -> dict[str, Any]:
        table = self._records.table_name
        pointer: dict[str, Any] = {
            "TableName": table,
            "Item": {"runId": {"S": key}, "run": {"S": head.run_id}},
            "ConditionExpression": "attribute_not_exists(runId)",
        }
        if expected is not None:
            pointer["ConditionExpression"] = "#run = :run"
            pointer["ExpressionAttributeNames"] = {"#run": "run"}
            pointer["ExpressionAttributeValues"] = {":run": {"S": expected}}
        run = {
            "TableName": table,
            "Item": item,
            "ConditionExpression": "attribute_not_exists(runId)",
        }
        return {"TransactItems": [{"Put": pointer}, {"Put": run}]}

    async def _holder(self, key: str) -> str | None:
        request = {
            "TableName": self._records.table_name,
            "Key": {"runId": {"S": key}},
            "ConsistentRead": True,
        }
        item = (await self._records.service.call("GetItem", request)).get("Item")
        return None if not item else str(item["run"]["S"])

    async def free_key(self, key: str, run_id: str) -> None:
        """Let others have the key of a run that is gone."""
        request = {
            "TableName": self._records.table_name,
            "Key": {"runId": {"S": _key(key)}},
            "ConditionExpression": "#run = :run",
            "ExpressionAttributeNames": {"#run": "run"},
            "ExpressionAttributeValues": {":run": {"S": run_id}},
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
    return f"{SEPARATOR}key{SEPARATOR}{key}"


def _contended(head: Head) -> StorageBusy:
    return StorageBusy(
        f"Run '{head.run_id}' could not be started: others start and remove runs under its id or "
        "key all the time."
    )
