"""What a node is handed: its input, the run's context, and everything around it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar
from urllib.parse import quote

from flowcraft.core.commands import RunItem, RunUndo
from flowcraft.core.context import CATCH_ERROR, caught_error
from flowcraft.core.events import Write
from flowcraft.core.items import item_name
from flowcraft.core.plan import Key, index_of_key, iteration_of_key
from flowcraft.core.retries import max_attempts
from flowcraft.core.values import copy_value
from flowcraft.engine.answer_urls import answer_url
from flowcraft.engine.blobs import AttemptBlobs, Blobs, SyncBlobs
from flowcraft.engine.links import Purpose
from flowcraft.engine.state_view import DELETED, Buffer, NodeStateView, SyncNodeStateView
from flowcraft.ports.context import AsyncContext

if TYPE_CHECKING:
    from flowcraft.engine.attempt import Attempt

In = TypeVar("In")
T = TypeVar("T")

logger = logging.getLogger("flowcraft.node")


def idempotency_key(
    run_id: str, node_id: str, key: Key, *, undone: str | None = None, item: int | None = None
) -> str:
    """What all attempts at a node have in common, and no other ones.

    Args:
        run_id: The run.
        node_id: The node.
        key: The instance of the node; of one that undoes another node, that of the other one.
        undone: The node that it undoes, if it does.
        item: The item of a batch.
    """
    parts = (run_id, node_id, *map(str, iteration_of_key(key)))
    # Quoted, so that no two nodes can come to the same key.
    text = ":".join(quote(part, safe=" ") for part in parts)
    if undone is not None:
        text += f"~{quote(undone, safe=' ')}"
    return text if item is None else f"{text}#{item}"


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


class BaseNodeContext(Generic[In]):
    """What async and plain nodes have in common.

    Attributes:
        input: The node's input, decoded into the annotated type where there is one.
    """

    __slots__ = ("_buffer", "_cancelled", "_origin", "input")
    __flowcraft_context__: ClassVar[bool] = True

    def __init__(self, origin: Attempt, input_: In) -> None:
        self._origin = origin
        self._buffer: Buffer | None = None
        self._cancelled: CancelToken | None = None
        self.input = input_

    @property
    def attempt(self) -> int:
        """This attempt, counted from 1."""
        return self._origin.command.attempt

    @property
    def deadline(self) -> datetime | None:
        """When the attempt times out; ``None`` without a timeout."""
        deadline = self._origin.deadline
        return None if deadline is None else datetime.fromtimestamp(deadline.when, UTC)

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._origin.run.state.run_id

    @property
    def blueprint_id(self) -> str:
        """The id of the run's blueprint."""
        return self._origin.run.plan.blueprint.id

    @property
    def node_id(self) -> str:
        """The node's id; for an item of a batch its worker and index, ``worker[3]``."""
        command = self._origin.command
        if isinstance(command, RunItem):
            return item_name(command.uses, command.item)
        return self._origin.node.id

    @property
    def iteration(self) -> int:
        """Which round of the innermost loop around the node this is, from 0."""
        vector = iteration_of_key(self._origin.key)
        return vector[-1] if vector else 0

    @property
    def max_attempts(self) -> int:
        """How many attempts the node has in all."""
        return max_attempts(self._origin.node.definition.config)

    @property
    def params(self) -> Mapping[str, Any]:
        """The node's parameters from the blueprint: a copy, which cannot change it."""
        if isinstance(self._origin.command, RunItem):
            return MappingProxyType({})
        return MappingProxyType(copy_value(dict(self._origin.node.definition.params)))

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt at this node and iteration of this run, and no other."""
        origin, command = self._origin, self._origin.command
        undone = None
        if isinstance(command, RunUndo):
            undone = origin.run.plan.nodes[index_of_key(command.target)].id
        item = command.item if isinstance(command, RunItem) else None
        return idempotency_key(self.run_id, origin.node.id, origin.key, undone=undone, item=item)

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
        found: T = self._origin.run.host.options.dependency(key)
        return found

    def _context_buffer(self) -> Buffer:
        if self._buffer is None:
            codec_for = self._origin.run.host.options.serializer.codec_for
            self._buffer = Buffer(self._read, codec_for)
        return self._buffer

    def _read(self, key: str, default: Any) -> Any:
        origin = self._origin
        if key == CATCH_ERROR:
            # Another node may have failed meanwhile: a fallback is told of its own.
            caught = caught_error(origin.run.plan, origin.run.state, origin.key)
            if caught is not None:
                return caught
        return origin.run.read_context(key, origin.seen, default)

    def _everything(self) -> dict[str, Any]:
        buffer = self._context_buffer()
        run = self._origin.run
        everything = run.whole_context(self._origin.seen)
        for key, value in buffer.overlay.items():
            if value is DELETED:
                everything.pop(key, None)
            else:
                everything[key] = run.copied(value)
        return everything

    def _commit(self) -> tuple[Write, ...]:
        """The writes to commit with the node's output."""
        return tuple(self._buffer.writes) if self._buffer is not None else ()

    def _roll_back(self, count: int) -> None:
        """Take back all context writes but the first ``count``."""
        if self._buffer is not None:
            self._buffer.roll_back(count)

    def _answer_url(self, node_id: str, **options: Any) -> str:
        return answer_url(self._origin.run, self._origin.key, node_id, **options)

    def _for_thread(self) -> SyncNodeContext[In]:
        """The same for a plain function, with a copy of what was written so far.

        A thread that is given up on goes on writing where it does no harm.
        """
        twin = SyncNodeContext(self._origin, self.input)
        twin._cancelled = self.cancelled
        twin._buffer = self._context_buffer().copy()
        return twin

    def _take_over(self, twin: SyncNodeContext[In]) -> None:
        """Make what was written in a thread one's own."""
        self._buffer = twin._buffer


class NodeContext(BaseNodeContext[In]):
    """What an async node is handed. Annotate ``NodeContext[Order]`` to have the input decoded."""

    __slots__ = ()

    @property
    def blobs(self) -> Blobs:
        """Files of any size, kept with the run."""
        return AttemptBlobs(self._origin)

    @property
    def context(self) -> AsyncContext:
        """The run's context: shared values by key."""
        return NodeStateView(self._context_buffer(), self._everything)

    async def answer_url(
        self,
        node_id: str,
        *,
        action: str | None = None,
        purpose: Purpose | None = None,
        iteration: Sequence[int] | None = None,
        lifetime_seconds: float | None = None,
    ) -> str:
        """The address that answers a wait of this run: for a program to post to, or for a person.

        The wait may come later, or be open beside this node. Treat the address as a secret: whoever
        has it may answer.

        Args:
            node_id: The wait; in a loop that of the round that this node is in.
            action: The only action that the link answers with; any that the wait takes without it.
            purpose: ``webhook`` for an address that takes JSON, ``approval`` for a page; by default
                the former for a ``webhook`` and the latter for a ``wait``.
            iteration: Another round of the loops around the wait, outermost first.
            lifetime_seconds: How long the link holds; the runtime's lifetime by default.

        Raises:
            FlowcraftError: The runtime has no links, or the run no such wait.
        """
        return self._answer_url(
            node_id,
            action=action,
            purpose=purpose,
            iteration=iteration,
            lifetime_seconds=lifetime_seconds,
        )

    async def heartbeat(self, progress: float | None = None, detail: Any = None) -> None:
        """Say that the node is alive, and how far it is (from 0 to 1); gives others a turn."""
        self._origin.run.report_progress(self._origin.key, self.attempt, progress, detail)
        await asyncio.sleep(0)


class SyncNodeContext(BaseNodeContext[In]):
    """What a plain function is handed: the same with blocking methods."""

    __slots__ = ()

    @property
    def blobs(self) -> SyncBlobs:
        """Files of any size, kept with the run."""
        return SyncBlobs(AttemptBlobs(self._origin), self._origin.task.get_loop())

    @property
    def context(self) -> SyncNodeStateView:
        """The run's context: shared values by key."""
        return SyncNodeStateView(self._context_buffer(), self._everything)

    def answer_url(
        self,
        node_id: str,
        *,
        action: str | None = None,
        purpose: Purpose | None = None,
        iteration: Sequence[int] | None = None,
        lifetime_seconds: float | None = None,
    ) -> str:
        """The address that answers a wait of this run; see :meth:`NodeContext.answer_url`.

        Raises:
            FlowcraftError: The runtime has no links, or the run no such wait.
        """
        return self._answer_url(
            node_id,
            action=action,
            purpose=purpose,
            iteration=iteration,
            lifetime_seconds=lifetime_seconds,
        )

    def heartbeat(self, progress: float | None = None, detail: Any = None) -> None:
        """Say that the node is alive, and how far it is (from 0 to 1)."""
        self._origin.run.report_progress(self._origin.key, self.attempt, progress, detail)
