"""Which runs may be stuck: what is asked of a store, and what it answers.

A store only names runs to look at. Whether one is stuck is told by its record (see
``engine/reconcile.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from flowcraft.ports.runs import Head

PAGE_RUNS = 100
"""So many runs in a page of a store that counts them."""


class Depth(StrEnum):
    """How thoroughly a store looks that keeps rows apart from the records, and may lose some.

    Other stores answer the same whatever the depth is.
    """

    SUSPECTS = "suspects"  # what rows say is believed
    ROWS = "rows"  # every row of a run that is not over is compared with the record
    RECORDS = "records"  # every record of a run that is not over, whether or not it has a row


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Which runs may be stuck: those in which nothing happened for long, and overdue ones.

    Attributes:
        before: What was before this time was long ago, in seconds since the epoch.
        untouched: Statuses of runs that are suspected if their row was last written before that.
        overdue: Statuses of runs that are suspected if a timer of theirs was due before that. One
            whose row was written after that time may be left out, unless ``depth`` is more than
            the least: something goes on in it. No final status is in either.
        depth: How thoroughly to look.
    """

    before: float
    untouched: tuple[str, ...]
    overdue: tuple[str, ...]
    depth: Depth = Depth.SUSPECTS

    @property
    def statuses(self) -> tuple[str, ...]:
        """All statuses that runs are looked for with."""
        return tuple(dict.fromkeys((*self.untouched, *self.overdue)))

    def covers(self, status: str, updated_at: float, due_at: float | None) -> bool:
        """Whether a run with such a row is suspected."""
        is_old = status in self.untouched and updated_at < self.before
        return is_old or (status in self.overdue and due_at is not None and due_at < self.before)

    def is_about(self, head: Head) -> bool:
        """Whether a run is suspected."""
        return self.covers(head.row.status, head.updated_at, head.row.due_at)


class Suspects(NamedTuple):
    """A page of runs that may be stuck, in no order.

    Attributes:
        heads: The runs, parts of others among them. A page may have none, and another follow.
        after: What to ask for the next page with; ``None`` behind the last.
        mended: How many rows were brought up to date, put back or cleared away on the way.
        failed: The ids of runs that could not be read; the log says why.
    """

    heads: Sequence[Head]
    after: str | None = None
    mended: int = 0
    failed: Sequence[str] = ()
