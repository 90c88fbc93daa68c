"""Runs on DynamoDB that may be stuck: one pass over their rows, by an index if there is one."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flowcraft.adapters.aws.runs import DynamoDbRuns
from flowcraft.adapters.aws.status_index import AGAIN_SECONDS
from flowcraft.adapters.aws.transport import Answer, AwsError, Request
from flowcraft.adapters.memory import MemoryBlobs, MemoryCoordination, MemoryQueue
from flowcraft.errors import StorageUnavailable
from flowcraft.ports.runs import Query, Row
from flowcraft.ports.suspicion import Depth, Suspicion
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws import FakeDynamoDb
from flowcraft.testing.clock import START
from flowcraft.testing.conformance import Case, Connect, Ports, check
from flowcraft.testing.conformance.helpers import create, done
from flowcraft.testing.conformance.suspects import LIVE, LONG, all_suspects
from flowcraft.testing.conformance.suspects import cases as SUSPECT_CASES
from tests.unit.aws_tables import CONTEXTS, STATUSES, Watched, create_table, items, status_table
from tests.unit.runs import drive

ALL: Request = {"ProjectionType": "ALL"}
ENOUGH: Request = {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["dueAt", "e", "r"]}
KEYS_ONLY: Request = {"ProjectionType": "KEYS_ONLY"}


class Service(Watched):
    """The fake; DescribeTable may tell something else, and operations may be denied."""

    def __init__(self, fake: FakeDynamoDb) -> None:
        super().__init__(fake)
        self.denied: set[str] = set()
        self.index: dict[str, Any] = {}

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request."""
        if operation in self.denied:
            self.requests.append((operation, request))
            raise AwsError("AccessDeniedException", "not for you", operation=operation)
        answer = await super().call(operation, request)
        for index in answer.get("Table", {}).get("GlobalSecondaryIndexes", ()):
            index.update(self.index)
        return answer


class Fleet:
    """The runs of one process, whose requests are looked at."""

    def __init__(self, projection: Request | None, segments: int = 1) -> None:
        self.clock = VirtualClock()
        self._projection = projection
        self._segments = segments

    async def open(self) -> Fleet:
        """Create the tables."""
        self.fake = FakeDynamoDb(self.clock)
        self.service = Service(self.fake)
        await create_table(self.fake, CONTEXTS, "runId")
        await status_table(self.fake, STATUSES, self._projection)
        self.runs = self.connect()
        return self

    def connect(self) -> DynamoDbRuns:
        """The runs of another process."""
        return DynamoDbRuns(self.service, CONTEXTS, STATUSES, self.clock, self._segments)

    async def look(self, depth: Depth = Depth.SUSPECTS) -> tuple[list[str], list[str]]:
        """The runs that may be stuck, sorted, and what was asked for to find them."""
        self.service.requests.clear()
        suspicion = Suspicion(self.clock.now() - LONG, ("running",), LIVE, depth)
        found = sorted(await all_suspects(self.runs, suspicion))
        return found, list(self.service.names)

    async def rows(self) -> dict[str, Any]:
        """All rows, by run."""
        return {row["runId"]["S"]: row for row in await items(self.fake, STATUSES)}

    async def forget_row(self, run_id: str) -> None:
        """Delete a row by hand."""
        key = {"runId": {"S": run_id}}
        await self.fake.call("DeleteItem", {"TableName": STATUSES, "Key": key})

    async def put_row(self, row: Request) -> None:
        """Put a row as it was: as if what followed had never got there."""
        await self.fake.call("PutItem", {"TableName": STATUSES, "Item": row})


# --- the contract --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("projection", "segments"), [(ALL, 1), (ENOUGH, 1), (KEYS_ONLY, 1), (None, 5)]
)
@pytest.mark.parametrize("case", list(SUSPECT_CASES), ids=lambda case: case.__name__)
def test_the_contract_is_kept(case: Case, projection: Request | None, segments: int) -> None:
    """Runs are found as the port says, by an index and by several scans at a time."""

    @asynccontextmanager
    async def open_storage(clock: VirtualClock) -> AsyncIterator[Connect]:
        fake = FakeDynamoDb(clock)
        await create_table(fake, CONTEXTS, "runId")
        await status_table(fake, STATUSES, projection)

        async def connect() -> Ports:
            runs = DynamoDbRuns(fake, CONTEXTS, STATUSES, clock, segments)
            return Ports(MemoryQueue(clock), runs, MemoryBlobs(), MemoryCoordination(clock))

        yield connect

    check(case, open_storage)


# --- requests ------------------------------------------------------------------------------


async def _mixed(fleet: Fleet) -> None:
    """A run of each kind, all of them untouched for long."""
    await create(fleet.runs, "late", row=Row("awaiting", due_at=START))
    await create(fleet.runs, "old")
    await create(fleet.runs, "rests", row=Row("paused"))
    for number in range(20):
        await create(fleet.runs, f"over-{number}", status="completed")
    fleet.clock.advance(LONG + 30)


def test_without_an_index_one_scan_finds_all() -> None:
    """One scan of the status table, and the items of those that it names; nothing else."""

    async def work() -> None:
        fleet = await Fleet(None).open()
        await _mixed(fleet)
        assert await fleet.look() == (["late", "old"], ["DescribeTable", "Scan", "BatchGetItem"])
        assert await fleet.look() == (["late", "old"], ["Scan", "BatchGetItem"])
        (_, scan), (_, batch) = fleet.service.requests
        assert scan["ConsistentRead"] is False
        (wanted,) = batch["RequestItems"].values()
        assert wanted["ConsistentRead"] is True
        assert len(wanted["Keys"]) == 2

    drive(work())


def test_with_an_index_runs_that_are_over_are_never_read() -> None:
    """A query for each status that is not final: what is read goes by the runs that live."""

    async def work() -> None:
        fleet = await Fleet(ALL).open()
        await _mixed(fleet)
        await fleet.look()
        before = fleet.fake.read_units_of(STATUSES)
        found, names = await fleet.look()
        assert (found, names) == (["late", "old"], ["Query"] * 3 + ["BatchGetItem"])
        asked = [
            request["ExpressionAttributeValues"][":status"]["S"]
            for name, request in fleet.service.requests
            if name == "Query"
        ]
        assert sorted(asked) == sorted(LIVE)
        few = fleet.fake.read_units_of(STATUSES) - before
        over = (await fleet.rows())["over-1"]
        for number in range(500):
            await fleet.put_row({**over, "runId": {"S": f"more-{number}"}})
        before = fleet.fake.read_units_of(STATUSES)
        assert (await fleet.look())[0] == ["late", "old"]
        assert fleet.fake.read_units_of(STATUSES) - before == few

    drive(work())


def test_rows_of_just_now_are_not_read_by_the_index() -> None:
    """What may be too new to be in an index is read from the table, consistently."""

    async def work() -> None:
        fleet = await Fleet(ALL).open()
        await create(fleet.runs, "new")
        fleet.clock.advance(1)
        fleet.service.requests.clear()
        suspicion = Suspicion(fleet.clock.now(), LIVE, LIVE)
        assert await all_suspects(fleet.runs, suspicion) == ["new"]
        assert fleet.service.names == ["Scan", "BatchGetItem"]
        assert fleet.service.requests[0][1]["ConsistentRead"] is True

    drive(work())


def test_an_overdue_run_in_which_something_goes_on_is_found_by_the_thorough_look() -> None:
    """By the index such a run is found when all of its rows are looked at, or it comes to rest."""

    async def work() -> None:
        fleet = await Fleet(ALL).open()
        await create(fleet.runs, "busy", row=Row("running", due_at=START))
        fleet.clock.advance(LONG + 30)
        await done(fleet.runs, 1, "fact", run_id="busy", row=Row("running", due_at=START + 1))
        fleet.clock.advance(LONG - 10)
        assert (await fleet.look())[0] == []
        assert (await fleet.look(Depth.ROWS))[0] == ["busy"]
        fleet.clock.advance(20)
        assert (await fleet.look())[0] == ["busy"]

    drive(work())


def test_segments_are_read_at_a_time_and_each_to_its_end() -> None:
    """Three segments of a table of several pages: every run once, each page with its segment."""

    async def work() -> None:
        fleet = await Fleet(None, segments=3).open()
        tags = {"t": "x" * 40_000}
        ids = [f"{number:03}" for number in range(120)]
        for run_id in ids:
            await create(fleet.runs, run_id, tags=tags)
        fleet.clock.advance(LONG + 30)
        found, _ = await fleet.look()
        assert found == ids
        scans = [request for name, request in fleet.service.requests if name == "Scan"]
        parts = [(scan["Segment"], "ExclusiveStartKey" in scan) for scan in scans]
        assert sorted(set(parts)) == [(n, later) for n in range(3) for later in (False, True)]
        assert {scan["TotalSegments"] for scan in scans} == {3}

    drive(work())


# --- which index ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("projection", "told", "expected"),
    [
        (KEYS_ONLY, {}, "it does not have dueAt, e, r: project ALL attributes"),
        (ALL, {"IndexStatus": "CREATING", "Backfilling": True}, "it is being built or deleted"),
        (ALL, {"IndexStatus": "DELETING"}, "it is being built or deleted"),
    ],
)
def test_an_index_that_cannot_be_used_is_told_once(
    projection: Request, told: dict[str, Any], expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The table is scanned instead, one line says why, and after an hour it is seen again."""

    async def work() -> None:
        fleet = await Fleet(projection).open()
        fleet.service.index = told
        await _mixed(fleet)
        assert (await fleet.look())[1] == ["DescribeTable", "Scan", "BatchGetItem"]
        assert (await fleet.look())[1] == ["Scan", "BatchGetItem"]
        fleet.clock.advance(AGAIN_SECONDS)
        assert (await fleet.look())[1] == ["DescribeTable", "Scan", "BatchGetItem"]
        assert [expected in record.message for record in caplog.records] == [True]
        fleet.service.index = {"Projection": ALL, "IndexStatus": "ACTIVE", "Backfilling": False}
        fleet.clock.advance(AGAIN_SECONDS)
        if projection is ALL:
            assert (await fleet.look())[1].count("Query") == 3

    with caplog.at_level(logging.WARNING, "flowcraft.aws"):
        drive(work())


def test_without_the_permission_to_see_it_the_table_is_scanned(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One warning names the permission; looks go on, and an hour later it is tried again."""

    async def work() -> None:
        fleet = await Fleet(ALL).open()
        fleet.service.denied.add("DescribeTable")
        await _mixed(fleet)
        for _ in range(2):
            assert (await fleet.look())[0] == ["late", "old"]
            fleet.clock.advance(AGAIN_SECONDS / 2)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "dynamodb:DescribeTable" in caplog.text
        fleet.service.denied.clear()
        assert (await fleet.look())[1].count("Query") == 3

    with caplog.at_level(logging.WARNING, "flowcraft.aws"):
        drive(work())


def test_an_index_that_may_not_be_queried_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """The look that meets the refusal scans at once, and so do those of the next hour."""

    async def work() -> None:
        fleet = await Fleet(ALL).open()
        fleet.service.denied.add("Query")
        await _mixed(fleet)
        found, names = await fleet.look()
        assert (found, names[-2:]) == (["late", "old"], ["Scan", "BatchGetItem"])
        assert (await fleet.look())[1] == ["Scan", "BatchGetItem"]
        assert "dynamodb:Query" in caplog.text

    with caplog.at_level(logging.WARNING, "flowcraft.aws"):
        drive(work())


def test_trouble_with_the_context_table_is_not_the_indexs() -> None:
    """Where run items may not be read the look fails, and says so of the right table."""

    async def work() -> None:
        fleet = await Fleet(ALL).open()
        fleet.service.denied.add("BatchGetItem")
        await _mixed(fleet)
        with pytest.raises(StorageUnavailable, match="'contexts'"):
            await fleet.look()
        fleet.service.denied.clear()
        assert (await fleet.look())[1].count("Query") == 3

    drive(work())


# --- rows that are not what their runs are -------------------------------------------------


async def _rested(fleet: Fleet) -> Row:
    """A run that waits for something else than its row says, and another without a row."""
    await create(fleet.runs, "behind", row=Row("awaiting", awaits=("x",)))
    before = (await fleet.rows())["behind"]
    row = Row("awaiting", awaits=("y",))
    await done(fleet.runs, 1, "fact", run_id="behind", row=row)
    await fleet.put_row(before)
    await create(fleet.runs, "gone", row=Row("awaiting", awaits=("z",)))
    await fleet.forget_row("gone")
    await create(fleet.runs, "over", status="completed")
    await fleet.forget_row("over")
    fleet.clock.advance(LONG + 30)
    return row


@pytest.mark.parametrize("projection", [None, ALL], ids=["scan", "index"])
def test_a_row_that_is_behind_is_found_by_comparing_all(projection: Request | None) -> None:
    """A run that rests, whose row says that it rests otherwise, is not suspect, but compared."""

    async def work() -> None:
        fleet = await Fleet(projection).open()
        await _rested(fleet)
        suspicion = Suspicion(fleet.clock.now() - LONG, ("running",), LIVE)
        assert await fleet.runs.suspects(suspicion) == ([], None, 0, ())
        thorough = Suspicion(fleet.clock.now() - LONG, ("running",), LIVE, Depth.ROWS)
        assert (await _all(fleet, thorough)) == 1
        assert (await fleet.rows())["behind"]["awaits"] == {"L": [{"S": "y"}]}
        assert (await _all(fleet, thorough)) == 0

    drive(work())


@pytest.mark.parametrize("segments", [1, 4])
def test_a_missing_row_is_put_back_by_reading_records(segments: int) -> None:
    """Every run that is not over has its row again; runs that are over are left alone."""

    async def work() -> None:
        fleet = await Fleet(None, segments).open()
        await _rested(fleet)
        item = {"runId": {"S": "theirs"}, "s": {"S": "a"}, "e": {"B": b"1"}}
        await fleet.fake.call("PutItem", {"TableName": CONTEXTS, "Item": item})
        suspicion = Suspicion(fleet.clock.now() - LONG, ("running",), LIVE, Depth.RECORDS)
        assert await _all(fleet, suspicion) == 2
        rows = await fleet.rows()
        assert sorted(rows) == ["behind", "gone"]
        assert rows["gone"]["awaits"] == {"L": [{"S": "z"}]}
        assert await _all(fleet, suspicion) == 0

    drive(work())


async def _all(fleet: Fleet, suspicion: Suspicion) -> int:
    """How many rows a whole pass mends."""
    page = await fleet.runs.suspects(suspicion)
    mended = page.mended
    while page.after is not None:
        json.loads(page.after)
        page = await fleet.runs.suspects(suspicion, page.after)
        mended += page.mended
    return mended


def test_a_run_that_cannot_be_read_keeps_nobody_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A damaged item, or one of a newer version, is told and counted; the others are found."""

    async def work() -> None:
        fleet = await Fleet(None).open()
        for run_id in ("damaged", "fine", "newer"):
            await create(fleet.runs, run_id)
        for run_id, change in (("damaged", "REMOVE f"), ("newer", "SET v = :v")):
            request: dict[str, Any] = {
                "TableName": CONTEXTS,
                "Key": {"runId": {"S": run_id}},
                "UpdateExpression": change,
            }
            if ":v" in change:
                request["ExpressionAttributeValues"] = {":v": {"N": "99"}}
            await fleet.fake.call("UpdateItem", request)
        fleet.clock.advance(LONG + 30)
        for depth in Depth:
            suspicion = Suspicion(fleet.clock.now() - LONG, ("running",), LIVE, depth)
            page = await fleet.connect().suspects(suspicion)
            assert [head.run_id for head in page.heads] == ["fine"]
            assert sorted(page.failed) == ["damaged", "newer"]

    drive(work())
    assert "Run 'damaged' cannot be read" in caplog.text
    assert "Update this worker" in caplog.text


@pytest.mark.parametrize("projection", [ALL, None], ids=["by the index", "by scans"])
def test_rows_of_another_system_with_our_names_are_left_alone(projection: Request | None) -> None:
    """A row whose `e`, `h` and so on are something else is no run: neither found nor changed."""

    async def work() -> None:
        fleet = await Fleet(projection).open()
        await create(fleet.runs, "ours")
        names = ("e", "h", "v", "r", "s", "u")
        theirs = {name: {"S": "theirs"} for name in names}
        theirs |= {"runId": {"S": "other"}, "status": {"S": "running"}, "lastUpdated": {"N": "1"}}
        for table in (CONTEXTS, STATUSES):
            await fleet.fake.call("PutItem", {"TableName": table, "Item": theirs})
        fleet.clock.advance(LONG + 100)
        for depth in Depth:
            found, _ = await fleet.look(depth)
            assert found == ["ours"]
        listed = await fleet.connect().find(Query())
        assert [head.run_id for head in listed] == ["ours"]
        assert (await fleet.rows())["other"] == theirs

    drive(work())
