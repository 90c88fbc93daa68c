"""Two processes die in one run: one after the other, or both of two that share the work.

A seeded sample of the pairs of calls that they die of, in memory and, fewer, on an SQLite file.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.unit.durable_sqlite import worlds_in
from tests.unit.test_durable_crashes import Crash, Way, endures, undisturbed
from tests.unit.test_durable_crashes_sqlite import ALL

IN_MEMORY = 15
ON_SQLITE = 3


def in_turn(calls: int, chance: random.Random) -> Way:
    """The second one dies while it mends what the first one left."""
    first = crash(calls, chance)
    return Way((first, crash(max(3, calls - first.call), chance)))


def together(calls: int, chance: random.Random) -> Way:
    """Each of two that share the work dies; each makes about half of the calls."""
    return Way((crash(calls // 2, chance),), beside=(crash(calls // 2, chance),))


def crash(most: int, chance: random.Random) -> Crash:
    """A crash at one of so many calls."""
    return Crash(chance.randint(1, most), chance.random() < 0.5)


def ways(name: str, how: str, number: int) -> list[Way]:
    """A sample that is the same each time."""
    _, _, calls = undisturbed(ALL[name])
    chance = random.Random(f"{name} {how}")
    draw = in_turn if how == "in turn" else together
    return [draw(calls, chance) for _ in range(number)]


@pytest.mark.parametrize("how", ["in turn", "together"])
@pytest.mark.parametrize("name", ALL)
def test_two_crashes_in_memory(name: str, how: str) -> None:
    """The run ends as it would have, no body runs more often than once for each crash beyond."""
    endures(ALL[name], ways(name, how, IN_MEMORY))


@pytest.mark.parametrize("how", ["in turn", "together"])
@pytest.mark.parametrize("name", ALL)
def test_two_crashes_on_sqlite(name: str, how: str, tmp_path: Path) -> None:
    """The same on a file that all processes share."""
    endures(ALL[name], ways(name, how, ON_SQLITE), worlds_in(tmp_path))
