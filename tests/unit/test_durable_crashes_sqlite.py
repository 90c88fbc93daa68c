"""The stories of processes that die, on an SQLite file, each process with its own connection.

`test_durable_crashes` tells them in memory, with a crash at every call. Here they make the same
calls, and a seeded sample of these is died of: what is shown is that SQLite answers as memory does.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.unit import test_durable_crashes_more as more
from tests.unit import test_durable_shards
from tests.unit.durable_sqlite import worlds_in
from tests.unit.test_durable_crashes import STORIES, Crash, Way, endures, undisturbed

CUT = {f"cut batch: {name}": story for name, story in test_durable_shards.STORIES.items()}
ALL = {**STORIES, **more.STORIES, **CUT}
SAMPLE = 5


@pytest.mark.parametrize("name", ALL)
def test_without_a_crash_it_is_as_in_memory(name: str, tmp_path: Path) -> None:
    """The same comes of the flow, with the same bodies and the same number of calls."""
    assert undisturbed.__wrapped__(ALL[name], worlds_in(tmp_path)) == undisturbed(ALL[name])


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("name", ALL)
def test_a_crash_at_some_calls(name: str, processes: int, tmp_path: Path) -> None:
    """Wherever a process dies, the run ends as it would have, and nothing is left of it."""
    _, _, calls = undisturbed(ALL[name])
    numbers = range(1, calls + 1)
    everywhere = [
        Way((Crash(number, after),), others=processes - 1)
        for number in numbers
        for after in (False, True)
    ]
    chance = random.Random(f"{name} {processes}")
    endures(ALL[name], chance.sample(everywhere, SAMPLE), worlds_in(tmp_path))
