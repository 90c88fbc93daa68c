"""What ``make demo`` shows a person."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_demo_runs_through_and_tells_what_happened() -> None:
    """Both runs of the order workflow end as announced, with a timeline of what happened."""
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for line in (
        "charge: the payment service does not answer (attempt 2 follows)",
        "awaiting: Ship this order? (approve, decline)",
        "■ order completed",
        "compensation of reserve: put_back",
        "first run: completed; second run: failed",
    ):
        assert line in done.stdout
