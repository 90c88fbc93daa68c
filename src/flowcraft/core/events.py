"""What happened: the events that ``decide`` is asked about.

Events are plain data. An event that names an instance carries the attempt it is about, so that
a late or repeated one is recognised and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flowcraft.core.blueprint import NodeDefinition
from flowcraft.core.plan import Key
from flowcraft.core.state import DEFAULT_MAX_EXECUTIONS, ErrorInfo, Usage


class Write(NamedTuple):
    """One context write of a node: ``op`` is ``set``, ``delete`` or ``add``."""

    op: str
    key: str
    value: Any = None


class RunStarted(NamedTuple):
    """A run begins.

    Attributes:
        context: The initial context; keys beginning with ``_`` are the engine's.
        has_input: Whether ``input`` is handed to every start node (subflows do this).
        fail_fast: Overrides ``metadata.onFailure`` when not ``None``.
        max_executions: Node executions after which the run fails; ``None`` for no bound.
        cancelled: Why the run is cancelled before anything starts, if it is.
        shard_size: Batches of more items than this are cut into shards; ``None`` for none.
        budget_usd: What the run may cost, in dollars; ``None`` for no bound.
        budget_requests: How many requests to services it may take; ``None`` for no bound.
        fairness_key: Whose run it is, for queues that are fair among those.
        result_only: Of a child run whether its parent takes nothing of it but its result.
        caller: The span that it was started in, as a ``traceparent``, if there was one.
    """

    run_id: str
    context: Mapping[str, Any]
    input: Any = None
    has_input: bool = False
    fail_fast: bool | None = None
    max_executions: int | None = DEFAULT_MAX_EXECUTIONS
    cancelled: str | None = None
    shard_size: int | None = None
    budget_usd: float | None = None
    budget_requests: float | None = None
    fairness_key: str | None = None
    result_only: bool = False
    caller: str | None = None


class NodeSucceeded(NamedTuple):
    """An attempt returned. ``output`` is in stored form; ``writes`` are committed with it."""

    key: Key
    attempt: int
    output: Any = None
    action: Any = None
    writes: Sequence[Write] | None = None
    dynamic: Sequence[NodeDefinition] = ()


class NodeFailed(NamedTuple):
    """An attempt raised or timed out.

    ``retryable`` is false where the engine knows that another attempt is not wanted (only the
    ``exec`` step of a class node is); ``started`` is false where no code of the node ran.
    """

    key: Key
    attempt: int
    error: ErrorInfo
    retryable: bool = True
    started: bool = True


class NodeLost(NamedTuple):
    """The worker that executed an attempt is gone, and with it the attempt's outcome (S9)."""

    key: Key
    attempt: int


class ItemLost(NamedTuple):
    """The worker that executed an item of a batch is gone."""

    key: Key
    item: int
    attempt: int


class NodeStopped(NamedTuple):
    """A running attempt was stopped because the run asked for it."""

    key: Key
    attempt: int


class NodeHeldBack(NamedTuple):
    """An attempt that was to begin has not, because the run is paused."""

    key: Key
    attempt: int


class RetryDue(NamedTuple):
    """The delay before an attempt is over and the attempt begins."""

    key: Key
    attempt: int


class TimerFired(NamedTuple):
    """The timer of a sleeping or waiting instance is due."""

    key: Key


class AnswerReceived(NamedTuple):
    """An answer for a wait, or a request to end a sleep early.

    ``key`` names the open instance. With ``key`` ``None`` the answer is kept for the node
    ``node_id`` until it begins to wait.
    """

    key: Key | None
    output: Any = None
    action: Any = None
    node_id: str | None = None


class ItemSucceeded(NamedTuple):
    """An item of a batch returned."""

    key: Key
    item: int
    attempt: int
    output: Any = None
    writes: Sequence[Write] | None = None


class ItemFailed(NamedTuple):
    """An attempt at an item of a batch raised or timed out."""

    key: Key
    item: int
    attempt: int
    error: ErrorInfo
    retryable: bool = True


class ItemStopped(NamedTuple):
    """An item was stopped because the run asked for it."""

    key: Key
    item: int
    attempt: int


class ItemRetryDue(NamedTuple):
    """The delay before an item's next attempt is over."""

    key: Key
    item: int
    attempt: int


class ChildSettled(NamedTuple):
    """A child run is over.

    Attributes:
        context: The child's context without engine keys; empty where its result alone is wanted.
        outputs: Output of each child node that has one, by id, unless the context has it.
        result: The output of the child's only terminal, else a map of those that ran.
        cost: What it has cost, with all that it started, where that is counted.
    """

    key: Key
    attempt: int
    succeeded: bool
    context: Mapping[str, Any]
    outputs: Mapping[str, Any]
    result: Any = None
    error: ErrorInfo | None = None
    cost: Usage | None = None


class ChildRests(NamedTuple):
    """A child run only waits now (``resting``), or has work again.

    ``number`` orders what is heard of one child where that may come out of order: an older word
    than the last one is ignored.
    """

    key: Key
    attempt: int
    resting: bool
    number: int | None = None


class ItemHeldBack(NamedTuple):
    """An item that was to begin has not, because the run is paused."""

    key: Key
    item: int
    attempt: int


class ItemsRetried(NamedTuple):
    """The items of a batch that failed are to be tried again, with all their attempts."""

    key: Key


class ShardStarted(NamedTuple):
    """A shard of a batch begins: the first event of its record.

    Attributes:
        run_id: The run that it belongs to.
        key: The scatter instance.
        first: The place of its first item in the whole list.
        items: Its items.
        quota: How many of them may be under way at once.
        report_at: How many of them are settled when it reports; ``None`` for never.
        fail_fast: Whether the first failing item stops the shard, and with it the run.
        attempt: How often the shard was begun; what is heard of an earlier time is ignored.
    """

    run_id: str
    key: Key
    first: int
    items: Sequence[Any]
    quota: int
    report_at: int | None = None
    fail_fast: bool = False
    attempt: int = 1


class ShardAdvanced(NamedTuple):
    """A shard is nearly done."""

    key: Key
    first: int
    attempt: int = 1


class ShardRests(NamedTuple):
    """A shard only holds items back now (``resting``), or has work again.

    ``number`` orders what is heard of one shard: an older word than the last one is ignored.
    """

    key: Key
    first: int
    resting: bool
    number: int
    attempt: int = 1


class ShardSettled(NamedTuple):
    """A shard is over.

    Attributes:
        values: What its items gave, in order; ``None`` for those that gave nothing.
        failures: Item and error of each that failed.
        errors: The errors of those, in the order in which they failed; the first ones.
        item_writes: Item and context writes of each that wrote, in the order in which they ended.
        attempt: Which attempt at the shard this is the end of.
        is_whole: Whether all items ended; not so where the shard was stopped.
        cost: What it has cost, where that is counted.
    """

    key: Key
    first: int
    values: Sequence[Any]
    failures: Sequence[tuple[int, Any]] = ()
    errors: Sequence[ErrorInfo] = ()
    item_writes: Sequence[tuple[int, Sequence[Write]]] = ()
    attempt: int = 1
    is_whole: bool = True
    cost: Usage | None = None


class UndoSettled(NamedTuple):
    """The attempt at a compensation is over; ``error`` is ``None`` when it succeeded."""

    target: Key
    attempt: int
    error: ErrorInfo | None = None
    retryable: bool = True


class UndoLost(NamedTuple):
    """The worker that executed a compensation is gone."""

    target: Key
    attempt: int


class UndoRetryDue(NamedTuple):
    """The delay before a compensation's next attempt is over."""

    target: Key
    attempt: int


class Spent(NamedTuple):
    """What the run has cost so far: it may be more than it may."""

    usd: float
    requests: float


class CancelRequested(NamedTuple):
    """Somebody wants the run to stop."""

    reason: str | None = None


class PauseRequested(NamedTuple):
    """Nothing new may start until the run is continued."""


class ContinueRequested(NamedTuple):
    """A paused run goes on."""


class ContextPatched(NamedTuple):
    """The context of a paused run is changed from outside."""

    writes: Sequence[Write]


class RetryRequested(NamedTuple):
    """Failed instances of a live run are to be tried again (rule S14)."""


class SkipRequested(NamedTuple):
    """An instance that has not succeeded is to count as succeeded with this output."""

    key: Key
    output: Any = None


class LookedAt(NamedTuple):
    """Nothing happened: which commands are outstanding in this state?"""


Event = (
    RunStarted
    | NodeSucceeded
    | NodeFailed
    | NodeLost
    | NodeStopped
    | NodeHeldBack
    | RetryDue
    | TimerFired
    | AnswerReceived
    | ItemSucceeded
    | ItemFailed
    | ItemLost
    | ItemStopped
    | ItemRetryDue
    | ItemHeldBack
    | ItemsRetried
    | ShardStarted
    | ShardAdvanced
    | ShardRests
    | ShardSettled
    | ChildSettled
    | ChildRests
    | UndoSettled
    | UndoLost
    | UndoRetryDue
    | Spent
    | CancelRequested
    | PauseRequested
    | ContinueRequested
    | ContextPatched
    | RetryRequested
    | SkipRequested
    | LookedAt
)
