"""Receivers of a queue that wait for something to come."""

from __future__ import annotations

import asyncio
import math
import threading

from flowcraft.ports.clock import Clock


class Waiting:
    """Tasks that wait to be woken, in any event loop and thread of the process.

    Ask for a :meth:`place` first and look whether there is something to wait for then: what
    comes in between wakes the place, and is not missed.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # In the order in which they came, so that a simulation of it comes to the same each time.
        self._places: dict[asyncio.Future[None], None] = {}

    def place(self) -> asyncio.Future[None]:
        """A place among those who are woken; give it to :meth:`wait` or :meth:`leave`."""
        place = asyncio.get_running_loop().create_future()
        with self._lock:
            self._places[place] = None
        return place

    def leave(self, place: asyncio.Future[None]) -> None:
        """Give a place up."""
        with self._lock:
            self._places.pop(place, None)

    async def wait(self, place: asyncio.Future[None], until: float) -> None:
        """Wait to be woken, but not beyond ``until``; the place is given up.

        Args:
            place: Where to wait.
            until: When to go on in any case, by the clock, in seconds since the epoch.
        """
        timer = None
        if math.isfinite(until):
            timer = self._clock.call_at(until, lambda: _wake(place))
        try:
            await place
        finally:
            if timer is not None:
                timer.cancel()
            self.leave(place)

    def wake(self) -> None:
        """Wake all who wait."""
        with self._lock:
            if not self._places:
                return
            places, self._places = self._places, {}
        here = _running_loop()
        for place in places:
            loop = place.get_loop()
            if loop is here:
                _wake(place)
            elif not loop.is_closed():
                _wake_elsewhere(loop, place)


def _wake(place: asyncio.Future[None]) -> None:
    if not place.done():
        place.set_result(None)


def _wake_elsewhere(loop: asyncio.AbstractEventLoop, place: asyncio.Future[None]) -> None:
    try:
        loop.call_soon_threadsafe(_wake, place)
    except RuntimeError:
        # It was closed a moment ago: nobody waits in it any more.
        return


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
