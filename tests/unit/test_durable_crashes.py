"""A process dies at any call of a port: whoever comes after it ends the run as if nothing was.

Every blueprint is run with a process that dies before, or after, its first, second, … call, until
one outlives the run. Then another process is started, time passes, and the run has to end as it
does without any crash, with nothing left on the queue and no body run more often than once for
each crash beyond what its attempts ask for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import pytest

from flowcraft import FlowRuntime, RetryPolicy, create_flow
from flowcraft.core.builder import FlowBuilder
from flowcraft.core.state import FINAL_STATUSES
from flowcraft.engine.stored import StoredRun
from flowcraft.errors import InvalidRunState
from tests.unit.durable import HORIZON_SECONDS, Life, World, play
from tests.unit.runs import Ctx, drive

RUN = "run"

Hand = Callable[[World], Awaitable[None]]


@dataclass(frozen=True)
class Story:
    """What is run, and what somebody does meanwhile.

    Attributes:
        flow: Builds the flow; its nodes count in the world.
        hand: Called again and again while the run is not over.
        in_process: Whether it can be run in process for comparison.
        settled: Whether its outputs do not depend on who is how fast.
    """

    flow: Callable[[World], FlowBuilder]
    hand: Hand | None = None
    in_process: bool = True
    settled: bool = True


class Crash(NamedTuple):
    """The call of a port that a process does not outlive, and whether it is carried out."""

    call: int
    after: bool


class Way(NamedTuple):
    """How the processes of a run end.

    Attributes:
        crashes: Those of processes that come one after the other.
        beside: Those of processes that are there from the beginning, too.
        others: How many more are there that do not die.
    """

    crashes: tuple[Crash, ...]
    beside: tuple[Crash, ...] = ()
    others: int = 0


NewWorld = Callable[[], World]


def diamond(world: World) -> FlowBuilder:
    body = world.body
    flow = create_flow("diamond").node("a", body(1)).node("b", body(lambda c: c.input + 1))
    flow.node("c", body(lambda c: c.input + 2)).node("d", body(lambda c: c.input))
    return flow.edge("a", "b").edge("a", "c").edge("b", "d").edge("c", "d")


def wide(world: World) -> FlowBuilder:
    """Three starts that meet, and three ways from there."""
    flow = create_flow("wide").node("m", world.body(lambda c: c.input))
    for name in "abc":
        flow.node(name, world.body(name)).edge(name, "m")
        flow.node(name * 2, world.body(name), inputs="m").edge("m", name * 2)
    return flow


def choice(world: World) -> FlowBuilder:
    flow = create_flow("choice").node("a", world.body(7))
    flow.node("yes", world.body("yes")).node("no", world.body("no"))
    flow.edge("a", "yes", condition="result.output > 5").edge(
        "a", "no", condition="result.output <= 5"
    )
    flow.node("join", world.body(lambda c: c.input))
    return flow.edge("yes", "join").edge("no", "join")


def any_join(world: World) -> FlowBuilder:
    flow = create_flow("any").node("a", world.body(1)).node("b", world.body(1))
    flow.node("j", world.body(lambda c: c.input), join="any").node("k", world.body("k"))
    return flow.edge("a", "j").edge("b", "j").edge("j", "k")


def loop(world: World) -> FlowBuilder:
    async def work(ctx: Ctx) -> None:
        world.count(ctx)
        await ctx.context.add("n", 1)

    flow = create_flow("loop").node("before", world.body(0)).node("work", work)
    flow.node("more", world.body("more")).edge("work", "more")
    flow.loop("again", "n < 3", start="work", end="more")
    flow.node("after", world.body("after"))
    return flow.edge("before", "again").edge("again", "after")


def batch(world: World) -> FlowBuilder:
    flow = create_flow("batch").node("list", world.body([0, 1, 2, 3, 4]))
    flow.batch("b", world.body(lambda c: c.input * 10), uses="item", concurrency=2)
    return flow.node("end", world.body(lambda c: c.input)).edge("list", "b").edge("b", "end")


def waiting(world: World) -> FlowBuilder:
    flow = create_flow("waiting").node("a", world.body(1)).wait("w", timeout="2d")
    return flow.node("b", world.body(lambda c: c.input)).edge("a", "w").edge("w", "b")


def sleeping(world: World) -> FlowBuilder:
    flow = create_flow("sleeping").node("a", world.body(1)).sleep("s", "1h")
    return flow.node("b", world.body(lambda c: c.input)).edge("a", "s").edge("s", "b")


def retrying(delay: float) -> Callable[[World], FlowBuilder]:
    def build(world: World) -> FlowBuilder:
        async def flaky(ctx: Ctx) -> int:
            world.count(ctx)
            if len(await ctx.context.get("tries", [])) + ctx.attempt < 3:
                raise ValueError("not yet")
            return 3

        retry = RetryPolicy(max_attempts=9, delay=delay, jitter=False)
        flow = create_flow("retrying").node("f", flaky, retry=retry).node("o", world.body("o"))
        return flow.node("b", world.body(lambda c: c.input)).edge("f", "b")

    return build


def failing(world: World) -> FlowBuilder:
    async def bad(ctx: Ctx) -> None:
        world.count(ctx)
        raise ValueError("bad")

    flow = create_flow("failing").node("a", world.body("a"), compensate="undo")
    flow.node("a2", world.body("a2"), compensate="undo2").edge("a", "a2")
    flow.node("bad", bad, fallback="help").node("help", world.body("help")).edge("a2", "bad")
    flow.node("end", world.body("end")).edge("help", "end").node("worse", bad).edge("end", "worse")
    return flow.node("undo", world.body("u")).node("undo2", world.body("u2"))


def subflow(world: World) -> FlowBuilder:
    child = create_flow("child").node("x", world.body(lambda c: c.input + 1)).sleep("s", "5s")
    child.node("y", world.body(lambda c: c.input * 2)).edge("x", "s").edge("s", "y")
    flow = create_flow("parent").node("a", world.body(1)).subflow("c", child)
    flow.node("b", world.body(lambda c: c.input))
    return flow.edge("a", "c").edge("c", "b")


def slow_diamond(world: World) -> FlowBuilder:
    async def slow(ctx: Ctx) -> str:
        world.count(ctx)
        await world.clock.sleep(20)
        return ctx.node_id

    flow = create_flow("slow").node("a", world.body(1), compensate="undo")
    flow.node("undo", world.body("undone")).node("b", slow).node("c", slow)
    flow.node("d", world.body(lambda c: c.input))
    return flow.edge("a", "b").edge("a", "c").edge("b", "d").edge("c", "d")


async def answer(world: World) -> None:
    """Answer whatever waits."""
    if (await world.client.get_run(RUN)).awaiting:
        await world.client.resume_with_action(RUN, None, "answered")


async def cancel(world: World) -> None:
    """Cancel once something slow is under way."""
    if world.bodies[f"{RUN}:b"] and world.status(RUN) == "running":
        try:
            await world.client.cancel_run(RUN)
        except InvalidRunState:
            return


STORIES = {
    "diamond": Story(diamond),
    "wide": Story(wide),
    "choice": Story(choice),
    "any join": Story(any_join, in_process=False),
    "loop": Story(loop),
    "batch": Story(batch),
    "wait": Story(waiting, answer, in_process=False),
    "sleep": Story(sleeping),
    "retry in hand": Story(retrying(1.0)),
    "retry later": Story(retrying(60.0)),
    "failure": Story(failing),
    "subflow": Story(subflow),
    "cancel": Story(slow_diamond, cancel, in_process=False, settled=False),
}


async def told(
    world: World, story: Story, lives: Sequence[Life], beside: Sequence[Life] = ()
) -> StoredRun:
    """Run a story with processes that may die; for each that has another one comes.

    Args:
        world: Where.
        story: What.
        lives: How long the processes live that come one after the other; those that come after
            them do not die.
        beside: How long those live that are there from the beginning, one for each.
    """
    flow = story.flow(world)
    world.knows(flow)
    await world.client.start_run(flow, run_id=RUN)
    coming = iter(lives)
    for life in (*beside, next(coming)):
        await world.process(life)
    horizon = world.clock.now() + HORIZON_SECONDS
    while world.status(RUN) not in FINAL_STATUSES or world.messages():
        await world.settle()
        if dead := world.dead():
            for process in dead:
                await process.kill()
                world.processes.remove(process)
                await world.process(next(coming, None))
            continue
        if story.hand is not None and world.status(RUN) not in FINAL_STATUSES:
            await story.hand(world)
            await world.settle()
        if not world.dead():
            await world.jump(horizon)
    return await world.client.get_run(RUN)


def summary(run: Any, story: Story) -> dict[str, Any]:
    """What has to come of a run, whatever happens to its processes."""
    return {
        "status": str(run.status),
        "outputs": dict(run.outputs) if story.settled else None,
        "errors": [(each.node_id, each.type) for each in run.errors],
        "compensations": [node for node, _ in run.compensations],
    }


@cache
def undisturbed(
    story: Story, new_world: NewWorld = World
) -> tuple[dict[str, Any], Counter[str], int]:
    """What comes of a story without a crash, its bodies, and the number of calls it takes."""

    async def whole(world: World) -> tuple[dict[str, Any], Counter[str], int]:
        life = Life()
        run = await told(world, story, [life])
        assert world.doubled() == []
        return summary(run, story), world.bodies, len(life.calls)

    return play(whole, new_world())


def is_as_in_process(story: Story) -> None:
    """See that a story comes to the same in process."""
    world = World()
    runtime = FlowRuntime(clock=world.clock)

    async def jumping() -> Any:
        task = asyncio.ensure_future(runtime.run(story.flow(world), run_id=RUN))
        while not task.done():
            for _ in range(30):
                await asyncio.sleep(0)
            if not task.done() and world.clock.next_due is not None:
                world.clock.advance_to(world.clock.next_due)
        return await task

    expected = summary(drive(jumping()), story)
    assert undisturbed(story)[:2] == (expected, world.bodies)


def survives(story: Story, after: bool, processes: int) -> None:
    """See that a story comes to the same wherever one of its processes dies."""
    _, _, calls = undisturbed(story)
    # Of two processes that share the work the one that dies makes fewer calls.
    ways = [Way((Crash(number, after),)) for number in range(1, calls + 2)]
    endures(story, [way._replace(others=processes - 1) for way in ways])


def endures(story: Story, ways: Sequence[Way], new_world: NewWorld = World) -> None:
    """See that a story comes to the same in each of some ways to crash."""
    expected, bodies, _ = undisturbed(story)
    problems = []
    for way in ways:

        async def disturbed(world: World, way: Way = way) -> None:
            lives = [Life(crash.call, after=crash.after) for crash in way.crashes]
            mortal = [Life(crash.call, after=crash.after) for crash in way.beside]
            others = [Life() for _ in range(way.others)]
            run = await told(world, story, lives, [*others, *mortal])
            assert summary(run, story) == expected
            assert world.doubled() == []
            died = sum(life.dead for life in (*lives, *mortal))
            more = {key: n for key, n in world.bodies.items() if n > bodies[key] + died}
            assert not more, f"bodies run too often for {died} crashes: {more}"

        try:
            play(disturbed, new_world())
        except (AssertionError, TimeoutError) as error:
            problems.append(f"{way}: {str(error)[:1500]}")
    assert not problems, f"{len(problems)} of {len(ways)}:\n" + "\n".join(problems)


@pytest.mark.parametrize("name", [name for name, story in STORIES.items() if story.in_process])
def test_without_a_crash_it_is_as_in_process(name: str) -> None:
    """What comes of the flow on a worker is what comes of it in process."""
    is_as_in_process(STORIES[name])


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", STORIES)
def test_a_crash_at_any_call(name: str, after: bool, processes: int) -> None:
    """Wherever a process dies, the run ends as it would have, and nothing is left of it."""
    survives(STORIES[name], after, processes)
