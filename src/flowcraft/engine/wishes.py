"""What people want of a live run: checked here, carried out by workers."""

from __future__ import annotations

from flowcraft.core import events as ev
from flowcraft.core.plan import Key, index_of_key
from flowcraft.engine.jobs import Job
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.shards import look_ups, tell_at_once
from flowcraft.engine.station import Station
from flowcraft.errors import InvalidRunState
from flowcraft.ports.runs import Verdict

WRITE_ATTEMPTS = 20
"""How often a client tries to write a wish into a run that others are writing to."""


async def ask(station: Station, ledger: Ledger, event: ev.Event) -> None:
    """Send a wish to the workers, once it is known to make sense.

    Raises:
        InvalidRunState: The run's state does not allow it, or it would change nothing.
    """
    job = wish(station, ledger, event)
    await station.send([job])
    if isinstance(event, ev.CancelRequested | ev.PauseRequested):
        await _write_at_once(station, ledger, job, event)


def wish(station: Station, ledger: Ledger, event: ev.Event) -> Job:
    """The message of a wish that makes sense as far as is known here.

    Raises:
        InvalidRunState: The run's state does not allow it, or it would change nothing.
    """
    foreseen = ledger.foresee(event, station.clock.now())
    if foreseen.is_nothing:
        what = type(event).__name__.removesuffix("Requested").lower()
        raise InvalidRunState(
            f"Run '{ledger.run_id}' is {ledger.state.status}: there is nothing to {what}."
        )
    thread = station.identifiers.new_run_id()
    return Job(
        ledger.run_id,
        ledger.epoch,
        ledger.head.blueprint_id,
        thread,
        event=event,
        event_id=f"verb/{thread}",
        group=ledger.group,
    )


async def _write_at_once(station: Station, ledger: Ledger, job: Job, event: ev.Event) -> None:
    """Write a wish that nothing may overtake, however much is queued before its message.

    The message is sent first: it carries out what follows, also if this process dies now.
    """
    for _ in range(WRITE_ATTEMPTS):
        try:
            foreseen = ledger.foresee(event, station.clock.now())
        except InvalidRunState:
            return
        if foreseen.is_nothing:
            return
        change = ledger.exactly(foreseen, job.thread, job.event_id)
        written = await station.runs.write(change)
        ledger.catch_up(written.facts)
        if written.verdict is Verdict.DONE:
            await _tell_shards(station, ledger)
        if written.verdict is not Verdict.STALE:
            return


async def _tell_shards(station: Station, ledger: Ledger) -> None:
    """Have the shards of batches do as their run, of which workers may hear late."""
    jobs = look_ups(ledger, station.identifiers.new_run_id)
    await station.send(jobs)
    for job in jobs:
        await tell_at_once(station, job)


def instance_of(ledger: Ledger, node_id: str, iteration: tuple[int, ...]) -> Key:
    """The instance of a node that is meant; in loops the latest, where none is named.

    Raises:
        InvalidRunState: The run has no such node.
    """
    index = ledger.plan.index_of.get(node_id)
    if index is None:
        raise InvalidRunState(f"Run '{ledger.run_id}' has no node '{node_id}'.")
    if not iteration and ledger.plan.nodes[index].loops:
        keys = [key for key in ledger.state.records if index_of_key(key) == index]
        if keys:
            return keys[-1]
    return ledger.plan.key(ledger.plan.nodes[index], iteration)
