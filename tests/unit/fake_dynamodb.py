"""What tests of the fake of DynamoDB have in common: tables, short values, outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from flowcraft.adapters.aws.transport import AwsError
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws import FakeDynamoDb

Request = dict[str, Any]

ITEMS = "items"
ROWS = "rows"

INVALID = "ValidationException"
REFUSED = "ConditionalCheckFailedException"
MISSING = "ResourceNotFoundException"


def text(content: str) -> Request:
    """A value of type S."""
    return {"S": content}


def number(content: float | str) -> Request:
    """A value of type N."""
    return {"N": str(content)}


def texts(*contents: str) -> Request:
    """A list of texts."""
    return {"L": [text(content) for content in contents]}


def keys(partition: str, sort: str | None = None) -> list[Request]:
    """A key schema."""
    schema = [{"AttributeName": partition, "KeyType": "HASH"}]
    return schema + ([{"AttributeName": sort, "KeyType": "RANGE"}] if sort else [])


def types(**kinds: str) -> list[Request]:
    """Attribute definitions."""
    return [{"AttributeName": name, "AttributeType": kind} for name, kind in kinds.items()]


def index(name: str, partition: str, sort: str | None = None, **projection: Any) -> Request:
    """A global secondary index."""
    return {
        "IndexName": name,
        "KeySchema": keys(partition, sort),
        "Projection": projection or {"ProjectionType": "ALL"},
    }


TABLES: list[Request] = [
    {
        "TableName": ITEMS,
        "KeySchema": keys("k"),
        "AttributeDefinitions": types(k="S"),
        "BillingMode": "PAY_PER_REQUEST",
    },
    {
        "TableName": ROWS,
        "KeySchema": keys("p", "r"),
        "AttributeDefinitions": types(p="S", r="N", g="S", u="N"),
        "BillingMode": "PAY_PER_REQUEST",
        "GlobalSecondaryIndexes": [
            index("all", "g", "u"),
            index("keys", "g", ProjectionType="KEYS_ONLY"),
            index("some", "g", ProjectionType="INCLUDE", NonKeyAttributes=["v"]),
        ],
    },
]


class Service:
    """A fake with two tables, driven without an event loop of the test's own.

    Args:
        options: Of the fake. Reads are not stale if nothing else is said.
    """

    def __init__(self, **options: Any) -> None:
        self.clock = VirtualClock()
        self.fake = FakeDynamoDb(self.clock, **({"stale_reads": False} | options))
        for table in TABLES:
            self.call("CreateTable", **table)

    def call(self, operation: str, **request: Any) -> Request:
        """Carry out a request."""
        return asyncio.run(self.fake.call(operation, request))

    def error(self, operation: str, **request: Any) -> AwsError:
        """The error of a request, which has to be refused."""
        with pytest.raises(AwsError) as caught:
            self.call(operation, **request)
        assert caught.value.operation == operation
        return caught.value

    def code(self, operation: str, **request: Any) -> str:
        """The code of the error of a request, which has to be refused."""
        return self.error(operation, **request).code

    def put(self, key: str = "a", **attributes: Any) -> None:
        """Store an item in the table of items."""
        self.call("PutItem", TableName=ITEMS, Item={"k": text(key), **attributes})

    def item(self, key: str = "a") -> Request:
        """The attributes of an item, without its key."""
        answer = self.call("GetItem", **one(key), ConsistentRead=True)
        return {name: value for name, value in answer.get("Item", {}).items() if name != "k"}

    def update(self, expression: str, **more: Any) -> Request:
        """Update the item `a`, and give its attributes, without its key."""
        self.call("UpdateItem", **one(), **updating(expression, **more))
        return self.item()

    def update_code(self, expression: str, **more: Any) -> str:
        """The code of the error of an update of the item `a`."""
        return self.code("UpdateItem", **one(), **updating(expression, **more))

    def holds(self, condition: str, **more: Any) -> bool:
        """Whether a condition holds for the item `a`."""
        request = {**one(), **conditional(condition, **more)}
        try:
            self.call("UpdateItem", **request)
        except AwsError as error:
            if not error.is_refused_condition:
                raise
            return False
        return True

    def row(self, partition: str, sort: float | str, **attributes: Any) -> None:
        """Store a row in the table of rows."""
        item = {"p": text(partition), "r": number(sort), **attributes}
        self.call("PutItem", TableName=ROWS, Item=item)

    def query(self, condition: str, **more: Any) -> Request:
        """Query the table of rows, consistently unless by an index."""
        read: Request = {} if "IndexName" in more else {"ConsistentRead": True}
        request = {"TableName": ROWS, "KeyConditionExpression": condition, **read, **more}
        return self.call("Query", **request)


def one(key: str = "a") -> Request:
    """The table of items, and a key in it."""
    return {"TableName": ITEMS, "Key": {"k": text(key)}}


def placeholders(values: Mapping[str, Any] | None, names: Mapping[str, str] | None) -> Request:
    """The parameters with `:values` and `#names`; the signs before them are added."""
    request: Request = {}
    if values:
        request["ExpressionAttributeValues"] = {f":{name}": it for name, it in values.items()}
    if names:
        request["ExpressionAttributeNames"] = {f"#{name}": it for name, it in names.items()}
    return request


def updating(
    expression: str,
    *,
    when: str | None = None,
    names: Mapping[str, str] | None = None,
    **values: Any,
) -> Request:
    """The parameters of an update."""
    condition = {} if when is None else {"ConditionExpression": when}
    return {"UpdateExpression": expression, **condition, **placeholders(values, names)}


def conditional(
    condition: str, *, names: Mapping[str, str] | None = None, **values: Any
) -> Request:
    """The parameters of a condition."""
    return {"ConditionExpression": condition, **placeholders(values, names)}
