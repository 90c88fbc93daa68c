"""Timers of durable runs that are due in more than an hour."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from flowcraft import NodeContext, create_flow
from flowcraft.core.builder import FlowBuilder
from flowcraft.core.retry_policy import RetryPolicy
from flowcraft.engine.calendar import CURSOR, PREFIX, Calendar, Later
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.spans import Spans
from flowcraft.engine.station import Station
from flowcraft.engine.sweeping import LOCK, Sweeper
from flowcraft.engine.timers import LongDelays, timer_name
from flowcraft.ports.queue import Outgoing
from flowcraft.ports.together import Ports
from flowcraft.testing.simulate.timers import timers_in
from tests.unit.codecs import ToyCodec
from tests.unit.durable import Process, World

DAY = 86_400.0
HOUR = 3600.0


class LongWorld(World):
    """A world whose timers are kept as those of a fleet are, and swept by its processes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        object.__setattr__(self.runtime.options, "timers", Spans())

    async def worker(self, **options: Any) -> Process:
        """A process that sweeps."""
        return await self.process(sweeping=True, **options)

    @property
    def agreed(self) -> dict[str, str]:
        """The texts in the coordination store."""
        items = self.ports.coordination._items  # type: ignore[attr-defined]
        return {key: text for key, (text, _) in items.items() if isinstance(text, str)}

    @property
    def entries(self) -> dict[str, float]:
        """When timers are due, by name."""
        return timers_in(self.agreed)

    def left(self) -> set[str]:
        """The keys of what is left of timers."""
        return {key for key in self.agreed if key.startswith(PREFIX) and key != CURSOR}

    def finished_after(self, run_id: str) -> float:
        """How long a run took."""
        facts = self.facts(run_id)
        return facts[-1].at - facts[0].at


async def one(_: NodeContext[Any]) -> int:
    """A node."""
    return 1


async def passed(ctx: NodeContext[Any]) -> Any:
    """A node that passes on what it is given."""
    return ctx.input


async def six(_: NodeContext[Any]) -> list[int]:
    """The items of a batch."""
    return list(range(6))


async def fail(_: NodeContext[Any]) -> None:
    """A node that fails."""
    raise ValueError("no")


def flaky(attempts: int) -> Callable[[NodeContext[Any]], Awaitable[int]]:
    """A node that succeeds at a later attempt."""

    async def body(ctx: NodeContext[Any]) -> int:
        if ctx.attempt < attempts:
            raise ValueError("not yet")
        return 1

    return body


def sleeping(duration: str) -> FlowBuilder:
    """A pause between two nodes."""
    flow = create_flow("f").node("a", one).sleep("s", duration)
    return flow.node("b", passed).edge("a", "s").edge("s", "b")


def asking(timeout: str) -> FlowBuilder:
    """A question with a time limit."""
    return create_flow("f").wait("w", timeout=timeout).node("b", passed)


def with_world(case: Callable[[LongWorld], Awaitable[None]], **options: Any) -> None:
    """Run a case in a world of its own, and end it."""

    async def main() -> None:
        world = LongWorld(**options)
        try:
            await case(world)
        finally:
            await world.end()

    asyncio.run(main())


def test_a_long_sleep_is_no_message() -> None:
    """While a run sleeps for days there is one entry and no message; it wakes at its time."""

    async def case(world: LongWorld) -> None:
        world.knows(sleeping("3d"))
        await world.worker()
        await world.client.start_run("f", run_id="r")
        await world.advance(60)
        assert world.messages() == []
        assert list(world.entries.values()) == [world.row("r").due_at]
        await world.advance(3 * DAY - 120)
        assert world.status("r") == "awaiting"
        await world.advance(120)
        assert world.status("r") == "completed"
        assert 0 <= world.finished_after("r") - 3 * DAY < 1
        assert world.messages() == []
        assert world.left() == set()

    with_world(case)


def test_an_hour_is_a_message() -> None:
    """What sleeps no longer than an hour is a message, as it always was."""

    async def case(world: LongWorld) -> None:
        world.knows(sleeping("1h"))
        await world.worker()
        await world.client.start_run("f", run_id="r")
        await world.advance(60)
        assert len(world.messages()) == 1
        assert world.left() == set()
        assert (await world.finish("r")).status == "completed"

    with_world(case)


@pytest.mark.parametrize("days", [1, 10])
def test_a_killed_sweeper_is_replaced_in_time(days: int) -> None:
    """Whenever the sweeper is killed, another one sweeps before anything is late."""

    async def case(world: LongWorld) -> None:
        world.knows(sleeping(f"{days}d"))
        first = await world.worker()
        await world.client.start_run("f", run_id="r")
        # It has the lock, and dies right after its last sweep before the time has come near.
        await world.advance(days * DAY - 900 - 120)
        assert LOCK in world.agreed
        second = await world.worker()
        await world.advance(30)
        await first.kill()
        await world.advance(1200)
        assert second.life.calls
        assert world.status("r") == "completed"
        assert 0 <= world.finished_after("r") - days * DAY < 60
        assert world.left() == set()

    with_world(case)


def test_a_fleet_that_comes_back_fires_what_is_overdue_at_once() -> None:
    """Nobody worked for days in which a timer was due: it fires within a minute of the return."""

    async def case(world: LongWorld) -> None:
        world.knows(sleeping("2d"))
        first = await world.worker()
        await world.client.start_run("f", run_id="r")
        await world.advance(DAY)
        await first.kill()
        await world.advance(9 * DAY)
        assert world.status("r") == "awaiting"
        await world.worker()
        await world.advance(60)
        assert world.status("r") == "completed"
        await world.advance(600)
        assert world.left() == set()

    with_world(case)


def test_an_entry_that_is_lost_is_found_by_the_row() -> None:
    """Whoever empties the coordination table makes timers late, and loses none."""

    async def case(world: LongWorld) -> None:
        world.knows(sleeping("2d"))
        await world.worker(reconcile_every_seconds=60.0)
        await world.client.start_run("f", run_id="r")
        await world.advance(DAY)
        world.ports.coordination._items.clear()  # type: ignore[attr-defined]
        await world.advance(DAY + 300 + 120)
        assert world.status("r") == "completed"
        assert 300 <= world.finished_after("r") - 2 * DAY < 420
        assert world.left() == set()

    with_world(case)


def test_arming_again_makes_no_second_entry() -> None:
    """All that is outstanding is sent again ten times: it stays one entry, and fires once."""

    async def case(world: LongWorld) -> None:
        world.knows(sleeping("2d"))
        await world.worker()
        await world.client.start_run("f", run_id="r")
        await world.advance(60)
        for _ in range(10):
            await world.client.reconcile(stalled_threshold_seconds=0.0, force=True)
        assert len(world.entries) == 1
        assert world.messages() == []
        await world.advance(2 * DAY + 60)
        assert world.status("r") == "completed"
        assert world.left() == set()

    with_world(case)


def test_an_answer_takes_the_time_limit_away() -> None:
    """A question that is answered after a day leaves neither message nor entry of its ten days."""

    async def case(world: LongWorld) -> None:
        flow = asking("10d").edge("w", "b")
        world.knows(flow)
        await world.worker()
        await world.client.start_run("f", run_id="r")
        await world.advance(DAY)
        assert len(world.entries) == 1
        await world.client.resume_with_action("r", None, "yes")
        run = await world.finish("r")
        assert run.outputs["b"] == "yes"
        assert world.left() == set()

    with_world(case)


def test_a_time_limit_that_is_over_fires() -> None:
    """Nobody answers within ten days: the wait takes its action for that."""

    async def case(world: LongWorld) -> None:
        world.knows(asking("10d").edge("w", "b", action="timeout"))
        await world.worker()
        await world.client.start_run("f", run_id="r")
        await world.advance(10 * DAY + 60)
        assert world.status("r") == "completed"
        assert world.left() == set()

    with_world(case)


def test_a_cancelled_sleeper_leaves_nothing() -> None:
    """A run that is cancelled while it and its child sleep leaves no timer behind."""

    async def case(world: LongWorld) -> None:
        child = create_flow("child").sleep("s", "3d")
        flow = create_flow("f").subflow("c", child).wait("w", timeout="5d")
        world.knows(flow)
        await world.worker()
        await world.client.start_run("f", run_id="r")
        await world.advance(HOUR)
        assert len(world.entries) == 2
        await world.client.cancel_run("r")
        await world.finish("r")
        assert world.status("r") == "cancelled"
        assert world.left() == set()

    with_world(case)


def test_a_sleep_that_is_ended_early_leaves_nothing() -> None:
    """A resume ends a sleep of a year, and takes its timer with it."""

    async def case(world: LongWorld) -> None:
        world.knows(sleeping("365d"))
        await world.worker()
        await world.client.start_run("f", run_id="r")
        await world.advance(DAY)
        await world.client.resume_with_action("r", node_id="s")
        await world.finish("r")
        assert world.left() == set()

    with_world(case)


def test_a_run_that_fails_fast_takes_its_timers_away() -> None:
    """The end of a run by a failure beside a sleep leaves nothing of the sleep."""

    async def case(world: LongWorld) -> None:
        flow = create_flow("f").sleep("s", "30d").sleep("t", "5m").node("x", fail).edge("t", "x")
        world.knows(flow)
        await world.worker()
        await world.client.start_run("f", run_id="r", on_failure="fail_fast")
        await world.advance(60)
        assert len(world.entries) == 1
        await world.finish("r")
        assert world.status("r") == "failed"
        assert world.left() == set()

    with_world(case)


def test_a_start_in_some_days_is_an_entry() -> None:
    """A run that starts in two days does; one that is cancelled before leaves nothing."""

    async def case(world: LongWorld) -> None:
        world.knows(create_flow("f").node("a", one))
        await world.worker()
        at = datetime.fromtimestamp(world.clock.now() + 2 * DAY, UTC)
        await world.client.start_run("f", run_id="r", start_at=at)
        await world.client.start_run("f", run_id="gone", start_at=at)
        await world.client.start_run("f", run_id="r", start_at=at)
        await world.advance(60)
        assert len(world.entries) == 2
        await world.client.cancel_run("gone")
        await world.advance(60)
        assert world.status("gone") == "cancelled"
        assert len(world.entries) == 1
        await world.advance(2 * DAY - 180)
        assert world.status("r") == "running"
        await world.advance(120)
        assert world.status("r") == "completed"
        assert world.left() == set()

    with_world(case)


def test_a_retry_in_some_hours_is_an_entry() -> None:
    """A delay of hours before a retry is kept like a sleep, and each attempt comes in time."""

    async def case(world: LongWorld) -> None:
        retry = RetryPolicy(max_attempts=3, delay=7200, max_delay=7200, jitter=False)
        world.knows(create_flow("f").node("a", flaky(3), retry=retry))
        await world.worker()
        await world.client.start_run("f", run_id="r")
        await world.advance(60)
        assert len(world.entries) == 1
        await world.advance(4 * HOUR)
        assert world.status("r") == "completed"
        assert 0 <= world.finished_after("r") - 2 * 7200 < 60
        assert world.left() == set()

    with_world(case)


def test_items_of_shards_are_tried_again_hours_later() -> None:
    """Timers of the parts of a large batch are kept and fired like those of runs."""

    async def case(world: LongWorld) -> None:
        retry = RetryPolicy(max_attempts=2, delay=7200, jitter=False)
        flow = create_flow("f").node("list", six)
        flow.batch("b", flaky(2), uses="item", retry=retry).edge("list", "b")
        world.shard_items = 2
        world.knows(flow)
        await world.worker()
        await world.client.start_run("f", run_id="r")
        await world.advance(60)
        assert len(world.entries) == 6
        await world.advance(2 * HOUR + 60)
        assert world.status("r") == "completed"
        assert world.left() == set()

    with_world(case)


def test_what_a_timer_brings_is_encoded() -> None:
    """With a codec the entry holds what the message would, and the worker reads it."""

    async def case(world: LongWorld) -> None:
        world.knows(sleeping("2d"))
        await world.worker()
        await world.client.start_run("f", run_id="r")
        await world.advance(60)
        (text,) = [text for key, text in world.agreed.items() if key in world.left()]
        assert "encoded:" in text
        assert "TimerFired" not in text
        await world.advance(2 * DAY)
        assert world.status("r") == "completed"

    with_world(case, codec=ToyCodec())


def test_what_is_too_long_for_an_entry_is_a_message() -> None:
    """A message that is longer than an entry may be is delayed as far as the queue goes."""

    async def case(world: LongWorld) -> None:
        delays = LongDelays(
            world.ports.queue, Calendar(world.ports.coordination, HOUR), world.clock
        )
        due_at = world.clock.now() + DAY
        await delays.send([Outgoing("x" * 5000, DAY, "aa" * 12, due_at), Outgoing("short")])
        assert world.left() == set()
        assert len(world.bodies_of_messages()) == 2

    with_world(case)


def test_an_entry_of_another_kind_does_not_stop_a_sweep(caplog: pytest.LogCaptureFixture) -> None:
    """What a newer version has kept is reported and left out; the others are sent."""

    async def case(world: LongWorld) -> None:
        calendar = Calendar(world.ports.coordination, HOUR)
        now = world.clock.now()
        bad = Later("ab" * 12, now + DAY, {"colour": "red"})
        good = Later("cd" * 12, now + DAY, {"body": "good"})
        await calendar.add([bad, good], now)
        await world.advance(DAY)
        station = Station(world.ports, RuntimeOptions(), world.clock, None)  # type: ignore[arg-type]
        assert await Sweeper(station).sweep() == 2
        assert world.bodies_of_messages() == ["good"]

    with_world(case)
    assert "cannot be read" in caplog.text


def test_names_differ_by_run_epoch_and_event() -> None:
    """Two timers of one name are the same timer: no two others have one."""
    names = {timer_name(run, epoch, None) for run in ("a", "b") for epoch in ("1", "2")}
    assert len(names) == 4
    assert timer_name("ä\ud800", "1", None)


class Counted:
    """A port whose calls are counted."""

    def __init__(self, port: Any, name: str, made: Counter[str]) -> None:
        self._port = port
        self._name = name
        self._made = made

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._port, name)
        if not asyncio.iscoroutinefunction(value):
            return value

        async def call(*arguments: Any, **options: Any) -> Any:
            self._made[f"{self._name}.{name}"] += 1
            return await value(*arguments, **options)

        return call


class Idle:
    """A fleet that does nothing but sweep, and whose calls are counted."""

    def __init__(self) -> None:
        self.world = LongWorld()
        self.made: Counter[str] = Counter()
        ports = self.world.ports
        counted = (
            Counted(port, name, self.made) for port, name in zip(ports, Ports._fields, strict=True)
        )
        self.station = Station(
            Ports(*counted),
            self.world.runtime.options,
            self.world.clock,
            None,  # type: ignore[arg-type]
        )
        self.sweeper = Sweeper(self.station)

    async def sweep_until(self, end: float, every_seconds: float = 240.0) -> None:
        """Let time pass, with a sweep every so often."""
        clock = self.world.clock
        while clock.now() < end:
            clock.advance_to(min(end, clock.now() + every_seconds))
            await self.sweeper.sweep()


@pytest.mark.parametrize("days", [30, 365])
def test_a_long_wait_costs_a_handful_of_requests(days: int) -> None:
    """Beyond what sweeping costs anyway a month is ten requests at most; a year is no more."""

    async def case() -> None:
        costs = []
        for count in (0, 1):
            idle = Idle()
            clock = idle.world.clock
            due_at = clock.now() + days * DAY
            for _ in range(count):
                message = Outgoing("{}", days * DAY, "ab" * 12, due_at)
                await idle.station.queue.send([message])
            await idle.sweep_until(due_at - DAY, 900.0)
            assert len(idle.world.entries) == count
            await idle.sweep_until(due_at)
            assert len(idle.world.bodies_of_messages()) == count
            await idle.sweep_until(due_at + 2 * HOUR)
            assert idle.world.left() == set()
            costs.append(idle.made.total())
        assert costs[1] - costs[0] <= 10
        sweeps_an_hour = HOUR / 240.0
        assert costs[0] <= days * 24 * (sweeps_an_hour + 8)

    asyncio.run(case())


def test_an_idle_fleet_pays_less_than_a_request_a_minute() -> None:
    """All that a worker with nothing to do asks for because of timers, in a day, by the minute."""

    async def case(world: LongWorld) -> None:
        made: Counter[str] = Counter()
        coordination = Counted(world.ports.coordination, "coordination", made)
        world.ports = world.ports._replace(coordination=coordination)
        await world.worker()
        await world.advance(HOUR)
        made.clear()
        await world.advance(DAY)
        assert 0.2 <= made.total() / (DAY / 60) <= 0.75

    with_world(case)


def test_a_start_that_is_repeated_does_not_wait_for_another_timer() -> None:
    """Who started a run that begins with a sleep died before its message: it goes on at once."""

    async def case(world: LongWorld) -> None:
        world.knows(create_flow("f").sleep("s", "3d").node("a", one))
        await world.client.start_run("f", run_id="r")
        world.ports.queue._messages.clear()  # type: ignore[attr-defined]
        await world.client.start_run("f", run_id="r")
        await world.worker()
        await world.advance(60)
        assert [type(each).__name__ for each in world.events("r")][1:] == ["NodeSucceeded"]

    with_world(case)


def test_a_timer_fires_although_nobody_worked_for_days() -> None:
    """Whoever keeps the first timer notes where a sweep has to begin, long before there is one."""

    async def case(world: LongWorld) -> None:
        world.knows(create_flow("f").node("a", one))
        start_at = datetime.fromtimestamp(world.clock.now() + DAY, UTC)
        await world.client.start_run("f", run_id="run", start_at=start_at)
        assert len(world.entries) == 1
        world.clock.advance(3 * DAY)
        await world.worker()
        await world.advance(HOUR)
        assert (await world.client.get_run("run")).status == "completed"
        assert world.entries == {}

    with_world(case)
