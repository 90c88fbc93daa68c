"""Lengths of time as blueprints write them."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Any, Final

MAX_DURATION_MS: Final = 366 * 86_400_000
"""The longest duration, in milliseconds: a year, and the day that some years have more."""

_UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PATTERN: Final = re.compile(r"([0-9]{1,18})(ms|s|m|h|d)")
_EXPECTED: Final = "give milliseconds, or a text such as '500ms', '10s', '5m', '2h' or '1d'"


def parse_duration_ms(value: Any) -> int:
    """The milliseconds of a duration.

    Args:
        value: Milliseconds as a number (fractions are rounded), a whole number with a unit as
            text (``500ms``, ``10s``, ``5m``, ``2h``, ``1d``), or a ``timedelta``.

    Raises:
        ValueError: It is none of these, is negative or not finite, or is longer than 366 days.
    """
    milliseconds = _milliseconds(value)
    if milliseconds < 0:
        raise ValueError(f"a duration cannot be negative, but this is {_shown(value)}")
    if milliseconds > MAX_DURATION_MS:
        raise ValueError(f"{_shown(value)} is longer than the longest duration, 366 days")
    return round(milliseconds)


def _milliseconds(value: Any) -> float:
    if isinstance(value, timedelta):
        return value / timedelta(milliseconds=1)
    if isinstance(value, str):
        match = _PATTERN.fullmatch(value)
        if match:
            return int(match[1]) * _UNITS[match[2]]
    elif _is_number(value):
        return value  # type: ignore[no-any-return]
    raise ValueError(f"{_shown(value)} is not a duration: {_EXPECTED}")


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isnan(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 100:
        return "this number of milliseconds"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]}…"
