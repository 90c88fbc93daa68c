"""Rows that are not what their run items say, and how they get so again.

A row is written after its item, in another table: whoever dies in between leaves it behind. The
item is right. Each way to mend a row is a conditional write, so that mending what is read at
different times, by many at once, at worst does nothing.
"""

from __future__ import annotations

import logging
from typing import Final

from flowcraft.adapters.aws.item import RunItem
from flowcraft.adapters.aws.packing import pack_text, unpack_text
from flowcraft.adapters.aws.pages import Row
from flowcraft.adapters.aws.rows import StatusRows, revision_of, touched_at
from flowcraft.errors import StorageError
from flowcraft.ports.clock import Clock

logger = logging.getLogger("flowcraft.aws")

ORPHAN_SECONDS: Final = 900.0
"""A row without an item is of a start that broke off, and is removed, after so long."""


class Mender:
    """Brings rows up to date.

    Args:
        rows: The status table.
        clock: The service's time.
    """

    def __init__(self, rows: StatusRows, clock: Clock) -> None:
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
            if row is None:
                return await self._rows.write(item.head, item.revision)
            if not is_row_of(row, item):
                return await self._rows.replace(item.head, item.revision)
            if revision_of(row) < item.revision:
                return await self._rows.write(item.head, item.revision)
        except StorageError as error:
            logger.warning("The row of run '%s' was not mended: %s", run_id, error)
        return False

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
