"""Reconciling again and again: of many workers one does it."""

from __future__ import annotations

from flowcraft.engine.depths import Depths
from flowcraft.engine.reconcile import Reconciler
from flowcraft.engine.recurring import Recurring
from flowcraft.engine.removing import Reaper
from flowcraft.engine.station import Station

LOCK = "reconciler"
ROUNDS_UNTIL_REPLACED = 3
"""After how many rounds another worker takes the place of one that is gone."""


class Rounds(Recurring):
    """Looks for stuck runs every so often, as long as no other worker does.

    A look that takes longer than the lock is held ends when that shows; until then two may look at
    the same time, and each message is sent by one of them (see :class:`Backoff`).

    Args:
        station: Ports and plans.
        every_seconds: From one look to the next.
        stalled_seconds: How long nothing happens in a run before it counts as stuck.
    """

    def __init__(self, station: Station, every_seconds: float, stalled_seconds: float) -> None:
        super().__init__(
            station,
            "Stuck runs could not be looked for",
            LOCK,
            every_seconds,
            ROUNDS_UNTIL_REPLACED * every_seconds,
        )
        self._stalled_seconds = stalled_seconds
        self._depths = Depths(station)
        self._reaper = Reaper(station)

    async def look(self) -> None:
        """Look once, unless another worker does."""
        if not await self._lock.take():
            return
        reconciler = Reconciler(self._station, self._stalled_seconds)
        stats = await reconciler.run(self._may_go_on, await self._depths.of_this_look())
        await self._reaper.look(self._may_go_on)
        if stats.failed_runs:
            # Another worker may know how to read what this one does not.
            await self._lock.give_up()
