"""Nodes that take an hour: each fault may have them begin anew, and that is nobody's mistake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from flowcraft import NodeContext, create_flow
from flowcraft.testing.simulate import Fault, Kind, Scenario, simulate
from flowcraft.testing.simulate.story import Told
from flowcraft.testing.simulate.users import story_of
from flowcraft.testing.simulate.world import World
from flowcraft.testing.simulate.zoo import STORIES


async def an_hour(_: NodeContext[Any]) -> int:
    """Take an hour."""
    await asyncio.sleep(3600)
    return 1


def in_turn() -> Any:
    """One after the other."""
    return at_once().edge("a", "b")


def at_once() -> Any:
    """Two nodes beside each other."""
    return create_flow("slow").node("a", an_hour).node("b", an_hour)


@pytest.mark.parametrize(
    ("flow", "replay"),
    [
        (in_turn, "--fault worker-1:748:crash-before"),
        (in_turn, "--fault worker-3:1039:crash-before --fault worker-1:300:crash-after"),
        (at_once, "--concurrency 1"),
        (at_once, "--concurrency 1 --fault worker-1:751:crash-before"),
    ],
)
def test_a_node_of_an_hour_that_begins_anew_is_no_violation(
    flow: Callable[[], Any], replay: str
) -> None:
    """A run in which bodies of an hour are had again takes hours more, and nothing is wrong."""
    report = simulate(flow, replay=f"--graph slow --seed 1 --one {replay}")
    assert report.ok, str(report.violations[0])


LOST_THRICE = (
    "--graph slow --seed 17 --one --workers 3 --fault worker-1:389:crash-before "
    "--fault worker-2:444:crash-before --fault worker-3:189:crash-before"
)


def test_a_node_of_an_hour_that_loses_its_workers_is_given_up() -> None:
    """Where three workers die within one body it is given up, as is promised."""
    checked: list[str] = []
    report = simulate(
        in_turn, replay=LOST_THRICE, check=lambda run: checked.append(str(run.status))
    )
    assert report.ok, str(report.violations[0])
    assert set(checked) == {"completed"}, "the run that was given up is not checked"
    assert report.repeated["a"][0] == 3


@pytest.mark.slow
def test_nodes_of_an_hour_bear_whatever_happens() -> None:
    """A flow whose nodes take an hour has no violations that its length alone makes."""
    report = simulate(in_turn, runs=30)
    assert report.ok, str(report.violations[0])


def test_short_nodes_have_no_more_patience_than_they_had() -> None:
    """The time that a run may take grows with bodies of minutes, and with no others."""
    faults = (Fault("worker-1", 3, Kind.STALL_AFTER, 75.0), Fault("worker-1", 5, Kind.LOST))
    for story in (STORIES["diamond"], STORIES["sleep"]):
        scenario = Scenario(story.name, 1, faults=faults, noise=0.03)
        world = World(Told(story, story.build()), scenario)
        assert world.patience_seconds == 1800.0 + story.truth.seconds + 10 * 75.0
        world.bury()
    slow = story_of(in_turn)
    world = World(Told(slow, slow.build()), Scenario("slow", 1, faults=faults))
    assert world.patience_seconds == 1800.0 + 7200.0 + 10 * 75.0 + 3 * 7200.0
    world.bury()
