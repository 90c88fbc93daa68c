"""Who works on what was received: so many messages at a time, and for how long others wait."""

from __future__ import annotations

import asyncio
from typing import Final

from flowcraft.ports.clock import Clock

KEPT_SECONDS: Final = 2.0
"""How long what was received beyond the hands there are waits for one; then others may have it."""


class Hands:
    """Hands that messages are worked on with.

    Args:
        count: How many there are.
        clock: The time.

    Attributes:
        are_quick: Whether those that wait are likely to get one soon, so that more messages may
            be received than there are hands for.
    """

    def __init__(self, count: int, clock: Clock) -> None:
        self._count = count
        self._clock = clock
        self._free = asyncio.Semaphore(count)
        self.are_quick = True

    async def take(self) -> bool:
        """Wait for a hand, but not for long; whether there is one."""
        if not self._free.locked():
            return await self._free.acquire()
        is_late = False

        def give_up() -> None:
            nonlocal is_late
            is_late = True
            getting.cancel()

        getting = asyncio.ensure_future(self._free.acquire())
        timer = self._clock.call_at(self._clock.now() + KEPT_SECONDS, give_up)
        try:
            return await getting
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not is_late or (task is not None and task.cancelling()):
                raise
            self.are_quick = False
            return False
        finally:
            timer.cancel()

    def give_back(self, seconds: float, batch: int) -> None:
        """Let another message have a hand.

        Args:
            seconds: How long the work has taken.
            batch: How many messages are received at a time.
        """
        self._free.release()
        self.are_quick = seconds * batch < KEPT_SECONDS * self._count

    def give_to_all(self, waiting: int) -> None:
        """Let so many go on that wait: to put themselves back."""
        for _ in range(waiting):
            self._free.release()
