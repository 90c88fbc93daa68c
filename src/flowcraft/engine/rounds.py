"""Reconciling again and again: of many workers one does it."""

from __future__ import annotations

import asyncio
import logging

from flowcraft.engine.depths import Depths
from flowcraft.engine.locks import Lock
from flowcraft.engine.reconcile import Reconciler
from flowcraft.engine.station import Station

logger = logging.getLogger("flowcraft.reconciler")

LOCK = "reconciler"
ROUNDS_UNTIL_REPLACED = 3
"""After how many rounds another worker takes the place of one that is gone."""


class Rounds:
    """Looks for stuck runs every so often, as long as no other worker does.

    Who has the lock keeps it from round to round, so that there is one look per round however
    many workers there are. A look that takes longer than the lock is held ends when that shows;
    until then two may look at the same time, and each message is sent by one of them (see
    :class:`Backoff`).

    Args:
        station: Ports and plans.
        every_seconds: From one look to the next.
        stalled_seconds: How long nothing happens in a run before it counts as stuck.
    """

    def __init__(self, station: Station, every_seconds: float, stalled_seconds: float) -> None:
        self._station = station
        self._every_seconds = every_seconds
        self._stalled_seconds = stalled_seconds
        self._lock = Lock(
            station.coordination,
            LOCK,
            ROUNDS_UNTIL_REPLACED * every_seconds,
            station.clock,
            station.identifiers,
        )
        self._depths = Depths(station)
        self._ending = False
        self._looking = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; the first look comes when the time of one round is over."""
        self._task = asyncio.create_task(self._go_on())

    async def stop(self, timeout_seconds: float) -> None:
        """End, and let another worker have the lock.

        Args:
            timeout_seconds: How long the run that is being looked at may take.
        """
        self._ending = True
        task, self._task = self._task, None
        if task is None:
            return
        if self._looking:
            await asyncio.wait([task], timeout=timeout_seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        try:
            await self._lock.give_up()
        except Exception:
            logger.exception("The lock could not be given up; it expires")

    async def _go_on(self) -> None:
        clock = self._station.clock
        while not self._ending:
            await self._station.sleep_until(clock.now() + self._every_seconds)
            self._looking = True
            try:
                await self.look()
            except Exception:
                logger.exception("Stuck runs could not be looked for; trying again")
            finally:
                self._looking = False

    async def look(self) -> None:
        """Look once, unless another worker does."""
        if not await self._lock.take():
            return
        reconciler = Reconciler(self._station, self._stalled_seconds)
        stats = await reconciler.run(self._may_go_on, await self._depths.of_this_look())
        if stats.failed_runs:
            # Another worker may know how to read what this one does not.
            await self._lock.give_up()

    async def _may_go_on(self) -> bool:
        return not self._ending and await self._lock.keep()
