"""What a node in a process of its own is handed: the same, with the parent behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from flowcraft.core.values import copy_value, snapshot
from flowcraft.engine.blobs import Blobs, SyncBlobs
from flowcraft.engine.context import BaseNodeContext, NodeContext, SyncNodeContext
from flowcraft.engine.isolated_blobs import IsolatedBlobs, IsolatedSyncBlobs
from flowcraft.engine.isolated_link import Link
from flowcraft.engine.state_view import DELETED, Buffer, NodeStateView
from flowcraft.engine.wire import ChildWire, Message
from flowcraft.errors import FlowcraftError
from flowcraft.ports.context import AsyncContext

if TYPE_CHECKING:
    from flowcraft.engine.attempt import Attempt

In = TypeVar("In")
T = TypeVar("T")

_MISSING: Any = object()


class Facts(NamedTuple):
    """What a node is told about where it runs; see :class:`NodeContext`."""

    run_id: str
    blueprint_id: str
    node_id: str
    iteration: int
    attempt: int
    max_attempts: int
    idempotency_key: str


class Place:
    """Where the node runs, seen from its own process.

    What was committed before a node started does not change for it (S8): each key is asked for
    once.

    Args:
        link: The line to the parent.
        wire: Reads and writes values.
        facts: What does not change.
        params: The node's parameters.

    Attributes:
        deadline: When the attempt times out, in seconds since the epoch.
    """

    def __init__(
        self, link: Link, wire: ChildWire, facts: Facts, params: Mapping[str, Any]
    ) -> None:
        self.wire = wire
        self.facts = facts
        self.params = params
        self.deadline: float | None = None
        self._link = link
        self._known: dict[str, Any] = {}
        self._all: dict[str, Any] | None = None

    def read(self, key: str, default: Any) -> Any:
        """The value of a key; asks for it where it was not fetched before."""
        if key not in self._known:
            self._keep(key, self._link.ask({"is": "get", "key": key}))
        value = self._known[key]
        return default if value is _MISSING else value

    async def fetch(self, key: str) -> None:
        """Have the value of a key at hand."""
        if key not in self._known:
            self._keep(key, await self._link.ask_async({"is": "get", "key": key}))

    def everything(self) -> dict[str, Any]:
        """The whole context; not a copy."""
        if self._all is None:
            self._all = self.wire.unpack(self._link.ask({"is": "all"}))
        return self._all

    async def fetch_all(self) -> None:
        """Have the whole context at hand."""
        if self._all is None:
            self._all = self.wire.unpack(await self._link.ask_async({"is": "all"}))

    async def ask_async(self, message: Message) -> Message:
        """Ask the parent something, while others have their turn."""
        return await self._link.ask_async(message)

    def ask(self, message: Message) -> Message:
        """Ask the parent something. May be called from any thread."""
        return self._link.ask(message)

    def report(self, progress: float | None, detail: Any) -> None:
        """Tell how far the node is."""
        told = [progress, snapshot(detail, registered=self.wire.codec_for, where="detail")]
        self._link.tell({"is": "progress", "value": self.wire.dumps(told)})

    def _keep(self, key: str, answer: Message) -> None:
        self._known[key] = self.wire.unpack(answer) if "value" in answer else _MISSING


class _Isolated(BaseNodeContext[In]):
    """What the contexts of an isolated node have in common."""

    __slots__ = ()

    def __init__(self, place: Place, input_: In) -> None:
        super().__init__(cast("Attempt", place), input_)

    @property
    def _place(self) -> Place:
        return cast("Place", self._origin)

    @property
    def attempt(self) -> int:
        """This attempt, counted from 1."""
        return self._place.facts.attempt

    @property
    def deadline(self) -> datetime | None:
        """When the attempt times out; ``None`` without a timeout."""
        when = self._place.deadline
        return None if when is None else datetime.fromtimestamp(when, UTC)

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._place.facts.run_id

    @property
    def blueprint_id(self) -> str:
        """The id of the run's blueprint."""
        return self._place.facts.blueprint_id

    @property
    def node_id(self) -> str:
        """The node's id; for an item of a batch its worker and index, ``worker[3]``."""
        return self._place.facts.node_id

    @property
    def iteration(self) -> int:
        """Which round of the innermost loop around the node this is, from 0."""
        return self._place.facts.iteration

    @property
    def max_attempts(self) -> int:
        """How many attempts the node has in all."""
        return self._place.facts.max_attempts

    @property
    def params(self) -> Mapping[str, Any]:
        """The node's parameters from the blueprint: a copy, which cannot change it."""
        return MappingProxyType(copy_value(dict(self._place.params)))

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt at this node and iteration of this run, and no other."""
        return self._place.facts.idempotency_key

    def dependency(self, key: type[T]) -> T:
        """Refused: the objects of the parent cannot be given to another process.

        Raises:
            FlowcraftError: Always.
        """
        name = getattr(key, "__qualname__", str(key))
        raise FlowcraftError(
            f"ctx.dependency({name}): node '{self.node_id}' runs in a process of its own "
            "(`isolation: process`), which the runtime's objects cannot be given to. Make the "
            "object in the node.",
            is_fatal=True,
        )

    def _context_buffer(self) -> Buffer:
        if self._buffer is None:
            self._buffer = Buffer(self._place.read, self._place.wire.codec_for)
        return self._buffer

    def _everything(self) -> dict[str, Any]:
        everything = {**self._place.everything(), **self._context_buffer().overlay}
        kept = {key: value for key, value in everything.items() if value is not DELETED}
        copied: dict[str, Any] = copy_value(kept, registered=self._place.wire.codec_for)
        return copied

    def _answer_url(self, node_id: str, **options: Any) -> str:
        # The secret of links stays with the parent.
        told = self._place.ask({"is": "answer_url", "node": node_id, "options": options})
        return str(told["url"])

    def _for_thread(self) -> SyncNodeContext[In]:
        twin = IsolatedSyncContext(self._place, self.input)
        twin._cancelled = self.cancelled
        twin._buffer = self._context_buffer().copy()
        return twin


class IsolatedContext(_Isolated[In], NodeContext[In]):
    """The context of an async node."""

    __slots__ = ()

    @property
    def blobs(self) -> Blobs:
        """Files of any size, kept with the run."""
        return IsolatedBlobs(self._place.ask_async)

    @property
    def context(self) -> AsyncContext:
        """The run's context: shared values by key."""
        return _FetchingView(self._context_buffer(), self._everything, self._place)

    async def heartbeat(self, progress: float | None = None, detail: Any = None) -> None:
        """Say that the node is alive, and how far it is (from 0 to 1); gives others a turn."""
        self._place.report(progress, detail)
        await asyncio.sleep(0)


class IsolatedSyncContext(_Isolated[In], SyncNodeContext[In]):
    """The context of a plain function."""

    __slots__ = ()

    @property
    def blobs(self) -> SyncBlobs:
        """Files of any size, kept with the run."""
        return IsolatedSyncBlobs(IsolatedBlobs(self._place.ask_async))

    def heartbeat(self, progress: float | None = None, detail: Any = None) -> None:
        """Say that the node is alive, and how far it is (from 0 to 1)."""
        self._place.report(progress, detail)


class _FetchingView(NodeStateView):
    """The context as async nodes see it: while the parent is asked, others have their turn."""

    __slots__ = ("_place",)

    def __init__(
        self, buffer: Buffer, everything: Callable[[], dict[str, Any]], place: Place
    ) -> None:
        super().__init__(buffer, everything)
        self._place = place

    async def get(self, key: str, default: Any = None) -> Any:
        """A copy of the value of ``key``, or ``default``."""
        await self._place.fetch(key)
        return await super().get(key, default)

    async def has(self, key: str) -> bool:
        """Whether ``key`` has a value (``None`` is one)."""
        await self._place.fetch(key)
        return await super().has(key)

    async def delete(self, key: str) -> bool:
        """Remove a key; whether it was there."""
        await self._place.fetch(key)
        return await super().delete(key)

    async def add(self, key: str, by: int | float = 1) -> None:
        """Add ``by`` to a number; parallel nodes lose nothing. The new value is not returned."""
        await self._place.fetch(key)
        await super().add(key, by)

    async def to_dict(self) -> dict[str, Any]:
        """A copy of the whole context, engine keys included."""
        await self._place.fetch_all()
        return await super().to_dict()
