"""Runs that may be stuck, and rows that are not what their runs are, on emulators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest

from flowcraft.adapters.aws.client import BotoTransport
from flowcraft.adapters.aws.runs import DynamoDbRuns
from flowcraft.ports.runs import Query, Row
from flowcraft.ports.suspicion import Depth, Suspicion
from flowcraft.testing import VirtualClock
from flowcraft.testing.clock import START
from flowcraft.testing.conformance.helpers import create, done
from flowcraft.testing.conformance.suspects import LIVE, LONG, all_suspects
from tests.emulators.aws import AwsNames, client, create_tables
from tests.unit.aws_tables import Watched
from tests.unit.runs import drive

_numbers = count(1)


class Fleet:
    """Tables of an emulator, and the runs in them, whose requests are looked at."""

    def __init__(self, dynamodb: Any, names: AwsNames) -> None:
        self.dynamodb = dynamodb
        self.names = names
        self.clock = VirtualClock()
        self.service = Watched(BotoTransport(dynamodb, 4))
        self.runs = self.connect()

    def connect(self, segments: int = 1) -> DynamoDbRuns:
        """The runs of another process."""
        names = self.names
        return DynamoDbRuns(self.service, names.contexts, names.statuses, self.clock, segments)

    def suspicion(self, depth: Depth = Depth.SUSPECTS) -> Suspicion:
        """What a look asks for."""
        return Suspicion(self.clock.now() - LONG, ("running",), LIVE, depth)

    def row(self, run_id: str) -> Any:
        """A row as it is now, if there is one."""
        key = {"runId": {"S": run_id}}
        answer = self.dynamodb.get_item(TableName=self.names.statuses, Key=key, ConsistentRead=True)
        return answer.get("Item")

    def lose_row(self, run_id: str) -> None:
        """Delete a row by hand."""
        self.dynamodb.delete_item(TableName=self.names.statuses, Key={"runId": {"S": run_id}})


@contextmanager
def fleet_on(endpoint: str, *, index: bool) -> Iterator[Fleet]:
    """Tables of one's own on an emulator."""
    dynamodb = client("dynamodb", endpoint)
    names = AwsNames.numbered(50_000 + next(_numbers))
    create_tables(dynamodb, names, status_index=index)
    try:
        yield Fleet(dynamodb, names)
    finally:
        for table in (names.contexts, names.statuses, names.coordination):
            dynamodb.delete_table(TableName=table)
        dynamodb.close()


@pytest.mark.parametrize("index", [True, False], ids=["index", "scan"])
@pytest.mark.parametrize("emulator", ["ministack", "dynamodb_local"])
def test_what_may_be_stuck_is_found_and_rows_are_mended(
    emulator: str, index: bool, request: pytest.FixtureRequest
) -> None:
    """One pass by an index or a scan; rows that are behind, or gone, are right again after it."""
    with fleet_on(request.getfixturevalue(emulator), index=index) as fleet:
        drive(_story(fleet, index))


async def _story(fleet: Fleet, index: bool) -> None:
    runs = fleet.runs
    await create(runs, "late", row=Row("awaiting", due_at=START))
    await create(runs, "old")
    await create(runs, "over", status="completed")
    await create(runs, "rests", row=Row("awaiting", awaits=("x",)))
    before = fleet.row("rests")
    await done(runs, 1, "fact", run_id="rests", row=Row("awaiting", awaits=("y",)))
    fleet.dynamodb.put_item(TableName=fleet.names.statuses, Item=before)
    await create(runs, "gone", row=Row("awaiting", awaits=("y",)))
    fleet.lose_row("gone")
    fleet.clock.advance(LONG + 30)
    fleet.service.requests.clear()
    assert sorted(await all_suspects(runs, fleet.suspicion())) == ["late", "old"]
    look = ["Query"] * 3 if index else ["Scan"]
    assert fleet.service.names == ["DescribeTable", *look, "BatchGetItem"]
    assert await runs.find(Query(awaits="y")) == []
    assert (await runs.suspects(fleet.suspicion(Depth.ROWS))).mended == 1
    assert [head.run_id for head in await runs.find(Query(awaits="y"))] == ["rests"]
    segments = fleet.connect(3)
    fleet.lose_row("over")
    found = sorted(await all_suspects(segments, fleet.suspicion(Depth.RECORDS)))
    assert found == ["late", "old"]
    names = [head.run_id for head in await runs.find(Query(awaits="y"))]
    assert names == ["rests", "gone"]
    assert fleet.row("over") is None


@pytest.mark.parametrize("emulator", ["ministack", "dynamodb_local"])
def test_a_row_whose_writer_died_follows_when_the_run_is_read(
    emulator: str, request: pytest.FixtureRequest
) -> None:
    """Another process that reads the run writes the row, and then looks at it no more."""

    async def story(fleet: Fleet) -> None:
        await create(fleet.runs)
        before = fleet.row("run")
        await done(fleet.runs, 1, "fact", row=Row("awaiting", awaits=("y",)))
        fleet.dynamodb.put_item(TableName=fleet.names.statuses, Item=before)
        other = fleet.connect()
        fleet.service.requests.clear()
        for _ in range(2):
            await other.read("run")
        assert fleet.service.names == ["GetItem", "GetItem", "PutItem", "GetItem"]
        assert fleet.row("run")["awaits"] == {"L": [{"S": "y"}]}

    with fleet_on(request.getfixturevalue(emulator), index=False) as fleet:
        drive(story(fleet))
