"""``flowcraft watch``."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.application import load_app
from flowcraft.cli import watch
from flowcraft.cli.changes import _has_moved, run_changes
from flowcraft.cli.invocation import Invocation
from flowcraft.cli.output import Output
from flowcraft.cli.watch import Listed, Named, Rhythm, follow
from flowcraft.engine.inspecting import BatchDetails
from flowcraft.memory import MemoryAdapter
from flowcraft.settings import load_settings
from flowcraft.sqlite import SqliteAdapter
from tests.unit.aws_fleet import FakeFleet
from tests.unit.cli.conftest import Call
from tests.unit.cli.test_output import Terminal, terminal
from tests.unit.runs import drive

__all__ = ["terminal"]

Act = Callable[[SqliteAdapter], Awaitable[object]]


@pytest.fixture
def acts(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[Act]:
    """What happens between two looks, in order; then nothing more, and Ctrl-C at last."""
    told: list[Act] = []

    async def pause(_: float) -> None:
        if not told:
            raise KeyboardInterrupt
        options = load_app(load_settings({}, project, {}))
        async with SqliteAdapter(project / "runs.db", options, poll_seconds=0.02) as adapter:
            await told.pop(0)(adapter)

    monkeypatch.setattr(watch, "pause", pause)
    return told


def until(run_id: str, *statuses: str) -> Act:
    """Work until a run is so."""

    async def act(adapter: SqliteAdapter) -> None:
        while str((await adapter.get_run(run_id)).status) not in statuses:
            await adapter._station.sleep_until(adapter._clock.now() + 0.01)  # type: ignore[union-attr]

    return act


async def answer(adapter: SqliteAdapter) -> None:
    """Answer the approval, and see the run to its end."""
    await adapter.resume_with_action("r", "yes")
    await adapter.wait_for_run("r")


def test_each_change_is_a_line_and_the_exit_code_the_runs(flowcraft: Call, acts: list[Act]) -> None:
    """Without a terminal nodes and the run are told as they change, until the run is over."""
    flowcraft("start", "order", "-c", "amount=2000", "--run-id", "r")
    acts += [until("r", "awaiting"), answer]
    ended = flowcraft("watch", "r")
    assert ended.code == 0
    assert [line.partition(" r ")[2] for line in ended.out.splitlines()] == [
        "check running",
        "running",
        "check succeeded",
        "approve waiting",
        "awaiting",
        "approve succeeded",
        "send succeeded",
        "completed",
    ]


def test_changes_are_json_lines(flowcraft: Call, acts: list[Act]) -> None:
    """With --json each change is an object on a line of its own, with its time."""
    flowcraft("start", "order", "-c", "amount=-1", "--run-id", "r")
    acts.append(until("r", "failed"))
    ended = flowcraft("watch", "r", "--json")
    assert ended.code == 1
    told = [json.loads(line) for line in ended.out.splitlines()]
    assert set(told[0]) == {"at", "runId", "status", "node", "nodeStatus", "detail"}
    assert told[-1]["status"] == "failed"
    assert told[-1]["detail"] == "ValueError: -1 is too little"
    failed = next(each for each in told if each["nodeStatus"] == "failed")
    assert failed["node"] == "check"


def test_several_runs_are_over_when_all_are(flowcraft: Call, acts: list[Act]) -> None:
    """One that failed makes the whole fail, whatever becomes of the others."""
    flowcraft("start", "order", "-c", "amount=-1", "--run-id", "bad")
    flowcraft("start", "order", "-c", "amount=1", "--run-id", "ok")
    acts += [until("bad", "failed"), until("ok", "completed")]
    ended = flowcraft("watch", "ok", "bad", "ok")
    assert ended.code == 1
    assert "bad failed" in ended.out
    assert "ok completed" in ended.out


def test_watching_ends_by_time_and_by_ctrl_c(flowcraft: Call, acts: list[Act]) -> None:
    """A run that is not over in time is code 6, Ctrl-C is 130, and an unknown run is 3."""
    flowcraft("start", "order", "-c", "amount=1", "--run-id", "r")
    assert flowcraft("watch", "r", "--timeout", "0").code == 6
    assert flowcraft("watch", "--timeout", "0").code == 0
    assert flowcraft("watch", "r").code == 130
    assert flowcraft("watch", "none").code == 3
    assert flowcraft("watch", *map(str, range(21))).code == 2
    assert not acts


def test_without_a_run_all_live_ones_are_told(flowcraft: Call, acts: list[Act]) -> None:
    """Runs come, change and go; who watches sees each of these as a line."""

    async def start(adapter: SqliteAdapter) -> None:
        await adapter.start_run("order", {"amount": 2000}, run_id="two")
        await until("two", "awaiting")(adapter)

    async def cancel(adapter: SqliteAdapter) -> None:
        await adapter.cancel_run("two")
        await until("two", "cancelled")(adapter)

    flowcraft("start", "hears", "-c", "number=1", "--run-id", "one")
    acts += [start, cancel]
    ended = flowcraft("watch")
    assert ended.code == 130
    told = [" ".join(line.split()[3:]) for line in ended.out.splitlines()]
    assert told == ["one awaiting: hears", "two awaiting: order", "two gone: order"]


def test_a_terminal_shows_how_the_run_is(
    project: Path, flowcraft: Call, acts: list[Act], terminal: Terminal
) -> None:
    """The picture is drawn anew at each look, fits the terminal, and stays when it is over."""
    flowcraft("start", "order", "-c", "amount=2000", "--run-id", "r")
    acts += [until("r", "awaiting"), answer]

    async def work() -> int:
        invocation = Invocation(project, {})
        invocation.__dict__["out"] = Output(stdout=terminal)
        async with invocation.client() as client:
            subject = await Named.of(client, ["r"])
            code = await follow(invocation, subject, Rhythm(0.5, 0.5), None)
            assert next(subject.lines(invocation.out, 0.0)).plain == "r  order"
            return code

    assert drive(work()) == 0
    text = terminal.getvalue()
    assert 'waits for approve; "Approve it"; actions: yes, no' in text
    *_, last, cursor = text.rstrip().splitlines()
    assert last.startswith("nodes 3: ")
    assert cursor == "\x1b[?25h"  # it is shown again


def test_a_terminal_shows_as_many_runs_as_it_has_lines(
    project: Path, flowcraft: Call, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list that is longer than the terminal says so, and where to see it in whole."""
    monkeypatch.setenv("LINES", "8")
    for number in range(9):
        flowcraft("start", "order", "--run-id", f"r{number}")

    async def work() -> list[str]:
        invocation = Invocation(project, {})
        out = Output(stdout=terminal)
        async with invocation.client() as client:
            listed = Listed(client)
            none = [line.plain for line in listed.lines(out, 0.0)]
            assert none[0].startswith("There are no live runs.")
            assert len(await listed.look()) == 9
            assert list(await listed.look()) == []
            return [line.plain for line in listed.lines(out, 0.0)]

    lines = drive(work())
    assert len(lines) <= 8
    assert lines[-1] == "… and more: flowcraft list --live"


def test_looks_become_rarer_where_nothing_changes() -> None:
    """After a change they are as near as at first, and never farther apart than the longest."""
    rhythm = Rhythm(2.0, 5.0)
    seen = [rhythm.next(has_changed=each) for each in (True, False, False, False, False, True)]
    assert seen == [2.0, 3.0, 4.5, 5.0, 5.0, 2.0]


def test_of_very_many_nodes_some_are_told_and_the_rest_counted() -> None:
    """A look after which a thousand nodes are different is not a thousand lines."""

    async def body(_: Any) -> int:
        return 1

    async def work() -> Sequence[Any]:
        flow = create_flow("wide")
        for number in range(100):
            flow.node(f"n{number}", body, uses="n")
        async with MemoryAdapter(FlowRuntime(flows=[flow]).options) as adapter:
            await (await adapter.start_run("wide", run_id="r")).result()
            return list(run_changes(None, await adapter.inspect_run("r")))

    changed = drive(work())
    assert len(changed) == 22
    assert changed[-2].detail == "80 more nodes have changed"
    assert str(changed[-1]) == "r completed"


def test_a_batch_is_told_of_at_each_hundredth_and_at_its_end() -> None:
    """Of a hundred thousand items there are a hundred lines; of few items each is one."""
    parts = [0, 400, 999, 1_000, 1_900, 99_999, 100_000]
    large = [BatchDetails(100_000, done, 0, 0) for done in parts]
    moved = [_has_moved(*each) for each in pairwise(large)]
    assert moved == [False, False, True, False, True, True]
    assert not _has_moved(large[-1], large[-1])
    assert _has_moved(BatchDetails(5, 1, 0, 0), BatchDetails(5, 2, 0, 0))
    assert _has_moved(None, large[0])


def test_on_aws_looks_are_few_and_their_number_is_known() -> None:
    """A named run is one read a look; the list of live runs three lists, rows and items."""

    async def work() -> None:
        fleet = await FakeFleet.made()
        flow = create_flow("f").node("a", lambda ctx: 1)
        async with fleet.client(flow) as client:
            for number in range(5):
                await client.start_run("f", run_id=f"r{number}")
            subject = await Named.of(client, ["r0", "r1"])
            await subject.look()
            before = len(fleet.sent)
            assert list(await subject.look()) == []
            assert [each.split()[0] for each in fleet.sent[before:]] == ["GetItem", "GetItem"]
            listed = Listed(client)
            assert len(await listed.look()) == 5
            before = len(fleet.sent)
            assert list(await listed.look()) == []
            kinds = [each.split()[0] for each in fleet.sent[before:]]
            assert kinds.count("BatchGetItem") == 1
            assert len(kinds) == 4

    drive(work())
