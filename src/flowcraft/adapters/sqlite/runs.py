"""The records of runs, in tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from flowcraft.adapters.sqlite.checking import checked_facts, checked_lease
from flowcraft.adapters.sqlite.connection import Database, Execute
from flowcraft.adapters.sqlite.listing import HEADS, head_of, list_runs, list_suspects, tags_text
from flowcraft.core.state import FINAL_STATUSES
from flowcraft.ports.runs import (
    Change,
    Claim,
    Created,
    Entry,
    Fact,
    Head,
    Held,
    Lease,
    Query,
    Record,
    Renewed,
    Row,
    Verdict,
    Written,
    gone_from,
)
from flowcraft.ports.suspicion import Suspects, Suspicion

_STATE = """
    SELECT epoch, status, due_at, (SELECT max(number) + 1 FROM facts WHERE run_id = runs.run_id)
    FROM runs WHERE run_id = ? AND (expires_at IS NULL OR expires_at > ?)
"""
_FACTS = (
    "SELECT number, at, thread, data FROM facts WHERE run_id = ? AND number >= ? ORDER BY number"
)
_LEASES = """
    SELECT place, token, thread, expires_at, over FROM leases WHERE run_id = ? AND NOT over
"""
_LEASE = "SELECT place, token, thread, expires_at, over FROM leases WHERE run_id = ? AND place = ?"
_IS_KNOWN = "SELECT 1 FROM facts WHERE run_id = ? AND id = ?"
_APPEND = "INSERT INTO facts (run_id, number, at, thread, data, id) VALUES (?, ?, ?, ?, ?, ?)"

_END = """
    UPDATE leases SET over = 1
    WHERE run_id = ? AND place = ? AND token = ? AND NOT over AND expires_at <= ?
"""
_GIVE_BACK = """
    DELETE FROM leases
    WHERE run_id = ? AND place = ? AND token = ? AND NOT over AND expires_at <= ?
"""
_CLAIM = """
    INSERT INTO leases (run_id, place, token, thread, expires_at, over) VALUES (?, ?, ?, ?, ?, 0)
    ON CONFLICT (run_id, place) DO NOTHING
"""
_RENEW = """
    UPDATE leases SET expires_at = ? WHERE run_id = ? AND place = ? AND token = ? AND NOT over
"""
_HIDE = """
    UPDATE runs SET expires_at = ?
    WHERE run_id = ? AND epoch = ? AND (expires_at IS NULL OR expires_at > ?)
"""
_EXPIRE = (
    "UPDATE runs SET expires_at = ? WHERE run_id = ? AND expires_at IS NULL AND parent IS NULL"
)
_IS_GONE = "SELECT 1 FROM runs WHERE run_id = ? AND expires_at <= ?"
_IS_STOPPING = "SELECT stopping FROM runs WHERE run_id = ?"

# SQLite writes the indexes of every column that is set, changed or not: most rows keep these two.
_UPDATE = "UPDATE runs SET stopping = ?, updated_at = ? WHERE run_id = ?"
_UPDATE_ALL = """
    UPDATE runs SET stopping = ?, updated_at = ?, status = ?, due_at = ? WHERE run_id = ?
"""

_HEAD = f"{HEADS} WHERE run_id = ?"
_HEAD_BY_KEY = f"{HEADS} WHERE key = ?"
_CREATE = """
    INSERT INTO runs (run_id, epoch, blueprint_id, blueprint_hash, status, stopping, due_at,
                      created_at, updated_at, parent, tags, key, is_part, expires_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_TAG = "INSERT INTO tags (name, value, run_id) VALUES (?, ?, ?)"
_AWAITED = "SELECT event FROM awaited WHERE run_id = ?"
_AWAIT = "INSERT INTO awaited (run_id, event) VALUES (?, ?)"
_AWAIT_NO_MORE = "DELETE FROM awaited WHERE run_id = ? AND event = ?"
_REMOVE = "DELETE FROM runs WHERE run_id = ? AND epoch = ?"
_REMOVE_REST = (
    "DELETE FROM facts WHERE run_id = ?",
    "DELETE FROM leases WHERE run_id = ?",
    "DELETE FROM tags WHERE run_id = ?",
    "DELETE FROM awaited WHERE run_id = ?",
)


class _State(NamedTuple):
    """What a write needs to know of the run that it finds."""

    epoch: str
    status: str
    due_at: float | None
    facts: int


class SqliteRuns:
    """The records of runs; each method raises a ``StorageError`` if the database cannot be used.

    Args:
        database: The file.
        retention_seconds: How long after its end a run counts as absent; never by default.
    """

    rows_are_apart = False

    def __init__(self, database: Database, retention_seconds: float | None = None) -> None:
        self._database = database
        self._retention_seconds = retention_seconds
        self._clock = database.clock

    async def create(self, head: Head, entries: Sequence[Entry], thread: str) -> Created:
        """Begin a record with its first facts, unless there is one of this run id or key.

        Returns:
            The run that is there now, and whether it is the new one.
        """
        self._database.check_file()
        with self._database.transaction as execute:
            there = execute(_HEAD, (head.run_id,)).fetchone()
            if there is None and head.key is not None:
                there = execute(_HEAD_BY_KEY, (head.key,)).fetchone()
            is_new = there is None
            if is_new:
                expires_at = head.expiry(head.row, self._clock.now(), self._retention_seconds)
                _insert(execute, replace(head, expires_at=expires_at))
                _append(execute, head.run_id, 0, entries, thread)
                there = execute(_HEAD, (head.run_id,)).fetchone()
        return Created(head_of(there), is_new)

    async def read(self, run_id: str, since: int = 0) -> Record | None:
        """A run, with its facts from number ``since`` on, and its leases."""
        with self._database.snapshot as execute:
            head = execute(_HEAD, (run_id,)).fetchone()
            if head is None:
                return None
            facts = _facts(execute, run_id, since)
            rows = execute(_LEASES, (run_id,))
            leases = tuple(checked_lease(run_id, _lease(*row)) for row in rows)
        return Record(head_of(head), facts, leases)

    async def write(self, change: Change) -> Written:
        """Do a conditional write, in one transaction."""
        with self._database.transaction as execute:
            now = self._clock.now()
            row = execute(_STATE, (change.run_id, now)).fetchone()
            if row is None or row[0] != change.epoch:
                return Written(Verdict.GONE)
            state = _State(*row)
            # Ending the lease is the last condition and the first thing done: when it fails
            # there is nothing to be undone.
            refusal = _refusal(execute, change, state) or _end(execute, change, now)
            if refusal is not None:
                facts = _facts(execute, change.run_id, change.seen)
                if _has_done(execute, change, facts, now):
                    return Written(Verdict.DONE, facts, change.seen, granted=True)
                return Written(refusal, facts)
            written = _carry_out(execute, change, state, now)
            if written.row_written and self._retention_seconds is not None:
                _let_expire(execute, change, now + self._retention_seconds)
            return written

    async def renew(self, leases: Sequence[Held], seconds: float) -> Sequence[Renewed]:
        """Prolong leases from now on, and learn what became of them."""
        if not leases:
            return ()
        now = self._clock.now()
        with self._database.transaction as execute:
            return [_renew(execute, held, now, seconds) for held in leases]

    async def find(self, query: Query) -> Sequence[Head]:
        """List runs.

        Raises:
            RunNotFound: There is no run any more that the list should go on behind.
        """
        with self._database.snapshot as execute:
            return list_runs(execute, query, self._clock.now())

    async def suspects(self, suspicion: Suspicion, after: str | None = None) -> Suspects:
        """A page of the runs that may be stuck, by id."""
        with self._database.snapshot as execute:
            return list_suspects(execute, suspicion, after, self._clock.now())

    async def remove(self, run_id: str, epoch: str, *, only_hide: bool = False) -> None:
        """Forget a run and everything that is stored with it, or let it count as absent."""
        with self._database.transaction as execute:
            if only_hide:
                gone_at = gone_from(self._clock.now())
                execute(_HIDE, (gone_at, run_id, epoch, gone_at))
            elif execute(_REMOVE, (run_id, epoch)).rowcount:
                for statement in _REMOVE_REST:
                    execute(statement, (run_id,))


# --- steps of a write ----------------------------------------------------------------------


def _refusal(execute: Execute, change: Change, state: _State) -> Verdict | None:
    if change.exact and change.seen != state.facts:
        return Verdict.STALE
    ids = [entry.id for entry in change.entries if entry.id is not None]
    if len(set(ids)) < len(ids):
        return Verdict.KNOWN
    for id_ in ids:
        if execute(_IS_KNOWN, (change.run_id, id_)).fetchone():
            return Verdict.KNOWN
    return None


def _end(execute: Execute, change: Change, now: float) -> Verdict | None:
    holding = change.holding
    if holding is None:
        return None
    statement = _GIVE_BACK if holding.give_back else _END
    # Any lease has expired by the end of time.
    by = now if holding.expired else math.inf
    ended = execute(statement, (change.run_id, holding.place, holding.token, by)).rowcount
    return None if ended else Verdict.LOST


def _carry_out(execute: Execute, change: Change, state: _State, now: float) -> Written:
    is_current = change.seen == state.facts
    granted, lease = False, None
    if change.claim is not None:
        may_take = is_current or not change.entries
        granted, lease = _claim(execute, change.run_id, change.claim, now, may_take)
    new = _append(execute, change.run_id, state.facts, change.entries, change.thread)
    row_written = (
        change.row is not None
        and is_current
        and _set_row(execute, change.run_id, state, change.row, now)
    )
    return Written(
        Verdict.DONE,
        new if is_current else _facts(execute, change.run_id, change.seen),
        first=state.facts if new else -1,
        granted=granted,
        lease=lease,
        row_written=row_written,
    )


def _claim(
    execute: Execute, run_id: str, claim: Claim, now: float, may_take: bool
) -> tuple[bool, Lease | None]:
    """Take a lease; if that is not to be, say which one stands in the way."""
    place, token, until = claim.place, claim.token, now + claim.seconds
    if may_take and execute(_CLAIM, (run_id, place, token, claim.thread, until)).rowcount:
        return True, None
    row = execute(_LEASE, (run_id, place)).fetchone()
    if row is None:
        return False, None
    lease = _lease(*row)
    if lease.over or lease.token != token:
        return False, lease
    # The lease is the claim's own: its grant was lost on the way.
    execute(_RENEW, (until, run_id, place, token))
    return True, None


def _has_done(execute: Execute, change: Change, facts: Sequence[Fact], now: float) -> bool:
    """Whether a change was carried out before; then its lease lasts from now on."""
    if change.claim is None or not change.is_in(facts):
        return False
    granted, _ = _claim(execute, change.run_id, change.claim, now, may_take=False)
    return granted


def _append(
    execute: Execute, run_id: str, first: int, entries: Sequence[Entry], thread: str
) -> tuple[Fact, ...]:
    for number, entry in enumerate(entries, first):
        execute(_APPEND, (run_id, number, entry.at, thread, entry.data, entry.id))
    return tuple(Fact(n, entry.at, thread, entry.data) for n, entry in enumerate(entries, first))


def _set_row(execute: Execute, run_id: str, state: _State, row: Row, now: float) -> bool:
    if (row.status, row.due_at) == (state.status, state.due_at):
        execute(_UPDATE, (row.stopping, now, run_id))
    elif state.status in FINAL_STATUSES and row.status != state.status:
        return False
    else:
        execute(_UPDATE_ALL, (row.stopping, now, row.status, row.due_at, run_id))
    _set_awaited(execute, run_id, row.awaits)
    return True


def _let_expire(execute: Execute, change: Change, at: float) -> None:
    """Let a run expire that has come to its end, and belongs to no other one."""
    if change.row is not None and change.row.status in FINAL_STATUSES:
        execute(_EXPIRE, (at, change.run_id))


def _set_awaited(execute: Execute, run_id: str, events: Sequence[str]) -> None:
    """Write the difference: of many events most stay."""
    before = {event for (event,) in execute(_AWAITED, (run_id,))}
    for event in before.difference(events):
        execute(_AWAIT_NO_MORE, (run_id, event))
    for event in events:
        if event not in before:
            execute(_AWAIT, (run_id, event))


# --- rows and values -----------------------------------------------------------------------


def _insert(execute: Execute, head: Head) -> None:
    row = head.row
    execute(
        _CREATE,
        (
            head.run_id,
            head.epoch,
            head.blueprint_id,
            head.blueprint_hash,
            row.status,
            row.stopping,
            row.due_at,
            head.created_at,
            head.updated_at,
            head.parent,
            tags_text(head.tags),
            head.key,
            head.is_part,
            head.expires_at,
        ),
    )
    for name, value in head.tags.items():
        execute(_TAG, (name, value, head.run_id))
    for event in row.awaits:
        execute(_AWAIT, (head.run_id, event))


def _facts(execute: Execute, run_id: str, since: int) -> tuple[Fact, ...]:
    return checked_facts(run_id, (Fact(*row) for row in execute(_FACTS, (run_id, since))))


def _lease(place: str, token: str, thread: str, expires_at: float, over: int) -> Lease:
    return Lease(place, token, thread, expires_at, bool(over))


def _renew(execute: Execute, held: Held, now: float, seconds: float) -> Renewed:
    if execute(_IS_GONE, (held.run_id, now)).fetchone():
        return Renewed(held=False, stopping=False)
    until = now + seconds
    is_held = execute(_RENEW, (until, held.run_id, held.place, held.token)).rowcount > 0
    row = execute(_IS_STOPPING, (held.run_id,)).fetchone()
    return Renewed(is_held, row is not None and bool(row[0]))
