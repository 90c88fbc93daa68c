"""The command as processes: a worker that follows changes, signals, and the death of a parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from flowcraft.cli.main import run
from tests.unit.cli.modules import forgotten

PROJECT = """
import asyncio
from flowcraft import FlowRuntime, create_flow

async def work(ctx):
    await asyncio.sleep(ctx.input)
    return "first"

flow = create_flow("slow").node("work", work, inputs="seconds")
runtime = FlowRuntime(flows=[flow])
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A directory with a workflow of one node."""
    (tmp_path / "slow.py").write_text(PROJECT, encoding="utf-8")
    settings = 'app = "slow:runtime"\n[worker]\ndrain_timeout_seconds = 0.1\n'
    (tmp_path / "flowcraft.toml").write_text(settings, encoding="utf-8")
    with forgotten("slow"):
        yield tmp_path


class Process:
    """The command in a process, whose lines are waited for."""

    def __init__(self, directory: Path, *arguments: str, **variables: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flowcraft", *arguments],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **variables},
        )

    def until(self, text: str, stream: IO[str] | None = None) -> str:
        """The next line of standard error, or of another stream, with a text in it."""
        lines = stream or self.process.stderr
        assert lines is not None
        for line in lines:
            if text in line:
                return line
        raise AssertionError(f"the command ended without saying {text!r}")

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.mark.slow
def test_dev_starts_the_worker_anew_when_a_file_changes(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A change of the code is what the next run is carried out by, and Ctrl-C ends it all."""
    monkeypatch.chdir(project)
    with Process(project, "dev") as dev:
        dev.until("A worker of slow")
        code = PROJECT.replace("first", "second")
        (project / "slow.py").write_text(code, encoding="utf-8")
        dev.until("Changed: slow.py")
        dev.until("A worker of slow")
        assert run(["start", "slow", "-c", "seconds=0", "--wait", "--json"]) == 0
        assert '"work": "second"' in capsys.readouterr().out
        dev.until("completed", dev.process.stdout)
        dev.process.send_signal(signal.SIGINT)
        dev.until("Stopping")
        assert dev.process.wait(timeout=30) == 0


@pytest.mark.slow
def test_dev_makes_what_is_missing_on_an_emulator(
    project: Path,
    ministack: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Queue and tables are made where there are none, and a run is carried out on them."""
    variables = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "FLOWCRAFT_BACKEND": "aws",
        "FLOWCRAFT_AWS_REGION": "eu-north-1",
        "FLOWCRAFT_AWS_ENDPOINT_URL": ministack,
        "FLOWCRAFT_AWS_PREFIX": "of-dev",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(project)
    with Process(project, "dev", **variables) as dev:
        dev.until("A worker of slow on of-dev-jobs")
        assert run(["start", "slow", "-c", "seconds=0", "--wait", "--json"]) == 0
        assert '"work": "first"' in capsys.readouterr().out
        dev.process.send_signal(signal.SIGINT)
        assert dev.process.wait(timeout=60) == 0


@pytest.mark.slow
def test_dev_is_not_for_aws_itself(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an emulator's address dev refuses a fleet, and says what to do instead."""
    assert run(["dev", "--app", "slow:runtime", "--backend", "aws"]) == 2
    assert "On AWS itself run 'flowcraft worker'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_worker_ends_with_the_dev_that_started_it(project: Path) -> None:
    """Killed without a chance to clean up, dev leaves no worker behind."""
    with Process(project, "dev") as dev:
        dev.until("A worker of slow")
        dev.process.kill()
        # The worker holds the other end of the pipe; the pipe ends when the worker does.
        dev.process.communicate(timeout=30)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_start_says_what_it_waits_for(
    project: Path, number: signal.Signals, code: int
) -> None:
    """Ctrl-C or SIGTERM while a node runs hands it back, says so, and ends as shells have it."""
    with Process(project, "start", "slow", "-c", "seconds=600", "--work", "--run-id", "r") as start:
        start.until("Started r")
        start.process.send_signal(number)
        start.until("The run goes on with the next worker")
        assert start.process.wait(timeout=30) == code


@pytest.mark.slow
def test_a_worker_stops_at_a_signal(project: Path) -> None:
    """SIGTERM ends a worker that is ready with 0, and it says that it was told to stop."""
    with Process(project, "worker") as worker:
        worker.until("Ready")
        worker.process.send_signal(signal.SIGTERM)
        worker.until("Told to stop")
        assert worker.process.wait(timeout=30) == 0
