"""What an expression can call: a few pure functions, and methods of texts and lists.

A function takes its arguments as a list, a method its value and one argument, and both the
budget of work. The parser has checked names and numbers of arguments against `ARGUMENTS` and
`METHOD_NAMES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from flowcraft.core.expression_kinds import Work, is_number, is_truthy, kind
from flowcraft.core.expression_numbers import check_size
from flowcraft.core.expression_values import contains, ordered, to_text
from flowcraft.errors import ExpressionError

def _len(arguments: list[Any], _work: Work) -> int:
    [value] = arguments
    if isinstance(value, (str, list, tuple, Mapping, set, frozenset)):
        return len(value)
    raise ExpressionError(f"len() takes a list, a text or a mapping, not {kind(value)}")


def _extreme(symbol: str, name: str) -> Callable[[list[Any], Work], Any]:
    def extreme(arguments: list[Any], work: Work) -> Any:
        values = arguments
        if len(arguments) == 1 and isinstance(arguments[0], (list, tuple)):
            values = list(arguments[0])
        if not values:
            raise ExpressionError(f"{name}() of an empty list")
        work.spend(len(values))
        best = values[0]
        for value in values:
            best = value if ordered(symbol, value, best, work) else best
        return best

    return extreme


def _abs(arguments: list[Any], _work: Work) -> Any:
    [value] = arguments
    number = _a_number("abs", value)
    return number.copy_abs() if isinstance(number, Decimal) else abs(number)


def _round(arguments: list[Any], _work: Work) -> Any:
    number = _a_number("round", arguments[0])
    digits = arguments[1] if len(arguments) == 2 else None
    if digits is not None and not (type(digits) is int and 0 <= digits <= 15):
        raise ExpressionError("round() takes 0 to 15 digits")
    try:
        return round(number, digits)
    except (ArithmeticError, ValueError):
        raise ExpressionError("round() cannot round this number") from None


def _a_number(name: str, value: Any) -> Any:
    if not is_number(value):
        raise ExpressionError(f"{name}() takes a number, not {kind(value)}")
    check_size(value)
    return value


_NUMERAL: Final = re.compile(r"\s*[-+]?([0-9]{1,308}(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?\s*")


def _to_number(arguments: list[Any], _work: Work) -> Any:
    """Read a number from a text; numbers stay what they are."""
    [value] = arguments
    if is_number(value):
        return value
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, str):
        raise ExpressionError(f"{kind(value)} cannot be read as a number")
    if len(value) > 400 or not (found := _NUMERAL.fullmatch(value)):
        raise ExpressionError("the text is not a number")
    return float(value) if found[2] or found[3] or found[1][0] == "." else int(value)


def _to_int(arguments: list[Any], work: Work) -> int:
    number = _a_number("int", _to_number(arguments, work))
    if isinstance(number, Decimal) and number.is_finite() and number.adjusted() > 308:
        raise ExpressionError("int() cannot convert so large a number")
    try:
        return int(number)
    except (ArithmeticError, ValueError):
        raise ExpressionError("int() cannot convert a number that is not finite") from None


def _to_float(arguments: list[Any], work: Work) -> float:
    try:
        return float(_a_number("float", _to_number(arguments, work)))
    except (ArithmeticError, ValueError):
        raise ExpressionError("float() cannot convert so large a number") from None


FUNCTIONS: Final[Mapping[str, Callable[[list[Any], Work], Any]]] = {
    "len": _len,
    "min": _extreme("<", "min"),
    "max": _extreme(">", "max"),
    "abs": _abs,
    "round": _round,
    "int": _to_int,
    "float": _to_float,
    "Number": _to_number,
    "str": lambda arguments, _work: to_text(arguments[0]),
    "String": lambda arguments, _work: to_text(arguments[0]),
    "bool": lambda arguments, _work: is_truthy(arguments[0]),
    "Boolean": lambda arguments, _work: is_truthy(arguments[0]),
}

def _includes(value: Any, item: Any, work: Work) -> bool:
    if isinstance(value, Mapping):
        raise ExpressionError("a mapping has no includes(): write 'key in mapping'")
    return contains(value, item, work)


def _starts_with(value: Any, part: Any, _work: Work) -> bool:
    return _texts(value, part, "startsWith")[0].startswith(part)


def _ends_with(value: Any, part: Any, _work: Work) -> bool:
    return _texts(value, part, "endsWith")[0].endswith(part)


def _texts(value: Any, part: Any, method: str) -> tuple[str, str]:
    if isinstance(value, str) and isinstance(part, str):
        return value, part
    raise ExpressionError(f"{method}() takes two texts, not {kind(value)} and {kind(part)}")


METHODS: Final[Mapping[str, Callable[[Any, Any, Work], Any]]] = {
    "includes": _includes,
    "startswith": _starts_with,
    "endswith": _ends_with,
}

