"""What runs cost on AWS, counted at boto3 clients on an emulator, start and finish included."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache, partial
from itertools import count as numbers
from itertools import pairwise
from typing import Any

import pytest

from flowcraft import FlowRuntime
from flowcraft.adapters.aws.transport import Answer, Request
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter
from flowcraft.testing import VirtualClock
from tests.acceptance.aws_counting import Bill
from tests.acceptance.aws_shapes import Shape, batch, chain, count, fan, fleet_at, kilobytes, loop
from tests.emulators.aws import AwsNames

KILOBYTE = 1024
LARGEST_RUN_ITEM = 32 * KILOBYTE
AT_MOST_TIMES = 2.0
"""How much more a node may cost in a run of a thousand than in one of fifty."""

RUNS = 3
SMALL = 100
"""Shapes of so many nodes are run three times."""

Counted = tuple[Shape, Bill]
_numbers = numbers(1)


@pytest.fixture(scope="module")
def counted(ministack: str) -> Callable[[str, int], Counted]:
    """Runs a shape of some size, and tells what it took.

    How much work is under way when a fact is written depends on how fast the machine is just then,
    and so a few requests do: small shapes are run three times, and the one in the middle counts.
    """
    shapes: dict[str, Callable[[int], Shape]] = {
        "chain": chain,
        "fan": fan,
        "fan of kilobytes": lambda width: fan(width, kilobytes(KILOBYTE)),
        "loop": loop,
        "batch": batch,
    }

    @cache
    def run(name: str, size: int) -> Counted:
        shape = shapes[name](size)
        bills = [once(shape) for _ in range(RUNS if size <= SMALL else 1)]
        return shape, sorted(bills, key=lambda bill: (bill.all_requests, bill.usd))[len(bills) // 2]

    def once(shape: Shape) -> Bill:
        with fleet_at(ministack, AwsNames.numbered(900_000 + next(_numbers))) as fleet:
            return count(shape, fleet)

    return run


def requests_per_node(found: Counted) -> float:
    """Requests to SQS and DynamoDB, by the number of nodes."""
    shape, bill = found
    return bill.all_requests / shape.nodes


def usd_per_million(found: Counted) -> float:
    """Dollars for a million nodes."""
    shape, bill = found
    return bill.usd * 1e6 / shape.nodes


@pytest.mark.parametrize(
    ("name", "requests", "usd"),
    [("chain", 1.2, 0.80), ("fan", 2.5, 1.60), ("fan of kilobytes", 3.5, 3.00)],
)
def test_fifty_nodes_keep_within_their_budget(
    counted: Callable[[str, int], Counted], name: str, requests: float, usd: float
) -> None:
    """Fifty nodes in a row or side by side take no more requests and dollars than promised."""
    found = counted(name, 50)
    assert requests_per_node(found) <= requests, found[1]
    assert usd_per_million(found) <= usd, found[1]


@pytest.mark.parametrize(
    ("name", "small"), [("chain", ("chain", 50)), ("fan", ("fan", 50)), ("loop", ("chain", 50))]
)
def test_a_thousand_cost_no_more_than_twice_as_much_each(
    counted: Callable[[str, int], Counted], name: str, small: tuple[str, int]
) -> None:
    """What a node costs goes by what is under way in a run, not by how much has happened in it."""
    found = counted(name, 1_000)
    assert usd_per_million(found) <= AT_MOST_TIMES * usd_per_million(counted(*small)), found[1]
    assert found[1].largest_run_item <= LARGEST_RUN_ITEM


def test_items_of_a_batch_keep_within_their_budget(
    counted: Callable[[str, int], Counted],
) -> None:
    """An item of a batch takes 2.6 requests at most, and a tenth more dollars among many."""
    small, large = counted("batch", 100), counted("batch", 2_000)
    for found in (small, large):
        assert requests_per_node(found) <= 2.6, found[1]
        assert found[1].largest_run_item <= LARGEST_RUN_ITEM
    assert requests_per_node(large) <= 1.1 * requests_per_node(small), (small[1], large[1])
    assert usd_per_million(large) <= 1.1 * usd_per_million(small), (small[1], large[1])


@pytest.mark.parametrize("name", ["chain", "fan", "fan of kilobytes"])
def test_the_emulator_counts_units_as_the_sizes_of_items_have_it(
    counted: Callable[[str, int], Counted], name: str
) -> None:
    """Write units that the emulator counts are those that the sizes of the items come to."""
    _, bill = counted(name, 50)
    assert bill.write_units == pytest.approx(bill.sized_write_units, rel=0.05)


# --- idle ----------------------------------------------------------------------------------

IDLE_SECONDS = 3_600.0
STEP_SECONDS = 5.0
TURNS = 20
"""Turns of the event loop in which all that can happen at one time has happened."""

RECONCILING = ("UpdateItem", "PutItem", "GetItem", "DeleteItem", "Scan", "Query", "DescribeTable")
"""What the look for stuck runs may ask for, on its tables without a row."""


DESCRIBED = {
    "AttributeDefinitions": [
        {"AttributeName": "status", "AttributeType": "S"},
        {"AttributeName": "lastUpdated", "AttributeType": "N"},
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by-status",
            "KeySchema": [
                {"AttributeName": "status", "KeyType": "HASH"},
                {"AttributeName": "lastUpdated", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "ALL"},
            "IndexStatus": "ACTIVE",
        }
    ],
}
"""A status table with an index."""


class IdleService:
    """SQS and DynamoDB for a worker that nobody has anything for; a poll takes as long as asked.

    Attributes:
        asked: When each request came, by operation.
    """

    def __init__(self, clock: VirtualClock, *, has_index: bool = False) -> None:
        self._clock = clock
        self._has_index = has_index
        self.asked: dict[str, list[float]] = {}
        self._counted = 0

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request."""
        self.asked.setdefault(operation, []).append(self._clock.now())
        if operation == "ReceiveMessage":
            await self._pass(float(request["WaitTimeSeconds"]))
            return {}
        if operation == "GetQueueAttributes":
            return {"Attributes": {"VisibilityTimeout": "30"}}
        if operation == "DescribeTable" and self._has_index:
            return {"Table": DESCRIBED}
        if request.get("ReturnValues") == "UPDATED_NEW":
            self._counted += 1
            return {"Attributes": {"value": {"N": str(self._counted)}}}
        assert operation in RECONCILING, f"an idle worker asks for {operation}"
        return {}

    async def _pass(self, seconds: float) -> None:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._clock.call_at(self._clock.now() + seconds, partial(over.set_result, None))
        await over


async def _idle(service: IdleService, clock: VirtualClock, **options: Any) -> None:
    """Let a worker have nothing to do, for an hour."""
    adapter = SqsAdapter(
        FlowRuntime().options,
        coordination_store=DynamoDbCoordinationStore(service, "coordination", clock),
        sqs_client=service,
        dynamodb_client=service,
        queue_url="https://sqs.us-east-1.amazonaws.com/123456789012/jobs",
        context_table_name="contexts",
        status_table_name="statuses",
        clock=clock,
        heartbeat=False,
        **options,
    )
    await adapter.start()
    until = clock.now() + IDLE_SECONDS
    while clock.now() < until:
        await _settle()
        clock.advance(STEP_SECONDS)
    stopped = asyncio.ensure_future(adapter.stop())
    while not stopped.done():
        await _settle()
        clock.advance(STEP_SECONDS)
    await stopped


async def _settle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def test_an_idle_worker_polls_every_twenty_seconds() -> None:
    """A worker without work looks at its resources once, and polls every 20 s for an hour."""
    clock = VirtualClock()
    service = IdleService(clock)
    nothing = {"reconcile_every_seconds": None, "schedules_every_seconds": None}
    asyncio.run(_idle(service, clock, **nothing, sweeping=False, presence=False))
    polls = service.asked["ReceiveMessage"]
    assert set(service.asked) == {"GetQueueAttributes", "GetItem", "ReceiveMessage"}
    assert len(service.asked["GetQueueAttributes"]) == len(service.asked["GetItem"]) == 1
    assert IDLE_SECONDS / 20 <= len(polls) <= IDLE_SECONDS / 20 + 1
    assert all(later - earlier >= 20 for earlier, later in pairwise(polls))


def test_the_trace_of_a_worker_costs_four_requests_an_hour() -> None:
    """An idle worker counts itself every quarter of an hour, and notes once what it is.

    To note that, the one text of all workers is read and written; none of it goes by what it does.
    """
    clock = VirtualClock()
    service = IdleService(clock)
    nothing = {"reconcile_every_seconds": None, "schedules_every_seconds": None}
    asyncio.run(_idle(service, clock, **nothing, sweeping=False))
    _, *reads = service.asked["GetItem"]  # the first one sees that the table is there
    marks = service.asked["UpdateItem"]
    assert len(marks) <= IDLE_SECONDS / 900 + 1
    assert all(later - earlier >= 900 for earlier, later in pairwise(marks))
    assert len(reads) == len(service.asked["PutItem"]) == 1


def test_asking_for_schedules_costs_one_read_a_minute() -> None:
    """An idle worker of a fleet that never had a schedule asks once a minute whether there are any.

    It is a read of one item that is not there: nobody has a lock, and no directory is read.
    """
    clock = VirtualClock()
    service = IdleService(clock)
    alone = {"reconcile_every_seconds": None, "presence": False}
    asyncio.run(_idle(service, clock, **alone, sweeping=False))
    _, *reads = service.asked["GetItem"]  # the first one sees that the table is there
    assert set(service.asked) == {"GetQueueAttributes", "ReceiveMessage", "GetItem"}
    assert IDLE_SECONDS / 60 <= len(reads) <= IDLE_SECONDS / 60 + 1
    assert all(later - earlier >= 60 for earlier, later in pairwise(reads))


@pytest.mark.parametrize(("has_index", "pass_requests"), [(False, 1), (True, 3)])
def test_looking_for_stuck_runs_costs_two_requests_a_minute(
    has_index: bool, pass_requests: int
) -> None:
    """Of all idle workers one looks: a request for the lock, and one pass, a minute.

    A pass is a scan of the rows, or a query for each of the three statuses that runs live in.
    """
    clock = VirtualClock()
    service = IdleService(clock, has_index=has_index)
    asyncio.run(_idle(service, clock, schedules_every_seconds=None, sweeping=False, presence=False))
    asked = {name: len(service.asked.get(name, ())) for name in RECONCILING}
    rounds = IDLE_SECONDS / 60
    # To take the lock, to give it up, twice to see that it is time for a thorough look, to see
    # whether there is an index, and to read the context table once a day; to see that it is time
    # to look for what somebody began to delete, and to read the status table for that once a day.
    assert 0 < sum(asked.values()) <= (1 + pass_requests) * rounds + 8, asked
    assert asked["DescribeTable"] == 1
    assert asked["Query"] == (3 * rounds if has_index else 0)
    assert asked["Scan"] == (2 if has_index else rounds + 2)
