"""The records of runs: a log of facts each, the leases on their work, and a row for people.

What is stored of a run is what happened, in order; everything else is derived from it (see
``docs/decisions/0007-a-log-of-facts.md``). One conditional write does all that changes a record:
it appends facts, gives up a lease, takes another and updates the row, or does nothing at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from flowcraft.core.state import FINAL_STATUSES, Usage

if TYPE_CHECKING:
    from flowcraft.ports.suspicion import Suspects, Suspicion


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened in a run.

    Attributes:
        number: Its place in the run's log, from 0 without gaps.
        at: When it was written, in seconds since the epoch.
        thread: Which message it was written for.
        data: What happened, encoded by the engine.
    """

    number: int
    at: float
    thread: str
    data: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A fact to be written. Of entries with the same ``id`` a run takes one."""

    data: str
    at: float
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to carry out one attempt at something.

    Attributes:
        place: What is to be carried out, the attempt included.
        token: Who holds it: a fencing token.
        thread: The message it is held for.
        expires_at: When another may take it over, in the store's time.
        over: Whether the attempt has ended; then nobody may take it any more. Who held it need
            not be remembered then: only the place and this are sure to be right.
    """

    place: str
    token: str
    thread: str
    expires_at: float
    over: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease to be taken."""

    place: str
    token: str
    thread: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Holding:
    """A lease that a write requires, and ends.

    Attributes:
        expired: The writer takes over from a holder that is gone: the lease must have expired.
        give_back: The attempt never happened: its place is free again.
    """

    place: str
    token: str
    expired: bool = False
    give_back: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """What people, and whoever looks for stuck runs, see of a run.

    Attributes:
        status: The run's status.
        stopping: Whether running nodes are to be stopped.
        due_at: When its next timer is due; ``None`` without one.
        awaits: The events it waits for, as texts of the engine's; in order, each once.
    """

    status: str
    stopping: bool = False
    due_at: float | None = None
    awaits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Head:
    """A run without its facts.

    Attributes:
        run_id: The run.
        epoch: Tells this start of it from another one under the same id.
        blueprint_id: Its blueprint.
        blueprint_hash: The content of the blueprint it was started with.
        facts: How many facts it has.
        row: What people see.
        created_at: When it was started, in seconds since the epoch.
        updated_at: When its row was last written.
        parent: Of a child run what its parent needs to know it by.
        tags: The user's labels.
        key: The idempotency key it was started with.
        is_part: Whether it is a part of another run that nobody lists, such as a shard.
        expires_at: From when on it counts as absent, in the store's time; ``None`` for never.
        usage: What it has cost so far, where the store counts that, and a single run was read.
    """

    run_id: str
    epoch: str
    blueprint_id: str
    blueprint_hash: str
    facts: int
    row: Row
    created_at: float
    updated_at: float
    parent: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    is_part: bool = False
    expires_at: float | None = None
    usage: Usage | None = None

    def is_gone(self, now: float) -> bool:
        """Whether it counts as absent."""
        return self.expires_at is not None and self.expires_at <= now

    def expiry(self, row: Row, now: float, retention_seconds: float | None) -> float | None:
        """When it expires, once its row is this one.

        A run expires some time after its end, and what belongs to it goes with it.
        """
        is_kept = row.status not in FINAL_STATUSES or self.parent is not None
        if self.expires_at is not None or retention_seconds is None or is_kept:
            return self.expires_at
        return now + retention_seconds


class Heads(list[Head]):
    """Runs that a store has found, with how many rows it read for them.

    Args:
        heads: The runs.
        rows_read: How many rows, or entries of an index, were read.
        scanned: Whether all rows were read, for want of an index.
    """

    def __init__(
        self, heads: Iterable[Head] = (), rows_read: int = 0, *, scanned: bool = False
    ) -> None:
        super().__init__(heads)
        self.rows_read = rows_read
        self.scanned = scanned


class Created(NamedTuple):
    """The run that is there after ``create``, and whether it was made just now."""

    head: Head
    is_new: bool


@dataclass(frozen=True, slots=True)
class Record:
    """A run with some of its facts, and the leases that are not over."""

    head: Head
    facts: Sequence[Fact]
    leases: Sequence[Lease]


@dataclass(frozen=True, slots=True)
class Change:
    """A conditional write.

    Attributes:
        run_id: The run.
        epoch: Must be the run's.
        seen: How many facts the writer knows.
        thread: The message it writes for.
        entries: Facts to append.
        holding: The lease it must hold.
        claim: A lease to take: if its place is free, and, when facts are appended too, if
            nothing was written that the writer does not know. A store may forget where attempts
            have ended; it then refuses the claims of writers who may not know of that either,
            with no lease in the way: they have to catch up first.
        row: The row that follows; written if nothing was written that the writer does not know.
        exact: Refuse the whole write otherwise.
    """

    run_id: str
    epoch: str
    seen: int
    thread: str = ""
    entries: tuple[Entry, ...] = ()
    holding: Holding | None = None
    claim: Claim | None = None
    row: Row | None = None
    exact: bool = False

    def is_in(self, facts: Sequence[Fact]) -> bool:
        """Whether its entries are the first of some facts: those from ``seen`` on.

        Where its claim stands as well the change was carried out before, and its answer was lost.
        """
        written = [(fact.at, fact.thread, fact.data) for fact in facts[: len(self.entries)]]
        asked = [(entry.at, self.thread, entry.data) for entry in self.entries]
        return bool(asked) and written == asked


class Verdict(StrEnum):
    """What became of a write."""

    DONE = "done"
    GONE = "gone"  # no such run, or another epoch of it
    LOST = "lost"  # the lease is somebody else's
    STALE = "stale"  # something was written that the writer does not know
    KNOWN = "known"  # an entry with this id was written before


@dataclass(frozen=True, slots=True)
class Written:
    """The answer to a write.

    Attributes:
        verdict: What became of it.
        facts: All facts from ``seen`` on, the new ones included.
        first: The number of the first fact appended.
        granted: Whether the claim was granted.
        lease: The lease that stands at the claim's place where it was not granted.
        row_written: Whether the row was.
        usage: What the run has cost so far, where the store counts that.
    """

    verdict: Verdict
    facts: Sequence[Fact] = ()
    first: int = -1
    granted: bool = False
    lease: Lease | None = None
    row_written: bool = False
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A lease to renew."""

    run_id: str
    place: str
    token: str


@dataclass(frozen=True, slots=True)
class Renewed:
    """What became of a lease: whether it is still held, and whether its run is stopping."""

    held: bool
    stopping: bool


@dataclass(frozen=True, slots=True)
class Query:
    """Which runs to list, newest first; ``None`` for any.

    Attributes:
        after: Goes on behind the run of this id, as the page before said.
        due_before: Runs with a timer due before this time.
        updated_before: Runs whose row was last written before this time.
        parts: Whether parts of other runs are listed too.
        awaits: Runs whose row has this event among those it waits for.
        lapsed: Only runs whose time is over: those that count as absent, which are not listed
            otherwise, and those that do not expire by themselves, belong to no other run, and were
            over, with a row that was last written, before this time.
    """

    status: str | None = None
    blueprint_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    created_from: float | None = None
    created_until: float | None = None
    due_before: float | None = None
    updated_before: float | None = None
    awaits: str | None = None
    after: str | None = None
    limit: int = 100
    parts: bool = False
    lapsed: float | None = None

    def is_of_time(self, head: Head, now: float) -> bool:
        """Whether a run is to be listed as far as its time goes."""
        if self.lapsed is None or head.is_gone(now):
            return (self.lapsed is not None) == head.is_gone(now)
        is_own = head.expires_at is None and head.parent is None
        return is_own and head.row.status in FINAL_STATUSES and head.updated_at < self.lapsed


NO_FACTS = 1 << 60
"""A number from which on no run has facts: what is read is then its head and its leases."""


CLOCKS_SECONDS = 60.0
"""How far clocks that a store goes by may be apart, at most."""


def gone_from(now: float) -> float:
    """From when on a run counts as absent that is hidden now.

    It is a while ago, so that nobody whose clock is behind goes on with the run, and leaves what
    whoever removes it has not seen.
    """
    return max(0.0, now - CLOCKS_SECONDS)


class RunStore(Protocol):
    """Keeps the records of runs."""

    @property
    def rows_are_apart(self) -> bool:
        """Whether rows are written after the records, so that one may be missing, or behind."""
        ...

    async def create(self, head: Head, entries: Sequence[Entry], thread: str) -> Created:
        """Begin a record with its first facts, unless there is one of this run id or key.

        Args:
            head: The run; its ``facts`` says how many there are.
            entries: What happened so far: that it started, and whatever it takes over.
            thread: The message it is begun by.

        Returns:
            The run that is there now, and whether it is the new one.
        """
        ...

    async def read(self, run_id: str, since: int = 0) -> Record | None:
        """A run, with its facts from number ``since`` on, and its leases."""

    async def write(self, change: Change) -> Written:
        """Do a conditional write.

        Whoever got no answer asks again. A change that appends facts and takes a lease is then
        answered as one that is done, as long as the lease is the claim's: nobody else would know
        of it, and it would count as that of a worker that is gone.
        """
        ...

    async def renew(self, leases: Sequence[Held], seconds: float) -> Sequence[Renewed]:
        """Prolong leases from now on, and learn what became of them."""
        ...

    async def find(self, query: Query) -> Sequence[Head]:
        """List runs: as :class:`Heads`, if the store knows how many rows it reads."""
        ...

    async def suspects(self, suspicion: Suspicion, after: str | None = None) -> Suspects:
        """A page of the runs that may be stuck: all pages together are one pass over the rows.

        A run that is suspected from before the first page until the last one is in one of them;
        it may be in two. Rows that turn out to be behind are mended on the way.

        Args:
            suspicion: Which ones.
            after: What the page before gave; ``None`` for the first.
        """
        ...

    async def remove(self, run_id: str, epoch: str, *, only_hide: bool = False) -> None:
        """Forget a run and everything that is stored with it.

        Args:
            run_id: The run.
            epoch: Which start of it.
            only_hide: Let it count as absent: nothing can be written to it any more, it is in no
                list but that of lapsed runs, and it is read with a time from when on it is gone:
                that of :func:`gone_from`.
        """
