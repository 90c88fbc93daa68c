"""Conditions: what a parsed condition, filter or key condition consists of, and whether it holds.

What an expression means depends on the item and on ``:values`` only, so that one that was parsed
serves every request with the same text and the same ``#names``. What AWS refuses because of the
*type* of a ``:value`` is refused by ``check``, before anything is looked at; the same type in an
item makes the condition false.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from flowcraft.testing.aws.dynamodb_errors import Refusal, refused
from flowcraft.testing.aws.dynamodb_items import (
    ORDERED_TYPES,
    SET_TYPES,
    TYPES,
    Item,
    Value,
    order_of,
    type_of,
)
from flowcraft.testing.aws.dynamodb_paths import Path, at

Values = Mapping[str, Value]


class Operand(Protocol):
    """What stands on a side of a comparison."""

    def value(self, item: Item, values: Values) -> Value | None:
        """What it is for this item; None if there is nothing."""
        ...

    def check(self, values: Values) -> None:
        """Refuse what the ``:values`` make wrong, whatever the item is."""
        ...


class Condition(Protocol):
    """Something that holds for an item or does not."""

    def holds(self, item: Item, values: Values) -> bool:
        """Whether it does."""
        ...

    def check(self, values: Values) -> None:
        """Refuse what the ``:values`` make wrong, whatever the item is."""
        ...


@dataclass(frozen=True, slots=True)
class Attribute:
    """What the item has at a path."""

    path: Path

    def value(self, item: Item, _values: Values) -> Value | None:
        """What stands there."""
        return at(item, self.path)

    def check(self, values: Values) -> None:
        """Nothing can be wrong."""


@dataclass(frozen=True, slots=True)
class Given:
    """A ``:value`` of the request."""

    name: str

    def value(self, _item: Item, values: Values) -> Value | None:
        """The value, which is there: that was checked."""
        return values[self.name]

    def check(self, values: Values) -> None:
        """Nothing can be wrong."""


@dataclass(frozen=True, slots=True)
class Size:
    """``size(…)``: code units of UTF-16, bytes, or the number of elements."""

    of: Operand

    def value(self, item: Item, values: Values) -> Value | None:
        """The size; None for what has none, such as a number."""
        value = self.of.value(item, values)
        if value is None:
            return None
        kind = type_of(value)
        if kind == "S":
            return {"N": str(len(value["S"].encode("utf-16-le")) // 2)}
        if kind in SET_TYPES or kind in ("L", "M", "B"):
            return {"N": str(len(value[kind]))}
        return None

    def check(self, values: Values) -> None:
        """Refuse a ``:value`` that has no size."""
        for kind in _known_types(values, self.of):
            if kind in ("N", "BOOL", "NULL"):
                raise wrong_type("size", kind)


def wrong_type(function: str, kind: str) -> Refusal:
    """The refusal of a ``:value`` that an operator or a function cannot have."""
    return refused(f"Incorrect operand type for operator or function {function}: {kind}")


def _known_types(values: Values, *operands: Operand) -> list[str]:
    """The types of those operands that have the same for every item."""
    given = [type_of(value) for value in _given(values, *operands)]
    return given + ["N" for operand in operands if isinstance(operand, Size)]


def _given(values: Values, *operands: Operand) -> list[Value]:
    return [values[operand.name] for operand in operands if isinstance(operand, Given)]


def _check_ordered(sign: str, values: Values, *operands: Operand) -> None:
    for operand in operands:
        operand.check(values)
    for kind in _known_types(values, *operands):
        if kind not in ORDERED_TYPES:
            raise wrong_type(sign, kind)


_ORDERS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Equal:
    """``left = right``; nothing equals what is not there, not even something else that is not."""

    left: Operand
    right: Operand

    def holds(self, item: Item, values: Values) -> bool:
        """Whether both are there, of one type, and equal."""
        left = self.left.value(item, values)
        return left is not None and left == self.right.value(item, values)

    def check(self, values: Values) -> None:
        """Check both sides."""
        self.left.check(values)
        self.right.check(values)


@dataclass(frozen=True, slots=True)
class Ordered:
    """``left < right`` and its like: among texts, among numbers, among bytes."""

    sign: str
    left: Operand
    right: Operand

    def holds(self, item: Item, values: Values) -> bool:
        """Whether both are there, of one type, and in this order."""
        return compare(self.sign, self.left.value(item, values), self.right.value(item, values))

    def check(self, values: Values) -> None:
        """Refuse a ``:value`` without order."""
        _check_ordered(self.sign, values, self.left, self.right)


def compare(sign: str, left: Value | None, right: Value | None) -> bool:
    """Whether two values are there, of one ordered type, and in the order that a sign says."""
    if left is None or right is None:
        return False
    kind = type_of(left)
    if kind not in ORDERED_TYPES or kind not in right:
        return False
    return _ORDERS[sign](order_of(left), order_of(right))


@dataclass(frozen=True, slots=True)
class Between:
    """``operand BETWEEN low AND high``, both included."""

    operand: Operand
    low: Operand
    high: Operand

    def holds(self, item: Item, values: Values) -> bool:
        """Whether the operand lies between."""
        value = self.operand.value(item, values)
        return compare(">=", value, self.low.value(item, values)) and compare(
            "<=", value, self.high.value(item, values)
        )

    def check(self, values: Values) -> None:
        """Refuse bounds of the request that do not fit each other."""
        _check_ordered("BETWEEN", values, self.operand, self.low, self.high)
        bounds = _given(values, self.low, self.high)
        if len(bounds) == 2 and not compare("<=", bounds[0], bounds[1]):
            raise refused(
                "The BETWEEN operator requires bounds of one type, the lower one first; these "
                f"are not: {bounds[0]}, {bounds[1]}"
            )


@dataclass(frozen=True, slots=True)
class Among:
    """``operand IN (…)``."""

    operand: Operand
    others: tuple[Operand, ...]

    def holds(self, item: Item, values: Values) -> bool:
        """Whether the operand is there, and equals one of them."""
        value = self.operand.value(item, values)
        return value is not None and any(
            other.value(item, values) == value for other in self.others
        )

    def check(self, values: Values) -> None:
        """Check all operands."""
        self.operand.check(values)
        for other in self.others:
            other.check(values)


@dataclass(frozen=True, slots=True)
class Exists:
    """``attribute_exists(path)``."""

    path: Path

    def holds(self, item: Item, _values: Values) -> bool:
        """Whether something stands there."""
        return at(item, self.path) is not None

    def check(self, values: Values) -> None:
        """Nothing can be wrong."""


@dataclass(frozen=True, slots=True)
class HasType:
    """``attribute_type(operand, :type)``."""

    operand: Operand
    kind: str

    def holds(self, item: Item, values: Values) -> bool:
        """Whether the operand is there, and has the type."""
        value = self.operand.value(item, values)
        return value is not None and type_of(value) == values[self.kind]["S"]

    def check(self, values: Values) -> None:
        """Refuse a type that there is not."""
        self.operand.check(values)
        kind = values[self.kind]
        if "S" not in kind:
            raise wrong_type("attribute_type", type_of(kind))
        if kind["S"] not in TYPES:
            raise refused(f"There is no type {kind['S']} of attribute values; see attribute_type")


@dataclass(frozen=True, slots=True)
class BeginsWith:
    """``begins_with(operand, beginning)``: of a text, or of bytes."""

    operand: Operand
    beginning: Operand

    def holds(self, item: Item, values: Values) -> bool:
        """Whether both are there, of one type, and one begins with the other."""
        value = self.operand.value(item, values)
        beginning = self.beginning.value(item, values)
        if value is None or beginning is None:
            return False
        kind = type_of(value)
        if kind not in ("S", "B") or kind not in beginning:
            return False
        return bool(value[kind].startswith(beginning[kind]))

    def check(self, values: Values) -> None:
        """Refuse a ``:value`` that is neither text nor bytes."""
        self.operand.check(values)
        self.beginning.check(values)
        for kind in _known_types(values, self.operand, self.beginning):
            if kind not in ("S", "B"):
                raise wrong_type("begins_with", kind)


@dataclass(frozen=True, slots=True)
class Contains:
    """``contains(operand, part)``: a part of a text, an element of a list, a member of a set."""

    operand: Operand
    part: Operand

    def holds(self, item: Item, values: Values) -> bool:
        """Whether both are there, and one is in the other."""
        value = self.operand.value(item, values)
        part = self.part.value(item, values)
        if value is None or part is None:
            return False
        ((kind, content),) = value.items()
        if kind == "L":
            return part in content
        wanted = kind[0] if kind in SET_TYPES else kind
        if kind not in SET_TYPES and kind not in ("S", "B"):
            return False
        return wanted in part and part[wanted] in content

    def check(self, values: Values) -> None:
        """Check both operands."""
        self.operand.check(values)
        self.part.check(values)


@dataclass(frozen=True, slots=True)
class Not:
    """``NOT condition``."""

    condition: Condition

    def holds(self, item: Item, values: Values) -> bool:
        """Whether the condition does not hold."""
        return not self.condition.holds(item, values)

    def check(self, values: Values) -> None:
        """Check the condition."""
        self.condition.check(values)


@dataclass(frozen=True, slots=True)
class All:
    """``condition AND condition …``."""

    conditions: tuple[Condition, ...]

    def holds(self, item: Item, values: Values) -> bool:
        """Whether every condition holds."""
        for condition in self.conditions:  # noqa: SIM110  # a frame less: they may be deep
            if not condition.holds(item, values):
                return False
        return True

    def check(self, values: Values) -> None:
        """Check the conditions."""
        for condition in self.conditions:
            condition.check(values)


@dataclass(frozen=True, slots=True)
class Either:
    """``condition OR condition …``."""

    conditions: tuple[Condition, ...]

    def holds(self, item: Item, values: Values) -> bool:
        """Whether one condition holds."""
        for condition in self.conditions:  # noqa: SIM110  # a frame less: they may be deep
            if condition.holds(item, values):
                return True
        return False

    def check(self, values: Values) -> None:
        """Check the conditions."""
        for condition in self.conditions:
            condition.check(values)


def given_paths(condition: Condition | Operand) -> list[Path]:
    """Every document path in a condition."""
    if isinstance(condition, Attribute | Exists):
        return [condition.path]
    found: list[Path] = []
    for part in _parts(condition):
        found.extend(given_paths(part))
    return found


def _parts(condition: Condition | Operand) -> list[Condition | Operand]:
    found: list[Condition | Operand] = []
    for name in getattr(condition, "__slots__", ()):
        part = getattr(condition, name)
        if isinstance(part, tuple):
            found.extend(part)
        elif not isinstance(part, str):
            found.append(part)
    return found
