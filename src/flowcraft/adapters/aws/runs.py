"""The records of runs in DynamoDB: an item each, what does not fit beside it, and a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flowcraft.adapters.aws.creating import Creator
from flowcraft.adapters.aws.failures import Resource, Service
from flowcraft.adapters.aws.item import SEGMENT_FACTS
from flowcraft.adapters.aws.listing import Listing
from flowcraft.adapters.aws.mending import Mender
from flowcraft.adapters.aws.packing import pack_text
from flowcraft.adapters.aws.prices import Prices
from flowcraft.adapters.aws.records import Records
from flowcraft.adapters.aws.renewing import renew
from flowcraft.adapters.aws.rows import StatusRows
from flowcraft.adapters.aws.suspects import Finder
from flowcraft.adapters.aws.transport import AwsError, Transport
from flowcraft.adapters.aws.writing import Writer
from flowcraft.ports.clock import Clock
from flowcraft.ports.runs import (
    Change,
    Created,
    Entry,
    Head,
    Held,
    Query,
    Record,
    Renewed,
    Written,
)
from flowcraft.ports.suspicion import Suspects, Suspicion


class DynamoDbRuns:
    """The records of runs; each method raises a ``StorageError`` if a table cannot be used.

    Args:
        transport: Carries requests to DynamoDB out.
        context_table_name: The table of run items, keyed ``runId``.
        status_table_name: The table of rows, keyed ``runId``; ``None`` for whoever writes and
            lists none.
        clock: The service's time.
        scan_segments: How many parts of a table are scanned at a time.
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
        prices: Prices | None = None,
    ) -> None:
        self._clock = clock
        self._prices = prices
        contexts = Service(transport, Resource("table", context_table_name, "runId"))
        statuses = Service(transport, Resource("table", status_table_name or "", "runId"))
        self._records = Records(contexts, context_table_name)
        self._rows = StatusRows(statuses, status_table_name or "", scan_segments)
        rows = None if status_table_name is None else self._rows
        self._creator = Creator(self._records, self._rows)
        self._writer = Writer(self._records, rows, clock, prices)
        mender = Mender(self._records, self._rows, clock)
        self._listing = Listing(self._records, self._rows, mender)
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
        item = await self._records.item(run_id)
        facts = None if item is None else await self._records.facts(item, since)
        if item is None or facts is None:
            return None
        await self._writer.see_to_row(item)
        head = replace(item.head, usage=item.usage(self._prices))
        return Record(head, facts, item.live())

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

    async def remove(self, run_id: str, epoch: str) -> None:
        """Forget a run and everything that belongs to it.

        The item goes first: what is left if the process dies then is in nobody's way.
        """
        item = await self._records.item(run_id)
        if item is None or item.head.epoch != epoch:
            return
        # What belongs to it can be told only as long as the item is there.
        facts = await self._records.packed(item, 0) or ()
        # Facts that are equal refer to the same.
        references = {fact.data: None for _, fact in facts if fact.is_away}
        await self._delete(run_id, epoch)
        if item.head.key is not None:
            await self._creator.free_key(item.head)
        await self._rows.remove(run_id, epoch)
        # A segment may have been written whose write of the item never came.
        segments = max(item.segments, item.facts // SEGMENT_FACTS)
        await self._records.parts.delete(item.head, segments, references)

    async def _delete(self, run_id: str, epoch: str) -> None:
        request = {
            "TableName": self._records.table_name,
            "Key": {"runId": {"S": run_id}},
            "ConditionExpression": "e = :e",
            "ExpressionAttributeValues": {":e": {"B": pack_text(epoch)}},
        }
        try:
            await self._records.service.call("DeleteItem", request)
        except AwsError as error:
            # It is gone: boto3 may have repeated the request. What belongs to it goes, too.
            if not error.is_refused_condition:
                raise
        self._records.forget(run_id)
