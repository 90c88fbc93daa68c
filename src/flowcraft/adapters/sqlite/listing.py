"""Runs as rows: reading them back, and finding them."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flowcraft.adapters.sqlite.checking import checked_head, damaged
from flowcraft.adapters.sqlite.connection import Execute
from flowcraft.core.state import FINAL_STATUSES
from flowcraft.errors import RunNotFound, StorageCorrupt
from flowcraft.ports.runs import Head, Heads, Query, Row
from flowcraft.ports.suspicion import PAGE_RUNS, Suspects, Suspicion

logger = logging.getLogger("flowcraft.sqlite")

_COLUMNS = """
    SELECT run_id, epoch, blueprint_id, blueprint_hash,
           (SELECT max(number) + 1 FROM facts WHERE run_id = runs.run_id),
           status, stopping, due_at, created_at, updated_at, parent, tags, key, is_part,
           expires_at, (SELECT group_concat(hex(event)) FROM awaited WHERE run_id = runs.run_id)
"""

HEADS = f"{_COLUMNS} FROM runs"
"""The rows of runs, for :func:`head_of`."""

# Without statistics SQLite would take the order by time to be worth more than the index of the
# few runs that have a timer.
_DUE = "FROM runs INDEXED BY runs_by_due"

# For the same reason the runs that wait for an event, or have a rare label, are looked up first,
# and then sorted.
_AWAITING = """
    FROM (SELECT run_id AS awaiting FROM awaited WHERE event = ?)
    CROSS JOIN runs ON runs.run_id = awaiting
"""
_TAGGED = """
    FROM (SELECT run_id AS tagged FROM tags WHERE name = ? AND value = ?)
    CROSS JOIN runs ON runs.run_id = tagged
"""
_WITH_TAG = "SELECT count(*) FROM (SELECT 1 FROM tags WHERE name = ? AND value = ? LIMIT ?)"
RARE_RUNS: Final = 1_000
"""Where no more runs have a label than this, they are looked up by it; else along the list."""

# Of the runs that are not over, and of those that have a timer: never all rows of the table.
_UNTOUCHED = """
    SELECT run_id FROM runs INDEXED BY runs_by_status WHERE status IN ({}) AND updated_at < ?
"""
_OVERDUE = "SELECT run_id FROM runs INDEXED BY runs_by_due WHERE status IN ({}) AND due_at < ?"

_PLACE = "SELECT created_at, run_id FROM runs WHERE run_id = ?"
_ORDER = "ORDER BY created_at DESC, run_id DESC LIMIT ? OFFSET ?"
_HAS_TAG = "run_id IN (SELECT run_id FROM tags WHERE name = ? AND value = ?)"
_IS_LISTED = "is_part = 0"

_LIVES = "(expires_at IS NULL OR expires_at > ?)"
_HAS_LAPSED = "run_id IN ({})"
_EXPIRED = "SELECT run_id FROM runs INDEXED BY runs_by_expiry WHERE expires_at <= ?"
_OVER_FOR_LONG = f"""
    UNION SELECT run_id FROM runs INDEXED BY runs_by_status WHERE status IN
    ({", ".join(f"'{status}'" for status in sorted(map(str, FINAL_STATUSES)))})
    AND expires_at IS NULL AND parent IS NULL AND updated_at < ?
"""


Term = tuple[str, tuple[Any, ...]]
"""A condition on a row, with its values."""


@dataclass(frozen=True, slots=True)
class _Way:
    """How the rows of a list are come by.

    Attributes:
        source: The tables and the index.
        values: The values of the source.
        ends: What an index has: only rows of the list are read that meet all of these.
        filters: What is looked at in each row.
        rows: How many rows are read however long the page; ``None`` where that depends on it.
    """

    source: str
    values: tuple[Any, ...]
    ends: list[Term]
    filters: list[Term]
    rows: int | None = None

    def select(self, columns: str, more: Sequence[Term] = ()) -> tuple[str, tuple[Any, ...]]:
        """The statement that reads columns of its rows, with its values."""
        terms = [*self.ends, *more]
        where = f"WHERE {' AND '.join(text for text, _ in terms)}" if terms else ""
        values = [value for _, given in terms for value in given]
        return f"{columns} {self.source} {where}", (*self.values, *values)


def list_runs(execute: Execute, query: Query, now: float) -> Heads:
    """The runs that a query asks for, at a time, and how many rows were read for that.

    By status, blueprint, both of them, or time, no more rows are read than are given, but for those
    of runs whose time is over and that nobody has removed yet. A page is filled up behind rows that
    cannot be read: who goes on does so behind its last run, and takes a page that is shorter for
    the end.

    Raises:
        RunNotFound: There is no run any more that the list should go on behind.
    """
    way = _way(execute, query, now)
    statement, values = way.select(_COLUMNS, way.filters)
    heads: list[Head] = []
    read = 0
    last: tuple[Any, ...] | None = None
    while len(heads) < query.limit:
        rows = execute(f"{statement} {_ORDER}", (*values, query.limit, read)).fetchall()
        heads += _readable(rows)[0]
        read += len(rows)
        if len(rows) < query.limit:
            last = None
            break
        last = rows[-1]
    return Heads(heads[: query.limit], _rows_read(execute, way, query, read, last))


def _rows_read(
    execute: Execute, way: _Way, query: Query, given: int, last: tuple[Any, ...] | None
) -> int:
    """How many rows were looked at for those that were given, the last of a full page among them.

    They are counted in the index that the rows were read by, where labels have left some out.
    """
    if way.rows is not None:
        return way.rows
    if not query.tags:
        return given
    down_to = [] if last is None else [("(created_at, run_id) >= (?, ?)", (last[8], last[0]))]
    statement, values = way.select("SELECT count(*)", down_to)
    return int(execute(statement, values).fetchone()[0])


def _way(execute: Execute, query: Query, now: float) -> _Way:
    ends = list(_ends(execute, query))
    filters: list[Term] = [_time(query, now)]
    for name, column in (("due_before", "due_at"), ("updated_before", "updated_at")):
        if getattr(query, name) is not None:
            filters.append((f"{column} < ?", (getattr(query, name),)))
    filters += [(_HAS_TAG, tag) for tag in query.tags.items()]
    if query.awaits is not None:
        return _Way(_AWAITING, (query.awaits,), ends, filters)
    if query.due_before is not None:
        # Said once more, since rows are counted without the filters, and the index needs it.
        return _Way(_DUE, (), [*ends, ("due_at IS NOT NULL", ())], filters)
    if query.lapsed is not None or query.parts:
        return _Way("FROM runs", (), ends, filters)
    rarest = min(((_count(execute, tag), tag) for tag in query.tags.items()), default=None)
    if rarest is not None and rarest[0] <= RARE_RUNS:
        return _Way(_TAGGED, rarest[1], ends, filters, rarest[0])
    return _Way(f"FROM runs INDEXED BY {_index(query)}", (), ends, filters)


def _count(execute: Execute, tag: tuple[str, str]) -> int:
    """How many runs have a label, as far as that matters."""
    return int(execute(_WITH_TAG, (*tag, RARE_RUNS + 1)).fetchone()[0])


def _index(query: Query) -> str:
    """The index that has the runs of a list in their order."""
    if query.blueprint_id is None:
        return "runs_by_time" if query.status is None else "runs_by_status"
    return "runs_by_blueprint" if query.status is None else "runs_by_blueprint_status"


def _readable(rows: Iterable[tuple[Any, ...]]) -> tuple[list[Head], list[str]]:
    """The runs of rows, and the ids of those that cannot be read, which the log tells of."""
    heads: list[Head] = []
    failed: list[str] = []
    for row in rows:
        try:
            heads.append(head_of(row))
        except StorageCorrupt as error:
            logger.error("A run cannot be read, and is left out: %s", error)
            failed.append(str(row[0]))
    return heads, failed


def _time(query: Query, now: float) -> tuple[str, tuple[float, ...]]:
    """Whose time is not over, or whose is."""
    if query.lapsed is None:
        return _LIVES, (now,)
    if not math.isfinite(query.lapsed):
        return _HAS_LAPSED.format(_EXPIRED), (now,)
    return _HAS_LAPSED.format(_EXPIRED + _OVER_FOR_LONG), (now, query.lapsed)


def list_suspects(
    execute: Execute, suspicion: Suspicion, after: str | None, now: float
) -> Suspects:
    """A page of the runs that may be stuck, at a time."""
    kinds = ((_UNTOUCHED, suspicion.untouched), (_OVERDUE, suspicion.overdue))
    asked = [(text.format(_marks(statuses)), statuses) for text, statuses in kinds if statuses]
    suspected = " UNION ".join(text for text, _ in asked)
    values = [value for _, statuses in asked for value in (*statuses, suspicion.before)]
    found = execute(
        f"{HEADS} WHERE run_id > ? AND {_LIVES} AND run_id IN ({suspected}) "
        "ORDER BY run_id LIMIT ?",
        (after or "", now, *values, PAGE_RUNS + 1),
    )
    rows = found.fetchall()
    page = rows[:PAGE_RUNS]
    heads, failed = _readable(page)
    after_page = str(page[-1][0]) if len(rows) > PAGE_RUNS else None
    return Suspects(heads, after_page, failed=failed)


def _marks(values: tuple[str, ...]) -> str:
    return ", ".join("?" * len(values))


def head_of(row: tuple[Any, ...]) -> Head:
    """The run of a row of ``HEADS``.

    Raises:
        StorageCorrupt: The row was altered.
    """
    run_id, epoch, blueprint_id, blueprint_hash, facts, status, stopping, due_at, *rest = row
    created_at, updated_at, parent, tags, key, is_part, expires_at, awaited = rest
    try:
        labels = json.loads(tags) if tags else {}
        events = _events(awaited)
    except (TypeError, ValueError) as error:
        raise damaged(
            run_id, f"its tags, or what it waits for, cannot be read ({error})"
        ) from error
    head = Head(
        run_id=run_id,
        epoch=epoch,
        blueprint_id=blueprint_id,
        blueprint_hash=blueprint_hash,
        facts=facts or 0,
        row=Row(status, bool(stopping), due_at, events),
        created_at=created_at,
        updated_at=updated_at,
        parent=parent,
        tags=labels,
        key=key,
        is_part=bool(is_part),
        expires_at=expires_at,
    )
    return checked_head(head)


def _events(hexadecimal: str | None) -> tuple[str, ...]:
    """Events as one column has them: any character may be in them, so none can separate them."""
    texts = () if hexadecimal is None else hexadecimal.split(",")
    return tuple(sorted(bytes.fromhex(text).decode() for text in texts))


def tags_text(tags: Mapping[str, str]) -> str:
    """Tags as the text that :func:`head_of` reads."""
    return json.dumps(dict(tags)) if tags else ""


def _ends(execute: Execute, query: Query) -> Iterator[Term]:
    """What the rows of a list have in common, and between which times they are."""
    if query.status is not None:
        yield "status = ?", (query.status,)
    if query.blueprint_id is not None:
        yield "blueprint_id = ?", (query.blueprint_id,)
    if not query.parts:
        yield _IS_LISTED, ()
    if query.created_from is not None:
        yield "created_at >= ?", (query.created_from,)
    place = None
    if query.after is not None:
        place = execute(_PLACE, (query.after,)).fetchone()
        if place is None:
            raise RunNotFound(f"There is no run '{query.after}' to go on behind.")
    # An index is read from one upper end: of two the other would be looked at in each row.
    until = query.created_until
    if place is not None and not (until is not None and place[0] >= until):
        yield "(created_at, run_id) < (?, ?)", place
    elif until is not None:
        yield "created_at < ?", (until,)
