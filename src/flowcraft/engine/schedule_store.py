"""Schedules in the coordination store: one text each, and a directory in parts.

A schedule's text is the truth. The directory says which schedules there are, and when the next one
is due, so that a look at a thousand of them reads sixteen small texts. It may lag behind by being
too early, never by being too late:

- Whoever makes a schedule due earlier marks it in the directory as due now, writes its text, then
  the directory, then counts the change, which tells those who have read the directory to read it
  again.
- Whoever has looked after a schedule writes its text, then the directory, where that has nothing
  newer: an entry has the revision that it is of.
- A schedule is in the directory before it has a text, and is taken out of it after its text is
  gone. An entry without a text stays for a while, since its text may be about to come.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

from flowcraft.core.schedules import Schedule
from flowcraft.engine.schedule_texts import (
    Entry,
    read_directory,
    read_schedule,
    write_directory,
    write_schedule,
)
from flowcraft.errors import StorageBusy, StorageCorrupt, StorageFull
from flowcraft.ports.coordination import CoordinationStore

PARTS: Final = 16
TRIES: Final = 30
CHANGES: Final = "schedules/changes"

LONGEST_PART: Final = 300_000
"""Bytes of a part of the directory: an item of DynamoDB has up to 400 KB."""

ORPHAN_MS: Final = 600_000
"""How long an entry stays whose schedule has no text: whoever creates it may be slow."""


class Stored(NamedTuple):
    """A schedule, and the text that it was read from."""

    text: str
    schedule: Schedule


class ScheduleStore:
    """Reads and writes schedules and their directory."""

    def __init__(self, store: CoordinationStore) -> None:
        self._store = store

    async def read(self, schedule_id: str) -> Stored | None:
        """A schedule as it is now; ``None`` if there is none."""
        return _stored(schedule_id, await self._store.get(_key(schedule_id)))

    async def write(self, before: Stored | None, schedule: Schedule) -> Stored | None:
        """Store a schedule, if the stored one is that from before.

        Returns:
            What was stored; or ``None``, if another one is there.
        """
        text = write_schedule(schedule)
        expected = None if before is None else before.text
        swapped = await self._store.swap(_key(schedule.id), expected, text)
        # A request whose answer was lost is made again, and then finds its own effect.
        return Stored(text, schedule) if swapped.done or swapped.value == text else None

    async def remove(self, before: Stored) -> bool:
        """Forget a schedule, if the stored one is still this; whether it is gone."""
        swapped = await self._store.swap(_key(before.schedule.id), before.text, None)
        return swapped.done or swapped.value is None

    # -- the directory ----------------------------------------------------------------------

    async def changes(self) -> int | None:
        """How often schedules were changed by people; ``None``: there never was any."""
        number = await self._store.get(CHANGES)
        return None if number is None else int(number)

    async def count_change(self) -> None:
        """Have those who know the directory read it again."""
        await self._store.increment(CHANGES)

    async def directory(self) -> dict[str, Entry]:
        """All schedules."""
        texts = await asyncio.gather(*(self._store.get(_part_key(part)) for part in range(PARTS)))
        entries: dict[str, Entry] = {}
        for part, text in enumerate(texts):
            entries |= _entries(part, text)
        return entries

    async def enter(self, schedule_id: str, entry: Entry) -> None:
        """Put a schedule into the directory, or what is newer about it.

        Where there is none, or one of another incarnation, nobody knows here which one is true:
        it is marked, so that whoever looks after schedules looks at this one.

        Raises:
            StorageFull: There are too many.
        """

        def put(entries: dict[str, Entry]) -> None:
            there = entries.get(schedule_id)
            if there is None or there.incarnation != entry.incarnation:
                entries[schedule_id] = marked(entry)
            elif there.revision < entry.revision:
                entries[schedule_id] = entry

        await self._change_part(_part_of(schedule_id), put)

    async def mark(self, schedule: Schedule, now: int) -> None:
        """Have a schedule looked at that is about to be changed, whatever becomes of the change."""

        def put(entries: dict[str, Entry]) -> None:
            there = entries.get(schedule.id)
            if there is not None and there.incarnation == schedule.incarnation:
                # It has to differ from what others know, who may just be looking at it.
                is_due = there.due_at is not None and there.due_at <= now
                due_at = there.due_at - 1 if is_due else now  # type: ignore[operator]
                entries[schedule.id] = there._replace(due_at=due_at)

        await self._change_part(_part_of(schedule.id), put)

    async def note(self, changed: Mapping[str, tuple[Entry, Entry]]) -> None:
        """Say when schedules are due next, where the directory has nothing newer about them.

        Args:
            changed: What the directory said of each before it was looked at, and what it is to say.
        """
        parts: dict[int, dict[str, tuple[Entry, Entry]]] = defaultdict(dict)
        for id_, pair in changed.items():
            parts[_part_of(id_)][id_] = pair
        for part, mine in parts.items():
            await self._change_part(part, partial(_note, mine))

    async def strike(self, schedule_id: str, incarnation: str) -> None:
        """Take a schedule that is gone out of the directory."""

        def take(entries: dict[str, Entry]) -> None:
            there = entries.get(schedule_id)
            if there is not None and there.incarnation == incarnation:
                del entries[schedule_id]

        await self._change_part(_part_of(schedule_id), take)

    async def _change_part(self, part: int, change: Callable[[dict[str, Entry]], None]) -> None:
        key = _part_key(part)
        there = await self._store.get(key)
        for _ in range(TRIES):
            entries = _entries(part, there)
            before = dict(entries)
            change(entries)
            if entries == before:
                return
            text = write_directory(entries) if entries else None
            if len(entries) > len(before) and text and len(text.encode()) > LONGEST_PART:
                raise StorageFull(
                    f"There are too many schedules: the directory of {len(entries)} of them would "
                    f"be longer than {LONGEST_PART} bytes. Delete some, or give them shorter ids."
                )
            swapped = await self._store.swap(key, _text_of(there), text)
            if swapped.done or swapped.value == text:
                return
            there = swapped.value
        raise StorageBusy(f"'{key}' was changed by others each time. Try again.")


def marked(entry: Entry) -> Entry:
    """An entry of a schedule that is to be looked at."""
    return entry._replace(due_at=entry.created_at)


def _note(changed: Mapping[str, tuple[Entry, Entry]], entries: dict[str, Entry]) -> None:
    for id_, (before, entry) in changed.items():
        there = entries.get(id_)
        if there is None:
            continue
        is_newer = there.incarnation == entry.incarnation and there.revision < entry.revision
        # One that was marked meanwhile is another one.
        if is_newer or there == before:
            entries[id_] = entry


def _stored(schedule_id: str, value: str | int | None) -> Stored | None:
    text = _text_of(value)
    if text is None:
        return None
    return Stored(text, read_schedule(text, f"The schedule '{schedule_id}'"))


def _entries(part: int, value: str | int | None) -> dict[str, Entry]:
    text = _text_of(value)
    return {} if text is None else read_directory(text, f"Part {part} of the schedules' directory")


def _text_of(value: str | int | None) -> str | None:
    if isinstance(value, int):
        raise StorageCorrupt("There is a counter where the text of a schedule should be.")
    return value


def _key(schedule_id: str) -> str:
    return f"schedule/{schedule_id}"


def _part_key(part: int) -> str:
    return f"schedules/{part:02}"


def _part_of(schedule_id: str) -> int:
    return zlib.crc32(schedule_id.encode()) % PARTS
