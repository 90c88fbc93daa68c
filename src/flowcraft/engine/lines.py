"""Who waits for a limit is not stuck: a mark says for how long a message of it is on its way.

Nothing happens in a run while its nodes stand in line, which may be for hours. Whoever looks for
stuck runs must not send their messages again: each copy would stand in line, too, and be promised
a start that nobody needs, while others come after it.
"""

from __future__ import annotations

from typing import Final

from flowcraft.engine.jobs import Job
from flowcraft.ports.coordination import CoordinationStore

LATE_SECONDS: Final = 300.0
"""How long after its time a message may come before it counts as lost."""


async def stands_in_line(store: CoordinationStore, job: Job, seconds: float) -> None:
    """Tell that a message that waits for a limit comes again after some time."""
    assert job.place is not None
    key = _mark(job.run_id, job.epoch, job.place)
    await store.increment(key, ttl_seconds=seconds + LATE_SECONDS)


async def is_in_line(store: CoordinationStore, run_id: str, epoch: str, place: str) -> bool:
    """Whether a message of an attempt that waits for a limit is on its way."""
    return await store.get(_mark(run_id, epoch, place)) is not None


async def leaves_line(store: CoordinationStore, run_id: str, epoch: str, place: str) -> bool:
    """An attempt that waits for a limit will never begin; whether it was in line until now."""
    return await store.delete(_mark(run_id, epoch, place))


def _mark(run_id: str, epoch: str, place: str) -> str:
    return f"inline/{run_id}/{epoch}/{place}"
