"""The fake DynamoDB: requests that write, alone, in batches and in transactions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.fake_dynamodb import (
    INVALID,
    ITEMS,
    REFUSED,
    ROWS,
    Request,
    Service,
    number,
    one,
    text,
    texts,
)

CANCELLED = "TransactionCanceledException"


def test_put_replaces_the_whole_item() -> None:
    """What the new item does not have is gone."""
    service = Service()
    service.put(a=text("x"), b=text("y"))
    service.put(c=text("z"))
    assert service.item() == {"c": text("z")}


@pytest.mark.parametrize("operation", ["PutItem", "UpdateItem", "DeleteItem"])
def test_old_values_are_returned_if_there_are_any(operation: str) -> None:
    """ALL_OLD gives the item as it was, and nothing if there was none."""
    service = Service()
    parameters: dict[str, Request] = {
        "PutItem": {"TableName": ITEMS, "Item": {"k": text("a"), "b": text("new")}},
        "UpdateItem": {
            **one(),
            "UpdateExpression": "SET b = :b",
            "ExpressionAttributeValues": {":b": text("new")},
        },
        "DeleteItem": one(),
    }
    request = {**parameters[operation], "ReturnValues": "ALL_OLD"}
    assert "Attributes" not in service.call(operation, **request)
    service.put(b=text("old"))
    answer = service.call(operation, **request)
    assert answer["Attributes"] == {"k": text("a"), "b": text("old")}
    assert service.item() == ({} if operation == "DeleteItem" else {"b": text("new")})
    wrong = {**request, "ReturnValues": "all_old"}
    assert service.code(operation, **wrong) == INVALID


def test_only_updates_return_new_values() -> None:
    """Of put and delete they are refused, before anything is written."""
    service = Service()
    service.put(b=text("x"))
    for returned in ("ALL_NEW", "UPDATED_NEW", "UPDATED_OLD"):
        put = {"TableName": ITEMS, "Item": {"k": text("a")}, "ReturnValues": returned}
        assert service.code("PutItem", **put) == INVALID
        assert service.code("DeleteItem", **one(), ReturnValues=returned) == INVALID
    assert service.item() == {"b": text("x")}


def test_a_refused_condition_tells_the_item_if_it_is_asked_to() -> None:
    """The whole item, a copy of it; nothing without being asked, or without an item."""
    service = Service()
    condition = {"ConditionExpression": "attribute_exists(gone)"}
    asked = {**condition, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    assert service.error("DeleteItem", **one(), **asked).answer == {}
    service.put(l=texts("a"))
    error = service.error("UpdateItem", **one(), **asked)
    assert (error.code, error.status, error.is_refused_condition) == (REFUSED, 400, True)
    assert error.answer == {"Item": {"k": text("a"), "l": texts("a")}}
    error.answer["Item"]["l"]["L"].clear()
    assert service.error("DeleteItem", **one(), **condition).answer == {}
    assert service.item() == {"l": texts("a")}


def test_a_condition_is_looked_at_before_the_update() -> None:
    """An update that does not fit an item is not found wrong if the condition does not hold."""
    service = Service()
    service.put(a=text("x"))
    assert service.update_code("ADD a :n", when="attribute_exists(gone)", n=number(1)) == REFUSED
    assert service.update_code("ADD a :n", when="attribute_exists(a)", n=number(1)) == INVALID


def test_each_call_is_counted_and_logged() -> None:
    """By operation, refused ones too; the log keeps the last ones only."""
    service = Service(log_length=2)
    service.put()
    service.code("GetItem", TableName="none", Key={})
    service.item()
    calls = {"CreateTable": 2, "PutItem": 1, "GetItem": 2}
    assert service.fake.calls == calls
    logged = [(entry.operation, entry.error) for entry in service.fake.log]
    assert logged == [("GetItem", "ResourceNotFoundException"), ("GetItem", None)]


def test_answers_have_the_time_of_the_service() -> None:
    """In the header `date`, to the second."""
    service = Service()
    metadata = service.call("GetItem", **one())["ResponseMetadata"]
    assert metadata == {
        "HTTPStatusCode": 200,
        "HTTPHeaders": {"date": "Mon, 01 Jan 2024 00:00:00 GMT"},
    }


# --- capacity ------------------------------------------------------------------------------------


def units(service: Service, operation: str, **request: Any) -> float:
    """The units that a request says it consumes, which the fake has counted, too."""
    before = service.fake.read_units + service.fake.write_units
    answer = service.call(operation, **request, ReturnConsumedCapacity="TOTAL")
    told = answer["ConsumedCapacity"]
    consumed = sum(each["CapacityUnits"] for each in (told if isinstance(told, list) else [told]))
    assert service.fake.read_units + service.fake.write_units - before == consumed
    return float(consumed)


def test_a_write_costs_a_unit_for_every_kb_of_the_larger_state() -> None:
    """Of the item before or after it, one at least."""
    service = Service()
    large = {"k": text("a"), "v": text("x" * 2050)}
    assert units(service, "DeleteItem", **one()) == 1
    assert units(service, "PutItem", TableName=ITEMS, Item=large) == 3
    assert units(service, "PutItem", TableName=ITEMS, Item={"k": text("a")}) == 3
    assert units(service, "PutItem", TableName=ITEMS, Item=large) == 3
    assert units(service, "UpdateItem", **one(), UpdateExpression="REMOVE v") == 3
    assert units(service, "UpdateItem", **one()) == 1
    service.call("PutItem", TableName=ITEMS, Item=large)
    assert units(service, "DeleteItem", **one()) == 3


def test_a_refused_condition_costs_the_units_of_the_item_that_is_there() -> None:
    """One if there is none."""
    service = Service()
    condition = {"ConditionExpression": "attribute_exists(gone)"}
    service.code(
        "PutItem", TableName=ITEMS, Item={"k": text("a"), "v": text("x" * 5000)}, **condition
    )
    assert service.fake.write_units == 1
    service.put(v=text("x" * 2050))
    before = service.fake.write_units_of(ITEMS)
    service.code("UpdateItem", **one(), **condition)
    assert service.fake.write_units_of(ITEMS) - before == 3


def test_a_read_costs_a_unit_for_every_4_kb_and_half_if_it_may_be_stale() -> None:
    """Whatever a projection leaves; an item that is not there costs the least."""
    service = Service()
    assert units(service, "GetItem", **one(), ConsistentRead=True) == 1
    assert units(service, "GetItem", **one()) == 0.5
    service.put(v=text("x" * 4096))
    assert units(service, "GetItem", **one(), ConsistentRead=True) == 2
    assert units(service, "GetItem", **one(), ProjectionExpression="k") == 1
    assert service.fake.read_units_of(ITEMS) == 4.5
    assert service.fake.read_units_of(ROWS) == 0


def test_indexes_cost_writes_of_their_own() -> None:
    """Of rows that come, go, change or move; none of those that stay as they are."""
    service = Service()

    def written(**attributes: Any) -> dict[str, float]:
        item = {"p": text("p"), "r": number(1), **attributes}
        request = {"TableName": ROWS, "Item": item, "ReturnConsumedCapacity": "INDEXES"}
        told = service.call("PutItem", **request)["ConsumedCapacity"]
        indexes = told.get("GlobalSecondaryIndexes", {})
        parts = {name: each["CapacityUnits"] for name, each in indexes.items()}
        assert told["CapacityUnits"] == told["Table"]["CapacityUnits"] + sum(parts.values())
        return {"": told["Table"]["CapacityUnits"], **parts}

    g, u = text("g"), number(1)
    assert written(v=text("x")) == {"": 1}
    assert written(g=g, v=text("x")) == {"": 1, "keys": 1, "some": 1}
    assert written(g=g, u=u, v=text("x")) == {"": 1, "all": 1}
    assert written(g=g, u=u, v=text("y" * 2000)) == {"": 2, "all": 2, "some": 2}
    assert written(g=g, u=u, v=text("y" * 2000), w=text("z")) == {"": 2, "all": 2}
    assert written(g=g, u=number(2), v=text("y" * 2000), w=text("z")) == {"": 2, "all": 4}
    assert written(g=text("h"), u=number(2)) == {"": 2, "all": 3, "keys": 2, "some": 3}
    assert written() == {"": 1, "all": 1, "keys": 1, "some": 1}


def test_units_of_deleted_tables_stay_in_the_totals() -> None:
    """Of a table that could not be deleted they are not counted twice."""
    service = Service()
    service.put(v=text("x" * 2050))
    service.item()
    service.call("DeleteTable", TableName=ITEMS)
    service.code("DeleteTable", TableName=ITEMS)
    assert (service.fake.write_units, service.fake.read_units) == (3, 1)


# --- batches -------------------------------------------------------------------------------------


def put(key: str, **attributes: Any) -> Request:
    """A write of a batch that stores an item."""
    return {"PutRequest": {"Item": {"k": text(key), **attributes}}}


def delete(key: str) -> Request:
    """A write of a batch that removes an item."""
    return {"DeleteRequest": {"Key": {"k": text(key)}}}


def test_a_batch_writes_to_several_tables() -> None:
    """It stores and removes, and leaves nothing unprocessed."""
    service = Service()
    service.put("a")
    row = {"PutRequest": {"Item": {"p": text("p"), "r": number(1)}}}
    answer = service.call(
        "BatchWriteItem",
        RequestItems={ITEMS: [put("b"), delete("a"), delete("c")], ROWS: [row]},
        ReturnConsumedCapacity="TOTAL",
    )
    assert answer["UnprocessedItems"] == {}
    assert {told["TableName"]: told["CapacityUnits"] for told in answer["ConsumedCapacity"]} == {
        ITEMS: 3,
        ROWS: 1,
    }
    assert service.fake.items(ITEMS) == [{"k": text("b")}]
    assert len(service.fake.items(ROWS)) == 1


@pytest.mark.parametrize(
    "writes",
    [
        [],
        [put("a"), put("a")],
        [put("a"), delete("a")],
        [put(str(number)) for number in range(26)],
        [put("a"), put("b", v={"SS": []})],
        [put("a"), put("b", v=text("x" * 409_600))],
        [put("a"), {"PutRequest": {"Item": {}}}],
        [put("a"), {"PutRequest": {}, "DeleteRequest": {}}],
        [put("a"), {"Put": {"Item": {"k": text("b")}}}],
    ],
)
def test_a_wrong_batch_writes_nothing(writes: list[Request]) -> None:
    """More than 25 writes, one item twice, or one wrong write refuse all of them."""
    service = Service()
    assert service.code("BatchWriteItem", RequestItems={ITEMS: writes}) == INVALID
    assert service.fake.items(ITEMS) == []


# --- transactions --------------------------------------------------------------------------------


def action(kind: str, key: str, **more: Any) -> Request:
    """A write of a transaction."""
    if kind == "Put":
        return {"Put": {"TableName": ITEMS, "Item": {"k": text(key)}, **more}}
    return {kind: {**one(key), **more}}


def test_a_transaction_writes_all() -> None:
    """Puts, updates, deletes and checks, at double cost."""
    service = Service()
    service.put("b", n=number(1))
    service.put("c")
    service.put("d")
    before = service.fake.write_units
    increment = {
        "UpdateExpression": "ADD n :n",
        "ExpressionAttributeValues": {":n": number(1)},
    }
    service.call(
        "TransactWriteItems",
        TransactItems=[
            action("Put", "a"),
            action("Update", "b", **increment),
            action("Delete", "c", ConditionExpression="attribute_exists(k)"),
            action("ConditionCheck", "d", ConditionExpression="attribute_exists(k)"),
        ],
    )
    assert {item["k"]["S"] for item in service.fake.items(ITEMS)} == {"a", "b", "d"}
    assert service.item("b") == {"n": number(2)}
    assert service.fake.write_units - before == 8


def test_a_cancelled_transaction_writes_nothing_and_tells_why() -> None:
    """One reason for each action, with the item where it was asked for."""
    service = Service()
    service.put("b", t=text("x"))
    service.put("c", t=text("x"))
    no = {"ConditionExpression": "attribute_exists(gone)"}
    error = service.error(
        "TransactWriteItems",
        TransactItems=[
            action("Put", "a"),
            action("Delete", "b", **no, ReturnValuesOnConditionCheckFailure="ALL_OLD"),
            action("Update", "c", UpdateExpression="SET t = t + t"),
            action("ConditionCheck", "d", **no),
        ],
    )
    assert error.code == CANCELLED
    reasons = error.answer["CancellationReasons"]
    assert [reason["Code"] for reason in reasons] == [
        "None",
        "ConditionalCheckFailed",
        "ValidationError",
        "ConditionalCheckFailed",
    ]
    assert [reason.get("Item") for reason in reasons] == [
        None,
        {"k": text("b"), "t": text("x")},
        None,
        None,
    ]
    assert service.item("a") == {}
    assert len(service.fake.items(ITEMS)) == 2


@pytest.mark.parametrize(
    "actions",
    [
        [],
        [action("Put", "a"), action("Delete", "a")],
        [action("Put", str(number)) for number in range(101)],
        [action("ConditionCheck", "a")],
        [action("Update", "a")],
        [action("Put", "a", ReturnValues="ALL_OLD")],
        [{"Get": one()}],
        [{**action("Put", "a"), **action("Delete", "b")}],
        [
            {"Put": {"TableName": ITEMS, "Item": {"k": text(str(n)), "v": text("x" * 400_000)}}}
            for n in range(11)
        ],
    ],
)
def test_wrong_transactions_are_refused(actions: list[Request]) -> None:
    """Too many or too large ones, and those that touch one item twice."""
    service = Service()
    assert service.code("TransactWriteItems", TransactItems=actions) == INVALID
    assert service.fake.items(ITEMS) == []


def test_a_transaction_may_have_100_actions() -> None:
    """As many as AWS takes today."""
    service = Service()
    actions = [action("Put", str(number)) for number in range(100)]
    service.call("TransactWriteItems", TransactItems=actions)
    assert len(service.fake.items(ITEMS)) == 100


def test_a_token_makes_a_transaction_count_once() -> None:
    """For ten minutes; another transaction with the same token is refused."""
    service = Service()
    increment = action(
        "Update",
        "a",
        UpdateExpression="ADD n :n",
        ExpressionAttributeValues={":n": number(1)},
    )
    token = {"ClientRequestToken": "t" * 36}

    def again() -> Request:
        service.call("TransactWriteItems", TransactItems=[increment], **token)
        return service.item()

    assert [again(), again()] == [{"n": number(1)}, {"n": number(1)}]
    other = {"TransactItems": [action("Put", "b")], **token}
    assert service.code("TransactWriteItems", **other) == "IdempotentParameterMismatchException"
    long = {"TransactItems": [increment], "ClientRequestToken": "t" * 37}
    assert service.code("TransactWriteItems", **long) == INVALID
    service.clock.advance(600)
    assert again() == {"n": number(2)}


def test_a_cancelled_transaction_may_be_tried_again_with_its_token() -> None:
    """Nothing was done, so that there is nothing to be remembered."""
    service = Service()
    check = action("ConditionCheck", "b", ConditionExpression="attribute_exists(k)")
    request = {"TransactItems": [action("Put", "a"), check], "ClientRequestToken": "token"}
    assert service.code("TransactWriteItems", **request) == CANCELLED
    service.put("b")
    service.call("TransactWriteItems", **request)
    assert len(service.fake.items(ITEMS)) == 2


def test_a_transaction_reads_the_newest_states() -> None:
    """In the order of the request, at double cost, and never stale."""
    service = Service(stale_reads=True, choose=lambda count: count - 1)
    service.put("a", v=text("old"))
    service.put("a", v=text("new"))
    gets = [
        {"Get": one("b")},
        {"Get": {**one("a"), "ProjectionExpression": "v"}},
    ]
    assert units(service, "TransactGetItems", TransactItems=gets) == 4
    answer = service.call("TransactGetItems", TransactItems=gets)
    assert answer["Responses"] == [{}, {"Item": {"v": text("new")}}]
    twice = [{"Get": one("a")}, {"Get": one("a")}]
    assert service.code("TransactGetItems", TransactItems=twice) == INVALID
