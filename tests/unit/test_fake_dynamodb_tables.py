"""The fake DynamoDB: creating, describing and deleting tables, and their time to live."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.fake_dynamodb import (
    INVALID,
    ITEMS,
    MISSING,
    ROWS,
    TABLES,
    Request,
    Service,
    index,
    keys,
    number,
    one,
    text,
    types,
)

IN_USE = "ResourceInUseException"


def table(**changes: Any) -> Request:
    """The parameters of a table, some of them changed; None leaves one out."""
    usual = {
        "TableName": "other",
        "KeySchema": keys("k"),
        "AttributeDefinitions": types(k="S"),
        "BillingMode": "PAY_PER_REQUEST",
    }
    return {name: value for name, value in (usual | changes).items() if value is not None}


def test_tables_are_created_described_listed_and_deleted() -> None:
    """A created table is empty, and a deleted one is gone with its items."""
    service = Service()
    service.put()
    created = service.call("CreateTable", **table())["TableDescription"]
    assert (created["TableName"], created["TableStatus"]) == ("other", "CREATING")
    described = service.call("DescribeTable", TableName="other")["Table"]
    assert described["TableStatus"] == "ACTIVE"
    assert described["KeySchema"] == keys("k")
    assert described["BillingModeSummary"] == {"BillingMode": "PAY_PER_REQUEST"}
    assert service.call("ListTables")["TableNames"] == ["items", "other", "rows"]
    first = service.call("ListTables", Limit=2)
    assert first["LastEvaluatedTableName"] == "other"
    rest = service.call("ListTables", ExclusiveStartTableName="other")
    assert rest["TableNames"] == ["rows"]
    deleted = service.call("DeleteTable", TableName=ITEMS)["TableDescription"]
    assert deleted["TableStatus"] == "DELETING"
    assert service.code("GetItem", **one()) == MISSING
    assert service.code("DeleteTable", TableName=ITEMS) == MISSING
    service.call("CreateTable", **TABLES[0])
    assert service.fake.items(ITEMS) == []


def test_indexes_are_described() -> None:
    """With their status; a table without them has none."""
    service = Service()
    described = service.call("DescribeTable", TableName=ROWS)["Table"]
    told = {each["IndexName"]: each["IndexStatus"] for each in described["GlobalSecondaryIndexes"]}
    assert told == {"all": "ACTIVE", "keys": "ACTIVE", "some": "ACTIVE"}
    described["GlobalSecondaryIndexes"].clear()
    again = service.call("DescribeTable", TableName=ROWS)["Table"]
    assert len(again["GlobalSecondaryIndexes"]) == 3
    plain = service.call("DescribeTable", TableName=ITEMS)["Table"]
    assert "GlobalSecondaryIndexes" not in plain


def test_a_table_may_take_its_time_to_be_there() -> None:
    """It can be described meanwhile, but neither used nor deleted."""
    service = Service(creating_seconds=5)
    assert service.call("DescribeTable", TableName=ITEMS)["Table"]["TableStatus"] == "CREATING"
    assert service.code("GetItem", **one()) == MISSING
    assert service.code("DeleteTable", TableName=ITEMS) == IN_USE
    service.clock.advance(5)
    assert service.call("DescribeTable", TableName=ITEMS)["Table"]["TableStatus"] == "ACTIVE"
    service.put()


def test_a_table_is_created_once() -> None:
    """The second time is refused, also if the table is another one."""
    service = Service()
    assert service.code("CreateTable", **TABLES[0]) == IN_USE


def test_a_protected_table_is_not_deleted() -> None:
    """It stays as it is."""
    service = Service()
    service.call("CreateTable", **table(DeletionProtectionEnabled=True))
    assert service.code("DeleteTable", TableName="other") == INVALID
    assert service.call("DescribeTable", TableName="other")["Table"]["TableStatus"] == "ACTIVE"


@pytest.mark.parametrize(
    "changes",
    [
        {"TableName": "ab"},
        {"TableName": "a" * 256},
        {"TableName": "with space"},
        {"KeySchema": []},
        {"KeySchema": keys("k")[0:1] * 2},
        {"KeySchema": keys("k", "k")},
        {"KeySchema": keys("x")},
        {"KeySchema": keys("x" * 256), "AttributeDefinitions": types(**{"x" * 256: "S"})},
        {"KeySchema": [{"AttributeName": "k", "KeyType": "RANGE"}]},
        {"AttributeDefinitions": types(k="S", unused="S")},
        {"AttributeDefinitions": types(k="BOOL")},
        {"AttributeDefinitions": types(k="S") * 2},
        {"AttributeDefinitions": [{"AttributeName": "k"}]},
        {"BillingMode": None},
        {"BillingMode": "FREE"},
        {"ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}},
        {"GlobalSecondaryIndexes": []},
        {"GlobalSecondaryIndexes": [index("abc", "g")]},
        {"GlobalSecondaryIndexes": [index("abc", "k"), index("abc", "k")]},
        {"GlobalSecondaryIndexes": [index("abc", "k", ProjectionType="INCLUDE")]},
        {"GlobalSecondaryIndexes": [index("abc", "k", ProjectionType="SOME")]},
        {"GlobalSecondaryIndexes": [index(f"index-{number}", "k") for number in range(21)]},
        {"LocalSecondaryIndexes": []},
        {"StreamSpecification": {"StreamEnabled": False}},
        {"DeletionProtectionEnabled": "no"},
    ],
)
def test_wrong_tables_are_refused(changes: Request) -> None:
    """Names, keys, definitions that are not exactly those of the keys, billing, indexes."""
    service = Service()
    assert service.code("CreateTable", **table(**changes)) == INVALID
    assert "other" not in service.call("ListTables")["TableNames"]


def test_capacity_may_be_provisioned() -> None:
    """If it is said how much; it is never exceeded here."""
    service = Service()
    throughput = {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}
    service.call("CreateTable", **table(BillingMode=None, ProvisionedThroughput=throughput))
    described = service.call("DescribeTable", TableName="other")["Table"]
    assert described["ProvisionedThroughput"] == throughput
    assert described["BillingModeSummary"] == {"BillingMode": "PROVISIONED"}


def test_the_time_to_live_is_switched_on_and_off() -> None:
    """Once each; what is on or off already is refused."""
    service = Service()

    def wanted(enabled: bool, name: str = "ttl") -> Request:
        specification = {"Enabled": enabled, "AttributeName": name}
        return {"TableName": ITEMS, "TimeToLiveSpecification": specification}

    def told() -> Request:
        answer = service.call("DescribeTimeToLive", TableName=ITEMS)
        description: Request = answer["TimeToLiveDescription"]
        return description

    assert told() == {"TimeToLiveStatus": "DISABLED"}
    assert service.code("UpdateTimeToLive", **wanted(False)) == INVALID
    service.call("UpdateTimeToLive", **wanted(True))
    assert told() == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}
    assert service.code("UpdateTimeToLive", **wanted(True)) == INVALID
    assert service.code("UpdateTimeToLive", **wanted(False, "other")) == INVALID
    service.call("UpdateTimeToLive", **wanted(False))
    assert told() == {"TimeToLiveStatus": "DISABLED"}
    half = {"TableName": ITEMS, "TimeToLiveSpecification": {"Enabled": True}}
    assert service.code("UpdateTimeToLive", **half) == INVALID


def test_without_time_to_live_nothing_expires() -> None:
    """Whatever the items say."""
    service = Service()
    service.put(ttl=number(1))
    service.clock.advance(1000)
    assert service.fake.expire() == 0
    assert service.fake.items(ITEMS) == [{"k": text("a"), "ttl": number(1)}]
