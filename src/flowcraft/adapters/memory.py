"""The ports in the memory of one process: for tests, and for trying things out.

What is kept here ends with the process. Each object is the storage itself: give the same one to
everybody who is to see the same queue or the same runs. Event loops in several threads may share
it.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from flowcraft.adapters.waiting import Waiting
from flowcraft.core.state import FINAL_STATUSES
from flowcraft.errors import RunNotFound
from flowcraft.ports.clock import Clock
from flowcraft.ports.coordination import Swapped
from flowcraft.ports.queue import Delivery, Outgoing
from flowcraft.ports.runs import (
    Change,
    Claim,
    Created,
    Entry,
    Fact,
    Head,
    Held,
    Holding,
    Lease,
    Query,
    Record,
    Renewed,
    Row,
    Verdict,
    Written,
    gone_from,
)
from flowcraft.ports.suspicion import PAGE_RUNS, Suspects, Suspicion

# --- texts ---------------------------------------------------------------------------------


class MemoryBlobs:
    """Texts by key, in a dict."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._lock = threading.Lock()

    async def put(self, key: str, text: str, *, replace: bool = False) -> None:
        """Keep a text; one that is there already stays, unless it is to be replaced."""
        with self._lock:
            if replace or key not in self._texts:
                self._texts[key] = text

    async def get(self, key: str) -> str | None:
        """The text kept under a key, or ``None``."""
        with self._lock:
            return self._texts.get(key)

    async def delete(self, key: str) -> None:
        """Forget a text; one that is not there is no error."""
        with self._lock:
            self._texts.pop(key, None)


# --- locks, counters, marks ----------------------------------------------------------------


class MemoryCoordination:
    """Texts and counters that expire, in a dict; who sets or counts removes what has expired.

    Args:
        clock: Decides what has expired.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._items: dict[str, tuple[str | int, float]] = {}

    async def increment(self, key: str, by: int = 1, *, ttl_seconds: float | None = None) -> int:
        """Add to a counter, which begins at 0; gives its new number.

        Raises:
            ValueError: The key holds a text.
        """
        with self._lock:
            self._clear()
            number, expires_at = self._items.get(key, (0, math.inf))
            if not isinstance(number, int):
                raise ValueError(f"'{key}' holds a text: it is no counter.")
            if ttl_seconds is not None:
                expires_at = self._clock.now() + ttl_seconds
            self._items[key] = (number + by, expires_at)
            return number + by

    async def set_if_not_exist(
        self, key: str, value: str, *, ttl_seconds: float | None = None
    ) -> bool:
        """Set a text where there is neither text nor counter; whether it was set."""
        with self._lock:
            self._clear()
            if key in self._items:
                return False
            lasts = math.inf if ttl_seconds is None else ttl_seconds
            self._items[key] = (value, self._clock.now() + lasts)
            return True

    async def extend_ttl(self, key: str, value: str, ttl_seconds: float) -> bool:
        """Let a text live for so long from now on, if it is this one; whether it was."""
        with self._lock:
            if self._get(key) != value:
                return False
            self._items[key] = (value, self._clock.now() + ttl_seconds)
            return True

    async def delete(self, key: str, value: str | None = None) -> bool:
        """Forget a key, with ``value`` only if it holds this text; whether there was something."""
        with self._lock:
            there = self._get(key)
            if there is None or value not in (None, there):
                return False
            del self._items[key]
            return True

    async def get(self, key: str) -> str | int | None:
        """The text, or the number of a counter; ``None`` where there is nothing."""
        with self._lock:
            return self._get(key)

    async def swap(
        self, key: str, expected: str | None, value: str | None, *, ttl_seconds: float | None = None
    ) -> Swapped:
        """Exchange a text for another, if it is the one that the caller knows."""
        with self._lock:
            self._clear()
            there = self._get(key)
            if there != expected:
                return Swapped(False, there)
            self._items.pop(key, None)
            if value is not None:
                lasts = math.inf if ttl_seconds is None else ttl_seconds
                self._items[key] = (value, self._clock.now() + lasts)
            return Swapped(True, value)

    def _get(self, key: str) -> str | int | None:
        value, expires_at = self._items.get(key, (None, -math.inf))
        return value if expires_at > self._clock.now() else None

    def _clear(self) -> None:
        now = self._clock.now()
        for key in [key for key, (_, expires_at) in self._items.items() if expires_at <= now]:
            del self._items[key]


# --- messages ------------------------------------------------------------------------------


@dataclass(slots=True)
class _Message:
    number: int
    body: str
    visible_at: float
    trace: str | None = None
    receives: int = 0

    @property
    def handle(self) -> str:
        return f"{self.number}/{self.receives}"


class MemoryQueue:
    """A queue in memory; who has been visible the longest is received first.

    Args:
        clock: Decides what is visible, and wakes those who wait.
        visibility_seconds: How long a delivery is hidden from others; more than 0.
    """

    def __init__(self, clock: Clock, *, visibility_seconds: float = 30.0) -> None:
        self._clock = clock
        self._visibility_seconds = visibility_seconds
        self._lock = threading.Lock()
        self._waiting = Waiting(clock)
        self._numbers = itertools.count(1)
        self._messages: dict[int, _Message] = {}
        # When each message gets visible, and its number. Hiding a message again adds an entry;
        # the one before is dropped when its turn comes.
        self._order: list[tuple[float, int]] = []

    @property
    def max_delay_seconds(self) -> float:
        """Any delay will do."""
        return float("inf")

    @property
    def visibility_seconds(self) -> float:
        """How long a delivery is hidden from others, unless it is extended."""
        return self._visibility_seconds

    @property
    def max_hold_seconds(self) -> float:
        """A delivery may be hidden for as long as it is extended."""
        return float("inf")

    @property
    def batch(self) -> int:
        """A message is as cheap as several."""
        return 1

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages."""
        if not messages:
            return
        with self._lock:
            now = self._clock.now()
            for message in messages:
                sent = _Message(next(self._numbers), message.body, 0.0, message.trace)
                self._messages[sent.number] = sent
                self._show_at(sent, now + message.delay_seconds)
        self._waiting.wake()

    async def receive(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:
        """Receive at most ``limit`` messages, waiting up to ``wait_seconds`` for the first."""
        deadline = self._clock.now() + wait_seconds
        while True:
            place = self._waiting.place()
            with self._lock:
                now = self._clock.now()
                taken = self._take(now, limit)
                message = self._next()
                due = deadline if message is None else min(message.visible_at, deadline)
            if taken or limit < 1 or now >= deadline:
                self._waiting.leave(place)
                return taken
            await self._waiting.wait(place, due)

    async def whole(self, body: str) -> str:
        """The text that was sent: nothing is changed on the way."""
        return body

    async def delete(self, handles: Sequence[str]) -> None:
        """Forget deliveries for good; one that is gone already is no error."""
        with self._lock:
            for handle in handles:
                if (message := self._delivered(handle)) is not None:
                    del self._messages[message.number]

    async def extend(self, handles: Sequence[str]) -> None:
        """Hide deliveries for another visibility timeout from now on."""
        with self._lock:
            until = self._clock.now() + self._visibility_seconds
            for handle in handles:
                if (message := self._delivered(handle)) is not None:
                    self._show_at(message, until)

    def _show_at(self, message: _Message, when: float) -> None:
        message.visible_at = when
        heapq.heappush(self._order, (when, message.number))

    def _next(self) -> _Message | None:
        """The message that is visible first; entries that do not hold any more are dropped."""
        while self._order:
            when, number = self._order[0]
            message = self._messages.get(number)
            if message is not None and message.visible_at == when:
                return message
            heapq.heappop(self._order)
        return None

    def _take(self, now: float, limit: int) -> list[Delivery]:
        taken: list[Delivery] = []
        while len(taken) < limit and (message := self._next()) and message.visible_at <= now:
            heapq.heappop(self._order)
            message.receives += 1
            self._show_at(message, now + self._visibility_seconds)
            id_, handle = str(message.number), message.handle
            delivery = Delivery(id_, handle, message.body, message.receives, trace=message.trace)
            taken.append(delivery)
        return taken

    def _delivered(self, handle: str) -> _Message | None:
        """The message of a delivery, unless it was received again since, or is gone."""
        message = self._messages.get(int(handle.partition("/")[0]))
        return message if message is not None and message.handle == handle else None


# --- runs ----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Run:
    """A run's record. The number of facts in ``head`` is not kept up to date."""

    head: Head
    facts: list[Fact] = field(default_factory=list)
    entry_ids: set[str] = field(default_factory=set)
    leases: dict[str, Lease] = field(default_factory=dict)

    def current_head(self) -> Head:
        return replace(self.head, facts=len(self.facts))

    def append(self, entries: Sequence[Entry], thread: str) -> None:
        for entry in entries:
            self.facts.append(Fact(len(self.facts), entry.at, thread, entry.data))
            if entry.id is not None:
                self.entry_ids.add(entry.id)

    def holds(self, holding: Holding, now: float) -> bool:
        lease = self.leases.get(holding.place)
        if lease is None or lease.over or lease.token != holding.token:
            return False
        return not holding.expired or lease.expires_at <= now

    def end(self, holding: Holding) -> None:
        lease = self.leases.pop(holding.place)
        if not holding.give_back:
            self.leases[holding.place] = replace(lease, over=True)

    def claim(self, claim: Claim, now: float, may_take: bool) -> tuple[bool, Lease | None]:
        """Take a lease; if that is not to be, say which one stands in the way."""
        lease = self.leases.get(claim.place)
        if lease is not None and (lease.over or lease.token != claim.token):
            return False, lease
        if lease is None and not may_take:
            return False, None
        # A lease that is the claim's own is one whose grant was lost on the way.
        expires_at = now + claim.seconds
        self.leases[claim.place] = Lease(claim.place, claim.token, claim.thread, expires_at)
        return True, None

    def has_done(self, change: Change, facts: Sequence[Fact], now: float) -> bool:
        """Whether a change was carried out before; then its lease lasts from now on."""
        if change.claim is None or not change.is_in(facts):
            return False
        granted, _ = self.claim(change.claim, now, may_take=False)
        return granted

    def set_row(self, row: Row, now: float, retention_seconds: float | None) -> bool:
        status = self.head.row.status
        if status in FINAL_STATUSES and row.status != status:
            return False
        expires_at = self.head.expiry(row, now, retention_seconds)
        self.head = replace(self.head, row=row, updated_at=now, expires_at=expires_at)
        return True


class MemoryRuns:
    """The records of runs in memory.

    Args:
        clock: Decides when a lease has expired.
        retention_seconds: How long after its end a run counts as absent; never by default.
    """

    rows_are_apart = False

    def __init__(self, clock: Clock, retention_seconds: float | None = None) -> None:
        self._clock = clock
        self._retention_seconds = retention_seconds
        self._lock = threading.Lock()
        self._runs: dict[str, _Run] = {}
        self._keys: dict[str, str] = {}

    async def create(self, head: Head, entries: Sequence[Entry], thread: str) -> Created:
        """Begin a record with its first facts, unless there is one of this run id or key.

        Returns:
            The run that is there now, and whether it is the new one.
        """
        with self._lock:
            there = self._runs.get(head.run_id)
            if there is None and head.key is not None and head.key in self._keys:
                there = self._runs[self._keys[head.key]]
            is_new = there is None
            if there is None:
                expires_at = head.expiry(head.row, self._clock.now(), self._retention_seconds)
                there = _Run(replace(head, tags=dict(head.tags), expires_at=expires_at))
                there.append(entries, thread)
                self._runs[head.run_id] = there
                if head.key is not None:
                    self._keys[head.key] = head.run_id
            return Created(there.current_head(), is_new)

    async def read(self, run_id: str, since: int = 0) -> Record | None:
        """A run, with its facts from number ``since`` on, and its leases."""
        with self._lock:
            run = self._runs.get(run_id)
            if run is None:
                return None
            leases = tuple(lease for lease in run.leases.values() if not lease.over)
            return Record(run.current_head(), tuple(run.facts[since:]), leases)

    async def write(self, change: Change) -> Written:
        """Do a conditional write."""
        with self._lock:
            run = self._runs.get(change.run_id)
            now = self._clock.now()
            if run is None or run.head.epoch != change.epoch or run.head.is_gone(now):
                return Written(Verdict.GONE)
            is_current = change.seen == len(run.facts)
            refusal = _refusal(run, change, is_current, now)
            if refusal is not None:
                facts = tuple(run.facts[change.seen :])
                if run.has_done(change, facts, now):
                    return Written(Verdict.DONE, facts, change.seen, granted=True)
                return Written(refusal, facts)
            return _carry_out(run, change, is_current, now, self._retention_seconds)

    async def renew(self, leases: Sequence[Held], seconds: float) -> Sequence[Renewed]:
        """Prolong leases from now on, and learn what became of them."""
        with self._lock:
            until = self._clock.now() + seconds
            return [self._renew(held, until) for held in leases]

    async def find(self, query: Query) -> Sequence[Head]:
        """List runs.

        Raises:
            RunNotFound: There is no run any more that the list should go on behind.
        """
        with self._lock:
            heads = [run.current_head() for run in self._runs.values()]
            behind = self._runs.get(query.after or "")
        if query.after is not None:
            if behind is None:
                raise RunNotFound(f"There is no run '{query.after}' to go on behind.")
            heads = [head for head in heads if _place(head) < _place(behind.head)]
        now = self._clock.now()
        heads = [head for head in heads if query.is_of_time(head, now)]
        found = sorted((head for head in heads if _matches(head, query)), key=_place, reverse=True)
        return found[: query.limit]

    async def suspects(self, suspicion: Suspicion, after: str | None = None) -> Suspects:
        """A page of the runs that may be stuck, by id."""
        with self._lock:
            heads = [run.current_head() for run in self._runs.values()]
        now = self._clock.now()
        heads = [head for head in heads if not head.is_gone(now)]
        left = [head for head in heads if after is None or head.run_id > after]
        found = sorted(filter(suspicion.is_about, left), key=lambda head: head.run_id)
        page = found[:PAGE_RUNS]
        return Suspects(page, page[-1].run_id if len(found) > PAGE_RUNS else None)

    async def remove(self, run_id: str, epoch: str, *, only_hide: bool = False) -> None:
        """Forget a run and everything that is stored with it, or let it count as absent."""
        with self._lock:
            run = self._runs.get(run_id)
            if run is None or run.head.epoch != epoch:
                return
            if only_hide:
                gone_at = gone_from(self._clock.now())
                if not run.head.is_gone(gone_at):
                    run.head = replace(run.head, expires_at=gone_at)
                return
            del self._runs[run_id]
            if run.head.key is not None:
                del self._keys[run.head.key]

    def _renew(self, held: Held, until: float) -> Renewed:
        run = self._runs.get(held.run_id)
        if run is None or run.head.is_gone(self._clock.now()):
            return Renewed(held=False, stopping=False)
        lease = run.leases.get(held.place)
        is_held = lease is not None and lease.token == held.token and not lease.over
        if lease is not None and is_held:
            run.leases[held.place] = replace(lease, expires_at=until)
        return Renewed(is_held, run.head.row.stopping)


def _refusal(run: _Run, change: Change, is_current: bool, now: float) -> Verdict | None:
    """Why nothing is written, if so. The first reason counts."""
    if change.exact and not is_current:
        return Verdict.STALE
    ids = [entry.id for entry in change.entries if entry.id is not None]
    if len(set(ids)) < len(ids) or not run.entry_ids.isdisjoint(ids):
        return Verdict.KNOWN
    if change.holding is not None and not run.holds(change.holding, now):
        return Verdict.LOST
    return None


def _carry_out(
    run: _Run, change: Change, is_current: bool, now: float, retention_seconds: float | None
) -> Written:
    if change.holding is not None:
        run.end(change.holding)
    granted, lease = False, None
    if change.claim is not None:
        may_take = is_current or not change.entries
        granted, lease = run.claim(change.claim, now, may_take)
    first = len(run.facts) if change.entries else -1
    run.append(change.entries, change.thread)
    row_written = (
        change.row is not None and is_current and run.set_row(change.row, now, retention_seconds)
    )
    facts = tuple(run.facts[change.seen :])
    return Written(Verdict.DONE, facts, first, granted, lease, row_written)


def _place(head: Head) -> tuple[float, str]:
    """Where a run stands in lists, read backwards."""
    return head.created_at, head.run_id


def _matches(head: Head, query: Query) -> bool:
    due_at = head.row.due_at
    return (
        (query.parts or not head.is_part)
        and query.status in (None, head.row.status)
        and query.blueprint_id in (None, head.blueprint_id)
        and query.tags.items() <= head.tags.items()
        and (query.created_from is None or head.created_at >= query.created_from)
        and (query.created_until is None or head.created_at < query.created_until)
        and (query.due_before is None or (due_at is not None and due_at < query.due_before))
        and (query.updated_before is None or head.updated_at < query.updated_before)
        and (query.awaits is None or query.awaits in head.row.awaits)
    )
