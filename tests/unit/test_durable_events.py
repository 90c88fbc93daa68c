"""Events that are sent by name and correlation key to durable runs (rule S12)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from flowcraft import create_flow
from flowcraft.adapters.memory import MemoryRuns
from flowcraft.core.builder import FlowBuilder
from flowcraft.core.correlation import Correlation
from flowcraft.engine import correlating
from flowcraft.engine.awaited import awaited_text
from flowcraft.engine.run import Run
from flowcraft.errors import InvalidRunState, NobodyWaits
from flowcraft.memory import MemoryAdapter
from flowcraft.ports.runs import Head, Query
from tests.unit.durable import LEASE_SECONDS, Life, World, play
from tests.unit.durable_sqlite import SqliteWorld
from tests.unit.runs import Ctx

RUN = "run"


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A world whose runs are in memory, and one whose runs are in a file."""
    if request.param == "memory":
        yield World()
    else:
        yield SqliteWorld(tmp_path / "runs.db")


def paying(**more: Any) -> FlowBuilder:
    """A wait for a payment, and what comes of it."""
    return create_flow("paying").wait("w", event="paid", correlation_key="order", **more)


async def begun(world: World, *flows: FlowBuilder, **orders: Any) -> None:
    """Start runs of the first flow, each for an order, and let them go as far as they can."""
    world.knows(*flows)
    await world.process()
    for run_id, order in orders.items():
        await world.client.start_run(flows[0], {"order": order}, run_id=run_id)
        await world.settle()
        await world.advance(1)


async def waits(world: World, run_id: str) -> list[tuple[str, str | None, str | None]]:
    """What a run waits for: path, event and key."""
    run = await world.client.get_run(run_id)
    return [("/".join(w.path), w.event, w.correlation_key) for w in run.awaiting]


async def outputs(world: World, run_id: str) -> dict[str, Any]:
    """The outputs of a run once nothing more happens."""
    await world.settle()
    return dict((await world.client.get_run(run_id)).outputs)


async def nobody(world: World, event: str = "paid", key: Any = None) -> None:
    """See that no run waits for an event, by its row neither."""
    with pytest.raises(NobodyWaits, match=f"No run waits for the event '{event}'"):
        await world.client.send_event(event=event, correlation_key=key)
    awaited = awaited_text(Correlation(event, key))
    assert list(await world.ports.runs.find(Query(awaits=awaited))) == []


# -- whom it reaches --------------------------------------------------------------------------


def test_an_event_reaches_the_run_that_waits_for_its_key(world: World) -> None:
    """One of two runs is answered; the verb gives its id, with which to go on."""

    async def story(world: World) -> None:
        await begun(world, paying(), one="A", two="B")
        assert await waits(world, "two") == [("w", "paid", "B")]
        reached = await world.client.send_event(event="paid", correlation_key="B", output=5)
        assert reached == ["two"]
        await world.settle()
        assert (await reached[0].result(timeout=1)).outputs == {"w": 5}
        assert await waits(world, "one") == [("w", "paid", "A")]

    play(story, world)


@pytest.mark.parametrize(
    ("order", "key"),
    [
        (42, "42"),
        ("42", 42),
        (42.0, 42),
        (UUID(int=7), str(UUID(int=7))),
        (str(UUID(int=7)), UUID(int=7)),
        ("ä 'ö' \"ü\"", "ä 'ö' \"ü\""),
    ],
)
def test_both_sides_write_a_key_in_the_same_way(world: World, order: Any, key: Any) -> None:
    """What the run has as a number or UUID the sender may have as text, and the other way."""

    async def story(world: World) -> None:
        await begun(world, paying(), run=order)
        assert await world.client.send_event(event="paid", correlation_key=key) == [RUN]

    play(story, world)


def test_an_event_reaches_every_open_wait_for_it(world: World) -> None:
    """Several in one run, in child runs and in loops: all of them, and each only once."""

    async def story(world: World) -> None:
        async def key(ctx: Ctx) -> Any:
            await ctx.context.add("n", 1)
            return (await ctx.context.get("keys"))[await ctx.context.get("n") - 1]

        child = create_flow("child").wait("w", event="paid", correlation_key="order")
        flow = create_flow("f").wait("a", event="paid", correlation_key="order")
        flow.wait("b", event="paid", correlation_key="order").wait("other", event="sent")
        flow.subflow("c", child, inputs={"order": "order"}).node("key", key)
        flow.wait("round", event="paid", correlation_key="key").edge("key", "round")
        flow.loop("l", "n < 2", start="key", end="round")
        flow.node("before", world.body()).edge("before", "l")
        await world.knows(flow, paying()).client.start_run(
            flow, {"order": 7, "n": 0, "keys": [7, "other"]}, run_id="all"
        )
        await begun(world, paying(), later=7)
        child_id = "all/c::1"
        reached = await world.client.send_event(event="paid", correlation_key="7", output="yes")
        assert sorted(reached) == sorted(["later", "all", child_id])
        assert reached[-1] == "all"
        await world.settle()
        assert await outputs(world, "later") == {"w": "yes"}
        assert await waits(world, "all") == [("other", "sent", None), ("round", "paid", "other")]
        await world.client.send_event(event="paid", correlation_key="other", output="then")
        await world.client.send_event(event="sent")
        found = await outputs(world, "all")
        assert [found[name] for name in ("a", "b", "other", "round")] == [
            "yes",
            "yes",
            None,
            "then",
        ]
        assert found["c"] == "yes"
        assert (await world.client.get_run("all")).status == "completed"

    play(story, world)


def test_a_key_is_part_of_what_is_waited_for(world: World) -> None:
    """An event without key is not one with a key, nor the other way round."""

    async def story(world: World) -> None:
        flow = create_flow("f").wait("with", event="paid", correlation_key="order")
        await begun(world, flow.wait("without", event="paid"), run="A")
        assert await world.client.send_event(event="paid", output=1) == [RUN]
        assert await outputs(world, RUN) == {"without": 1}
        await nobody(world)
        assert await world.client.send_event(event="paid", correlation_key="A") == [RUN]

    play(story, world)


@pytest.mark.parametrize("runs", [1, 4, 5])
def test_however_many_runs_wait(world: World, runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are found page by page, and sent to in portions."""
    monkeypatch.setattr(correlating, "PAGE_RUNS", 2)
    monkeypatch.setattr(correlating, "SENT_TOGETHER", 3)

    async def story(world: World) -> None:
        ids = [f"r{number}" for number in range(runs)]
        await begun(world, paying(), **dict.fromkeys(ids, "A"))
        reached = await world.client.send_event(event="paid", correlation_key="A", output=1)
        assert reached == ids[::-1]
        for run_id in ids:
            assert await outputs(world, run_id) == {"w": 1}

    play(story, world)


class Deleting(MemoryRuns):
    """A store whose last run is gone after the first page was read."""

    async def find(self, query: Query) -> Sequence[Head]:
        page = await super().find(query)
        if query.awaits is not None and query.after is None and len(self._runs) > 4:
            await self.remove(page[-1].run_id, page[-1].epoch)
        return page


def test_a_run_that_is_deleted_meanwhile_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that a page ended with is gone: all others are reached, once."""
    monkeypatch.setattr(correlating, "PAGE_RUNS", 2)

    async def story(world: World) -> None:
        ids = [f"r{number}" for number in range(5)]
        await begun(world, paying(), **dict.fromkeys(ids, "A"))
        world.ports.runs.__class__ = Deleting
        reached = await world.client.send_event(event="paid", correlation_key="A")
        assert reached == ["r4", "r2", "r1", "r0"]

    play(story)


def test_the_record_is_right_and_the_row_is_not() -> None:
    """A run whose row still says that it waits is left out; the others get the event."""

    async def story(world: World) -> None:
        await begun(world, paying(), stale="A", waits="A")
        stale = world.ports.runs._runs["stale"]  # type: ignore[attr-defined]
        row = stale.head.row
        await world.client.send_event("stale", "w", "answered")
        await world.settle()
        stale.head = replace(stale.head, row=row)
        assert await world.client.send_event(event="paid", correlation_key="A") == ["waits"]
        await world.settle()
        with pytest.raises(NobodyWaits):
            await world.client.send_event(event="paid", correlation_key="A")

    play(story)


# -- whom it does not reach -------------------------------------------------------------------


def test_an_event_that_nobody_waits_for_yet(world: World) -> None:
    """Sent before its wait it is refused; sent to the node it is kept."""

    async def story(world: World) -> None:
        flow = create_flow("f").sleep("s", "1m")
        flow.wait("w", event="paid", correlation_key="order").edge("s", "w")
        await begun(world, flow, run="A", other="B")
        with pytest.raises(
            NobodyWaits,
            match=r"the event 'paid' with the key 'A': .*send_event\(run_id, node_id, \.\.\.\)",
        ):
            await world.client.send_event(event="paid", correlation_key="A")
        assert await world.client.send_event(RUN, "w", "early") == [RUN]
        await world.advance(60)
        assert (await outputs(world, RUN))["w"] == "early"
        await nobody(world, key="A")
        assert await world.client.send_event(event="paid", correlation_key="B") == ["other"]

    play(story, world)


@pytest.mark.parametrize("end", ["answer", "timeout", "cancel", "skip", "delete"])
def test_a_wait_that_is_over_is_not_found(world: World, end: str) -> None:
    """However it ended, an event for it finds nobody, and nothing of it is left in the row."""

    async def story(world: World) -> None:
        flow = paying(timeout="1m").wait("rest").edge("w", "rest", action="timeout")
        await begun(world, flow.edge("w", "rest"), run="A")
        client = world.client
        if end == "answer":
            await client.resume_with_action(RUN)
        elif end == "timeout":
            await world.advance(60)
        elif end == "skip":
            await client.skip_node(RUN, "w")
        else:
            await client.cancel_run(RUN)
        await world.settle()
        if end == "delete":
            await client.delete_run(RUN)
        await nobody(world, key="A")

    play(story, world)


def test_who_is_asked_twice_answers_once(world: World) -> None:
    """The same event again, before the first was taken up: it reaches nothing more."""

    async def story(world: World) -> None:
        flow = paying().wait("again", event="paid", correlation_key="order").edge("w", "again")
        await begun(world, flow, run="A")
        for output in (1, 2):
            await world.client.send_event(event="paid", correlation_key="A", output=output)
        assert await outputs(world, RUN) == {"w": 1}
        assert await waits(world, RUN) == [("again", "paid", "A")]

    play(story, world)


def test_an_action_that_one_does_not_take(world: World) -> None:
    """Then nobody is sent anything, and the message says who does not, and what it takes."""

    async def story(world: World) -> None:
        strict = paying(actions=["yes"])
        strict.id = "strict"
        world.knows(strict)
        await begun(world, paying(), free="A")
        await world.client.start_run("strict", {"order": "A"}, run_id="strict")
        await world.settle()
        message = (
            r"The event 'paid' with the key 'A' was sent to nobody, .*\n"
            r"  - Run 'strict': Node 'w' takes the actions 'yes', not 'no'\."
        )
        with pytest.raises(InvalidRunState, match=message):
            await world.client.send_event(event="paid", correlation_key="A", action="no")
        await world.settle()
        assert await waits(world, "free") == [("w", "paid", "A")]
        reached = await world.client.send_event(event="paid", correlation_key="A", action="yes")
        assert sorted(reached) == ["free", "strict"]

    play(story, world)


def test_many_refusals_are_not_all_told() -> None:
    """Ten are shown, and how many more there are."""

    async def story(world: World) -> None:
        ids = [f"r{number:02}" for number in range(12)]
        await begun(world, paying(actions=["yes"]), **dict.fromkeys(ids, "A"))
        with pytest.raises(
            InvalidRunState, match=r"(\n  - Run 'r\d\d': [^\n]*){10}\n  - and 2 more"
        ):
            await world.client.send_event(event="paid", correlation_key="A", action="no")

    play(story)


# -- how it is called -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either run_id and node_id, or event"),
        ({"run_id": RUN}, "either run_id and node_id, or event"),
        ({"node_id": "w"}, "either run_id and node_id, or event"),
        ({"run_id": RUN, "event": "paid"}, "either run_id and node_id, or event"),
        ({"run_id": RUN, "node_id": "w", "event": "paid"}, "either run_id"),
        ({"run_id": RUN, "node_id": "w", "correlation_key": "A"}, "either run_id"),
        ({"correlation_key": "A"}, "either run_id and node_id, or event"),
        ({"event": ""}, "must not be empty"),
        ({"event": "paid", "correlation_key": 1.5}, "not of the type float"),
    ],
)
def test_calls_that_mean_nothing(arguments: dict[str, Any], message: str) -> None:
    """Run and node, or event and key: not half of one, and not both."""

    async def story(world: World) -> None:
        await begun(world, paying(), run="A")
        with pytest.raises(ValueError, match=message):
            await world.client.send_event(**arguments)
        assert not world.messages()

    play(story)


def test_the_blocking_client_sends_events() -> None:
    """Code that is not async has the verb, too, and gets the ids."""

    async def story() -> None:
        options = World().knows(paying()).runtime.options
        async with MemoryAdapter(options, poll_seconds=0.01) as adapter:

            def steer() -> tuple[list[Run], Any]:
                sync = adapter.sync
                sync.start_run("paying", {"order": "A"}, run_id=RUN)
                reached = sync.send_event(event="paid", correlation_key="A", output=1)
                return reached, sync.wait_for_run(RUN, timeout=5).outputs["w"]

            assert await asyncio.to_thread(steer) == ([RUN], 1)

    asyncio.run(story())


# -- rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("awaits", "status"), [(True, "awaiting"), (False, "completed")], ids=["waits", "ends"]
)
def test_a_row_that_was_left_behind_is_brought_up_to_date(awaits: bool, status: str) -> None:
    """Who writes a fact beside others, and dies before the row is right, is made up for.

    Else a run that waits would not be found by its event, and one that is over would be waited
    for in vain.
    """

    async def story(world: World) -> None:
        gates = {name: asyncio.Event() for name in "ab"}

        async def held(ctx: Ctx) -> None:
            world.count(ctx)
            await gates[ctx.node_id].wait()

        flow = create_flow("f").node("a", held, uses="held").node("b", "held")
        if awaits:
            flow.wait("w", event="paid").edge("a", "w")
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        # Its claim, what comes of `a`, and then the row, which it has to write by itself.
        mortal = await world.process(Life(3, name="write"), concurrency=1)
        await world.settle()
        await world.process()
        await world.settle()
        for gate in reversed(gates.values()):
            gate.set()
            await world.settle()
        assert (mortal.life.dead, world.row(RUN).status) == (True, "running")
        await world.advance(2 * LEASE_SECONDS)
        assert (world.row(RUN).status, world.messages()) == (status, [])
        if awaits:
            assert await world.client.send_event(event="paid") == [RUN]

    play(story)


def test_a_row_that_somebody_else_wrote_meanwhile_is_not_taken_for_the_last_one() -> None:
    """A wait ends in one process, and another for the same event begins in another process.

    The second process last saw a row with the event in it, and has to write it all the same.
    """

    async def story(world: World) -> None:
        gates = {name: asyncio.Event() for name in "bc"}

        async def held(ctx: Ctx) -> None:
            world.count(ctx)
            await gates[ctx.node_id].wait()

        flow = create_flow("f").node("b", held, uses="held").node("c", "held")
        flow.wait("w", event="paid").wait("v", event="paid").edge("b", "v")
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        await world.process(concurrency=1)
        await world.settle()
        await world.process()
        await world.settle()
        await world.client.send_event(event="paid")
        await world.settle()
        assert world.row(RUN).awaits == ()
        gates["b"].set()
        await world.settle()
        assert [path for path, *_ in await waits(world, RUN)] == ["v"]
        assert await world.client.send_event(event="paid") == [RUN]
        gates["c"].set()
        assert (await world.finish(RUN)).status == "completed"

    play(story)
