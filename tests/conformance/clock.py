"""Time for the runs of a case: it stands still until there is nothing else to do."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import Final

_QUIET_TURNS: Final = 5
_START: Final = 1_700_000_000.0


class _Timer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Forget the call."""
        self.callback = None


class IdleClock:
    """Jumps to the next timer as soon as the event loop has run out of work.

    One clock belongs to one event loop. Nothing that runs on it may wait for real time.
    """

    def __init__(self) -> None:
        self._now = _START
        self._timers: list[tuple[float, int, _Timer]] = []
        self._numbers = count()
        self._quiet = 0
        self._watching = False

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def call_at(self, when: float, callback: Callable[[], None]) -> _Timer:
        """Call ``callback`` once time has come to ``when``."""
        timer = _Timer(callback)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        self._quiet = 0
        if not self._watching:
            self._watching = True
            asyncio.get_running_loop().call_soon(self._watch)
        return timer

    async def sleep(self, milliseconds: float) -> None:
        """Wait for some time."""
        woken = asyncio.get_running_loop().create_future()
        timer = self.call_at(
            self._now + milliseconds / 1000, lambda: woken.done() or woken.set_result(None)
        )
        try:
            await woken
        finally:
            timer.cancel()

    def _watch(self) -> None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        self._watching = bool(self._timers)
        if not self._watching:
            return
        loop = asyncio.get_running_loop()
        # asyncio does not say publicly whether anything else is ready to run.
        self._quiet = self._quiet + 1 if not getattr(loop, "_ready", ()) else 0
        if self._quiet >= _QUIET_TURNS:
            self._quiet = 0
            self._fire()
        loop.call_soon(self._watch)

    def _fire(self) -> None:
        when, _, timer = heapq.heappop(self._timers)
        self._now = max(self._now, when)
        callback, timer.callback = timer.callback, None
        if callback is not None:
            callback()
