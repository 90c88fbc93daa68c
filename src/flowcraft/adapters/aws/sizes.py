"""How large an item is, as AWS counts it: capacity goes by it, and 400 KB is the end.

The rules are those of the DynamoDB developer guide, "DynamoDB item sizes and formats".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

ITEM_LIMIT: Final = 400 * 1024
"""The largest item, names included, in bytes."""

WRITE_UNIT: Final = 1024
"""The bytes that one write unit is good for."""


def item_size(item: Mapping[str, Any]) -> int:
    """The bytes of an item: of its names and its values."""
    return sum(len(name.encode()) + value_size(value) for name, value in item.items())


def value_size(value: Mapping[str, Any]) -> int:
    """The bytes of one value, given as ``{"S": …}``."""
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content) if content.isascii() else len(content.encode())
    if kind == "B":
        return len(content)
    if kind == "N":
        return _number_size(content)
    if kind in ("BOOL", "NULL"):
        return 1
    if kind == "L":
        return 3 + sum(1 + value_size(each) for each in content)
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + value_size(each) for name, each in content.items())
    if kind == "NS":
        return sum(_number_size(each) for each in content)
    return sum(len(each if isinstance(each, bytes) else each.encode()) for each in content)


def _number_size(text: str) -> int:
    digits = text.lstrip("-").replace(".", "").strip("0")
    return (len(digits) + 1) // 2 + 1 + text.startswith("-")
