"""Sweeping the calendar: what is due soon becomes messages, whoever armed it and is gone by now."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from flowcraft.engine.calendar import CURSOR, Later
from flowcraft.engine.recurring import Recurring
from flowcraft.engine.station import Station

logger = logging.getLogger("flowcraft.timers")

LOCK = "sweeper"
ROUNDS_UNTIL_REPLACED = 2
"""After how many rounds another worker sweeps: what is due until then has been sent by then."""

HOURS_BACK = 2
"""Where nobody knows how far it was swept, it is from so many hours ago on."""


async def _always() -> bool:
    return True


class Sweeper:
    """Sweeps the calendar from where it was swept last up to a quarter of an hour ahead.

    Where that is, is noted for whoever comes next: of an hour that is over and empty nobody asks
    again. Two who sweep at the same time send some messages twice, which do nothing.

    Args:
        station: Ports and plans.
    """

    def __init__(self, station: Station) -> None:
        self._station = station
        self._spans = station.options.timers
        self._noted: str | None = None
        self._next: int | None = None

    def forget(self) -> None:
        """Others may sweep from now on: what they note is to be read again."""
        self._next = None

    async def sweep(self, may_go_on: Callable[[], Awaitable[bool]] = _always) -> int:
        """Send what is due soon, or was long ago; gives how many messages were sent.

        Args:
            may_go_on: Asked before each hour; where it says no, the sweep ends.
        """
        station = self._station
        calendar, sent = station.calendar, 0
        now = station.clock.now()
        until = now + self._spans.ahead_seconds
        first = await self._begin(calendar.hour_of(now))
        is_empty_so_far = True

        for hour in range(first, calendar.hour_of(until) + 1):
            if not await may_go_on():
                break
            count, is_done = await self._sweep_hour(hour, until)
            sent += count
            is_empty_so_far &= is_done
            if is_empty_so_far:
                self._next = hour + 1
        await self._note()
        if sent:
            logger.debug("%d timers are due soon", sent)
        return sent

    async def _sweep_hour(self, hour: int, until: float) -> tuple[int, bool]:
        station, sent = self._station, 0

        async def send(entries: Sequence[Later]) -> None:
            nonlocal sent
            await station.delays.send_due(entries)
            sent += len(entries)

        is_done = await station.calendar.sweep(hour, until, station.clock.now(), send)
        return sent, is_done

    async def _begin(self, this_hour: int) -> int:
        """The hour to begin with."""
        if self._next is None:
            noted = await self._station.coordination.get(CURSOR)
            self._noted = None if noted is None else str(noted)
            self._next = this_hour - HOURS_BACK
            if self._noted is not None and self._noted.isdecimal():
                self._next = min(int(self._noted), this_hour)
        return self._next

    async def _note(self) -> None:
        """Note how far everything is done; who is further keeps it."""
        mine = str(self._next)
        if mine == self._noted:
            return
        swapped = await self._station.coordination.swap(CURSOR, self._noted, mine)
        self._noted = mine
        if not swapped.done:
            self.forget()


class Sweeps(Recurring):
    """Sweeps every so often, as long as no other worker does.

    Args:
        station: Ports and plans.
    """

    def __init__(self, station: Station) -> None:
        spans = station.options.timers
        super().__init__(
            station,
            "Timers could not be swept",
            LOCK,
            spans.every_seconds,
            ROUNDS_UNTIL_REPLACED * spans.every_seconds,
            spans.first_seconds,
        )
        self._sweeper = Sweeper(station)

    async def look(self) -> None:
        """Sweep, unless another worker does."""
        if not await self._lock.take():
            self._sweeper.forget()
            return
        await self._sweeper.sweep(self._may_go_on)
