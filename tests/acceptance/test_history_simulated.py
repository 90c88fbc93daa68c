"""The history of simulated runs, whatever went wrong meanwhile: it is the run, once more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from flowcraft import FlowRuntime, RunResult
from flowcraft.client import read_history
from flowcraft.engine.history_events import HistoryEvent
from flowcraft.testing.simulate.backends import MemoryBackend
from flowcraft.testing.simulate.invariants import problems_of
from flowcraft.testing.simulate.named import backend_named
from flowcraft.testing.simulate.scenario import Scenario, any_scenario
from flowcraft.testing.simulate.story import Story, Told
from flowcraft.testing.simulate.threads import DirectCalls
from flowcraft.testing.simulate.world import ALL_RUNS, World
from flowcraft.testing.simulate.zoo import STORIES

SEED = 3
ON_AWS = ("batch", "loop", "subflow", "cancel", "spilled", "answer")
OF_A_WHOLE_RUN = "workflow:start", "workflow:finish"


def outcome(result: RunResult) -> dict[str, Any]:
    """All that a result tells."""
    return {
        "run": (result.run_id, result.blueprint_id, str(result.status)),
        "outputs": dict(result.outputs),
        "context": dict(result.context),
        "states": result.states,
        "errors": result.errors,
        "awaiting": result.awaiting,
        "compensations": result.compensations,
    }


async def looked_into(world: World, file: Path) -> int:
    """Let a world go on to its end, then compare the histories of its runs with what is stored."""
    ending = await world.live()
    assert not await problems_of(world, ending)
    if world.is_gone:
        return 0
    seen = 0
    for head in await world.ports.runs.find(ALL_RUNS):
        if head.is_part:
            continue
        stored = await world.client.get_run(head.run_id)
        events = [event async for event in world.client.history(head.run_id)]
        assert await world.client.export_history(head.run_id, file) == len(events)
        serializer = world.options.serializer
        read = list(read_history(file, serializer=serializer))
        assert [each.payload for each in read if each.type == "history:damaged"] == []
        in_order(events)
        assert Counter(map(place, read)) == Counter(map(place, events))
        runtime = FlowRuntime(
            serializer=serializer, evaluator=world.options.evaluator, clock=world.client._clock
        )
        runtime.threads = DirectCalls()
        assert events[0].stored is not None
        blueprint = events[0].stored.blueprint
        assert blueprint is not None
        assert outcome(await runtime.replay(blueprint, read)) == outcome(stored)
        seen += 1
    return seen


def place(event: HistoryEvent) -> tuple[Any, ...]:
    return event.record, event.fact, event.type, event.node_id, event.timestamp, event.attempt


def in_order(events: list[HistoryEvent]) -> None:
    """Of each record the facts come one after the other; each run begins, and ends, once."""
    numbers: dict[str, int] = {}
    whole: Counter[tuple[str, str]] = Counter()
    for event in events:
        last = numbers.get(event.record, -1)
        assert event.fact - last in (0, 1)
        assert (event.stored is not None) == (event.fact != last)
        numbers[event.record] = event.fact
        if event.type in OF_A_WHOLE_RUN:
            whole[event.record, event.type] += 1
    assert set(whole.values()) == {1}


def play(story: Story, scenario: Scenario, file: Path, backend: Any = MemoryBackend) -> int:
    _ = story.truth  # told by another loop, so before this one
    world = World(Told(story, story.build()), scenario, backend)
    try:
        return world.loop.run(looked_into(world, file))
    finally:
        world.bury()


@pytest.mark.parametrize("name", STORIES)
def test_a_history_is_what_is_stored_whatever_went_wrong(name: str, tmp_path: Path) -> None:
    """A run of each kind, disturbed by whatever chance has, is replayed from its history."""
    story = STORIES[name]
    scenario = any_scenario(name, SEED, {"worker-1": 30, "client-1": 3})
    assert play(story, scenario, tmp_path / "r.jsonl") or story.is_deleted


@pytest.mark.parametrize("name", ON_AWS)
def test_a_history_is_what_is_stored_on_aws(name: str, tmp_path: Path) -> None:
    """Facts that are packed, and values that lie beside them, are told as any others."""
    scenario = Scenario(name, SEED)
    assert play(STORIES[name], scenario, tmp_path / "r.jsonl", backend_named("aws"))
