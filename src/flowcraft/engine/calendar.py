"""What is to come in more than an hour, kept as texts in the coordination store.

A queue may carry a delay no further than minutes, and a message that is hidden cannot be taken
back. So a message that is due later is an *entry*: a text, and when it is due. The entries of each
hour are in a tree of texts, which are changed by exchange (``CoordinationStore.swap``). An entry
that finds no room goes to one of sixteen texts below, chosen by the next digit of its name: so
nothing is searched for, texts stay small, and a look at an hour in which little is due is one
request. A text that has had others below it stays until its hour is over: whoever took it away
could not know that nobody is about to add something below it.

No run depends on it. An entry that is lost is found by whoever looks for overdue runs, and one too
many brings a message that does nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from flowcraft.errors import StorageBusy
from flowcraft.ports.coordination import CoordinationStore

logger = logging.getLogger("flowcraft.timers")

TEXT_BYTES: Final = 4_000
"""How long a text may be: what a store asks for a write goes by its size."""

ENTRY_BYTES: Final = 2_500
"""How long an entry may be; what is longer is no entry."""

DEEPEST: Final = 8
"""Below so many texts an entry is added whatever the size: nobody has as many."""

TRIES_HERE: Final = 3
"""After so many lost races for a text an entry goes to one below, where there are fewer."""

TRIES: Final = 100
KEPT_SECONDS: Final = 30 * 86_400.0
"""How long after its hour a text expires that nobody has swept."""

PREFIX: Final = "due/"
CURSOR: Final = "due/swept"


class Later(NamedTuple):
    """An entry.

    Attributes:
        name: Sixteen or more hexadecimal digits; there is one entry of a name.
        due_at: When it is due, in seconds since the epoch.
        data: What is to be sent then: JSON data.
    """

    name: str
    due_at: float
    data: Any


@dataclass(frozen=True, slots=True)
class _Text:
    """A text, read: entries by name, and which of the sixteen below there are or have been."""

    entries: Mapping[str, tuple[float, Any]]
    below: int = 0

    @classmethod
    def read(cls, key: str, text: str | int | None) -> _Text:
        if text is None:
            return cls({})
        try:
            data = json.loads(str(text))
            entries = {
                str(name): (float(due_at), what) for name, (due_at, what) in data["e"].items()
            }
            return cls(entries, int(data.get("b", 0)))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            logger.error(
                "The text '%s' in the coordination store cannot be read, and is written anew. The "
                "timers in it fire when somebody looks for overdue runs.",
                key,
            )
            return cls({})

    def write(self) -> str | None:
        """As it is stored; ``None`` for one with nothing in it."""
        if not self.entries and not self.below:
            return None
        data: dict[str, Any] = {"e": self.entries}
        if self.below:
            data["b"] = self.below
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"))

    def with_room_for(self, entries: Iterable[Later], anyhow: bool) -> tuple[_Text, list[Later]]:
        """The text with as many entries as there is room for, and those that are left over."""
        there = dict(self.entries)
        size = len((self.write() or "").encode())
        over = []
        for entry in entries:
            cost = size_of(entry)
            if anyhow or entry.name in there or size + cost <= TEXT_BYTES:
                size += 0 if entry.name in there else cost
                there[entry.name] = (entry.due_at, entry.data)
            else:
                over.append(entry)
        return _Text(there, self.below), over

    def without(self, gone: Mapping[str, float | None]) -> _Text:
        """The text without entries; where a time is named, only if they are due at that."""
        left = {
            name: entry
            for name, entry in self.entries.items()
            if name not in gone or gone[name] not in (None, entry[0])
        }
        return _Text(left, self.below)

    def above(self, digits: Iterable[int]) -> _Text:
        below = self.below
        for digit in digits:
            below |= 1 << digit
        return _Text(self.entries, below)

    def has_below(self, digit: int) -> bool:
        return bool(self.below >> digit & 1)


def size_of(entry: Later) -> int:
    """About how many bytes an entry adds to a text."""
    return len(json.dumps([entry.name, entry.due_at, entry.data], ensure_ascii=False).encode()) + 2


class Calendar:
    """Entries by the hour in which they are due.

    Args:
        store: Where they are.
        hour_seconds: How long an hour is; the same for all who share the store.
    """

    def __init__(self, store: CoordinationStore, hour_seconds: float) -> None:
        self._store = store
        self.hour_seconds = hour_seconds
        self._has_cursor = False

    def hour_of(self, at: float) -> int:
        """The number of the hour that a time is in."""
        return int(at // self.hour_seconds)

    async def add(self, entries: Sequence[Later], now: float) -> None:
        """Keep entries, in place of those with the same names in the same hour.

        Raises:
            StorageBusy: Others changed the same texts each time.
        """
        if not self._has_cursor:
            # Nobody may sweep for days: whoever does so then has to know where to begin.
            await self._store.set_if_not_exist(CURSOR, str(self.hour_of(now)))
            self._has_cursor = True
        for hour, some in _grouped(entries, lambda each: self.hour_of(each.due_at)).items():
            await self._add(self._root(hour), 0, some, self._lasts(hour, now))

    async def remove(self, dues: Mapping[str, float], now: float) -> None:
        """Forget entries, by their names and when they are due; one that is gone is no error.

        Raises:
            StorageBusy: Others changed the same texts each time.
        """
        for hour, names in _grouped(dues, lambda name: self.hour_of(dues[name])).items():
            await self._remove(self._root(hour), 0, names, self._lasts(hour, now))

    async def sweep(
        self,
        hour: int,
        until: float,
        now: float,
        send: Callable[[Sequence[Later]], Awaitable[None]],
    ) -> bool:
        """Send what is due in an hour until a time, and forget it then.

        An entry is forgotten once it is sent: who dies in between leaves it to be sent again.

        Returns:
            Whether the hour is over and nothing of it is left.
        """
        is_over = (hour + 1) * self.hour_seconds <= now
        return await self._sweep(self._root(hour), until, is_over, self._lasts(hour, now), send)

    # -- texts ------------------------------------------------------------------------------

    async def _add(self, key: str, level: int, entries: list[Later], lasts: float) -> None:
        text = await self._store.get(key)
        over: list[Later] = entries
        for tries in range(TRIES):
            here = _Text.read(key, text)
            if tries < TRIES_HERE or level == DEEPEST:
                new, over = here.with_room_for(entries, level == DEEPEST)
            else:
                new, over = here, entries
            new = new.above(_digit(each.name, level) for each in over)
            written = new.write()
            if written == text:
                break
            swapped = await self._store.swap(key, _known(text), written, ttl_seconds=lasts)
            if swapped.done:
                break
            text = swapped.value
        else:
            raise _busy(key)
        for digit, some in _grouped(over, lambda each: _digit(each.name, level)).items():
            await self._add(_below(key, digit), level + 1, some, lasts)

    async def _remove(self, key: str, level: int, names: list[str], lasts: float) -> None:
        text = await self._store.get(key)
        if text is None:
            return
        here, _ = await self._without(key, text, dict.fromkeys(names), lasts)
        if level == DEEPEST:
            return
        # One may be further down, or in both: where there was no room, there may be some later.
        for digit, some in _grouped(names, lambda name: _digit(name, level)).items():
            if here.has_below(digit):
                await self._remove(_below(key, digit), level + 1, some, lasts)

    async def _sweep(
        self,
        key: str,
        until: float,
        is_over: bool,
        lasts: float,
        send: Callable[[Sequence[Later]], Awaitable[None]],
    ) -> bool:
        text = await self._store.get(key)
        if text is None:
            return True
        here = _Text.read(key, text)
        due = [
            Later(name, at, data)
            for name, (at, data) in here.entries.items()
            if is_over or at <= until
        ]
        if due:
            due.sort(key=lambda each: each.due_at)
            await send(due)
            gone = {each.name: each.due_at for each in due}
            here, text = await self._without(key, text, gone, lasts)
        is_empty = not here.entries
        for digit in range(16):
            if here.has_below(digit):
                below = _below(key, digit)
                is_empty &= await self._sweep(below, until, is_over, lasts, send)
        if is_empty and is_over and here.below:
            is_empty = (await self._store.swap(key, _known(text), None)).done
        return is_empty and is_over

    async def _without(
        self, key: str, text: str | int | None, gone: Mapping[str, float | None], lasts: float
    ) -> tuple[_Text, str | int | None]:
        """Take entries out of a text; gives what is left of it, and as what it is stored."""
        for _ in range(TRIES):
            here = _Text.read(key, text)
            new = here.without(gone)
            if len(new.entries) == len(here.entries):
                return here, text
            swapped = await self._store.swap(key, _known(text), new.write(), ttl_seconds=lasts)
            if swapped.done:
                return new, swapped.value
            text = swapped.value
        raise _busy(key)

    def _root(self, hour: int) -> str:
        return f"{PREFIX}{hour}"

    def _lasts(self, hour: int, now: float) -> float:
        """How long a text of an hour is kept, if nobody sweeps it."""
        return max(0.0, (hour + 1) * self.hour_seconds - now) + KEPT_SECONDS


def _grouped(things: Iterable[Any], key: Callable[[Any], int]) -> dict[int, list[Any]]:
    groups: dict[int, list[Any]] = {}
    for each in things:
        groups.setdefault(key(each), []).append(each)
    return groups


def _digit(name: str, level: int) -> int:
    return int(name[level], 16)


def _below(key: str, digit: int) -> str:
    """The key of a text below another: ``due/12``, ``due/12/a``, ``due/12/a3``."""
    return f"{key}{digit:x}" if key.count("/") > 1 else f"{key}/{digit:x}"


def _known(text: str | int | None) -> str | None:
    return None if text is None else str(text)


def _busy(key: str) -> StorageBusy:
    return StorageBusy(
        f"The text '{key}' in the coordination store was changed by others each time. Try again."
    )
