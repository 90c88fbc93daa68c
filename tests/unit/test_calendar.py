"""Entries that are due in more than an hour, as texts in a coordination store."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from flowcraft.adapters.memory import MemoryCoordination
from flowcraft.engine.calendar import CURSOR, DEEPEST, TEXT_BYTES, Calendar, Later
from flowcraft.errors import StorageBusy
from flowcraft.ports.coordination import Swapped
from flowcraft.testing import VirtualClock

HOUR = 3600.0
NOON = 1_767_268_800.0
"""A time at which an hour begins."""


class Store(MemoryCoordination):
    """A store whose requests are counted, and that may die or be changed by others."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.made: Counter[str] = Counter()
        self.rivals: list[Any] = []
        self.dies_at_swap: int | None = None

    async def get(self, key: str) -> str | int | None:
        """The text of a key."""
        self.made["get"] += 1
        return await super().get(key)

    async def swap(
        self, key: str, expected: str | None, value: str | None, *, ttl_seconds: float | None = None
    ) -> Swapped:
        """Exchange a text."""
        self.made["swap"] += 1
        if self.made["swap"] == self.dies_at_swap:
            raise RuntimeError("gone")
        if self.rivals:
            await self.rivals.pop()(key)
        return await super().swap(key, expected, value, ttl_seconds=ttl_seconds)

    @property
    def texts(self) -> dict[str, str]:
        """All texts but the one that says how far was swept."""
        return {key: str(text) for key, (text, _) in self._items.items() if key != CURSOR}

    @property
    def names(self) -> list[str]:
        """The names of all entries, sorted."""
        return sorted(name for text in self.texts.values() for name in json.loads(text)["e"])


class Place:
    """A calendar at noon, and what was sent of it."""

    def __init__(self) -> None:
        self.clock = VirtualClock(NOON)
        self.store = Store(self.clock)
        self.calendar = Calendar(self.store, HOUR)
        self.sent: list[Later] = []

    async def send(self, entries: Sequence[Later]) -> None:
        """Take what is due."""
        self.sent += entries

    async def add(self, *entries: Later) -> None:
        """Add entries."""
        await self.calendar.add(entries, self.clock.now())

    async def remove(self, *entries: Later) -> None:
        """Remove entries."""
        dues = {each.name: each.due_at for each in entries}
        await self.calendar.remove(dues, self.clock.now())

    async def sweep(self, hour: int, ahead: float = 900.0) -> bool:
        """Sweep an hour as it is time for."""
        now = self.clock.now()
        return await self.calendar.sweep(hour, now + ahead, now, self.send)


def entry(number: int, in_seconds: float = 2 * HOUR, size: int = 200) -> Later:
    """An entry with a name of its own."""
    name = hashlib.sha256(str(number).encode()).hexdigest()[:24]
    return Later(name, NOON + in_seconds, {"body": "x" * size})


def crowd(count: int) -> list[Later]:
    """Many entries, all due in the hour that begins in two hours."""
    return [entry(number, 2 * HOUR + number * HOUR / count) for number in range(count)]


def run(case: Any) -> None:
    """Run a case on a fresh calendar."""
    asyncio.run(case(Place()))


def test_an_entry_that_is_removed_leaves_nothing() -> None:
    """Two requests to add one, two to remove it, and nothing is left of it."""

    async def case(place: Place) -> None:
        await place.add(entry(1))
        assert place.store.names == [entry(1).name]
        assert place.store.made.total() == 2
        await place.remove(entry(1))
        assert place.store.texts == {}
        assert place.store.made.total() == 4
        await place.remove(entry(1))
        assert place.store.made.total() == 5

    run(case)


def test_an_entry_takes_the_place_of_one_with_its_name() -> None:
    """Armed again and again it is one entry, with what it was given last."""

    async def case(place: Place) -> None:
        for size in (10, 20, 30):
            await place.add(entry(1, size=size))
        (text,) = place.store.texts.values()
        assert list(json.loads(text)["e"].values()) == [[NOON + 2 * HOUR, {"body": "x" * 30}]]

    run(case)


def test_what_is_due_is_sent_and_forgotten_at_its_time() -> None:
    """A sweep takes what is due within the quarter of an hour, once, and leaves the others."""

    async def case(place: Place) -> None:
        early, late = entry(1, 2 * HOUR + 60), entry(2, 2 * HOUR + 1800)
        await place.add(early, late)
        hour = place.calendar.hour_of(early.due_at)
        place.clock.advance_to(NOON + 2 * HOUR - 900)
        assert not await place.sweep(hour)
        assert place.sent == []
        place.clock.advance_to(NOON + 2 * HOUR - 840)
        assert not await place.sweep(hour)
        assert not await place.sweep(hour)
        assert place.sent == [early]
        assert place.store.names == [late.name]
        place.clock.advance_to(NOON + 3 * HOUR)
        assert await place.sweep(hour)
        assert place.sent == [early, late]
        assert place.store.texts == {}

    run(case)


def test_an_hour_in_which_nothing_is_due_is_one_request() -> None:
    """A look at an hour without entries, and at one with few that are not due, is one request."""

    async def case(place: Place) -> None:
        await place.sweep(7)
        assert place.store.made.total() == 1
        await place.add(*crowd(10))
        place.store.made.clear()
        await place.sweep(place.calendar.hour_of(NOON + 2 * HOUR), ahead=0.0)
        assert place.store.made.total() == 1

    run(case)


def test_a_thousand_in_an_hour() -> None:
    """All are kept in small texts, each is sent once in time, and nothing is left of the hour."""

    async def case(place: Place) -> None:
        entries = crowd(1000)
        for each in entries:
            await place.add(each)
        assert place.store.names == sorted(each.name for each in entries)
        assert max(len(text.encode()) for text in place.store.texts.values()) <= TEXT_BYTES
        assert place.store.made.total() <= 6 * len(entries)
        hour = place.calendar.hour_of(entries[0].due_at)
        place.store.made.clear()
        now = NOON + 2 * HOUR - 900
        is_done = False
        while now <= NOON + 3 * HOUR:
            place.clock.advance_to(now)
            before = len(place.sent)
            is_done = await place.sweep(hour)
            assert all(now <= each.due_at <= now + 900 for each in place.sent[before:])
            now += 240.0
        place.clock.advance_to(NOON + 3 * HOUR)
        assert is_done or await place.sweep(hour)
        assert sorted(place.sent) == sorted(entries)
        assert place.store.texts == {}
        assert place.store.made.total() <= 6 * len(entries)

    run(case)


def test_many_at_once_are_added_together() -> None:
    """Entries that are added together share their requests, and are all there."""

    async def case(place: Place) -> None:
        await place.add(*crowd(300))
        assert len(place.store.names) == 300
        assert place.store.made.total() <= 300

    run(case)


def test_entries_further_down_are_found_by_their_names() -> None:
    """Removing does not search: the texts on the way of a name are looked at, and no others."""

    async def case(place: Place) -> None:
        entries = crowd(1000)
        await place.add(*entries)
        place.store.made.clear()
        for each in entries:
            await place.remove(each)
        assert place.store.names == []
        assert place.store.made.total() <= 5 * len(entries)
        hour = place.calendar.hour_of(entries[0].due_at)
        place.clock.advance_to(NOON + 3 * HOUR)
        assert await place.sweep(hour)
        assert place.store.texts == {}
        assert place.sent == []

    run(case)


def test_who_dies_between_sending_and_forgetting_sends_again() -> None:
    """An entry is sent first and forgotten then: it comes twice rather than never."""

    async def case(place: Place) -> None:
        await place.add(entry(1))
        place.clock.advance_to(NOON + 2 * HOUR)
        place.store.dies_at_swap = place.store.made["swap"] + 1
        hour = place.calendar.hour_of(entry(1).due_at)
        with pytest.raises(RuntimeError, match="gone"):
            await place.sweep(hour)
        assert place.sent == [entry(1)]
        assert place.store.names == [entry(1).name]
        await place.sweep(hour)
        assert place.sent == [entry(1)] * 2
        assert place.store.texts == {}

    run(case)


def test_an_entry_that_was_armed_anew_meanwhile_is_not_forgotten() -> None:
    """Between sending and forgetting it got another time: that one is still to come."""

    async def case(place: Place) -> None:
        await place.add(entry(1))
        place.clock.advance_to(NOON + 2 * HOUR)

        async def arm(_: str) -> None:
            await place.add(entry(1, 2 * HOUR + 1800))

        place.store.rivals = [arm]
        await place.sweep(place.calendar.hour_of(entry(1).due_at))
        assert place.store.names == [entry(1).name]
        (text,) = place.store.texts.values()
        assert json.loads(text)["e"][entry(1).name][0] == NOON + 2 * HOUR + 1800

    run(case)


def test_who_loses_races_goes_one_text_down() -> None:
    """However many add at the same moment, everything is kept, in a bounded number of requests."""

    async def case(place: Place) -> None:
        others = [entry(number, size=20) for number in range(100, 110)]

        def rival(one: Later) -> Any:
            async def write(_: str) -> None:
                await Calendar(Quiet(place.store), HOUR).add([one], NOON)

            return write

        place.store.rivals = [rival(each) for each in others]
        await place.add(entry(1))
        written = others[len(place.store.rivals) :]
        place.store.rivals.clear()
        assert entry(1).name in place.store.names
        below = [key for key in place.store.texts if key.count("/") > 1]
        assert below, "nothing is kept below"
        hour = place.calendar.hour_of(entry(1).due_at)
        place.clock.advance_to(NOON + 3 * HOUR)
        assert await place.sweep(hour)
        assert len(written) >= 3
        assert sorted(place.sent) == sorted([entry(1), *written])
        assert place.store.texts == {}

    run(case)


def test_who_removes_looks_where_others_have_gone_meanwhile() -> None:
    """An entry that is armed once more, one text down, while it is taken out, goes as well."""

    async def case(place: Place) -> None:
        await place.add(entry(1))
        digit = int(entry(1).name[0], 16)

        async def arm_below(key: str) -> None:
            store, text = Quiet(place.store), place.store.texts[key]
            below = json.dumps(json.loads(text) | {"b": 1 << digit})
            assert (await store.swap(key, text, below)).done
            assert (await store.swap(f"{key}/{digit:x}", None, text)).done

        place.store.rivals = [arm_below]
        await place.remove(entry(1))
        assert place.store.names == []

    run(case)


class Quiet:
    """The store, for somebody who is disturbed by nobody."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        method = getattr(MemoryCoordination, name)
        return lambda *arguments, **options: method(self._store, *arguments, **options)


def test_who_can_never_write_says_so() -> None:
    """A text that others change each time is given up, with an error that is tried again."""

    async def case(place: Place) -> None:
        await place.add(entry(1))

        def rival(number: int) -> Any:
            async def write(_: str) -> None:
                await Calendar(Quiet(place.store), HOUR).add([entry(2, size=number)], NOON)

            return write

        place.store.rivals = [rival(number) for number in range(200)]
        with pytest.raises(StorageBusy, match="due/"):
            await place.remove(entry(1))

    run(case)


def test_a_text_that_cannot_be_read_is_written_anew(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody wrote something else there: it is reported, and timers go on."""

    async def case(place: Place) -> None:
        hour = place.calendar.hour_of(entry(1).due_at)
        await place.store.set_if_not_exist(f"due/{hour}", "nonsense")
        await place.add(entry(1))
        assert place.store.names == [entry(1).name]

    run(case)
    assert "cannot be read" in caplog.text


def test_names_that_begin_alike_find_room() -> None:
    """At the deepest level an entry is added whatever is there."""

    async def case(place: Place) -> None:
        alike = [
            Later("a" * (DEEPEST + 1) + f"{number:08x}", NOON + 2 * HOUR, {"body": "x" * 1000})
            for number in range(60)
        ]
        for each in alike:
            await place.add(each)
        assert len(place.store.names) == 60
        place.clock.advance_to(NOON + 3 * HOUR)
        assert await place.sweep(place.calendar.hour_of(NOON + 2 * HOUR))
        assert sorted(place.sent) == sorted(alike)
        assert place.store.texts == {}

    run(case)


def test_texts_that_nobody_sweeps_expire() -> None:
    """A fleet that is gone for good leaves nothing: a month after its hour a text is gone."""

    async def case(place: Place) -> None:
        await place.add(entry(1))
        place.clock.advance_to(NOON + 29 * 24 * HOUR)
        assert await place.store.get(f"due/{place.calendar.hour_of(entry(1).due_at)}")
        place.clock.advance_to(NOON + 32 * 24 * HOUR)
        assert await place.store.get(f"due/{place.calendar.hour_of(entry(1).due_at)}") is None

    run(case)
