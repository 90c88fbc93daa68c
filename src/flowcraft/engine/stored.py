"""Durable runs as they were read: one with its timeline, or many in a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from flowcraft.core.correlation import Correlation
from flowcraft.core.plan import Key, index_of_key, iteration_of_key
from flowcraft.core.state import ErrorInfo, Record, RunStatus, Usage
from flowcraft.engine.awaited import read_awaited
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.results import RunResult
from flowcraft.engine.spending import with_what_is_below
from flowcraft.engine.tracing import trace_id_of
from flowcraft.ports.runs import Head


@dataclass(frozen=True, slots=True)
class TimelineStep:
    """What happened to one instance of a node.

    Attributes:
        name: The node; in a loop with its iteration, as in ``work@2``.
        node_id: The node.
        iteration: The iteration of each loop around it, outermost first.
        status: Its status.
        attempt: The number of its last attempt; 0 for one that never started.
        lost: How many attempts ended because their worker died.
        started_at: When its first attempt that is still known began.
        ended_at: When it was settled.
        errors: The errors of its attempts, the last ones.
    """

    name: str
    node_id: str
    iteration: tuple[int, ...]
    status: str
    attempt: int
    lost: int
    started_at: datetime | None
    ended_at: datetime | None
    errors: tuple[ErrorInfo, ...]

    @property
    def seconds(self) -> float | None:
        """How long it took, waiting between attempts included; ``None`` while it is not over."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()


class StoredRun(RunResult):
    """A durable run as it was when it was read; it does not change any more."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self._head = ledger.head
        self._cost = with_what_is_below(ledger.usage, ledger.state)

    @property
    def created_at(self) -> datetime:
        """When it was started."""
        return datetime.fromtimestamp(self._head.created_at, UTC)

    @property
    def cost(self) -> Usage | None:
        """What it has cost so far; ``None`` where nothing is paid for.

        On AWS: requests and units that were counted along the way, and dollars. Child runs, and
        the parts of large batches, are in it from their end on, unless nobody waited for that any
        more. What a worker that died had not written down is missing.
        """
        return self._cost

    @property
    def trace_id(self) -> str:
        """The trace of the run, where its workers trace: 32 hexadecimal digits."""
        return f"{trace_id_of(self._head.epoch):032x}"

    @property
    def tags(self) -> Mapping[str, str]:
        """The labels it was started with."""
        return dict(self._head.tags)

    @property
    def timeline(self) -> tuple[TimelineStep, ...]:
        """What happened to each node, in the order in which they began."""
        nodes = self._run.plan.nodes
        steps = [
            _timeline_step(nodes[index_of_key(key)].id, key, record)
            for key, record in self._run.state.records.items()
        ]
        return tuple(sorted(steps, key=_began))


def _timeline_step(node_id: str, key: Key, record: Record) -> TimelineStep:
    iteration = iteration_of_key(key)
    begun = [each.started_at for each in record.earlier] + [record.started_at]
    started = next((each for each in begun if each is not None), None)
    errors = [each.error for each in record.earlier]
    if record.error is not None and record.error not in errors:
        errors.append(record.error)
    return TimelineStep(
        name=f"{node_id}@{'.'.join(map(str, iteration))}" if iteration else node_id,
        node_id=node_id,
        iteration=iteration,
        status=str(record.status),
        attempt=record.attempt,
        lost=record.lost,
        started_at=moment_or_none(started),
        ended_at=moment_or_none(record.ended_at),
        errors=tuple(errors),
    )


def _began(step: TimelineStep) -> float:
    moment = step.started_at or step.ended_at
    return 0.0 if moment is None else moment.timestamp()


def moment_or_none(seconds: float | None) -> datetime | None:
    """A time in UTC, of seconds since the epoch."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in a list.

    Attributes:
        run_id: The run.
        blueprint_id: Its blueprint.
        status: Its status.
        created_at: When it was started.
        updated_at: When its status was last written.
        due_at: When its next timer is due, if one is armed.
        tags: The labels it was started with.
        is_child: Whether a subflow of another run started it.
        awaits: The events that it waits for by their names, in order; child runs have their own.
    """

    run_id: str
    blueprint_id: str
    status: RunStatus
    created_at: datetime
    updated_at: datetime
    due_at: datetime | None
    tags: Mapping[str, str]
    is_child: bool
    awaits: tuple[Correlation, ...] = ()


@dataclass(frozen=True, slots=True)
class RunPage:
    """A page of a list.

    Attributes:
        runs: The runs, the newest first.
        after: Asks for the next page; ``None`` on the last.
        rows_read: How many rows the store has read for it; ``None`` where it does not tell.
        scanned: Whether these were all that there are, for want of an index.
    """

    runs: Sequence[RunSummary]
    after: str | None
    rows_read: int | None = None
    scanned: bool = False


def summary_of(head: Head) -> RunSummary:
    """A run as it stands in a list."""
    due_at = head.row.due_at
    return RunSummary(
        head.run_id,
        head.blueprint_id,
        RunStatus(head.row.status),
        datetime.fromtimestamp(head.created_at, UTC),
        datetime.fromtimestamp(head.updated_at, UTC),
        moment_or_none(due_at),
        dict(head.tags),
        head.parent is not None,
        tuple(map(read_awaited, head.row.awaits)),
    )
