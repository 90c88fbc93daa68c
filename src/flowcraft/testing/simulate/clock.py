"""Time and identifiers of a simulation."""

from __future__ import annotations

from collections.abc import Callable

from flowcraft.ports.clock import Timer
from flowcraft.testing.simulate.loop import SimulationLoop


class SimulationClock:
    """The time of a simulation, as a process has it whose clock may be wrong.

    Args:
        loop: The event loop.
        ahead_seconds: How far the clock is ahead; below 0 for one that is behind.
    """

    def __init__(self, loop: SimulationLoop, ahead_seconds: float = 0.0) -> None:
        self._loop = loop
        self._ahead_seconds = ahead_seconds

    def now(self) -> float:
        """The time, in seconds since the epoch."""
        return self._loop.time() + self._ahead_seconds

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` once ``now()`` has reached ``when``."""
        return _Timer(self, when, callback)


class _Timer:
    """A call that was arranged for later.

    A sum of times may come out a little too early: then it is not made before its time.
    """

    __slots__ = ("_callback", "_clock", "_handle", "_when")

    def __init__(self, clock: SimulationClock, when: float, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._when = when
        self._callback = callback
        loop = clock._loop
        due = when - clock._ahead_seconds
        self._handle = loop.call_at(due, self._fire)

    def cancel(self) -> None:
        """Forget the call; nothing happens if it was made already."""
        self._handle.cancel()

    def _fire(self) -> None:
        if self._clock.now() >= self._when:
            self._callback()
        else:
            loop = self._clock._loop
            self._handle = loop.call_at(loop.time() + 1e-6, self._fire)


class CountedIdentifiers:
    """Identifiers that are the same in every simulation: a name and a number.

    Args:
        name: The process that gives them out.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0

    def new_run_id(self) -> str:
        """A fresh identifier."""
        self._count += 1
        return f"{self._name}.{self._count}"

    def new_token(self) -> str:
        """A fresh token."""
        return self.new_run_id()
