"""What a run and the child runs of its subflows share while they are worked on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from flowcraft.core import commands as cmd
from flowcraft.core.state import RUN_PAUSED, RUN_RUNNING
from flowcraft.engine.attempt import Attempt
from flowcraft.engine.bus import Tails
from flowcraft.engine.known import Known
from flowcraft.engine.local_limits import Door, Entry
from flowcraft.engine.pool import Pool
from flowcraft.engine.view import runs_below
from flowcraft.ports.clock import Clock, Timer

if TYPE_CHECKING:
    from flowcraft.engine.files import Files
    from flowcraft.engine.local import LocalRun
    from flowcraft.engine.runtime import FlowRuntime

AttemptCommand = cmd.RunNode | cmd.RunItem | cmd.RunUndo
Job = tuple["LocalRun", AttemptCommand]
Execute = Callable[["LocalRun", AttemptCommand, "asyncio.Task[None]"], Awaitable[None]]
"""Carries out a command of a run in a task."""


class Gate(Protocol):
    """Keeps some commands from being carried out, while events are replayed."""

    def keeps(self, run: LocalRun, command: cmd.Command) -> bool:
        """Whether a command is not to be carried out now."""


class Session:
    """What a run and its children share while they are worked on."""

    def __init__(
        self,
        runtime: FlowRuntime,
        known: Known,
        execute: Execute,
        concurrency: int,
        wait_for_timers: bool,
    ) -> None:
        self.runtime = runtime
        self.known = known
        self.options = runtime.options
        self.clock: Clock = runtime.clock
        self.bus = runtime.bus
        self.tails = Tails()
        self.middleware = runtime.options.middleware
        self.find = known.find
        self.threads = runtime.threads
        self.gate: Gate | None = None
        self.wait_for_timers = wait_for_timers
        self.loop = asyncio.get_running_loop()
        self.pool: Pool[LocalRun, AttemptCommand] = Pool(execute, concurrency, self.loop)
        self.pool.hold()  # ``finish`` starts it
        self.door = Door(self, runtime.limits) if runtime.options.limits else None
        self.timers: set[Timer] = set()
        self.sleeping = 0
        self.closing = False
        self.root: LocalRun | None = None
        # Children that were given up on, while they still undo what they have done.
        self.orphans: set[LocalRun] = set()
        self.failure: BaseException | None = None
        self._done: asyncio.Future[None] = self.loop.create_future()

    def attempts(self) -> Iterable[Attempt]:
        """What is being executed right now."""
        root = self.root  # looked at once: the thread that watches may be asking
        if root is None:
            return ()
        tops = (root, *self.orphans)
        return tuple(
            attempt for top in tops for run in runs_below(top) for attempt in tuple(run.running)
        )

    async def finish(self) -> None:
        """Wait until the run is over, or rests with nothing left to wait for here."""
        try:
            self.look()
            self.pool.start()
            if self._done.done():
                await asyncio.sleep(0)  # all was done at once: now it is the others' turn
            else:
                await self._done
        finally:
            self.closing = True
            for timer in tuple(self.timers):
                timer.cancel()
            if self.pool.has_work_to_stop:
                for attempt in self.attempts():
                    attempt.warn()
                await self.pool.close()
            self.pool.closed = True
            if self.door is not None:
                self.door.close()
        if self.failure is not None:
            raise self.failure

    def look(self) -> None:
        """See whether the run is over, or at rest."""
        if self.root is None:
            return  # whoever waited is gone
        status = self.root.state.status
        if status is RUN_RUNNING or self._done.done() or self.gate is not None:
            return
        if self.orphans:
            return
        if status.is_final or status is RUN_PAUSED or not self.sleeping:
            self._done.set_result(None)

    is_coded = False

    def files_for(self, node_id: str) -> Files:
        """The files of runs, for a node."""
        del node_id
        return self.runtime.files

    def door_opens(self, entry: Entry) -> None:
        """It is the turn of an attempt that is limited."""
        if self.door is not None:
            self.door.opens(entry, self.pool.submit)

    def in_loop(self, callback: Callable[[], None]) -> None:
        """Call something in the event loop: at once, or soon where this is another thread."""
        try:
            here = asyncio.get_running_loop() is self.loop
        except RuntimeError:
            here = False
        if here:
            callback()
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(callback)

    def abort(self, error: BaseException) -> None:
        """Give up because of a defect, or of what ends the process."""
        self.failure = self.failure or error
        if not self._done.done():
            self._done.set_result(None)

    def call_at(self, when: float, callback: Callable[[], None], *, resting: bool) -> Timer:
        """Arrange a call; ``resting`` for one that a run at rest need not be kept for."""
        timers = self.timers

        def fire() -> None:
            timers.discard(timer)
            if resting:
                self.sleeping -= 1
            if not self.closing:
                try:
                    callback()
                except BaseException as error:
                    self.abort(error)
                    raise

        timer = self.clock.call_at(when, fire)
        timers.add(timer)
        if resting:
            self.sleeping += 1
        return timer

    def cancel_timer(self, timer: Timer, *, resting: bool) -> None:
        """Forget a call."""
        if timer in self.timers:
            self.timers.discard(timer)
            timer.cancel()
            if resting:
                self.sleeping -= 1
