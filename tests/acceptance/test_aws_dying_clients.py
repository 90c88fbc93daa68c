"""Clients of a fleet that die after any of their requests: every run goes on all the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from flowcraft import create_flow
from flowcraft.engine.client import FlowClient
from flowcraft.ports.runs import Query
from tests.acceptance.aws_worker_world import AwsWorld, play
from tests.unit.durable import Died, at_once

MOST_REQUESTS = 40
STALLED_SECONDS = 120.0
RESTS = ("completed", "failed", "cancelled", "awaiting", "paused")

Call = Callable[[FlowClient], Awaitable[Any]]


class Story(NamedTuple):
    """What a client does that dies.

    Attributes:
        call: Its call, about the run "run" where it is about one.
        before: Brings that run to where it can be asked.
        accepted: The status of the run, and the number of runs, if the call was heard.
        refused: The same, if the client died too soon.
    """

    call: Call
    before: Callable[[AwsWorld], Awaitable[None]]
    accepted: tuple[str, int]
    refused: tuple[str, int]


async def nothing(world: AwsWorld) -> None:
    """There is no run before."""


def flows(world: AwsWorld) -> None:
    """A run that waits for an answer, and one that fails when it runs for the first time."""
    failures = iter([True])

    async def picky(ctx: Any) -> str:
        world.count(ctx)
        if next(failures, False):
            raise ValueError("not yet")
        return "well"

    asks = create_flow("asks").node("first", world.body("one")).wait("answer")
    asks.node("last", world.body("end")).edge("first", "answer").edge("answer", "last")
    fails = create_flow("fails").node("first", world.body("one")).node("picky", picky)
    fails.edge("first", "picky")
    pair = create_flow("pair").node("first", world.body("one")).node("second", world.body("two"))
    pair.edge("first", "second")
    world.knows(asks, fails, pair)


def begun(flow: str, status: str) -> Callable[[AwsWorld], Awaitable[None]]:
    """Brings a run to a status."""

    async def work(world: AwsWorld) -> None:
        await world.client.start_run(flow, run_id="run")
        await world.until(lambda: world.status("run") == status, status)
        await world.until(lambda: not world.messages(), "an empty queue")

    return work


async def paused(world: AwsWorld) -> None:
    """A run that waits for an answer, paused."""
    await begun("asks", "awaiting")(world)
    await world.client.pause_run("run")
    await world.until(lambda: world.status("run") == "paused", "the pause")
    await world.until(lambda: not world.messages(), "an empty queue")


WAITING = begun("asks", "awaiting")
FAILED = begun("fails", "failed")
DONE = begun("pair", "completed")

STORIES = {
    "start": Story(
        lambda client: client.start_run("pair", run_id="run"), nothing, ("completed", 1), ("", 0)
    ),
    "start with a key": Story(
        lambda client: client.start_run("pair", run_id="run", idempotency_key="k"),
        nothing,
        ("completed", 1),
        ("", 0),
    ),
    "cancel": Story(
        lambda client: client.cancel_run("run"), WAITING, ("cancelled", 1), ("awaiting", 1)
    ),
    "pause": Story(lambda client: client.pause_run("run"), WAITING, ("paused", 1), ("awaiting", 1)),
    "continue": Story(
        lambda client: client.continue_run("run"), paused, ("awaiting", 1), ("paused", 1)
    ),
    "resume": Story(
        lambda client: client.resume_with_action("run", output="yes"),
        WAITING,
        ("completed", 1),
        ("awaiting", 1),
    ),
    "resume with a large answer": Story(
        lambda client: client.resume_with_action("run", output="yes" * 200_000),
        WAITING,
        ("completed", 1),
        ("awaiting", 1),
    ),
    "skip": Story(
        lambda client: client.skip_node("run", "answer", "yes"),
        WAITING,
        ("completed", 1),
        ("awaiting", 1),
    ),
    "retry": Story(lambda client: client.retry_failed("run"), FAILED, ("failed", 2), ("failed", 1)),
    "rerun": Story(
        lambda client: client.rerun_from("run", "second", new_run_id="again"),
        DONE,
        ("completed", 2),
        ("completed", 1),
    ),
}


def is_over(call: Awaitable[Any]) -> Any:
    """Whether a call came to its end before the client died."""

    async def outlived() -> bool:
        try:
            await call
        except Died:
            return False
        return True

    return outlived()


def runs_of(world: AwsWorld) -> dict[str, str]:
    """All runs, with their statuses."""
    heads = at_once(world.ports.runs.find(Query(limit=100, parts=True)))
    return {head.run_id: str(head.row.status) for head in heads}


async def come_to_rest(world: AwsWorld) -> None:
    """Let worker and reconciler do their work until nothing is left to do."""
    for _ in range(2):
        await world.advance(STALLED_SECONDS + 1)
        await world.client.reconcile(stalled_threshold_seconds=STALLED_SECONDS)
    await world.until(lambda: not world.messages(), "an empty queue")


def told(story: Story, last: int) -> tuple[bool, bool]:
    """Let a client die at its request of a number.

    Returns:
        Whether it outlived the call, and whether what it asked for came about.
    """
    outlived: list[bool] = []
    heard: list[bool] = []

    async def work(world: AwsWorld) -> None:
        flows(world)
        await world.process()
        await story.before(world)
        client = world.mortal_client(last)
        outlived.append(await is_over(story.call(client)))
        await come_to_rest(world)
        runs = runs_of(world)
        seen = (runs.get("run", ""), len(runs))
        assert seen in ((story.accepted,) if outlived[0] else (story.accepted, story.refused))
        heard.append(seen == story.accepted)
        assert all(status in RESTS for status in runs.values())
        for run_id, status in runs.items():
            assert run_id == "run" or status == "completed"
        # Whoever asks once more gets what was asked for, and gets it once.
        if seen == story.refused:
            await story.call(world.client)
            await come_to_rest(world)
            runs = runs_of(world)
            assert (runs.get("run", ""), len(runs)) == story.accepted
        assert world.doubled() == []
        # Nobody died who was running a node: no body runs twice but the one that is retried.
        assert max(world.bodies.values()) == 1
        assert world.dead_letters() == []

    play(work)
    return outlived[0], heard[0]


@pytest.mark.parametrize("name", STORIES)
def test_a_client_that_dies_leaves_no_run_behind(name: str) -> None:
    """After whichever request it dies: the run rests or ends, as if it was asked, or was not."""
    deaths = []
    for last in range(1, MOST_REQUESTS):
        outlived, heard = told(STORIES[name], last)
        if outlived:
            break
        deaths.append(heard)
    assert outlived
    # Died too soon, it was not heard; died once it had said all, it was; in between nothing is.
    assert deaths == sorted(deaths)
    assert set(deaths) == {False, True}
