"""Runs as rows: reading them back, and finding them."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flowcraft.adapters.sqlite.checking import checked_head, damaged
from flowcraft.adapters.sqlite.connection import Execute
from flowcraft.core.state import FINAL_STATUSES
from flowcraft.errors import RunNotFound, StorageCorrupt
from flowcraft.ports.runs import Head, Query, Row
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
_DUE_HEADS = f"{_COLUMNS} FROM runs INDEXED BY runs_by_due"

# For the same reason the runs that wait for an event are looked up first, and then sorted.
_AWAITING_HEADS = f"""
    {_COLUMNS}
    FROM (SELECT run_id AS awaiting FROM awaited WHERE event = ?)
    CROSS JOIN runs ON runs.run_id = awaiting
"""

# Of the runs that are not over, and of those that have a timer: never all rows of the table.
_UNTOUCHED = """
    SELECT run_id FROM runs INDEXED BY runs_by_status WHERE status IN ({}) AND updated_at < ?
"""
_OVERDUE = "SELECT run_id FROM runs INDEXED BY runs_by_due WHERE status IN ({}) AND due_at < ?"

_PLACE = "SELECT created_at, run_id FROM runs WHERE run_id = ?"
_ORDER = "ORDER BY created_at DESC, run_id DESC LIMIT ? OFFSET ?"
_HAS_TAG = "run_id IN (SELECT run_id FROM tags WHERE name = ? AND value = ?)"

_CONDITIONS = {
    "status": "status = ?",
    "blueprint_id": "blueprint_id = ?",
    "created_from": "created_at >= ?",
    "created_until": "created_at < ?",
    "due_before": "due_at < ?",
    "updated_before": "updated_at < ?",
}


_LIVES = "(expires_at IS NULL OR expires_at > ?)"
_HAS_LAPSED = "run_id IN ({})"
_EXPIRED = "SELECT run_id FROM runs INDEXED BY runs_by_expiry WHERE expires_at <= ?"
_OVER_FOR_LONG = f"""
    UNION SELECT run_id FROM runs INDEXED BY runs_by_status WHERE status IN
    ({", ".join(f"'{status}'" for status in sorted(map(str, FINAL_STATUSES)))})
    AND expires_at IS NULL AND parent IS NULL AND updated_at < ?
"""


def list_runs(execute: Execute, query: Query, now: float) -> list[Head]:
    """The runs that a query asks for, at a time.

    A page is filled up behind rows that cannot be read: who goes on does so behind its last run,
    and takes a page that is shorter for the end.

    Raises:
        RunNotFound: There is no run any more that the list should go on behind.
    """
    terms = [_time(query, now), *_terms(execute, query)]
    where = "WHERE " + " AND ".join(text for text, _ in terms)
    values = [value for _, given in terms for value in given]
    source = HEADS if query.due_before is None else _DUE_HEADS
    if query.awaits is not None:
        source, values = _AWAITING_HEADS, [query.awaits, *values]
    heads: list[Head] = []
    read = 0
    while len(heads) < query.limit:
        rows = execute(f"{source} {where} {_ORDER}", (*values, query.limit, read)).fetchall()
        heads += _readable(rows)[0]
        read += len(rows)
        if len(rows) < query.limit:
            break
    return heads[: query.limit]


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


def _terms(execute: Execute, query: Query) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Conditions on a row, with their values."""
    for name, text in _CONDITIONS.items():
        value = getattr(query, name)
        if value is not None:
            yield text, (value,)
    if not query.parts:
        yield "NOT is_part", ()
    for tag in query.tags.items():
        yield _HAS_TAG, tag
    if query.after is not None:
        place = execute(_PLACE, (query.after,)).fetchone()
        if place is None:
            raise RunNotFound(f"There is no run '{query.after}' to go on behind.")
        yield "(created_at, run_id) < (?, ?)", place
