"""Time as the service has it: the machine's clock, put right by the dates of answers.

Workers agree on when a lease ends, so they need one time. A machine's clock may be minutes off;
each answer of AWS says what time it is there, to the second.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Final

from flowcraft.adapters.aws.transport import Answer, Request, Transport
from flowcraft.ports.clock import Clock, Timer

logger = logging.getLogger("flowcraft")

IGNORED_SECONDS: Final = 2.0
"""A difference up to this is left alone: dates have whole seconds, and servers differ a little."""

TOLD_SECONDS: Final = 60.0
"""A difference from this on is worth a word to those who look after the machine."""


class ServiceTime:
    """A clock that follows the service.

    An answer that was asked for at one time and there at another, by the machine's clock, and is
    dated to the second, leaves an interval for how far the machine is behind. As long as the
    difference assumed lies in it, or up to ``ignored_seconds`` beside it, nothing changes;
    otherwise the middle of the interval is assumed. An answer that took long, as that of a long
    poll, says little by that, and changes little.

    Args:
        clock: The machine's clock.
        ignored_seconds: How far beside what an answer tells the time may be.
    """

    def __init__(self, clock: Clock, *, ignored_seconds: float = IGNORED_SECONDS) -> None:
        self.machine = clock
        self._ignored_seconds = ignored_seconds
        self._offset = 0.0

    @property
    def offset_seconds(self) -> float:
        """How far the machine's clock is taken to be behind; negative if it is ahead."""
        return self._offset

    def now(self) -> float:
        """The time of the service, in seconds since the epoch, to the millisecond.

        Facts keep milliseconds in two bytes, and anything finer in eight.
        """
        return round(self.machine.now() + self._offset, 3)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` in the running event loop once ``now()`` has reached ``when``."""
        return _Timer(self, when, callback)

    def learn(self, date: str, asked_at: float, answered_at: float) -> None:
        """Take an answer into account.

        Args:
            date: Its date, as HTTP writes it; one that cannot be read is left out of account.
            asked_at: When the request was sent, by the machine's clock.
            answered_at: When the answer was there, by the machine's clock.
        """
        try:
            dated = parsedate_to_datetime(date).timestamp()
        except (ValueError, TypeError, OverflowError):
            return
        # The second that the date names had begun when it was written, and was not over.
        least, most = dated - answered_at, dated + 1.0 - asked_at
        if answered_at < asked_at:
            # The clock was set meanwhile: when the request was sent is not known.
            return
        beside = max(least - self._offset, self._offset - most, 0.0)
        if beside <= self._ignored_seconds:
            return
        before, self._offset = self._offset, (least + most) / 2
        if abs(self._offset - before) >= TOLD_SECONDS:
            logger.warning(
                "The clock of this machine differs from that of AWS by %.0f s; AWS's is followed. "
                "Set the machine's clock: AWS refuses requests that are dated too far off",
                -self._offset,
            )


class _Timer:
    """A call at a time of the service, whatever becomes of the difference meanwhile."""

    def __init__(self, time: ServiceTime, when: float, callback: Callable[[], None]) -> None:
        self._time = time
        self._when = when
        self._callback = callback
        self._timer = self._arm()

    def cancel(self) -> None:
        """Forget the call; nothing happens if it was made already."""
        self._timer.cancel()

    def _arm(self) -> Timer:
        offset = self._time.offset_seconds
        # The time goes by milliseconds: before the next one it may never get as far as this.
        due = round(self._when, 3)
        if due < self._when:
            due = round(due + 0.001, 3)
        at = due - offset
        while at + offset < due:
            # Whoever is called may compare: rounding must not make it early.
            at = math.nextafter(at, math.inf)
        return self._time.machine.call_at(at, self._fire)

    def _fire(self) -> None:
        if self._time.now() < self._when:
            # The clock was put back meanwhile.
            self._timer = self._arm()
        else:
            self._callback()


class Timed:
    """A transport whose answers tell the time.

    Args:
        transport: Carries the requests out.
        service_time: Learns from the answers.
    """

    def __init__(self, transport: Transport, service_time: ServiceTime) -> None:
        self._transport = transport
        self._service_time = service_time

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request; see ``Transport.call``."""
        machine = self._service_time.machine
        asked_at = machine.now()
        answer = await self._transport.call(operation, request)
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        if (date := headers.get("date")) is not None:
            self._service_time.learn(date, asked_at, machine.now())
        return answer
