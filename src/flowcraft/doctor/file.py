"""A file of runs on this machine: which checks there are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from flowcraft.adapters.system import SystemClock
from flowcraft.doctor.checking import Check, carry_out
from flowcraft.doctor.database import Examination
from flowcraft.doctor.disk import look_at_disk, look_at_file, look_at_files
from flowcraft.doctor.findings import Diagnosis, Finding, Severity, note
from flowcraft.doctor.running import LOOK_SECONDS, run_checks
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.reconcile import stalled_seconds
from flowcraft.ports.clock import Clock
from flowcraft.ports.codec import AnyCodec
from flowcraft.sqlite import SqliteAdapter

FIT: Final = frozenset({"file", "database.schema", "database.integrity", "database"})
"""Errors of these leave nothing to be read."""


@dataclass(frozen=True, slots=True)
class RunsFile:
    """A file of runs, and what is known of those who work on it.

    Attributes:
        path: The file.
        lease_seconds: The lease of the workers.
        options: The app, whose registry tells what the code here can run; ``None`` without one.
        codec: The one that the workers have.
    """

    path: Path
    lease_seconds: float = 30.0
    options: RuntimeOptions | None = None
    codec: AnyCodec | None = None


async def examine_file(file: RunsFile, clock: Clock | None = None) -> Diagnosis:
    """Look at a file of runs, and change nothing: not even a missing file is made.

    Args:
        file: Which one.
        clock: The time.
    """
    clock = clock or SystemClock()
    at = datetime.fromtimestamp(clock.now(), UTC)
    where = str(file.path)
    first = await carry_out([Check("file", where, _later(lambda: look_at_file(file.path)))])
    if any(each.severity is Severity.ERROR for each in first):
        return Diagnosis(at, "sqlite", first)
    examination = Examination(file.path, clock)
    found = await carry_out(
        [
            Check("database", where, _later(examination.look), LOOK_SECONDS),
            Check("disk", where, _later(lambda: look_at_disk(file.path))),
            Check("files", where, _later(lambda: look_at_files(file.path))),
        ]
    )
    return Diagnosis(at, "sqlite", (*first, *found, *await _runs(file, clock, found)))


def _later(look: Callable[[], Iterable[Finding]]) -> Callable[[], asyncio.Future[list[Finding]]]:
    """A look at files, made in a thread: it may take its time."""
    return lambda: asyncio.ensure_future(asyncio.to_thread(lambda: list(look())))


async def _runs(file: RunsFile, clock: Clock, found: tuple[Finding, ...]) -> tuple[Finding, ...]:
    is_fit = not any(each.check in FIT and each.severity is not Severity.OK for each in found)
    where = str(file.path)
    if not is_fit:
        text = "Runs and workers were not looked at, since the file is not fit to be read."
        return (note("runs", text, where),)
    client = SqliteAdapter.client_of(file.path, file.options, codec=file.codec, clock=clock)
    registry = None if file.options is None else file.options.registry
    threshold = stalled_seconds(None, file.lease_seconds)
    async with client:
        return await carry_out(
            run_checks(client, registry, where, stalled_seconds=threshold, clock=clock)
        )
