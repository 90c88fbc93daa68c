"""Rows on DynamoDB follow their runs: also where a write fails, or its writer dies before."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from flowcraft.adapters.aws.rows import HEARTBEAT_SECONDS
from flowcraft.adapters.aws.runs import DynamoDbRuns
from flowcraft.adapters.aws.transport import Answer, AwsError, Request
from flowcraft.adapters.aws.writing import LATELY_SECONDS
from flowcraft.errors import StorageBusy
from flowcraft.ports.runs import Query, Row, Verdict
from flowcraft.testing import VirtualClock
from flowcraft.testing.conformance.helpers import claim, create, done, holding, write
from tests.unit.aws_tables import CONTEXTS, STATUSES, Watched, fake_tables, items
from tests.unit.runs import drive

WAITS = Row("awaiting", awaits=("paid",))


class Table(Watched):
    """The fake; writes of rows may fail."""

    code: str | None = None

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request."""
        is_row = request.get("TableName") == STATUSES and operation == "PutItem"
        if is_row and self.code is not None:
            self.requests.append((operation, request))
            raise AwsError(self.code, "not now", operation=operation)
        return await super().call(operation, request)

    def rows_asked(self) -> list[str]:
        """What was asked for of the status table since the last time."""
        names = [name for name, each in self.requests if each.get("TableName") == STATUSES]
        self.requests.clear()
        return names


class Died(BaseException):
    """A process is no more."""


class Fleet:
    """The status table, and processes."""

    def __init__(self) -> None:
        self.clock = VirtualClock()

    async def open(self) -> Fleet:
        """Create the tables, and begin a run."""
        self.table = Table(await fake_tables(self.clock))
        self.runs = self.connect()
        await create(self.runs)
        return self

    def connect(self, clock: VirtualClock | None = None) -> DynamoDbRuns:
        """The runs of another process."""
        return DynamoDbRuns(self.table, CONTEXTS, STATUSES, clock or self.clock)

    async def row(self) -> dict[str, Any]:
        """The row as it is now."""
        (row,) = await items(self.table.transport, STATUSES)
        return row

    async def finds(self) -> int:
        """How many runs wait for the event, by their rows."""
        return len(await self.connect().find(Query(awaits="paid")))


async def _dies_before_the_row(fleet: Fleet) -> None:
    """Another process writes the record, and not the row any more."""

    async def die(operation: str, request: Request) -> None:
        if operation == "PutItem" and request["TableName"] == STATUSES:
            raise Died

    fleet.table.before = die
    with pytest.raises(Died):
        await done(fleet.connect(), 1, "a", row=WAITS)
    fleet.table.before = None


@pytest.mark.parametrize("is_known", [False, True])
def test_who_comes_after_a_writer_that_died_writes_the_row(is_known: bool) -> None:
    """The next process that reads the run brings its row up to date: so it is found by name."""

    async def work() -> None:
        fleet = await Fleet().open()
        if not is_known:
            fleet.runs = fleet.connect()
        await _dies_before_the_row(fleet)
        assert (await fleet.row())["status"] == {"S": "running"}
        assert await fleet.finds() == 0
        fleet.table.rows_asked()
        await fleet.runs.read("run")
        assert fleet.table.rows_asked() == ["GetItem", "PutItem"]
        assert await fleet.finds() == 1
        fleet.table.rows_asked()
        await fleet.runs.read("run")
        assert fleet.table.rows_asked() == []

    drive(work())


def test_a_row_that_follows_is_looked_at_once_by_each_process() -> None:
    """Who reads a run that others brought to a rest asks for its row once; the writer does not."""

    async def work() -> None:
        fleet = await Fleet().open()
        await done(fleet.runs, 1, "a", row=WAITS)
        fleet.table.rows_asked()
        await fleet.runs.read("run")
        assert fleet.table.rows_asked() == []
        other = fleet.connect()
        for _ in range(2):
            await other.read("run")
        assert fleet.table.rows_asked() == ["GetItem"]
        fleet.clock.advance(LATELY_SECONDS)
        await fleet.connect().read("run")
        assert fleet.table.rows_asked() == []

    drive(work())


def test_neither_running_nor_finished_runs_cost_a_look_at_their_row() -> None:
    """A run whose status never changed, and one that is over, are read without their rows."""

    async def work() -> None:
        fleet = await Fleet().open()
        await fleet.connect().read("run")
        await done(fleet.runs, 1, "a", row=Row("completed"))
        fleet.table.rows_asked()
        await fleet.connect().read("run")
        assert fleet.table.rows_asked() == []

    drive(work())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"holding": True}, Verdict.DONE),
        ({"exact": True}, Verdict.STALE),
        ({"row_only": True}, Verdict.DONE),
    ],
    ids=str,
)
def test_a_row_that_could_not_be_written_is_written_with_the_next_try(
    change: dict[str, bool], expected: Verdict
) -> None:
    """A throttled row is told to the caller; the same call again writes it, and no fact twice."""

    async def work() -> None:
        fleet = await Fleet().open()
        more: dict[str, Any] = {"row": WAITS, "exact": change.get("exact", False)}
        if "holding" in change:
            await done(fleet.runs, 1, claim=claim())
            more["holding"] = holding()
        data = () if "row_only" in change else ("a",)
        fleet.table.code = "ThrottlingException"
        for _ in range(3):
            with pytest.raises(StorageBusy):
                await write(fleet.runs, 1, *data, **more)
        assert await fleet.finds() == 0
        fleet.table.code = None
        assert (await write(fleet.runs, 1, *data, **more)).verdict is expected
        assert (await fleet.row())["status"] == {"S": "awaiting"}
        record = await fleet.runs.read("run")
        assert record is not None
        assert [fact.data for fact in record.facts] == ["begin", *data]

    drive(work())


def test_a_table_that_may_not_be_written_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    """Without the permission runs go on; the row is tried once a minute, and follows in the end."""

    async def work() -> None:
        fleet = await Fleet().open()
        fleet.table.code = "AccessDeniedException"
        await done(fleet.runs, 1, "a", row=WAITS)
        fleet.table.rows_asked()
        for number in range(3):
            await done(fleet.runs, 2 + number, "b")
        assert fleet.table.rows_asked() == []
        fleet.clock.advance(HEARTBEAT_SECONDS)
        await done(fleet.runs, 5, "c")
        assert fleet.table.rows_asked() == ["PutItem"]
        fleet.table.code = None
        fleet.clock.advance(HEARTBEAT_SECONDS)
        await done(fleet.runs, 6, "d")
        assert (await fleet.row())["status"] == {"S": "awaiting"}

    with caplog.at_level(logging.WARNING, "flowcraft.aws"):
        drive(work())
    assert len(caplog.records) == 2
    assert "dynamodb:PutItem" in caplog.text


def _as_before(fleet: Fleet, row: dict[str, Any]) -> Request:
    return {"TableName": STATUSES, "Item": row}


def _deleted(fleet: Fleet, row: dict[str, Any]) -> Request:
    return {"TableName": STATUSES, "Key": {"runId": row["runId"]}}


@pytest.mark.parametrize(
    ("operation", "request_of"), [("PutItem", _as_before), ("DeleteItem", _deleted)]
)
def test_a_touch_mends_the_row(
    operation: str, request_of: Callable[[Fleet, dict[str, Any]], Request]
) -> None:
    """Where something goes on, a row that is behind or gone is right again within a minute."""

    async def work() -> None:
        fleet = await Fleet().open()
        before = await fleet.row()
        await done(fleet.runs, 1, "a", row=WAITS)
        await fleet.table.transport.call(operation, request_of(fleet, before))
        fleet.clock.advance(HEARTBEAT_SECONDS)
        fleet.table.rows_asked()
        await done(fleet.runs, 2, "b")
        assert fleet.table.rows_asked() == ["UpdateItem", "PutItem"]
        assert (await fleet.row())["awaits"] == {"L": [{"S": "paid"}]}
        fleet.clock.advance(HEARTBEAT_SECONDS)
        await done(fleet.runs, 3, "c")
        assert fleet.table.rows_asked() == ["UpdateItem"]
        assert float((await fleet.row())["lastUpdated"]["N"]) == fleet.clock.now()

    drive(work())


@pytest.mark.parametrize("seconds", [-20.0, 20.0])
def test_a_run_that_is_deleted_is_gone_whatever_the_clock(seconds: float) -> None:
    """Nobody can write to it any more, though the clock of its machine is behind."""

    async def work() -> None:
        fleet = await Fleet().open()
        other = VirtualClock(fleet.clock.now() + seconds)
        runs = fleet.connect(other)
        record = await runs.read("run")
        assert record is not None
        await fleet.runs.remove("run", record.head.epoch, only_hide=True)
        assert (await write(runs, 1, "late")).verdict is Verdict.GONE
        found = await runs.read("run")
        assert found is None or found.head.is_gone(other.now())
        assert await runs.find(Query()) == []

    drive(work())
