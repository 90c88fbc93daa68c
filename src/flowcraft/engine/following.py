"""Looking at a durable run, once or again and again, reading only what is new."""

from __future__ import annotations

import asyncio
from typing import Final

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.plan import Key
from flowcraft.core.shards import shards_under_way
from flowcraft.core.state import CHILD
from flowcraft.engine.children import child_run_id
from flowcraft.engine.family import read_run
from flowcraft.engine.inspecting import RunDetails, details_of
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.parent import Parent
from flowcraft.engine.results import node_states
from flowcraft.engine.shards import shard_id
from flowcraft.engine.station import Station
from flowcraft.errors import InvalidRunState, RunNotFound

MOST_CHILDREN: Final = 20
MOST_SHARDS: Final = 16
"""So many child runs, and shards of batches, are looked into at each look; others are taken to be
as their run knows them."""

READS_AT_ONCE: Final = 10


class Follower:
    """A run that is looked at again and again.

    Each look takes one read of the run, one of each child run that it waits for and one of each
    part of a large batch that is under way, up to twenty and sixteen of these; what was read
    before is not read again.

    Args:
        station: Ports and plans.
        run_id: The run.
        with_values: Whether to tell inputs, outputs and context.

    Attributes:
        reads: Reads of records that it took so far.
    """

    def __init__(self, station: Station, run_id: str, *, with_values: bool = False) -> None:
        self._station = station
        self._run_id = run_id
        self._with_values = with_values
        self._run: Ledger | None = None
        self._shards: dict[tuple[Key, int], Ledger] = {}
        self._hands = asyncio.Semaphore(READS_AT_ONCE)
        self.reads = 0

    async def look(self) -> RunDetails:
        """The run as it is now.

        Raises:
            RunNotFound: There is no such run, or none any more.
        """
        run = self._run
        if run is None:
            run = self._run = await read_run(self._station, self._run_id)
            self.reads += 1 + len(run.children)
        else:
            await self._refresh(run)
        await self._look_at_shards(run)
        above = Parent.read(run.head)
        parent = None if above is None else above.run_id
        return details_of(run, parent, self._shards, with_values=self._with_values)

    @property
    def picture(self) -> tuple[WorkflowBlueprint, dict[str, str]]:
        """What can be drawn of the run: its blueprint, and how each node of it fared, by id.

        Raises:
            InvalidRunState: Nobody has looked at it yet.
        """
        if self._run is None:
            raise InvalidRunState(f"Nobody has looked at run '{self._run_id}' yet.")
        return self._run.plan.blueprint, node_states(self._run.plan, self._run.state)

    async def _refresh(self, run: Ledger) -> None:
        await self._read(run)
        await self._refresh_children(run)

    async def _read(self, run: Ledger) -> None:
        async with self._hands:
            self.reads += 1
            if not await self._station.refresh(run):
                raise RunNotFound(f"The run '{run.run_id}' is there no more.")

    async def _refresh_children(self, run: Ledger) -> None:
        """See to the child runs that a run waits for now, and to no others."""
        waited = [
            (key, record.attempt)
            for key, record in run.state.records.items()
            if record.status is CHILD
        ][:MOST_CHILDREN]
        known: dict[Key, Ledger] = dict(run.children)
        run.children.clear()
        looks = [self._child(run, key, attempt, known.get(key)) for key, attempt in waited]
        for (key, _), child in zip(waited, await asyncio.gather(*looks), strict=True):
            if child is not None:
                run.children[key] = child

    async def _child(
        self, run: Ledger, key: Key, attempt: int, known: Ledger | None
    ) -> Ledger | None:
        run_id = child_run_id(run, key, attempt)
        try:
            if known is not None and known.run_id == run_id:
                await self._refresh(known)
                return known
            self.reads += 1
            return await read_run(self._station, run_id, run.epoch)
        except RunNotFound:
            return None  # it is about to begin

    async def _look_at_shards(self, run: Ledger) -> None:
        under_way = list(shards_under_way(run.state))[:MOST_SHARDS]
        looks = [self._shard(run, key, first, attempt) for key, first, attempt in under_way]
        found = await asyncio.gather(*looks)
        self._shards = {
            (key, first): shard
            for (key, first, _), shard in zip(under_way, found, strict=True)
            if shard is not None
        }

    async def _shard(self, run: Ledger, key: Key, first: int, attempt: int) -> Ledger | None:
        run_id = shard_id(run, key, first, attempt)
        known = self._shards.get((key, first))
        if known is None or known.run_id != run_id:
            async with self._hands:
                self.reads += 1
                return await self._station.read(run_id, run.epoch)
        try:
            await self._read(known)
        except RunNotFound:
            return None
        return known
