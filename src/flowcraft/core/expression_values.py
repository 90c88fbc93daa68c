"""What values do in an expression: equality, order, search, text and members.

The rules are those that JavaScript and Python share; where the two differ, the stricter one
holds, so that a mistake is an error in the log rather than a wrong branch taken in silence.
Nothing here ever looks at an attribute of a value: a mapping has keys, a list and a text have
an index and a length, everything else is opaque. No function recurses over the data.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from flowcraft.core.expression_kinds import MAX_RESULT_TEXT, Work, is_number, kind
from flowcraft.core.expression_numbers import alike, arithmetic, number_text
from flowcraft.errors import ExpressionError, ExpressionLimitError

Operation = Callable[[Any, Any], Any]


# ---------------------------------------------------------------- equality, order, search


def equal(left: Any, right: Any, work: Work) -> bool:
    """Compare two values strictly: ``1`` equals ``1.0``, but neither ``True`` nor ``"1"``.

    Lists and mappings are compared by content, to any depth; a tuple equals a list.
    """
    work.spend(1)
    if type(left) is type(right) and type(left) in _PLAIN_TYPES:
        if type(left) is str:
            work.spend_text(min(len(left), len(right)))
        return bool(left == right)
    pairs = [(left, right)]
    while pairs:
        one, other = pairs.pop()
        if not _equal_outside(one, other, pairs, work):
            return False
    return True


_PLAIN_TYPES: Final = frozenset({str, int, float, bool, type(None)})


def _equal_outside(one: Any, other: Any, pairs: list[tuple[Any, Any]], work: Work) -> bool:
    """Compare all but the contents, which are put on ``pairs`` to be compared later.

    Each pair is paid for when it is put there, so that the list cannot outgrow the budget.
    """
    if one is None or other is None or isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, str) and isinstance(other, str):
        work.spend_text(min(len(one), len(other)))
        return one == other
    if is_number(one) and is_number(other):
        return _guarded(operator.eq, *alike(one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return _pair_mappings(one, other, pairs, work)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return _pair_lists(one, other, pairs, work)
    return type(one) is type(other) and _guarded(operator.eq, one, other)


def _pair_mappings(
    one: Mapping[Any, Any], other: Mapping[Any, Any], pairs: list[tuple[Any, Any]], work: Work
) -> bool:
    if len(one) != len(other):
        return False
    work.spend(len(one))
    for key in one:
        if key not in other:
            return False
        pairs.append((one[key], other[key]))
    return True


def _pair_lists(
    one: list[Any] | tuple[Any, ...],
    other: list[Any] | tuple[Any, ...],
    pairs: list[tuple[Any, Any]],
    work: Work,
) -> bool:
    if len(one) != len(other):
        return False
    work.spend(len(one))
    pairs.extend(zip(one, other, strict=True))
    return True


def _guarded(operation: Operation, one: Any, other: Any) -> bool:
    """Compare values of the same opaque type, whose own code may fail."""
    try:
        return bool(operation(one, other))
    except Exception as error:
        raise ExpressionError(
            f"{kind(one)} cannot be compared with {kind(other)}: {type(error).__name__}"
        ) from error


ORDERINGS: Final[Mapping[str, Operation]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def ordered(symbol: str, left: Any, right: Any, work: Work) -> bool:
    """Compare two numbers, two texts (by code point) or two opaque values of one type.

    Raises:
        ExpressionError: The two are not of the same kind, or of a kind without an order.
    """
    operation = ORDERINGS[symbol]
    if isinstance(left, str) and isinstance(right, str):
        work.spend_text(min(len(left), len(right)))
        return operation(left, right) is True
    if type(left) is int and type(right) is int:
        return operation(left, right) is True
    if is_number(left) and is_number(right):
        return _guarded(operation, *alike(left, right))
    if _is_opaque(left) and type(left) is type(right):
        return _guarded(operation, left, right)
    raise ExpressionError(
        f"'{symbol}' cannot compare {kind(left)} with {kind(right)}: "
        "it takes two numbers or two texts"
    )


def _is_opaque(value: Any) -> bool:
    known = (bool, int, float, Decimal, str, list, tuple, set, frozenset, Mapping)
    return value is not None and not isinstance(value, known)


def contains(container: Any, item: Any, work: Work) -> bool:
    """Tell whether a list has an element, a mapping a key, or a text a part.

    Raises:
        ExpressionError: ``container`` is none of these, or a text is searched for a non-text.
    """
    if isinstance(container, str):
        if not isinstance(item, str):
            raise ExpressionError(f"a text contains texts, never {kind(item)}")
        work.spend_text(len(container))
        return item in container
    if isinstance(container, Mapping):
        return _is_key(item) and key_text(item) in container
    if isinstance(container, (list, tuple, set, frozenset)):
        return any(equal(element, item, work) for element in container)
    raise ExpressionError(f"nothing can be 'in' {kind(container)}: it takes a list or a text")


# ---------------------------------------------------------------- text


def add(left: Any, right: Any, work: Work) -> Any:
    """Add two numbers, or join two values into a text if one of them is a text."""
    if isinstance(left, str) or isinstance(right, str):
        return join([to_text(left), to_text(right)], work)
    return arithmetic("+", left, right)


def join(parts: list[str], work: Work) -> str:
    """Put texts together, within `MAX_RESULT_TEXT` characters."""
    length = sum(map(len, parts))
    if length > MAX_RESULT_TEXT:
        raise ExpressionLimitError(
            f"a text would have {length} characters, the bound is {MAX_RESULT_TEXT}"
        )
    work.spend_text(length)
    return "".join(parts)


def to_text(value: Any) -> str:
    """Write a text, number, true, false or null as it would be written in JSON.

    Raises:
        ExpressionError: It is any other value, for which no spelling is agreed upon.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if is_number(value):
        return number_text(value)
    raise ExpressionError(f"{kind(value)} cannot be made part of a text")


# ---------------------------------------------------------------- members


def _is_key(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def key_text(key: str | int | float) -> str:
    """The key of a mapping: in JSON that is always a text, so ``7`` stands for ``"7"``."""
    return key if isinstance(key, str) else number_text(key)


def member(value: Any, key: Any) -> Any:
    """Read ``value[key]`` or ``value.key``; what is not there is None.

    A mapping gives its own keys, a list and a text their elements and ``length``.

    Raises:
        ExpressionError: The key is neither text nor number, the index is negative, or the
            value is an opaque object (or null, which callers report with its place).
    """
    if not _is_key(key):
        raise ExpressionError(f"a key is a text or a whole number, not {kind(key)}")
    if isinstance(value, Mapping):
        return value.get(key_text(key))
    if isinstance(value, (list, tuple, str)):
        return _element(value, key)
    if value is None or _is_opaque(value) or isinstance(value, (set, frozenset)):
        raise ExpressionError(f"{kind(value)} has no members in an expression")
    return None


def _element(value: list[Any] | tuple[Any, ...] | str, key: str | int | float) -> Any:
    if key == "length":
        return len(value)
    index = _index(key)
    if index is None:
        return None
    if index < 0:
        raise ExpressionError(
            "an index counts from 0 and cannot be negative: "
            "the last element is items[items.length - 1]"
        )
    return value[index] if index < len(value) else None


def _index(key: str | int | float) -> int | None:
    """The index that a key means, or None when it means none (``"01"``, ``1.5``, ``"name"``)."""
    if isinstance(key, str):
        plain = len(key) <= 10 and key.isascii() and key.isdigit()
        return int(key) if plain and str(int(key)) == key else None
    return int(key) if isinstance(key, int) or key.is_integer() else None
