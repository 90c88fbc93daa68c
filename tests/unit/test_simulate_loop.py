"""The event loop of the simulation: virtual time, a seeded order, processes that stop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.clock import SimulationClock
from flowcraft.testing.simulate.loop import (
    OWNER,
    Owner,
    SimulationError,
    SimulationLoop,
    Standstill,
    world_context,
)


def order_of(seed: int, count: int = 6) -> list[int]:
    """The order in which tasks that are ready at once get their turns."""
    order: list[int] = []

    async def one(number: int) -> None:
        order.append(number)

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(count)))

    SimulationLoop(Chance(seed)).run(main())
    return order


def test_the_seed_decides_the_order() -> None:
    """The same seed gives the same order, and seeds together give many."""
    assert order_of(1) == order_of(1)
    assert len({tuple(order_of(seed)) for seed in range(50)}) > 40


def test_any_of_those_that_are_ready_may_be_first() -> None:
    """Each of six tasks is the first one under some seed, and the last one under another."""
    orders = [order_of(seed) for seed in range(100)]
    assert {order[0] for order in orders} == set(range(6))
    assert {order[-1] for order in orders} == set(range(6))


def test_time_jumps() -> None:
    """A year of sleep takes no time, and ends exactly when it is over."""
    loop = SimulationLoop(Chance(1))
    began = loop.time()
    loop.run(asyncio.sleep(365 * 86_400))
    assert loop.time() == began + 365 * 86_400
    assert loop.steps < 10


def test_timeouts_follow_virtual_time() -> None:
    """What asyncio offers for timeouts works in virtual time."""

    async def main() -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.sleep(61)
            return False
        return True

    assert SimulationLoop(Chance(1)).run(main())


def test_waiting_for_nothing_is_told() -> None:
    """A task that waits for what never comes does not wait for ever."""
    loop = SimulationLoop(Chance(1))
    with pytest.raises(Standstill):
        loop.run(asyncio.Event().wait())
    loop.bury([])


def test_going_round_in_circles_is_told() -> None:
    """A task that never waits for time does not keep the simulation for ever."""

    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    loop = SimulationLoop(Chance(1))
    with pytest.raises(SimulationError, match="no time passed"):
        loop.run(main())
    loop.bury([])


def test_a_timer_that_is_armed_again_and_again_is_told() -> None:
    """A timer whose time has come, and which is armed for the same time, is no passing of time."""
    loop = SimulationLoop(Chance(1))

    def again(when: float) -> None:
        loop.call_at(when, again, when)

    async def main() -> None:
        again(loop.time() + 1)
        await asyncio.sleep(5)

    with pytest.raises(SimulationError, match="no time passed"):
        loop.run(main())
    loop.bury([])


def test_threads_are_refused() -> None:
    """What would run in a thread is refused, by its name."""
    with pytest.raises(SimulationError, match="test_threads_are_refused"):
        SimulationLoop(Chance(1)).run(asyncio.to_thread(test_threads_are_refused))


def test_quiet_comes_before_time_passes() -> None:
    """Whoever waits for quiet goes on when nothing is ready, and no time has passed."""
    loop = SimulationLoop(Chance(3))
    seen: list[tuple[str, float]] = []

    async def busy() -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        seen.append(("busy", loop.time()))
        await asyncio.sleep(5)
        seen.append(("later", loop.time()))

    async def main() -> None:
        task = asyncio.ensure_future(busy())
        began = loop.time()
        await loop.quiet()
        seen.append(("quiet", loop.time()))
        await task
        assert [(name, at - began) for name, at in seen] == [
            ("busy", 0),
            ("quiet", 0),
            ("later", 5),
        ]

    loop.run(main())


def test_a_process_that_is_held_gets_no_turn() -> None:
    """What belongs to it waits, its timers too, and goes on when it is released."""
    loop, owner = SimulationLoop(Chance(1)), Owner()
    context = world_context()
    context.run(OWNER.set, owner)
    seen: list[float] = []

    async def process() -> None:
        while True:
            seen.append(loop.time() - began)
            await asyncio.sleep(1)

    async def main() -> None:
        loop.create_task(process(), context=context)
        await asyncio.sleep(2.5)
        owner.is_held = True
        await asyncio.sleep(10)
        loop.release(owner)
        await asyncio.sleep(1)

    began = loop.time()
    loop.run(main())
    loop.bury([owner])
    assert seen == [0, 1, 2, 12.5, 13.5]


def test_a_burial_ends_everything() -> None:
    """Tasks of held processes, and generators that nobody asks any more, are ended."""
    loop, owner = SimulationLoop(Chance(1)), Owner()
    context = world_context()
    context.run(OWNER.set, owner)
    ended: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append("generator")

    async def process() -> None:
        try:
            async for _ in numbers():
                await asyncio.sleep(3600)
        finally:
            ended.append("task")

    async def main() -> None:
        loop.create_task(process(), context=context)
        await asyncio.sleep(1)
        owner.is_held = True

    loop.run(main())
    assert ended == []
    loop.bury([owner])
    assert sorted(ended) == ["generator", "task"]
    assert loop.problems == []


def test_other_threads_change_nothing() -> None:
    """A callback from another thread is made, and no choice of the seed depends on it."""

    def orders(disturb: bool) -> tuple[list[int], bool]:
        loop = SimulationLoop(Chance(9))
        order: list[int] = []
        called: list[str] = []
        if disturb:
            thread = threading.Thread(
                target=lambda: loop.call_soon_threadsafe(called.append, "called")
            )
            thread.start()
            thread.join()

        async def one(number: int) -> None:
            order.append(number)

        async def main() -> None:
            await asyncio.gather(*(one(number) for number in range(20)))

        loop.run(main())
        return order, bool(called)

    assert orders(False) == (orders(True)[0], False)
    assert orders(True)[1]


def test_errors_that_nobody_hears_are_kept() -> None:
    """An error in a callback is kept for the report."""
    loop = SimulationLoop(Chance(1))

    async def main() -> None:
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    loop.run(main())
    assert "ZeroDivisionError" in loop.problems[0]


def test_a_skewed_clock_is_off_and_keeps_its_times() -> None:
    """A clock that is ahead shows another time; what is due by it is due by it."""
    loop = SimulationLoop(Chance(1))
    clock = SimulationClock(loop, 7.3)
    fired: list[float] = []

    async def main() -> None:
        clock.call_at(clock.now() + 0.1, lambda: fired.append(clock.now()))
        clock.call_at(clock.now() + 0.2, lambda: fired.append(-1.0)).cancel()
        await asyncio.sleep(1)

    began = clock.now()
    assert began == loop.time() + 7.3
    loop.run(main())
    assert len(fired) == 1
    assert began + 0.1 <= fired[0] < began + 0.11


def test_choices_do_not_depend_on_each_other() -> None:
    """A fork is decided by its name alone, whatever was chosen before; bounds are kept."""
    one, other = Chance("a", 5), Chance("a", 5)
    one.below(10)
    assert one.fork("x").below(1 << 30) == other.fork("x").below(1 << 30)
    assert one.fork("x").below(1 << 30) != one.fork("y").below(1 << 30)
    assert {Chance(seed).below(3) for seed in range(100)} == {0, 1, 2}
    counts = [0] * 10
    for _ in range(10_000):
        counts[other.below(10)] += 1
    assert all(850 < count < 1150 for count in counts)
    assert Chance(-1).below(1 << 30) != Chance(0).below(1 << 30)


def test_what_a_callback_raises_is_kept() -> None:
    """An error in a callback, which nobody waits for, is noted, and the loop goes on."""
    loop = SimulationLoop(Chance(1))

    async def main() -> str:
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)
        return "done"

    assert loop.run(main()) == "done"
    assert "division by zero" in loop.problems[0]
