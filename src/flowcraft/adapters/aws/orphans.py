"""Segments and values in the context table whose run is gone.

Whoever dies between a value and the write that refers to it leaves one that nobody knows of. When
its run is removed it stays, and so does what belongs to a run that was removed by DynamoDB, or by
hand. The keys of such items tell their run and its epoch, which no later run has.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final, NamedTuple

from flowcraft.adapters.aws.bulk import GET_KEYS, get_items, write_items
from flowcraft.adapters.aws.item import Value
from flowcraft.adapters.aws.packing import pack_text
from flowcraft.adapters.aws.pages import Row
from flowcraft.adapters.aws.parts import SEPARATOR, WRITTEN_AT
from flowcraft.adapters.aws.records import Records
from flowcraft.ports.clock import Clock

logger = logging.getLogger("flowcraft.aws")

YOUNG_SECONDS: Final = 86_400.0
"""What was written since may be of a run that is about to be put: parts come before the item."""

KINDS: Final = ("s", "v")


class _Owner(NamedTuple):
    """Whose an item is."""

    run_id: str
    epoch: str


class Orphans:
    """Removes what is left of runs that are gone.

    Args:
        records: The context table.
        clock: The service's time.
    """

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock

    async def clear(self, rows: Iterable[Row]) -> int:
        """Remove those of some items that are parts of runs which are gone; gives how many.

        Args:
            rows: Items of the context table, at least their keys and when they were written.
        """
        before = self._clock.now() - YOUNG_SECONDS
        owned: dict[_Owner, list[str]] = {}
        for row in rows:
            owner = _owner_of(str(row["runId"]["S"]))
            if owner is not None and _written_at(row) < before:
                owned.setdefault(owner, []).append(str(row["runId"]["S"]))
        epochs = await self._epochs_of(sorted({owner.run_id for owner in owned}))
        keys = [
            key
            for owner, some in owned.items()
            if epochs.get(owner.run_id) != {"B": pack_text(owner.epoch)}
            for key in some
        ]
        if keys:
            requests = [{"DeleteRequest": {"Key": {"runId": {"S": key}}}} for key in keys]
            await write_items(self._records.service, self._records.table_name, requests)
            logger.info("%d items were removed that belonged to runs which are gone", len(keys))
        return len(keys)

    async def _epochs_of(self, run_ids: list[str]) -> dict[str, Value]:
        service, table = self._records.service, self._records.table_name
        epochs: dict[str, Value] = {}
        for first in range(0, len(run_ids), GET_KEYS):
            some = run_ids[first : first + GET_KEYS]
            found = await get_items(service, table, "runId", some, "runId, e")
            epochs |= {run_id: item.get("e", {}) for run_id, item in found.items()}
        return epochs


def _owner_of(key: str) -> _Owner | None:
    """Whose part a key is of; ``None`` for any other key."""
    names = key.split(SEPARATOR)
    if len(names) not in (4, 5) or names[2] not in KINDS:
        return None
    return _Owner(names[0], names[1])


def _written_at(row: Row) -> float:
    """When it was written; what does not tell is taken for new."""
    return float(row.get(WRITTEN_AT, {}).get("N", "inf"))
