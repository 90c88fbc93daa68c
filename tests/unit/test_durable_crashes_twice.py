"""Two processes die in one run, the second one while it mends what the first one left.

A seeded sample of the pairs of calls that they die of, in memory and, fewer, on an SQLite file.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.unit.durable_sqlite import worlds_in
from tests.unit.test_durable_crashes import (
    Crash,
    Crashes,
    endures,
    undisturbed,
)
from tests.unit.test_durable_crashes_sqlite import ALL

PAIRS_IN_MEMORY = 15
PAIRS_ON_SQLITE = 3


def pairs(name: str, processes: int, number: int) -> list[Crashes]:
    """Some pairs of calls; the second process rarely has as much left to do as the first had."""
    _, _, calls = undisturbed(ALL[name])
    chance = random.Random(f"{name} {processes} {number}")

    def crash(most: int) -> Crash:
        return Crash(chance.randint(1, most), chance.random() < 0.5)

    found: list[Crashes] = []
    for _ in range(number):
        first = crash(calls)
        found.append((first, crash(max(3, calls - first.call + 3))))
    return found


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("name", ALL)
def test_two_crashes_in_memory(name: str, processes: int) -> None:
    """The run ends as it would have, no body runs more often than once for each crash beyond."""
    endures(ALL[name], pairs(name, processes, PAIRS_IN_MEMORY), processes)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("name", ALL)
def test_two_crashes_on_sqlite(name: str, processes: int, tmp_path: Path) -> None:
    """The same on a file that all processes share."""
    endures(ALL[name], pairs(name, processes, PAIRS_ON_SQLITE), processes, worlds_in(tmp_path))
