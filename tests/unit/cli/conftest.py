"""A project to use the command in: a workflow, its configuration, and the file of its runs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flowcraft.cli.main import run
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
