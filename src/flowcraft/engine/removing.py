"""Forgetting runs: at somebody's wish, and when their time is over.

A run goes with all that belongs to it: child runs, shards, timers. First it is hidden, which is one
write: from then on it is absent for everybody, nothing can be written to it, and messages about it
do nothing. Then goes what belongs to it, and the run itself last, since without it nobody would
find that. Whoever dies on the way leaves a hidden run; removing it again goes on where it was left,
and workers do so by themselves.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from flowcraft.core.plan import Kind, index_of_key
from flowcraft.core.state import RunStatus
from flowcraft.engine.children import child_run_id
from flowcraft.engine.family import read_head
from flowcraft.engine.gate import Gate
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.parent import Parent
from flowcraft.engine.shards import ShardLedger, shard_id
from flowcraft.engine.station import Station
from flowcraft.errors import (
    CodecError,
    FlowcraftError,
    InvalidRunState,
    RunNotFound,
    StorageCorrupt,
    StorageError,
)
from flowcraft.ports.objects import run_prefix
from flowcraft.ports.runs import NO_FACTS, Head, Query

logger = logging.getLogger("flowcraft.reconciler")

REMOVED_AT_ONCE = 200
"""Runs on a page of those whose time is over. Where rows are apart, each page reads all of them."""

LONGEST_SECONDS = 60.0
"""How long one look removes runs; then others have a turn, and the next look goes on."""

OFTEN_SECONDS = 3_600.0
SELDOM_SECONDS = 86_400.0
"""From one look at all rows to the next, where runs expire, and where they do not: then only what
somebody began to delete may be left."""

_LOOKED = "looked/lapsed"


async def remove_run(station: Station, run_id: str, epoch: str) -> None:
    """Forget a run and all that belongs to it; one that is gone is no error.

    Raises:
        StorageError: A store cannot be used; what is left goes when this is done again.
        CodecError: It cannot be decoded here, so what belongs to it cannot be told.
    """
    await station.runs.remove(run_id, epoch, only_hide=True)
    ledger = await _hidden(station, run_id, epoch)
    if ledger is not None:
        station.forget(ledger)
        await _remove_below(station, ledger)
        # Whatever else is kept of a run elsewhere, by its id and epoch, goes here: before its
        # record, so that whoever dies finds it again, and when nothing is written to it any more.
        await _remove_timers(station, ledger)
        await _leave_lines(station, ledger)
    await station.objects.delete_all(f"{run_prefix(run_id, epoch)}f/")
    await station.runs.remove(run_id, epoch)


async def _remove_timers(station: Station, ledger: Ledger) -> None:
    now = station.clock.now()
    dues = {each.name: each.due_at for each in ledger.timers.dropped} | ledger.timers.live()
    dues = {name: due_at for name, due_at in dues.items() if due_at > now}
    if dues:
        await station.calendar.remove(dues, now)


async def _leave_lines(station: Station, ledger: Ledger) -> None:
    if not ledger.state.status.is_final:
        await Gate(station, 0.0).leave_lines(ledger, ledger.attempts())


async def _hidden(station: Station, run_id: str, epoch: str) -> Ledger | None:
    try:
        return await station.read(run_id, epoch, hidden=True)
    except CodecError:
        raise
    except StorageCorrupt as error:
        # Somebody was removing it, and was done with what belongs to it.
        logger.info("Run '%s' is removed, though it cannot be read: %s", run_id, error)
    return None


async def _remove_below(station: Station, ledger: Ledger) -> None:
    if isinstance(ledger, ShardLedger):
        return
    for key, record in ledger.state.records.items():
        if ledger.plan.nodes[index_of_key(key)].kind is Kind.SUBFLOW:
            for attempt in range(1, record.attempt + 1):
                await remove_run(station, child_run_id(ledger, key, attempt), ledger.epoch)
    for (key, first), shard in ledger.state.shards.items():
        for attempt in range(1, shard.attempt + 1):
            await _remove_shard(station, shard_id(ledger, key, first, attempt), ledger)


async def _remove_shard(station: Station, run_id: str, run: Ledger) -> None:
    """Forget a shard, with the timers of its items."""
    await station.runs.remove(run_id, run.epoch, only_hide=True)
    try:
        record = await station.runs.read(run_id)
    except StorageCorrupt:
        record = None  # somebody was removing it
    if record is not None and record.head.epoch == run.epoch:
        shard = ShardLedger(station, record.head, run, run.tape)
        shard.catch_up(record.facts)
        await _remove_timers(station, shard)
        await _leave_lines(station, shard)
    await station.runs.remove(run_id, run.epoch)


async def delete_run(station: Station, run_id: str, force: bool) -> None:
    """Forget a run at somebody's wish; one that is being removed is removed to its end.

    Raises:
        RunNotFound: There is no such run, or it is a part of another one.
        InvalidRunState: It is not over, or it belongs to a run that is there.
    """
    record = await station.runs.read(run_id, NO_FACTS)
    if record is None or not record.head.is_gone(station.clock.now()):
        head = await read_head(station, run_id)
        await _check_deletable(station, head, force)
    else:
        head = record.head
    await remove_run(station, run_id, head.epoch)


async def _check_deletable(station: Station, head: Head, force: bool) -> None:
    is_child = head.parent is not None
    if is_child and not await is_orphan(station, head):
        raise InvalidRunState(
            f"Run '{head.run_id}' belongs to another run, which would miss it. Delete that one: "
            "its child runs go with it."
        )
    if not (force or RunStatus(head.row.status).is_final):
        raise InvalidRunState(
            f"Run '{head.run_id}' is {head.row.status}: only a run that is over can be deleted. "
            "Cancel it first, or delete it by force."
        )


async def is_orphan(station: Station, head: Head) -> bool:
    """Whether a run is a part, or a child, of one that is gone."""
    parent = Parent.read(head)
    if parent is None:
        return False
    record = await station.runs.read(parent.run_id, NO_FACTS)
    if record is None or record.head.epoch != parent.epoch:
        return True
    return record.head.is_gone(station.clock.now())


async def _always() -> bool:
    return True


class Reaper:
    """Removes runs whose time is over, and what somebody began to delete and did not end.

    Where a look at what has expired is cheap it is made each time; where it reads all rows it is
    made once an hour, of all who look, and once a day where no run expires.

    Args:
        station: Ports and plans.
    """

    def __init__(self, station: Station) -> None:
        self._station = station
        self._retention_seconds = station.options.retention_seconds
        self._asked_at = -math.inf
        self._told: set[str] = set()

    async def look(self, may_go_on: Callable[[], Awaitable[bool]] = _always) -> int:
        """Remove runs whose time is over, if it is time to look; gives how many.

        Args:
            may_go_on: Asked before each run; where it says no, the look ends.
        """
        is_thorough = await self._is_time()
        if not is_thorough and self._station.runs.rows_are_apart:
            return 0
        now, lapsed = self._station.clock.now(), -math.inf
        if is_thorough and self._retention_seconds is not None:
            lapsed = now - self._retention_seconds

        async def may_go_on_now() -> bool:
            return self._station.clock.now() - now < LONGEST_SECONDS and await may_go_on()

        query = Query(lapsed=lapsed, parts=True, limit=REMOVED_AT_ONCE)
        removed, is_through = 0, False
        try:
            while not is_through and await may_go_on_now():
                heads = await self._station.runs.find(query)
                gone, stuck = await self._remove(heads, may_go_on_now)
                removed += gone
                # What cannot be removed is not to keep what comes behind it.
                query = replace(query, after=stuck[-1] if stuck else query.after)
                is_through = gone + len(stuck) == len(heads) < REMOVED_AT_ONCE
        except RunNotFound:
            logger.debug("What could not be removed is gone: the next look goes on")
        finally:
            if is_thorough and not is_through:
                await self._look_again_soon()
        if removed:
            logger.info("%d runs were removed, whose time was over", removed)
        return removed

    async def _look_again_soon(self) -> None:
        self._asked_at = -math.inf
        try:
            await self._station.coordination.delete(_LOOKED)
        except StorageError as error:
            logger.warning("Runs that have expired are looked for later: %s", error)

    async def _is_time(self) -> bool:
        now, seconds = self._station.clock.now(), SELDOM_SECONDS
        if self._retention_seconds is not None:
            seconds = OFTEN_SECONDS
        if now - self._asked_at < seconds:
            return False
        self._asked_at = now
        store = self._station.coordination
        return await store.set_if_not_exist(_LOOKED, "", ttl_seconds=seconds)

    async def _remove(
        self, heads: Sequence[Head], may_go_on: Callable[[], Awaitable[bool]]
    ) -> tuple[int, list[str]]:
        """Remove runs; gives how many went, and which ones could not."""
        removed, stuck = 0, list[str]()
        for head in heads:
            if not await may_go_on():
                break
            try:
                await remove_run(self._station, head.run_id, head.epoch)
            except FlowcraftError as error:
                stuck.append(head.run_id)
                if head.run_id not in self._told:
                    logger.error("Run '%s' has expired, and stays: %s", head.run_id, error)
                self._told.add(head.run_id)
            else:
                removed += 1
        return removed, stuck
