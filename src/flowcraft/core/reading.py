"""Read JSON-like data field by field, collecting every problem with its place.

A :class:`Reader` never raises: what is wrong becomes a :class:`Problem`, what can be read is
read. Places are only put together when there is a problem, since most documents have none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from flowcraft.errors import Problem

MAX_DEPTH: Final = 200
"""Levels to which values inside a blueprint may be nested: comparing, hashing and writing them
recurses in the standard library, whose stack is limited."""

MAX_BITS: Final = 14_000
"""Size of whole numbers: longer ones (4,300 digits) are refused by Python's JSON reader."""

# The usual type comes first: asking for the abstract one takes ten times as long.
MAPPINGS: Final = (dict, Mapping)
_CONTAINERS: Final = (dict, list, tuple, Mapping)
_SMALL: Final = 2**53

Step = str | int
Refuse = Callable[[tuple[Step, ...], str], None]


def format_place(steps: Sequence[Step]) -> str:
    """A path into a document as people write it: ``nodes[2].config.maxRetries``."""
    parts: list[str] = []
    for step in steps:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif step.replace("-", "_").isidentifier():
            parts.append(f".{step}" if parts else step)
        else:
            parts.append(f"[{step!r}]")
    return "".join(parts)


def kind_of(value: object) -> str:
    """What a value is, in the words of JSON, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {shown(value)}"
    if isinstance(value, int | float):
        return f"the number {shown(value)}"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return f"a Python {type(value).__name__}"


def shown(value: object) -> str:
    """A scalar as messages show it: quoted if it is text, and never long."""
    if isinstance(value, int) and value.bit_length() > 200:
        return "of more than 60 digits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]}…{text[-15:]}"


def is_valid_text(text: str) -> bool:
    """Whether a text can be written as UTF-8: lone halves of surrogate pairs cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Reader:
    """Reads fields of the object it is at, and keeps the problems.

    Attributes:
        problems: What was wrong so far, in document order.
        at: The path of the object whose fields are being read.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.at: tuple[Step, ...] = ()

    def problem(self, message: str, *steps: Step) -> None:
        """Note a problem at ``steps`` below the current object."""
        self.problems.append(Problem(format_place((*self.at, *steps)), message))

    def text(self, data: Mapping[str, Any], name: str) -> str | None:
        """A required text that is not empty; ``None`` and a problem if there is none."""
        value = data.get(name)
        if value is None:
            self.problem("is missing", name)
        elif not isinstance(value, str):
            self.problem(f"must be text, not {kind_of(value)}", name)
        elif not value:
            self.problem("must not be empty", name)
        elif not is_valid_text(value):
            self.problem("is not valid Unicode: it holds half of a surrogate pair", name)
        else:
            return value
        return None

    def optional_text(self, data: Mapping[str, Any], name: str) -> str | None:
        """A text, or ``None`` where it is absent, null or empty."""
        value = data.get(name)
        return self.text(data, name) if value is not None and value != "" else None

    def number(self, data: Mapping[str, Any], name: str, default: Any) -> Any:
        """A finite number of at least 0, or the default where it is absent or null."""
        value = data.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.problem(f"must be a number, not {kind_of(value)}", name)
        elif isinstance(value, float) and not math.isfinite(value):
            self.problem(f"must be a finite number, not {value}", name)
        elif value < 0:
            self.problem(f"must not be negative, but is {shown(value)}", name)
        elif isinstance(value, int) and value.bit_length() > 53:
            self.problem("is too large a number", name)
        else:
            return value
        return default

    def whole(self, data: Mapping[str, Any], name: str, default: int) -> int:
        """A whole number of at least 0; ``3.0`` is one, since JSON has one kind of number."""
        value = self.number(data, name, default)
        if value != int(value):
            self.problem(f"must be a whole number, not {shown(value)}", name)
            return default
        return int(value)

    def flag(self, data: Mapping[str, Any], name: str, default: bool) -> bool:
        """True or false."""
        value = data.get(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.problem(f"must be true or false, not {kind_of(value)}", name)
        return default

    def choice(self, data: Mapping[str, Any], name: str, choices: Sequence[str]) -> Any:
        """One of some texts, or ``None`` where it is absent, null or none of them."""
        value = data.get(name)
        if value is None or (isinstance(value, str) and value in choices):
            return value
        allowed = " or ".join(f"'{choice}'" for choice in choices)
        self.problem(f"must be {allowed}, not {kind_of(value)}", name)
        return None

    def texts(self, data: Mapping[str, Any], name: str) -> tuple[str, ...]:
        """A list of texts that are not empty."""
        value = data.get(name)
        if value is None:
            return ()
        if not isinstance(value, list | tuple):
            self.problem(f"must be a list of texts, not {kind_of(value)}", name)
            return ()
        for index, item in enumerate(value):
            if not isinstance(item, str) or not item:
                self.problem(f"must be a text that is not empty, not {kind_of(item)}", name, index)
        return tuple(item for item in value if isinstance(item, str) and item)

    def mapping(self, data: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
        """An object as it is, or ``None`` where it is absent or null."""
        value = data.get(name)
        if value is None or isinstance(value, MAPPINGS):
            return value
        self.problem(f"must be an object, not {kind_of(value)}", name)
        return None

    def members(self, data: Mapping[str, Any], name: str) -> list[tuple[Step, Mapping[str, Any]]]:
        """The objects in a list, or of a mapping, with their index or key."""
        value = data.get(name)
        pairs: list[tuple[Any, Any]]
        if isinstance(value, Mapping):
            pairs = list(value.items())
        elif isinstance(value, list | tuple):
            pairs = list(enumerate(value))
        else:
            if value is not None:
                self.problem(f"must be a list, not {kind_of(value)}", name)
            return []
        for step, item in pairs:
            if not isinstance(item, MAPPINGS):
                self.problem(f"must be an object, not {kind_of(item)}", name, _as_step(step))
        return [(_as_step(step), item) for step, item in pairs if isinstance(item, MAPPINGS)]

    def plain(self, value: Any, *steps: Step) -> Any:
        """A copy of a plain JSON value; what is not one becomes a problem."""
        return copy_plain(value, lambda below, message: self.problem(message, *steps, *below))

    def plain_items(self, value: Mapping[str, Any], *steps: Step) -> dict[str, Any]:
        """A copy of an object of plain JSON values."""
        if all(
            type(key) is str and key.isascii() and _is_simple(item) for key, item in value.items()
        ):
            return dict(value)
        copied: dict[str, Any] = self.plain(value, *steps)
        return copied

    def unknown(self, data: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any] | None:
        """A copy of the fields that are not known, or ``None`` if there are none."""
        if data.keys() <= known:
            return None
        return self.plain_items({key: data[key] for key in data if key not in known})


def _is_simple(item: Any) -> bool:
    """Whether a value may be taken as it is, decided fast; false only means to look closer."""
    kind = type(item)
    if kind is str:
        return item.isascii()  # type: ignore[no-any-return]
    return item is None or kind is bool or (kind is int and -_SMALL < item < _SMALL)


class _Frame(NamedTuple):
    """A container under way: where it comes from, its copy, and its path as linked pairs."""

    source: Any
    copy: Any
    path: Any
    depth: int


def copy_plain(value: Any, refuse: Refuse, max_depth: int = MAX_DEPTH) -> Any:
    """Copy a value made of plain JSON values, sharing nothing that can be changed.

    Tuples become lists, other mappings dicts, and instances of subclasses of text and numbers
    plain ones. Anything else is reported to ``refuse`` with its path and becomes ``None``; so
    does what is nested deeper than ``max_depth``, which also ends values that hold themselves.
    Takes no stack, however deep the value is.
    """
    return _Copying(refuse, max_depth).run(value)


class _Copying:
    def __init__(self, refuse: Refuse, max_depth: int) -> None:
        self._refuse = refuse
        self._max_depth = max_depth
        self._todo: list[_Frame] = []

    def run(self, value: Any) -> Any:
        copy = self._item(value, None, 0)
        while self._todo:
            frame = self._todo.pop()
            if isinstance(frame.source, MAPPINGS):
                self._fill_dict(frame)
            else:
                frame.copy.extend(
                    self._item(item, (frame.path, index), frame.depth)
                    for index, item in enumerate(frame.source)
                )
        return copy

    def _fill_dict(self, frame: _Frame) -> None:
        for key, item in frame.source.items():
            if isinstance(key, str) and is_valid_text(key):
                copy = self._item(item, (frame.path, key), frame.depth)
                frame.copy[str.__str__(key)] = copy
            else:
                self._refuse(_steps((frame.path, _as_step(key))), "the key is not valid text")

    def _item(self, item: Any, path: Any, depth: int) -> Any:
        """The copy of a value; a container's is empty, to be filled later."""
        if _is_simple(item):
            return item
        if isinstance(item, _CONTAINERS):
            if depth >= self._max_depth:
                message = f"is nested deeper than {self._max_depth} levels, or holds itself"
                self._refuse(_steps(path)[:8], message)
                return None
            copy: Any = {} if isinstance(item, MAPPINGS) else []
            self._todo.append(_Frame(item, copy, path, depth + 1))
            return copy
        copy, message = _plain_scalar(item)
        if message:
            self._refuse(_steps(path), message)
        return copy


def _plain_scalar(item: Any) -> tuple[Any, str]:
    if isinstance(item, str):
        if is_valid_text(item):
            return str.__str__(item), ""
        return None, "is not valid Unicode: it holds half of a surrogate pair"
    if isinstance(item, int):
        return (int(item), "") if item.bit_length() <= MAX_BITS else (None, "is too large")
    if isinstance(item, float):
        if math.isfinite(item):
            return float(item), ""
        return None, f"must be a finite number, not {item}: JSON has no other"
    return None, f"must be a plain JSON value, not {kind_of(item)}"


def _as_step(key: object) -> Step:
    return key if isinstance(key, str | int) else repr(key)


def _steps(path: Any) -> tuple[Step, ...]:
    """The steps of a path kept as pairs of the path above and the last step."""
    steps: list[Step] = []
    while path is not None:
        path, step = path
        steps.append(step)
    return tuple(reversed(steps))
