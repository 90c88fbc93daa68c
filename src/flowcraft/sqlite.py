"""Durable runs on one machine: queue and record in one SQLite file, nothing to install."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from flowcraft.adapters.directory import DirectoryObjects
from flowcraft.adapters.sqlite import (
    Database,
    Durability,
    SqliteBlobs,
    SqliteCoordination,
    SqliteQueue,
    SqliteRuns,
)
from flowcraft.adapters.system import SystemClock, SystemIdentifiers
from flowcraft.engine.adapter import Adapter
from flowcraft.engine.arguments import checked_choice
from flowcraft.engine.client import FlowClient
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.shards import SHARD_ITEMS
from flowcraft.engine.worker import DEFAULT_LEASE_SECONDS
from flowcraft.ports.clock import Clock, Identifiers
from flowcraft.ports.codec import AnyCodec
from flowcraft.ports.telemetry import Telemetry
from flowcraft.ports.together import OpenPorts, Ports

__all__ = ["Durability", "SqliteAdapter"]


LOOK_SECONDS = 0.05
"""The longest pause between two looks at a run that somebody waits for: looks are cheap here."""


class SqliteAdapter(Adapter):
    """Durable runs on one machine, in one file; any number of processes may work on it.

    Args:
        path: The file; it is created if there is none. Two more are kept beside it, and a
            directory, ``runs.db-files``, if nodes keep files.
        runtime_options: ``FlowRuntime.options``: implementations, blueprints and the rest.
        durability: With ``"normal"`` what is written outlives the process, however it ends;
            with ``"full"`` a loss of power too, at the price of a wait for the disk each time.
        lease_seconds: How long a worker that is gone keeps others from what it was doing.
        retention_seconds: How long runs are kept after their end; for ever by default. The same
            for all processes that work on the file.
        codec: Encodes payloads before they are written to the file, and decodes what is read. All
            processes that work on the file, clients included, are given the same.
        telemetry: Is told what the worker counts and times.
        clock: Another source of time, for tests.
        identifiers: Another source of ids, for tests.
        worker_options: ``concurrency`` (10), ``drain_timeout_seconds`` (25) and what else a
            :class:`Worker` takes; ``shard_items`` (500), the size of the records that large
            batches of runs started here are cut into.

    Raises:
        StorageError: The file cannot be used; raised by ``start`` and by the first verb.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        runtime_options: RuntimeOptions,
        *,
        durability: Durability = "normal",
        lease_seconds: float = DEFAULT_LEASE_SECONDS,
        retention_seconds: float | None = None,
        codec: AnyCodec | None = None,
        telemetry: Telemetry | None = None,
        clock: Clock | None = None,
        identifiers: Identifiers | None = None,
        **worker_options: Any,
    ) -> None:
        clock = clock or SystemClock()
        super().__init__(
            _opener(path, clock, durability, lease_seconds, retention_seconds),
            RuntimeOptions.checked(runtime_options).kept_for(retention_seconds),
            clock=clock,
            identifiers=identifiers or SystemIdentifiers(),
            longest_look_seconds=LOOK_SECONDS,
            codec=codec,
            telemetry=telemetry,
            lease_seconds=lease_seconds,
            **worker_options,
        )

    @staticmethod
    def client_of(
        path: str | PathLike[str],
        runtime_options: RuntimeOptions | None = None,
        *,
        durability: Durability = "normal",
        retention_seconds: float | None = None,
        shard_items: int = SHARD_ITEMS,
        codec: AnyCodec | None = None,
        telemetry: Telemetry | None = None,
        clock: Clock | None = None,
    ) -> FlowClient:
        """A client of the runs in a file, which runs no node: ``FlowClient.sqlite`` gives it."""
        clock = clock or SystemClock()
        return FlowClient(
            _opener(path, clock, durability, DEFAULT_LEASE_SECONDS, retention_seconds),
            RuntimeOptions.checked(runtime_options).kept_for(retention_seconds),
            clock=clock,
            identifiers=SystemIdentifiers(),
            longest_look_seconds=LOOK_SECONDS,
            shard_items=shard_items,
            codec=codec,
            telemetry=telemetry,
        )


def _files_of(path: Path, durability: Durability) -> DirectoryObjects:
    """The directory for the files of runs, beside the file of their records."""
    directory = path.with_name(f"{path.name}-files").absolute()
    return DirectoryObjects(lambda: directory, is_durable=durability == "full")


def _opener(
    path: str | PathLike[str],
    clock: Clock,
    durability: Durability,
    visibility_seconds: float,
    retention_seconds: float | None,
) -> OpenPorts:
    if not isinstance(path, str | PathLike):
        raise TypeError(f"path is the name of a file, not {path!r}.")
    if str(path) == "":
        raise ValueError("path is the name of a file, and it is empty.")
    checked_choice("durability", durability, ("normal", "full"))
    if str(path) == ":memory:":
        raise ValueError(
            "':memory:' is no file that several connections can share. Use "
            "flowcraft.memory.MemoryAdapter, or a file in a temporary directory."
        )
    path = Path(path)
    home = None if path.is_absolute() else Path.cwd()

    @asynccontextmanager
    async def open_ports() -> AsyncIterator[Ports]:
        # It is opened more than once, and is the same file if the process changes its directory.
        here = path if home is None or home == Path.cwd() else home / path
        with Database(here, clock, durability=durability) as database:
            yield Ports(
                SqliteQueue(database, visibility_seconds=visibility_seconds),
                SqliteRuns(database, retention_seconds),
                SqliteBlobs(database),
                SqliteCoordination(database),
                _files_of(here, durability),
            )

    return open_ports
