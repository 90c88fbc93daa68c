"""The bounds of an evaluation, its budget of work, and what kind of thing a value is.

Work that grows with the data (searching a list, comparing two structures, joining texts) is
paid for from a `Work` budget. All other work is bounded by the length of the expression,
because the language has no loops: each part of an expression is evaluated at most once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from flowcraft.errors import ExpressionLimitError

MAX_STEPS: Final = 200_000
"""Elements that one evaluation may look at while it searches and compares data."""

MAX_RESULT_TEXT: Final = 100_000
"""Characters in a text that an expression puts together."""

MAX_INTEGER_BITS: Final = 1024
"""Size of the integers an expression may calculate with; floats end at the same magnitude."""

CHARACTERS_PER_STEP_BITS: Final = 6


class Work:
    """What one evaluation may still spend, in steps of one element (or 64 characters)."""

    __slots__ = ("left",)

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        """Use up some steps; raises `ExpressionLimitError` when none are left."""
        self.left -= steps
        if self.left < 0:
            raise ExpressionLimitError(
                f"it takes more than {MAX_STEPS} steps: it searches or compares too much data, "
                "which is the work of a node"
            )

    def spend_text(self, length: int) -> None:
        """Use up what reading ``length`` characters costs."""
        self.spend(length >> CHARACTERS_PER_STEP_BITS)


def kind(value: Any) -> str:
    """Name what a value is, for error messages; never the value, which may be private."""
    if value is None:
        return "null"
    for types, name in _KINDS:
        if isinstance(value, types):
            return name
    return f"a {type(value).__name__}"


_KINDS: Final[tuple[tuple[type | tuple[type, ...], str], ...]] = (
    (bool, "true/false"),
    ((int, float, Decimal), "a number"),
    (str, "a text"),
    ((list, tuple), "a list"),
    (Mapping, "a mapping"),
)


def is_number(value: Any) -> bool:
    """True for int, float and Decimal; ``True`` and ``False`` are no numbers here."""
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def is_truthy(value: Any) -> bool:
    """Tell whether a value counts as true, as in JavaScript.

    False are ``False``, ``None``, zero, not-a-number and the empty text. Everything else is
    true, the empty list and the empty mapping too.
    """
    if isinstance(value, bool):
        return value
    if value is None:
        return False
    if isinstance(value, str):
        return len(value) > 0
    if isinstance(value, Decimal):
        return not (value.is_nan() or value.is_zero())
    if isinstance(value, float):
        return not (value == 0 or math.isnan(value))
    return not (isinstance(value, int) and value == 0)
