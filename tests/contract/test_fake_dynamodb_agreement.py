"""The fake of DynamoDB and emulators give the same answers, whatever is asked of them.

Where they do not, the fake follows what AWS documents, or what tests against AWS have found; the
differences are named in `KNOWN`. Tests run against ministack and AWS's own DynamoDB Local.

``FLOWCRAFT_TEST_SEEDS=200`` looks further than the few seeds that are always tried.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from flowcraft.adapters.aws.transport import AwsError, Transport
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws import FakeDynamoDb
from tests.contract.fake_dynamodb_http import HttpDynamoDb
from tests.contract.fake_dynamodb_requests import ITEMS, ROWS, TABLES, Drawer, Request
from tests.unit.runs import drive

SEEDS = int(os.environ.get("FLOWCRAFT_TEST_SEEDS", "6"))
STEPS = 60

MINISTACK, LOCAL = "ministack", "dynamodb_local"


@dataclass(frozen=True)
class Outcome:
    """What came of a request: an answer, or the code of an error with the rest of its answer."""

    code: str
    answer: Any


@dataclass(frozen=True)
class Emulator:
    """An emulator with empty tables."""

    flavour: str
    transport: HttpDynamoDb


@pytest.fixture(params=[MINISTACK, LOCAL])
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """An emulator."""
    transport = HttpDynamoDb(request.getfixturevalue(request.param))
    try:
        yield Emulator(request.param, transport)
    finally:
        transport.close()


async def outcome(transport: Transport, operation: str, request: Request) -> Outcome:
    """What comes of a request; all of its pages, if it has pages."""
    pages = []
    start: Request = {}
    try:
        while True:
            answer = await transport.call(operation, {**request, **start})
            pages.append({name: answer[name] for name in answer if name != "ResponseMetadata"})
            if "LastEvaluatedKey" not in answer:
                break
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
    except AwsError as error:
        return Outcome(error.code, plain(error.answer))
    if operation == "Scan":
        return Outcome("", joined(pages, ordered_by=None))
    if operation == "Query":
        return Outcome("", joined(pages, ordered_by="u" if "IndexName" in request else "r"))
    return Outcome("", [plain(page) for page in pages])


def joined(pages: list[Request], ordered_by: str | None) -> Any:
    """All pages as one: whether an empty one comes last is up to the service.

    Only the order of the sort keys means something, if anything does.
    """
    items = [item for page in pages for item in page["Items"]]
    return {
        "Items": plain({"unordered": items}),
        "Order": [item[ordered_by]["N"] for item in items if ordered_by in item],
        "Count": sum(page["Count"] for page in pages),
    }


def plain(value: Any) -> Any:
    """An answer, with everything in order whose order means nothing."""
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((kind, content),) = value.items()
        if kind == "N":
            # DynamoDB Local leaves numbers within lists and maps as they were given.
            return {"N": f"{Decimal(content).normalize():f}"}
        if kind == "NS":
            return {"NS": sorted(f"{Decimal(each).normalize():f}" for each in content)}
        if kind in ("SS", "BS"):
            return {kind: sorted(content)}
        if kind == "unordered":
            return sorted((plain(item) for item in content), key=repr_in_order)
    return {
        name: plain({"unordered": inner} if name in UNORDERED and inner else inner)
        for name, inner in value.items()
        if name not in IGNORED
    }


UNORDERED = {ITEMS, ROWS}
IGNORED = {"ResponseMetadata", "ItemCollectionMetrics", "ConsumedCapacity", "Message"}


def repr_in_order(value: Any) -> str:
    """A text that equal values have in common."""
    if isinstance(value, dict):
        return str(sorted((name, repr_in_order(inner)) for name, inner in value.items()))
    return (
        str([repr_in_order(inner) for inner in value]) if isinstance(value, list) else repr(value)
    )


async def empty_tables(transport: Transport) -> None:
    """Have the tables anew."""
    there = (await transport.call("ListTables", {}))["TableNames"]
    for table in TABLES:
        if table["TableName"] in there:
            await transport.call("DeleteTable", {"TableName": table["TableName"]})
        await transport.call("CreateTable", table)


# --- known differences ---------------------------------------------------------------------------

Question = Callable[[FakeDynamoDb, str, Request, Outcome], bool]


@dataclass(frozen=True)
class Difference:
    """Requests that an emulator answers otherwise than AWS, and the fake.

    They are not sent. Each of them leaves the fake as it was, so that both go on from there.
    """

    flavours: tuple[str, ...]
    what: str
    concerns: Question


def is_lenient(_fake: FakeDynamoDb, _operation: str, _request: Request, came: Outcome) -> bool:
    """Whether AWS finds the request wrong."""
    return came.code == "ValidationException" or "ValidationError" in str(came.answer)


def asks_index_for_more(
    _fake: FakeDynamoDb, _operation: str, request: Request, came: Outcome
) -> bool:
    """Whether an index is asked for attributes that it does not have."""
    asks = "IndexName" in request and "ProjectionExpression" in request
    return asks and came.code == "ValidationException"


def cannot_be_updated(
    _fake: FakeDynamoDb, _operation: str, _request: Request, came: Outcome
) -> bool:
    """Whether an update of a transaction does not fit the item."""
    return "ValidationError" in str(came.answer)


KNOWN = [
    Difference(
        (MINISTACK,),
        "takes overlapping paths, operands of wrong types, missing parents, …; AWS refuses them",
        is_lenient,
    ),
    Difference((LOCAL,), "lets an index be asked for what it does not have", asks_index_for_more),
    Difference(
        (LOCAL,),
        "answers ValidationException where AWS cancels the transaction for ValidationError",
        cannot_be_updated,
    ),
]


def takes_from_nothing(fake: FakeDynamoDb, operation: str, request: Request) -> bool:
    """Whether an item that is not there is updated by REMOVE or DELETE alone.

    On AWS nothing happens; both emulators create the item, or refuse the path.
    """
    updates = [request] if operation == "UpdateItem" else []
    if operation == "TransactWriteItems":
        updates = [each["Update"] for each in request["TransactItems"] if "Update" in each]
    return any(
        not {"SET", "ADD"} & set(update.get("UpdateExpression", "SET").split())
        and fake.size_of(update["TableName"], update["Key"]) == 0
        for update in updates
    )


def is_excused(flavour: str, expected: Outcome, actual: Outcome) -> bool:
    """Whether ministack has found an update wrong before it has looked at the condition."""
    codes = (expected.code, actual.code)
    return flavour == MINISTACK and codes == (
        "ConditionalCheckFailedException",
        "ValidationException",
    )


def is_known(
    flavour: str, fake: FakeDynamoDb, operation: str, request: Request, came: Outcome
) -> bool:
    """Whether an emulator is known to answer otherwise."""
    return any(
        flavour in difference.flavours and difference.concerns(fake, operation, request, came)
        for difference in KNOWN
    )


def comparable(request: Request, outcome: Outcome, flavour: str) -> Outcome:
    """An outcome without what an emulator is known to tell otherwise."""
    answer = outcome.answer
    if flavour == MINISTACK:
        # It gives an empty mapping where there is nothing, or nothing where a mapping is empty.
        answer = without_empty(answer)
    nested = set("[.") & set(request.get("UpdateExpression", ""))
    if request.get("ReturnValues", "").startswith("UPDATED") and nested:
        # Both give attributes as a whole where AWS gives the parts that were updated.
        answer = [{}]
    if flavour == LOCAL and outcome.code == "ConditionalCheckFailedException":
        # It is of 2020, and does not know ReturnValuesOnConditionCheckFailure.
        answer = {}
    return Outcome(outcome.code, answer)


def without_empty(answer: Any) -> Any:
    """An answer without attributes and items that are empty."""
    if isinstance(answer, list):
        return [without_empty(inner) for inner in answer]
    if not isinstance(answer, dict):
        return answer
    return {
        name: without_empty(inner)
        for name, inner in answer.items()
        if inner or name not in ("Attributes", "Item")
    }


# --- the tests -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(SEEDS))
def test_drawn_requests_have_the_same_outcome(emulator: Emulator, seed: int) -> None:
    """Conditions, updates, transactions, batches and pages come to the same on both."""

    async def compare() -> None:
        fake = FakeDynamoDb(VirtualClock(), stale_reads=False)
        await empty_tables(fake)
        await empty_tables(emulator.transport)
        drawer = Drawer(seed, simple=emulator.flavour == MINISTACK)
        for step in range(STEPS):
            operation, request = drawer.request()
            if takes_from_nothing(fake, operation, request):
                continue
            expected = await outcome(fake, operation, request)
            if is_known(emulator.flavour, fake, operation, request, expected):
                continue
            actual = await outcome(emulator.transport, operation, request)
            if is_excused(emulator.flavour, expected, actual):
                continue
            context = f"seed {seed}, step {step}: {operation} {request}"
            told = [comparable(request, each, emulator.flavour) for each in (actual, expected)]
            assert told[0] == told[1], context

    drive(compare())


@pytest.mark.parametrize("seed", range(SEEDS))
def test_items_have_the_same_size(emulator: Emulator, seed: int) -> None:
    """An item of 1024 bytes costs one write unit, and one byte more costs two, on both."""

    async def compare() -> None:
        fake = FakeDynamoDb(VirtualClock())
        await empty_tables(fake)
        await empty_tables(emulator.transport)
        drawer = Drawer(seed)
        for _ in range(STEPS // 4):
            item = {"k": {"S": "é"}, "v": drawer.value(), "pad": {"S": ""}}
            await fake.call("PutItem", {"TableName": ITEMS, "Item": item})
            room = 1024 - fake.size_of(ITEMS, {"k": {"S": "é"}})
            for length, units in ((room, 1), (room + 1, 2)):
                request = put_and_delete(item | {"pad": {"S": "p" * length}})
                for transport in (fake, emulator.transport):
                    assert await units_of(transport, request) == units, item

    drive(compare())


def put_and_delete(item: Request) -> list[tuple[str, Request]]:
    """Requests that store an item where none was, and remove it."""
    counted = {"TableName": ITEMS, "ReturnConsumedCapacity": "TOTAL"}
    return [
        ("DeleteItem", {"TableName": ITEMS, "Key": {"k": item["k"]}}),
        ("PutItem", {**counted, "Item": item}),
        ("DeleteItem", {**counted, "Key": {"k": item["k"]}}),
    ]


async def units_of(transport: Transport, requests: list[tuple[str, Request]]) -> float:
    """The units that the last two requests consume, which have to be the same."""
    answers = [await transport.call(operation, request) for operation, request in requests]
    units = {float(answer["ConsumedCapacity"]["CapacityUnits"]) for answer in answers[1:]}
    (only,) = units
    return only


def test_the_largest_item_has_the_same_size(emulator: Emulator) -> None:
    """An item of 400 KB is stored and one of a byte more is refused, on both."""

    async def compare() -> None:
        fake = FakeDynamoDb(VirtualClock())
        await empty_tables(fake)
        await empty_tables(emulator.transport)
        for length, code in ((409_600 - 3, ""), (409_600 - 2, "ValidationException")):
            item = {"k": {"S": "a"}, "p": {"S": "p" * length}}
            for transport in (fake, emulator.transport):
                came = await outcome(transport, "PutItem", {"TableName": ITEMS, "Item": item})
                assert came.code == code, length

    drive(compare())
