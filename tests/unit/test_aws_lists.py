"""Lists of runs on DynamoDB: by the index of the status table, and without one."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final

import pytest

from flowcraft.adapters.aws.listing import matches
from flowcraft.adapters.aws.newest import LEAST_ROWS
from flowcraft.adapters.aws.runs import DynamoDbRuns
from flowcraft.adapters.aws.transport import Answer, AwsError, Request
from flowcraft.adapters.memory import MemoryBlobs, MemoryCoordination, MemoryQueue
from flowcraft.core.state import RunStatus
from flowcraft.errors import StorageBusy
from flowcraft.ports.runs import Head, Heads, Query, Row
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws import FakeDynamoDb
from flowcraft.testing.clock import START
from flowcraft.testing.conformance import Case, Connect, Ports, check
from flowcraft.testing.conformance.helpers import create, done
from flowcraft.testing.conformance.listing import cases as LIST_CASES
from tests.unit.aws_tables import CONTEXTS, STATUSES, Watched, create_table, items, status_table
from tests.unit.runs import drive

ALL: Request = {"ProjectionType": "ALL"}
FOR_STUCK_RUNS: Request = {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["dueAt", "e", "r"]}
STATUSES_OF_RUNS: Final = tuple(map(str, RunStatus))
AGES: Final = 400
"""Runs of the large fleet: one is started each second, and is over some seconds later."""


class Service(Watched):
    """The fake, whose index may be out of order."""

    refusal: AwsError | None = None

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request."""
        if self.refusal is not None and operation == "Query":
            self.requests.append((operation, request))
            raise self.refusal
        return await super().call(operation, request)


class Fleet:
    """The runs of one process, whose requests are looked at."""

    def __init__(self, projection: Request | None = ALL) -> None:
        self.clock = VirtualClock()
        self._projection = projection

    async def open(self) -> Fleet:
        """Create the tables."""
        self.fake = FakeDynamoDb(self.clock, stale_reads=False)
        self.service = Service(self.fake)
        await create_table(self.fake, CONTEXTS, "runId")
        await status_table(self.fake, STATUSES, self._projection)
        self.runs = DynamoDbRuns(self.service, CONTEXTS, STATUSES, self.clock)
        return self

    async def page(self, **conditions: Any) -> tuple[list[str], Heads]:
        """The names of a page, and the page."""
        self.service.requests.clear()
        found = await self.runs.find(Query(**conditions))
        assert isinstance(found, Heads)
        return [head.run_id for head in found], found

    async def fill(self, count: int = AGES) -> list[Head]:
        """Start runs, of which some live and others took a while; the newest first."""
        random = Random(7)
        heads: list[Head] = []
        for number in range(count):
            status = random.choices(STATUSES_OF_RUNS, (1, 1, 1, 20, 5, 1))[0]
            took = random.choice((0.5, 3.0, 40.0)) if RunStatus(status).is_final else 0.0
            head = await create(
                self.runs,
                f"run-{number:04}",
                status=status,
                created_at=START + number,
                updated_at=START + number + took,
                blueprint_id=random.choice(("order", "report")),
                tags={"nth": str(number % 50)},
                parent="{}" if number % 7 == 0 else None,
                is_part=number % 11 == 0,
            )
            heads.append(head)
        return heads[::-1]


# --- the contract --------------------------------------------------------------------------


@pytest.mark.parametrize("case", list(LIST_CASES), ids=lambda case: case.__name__)
def test_the_contract_is_kept_by_an_index(case: Case) -> None:
    """Runs are listed as the port says, also where the table has an index."""

    @asynccontextmanager
    async def open_storage(clock: VirtualClock) -> AsyncIterator[Connect]:
        fake = FakeDynamoDb(clock, stale_reads=False)
        await create_table(fake, CONTEXTS, "runId")
        await status_table(fake, STATUSES, ALL)

        async def connect() -> Ports:
            runs = DynamoDbRuns(fake, CONTEXTS, STATUSES, clock)
            return Ports(MemoryQueue(clock), runs, MemoryBlobs(), MemoryCoordination(clock))

        yield connect

    check(case, open_storage)


QUERIES: Final = {
    "all": {},
    "completed": {"status": "completed"},
    "running": {"status": "running"},
    "since": {"created_from": START + 300.5},
    "between": {"created_from": START + 100, "created_until": START + 200},
    "failed until": {"status": "failed", "created_until": START + 250},
    "blueprint": {"blueprint_id": "order"},
    "label": {"tags": {"nth": "3"}},
    "nothing": {"tags": {"nth": "3"}, "status": "paused", "created_until": START + 1},
}


@pytest.mark.parametrize("conditions", QUERIES.values(), ids=list(QUERIES))
def test_pages_by_the_index_have_all_runs_in_order(conditions: dict[str, Any]) -> None:
    """From page to page each run comes once, in the order of starts, and nothing is scanned."""

    async def work() -> None:
        fleet = await Fleet().open()
        heads = await fleet.fill()
        expected = [head.run_id for head in heads if matches(head, Query(**conditions))]
        found: list[str] = []
        after = None
        while True:
            names, page = await fleet.page(**conditions, after=after, limit=30)
            assert "Scan" not in fleet.service.names
            assert not page.scanned
            found += names
            if len(names) < 30:
                break
            after = names[-1]
        assert found == expected

    drive(work())


# --- what is read --------------------------------------------------------------------------


def test_the_first_page_reads_little_more_than_the_page() -> None:
    """A page of each status at most is read, however many runs there are."""

    async def work() -> None:
        fleet = await Fleet().open()
        await fleet.fill()
        await fleet.page()
        names, page = await fleet.page(status="completed", limit=20)
        assert (len(names), fleet.service.names) == (20, ["Query", "BatchGetItem"])
        assert page.rows_read == LEAST_ROWS
        before = fleet.fake.read_units_of(STATUSES)
        _, page = await fleet.page(limit=20)
        assert fleet.service.names == ["Query"] * len(RunStatus) + ["BatchGetItem"]
        assert page.rows_read <= LEAST_ROWS * len(RunStatus)
        # Rows of some 200 bytes, 4 KiB for half a read unit.
        assert fleet.fake.read_units_of(STATUSES) - before <= 4 * len(RunStatus)

    drive(work())


def test_runs_before_a_time_window_are_not_read() -> None:
    """The index is read down to the beginning of the window, and says how many rows that were."""

    async def work() -> None:
        fleet = await Fleet().open()
        heads = await fleet.fill()
        names, page = await fleet.page(created_from=START + AGES - 10)
        assert names == [head.run_id for head in heads[:10] if not head.is_part]
        # Those of before that ended within the window are among them.
        assert 10 <= page.rows_read <= 60

    drive(work())


def test_without_an_index_all_rows_are_read_and_that_is_said() -> None:
    """A table of a fleet from before the index is scanned, consistently, and the page says so."""

    async def work() -> None:
        fleet = await Fleet(None).open()
        heads = await fleet.fill(100)
        names, page = await fleet.page(status="completed", limit=5)
        expected = [head.run_id for head in heads if matches(head, Query(status="completed"))]
        assert names == expected[:5]
        assert fleet.service.names == ["DescribeTable", "Scan", "BatchGetItem"]
        assert fleet.service.requests[1][1]["ConsistentRead"] is True
        assert (page.rows_read, page.scanned) == (100, True)

    drive(work())


def test_an_index_that_lacks_what_lists_need_is_not_used(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An index for runs that stand still alone leaves the scan, and the log says what it lacks."""

    async def work() -> None:
        fleet = await Fleet(FOR_STUCK_RUNS).open()
        await fleet.fill(10)
        _, page = await fleet.page()
        assert page.scanned

    drive(work())
    assert "scanned for lists of runs" in caplog.text
    assert "it does not have blueprintId, createdAt, isPart, tags" in caplog.text


def test_what_the_engine_looks_for_is_never_read_from_the_index() -> None:
    """Runs that wait for an event, are due, are parts or have lapsed are read as they are."""

    async def work() -> None:
        fleet = await Fleet().open()
        await create(fleet.runs, "waits", row=Row("awaiting", due_at=START, awaits=("x",)))
        engine: tuple[dict[str, Any], ...] = (
            {"awaits": "x"},
            {"due_before": START + 1},
            {"updated_before": START + 1},
            {"parts": True},
        )
        for conditions in engine:
            names, page = await fleet.page(**conditions)
            assert (names, page.scanned) == (["waits"], True), conditions
        assert (await fleet.page(lapsed=START, parts=True))[0] == []
        assert "Query" not in fleet.service.names

    drive(work())


# --- trouble -------------------------------------------------------------------------------


def test_an_index_that_may_not_be_read_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """Who may not query the index gets the list by a scan, and the log says why."""

    async def work() -> None:
        fleet = await Fleet().open()
        heads = await fleet.fill(20)
        denied = AwsError("AccessDeniedException", "not for you", operation="Query")
        fleet.service.refusal = denied
        names, page = await fleet.page()
        assert names == [head.run_id for head in heads if not head.is_part]
        assert page.scanned
        await fleet.page()
        assert "Query" not in fleet.service.names

    with caplog.at_level(logging.WARNING):
        drive(work())
    assert caplog.text.count("cannot be used, so the table is scanned") == 1


def test_an_index_that_is_busy_is_not_given_up() -> None:
    """Trouble that may pass is told to who asks, instead of adding a scan to it."""

    async def work() -> None:
        fleet = await Fleet().open()
        await fleet.fill(5)
        throttled = "ProvisionedThroughputExceededException"
        fleet.service.refusal = AwsError(throttled, "too much", operation="Query")
        with pytest.raises(StorageBusy):
            await fleet.page()
        assert "Scan" not in fleet.service.names
        fleet.service.refusal = None
        assert not (await fleet.page())[1].scanned

    drive(work())


def test_a_row_that_is_behind_is_judged_by_its_run_and_mended() -> None:
    """A run that is over is not listed as running, whatever its row says, and found next time."""

    async def work() -> None:
        fleet = await Fleet().open()
        await create(fleet.runs)
        (before,) = await items(fleet.fake, STATUSES)
        await done(fleet.runs, 1, "fact", row=Row("completed"))
        await fleet.fake.call("PutItem", {"TableName": STATUSES, "Item": before})
        assert (await fleet.page(status="completed"))[0] == []
        assert (await fleet.page(status="running"))[0] == []
        assert (await fleet.page(status="completed"))[0] == ["run"]

    drive(work())


def test_a_row_is_never_older_than_its_run() -> None:
    """A run whose starter's clock was ahead has a row as of its start, and its place."""

    async def work() -> None:
        fleet = await Fleet().open()
        for number in range(60):
            await create(fleet.runs, f"run-{number:02}", created_at=START + number)
        await create(fleet.runs, "ahead", created_at=START + 100, updated_at=START - 50)
        names, _ = await fleet.page(limit=2)
        assert names == ["ahead", "run-59"]

    drive(work())


def test_a_run_that_the_index_shows_twice_is_listed_once() -> None:
    """While its status changes a run may be under both in an index, and is one run still."""

    async def work() -> None:
        fleet = await Fleet().open()
        await create(fleet.runs, "run", status="completed")
        (row,) = await items(fleet.fake, STATUSES)
        answers = _twice(row)

        class Double(Service):
            async def call(self, operation: str, request: Request) -> Answer:
                answer = await super().call(operation, request)
                return next(answers) if operation == "Query" else answer

        runs = DynamoDbRuns(Double(fleet.fake), CONTEXTS, STATUSES, fleet.clock)
        assert [head.run_id for head in await runs.find(Query())] == ["run"]

    drive(work())


def _twice(row: Request) -> Iterator[Answer]:
    """The same row under two statuses, and nothing under the others."""
    for _ in range(2):
        yield {"Items": [row], "Count": 1, "ScannedCount": 1}
    while True:
        yield {"Items": [], "Count": 0, "ScannedCount": 0}
