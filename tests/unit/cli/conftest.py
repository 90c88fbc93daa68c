"""A project to use the command in: a workflow, its configuration, and the file of its runs."""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from flowcraft.application import load_app
from flowcraft.cli.main import run
from flowcraft.core.state import RunStatus
from flowcraft.engine.results import RunResult
from flowcraft.settings import load_settings
from flowcraft.sqlite import SqliteAdapter
from tests.unit.cli.modules import forgotten

SHOP = """
from flowcraft import FlowRuntime, NodeResult, create_flow

async def check(ctx):
    amount = ctx.input
    if amount < 0:
        raise ValueError(f"{amount} is too little")
    return NodeResult(output=amount, action="large" if amount > 1000 else "usual")

def send(ctx):
    return f"sent for {ctx.input}"

order = (
    create_flow("order")
    .node("check", check, inputs="amount")
    .wait("approve", title="Approve it", actions=["yes", "no"])
    .node("send", send, inputs="check", join="any")
    .edge("check", "send", action="usual")
    .edge("check", "approve", action="large")
    .edge("approve", "send", action="yes")
)
hears = create_flow("hears").wait("paid", event="paid", correlation_key="number")
runtime = FlowRuntime(flows=[order, hears])
"""


@dataclass
class Ended:
    """What a call of the command came to.

    Attributes:
        code: The exit code.
        out: What it wrote to standard output.
        err: What it wrote to standard error.
    """

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Standard output, as JSON."""
        return json.loads(self.out)


Call = Callable[..., Ended]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a workflow, which is the working directory."""
    (tmp_path / "shop.py").write_text(textwrap.dedent(SHOP), encoding="utf-8")
    (tmp_path / "flowcraft.toml").write_text('app = "shop:runtime"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with forgotten("shop", "flows"):
        yield tmp_path


@pytest.fixture
def flowcraft(capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the command with arguments."""

    def call(*arguments: str) -> Ended:
        code = run(arguments)
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return call


Look = Callable[[str], RunResult]


@pytest.fixture
def look(project: Path) -> Look:
    """Gives a run as it is in the project's file."""

    def look_at(run_id: str) -> RunResult:
        run: RunResult = SqliteAdapter.client_of(project / "runs.db").sync.get_run(run_id)
        return run

    return look_at


class Work(Protocol):
    """Works on the project's runs until one of them is as it is wanted."""

    def __call__(self, run_id: str, until: Callable[[RunResult], bool] = ...) -> RunResult:
        """Until it is over, or rests, by default."""
        ...


@pytest.fixture
def work(project: Path) -> Work:
    """Works on the project's runs."""

    def work_on(run_id: str, until: Callable[[RunResult], bool] = _rests) -> RunResult:
        return asyncio.run(_worked_on(project, run_id, until))

    return work_on


def _rests(run: RunResult) -> bool:
    return run.status.is_final or run.status is RunStatus.AWAITING


async def _worked_on(project: Path, run_id: str, until: Callable[[RunResult], bool]) -> RunResult:
    options = load_app(load_settings({}, project, {}))
    async with SqliteAdapter(project / "runs.db", options, poll_seconds=0.02) as adapter:
        while not until(run := await adapter.get_run(run_id)):
            await asyncio.sleep(0.01)
        return run
