"""The records of runs in DynamoDB: an item each, what does not fit beside it, and a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from flowcraft.adapters.aws.creating import Creator
from flowcraft.adapters.aws.failures import Resource, Service
from flowcraft.adapters.aws.item import SEGMENT_FACTS, RunItem, number, ttl_value
from flowcraft.adapters.aws.listing import Listing
from flowcraft.adapters.aws.mending import Mender
from flowcraft.adapters.aws.packing import pack_text
from flowcraft.adapters.aws.parts import OBJECT_BYTES, Parts
from flowcraft.adapters.aws.prices import Prices
from flowcraft.adapters.aws.records import Records
from flowcraft.adapters.aws.renewing import renew
from flowcraft.adapters.aws.rows import StatusRows
from flowcraft.adapters.aws.suspects import Finder
from flowcraft.adapters.aws.transport import AwsError, Transport
from flowcraft.adapters.aws.writing import Writer
from flowcraft.errors import StorageCorrupt
from flowcraft.ports.clock import Clock
from flowcraft.ports.objects import ObjectStore
from flowcraft.ports.runs import (
    Change,
    Created,
    Entry,
    Fact,
    Head,
    Held,
    Query,
    Record,
    Renewed,
    Written,
    gone_from,
)
from flowcraft.ports.suspicion import Suspects, Suspicion

LONGEST_KEY_BYTES: Final = 2_048
"""What the partition key of an item may have."""


class DynamoDbRuns:
    """The records of runs; each method raises a ``StorageError`` if a table cannot be used.

    Args:
        transport: Carries requests to DynamoDB out.
        context_table_name: The table of run items, keyed ``runId``.
        status_table_name: The table of rows, keyed ``runId``; ``None`` for whoever writes and
            lists none.
        clock: The service's time.
        scan_segments: How many parts of a table are scanned at a time.
        objects: Where large values are kept; ``None`` without a bucket: then in the table.
        object_bytes: What takes more than this, compressed, is one of those.
        retention_seconds: How long after its end a run counts as absent; never by default.
        prices: What is charged; ``None`` where nobody counts what is asked for (``metering.py``).
    """

    rows_are_apart = True

    def __init__(
        self,
        transport: Transport,
        context_table_name: str,
        status_table_name: str | None,
        clock: Clock,
        scan_segments: int = 1,
        retention_seconds: float | None = None,
        *,
        objects: ObjectStore | None = None,
        object_bytes: int = OBJECT_BYTES,
        prices: Prices | None = None,
    ) -> None:
        self._clock = clock
        self._prices = prices
        contexts = Service(transport, Resource("table", context_table_name, "runId"))
        statuses = Service(transport, Resource("table", status_table_name or "", "runId"))
        parts = Parts(contexts, context_table_name, objects, object_bytes, clock)
        self._records = Records(contexts, context_table_name, parts)
        self._rows = StatusRows(statuses, status_table_name or "", scan_segments)
        rows = None if status_table_name is None else self._rows
        self._creator = Creator(self._records, self._rows, clock, retention_seconds)
        self._writer = Writer(self._records, rows, clock, retention_seconds, prices)
        mender = Mender(self._records, self._rows, clock)
        self._listing = Listing(
            self._records, self._rows, statuses, status_table_name or "", mender, clock
        )
        self._finder = Finder(
            self._records, statuses, status_table_name or "", mender, clock, scan_segments
        )

    @property
    def counts_usage(self) -> bool:
        """Whether what runs cost is counted, so that they can have a budget."""
        return self._prices is not None

    async def create(self, head: Head, entries: Sequence[Entry], thread: str) -> Created:
        """Begin a record with its first facts, unless there is one of this run id or key.

        Returns:
            The run that is there now, and whether it is the new one.
        """
        return await self._creator.create(head, entries, thread)

    async def read(self, run_id: str, since: int = 0) -> Record | None:
        """A run, with its facts from number ``since`` on, and its leases."""
        if not 0 < len(run_id.encode()) <= LONGEST_KEY_BYTES:
            return None  # DynamoDB refuses to look for it
        item = await self._records.item(run_id)
        if item is not None and item.head.is_gone(self._clock.now()):
            return Record(item.head, await self._what_is_left(item, since), item.live())
        facts = None if item is None else await self._records.facts(item, since)
        if item is None or facts is None:
            return None
        await self._writer.see_to_row(item)
        head = replace(item.head, usage=item.usage(self._prices))
        return Record(head, facts, item.live())

    async def _what_is_left(self, item: RunItem, since: int) -> Sequence[Fact]:
        """The facts of a run that is being removed; none where some are missing already."""
        try:
            return await self._records.facts(item, since) or ()
        except StorageCorrupt:
            return ()

    async def write(self, change: Change) -> Written:
        """Do a conditional write: one request, and what is large before."""
        return await self._writer.write(change)

    async def renew(self, leases: Sequence[Held], seconds: float) -> Sequence[Renewed]:
        """Prolong leases from now on, and learn what became of them."""
        return await renew(self._records, self._clock, leases, seconds)

    async def find(self, query: Query) -> Sequence[Head]:
        """List runs.

        Raises:
            RunNotFound: There is no run any more that the list should go on behind.
        """
        return await self._listing.find(query)

    async def suspects(self, suspicion: Suspicion, after: str | None = None) -> Suspects:
        """A page of the runs that may be stuck."""
        return await self._finder.page(suspicion, after)

    async def remove(self, run_id: str, epoch: str, *, only_hide: bool = False) -> None:
        """Forget a run and everything that is stored with it, or let it count as absent.

        The item goes last but for the row, once nothing can be written to it: whoever dies on the
        way leaves a run that is found again by its row, and whose removal can be gone on with.
        """
        item = await self._records.item(run_id)
        if item is None or item.head.epoch != epoch:
            if not only_hide:
                await self._records.parts.delete_objects(run_id, epoch)
                await self._rows.remove(run_id, epoch)
            return
        gone_at = gone_from(self._clock.now())
        if not item.head.is_gone(gone_at):
            await self._rows.hide(item.head, gone_at)
            await self._hide(item, gone_at)
        if only_hide:
            return
        # A segment may have been written whose write of the item never came.
        segments = max(item.segments, item.facts // SEGMENT_FACTS)
        await self._records.parts.delete(item.head, segments, await self._references(item))
        if item.head.key is not None:
            await self._creator.free_key(item.head)
        await self._change(item, "DeleteItem", {})
        await self._rows.remove(run_id, epoch)

    async def _references(self, item: RunItem) -> Iterable[bytes]:
        """What the facts of a run refer to, as far as they are there."""
        try:
            facts = await self._records.packed(item, 0) or ()
        except StorageCorrupt:
            facts = ()  # segments are missing: somebody was removing it, and was done with the rest
        # Facts that are equal refer to the same.
        return {fact.data: None for _, fact in facts if fact.is_away}

    async def _hide(self, item: RunItem, at: float) -> None:
        values = {":t": number(at), ":ttl": ttl_value(at)}
        update = {
            "UpdateExpression": "SET t = :t, #ttl = :ttl",
            "ExpressionAttributeNames": {"#ttl": "ttl"},
        }
        await self._change(item, "UpdateItem", update, values)

    async def _change(
        self,
        item: RunItem,
        operation: str,
        change: Mapping[str, Any],
        values: Mapping[str, Any] | None = None,
    ) -> None:
        epoch = {"B": pack_text(item.head.epoch)}
        request = {
            "TableName": self._records.table_name,
            "Key": {"runId": {"S": item.head.run_id}},
            "ConditionExpression": "e = :e",
            "ExpressionAttributeValues": {":e": epoch, **(values or {})},
            **change,
        }
        try:
            await self._records.service.call(operation, request)
        except AwsError as error:
            # It is gone: boto3 may have repeated the request. What belongs to it goes, too.
            if not error.is_refused_condition:
                raise
        self._records.forget(item.head.run_id)
