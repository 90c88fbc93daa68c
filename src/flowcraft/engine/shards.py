"""Shards of large batches: records beside their run's (rule S11).

A shard is stored like a run: facts, leases, a row. Nobody sees it as one: its items belong to the
run, read the run's context, and are told of under the run's id.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from flowcraft.core.plan import Key, index_of_key, iteration_of_key
from flowcraft.core.shards import shards_under_way, wish_for
from flowcraft.core.state import RunStatus, apply
from flowcraft.core.step import Decision
from flowcraft.engine.jobs import Job
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.parent import Parent
from flowcraft.engine.places import ATTEMPTS, place_of
from flowcraft.engine.tape import Tape
from flowcraft.engine.view import Host
from flowcraft.ports.runs import Head, Lease, Row, Verdict

if TYPE_CHECKING:
    from flowcraft.engine.attempt import Attempt
    from flowcraft.engine.station import Station

SHARD_ITEMS = 500
"""Items of a shard. Each shard costs a record and a few messages; each item of a shard adds to
what a worker reads that opens it."""


class ShardLedger(Ledger):
    """A shard, as far as its facts are known here.

    Attributes:
        above: The run that it belongs to.
    """

    def __init__(self, host: Host, head: Head, above: Ledger, tape: Tape) -> None:
        super().__init__(host, head, above.plan, tape)
        self.above = above
        # Its items see the run's context as of their start, and of nothing else.
        self.past = above.past
        self._lock = above._lock

    @property
    def group(self) -> str | None:
        """Whose run it is, for queues that are fair among those."""
        return self.above.group

    def enter(self, attempt: Attempt) -> None:
        """An attempt begins, which reads the context as it is now."""
        super().enter(attempt)
        self.above.running[attempt] = attempt.seen

    def leave(self, attempt: Attempt) -> None:
        """An attempt is over."""
        del self.running[attempt]
        self.above.leave(attempt)

    def write(self, decision: Decision) -> None:
        """Write a decision's changes; nobody reads them but the shard itself."""
        apply(self.state, decision.changes)

    def read_context(self, key: str, seen: int, default: Any) -> Any:
        """The value of a key of the run's context as it was at sequence number ``seen``."""
        return self.above.read_context(key, seen, default)

    def whole_context(self, seen: int) -> dict[str, Any]:
        """A copy of the run's context as it was at sequence number ``seen``."""
        return self.above.whole_context(seen)


def shard_id(run: Ledger, key: Key, first: int, attempt: int) -> str:
    """The id that an attempt at a shard is stored under."""
    iteration = ".".join(map(str, iteration_of_key(key)))
    node_id = run.plan.nodes[index_of_key(key)].id
    again = f":{attempt}" if attempt > 1 else ""
    return f"{run.run_id}/{node_id}:{iteration}#{first}{again}"


async def begin_shard(station: Station, run: Ledger, command: cmd.StartShard) -> Job:
    """Store a shard, unless it is there already; gives the message that gets it going."""
    now = station.clock.now()
    parent = Parent.of(run.head, command.key, command.attempt, command.first)
    head = Head(
        run_id=shard_id(run, command.key, command.first, command.attempt),
        epoch=run.epoch,
        blueprint_id=run.head.blueprint_id,
        blueprint_hash=run.head.blueprint_hash,
        facts=1,
        row=Row(str(RunStatus.RUNNING)),
        created_at=now,
        updated_at=now,
        parent=parent.text(),
        is_part=True,
    )
    started = ev.ShardStarted(
        run.state.run_id,
        command.key,
        command.first,
        command.items,
        command.quota,
        command.report_at,
        run.state.fail_fast,
        command.attempt,
    )
    shard = ShardLedger(station, head, run, run.tape)
    entry = shard.entry(shard.foresee(started, now))
    thread = f"start/{run.epoch}"
    await station.runs.create(head, [entry], thread)
    return Job(head.run_id, run.epoch, head.blueprint_id, thread, group=run.group)


def look_ups(run: Ledger, new_thread: Callable[[], str]) -> list[Job]:
    """The messages that let the shards of a run see what it wants of them."""
    return [
        Job(
            shard_id(run, *where),
            run.epoch,
            run.head.blueprint_id,
            new_thread(),
            group=run.group,
        )
        for where in shards_under_way(run.state)
    ]


def has_to_stop(ledger: Ledger) -> bool:
    """Whether a shard goes on of a run that is known here to stop: nobody has told it yet."""
    if not isinstance(ledger, ShardLedger):
        return False
    return isinstance(wish_for(ledger.state, ledger.above.state), ev.CancelRequested)


def in_the_way(ledger: Ledger, job: Job) -> list[Lease]:
    """Leases of other threads on attempts that the thread of a message has to see to.

    What a shard is told is written by whoever comes first, and its message may find that somebody
    has an item already: who may have claimed it for a message that is gone, and have died since.
    The same is true of what was put aside, and begins anew since its run goes on. The first one is
    the one that ends first, since whoever has died prolongs nothing; of a shard it is the only one.
    """
    goes_on = isinstance(job.event, ev.ContinueRequested)
    if not goes_on and not isinstance(ledger, ShardLedger):
        return []
    leases = (
        ledger.leases.get(place_of(command))
        for work in ledger.outstanding.values()
        if work.thread == job.thread and (goes_on or work.number >= job.since)
        for command in work.commands
        if isinstance(command, ATTEMPTS)
    )
    others = [each for each in leases if each is not None and each.thread != job.thread]
    others.sort(key=lambda lease: lease.expires_at)
    return others if goes_on else others[:1]


async def obey(station: Station, shard: ShardLedger, thread: str) -> list[int] | None:
    """Write down that a shard stops, pauses or goes on, where its run does.

    What follows is outstanding for the thread. Whoever writes looks at the run once more
    afterwards: so the last word that is written is the run's last word.

    Returns:
        The numbers of the facts that were written; ``None`` if run or shard are gone.
    """
    written: list[int] = []
    while await station.refresh(shard.above):
        wish = wish_for(shard.state, shard.above.state)
        if wish is None:
            return written
        foreseen = shard.foresee(wish, station.clock.now())
        answer = await station.runs.write(shard.exactly(foreseen, thread))
        if answer.verdict is Verdict.GONE:
            break
        shard.catch_up(answer.facts)
        if answer.verdict is Verdict.DONE:
            written.append(answer.first)
    return None


async def tell_at_once(station: Station, job: Job) -> None:
    """Write into a shard what its run wants of it, however much is queued before its message.

    Args:
        station: Ports and open runs.
        job: Its message, which was sent before: it carries out what follows, also if this
            process dies now.
    """
    shard = await station.open(job.run_id, job.epoch)
    if isinstance(shard, ShardLedger) and await station.refresh(shard):
        await obey(station, shard, job.thread)
