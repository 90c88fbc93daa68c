"""Virtual time: what is called when, jumping, and what keeps time standing still."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from flowcraft.engine.context import NodeContext, SyncNodeContext
from flowcraft.engine.runtime import FlowRuntime
from flowcraft.errors import RunTimeout
from flowcraft.ports.clock import Clock
from flowcraft.testing import VirtualClock
from flowcraft.testing.clock import START


def one_node(uses: str, **config: Any) -> dict[str, Any]:
    """A blueprint of one node."""
    return {"id": "one", "nodes": [{"id": "node", "uses": uses, "config": config}], "edges": []}


def sleeping(*durations: str) -> dict[str, Any]:
    """A blueprint of sleeps, one after the other."""
    ids = [f"sleep{number}" for number in range(len(durations))]
    return {
        "id": "sleeping",
        "nodes": [
            {"id": id_, "uses": "sleep", "params": {"duration": duration}}
            for id_, duration in zip(ids, durations, strict=True)
        ],
        "edges": [{"source": a, "target": b} for a, b in pairwise(ids)],
    }


def test_time_starts_at_a_fixed_moment_and_stands_still() -> None:
    """A clock starts at the first of January 2024 and shows the same time until it is advanced."""
    clock: Clock = VirtualClock()
    assert datetime.fromtimestamp(clock.now(), UTC) == datetime(2024, 1, 1, tzinfo=UTC)
    assert clock.now() == START


def test_the_start_can_be_a_datetime() -> None:
    """A datetime in any zone is a start; one without a zone is refused."""
    start = datetime(2030, 6, 1, 12, tzinfo=UTC)
    assert VirtualClock(start).now() == start.timestamp()
    with pytest.raises(ValueError, match="no time zone"):
        VirtualClock(datetime(2030, 6, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [("1d", 86400), ("90s", 90), ("250ms", 0.25), (timedelta(minutes=5), 300), (2.5, 2.5), (0, 0)],
)
def test_a_duration_is_seconds_a_text_or_a_timedelta(duration: Any, seconds: float) -> None:
    """Time advances by what each way of writing a duration says."""
    clock = VirtualClock()
    clock.advance(duration)
    assert clock.now() == START + seconds


@pytest.mark.parametrize(
    "duration", [-1, timedelta(seconds=-1), float("inf"), float("nan"), True, None, "soon", "-1s"]
)
def test_time_never_goes_back(duration: Any) -> None:
    """What is negative, endless or no duration is refused, and time stands where it was."""
    clock = VirtualClock()
    with pytest.raises(ValueError, match=r"duration|clock"):
        clock.advance(duration)
    assert clock.now() == START


def test_advancing_to_the_past_is_refused() -> None:
    """A time before the present one is refused with the distance."""
    clock = VirtualClock()
    clock.advance("1h")
    with pytest.raises(ValueError, match="does not go back: this is 3600 s ago"):
        clock.advance_to(START)


def test_calls_are_made_in_order_each_at_its_time() -> None:
    """Calls come in the order of their times, those of one time in the order of arrangement."""
    clock, calls = VirtualClock(), list[tuple[str, float]]()

    def note(name: str) -> None:
        calls.append((name, clock.now() - START))

    for name, delay in [("late", 20), ("first", 10), ("second", 10), ("never", 31)]:
        clock.call_at(START + delay, partial(note, name))
    clock.advance(30)
    assert calls == [("first", 10), ("second", 10), ("late", 20)]
    assert clock.next_due == START + 31


def test_a_call_made_meanwhile_may_arrange_another() -> None:
    """What a call arranges is called in the same advance, if it is due within it."""
    clock, times = VirtualClock(), list[float]()

    def again() -> None:
        times.append(clock.now() - START)
        clock.call_at(clock.now() + 10, again)

    clock.call_at(START + 10, again)
    clock.advance(35)
    assert times == [10, 20, 30]


def test_a_cancelled_call_is_not_made() -> None:
    """A timer that is cancelled, before or by an earlier call, neither fires nor counts."""
    clock, calls = VirtualClock(), list[str]()
    second = clock.call_at(START + 2, lambda: calls.append("second"))
    clock.call_at(START + 1, second.cancel)
    clock.call_at(START + 3, lambda: calls.append("third")).cancel()
    clock.advance(5)
    assert calls == []
    assert clock.next_due is None


def test_small_steps_do_not_add_up_to_an_error() -> None:
    """Ten steps of a tenth reach what is due after one second."""
    clock, calls = VirtualClock(), list[float]()
    clock.call_at(START + 1.0, lambda: calls.append(clock.now()))
    for _ in range(10):
        clock.advance(0.1)
    assert calls == [START + 1.0]


def test_a_call_is_never_early() -> None:
    """At a call the clock shows at least the exact time that was asked for."""
    clock, early = VirtualClock(), list[float]()

    def check(when: float) -> None:
        if clock.now() < when:
            early.append(when)

    for step in range(1, 200):
        when = START + step * 0.0012207
        clock.call_at(when, partial(check, when))
    clock.advance(1)
    assert early == []


def test_a_call_cannot_advance_the_clock() -> None:
    """Advancing from within a call is refused: time would pass inside of a moment."""
    clock = VirtualClock()
    clock.call_at(START + 1, lambda: clock.advance(1))
    with pytest.raises(RuntimeError, match="being advanced already"):
        clock.advance(2)


def test_what_is_due_at_once_is_called_by_the_event_loop() -> None:
    """A call arranged for now is made at the event loop's next turn, without advancing."""

    async def arrange() -> list[str]:
        clock, calls = VirtualClock(), list[str]()
        clock.call_at(clock.now(), lambda: calls.append("now"))
        assert calls == []
        await asyncio.sleep(0)
        return calls

    assert asyncio.run(arrange()) == ["now"]


def test_a_clock_that_jumps_has_to_know_what_is_at_work() -> None:
    """Without a runtime or a function to ask, a jumping clock refuses to be used."""
    with pytest.raises(RuntimeError, match=r"attach\(runtime\)"):
        VirtualClock(autojump=True).call_at(START + 1, lambda: None)


def test_an_attached_clock_jumps_over_sleeps() -> None:
    """A year of sleeps passes by itself, and the clock shows it."""
    clock = VirtualClock(autojump=True)
    runtime = FlowRuntime(clock=clock)
    clock.attach(runtime)
    result = runtime.run_sync(sleeping("300d", "60d"), {})
    assert result.status == "completed"
    assert clock.now() == START + 360 * 86400


def test_a_jumping_clock_serves_one_event_loop_after_the_other() -> None:
    """Two runs with an event loop each work with one clock."""
    clock = VirtualClock(autojump=True)
    runtime = FlowRuntime(clock=clock)
    clock.attach(runtime)
    for _ in range(2):
        assert runtime.run_sync(sleeping("1d")).status == "completed"
    assert clock.now() == START + 2 * 86400


def test_a_jumping_clock_survives_an_event_loop_that_broke_off() -> None:
    """What an event loop left undone is due in the next one, and the clock jumps on."""
    clock, calls = VirtualClock(autojump=True, busy=lambda: False), list[str]()

    async def leave() -> None:
        clock.call_at(START + 5, lambda: calls.append("left behind"))

    async def go_on() -> None:
        done = asyncio.get_running_loop().create_future()
        clock.call_at(START + 10, lambda: done.set_result(None))
        await asyncio.wait_for(done, 10)

    asyncio.run(leave())
    asyncio.run(go_on())
    assert (calls, clock.now()) == (["left behind"], START + 10)


def test_time_does_not_jump_while_a_node_waits_for_something_real() -> None:
    """While an async node waits for I/O or a plain one computes, no timer fires."""

    async def io(ctx: NodeContext[Any]) -> float:
        await asyncio.to_thread(finished.wait, 5)
        return clock.now()

    def compute(ctx: SyncNodeContext[Any]) -> float:
        finished.wait(5)
        return clock.now()

    async def run() -> list[float]:
        blueprint = {
            "id": "b",
            "nodes": [
                {"id": "io", "uses": "io"},
                {"id": "compute", "uses": "compute"},
                {"id": "sleep", "uses": "sleep", "params": {"duration": "1d"}},
            ],
            "edges": [],
        }
        running = asyncio.create_task(runtime.run(blueprint))
        for _ in range(500):
            await asyncio.sleep(0)
        finished.set()
        result = await running
        return [result.outputs["io"], result.outputs["compute"]]

    finished = threading.Event()
    clock = VirtualClock(autojump=True)
    runtime = FlowRuntime(clock=clock, registry={"io": io, "compute": compute})
    clock.attach(runtime)
    assert asyncio.run(run()) == [START, START]
    assert clock.now() == START + 86400


def test_a_virtual_sleep_inside_a_node_does_not_hold_time_up() -> None:
    """A node that sleeps by the clock times out when its virtual time is over."""

    async def slow(ctx: NodeContext[Any]) -> str:
        await clock.sleep("1h")
        return "done"

    clock = VirtualClock(autojump=True)
    runtime = FlowRuntime(clock=clock, registry={"slow": slow})
    clock.attach(runtime)
    assert runtime.run_sync(one_node("slow", timeout=3_600_001)).status == "completed"
    result = runtime.run_sync(one_node("slow", timeout=60_000))
    assert [error.type for error in result.errors] == ["NodeTimeout"]
    assert clock.now() == START + 3600 + 60


def test_a_virtual_sleep_in_a_task_of_the_node_counts_as_the_nodes() -> None:
    """Sleeping in a task that the node started lets time pass, too."""

    async def slow(ctx: NodeContext[Any]) -> str:
        await asyncio.gather(clock.sleep("1h"), clock.sleep("2h"))
        return "done"

    clock = VirtualClock(autojump=True)
    runtime = FlowRuntime(clock=clock, registry={"slow": slow})
    clock.attach(runtime)
    assert runtime.run_sync(one_node("slow")).outputs["node"] == "done"
    assert clock.now() == START + 7200


def test_a_function_can_say_what_is_at_work() -> None:
    """A clock with a ``busy`` function jumps only when that says so."""

    async def wait() -> float:
        clock = VirtualClock(autojump=True, busy=lambda: bool(work))
        done = asyncio.get_running_loop().create_future()
        clock.call_at(START + 5, lambda: done.set_result(clock.now()))
        for _ in range(500):
            await asyncio.sleep(0)
        assert not done.done()
        work.clear()
        return float(await done)

    work = ["a request"]
    assert asyncio.run(wait()) == START + 5


def test_a_jumping_clock_says_why_time_stands_still(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When a node makes no progress for long, one warning names it."""

    async def hangs(ctx: NodeContext[Any]) -> None:
        await stuck.wait()

    async def run() -> None:
        running = asyncio.create_task(runtime.run(one_node("hangs", timeout=1000), run_id="r1"))
        while not caplog.records:
            await asyncio.sleep(0)
        stuck.set()
        await running

    stuck = asyncio.Event()
    monkeypatch.setattr("flowcraft.testing.clock.PATIENCE_SECONDS", 0.0)
    clock = VirtualClock(autojump=True)
    runtime = FlowRuntime(clock=clock, registry={"hangs": hangs})
    clock.attach(runtime)
    with caplog.at_level(logging.WARNING, logger="flowcraft.testing"):
        asyncio.run(asyncio.wait_for(run(), 10))
    assert len(caplog.records) == 1
    assert "node 'node' of run 'r1' has been at work" in caplog.records[0].getMessage()


def test_settling_gives_up_on_a_node_that_hangs() -> None:
    """Waiting for nodes ends with an error that names the one at work and what to do."""

    async def hangs(ctx: NodeContext[Any]) -> None:
        await asyncio.get_running_loop().create_future()

    async def run() -> None:
        running = asyncio.create_task(runtime.run(one_node("hangs"), run_id="r1"))
        try:
            await clock.settle(patience_seconds=0)
        finally:
            running.cancel()
            await asyncio.wait([running])

    clock = VirtualClock()
    runtime = FlowRuntime(registry={"hangs": hangs})
    clock.attach(runtime)
    with pytest.raises(RunTimeout, match=r"node 'node' of run 'r1'.*while_busy=True"):
        asyncio.run(run())


def test_detaching_gives_the_runtime_its_clock_back() -> None:
    """After detaching, clock and middleware are what they were."""
    runtime = FlowRuntime()
    before = (runtime.clock, runtime.options.middleware)
    clock = VirtualClock()
    detach = clock.attach(runtime)
    assert runtime.clock is clock
    detach()
    detach()
    assert (runtime.clock, runtime.options.middleware) == before


def test_a_runtime_follows_one_virtual_clock_at_a_time() -> None:
    """A second clock is refused while the runtime follows a first one."""
    runtime = FlowRuntime()
    VirtualClock().attach(runtime)
    with pytest.raises(RuntimeError, match="follows a virtual clock already"):
        VirtualClock().attach(runtime)
