"""What goes wrong: processes that die or stop at a request, and requests that fail.

A :class:`Life` is one process as the world sees it. Every request it makes, to a port or to a
service, goes through :meth:`Life.request`, which counts it and lets happen what is to happen to it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from flowcraft.errors import StorageBusy, StorageUnavailable
from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.loop import (
    OWNER,
    START_SECONDS,
    Owner,
    SimulationError,
    SimulationLoop,
    world_context,
)

T = TypeVar("T")

Effect = Callable[[], Awaitable[Any]]


class Kind(StrEnum):
    """What can happen to a request, and to the process that makes it."""

    CRASH_BEFORE = "crash-before"  # the process dies, and the request is never made
    CRASH_AFTER = "crash-after"  # it is carried out, and the process dies
    LOST = "lost"  # it is carried out, and its answer is lost on the way
    LATE = "late"  # it fails, and is carried out later all the same
    FAIL = "fail"  # it fails, and the same request may succeed another time
    THROTTLE = "throttle"  # this one fails, and so do the next ones
    BREAK = "break"  # it fails, and it does not look as if it could succeed
    PARTIAL = "partial"  # of a batch a part fails
    STALL_BEFORE = "stall-before"  # the process stops before it, and goes on later
    STALL_AFTER = "stall-after"  # the process stops once it is carried out, and goes on later
    SLOW_BEFORE = "slow-before"  # it arrives late; the process does other things meanwhile
    SLOW_AFTER = "slow-after"  # its answer arrives late
    STOP = "stop"  # the process is asked to end, and hands back what it has


KINDS: Final = tuple(Kind)
STRETCHES: Final = frozenset(
    {Kind.STALL_BEFORE, Kind.STALL_AFTER, Kind.SLOW_BEFORE, Kind.SLOW_AFTER, Kind.LATE}
)
"""Those that take a time."""

THROTTLED_REQUESTS: Final = 4
NOISE_SECONDS: Final = 5.0
"""How late a request is at most that is late by chance: a heartbeat has more time than that."""

DEFAULT_STRETCH_SECONDS: Final = 75.0
"""Long enough for a lease, and the visibility of a message, to run out twice."""

LONGEST_STRETCH_SECONDS: Final = 86400.0
"""A day: the looks for messages of all that time are carried out, and on AWS those of ten days take
minutes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request of one process.

    Attributes:
        process: The process, such as ``worker-1`` or ``client-1``.
        number: The number of the request, from 1. A look for messages that finds none has none.
        kind: What happens.
        seconds: How long it takes, where it takes a time.
    """

    process: str
    number: int
    kind: Kind
    seconds: float = DEFAULT_STRETCH_SECONDS

    def __str__(self) -> str:
        stretch = f":{self.seconds:g}" if self.kind in STRETCHES else ""
        return f"{self.process}:{self.number}:{self.kind}{stretch}"

    @classmethod
    def read(cls, text: str) -> Fault:
        """The fault that a text names, such as ``worker-1:12:stall-after:75``.

        Raises:
            ValueError: It names none.
        """
        parts = text.split(":")
        try:
            process, number, kind, stretch = [*parts, str(DEFAULT_STRETCH_SECONDS)][:4]
            if len(parts) > 4:
                raise ValueError(f"{len(parts)} parts")
            fault = cls(process, int(number), Kind(kind), float(stretch))
        except ValueError as error:
            kinds = ", ".join(KINDS)
            raise ValueError(
                f"{text!r} is no fault: write process:number:kind or process:number:kind:seconds, "
                f"with one of the kinds {kinds}."
            ) from error
        if fault.number < 1:
            raise ValueError(f"{text!r} is no fault: the requests of a process begin with 1.")
        if not 0.0 <= fault.seconds <= LONGEST_STRETCH_SECONDS:
            raise ValueError(
                f"{text!r} is no fault: it takes from 0 to {LONGEST_STRETCH_SECONDS:.0f} seconds."
            )
        if len(parts) == 4 and fault.kind not in STRETCHES:
            raise ValueError(f"{text!r} is no fault: {fault.kind} takes no time.")
        return fault


class Died(BaseException):
    """The process is gone: not an exception that anybody in it could handle."""


class Seen(NamedTuple):
    """A request that was made."""

    at: float
    process: str
    number: int
    name: str
    fault: str

    def __str__(self) -> str:
        fault = f"  <- {self.fault}" if self.fault else ""
        return f"{self.at - START_SECONDS:.3f} {self.process} {self.number}: {self.name}{fault}"


class Trouble(Protocol):
    """The errors that a kind of request fails with."""

    def unanswered(self, name: str) -> Exception:
        """Nobody knows whether it was carried out."""
        ...

    def failed(self, name: str) -> Exception:
        """It was not carried out; the same request may succeed another time."""
        ...

    def throttled(self, name: str) -> Exception:
        """It was not carried out, because there were too many."""
        ...

    def broken(self, name: str) -> Exception:
        """It was not carried out, and it does not look as if it ever were."""
        ...


class Harm(NamedTuple):
    """Something that happened to a process.

    Attributes:
        since: From when, in seconds since the epoch.
        until: Until when.
        costs_leases: Whether it may keep the process from keeping what it has in hand: a request
            that is refused, or is not answered, is made again in time.
    """

    since: float
    until: float
    costs_leases: bool = True


class Life(Owner):
    """A process: what it may still do, and what happens to it.

    Args:
        name: The process.
        loop: The event loop.
        chance: Decides what happens by chance.
        faults: What happens to some of its requests.
        noise: The probability that a request fails, or takes a little while.
        see: Is told every request.

    Attributes:
        requests: How many requests it has made.
        is_dead: Whether it has ended, without any cleaning up.
        is_over: Whether the simulation is: nothing is carried out any more.
        late: How many requests are still to be carried out of which it hears no more.
        came_late: What those were that have been carried out.
        harms: What happened to it, in order.
        context: The context in which all of it runs.
        on_death: Called when it dies.
        on_stop: Called when it is asked to end.
    """

    __slots__ = (
        "_by_number",
        "_chance",
        "_loop",
        "_noise",
        "_see",
        "_throttled",
        "came_late",
        "context",
        "harms",
        "is_dead",
        "is_over",
        "late",
        "name",
        "on_death",
        "on_stop",
        "requests",
    )

    def __init__(
        self,
        name: str,
        loop: SimulationLoop,
        chance: Chance,
        faults: Sequence[Fault] = (),
        *,
        noise: float = 0.0,
        see: Callable[[Seen], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self.name = name
        self._loop = loop
        self._chance = chance
        self._by_number = {fault.number: fault for fault in faults if fault.process == name}
        self._noise = noise
        self._see = see
        self._throttled = 0
        self.requests = self.late = 0
        self.came_late: set[str] = set()
        self.is_dead = self.is_over = False
        self.harms: list[Harm] = []
        self.on_death: Callable[[], None] = lambda: None
        self.on_stop: Callable[[], None] = lambda: None
        self.context: Context = world_context()
        self.context.run(OWNER.set, self)

    # -- what happens to it -----------------------------------------------------------------

    def die(self) -> None:
        """Be gone: nothing of it gets another turn."""
        self.is_held = self.is_dead = True
        self.harm()
        world_context().run(self.on_death)

    def stall(self, seconds: float) -> None:
        """Stop for a time, as a machine that is suspended does."""
        self.harm(seconds)
        self.is_held = True
        self._loop.call_later(seconds, self._wake, context=world_context())

    def _wake(self) -> None:
        if not self.is_dead:
            self._loop.release(self)

    def harm(self, seconds: float = 0.0, *, costs_leases: bool = True) -> None:
        """Note that something happens to it, from now on, for some time."""
        now = self._loop.time()
        self.harms.append(Harm(now, now + seconds, costs_leases))

    # -- requests ---------------------------------------------------------------------------

    async def request(
        self,
        name: str,
        effect: Effect,
        trouble: Trouble,
        *,
        part: Effect | None = None,
        found: Callable[[Any], bool] | None = None,
    ) -> Any:
        """Carry out a request, with what is to happen to it.

        Args:
            name: What it is called.
            effect: Carries it out.
            trouble: What it fails with.
            part: Carries out a part of it, and answers as the service then does.
            found: Of a look for messages, whether it found some. It counts if it did, and what it
                finds is taken whether or not anybody still listens.
        """
        # Others may come first.
        await self._turn()
        if found is not None:
            return await self._look(name, effect, trouble, found)
        self.requests += 1
        fault = self._by_number.get(self.requests)
        if fault is None and not self._noise and not self._throttled:
            self._note(name)
            answer = await effect()
        else:
            answer = await self._disturbed(name, effect, trouble, part, fault or self._by_chance())
        await self._turn()
        return answer

    async def _turn(self) -> None:
        if self.is_over:
            raise Died
        await asyncio.sleep(0)
        if self.is_over:
            raise Died

    def _note(self, name: str, fault: str = "") -> None:
        self._see(Seen(self._loop.time(), self.name, self.requests, name, fault))

    def _by_chance(self) -> Fault | None:
        if self._throttled:
            self._throttled -= 1
            return Fault(self.name, self.requests, Kind.FAIL)
        if not self._chance.happens(self._noise):
            return None
        kind = self._chance.pick(_NOISE)
        return Fault(self.name, self.requests, kind, self._chance.between(0.0, NOISE_SECONDS))

    async def _look(
        self, name: str, effect: Effect, trouble: Trouble, found: Callable[[Any], bool]
    ) -> Any:
        answer = await self._loop.create_task(_awaited(effect), context=world_context())
        if self.is_over:
            raise Died
        if found(answer):
            self.requests += 1
            fault = self._by_number.get(self.requests)
            if fault is None:
                self._note(name)
            else:
                # Whatever is to happen before it finds it done: messages were taken.
                await self._disturbed(name, _done, trouble, None, fault)
        await self._turn()
        return answer

    async def _disturbed(
        self, name: str, effect: Effect, trouble: Trouble, part: Effect | None, fault: Fault | None
    ) -> Any:
        if fault is None:
            self._note(name)
            return await effect()
        self._note(name, str(fault.kind))
        kind, seconds = fault.kind, fault.seconds
        if kind in _FAILING:
            await self._fail(kind, name, effect, trouble, seconds)
        if kind is Kind.STOP:
            self.harm()
            world_context().run(self.on_stop)
        if kind is Kind.CRASH_BEFORE:
            await self._end()
        if kind in (Kind.STALL_BEFORE, Kind.SLOW_BEFORE):
            await self._stretch(kind, seconds)
        if kind is Kind.PARTIAL:
            return await self._in_part(name, part, trouble)
        answer = await effect()
        if kind is Kind.CRASH_AFTER:
            await self._end()
        if kind is Kind.LOST:
            self.harm(costs_leases=False)
            raise trouble.unanswered(name)
        if kind in (Kind.STALL_AFTER, Kind.SLOW_AFTER):
            await self._stretch(kind, seconds)
        return answer

    async def _fail(
        self, kind: Kind, name: str, effect: Effect, trouble: Trouble, seconds: float
    ) -> None:
        self.harm(costs_leases=kind in (Kind.BREAK, Kind.LATE))
        if kind is Kind.FAIL:
            raise trouble.failed(name)
        if kind is Kind.BREAK:
            raise trouble.broken(name)
        if kind is Kind.THROTTLE:
            self._throttled = THROTTLED_REQUESTS
            raise trouble.throttled(name)
        self.late += 1
        self._loop.create_task(self._carry_out_late(name, effect, seconds), context=world_context())
        raise trouble.unanswered(name)

    async def _carry_out_late(self, name: str, effect: Effect, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if not self.is_over:
            try:
                await effect()
                self.came_late.add(name)
            except Exception as error:
                # It is refused, and nobody is there to hear it.
                self._note("late", repr(error))
        self.late -= 1

    async def _in_part(self, name: str, part: Effect | None, trouble: Trouble) -> Any:
        if part is None:
            raise trouble.failed(name)
        self.harm(costs_leases=False)
        return await part()

    async def _stretch(self, kind: Kind, seconds: float) -> None:
        if kind in (Kind.STALL_BEFORE, Kind.STALL_AFTER):
            self.stall(seconds)
            await asyncio.sleep(0)
        else:
            self.harm(seconds, costs_leases=seconds > NOISE_SECONDS)
            await asyncio.sleep(seconds)

    async def _end(self) -> None:
        self.die()
        await self._loop.create_future()  # for ever


_NOISE: Final = (Kind.FAIL, Kind.THROTTLE, Kind.SLOW_BEFORE, Kind.SLOW_AFTER, Kind.LOST)
_FAILING: Final = frozenset({Kind.FAIL, Kind.BREAK, Kind.THROTTLE, Kind.LATE})


async def _awaited(effect: Effect) -> Any:
    return await effect()


async def _done() -> None:
    """It was carried out already."""


class _PortTrouble:
    """The errors of ports."""

    def unanswered(self, name: str) -> Exception:
        return StorageBusy(f"Simulated: '{name}' was not answered.")

    def failed(self, name: str) -> Exception:
        return StorageBusy(f"Simulated: '{name}' failed.")

    def throttled(self, name: str) -> Exception:
        return StorageBusy(f"Simulated: '{name}' was throttled.")

    def broken(self, name: str) -> Exception:
        return StorageUnavailable(f"Simulated: '{name}' cannot be done.")


PORT_TROUBLE: Final[Trouble] = _PortTrouble()


class FaultyPort:
    """A port as a process has it whose requests fail, and that may die of any of them.

    Args:
        port: The port.
        life: The process.
        name: What the port is called.
    """

    def __init__(self, port: Any, life: Life, name: str) -> None:
        self._port = port
        self._life = life
        self._name = name

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if not callable(method) or not inspect.iscoroutinefunction(method):
            return method
        life, full_name = self._life, f"{self._name}.{name}"
        found = bool if name == "receive" else None

        async def call(*arguments: Any, **options: Any) -> Any:
            def effect() -> Awaitable[Any]:
                return method(*arguments, **options)  # type: ignore[no-any-return]

            async def half() -> Any:
                """A part of what is sent together, then an error."""
                batch, *rest = arguments
                await method(batch[: len(batch) // 2], *rest, **options)
                raise PORT_TROUBLE.failed(full_name)

            part = half if name in _BATCHES else None
            return await life.request(full_name, effect, PORT_TROUBLE, part=part, found=found)

        self.__dict__[name] = call
        return call


_BATCHES: Final = frozenset({"send", "delete", "extend"})


def process_of_running_code() -> Life | None:
    """The process that the running code belongs to; ``None`` for the world.

    Raises:
        SimulationError: It belongs to something else.
    """
    owner = OWNER.get()
    if owner is not None and not isinstance(owner, Life):
        raise SimulationError("The running code belongs to no process of this simulation.")
    return owner
