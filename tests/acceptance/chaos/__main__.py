"""``python -m tests.acceptance.chaos``: a campaign, and the table of what came of it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from tests.acceptance.chaos.campaign import Plan, Report, run

TELL_SECONDS: Final = 10.0
MOST_SHOWN: Final = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Play a campaign; gives the exit status: 1 where something was wrong."""
    plan = Plan()
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.chaos")
    add = parser.add_argument
    add("--runs", type=int, default=plan.runs, help="how many runs are started (%(default)s)")
    add("--workers", type=int, default=plan.workers, help="worker processes (%(default)s)")
    add("--kill-every", type=float, default=plan.kill_every, help="seconds (%(default)s)")
    add("--faults", type=float, default=plan.faults, help="share of requests (%(default)s)")
    add("--seed", type=int, default=plan.seed, help="decides what is left to chance (%(default)s)")
    add("--open", type=int, default=plan.most_open, help="runs at a time (%(default)s)")
    add("--patience", type=float, default=plan.patience, help="seconds in all (%(default)s)")
    options = parser.parse_args(arguments)
    report = run(
        Plan(
            runs=options.runs,
            workers=options.workers,
            kill_every=options.kill_every,
            faults=options.faults,
            seed=options.seed,
            most_open=options.open,
            patience=options.patience,
        ),
        _now_and_then(),
    )
    tell(report)
    return 0 if report.verdict.ok else 1


def _now_and_then() -> Callable[[str], None]:
    """Prints what it is told, every ten seconds."""
    before = time.monotonic()

    def say(text: str) -> None:
        nonlocal before
        if time.monotonic() - before >= TELL_SECONDS:
            before = time.monotonic()
            print(text, file=sys.stderr, flush=True)

    return say


def tell(report: Report) -> None:
    """Print what was wrong, and the table."""
    verdict = report.verdict
    for problems in (verdict.lost, verdict.wrong, verdict.stuck, verdict.other):
        for problem in problems[:MOST_SHOWN]:
            print(problem)
        if len(problems) > MOST_SHOWN:
            print(f"… and {len(problems) - MOST_SHOWN} more")
    print(report)


if __name__ == "__main__":
    sys.exit(main())
