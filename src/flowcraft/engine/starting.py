"""How a durable run begins: its blueprint, its record, its first message, in this order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from flowcraft.core import events as ev
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.state import RunStatus
from flowcraft.engine.jobs import Job
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.parent import Parent
from flowcraft.engine.removing import remove_run
from flowcraft.engine.station import NO_BLUEPRINTS, Station
from flowcraft.engine.telling import tell_decision
from flowcraft.errors import StorageBusy
from flowcraft.ports.runs import Created, Entry, Fact, Head, Row

TRIES = 5
"""How often a run is begun anew whose id somebody has whose time is over."""


class Begun(NamedTuple):
    """A run that is stored now, by whomever.

    Attributes:
        job: The message that gets it going.
        head: The run, as it is stored; its epoch tells whether it is the one that was to begin.
    """

    job: Job
    head: Head


async def begin_run(
    station: Station,
    blueprint: WorkflowBlueprint,
    started: ev.RunStarted,
    *,
    epoch: str,
    parent: Parent | None = None,
    tags: Mapping[str, str] | None = None,
    key: str | None = None,
    due_at: float | None = None,
    taken_over: Sequence[Entry] | None = None,
    brought: Mapping[str, WorkflowBlueprint] = NO_BLUEPRINTS,
) -> Begun:
    """Store a run, unless one of its id or key is there already.

    A run that is there already is told to go on once more: who stored it may have died before
    it could send the message.

    Args:
        station: Ports and plans.
        blueprint: Its blueprint.
        started: How it starts.
        epoch: Tells this start from others under the same id.
        parent: The subflow node it belongs to, if it is a child run.
        tags: The user's labels.
        key: The idempotency key.
        due_at: When it is to start; at once by default.
        taken_over: The facts it begins with, its start included, where it is to take over what
            an earlier run achieved.
        brought: Child flows that came along with the blueprint, by id.
    """
    hash_ = await station.keep(blueprint, latest=False)
    await station.keep_below(blueprint, brought)
    now = station.clock.now()
    head = Head(
        run_id=started.run_id,
        epoch=epoch,
        blueprint_id=blueprint.id,
        blueprint_hash=hash_,
        facts=0,
        row=Row(str(RunStatus.RUNNING)),
        created_at=now,
        updated_at=now,
        parent=None if parent is None else parent.text(),
        tags=dict(tags or {}),
        key=key,
    )
    ledger = Ledger(station, head, *await station.plan(hash_))
    # One that starts later begins to sleep, or to wait, when it starts.
    begins = now if due_at is None else max(now, due_at)
    entries = taken_over or [ledger.entry(ledger.foresee(started, begins))]
    thread = f"start/{epoch}"
    ledger.catch_up(
        [Fact(number, entry.at, thread, entry.data) for number, entry in enumerate(entries)]
    )
    row = ledger.row_now()
    if due_at is not None and not RunStatus(row.status).is_final:
        row = replace(row, due_at=due_at)
    head = replace(head, facts=ledger.number, row=row)
    stored, is_new = await _created(station, head, entries, thread)
    trace = None
    if is_new:
        _tell(ledger)
        if taken_over is None or RunStatus(row.status).is_final:
            station.measures.told(ledger, ledger.number - 1)  # the rest the earlier run has counted
        trace = station.measures.trace(ledger)
    else:
        due_at = await _start_of(station, stored)
    thread = f"start/{stored.epoch}"
    address = (stored.run_id, stored.epoch, stored.blueprint_id, thread)
    job = Job(*address, due_at=due_at, group=started.fairness_key, trace=trace)
    return Begun(job, stored)


async def _created(station: Station, head: Head, entries: Sequence[Entry], thread: str) -> Created:
    """Begin a record; one of the same id or key whose time is over is removed before."""
    for _ in range(TRIES):
        created = await station.runs.create(head, entries, thread)
        there = created.head
        if created.is_new or not there.is_gone(station.clock.now()):
            return created
        await remove_run(station, there.run_id, there.epoch)
    raise StorageBusy(
        f"Run '{head.run_id}' could not be started: runs of its id, or its key, are removed and "
        "are there again each time. Try again."
    )


async def _start_of(station: Station, stored: Head) -> float | None:
    """When a run that is stored already is to start, unless it is at once: it keeps that time."""
    if stored.facts != 1 or stored.row.due_at is None:
        return None
    record = await station.runs.read(stored.run_id)
    # What is due may be something else, such as a sleep that it began with.
    starts_at = record.facts[0].at if record is not None else stored.created_at
    return starts_at if starts_at > stored.created_at else None


def _tell(ledger: Ledger) -> None:
    """Tell listeners of the start, where it was stored."""
    for number in range(ledger.number):
        found = ledger.decision_of(number)
        if found is not None and ledger.host.bus.active:
            tell_decision(ledger, *found)
