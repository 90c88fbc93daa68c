"""How stored values become text and come back.

JSON, with objects like ``{"$type": "datetime", "value": "2024-05-01T12:00:00"}`` for what JSON
does not have. No class is ever imported, and none is ever named, by stored text: a tag means
what this process says it means, or the text is refused.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from functools import partial
from math import isfinite
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flowcraft.core.value_types import (
    EXACT_SCALARS,
    Codec,
    Refused,
    plain_form,
    say,
    shown,
    type_name,
)
from flowcraft.core.values import MAX_SET_NESTING
from flowcraft.engine.json_text import read_deep, write_deep
from flowcraft.engine.typing_input import restored
from flowcraft.errors import SerializationError

T = TypeVar("T")

_TAG: Final = "$type"
_VALUE: Final = "value"
_TAG_TEXT: Final = '"$type"'
_TAG_KEY: Final = '"$type":'
_MICROSECOND: Final = timedelta(microseconds=1)

_PLAIN_INT_BITS: Final = 2_000
"""Longer integers are written in hexadecimal: Python limits the length of decimal ones."""


class Serializer(Protocol):
    """Writes stored values as text and reads them back; pass another one to the runtime.

    An implementation must give back what it was given for every value that ``snapshot`` gives
    (see :mod:`flowcraft.core.values`), and raise SerializationError where it cannot.
    """

    def dumps(self, value: Any) -> str:
        """Write a stored value as text that can be encoded as UTF-8."""

    def loads(self, text: str) -> Any:
        """Read text back into a stored value."""

    def register(
        self,
        cls: type[T],
        tag: str | None = None,
        *,
        encode: Callable[[T], Any] | None = None,
        decode: Callable[[Any], T] | None = None,
    ) -> type[T]:
        """Keep instances of a type what they are."""

    def codec_for(self, cls: type) -> Codec[Any] | None:
        """The codec of exactly this type if it is registered: the hook of ``snapshot``."""


class _Tagged(dict[str, Any]):
    """An object with a tag of ours, as opposed to a user's dict with such a key."""


class JsonSerializer:
    """The default serializer: compact JSON text, any depth, exact round trips."""

    def __init__(self) -> None:
        self._by_type: dict[type, Codec[Any]] = {}
        self._by_tag: dict[str, Codec[Any]] = {}
        self._decoder = json.JSONDecoder(object_hook=self._untagged)

    def codec_for(self, cls: type) -> Codec[Any] | None:
        """The codec of exactly this type, or None: the ``registered`` hook of ``snapshot``."""
        return self._by_type.get(cls)

    def register(
        self,
        cls: type[T],
        tag: str | None = None,
        *,
        encode: Callable[[T], Any] | None = None,
        decode: Callable[[Any], T] | None = None,
    ) -> type[T]:
        """Keep instances of a type what they are, instead of refusing or flattening them.

        Args:
            cls: The type; instances of subclasses are not included.
            tag: What names it in stored text; its class name by default. Never change it while
                runs are stored.
            encode: Gives the data of an instance: anything that can be stored itself.
            decode: Makes an instance from a copy of that data. Both may be left out for
                dataclasses, enums and pydantic models.

        Returns:
            ``cls``, so that this can be used as a decorator.

        Raises:
            SerializationError: The type or tag is taken, or the functions are missing.
        """
        name = cls.__name__ if tag is None else tag
        codec = _codec(cls, name, encode, decode)
        present = self._by_tag.get(name) or self._by_type.get(cls)
        if present is not None and _is_same(present, codec):
            return cls
        if present is not None:
            raise SerializationError(
                f"{type_name(cls)} cannot be registered as '{name}': "
                f"{type_name(present.cls)} is registered as '{present.tag}'"
            )
        self._by_type[cls] = self._by_tag[name] = codec
        return cls

    def dumps(self, value: Any) -> str:
        """Write a stored value as JSON text.

        Args:
            value: A value from ``snapshot``; other values are not checked here (of keys that
                are not text, say, only the text would be kept).

        Raises:
            SerializationError: The value is not a stored value.
        """
        try:
            return self._dumps_fast(value)
        except (RecursionError, TypeError, ValueError):
            # Too deep, a number that JSON cannot hold, a key that is not text or looks like a tag.
            pass
        except Refused as refused:
            raise _not_written(refused) from refused
        try:
            return write_deep(value, self._prepared)
        except (RecursionError, Refused) as refused:
            raise _not_written(refused) from refused

    def loads(self, text: str) -> Any:
        """Read JSON text back into the value it was written from.

        Raises:
            SerializationError: The text is not JSON, or has a tag that nobody registered here.
        """
        try:
            return self._decoder.decode(text) if _TAG_TEXT in text else json.loads(text)
        except RecursionError:
            pass
        except (ValueError, TypeError, Refused) as error:
            raise _not_read(text, error) from error
        try:
            return read_deep(text, self._untagged)
        except (RecursionError, ValueError, Refused) as error:
            raise _not_read(text, error) from error

    def _dumps_fast(self, value: Any) -> str:
        tags = 0

        def tagged(item: Any) -> Any:
            nonlocal tags
            plain = self._plain(item)
            tags += type(plain) is _Tagged
            return plain

        text = json.JSONEncoder(
            ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=tagged
        ).encode(value)
        # A quote within a text is escaped, so this can only be a key, ours or the user's.
        if text.count(_TAG_KEY) != tags:
            raise ValueError("a key of the user's looks like a tag")
        return text

    def _prepared(self, item: Any) -> Any:
        """The same value in terms of JSON, one level of it: for ``write_deep``."""
        cls = type(item)
        if cls is int:
            big = item.bit_length() > _PLAIN_INT_BITS
            return _Tagged({_TAG: "int", _VALUE: hex(item)}) if big else item
        if cls is float:
            return item if isfinite(item) else _Tagged({_TAG: "float", _VALUE: repr(item)})
        if cls is dict and _TAG in item:
            return _Tagged({_TAG: "dict", _VALUE: list(item.items())})
        if cls is tuple:
            return list(item)
        if item is None or isinstance(item, (bool, str, int, float, list, dict)):
            return item
        return self._plain(item)

    def _plain(self, item: Any) -> Any:
        """A value that JSON does not have, as an object with a tag or in its plain form."""
        codec = self._by_type.get(type(item))
        if codec is not None:
            return _Tagged({_TAG: codec.tag, _VALUE: _unmasked(codec.encoded, item)})
        if isinstance(item, (set, frozenset)):
            return self._tagged_members("set", item, 0)
        write = _WRITERS.get(type(item))
        if write is None:
            return plain_form(item)  # a codec may give any data that can be stored
        tag, data = write(item)
        return _Tagged({_TAG: tag, **data})

    def _tagged_members(self, tag: str, members: Any, depth: int) -> dict[str, Any]:
        """A set, or a tuple or frozenset in it; sorted, so that equal sets give equal text."""
        if depth > MAX_SET_NESTING:
            raise Refused(f"a set holds tuples nested more than {MAX_SET_NESTING} deep")
        inner = [self._tagged_member(member, depth + 1) for member in members]
        return _Tagged(
            {_TAG: tag, _VALUE: inner if tag == "tuple" else sorted(inner, key=self.dumps)}
        )

    def _tagged_member(self, member: Any, depth: int) -> Any:
        if isinstance(member, tuple):
            return self._tagged_members("tuple", member, depth)
        if isinstance(member, frozenset):
            return self._tagged_members("frozenset", member, depth)
        return member

    def _untagged(self, data: dict[str, Any]) -> Any:
        """The value of an object that may have a tag; its parts are values already."""
        if _TAG not in data:
            return data
        tag = data[_TAG]
        if type(tag) is not str:
            raise Refused(f"a '{_TAG}' is {shown(tag)} where the name of a type is expected")
        codec = self._by_tag.get(tag)
        try:
            if codec is not None:
                return _unmasked(codec.decoded, data[_VALUE])
            read = _READERS.get(tag)
            if read is not None:
                return read(data)
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:
            raise Refused(f"a malformed '{tag}': {say(error)}") from error
        raise Refused(
            f"the type '{tag}' is not known here; register it in this process as well: "
            f"serializer.register(cls, tag={tag!r})"
        )


def _unmasked(convert: Callable[[Any], Any], item: Any) -> Any:
    """Call a codec, and let it say that the stack is used up: there is a way for that."""
    try:
        return convert(item)
    except Refused as refused:
        if isinstance(refused.__cause__, RecursionError):
            raise refused.__cause__ from None
        raise


def _not_written(error: BaseException) -> SerializationError:
    return SerializationError(f"the value cannot be written as text: {_reason(error)}")


def _not_read(text: Any, error: BaseException) -> SerializationError:
    return SerializationError(
        f"stored text cannot be read back: {_reason(error)} (the text: {shown(text)})"
    )


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, (Refused, json.JSONDecodeError)) else say(error)


# The types that JSON does not have --------------------------------------------------------


def _write_moment(tag: str, moment: Any) -> tuple[str, dict[str, Any]]:
    data: dict[str, Any] = {_VALUE: moment.isoformat()}
    if isinstance(moment.tzinfo, ZoneInfo):
        data["zone"] = moment.tzinfo.key
    elif (offset := moment.utcoffset()) is not None and offset.microseconds:
        # Python takes the text of an offset below one second for UTC.
        data["offset"] = offset // _MICROSECOND
    if moment.fold:
        data["fold"] = 1
    return tag, data


def _read_moment(cls: Any, data: dict[str, Any]) -> Any:
    moment = cls.fromisoformat(data[_VALUE])
    zone: tzinfo | None = moment.tzinfo
    if "zone" in data:
        zone = _zone(data["zone"])
    elif "offset" in data:
        zone = timezone(data["offset"] * _MICROSECOND)
    return moment.replace(tzinfo=zone, fold=data.get("fold", 0))


def _zone(key: str) -> ZoneInfo:
    try:
        return ZoneInfo(key)
    except ZoneInfoNotFoundError as error:
        raise Refused(
            f"the time zone {key!r} is not known here; install the package 'tzdata'"
        ) from error


def _read_dict(data: dict[str, Any]) -> dict[str, Any]:
    entries = dict(data[_VALUE])
    if not all(type(key) is str for key in entries):
        raise TypeError("keys must be text")
    return entries


def _read_members(make: Callable[[Any], Any], data: dict[str, Any]) -> Any:
    members = make(data[_VALUE])
    if _nesting(members) > MAX_SET_NESTING + 1:
        raise ValueError("nested too deeply")
    return members


def _nesting(member: Any) -> int:
    # Inner ones were checked when they were read, so this goes no deeper than the limit.
    if not isinstance(member, (tuple, frozenset, set)):
        return 0
    return 1 + max(map(_nesting, member), default=0)


_Writer = Callable[[Any], tuple[str, dict[str, Any]]]
_WRITERS: Final[dict[type, _Writer]] = {
    datetime: partial(_write_moment, "datetime"),
    time: partial(_write_moment, "time"),
    date: lambda item: ("date", {_VALUE: item.isoformat()}),
    timedelta: lambda item: ("timedelta", {_VALUE: item // _MICROSECOND}),
    Decimal: lambda item: ("decimal", {_VALUE: str(item)}),
    UUID: lambda item: ("uuid", {_VALUE: str(item)}),
    bytes: lambda item: ("bytes", {_VALUE: b64encode(item).decode("ascii")}),
}

_READERS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "datetime": partial(_read_moment, datetime),
    "time": partial(_read_moment, time),
    "date": lambda data: date.fromisoformat(data[_VALUE]),
    "timedelta": lambda data: data[_VALUE] * _MICROSECOND,
    "decimal": lambda data: Decimal(data[_VALUE]),
    "uuid": lambda data: UUID(data[_VALUE]),
    "bytes": lambda data: b64decode(data[_VALUE], validate=True),
    "int": lambda data: int(data[_VALUE], 16),
    "float": lambda data: float(data[_VALUE]),
    "dict": _read_dict,
    "set": partial(_read_members, set),
    "frozenset": partial(_read_members, frozenset),
    "tuple": partial(_read_members, tuple),
}


# Registered types -------------------------------------------------------------------------


def _codec(
    cls: type[T],
    tag: str,
    encode: Callable[[T], Any] | None,
    decode: Callable[[Any], T] | None,
) -> Codec[T]:
    if not isinstance(cls, type):
        raise SerializationError(f"only a class can be registered, not {shown(cls)}")
    if cls in EXACT_SCALARS or cls in (list, tuple, dict, set, frozenset):
        raise SerializationError(f"{type_name(cls)} is stored already and needs no registration")
    if tag in _READERS or not isinstance(tag, str) or not tag:
        raise SerializationError(
            f"{type_name(cls)} cannot be registered as {tag!r}: the tag must be a text that is "
            "not empty and not one of the serializer's own"
        )
    if encode is not None and decode is not None:
        return Codec(cls, tag, encode, decode)
    if encode is not None or decode is not None or not _knows_itself(cls):
        raise SerializationError(
            f"{type_name(cls)} needs both 'encode' and 'decode' to be registered; only "
            "dataclasses, enums and pydantic models can do without"
        )
    return Codec(cls, tag, plain_form, partial(restored, cls))


def _is_same(one: Codec[Any], other: Codec[Any]) -> bool:
    # The 'decode' of a class that knows itself is made anew each time.
    decodes_alike = one.decode is other.decode or one.encode is plain_form
    return (one.cls, one.tag, one.encode) == (other.cls, other.tag, other.encode) and decodes_alike


def _knows_itself(cls: type) -> bool:
    return is_dataclass(cls) or issubclass(cls, Enum) or hasattr(cls, "model_validate")
