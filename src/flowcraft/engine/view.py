"""A run as those who execute its nodes see it: plan, state, and what was there before.

The run in this process and the run of a durable backend are both a :class:`RunView`; an attempt
knows nothing else of where it runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from flowcraft.core.plan import Key, Plan
from flowcraft.core.state import RunState, apply
from flowcraft.core.step import Decision
from flowcraft.core.values import copy_value, snapshot
from flowcraft.engine.bus import EventBus, Tails
from flowcraft.engine.nodes import Implementation
from flowcraft.engine.past import Past
from flowcraft.engine.telling import emit
from flowcraft.engine.threads import DaemonThreads
from flowcraft.errors import InvalidRunState
from flowcraft.ports.clock import Clock

if TYPE_CHECKING:
    from flowcraft.engine.attempt import Attempt
    from flowcraft.engine.class_nodes import Held
    from flowcraft.engine.files import Files
    from flowcraft.engine.middleware import Middleware
    from flowcraft.engine.options import RuntimeOptions


class Names(Protocol):
    """What can be named in a blueprint here."""

    def keys(self) -> Collection[str]:
        """The ``uses`` keys of all implementations."""
        ...


class Host(Protocol):
    """What is around the runs of one runtime or worker.

    Attributes:
        options: What the runtime was given.
        closing: Whether everything is being stopped, so that a cancelled node is no failure.
    """

    @property
    def closing(self) -> bool:
        """Whether everything is being stopped, so that a cancelled node is no failure."""
        ...

    @property
    def options(self) -> RuntimeOptions:
        """What the runtime was given."""
        ...

    @property
    def clock(self) -> Clock:
        """The time."""
        ...

    @property
    def bus(self) -> EventBus:
        """Where events go."""
        ...

    @property
    def tails(self) -> Tails:
        """Calls of async listeners that have not ended."""
        ...

    @property
    def middleware(self) -> tuple[Middleware, ...]:
        """Layers around each node, outermost first."""
        ...

    @property
    def threads(self) -> DaemonThreads:
        """Calls of plain functions."""
        ...

    @property
    def find(self) -> Callable[[str], Implementation | None]:
        """Finds the implementation of a ``uses`` key."""
        ...

    @property
    def known(self) -> Names:
        """What can be named."""
        ...

    def in_loop(self, callback: Callable[[], None]) -> None:
        """Call something in the event loop: at once, or soon where this is another thread."""

    @property
    def is_coded(self) -> bool:
        """Whether payloads pass a codec, so that none of them may be logged."""
        ...

    def files_for(self, node_id: str) -> Files:
        """The files of runs, for a node."""
        ...


class RunView:
    """One run: its state, and what running nodes may read of it.

    Attributes:
        running: What is being executed, in the order in which it began, and what it sees.
        epoch: Tells this start of the run from others under its id; in process it is always this.
        held: Class nodes between two attempts of their ``exec``.
        children: Child runs by the instance that waits for them, as far as they are known here.
    """

    epoch = "here"

    def __init__(self, host: Host, plan: Plan, state: RunState) -> None:
        self.host = host
        self.plan = plan
        self.state = state
        self.held: dict[tuple[Any, ...], Held] = {}
        self.past = Past()
        self.running: dict[Attempt, int] = {}
        self.children: dict[Key, Any] = {}
        self._lock = threading.Lock()

    def write(self, decision: Decision) -> None:
        """Write a decision's changes; running nodes go on reading what was there before."""
        if self.running or self.host.threads.calls:
            self._write_beside(decision)
        else:
            apply(self.state, decision.changes)
        self.plan = decision.plan
        self.past.sequence += 1

    def _write_beside(self, decision: Decision) -> None:
        with self._lock:
            if self.running:
                self.past.remember(self.plan, self.state, decision.changes, self.running)
            apply(self.state, decision.changes)

    def forget_past(self) -> None:
        """Nothing is running that could still read what was there before."""
        with self._lock:
            self.past.forget()

    def read_context(self, key: str, seen: int, default: Any) -> Any:
        """The value of a context key as it was at sequence number ``seen``; not a copy."""
        with self._lock:
            return self.past.read(self.plan, self.state, key, seen, default)

    def whole_context(self, seen: int) -> dict[str, Any]:
        """A copy of the context as it was at sequence number ``seen``."""
        with self._lock:
            everything = self.past.read_all(self.plan, self.state, seen)
        copied: dict[str, Any] = self.copied(everything)
        return copied

    def copied(self, value: Any) -> Any:
        """A copy of a stored value."""
        return copy_value(value, registered=self.host.options.serializer.codec_for)

    def save(self) -> str:
        """The run as text, to be resumed from.

        Raises:
            InvalidRunState: It is stored already.
        """
        raise InvalidRunState(f"Run '{self.state.run_id}' is stored; it goes on by itself.")

    def report_progress(self, key: Key, attempt: int, progress: float | None, detail: Any) -> None:
        """Tell listeners that a node is alive. May be called from a node's thread.

        Raises:
            SerializationError: ``detail`` cannot be stored.
        """
        codecs = self.host.options.serializer.codec_for
        detail = snapshot(detail, registered=codecs, where="detail")
        if self.host.bus.active:
            details = {"progress": progress, "detail": detail}
            self.host.in_loop(lambda: emit(self, "node:progress", key, attempt, details))


R = TypeVar("R", bound=RunView)


def runs_below(run: R) -> list[R]:
    """A run and all its children."""
    runs, position = [run], 0
    while position < len(runs):
        runs.extend(tuple(runs[position].children.values()))
        position += 1
    return runs
