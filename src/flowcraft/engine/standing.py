"""Which runs stand still, for people: as a reconciler would find them, and nothing is sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from flowcraft.engine.backoff import Backoff
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.pretending import PretendedCoordination
from flowcraft.engine.reconcile import Reconciler
from flowcraft.engine.station import Station
from flowcraft.ports.runs import Record
from flowcraft.ports.suspicion import Depth


@dataclass(frozen=True, slots=True)
class StandingRun:
    """A run that has something to do which nobody does.

    Attributes:
        run_id: The run.
        blueprint_id: Its blueprint.
        since: When something happened in it last, or its timer was due.
        messages: How many messages a reconciler would send for it.
    """

    run_id: str
    blueprint_id: str
    since: datetime
    messages: int


@dataclass(frozen=True, slots=True)
class StandingRuns:
    """What a look at all runs found.

    Attributes:
        at: When the look began.
        looked_at: How many runs may have stood still.
        runs: Those that do, the longest first.
        unread: How many could not be looked at; the log says why.
        is_whole: Whether all were looked at, and not only as many as were asked for.
    """

    at: datetime
    looked_at: int
    runs: tuple[StandingRun, ...]
    unread: int = 0
    is_whole: bool = True


class Standing(Reconciler):
    """A reconciler that only tells.

    Args:
        station: Ports that change nothing (``pretending.py``), and plans.
        stalled_seconds: How long nothing may have happened in a run that has something to do.
    """

    def __init__(self, station: Station, stalled_seconds: float) -> None:
        super().__init__(station, stalled_seconds)
        # What was sent again lately stands still all the same.
        self._backoff = Backoff(PretendedCoordination(None), stalled_seconds)
        self._found: list[StandingRun] = []

    async def look(self, limit: int) -> StandingRuns:
        """Look at all runs once, until so many are found that stand still."""
        began = self._station.clock.now()
        self._found = []

        async def may_go_on() -> bool:
            return len(self._found) < limit

        stats = await self.run(may_go_on, Depth.SUSPECTS)
        runs = tuple(sorted(self._found, key=lambda run: (run.since, run.run_id)))
        at = datetime.fromtimestamp(began, UTC)
        is_whole = await may_go_on()
        return StandingRuns(at, stats.scanned_items, runs, stats.failed_runs, is_whole)

    def _tell(self, ledger: Ledger, record: Record, sent: int) -> None:
        since = max((fact.at for fact in record.facts), default=ledger.head.updated_at)
        due_at = ledger.head.row.due_at
        if due_at is not None and due_at > since:
            since = min(due_at, self._station.clock.now())
        self._found.append(
            StandingRun(
                ledger.run_id, ledger.head.blueprint_id, datetime.fromtimestamp(since, UTC), sent
            )
        )
