"""What requests have in common: their parameters, and the expressions among these."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from flowcraft.testing.aws.dynamodb_conditions import Condition
from flowcraft.testing.aws.dynamodb_errors import Refusal, refused
from flowcraft.testing.aws.dynamodb_expressions import Parsed, condition, names_of, projection
from flowcraft.testing.aws.dynamodb_items import Value, taken, taken_name
from flowcraft.testing.aws.dynamodb_paths import Tree
from flowcraft.testing.aws.dynamodb_tables import Table
from flowcraft.testing.aws.dynamodb_update_texts import update
from flowcraft.testing.aws.dynamodb_updates import Update

T = TypeVar("T")

Request = Mapping[str, Any]

_EXPRESSIONS: Final = "ExpressionAttributeNames ExpressionAttributeValues"
_CONDITION: Final = f"ConditionExpression ReturnValuesOnConditionCheckFailure {_EXPRESSIONS}"
_WRITE: Final = f"ReturnValues ReturnConsumedCapacity ReturnItemCollectionMetrics {_CONDITION}"
_READ: Final = "ProjectionExpression ExpressionAttributeNames ConsistentRead"
_PAGES: Final = (
    "IndexName Limit ExclusiveStartKey FilterExpression Select ReturnConsumedCapacity "
    f"ExpressionAttributeValues {_READ}"
)

_PARAMETERS: Final[dict[str, tuple[str, str]]] = {
    "BatchGetItem": ("RequestItems", "ReturnConsumedCapacity"),
    "BatchWriteItem": ("RequestItems", "ReturnConsumedCapacity ReturnItemCollectionMetrics"),
    "CreateTable": (
        "TableName KeySchema AttributeDefinitions",
        "BillingMode ProvisionedThroughput GlobalSecondaryIndexes SSESpecification Tags "
        "TableClass DeletionProtectionEnabled OnDemandThroughput",
    ),
    "DeleteItem": ("TableName Key", _WRITE),
    "DeleteTable": ("TableName", ""),
    "DescribeTable": ("TableName", ""),
    "DescribeTimeToLive": ("TableName", ""),
    "GetItem": ("TableName Key", f"ReturnConsumedCapacity {_READ}"),
    "ListTables": ("", "ExclusiveStartTableName Limit"),
    "PutItem": ("TableName Item", _WRITE),
    "Query": ("TableName KeyConditionExpression", f"ScanIndexForward {_PAGES}"),
    "Scan": ("TableName", f"Segment TotalSegments {_PAGES}"),
    "TransactGetItems": ("TransactItems", "ReturnConsumedCapacity"),
    "TransactWriteItems": (
        "TransactItems",
        "ClientRequestToken ReturnConsumedCapacity ReturnItemCollectionMetrics",
    ),
    "UpdateItem": ("TableName Key", f"UpdateExpression {_WRITE}"),
    "UpdateTimeToLive": ("TableName TimeToLiveSpecification", ""),
    # Parts of requests.
    "Keys of BatchGetItem": ("Keys", _READ),
    "ConditionCheck": ("TableName Key ConditionExpression", _CONDITION),
    "Delete": ("TableName Key", _CONDITION),
    "Get": ("TableName Key", "ProjectionExpression ExpressionAttributeNames"),
    "Put": ("TableName Item", _CONDITION),
    "Update": ("TableName Key UpdateExpression", _CONDITION),
}

_REQUIRED: Final = {name: frozenset(needed.split()) for name, (needed, _) in _PARAMETERS.items()}
_ALLOWED: Final = {
    name: _REQUIRED[name] | frozenset(others.split()) for name, (_, others) in _PARAMETERS.items()
}
_PLACEHOLDER: Final = {
    "ExpressionAttributeNames": re.compile(r"#[A-Za-z0-9_]{1,254}", re.ASCII),
    "ExpressionAttributeValues": re.compile(r":[A-Za-z0-9_]{1,254}", re.ASCII),
}


def check_parameters(what: str, request: object) -> None:
    """Refuse a request, or a part of one, with unknown parameters or without those it needs.

    Args:
        what: The operation, or the name of the part.
        request: Its parameters.

    Raises:
        Refusal: The parameters of expressions' predecessors (``Expected`` and its like) and of
            local secondary indexes are unknown too.
    """
    if not isinstance(request, Mapping):
        raise refused(f"{what} is a mapping of parameters, not {type(request).__name__}")
    unknown = request.keys() - _ALLOWED[what]
    if unknown:
        raise refused(f"{what} has no parameter {', '.join(sorted(unknown))}")
    missing = _REQUIRED[what] - request.keys()
    if missing:
        raise refused(f"{what} lacks the parameter {', '.join(sorted(missing))}")


def choice(request: Request, parameter: str, *allowed: str) -> str:
    """A parameter that is one of a few words, the first if it is not given."""
    given = request.get(parameter, allowed[0])
    if given not in allowed:
        raise refused(f"{parameter} is one of {', '.join(allowed)}, not {given!r}")
    return str(given)


def whole_number(request: Request, parameter: str, low: int, high: int) -> int | None:
    """A parameter that is a whole number within bounds, or None if it is not given."""
    given = request.get(parameter)
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or not low <= given <= high:
        raise refused(f"{parameter} is a whole number from {low} to {high}, not {given!r}")
    return given


def flag(request: Request, parameter: str, otherwise: bool = False) -> bool:
    """A parameter that is true or false."""
    given = request.get(parameter, otherwise)
    if not isinstance(given, bool):
        raise refused(f"{parameter} is True or False, not {given!r}")
    return given


class Expressions:
    """The expressions of a request, with their ``#names`` and ``:values``.

    Attributes:
        values: The ``:values``, in normal form.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        names = _placeholders(request, "ExpressionAttributeNames")
        for name in names.values():
            taken_name(name)
        self._names = names_of(names)
        given = _placeholders(request, "ExpressionAttributeValues")
        self.values: dict[str, Value] = {name: taken(value) for name, value in given.items()}
        self._unused = {*names, *self.values}

    def condition(self, parameter: str) -> Condition | None:
        """A condition or a filter, if it is given."""
        text = self._text(parameter)
        if text is None:
            return None
        content = self._used(condition(parameter, text, self._names))
        content.check(self.values)
        return content

    def update(self) -> Update | None:
        """The ``UpdateExpression``, if it is given."""
        text = self._text("UpdateExpression")
        if text is None:
            return None
        content = self._used(update(text, self._names))
        content.check(self.values)
        return content

    def projection(self) -> Tree | None:
        """The ``ProjectionExpression``, if it is given."""
        text = self._text("ProjectionExpression")
        return None if text is None else self._used(projection(text, self._names))

    def finish(self) -> None:
        """Refuse ``#names`` and ``:values`` that no expression has used."""
        if self._unused:
            raise refused(
                "Not used in any expression, though given in ExpressionAttributeNames or "
                f"ExpressionAttributeValues: {', '.join(sorted(self._unused))}"
            )

    def _text(self, parameter: str) -> str | None:
        text = self._request.get(parameter)
        if text is not None and not isinstance(text, str):
            raise refused(f"{parameter} is a str, not {type(text).__name__}")
        return text

    def _used(self, parsed: Parsed[T]) -> T:
        undefined = parsed.values.difference(self.values)
        if undefined:
            raise refused(
                "Used in an expression, but not given in ExpressionAttributeValues: "
                f"{', '.join(sorted(undefined))}"
            )
        self._unused -= parsed.names
        self._unused -= parsed.values
        return parsed.content


def _placeholders(request: Request, parameter: str) -> Mapping[str, Any]:
    given = request.get(parameter)
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not given:
        raise refused(f"{parameter} may not be empty; leave it out")
    for name in given:
        if not isinstance(name, str) or not _PLACEHOLDER[parameter].fullmatch(name):
            raise refused(f"{parameter} has an invalid key: {name!r}")
    return given


def table_named(tables: Mapping[str, Table], name: object, now: float) -> Table:
    """A table that is there.

    Raises:
        Refusal: There is none of this name, or not yet.
    """
    table = tables.get(name) if isinstance(name, str) else None
    if table is None or table.active_at > now:
        raise Refusal("ResourceNotFoundException", f"There is no table {name!r}")
    return table
