"""Time, identifiers: what a run cannot decide by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

LATEST: Final = 253_402_300_800.0
"""The year 10000, in seconds since the epoch: nothing happens, or is due, then or later."""


class Timer(Protocol):
    """A call that was arranged for later."""

    def cancel(self) -> None:
        """Forget the call; nothing happens if it was made already."""


class Clock(Protocol):
    """A source of time in seconds since the epoch, and of calls at a given time."""

    def now(self) -> float:
        """The time."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` in the running event loop once ``now()`` has reached ``when``."""


class Identifiers(Protocol):
    """A source of identifiers that no other process gives out."""

    def new_run_id(self) -> str:
        """A fresh run id."""

    def new_token(self) -> str:
        """A short text that is fresh within a run: messages and leases of runs are told by it."""
