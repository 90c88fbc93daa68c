"""Values as the behaviours of the corpus see them: their text, their truth, their order."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

_WRITTEN_OUT = 1e21
_SMALLEST_WRITTEN_OUT = 1e-6


def is_number(value: Any) -> bool:
    """Whether a value is an integer or float, and not a boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_true(value: Any) -> bool:
    """Truth as the corpus defines it: empty lists and dictionaries are true."""
    if isinstance(value, list | dict):
        return True
    return bool(value) and not (isinstance(value, float) and math.isnan(value))


def in_order(keys: Iterable[str]) -> list[str]:
    """Keys sorted by their UTF-16 units, as the reference sorts them."""
    return sorted(keys, key=lambda key: key.encode("utf-16-be", "surrogatepass"))


def text_of(value: Any) -> str:
    """A text as it is, nothing as the empty text, all else as compact JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else _json_of(value)


def _json_of(value: Any) -> str:
    if isinstance(value, dict):
        members = (f"{_json_of(key)}:{_json_of(member)}" for key, member in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json_of, value)) + "]"
    if isinstance(value, float):
        return _number_text(value)
    return json.dumps(value, ensure_ascii=False)


def _number_text(number: float) -> str:
    if not math.isfinite(number):
        return "null"
    size = abs(number)
    if number.is_integer() and size < _WRITTEN_OUT:
        return str(int(number))
    if _SMALLEST_WRITTEN_OUT <= size < _WRITTEN_OUT:
        return format(Decimal(repr(number)), "f")
    mantissa, _, exponent = repr(number).partition("e")
    return f"{mantissa}e{int(exponent):+d}"
