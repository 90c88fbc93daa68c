"""Prolonging leases: those of one run together, as long as all of them are held."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from flowcraft.adapters.aws.item import RunItem, expiry, place_name
from flowcraft.adapters.aws.packing import pack_text
from flowcraft.adapters.aws.planning import require_time
from flowcraft.adapters.aws.records import Records
from flowcraft.adapters.aws.transport import AwsError
from flowcraft.adapters.aws.updates import Update
from flowcraft.errors import StorageBusy
from flowcraft.ports.clock import Clock
from flowcraft.ports.runs import Held, Renewed

ROUNDS: Final = 25
"""Requests until it is given up: each one is to find fewer leases that are still held."""

TOGETHER: Final = 20
"""Leases in one request: an expression is limited to 4 KB."""


async def renew(
    records: Records, clock: Clock, leases: Sequence[Held], seconds: float
) -> list[Renewed]:
    """Prolong leases from now on, and learn what became of them.

    Raises:
        StorageError: Those of a run could not be prolonged; those of the others were.
    """
    by_run: dict[str, list[Held]] = {}
    for held in dict.fromkeys(leases):
        by_run.setdefault(held.run_id, []).append(held)
    renewing = [_of_one_run(records, clock, each, seconds) for each in by_run.values()]
    found: dict[Held, Renewed] = {}
    if len(renewing) == 1:
        found = await renewing[0]
        return [found[held] for held in leases]
    # Trouble with one request must not cost the leases of other runs.
    for result in await asyncio.gather(*renewing, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        found |= result
    return [found[held] for held in leases]


async def _of_one_run(
    records: Records, clock: Clock, leases: Sequence[Held], seconds: float
) -> dict[Held, Renewed]:
    found: dict[Held, Renewed] = {}
    left = list(leases)
    while left:
        found |= await _renew(records, clock, _together(left), seconds)
        left = [held for held in left if held not in found]
    return found


def _together(leases: Sequence[Held]) -> list[Held]:
    """Leases of a run for one request: each place once."""
    by_place: dict[str, Held] = {}
    for held in leases:
        if len(by_place) < TOGETHER:
            by_place.setdefault(held.place, held)
    return list(by_place.values())


async def _renew(
    records: Records, clock: Clock, leases: Sequence[Held], seconds: float
) -> dict[Held, Renewed]:
    run_id = leases[0].run_id
    known = records.known(run_id)
    item = known.item if known is not None else await records.item(run_id)
    found: dict[Held, Renewed] = {}
    left = list(leases)
    for _ in range(ROUNDS):
        if item is None or item.head.is_gone(clock.now()):
            return found | dict.fromkeys(left, Renewed(held=False, stopping=False))
        item, is_done = await _prolong(records, clock, item, left, seconds)
        if item is None:
            continue
        stopping = item.head.row.stopping
        if is_done:
            return found | dict.fromkeys(left, Renewed(held=True, stopping=stopping))
        lost = [held for held in left if not _holds(item, held)]
        found |= dict.fromkeys(lost, Renewed(held=False, stopping=stopping))
        left = [held for held in left if held not in found]
        if not left:
            return found
    raise StorageBusy(
        f"The leases of run '{run_id}' could not be prolonged: {ROUNDS} requests were refused, "
        "time after time, though it has them. Does a worker of another version use the table?"
    )


async def _prolong(
    records: Records, clock: Clock, item: RunItem, leases: Sequence[Held], seconds: float
) -> tuple[RunItem | None, bool]:
    run_id = item.head.run_id
    update = Update(records.table_name, {"runId": {"S": run_id}})
    update.require_equal(update.path("e"), {"B": pack_text(item.head.epoch)})
    require_time(update, item)
    until = update.value(expiry(item.head, clock.now() + seconds))
    for held in leases:
        lease = update.path("l", place_name(held.place))
        update.require_equal(f"{lease}[0]", {"B": pack_text(held.token)})
        update.set(f"{lease}[2]", until)
    try:
        answer = await records.service.call("UpdateItem", update.request())
    except AwsError as error:
        if not error.is_refused_condition:
            raise
        if "Item" not in error.answer:
            return await records.item(run_id), False
        return records.take(run_id, error.answer["Item"]), False
    return records.take(run_id, answer["Attributes"]), True


def _holds(item: RunItem, held: Held) -> bool:
    lease = item.leases.get(held.place)
    return lease is not None and lease.token == held.token
