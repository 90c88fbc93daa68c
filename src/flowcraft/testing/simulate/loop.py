"""An event loop in virtual time whose order of events a seed decides.

There is no selector, no thread and no waiting. Of the callbacks that are ready any may be the
next one, as the seed has it. When none is ready, time jumps to the next timer. A callback belongs
to the process in whose context it was arranged, and a process that has stopped gets no turn: the
callbacks are put aside for it, and made when it goes on.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, cast

from flowcraft.errors import FlowcraftError
from flowcraft.testing.simulate.chance import Chance

T = TypeVar("T")

START_SECONDS: Final = 1_767_225_600.0
"""When every simulation begins: 2026-01-01, in seconds since the epoch."""

MOST_STEPS_AT_ONCE: Final = 200_000
"""Callbacks at one moment after which something must be going round in circles."""


FEW_TASKS: Final = 100
"""Tasks from which on it is looked which of them are done."""

ROUNDS_OF_A_BURIAL: Final = 10
"""How often a task is cancelled that goes on after it was."""


class SimulationError(FlowcraftError):
    """A simulation cannot go on."""


class Standstill(SimulationError):
    """Nothing is ready, and nothing is to come."""


class Endless(SimulationError):
    """It goes on and on."""


class NotSimulated(SimulationError):
    """A simulation does not have what is used."""


class Owner:
    """A process, as the event loop knows it: whether it gets a turn.

    Attributes:
        is_held: Whether it gets none.
    """

    __slots__ = ("is_held", "parked")

    def __init__(self) -> None:
        self.is_held = False
        self.parked: list[_Handle] = []


OWNER: ContextVar[Owner | None] = ContextVar("flowcraft_simulation_owner", default=None)
"""The process that the running code belongs to; ``None`` for the world around them."""

NODE: ContextVar[str | None] = ContextVar("flowcraft_simulation_node", default=None)
"""The node whose body the running code belongs to, if any."""


class _Handle:
    """A callback, with the process it belongs to, as `asyncio.Handle` is one.

    There are some thousand in every simulation, so they are as slight as can be.
    """

    __slots__ = ("_is_cancelled", "_when", "arguments", "callback", "context", "owner")

    def __init__(
        self,
        callback: Callable[..., object],
        arguments: tuple[Any, ...],
        context: Context | None,
        when: float = 0.0,
    ) -> None:
        self.callback = callback
        self.arguments = arguments
        self.context = context = copy_context() if context is None else context
        self.owner: Owner | None = context.get(OWNER)
        self._when = when
        self._is_cancelled = False

    def cancel(self) -> None:
        """Have nothing called."""
        self._is_cancelled = True

    def cancelled(self) -> bool:
        """Whether nothing is to be called."""
        return self._is_cancelled

    def when(self) -> float:
        """The time of a timer."""
        return self._when


def world_context() -> Context:
    """A context that belongs to no process."""
    return Context()


if TYPE_CHECKING:
    # Networks, pipes, signals and threads are left out: a simulation has none of them.
    _EventLoop: Any
else:
    _EventLoop = asyncio.AbstractEventLoop


class SimulationLoop(_EventLoop):  # type: ignore[misc]
    """The event loop of a simulation.

    Args:
        chance: Decides which of the ready callbacks is next.

    Attributes:
        steps: How many callbacks were made.
        most_steps: With how many it is given up when time is to pass.
        ends_at: The time at which it is given up, in seconds since the epoch.
        problems: What was raised where nobody could be told, as texts.
    """

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._now = START_SECONDS
        self._ready: list[_Handle] = []
        self._timers: list[tuple[float, int, _Handle]] = []
        self._numbers = itertools.count()
        # Whatever comes from another thread, or from the garbage collector, is no part of the
        # simulation: it gets its turn, but no choice depends on it.
        self._outside: deque[_Handle] = deque()
        self._thread = threading.get_ident()
        self._stopping = self._running = self._closed = False
        self._quiet: list[asyncio.Future[None]] = []
        self._told_quiet = False
        self._tasks: list[asyncio.Task[Any]] = []
        self._prune_at = FEW_TASKS
        self._generators: list[AsyncGenerator[Any, Any]] = []
        self._error: SimulationError | None = None
        self.steps = 0
        self.most_steps = self.ends_at = math.inf
        self.problems: list[str] = []

    # -- time -------------------------------------------------------------------------------

    def time(self) -> float:
        """The virtual time, in seconds since the epoch."""
        return self._now

    async def quiet(self) -> None:
        """Wait until nothing can happen any more without time passing."""
        future = self.create_future()
        self._quiet.append(future)
        await future

    def _let_time_pass(self) -> None:
        """Make something ready, at the next time that something is due at.

        Raises:
            Standstill: Nothing is to come.
            Endless: It has gone on for as long as it may.
        """
        if self._quiet and not self._told_quiet:
            self._told_quiet = True
            waiting, self._quiet = self._quiet, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)
            return
        self._told_quiet = False
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise Standstill("Nothing is ready, and nothing is to come.")
        now = timers[0][0]
        if self.steps > self.most_steps or now > self.ends_at:
            days = (self._now - START_SECONDS) / 86400
            raise Endless(f"It goes on after {days:,.0f} days and {self.steps:,} steps.")
        if now > self._now:
            self._now = now
            self._step_limit = self.steps + MOST_STEPS_AT_ONCE
        now = self._now
        while timers and timers[0][0] <= now:
            _, _, timer = heapq.heappop(timers)
            if not timer.cancelled():
                self._ready.append(timer)

    # -- callbacks --------------------------------------------------------------------------

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Have something called, in any order with whatever else is ready."""
        handle = _Handle(callback, args, context)
        self._ready.append(handle)
        return cast(asyncio.Handle, handle)

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Have something called; from another thread, beside the simulation."""
        if threading.get_ident() == self._thread:
            return self.call_soon(callback, *args, context=context)
        if self._closed:
            raise RuntimeError("Event loop is closed")
        handle = _Handle(callback, args, context)
        self._outside.append(handle)
        return cast(asyncio.Handle, handle)

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Have something called after a time."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Have something called at a time."""
        handle = _Handle(callback, args, context, when)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return cast(asyncio.TimerHandle, handle)

    def release(self, owner: Owner) -> None:
        """Let a process go on that got no turn."""
        owner.is_held = False
        parked, owner.parked = owner.parked, []
        self._ready += parked

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Any,
        *,
        name: str | None = None,
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[Any]:
        """A task of this loop; in the context of a process it belongs to that process."""
        task = asyncio.Task(coro, loop=self, name=name, context=context, **options)
        # A task of a process that died waits for nothing, and nobody else knows of it.
        self._tasks.append(task)
        if len(self._tasks) >= self._prune_at:
            self._tasks = [each for each in self._tasks if not each.done()]
            self._prune_at = FEW_TASKS + 2 * len(self._tasks)
        return task

    # -- running ----------------------------------------------------------------------------

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, and nothing beyond that.

        Raises:
            Standstill: It waits for something that never comes.
            SimulationError: Callbacks go round in circles while no time passes.
        """
        result: T = self.run_until_complete(main)
        return result

    def run_until_complete(self, future: Any) -> Any:
        """Run until a future is done; gives its result."""
        task = asyncio.ensure_future(future, loop=self)
        task.add_done_callback(self._stop_with)
        try:
            self.run_forever()
        finally:
            task.remove_done_callback(self._stop_with)
        if self._error is not None:
            raise self._error
        if not task.done():
            raise SimulationError("The simulation was stopped before its end.")
        return task.result()

    def _stop_with(self, _: asyncio.Future[Any]) -> None:
        self._stopping = True

    def run_forever(self) -> None:
        """Run until it is stopped."""
        with self._active():
            while not self._stopping:
                self._turn()

    @contextmanager
    def _active(self) -> Iterator[None]:
        """Be the running event loop of the thread."""
        if self._closed or self._running:
            raise RuntimeError("The loop is closed, or runs already.")
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._generators.append, finalizer=_close_at_once)
        asyncio._set_running_loop(self)
        self._running = True
        self._step_limit = self.steps + MOST_STEPS_AT_ONCE
        try:
            yield
        finally:
            self._running = self._stopping = False
            asyncio._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)

    def _turn(self) -> None:
        while self._outside:
            self._make(self._outside.popleft())
        ready = self._ready
        if not ready:
            self._let_time_pass()
            return
        # Any of them, and the last one takes its place: no list is moved.
        handle = ready.pop()
        if ready:
            place = self._chance.below(len(ready) + 1)
            if place < len(ready):
                ready[place], handle = handle, ready[place]
        owner = handle.owner
        if owner is not None and owner.is_held:
            owner.parked.append(handle)
        elif not handle.cancelled():
            self.steps += 1
            self._make(handle)
            if self.steps > self._step_limit:
                raise SimulationError(
                    f"{MOST_STEPS_AT_ONCE} steps were taken while no time passed: something waits "
                    "in a loop that never waits for time."
                )

    def _make(self, handle: _Handle) -> None:
        """Make a callback."""
        try:
            handle.context.run(handle.callback, *handle.arguments)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.call_exception_handler({"message": f"In {handle.callback}", "exception": error})

    def bury(self, owners: Iterable[Owner]) -> None:
        """End what is left, that of stopped processes too, so that it can be freed.

        Nothing of it counts any more: every request of theirs has to be refused by now.

        Args:
            owners: The processes that there were.
        """
        for owner in owners:
            self.release(owner)
        for _ in range(ROUNDS_OF_A_BURIAL):
            self._tasks = [each for each in self._tasks if not each.done()]
            if not self._tasks:
                break
            for task in self._tasks:
                task.cancel()
            with self._active():
                while self._ready and self.steps < self._step_limit:
                    self._turn()
        for generator in self._generators:
            _close_at_once(generator)
        self._generators.clear()

    def stop(self) -> None:
        """Stop after the callback that runs."""
        self._stopping = True

    def is_running(self) -> bool:
        """Whether it runs."""
        return self._running

    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def close(self) -> None:
        """Forget all that is left."""
        self._closed = True
        self._ready.clear()
        self._timers.clear()

    async def shutdown_asyncgens(self) -> None:
        """Close async generators: done when everything is buried."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There is none."""
        del timeout

    # -- what is not there ------------------------------------------------------------------

    def give_up(self, error: SimulationError) -> NoReturn:
        """End the simulation with an error, whoever handles it where it is raised.

        Raises:
            SimulationError: Always; so does what runs the loop.
        """
        self._error = self._error or error
        self._stopping = True
        raise error

    def refuse(self, what: str, how: str) -> NoReturn:
        """End the simulation, as something is used that it does not have.

        Args:
            what: What is done, after the name of who does it.
            how: What to do instead.

        Raises:
            NotSimulated: Always.
        """
        node = NODE.get()
        who = "The simulated code" if node is None else f"Node '{node}'"
        self.give_up(NotSimulated(f"{who} {what}, which a simulation does not have. {how}"))

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> NoReturn:
        """Refused: threads would make the simulation depend on the machine.

        Raises:
            NotSimulated: Always.
        """
        del executor, args
        if isinstance(func, partial) and func.args:
            func = func.args[0]  # as asyncio.to_thread() wraps it
        name = getattr(func, "__qualname__", repr(func))
        self.refuse(
            f"calls {name!r} in a thread (asyncio.to_thread, run_in_executor)",
            "Plain node functions are called directly; let async ones await something else.",
        )

    def get_task_factory(self) -> None:
        """It makes tasks of the usual kind."""

    def get_debug(self) -> bool:
        """It has no debug mode."""
        return False

    def set_debug(self, enabled: bool) -> None:
        """It has no debug mode."""

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what was raised where nobody could be told."""
        self.call_exception_handler(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what was raised where nobody could be told."""
        error = context.get("exception")
        self.problems.append(f"{context.get('message')}: {error!r}")


def _refused(name: str, what: str) -> Callable[..., NoReturn]:
    def method(self: SimulationLoop, *_: Any, **__: Any) -> NoReturn:
        self.refuse(f"{what} ({name})", "Put something in place of it that needs none.")

    method.__name__, method.__doc__ = name, "Refused: nothing outside is part of a simulation."
    return method


_OUTSIDE: Final = {
    "uses the network": (
        "create_connection create_server create_datagram_endpoint connect_accepted_socket "
        "create_unix_connection create_unix_server getaddrinfo getnameinfo sendfile start_tls "
        "add_reader remove_reader add_writer remove_writer sock_recv sock_recv_into sock_recvfrom "
        "sock_recvfrom_into sock_sendall sock_sendto sock_connect sock_accept sock_sendfile"
    ),
    "starts a process": "subprocess_exec subprocess_shell",
    "uses a pipe": "connect_read_pipe connect_write_pipe",
    "handles signals": "add_signal_handler remove_signal_handler",
}
for _what, _names in _OUTSIDE.items():
    for _name in _names.split():
        setattr(SimulationLoop, _name, _refused(_name, _what))


def _close_at_once(generator: AsyncGenerator[Any, Any]) -> None:
    """Close an async generator, without waiting for anything that it does then."""
    closing = generator.aclose()
    with suppress(BaseException):
        closing.send(None)
    with suppress(BaseException):
        closing.close()
