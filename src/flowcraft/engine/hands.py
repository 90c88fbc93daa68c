"""Who works on what was received: so many messages at a time, and for how long others wait."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flowcraft.engine.jobs import Job
from flowcraft.ports.clock import Clock

if TYPE_CHECKING:
    from flowcraft.engine.strand import Strand

KEPT_SECONDS: Final = 2.0
"""How long what was received beyond the hands there are waits for one; then others may have it."""


@dataclass(slots=True)
class InHand:
    """A delivery that is being worked on.

    Attributes:
        handle: What it is extended and deleted by; empty if that is not for this worker to do.
        received_at: When it was received.
        hidden_until: Until when the queue hides the message from others, as far as is known here;
            for ever where that is somebody else's to see to.
        receives: How often it was received, by whomever.
        job: The message, once it was read.
        strand: The work, once it has begun.
        caller: Who waits for it, if it was handed in.
    """

    handle: str
    received_at: float
    hidden_until: float = math.inf
    receives: int = 1
    job: Job | None = None
    strand: Strand | None = None
    caller: asyncio.Task[Any] | None = None

    def extend(self, asked_at: float, seconds: float) -> None:
        """The message was hidden for longer, unless it was visible before that was asked for."""
        if asked_at <= self.hidden_until:
            self.hidden_until = asked_at + seconds


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
