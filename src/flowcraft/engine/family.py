"""A stored run with all that belongs to it: child runs, and the shards of its batches."""

from __future__ import annotations

from flowcraft.core.state import CHILD
from flowcraft.engine.children import child_run_id
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.station import Station
from flowcraft.errors import RunNotFound
from flowcraft.ports.runs import NO_FACTS, Head


async def read_head(station: Station, run_id: str) -> Head:
    """What is stored of a run besides its facts.

    Raises:
        RunNotFound: There is no such run.
    """
    record = await station.runs.read(run_id, NO_FACTS)
    if record is not None and record.head.is_gone(station.clock.now()):
        record = None
    return whole(run_id, None if record is None else record.head)


async def read_run(station: Station, run_id: str, epoch: str | None = None) -> Ledger:
    """A run and the children that it waits for, read now.

    Raises:
        RunNotFound: There is no such run.
    """
    ledger = await station.read(run_id, epoch)
    whole(run_id, None if ledger is None else ledger.head)
    assert ledger is not None
    for key, record in tuple(ledger.state.records.items()):
        if record.status is CHILD:
            child = await station.read(child_run_id(ledger, key, record.attempt), ledger.epoch)
            if child is not None:
                ledger.children[key] = await read_run(station, child.run_id, ledger.epoch)
    return ledger


def whole(run_id: str, head: Head | None) -> Head:
    """What was found of a run.

    Raises:
        RunNotFound: It is nothing, or a part of a run.
    """
    if head is None:
        raise RunNotFound(f"There is no run '{run_id}'.")
    if head.is_part:
        raise RunNotFound(
            f"'{run_id}' is no run but a part of one, some items of a batch. Name the run that the "
            "batch belongs to."
        )
    return head
