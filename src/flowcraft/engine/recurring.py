"""Doing something again and again: of many workers one does it."""

from __future__ import annotations

import asyncio
import logging

from flowcraft.engine.locks import Lock
from flowcraft.engine.station import Station
from flowcraft.engine.trouble import log_trouble

logger = logging.getLogger("flowcraft.worker")


class Repeated:
    """Does something again and again, from its start to its end."""

    def __init__(self) -> None:
        self._ending = False
        self._looking = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; the first time comes when it is due."""
        self._task = asyncio.create_task(self._go_on())

    async def stop(self, timeout_seconds: float) -> None:
        """End.

        Args:
            timeout_seconds: How long what is being done may take.
        """
        self._ending = True
        task, self._task = self._task, None
        if task is None:
            return
        if self._looking:
            await asyncio.wait([task], timeout=timeout_seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self._ended()

    async def _ended(self) -> None:
        """What is to be done once nothing goes on any more."""

    async def _go_on(self) -> None:
        raise NotImplementedError


class Recurring(Repeated):
    """Does something every so often, as long as no other worker does.

    Who has the lock keeps it from round to round, so that it is done once per round however many
    workers there are. What takes longer than the lock is held ends when that shows; until then two
    may do it at the same time.

    Args:
        station: Ports and plans.
        what: What it is about, for the log.
        lock: The name of the lock.
        every_seconds: From one round to the next.
        lock_seconds: After how long another worker takes the place of one that is gone.
        first_seconds: How long after the start the first round is; as long as any other by default.
    """

    def __init__(
        self,
        station: Station,
        what: str,
        lock: str,
        every_seconds: float,
        lock_seconds: float,
        first_seconds: float | None = None,
    ) -> None:
        super().__init__()
        self._station = station
        self._what = what
        self._every_seconds = every_seconds
        self._first_seconds = every_seconds if first_seconds is None else first_seconds
        self._lock = Lock(
            station.coordination, lock, lock_seconds, station.clock, station.identifiers
        )

    async def _ended(self) -> None:
        """Let another worker have the lock."""
        try:
            await self._lock.give_up()
        except Exception as error:
            log_trouble(logger, error, "The lock could not be given up; it expires")

    async def _go_on(self) -> None:
        clock = self._station.clock
        if self._first_seconds > 0:
            await self._rest(clock.now() + self._first_seconds)
        while not self._ending:
            until = None
            self._looking = True
            try:
                until = await self.look()
            except Exception as error:
                log_trouble(logger, error, "%s; trying again", self._what)
            finally:
                self._looking = False
            if not self._ending:
                await self._rest(clock.now() + self._every_seconds if until is None else until)

    async def _rest(self, until: float) -> None:
        await self._station.sleep_until(until)

    async def look(self) -> float | None:
        """Do it once, unless another worker does.

        Returns:
            When to look again, in seconds since the epoch; after a round where it says nothing.
        """
        raise NotImplementedError

    async def _may_go_on(self) -> bool:
        return not self._ending and await self._lock.keep()
