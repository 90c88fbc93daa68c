"""Looking after all schedules: which of them are due, and when the next one is.

Of many workers one does it, who has the lock. It knows the directory, sleeps until the next
schedule is due, and asks every so often whether anybody has changed a schedule, which is one small
read. Where there are no schedules nobody has the lock, and each worker asks once a minute.

The lock only saves work. Two who look after schedules at the same time decide each tick once, since
the decision is an exchange of one text for another, and start each run once, by its id.
"""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass
from typing import Final

from flowcraft.engine.recurring import Recurring
from flowcraft.engine.schedule_firing import Firing
from flowcraft.engine.schedule_store import ORPHAN_MS
from flowcraft.engine.schedule_texts import Entry
from flowcraft.engine.station import Station
from flowcraft.engine.trouble import log_trouble

logger = logging.getLogger("flowcraft.schedules")

LOCK: Final = "schedules/lock"

DEFAULT_SCHEDULES_SECONDS: Final = 15.0
"""From one look at whether schedules were changed to the next."""

ROUNDS_UNTIL_REPLACED: Final = 3
"""After how many of these another worker takes the place of one that is gone."""

IDLE_SECONDS: Final = 60.0
"""The same where there are no schedules."""

WHOLE_SECONDS: Final = 600.0
"""From one reading of the whole directory to the next, whether or not anything was changed."""

TROUBLE_SECONDS: Final = 5.0
"""How long a schedule is left alone that could not be looked after."""

SOON_MS: Final = 60_000
"""What is due so little later than the directory says is not worth a write."""

AT_A_TIME: Final = 10
"""Schedules that are looked after at the same time."""


@dataclass(frozen=True, slots=True)
class FiringStats:
    """What came of a look at all schedules.

    Attributes:
        due: How many had something to do.
        started_runs: How many runs were started.
        failed: How many could not be looked after; the log says why.
    """

    due: int = 0
    started_runs: int = 0
    failed: int = 0


class Agenda:
    """What a process knows of when schedules are due.

    Args:
        station: Ports and plans.

    Attributes:
        station: The same.
        firing: Looks after single schedules.
    """

    def __init__(self, station: Station) -> None:
        self.station = station
        self.firing = Firing(station)
        self._entries: dict[str, Entry] = {}
        self._written: dict[str, Entry] = {}  # as the directory has them
        self._reported: dict[str, str] = {}
        self._changes: int | None = None
        self._read_at = -math.inf

    @property
    def is_empty(self) -> bool:
        """Whether there are no schedules."""
        return not self._entries

    async def is_unchanged(self) -> bool:
        """Whether nobody has changed a schedule since the directory was read; one small read."""
        return await self.firing.store.changes() == self._changes

    async def refresh(self) -> None:
        """Learn what was changed; one small read where that is nothing."""
        changes = await self.firing.store.changes()
        now = self.station.clock.now()
        is_time = now - self._read_at >= WHOLE_SECONDS
        if changes == self._changes and not is_time:
            return
        known, there = self._entries, dict[str, Entry]()
        if changes is not None:
            there = await self.firing.store.directory()
        self._written = dict(there)
        if is_time:
            # Somebody may have died between a change and telling of it: look at what is marked.
            known, self._read_at = {}, now
        for id_, entry in there.items():
            mine = known.get(id_)
            # What is known here of the same revision is newer.
            if mine is not None and mine[:2] == entry[:2]:
                there[id_] = mine
        self._entries, self._changes = there, changes

    def next_due(self) -> float:
        """When a schedule is due, in seconds since the epoch; infinite if none ever is."""
        due = [each.due_at for each in self._entries.values() if each.due_at is not None]
        return min(due) / 1000 if due else math.inf

    async def fire_due(self) -> FiringStats:
        """Look after the schedules that are due."""
        now = self.firing.now()
        due = sorted(
            (entry.due_at, id_)
            for id_, entry in self._entries.items()
            if entry.due_at is not None and entry.due_at <= now
        )
        if not due:
            return FiringStats()
        changed: dict[str, tuple[Entry, Entry]] = {}
        hands = asyncio.Semaphore(AT_A_TIME)
        started = await asyncio.gather(*(self._fire(id_, hands, changed) for _, id_ in due))
        await self.firing.store.note(changed)
        self._written |= {id_: entry for id_, (_, entry) in changed.items()}
        counted = [each for each in started if each is not None]
        return FiringStats(len(due), sum(counted), len(started) - len(counted))

    async def _fire(
        self,
        schedule_id: str,
        hands: asyncio.Semaphore,
        changed: dict[str, tuple[Entry, Entry]],
    ) -> int | None:
        """Look after one; gives how many runs were started, or ``None`` if it was not possible."""
        before = self._entries[schedule_id]
        async with hands:
            try:
                entry, started = await self.firing.fire(schedule_id)
                if entry is None:
                    await self._forget(schedule_id, before)
                    return started
            except Exception as error:
                # A schedule that cannot be looked after keeps no other one waiting.
                self._report(schedule_id, error)
                later = int((self.station.clock.now() + TROUBLE_SECONDS) * 1000)
                self._entries[schedule_id] = before._replace(due_at=later)
                return None
        self._reported.pop(schedule_id, None)
        self._entries[schedule_id] = entry
        written = self._written.get(schedule_id, before)
        if _is_worth_writing(written, entry):
            changed[schedule_id] = written, entry
        return started

    def _report(self, schedule_id: str, error: Exception) -> None:
        """Log what is wrong, once as long as it is the same."""
        if self._reported.get(schedule_id) != str(error):
            self._reported[schedule_id] = str(error)
            log_trouble(logger, error, "Schedule '%s' could not be looked after", schedule_id)

    async def _forget(self, schedule_id: str, entry: Entry) -> None:
        """A schedule has no text: it is gone, or about to come."""
        now = self.firing.now()
        if now - entry.created_at < ORPHAN_MS:
            later = now + int(TROUBLE_SECONDS * 1000)
            self._entries[schedule_id] = entry._replace(due_at=later)
            return
        await self.firing.store.strike(schedule_id, entry.incarnation)
        del self._entries[schedule_id]


def _is_worth_writing(written: Entry, entry: Entry) -> bool:
    """Whether the directory is to have what is known now; soon is as good as now."""
    if written[:2] != entry[:2] or written.due_at is None or entry.due_at is None:
        return written != entry
    return entry.due_at - written.due_at > SOON_MS


class ScheduleRounds(Recurring):
    """Looks after schedules, as long as no other worker does.

    Args:
        station: Ports and plans.
        every_seconds: From one look at whether schedules were changed to the next.
    """

    def __init__(self, station: Station, every_seconds: float = DEFAULT_SCHEDULES_SECONDS) -> None:
        super().__init__(
            station,
            "Schedules could not be looked after",
            LOCK,
            every_seconds,
            ROUNDS_UNTIL_REPLACED * every_seconds,
            first_seconds=0.0,
        )
        self._agenda = Agenda(station)
        self._holds = False
        self._rests = True
        self._refreshed_at = -math.inf
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Look now: something was changed in this process."""
        self._rests, self._refreshed_at = False, -math.inf
        self._changed.set()

    async def _rest(self, until: float) -> None:
        timer = self._station.clock.call_at(until, self._changed.set)
        try:
            await self._changed.wait()
        finally:
            timer.cancel()
            self._changed.clear()

    async def look_once(self) -> FiringStats:
        """Look once and let go, for a function that is called every so often.

        Raises:
            StorageError: Queue or stores cannot be used.
        """
        if self._agenda.is_empty and await self._agenda.is_unchanged():
            return FiringStats()
        if not await self._lock.take():
            return FiringStats()
        try:
            await self._agenda.refresh()
            return await self._agenda.fire_due()
        finally:
            await self._lock.give_up()

    async def look(self) -> float:
        """Look once, unless another worker does; gives when to look again."""
        clock, agenda = self._station.clock, self._agenda
        if not self._holds:
            if self._rests and await agenda.is_unchanged():
                return clock.now() + max(IDLE_SECONDS, self._every_seconds)
            self._rests = False
        self._holds = await (self._lock.keep() if self._holds else self._lock.take())
        if not self._holds:
            return clock.now() + self._every_seconds
        if clock.now() - self._refreshed_at >= self._every_seconds:
            await agenda.refresh()
            self._refreshed_at = clock.now()
        if agenda.is_empty:
            self._holds, self._rests = False, True
            await self._lock.give_up()
            return clock.now() + max(IDLE_SECONDS, self._every_seconds)
        stats = await agenda.fire_due()
        if stats.failed:
            # Another worker may know how to tell a time that this one does not.
            self._holds = False
            await self._lock.give_up()
            return clock.now() + self._every_seconds
        return min(agenda.next_due(), self._refreshed_at + self._every_seconds)
