"""Rows as they may be: SQLite keeps any type in any column, so altered ones are told of here."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from flowcraft.core.state import RunStatus
from flowcraft.errors import StorageCorrupt
from flowcraft.ports.clock import LATEST
from flowcraft.ports.runs import Fact, Head, Lease

_STATUSES: Final = frozenset(map(str, RunStatus))


def damaged(run_id: object, how: str) -> StorageCorrupt:
    """The error that rows of a run cannot be right."""
    return StorageCorrupt(
        f"The rows of run {run_id!r} are damaged: {how}. Restore the file from a backup, or "
        "delete the run."
    )


def checked_head(head: Head) -> Head:
    """A run that was read, if it is one.

    Raises:
        StorageCorrupt: A column of it has something that none has.
    """
    texts = (head.run_id, head.epoch, head.blueprint_id, head.blueprint_hash)
    others = (head.parent, head.key)
    _check(head.run_id, "an id", all(type(text) is str for text in texts))
    _check(head.run_id, "its parent or key", all(type(x) in (str, type(None)) for x in others))
    _check(head.run_id, "its status", head.row.status in _STATUSES)
    due_at, expires_at = head.row.due_at, head.expires_at
    times = [head.created_at, head.updated_at, *([] if due_at is None else [due_at])]
    is_kept = expires_at is None or _is_time(expires_at)
    _check(head.run_id, "a time", is_kept and all(_is_time(time, LATEST) for time in times))
    labels = head.tags
    is_labels = type(labels) is dict and all(type(text) is str for text in labels.values())
    _check(head.run_id, "its tags", is_labels)
    return head


def checked_facts(run_id: str, facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """Facts that were read, if they are some.

    Raises:
        StorageCorrupt: A column of one has something that none has.
    """
    found = tuple(facts)
    for fact in found:
        is_text = type(fact.data) is str and type(fact.thread) is str
        is_fact = is_text and type(fact.number) is int and _is_time(fact.at, LATEST)
        _check(run_id, f"fact {fact.number!r}", is_fact)
    return found


def checked_lease(run_id: str, lease: Lease) -> Lease:
    """A lease that was read, if it is one.

    Raises:
        StorageCorrupt: A column of it has something that none has.
    """
    texts = (lease.place, lease.token, lease.thread)
    is_lease = all(type(text) is str for text in texts) and _is_time(lease.expires_at)
    _check(run_id, f"the lease {lease.place!r}", is_lease)
    return lease


def _is_time(value: Any, bound: float = math.inf) -> bool:
    return type(value) in (float, int) and 0 <= value < bound


def _check(run_id: object, what: str, is_right: bool) -> None:
    if not is_right:
        raise damaged(run_id, f"{what} is none")
