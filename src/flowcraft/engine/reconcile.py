"""Finding runs that nobody works on, and getting them going again.

Nothing should ever get stuck: a message stands for every piece of work until it is done. But
messages can be lost by hand (a purged queue) or end in a dead-letter queue. Whoever looks at such
a run again finds in its record what is outstanding, and sends it anew.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from flowcraft.core.state import RunStatus
from flowcraft.engine.carrying import Carrier
from flowcraft.engine.jobs import Job
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.places import ATTEMPTS, place_of
from flowcraft.engine.station import Station
from flowcraft.ports.runs import Head, Query

logger = logging.getLogger("flowcraft.reconciler")

DEFAULT_STALLED_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class ReconciliationStats:
    """What a look at all runs found.

    Attributes:
        scanned_items: Runs looked at.
        stalled_runs: Those with something to do that nobody does.
        reconciled_runs: Those that were got going again.
        failed_runs: Those that could not be looked at; the log says why.
    """

    scanned_items: int = 0
    stalled_runs: int = 0
    reconciled_runs: int = 0
    failed_runs: int = 0


class Reconciler:
    """Looks for stuck runs.

    Args:
        station: Ports and plans.
        stalled_seconds: How long nothing may have happened in a run that has something to do.
    """

    def __init__(self, station: Station, stalled_seconds: float = DEFAULT_STALLED_SECONDS) -> None:
        self._station = station
        self._stalled_seconds = stalled_seconds

    async def run(self) -> ReconciliationStats:
        """Look at every run that is not over and was not touched for long, or is overdue."""
        before = self._station.clock.now() - self._stalled_seconds
        heads: dict[str, Head] = {}
        for query in (
            Query(status=str(RunStatus.RUNNING), updated_before=before, parts=True),
            Query(status=str(RunStatus.RUNNING), due_before=before, parts=True),
            Query(status=str(RunStatus.AWAITING), due_before=before),
        ):
            for head in await self._all(query):
                heads[head.run_id] = head
        stalled = reconciled = failed = 0
        for head in heads.values():
            try:
                resent = await self._look_at(head, before)
            except Exception:
                logger.exception("Run '%s' cannot be reconciled", head.run_id)
                failed += 1
                continue
            stalled += resent is not None
            reconciled += bool(resent)
        return ReconciliationStats(len(heads), stalled, reconciled, failed)

    async def _all(self, query: Query) -> list[Head]:
        found: list[Head] = []
        while True:
            page = await self._station.runs.find(query)
            found.extend(page)
            if len(page) < query.limit:
                return found
            query = Query(
                status=query.status,
                updated_before=query.updated_before,
                due_before=query.due_before,
                parts=query.parts,
                after=page[-1].run_id,
            )

    async def _look_at(self, head: Head, before: float) -> int | None:
        """Send again what nobody works on; ``None`` for a run that is worked on."""
        ledger = await self._station.read(head.run_id, head.epoch)
        if ledger is None or ledger.state.status.is_final:
            return None
        now = self._station.clock.now()
        if ledger.last_at > before or any(
            lease.expires_at > now for lease in ledger.leases.values()
        ):
            return None
        sent = await self._send_again(ledger)
        logger.warning("Run '%s' was stuck: %d messages were sent again", head.run_id, sent)
        return sent

    async def _send_again(self, ledger: Ledger) -> int:
        carrier = Carrier(self._station, ledger)
        jobs = [
            Job(ledger.run_id, ledger.epoch, ledger.head.blueprint_id, lease.thread)
            for lease in ledger.leases.values()
        ]
        for work in tuple(ledger.outstanding.values()):
            for command in work.commands:
                if not isinstance(command, ATTEMPTS):
                    await carrier.carry_out(command)
                elif place_of(command) not in ledger.leases:
                    carrier.send_attempt(command)
        await self._station.send(jobs)
        return len(jobs) + await carrier.flush()
