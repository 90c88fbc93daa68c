"""Rows that are not what their run items say, and how they get so again.

A row is written after its item, in another table: whoever dies in between leaves it behind. The
item is right. Each way to mend a row is a conditional write, so that mending what is read at
different times, by many at once, at worst does nothing.
"""

from __future__ import annotations

import logging
from typing import Final

from flowcraft.adapters.aws.failures import is_denied
from flowcraft.adapters.aws.item import RunItem
from flowcraft.adapters.aws.packing import pack_text, unpack_text
from flowcraft.adapters.aws.pages import Row
from flowcraft.adapters.aws.records import Records
from flowcraft.adapters.aws.rows import StatusRows, is_whole, revision_of, touched_at
from flowcraft.errors import StorageError
from flowcraft.ports.clock import Clock

logger = logging.getLogger("flowcraft.aws")

ORPHAN_SECONDS: Final = 900.0
"""A row without an item is of a start that broke off, and is removed, after so long."""


class Mender:
    """Brings rows up to date.

    Args:
        records: The context table.
        rows: The status table.
        clock: The service's time.
    """

    def __init__(self, records: Records, rows: StatusRows, clock: Clock) -> None:
        self._records = records
        self._rows = rows
        self._clock = clock

    async def mend(self, run_id: str, row: Row | None, item: RunItem | None) -> bool:
        """See to a row that may be missing, and its run, which may be gone.

        Returns:
            Whether the row was not as it should be, and is so now.
        """
        try:
            if item is None:
                return row is not None and await self._clear_away(row)
            is_mended = await self._follow(row, item)
        except StorageError as error:
            level = logging.INFO if is_denied(error) else logging.WARNING
            logger.log(level, "The row of run '%s' was not mended: %s", run_id, error)
            return False
        known = self._records.known(run_id, item.head.epoch)
        if known is not None:
            known.shown = max(known.shown, item.revision)
        return is_mended

    async def _follow(self, row: Row | None, item: RunItem) -> bool:
        """Let a row say what its item says; whether it did not."""
        if row is None:
            return await self._rows.write(item.head, item.revision)
        if not is_row_of(row, item):
            return await self._rows.replace(item.head, item.revision)
        if not is_whole(row):
            logger.warning("The row of run '%s' was altered, and is written anew", item.head.run_id)
            return await self._rows.restore(item.head, item.revision, row)
        return revision_of(row) < item.revision and await self._rows.write(item.head, item.revision)

    async def _clear_away(self, row: Row) -> bool:
        if self._clock.now() - touched_at(row) <= ORPHAN_SECONDS:
            return False
        return await self._rows.remove(str(row["runId"]["S"]), unpack_text(bytes(row["e"]["B"])))


def is_row_of(row: Row, item: RunItem) -> bool:
    """Whether a row is of this start of the run."""
    return bytes(row["e"]["B"]) == pack_text(item.head.epoch)


def updated_at(row: Row | None, item: RunItem) -> float:
    """When something happened in a run that its row is to tell, as far as that is known."""
    is_its = row is not None and is_row_of(row, item)
    touched = touched_at(row) if row is not None and is_its else 0.0
    return max(item.head.updated_at, touched)
