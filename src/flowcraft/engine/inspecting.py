"""A durable run in detail, as data: what each of its nodes was given, tried, and gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flowcraft.core.inputs import took
from flowcraft.core.plan import Key, Kind, Plan, PlanNode, index_of_key, iteration_of_key
from flowcraft.core.state import (
    CHILD,
    FAILED,
    HIDDEN,
    READY,
    RESCUING,
    RETRYING,
    RUNNING,
    SLEEPING,
    WAITING,
    Batch,
    Budget,
    ErrorInfo,
    Record,
    RunStatus,
    Usage,
)
from flowcraft.engine.children import child_run_id
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.places import key_text
from flowcraft.engine.results import Awaiting, open_waits
from flowcraft.engine.spending import with_what_is_below
from flowcraft.engine.stored import moment_or_none

LIVE_STATES = frozenset(
    map(str, (READY, RUNNING, RETRYING, WAITING, SLEEPING, CHILD, RESCUING)),
)
"""Of what is not settled: the states of nodes that something is still to become of."""


@dataclass(frozen=True, slots=True)
class AttemptDetails:
    """One attempt at a node.

    Attributes:
        number: Which attempt it is, from 1; those that lost their worker are not counted.
        started_at: When it began; ``None`` where no code of the node ran.
        ended_at: When it ended; ``None`` while it is under way.
        error: What it failed with.
    """

    number: int
    started_at: datetime | None
    ended_at: datetime | None
    error: ErrorInfo | None


@dataclass(frozen=True, slots=True)
class BatchDetails:
    """How far a batch is.

    Attributes:
        items: Items in all.
        done: Those that are settled.
        failed: Of these those that failed.
        running: Items that are carried out, or due to be tried again.
        shards: Records that a large batch was cut into so far; 0 for one that is in one piece.
        shards_over: Of these those that are over.
        is_exact: Whether each of those under way was looked into; otherwise ``done`` lags behind.
    """

    items: int
    done: int
    failed: int
    running: int
    shards: int = 0
    shards_over: int = 0
    is_exact: bool = True


@dataclass(frozen=True, slots=True)
class NodeDetails:
    """One instance of a node: of a node in a loop there is one for each iteration.

    Attributes:
        name: The node; in a loop with its iteration, as in ``work@2``.
        node_id: The node.
        uses: What carries it out.
        iteration: The iteration of each loop around it, outermost first.
        status: Its status; ``pending`` where nothing has become of the node yet.
        attempt: The number of its last attempt; 0 for one that never started.
        lost: How many attempts ended because their worker died.
        started_at: When its first attempt that is still known began.
        ended_at: When it was settled.
        due_at: When its timer fires, or its next attempt begins.
        lease_until: Until when a worker has it, unless it is renewed; ``None`` if nobody has it.
        action: The action that it returned.
        input: What it was given; ``None`` unless values were asked for.
        output: What it gave; ``None`` unless values were asked for.
        error: Its last error.
        attempts: The attempts that are known: the last ones.
        child_run_id: The run that a subflow has started last.
        child_status: How that run is, while it goes on.
        batch: How far the batch is that it has handed out.
        took: The nodes to which it took its edges, once it has succeeded.
    """

    name: str
    node_id: str
    uses: str
    iteration: tuple[int, ...]
    status: str
    attempt: int = 0
    lost: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    due_at: datetime | None = None
    lease_until: datetime | None = None
    action: Any = None
    input: Any = None
    output: Any = None
    error: ErrorInfo | None = None
    attempts: tuple[AttemptDetails, ...] = ()
    child_run_id: str | None = None
    child_status: str | None = None
    batch: BatchDetails | None = None
    took: tuple[str, ...] = ()

    @property
    def is_live(self) -> bool:
        """Whether something is still to become of it."""
        return self.status in LIVE_STATES


@dataclass(frozen=True, slots=True)
class RunDetails:
    """A durable run in detail, as it was when it was read.

    Attributes:
        run_id: The run.
        blueprint_id: Its blueprint.
        version: The version that the blueprint's metadata give, if any.
        blueprint_hash: The content of the blueprint it was started with.
        status: How the run ended, or where it rests.
        stopping: The status that it is heading for, while it is being stopped.
        reason: Why it was cancelled.
        created_at: When it was started.
        ended_at: When it was over.
        due_at: When its next timer is due.
        parent: Of a child run the run whose subflow has started it.
        tags: The labels it was started with.
        fairness_key: Whose run it is.
        idempotency_key: What names its start.
        nodes: Node instances in the order in which they began, then nodes that are pending.
        awaiting: What it waits for, child runs included.
        errors: Failures that stand, in the order in which they happened.
        compensations: Of each compensation that ran its node, and its error if it failed.
        context: The keys that were written into its context; empty unless values were asked for.
        executions: How many nodes were executed.
        facts: How many facts are stored of it.
        cost: What it has cost so far; ``None`` where nothing is paid for.
        budget: What it may cost; ``None`` without a bound.
        paused: Whether it starts nothing new for the time being; what runs comes to its end.
    """

    run_id: str
    blueprint_id: str
    version: str | None
    blueprint_hash: str
    status: RunStatus
    stopping: str | None
    reason: str | None
    created_at: datetime
    ended_at: datetime | None
    due_at: datetime | None
    parent: str | None
    tags: Mapping[str, str]
    fairness_key: str | None
    idempotency_key: str | None
    nodes: tuple[NodeDetails, ...]
    awaiting: tuple[Awaiting, ...]
    errors: tuple[ErrorInfo, ...]
    compensations: tuple[tuple[str, ErrorInfo | None], ...]
    context: Mapping[str, Any]
    executions: int
    facts: int
    cost: Usage | None
    budget: Budget | None
    paused: bool = False

    @property
    def counts(self) -> Mapping[str, int]:
        """How many node instances are in each state, those that are pending included."""
        counted: dict[str, int] = {}
        for node in self.nodes:
            counted[node.status] = counted.get(node.status, 0) + 1
        return counted


Shards = Mapping[tuple[Key, int], Ledger]
"""Records of shards that are under way, by scatter instance and first item."""


def details_of(
    run: Ledger, parent: str | None, shards: Shards, *, with_values: bool = True
) -> RunDetails:
    """A run in detail.

    Args:
        run: The run, with the child runs it waits for.
        parent: The run whose subflow has started it.
        shards: Those of its shards that were read.
        with_values: Whether to tell inputs, outputs and context, which are copied.
    """
    state, head, blueprint = run.state, run.head, run.plan.blueprint
    nodes = run.plan.nodes
    return RunDetails(
        run_id=run.run_id,
        blueprint_id=blueprint.id,
        version=blueprint.version,
        blueprint_hash=head.blueprint_hash,
        status=state.status,
        stopping=None if state.stopping is None or state.status.is_final else str(state.stopping),
        reason=state.reason,
        created_at=_moment(head.created_at),
        ended_at=moment_or_none(state.ended_at),
        due_at=None if run.row is None else moment_or_none(run.row.due_at),
        parent=parent,
        tags=dict(head.tags),
        fairness_key=state.fairness_key,
        idempotency_key=head.key,
        nodes=(*_begun(run, shards, with_values), *_pending(run.plan, state.records)),
        awaiting=tuple(open_waits(run)),
        errors=tuple(state.errors),
        compensations=tuple(
            (nodes[undo.node].id, undo.error)
            for undo in state.undos.values()
            if undo.succeeded is not None
        ),
        context=_context(run) if with_values else {},
        executions=state.executions,
        facts=run.number,
        cost=with_what_is_below(run.usage, state),
        budget=state.budget,
        paused=state.paused,
    )


def _context(run: Ledger) -> dict[str, Any]:
    written = {key: value for key, value in run.state.context.items() if value is not HIDDEN}
    copied: dict[str, Any] = run.copied(written)
    return copied


def _begun(run: Ledger, shards: Shards, with_values: bool) -> Sequence[NodeDetails]:
    leases = {lease.place: lease.expires_at for lease in run.leases.values()}
    found = [
        _node(run, key, record, leases, shards, with_values)
        for key, record in run.state.records.items()
    ]
    return sorted(found, key=_began)


def _pending(plan: Plan, records: Mapping[Key, Record]) -> Iterator[NodeDetails]:
    begun = {index_of_key(key) for key in records}
    for node in plan.nodes:
        if node.index not in begun:
            yield NodeDetails(node.id, node.id, node.definition.uses, (), "pending")


def _node(
    run: Ledger,
    key: Key,
    record: Record,
    leases: Mapping[str, float],
    shards: Shards,
    with_values: bool,
) -> NodeDetails:
    nodes = run.plan.nodes
    node = nodes[index_of_key(key)]
    iteration = iteration_of_key(key)
    attempts = tuple(_attempts(record))
    starts = (each.started_at for each in attempts if each.started_at is not None)
    child = run.children.get(key)
    return NodeDetails(
        name=f"{node.id}@{'.'.join(map(str, iteration))}" if iteration else node.id,
        node_id=node.id,
        uses=node.definition.uses,
        iteration=iteration,
        status=str(record.status),
        attempt=record.attempt,
        lost=record.lost,
        started_at=next(starts, None),
        ended_at=moment_or_none(record.ended_at),
        due_at=moment_or_none(record.due_at),
        lease_until=moment_or_none(leases.get(f"{key_text(key)}/{record.attempt}")),
        action=record.action,
        input=run.copied(record.input) if with_values else None,
        output=run.copied(record.output) if with_values else None,
        error=record.error,
        attempts=attempts,
        child_run_id=_child(run, node, key, record),
        child_status=None if child is None else str(child.state.status),
        batch=_batch(run, key, shards),
        took=tuple(nodes[link.target].id for link in node.out if took(record, link)),
    )


def _attempts(record: Record) -> Iterator[AttemptDetails]:
    """What is known of the attempts at an instance; the last one is as the record is now."""
    last = record.attempt - record.lost
    first = last - len(record.earlier)
    is_between = record.status is RETRYING
    if is_between:
        first += 1
    for place, earlier in enumerate(record.earlier):
        yield AttemptDetails(
            first + place,
            moment_or_none(earlier.started_at),
            _moment(earlier.ended_at),
            earlier.error,
        )
    if record.attempt and not is_between:
        has_failed = record.status is FAILED or record.ended_at is not None
        error = record.error if has_failed and not _is_old(record) else None
        yield AttemptDetails(
            last,
            moment_or_none(record.started_at),
            moment_or_none(record.ended_at),
            error,
        )


def _is_old(record: Record) -> bool:
    """Whether a record's last error is that of an attempt before its last one."""
    return bool(record.earlier) and record.error is record.earlier[-1].error


def _child(run: Ledger, node: PlanNode, key: Key, record: Record) -> str | None:
    if node.kind is not Kind.SUBFLOW or not record.attempt:
        return None
    return child_run_id(run, key, record.attempt)


def _batch(run: Ledger, key: Key, shards: Shards) -> BatchDetails | None:
    batch: Batch | None = run.state.batches.get(key)
    if batch is None:
        return None
    own = {first: each for (scatter, first), each in run.state.shards.items() if scatter == key}
    items = len(batch.items) or batch.done  # they are kept until they have been collected
    if not own:
        running = sum(1 for scatter, _ in run.state.items if scatter == key)
        return BatchDetails(items, batch.done, batch.failed, running)
    done, failed, running, is_exact = batch.done, batch.failed, 0, True
    for first, shard in own.items():
        if shard.over:
            continue
        seen = shards.get((key, first))
        if seen is None:
            is_exact = False
            continue
        for inner in seen.state.batches.values():
            done, failed = done + inner.done, failed + inner.failed
        running += len(seen.state.items)
    over = sum(1 for shard in own.values() if shard.over)
    return BatchDetails(items, done, failed, running, len(own), over, is_exact)


def _began(node: NodeDetails) -> float:
    moment = node.started_at or node.ended_at
    return 0.0 if moment is None else moment.timestamp()


def _moment(seconds: float) -> datetime:
    found = moment_or_none(seconds)
    assert found is not None
    return found
