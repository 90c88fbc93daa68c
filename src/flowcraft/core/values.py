"""What a value is: the data that nodes return, receive and keep in the context.

A *stored value* is made of ``None``, ``bool``, ``int``, ``float``, ``str``, ``bytes``,
``Decimal``, ``UUID``, ``datetime``, ``date``, ``time``, ``timedelta``, lists, dicts with text
keys, sets, and instances of types the user registered. :func:`snapshot` turns what a node
returned into that form or refuses it; :func:`copy_value` copies what is already in that form.

Both give the receiver a value of its own, so that no node can change another's, and both walk
with a stack of their own, so that depth is bounded by memory and not by the interpreter.
A stored value means the same in process as after a trip through the serializer: whatever
cannot make that trip is refused or brought into a form that can at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, Final

from flowcraft.core.value_types import (
    EXACT_SCALARS,
    PLAIN,
    Codec,
    CodecLookup,
    Refused,
    a_type,
    checked_scalar,
    has_plain_keys,
    plain_form,
    type_name,
    with_text_keys,
)
from flowcraft.errors import SerializationError

__all__ = ["EXACT_SCALARS", "Codec", "CodecLookup", "copy_value", "is_scalar", "snapshot"]

MAX_SET_NESTING: Final = 32
"""Tuples and frozensets inside a set may be nested this deep: hashing them recurses."""

_PATH_ENDS: Final = 8
"""How many steps of a long path are shown at either end of it."""


def is_scalar(value: object) -> bool:
    """Whether a stored value is a scalar, which may be shared because nobody can change it."""
    return type(value) in EXACT_SCALARS


def snapshot(value: Any, *, registered: CodecLookup | None = None, where: str = "value") -> Any:
    """Check a value and give the stored form of it, sharing nothing that can be changed.

    Tuples (named ones too) become lists, other mappings dicts, frozensets sets, bytearrays
    bytes, enums their value, dataclasses and pydantic models dicts of their fields; instances
    of subclasses of scalar types become plain ones. Inside a set, tuples and frozensets stay
    what they are. Zones other than fixed offsets and ``ZoneInfo`` become the fixed offset.

    Args:
        value: What a node returned, or a caller passed.
        registered: Finds the codec of a type the user registered, such as
            ``JsonSerializer().codec_for``.
        where: What the value is, the root of the paths in errors, such as ``output``.

    Raises:
        SerializationError: The value holds something that cannot be stored, a key that is not
            text, text that is not valid Unicode, or itself; the message gives the path.
    """
    cls = type(value)
    if cls in PLAIN or (cls is str and value.isascii()):
        return value
    return _walk(value, PLAIN, lambda item: _store(item, registered), where)


def copy_value(value: Any, *, registered: CodecLookup | None = None) -> Any:
    """Copy a stored value; faster than :func:`snapshot`, which the value must come from.

    Args:
        value: A stored value, from :func:`snapshot` or a serializer.
        registered: The same hook that was given to :func:`snapshot`.

    Raises:
        SerializationError: The value is not a stored value.
    """
    if type(value) in EXACT_SCALARS:
        return value
    return _walk(value, EXACT_SCALARS, lambda item: _copy(item, registered), "value")


class _Frame:
    """A container that is being copied: what is left of the old one, and the new one."""

    __slots__ = ("children", "codec", "key", "source", "target")

    def __init__(
        self,
        source: Any,
        children: Iterator[tuple[Any, Any]],
        target: list[Any] | dict[str, Any],
        codec: Codec[Any] | None = None,
    ) -> None:
        self.source = source  # held, so that its id stays its own
        self.children = children
        self.target: Any = target
        self.codec = codec
        self.key: Any = None

    def finish(self) -> Any:
        return self.target if self.codec is None else self.codec.decoded(self.target[0])

    def step(self) -> str:
        if self.codec is not None or self.key is None:
            return ""
        if type(self.target) is list:
            return f"[{self.key}]"
        return f".{self.key}" if self.key.isidentifier() else f"[{self.key!a}]"


def _walk(root: Any, plain: frozenset[type], convert: Callable[[Any], Any], where: str) -> Any:
    """Copy depth first. ``convert`` gives a finished value, or a frame to fill."""
    stack: list[_Frame] = []
    try:
        done = convert(root)
        if type(done) is not _Frame:
            return done
        stack.append(done)
        on_path = {id(done.source)}
        while True:
            frame = stack[-1]
            inner = _fill(frame, plain, convert)
            if inner is not None:
                if id(inner.source) in on_path:
                    raise Refused(f"this {type_name(type(inner.source))} contains itself")
                on_path.add(id(inner.source))
                stack.append(inner)
                continue
            done = frame.finish()
            stack.pop()
            on_path.discard(id(frame.source))
            if not stack:
                return done
            _put(stack[-1], done)
    except Refused as refused:
        message = f"{_path(where, stack)} cannot be stored: {refused}"
        raise SerializationError(message) from refused.__cause__


def _fill(frame: _Frame, plain: frozenset[type], convert: Callable[[Any], Any]) -> _Frame | None:
    """Copy children until one has to be opened (which is given) or none are left (None)."""
    target: Any = frame.target
    is_list = type(target) is list
    for key, item in frame.children:
        cls = type(item)
        if cls in plain or (cls is str and item.isascii()):
            done = item
        else:
            frame.key = key
            done = convert(item)
            if type(done) is _Frame:
                return done
        if is_list:
            target.append(done)
        else:
            target[key] = done
    return None


def _put(frame: _Frame, done: Any) -> None:
    target: Any = frame.target
    if type(target) is list:
        target.append(done)
    else:
        target[frame.key] = done


def _list_frame(source: Any, items: Iterable[Any]) -> _Frame:
    return _Frame(source, enumerate(items), [])


def _dict_frame(source: Any, data: Mapping[str, Any]) -> _Frame:
    return _Frame(source, iter(data.items()), {})


def _codec_frame(source: Any, codec: Codec[Any]) -> _Frame:
    return _Frame(source, enumerate((codec.encoded(source),)), [], codec)


def _store(item: Any, registered: CodecLookup | None) -> Any:
    """What becomes of one thing that a node returned."""
    cls = type(item)
    if cls is list or cls is tuple:
        return list(item) if PLAIN.issuperset(map(type, item)) else _list_frame(item, item)
    if cls is dict:
        flat = _flat_copy(item)
        if flat is not None:
            return flat
        return _dict_frame(item, item if has_plain_keys(item) else with_text_keys(item))
    if cls in EXACT_SCALARS:
        return checked_scalar(item)
    codec = registered(cls) if registered is not None else None
    if codec is not None:
        return _codec_frame(item, codec)
    if isinstance(item, (set, frozenset)):
        return {_hashable(member, registered, 0) for member in item}
    form = plain_form(item)
    if isinstance(item, Enum) or type(form) not in (dict, list):
        return _store(form, registered)
    return _dict_frame(item, form) if type(form) is dict else _list_frame(item, form)


def _flat_copy(data: dict[Any, Any]) -> dict[str, Any] | None:
    """A copy of the most common dict, ASCII keys to plain scalars; None for any other."""
    copy: dict[str, Any] = {}
    for key, item in data.items():
        cls = type(item)
        if (cls in PLAIN or (cls is str and item.isascii())) and type(key) is str and key.isascii():
            copy[key] = item
        else:
            return None
    return copy


def _hashable(member: Any, registered: CodecLookup | None, depth: int) -> Any:
    """A member of a set: a scalar, or a tuple or frozenset of members."""
    if depth > MAX_SET_NESTING:
        raise Refused(f"a set holds tuples nested more than {MAX_SET_NESTING} deep")
    cls = type(member)
    if cls in PLAIN:
        return member
    if isinstance(member, tuple):
        return tuple(_hashable(part, registered, depth + 1) for part in member)
    if isinstance(member, frozenset):
        return frozenset(_hashable(part, registered, depth + 1) for part in member)
    stored = _store(member, registered)
    if type(stored) not in EXACT_SCALARS:
        raise Refused(
            f"a set holds {a_type(cls)}, and stored sets hold only scalars and tuples of them; "
            "use a list"
        )
    return stored


def _copy(item: Any, registered: CodecLookup | None) -> Any:
    """What becomes of one part of a stored value."""
    cls = type(item)
    if cls is list:
        return item.copy() if EXACT_SCALARS.issuperset(map(type, item)) else _list_frame(item, item)
    if cls is dict:
        flat = EXACT_SCALARS.issuperset(map(type, item.values()))
        return item.copy() if flat else _dict_frame(item, item)
    if cls is set:
        return item.copy()
    if registered is None:
        raise Refused(
            f"{a_type(cls)} is not part of a stored value; pass what snapshot() gave, with the "
            "same 'registered' hook"
        )
    # An instance of a registered type, or what its codec gave: any data that can be stored.
    return _store(item, registered)


def _path(where: str, stack: list[_Frame]) -> str:
    steps = [step for step in (frame.step() for frame in stack) if step]
    if len(steps) > 2 * _PATH_ENDS:
        left_out = len(steps) - 2 * _PATH_ENDS
        steps[_PATH_ENDS:-_PATH_ENDS] = [f"...({left_out} levels)..."]
    return where + "".join(steps)
