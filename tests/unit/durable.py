"""Durable runs in tests: processes that die when told to, on a storage in virtual time."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar

from flowcraft import FlowRuntime, NodeContext, Registry
from flowcraft.adapters.system import SystemIdentifiers
from flowcraft.core.plan import Key
from flowcraft.core.state import FINAL_STATUSES
from flowcraft.engine.client import FlowClient
from flowcraft.engine.encoded import MARK
from flowcraft.engine.facts import read_fact
from flowcraft.engine.heartbeat import Heartbeat
from flowcraft.engine.jobs import Job, event_in, read_job, with_event, write_job
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.spans import Spans
from flowcraft.engine.stored import StoredRun
from flowcraft.engine.worker import Worker
from flowcraft.memory import MemoryStorage
from flowcraft.ports.clock import Clock, Timer
from flowcraft.ports.codec import Codec
from flowcraft.ports.queue import Delivery, Outgoing
from flowcraft.ports.runs import NO_FACTS, Fact, Lease, Query, Record, Row
from flowcraft.ports.together import Ports
from flowcraft.testing import VirtualClock

T = TypeVar("T")

LEASE_SECONDS = 30.0
HORIZON_SECONDS = 40 * 86_400.0
"""Where a run is given up that has nothing to do any more, and is not over."""
QUIET_TURNS = 12
PATIENCE_SECONDS = 60.0

OUTCOMES = {
    f"{what}{how}" for what in ("Node", "Item") for how in ("Succeeded", "Failed", "Lost")
} | {"UndoSettled", "UndoLost", "ChildSettled"}


class Died(BaseException):
    """The process is gone: not an exception that anybody in it could handle."""


class Life:
    """How many calls of its ports a process has left.

    Args:
        calls: The number of the call that it does not outlive; ``None`` for no such call.
        after: Whether that call is carried out, and only its answer is lost.
        name: Count only calls of this method.

    Attributes:
        before: What is waited for before a call of a method is carried out, by its name.
    """

    def __init__(
        self, calls: int | None = None, *, after: bool = False, name: str | None = None
    ) -> None:
        self.last = calls
        self.after = after
        self.name = name
        self.calls: list[str] = []
        self.dead = False
        self.on_death: Callable[[], None] = lambda: None
        self.before: dict[str, Callable[[], Awaitable[Any]]] = {}

    async def call(self, name: str, method: Callable[[], Awaitable[T]]) -> T:
        """Carry out a call of a port, if the process lives that long."""
        self._expect_to_live()
        if name in self.before:
            await self.before[name]()
        # A process that dies with nothing received dies before the next call just as well.
        is_last = name != "receive" and self._counts(name) and len(self.calls) == self.last
        if is_last and not self.after:
            self.die()
        answer = await method()
        if is_last:
            self.die()
        self._expect_to_live()
        return answer

    def die(self) -> None:
        """Be gone."""
        self.dead = True
        self.on_death()
        raise Died

    def _counts(self, name: str) -> bool:
        if self.name in (None, name):
            self.calls.append(name)
            return True
        return False

    def _expect_to_live(self) -> None:
        if self.dead:
            raise Died


class ClockAhead:
    """The clock of a process that is ahead of all others."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    def now(self) -> float:
        return self._clock.now() + self._seconds

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        return self._clock.call_at(when - self._seconds, callback)


class Mortal:
    """A port as a process has it that may die at any call."""

    def __init__(self, port: Any, life: Life) -> None:
        self._port = port
        self._life = life

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._port, name)
        if not inspect.iscoroutinefunction(value):
            return value

        async def call(*arguments: Any, **options: Any) -> Any:
            return await self._life.call(name, lambda: value(*arguments, **options))

        return call


class Process:
    """A worker that can be ended without any cleaning up."""

    def __init__(
        self, world: World, options: RuntimeOptions, life: Life | None = None, **worker: Any
    ) -> None:
        self.life = life or Life()
        self._world = world
        worker = {
            "heartbeat": False,
            "lease_seconds": LEASE_SECONDS,
            "reconcile_every_seconds": None,
            "sweeping": False,
            "presence": False,
            "schedules_every_seconds": None,
            "codec": world.codec,
            "clock": world.clock,
            **worker,
        }
        self.worker = Worker(
            self._open,
            options,
            identifiers=SystemIdentifiers(),
            # Nothing but what is to come moves the clock.
            poll_seconds=2 * HORIZON_SECONDS,
            **worker,
        )
        self.life.on_death = self._fall

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Ports]:
        yield Ports(*(Mortal(port, self.life) for port in self._world.connect()))

    def _tasks(self) -> list[asyncio.Task[Any]]:
        others = [self.worker._poller, self.worker._deleting]
        others += [rounds._task for rounds in self.worker.duties._rounds]
        return [*self.worker._strands, *(task for task in others if task is not None)]

    def _fall(self) -> None:
        """Whatever runs does not get another turn."""
        if self.worker._station is not None:
            self.worker.station.is_closing = lambda: True
        for task in self._tasks():
            if task is not asyncio.current_task():
                task.cancel()

    async def start(self) -> None:
        """Begin to work; a process may die of that."""
        with suppress(Died):
            await self.worker.start()

    async def beat(self) -> None:
        """Prolong its leases, and let it learn what became of them."""
        if not self.life.dead:
            heart = Heartbeat(self._open, self.worker, self.worker.lease_seconds)
            await heart.beat(self._world.ports)

    async def kill(self) -> None:
        """End it, without any cleaning up."""
        self.life.dead = True
        tasks = self._tasks()
        self._fall()
        await asyncio.gather(*tasks, return_exceptions=True)


class World:
    """A storage, processes that work on it, and a client, in virtual time.

    Args:
        visibility_seconds: How long a message that is being worked on is hidden from others.
        codec: The codec that processes and the client have, unless they are given another.

    Attributes:
        bodies: How often the body of each node ran, by idempotency key.
        shard_items: Batches of more items than this are cut into shards.
    """

    def __init__(
        self, *, visibility_seconds: float = LEASE_SECONDS, codec: Codec | None = None
    ) -> None:
        self.clock = VirtualClock()
        self.codec = codec
        self.storage: Any = self._new_storage(visibility_seconds)
        self.ports: Ports = self.storage._ports
        self.bodies: Counter[str] = Counter()
        self.processes: list[Process] = []
        self.runtime = FlowRuntime()
        # Nothing but what is to come moves the clock: no sweeps, so every delay is a message.
        self.runtime.options = replace(
            self.runtime.options, timers=Spans(hour_seconds=2 * HORIZON_SECONDS)
        )
        self.moves = 0
        self.shard_items = 500
        self._made = 0
        self._client: FlowClient | None = None

    def _new_storage(self, visibility_seconds: float) -> Any:
        return MemoryStorage(self.clock, visibility_seconds)

    # -- what there is ----------------------------------------------------------------------

    def connect(self) -> Ports:
        """Ports for another process."""
        return self.ports

    def knows(self, *flows: Any) -> World:
        """Make flows known to all processes that are started from now on."""
        for flow in flows:
            self.runtime.add_flow(flow)
        return self

    @property
    def client(self) -> FlowClient:
        """Starts and steers runs; it never dies."""
        if self._client is None:
            self._client = FlowClient(
                self.storage.open_ports,
                self.runtime.options,
                clock=self.clock,
                identifiers=SystemIdentifiers(),
                shard_items=self.shard_items,
                codec=self.codec,
            )
        return self._client

    async def process(
        self, life: Life | None = None, options: RuntimeOptions | None = None, **worker: Any
    ) -> Process:
        """Start a process."""
        process = Process(self, options or self.runtime.options, life, **worker)
        self.processes.append(process)
        await process.start()
        return process

    async def idle(self, options: RuntimeOptions | None = None, **worker: Any) -> Process:
        """A process that takes no messages by itself: they are handed to it."""
        process = await self.process(None, options, **worker)
        poller = process.worker._poller
        assert poller is not None
        poller.cancel()
        await asyncio.gather(poller, return_exceptions=True)
        return process

    def dead(self) -> list[Process]:
        """Processes that have died, and have not been cleared away."""
        return [process for process in self.processes if process.life.dead]

    async def end(self) -> None:
        """End what is still there."""
        for process in self.processes:
            await process.kill()
        if self._client is not None:
            await self._client.aclose()

    def body(self, result: Any = None, *, turns: int = 2) -> Callable[[Any], Any]:
        """A node that is counted, takes some turns of the event loop and gives a result."""

        async def counted(ctx: NodeContext[Any]) -> Any:
            self.count(ctx)
            for _ in range(turns):
                await asyncio.sleep(0)
            return result(ctx) if callable(result) else result

        # A key of its own in the registry.
        self._made += 1
        counted.__qualname__ = f"body{self._made}"
        return counted

    def count(self, ctx: NodeContext[Any]) -> None:
        """Note that the body of a node has begun."""
        self.bodies[ctx.idempotency_key] += 1

    # -- time -------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Wait until nothing can happen any more without time passing."""
        quiet, seen = 0, -1
        while quiet < QUIET_TURNS:
            moves = self.moves + sum(len(each.life.calls) for each in self.processes)
            moves += self.bodies.total()
            quiet, seen = (0 if moves != seen else quiet + 1), moves
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """Let time pass, with every stop on the way that something is due at."""
        end = self.clock.now() + seconds
        await self.settle()
        while (due := self.clock.next_due) is not None and due <= end:
            self.clock.advance_to(max(due, self.clock.now()))
            await self.settle()
        self.clock.advance_to(end)
        await self.settle()

    async def until(self, is_so: Callable[[], bool], what: str = "it") -> None:
        """Let time pass until something is so.

        Raises:
            AssertionError: Nothing is to happen any more, and it is still not so.
        """
        horizon = self.clock.now() + HORIZON_SECONDS
        await self.settle()
        while not is_so():
            await self.jump(horizon, what)

    async def jump(self, horizon: float, what: str = "the end") -> None:
        """Let time pass until something is due, and happen what does then.

        Raises:
            AssertionError: Nothing is to happen any more before the horizon.
        """
        due = self.clock.next_due
        assert due is not None, f"nothing is due, and {what} is not there: {self.describe()}"
        assert due < horizon, f"{what} never comes: {self.describe()}"
        self.clock.advance_to(max(due, self.clock.now()))
        for process in self.processes:
            await process.beat()
        await self.settle()

    async def finish(self, run_id: str) -> StoredRun:
        """Let time pass until a run is over and no message is left."""
        await self.until(lambda: self.status(run_id) in FINAL_STATUSES, f"the end of {run_id}")
        await self.until(lambda: not self.messages(), "an empty queue")
        return await self.client.get_run(run_id)

    # -- looking ----------------------------------------------------------------------------

    def facts(self, run_id: str) -> list[Fact]:
        """What is stored of what has happened in a run."""
        record = self.record(run_id)
        assert record is not None, f"there is no run {run_id!r}"
        return list(record.facts)

    def record(self, run_id: str, since: int = 0) -> Record | None:
        """What is stored of a run, from a fact on; ``None`` if there is no such run."""
        return at_once(self.ports.runs.read(run_id, since))

    def run_ids(self) -> list[str]:
        """All runs, child runs and shards included."""
        return [
            head.run_id for head in at_once(self.ports.runs.find(Query(limit=1000, parts=True)))
        ]

    def bodies_of_messages(self) -> list[str]:
        """The texts of all messages on the queue, in hand or not."""
        return [each.body for each in self.ports.queue._messages.values()]  # type: ignore[attr-defined]

    def status(self, run_id: str) -> str | None:
        """The status in a run's row; ``None`` if there is no such run."""
        record = self.record(run_id, NO_FACTS)
        return None if record is None else str(record.head.row.status)

    def row(self, run_id: str) -> Row:
        """The row of a run."""
        record = self.record(run_id, NO_FACTS)
        assert record is not None, f"there is no run {run_id!r}"
        return record.head.row

    def messages(self) -> list[Job]:
        """All messages on the queue, in hand or not."""
        bodies = [self._decoded_body(each) for each in self.bodies_of_messages()]
        return [read_job(body, self.runtime.options.serializer) for body in bodies]

    def _decoded_body(self, body: str) -> str:
        event = event_in(body)
        return body if event is None else with_event(body, self._decoded(event))

    def _decoded(self, text: str) -> str:
        return text if self.codec is None else self.codec.decode(text.removeprefix(MARK))

    def events(self, run_id: str) -> list[Any]:
        """What has happened in a run."""
        serializer = self.runtime.options.serializer
        texts = [self._decoded(fact.data) for fact in self.facts(run_id)]
        return [read_fact(text, serializer).event for text in texts]

    def doubled(self) -> list[str]:
        """Attempts that have more than one outcome in the record."""
        counted: Counter[str] = Counter()
        for run_id in self.run_ids():
            for event in self.events(run_id):
                if type(event).__name__ in OUTCOMES:
                    counted[f"{run_id} {_attempt_of(event)}"] += 1
        return [name for name, count in counted.items() if count > 1]

    def leases(self, run_id: str) -> dict[str, Lease]:
        """Leases of a run that are not over, by place."""
        record = self.record(run_id)
        assert record is not None, f"there is no run {run_id!r}"
        return {lease.place: lease for lease in record.leases}

    def describe(self) -> str:
        """What there is, for a person."""
        runs = {
            run_id: (self.status(run_id), list(self.leases(run_id)), self.events(run_id))
            for run_id in self.run_ids()
        }
        return f"runs {runs}, messages {self.messages()}"

    async def send(self, *jobs: Job) -> None:
        """Put messages on the queue."""
        serializer = self.runtime.options.serializer
        await self.ports.queue.send([Outgoing(write_job(job, serializer)) for job in jobs])

    async def receive(self) -> list[Delivery]:
        """Take all messages that can be seen off the queue."""
        return list(await self.ports.queue.receive(1000, 0))


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """The answer of a port that never waits, without an event loop."""
    try:
        call.send(None)
    except StopIteration as end:
        answer: T = end.value
        return answer
    call.close()
    raise AssertionError("a call that was to answer at once waits for something")


def _attempt_of(event: Any) -> tuple[str, Key, Any, int]:
    kind = type(event).__name__[:4]
    key = event.target if kind == "Undo" else event.key
    return kind, key, getattr(event, "item", None), event.attempt


def play(work: Callable[[World], Coroutine[Any, Any, T]], world: World | None = None) -> T:
    """Let something happen in a world, and see that no task is left."""

    async def checked() -> T:
        there = world or World()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await work(there)
        finally:
            await there.end()
            await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks are left behind: {left}"

    return asyncio.run(checked())


class Gate:
    """Holds up calls of one method of a port until it is opened."""

    def __init__(self, port: Any, name: str) -> None:
        self._port = port
        self._name = name
        self.waiting = asyncio.Event()
        self.open = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._port, name)
        if name != self._name:
            return value

        async def call(*arguments: Any) -> Any:
            self.waiting.set()
            await self.open.wait()
            return await value(*arguments)

        return call


def without(world: World, *uses: str) -> RuntimeOptions:
    """The options of a process that lacks some implementations."""
    options = world.runtime.options
    left = {name: each.call for name, each in options.registry.items() if name not in uses}
    return replace(options, registry=Registry(left))
