"""How a run stands to a message that was delivered in vain.

Nothing is decided here: whether what a message brings still has to happen is asked of the run's
ledger, which decides it as a worker would.
"""

from __future__ import annotations

from typing import Final

from flowcraft.core import events as ev
from flowcraft.dead_letters.letter import Standing
from flowcraft.engine.jobs import Job
from flowcraft.engine.ledger import Ledger
from flowcraft.errors import InvalidRunState

REPLACEABLE: Final = (
    ev.RetryDue,
    ev.ItemRetryDue,
    ev.UndoRetryDue,
    ev.TimerFired,
    ev.ChildSettled,
    ev.ChildRests,
    ev.ShardAdvanced,
    ev.ShardRests,
    ev.ShardSettled,
)
"""What workers send again that look for stuck runs. Answers and wishes they do not know of."""


def is_replaceable(job: Job) -> bool:
    """Whether somebody sends again what a message brings, if it is needed and lost."""
    return job.event is None or isinstance(job.event, REPLACEABLE)


def standing_of(job: Job, ledger: Ledger, now: float) -> Standing:
    """How a run stands to a message.

    Args:
        job: The message.
        ledger: The run, as it is now.
        now: The time, in seconds since the epoch.
    """
    if ledger.state.status.is_final:
        return Standing.OVER
    if job.event is not None and _would_happen(job.event, ledger, now):
        return Standing.WAITING
    place = job.place
    if place is not None and ledger.attempt_at(place) is not None:
        lease = ledger.leases.get(place)
        is_held = lease is not None and lease.expires_at > now
        return Standing.IN_HAND if is_held else Standing.WAITING
    mine = [lease for lease in ledger.leases.values() if lease.thread == job.thread]
    if any(lease.expires_at > now for lease in mine):
        return Standing.IN_HAND
    if mine or ledger.work_of(job.thread, job.since, now):
        return Standing.WAITING  # whoever was at it is gone, or never came
    return Standing.CARRIED_ON


def _would_happen(event: ev.Event, ledger: Ledger, now: float) -> bool:
    """Whether anything follows from an event in the run as it is."""
    try:
        return not ledger.foresee(event, now).is_nothing
    except InvalidRunState:
        return False
