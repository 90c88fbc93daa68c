"""Durable runs in tests, on an SQLite file: every process has a connection of its own."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

from flowcraft.adapters.sqlite import (
    Database,
    SqliteBlobs,
    SqliteCoordination,
    SqliteQueue,
    SqliteRuns,
)
from flowcraft.adapters.sqlite import queue as sqlite_queue
from flowcraft.adapters.waiting import Waiting
from flowcraft.ports.together import Ports
from flowcraft.testing import VirtualClock
from tests.unit.durable import World


class SqliteStorage:
    """Connections to a file, which share who waits for messages.

    Args:
        path: The file.
        clock: The time.
        visibility_seconds: How long a message that is being worked on is hidden from others.
    """

    def __init__(self, path: Path, clock: VirtualClock, visibility_seconds: float) -> None:
        self._path = path
        self._clock = clock
        self._visibility_seconds = visibility_seconds
        self._waiting = Waiting(clock)
        self.retention_seconds: float | None = None
        self._open = ExitStack()
        # A message that one process sends wakes the others. Nobody looks again and again, which
        # in virtual time would be all that ever happens.
        never = patch.object(sqlite_queue, "POLL_SECONDS", (math.inf, math.inf))
        self._open.enter_context(never)
        self._ports = self.connect()

    def connect(self) -> Ports:
        """Ports with a connection of their own."""
        self.database = self._open.enter_context(Database(self._path, self._clock))
        self.database.waiting = self._waiting
        return Ports(
            SqliteQueue(self.database, visibility_seconds=self._visibility_seconds),
            SqliteRuns(self.database, self.retention_seconds),
            SqliteBlobs(self.database),
            SqliteCoordination(self.database),
        )

    @asynccontextmanager
    async def open_ports(self) -> AsyncIterator[Ports]:
        """The ports of those who do not die."""
        yield self._ports

    def close(self) -> None:
        """Close all connections."""
        self._open.close()


class SqliteWorld(World):
    """A world whose storage is an SQLite file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__()

    def _new_storage(self, visibility_seconds: float) -> Any:
        return SqliteStorage(self._path, self.clock, visibility_seconds)

    def connect(self) -> Ports:
        """Ports for another process."""
        ports: Ports = self.storage.connect()
        return ports

    def bodies_of_messages(self) -> list[str]:
        """The texts of all messages on the queue, in hand or not."""
        with self.storage.database.snapshot as execute:
            return [body for (body,) in execute("SELECT body FROM messages")]

    async def end(self) -> None:
        """End what is still there, and close the file."""
        await super().end()
        self.storage.close()


def worlds_in(directory: Path) -> Callable[[], World]:
    """Makes worlds, each on a fresh file in a directory."""
    numbers = count()
    return lambda: SqliteWorld(directory / f"{next(numbers)}.db")
