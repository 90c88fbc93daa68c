"""Which live runs still need which implementations: what tells when old workers may go."""

from __future__ import annotations

import asyncio
import logging
from bisect import insort
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from flowcraft.core.builtins import BUILTIN_USES
from flowcraft.core.needs import needed_uses, uses_of
from flowcraft.core.state import RunStatus
from flowcraft.errors import (
    CodecError,
    FlowcraftError,
    StorageCorrupt,
    StorageError,
    StorageTooNew,
)
from flowcraft.ports.runs import Head
from flowcraft.ports.suspicion import Suspicion

if TYPE_CHECKING:
    from flowcraft.engine.station import Station

logger = logging.getLogger("flowcraft.client")

LIVE: Final = (RunStatus.RUNNING, RunStatus.AWAITING, RunStatus.PAUSED)
EXAMPLES: Final = 5
"""Runs that are named, the oldest ones."""

OF_ONE_RUN: Final = (StorageCorrupt, StorageTooNew, CodecError)
"""Errors of the store that say something of a run, and nothing of the store."""

READS_AT_ONCE: Final = 10
FAR_AHEAD_SECONDS: Final = 3600.0
"""Rows are asked for that were written before a time which no clock that is a little wrong, and no
row that is written meanwhile, comes near."""


@dataclass(frozen=True, slots=True)
class Needed:
    """How live runs of one blueprint stand to one implementation.

    Attributes:
        blueprint_id: The blueprint.
        version: The version that its metadata give, if any.
        blueprint_hash: Its content: runs keep the one that they were started with.
        uses: The key that nodes, or batches, of it name.
        runs: Live runs in which a node of this key may still run.
        live: Live runs of this blueprint, those included that are past these nodes.
        oldest_at: When the oldest run was started that may still need it; ``None`` without any.
        examples: Ids of such runs, the oldest first, five at most.
    """

    blueprint_id: str
    version: str | None
    blueprint_hash: str
    uses: str
    runs: int
    live: int
    oldest_at: datetime | None
    examples: tuple[str, ...]

    @property
    def may_run(self) -> bool:
        """Whether a node of this key may still run in any of them."""
        return self.runs > 0

    def __str__(self) -> str:
        version = "" if self.version is None else f" version {self.version}"
        name = f"{self.uses} of {self.blueprint_id}{version} ({self.blueprint_hash[:8]})"
        if self.oldest_at is None:
            return f"{name}: needed by none of {self.live} live runs"
        oldest = self.oldest_at.strftime("%Y-%m-%d %H:%M:%S")
        examples = ", ".join(self.examples)
        return f"{name}: needed by {self.runs} of {self.live} live runs since {oldest}: {examples}"


@dataclass(frozen=True, slots=True)
class DrainReport:
    """Which live runs still need which implementations, as of a look at all of them.

    Attributes:
        at: When the look began. A run that was started later is not in it.
        runs: Live runs, child runs included.
        needed: For each blueprint and key how many need it, also where none does any more.
        unread: Ids of live runs that could not be read, five at most; the log says why.
        unread_runs: How many these are.
        reads: Reads of runs and of pages of them that it took.
    """

    at: datetime
    runs: int
    needed: tuple[Needed, ...]
    unread: tuple[str, ...] = ()
    unread_runs: int = 0
    reads: int = 0

    def needed_by(self, registry: Collection[str]) -> tuple[Needed, ...]:
        """What live runs still need and workers with this registry lack.

        Empty: as far as all runs could be read, workers that have nothing but this registry can
        finish all of them, and all others may go.

        Args:
            registry: A registry, or anything else that holds keys.

        Raises:
            TypeError: It holds none: a runtime, say, whose ``registry`` is meant.
        """
        if isinstance(registry, str) or not hasattr(registry, "__contains__"):
            raise TypeError(
                "needed_by is asked about a registry, or a list of keys, not about "
                f"{type(registry).__name__}: write runtime.registry."
            )
        return tuple(each for each in self.needed if each.may_run and each.uses not in registry)

    def __str__(self) -> str:
        moment = self.at.strftime("%Y-%m-%d %H:%M:%S")
        lines = [f"{self.runs} live runs at {moment} UTC"]
        lines += [f"  {each}" for each in self.needed]
        if self.unread_runs:
            examples = ", ".join(self.unread)
            lines.append(f"  {self.unread_runs} could not be read, see the log: {examples}")
        return "\n".join(lines)


@dataclass(slots=True)
class _Few:
    """The oldest runs of many, and how many there are."""

    count: int = 0
    oldest: list[tuple[float, str]] = field(default_factory=list)

    def add(self, created_at: float, run_id: str) -> None:
        """Count a run."""
        self.count += 1
        insort(self.oldest, (created_at, run_id))
        del self.oldest[EXAMPLES:]

    @property
    def ids(self) -> tuple[str, ...]:
        """Those that are named."""
        return tuple(run_id for _, run_id in self.oldest)


@dataclass(slots=True)
class _OfBlueprint:
    """The live runs of one blueprint."""

    blueprint_id: str
    version: str | None
    live: int = 0
    of_uses: dict[str, _Few] = field(default_factory=dict)


class Drain:
    """Looks at all live runs, page by page; what is kept is counts, and the ids of those seen.

    Args:
        station: Ports and plans.
        look_inside: Whether to read each run; otherwise each may still need all of its blueprint.
    """

    def __init__(self, station: Station, *, look_inside: bool = True) -> None:
        self._station = station
        self._look_inside = look_inside
        self._blueprints: dict[str, _OfBlueprint] = {}
        self._unread = _Few()
        self._seen: set[str] = set()
        self._hands = asyncio.Semaphore(READS_AT_ONCE)
        self._runs = self._reads = 0

    async def report(self) -> DrainReport:
        """Look at all of them, once."""
        began = self._station.clock.now()
        live = tuple(map(str, LIVE))
        suspicion = Suspicion(began + FAR_AHEAD_SECONDS, live, ())
        after: str | None = None
        while True:
            page = await self._station.runs.suspects(suspicion, after)
            self._reads += 1
            for run_id in page.failed:
                self._unread.add(began, run_id)
            await self._look_at([head for head in page.heads if self._is_new(head)])
            after = page.after
            if after is None:
                break
        return DrainReport(
            datetime.fromtimestamp(began, UTC),
            self._runs,
            tuple(self._needed()),
            self._unread.ids,
            self._unread.count,
            self._reads,
        )

    def _is_new(self, head: Head) -> bool:
        """Whether it is a run, and not one whose row has moved to a later page meanwhile."""
        if head.is_part or head.run_id in self._seen:
            return False  # what a shard needs its run says
        self._seen.add(head.run_id)
        return True

    async def _look_at(self, heads: Sequence[Head]) -> None:
        looks = [asyncio.ensure_future(self._look(head)) for head in heads]
        try:
            await asyncio.gather(*looks)
        finally:
            for look in looks:
                look.cancel()
            await asyncio.gather(*looks, return_exceptions=True)

    async def _look(self, head: Head) -> None:
        async with self._hands:
            try:
                await self._count(head)
            except FlowcraftError as error:
                if isinstance(error, StorageError) and not isinstance(error, OF_ONE_RUN):
                    raise
                logger.error("Run '%s' cannot be read: %s", head.run_id, error)
                self._unread.add(head.created_at, head.run_id)

    async def _count(self, head: Head) -> None:
        plan, _ = await self._station.plan(head.blueprint_hash)
        known, needed = uses_of(plan), uses_of(plan)
        if self._look_inside:
            ledger = await self._station.read(head.run_id, head.epoch)
            self._reads += 1
            if ledger is None or ledger.state.status.is_final:
                return  # it is over by now
            # Nodes that were added may name keys that the blueprint does not.
            known, needed = uses_of(ledger.plan), needed_uses(ledger.plan, ledger.state)
        self._runs += 1
        blueprint = plan.blueprint
        of = self._blueprints.setdefault(
            head.blueprint_hash, _OfBlueprint(blueprint.id, blueprint.version)
        )
        of.live += 1
        for uses in known - BUILTIN_USES:
            of.of_uses.setdefault(uses, _Few())
        for uses in needed - BUILTIN_USES:
            of.of_uses[uses].add(head.created_at, head.run_id)

    def _needed(self) -> Iterator[Needed]:
        for hash_, of in sorted(self._blueprints.items(), key=lambda each: _order(*each)):
            for uses, few in sorted(of.of_uses.items()):
                oldest = few.oldest[0][0] if few.oldest else None
                yield Needed(
                    of.blueprint_id,
                    of.version,
                    hash_,
                    uses,
                    few.count,
                    of.live,
                    None if oldest is None else datetime.fromtimestamp(oldest, UTC),
                    few.ids,
                )


def _order(hash_: str, of: _OfBlueprint) -> tuple[str, str, str]:
    return of.blueprint_id, of.version or "", hash_
