"""Starting and steering durable runs (rules S12, S14), at any moment of theirs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.adapters.system import SystemIdentifiers
from flowcraft.core.builder import FlowBuilder
from flowcraft.engine.client import FlowClient
from flowcraft.errors import FlowcraftError, InvalidRunState, RunNotFound, RunTimeout
from flowcraft.memory import MemoryAdapter
from flowcraft.ports.together import Ports
from tests.unit.durable import Died, Life, Mortal, World, play

RUN = "run"


def one_node(world: World) -> FlowBuilder:
    return create_flow("f").node("a", world.body("a"))


# -- starting ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run_id", "idempotency_key"])
def test_a_second_start_is_the_same_run(name: str) -> None:
    """Started again by run id or by key, before and after its end, it runs once."""
    named: Any = {name: "x"}

    async def story(world: World) -> None:
        world.knows(one_node(world))
        first = await world.client.start_run("f", **named)
        assert await world.client.start_run("f", **named) == first
        await world.process()
        await world.finish(first)
        assert await world.client.start_run("f", **named) == first
        await world.finish(first)
        assert world.bodies.total() == 1
        assert len((await world.client.list_runs()).runs) == 1

    play(story)


@pytest.mark.parametrize("name", ["run_id", "idempotency_key"])
def test_a_start_that_was_stored_and_not_sent_goes_on_when_it_is_repeated(name: str) -> None:
    """Who starts a run dies before the message is sent; the second start gets it going."""
    named: Any = {name: "x"}

    async def story(world: World) -> None:
        world.knows(one_node(world))
        life = Life(1, name="send")
        mortal = Ports(*(Mortal(port, life) for port in world.ports))
        own, world.storage._ports = world.storage._ports, mortal
        with pytest.raises(Died):
            await world.client.start_run("f", **named)
        await world.client.aclose()
        world.storage._ports = own
        assert not world.messages()
        run = await world.client.start_run("f", **named)
        await world.process()
        assert (await world.finish(run)).outputs == {"a": "a"}

    play(story)


def test_a_run_starts_when_it_is_to() -> None:
    """Nothing of it runs before, and a cancelled one never does."""

    async def story(world: World) -> None:
        world.knows(one_node(world))
        at = datetime.fromtimestamp(world.clock.now() + 3600, UTC)
        for run_id in ("kept", "cancelled"):
            await world.client.start_run("f", run_id=run_id, start_at=at)
        await world.process()
        await world.client.cancel_run("cancelled")
        await world.advance(3599)
        assert not world.bodies
        assert world.status("cancelled") == "cancelled"
        await world.advance(2)
        assert world.bodies == {"kept:a": 1}
        assert not world.messages()

    play(story)


def test_lists() -> None:
    """Runs are listed newest first, by status, blueprint, tags and time, page by page."""

    async def story(world: World) -> None:
        world.knows(one_node(world), create_flow("g").wait("w"))
        times = []
        for number, flow in enumerate(("f", "g", "f")):
            times.append(datetime.fromtimestamp(world.clock.now(), UTC))
            tags = {"n": str(number % 2), "all": "x"}
            await world.client.start_run(flow, run_id=f"r{number}", tags=tags)
            world.clock.advance(1)
        await world.process()
        await world.settle()

        async def found(**query: Any) -> list[str]:
            return [each.run_id for each in (await world.client.list_runs(**query)).runs]

        assert await found() == ["r2", "r1", "r0"]
        assert await found(status="awaiting") == await found(blueprint_id="g") == ["r1"]
        assert await found(tags={"n": "0", "all": "x"}) == ["r2", "r0"]
        assert await found(created_from=times[1]) == ["r2", "r1"]
        assert await found(created_until=times[1]) == ["r0"]
        page = await world.client.list_runs(limit=2)
        assert [each.run_id for each in page.runs] == ["r2", "r1"]
        last = await world.client.list_runs(limit=2, after=page.after)
        assert ([each.run_id for each in last.runs], last.after) == (["r0"], None)

    play(story)


# -- looking ----------------------------------------------------------------------------------


def test_waiting_ends_in_time() -> None:
    """Waiting for a run raises when time is up, and says where the run stands."""

    async def story(world: World) -> None:
        world.knows(create_flow("g").wait("w"))
        await world.client.start_run("g", run_id=RUN)
        await world.process()
        waiting = asyncio.ensure_future(world.client.wait_for_run(RUN, timeout=5))
        await world.advance(6)
        with pytest.raises(RunTimeout, match="'run' was not over within 5 s: it is awaiting"):
            await waiting

    play(story)


VERBS: dict[str, Any] = {
    "get_run": (),
    "wait_for_run": (),
    "resume_with_action": ("yes",),
    "send_event": ("w",),
    "cancel_run": (),
    "pause_run": (),
    "continue_run": (),
    "skip_node": ("a",),
    "retry_failed": (),
    "patch_context": ({"a": 1},),
    "delete_run": (),
    "rerun_from": ("a",),
}


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_does_anything_for_a_run_that_is_not_there(verb: str) -> None:
    """Each verb says that there is no such run."""

    async def story(world: World) -> None:
        with pytest.raises(RunNotFound, match="There is no run 'none'"):
            await getattr(world.client, verb)("none", *VERBS[verb])

    play(story)


@pytest.mark.parametrize(
    "verb",
    [verb for verb in VERBS if verb not in {"get_run", "wait_for_run", "delete_run", "rerun_from"}],
)
def test_no_verb_changes_a_run_that_is_over(verb: str) -> None:
    """Each verb that would change a run refuses one that is over, and says why."""

    async def story(world: World) -> None:
        await world.knows(one_node(world)).client.start_run("f", run_id=RUN)
        await world.process()
        await world.finish(RUN)
        with pytest.raises(InvalidRunState, match=r"it is over|no failed node"):
            await getattr(world.client, verb)(RUN, *VERBS[verb])
        assert not world.messages()

    play(story)


@pytest.mark.parametrize(
    ("verb", "message"),
    [
        ("continue_run", "nothing to continue"),
        ("patch_context", "only while the run is paused"),
        ("skip_node", "only a failed, retrying or waiting node"),
        ("retry_failed", "no failed node"),
        ("delete_run", "Cancel it first"),
    ],
)
def test_what_makes_no_sense_is_refused(verb: str, message: str) -> None:
    """Each verb refuses what makes no sense for a run that waits, and says why."""

    async def story(world: World) -> None:
        flow = one_node(world).wait("w").edge("a", "w")
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        await world.process()
        await world.settle()
        with pytest.raises(InvalidRunState, match=message):
            await getattr(world.client, verb)(RUN, *VERBS[verb])

    play(story)


# -- answers ----------------------------------------------------------------------------------


def test_answers() -> None:
    """One of several waits has to be named; what a wait does not take is refused; paths lead."""

    async def story(world: World) -> None:
        child = create_flow("child").wait("w", actions=["yes", "no"]).wait("v")
        flow = create_flow("f").subflow("c", child).wait("w")
        resume = world.knows(flow).client.resume_with_action
        await world.client.start_run(flow, run_id=RUN)
        await world.process()
        await world.settle()
        with pytest.raises(InvalidRunState, match=r"Several nodes wait.*It waits for: w, c/w, c/v"):
            await resume(RUN, "yes")
        with pytest.raises(InvalidRunState, match=r"takes the actions 'yes', 'no', not 'perhaps'"):
            await resume(RUN, "perhaps", node_id=["c", "w"])
        with pytest.raises(InvalidRunState, match=r"'x' does not wait"):
            await resume(RUN, "yes", node_id="x")
        await resume(RUN, "yes", 1, node_id=["c", "w"])
        await world.settle()
        await resume(RUN, None, 2, node_id="c")
        await resume(RUN, None, 3, node_id="w")
        run = await world.finish(RUN)
        assert run.outputs == {"c": {"w": 1, "v": 2}, "w": 3}

    play(story)


def test_an_answer_that_comes_first_is_kept() -> None:
    """An answer for a node that does not wait yet is its answer once it does."""

    async def story(world: World) -> None:
        flow = create_flow("f").sleep("s", "1h").wait("w").edge("s", "w")
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        await world.process()
        await world.client.send_event(RUN, "w", "early")
        assert (await world.finish(RUN)).outputs["w"] == "early"

    play(story)


# -- forgetting, blocking ---------------------------------------------------------------------


def test_a_run_is_forgotten_with_its_children() -> None:
    """A run that was deleted leaves nothing; its id can be used again."""

    async def story(world: World) -> None:
        world.knows(create_flow("p").subflow("c", one_node(world)))
        await world.client.start_run("p", run_id=RUN)
        await world.process()
        await world.finish(RUN)
        await world.client.delete_run(RUN)
        assert (await world.client.list_runs()).runs == ()
        await world.client.start_run("p", run_id=RUN)
        assert (await world.finish(RUN)).status == "completed"
        assert world.bodies.total() == 2

    play(story)


def test_the_blocking_client() -> None:
    """Every verb is there for code that is not async, and blocks until it is done."""

    async def story() -> None:
        flow = create_flow("f").wait("w")
        world = World()
        async with MemoryAdapter(world.knows(flow).runtime.options, poll_seconds=0.01) as adapter:

            def steer() -> tuple[str, Any]:
                sync = adapter.sync
                run = sync.start_run("f", {"n": 1}, run_id=RUN)
                sync.send_event(run, "w", "answer")
                result = sync.wait_for_run(run, timeout=5)
                return result.status, result.outputs["w"]

            assert await asyncio.to_thread(steer) == ("completed", "answer")

    asyncio.run(story())


def test_the_blocking_client_in_an_event_loop() -> None:
    """Where it would block an event loop it refuses, and says what to do."""

    async def story() -> None:
        world = World()
        client = FlowClient(
            world.storage.open_ports,
            world.runtime.options,
            clock=world.clock,
            identifiers=SystemIdentifiers(),
        )
        with pytest.raises(FlowcraftError, match="await"):
            client.sync.get_run(RUN)

    asyncio.run(story())
