"""Where simulated processes keep runs and messages: what a backend has to offer to a simulation."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, NamedTuple, Protocol

from flowcraft.adapters.memory import MemoryBlobs, MemoryCoordination, MemoryQueue, MemoryRuns
from flowcraft.adapters.memory_objects import MemoryObjects
from flowcraft.core.limits import Room
from flowcraft.core.state import FINAL_STATUSES
from flowcraft.engine.swap_limits import read_room
from flowcraft.ports.clock import Clock
from flowcraft.ports.queue import Delivery, Outgoing
from flowcraft.ports.runs import Change, Created, Entry, Head, Verdict, Written
from flowcraft.ports.together import OpenPorts, Ports
from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.clock import SimulationClock
from flowcraft.testing.simulate.faults import FaultyPort, Life, process_of_running_code
from flowcraft.testing.simulate.loop import SimulationLoop

LONGEST_MESSAGE_BYTES: Final = 256 * 1024
"""The longest message that every queue takes."""

DISORDER_SECONDS: Final = 0.05
"""Messages that are sent within this time are received in any order."""

KEPT_BODIES: Final = 200
"""Messages that are remembered, to be sent again when all is over."""


class Watch:
    """What is seen of queue and records while a simulation runs.

    Args:
        waiting: Tells how many messages there are, in hand or not.

    Attributes:
        sent: How many messages were sent.
        most: How many messages there were at once.
        most_receives: How often a message was received that was received most often.
        bodies: The messages that were sent last.
        problems: What must not be, as pairs of an invariant and a text.
        begun: How many runs of an id began, one after the other.
        begun_late: Ids of runs of which one began by a request of which nobody heard any more,
            when the one before it had been removed.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._waiting = waiting
        self._final: dict[tuple[str, str], str] = {}
        self.sent = self.most = self.most_receives = 0
        self.bodies: deque[str] = deque(maxlen=KEPT_BODIES)
        self.problems: list[tuple[str, str]] = []
        self.begun: Counter[str] = Counter()
        self.begun_late: set[str] = set()

    def see_messages(self, messages: Sequence[Outgoing]) -> None:
        """Messages were sent."""
        self.sent += len(messages)
        self.most = max(self.most, self._waiting())
        for message in messages:
            self.bodies.append(message.body)
            size = len(message.body.encode())
            if size > LONGEST_MESSAGE_BYTES:
                self.problems.append(("I9", f"a message has {size} bytes: {message.body[:200]}"))

    def see_status(self, run_id: str, epoch: str, status: str) -> None:
        """The row of a run was written, with a status; another run may have its id later."""
        before = self._final.get((run_id, epoch))
        if before is not None and status != before:
            self.problems.append(("I5", f"run '{run_id}' was {before} and became {status}"))
        if status in FINAL_STATUSES:
            self._final[run_id, epoch] = status

    def see_begun(self, run_id: str) -> None:
        """The record of a run was begun."""
        self.begun[run_id] += 1
        if self.begun[run_id] > 1 and process_of_running_code() is None:
            self.begun_late.add(run_id)

    def see_removed(self, run_id: str, epoch: str) -> None:
        """A run was removed: a write of its epoch that comes late may begin its row anew."""
        self._final.pop((run_id, epoch), None)


class Watched:
    """A port that is watched; what is not said otherwise passes."""

    def __init__(self, port: Any, watch: Watch) -> None:
        self._port = port
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


class WatchedQueue(Watched):
    """A queue whose messages are counted."""

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages."""
        await self._port.send(messages)
        self._watch.see_messages(messages)

    async def receive(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:
        """Receive messages."""
        found: Sequence[Delivery] = await self._port.receive(limit, wait_seconds)
        receives = [each.receives for each in found]
        self._watch.most_receives = max(self._watch.most_receives, *receives, 0)
        return found


class WatchedRuns(Watched):
    """A store whose rows are looked at."""

    async def create(self, head: Head, entries: Sequence[Entry], thread: str) -> Created:
        """Begin a record."""
        created: Created = await self._port.create(head, entries, thread)
        if created.is_new:
            self._watch.see_begun(head.run_id)
            self._watch.see_status(head.run_id, head.epoch, str(head.row.status))
        return created

    async def write(self, change: Change) -> Written:
        """Do a conditional write."""
        written: Written = await self._port.write(change)
        if change.row is not None and written.row_written and written.verdict is Verdict.DONE:
            self._watch.see_status(change.run_id, change.epoch, str(change.row.status))
        return written

    async def remove(self, run_id: str, epoch: str, *, only_hide: bool = False) -> None:
        """Forget a run, or let it count as absent."""
        await self._port.remove(run_id, epoch, only_hide=only_hide)
        if not only_hide:
            self._watch.see_removed(run_id, epoch)


class Connection(NamedTuple):
    """How a process reaches a backend.

    Attributes:
        open_ports: Opens queue and stores.
        clock: The time that its engine goes by.
    """

    open_ports: OpenPorts
    clock: Clock


class Backend(Protocol):
    """A place for runs and messages, in virtual time.

    Attributes:
        watch: What is seen of it.
        delivers_once: Whether a message that nobody lets go of is delivered once.
    """

    watch: Watch
    delivers_once: bool

    def connect(self, clock: Clock, life: Life | None = None) -> Connection:
        """Ports for a process, whose requests fail as its life has it.

        Args:
            clock: The clock of its machine.
            life: The process; ``None`` for the world around, whose requests neither fail nor
                count.
        """
        ...

    def waiting(self) -> int:
        """How many messages there are, in hand or not."""
        ...

    def room(self, key: str) -> Room:
        """What is stored of a limit."""
        ...

    def buried(self) -> int:
        """How many messages have come to the dead-letter queue, where there is one."""
        ...

    def stored(self) -> dict[str, int]:
        """How many items there are, by table."""
        ...

    def agreed(self) -> Mapping[str, str]:
        """The texts in the coordination store, by their keys."""
        ...

    def lapse(self) -> None:
        """Remove what has expired, as a service does some time or other."""


NewBackend = Callable[..., Backend]


class Disorder:
    """A queue that delivers in any order, and some messages twice: it may.

    Args:
        queue: The queue.
        chance: Decides about the order.
        doubles: Whether every message is delivered once more, sooner or later. One that is sent
            anew, because it was put off, is the same one: else they would breed without bound.
    """

    def __init__(self, queue: MemoryQueue, chance: Chance, doubles: bool) -> None:
        self._queue = queue
        self._chance = chance
        self._doubles = doubles
        self._doubled: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages."""
        await self._queue.send([self._moved(each, DISORDER_SECONDS) for each in messages])
        if self._doubles:
            longest = 1.5 * self._queue.visibility_seconds
            fresh = [each for each in messages if self._is_new(each.body)]
            await self._queue.send([self._moved(each, longest) for each in fresh])

    def _is_new(self, body: str) -> bool:
        name = str(json.loads(body)["thread"])
        is_new = name not in self._doubled
        self._doubled.add(name)
        return is_new

    def _moved(self, message: Outgoing, most_seconds: float) -> Outgoing:
        # Most come at once: those that come at the same time meet.
        if self._chance.happens(0.5):
            return message
        later = self._chance.between(0.0, most_seconds)
        return replace(message, delay_seconds=message.delay_seconds + later)


class MemoryBackend:
    """Queue and stores in memory, with faults at the calls of ports.

    Args:
        loop: The event loop.
        chance: Decides about the order of messages.
        visibility_seconds: How long a message that is being worked on is hidden from others.
        doubles: Whether every message is delivered twice.
        retention_seconds: How long runs are kept after their end; for ever by default.
    """

    delivers_once = True

    def __init__(
        self,
        loop: SimulationLoop,
        chance: Chance,
        *,
        visibility_seconds: float,
        doubles: bool = False,
        retention_seconds: float | None = None,
    ) -> None:
        clock = SimulationClock(loop)
        self._queue = MemoryQueue(clock, visibility_seconds=visibility_seconds)
        self._runs, self._blobs = MemoryRuns(clock, retention_seconds), MemoryBlobs()
        self._coordination = MemoryCoordination(clock)
        self.watch = Watch(self.waiting)
        self._ports = Ports(
            WatchedQueue(Disorder(self._queue, chance, doubles), self.watch),
            WatchedRuns(self._runs, self.watch),
            self._blobs,
            self._coordination,
            MemoryObjects(),
        )

    def connect(self, clock: Clock, life: Life | None = None) -> Connection:
        """Ports for a process, or for the world around."""
        ports = self._ports
        if life is not None:
            pairs = zip(ports, Ports._fields, strict=True)
            ports = Ports(*(FaultyPort(port, life, name) for port, name in pairs))
        return Connection(_opens(ports), clock)

    def waiting(self) -> int:
        """How many messages there are, in hand or not."""
        return len(self._queue._messages)

    def room(self, key: str) -> Room:
        """What is stored of a limit."""
        text = at_once(self._ports.coordination.get(f"limit/{key}"))
        return read_room(None if text is None else str(text))

    def buried(self) -> int:
        """There is no dead-letter queue."""
        return 0

    def stored(self) -> dict[str, int]:
        """How many items there are, by store."""
        return {
            "runs": len(self._runs._runs),
            "blobs": len(self._blobs._texts),
            "coordination": len(self._coordination._items),
        }

    def agreed(self) -> Mapping[str, str]:
        """The texts in the coordination store, by their keys."""
        items = self._coordination._items
        return {key: text for key, (text, _) in items.items() if isinstance(text, str)}

    def lapse(self) -> None:
        """Nothing is removed but by those who look."""


def at_once(call: Any) -> Any:
    """Drive a call of a fake that never waits, without an event loop; gives its answer."""
    try:
        call.send(None)
    except StopIteration as end:
        return end.value
    call.close()
    raise AssertionError("a call that was to answer at once waits for something")


def _opens(ports: Ports) -> OpenPorts:
    @asynccontextmanager
    async def open_ports() -> AsyncIterator[Ports]:
        yield ports

    return open_ports
