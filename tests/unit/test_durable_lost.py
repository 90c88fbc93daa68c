"""Workers that are gone, and workers that were taken for gone (rule S9)."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

import pytest

from flowcraft import RetryPolicy, create_flow
from flowcraft.core import events as ev
from flowcraft.core.builder import FlowBuilder
from tests.unit.durable import LEASE_SECONDS, World, play
from tests.unit.runs import Ctx

RUN = "run"


class Deadly:
    """A node that its worker does not outlive, some times."""

    def __init__(self, world: World, times: int, result: Any = "done") -> None:
        self.world = world
        self.left = times
        self.result = result
        self.attempts: list[int] = []

    def node(self) -> Any:
        async def deadly(ctx: Ctx) -> Any:
            self.world.count(ctx)
            self.attempts.append(ctx.attempt)
            if self.left:
                self.left -= 1
                # It hangs until its process is ended.
                await asyncio.Event().wait()
            return self.result

        return deadly


def plain(world: World, deadly: Deadly) -> FlowBuilder:
    retry = RetryPolicy(max_attempts=1)
    flow = create_flow("plain").node("a", world.body(1)).node("b", deadly.node(), retry=retry)
    return flow.edge("a", "b")


def items(world: World, deadly: Deadly) -> FlowBuilder:
    flow = create_flow("items").node("a", world.body([1]))
    return flow.batch("b", deadly.node(), uses="item").edge("a", "b")


def undoing(world: World, deadly: Deadly) -> FlowBuilder:
    async def fails(ctx: Ctx) -> None:
        raise ValueError("undo it")

    flow = create_flow("undoing").node("a", world.body(1), compensate="undo")
    return flow.node("undo", deadly.node()).node("b", fails).edge("a", "b")


KINDS = {"node": plain, "item": items, "undo": undoing}
LOST = (ev.NodeLost, ev.ItemLost, ev.UndoLost)


def _is_below(deadly: Deadly, left: int) -> bool:
    return deadly.left < left


async def dying(world: World, deadly: Deadly, kind: str) -> Any:
    """Run a flow; each process that hangs is killed, until the run is over."""
    flow = KINDS[kind](world, deadly)
    await world.knows(flow).client.start_run(flow, run_id=RUN)
    while deadly.left:
        left = deadly.left
        process = await world.process()
        await world.until(partial(_is_below, deadly, left), "another attempt")
        await process.kill()
        world.processes.remove(process)
    await world.process()
    return await world.finish(RUN)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_attempt_is_made_again(kind: str, times: int) -> None:
    """Another worker takes over; the attempt counts, but not against the limit of retries."""

    async def story(world: World) -> None:
        deadly = Deadly(world, times)
        run = await dying(world, deadly, kind)
        assert run.status == ("failed" if kind == "undo" else "completed")
        assert deadly.attempts == list(range(1, times + 2))
        assert [run.compensations] == [((("undo", None),) if kind == "undo" else ())]
        lost = [event for event in world.events(RUN) if isinstance(event, LOST)]
        assert [event.attempt for event in lost] == list(range(1, times + 1))
        assert world.doubled() == []

    play(story)


@pytest.mark.parametrize("kind", KINDS)
def test_the_third_loss_is_the_last(kind: str) -> None:
    """What kills its worker three times has failed."""

    async def story(world: World) -> None:
        deadly = Deadly(world, 3)
        run = await dying(world, deadly, kind)
        assert (run.status, deadly.attempts) == ("failed", [1, 2, 3])
        errors = [error for _, error in run.compensations] if kind == "undo" else run.errors
        assert [error and error.type for error in errors] == ["WorkerLost"]

    play(story)


def test_nothing_is_taken_over_before_its_time() -> None:
    """As long as the lease holds, no other worker begins."""

    async def story(world: World) -> None:
        deadly = Deadly(world, 1)
        flow = plain(world, deadly)
        begun = world.clock.now()
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        await (await world.process()).kill()
        await world.process()
        await world.settle()
        process = world.processes[-1]
        await world.until(lambda: deadly.attempts == [1])
        began = world.clock.now()
        await process.kill()
        await world.process()
        await world.until(lambda: deadly.attempts == [1, 2])
        assert world.clock.now() - began >= LEASE_SECONDS
        assert world.clock.now() - begun < 5 * LEASE_SECONDS

    play(story)


@pytest.mark.parametrize("kind", KINDS)
def test_who_lost_a_lease_cannot_commit(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """A worker that was away for too long comes back: its outcome is dropped."""

    async def story(world: World) -> None:
        end = asyncio.Event()
        outcomes = iter(["late", "in time"])

        class Late(Deadly):
            def node(self) -> Any:
                async def late(ctx: Ctx) -> Any:
                    self.attempts.append(ctx.attempt)
                    outcome = next(outcomes)
                    if outcome == "late":
                        await end.wait()
                    await ctx.context.set("by", outcome)
                    return outcome

                return late

        late = Late(world, 0)
        flow = KINDS[kind](world, late)
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        zombie = await world.process()
        await world.settle()
        # Nobody hears of it for the length of a lease.
        zombie_task = zombie.worker._poller
        assert zombie_task is not None
        zombie_task.cancel()
        world.clock.advance(LEASE_SECONDS + 1)
        await world.process()
        await world.until(lambda: late.attempts == [1, 2])
        await world.settle()
        end.set()
        run = await world.finish(RUN)
        assert world.doubled() == []
        if kind != "undo":
            assert (run.status, run.context["by"]) == ("completed", "in time")
        assert not zombie.worker.busy

    with caplog.at_level(logging.WARNING):
        play(story)
    assert "was lost, its outcome is dropped" in caplog.text
