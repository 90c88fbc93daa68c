"""What a node is handed: its input, the run's context, and everything around it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar
from urllib.parse import quote

from flowcraft.core.events import Write
from flowcraft.core.plan import Key, PlanNode, iteration_of_key
from flowcraft.core.retries import max_attempts
from flowcraft.core.values import copy_value, snapshot
from flowcraft.errors import FlowcraftError

if TYPE_CHECKING:
    from flowcraft.engine.local import LocalRun

In = TypeVar("In")
T = TypeVar("T")

_MISSING: Any = object()
_DELETED: Any = object()
logger = logging.getLogger("flowcraft.node")


class CancelToken:
    """Tells a node, or a whole run, that it should stop.

    Truthy once it is set. A node in a thread looks at it now and then, or waits on it.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._callbacks: list[Callable[[], None]] = []

    def __bool__(self) -> bool:
        return self._event.is_set()

    def cancel(self) -> None:
        """Ask whoever holds the token to stop. May be called from any thread, repeatedly."""
        if not self._event.is_set():
            self._event.set()
            for callback in tuple(self._callbacks):
                callback()

    def is_set(self) -> bool:
        """Whether it is time to stop."""
        return self._event.is_set()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Block this thread until the token is set; false if the time ran out first."""
        return self._event.wait(timeout_seconds)

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` when the token is set, in the thread that sets it.

        Returns:
            A function that takes this back.
        """
        self._callbacks.append(callback)
        if self._event.is_set():
            callback()

        def forget() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return forget


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
        value = self.overlay.get(key, _MISSING)
        if value is _MISSING:
            value = self._read(key, _MISSING)
        if value is _MISSING or value is _DELETED:
            return default
        return copy_value(value, registered=self._registered)

    def has(self, key: str) -> bool:
        """Whether the key has a value."""
        value = self.overlay.get(key, _MISSING)
        if value is _MISSING:
            value = self._read(key, _MISSING)
        return value is not _MISSING and value is not _DELETED

    def set(self, key: str, value: Any) -> None:
        """Write a key when the node succeeds."""
        stored = snapshot(value, registered=self._registered, where=f"context['{_own(key)}']")
        self.writes.append(Write("set", key, stored))
        self.overlay[key] = stored

    def delete(self, key: str) -> bool:
        """Remove a key when the node succeeds; whether it was there."""
        present = self.has(_own(key))
        self.writes.append(Write("delete", key))
        self.overlay[key] = _DELETED
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
        if current is None or current is _DELETED:
            current = 0
        if isinstance(current, bool) or not isinstance(current, int | float):
            kind = type(current).__name__
            raise FlowcraftError(f"context.add('{key}'): the key holds a {kind}, not a number.")
        self.overlay[key] = current + by

    def roll_back(self, count: int) -> None:
        """Take back all writes but the first ``count``."""
        kept = self.writes[:count]
        self.writes, self.overlay = [], {}
        for write in kept:
            if write.op == "set":
                self.set(write.key, write.value)
            elif write.op == "delete":
                self.delete(write.key)
            else:
                self.add(write.key, write.value)


def _own(key: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"Context keys are text, not {type(key).__name__}")
    if key.startswith("_"):
        raise FlowcraftError(
            f"Context keys that begin with an underscore are the engine's: '{key}' cannot be "
            "written by a node. Choose another name."
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


class BaseNodeContext(Generic[In]):
    """What async and plain nodes have in common.

    Attributes:
        input: The node's input, decoded into the annotated type where there is one.
        attempt: This attempt, counted from 1.
        run_id: The run.
        cancelled: Set when the node should stop: its run was cancelled, or it took too long.
        deadline: When the attempt times out; ``None`` without a timeout.
    """

    __slots__ = (
        "_buffer",
        "_cancelled",
        "_item",
        "_key",
        "_node",
        "_run",
        "_seen",
        "_undoes",
        "attempt",
        "deadline",
        "input",
    )
    __flowcraft_context__: ClassVar[bool] = True

    def __init__(
        self, run: LocalRun, node: PlanNode, key: Key, attempt: int, input_: In, seen: int
    ) -> None:
        self._run = run
        self._node = node
        self._key = key
        self._seen = seen
        self._buffer: Buffer | None = None
        self._cancelled: CancelToken | None = None
        self._item: tuple[int, str] | None = None
        self._undoes: str | None = None
        self.input = input_
        self.attempt = attempt
        self.deadline: datetime | None = None

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._run.state.run_id

    @property
    def blueprint_id(self) -> str:
        """The id of the run's blueprint."""
        return self._run.plan.blueprint.id

    @property
    def node_id(self) -> str:
        """The node's id; for an item of a batch its worker and index, ``worker[3]``."""
        return f"{self._item[1]}[{self._item[0]}]" if self._item else self._node.id

    @property
    def iteration(self) -> int:
        """Which round of the innermost loop around the node this is, from 0."""
        vector = iteration_of_key(self._key)
        return vector[-1] if vector else 0

    @property
    def max_attempts(self) -> int:
        """How many attempts the node has in all."""
        return max_attempts(self._node.definition.config)

    @property
    def params(self) -> Mapping[str, Any]:
        """The node's parameters from the blueprint: a copy, which cannot change it."""
        return MappingProxyType(
            {} if self._item else copy_value(dict(self._node.definition.params))
        )

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt at this node and iteration of this run, and no other."""
        parts = [self.run_id, self._node.id, *map(str, iteration_of_key(self._key))]
        # Quoted, so that no two nodes can come to the same key.
        key = ":".join(quote(part, safe=" ") for part in parts)
        if self._undoes is not None:
            key += f"~{quote(self._undoes, safe=' ')}"
        return key if self._item is None else f"{key}#{self._item[0]}"

    @property
    def cancelled(self) -> CancelToken:
        """Set when the node should stop: its run was cancelled, or it took too long."""
        if self._cancelled is None:
            self._cancelled = CancelToken()
        return self._cancelled

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry run, node, attempt and iteration as fields."""
        fields: MutableMapping[str, Any] = {
            "run_id": self.run_id,
            "blueprint_id": self.blueprint_id,
            "node_id": self.node_id,
            "attempt": self.attempt,
            "iteration": self.iteration,
        }
        return logging.LoggerAdapter(logger, fields)

    def dependency(self, key: type[T]) -> T:
        """An object the runtime was given under ``dependencies``.

        Raises:
            FlowcraftError: There is none under this key; the message lists the keys.
        """
        found: T = self._run.session.runtime.dependency(key)
        return found

    def _context_buffer(self) -> Buffer:
        if self._buffer is None:
            codec_for = self._run.session.runtime.options.serializer.codec_for
            self._buffer = Buffer(self._read, codec_for)
        return self._buffer

    def _read(self, key: str, default: Any) -> Any:
        return self._run.read_context(key, self._seen, default)

    def _everything(self) -> dict[str, Any]:
        buffer = self._context_buffer()
        everything = self._run.whole_context(self._seen)
        for key, value in buffer.overlay.items():
            if value is _DELETED:
                everything.pop(key, None)
            else:
                everything[key] = self._run.copied(value)
        return everything

    def _set_deadline(self, when: float | None) -> None:
        if when is not None:
            self.deadline = datetime.fromtimestamp(when, UTC)

    def _commit(self) -> tuple[Write, ...]:
        """The writes to commit with the node's output."""
        return tuple(self._buffer.writes) if self._buffer is not None else ()

    def _roll_back(self, count: int) -> None:
        """Take back all context writes but the first ``count``."""
        if self._buffer is not None:
            self._buffer.roll_back(count)


class NodeContext(BaseNodeContext[In]):
    """What an async node is handed. Annotate ``NodeContext[Order]`` to have the input decoded."""

    __slots__ = ()

    @property
    def context(self) -> NodeStateView:
        """The run's context: shared values by key."""
        return NodeStateView(self._context_buffer(), self._everything)

    async def heartbeat(self, progress: float | None = None, detail: Any = None) -> None:
        """Say that the node is alive, and how far it is (from 0 to 1); gives others a turn."""
        self._run.report_progress(self._key, self.attempt, progress, detail)
        await asyncio.sleep(0)


class SyncNodeContext(BaseNodeContext[In]):
    """What a plain function is handed: the same with blocking methods."""

    __slots__ = ()

    @property
    def context(self) -> SyncNodeStateView:
        """The run's context: shared values by key."""
        return SyncNodeStateView(self._context_buffer(), self._everything)

    def heartbeat(self, progress: float | None = None, detail: Any = None) -> None:
        """Say that the node is alive, and how far it is (from 0 to 1)."""
        self._run.report_progress(self._key, self.attempt, progress, detail)
