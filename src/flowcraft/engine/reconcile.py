"""Finding runs that nobody works on, and getting them going again.

Nothing should ever get stuck: a message stands for every piece of work until it is done. But
messages can be lost by hand (a purged queue) or end in a dead-letter queue. Whoever looks at such
a run again finds in its record what is outstanding, and sends it anew.

What can be outstanding depends on the status of a run:

- ``running``: anything. It is stuck if nothing was written for long and nobody holds a lease.
- ``awaiting``, ``paused``: timers, which go on also while a run is paused. Such a run is looked
  at when one is overdue. Nodes that a pause holds back are in the record, and ``continue_run``
  hands them out; an answer or a wish whose message is lost is lost.
- final: nothing but telling the parent, which is seen from there: a run that is over is no more
  looked at.

Child runs are looked at as the runs that they are. Their parent is stuck only if a child is
missing, or if the parent has not heard of what became of it. A parent that does nothing but wait
for a child that rests is not looked at, unless that is asked for (``force``).

All of them are found in one pass over the rows (``RunStore.suspects``), which name candidates and
no more: what is to be done is decided here, on the record of each run as it is now. Two who look at
the same time, and workers beside them, do each other no harm, since all that is done is to send
messages again, at most so often (``Backoff``), and a message too many does nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from flowcraft.core import commands as cmd
from flowcraft.core.state import RunStatus
from flowcraft.engine.backoff import Backoff
from flowcraft.engine.carrying import Carrier
from flowcraft.engine.children import child_run_id
from flowcraft.engine.depths import Depths
from flowcraft.engine.jobs import Job
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.lines import is_in_line
from flowcraft.engine.places import ATTEMPTS, AttemptCommand, node_index_of, place_of
from flowcraft.engine.removing import is_orphan, remove_run
from flowcraft.engine.shards import shard_id
from flowcraft.engine.station import Station
from flowcraft.engine.trouble import log_trouble
from flowcraft.errors import StorageError
from flowcraft.ports.runs import NO_FACTS, Change, Head, Record
from flowcraft.ports.suspicion import Depth, Suspicion

logger = logging.getLogger("flowcraft.reconciler")

DEFAULT_STALLED_SECONDS = 300.0
LEASES_BEFORE_STALLED = 2
"""The message of a worker that is gone comes back after one lease, and is then somebody's."""

LIVE = (RunStatus.RUNNING, RunStatus.AWAITING, RunStatus.PAUSED)


def stalled_seconds(wanted: float | None, lease_seconds: float) -> float:
    """How long nothing happens in a run before it counts as stuck.

    Args:
        wanted: What somebody asked for; by default 300 s, or four leases if that is more.
        lease_seconds: How long a worker that is gone keeps others from its work.

    Raises:
        TypeError: It is no number.
        ValueError: It is less than two leases: a worker that died would be taken for lost
            messages.
    """
    if wanted is None:
        return max(DEFAULT_STALLED_SECONDS, 2 * LEASES_BEFORE_STALLED * lease_seconds)
    if isinstance(wanted, bool) or not isinstance(wanted, int | float):
        raise TypeError(f"stalled_threshold_seconds is a number, not {wanted!r}.")
    least = LEASES_BEFORE_STALLED * lease_seconds
    if not wanted >= least:
        raise ValueError(
            f"stalled_threshold_seconds is at least {least:g}, not {wanted:g}: the work of a "
            f"worker that is gone comes back by itself, after a lease of {lease_seconds:g} s."
        )
    return wanted


@dataclass(frozen=True, slots=True)
class ReconciliationStats:
    """What a look at all runs found.

    Attributes:
        scanned_items: Runs looked at.
        stalled_runs: Those with something to do that nobody does.
        reconciled_runs: Those that were got going again; the others were not long ago.
        failed_runs: Those that could not be looked at; the log says why.
        mended_rows: Rows that were missing, or not what their run is, and are so now.
    """

    scanned_items: int = 0
    stalled_runs: int = 0
    reconciled_runs: int = 0
    failed_runs: int = 0
    mended_rows: int = 0


@dataclass(frozen=True, slots=True)
class _Finding:
    """What is wrong with a run.

    Attributes:
        state: Names the run as it is: as long as it stays so, what is sent is sent in vain.
        idle: Whether nobody works on it, so that all of it is to be sent again.
    """

    state: str
    idle: bool


@dataclass(slots=True)
class _Tally:
    """What a look has come to so far.

    Attributes:
        seen: The runs looked at, by id.
        stalled: Those that stood still.
        reconciled: Those that were got going.
        failed: Those that could not be looked at.
        mended: Rows that were mended.
    """

    seen: set[str] = field(default_factory=set)
    stalled: int = 0
    reconciled: int = 0
    failed: set[str] = field(default_factory=set)
    mended: int = 0

    @property
    def stats(self) -> ReconciliationStats:
        """The same, as it is reported."""
        return ReconciliationStats(
            len(self.seen), self.stalled, self.reconciled, len(self.failed), self.mended
        )


async def _always() -> bool:
    return True


class Reconciler:
    """Looks for stuck runs.

    Args:
        station: Ports and plans.
        stalled_seconds: How long nothing may have happened in a run that has something to do,
            and how long a timer may be overdue.
        force: Send again also what was sent lately, timers that are not due yet, and what runs
            have to do that seem to rest.
    """

    def __init__(
        self,
        station: Station,
        stalled_seconds: float = DEFAULT_STALLED_SECONDS,
        *,
        force: bool = False,
    ) -> None:
        self._station = station
        self._stalled_seconds = stalled_seconds
        self._force = force
        self._backoff = Backoff(station.coordination, stalled_seconds)
        self._before = 0.0
        self._tally = _Tally()

    async def run(
        self, may_go_on: Callable[[], Awaitable[bool]] = _always, depth: Depth | None = None
    ) -> ReconciliationStats:
        """Look at every run that is not over and was not touched for long, or is overdue.

        Args:
            may_go_on: Asked before each page and each run; where it says no, the look ends.
            depth: How thoroughly to look where rows are kept apart from the records; by default
                as thoroughly as it is time for.
        """
        self._before = self._station.clock.now() - self._stalled_seconds
        if depth is None:
            depth = Depth.RECORDS if self._force else await Depths(self._station).of_this_look()
        self._tally = _Tally()
        try:
            await self._look(depth, may_go_on)
        finally:
            self._station.measures.stalled(self._tally.stalled)
        return self._tally.stats

    async def _look(self, depth: Depth, may_go_on: Callable[[], Awaitable[bool]]) -> None:
        if depth is not Depth.RECORDS:
            await self._pass(depth, may_go_on)
            return
        await self._pass(Depth.SUSPECTS, may_go_on)
        try:
            await self._pass(depth, may_go_on)
        except StorageError as error:
            # What there is to do seldom must not keep anybody from what there is to do often.
            logger.error("Missing rows could not be looked for: %s", error)

    # -- finding ----------------------------------------------------------------------------

    async def _pass(self, depth: Depth, may_go_on: Callable[[], Awaitable[bool]]) -> None:
        """Go once through all runs that may be stuck."""
        untouched = LIVE if self._force else (RunStatus.RUNNING,)
        suspicion = Suspicion(
            self._before, tuple(map(str, untouched)), tuple(map(str, LIVE)), depth
        )
        tally = self._tally
        after: str | None = None
        while await may_go_on():
            page = await self._station.runs.suspects(suspicion, after)
            tally.mended += page.mended
            tally.seen.update(page.failed)
            tally.failed.update(page.failed)
            for head in page.heads:
                if head.run_id in tally.seen:
                    continue
                if not await may_go_on():
                    return
                tally.seen.add(head.run_id)
                await self._see_to(head)
                # The stores may answer without giving anybody else a turn.
                await asyncio.sleep(0)
            after = page.after
            if after is None:
                return

    async def _see_to(self, head: Head) -> None:
        """Look at a run, and count what came of it."""
        try:
            sent = await self._look_at(head)
        except Exception as error:
            log_trouble(logger, error, "Run '%s' cannot be reconciled", head.run_id)
            self._tally.failed.add(head.run_id)
        else:
            self._tally.stalled += sent is not None
            self._tally.reconciled += bool(sent)

    async def _look_at(self, head: Head) -> int | None:
        """Send again what nobody works on; ``None`` for a run that is not stuck."""
        # The last fact and the leases tell whether it is worth reading all of it.
        record = await self._station.runs.read(head.run_id, max(0, head.facts - 1))
        if record is None or record.head.epoch != head.epoch:
            return None
        found = self._find(record)
        if found is None:
            return None
        if await is_orphan(self._station, head):
            # It was stored while its run was removed: nobody is there to hear of it.
            await remove_run(self._station, head.run_id, head.epoch)
            return 1
        if not await self._backoff.may_send(found.state, force=self._force):
            return 0
        ledger = await self._station.read(head.run_id, head.epoch)
        if ledger is None:
            return None
        sent = await self._send_again(ledger, found.idle)
        is_mended = await self._mend_row(ledger)
        if not sent:
            await self._backoff.sent_nothing(found.state)
            return 1 if is_mended else None
        self._tell(ledger, record, sent)
        return sent

    def _tell(self, ledger: Ledger, _record: Record, sent: int) -> None:
        """A run stood still, and has been got going."""
        self._station.measures.resent(ledger, sent)
        logger.warning("Run '%s' was stuck: %d messages were sent again", ledger.run_id, sent)

    def _find(self, record: Record) -> _Finding | None:
        head, now = record.head, self._station.clock.now()
        if head.is_gone(now):
            return None
        is_leased = any(lease.expires_at > now for lease in record.leases)
        idle = not is_leased and all(fact.at <= self._before for fact in record.facts)
        due_at = head.row.due_at
        overdue = due_at is not None and due_at < self._before
        if not (idle or overdue):
            return None
        state = f"{head.run_id}/{head.epoch}"
        if idle:
            state += f"/{head.facts}"
        return _Finding(f"{state}/due {due_at}" if overdue else state, idle)

    # -- sending ----------------------------------------------------------------------------

    async def _send_again(self, ledger: Ledger, idle: bool) -> int:
        """Send what is outstanding; of a run that somebody works on what is overdue only."""
        carrier = Carrier(self._station, ledger)
        jobs: list[Job] = []
        if idle:
            jobs = [self._job(ledger, lease.thread) for lease in ledger.leases.values()]
        sent = 0
        for work in tuple(ledger.outstanding.values()):
            for command in work.commands:
                if not (idle or _is_timer(command)) or self._is_in_time(command):
                    continue
                if isinstance(command, cmd.StartChild):
                    sent += await self._see_to_child(carrier, ledger, command)
                elif isinstance(command, cmd.StartShard):
                    sent += await self._see_to_shard(carrier, ledger, command)
                elif not isinstance(command, ATTEMPTS):
                    await carrier.carry_out(command)
                elif not await self._is_seen_to(ledger, command):
                    carrier.send_attempt(command)
        await self._station.send(jobs)
        return sent + len(jobs) + await carrier.flush()

    async def _is_seen_to(self, ledger: Ledger, command: AttemptCommand) -> bool:
        """Whether somebody is at an attempt, or it waits for a limit."""
        place = place_of(command)
        if place in ledger.leases:
            return True
        definition = ledger.plan.nodes[node_index_of(command)].definition
        if definition.config.concurrency_key is None or self._force:
            return False
        return await is_in_line(self._station.coordination, ledger.run_id, ledger.epoch, place)

    def _is_in_time(self, command: cmd.Command) -> bool:
        """Whether it is a timer whose message may well be on its way: it is not overdue."""
        due_at = _due_at(command)
        return due_at is not None and due_at >= self._before and not self._force

    @staticmethod
    def _job(ledger: Ledger, thread: str) -> Job:
        address = (ledger.run_id, ledger.epoch, ledger.head.blueprint_id, thread)
        return Job(*address, group=ledger.group)

    async def _see_to_child(self, carrier: Carrier, ledger: Ledger, command: cmd.StartChild) -> int:
        """Start a child that is not there, or have it tell again what its parent does not know."""
        run_id = child_run_id(ledger, command.key, command.attempt)
        record = await self._station.runs.read(run_id, NO_FACTS)
        if record is None or record.head.epoch != ledger.epoch:
            await carrier.carry_out(command)
            return 0
        status = RunStatus(record.head.row.status)
        rests = command.key in ledger.state.resting
        if not status.is_final and rests == (status is not RunStatus.RUNNING):
            return 0
        return await self._let_tell(run_id, ledger.epoch)

    async def _see_to_shard(self, carrier: Carrier, ledger: Ledger, command: cmd.StartShard) -> int:
        """Start a shard that is not there, or have it look at its run, or tell it its results."""
        run_id = shard_id(ledger, command.key, command.first, command.attempt)
        record = await self._station.runs.read(run_id, NO_FACTS)
        if record is not None and RunStatus(record.head.row.status).is_final:
            return await self._let_tell(run_id, ledger.epoch)
        await carrier.carry_out(command)
        return 0

    async def _let_tell(self, run_id: str, epoch: str) -> int:
        """Have a child, or a shard, tell the run it belongs to what became of it."""
        child = await self._station.read(run_id, epoch)
        if child is None:
            return 0
        teller = Carrier(self._station, child)
        if child.state.status.is_final:
            await teller.carry_out(cmd.FinishRun())
        else:
            teller.tell_parent_of_rest()
        return await teller.flush()

    async def _mend_row(self, ledger: Ledger) -> bool:
        """Bring the row up to date where it is not what the facts say; whether it was needed."""
        row = ledger.row_now()
        if row == ledger.row:
            return False
        change = Change(ledger.run_id, ledger.epoch, ledger.number, row=row)
        return (await self._station.runs.write(change)).row_written


def _due_at(command: cmd.Command) -> float | None:
    due_at: float | None = getattr(command, "due_at", None)
    return due_at


def _is_timer(command: cmd.Command) -> bool:
    return _due_at(command) is not None
