"""``flowcraft list``."""

from __future__ import annotations

import asyncio
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.cli.list_ import run_lines
from flowcraft.cli.output import Output
from flowcraft.core.correlation import Correlation
from flowcraft.core.state import RunStatus
from flowcraft.engine.finding import Wanted, find
from flowcraft.engine.stored import RunSummary
from flowcraft.sqlite import SqliteAdapter
from tests.unit.aws_fleet import FakeFleet
from tests.unit.cli.conftest import Call, Work
from tests.unit.cli.test_output import Terminal, terminal
from tests.unit.runs import drive

__all__ = ["terminal"]

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


def ids(data: Any) -> list[str]:
    """The ids of listed runs."""
    return [run["runId"] for run in data["runs"]]


def test_runs_are_listed_by_what_is_asked(project: Path, flowcraft: Call, work: Work) -> None:
    """Status, flow, labels and time can be asked for, and several statuses at once."""
    flowcraft("start", "order", "-c", "amount=1", "--run-id", "ok", "--work", "--tag", "t=1")
    flowcraft("start", "order", "-c", "amount=-1", "--run-id", "bad", "--work")
    flowcraft("start", "order", "-c", "amount=2000", "--run-id", "asks", "--tag", "t=1")
    flowcraft("start", "hears", "-c", "number=5", "--run-id", "hears")
    work("asks"), work("hears")
    for arguments, expected in {
        "": ["hears", "asks", "bad", "ok"],
        "--status failed": ["bad"],
        "--status failed --status completed": ["bad", "ok"],
        "--live": ["hears", "asks"],
        "--flow hears": ["hears"],
        "--tag t=1": ["asks", "ok"],
        "--since 1h": ["hears", "asks", "bad", "ok"],
        "--until 1h": [],
    }.items():
        assert ids(flowcraft("list", "--json", *arguments.split()).data) == expected, arguments
    lines = flowcraft("list").out.splitlines()
    assert lines[0].split() == ["run", "flow", "status", "started", "took", "waits", "for"]
    assert "paid 5" in lines[1]
    assert "an answer" in lines[2]
    assert [line.split()[2] for line in lines[1:]] == [
        "awaiting",
        "awaiting",
        "failed",
        "completed",
    ]
    (run,) = flowcraft("list", "--flow", "hears", "--json").data["runs"]
    assert set(run) == {
        "runId",
        "blueprintId",
        "status",
        "createdAt",
        "updatedAt",
        "dueAt",
        "tags",
        "isChild",
        "awaits",
    }
    assert run["awaits"] == [{"event": "paid", "key": "5"}]


def test_a_list_says_how_it_goes_on(project: Path, flowcraft: Call) -> None:
    """The command for the next page has the same filters, and the last page has none."""
    for number in range(5):
        flowcraft("start", "order", "--run-id", f"r{number}", "--tag", "for=a b")
    seen: list[str] = []
    command = "flowcraft list --tag 'for=a b' --limit 2"
    while command:
        ended = flowcraft(*shlex.split(command)[1:])
        seen += [line.split()[0] for line in ended.out.splitlines()[1:]]
        command = ended.err.partition("There are more: ")[2].strip()
    assert seen == ["r4", "r3", "r2", "r1", "r0"]
    assert flowcraft("list", "--limit", "5", "--json").data["after"] is None
    assert flowcraft("list", "--limit", "4", "--json").data["after"] == "r1"


def test_no_runs_is_said_beside_the_pipe(project: Path, flowcraft: Call) -> None:
    """An empty list is no output, and no failure."""
    flowcraft("start", "order", "--run-id", "r")
    ended = flowcraft("list", "--status", "failed")
    assert (ended.code, ended.out) == (0, "")
    assert "no runs" in ended.err
    assert flowcraft("list", "--status", "failed", "--json").data == {
        "runs": [],
        "after": None,
        "rowsRead": 0,
        "scanned": False,
    }
    assert flowcraft("list", "--after", "gone").code == 3
    assert flowcraft("list", "--since", "soon").code == 2
    assert flowcraft("list", "--limit", "0").code == 2


def test_child_runs_can_be_left_out(tmp_path: Path) -> None:
    """Of runs with children as many are listed as were asked for, without the children."""

    async def listed() -> list[list[str]]:
        inner = create_flow("inner").wait("ask")
        outer = create_flow("outer").subflow("a", inner).subflow("b", inner)
        options = FlowRuntime(flows=[inner, outer]).options
        async with SqliteAdapter(tmp_path / "runs.db", options, poll_seconds=0.02) as adapter:
            for number in range(3):
                await adapter.start_run("outer", run_id=f"r{number}")
            while len((await adapter.list_runs(status="awaiting")).runs) < 9:
                await asyncio.sleep(0.01)
            wanted = [Wanted((), {}, after, 2, only_top=True) for after in (None, "r1")]
            found = [await find(adapter, each) for each in wanted]
        return [[run.run_id for run in each.runs] for each in found]

    assert drive(listed()) == [["r2", "r1"], ["r0"]]


def test_runs_of_a_fleet_are_listed_and_paged() -> None:
    """On AWS several statuses are as many lists, put together by time."""

    async def work() -> None:
        fleet = await FakeFleet.made()
        flow = create_flow("f").node("a", lambda ctx: 1).wait("ask").edge("a", "ask")
        async with fleet.client(flow) as client:
            for number in range(3):
                await client.start_run("f", run_id=f"r{number}")
            await client.cancel_run("r1")
            async with fleet.adapter(flow) as adapter:
                while (await adapter.get_run("r1")).status != "cancelled":
                    await asyncio.sleep(0.01)
            seen: list[str] = []
            after: str | None = None
            while True:
                statuses = ("running", "awaiting", "cancelled")
                found = await find(client, Wanted(statuses, {}, after, 1))
                seen += [run.run_id for run in found.runs]
                after = found.after
                if after is None:
                    break
            assert seen == ["r2", "r1", "r0"]

    drive(work())


def summary(run_id: str, flow: str, **given: Any) -> RunSummary:
    """A run in a list."""
    created = datetime.fromtimestamp(NOW - 200, UTC)
    status = given.pop("status", RunStatus.AWAITING)
    values: dict[str, Any] = {"due_at": None, "tags": {}, "is_child": False, **given}
    return RunSummary(run_id, flow, status, created, created, **values)


LONG = "8f0a276b-dc04-4d51-bebe-aaf568352e4c"


def test_eighty_columns_are_enough(terminal: Terminal) -> None:
    """Ids are whole, wide names aligned, and what a run waits for stands below it."""
    runs = [
        summary(LONG, "注文確認の流れ", awaits=(Correlation("paid", "17"),)),
        summary(f"{LONG}/child::1", "a-rather-long-name-of-a-flow", status=RunStatus.RUNNING),
        summary("short", "f", due_at=datetime.fromtimestamp(NOW - 60, UTC)),
    ]
    lines = run_lines(Output(stdout=terminal), runs, NOW)
    assert all(line.cell_len <= 80 for line in lines)
    texts = [line.plain for line in lines]
    assert texts[1].startswith(f"{LONG}  注文")
    assert texts[2] == "  waits for paid 17"
    assert texts[3] == f"{LONG}/child::1"
    assert texts[-1] == "  waits for timer, due 1 min ago"
    at = {line.plain.find(word) for line, word in zip(lines, ["status"], strict=False)}
    assert len(at) == 1


def test_a_wide_terminal_has_a_column_for_it(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 160 columns each run is one line."""
    monkeypatch.setenv("COLUMNS", "160")
    runs = [summary(LONG, "f"), summary(f"{LONG}/child::1", "f" * 100)]
    lines = run_lines(Output(stdout=terminal), runs, NOW)
    assert len(lines) == 3
    assert all(line.cell_len <= 160 for line in lines)
    assert lines[0].plain.endswith("waits for")
