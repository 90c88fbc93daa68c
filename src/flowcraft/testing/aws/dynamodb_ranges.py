"""Key conditions: which rows of a partition a query asks for."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any, Final

from flowcraft.testing.aws.dynamodb_conditions import (
    All,
    Attribute,
    BeginsWith,
    Between,
    Condition,
    Equal,
    Given,
    Operand,
    Ordered,
    Values,
    wrong_type,
)
from flowcraft.testing.aws.dynamodb_errors import Refusal, refused
from flowcraft.testing.aws.dynamodb_items import Value, order_of
from flowcraft.testing.aws.dynamodb_schema import KeySchema
from flowcraft.testing.aws.dynamodb_shelves import Row

_TURNED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Range:
    """The rows of a partition that a query asks for.

    Attributes:
        partition: The partition key.
        sign: How the sort key is compared: ``=``, ``<``, ``BETWEEN``, ``begins_with`` …; empty
            if all rows are meant.
        bounds: What it is compared with.
    """

    partition: Any
    sign: str = ""
    bounds: tuple[Any, ...] = ()

    def within(self, rows: list[Row]) -> tuple[int, int]:
        """The first of the rows, and the one behind the last."""
        if not self.sign:
            return 0, len(rows)
        first, last = self.bounds[0], self.bounds[-1]
        low, high = 0, len(rows)
        if self.sign in ("=", ">=", "BETWEEN", "begins_with"):
            low = bisect_left(rows, first, key=_order)
        elif self.sign == ">":
            low = bisect_right(rows, first, key=_order)
        if self.sign in ("=", "<=", "BETWEEN"):
            high = bisect_right(rows, last, key=_order)
        elif self.sign == "<":
            high = bisect_left(rows, last, key=_order)
        elif self.sign == "begins_with":
            high = low
            while high < len(rows) and rows[high].order.startswith(first):
                high += 1
        return low, max(low, high)

    def has(self, row: Row) -> bool:
        """Whether a row, which need not be there, is among those meant."""
        low, high = self.within([row])
        return high > low


def _order(row: Row) -> Any:
    return row.order


def range_of(condition: Condition, schema: KeySchema, values: Values) -> Range:
    """Which rows a key condition means.

    Args:
        condition: The ``KeyConditionExpression``.
        schema: The key of the table or of the index.
        values: The ``:values``.

    Raises:
        Refusal: It is not the partition key that equals a value, and at most one condition on
            the sort key.
    """
    conditions = condition.conditions if isinstance(condition, All) else (condition,)
    found: dict[str, tuple[str, list[Value]]] = {}
    for part in conditions:
        name, sign, given = _compared(part, values)
        if name in found:
            raise refused("A KeyConditionExpression has one condition for each key attribute")
        found[name] = (sign, given)
    _check(found, schema)
    sign, given = found[schema.partition]
    partition = order_of(given[0])
    if schema.sort is None or schema.sort not in found:
        return Range(partition)
    sign, given = found[schema.sort]
    return Range(partition, sign, tuple(order_of(value) for value in given))


def _check(found: dict[str, tuple[str, list[Value]]], schema: KeySchema) -> None:
    if schema.partition not in found:
        raise refused(f"The query condition misses the key attribute {schema.partition!r}")
    for name, (sign, given) in found.items():
        if name not in schema.names:
            raise refused(f"The query condition is about {name!r}, which is no key attribute")
        for value in given:
            if sign == "begins_with" and schema.types[name] == "N":
                raise wrong_type("begins_with", "N")
            schema.check_value(name, value)
    if found[schema.partition][0] != "=":
        raise refused("Query key condition not supported: the partition key has to equal a value")


def _compared(condition: Condition, values: Values) -> tuple[str, str, list[Value]]:
    """The attribute that a condition is about, how it is compared, and with what."""
    if isinstance(condition, Equal):
        return _sides("=", condition.left, condition.right, values)
    if isinstance(condition, Ordered):
        return _sides(condition.sign, condition.left, condition.right, values)
    if isinstance(condition, Between):
        low, high = _given(condition.low, values), _given(condition.high, values)
        return _name(condition.operand), "BETWEEN", [low, high]
    if isinstance(condition, BeginsWith):
        return _name(condition.operand), "begins_with", [_given(condition.beginning, values)]
    raise _unsupported(type(condition).__name__)


def _sides(
    sign: str, left: Operand, right: Operand, values: Values
) -> tuple[str, str, list[Value]]:
    if isinstance(left, Given):
        return _name(right), _TURNED.get(sign, sign), [_given(left, values)]
    return _name(left), sign, [_given(right, values)]


def _name(operand: Operand) -> str:
    if not isinstance(operand, Attribute) or len(operand.path) > 1:
        raise _unsupported("an operand that is no key attribute")
    return str(operand.path[0])


def _given(operand: Operand, values: Values) -> Value:
    if not isinstance(operand, Given):
        raise _unsupported("an operand that is no :value")
    return values[operand.name]


def _unsupported(what: str) -> Refusal:
    return refused(f"Invalid KeyConditionExpression: it may not have {what}")
