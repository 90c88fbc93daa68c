"""Lists of runs by the index of the status table, and without it, on emulators."""

from __future__ import annotations

from typing import Any

import pytest

from flowcraft.core.state import RunStatus
from flowcraft.ports.runs import Heads, Query
from flowcraft.testing.clock import START
from flowcraft.testing.conformance.helpers import create
from tests.contract.test_aws_suspects import Fleet, fleet_on
from tests.unit.runs import drive

RUNS = 70
STATUSES = ("completed", "running", "failed")


@pytest.mark.parametrize("index", [True, False], ids=["index", "scan"])
@pytest.mark.parametrize("emulator", ["ministack", "dynamodb_local"])
def test_lists_are_read_from_the_index_if_there_is_one(
    emulator: str, index: bool, request: pytest.FixtureRequest
) -> None:
    """Status, time and pages give the same runs either way, and never by a scan with an index."""
    with fleet_on(request.getfixturevalue(emulator), index=index) as fleet:
        drive(_story(fleet, index))


async def _story(fleet: Fleet, index: bool) -> None:
    names = [f"run-{number:02}" for number in range(RUNS)]
    for number, name in enumerate(names):
        await create(
            fleet.runs,
            name,
            status=STATUSES[number % 3],
            created_at=START + number,
            updated_at=START + number + (number % 3) * 5,
            tags={"odd": str(number % 2)},
        )

    async def listed(reads: int, **conditions: Any) -> tuple[list[str], int]:
        fleet.service.requests.clear()
        found = await fleet.runs.find(Query(**conditions))
        assert isinstance(found, Heads)
        asked = [name for name in fleet.service.names if name not in ("DescribeTable", "GetItem")]
        assert asked == [*(["Query"] * reads if index else ["Scan"]), "BatchGetItem"]
        assert found.scanned is not index
        return [head.run_id for head in found], found.rows_read

    every = len(RunStatus)
    assert (await listed(every, limit=10))[0] == names[:-11:-1]
    found, read = await listed(1, status="completed", limit=10)
    assert found == names[::3][:-11:-1]
    assert read == (len(names[::3]) if index else RUNS)
    window = {"created_from": START + 60, "created_until": START + 65}
    found, read = await listed(every, **window)
    assert found == names[60:65][::-1]
    assert read < 20 if index else read == RUNS
    found, read = await listed(every, tags={"odd": "1"}, after="run-60", limit=5)
    assert (found, read) == (names[51:60:2][::-1], RUNS)
