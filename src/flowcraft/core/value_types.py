"""The types that stored values are made of, and how other types become one of them.

:mod:`flowcraft.core.values` walks; what it does with a single thing it meets stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from inspect import isawaitable, iscoroutinefunction
from typing import Any, Final, Generic, TypeVar
from uuid import UUID  # the type alone: nothing here makes ids
from zoneinfo import ZoneInfo

T = TypeVar("T")

PLAIN: Final[frozenset[type]] = frozenset(
    {type(None), bool, int, float, bytes, Decimal, UUID, date, timedelta}
)
"""Scalars that need no look at all; texts may be broken and times may carry an odd zone."""

EXACT_SCALARS: Final[frozenset[type]] = PLAIN | {str, datetime, time}
"""The immutable types of stored values: instances of exactly these are shared, never copied."""

_SHOWN: Final = 60
_TEXT_ONLY: Final[frozenset[type]] = frozenset({str})

_HELP: Final = (
    "Return plain data (texts, numbers, lists, dicts, dates, bytes, sets), a dataclass or a "
    "pydantic model, or register the type with the serializer: "
    "serializer.register({name}, encode=..., decode=...)."
)


class Refused(Exception):
    """Why a part of a value cannot be stored; the walk adds the path and the cause."""


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """How values of one registered type become plain data and come back.

    Attributes:
        cls: The type; instances of exactly this type are kept, subclasses are not.
        tag: Names the type in stored text, where no class is ever named.
        encode: Gives data that ``snapshot`` accepts; must not change its argument.
        decode: Takes a copy of that data and gives a new, equal instance.
    """

    cls: type[T]
    tag: str
    encode: Callable[[T], Any]
    decode: Callable[[Any], T]

    def encoded(self, item: T) -> Any:
        """The data of an instance; raises ``Refused`` where ``encode`` raises."""
        try:
            return self.encode(item)
        except Exception as error:
            raise Refused(
                f"the registered 'encode' of {type_name(self.cls)} failed: {say(error)}"
            ) from error

    def decoded(self, data: Any) -> T:
        """A new instance; raises ``Refused`` where ``decode`` raises."""
        try:
            return self.decode(data)
        except Exception as error:
            raise Refused(
                f"the registered 'decode' of {type_name(self.cls)} failed: {say(error)}"
            ) from error


CodecLookup = Callable[[type], "Codec[Any] | None"]
"""The ``registered`` hook: the codec of exactly this type, or None."""


def checked_scalar(item: Any) -> Any:
    """An instance of exactly a scalar type, with its text or zone checked."""
    if type(item) is str:
        return checked_text(item)
    if type(item) is datetime or type(item) is time:
        return _with_known_zone(item)
    return item


def checked_text(text: str) -> str:
    """The text itself; raises ``Refused`` where it cannot be written as UTF-8."""
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise Refused(
                f"the text {shown(text)} holds half of a surrogate pair at position "
                f"{error.start} and cannot be written as UTF-8; decode it properly, "
                "or keep it as bytes"
            ) from error
    return text


def _with_known_zone(moment: datetime | time) -> datetime | time:
    # Text can name no zone but a fixed offset or one of the zone database.
    zone = moment.tzinfo
    if zone is None or type(zone) is timezone or (type(zone) is ZoneInfo and zone.key):
        return moment
    offset = moment.utcoffset()
    return moment.replace(tzinfo=None if offset is None else timezone(offset))


def has_plain_keys(data: dict[Any, Any]) -> bool:
    """Whether all keys are ASCII texts, which need no further look."""
    return _TEXT_ONLY.issuperset(map(type, data)) and all(map(str.isascii, data))


def with_text_keys(data: Mapping[Any, Any]) -> dict[str, Any]:
    """The same entries under exact texts; raises ``Refused`` for keys that are not text."""
    checked: dict[str, Any] = {}
    for key, item in data.items():
        text = key.value if isinstance(key, Enum) else key
        if not isinstance(text, str):
            raise Refused(
                f"its key {shown(key)} is {a_type(type(key))}, and keys must be text; "
                "use str(key), or a list of pairs"
            )
        text = checked_text(str.__str__(text))
        if text in checked:
            raise Refused(f"two of its keys become the text {shown(text)}")
        checked[text] = item
    return checked


def _plain_date(item: date) -> date:
    return date(item.year, item.month, item.day)


def _plain_time(item: time) -> time:
    clock = (item.hour, item.minute, item.second, item.microsecond)
    return time(*clock, tzinfo=item.tzinfo, fold=item.fold)


def _plain_datetime(item: datetime) -> datetime:
    clock = (item.hour, item.minute, item.second, item.microsecond)
    return datetime.combine(_plain_date(item), time(*clock, tzinfo=item.tzinfo, fold=item.fold))


# In this order: a datetime is a date too.
_PLAIN_MAKERS: Final[tuple[tuple[Any, Callable[[Any], Any]], ...]] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    ((bytes, bytearray, memoryview), bytes),
    (Decimal, Decimal),
    (datetime, _plain_datetime),
    (date, _plain_date),
    (time, _plain_time),
    (timedelta, lambda item: timedelta(item.days, item.seconds, item.microseconds)),
    (UUID, lambda item: UUID(int=item.int)),
)


def plain_form(item: Any) -> Any:
    """One step towards plain data, for a value that is not stored as it is.

    Gives an enum's value; the fields of a dataclass or pydantic model, or the entries of a
    mapping, as a dict; the items of a list or tuple as a list; the plain scalar for an instance
    of a subclass of one. What is in there may need such a step itself.

    Raises:
        Refused: There is no plain form.
    """
    if isinstance(item, Enum):
        return item.value
    cls = type(item)
    # Known by its shape, so that pydantic need not be installed.
    if hasattr(cls, "model_dump") and hasattr(cls, "model_fields"):
        return _dumped(item)
    if is_dataclass(item) and not isinstance(item, type):
        return {field.name: getattr(item, field.name) for field in fields(item)}
    if isinstance(item, Mapping):
        return with_text_keys(item)
    if isinstance(item, (list, tuple)):
        return list(item)
    for base, make in _PLAIN_MAKERS:
        if isinstance(item, base):
            return make(item)
    raise Refused(_why_not(item))


def _dumped(model: Any) -> Any:
    try:
        # round_trip leaves out computed fields, which the model itself would not accept.
        data = model.model_dump(mode="python", round_trip=True)
    except Exception as error:
        raise Refused(f"model_dump() of {type_name(type(model))} failed: {say(error)}") from error
    # A model with a single root value gives that.
    return with_text_keys(data) if isinstance(data, dict) else data


# What errors say ---------------------------------------------------------------------------


def _why_not(item: Any) -> str:
    """Why something of another type cannot be stored, and what to do about it."""
    cls = type(item)
    reason = f"it is {a_type(cls)}"
    if isinstance(item, type) or iscoroutinefunction(item):
        return f"it is {shown(item)}, not data"
    if isawaitable(item):
        return f"{reason} that nobody awaited; write 'await' where it is made"
    if isinstance(item, Iterator):
        return f"{reason}, which can be read only once; make it a list"
    return f"{reason}. {_HELP.format(name=cls.__qualname__)}"


def type_name(cls: type) -> str:
    """The name a person knows a type by: ``int``, ``shop.orders.Order``."""
    if cls.__module__ == "builtins":
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"


def a_type(cls: type) -> str:
    """The type's name with its article."""
    name = type_name(cls)
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def shown(value: object) -> str:
    """A value as an error shows it: printable, on one line, not longer than 60 characters."""
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        return f"<{type_name(type(value))} of {len(value)}>"
    if isinstance(value, (str, bytes)):
        value = value[:_SHOWN]
    try:
        text = ascii(value)
    except Exception:  # a broken __repr__, or an int too long, must not hide what is being told
        text = f"<{type_name(type(value))}>"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def say(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}"
