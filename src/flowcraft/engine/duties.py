"""What a worker does every so often, beside working on messages."""

from __future__ import annotations

import asyncio

from flowcraft.engine.presence import Presence
from flowcraft.engine.rounds import Rounds
from flowcraft.engine.schedule_rounds import ScheduleRounds
from flowcraft.engine.station import Station
from flowcraft.engine.sweeping import Sweeps


class Duties:
    """Rounds of one of many workers: stuck runs, timers that come due, schedules; and being seen.

    Args:
        reconcile_every_seconds: How often to look for stuck runs; ``None``: never.
        stalled_seconds: How long nothing has happened in a run that is stuck.
        schedules_every_seconds: How often to look for ticks of schedules; ``None``: never.
        sweeping: Whether to look for timers that come due.
        presence: Whether to leave a trace of what this worker is.
    """

    def __init__(
        self,
        reconcile_every_seconds: float | None,
        stalled_seconds: float,
        schedules_every_seconds: float | None,
        *,
        sweeping: bool,
        presence: bool,
    ) -> None:
        self._reconcile_every_seconds = reconcile_every_seconds
        self._stalled_seconds = stalled_seconds
        self._schedules_every_seconds = schedules_every_seconds
        self._sweeping = sweeping
        self._with_presence = presence
        self._presence: Presence | None = None
        self._rounds: list[Rounds | Sweeps | ScheduleRounds | Presence] = []

    def start(self, station: Station) -> None:
        """Begin."""
        if self._reconcile_every_seconds is not None:
            self._rounds.append(
                Rounds(station, self._reconcile_every_seconds, self._stalled_seconds)
            )
        if self._sweeping:
            self._rounds.append(Sweeps(station))
        if self._schedules_every_seconds is not None:
            self._rounds.append(ScheduleRounds(station, self._schedules_every_seconds))
        if self._with_presence:
            self._rounds.append(Presence(station))
        for rounds in self._rounds:
            rounds.start()

    async def be_seen(self, station: Station) -> None:
        """Leave a trace of this worker if it is time: for one whose messages are handed in."""
        if self._with_presence:
            self._presence = self._presence or Presence(station)
            await self._presence.mark_if_due()

    def schedules_changed(self) -> None:
        """Look at once, instead of some seconds later: something was changed in this process."""
        for each in self._rounds:
            if isinstance(each, ScheduleRounds):
                each.wake()

    async def stop(self, timeout_seconds: float) -> None:
        """Come to an end, of a round that is under way too.

        Args:
            timeout_seconds: How long a round may take to end.
        """
        await asyncio.gather(*(each.stop(timeout_seconds) for each in self._rounds))
