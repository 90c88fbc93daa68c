"""Lists of runs that a single query of a store does not give: several statuses, no child runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import merge
from typing import TYPE_CHECKING, Any, Final

from flowcraft.core.state import RunStatus
from flowcraft.engine.stored import RunPage, RunSummary

if TYPE_CHECKING:
    from flowcraft.engine.client import FlowClient

LIVE: Final = (RunStatus.RUNNING, RunStatus.AWAITING, RunStatus.PAUSED)
PAGE_RUNS: Final = 100
MOST_PAGES: Final = 20
"""Pages that are read at most where some of the runs are left out: there may be very many."""

SEARCHED_RUNS: Final = 2_000
"""Runs that are looked at for a text in their ids, in one page: on AWS each page of a list takes a
look at all rows."""

MANY_ROWS: Final = 1_000
"""Whoever asks is told of more rows than this, if they are many for what was found."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs are asked for.

    Attributes:
        statuses: In any of these; in any at all without one.
        filters: What else ``FlowClient.list_runs`` is to look at.
        after: Goes on behind this run.
        limit: How many at most.
        only_top: Whether child runs are left out.
        text: Only runs that have this in their id, in whatever case.
    """

    statuses: tuple[str, ...] = ()
    filters: Mapping[str, Any] = field(default_factory=dict)
    after: str | None = None
    limit: int = PAGE_RUNS
    only_top: bool = False
    text: str | None = None

    @property
    def page(self) -> int:
        """How many runs a store is asked for at a time."""
        if self.text is not None:
            return max(SEARCHED_RUNS, self.limit)
        # One more than is shown, to know whether there is more.
        return max(PAGE_RUNS, self.limit) if self.only_top else self.limit + 1

    def includes(self, run: RunSummary) -> bool:
        """Whether a run that a store gives is one of those."""
        if self.only_top and run.is_child:
            return False
        return self.text is None or self.text.casefold() in run.run_id.casefold()


@dataclass(frozen=True, slots=True)
class Found:
    """Runs that were found.

    Attributes:
        runs: The runs, the newest first.
        after: Behind which run there may be more; ``None`` at the end.
        read: How many runs were looked at for that.
        rows_read: How many rows the store has read; ``None`` where it does not tell.
        scanned: Whether it has read all that there are, for want of an index.
    """

    runs: Sequence[RunSummary]
    after: str | None
    read: int = 0
    rows_read: int | None = None
    scanned: bool = False

    @property
    def reads_many(self) -> bool:
        """Whether far more rows were read than a page of the list has."""
        return self.rows_read is not None and self.rows_read > max(MANY_ROWS, 10 * len(self.runs))


async def find(client: FlowClient, wanted: Wanted) -> Found:
    """The runs that are asked for.

    Args:
        client: Whose runs.
        wanted: Which of them.
    """
    found: list[RunSummary] = []
    after, read = wanted.after, 0
    pages: list[Found] = []
    for _ in range(MOST_PAGES if wanted.text is None else 1):
        page = await _page(client, wanted, after, wanted.page)
        pages.append(page)
        for place, run in enumerate(page.runs):
            read += 1
            if wanted.includes(run):
                found.append(run)
            if len(found) == wanted.limit:
                is_last = page.after is None and place == len(page.runs) - 1
                return _found(found, None if is_last else run.run_id, read, pages)
        after = page.after
        if after is None:
            break
    return _found(found, after, read, pages)


async def _page(client: FlowClient, wanted: Wanted, after: str | None, count: int) -> Found:
    pages = [
        await client.list_runs(status=status, after=after, limit=count, **wanted.filters)
        for status in wanted.statuses or (None,)
    ]
    runs = list(merge(*(page.runs for page in pages), key=_place, reverse=True))
    is_all = len(runs) <= count and all(page.after is None for page in pages)
    runs = runs[:count]
    return _found(runs, None if is_all or not runs else runs[-1].run_id, 0, pages)


def _found(
    runs: Sequence[RunSummary], after: str | None, read: int, pages: Sequence[Found | RunPage]
) -> Found:
    """What was found, with what was read for all pages together, if each of them tells."""
    rows = [page.rows_read for page in pages if page.rows_read is not None]
    rows_read = sum(rows) if len(rows) == len(pages) else None
    return Found(runs, after, read, rows_read, any(page.scanned for page in pages))


def _place(run: RunSummary) -> tuple[datetime, str]:
    return run.created_at, run.run_id
