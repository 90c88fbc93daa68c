"""Time that moves when a test says so."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from flowcraft.core.durations import parse_duration_ms
from flowcraft.errors import RunTimeout
from flowcraft.ports.clock import Timer
from flowcraft.testing.activity import CURRENT_WORK, Activity

if TYPE_CHECKING:
    from flowcraft.engine.runtime import FlowRuntime

logger = logging.getLogger("flowcraft.testing")

Duration = str | float | timedelta

START = 1_704_067_200.0
"""Where a virtual clock starts: 2024-01-01T00:00:00Z, in seconds since the epoch."""

PATIENCE_SECONDS = 5.0
"""How long virtual time stands still, in real time, for nodes that make no progress."""

# A result passes from task to task in one or two turns of the event loop each. After this many
# turns in which nothing was at work, whoever could go on without time passing has done so.
_QUIET_TURNS = 20
# A node that waits for something real gets the processor back after this many turns.
_BUSY_TURNS = 200
_POLL_SECONDS = 0.001


class VirtualClock:
    """A clock for tests: it stands still until it is advanced, or jumps by itself.

    Give it to a runtime as ``FlowRuntime(clock=clock)``, or let :class:`TestEnvironment` do so.
    Times are seconds since the epoch, kept to the microsecond. What is due at one time is
    called in the order in which it was arranged.

    Args:
        start: The time at which it starts, in seconds since the epoch or as a datetime with a
            zone; 2024-01-01T00:00:00Z by default.
        autojump: Advance to whatever is due next as soon as nothing else can happen. The clock
            has to know what is at work: :meth:`attach` the runtime, or give ``busy``.
        busy: Tells whether anything is at work, beside the runtimes attached. Time does not
            jump meanwhile.

    Raises:
        ValueError: ``start`` is no time.
    """

    def __init__(
        self,
        start: float | datetime = START,
        *,
        autojump: bool = False,
        busy: Callable[[], bool] | None = None,
    ) -> None:
        seconds = _time_in_seconds(start)
        self._now = seconds
        self._micros = _micros(seconds)
        self._timers: list[tuple[int, int, _VirtualTimer]] = []
        self._numbers = itertools.count()
        self._autojump = autojump
        self._busy = busy
        self._attached: list[Activity] = []
        self._firing = False
        self._jumper = _Jumper(self)

    def now(self) -> float:
        """The virtual time, in seconds since the epoch."""
        return self._now

    @property
    def jumps(self) -> bool:
        """Whether it was made to jump by itself."""
        return self._autojump

    @property
    def next_due(self) -> float | None:
        """When the next call is due, in seconds since the epoch; ``None`` if none is."""
        timer = self._first()
        return None if timer is None else timer.when

    @property
    def busy(self) -> bool:
        """Whether a node of an attached runtime is at work, or ``busy`` says so.

        A node inside :meth:`sleep` waits for time and is not at work; one that waits for
        anything else, such as the network or a thread, is.
        """
        if self._busy is not None and self._busy():
            return True
        return any(activity.busy for activity in self._attached)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` once the time has come; at the event loop's next turn if it has.

        Raises:
            ValueError: ``when`` is not finite.
            RuntimeError: The clock is to jump by itself, but does not know what is at work.
        """
        if self._autojump and self._busy is None and not self._attached:
            raise RuntimeError(
                "VirtualClock(autojump=True) does not know when it may jump: call "
                "clock.attach(runtime), or give it a function as busy=…"
            )
        timer = _VirtualTimer(_time_in_seconds(when), callback)
        due = _micros(timer.when)
        heapq.heappush(self._timers, (due, next(self._numbers), timer))
        loop = _running_loop()
        if loop is not None and due <= self._micros and not self._firing:
            loop.call_soon(self._fire_until, self._micros)
        if loop is not None and self._autojump:
            self._jumper.watch(loop)
        return timer

    def advance(self, duration: Duration) -> None:
        """Let time pass, and make the calls that come due, each at its time.

        Nodes that are started by these calls run only when the event loop gets its turn, after
        all of the time has passed; ``TestEnvironment.advance`` stops for them.

        Args:
            duration: Seconds, a text such as ``"90s"``, ``"5m"`` or ``"1d"``, or a timedelta.

        Raises:
            ValueError: It is no duration, or a negative one.
            RuntimeError: Called by something that the clock is calling.
        """
        self._go_to(self._micros + _micros(duration_in_seconds(duration)))

    def advance_to(self, when: float | datetime) -> None:
        """Let time pass until ``when``, as :meth:`advance` does.

        Raises:
            ValueError: ``when`` is no time, or lies in the past.
            RuntimeError: Called by something that the clock is calling.
        """
        self._go_to(_micros(_time_in_seconds(when)))

    async def sleep(self, duration: Duration) -> None:
        """Wait for virtual time to pass, in a node or a fake of something slow.

        Raises:
            ValueError: It is no duration, or a negative one.
        """
        seconds = duration_in_seconds(duration)
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_at(self._now + seconds, lambda: _wake(over))
        work = CURRENT_WORK.get()
        try:
            if work is not None:
                work.asleep += 1
            await over
        finally:
            if work is not None:
                work.asleep -= 1
            timer.cancel()

    async def settle(
        self, *, patience_seconds: float = PATIENCE_SECONDS, while_busy: bool = False
    ) -> None:
        """Wait until nothing can happen any more without time passing.

        Args:
            patience_seconds: How long to wait, in real time, for nodes that make no progress.
            while_busy: Do not wait for nodes beyond what they do at once.

        Raises:
            RunTimeout: Nodes were still at work then; the message names them.
        """
        loop = asyncio.get_running_loop()
        quiet = turns = 0
        moves, since = self._moves(), loop.time()
        while quiet < _QUIET_TURNS:
            if while_busy or not self.busy:
                quiet += 1
                await asyncio.sleep(0)
                continue
            quiet, turns = 0, turns + 1
            if moves != self._moves():
                moves, since, turns = self._moves(), loop.time(), 0
            if turns > _QUIET_TURNS and loop.time() - since > patience_seconds:
                raise RunTimeout(self.describe_work(patience_seconds))
            await asyncio.sleep(0 if turns < _BUSY_TURNS else _POLL_SECONDS)

    def attach(self, runtime: FlowRuntime) -> Callable[[], None]:
        """Learn what is at work in a runtime, and make this clock the one it follows.

        Returns:
            A function that undoes this.

        Raises:
            RuntimeError: The runtime follows a virtual clock already, or has runs under way.
        """
        layers: Sequence[object] = runtime.options.middleware
        if any(isinstance(layer, Activity) for layer in layers):
            raise RuntimeError(
                "The runtime follows a virtual clock already: leave its TestEnvironment first, "
                "or give the second test a runtime of its own."
            )
        if runtime.sessions:
            raise RuntimeError(
                "The runtime has runs under way, which follow its present clock. Attach a "
                "virtual clock before the first run."
            )
        activity, clock = Activity(lambda: runtime.busy, self), runtime.clock
        options = replace(runtime.options, middleware=(activity, *runtime.options.middleware))
        runtime.clock, runtime.options = self, options
        self.follow(activity)

        def detach() -> None:
            if activity in self._attached:
                self._attached.remove(activity)
                rest = tuple(layer for layer in runtime.options.middleware if layer is not activity)
                runtime.clock, runtime.options = clock, replace(runtime.options, middleware=rest)

        return detach

    def follow(self, activity: Activity) -> None:
        """Let no time pass while these attempts are at work."""
        self._attached.append(activity)

    def describe_work(self, seconds: float) -> str:
        """Why time stands still, and what to do about it, for a person."""
        names = [name for activity in self._attached for name in activity.names]
        what = f"node {', node '.join(names)}" if names else "something"
        return (
            f"Virtual time stands still: {what} has been at work for {seconds:g} s of real time. "
            "Let it finish or, where it is to wait for time, let it 'await clock.sleep(…)'. To "
            "test the timeout of a node that hangs, use advance(…, while_busy=True)."
        )

    def _moves(self) -> int:
        return sum(activity.moves for activity in self._attached)

    def _first(self) -> _VirtualTimer | None:
        """The next call; those that were cancelled are dropped on the way."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][2] if self._timers else None

    def _go_to(self, micros: int) -> None:
        if micros < self._micros:
            back = (self._micros - micros) / 1e6
            raise ValueError(f"A clock does not go back: this is {back:g} s ago.")
        self._fire_until(micros)
        self._micros = micros
        self._now = max(self._now, micros / 1e6)

    def _fire_until(self, micros: int) -> None:
        if self._firing:
            raise RuntimeError("The clock is being advanced already, by the call that is running.")
        self._firing = True
        try:
            while self._first() is not None and self._timers[0][0] <= micros:
                due, _, timer = heapq.heappop(self._timers)
                self._micros = max(self._micros, due)
                # Never before the exact time asked for: whoever is called may compare.
                self._now = max(self._now, timer.when)
                timer.fire()
        finally:
            self._firing = False


class _VirtualTimer:
    """A call that was arranged for later."""

    __slots__ = ("_callback", "cancelled", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.cancelled = False
        self._callback = callback

    def cancel(self) -> None:
        """Forget the call; nothing happens if it was made already."""
        self.cancelled = True

    def fire(self) -> None:
        """Make the call."""
        self.cancelled = True
        self._callback()


class _Jumper:
    """Advances a clock whenever nothing has been at work for some turns of the event loop."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._quiet = self._turns = 0
        self._busy_since: float | None = None
        self._warned = False

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look after the clock in this event loop, as long as something is to come."""
        if self._loop is not loop:
            self._loop = loop
            self._rest()
            loop.call_soon(self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop:
            return
        due = self._clock.next_due
        if due is None:
            self._loop = None
            return
        if self._clock.busy:
            self._wait(loop)
            return
        if self._quiet == 0:
            self._rest()
        self._quiet += 1
        loop.call_soon(self._look, loop)
        if self._quiet > _QUIET_TURNS:
            self._quiet = 0
            self._clock.advance_to(max(due, self._clock.now()))

    def _rest(self) -> None:
        self._quiet = self._turns = 0
        self._busy_since, self._warned = None, False

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._quiet = 0
        self._turns += 1
        if self._busy_since is None:
            self._busy_since = loop.time()
        if not self._warned and loop.time() - self._busy_since > PATIENCE_SECONDS:
            self._warned = True
            logger.warning("%s", self._clock.describe_work(PATIENCE_SECONDS))
        if self._turns < _BUSY_TURNS:
            loop.call_soon(self._look, loop)
        else:
            loop.call_later(_POLL_SECONDS, self._look, loop)


def duration_in_seconds(duration: Duration) -> float:
    """The seconds of a duration: a number of seconds, a text with a unit, or a timedelta.

    Raises:
        ValueError: It is none of these, or negative.
    """
    if isinstance(duration, str):
        return parse_duration_ms(duration) / 1000
    if isinstance(duration, timedelta):
        seconds = duration.total_seconds()
    elif isinstance(duration, int | float) and not isinstance(duration, bool):
        seconds = float(duration)
    else:
        raise ValueError(f"{duration!r} is no duration: give seconds, '5m' or a timedelta.")
    if seconds < 0 or not math.isfinite(seconds):
        raise ValueError(f"A clock does not go back or to infinity: {duration!r} is no duration.")
    return seconds


def _time_in_seconds(when: float | datetime) -> float:
    if isinstance(when, datetime):
        if when.tzinfo is None:
            raise ValueError(f"{when!r} has no time zone: give one, such as tzinfo=UTC.")
        return when.astimezone(UTC).timestamp()
    if not math.isfinite(when):
        raise ValueError(f"{when!r} is no time.")
    return float(when)


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _wake(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
