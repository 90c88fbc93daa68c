"""``flowcraft ui`` as a process: it answers, streams, and stops at a signal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

SECONDS = 30.0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_a_signal_while_somebody_watches(tmp_path: Path, number: int) -> None:
    """A stream ends as the process stops, which is soon, and the exit code is 0."""
    with subprocess.Popen(
        [sys.executable, "-m", "flowcraft", "ui", "--port", "0", "--json", "--db", "runs.db"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["address"]
        with httpx.Client(base_url=f"{address}api/v1/", timeout=SECONDS) as client:
            assert client.get("session").json()["user"] == "local"
            evil = client.get("session", headers={"Host": "evil.example"})
            assert evil.status_code == 403
            assert client.get("runs/..%2f..").status_code == 404
            with client.stream("GET", "runs/events") as stream:
                lines = stream.iter_lines()
                assert next(lines) == "retry: 3000"
                process.send_signal(number)
                assert "event: snapshot" in list(lines)
        assert process.wait(SECONDS) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
