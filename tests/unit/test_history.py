"""The history of durable runs: told from their facts, exported, read, and replayed."""

from __future__ import annotations

import asyncio
import gc
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowcraft import FlowcraftError, FlowRuntime, RetryPolicy, create_flow
from flowcraft.client import HistoryEvent, read_history
from flowcraft.core import events as ev
from flowcraft.core.builder import FlowBuilder
from flowcraft.engine import history as telling
from flowcraft.engine.bus import FlowEvent
from flowcraft.engine.history_events import BARE, DAMAGED, LATE, MISSING, OWN_TYPES
from flowcraft.errors import (
    CodecError,
    InvalidRunState,
    RunNotFound,
    SerializationError,
)
from flowcraft.testing import VirtualClock
from tests.acceptance.aws_worker_world import AwsWorld
from tests.acceptance.aws_worker_world import play as play_aws
from tests.unit.codecs import ToyCodec
from tests.unit.durable import World, play
from tests.unit.runs import Ctx, Events
from tests.unit.test_replay import CALLS, FLOWS, flaky, noted, told

DURABLE = [name for name in FLOWS if name != "missing"]
"""A worker that lacks an implementation leaves a node to others."""

CONTEXT = {"list": [1, 2, 3]}


async def ended(world: World, flow: FlowBuilder, **options: Any) -> Any:
    """A durable run, over."""
    run = await world.client.start_run(flow, CONTEXT, run_id="r", **options)
    return await world.finish(run)


async def history(world: World, run_id: str = "r", **options: Any) -> list[HistoryEvent]:
    return [event async for event in world.client.history(run_id, **options)]


def a_world(flow: FlowBuilder, shard_items: int = 500) -> World:
    world = World().knows(flow)
    world.runtime.options = replace(world.runtime.options, max_executions=50)
    world.shard_items = shard_items
    return world


@pytest.mark.parametrize("shard_items", [2, 500])
@pytest.mark.parametrize("name", DURABLE)
def test_a_history_leads_to_what_is_stored(name: str, shard_items: int, tmp_path: Path) -> None:
    """Exported, read and replayed, a run of any kind is what the store says, and nothing runs."""
    flow = FLOWS[name]()

    async def work(world: World) -> None:
        await world.process()
        result = await ended(world, flow)
        CALLS.clear()
        events = await history(world)
        file = tmp_path / "r.jsonl"
        assert await world.client.export_history("r", file) == len(events)
        read = list(read_history(file))
        assert [vars_of(e) for e in read] == [vars_of(e) for e in events]
        for each in (events, read):
            assert told(await FlowRuntime().replay(flow, each)) == told(result)
        assert CALLS == []

    play(work, a_world(flow, shard_items))


def vars_of(event: HistoryEvent) -> Any:
    return (event.type, event.timestamp, event.node_id, event.record, event.fact, event.stored)


@pytest.mark.parametrize("shard_items", [2, 500])
@pytest.mark.parametrize("name", DURABLE)
def test_any_part_of_a_history_runs_anew(name: str, shard_items: int) -> None:
    """Executed anew from any of its nodes on, with unchanged code, a run ends as it did."""
    flow = FLOWS[name]()

    async def work(world: World) -> None:
        await world.process()
        result = await ended(world, flow)
        events = await history(world)
        for node in flow.to_blueprint().nodes:
            runtime = FlowRuntime()
            VirtualClock(autojump=True).attach(runtime)
            again = await runtime.replay_from(flow, events, node.id)
            assert again.status == result.status, node.id
            assert (dict(again.outputs), again.states) == (dict(result.outputs), result.states)

    play(work, a_world(flow, shard_items))


# -- what it tells ------------------------------------------------------------------------------


def transitions(events: Iterable[FlowEvent]) -> Counter[tuple[Any, ...]]:
    """What is told in process, too; times apart."""
    own = {LATE, *OWN_TYPES.values()} - {"workflow:start", "node:lost"}
    return Counter(
        (e.type, e.node_id, e.attempt, e.iteration, e.payload.get("item"), e.payload.get("name"))
        for e in events
        if e.type not in own
    )


@pytest.mark.parametrize("name", DURABLE)
def test_a_history_tells_what_listeners_are_told_in_process(name: str) -> None:
    """The transitions of a durable run are those that the same run has in process."""
    flow = FLOWS[name]()

    async def work(world: World) -> None:
        await world.process()
        await ended(world, flow)
        heard, clock = Events(), VirtualClock(autojump=True)
        runtime = FlowRuntime(listeners=[heard], max_executions=50)
        clock.attach(runtime)
        await flow.run(runtime, CONTEXT, run_id="r")
        here, there = transitions(await history(world)), transitions(heard)
        assert there <= here
        # An attempt begins, for the facts, when it may; in process another one stopped the run.
        too_early = {("node:start", "b", 1, (), None, None): 1} if name == "fail fast" else {}
        assert here - there == Counter(too_early)

    play(work, a_world(flow))


def test_each_fact_has_a_type_of_event() -> None:
    """Whatever can be stored of a run has a name in its history."""
    stored = set(ev.Event.__args__) - {ev.LookedAt}
    assert set(OWN_TYPES) == stored


def waiting() -> FlowBuilder:
    flow = create_flow("f").node("a", noted, inputs="list").wait("w").edge("a", "w")
    return flow.node("b", noted, inputs="w").edge("w", "b")


def test_a_run_that_waits_goes_on_in_process() -> None:
    """The history of a run under way is replayed to where it rests, and resumed from there."""
    flow = waiting()

    async def work(world: World) -> None:
        await world.process()
        await world.client.start_run(flow, CONTEXT, run_id="r")
        await world.settle()
        runtime = FlowRuntime()
        part = await runtime.replay(flow, await history(world))
        assert told(part) == told(await world.client.get_run("r"))
        assert [wait.path for wait in part.awaiting] == [("w",)]
        again = await runtime.resume(flow, part, output=7)
        assert (again.status, again.outputs["b"]) == ("completed", 7)

    play(work, a_world(flow))


def test_what_people_asked_for_is_in_the_history() -> None:
    """Pausing, patching, going on, skipping and retrying are events, and are replayed."""
    flow = create_flow("f").wait("w").node("a", flaky).edge("w", "a").node("b", fails_first)

    async def work(world: World) -> None:
        await world.process()
        client = world.client
        await client.start_run(flow, run_id="r")
        await world.settle()
        await client.pause_run("r")
        await world.settle()
        await client.patch_context("r", {"patched": 1})
        await client.continue_run("r")
        await world.settle()
        await client.skip_node("r", "b", 5)
        await client.resume_with_action("r", output=1, node_id="w")
        result = await world.finish("r")
        events = await history(world)
        assert told(await FlowRuntime().replay(flow, events)) == told(result)
        types = [event.type for event in events]
        for type_ in ("workflow:pause", "context:change", "workflow:resume", "skip:requested"):
            assert types.count(type_) == 1
        again = await FlowRuntime().replay_from(flow, events, "a")
        assert again.context["patched"] == 1

    play(work, a_world(flow))


async def fails_first(ctx: Ctx) -> None:
    raise ValueError("no")


def test_a_cancelled_run_runs_anew() -> None:
    """A replay leads to the cancelled run; from a node on it is executed as if nobody had."""
    flow = waiting()

    async def work(world: World) -> None:
        await world.process()
        await world.client.start_run(flow, CONTEXT, run_id="r")
        await world.settle()
        await world.client.cancel_run("r", reason="enough")
        result = await world.finish("r")
        events = await history(world)
        replayed = await FlowRuntime().replay(flow, events)
        assert told(replayed) == told(result)
        assert replayed.status == "cancelled"
        assert [e.payload["reason"] for e in events if e.type == "workflow:cancel"] == ["enough"]
        again = await FlowRuntime().replay_from(flow, events, "w")
        assert (again.status, again.awaiting[0].path) == ("awaiting", ("w",))

    play(work, a_world(flow))


# -- records of many kinds ----------------------------------------------------------------------


def fan_of_children(count: int) -> FlowBuilder:
    child = create_flow("child").node("c", noted).node("d", noted).edge("c", "d")
    flow = create_flow("f")
    for number in range(count):
        flow.subflow(f"s{number}", child)
    return flow


def open_records(history: telling.History) -> int:
    return sum(log.ledger is not None for log in history._open)


@pytest.mark.parametrize("most", [2, 32])
def test_many_child_runs_are_told_with_few_of_them_in_memory(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each record is read once; no more than so many are open, and each is told in order."""
    monkeypatch.setattr(telling, "MOST_OPEN", most)
    flow = fan_of_children(8)

    async def work(world: World) -> None:
        await world.process()
        result = await ended(world, flow)
        told_of = telling.History(await world.client._opened(), "r")
        events, opened = [], 0
        async for event in told_of.events():
            events.append(event)
            opened = max(opened, open_records(told_of))
        assert told_of.reads == 9
        assert opened <= most + 1
        assert Counter(e.record for e in events if e.type == "workflow:finish").total() == 9
        for record in {event.record for event in events}:
            facts = [event.fact for event in events if event.record == record]
            assert facts == sorted(facts)
        assert told(await FlowRuntime().replay(flow, events)) == told(result)
        alone = await history(world, children=False)
        assert {event.record for event in alone} == {"r"}

    play(work, a_world(flow))


def test_a_batch_of_many_parts_is_told_part_by_part() -> None:
    """Only the parts of a batch that go on at a time are in memory, and each is read once."""
    flow = create_flow("f").batch("b", noted, inputs="list")

    async def work(world: World) -> None:
        await world.process()
        await world.client.start_run(flow, {"list": list(range(60))}, run_id="r")
        await world.finish("r")
        told_of = telling.History(await world.client._opened(), "r")
        items, opened = set(), 0
        async for event in told_of.events():
            opened = max(opened, open_records(told_of))
            if event.type == "node:finish" and "item" in event.payload:
                assert event.run_id == "r"
                items.add(event.payload["item"])
            del event
        assert (items, told_of.reads) == (set(range(60)), 31)
        assert opened <= 9  # four at a time, and those that make room for them
        gc.collect()
        parts = await history(world, shards=False)
        assert [e.payload["items"] for e in parts if e.type == "shard:finish"] == [2] * 30

    play(work, a_world(flow, 2))


def test_a_batch_under_way_in_parts_is_no_text_to_resume_from() -> None:
    """What is in other records cannot be kept with the run: the error says what to do instead."""
    flow = create_flow("f").batch("b", noted, inputs="list").wait("w")

    async def work(world: World) -> None:
        await world.client.start_run(flow, {"list": [1, 2, 3]}, run_id="r")
        part = await FlowRuntime().replay(flow, await history(world))
        with pytest.raises(InvalidRunState, match="the batch 'b_scatter' is under way in parts"):
            _ = part.state

    play(work, a_world(flow, 2))


def altered(world: World, monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Let records be read with other facts than are stored."""
    read = world.ports.runs.read

    async def read_altered(run_id: str, since: int = 0) -> Any:
        record = await read(run_id, since)
        if record is None:
            return None
        facts = [change(run_id, fact) for fact in record.facts]
        return replace(record, facts=tuple(fact for fact in facts if fact is not None))

    monkeypatch.setattr(world.ports.runs, "read", read_altered)


def test_a_child_run_comes_before_what_its_run_took_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """However wrong the clock of its worker was, the end of a child run is told in time."""
    flow = fan_of_children(1)

    def later(run_id: str, fact: Any) -> Any:
        return replace(fact, at=fact.at + 3600) if "/" in run_id else fact

    async def work(world: World) -> None:
        await world.process()
        await ended(world, flow)
        altered(world, monkeypatch, later)
        ends = [(e.type, e.record) for e in await history(world) if e.type.endswith(":finish")]
        assert ends[-3:] == [
            ("workflow:finish", "r/s0::1"),
            ("node:finish", "r"),
            ("workflow:finish", "r"),
        ]

    play(work, a_world(flow))


def test_a_child_run_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a child run is not stored any more, its place in the history says so."""
    flow = fan_of_children(2)

    async def work(world: World) -> None:
        await world.process()
        result = await ended(world, flow)
        read = world.ports.runs.read

        async def without(run_id: str, since: int = 0) -> Any:
            return None if run_id == "r/s1::1" else await read(run_id, since)

        monkeypatch.setattr(world.ports.runs, "read", without)
        events = await history(world)
        missing = [event for event in events if event.type == MISSING]
        assert [event.record for event in missing] == ["r/s1::1"]
        assert "Nothing is stored of 'r/s1::1'" in missing[0].payload["problem"]
        assert told(await FlowRuntime().replay(flow, events)) == told(result)

    play(work, a_world(flow))


def test_a_run_is_followed_to_its_end() -> None:
    """What happens later is told when it is written, child runs included, and then it ends."""
    child = create_flow("child").wait("w")
    flow = create_flow("f").node("a", noted).subflow("s", child).edge("a", "s")

    async def work(world: World) -> None:
        await world.process()
        await world.client.start_run(flow, run_id="r")
        seen: list[HistoryEvent] = []

        async def follow() -> None:
            async for event in world.client.history("r", follow=True):
                seen.append(event)

        following = asyncio.create_task(follow())
        await world.advance(5)
        assert seen[-1].type == "node:awaiting"
        await world.client.resume_with_action("r", output=3, node_id=["s", "w"])
        await world.until(following.done, "the end of the history")
        await following
        ends = [event.record for event in seen if event.type == "workflow:finish"]
        assert ends == ["r/s::1", "r"]
        facts = [(event.record, event.fact) for event in seen if event.stored is not None]
        assert len(facts) == len(set(facts))

    play(work, a_world(flow))


def test_there_has_to_be_a_run() -> None:
    """The history of no run, or of a part of one, is refused."""
    flow = create_flow("f").batch("b", noted, inputs="list")

    async def work(world: World) -> None:
        await world.process()
        await ended(world, flow)
        for run_id in ("nope", "r/b_scatter:#0"):
            with pytest.raises(RunNotFound):
                await history(world, run_id)

    play(work, a_world(flow, 2))


def test_a_history_takes_as_many_requests_as_reading_the_run() -> None:
    """On AWS a history costs what looking at the run costs, and a read for each child run."""
    flow = fan_of_children(3)

    async def work(world: AwsWorld) -> None:
        world.knows(flow)
        await world.process()
        await world.client.start_run(flow, CONTEXT, run_id="r")
        await world.finish("r")

        async def taken(children: bool | None) -> Counter[str]:
            client, asked = world.client._copy(), Counter[str]()
            world.storage.meddle = lambda name, request: (asked.update([name]), request)[1]
            if children is None:
                await client.get_run("r")
            else:
                _ = [event async for event in client.history("r", children=children)]
            world.storage.meddle = None
            return asked

        looking, alone, whole = [await taken(each) for each in (None, False, True)]
        assert alone == looking
        # Of each child run its record, and once the blueprint that they share.
        assert whole.total() == looking.total() + 3 + 1
        assert set(whole) <= {"GetItem", "Query", "BatchGetItem"}

    play_aws(work)


# -- what is damaged ----------------------------------------------------------------------------


def a_chain() -> FlowBuilder:
    flow = create_flow("f").node("a", noted, inputs="list").node("b", noted).node("c", noted)
    return flow.edge("a", "b").edge("b", "c")


DAMAGE: dict[str, tuple[Any, str]] = {
    "no JSON": (lambda fact: replace(fact, data="{"), "Run 'r', fact 2: "),
    "another shape": (lambda fact: replace(fact, data='[1,["RetryDue",0,true],[]]'), "fact 2"),
    "a newer format": (lambda fact: replace(fact, data="[99,[],[]]"), "by a newer version"),
    "an unknown event": (lambda fact: replace(fact, data='[1,["Danced"],[]]'), "no event that"),
    "encoded": (lambda fact: replace(fact, data="encoded:x"), "fact 2: The fact is encoded"),
    "missing": (lambda fact: None, "fact 2 is missing"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_damaged_is_named_and_the_rest_is_told(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A fact that cannot be read is an event with its place; those behind it are told barely."""
    change, problem = DAMAGE[name]
    flow = a_chain()

    async def work(world: World) -> None:
        await world.process()
        await ended(world, flow)
        altered(world, monkeypatch, lambda _, fact: change(fact) if fact.number == 2 else fact)
        events = await history(world)
        [damaged] = [event for event in events if event.type == DAMAGED]
        assert problem in damaged.payload["problem"]
        assert "'r'" in damaged.payload["problem"]
        assert events[0].type == "workflow:start"
        bare = events[events.index(damaged) + 1 :]
        assert [(e.type, e.fact, e.node_id, e.payload["event"]) for e in bare] == [
            (BARE, 3, "c", "NodeSucceeded")
        ]
        with pytest.raises(FlowcraftError, match="because it is damaged"):
            await FlowRuntime().replay(flow, events)
        await world.client.export_history("r", tmp_path / "r.jsonl")
        assert [e.type for e in read_history(tmp_path / "r.jsonl")] == [e.type for e in events]

    play(work, a_world(flow))


def test_a_damaged_child_run_spares_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is told, and replayed, although a child run that is over cannot be read."""
    flow = fan_of_children(2)

    def change(run_id: str, fact: Any) -> Any:
        return replace(fact, data="{") if run_id == "r/s0::1" and fact.number == 1 else fact

    async def work(world: World) -> None:
        await world.process()
        result = await ended(world, flow)
        altered(world, monkeypatch, change)
        events = await history(world)
        assert [e.record for e in events if e.type == DAMAGED] == ["r/s0::1"]
        assert told(await FlowRuntime().replay(flow, events)) == told(result)

    play(work, a_world(flow))


def test_encoded_payloads_are_told_to_those_with_the_key(tmp_path: Path) -> None:
    """With the codec a history is whole; without it, or its key, the error says what is missing."""
    flow = a_chain()

    async def work(world: World) -> None:
        await world.process()
        result = await ended(world, flow)
        events = await history(world)
        assert told(await FlowRuntime().replay(flow, events)) == told(result)
        for codec in (None, ToyCodec("another")):
            other = world.client._copy()
            other._codec = codec
            with pytest.raises(CodecError):
                _ = [event async for event in other.history("r")]

    world = World(codec=ToyCodec()).knows(flow)
    play(work, world)


def test_one_fact_behind_another_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of facts that were encoded with several keys those without a key here are named."""
    flow = a_chain()
    strange = "encoded:" + ToyCodec("another").encode("[]")

    async def work(world: World) -> None:
        await world.process()
        await ended(world, flow)
        altered(
            world,
            monkeypatch,
            lambda _, fact: replace(fact, data=strange) if fact.number == 2 else fact,
        )
        events = await history(world)
        [damaged] = [event for event in events if event.type == DAMAGED]
        assert "Fact 2 of run 'r' cannot be decoded" in damaged.payload["problem"]
        assert events[-1].type == BARE

    play(work, World(codec=ToyCodec()).knows(flow))


# -- files --------------------------------------------------------------------------------------


def exported(tmp_path: Path, **options: Any) -> list[str]:
    """The lines of an exported history."""
    flow = create_flow("f").node("a", noted, inputs="list").node("b", fails_first).edge("a", "b")

    async def work(world: World) -> None:
        await world.process()
        await ended(world, flow)
        await world.client.export_history("r", tmp_path / "r.jsonl", **options)

    play(work, a_world(flow))
    return (tmp_path / "r.jsonl").read_text().splitlines()


def test_the_keys_of_an_export_are_pinned(tmp_path: Path) -> None:
    """What programs read of an export: removing or renaming a key breaks one."""
    header, blueprint, *events, end = map(json.loads, exported(tmp_path))
    assert header == {
        "kind": "flowcraft.history",
        "version": 1,
        "runId": "r",
        "blueprintId": "f",
        "payloads": True,
    }
    assert set(blueprint) == {"record", "blueprint"}
    keys = ["type", "time", "at", "runId", "blueprintId", "nodeId", "attempt", "iteration"]
    keys += ["record", "fact", "payload"]
    assert {tuple(event)[:11] for event in events} == {tuple(keys)}
    assert end == {"end": True, "events": len(events)}
    assert not (tmp_path / "r.jsonl.part").exists()


async def gives_odd_signs(_: Ctx) -> str:
    return ODD_SIGNS


ODD_SIGNS = "a\u0085b\u2028c\u2029d\r\ne"


def test_no_text_ends_a_line_of_an_export(tmp_path: Path) -> None:
    """Whatever is in a value, each line is JSON, also for programs with other ends of lines."""
    flow = create_flow("f").node("a", gives_odd_signs)

    async def work(world: World) -> None:
        await world.process()
        await ended(world, flow)
        await world.client.export_history("r", tmp_path / "r.jsonl")

    play(work, a_world(flow))
    lines = (tmp_path / "r.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[-1])["events"] == len(lines) - 3
    payloads = [json.loads(line).get("payload", {}) for line in lines]
    assert any(ODD_SIGNS in each.values() for each in payloads)


def test_without_payloads_no_value_is_written(tmp_path: Path) -> None:
    """Neither values nor messages are in such an export, and a replay says why it is refused."""
    lines = exported(tmp_path, payloads=False)
    text = "\n".join(lines)
    assert "[1,2,3]" not in text
    assert '"no"' not in text
    assert '"type":"ValueError"' in text
    events = list(read_history(lines))
    assert [event.type for event in events][-1] == "workflow:finish"
    with pytest.raises(FlowcraftError, match="written without payloads"):
        asyncio.run(FlowRuntime().replay(a_chain(), events))


def test_a_file_that_is_cut_off_or_damaged_says_where(tmp_path: Path) -> None:
    """Each line that is missing or altered is named, and the others are read."""
    lines = exported(tmp_path)
    whole = list(read_history(lines))
    for count in range(1, len(lines)):
        *events, last = read_history(lines[:count])
        assert last.type == DAMAGED
        assert f"cut off behind its line {count}" in last.payload["problem"]
        assert len(events) == max(0, count - 2)
    [damaged] = [e for e in read_history([*lines[:3], "{", *lines[4:]]) if e.type == DAMAGED]
    assert "line 4" in damaged.payload["problem"]
    without = list(read_history([*lines[:3], *lines[4:]]))
    assert len(without) == len(whole)
    assert "lines are missing" in without[-1].payload["problem"]
    with pytest.raises(FlowcraftError, match="lines are missing"):
        asyncio.run(FlowRuntime().replay(a_chain(), without))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "no history of a run"),
        ("[]", "no history of a run"),
        ('{"kind": "other"}', "no history of a run"),
        ('{"kind": "flowcraft.history"}', "no version"),
        ('{"kind": "flowcraft.history", "version": 2}', "newer version"),
    ],
)
def test_what_is_no_history_is_refused(line: str, problem: str) -> None:
    """A file of another kind, or of a newer version, is not taken for a history."""
    with pytest.raises(SerializationError, match=problem):
        list(read_history([line]))


# -- replaying ----------------------------------------------------------------------------------


def test_a_part_of_a_history_that_lacks_something_is_refused() -> None:
    """Events in the midst cannot be left out; a beginning of them is the run as it was then."""
    flow = a_chain()

    async def work(world: World) -> None:
        await world.process()
        await ended(world, flow)
        events = await history(world)
        runtime = FlowRuntime()
        early = await runtime.replay(flow, events[:3])
        assert early.states == {"a": "succeeded", "b": "running"}
        with pytest.raises(FlowcraftError, match="fact 1 of run 'r' is missing"):
            await runtime.replay(flow, [e for e in events if e.fact != 1])
        other = FlowEvent("node:finish", 1.0, "r", "f")
        with pytest.raises(FlowcraftError, match="together with others"):
            await runtime.replay(flow, [*events, other])

    play(work, a_world(flow))


def test_the_code_of_today_takes_the_place_of_what_failed() -> None:
    """From a node on its corrected code runs, also under another name; other graphs are refused."""
    broken = create_flow("f").node("a", noted, inputs="list").node("b", fails_first).edge("a", "b")
    mended = create_flow("f").node("a", noted, inputs="list").node("b", noted).edge("a", "b")

    async def work(world: World) -> None:
        await world.process()
        result = await ended(world, broken)
        assert result.status == "failed"
        events = await history(world)
        again = await FlowRuntime().replay_from(mended, events, "b")
        assert (again.status, again.outputs["b"]) == ("completed", [1, 2, 3])
        for other in (a_chain(), create_flow("g").node("a", noted)):
            with pytest.raises(FlowcraftError, match="that it brought along"):
                await FlowRuntime().replay(other, events)
        with pytest.raises(FlowcraftError, match="no node 'z'"):
            await FlowRuntime().replay_from(broken, events, "z")

    play(work, a_world(broken))


def test_an_item_that_was_retried_keeps_its_outcome() -> None:
    """What does not depend on the node that runs anew keeps what was recorded, items included."""
    retry = RetryPolicy(max_attempts=2, delay=0)
    flow = create_flow("f").batch("b", flaky, inputs="list", retry=retry).node("z", noted)

    async def work(world: World) -> None:
        await world.process()
        result = await ended(world, flow)
        CALLS.clear()
        again = await FlowRuntime().replay_from(flow, await history(world), "z")
        assert CALLS == ["z"]
        assert dict(again.outputs) == dict(result.outputs)

    play(work, a_world(flow, 2))
