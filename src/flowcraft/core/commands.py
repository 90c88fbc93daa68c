"""What to do: the commands that a decision asks the shell to carry out.

They are carried out after the decision's changes are stored. Times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flowcraft.core.plan import Key


class RunNode(NamedTuple):
    """Execute an attempt at a node with its registered callable."""

    key: Key
    attempt: int
    input: Any


class RetryNode(NamedTuple):
    """Wait until ``due_at``, then report ``RetryDue``."""

    key: Key
    attempt: int
    due_at: float


class RunItem(NamedTuple):
    """Execute an attempt at an item of a batch with the callable registered as ``uses``."""

    key: Key
    item: int
    attempt: int
    input: Any
    uses: str


class RetryItem(NamedTuple):
    """Wait until ``due_at``, then report ``ItemRetryDue``."""

    key: Key
    item: int
    attempt: int
    due_at: float


class ArmTimer(NamedTuple):
    """Report ``TimerFired`` at ``due_at``."""

    key: Key
    due_at: float


class StartChild(NamedTuple):
    """Start a child run.

    Attributes:
        context: What it starts with; ``None`` where the input goes to its start nodes.
        result_only: Whether nothing of it is wanted but its result.
    """

    key: Key
    attempt: int
    blueprint_id: str
    input: Any
    context: Mapping[str, Any] | None
    result_only: bool = True


class StopChild(NamedTuple):
    """Cancel the child run of an attempt that took too long."""

    key: Key
    attempt: int
    reason: str


class StartShard(NamedTuple):
    """Start a shard of a batch: a record of its own for some of the items.

    Attributes:
        key: The scatter instance.
        first: The place of its first item in the whole list.
        items: Its items.
        quota: How many of them may be under way at once.
        report_at: How many of them are settled when it reports; ``None`` for never.
        attempt: How often it was begun, this time included.
    """

    key: Key
    first: int
    items: Sequence[Any]
    quota: int
    report_at: int | None
    attempt: int = 1


class TellShards(NamedTuple):
    """Let the shards know that the run was paused or goes on."""


class ReportShard(NamedTuple):
    """Report ``ShardAdvanced`` to the run that this shard belongs to."""


class RunUndo(NamedTuple):
    """Execute the compensation of ``target`` with the callable of the node ``node``."""

    target: Key
    node: int
    attempt: int
    input: Any


class RetryUndo(NamedTuple):
    """Wait until ``due_at``, then report ``UndoRetryDue``."""

    target: Key
    attempt: int
    due_at: float


class StopWork(NamedTuple):
    """Stop everything that runs or waits: nodes, items, timers and children."""

    reason: str


class FinishRun(NamedTuple):
    """The run is over; ``state.status`` says how."""


Command = (
    RunNode
    | RetryNode
    | RunItem
    | RetryItem
    | ArmTimer
    | StartChild
    | StopChild
    | StartShard
    | TellShards
    | ReportShard
    | RunUndo
    | RetryUndo
    | StopWork
    | FinishRun
)
