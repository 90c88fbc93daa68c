"""Numbers in an expression: arithmetic as in Python, spelling as in JavaScript.

Integers, floats and Decimals mix. Every operation is bounded before it is carried out.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from decimal import Context, Decimal, DecimalException
from typing import Any, Final

from flowcraft.core.expression_kinds import MAX_INTEGER_BITS, is_number, kind
from flowcraft.errors import ExpressionError, ExpressionLimitError

DECIMAL_DIGITS: Final = 50


def alike(one: Any, other: Any) -> tuple[Any, Any]:
    """Bring two numbers to types that Python compares by what is written.

    The float ``1.1`` and ``Decimal("1.1")`` are the same number to whoever wrote a condition.
    """
    if isinstance(one, Decimal) and isinstance(other, float):
        return one, Decimal(repr(float(other)))
    if isinstance(one, float) and isinstance(other, Decimal):
        return Decimal(repr(float(one))), other
    return one, other


def power(base: Any, exponent: Any) -> Any:
    """Raise to a power, refusing before the work is done what would be too large."""
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 0:
        # The result has at least this many bits; past the bound, do not even begin.
        if (base.bit_length() - 1) * exponent > MAX_INTEGER_BITS:
            raise OverflowError
        return base**exponent
    result = base**exponent
    if isinstance(result, complex):
        raise ExpressionError("a negative number has no fractional power")
    return result


_ARITHMETIC: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": power,
}


def arithmetic(symbol: str, left: Any, right: Any) -> Any:
    """Calculate with two numbers as Python does (``-7 % 3`` is 2, ``7 / 2`` is 3.5).

    Raises:
        ExpressionError: An operand is no number, or the divisor is zero.
        ExpressionLimitError: The result is too large.
    """
    if not (is_number(left) and is_number(right)):
        raise ExpressionError(
            f"'{symbol}' cannot be applied to {kind(left)} and {kind(right)}: it takes two numbers"
        )
    check_size(left)
    check_size(right)
    try:
        if isinstance(left, Decimal) or isinstance(right, Decimal):
            return _decimal_arithmetic(symbol, _as_decimal(left), _as_decimal(right))
        return _checked(_ARITHMETIC[symbol](left, right), left, right)
    except ZeroDivisionError:
        raise ExpressionError(f"division by zero in '{symbol}'") from None
    except OverflowError:
        raise _too_large() from None
    except DecimalException as error:
        raise ExpressionError(f"'{symbol}' failed: {type(error).__name__}") from None


def check_size(number: Any) -> None:
    """Refuse an integer beyond the bound, with `ExpressionLimitError`."""
    if isinstance(number, int) and number.bit_length() > MAX_INTEGER_BITS:
        raise _too_large()


def _too_large() -> ExpressionLimitError:
    return ExpressionLimitError(f"a number is too large: the bound is 2**{MAX_INTEGER_BITS}")


def _checked(result: Any, left: Any, right: Any) -> Any:
    """Refuse a result that only became infinite by the calculation: JSON cannot hold it."""
    check_size(result)
    if isinstance(result, float) and not math.isfinite(result) and _finite(left) and _finite(right):
        raise _too_large()
    return result


def _finite(number: Any) -> bool:
    return not isinstance(number, float) or math.isfinite(number)


def _as_decimal(number: Any) -> Decimal:
    return Decimal(repr(float(number))) if isinstance(number, float) else Decimal(number)


def _decimal_arithmetic(symbol: str, left: Decimal, right: Decimal) -> Decimal:
    # A context of its own: what else runs in this thread must not change a decision.
    context = Context(prec=DECIMAL_DIGITS)
    if symbol == "**":
        raise ExpressionError("'**' takes whole or floating numbers, not a Decimal")
    if symbol in ("%", "//"):
        return _decimal_division(symbol, left, right, context)
    operations: Mapping[str, Callable[[Decimal, Decimal], Decimal]] = {
        "+": context.add,
        "-": context.subtract,
        "*": context.multiply,
        "/": context.divide,
    }
    return operations[symbol](left, right)


def _decimal_division(symbol: str, left: Decimal, right: Decimal, context: Context) -> Decimal:
    """Floor division, like that of the other numbers; Decimal's own cuts towards zero."""
    if right.is_zero():
        raise ZeroDivisionError
    rest = context.remainder(left, right)
    crosses_zero = not rest.is_zero() and rest.is_signed() != right.is_signed()
    if symbol == "%":
        return context.add(rest, right) if crosses_zero else rest
    quotient = context.divide_int(left, right)
    return context.subtract(quotient, Decimal(1)) if crosses_zero else quotient


def number_text(number: Any) -> str:
    """Write a number as JavaScript does: ``3.0`` as ``3``, ``1e-05`` as ``0.00001``."""
    check_size(number)
    if not isinstance(number, float):
        return str(number) if isinstance(number, Decimal) else str(int(number))
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    sign = "-" if number < 0 else ""
    _, digits, exponent = Decimal(repr(abs(float(number)))).normalize().as_tuple()
    return sign + _positional("".join(map(str, digits)), int(exponent))


def _positional(digits: str, exponent: int) -> str:
    """Write ``digits`` times ten to the ``exponent``, by the rules of ECMA-262 6.1.6.1.20."""
    point = len(digits) + exponent
    if digits == "0":
        return "0"
    if exponent >= 0 and point <= 21:
        return digits + "0" * exponent
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"
