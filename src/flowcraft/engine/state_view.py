"""The run's context as nodes see it: what was there when they started, and their own writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowcraft.core.events import Write
from flowcraft.core.reading import is_valid_text
from flowcraft.core.values import copy_value, snapshot
from flowcraft.errors import FlowcraftError

_MISSING: Any = object()
DELETED: Any = object()
"""In a buffer's overlay: the node has deleted the key."""


class Buffer:
    """A node's view of the context: what was there when it started, and its own writes (S8)."""

    __slots__ = ("_read", "_registered", "overlay", "writes")

    def __init__(
        self, read: Callable[[str, Any], Any], registered: Callable[[type], Any] | None
    ) -> None:
        self._read = read
        self._registered = registered
        self.writes: list[Write] = []
        self.overlay: dict[str, Any] = {}

    def get(self, key: str, default: Any = None) -> Any:
        """A copy of the value of a key."""
        value = self.overlay.get(_text(key), _MISSING)
        if value is _MISSING:
            value = self._read(key, _MISSING)
        if value is _MISSING or value is DELETED:
            return default
        return copy_value(value, registered=self._registered)

    def has(self, key: str) -> bool:
        """Whether the key has a value."""
        value = self.overlay.get(_text(key), _MISSING)
        if value is _MISSING:
            value = self._read(key, _MISSING)
        return value is not _MISSING and value is not DELETED

    def set(self, key: str, value: Any) -> None:
        """Write a key when the node succeeds."""
        stored = snapshot(value, registered=self._registered, where=f"context['{_own(key)}']")
        self.writes.append(Write("set", key, stored))
        self.overlay[key] = stored

    def delete(self, key: str) -> bool:
        """Remove a key when the node succeeds; whether it was there."""
        present = self.has(_own(key))
        self.writes.append(Write("delete", key))
        self.overlay[key] = DELETED
        return present

    def add(self, key: str, by: int | float) -> None:
        """Add to a number when the node succeeds, also beside parallel nodes.

        The node itself reads what it knows of plus its own additions.
        """
        if isinstance(by, bool) or not isinstance(by, int | float):
            raise TypeError(f"context.add('{key}', …) takes a number, not {type(by).__name__}")
        self.writes.append(Write("add", _own(key), by))
        current = self.overlay.get(key, _MISSING)
        if current is _MISSING:
            current = self._read(key, None)
        if current is None or current is DELETED:
            current = 0
        if isinstance(current, bool) or not isinstance(current, int | float):
            kind = type(current).__name__
            raise FlowcraftError(f"context.add('{key}'): the key holds a {kind}, not a number.")
        self.overlay[key] = current + by

    def copy(self) -> Buffer:
        """A buffer that begins with the same writes; what is added to one is not in the other."""
        copy = Buffer(self._read, self._registered)
        copy.writes, copy.overlay = self.writes.copy(), self.overlay.copy()
        return copy

    def roll_back(self, count: int) -> None:
        """Take back all writes but the first ``count``."""
        kept = self.writes[:count]
        self.writes, self.overlay = [], {}
        for write in kept:
            self.write(*write)

    def write(self, op: str, key: str, value: Any) -> None:
        """Do again what was written before, or elsewhere."""
        if op == "set":
            self.set(key, value)
        elif op == "delete":
            self.delete(key)
        else:
            self.add(key, value)


def _text(key: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"Context keys are text, not {type(key).__name__}")
    return key


def _own(key: str) -> str:
    if _text(key).startswith("_"):
        raise FlowcraftError(
            f"Context keys that begin with an underscore are the engine's: '{key}' cannot be "
            "written by a node. Choose another name."
        )
    if not is_valid_text(key):
        raise FlowcraftError(
            f"The context key {key!a} holds half of a surrogate pair and cannot be stored. "
            "Choose another name."
        )
    return key


class NodeStateView:
    """The context as async nodes see it. A node reads what was committed before it started.

    Its writes become visible together with its output, or not at all.
    """

    __slots__ = ("_all", "_buffer")

    def __init__(self, buffer: Buffer, everything: Callable[[], dict[str, Any]]) -> None:
        self._buffer = buffer
        self._all = everything

    async def get(self, key: str, default: Any = None) -> Any:
        """A copy of the value of ``key``, or ``default``."""
        return self._buffer.get(key, default)

    async def has(self, key: str) -> bool:
        """Whether ``key`` has a value (``None`` is one)."""
        return self._buffer.has(key)

    async def set(self, key: str, value: Any) -> None:
        """Write a key; raises SerializationError for a value that cannot be stored."""
        self._buffer.set(key, value)

    async def delete(self, key: str) -> bool:
        """Remove a key; whether it was there."""
        return self._buffer.delete(key)

    async def add(self, key: str, by: int | float = 1) -> None:
        """Add ``by`` to a number; parallel nodes lose nothing. The new value is not returned."""
        self._buffer.add(key, by)

    async def to_dict(self) -> dict[str, Any]:
        """A copy of the whole context, engine keys included."""
        return self._all()


class SyncNodeStateView:
    """The context as plain functions see it: as for async nodes, with blocking methods."""

    __slots__ = ("_all", "_buffer")

    def __init__(self, buffer: Buffer, everything: Callable[[], dict[str, Any]]) -> None:
        self._buffer = buffer
        self._all = everything

    def get(self, key: str, default: Any = None) -> Any:
        """A copy of the value of ``key``, or ``default``."""
        return self._buffer.get(key, default)

    def has(self, key: str) -> bool:
        """Whether ``key`` has a value (``None`` is one)."""
        return self._buffer.has(key)

    def set(self, key: str, value: Any) -> None:
        """Write a key; raises SerializationError for a value that cannot be stored."""
        self._buffer.set(key, value)

    def delete(self, key: str) -> bool:
        """Remove a key; whether it was there."""
        return self._buffer.delete(key)

    def add(self, key: str, by: int | float = 1) -> None:
        """Add ``by`` to a number; parallel nodes lose nothing. The new value is not returned."""
        self._buffer.add(key, by)

    def to_dict(self) -> dict[str, Any]:
        """A copy of the whole context, engine keys included."""
        return self._all()
