"""``flowcraft status`` and ``flowcraft inspect``."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest

from flowcraft import FlowRuntime, NodeContext, create_flow
from flowcraft.cli.inspect_ import show as show_all
from flowcraft.cli.output import Output
from flowcraft.cli.status import show as show_status
from flowcraft.engine.inspecting import RunDetails
from flowcraft.sqlite import SqliteAdapter
from tests.unit.cli.conftest import Call, Work
from tests.unit.cli.test_output import Terminal, terminal
from tests.unit.runs import drive

__all__ = ["terminal"]

Ctx = NodeContext[Any]


@pytest.fixture
def asks(flowcraft: Call, work: Work) -> str:
    """A run that waits for an approval."""
    flowcraft("start", "order", "-c", "amount=2000", "--run-id", "r", "--tag", "t=1")
    work("r")
    return "r"


def test_a_run_that_waits_says_how_to_answer(asks: str, flowcraft: Call) -> None:
    """Title and actions of a wait are shown, and the command that answers it."""
    ended = flowcraft("status", asks)
    assert ended.code == 0
    assert 'waits for  approve; "Approve it"; actions: yes, no' in ended.out
    assert "flowcraft resume r --node approve --action yes" in ended.out
    assert "nodes      3: 1 succeeded, 1 waiting, 1 pending" in ended.out
    assert "tags       t=1" in ended.out
    data = flowcraft("status", asks, "--json").data
    assert data["status"] == "awaiting"
    assert data["nodes"] == {"succeeded": 1, "waiting": 1, "pending": 1}
    assert data["awaiting"][0]["path"] == ["approve"]
    assert [node["name"] for node in data["live"]] == ["approve"]


def test_the_exit_status_is_the_runs_where_it_is_asked_for(
    asks: str, flowcraft: Call, work: Work
) -> None:
    """0 completed, 1 failed, 7 not over; and 0 whatever it is without the flag."""
    flowcraft("start", "order", "-c", "amount=1", "--run-id", "ok", "--work")
    flowcraft("start", "order", "-c", "amount=-1", "--run-id", "bad", "--work")
    for run_id, code in ((asks, 7), ("ok", 0), ("bad", 1)):
        assert flowcraft("status", run_id, "--exit-status").code == code
        assert flowcraft("status", run_id, "--exit-status", "--json").code == code
        assert flowcraft("status", run_id).code == 0
    assert flowcraft("status", "none").code == 3
    assert flowcraft("inspect", "none").code == 3


def test_a_failure_is_told_with_its_cause(flowcraft: Call, project: Path) -> None:
    """Error, cause chain and next steps are there; the traceback only with --full."""
    (project / "shop.py").write_text(
        "from flowcraft import create_flow\n"
        "async def boom(ctx):\n"
        "    raise RuntimeError('bad\\x1b[2J') from KeyError('a')\n"
        "runtime = create_flow('f').node('boom', boom)\n",
        encoding="utf-8",
    )
    assert flowcraft("start", "f", "--run-id", "r", "--work").code == 1
    shown = flowcraft("status", "r").out
    assert "boom: RuntimeError: bad\\x1b[2J" in shown
    assert "because of KeyError: 'a'" in shown
    assert "flowcraft retry r" in shown
    everything = flowcraft("inspect", "r")
    assert "boom, attempt 1" in everything.out
    assert everything.out.count("RuntimeError") == 2
    assert "Traceback" not in everything.out
    assert "Traceback" in flowcraft("inspect", "r", "--full").out
    assert "\x1b" not in everything.out + flowcraft("inspect", "r", "--json").out


def test_all_of_a_run_is_json_with_stable_keys(asks: str, flowcraft: Call) -> None:
    """The keys of ``inspect --json`` are what programs rely on."""
    data = flowcraft("inspect", asks, "--json").data
    assert list(data) == [
        "runId",
        "blueprintId",
        "version",
        "blueprintHash",
        "status",
        "stopping",
        "reason",
        "createdAt",
        "endedAt",
        "dueAt",
        "parent",
        "tags",
        "fairnessKey",
        "idempotencyKey",
        "nodes",
        "awaiting",
        "errors",
        "compensations",
        "context",
        "executions",
        "facts",
        "cost",
        "budget",
        "paused",
    ]
    assert list(data["nodes"][0]) == [
        "name",
        "nodeId",
        "uses",
        "iteration",
        "status",
        "attempt",
        "lost",
        "startedAt",
        "endedAt",
        "dueAt",
        "leaseUntil",
        "action",
        "input",
        "output",
        "error",
        "attempts",
        "childRunId",
        "childStatus",
        "batch",
        "took",
    ]
    check = data["nodes"][0]
    assert (check["name"], check["input"], check["output"]) == ("check", 2000, 2000)
    assert list(check["attempts"][0]) == ["number", "startedAt", "endedAt", "error"]
    assert data["context"] == {"amount": 2000}


def test_the_graph_shows_how_each_node_fared(asks: str, flowcraft: Call) -> None:
    """Below all else the workflow is drawn, with a sign for the state of each node."""
    lines = flowcraft("inspect", asks).out.splitlines()
    drawn = "\n".join(lines[lines.index("graph") :])
    for sign, node in (("✔", "check"), ("◷", "approve"), ("○", "send")):
        assert any(sign in line and node in line for line in drawn.splitlines())


def test_one_node_is_shown_in_whole(asks: str, flowcraft: Call) -> None:
    """A node is found by its id, and another id is told with those that there are."""
    ended = flowcraft("inspect", asks, "--node", "check")
    assert ended.out.startswith("check  ")
    assert "output     2000" in ended.out
    (node,) = flowcraft("inspect", asks, "--node", "check", "--json").data["nodes"]
    assert node["output"] == 2000
    missing = flowcraft("inspect", asks, "--node", "chek")
    assert missing.code == 3
    assert "it has: check, approve, send" in missing.err


def inspected(path: Path, flow: Any, context: Any = None, *, until: str = "final") -> RunDetails:
    """A run of a flow in detail, once it is over or waits."""

    async def work() -> RunDetails:
        options = FlowRuntime(flows=[flow]).options
        async with SqliteAdapter(path / "runs.db", options, poll_seconds=0.02) as adapter:
            await adapter.start_run(flow.to_blueprint(), context, run_id="r")
            if until == "final":
                await adapter.wait_for_run("r")
            while until not in ("final", (await adapter.get_run("r")).status):
                await asyncio.sleep(0.01)
            return await adapter.inspect_run("r")

    return drive(work())


def lines_of(terminal: Terminal, run: RunDetails, *, full: bool = False) -> list[str]:
    """What ``inspect`` shows on a terminal, without colours."""
    out = Output(stdout=terminal)
    out.console.no_color = True
    show_all(out, run, run.created_at.timestamp() + 60, full)
    text = terminal.getvalue()
    for code in ("\x1b[1m", "\x1b[0m", "\x1b[2m", "\x1b[1;4m"):
        text = text.replace(code, "")
    return text.splitlines()


def test_a_thousand_nodes_fit_on_a_few_pages(tmp_path: Path, terminal: Terminal) -> None:
    """Of many nodes those that failed are shown and some others; all of them with --full."""

    async def body(ctx: Ctx) -> str:
        if ctx.node_id == "n0777":
            raise ValueError("seven")
        return "x" * 3_000

    flow = create_flow("wide").on_failure("continue")
    for number in range(1_000):
        flow.node(f"n{number:04}", body, uses="body")
    run = inspected(tmp_path, flow)
    lines = lines_of(terminal, run)
    assert len(lines) < 100
    assert sum(line.startswith("n0777 ") for line in lines) == 1
    assert "… and 960 more; --full shows them" in lines
    assert max(map(len, lines)) <= 80
    assert len(lines_of(Terminal(), run, full=True)) > 2_000


def test_attempts_are_bars_of_their_own(tmp_path: Path, terminal: Terminal) -> None:
    """A node that was tried again has a line for each attempt, and wide names are aligned."""
    failures = [ValueError("declined")]

    async def charge(ctx: Ctx) -> str:
        if failures:
            raise failures.pop()
        return "ok"

    flow = create_flow("f").node("注文確認", charge, config={"maxRetries": 2, "retryDelay": 10})
    flow.wait("ask", title="A question").edge("注文確認", "ask")
    lines = lines_of(terminal, inspected(tmp_path, flow, until="awaiting"))
    at = lines.index("timeline")
    head, node, first, second, ask = lines[at + 1 : at + 6]
    assert head.startswith("node         state      ")
    assert node.startswith("注文確認     succeeded  ")
    assert first.startswith("  attempt 1  failed     ")
    assert "▒" in first
    assert second.startswith("  attempt 2  succeeded  ")
    assert "█" in second
    assert ask.startswith("ask          waiting    ")
    assert ask.endswith("░")
    assert max(map(len, lines)) <= 80


def test_bars_are_plain_where_the_encoding_is(tmp_path: Path) -> None:
    """Without the signs of a bar it is made of ASCII."""
    flow = create_flow("f").node("a", lambda ctx: "é")
    raw = io.BytesIO()
    out = Output(stdout=io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    show_all(out, inspected(tmp_path, flow), 0.0, False)
    text = raw.getvalue().decode("ascii")
    assert "==" in text
    assert "\\xe9" in text


def test_a_batch_shows_how_far_it_is(tmp_path: Path, terminal: Terminal) -> None:
    """Items, failures and a bar are shown; values that are long are cut with their length."""

    async def item(ctx: Ctx) -> Any:
        if ctx.input == 3:
            raise ValueError("three")
        return ctx.input

    flow = create_flow("f").batch("b", item, uses="item", inputs="items", failure_mode="collect")
    run = inspected(tmp_path, flow, {"items": list(range(200))})
    out = Output(stdout=terminal)
    show_status(out, run, run.created_at.timestamp(), 5)
    assert "200 of 200 items (100 %)" in terminal.getvalue()
    assert "1 failed" in terminal.getvalue()
    lines = lines_of(Terminal(), run)
    assert max(map(len, lines)) <= 80
    assert json.dumps(list(range(200))) not in "\n".join(lines)
