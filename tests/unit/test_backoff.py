"""How often something is sent again, and who holds a lock."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from flowcraft.adapters.memory import MemoryCoordination
from flowcraft.adapters.system import SystemIdentifiers
from flowcraft.engine.backoff import Backoff
from flowcraft.engine.locks import Lock
from flowcraft.testing import VirtualClock
from tests.unit.runs import drive

T = 300.0
DAY = 86_400.0


def lock_of(store: MemoryCoordination, clock: VirtualClock) -> Lock:
    """Somebody's view of a lock of 30 s."""
    return Lock(store, "lock", 30.0, clock, SystemIdentifiers())


def test_the_waits_double_up_to_a_day() -> None:
    """The second time comes twice the threshold later, the third four times, at last daily."""
    clock = VirtualClock()
    backoff = Backoff(MemoryCoordination(clock), T)

    async def work() -> list[float]:
        sent: list[float] = []
        while len(sent) < 12:
            if await backoff.may_send("run"):
                sent.append(clock.now())
            clock.advance(60)
        return [after - before for before, after in itertools.pairwise(sent)]

    waits = drive(work())
    assert waits[:8] == [2 * T, 4 * T, 8 * T, 16 * T, 32 * T, 64 * T, 128 * T, 256 * T]
    assert waits[8:] == [DAY] * 3


def test_a_threshold_of_more_than_a_day_is_kept() -> None:
    """Whoever takes a day for nothing is not sent more often than that."""
    backoff = Backoff(MemoryCoordination(VirtualClock()), 3 * DAY)
    assert [backoff.wait_seconds(times) for times in (1, 2, 10_000)] == [3 * DAY] * 3


def test_another_state_begins_anew() -> None:
    """What was sent for one state does not hold up what is sent for the next."""

    async def work() -> list[bool]:
        backoff = Backoff(MemoryCoordination(VirtualClock()), T)
        return [await backoff.may_send(state) for state in ("run/1", "run/1", "run/2", "run/2")]

    assert drive(work()) == [True, False, True, False]


def test_of_those_who_ask_at_once_one_sends() -> None:
    """However many look at the same time, one is told to send."""

    class Slow(MemoryCoordination):
        async def get(self, key: str) -> str | int | None:
            value = await super().get(key)
            await asyncio.sleep(0)
            return value

    async def work() -> list[bool]:
        store = Slow(VirtualClock())
        return await asyncio.gather(*(Backoff(store, T).may_send("run") for _ in range(5)))

    assert sorted(drive(work())) == [False, False, False, False, True]


def test_what_is_forced_is_sent_and_counted() -> None:
    """Who insists is not made to wait, and those who do not wait longer for it."""
    clock = VirtualClock()

    async def work() -> None:
        backoff = Backoff(MemoryCoordination(clock), T)
        assert [await backoff.may_send("run", force=True) for _ in range(3)] == [True] * 3
        clock.advance(8 * T - 1)
        assert not await backoff.may_send("run")
        clock.advance(1)
        assert await backoff.may_send("run")

    drive(work())


def test_nothing_sent_is_nothing_waited_for() -> None:
    """Looks that found nothing to send do not make the waits longer."""
    clock = VirtualClock()

    async def work() -> None:
        backoff = Backoff(MemoryCoordination(clock), T)
        for _ in range(5):
            assert await backoff.may_send("run")
            await backoff.sent_nothing("run")
            clock.advance(2 * T)

    drive(work())


def test_a_lock_is_held_by_one() -> None:
    """Who has it keeps it, others do not get it, and given up it is free at once."""
    clock = VirtualClock()

    async def work() -> None:
        store = MemoryCoordination(clock)
        first, second = lock_of(store, clock), lock_of(store, clock)
        assert [await first.take(), await second.take(), await first.take()] == [True, False, True]
        assert not await second.keep()
        await second.give_up()
        assert await first.keep()
        await first.give_up()
        assert not await first.keep()
        assert await second.take()

    drive(work())


def test_who_is_late_has_lost_the_lock() -> None:
    """A lock that has expired is somebody else's; its former owner neither keeps nor frees it."""
    clock = VirtualClock()

    async def work() -> None:
        store = MemoryCoordination(clock)
        late, second = lock_of(store, clock), lock_of(store, clock)
        await late.take()
        clock.advance(30)
        assert await second.take()
        assert not await late.keep()
        await late.give_up()
        assert [await second.keep(), await late.take()] == [True, False]

    drive(work())


def test_a_lock_is_prolonged_when_a_third_is_over() -> None:
    """Keeping a lock costs a call now and then, and it is held for all of its time from there."""
    clock = VirtualClock()

    class Counting(MemoryCoordination):
        calls = 0

        async def extend_ttl(self, key: str, value: str, ttl_seconds: float) -> bool:
            self.calls += 1
            return await super().extend_ttl(key, value, ttl_seconds)

    async def work() -> None:
        store = Counting(clock)
        lock = lock_of(store, clock)
        await lock.take()
        for _ in range(90):
            clock.advance(1)
            assert await lock.keep()
        assert store.calls == 9

    drive(work())


def test_a_lock_whose_answer_was_lost_is_ones_own() -> None:
    """Where the answer does not arrive, the next try finds out that the lock was granted."""

    class Breaks(MemoryCoordination):
        broken = True

        async def set_if_not_exist(
            self, key: str, value: str, *, ttl_seconds: float | None = None
        ) -> bool:
            was_set = await super().set_if_not_exist(key, value, ttl_seconds=ttl_seconds)
            if self.broken:
                self.broken = False
                raise ConnectionError("no answer")
            return was_set

    async def work() -> None:
        clock = VirtualClock()
        lock = lock_of(Breaks(clock), clock)
        with pytest.raises(ConnectionError):
            await lock.take()
        assert await lock.take()

    drive(work())
