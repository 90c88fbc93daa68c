"""Ports that read what is there and change nothing: what somebody does through them is forgotten.

So a question such as "what would a reconciler send?" is answered by the reconciler itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flowcraft.ports.blobs import BlobStore
from flowcraft.ports.coordination import CoordinationStore, Swapped
from flowcraft.ports.objects import NoObjects
from flowcraft.ports.passing import PassingQueue
from flowcraft.ports.queue import Delivery, Outgoing
from flowcraft.ports.runs import (
    Change,
    Created,
    Entry,
    Head,
    Held,
    Query,
    Record,
    Renewed,
    RunStore,
    Verdict,
    Written,
)
from flowcraft.ports.suspicion import Suspects, Suspicion
from flowcraft.ports.together import Ports

_NO_FILES: Final = "Who only looks reads no files."


def pretended(ports: Ports) -> Ports:
    """The same queue and stores, for somebody who only looks."""
    return Ports(
        PretendedQueue(ports.queue),
        PretendedRuns(ports.runs),
        PretendedBlobs(ports.blobs),
        PretendedCoordination(ports.coordination),
        NoObjects(_NO_FILES),
    )


class PretendedQueue(PassingQueue):
    """Takes messages and drops them, and has none."""

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Drop messages."""

    async def receive(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:  # noqa: ARG002
        """Give nothing."""
        return ()

    async def delete(self, handles: Sequence[str]) -> None:
        """Leave deliveries alone."""

    async def extend(self, handles: Sequence[str]) -> None:
        """Leave deliveries alone."""


class PretendedRuns:
    """Reads runs; of those that are written it is as if somebody else had been faster.

    Args:
        runs: What is read.
    """

    def __init__(self, runs: RunStore) -> None:
        self._runs = runs
        self._removed: set[tuple[str, str]] = set()

    @property
    def rows_are_apart(self) -> bool:
        """As it is."""
        return self._runs.rows_are_apart

    async def create(self, head: Head, entries: Sequence[Entry], thread: str) -> Created:  # noqa: ARG002
        """Say that there is a run."""
        record = await self._runs.read(head.run_id)
        return Created(head, True) if record is None else Created(record.head, False)

    async def read(self, run_id: str, since: int = 0) -> Record | None:
        """A run, unless it was removed here."""
        record = await self._runs.read(run_id, since)
        is_gone = record is not None and (run_id, record.head.epoch) in self._removed
        return None if is_gone else record

    async def write(self, change: Change) -> Written:  # noqa: ARG002
        """Write nothing."""
        return Written(Verdict.STALE)

    async def renew(self, leases: Sequence[Held], seconds: float) -> Sequence[Renewed]:  # noqa: ARG002
        """Prolong nothing."""
        return [Renewed(held=False, stopping=False) for _ in leases]

    async def find(self, query: Query) -> Sequence[Head]:
        """List runs."""
        return await self._runs.find(query)

    async def suspects(self, suspicion: Suspicion, after: str | None = None) -> Suspects:
        """A page of the runs that may be stuck."""
        return await self._runs.suspects(suspicion, after)

    async def remove(self, run_id: str, epoch: str, *, only_hide: bool = False) -> None:  # noqa: ARG002
        """Count a run as absent, here."""
        self._removed.add((run_id, epoch))


class PretendedBlobs:
    """Reads texts.

    Args:
        blobs: What is read.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def put(self, key: str, text: str, *, replace: bool = False) -> None:
        """Keep nothing."""

    async def get(self, key: str) -> str | None:
        """The text kept under a key, or ``None``."""
        return await self._blobs.get(key)

    async def delete(self, key: str) -> None:
        """Forget nothing."""


class PretendedCoordination:
    """Reads what is there; what is set is remembered here alone, and does not expire.

    Args:
        store: What is read; ``None`` for nothing.
    """

    def __init__(self, store: CoordinationStore | None) -> None:
        self._store = store
        self._values: dict[str, str | int | None] = {}

    async def increment(self, key: str, by: int = 1, *, ttl_seconds: float | None = None) -> int:  # noqa: ARG002
        """Count, for oneself.

        Raises:
            ValueError: The key holds a text.
        """
        there = await self.get(key)
        if isinstance(there, str):
            raise ValueError(f"'{key}' holds a text: it is no counter.")
        count = self._values[key] = (there or 0) + by
        return count

    async def set_if_not_exist(
        self, key: str, value: str, *, ttl_seconds: float | None = None
    ) -> bool:
        """Set a text, for oneself."""
        return (await self.swap(key, None, value, ttl_seconds=ttl_seconds)).done

    async def extend_ttl(self, key: str, value: str, ttl_seconds: float) -> bool:  # noqa: ARG002
        """Whether this text is there."""
        return await self.get(key) == value

    async def delete(self, key: str, value: str | None = None) -> bool:
        """Forget a key, for oneself."""
        there = await self.get(key)
        if there is None or value not in (None, there):
            return False
        self._values[key] = None
        return True

    async def get(self, key: str) -> str | int | None:
        """What is there, or was set here."""
        if key in self._values or self._store is None:
            return self._values.get(key)
        return await self._store.get(key)

    async def swap(
        self,
        key: str,
        expected: str | None,
        value: str | None,
        *,
        ttl_seconds: float | None = None,  # noqa: ARG002
    ) -> Swapped:
        """Exchange a text for another, for oneself."""
        there = await self.get(key)
        if there != expected:
            return Swapped(False, there)
        self._values[key] = value
        return Swapped(True, value)
