"""Faults of the simulation: what each kind does to a request, and to who makes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from flowcraft.adapters.memory import MemoryQueue
from flowcraft.errors import StorageBusy, StorageUnavailable
from flowcraft.ports.queue import Outgoing
from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.clock import SimulationClock
from flowcraft.testing.simulate.faults import Fault, FaultyPort, Kind, Life
from flowcraft.testing.simulate.loop import SimulationLoop
from flowcraft.testing.simulate.options import read_scenario
from flowcraft.testing.simulate.scenario import Scenario, any_scenario


class Stage:
    """A process with a queue of which some requests are disturbed."""

    def __init__(self, *faults: str) -> None:
        self.loop = SimulationLoop(Chance(1))
        read = [Fault.read(f"p:{text}") for text in faults]
        self.seen: list[Any] = []
        self.life = Life("p", self.loop, Chance(2), read, see=self.seen.append)
        self.queue = MemoryQueue(SimulationClock(self.loop), visibility_seconds=30)
        self.port: Any = FaultyPort(self.queue, self.life, "queue")
        self.errors: list[Exception] = []

    @property
    def waiting(self) -> int:
        """How many messages there are."""
        return len(self.queue._messages)

    async def send(self, count: int = 1) -> None:
        """Send messages; an error is kept."""
        try:
            await self.port.send([Outgoing("m")] * count)
        except Exception as error:
            self.errors.append(error)

    def act(self, role: Callable[[], Coroutine[Any, Any, None]], seconds: float = 1000.0) -> bool:
        """Let the process do something for a time; whether it came to its end."""

        async def main() -> bool:
            task = self.loop.create_task(role(), context=self.life.context)
            await asyncio.sleep(seconds)
            return bool(task.done())

        done = self.loop.run(main())
        self.life.is_over = True
        self.loop.bury([self.life])
        return done


@pytest.mark.parametrize(
    ("kind", "sent", "error"),
    [
        ("fail", 0, StorageBusy),
        ("break", 0, StorageUnavailable),
        ("throttle", 0, StorageBusy),
        ("lost", 2, StorageBusy),
        ("late:30", 2, StorageBusy),
        ("partial", 1, StorageBusy),
        ("slow-before:5", 2, None),
        ("slow-after:5", 2, None),
        ("stall-before:5", 2, None),
        ("stall-after:5", 2, None),
    ],
)
def test_a_request_that_is_disturbed(kind: str, sent: int, error: type[Exception] | None) -> None:
    """Each kind carries out what it says, and answers as it says."""
    stage = Stage(f"1:{kind}")
    assert stage.act(lambda: stage.send(2))
    assert stage.waiting == sent
    assert [type(each) for each in stage.errors] == ([] if error is None else [error])
    assert stage.life.harms


@pytest.mark.parametrize(("kind", "sent"), [("crash-before", 0), ("crash-after", 1)])
def test_a_process_that_dies_does_nothing_more(kind: str, sent: int) -> None:
    """It dies before, or after, the request, and whatever else of it runs touches nothing."""
    stage, after = Stage(f"2:{kind}"), []

    async def other() -> None:
        while True:
            await asyncio.sleep(1)
            after.append(stage.loop.time())

    async def role() -> None:
        stage.loop.create_task(other())
        await asyncio.sleep(2.5)
        await stage.port.extend([])
        try:
            await stage.send()
        finally:
            after.append(0.0 if stage.life.is_over else -1.0)

    died: list[bool] = []
    stage.life.on_death = lambda: died.append(True)
    assert not stage.act(role)
    assert stage.waiting == sent
    assert died == [True]
    # Two turns of the other task, and the cleaning up at the burial, when nothing counts.
    assert len(after) == 3
    assert after[-1] == 0.0


def test_a_stalled_process_stands_still_and_goes_on() -> None:
    """Nothing of it runs meanwhile, and afterwards it goes on where it was."""
    stage, beats = Stage("1:stall-before:100"), []

    async def other() -> None:
        while True:
            beats.append(stage.loop.time() - began)
            await asyncio.sleep(10)

    async def role() -> None:
        stage.loop.create_task(other())
        await asyncio.sleep(15)
        await stage.send()
        beats.append(-1.0)

    began = stage.loop.time()
    assert stage.act(role, 130)
    assert sorted(beats)[1:] == [0, 10, 115, 125]


def test_throttling_goes_on_for_a_while() -> None:
    """The next requests fail, too, and then they succeed."""
    stage = Stage("1:throttle")

    async def role() -> None:
        for _ in range(8):
            await stage.send()

    assert stage.act(role)
    assert len(stage.errors) == 5
    assert stage.waiting == 3


def test_a_look_counts_if_it_finds_something() -> None:
    """An empty look has no number; one that finds something takes it, though its answer is lost."""
    stage = Stage("2:lost")

    async def role() -> None:
        assert await stage.port.receive(10, 1.0) == []
        await stage.send()
        with pytest.raises(StorageBusy):
            await stage.port.receive(10, 1.0)
        assert await stage.port.receive(10, 1.0) == []
        assert stage.life.requests == 2

    assert stage.act(role)


def test_messages_are_taken_by_a_look_of_a_dead_process() -> None:
    """A look that waits when its process dies takes a message, until that is seen again."""
    stage = Stage()

    async def role() -> None:
        await stage.port.receive(10, 20.0)

    stage.loop.create_task(role(), context=stage.life.context)

    async def main() -> list[int]:
        await asyncio.sleep(1)
        stage.life.die()
        await stage.queue.send([Outgoing("m")])
        await asyncio.sleep(1)
        first = await stage.queue.receive(10, 0)
        await asyncio.sleep(30)
        return [len(first), len(await stage.queue.receive(10, 0))]

    assert stage.loop.run(main()) == [0, 1]
    stage.life.is_over = True
    stage.loop.bury([stage.life])


def scenarios(count: int) -> Sequence[Scenario]:
    """Scenarios of all kinds."""
    return [any_scenario("some graph", seed, {"worker-1": 40}) for seed in range(count)]


def test_a_scenario_is_read_as_it_is_written() -> None:
    """The options of a scenario name it exactly."""
    for scenario in scenarios(300):
        assert read_scenario(str(scenario)) == scenario


def test_scenarios_have_everything() -> None:
    """Every kind of fault, pairs of them, and every circumstance occur among 300 scenarios."""
    made = scenarios(300)
    assert {fault.kind for each in made for fault in each.faults} == set(Kind)
    assert {len(each.faults) for each in made} >= {1, 2, 3}
    names = ("doubles", "slow", "stranger", "older", "reconciler", "stale", "noise")
    for name in (*names, "skew_seconds"):
        assert {bool(getattr(each, name)) for each in made} == {False, True}, name


@pytest.mark.parametrize(
    "text", ["", "p", "p:x:lost", "p:1:nothing", "p:1:lost:soon", "p:1:lost:1:2"]
)
def test_what_is_no_fault_is_refused(text: str) -> None:
    """A text that names no fault is refused with how to write one."""
    with pytest.raises(ValueError, match="process:number:kind"):
        Fault.read(text)


@pytest.mark.parametrize(
    "text", ["--graph", "--seed x", "--graph a --graph b", "--graph a --other"]
)
def test_what_is_no_scenario_is_refused(text: str) -> None:
    """A text that names no scenario is refused."""
    with pytest.raises(ValueError, match=r"no scenario|one workflow"):
        read_scenario(text)
