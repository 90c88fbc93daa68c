"""Values as JSON data for other programs: what commands and the HTTP API tell."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any, Final


def jsonable(value: Any) -> Any:
    """A value as JSON data, of which every program can read the text.

    Times become ISO 8601, lengths of time seconds, bytes base64, numbers that JSON does not have
    (``NaN``) their text; records (dataclasses and named tuples) objects whose keys are their names
    in camelCase; what else there is its text. Keys of mappings stay as they are.
    """
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case Enum():
            return jsonable(value.value)
        case str():
            return str(value)
        case datetime() | date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case Mapping():
            return {str(key): jsonable(inner) for key, inner in value.items()}
        case tuple() if hasattr(value, "_fields"):
            return {camel(name): jsonable(getattr(value, name)) for name in value._fields}
        case list() | tuple() | set() | frozenset():
            return [jsonable(inner) for inner in value]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value)]
            return {camel(name): jsonable(getattr(value, name)) for name in names}
        case _:
            return str(value)


def camel(name: str) -> str:
    """A name in camelCase, as JSON has it."""
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


_LINE_ENDS: Final = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def on_one_line(text: str) -> str:
    """JSON text without the signs that some programs take for the end of a line.

    JSON itself escapes line feeds and the like in texts, and leaves these as they are.
    """
    return text.translate(_LINE_ENDS)
