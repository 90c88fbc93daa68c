"""Writing into the record of a run what a strand has come to."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from flowcraft.engine.ledger import Ledger
from flowcraft.errors import StorageError
from flowcraft.ports.runs import Change, Verdict, Written

if TYPE_CHECKING:
    from flowcraft.engine.station import Station

logger = logging.getLogger("flowcraft.worker")

STORE_AGAIN_SECONDS = 2.0
"""The pause before an outcome is stored once more, after trouble that lasted for a lease's time."""

TOLD_AGAIN_SECONDS = 60.0
"""Between two lines of the log about the same trouble with an outcome."""


class Storing:
    """What a strand needs to write.

    Attributes:
        station: Ports and open runs.
        thread: The message that it is written for.
    """

    def __init__(self, station: Station, thread: str) -> None:
        self.station = station
        self.thread = thread
        self._ledger: Ledger | None = None
        self._is_fresh = False

    @property
    def ledger(self) -> Ledger:
        """The run."""
        assert self._ledger is not None
        return self._ledger

    async def _bring_row_up_to_date(self) -> None:
        """Write the row again where the one that was foreseen is not what came of it.

        Whoever was to do so may have died first: then it is done when the message comes again.
        """
        while True:
            row, known = self.ledger.row_now(), self.ledger.number
            if row == self.ledger.row:
                return
            written = await self._write(self._change(row=row))
            if written.verdict is not Verdict.DONE or not written.facts:
                return
            if not written.row_written and self.ledger.number == known:
                return  # it says that the run is over, and is wrong: that is never taken back

    def _change(self, *, seen: int | None = None, **more: Any) -> Change:
        """A write of what was decided with ``seen`` facts known, which are those of now if not."""
        ledger = self.ledger
        known = ledger.number if seen is None else seen
        return Change(ledger.run_id, ledger.epoch, known, self.thread, **more)

    async def _write(self, change: Change) -> Written:
        self._is_fresh = False
        written = await self._stored(change)
        self.ledger.usage = written.usage or self.ledger.usage
        if written.verdict is Verdict.GONE:
            self.station.forget(self.ledger)
        others = [fact for fact in written.facts if not 0 <= written.first <= fact.number]
        if others:
            before = self.ledger.row_now()
            self.ledger.catch_up(others)
            if self.ledger.row_now() != before:
                self.ledger.row = None  # they wrote one, or are about to
        self.ledger.catch_up(written.facts)
        if written.row_written:
            self.ledger.row = change.row
        return written

    async def _stored(self, change: Change) -> Written:
        """Write; what an attempt came to is kept in hand for as long as it cannot be stored.

        To give it up would make the node run again, and fail it as one whose worker is lost again
        and again. The lease is prolonged meanwhile, or nobody else can write either.
        """
        told, told_at = "", 0.0
        while True:
            try:
                return await self.station.runs.write(change)
            except StorageError as error:
                holding = change.holding
                if holding is None or holding.expired or error.is_fatal:
                    raise
                now = self.station.clock.now()
                if str(error) != told or now - told_at >= TOLD_AGAIN_SECONDS:
                    told, told_at = str(error), now
                    logger.error(
                        "Run '%s': the outcome of %s is kept here until it can be stored: %s",
                        self.ledger.run_id,
                        holding.place,
                        error,
                    )
            await self.station.sleep_until(self.station.clock.now() + STORE_AGAIN_SECONDS)
