"""The conditional write: a ruling on what is known, a request that rests on it, the answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from flowcraft.adapters.aws.failures import is_denied
from flowcraft.adapters.aws.folding import Fold, fold
from flowcraft.adapters.aws.item import RunItem
from flowcraft.adapters.aws.packing import Packed, pack_fact, size_of_all
from flowcraft.adapters.aws.planning import Ruling, is_nothing, request, ruling
from flowcraft.adapters.aws.prices import Prices
from flowcraft.adapters.aws.records import Known, Records, places_of
from flowcraft.adapters.aws.rows import HEARTBEAT_SECONDS, StatusRows
from flowcraft.adapters.aws.transport import AwsError
from flowcraft.core.state import FINAL_STATUSES
from flowcraft.errors import StorageBusy, StorageError
from flowcraft.ports.clock import Clock
from flowcraft.ports.runs import Change, Verdict, Written

logger = logging.getLogger("flowcraft.aws")

ROUNDS: Final = 25
"""Attempts at one write before it is given up as contended: each lost one means that somebody
else's was carried out."""

LATELY_SECONDS: Final = 3_600.0
"""Rows that were to be written longer ago were compared with their runs since; see ``Depth``."""

_LEASE_BYTES = 40


class _Tried(NamedTuple):
    """What became of a request: the item afterwards, and whether it was carried out."""

    item: RunItem | None
    is_done: bool


class Writer:
    """Carries out conditional writes.

    Args:
        records: The context table.
        rows: The status table; ``None`` if it is not to be written.
        clock: The service's time.
        retention_seconds: How long after its end a run counts as absent; never by default.
        prices: What is charged, if that is counted.
    """

    def __init__(
        self,
        records: Records,
        rows: StatusRows | None,
        clock: Clock,
        retention_seconds: float | None = None,
        prices: Prices | None = None,
    ) -> None:
        self._retention_seconds = retention_seconds
        self._prices = prices
        self._records = records
        self._rows = rows
        self._clock = clock

    async def write(self, change: Change) -> Written:
        """Do a conditional write.

        Raises:
            StorageBusy: So many write to the run that it was too late each time.
            StorageError: A table cannot be used; also where the record was written, but its row
                was not.
        """
        known = self._records.known(change.run_id, change.epoch)
        is_fresh = known is None or known.item.facts < change.seen
        item = await self._records.item(change.run_id) if known is None or is_fresh else known.item
        if item is None or item.head.epoch != change.epoch:
            return Written(Verdict.GONE)
        if known is not None and self._is_due(known) and self._rows is not None:
            await self._pay(self._rows, known)
        asked = change
        if change.claim and change.entries and known and not known.may_claim_along():
            change = replace(change, claim=None)
        new = await self._records.pack(item.head, change.entries, change.thread)
        if known is not None and not is_fresh:
            item = known.item  # storing what is large took its time
        for _ in range(ROUNDS):
            now = self._clock.now()
            if item.head.is_gone(now):
                return Written(Verdict.GONE)
            has_ids = any(entry.id is not None for entry in change.entries)
            ids = await self._records.ids(item) if has_ids else ()
            rule = ruling(change, item, ids, now, is_fresh=is_fresh)
            if rule.verdict is not Verdict.DONE:
                # It may be refused for what it has done itself.
                first_before = await self._done_before(asked, item, new)
                if first_before is not None:
                    return await self._answer(asked, item, _as_found(asked, item), first_before)
            if rule.verdict is not Verdict.DONE or is_nothing(change, rule):
                return await self._answer(change, item, rule)
            after, is_done = await self._try(change, item, rule, new, now)
            if after is None or after.head.epoch != change.epoch:
                return Written(Verdict.GONE)
            if known is not None and rule.grant == "free" and new:
                known.note_claim_along(came_late=not is_done)
            if is_done:
                first = after.facts - len(new) if new else -1
                return await self._answer(change, after, rule, first)
            item, is_fresh = after, True
            first_before = await self._done_before(asked, item, new)
            if first_before is not None:
                return await self._answer(asked, item, _as_found(asked, item), first_before)
        raise StorageBusy(
            f"Run '{change.run_id}' is written by many at once: {ROUNDS} attempts came too late."
        )

    # -- the request ------------------------------------------------------------------------

    async def _try(
        self, change: Change, item: RunItem, rule: Ruling, new: Sequence[Packed], now: float
    ) -> _Tried:
        entries = [pack_fact(fact, item.begun_ms, item.thread) for fact in new]
        known = self._records.known(change.run_id, change.epoch)
        folding = self._fold(known, item, rule, entries)
        table_name, retention = self._records.table_name, self._retention_seconds
        update = request(table_name, change, item, rule, entries, folding, now, retention)
        if folding is None or known is None:
            return await self._update(change, update)
        ahead: asyncio.Task[None] | None = None
        if folding.ahead and not known.is_storing:
            ahead = asyncio.create_task(self._store_ahead(known, item, folding))
        try:
            return await self._update(change, update)
        finally:
            known.is_folding = False
            if ahead is not None:
                await ahead

    async def _store_ahead(self, known: Known, item: RunItem, folding: Fold) -> None:
        """Store segments that are to replace settled facts later; nothing depends on them yet."""
        first = item.segments + folding.segments
        known.is_storing = True
        try:
            await self._records.parts.put_segments(item.head, first, folding.ahead)
        except StorageError as error:
            logger.debug("Segments of run '%s' were not stored: %s", item.head.run_id, error)
        else:
            known.stored = max(known.stored, first + len(folding.ahead))
        finally:
            known.is_storing = False

    async def _update(self, change: Change, update: dict[str, object]) -> _Tried:
        try:
            answer = await self._records.service.call("UpdateItem", update)
        except AwsError as error:
            if not error.is_refused_condition:
                raise
            # Some stand-ins for DynamoDB do not send the item along.
            if "Item" not in error.answer:
                return _Tried(await self._records.item(change.run_id), is_done=False)
            return _Tried(self._records.take(change.run_id, error.answer["Item"]), is_done=False)
        return _Tried(self._records.take(change.run_id, answer["Attributes"]), is_done=True)

    def _fold(
        self, known: Known | None, item: RunItem, rule: Ruling, entries: Sequence[bytes]
    ) -> Fold | None:
        """What to settle; one write of a run at a time does so, or they would refuse each other.

        Claims settle, too: where many work side by side every other write is one.
        """
        if known is None or known.is_folding or not (entries or rule.grant == "free"):
            return None
        added = size_of_all(entries) + (_LEASE_BYTES if rule.grant == "free" else 0)
        is_last = rule.row is not None and rule.row.status in FINAL_STATUSES
        stored = max(known.stored, item.segments)
        folding = fold(item, added, known.writers, stored=stored, is_last=is_last)
        if folding is not None:
            known.is_folding = True
            # Not for ever as many as once: they come and go together.
            known.writers = max(1, len(item.live()), known.writers * 3 // 4)
        return folding

    async def _done_before(
        self, change: Change, item: RunItem, new: Sequence[Packed]
    ) -> int | None:
        """The number of the first fact if the write was carried out before, its answer lost."""
        if not new or change.seen >= item.facts:
            return None
        if not _has_claim(change, item) and not _has_given_up(change, item):
            return None  # without a lease of one's own it may be somebody else's
        found = await self._records.packed(item, change.seen)
        return places_of(found or (), new)

    # -- the row ----------------------------------------------------------------------------

    def _is_due(self, known: Known) -> bool:
        """Whether the row is owed, and to be tried now."""
        return known.owed_at is not None and known.owed_at <= self._clock.now()

    # -- the answer -------------------------------------------------------------------------

    async def _answer(
        self, change: Change, item: RunItem, rule: Ruling, first: int = -1
    ) -> Written:
        row_written = rule.verdict is Verdict.DONE and rule.row is not None
        known = self._records.known(change.run_id, change.epoch)
        if row_written and known is not None:
            known.owed_at = self._clock.now()  # until it is done, whatever comes in between
        facts = await self._records.facts(item, change.seen)
        if facts is None:
            return Written(Verdict.GONE)
        if rule.verdict is not Verdict.DONE:
            return Written(rule.verdict, facts)
        await self._show(item, row_written)
        granted = rule.grant is not None
        lease = None if granted else rule.lease
        usage = item.usage(self._prices)
        return Written(Verdict.DONE, facts, first, granted, lease, row_written, usage)

    async def _show(self, item: RunItem, row_written: bool) -> None:
        """Let the row follow."""
        known = self._records.known(item.head.run_id, item.head.epoch)
        if known is None or self._rows is None:
            return
        now = self._clock.now()
        if row_written:
            await self._pay(self._rows, known)
        elif now - known.touched_at >= HEARTBEAT_SECONDS:
            known.touched_at = now
            try:
                await self._rows.touch(item.head, item.revision, now)
            except StorageError as error:
                logger.warning("The row of run '%s' was not touched: %s", item.head.run_id, error)

    async def _pay(self, rows: StatusRows, known: Known) -> None:
        """Write a row that is owed.

        The record is right without it. So where it cannot be written for long, work goes on; but
        trouble that may pass is told to the caller, who asks again, and is told that all is done.

        Raises:
            StorageError: It was not written, and may be another time.
        """
        item, now = known.item, self._clock.now()
        try:
            await rows.write(item.head, item.revision)
        except StorageError as error:
            if error.disposition == "retry" and not error.is_fatal:
                known.owed_at = now
                raise
            known.touched_at, known.owed_at = now, now + HEARTBEAT_SECONDS
            logger.warning("The row of run '%s' was not written: %s", item.head.run_id, error)
            return
        known.touched_at = now
        if known.item.revision <= item.revision:
            known.owed_at = None  # otherwise another one is owed meanwhile
        known.shown = max(known.shown, item.revision)

    async def see_to_row(self, item: RunItem) -> None:
        """Let the row follow where somebody else may have died before it did.

        Called when a run is read, so also by whoever gets the message of a worker that is gone.
        The row is looked at once for each time that others have written it lately.
        """
        known = self._records.known(item.head.run_id, item.head.epoch)
        if known is None or self._rows is None or item.head.row.status in FINAL_STATUSES:
            return
        now = self._clock.now()
        try:
            if self._is_due(known):
                await self._pay(self._rows, known)
            elif item.revision > known.shown and now - item.head.updated_at < LATELY_SECONDS:
                if await self._rows.is_behind(item.head, item.revision):
                    await self._rows.write(item.head, item.revision)
                known.shown = max(known.shown, item.revision)
        except StorageError as error:
            level = logging.INFO if is_denied(error) else logging.WARNING
            logger.log(level, "The row of run '%s' was not seen to: %s", item.head.run_id, error)


def _as_found(change: Change, item: RunItem) -> Ruling:
    """What a change has come to that was carried out before."""
    claim = change.claim
    lease = None if claim is None else item.leases.get(claim.place)
    row = change.row if change.row == item.head.row else None
    return Ruling(Verdict.DONE, "own" if _has_claim(change, item) else None, lease, row)


def _has_claim(change: Change, item: RunItem) -> bool:
    """Whether the lease that a change claims along is there, which nothing but it has taken."""
    claim = change.claim
    lease = None if claim is None else item.leases.get(claim.place)
    return claim is not None and lease is not None and lease.token == claim.token


def _has_given_up(change: Change, item: RunItem) -> bool:
    """Whether the lease that only this change could give up is gone."""
    holding = change.holding
    if holding is None or holding.expired or any(entry.id is not None for entry in change.entries):
        return False
    lease = item.leases.get(holding.place)
    return lease is None or lease.token != holding.token
