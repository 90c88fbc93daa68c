"""The record of a run: facts, and what follows from them kept beside them.

Facts are what happened: the initial context, the outcome of each node instance, answers that
were received, requests to cancel or pause. Join counters, the number of unsettled nodes of each
loop and the run's status follow from the facts; they are kept up to date by the same changes,
so that deciding costs the same in the millionth node as in the first, and are rebuilt from the
facts when a stored run is loaded.

``decide`` reads a state and returns :class:`Changes`; only :func:`apply` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from flowcraft.core.blueprint import NodeDefinition
from flowcraft.core.plan import Iteration, Key


class RunStatus(StrEnum):
    """The states of a run; the last three are final and never change (rule S5)."""

    RUNNING = "running"
    AWAITING = "awaiting"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the run is over."""
        return self in FINAL_STATUSES


DEFAULT_MAX_EXECUTIONS = 10_000
"""Node executions after which a run fails (rule S10); batch items are not counted."""

# What every run is at some time; looking them up on their class costs more than a call.
RUN_RUNNING, RUN_PAUSED, RUN_COMPLETED = RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.COMPLETED

FINAL_STATUSES = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})


class NodeStatus(StrEnum):
    """The states of a node instance. One that has no record yet is pending."""

    READY = "ready"  # may start, held back because the run is paused
    RUNNING = "running"
    RETRYING = "retrying"  # an attempt failed, the next one is due later
    WAITING = "waiting"  # for an answer from outside
    SLEEPING = "sleeping"
    CHILD = "child"  # a subflow whose child run is under way
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # for good; its failure stands
    RESCUING = "rescuing"  # failed for good; its fallback runs, and decides about its links
    RESCUED = "rescued"  # failed for good, but its fallback node took its place
    SKIPPED = "skipped"  # no branch that was chosen leads here
    BLOCKED = "blocked"  # skipped because something before it failed
    CANCELLED = "cancelled"


READY, RUNNING, RETRYING = NodeStatus.READY, NodeStatus.RUNNING, NodeStatus.RETRYING
WAITING, SLEEPING, CHILD = NodeStatus.WAITING, NodeStatus.SLEEPING, NodeStatus.CHILD
SUCCEEDED, FAILED, RESCUED = NodeStatus.SUCCEEDED, NodeStatus.FAILED, NodeStatus.RESCUED
RESCUING = NodeStatus.RESCUING
SKIPPED, BLOCKED, CANCELLED = NodeStatus.SKIPPED, NodeStatus.BLOCKED, NodeStatus.CANCELLED

SETTLED = frozenset({SUCCEEDED, FAILED, RESCUED, SKIPPED, BLOCKED, CANCELLED})
STAND_IN_OUTPUT = -2
"""Where the record of a rescued node keeps the output of the fallback that stood in for it."""

CHILD_CONTEXT = -1
"""Where the record of a subflow keeps the context that its child is started with."""

CORRELATION = -3
"""Where the record of a wait keeps which event it is for: a list of its name and its key."""

OPEN = frozenset({WAITING, SLEEPING, CHILD})

TRANSITIONS: Mapping[NodeStatus | None, frozenset[NodeStatus]] = {
    None: frozenset(NodeStatus) - {RETRYING},
    READY: frozenset(NodeStatus) - {READY, RETRYING},
    RUNNING: frozenset({READY, RETRYING, SUCCEEDED, FAILED, RESCUING, RESCUED, CANCELLED, RUNNING}),
    RETRYING: frozenset({RUNNING, CHILD, SUCCEEDED, FAILED, RESCUING, RESCUED, CANCELLED}),
    WAITING: frozenset({SUCCEEDED, FAILED, RESCUING, RESCUED, CANCELLED}),
    SLEEPING: frozenset({SUCCEEDED, CANCELLED}),
    CHILD: frozenset({RETRYING, SUCCEEDED, FAILED, RESCUING, RESCUED, CANCELLED, CHILD}),
    RESCUING: frozenset({RESCUED}),
    FAILED: frozenset({RUNNING, CHILD, SUCCEEDED, WAITING, SLEEPING, FAILED}),
} | {status: frozenset[NodeStatus]() for status in SETTLED - {FAILED}}
"""From which status to which others an instance may go; ``None`` is pending.

``FAILED`` is left only by the verbs *retry failed* and *skip*, while nothing behind is settled.
"""


new_tuple = tuple.__new__
"""Makes a named tuple at a third of the cost: for those made for every node."""


class ErrorInfo(NamedTuple):
    """A failure as it is kept in the record: data only, no exception object.

    Attributes:
        type: Class name of the error, such as ``ValueError``.
        message: Its text.
        names: Simple and qualified names of its class and base classes, for ``retryOn``.
        is_fatal: Whether it allows neither retry nor fallback.
        node_id: The node, or the worker of a batch item; ``None`` for the run as a whole.
        attempts: How many attempts were made.
        causes: ``(type, message)`` of the errors behind it, outermost first.
        traceback: The formatted traceback, where there is one.
    """

    type: str
    message: str
    names: tuple[str, ...] = ()
    is_fatal: bool = False
    node_id: str | None = None
    attempts: int = 1
    causes: tuple[tuple[str, str], ...] = ()
    traceback: str | None = None
    iteration: Iteration = ()


class Earlier(NamedTuple):
    """An attempt that failed and was followed by another."""

    started_at: float | None
    ended_at: float
    error: ErrorInfo


KEPT_ATTEMPTS = 10


class Record(NamedTuple):
    """What is known of one node instance. Times are seconds since the epoch.

    Attributes:
        status: Where it is.
        attempt: Attempts begun so far; 0 for one that never started.
        input: The value it was given.
        output: Its output, once it has one.
        action: The action it returned.
        fired: The link that started it where one alone did (``any`` joins, loops), or -1.
        origin: The instance at the other end of ``fired``.
        taken: Links that were taken when it succeeded; ``None`` means all that leave the node.
        values: Values of taken links that have a transform, by link. Of a subflow under way
            the context for its child, under :data:`CHILD_CONTEXT`. Of a rescued node what its
            links hand on otherwise, under :data:`STAND_IN_OUTPUT`. Of a wait that names an
            event which one, under :data:`CORRELATION`.
        started_at: When its present attempt began.
        ended_at: When it was settled.
        due_at: When its timer fires or its next attempt begins.
        error: Its last error.
        lost: How many attempts ended because their worker died; these do not count.
        earlier: Attempts that failed before the present one, the last :data:`KEPT_ATTEMPTS`.
    """

    status: NodeStatus
    attempt: int = 0
    input: Any = None
    output: Any = None
    action: Any = None
    fired: int = -1
    origin: Key = -1
    taken: tuple[int, ...] | None = ()
    values: Mapping[int, Any] | None = None
    started_at: float | None = None
    ended_at: float | None = None
    due_at: float | None = None
    error: ErrorInfo | None = None
    earlier: tuple[Earlier, ...] = ()
    lost: int = 0


def has_run(record: Record) -> bool:
    """Whether an instance that is settled had begun before."""
    return record.status in SETTLED and began_at(record) is not None


def began_at(record: Record) -> float | None:
    """When the first of its attempts began that is still known."""
    times = [each.started_at for each in record.earlier] + [record.started_at]
    return min((each for each in times if each is not None), default=None)


class Join(NamedTuple):
    """Deliveries to an instance that has not started yet.

    Attributes:
        pending: Links (and holds) still open.
        taken: Links taken so far.
        failed: Links, or holds, that failed.
        held: Holds: a batch or added nodes this instance has to wait for besides its links.
        fired: The first link taken.
        origin: The instance it came from.
    """

    pending: int
    taken: int = 0
    failed: int = 0
    held: int = 0
    fired: int = -1
    origin: Key = -1


class Batch(NamedTuple):
    """A scatter node's batch while it runs and after.

    Attributes:
        items: The list that was scattered.
        begun: How many items were started.
        done: How many are settled.
        failed: How many failed.
        gather: The gather instance held back until all are done, or -1.
        first: In a shard's record the place of the first item in the whole list.
        quota: In a shard's record how many items may be under way; 0 for the node's own limit.
        lanes: Shards under way that keep others from beginning.
        slots: Of the node's ``concurrency`` what shards under way were given.
    """

    items: tuple[Any, ...]
    begun: int = 0
    done: int = 0
    failed: int = 0
    gather: Key = -1
    first: int = 0
    quota: int = 0
    lanes: int = 0
    slots: int = 0


class Item(NamedTuple):
    """One item of a batch that has not settled: its attempt, and when the next is due.

    ``lost`` counts attempts whose worker died; one that is ``held`` waits for a paused run.
    ``before`` counts the attempts it had failed with before it was tried again on request.
    """

    attempt: int
    due_at: float | None = None
    lost: int = 0
    held: bool = False
    before: int = 0


class ItemResult(NamedTuple):
    """What became of an item of a batch.

    Attributes:
        succeeded: Whether it succeeded.
        value: Its output; of one that failed its error.
        attempts: The number of its last attempt.
    """

    succeeded: bool
    value: Any
    attempts: int = 1


class Shard(NamedTuple):
    """Some items of a batch that have a record of their own, as their run knows them.

    Attributes:
        until: Where its items end in the whole list.
        quota: How many of them may be under way at once; 0 for no limit of the user's.
        has_lane: Whether it keeps another shard from beginning.
        resting: Whether it only holds items back.
        heard: The number of the last word of it that was heard.
        over: Whether it has ended.
        values: What its items gave, in order, until the gather node has collected them.
        failures: The errors of those that failed, by item.
        attempt: How often it was begun: again for each time that its failed items are retried.
    """

    until: int
    quota: int = 0
    has_lane: bool = True
    resting: bool = False
    heard: int = -1
    over: bool = False
    values: tuple[Any, ...] = ()
    failures: Mapping[int, Any] = MappingProxyType({})
    attempt: int = 1


class Undo(NamedTuple):
    """A compensation: which instance it undoes and how it went (``None`` while under way).

    ``due_at`` is set between two attempts; ``lost`` counts attempts whose worker died.
    """

    target: Key
    node: int
    attempt: int = 0
    succeeded: bool | None = None
    error: ErrorInfo | None = None
    due_at: float | None = None
    lost: int = 0


class Budget(NamedTuple):
    """What a run may cost; ``None`` for no bound.

    Attributes:
        usd: Dollars.
        requests: Requests to services.
    """

    usd: float | None = None
    requests: float | None = None


class Usage(NamedTuple):
    """What has been asked of services for a run, as far as its store counts that.

    Of a request that was made for several runs each has its share.

    Attributes:
        requests: Requests, those to the queue included.
        sqs_requests: Requests to the queue; one that carries more counts for each 64 KB begun.
        write_units: Write units of the tables.
        read_units: Read units of the tables.
        usd: What it comes to, in dollars, at the prices that the reader was given.
    """

    requests: float = 0.0
    sqs_requests: float = 0.0
    write_units: float = 0.0
    read_units: float = 0.0
    usd: float = 0.0

    def plus(self, other: Usage | None) -> Usage:
        """Both together."""
        return self if other is None else Usage(*map(sum, zip(self, other, strict=True)))

    def __str__(self) -> str:
        return (
            f"{self.usd:.6f} USD: {self.requests:.1f} requests, {self.sqs_requests:.1f} of them to "
            f"SQS, {self.write_units:g} write units, {self.read_units:g} read units"
        )


class Note(NamedTuple):
    """A transition worth telling (rule S16), as data; the shell turns notes into events."""

    type: str
    key: Key | None
    details: Mapping[str, Any]


class Deleted:
    """Marks an entry of a table as removed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "DELETED"


class Hidden:
    """Stored under a context key that a node deleted although an output has that name."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "HIDDEN"


DELETED = Deleted()
HIDDEN = Hidden()


@dataclass(slots=True, eq=False, init=False)
class RunState:
    """One run. Written only by :func:`apply`.

    Attributes:
        context: The user's keys; outputs are read through ``core.context.ContextView``.
        records: What is known of each instance that is no longer pending.
        joins: Deliveries to instances that still wait for more.
        remaining: By loop and enclosing iteration: what is unsettled in its open iterations.
        loop_failed: Loops in which something failed, so that exits not taken have failed too.
        exits: By link and enclosing iteration: the instance from which a loop was left.
        latest: For nodes in loops the instance that last got an output.
        rescues: By fallback instance: the failed instances it stands in for.
        holds: By added instance: the instance that waits for it.
        results: By scatter instance and item: what became of it.
        items: Items under way, by scatter instance and item.
        shards: Shards of batches, by scatter instance and first item.
        shard: In a shard's record which one it is, and its attempt; ``None`` in a run's.
        item_writes: In a shard's record what its items wrote, until its run takes that over.
        report_at: In a shard's record how many items are settled when it reports.
        shard_size: Batches of more items than this are cut into shards; ``None`` for none.
        fairness_key: Whose run it is, for queues that are fair among those.
        result_only: Of a child run whether its parent takes nothing of it but its result.
        resting: Children that themselves only wait.
        heard: By subflow instance and attempt the number of the last word of its child.
        ready: Instances held back by a pause, in order.
        undos: Compensations by their place in the order in which they run.
        undoing: The place of the one under way; ``None`` before any were needed.
        working: Instances, items and compensations that run or are between attempts.
        waiting: Instances that wait for a person, a timer or a child that itself waits.
        budget: What the run may cost, where that is counted.
        cost_below: What child runs and shards have cost that are over, where that is counted.
        stopping: The final status the run is heading for; nothing more starts.
    """

    run_id: str
    status: RunStatus
    context: dict[str, Any]
    records: dict[Key, Record]
    joins: dict[Key, Join]
    remaining: dict[tuple[int, Iteration], int]
    loop_failed: dict[tuple[int, Iteration], bool]
    exits: dict[tuple[int, Iteration], Key]
    latest: dict[int, Key]
    rescues: dict[Key, tuple[Key, ...]]
    holds: dict[Key, Key]
    batches: dict[Key, Batch]
    results: dict[tuple[Key, int], ItemResult]
    items: dict[tuple[Key, int], Item]
    shards: dict[tuple[Key, int], Shard]
    item_writes: dict[int, Sequence[Any]]
    answers: dict[str, tuple[Any, Any]]
    completed: list[Key]
    errors: list[ErrorInfo]
    resting: frozenset[Key]
    heard: dict[tuple[Key, int], int]
    ready: tuple[Key, ...]
    undos: dict[int, Undo]
    undoing: int | None
    added: tuple[tuple[Iteration, NodeDefinition], ...]
    working: int
    waiting: int
    executions: int
    max_executions: int | None
    fail_fast: bool
    paused: bool
    shard: tuple[Key, int, int] | None
    report_at: int | None
    shard_size: int | None
    budget: Budget | None
    cost_below: Usage | None
    fairness_key: str | None
    result_only: bool
    stopping: RunStatus | None
    reason: str | None
    started_at: float | None
    ended_at: float | None

    def __init__(self, **given: Any) -> None:
        """A run that has not begun; ``given`` are attributes that differ from its."""
        # Written out: what a dataclass makes of so many fields costs as much as a node.
        self.context = {}
        self.records = {}
        self.joins = {}
        self.remaining = {}
        self.loop_failed = {}
        self.exits = {}
        self.latest = {}
        self.rescues = {}
        self.holds = {}
        self.batches = {}
        self.results = {}
        self.items = {}
        self.shards = {}
        self.item_writes = {}
        self.heard = {}
        self.answers = {}
        self.completed = []
        self.errors = []
        self.undos = {}
        self.run_id = ""
        self.status = RunStatus.RUNNING
        self.resting = frozenset()
        self.ready = self.added = ()
        self.undoing = self.stopping = self.reason = self.started_at = self.ended_at = None
        self.shard = self.report_at = self.shard_size = self.fairness_key = None
        self.budget = self.cost_below = None
        self.working = self.waiting = self.executions = 0
        self.max_executions = DEFAULT_MAX_EXECUTIONS
        self.fail_fast = self.paused = self.result_only = False
        for name, value in given.items():
            setattr(self, name, value)


class Changes:
    """What one decision changes: the delta to store, and the delta of what follows from it.

    ``tables`` maps the name of a table of :class:`RunState` to its new entries, where
    :data:`DELETED` removes one; ``scalars`` maps the other attributes to their new values.
    """

    __slots__ = (
        "completed",
        "context",
        "errors",
        "executions",
        "joins",
        "records",
        "scalars",
        "tables",
        "waiting",
        "working",
    )

    def __init__(self) -> None:
        self.records: dict[Key, Record] = {}
        self.joins: dict[Key, Join | Deleted] = {}
        self.context: dict[str, Any] | None = None
        self.tables: dict[str, dict[Any, Any]] | None = None
        self.scalars: dict[str, Any] | None = None
        self.completed: list[Key] | None = None
        self.errors: list[ErrorInfo] | None = None
        # Differences to the counters of the state.
        self.working = self.waiting = self.executions = 0


def apply(state: RunState, changes: Changes) -> None:
    """Write a decision's changes into the state it was made on."""
    state.records.update(changes.records)
    if changes.joins:
        joins = state.joins
        for key, join in changes.joins.items():
            if isinstance(join, Deleted):
                joins.pop(key, None)
            else:
                joins[key] = join
    if changes.context is not None:
        _update(state.context, changes.context)
    if changes.tables is not None:
        for name, entries in changes.tables.items():
            _update(getattr(state, name), entries)
    if changes.scalars is not None:
        for name, value in changes.scalars.items():
            setattr(state, name, list(value) if name == "errors" else value)
    state.working += changes.working
    state.waiting += changes.waiting
    state.executions += changes.executions
    if changes.completed is not None:
        state.completed.extend(changes.completed)
    if changes.errors is not None:
        state.errors.extend(changes.errors)


def _update(table: dict[Any, Any], entries: Mapping[Any, Any]) -> None:
    for key, value in entries.items():
        if value is DELETED:
            table.pop(key, None)
        else:
            table[key] = value
