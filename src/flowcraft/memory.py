"""The durable engine on memory: for tests of an application, and for trying things out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from flowcraft.adapters.memory import (
    MemoryBlobs,
    MemoryCoordination,
    MemoryQueue,
    MemoryRuns,
)
from flowcraft.adapters.memory_objects import MemoryObjects
from flowcraft.adapters.system import SystemClock, SystemIdentifiers
from flowcraft.engine.adapter import Adapter
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.worker import DEFAULT_LEASE_SECONDS
from flowcraft.ports.clock import Clock, Identifiers
from flowcraft.ports.codec import AnyCodec
from flowcraft.ports.telemetry import Telemetry
from flowcraft.ports.together import Ports

__all__ = ["MemoryAdapter", "MemoryStorage"]


LOOK_SECONDS = 0.05
"""The longest pause between two looks at a run that somebody waits for: looks are cheap here."""


class MemoryStorage:
    """What several adapters in one process share; without one, each has its own.

    Args:
        clock: The time.
        visibility_seconds: How long a message that is being worked on is hidden from others.
        retention_seconds: How long runs are kept after their end; for ever by default.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        visibility_seconds: float = DEFAULT_LEASE_SECONDS,
        retention_seconds: float | None = None,
    ) -> None:
        self.retention_seconds = retention_seconds
        self.clock = clock or SystemClock()
        self._ports = Ports(
            MemoryQueue(self.clock, visibility_seconds=visibility_seconds),
            MemoryRuns(self.clock, retention_seconds),
            MemoryBlobs(),
            MemoryCoordination(self.clock),
            MemoryObjects(),
        )

    @asynccontextmanager
    async def open_ports(self) -> AsyncIterator[Ports]:
        """The ports."""
        yield self._ports


class MemoryAdapter(Adapter):
    """The same as the durable adapters, with everything in memory.

    Args:
        runtime_options: ``FlowRuntime.options``: implementations, blueprints and the rest.
        storage: What it shares with other adapters.
        retention_seconds: How long runs are kept after their end; for ever by default. Where a
            storage is given, that one's counts.
        codec: Encodes payloads before they are kept, and decodes what is read.
        telemetry: Is told what the worker counts and times.
        clock: Another source of time, for tests.
        identifiers: Another source of ids, for tests.
        worker_options: ``concurrency`` (10), ``lease_seconds`` (30), ``drain_timeout_seconds``
            (25) and what else a :class:`Worker` takes; ``shard_items`` (500), the size of the
            records that large batches of runs started here are cut into.
    """

    def __init__(
        self,
        runtime_options: RuntimeOptions,
        *,
        storage: MemoryStorage | None = None,
        retention_seconds: float | None = None,
        codec: AnyCodec | None = None,
        telemetry: Telemetry | None = None,
        clock: Clock | None = None,
        identifiers: Identifiers | None = None,
        **worker_options: Any,
    ) -> None:
        if storage is None:
            lease_seconds = worker_options.get("lease_seconds", DEFAULT_LEASE_SECONDS)
            storage = MemoryStorage(clock, lease_seconds, retention_seconds)
        super().__init__(
            storage.open_ports,
            RuntimeOptions.checked(runtime_options).kept_for(storage.retention_seconds),
            clock=clock or storage.clock,
            identifiers=identifiers or SystemIdentifiers(),
            longest_look_seconds=LOOK_SECONDS,
            codec=codec,
            telemetry=telemetry,
            **worker_options,
        )
