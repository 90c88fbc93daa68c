"""Comparing values strictly and at any depth, which ``==`` does neither of."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any


def identical(one: Any, other: Any) -> bool:
    """Equal in value, type, sign of zero, zone and fold; NaN equals NaN; dicts in any order."""
    pairs = [(one, other)]
    while pairs:
        left, right = pairs.pop()
        if type(left) is not type(right):
            return False
        if isinstance(left, dict):
            if left.keys() != right.keys():
                return False
            pairs.extend((item, right[key]) for key, item in left.items())
        elif isinstance(left, list):
            if len(left) != len(right):
                return False
            pairs.extend(zip(left, right, strict=True))
        elif _mark(left) != _mark(right):
            return False
    return True


def _mark(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(repr(_mark(member)) for member in value)
    if isinstance(value, tuple):
        return [_mark(member) for member in value]
    if isinstance(value, datetime | time):
        return (repr(value), str(getattr(value.tzinfo, "key", value.utcoffset())), value.fold)
    return (type(value).__name__, repr(value) if not isinstance(value, int) else value)
