"""One decision in the making.

A :class:`Step` reads the state, collects changes beside it and answers reads with those changes
in place. The parts of ``decide`` share it; nothing outside ``core`` sees one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowcraft.core.commands import Command
from flowcraft.core.context import ContextView
from flowcraft.core.plan import Key, Link, Plan, PlanNode, index_of_key, iteration_of_key
from flowcraft.core.state import (
    DELETED,
    Changes,
    ErrorInfo,
    Join,
    Note,
    Record,
    RunState,
    RunStatus,
)


class Decision:
    """What follows from an event.

    Attributes:
        changes: To be stored before anything else happens, with :func:`state.apply`.
        commands: To be carried out after that, in order.
        notes: Transitions to tell listeners about, in order.
        plan: The plan to use from now on; another one only when nodes were added.
    """

    __slots__ = ("changes", "commands", "notes", "plan")

    changes: Changes
    commands: list[Command]
    notes: list[Note]
    plan: Plan


Arrival = tuple[Link | None, Key, int]
"""What is on a step's queue, as a plain tuple because there is one for every link.

A link, the instance it comes from and its fate. For a loop that is over, the instance has only
the iteration of the loops around it. Without a link: an instance that is settled, or one that
something it had to wait for besides its links is settled for.
"""

# The fate of a link: chosen, not chosen, or cut off by a failure.
TAKEN, DEAD, FAILING = 1, 0, 2
# The same of a link whose loop was left without it.
CLOSED_DEAD, CLOSED_FAILING = 3, 4
# Entries without a link.
SETTLED, RELEASED, RELEASED_FAILED = 5, 6, 7


class Step(Decision):
    """The working copy of one decision, and in the end the decision itself."""

    __slots__ = ("held_back", "now", "queue", "state", "stopping")

    def __init__(self, plan: Plan, state: RunState, now: float) -> None:
        self.plan = plan
        self.state = state
        self.now = now
        self.changes = Changes()
        self.commands = []
        self.notes = []
        self.queue: list[Arrival] = []
        # The final status the run is heading for, once nothing more may start.
        self.stopping: RunStatus | None = state.stopping
        # Instances whose turn came while the run is paused.
        self.held_back: list[Key] = []

    def node(self, key: Key) -> PlanNode:
        """The node an instance is of."""
        return self.plan.nodes[index_of_key(key)]

    def record(self, key: Key) -> Record | None:
        """What is known of an instance, this decision included; ``None`` while pending."""
        changed = self.changes.records
        return changed[key] if key in changed else self.state.records.get(key)

    def join(self, key: Key) -> Join | None:
        """Deliveries to an instance, this decision included."""
        join = self.changes.joins.get(key)
        if join is None:
            return self.state.joins.get(key)
        return join if isinstance(join, Join) else None

    def get(self, table: str, key: Any, default: Any = None) -> Any:
        """An entry of one of the state's other tables, this decision included."""
        if self.changes.tables is not None:
            value = self.changes.tables.get(table, {}).get(key)
            if value is not None:
                return default if value is DELETED else value
        return getattr(self.state, table).get(key, default)

    def put(self, table: str, key: Any, value: Any) -> None:
        """Change an entry of one of the state's other tables."""
        if self.changes.tables is None:
            self.changes.tables = {}
        self.changes.tables.setdefault(table, {})[key] = value

    def scalar(self, name: str) -> Any:
        """An attribute of the state, this decision included."""
        if self.changes.scalars is not None and name in self.changes.scalars:
            return self.changes.scalars[name]
        return getattr(self.state, name)

    def set(self, name: str, value: Any) -> None:
        """Change an attribute of the state."""
        if self.changes.scalars is None:
            self.changes.scalars = {}
        self.changes.scalars[name] = value

    def write(self, key: str, value: Any) -> None:
        """Change a context key; ``DELETED`` drops what was written over an output's name."""
        if self.changes.context is None:
            self.changes.context = {}
        self.changes.context[key] = value

    @property
    def context(self) -> ContextView:
        """The context as it is with this decision's changes."""
        return ContextView(self.plan, self.state, self.changes)

    def stop(self, status: RunStatus) -> None:
        """Let nothing more start; the run is heading for ``status``."""
        self.stopping = status
        self.set("stopping", status)

    def add_error(self, error: ErrorInfo) -> None:
        """Record a failure that stands."""
        if self.changes.errors is None:
            self.changes.errors = []
        self.changes.errors.append(error)

    def note(self, type_: str, key: Key | None = None, **details: Any) -> None:
        """Tell listeners about a transition."""
        self.notes.append(Note(type_, key, details))

    def release(self, key: Key, *, failed: bool) -> None:
        """Take back a hold on an instance."""
        self.queue.append((None, key, RELEASED_FAILED if failed else RELEASED))

    def sibling(self, key: Key, link: Link) -> Key:
        """The instance at the other end of a link; a back edge leads to the next iteration."""
        target = self.plan.nodes[link.target]
        depth = len(target.loops)
        if depth == 0:
            return link.target
        shared = iteration_of_key(key)[: link.common]
        if link.back:
            return (link.target, (*shared[:-1], shared[-1] + 1))
        return (link.target, shared + (0,) * (depth - link.common))


def error_details(error: ErrorInfo) -> Mapping[str, Any]:
    """How an error is told to listeners."""
    return {
        "type": error.type,
        "message": error.message,
        "is_fatal": error.is_fatal,
        "names": error.names,
        "causes": error.causes,
    }
