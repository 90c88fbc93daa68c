"""What an expression can call: a few pure functions, and methods of texts and lists.

A function takes its arguments as a list, a method its value and one argument, and both the
budget of work. The parser checks names and numbers of arguments against these tables.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from flowcraft.core.expression_kinds import Work, is_number, is_truthy, kind
from flowcraft.core.expression_numbers import check_size
from flowcraft.core.expression_values import contains, ordered, to_text
from flowcraft.errors import ExpressionError, ExpressionLimitError


def _len(arguments: list[Any], _work: Work) -> int:
    [value] = arguments
    if isinstance(value, (str, list, tuple, Mapping, set, frozenset)):
        return len(value)
    raise ExpressionError(f"len() takes a list, a text or a mapping, not {kind(value)}")


def _extreme(symbol: str, name: str) -> Callable[[list[Any], Work], Any]:
    def extreme(arguments: list[Any], work: Work) -> Any:
        values: Sequence[Any] = arguments
        if len(arguments) == 1 and isinstance(arguments[0], (list, tuple)):
            values = arguments[0]
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
    _check_decimal(number)
    try:
        return round(number, digits)
    except (ArithmeticError, ValueError):
        raise ExpressionError("round() cannot round this number") from None


def _check_decimal(number: Any) -> None:
    """Refuse a Decimal that would become an enormous integer: its exponent has no bound."""
    if isinstance(number, Decimal) and number.is_finite() and number.adjusted() > 308:
        raise ExpressionLimitError("so large a Decimal cannot be made an integer or float")


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
    if not (found[2] or found[3] or found[1][0] == "."):
        return int(value)
    number = float(value)
    if math.isinf(number):
        raise ExpressionLimitError("the number in the text is too large")
    return number


def _to_int(arguments: list[Any], work: Work) -> int:
    number = _a_number("int", _to_number(arguments, work))
    _check_decimal(number)
    try:
        return int(number)
    except (ArithmeticError, ValueError):
        raise ExpressionError("int() cannot convert a number that is not finite") from None


def _to_float(arguments: list[Any], work: Work) -> float:
    number = _a_number("float", _to_number(arguments, work))
    _check_decimal(number)
    try:
        return float(number)
    except (ArithmeticError, ValueError):
        raise ExpressionError("float() cannot convert this number") from None


class Function(NamedTuple):
    """A function, and the least and the most arguments it takes."""

    call: Callable[[list[Any], Work], Any]
    least: int = 1
    most: int = 1


MAX_ARGUMENTS: Final = 32

FUNCTIONS: Final[Mapping[str, Function]] = {
    "len": Function(_len),
    "min": Function(_extreme("<", "min"), most=MAX_ARGUMENTS),
    "max": Function(_extreme(">", "max"), most=MAX_ARGUMENTS),
    "abs": Function(_abs),
    "round": Function(_round, most=2),
    "int": Function(_to_int),
    "float": Function(_to_float),
    "Number": Function(_to_number),
    **dict.fromkeys(("str", "String"), Function(lambda values, _work: to_text(values[0]))),
    **dict.fromkeys(("bool", "Boolean"), Function(lambda values, _work: is_truthy(values[0]))),
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
    **dict.fromkeys(("startsWith", "startswith"), _starts_with),
    **dict.fromkeys(("endsWith", "endswith"), _ends_with),
}
