"""What became of a command, as a number that scripts can use."""

from __future__ import annotations

from typing import ClassVar, Final

from flowcraft.errors import (
    BlueprintError,
    Disposition,
    FlowcraftError,
    ImplementationMissing,
    RunCancelled,
    RunError,
    RunFailed,
    RunNotFound,
    RunTimeout,
    ScheduleExists,
    ScheduleNotFound,
    StorageError,
)
from flowcraft.settings import SettingsError

DONE: Final = 0
FAILED: Final = 1
"""What was asked about failed: a run, or a check that found errors."""
WRONG_USE: Final = 2
"""An argument, a setting, a blueprint or a file is not what it has to be."""
NOT_FOUND: Final = 3
"""There is no such run, schedule, letter …"""
REFUSED: Final = 4
"""The state of things does not allow it."""
NO_STORAGE: Final = 5
"""Database, queue, tables or bucket cannot be used."""
TIMED_OUT: Final = 6
"""It was not over in time."""
NOT_OVER: Final = 7
"""``--exit-status``: the run is neither completed nor failed yet."""
INTERNAL: Final = 70
"""A bug of the command; the number is ``EX_SOFTWARE`` of ``sysexits.h``."""
INTERRUPTED: Final = 130
"""Ctrl-C: 128 and the number of the signal, as shells have it."""
TERMINATED: Final = 143
"""SIGTERM, in the same way."""

_CODES: Final[tuple[tuple[type[FlowcraftError], int], ...]] = (
    (SettingsError, WRONG_USE),
    (RunTimeout, TIMED_OUT),
    (RunNotFound, NOT_FOUND),
    (ScheduleNotFound, NOT_FOUND),
    (RunFailed, FAILED),
    (RunCancelled, FAILED),
    (RunError, REFUSED),
    (ScheduleExists, REFUSED),
    (StorageError, NO_STORAGE),
    (BlueprintError, WRONG_USE),
    (ImplementationMissing, WRONG_USE),
    (FlowcraftError, WRONG_USE),
)


class CommandError(FlowcraftError):
    """A command cannot do what it was asked for; the message says why.

    Args:
        message: What happened, and what to do.
        code: The exit code.
    """

    disposition: ClassVar[Disposition] = "drop"

    def __init__(self, message: str, code: int = WRONG_USE) -> None:
        super().__init__(message)
        self.code = code


def code_of(error: FlowcraftError) -> int:
    """The exit code for an error."""
    if isinstance(error, CommandError):
        return error.code
    return next(code for kind, code in _CODES if isinstance(error, kind))
