"""Decoders of values that have no parts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any, Final
from uuid import UUID

from flowcraft.core.value_types import shown
from flowcraft.core.values import snapshot
from flowcraft.engine.decode_path import Decoder, Mismatch, Path, expected, got
from flowcraft.errors import SerializationError


def as_it_is(value: Any, _path: Path) -> Any:
    """For annotations that promise nothing."""
    return value


def decode_float(value: Any, path: Path) -> float:
    """A float, or an int that a float can hold exactly."""
    if type(value) is float:
        return value
    if type(value) is not int:
        raise expected("float", value, path)
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if number != value:
        raise Mismatch(path, f"expected float, got an int that a float cannot hold: {got(value)}")
    return number


def decode_decimal(value: Any, path: Path) -> Decimal:
    """A Decimal, or an int, float or text that says one."""
    if type(value) is Decimal:
        return value
    if type(value) is int:
        return Decimal(value)
    if type(value) in (float, str):
        try:
            return Decimal(str(value))
        except InvalidOperation:
            pass
    raise expected("Decimal", value, path)


def decode_enum(kind: type[Enum], value: Any, path: Path) -> Enum:
    """The member with this value; values that are no plain data are found by their snapshot."""
    if isinstance(value, kind):
        return value
    for member in kind:
        if same(value, _data_of(member)):
            return member
    if type(value) is int:  # a combination of flags is a member too, if not a listed one
        try:
            found = kind(value)
        except ValueError:
            pass
        else:
            if same(value, _data_of(found)):
                return found
    choices = ", ".join(shown(member.value) for member in kind)
    raise expected(f"one of {choices} ({kind.__qualname__})", value, path)


def decode_literal(choices: tuple[Any, ...], value: Any, path: Path) -> Any:
    """The choice that equals the value and is of the same type."""
    for choice in choices:
        data = _data_of(choice) if isinstance(choice, Enum) else choice
        if value is choice or same(value, data):
            return choice
    # Sorted: ``Literal["a", 1]`` and ``Literal[1, "a"]`` are equal, and share one decoder.
    raise expected(f"one of {', '.join(sorted(map(shown, choices)))}", value, path)


def same(one: Any, other: Any) -> bool:
    """Equality that tells ``True`` and ``1.0`` from ``1``."""
    return type(one) is type(other) and bool(one == other)


def _data_of(member: Enum) -> Any:
    try:
        return snapshot(member.value)
    except SerializationError:
        return member.value


def _exactly(kind: type) -> Decoder:
    name = "text" if kind is str else "null" if kind is type(None) else kind.__name__

    def decode(value: Any, path: Path) -> Any:
        if type(value) is kind:
            return value
        raise expected(name, value, path)

    return decode


def _or_text(kind: type, parse: Callable[[str], Any], hint: str) -> Decoder:
    def decode(value: Any, path: Path) -> Any:
        if type(value) is kind:
            return value
        if type(value) is str:
            try:
                return parse(value)
            except ValueError:
                pass
        raise expected(f"{kind.__name__} or {hint}", value, path)

    return decode


DECODERS: Final[dict[Any, Decoder]] = {
    None: _exactly(type(None)),
    type(None): _exactly(type(None)),
    bool: _exactly(bool),
    int: _exactly(int),
    float: decode_float,
    str: _exactly(str),
    bytes: _exactly(bytes),
    timedelta: _exactly(timedelta),
    Decimal: decode_decimal,
    datetime: _or_text(datetime, datetime.fromisoformat, "its ISO 8601 text"),
    date: _or_text(date, date.fromisoformat, "its ISO 8601 text"),
    time: _or_text(time, time.fromisoformat, "its ISO 8601 text"),
    UUID: _or_text(UUID, UUID, "its text"),
}
