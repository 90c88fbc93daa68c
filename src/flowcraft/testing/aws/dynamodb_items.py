"""Values and items of DynamoDB: what is allowed, in which form they are kept, how large they are.

A value is kept in the form that boto3 has (``{"S": "text"}``), in a normal form: numbers without
exponent and superfluous zeros, sets sorted. So two values are equal for DynamoDB if they are equal
in Python. What is kept is never changed, and what is given away is a copy.

Sizes are those of "DynamoDB item sizes and formats" in the developer guide; those of numbers, of
which the guide says "approximately", were measured on DynamoDB Local.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any, Final

from flowcraft.testing.aws.dynamodb_errors import Refusal, refused

Value = dict[str, Any]
Item = dict[str, Value]

NESTED_LEVELS: Final = 31
"""How many lists and maps may be within each other; the value within is the 32nd level."""

NAME_BYTES: Final = 65_535
DIGITS: Final = 38
LARGEST_EXPONENT: Final = 125
SMALLEST_EXPONENT: Final = -130

# Exact for every sum of two numbers in range: 125 + 130 digits and a carry.
_EXACT: Final = Context(prec=400)
_NUMBER: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,9})?", re.ASCII)
_CONTAINER_BYTES: Final = 3
_ELEMENT_BYTES: Final = 1


class Kept(dict[str, Any]):
    """A list or a map that remembers its size: it is never changed, and shared by many states.

    Attributes:
        measured: How many bytes it counts for, and how many levels it has; None at first.
    """

    __slots__ = ("measured",)

    def __init__(self, kind: str, content: Any) -> None:
        super().__init__({kind: content})
        self.measured: tuple[int, int] | None = None


def taken(value: object, levels: int = 0) -> Value:
    """A value of a request, checked, copied and brought into normal form.

    Args:
        value: As boto3 takes it.
        levels: How many lists and maps it is within.

    Raises:
        Refusal: DynamoDB takes no such value.
    """
    if not isinstance(value, Mapping) or len(value) != 1:
        raise refused(f"An attribute value has to have exactly one type, this has not: {value!r}")
    ((kind, content),) = value.items()
    if kind == "S" and type(content) is str:
        return {"S": content}
    taker = _TAKERS.get(kind)
    if taker is None:
        raise refused(f"There is no type {kind!r} of attribute values; this value has it: {value}")
    kept = taker(content, levels)
    return Kept(kind, kept) if kind in ("L", "M") else {kind: kept}


def taken_item(item: object) -> Item:
    """The attributes of an item or of a key, as :func:`taken`."""
    if not isinstance(item, Mapping):
        raise refused(f"An item is a mapping from names to values, not {type(item).__name__}")
    return {taken_name(name): taken(value) for name, value in item.items()}


def taken_name(name: object) -> str:
    """The name of an attribute, checked."""
    if not isinstance(name, str) or not name:
        raise refused("An attribute has to have a name")
    if len(name) * 3 > NAME_BYTES and len(name.encode()) > NAME_BYTES:
        raise refused(f"The name of an attribute is longer than {NAME_BYTES} bytes: {name[:40]}…")
    return name


def _text(content: object, _levels: int) -> str:
    if not isinstance(content, str):
        raise refused(f"A value of type S is a str, not {type(content).__name__}")
    return str(content)


def _number(content: object, _levels: int) -> str:
    if not isinstance(content, str):
        raise refused(f"A value of type N is a str of digits, not {type(content).__name__}")
    return plain_number(content)


def _binary(content: object, _levels: int) -> bytes:
    if not isinstance(content, bytes | bytearray):
        raise refused(f"A value of type B is bytes, not {type(content).__name__}")
    return bytes(content)


def _boolean(content: object, _levels: int) -> bool:
    if not isinstance(content, bool):
        raise refused(f"A value of type BOOL is a bool, not {type(content).__name__}")
    return content


def _null(content: object, _levels: int) -> bool:
    if content is not True:
        raise refused("A value of type NULL is {'NULL': True}, and nothing else")
    return True


def _deeper(levels: int) -> int:
    if levels >= NESTED_LEVELS:
        raise _too_deep()
    return levels + 1


def _too_deep() -> Refusal:
    return refused("Nesting levels have exceeded the limit: lists and maps go 32 levels deep")


def _list(content: object, levels: int) -> list[Value]:
    if not isinstance(content, list | tuple):
        raise refused(f"A value of type L is a list, not {type(content).__name__}")
    inner = _deeper(levels)
    return [taken(element, inner) for element in content]


def _map(content: object, levels: int) -> Item:
    if not isinstance(content, Mapping):
        raise refused(f"A value of type M is a dict, not {type(content).__name__}")
    inner = _deeper(levels)
    return {taken_name(name): taken(value, inner) for name, value in content.items()}


def _set_of(taker: Callable[[object, int], Any]) -> Callable[[object, int], list[Any]]:
    def take(content: object, levels: int) -> list[Any]:
        if not isinstance(content, list | tuple | set | frozenset):
            raise refused(f"A set is given as a list, not as {type(content).__name__}")
        members = [taker(member, levels) for member in content]
        return in_order(_unique(members))

    return take


def _unique(members: list[Any]) -> list[Any]:
    if not members:
        raise refused("A set may not be empty")
    if len(set(members)) != len(members):
        raise refused(f"A set has a member twice, which is not allowed: {members}")
    if "" in members or b"" in members:
        raise refused("A set may not have an empty text or empty bytes as a member")
    return members


def in_order(members: Iterable[Any]) -> list[Any]:
    """Members of a set in the order in which sets are kept.

    Numbers are sorted as texts: the order means nothing, it has to be the same for equal sets.
    """
    return sorted(members)


_TAKERS: Final[dict[object, Callable[[object, int], Any]]] = {
    "S": _text,
    "N": _number,
    "B": _binary,
    "BOOL": _boolean,
    "NULL": _null,
    "L": _list,
    "M": _map,
    "SS": _set_of(_text),
    "NS": _set_of(_number),
    "BS": _set_of(_binary),
}

TYPES: Final = frozenset(str(kind) for kind in _TAKERS)
_SCALARS: Final = frozenset({"S", "N", "B", "BOOL", "NULL"})
SET_TYPES: Final = frozenset({"SS", "NS", "BS"})
ORDERED_TYPES: Final = frozenset({"S", "N", "B"})


@lru_cache(maxsize=16_384)
def plain_number(text: str) -> str:
    """A number without exponent and superfluous zeros.

    Raises:
        Refusal: It is none, has more than 38 digits, or is too large or too small.
    """
    if not _NUMBER.fullmatch(text):
        raise refused(f"This cannot be converted to a number: {text!r}")
    return _plain(_EXACT.create_decimal(text))


def _plain(number: Decimal) -> str:
    if not number:
        return "0"
    number = number.normalize(_EXACT)
    if number.adjusted() > LARGEST_EXPONENT:
        raise refused(f"Number overflow: the magnitude of {number} is larger than 9.9…E+125")
    if number.adjusted() < SMALLEST_EXPONENT:
        raise refused(f"Number underflow: the magnitude of {number} is smaller than 1E-130")
    if len(number.as_tuple().digits) > DIGITS:
        raise refused(f"A number has at most {DIGITS} significant digits, this has more: {number}")
    return format(number, "f")


@lru_cache(maxsize=16_384)
def decimal_of(text: str) -> Decimal:
    """The number that a text in normal form means."""
    return Decimal(text)


def total(left: Value, right: Value, sign: int) -> Value:
    """The exact sum of two numbers, or their difference if ``sign`` is -1.

    Raises:
        Refusal: It cannot be kept exactly.
    """
    addend = decimal_of(right["N"])
    result = _EXACT.add(decimal_of(left["N"]), addend if sign > 0 else -addend)
    return {"N": _plain(result)}


def order_of(value: Value) -> Any:
    """What texts, numbers and bytes are compared by, among values of their type."""
    ((kind, content),) = value.items()
    return decimal_of(content) if kind == "N" else content


def type_of(value: Value) -> str:
    """The type of a value, such as ``"S"``."""
    (kind,) = value
    return kind


def copy_of(value: Value) -> Value:
    """A copy that shares nothing that could be changed."""
    ((kind, content),) = value.items()
    if kind in _SCALARS:
        return {kind: content}
    if kind == "L":
        return {"L": [copy_of(element) for element in content]}
    if kind == "M":
        return {"M": {name: copy_of(inner) for name, inner in content.items()}}
    return {kind: list(content)}


def copy_of_item(item: Item) -> Item:
    """A copy of an item that shares nothing that could be changed."""
    return {name: copy_of(value) for name, value in item.items()}


def size_of(value: Value) -> int:
    """How many bytes a value counts for, without the name of its attribute.

    Raises:
        Refusal: Lists and maps are nested too deeply, by an update.
    """
    size, levels = _measured(value)
    if levels > NESTED_LEVELS:
        raise _too_deep()
    return size


def _measured(value: Value) -> tuple[int, int]:
    """How many bytes a value counts for, and how many lists and maps it has within each other."""
    ((kind, content),) = value.items()
    if kind == "S":
        return (len(content) if content.isascii() else len(content.encode())), 0
    if kind == "N":
        return _size_of_number(content), 0
    if kind in ("L", "M"):
        return _measured_container(value, kind, content)
    if kind == "B":
        return len(content), 0
    if kind in SET_TYPES:
        return sum(_measured({kind[0]: member})[0] for member in content), 0
    return 1, 0


def _measured_container(value: Value, kind: str, content: Any) -> tuple[int, int]:
    if isinstance(value, Kept) and value.measured is not None:
        return value.measured
    size, deepest = _CONTAINER_BYTES + _ELEMENT_BYTES * len(content), 0
    for inner in content if kind == "L" else content.values():
        inner_size, levels = _measured(inner)
        size += inner_size
        deepest = max(deepest, levels)
    if kind == "M":
        size += sum(len(name.encode()) for name in content)
    measured = size, deepest + 1
    if isinstance(value, Kept):
        value.measured = measured
    return measured


@lru_cache(maxsize=16_384)
def _size_of_number(text: str) -> int:
    """A byte for sign and exponent, one for each two digits, one more for negative numbers."""
    sign, digits, exponent = decimal_of(text).normalize(_EXACT).as_tuple()
    if digits == (0,):
        return 1
    assert isinstance(exponent, int)
    # Two digits that share a byte are those of a power of a hundred.
    pairs = (exponent + len(digits) - 1) // 2 - exponent // 2 + 1
    return 1 + pairs + sign


def sizes_of(item: Item) -> dict[str, int]:
    """How many bytes each attribute of an item counts for, its name included."""
    return {name: size_of_attribute(name, value) for name, value in item.items()}


def size_of_attribute(name: str, value: Value) -> int:
    """How many bytes an attribute counts for, its name included."""
    return len(name.encode()) + size_of(value)
