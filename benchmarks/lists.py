"""`python -m benchmarks.lists`: how long a page of a list takes among very many runs in SQLite.

Runs are written into the file directly, as rows without anything else; lists read nothing else of
them. Each list is asked for by the client, as the command and the dashboard do.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from benchmarks.command import machine, positive, show, tell_on_terminal
from benchmarks.report import table
from benchmarks.rounds import Spread
from flowcraft.adapters.sqlite import Database
from flowcraft.adapters.system import SystemClock
from flowcraft.client import FlowClient
from flowcraft.engine.finding import Found, Wanted, find

RUNS: Final = 100_000
ROUNDS: Final = 20
PAGE: Final = 50
MOST_MS: Final = 200.0
"""The goal, for whatever is read by an index."""

BEGINNING: Final = 1_700_000_000.0

# A run each second; statuses, blueprints and labels take turns.
_FILL: Final = """
    WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?)
    INSERT INTO runs (run_id, epoch, blueprint_id, blueprint_hash, status, stopping, created_at,
                      updated_at, tags)
    SELECT printf('run-%07d', n), 'epoch', printf('flow-%d', n % 7), 'hash',
           CASE WHEN n % 10 = 0 THEN 'failed' WHEN n % 100 = 1 THEN 'awaiting' ELSE 'completed' END,
           0, ? + n, ? + n + 5, printf('{"tenant": "%d"}', n % 20)
    FROM numbers
"""
_LABELS: Final = """
    INSERT INTO tags (name, value, run_id)
    SELECT 'tenant', CAST(CAST(substr(run_id, 5) AS INTEGER) % 20 AS TEXT), run_id FROM runs
"""


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(BEGINNING + seconds, UTC)


def lists(runs: int) -> Mapping[str, tuple[Wanted, bool]]:
    """The lists that are asked for, and whether an index has all that they ask."""

    def wanted(*statuses: str, after: str | None = None, **filters: Any) -> Wanted:
        return Wanted(statuses, filters, after, PAGE)

    middle, label = f"run-{runs // 2:07}", {"tenant": "7"}
    text = Wanted(limit=PAGE, text="run-0000")
    return {
        "the newest": (wanted(), True),
        "behind a run in the middle": (wanted(after=middle), True),
        "failed": (wanted("failed"), True),
        "awaiting, running or paused": (wanted("awaiting", "running", "paused"), True),
        "of a time window, a while ago": (
            wanted(created_from=_at(runs / 4), created_until=_at(runs / 2)),
            True,
        ),
        "of a blueprint": (wanted(blueprint_id="flow-3"), True),
        "of a blueprint, failed": (wanted("failed", blueprint_id="flow-3"), True),
        "with a label of one run in 20": (wanted(tags=label), False),
        "with a label that such runs never have": (wanted("awaiting", tags=label), False),
        "with a text in the id (of the newest 2,000)": (text, False),
    }


def fill(path: Path, runs: int) -> None:
    """Write so many runs into a file."""
    Database(path, SystemClock()).close()
    with sqlite3.connect(path) as file:
        file.execute(_FILL, (runs, BEGINNING, BEGINNING))
        file.execute(_LABELS)
    file.close()


async def measure(
    path: Path, runs: int, rounds: int, tell: Callable[[str], None]
) -> Mapping[str, tuple[Spread, Found]]:
    """Milliseconds for a page of each list, in rounds after a first that is not counted."""
    measured: dict[str, tuple[Spread, Found]] = {}
    async with FlowClient.sqlite(path) as client:
        for name, (wanted, _) in lists(runs).items():
            tell(f"{name} …")
            found = await find(client, wanted)
            times = []
            for _ in range(rounds):
                began = perf_counter()
                found = await find(client, wanted)
                times.append((perf_counter() - began) * 1_000)
            measured[name] = (Spread.of(times), found)
    return measured


def as_text(runs: int, measured: Mapping[str, tuple[Spread, Found]]) -> str:
    """The figures as a table."""
    rows = [["milliseconds", "median", "smallest to largest", "runs", "rows read", "goal"]]
    wanted = lists(runs)
    for name, (spread, found) in measured.items():
        goal = f"{MOST_MS:g} ms: " + ("met" if spread.middle <= MOST_MS else "MISS")
        range_ = f"{spread.low:.1f} to {spread.high:.1f}"
        count, read = str(len(found.runs)), f"{found.rows_read:,}"
        goal = goal if wanted[name][1] else "none"
        rows.append([name, f"{spread.middle:.1f}", range_, count, read, goal])
    return f"A page of {PAGE} runs among {runs:,} in SQLite\n" + table(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table.

    Returns:
        0; 1 if a goal was missed and ``--strict`` was given.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lists", description=__doc__)
    parser.add_argument("--runs", type=positive, default=RUNS, help="how many there are")
    parser.add_argument("--rounds", type=positive, default=ROUNDS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    parser.add_argument("--strict", action="store_true", help="exit code 1 if a goal is missed")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "runs.db"
        fill(path, given.runs)
        measured = asyncio.run(measure(path, given.runs, given.rounds, tell_on_terminal))
    data = {
        "machine": machine(given.rounds),
        "lists": {
            name: {"milliseconds": asdict(spread), "rows_read": found.rows_read}
            for name, (spread, found) in measured.items()
        },
    }
    show(as_text(given.runs, measured), data, given.json)
    wanted = lists(given.runs)
    missed = [name for name, (spread, _) in measured.items() if spread.middle > MOST_MS]
    return int(given.strict and any(wanted[name][1] for name in missed))


if __name__ == "__main__":
    sys.exit(main())
