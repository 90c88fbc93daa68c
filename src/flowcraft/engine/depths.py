"""How thoroughly to look for stuck runs: mostly what rows say is believed, and now and then not.

Rows that lag behind their records, or are missing, are rare: whoever comes to a run whose writer
died mends its row. What is left over, after a table could not be written for a while or somebody
deleted rows by hand, is found by looking at every run that is not over. That is dear where there
are many, so it is done seldom, by one for all.
"""

from __future__ import annotations

from flowcraft.engine.station import Station
from flowcraft.ports.suspicion import Depth

ROWS_EVERY_SECONDS = 3_600.0
"""From one look that compares all rows of live runs with their records to the next."""

RECORDS_EVERY_SECONDS = 86_400.0
"""From one look at the records themselves to the next: it reads all that is stored of all runs."""

_ROWS = "looked/rows"
_RECORDS = "looked/records"


class Depths:
    """Says how thorough each look is to be.

    Args:
        station: Whose stores are looked at.
    """

    def __init__(self, station: Station) -> None:
        self._runs = station.runs
        self._store = station.coordination
        self._clock = station.clock
        self._asked_at = -float("inf")

    async def of_this_look(self) -> Depth:
        """How thorough a look that begins now is to be; nobody else is told the same for a while.

        A look that does not come to its end was one all the same: the next is a while away.
        """
        now = self._clock.now()
        if not self._runs.rows_are_apart or now - self._asked_at < ROWS_EVERY_SECONDS:
            return Depth.SUSPECTS
        self._asked_at = now
        if not await self._store.set_if_not_exist(_ROWS, "", ttl_seconds=ROWS_EVERY_SECONDS):
            return Depth.SUSPECTS
        if not await self._store.set_if_not_exist(_RECORDS, "", ttl_seconds=RECORDS_EVERY_SECONDS):
            return Depth.ROWS
        return Depth.RECORDS
