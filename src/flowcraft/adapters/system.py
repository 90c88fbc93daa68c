"""The real clock and real randomness: the only place that reads them."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Callable

from flowcraft.ports.clock import Timer

_LONGEST_SLEEP_SECONDS = 3600.0


class _SystemTimer:
    """A timer on the event loop that follows the wall clock.

    The loop counts elapsed time, which a clock set forward or a suspended machine does not
    advance: so a long delay is slept in parts, and the wall clock is looked at after each.
    """

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self._when = when
        self._callback: Callable[[], None] | None = callback
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.Handle | None = None
        self._arm()

    def cancel(self) -> None:
        """Forget the call, and what it would have called: that may know this timer."""
        handle, self._handle, self._callback = self._handle, None, None
        if handle is not None:
            handle.cancel()

    def _arm(self) -> None:
        left = self._when - time.time()
        if left > 0:
            self._handle = self._loop.call_later(min(left, _LONGEST_SLEEP_SECONDS), self._arm)
        else:
            self._handle = self._loop.call_soon(self._fire)

    def _fire(self) -> None:
        callback = self._callback
        self.cancel()
        if callback is not None:
            callback()


class SystemClock:
    """The machine's clock."""

    # Asked before every decision; a method around it would double what that costs.
    now = staticmethod(time.time)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` in the running event loop at ``when``."""
        return _SystemTimer(when, callback)


_TOKEN_BYTES = 6
"""Of a million tokens in one run two are the same in one of 500 runs; tokens are compared only
where two of them are for the same attempt, or name messages of the same run."""


def random_bytes(count: int) -> bytes:
    """Random bytes that nobody can foresee."""
    return os.urandom(count)


class SystemIdentifiers:
    """Random identifiers."""

    def new_run_id(self) -> str:
        """A fresh run id: a random UUID (version 4)."""
        # What uuid.uuid4() gives as text, without the object in between: one is made per run.
        digits = os.urandom(16).hex()
        variant = "89ab"[int(digits[16], 16) & 3]
        return (
            f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
        )

    def new_token(self) -> str:
        """48 random bits, as eight characters."""
        return base64.urlsafe_b64encode(os.urandom(_TOKEN_BYTES)).decode()
