"""How the fleet is: its queue, runs that stand still, its workers. Looked at now and then only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

from flowcraft.adapters.aws.large_messages import LargeMessages
from flowcraft.engine.client import FlowClient
from flowcraft.engine.jsonable import jsonable
from flowcraft.engine.worker_kinds import Seen
from flowcraft.errors import FlowcraftError
from flowcraft.ports.clock import Clock
from flowcraft.ports.queue import QueueDepth

T = TypeVar("T")

KEPT_SECONDS: Final = 10.0
"""How long what was found is told again, to whoever asks."""

REPORT_SECONDS: Final = 60.0
STANDING_SECONDS: Final = 90.0
"""A run in which nothing happened for so long, and which has something to do, stands still."""

MOST_STANDING: Final = 50


@dataclass(slots=True)
class Kept(Generic[T]):
    """What was found lately, so that many who ask cost no more than one.

    Attributes:
        find: Finds it anew.
        seconds: How long it is told again.
        clock: The time.
    """

    find: Callable[[], Awaitable[T]]
    seconds: float
    clock: Clock
    _found: tuple[float, T] | None = None
    _finding: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """What was found lately; found anew where that was too long ago."""
        if self._found is not None and self.clock.now() < self._found[0] + self.seconds:
            return self._found[1]
        if self._finding is None:
            self._finding = asyncio.get_running_loop().create_task(self._look())
            self._finding.add_done_callback(_heard)
        # Who goes away does not take it from the others.
        return await asyncio.shield(self._finding)

    async def aclose(self) -> None:
        """Find nothing any more."""
        finding = self._finding
        if finding is not None:
            finding.cancel()
            await asyncio.gather(finding, return_exceptions=True)

    async def _look(self) -> T:
        try:
            found = await self.find()
            self._found = (self.clock.now(), found)
            return found
        finally:
            self._finding = None


def _heard(finding: asyncio.Task[Any]) -> None:
    """Whoever asked is told of an error; where nobody does any more, nobody misses it."""
    if not finding.cancelled():
        finding.exception()


class Fleet:
    """How the fleet is.

    Args:
        client: Of which runs.
        clock: The time.
    """

    def __init__(self, client: FlowClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self.health = Kept(self._health, KEPT_SECONDS, clock)
        self.workers = Kept(self._workers, KEPT_SECONDS, clock)
        self.drain = Kept(self._drain, REPORT_SECONDS, clock)

    async def aclose(self) -> None:
        """Look at nothing any more."""
        for each in (self.health, self.workers, self.drain):
            await each.aclose()

    async def _health(self) -> dict[str, Any]:
        depth, standing, workers = await asyncio.gather(
            _or_trouble(self._depth), _or_trouble(self._standing), _or_trouble(self.workers.get)
        )
        return {
            "at": _iso(self._clock.now()),
            "queue": depth,
            "standing": standing,
            "workers": workers,
        }

    async def _depth(self) -> dict[str, Any] | None:
        async with self._client._open_ports() as ports:
            queue = ports.queue
            behind = queue.behind if isinstance(queue, LargeMessages) else queue
            look: Callable[[], Awaitable[QueueDepth]] | None = getattr(behind, "depth", None)
            return None if look is None else jsonable(await look())

    async def _standing(self) -> dict[str, Any]:
        found = await self._client.standing_runs(for_seconds=STANDING_SECONDS, limit=MOST_STANDING)
        data: dict[str, Any] = jsonable(found)
        return data

    async def _workers(self) -> dict[str, Any]:
        return {"kinds": [_seen(each) for each in await self._client.workers_seen()]}

    async def _drain(self) -> dict[str, Any]:
        data: dict[str, Any] = jsonable(await self._client.drain_report())
        return data


async def _or_trouble(look: Callable[[], Awaitable[Any]]) -> Any:
    """What a look finds; why it could not be done where it could not: the others tell theirs."""
    try:
        return await look()
    except FlowcraftError as error:
        return {"trouble": str(error)[:2_000]}


def _seen(seen: Seen) -> dict[str, Any]:
    kind = seen.kind
    return {
        "id": kind.id,
        "package": kind.package,
        "python": kind.python,
        "implementations": None if kind.uses is None else len(kind.uses),
        "firstAt": _iso(seen.first_at),
        "seenAt": _iso(seen.seen_at),
        "workers": seen.workers,
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
