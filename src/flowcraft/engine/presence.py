"""Workers leave a trace of what they are: which versions there are, and what these can run.

It is for people who deploy and mend, and nothing depends on it: it costs a worker four requests an
hour beside its polls, however many runs it works on, and where it cannot be written it is left out.
A worker that has just started waits a few seconds: one that comes and goes costs nothing.

Each worker counts itself once per quarter of an hour, in a counter of its kind that expires. Who is
the first one there notes the kind in the one text that has all of them (``worker_kinds.py``).
Whoever dies in between has counted; the kind is then noted a quarter of an hour later.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import replace
from typing import Final

from flowcraft._installation import version
from flowcraft.engine.recurring import Repeated
from flowcraft.engine.station import Station
from flowcraft.engine.worker_kinds import KEPT_SECONDS, Seen, WorkerKind, read_kinds, write_kinds
from flowcraft.ports.coordination import CoordinationStore

logger = logging.getLogger("flowcraft.worker")

EVERY_SECONDS: Final = 900.0
"""From one mark of a worker to its next."""

FIRST_SECONDS: Final = 10.0
"""How long a worker has been there when it leaves its first mark."""

KINDS: Final = "workers/kinds/1"
"""Where the text is; the number is of its format, so that other versions leave it alone."""

TRIES: Final = 3
"""How often the text is written anew against others who do the same; there is a next time."""


class Presence(Repeated):
    """Tells the fleet every so often that a worker is there.

    Args:
        station: Ports, implementations and blueprints.
        every_seconds: From one mark to the next.
        first_seconds: From the start to the first one.
    """

    def __init__(
        self,
        station: Station,
        every_seconds: float = EVERY_SECONDS,
        first_seconds: float = FIRST_SECONDS,
    ) -> None:
        super().__init__()
        self._station = station
        self._every_seconds = every_seconds
        self._due_at = station.clock.now() + first_seconds
        self._is_noted = False
        self._is_told = False

    async def mark_if_due(self) -> None:
        """Leave a mark if it is time; of trouble with that nobody but the log hears."""
        now = self._station.clock.now()
        if now < self._due_at:
            return
        self._due_at = now + self._every_seconds
        self._looking = True
        try:
            await self._mark(now)
        except asyncio.CancelledError:
            self._due_at = now  # it is still to be done
            raise
        except Exception as error:
            # One that may not write there is told of once.
            level = logging.DEBUG if self._is_told else logging.INFO
            self._is_told = True
            logger.log(level, "What this worker is could not be noted for others: %s", error)
        finally:
            self._looking = False

    async def _go_on(self) -> None:
        while not self._ending:
            await self._station.sleep_until(self._due_at)
            await self.mark_if_due()

    async def _mark(self, now: float) -> None:
        kind = kind_of(self._station)
        store = self._station.coordination
        count = await store.increment(_counter(kind.id, now), ttl_seconds=3 * EVERY_SECONDS)
        if count == 1 or not self._is_noted:
            await _note(store, kind, now)
            self._is_noted = True


def kind_of(station: Station) -> WorkerKind:
    """The kind of worker that has these implementations and blueprints."""
    options = station.options
    python = ".".join(map(str, sys.version_info[:3]))
    return WorkerKind.of(
        version(), python, tuple(options.registry), tuple(options.blueprints.values())
    )


async def workers_seen(store: CoordinationStore, now: float) -> list[Seen]:
    """The kinds of workers that were there in the last week, those seen last first.

    Args:
        store: Where workers leave their marks.
        now: The time, as the store has it.

    Raises:
        StorageError: The store cannot be read.
    """
    found = read_kinds(await store.get(KINDS), now)
    counted = [
        replace(each, workers=await _workers_of(store, each, now)) for each in found.values()
    ]
    return sorted(counted, key=lambda each: (-each.seen_at, -each.workers, each.kind.id))


async def _workers_of(store: CoordinationStore, seen: Seen, now: float) -> int:
    """About how many: each counts once per window, so the fuller one of the last two tells."""
    if now - seen.seen_at > 2 * EVERY_SECONDS:
        return 0
    counts = [await store.get(_counter(seen.kind.id, at)) for at in (now, now - EVERY_SECONDS)]
    return max(count if isinstance(count, int) else 0 for count in counts)


async def _note(store: CoordinationStore, kind: WorkerKind, now: float) -> None:
    """Have a kind in the text, as seen now, unless somebody has noted it in this window."""
    for _ in range(TRIES):
        text = await store.get(KINDS)
        kinds = read_kinds(text, now)
        before = kinds.get(kind.id)
        if before is not None and _window(before.seen_at) == _window(now):
            return
        kinds[kind.id] = Seen(kind, now if before is None else before.first_at, now)
        expected = text if isinstance(text, str) else None
        swapped = await store.swap(KINDS, expected, write_kinds(kinds), ttl_seconds=KEPT_SECONDS)
        if swapped.done:
            return


def _window(at: float) -> int:
    return int(at // EVERY_SECONDS)


def _counter(id_: str, at: float) -> str:
    return f"workers/{id_}/{_window(at)}"
