"""JSON text of any depth, written and read with a stack instead of recursion.

The standard library's JSON is much faster but gives up at the interpreter's recursion limit,
and it cannot be told what to do with NaN or integers of thousands of digits. These two take
over where it gives up, and agree with it everywhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from json import JSONDecodeError, JSONDecoder, JSONEncoder
from typing import Any, Final, NoReturn

from flowcraft.core.value_types import Refused, a_type

Prepare = Callable[[Any], Any]
"""Turns a value into one that JSON has: None, bool, int, float, str, list or dict."""

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_SCALARS: Final = JSONDecoder()
_texts: Final = JSONEncoder(ensure_ascii=False).encode
_END: Final = object()


def write_deep(value: Any, prepare: Prepare) -> str:
    """Write compact JSON text; ``prepare`` is asked about every value before it is written.

    Raises:
        Refused: A container holds itself, or a dict has a key that is not text.
    """
    out: list[str] = []
    stack: list[tuple[Iterator[str], Any, Iterator[Any]]] = []
    on_path: set[int] = set()
    item = prepare(value)
    while True:
        if isinstance(item, (list, dict)):
            if id(item) in on_path:
                raise Refused("a container contains itself")
            on_path.add(id(item))
            stack.append(_opened(item))
        else:
            out.append(_scalar_text(item))
        while stack:
            before, container, items = stack[-1]
            item = next(items, _END)
            if item is not _END:
                out.append(next(before))
                break
            out.append(_closing(container))
            on_path.discard(id(container))
            stack.pop()
        else:
            return "".join(out)
        item = prepare(item)


def _opened(container: Any) -> tuple[Iterator[str], Any, Iterator[Any]]:
    """What is written before each child, the container, and its children."""
    if isinstance(container, dict):
        return _before_entries(container), container, iter(container.values())
    return _before_items(), container, iter(container)


def _before_items() -> Iterator[str]:
    yield "["
    while True:
        yield ","


def _before_entries(container: dict[Any, Any]) -> Iterator[str]:
    mark = "{"
    for key in container:
        if not isinstance(key, str):
            raise Refused(f"its key {key!r} is {a_type(type(key))}, and keys must be text")
        yield f"{mark}{_texts(key)}:"
        mark = ","


def _closing(container: Any) -> str:
    if isinstance(container, dict):
        return "}" if container else "{}"
    return "]" if container else "[]"


def _scalar_text(item: Any) -> str:
    if item is None:
        return "null"
    if item is True:
        return "true"
    if item is False:
        return "false"
    if isinstance(item, str):
        return _texts(item)
    return int.__repr__(item) if isinstance(item, int) else float.__repr__(item)


def read_deep(text: str, object_hook: Callable[[dict[str, Any]], Any]) -> Any:
    """Read JSON text; ``object_hook`` is given every object, inner ones first.

    Raises:
        JSONDecodeError: The text is not JSON; it says where.
    """
    reader = _Reader(text)
    stack: list[tuple[Any, str]] = []  # open containers, and the key that waits for a value
    while True:
        done = reader.value()
        if done is _END:
            container, key = reader.opened()
            if container is not None:
                stack.append((container, key))
                continue
            done = object_hook({}) if reader.closed == "}" else []
        while stack:
            container, key = stack.pop()
            _place(container, key, done)
            following = reader.after_value(container)
            if following is not None:
                stack.append((container, following))
                break
            done = object_hook(container) if isinstance(container, dict) else container
        else:
            reader.finish()
            return done


def _place(container: Any, key: str, item: Any) -> None:
    if isinstance(container, dict):
        container[key] = item
    else:
        container.append(item)


class _Reader:
    """A position in a text, and what can stand there."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.closed = ""

    def value(self) -> Any:
        """The scalar at the position, or _END where a container begins."""
        mark = self._peek()
        return _END if mark in ("[", "{") else self._scalar()

    def opened(self) -> tuple[Any, str]:
        """Enter a container: it and its first key; None for it if it is empty."""
        mark = self._peek()
        self.at += 1
        self.closed = "]" if mark == "[" else "}"
        if self._peek() == self.closed:
            self.at += 1
            return None, ""
        return ([], "") if mark == "[" else ({}, self._key())

    def after_value(self, container: Any) -> str | None:
        """Pass a comma and give the next key (empty in lists), or pass the end and give None."""
        mark = self._peek()
        is_dict = isinstance(container, dict)
        if mark == ",":
            self.at += 1
            return self._key() if is_dict else ""
        if mark == ("}" if is_dict else "]"):
            self.at += 1
            return None
        self._fail("Expecting ',' delimiter")

    def finish(self) -> None:
        if self._peek():
            self._fail("Extra data")

    def _peek(self) -> str:
        space = _SPACE.match(self.text, self.at)
        self.at = space.end() if space else self.at
        return self.text[self.at : self.at + 1]

    def _key(self) -> str:
        if self._peek() != '"':
            self._fail("Expecting property name enclosed in double quotes")
        key: str = self._scalar()
        if self._peek() != ":":
            self._fail("Expecting ':' delimiter")
        self.at += 1
        return key

    def _scalar(self) -> Any:
        done, self.at = _SCALARS.raw_decode(self.text, self.at)
        return done

    def _fail(self, message: str) -> NoReturn:
        raise JSONDecodeError(message, self.text, self.at)
