"""What ``make demo`` and ``make demo-aws`` show a person."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("module", ["examples.demo", "examples.demo_aws"])
def test_the_demo_runs_through_and_tells_what_happened(module: str) -> None:
    """Both orders end as announced although a worker is killed, with a timeline of each."""
    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for line in (
        "was killed with SIGKILL in the middle of 'total'",
        "it waits: Ship this order? (approve, decline); Grace approves",
        "completed: parcel approved by Grace, on its way",
        "(attempt 2; 1 lost with its worker)",
        "failed: The subflow 'delivery' failed: the courier did not come",
        "payments: [113.0, 113.0, -113.0]",
        "drained and ended after SIGTERM",
    ):
        assert line in done.stdout
