"""A simulated run: processes, people, a backend, and the time until all of it is over."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple

from flowcraft.core.commands import RunUndo
from flowcraft.core.retries import LOST_LIMIT
from flowcraft.core.state import FINAL_STATUSES
from flowcraft.engine.client import FlowClient
from flowcraft.engine.coding import coded
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.runtime import FlowRuntime
from flowcraft.ports.queue import Outgoing
from flowcraft.ports.runs import NO_FACTS, Query
from flowcraft.ports.together import Ports
from flowcraft.testing.simulate.backends import MemoryBackend, NewBackend
from flowcraft.testing.simulate.census import Census, names_of
from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.clock import CountedIdentifiers, SimulationClock
from flowcraft.testing.simulate.faults import STRETCHES, Life, Seen, process_of_running_code
from flowcraft.testing.simulate.limits import LimitWatch
from flowcraft.testing.simulate.loop import SimulationLoop, world_context
from flowcraft.testing.simulate.older import older_options
from flowcraft.testing.simulate.processes import LEASE_SECONDS, Person, WorkerProcess
from flowcraft.testing.simulate.scenario import Scenario
from flowcraft.testing.simulate.story import RUN_ID, Role, Told
from flowcraft.testing.simulate.timers import timers_in

PATIENCE_SECONDS: Final = 1800.0
"""How much longer than without faults a run may take before somebody looks for stuck runs."""

LEFT_SECONDS: Final = 1500.0
"""How long a timer may be left when the run is over: it is sent a quarter of an hour ahead, and
whoever sends it may die before it is forgotten."""

LONG_SECONDS: Final = 86400.0
"""Of a run that took longer, but was deleted, nobody waits for the end if it begins anew: each look
for messages is carried out, and on AWS those of ten days take minutes."""

ALL_RUNS: Final = Query(limit=1000, parts=True)
LAPSED_RUNS: Final = Query(limit=1000, parts=True, lapsed=-math.inf)
HELPS: Final = 3
KEPT_REQUESTS: Final = 60
STALE_MESSAGES: Final = 6
RETURNS_SECONDS: Final = 4.0
LONGEST_BODY_SECONDS: Final = 1.2 * LEASE_SECONDS


@dataclass(frozen=True)
class Ending:
    """What is to be looked at when a run is over.

    Attributes:
        is_over: Whether it is.
        helps: How often somebody had to look for stuck runs.
        excused: Whether it was to be expected that nothing goes on without that.
        revived: What happened when old messages came once more.
    """

    is_over: bool
    helps: int
    excused: bool
    revived: tuple[str, ...]


class BodyEnd(NamedTuple):
    """Where a body ended that was the last one of its idempotency key.

    Attributes:
        node_id: The node, or the worker of a batch.
        process: The process.
        number: The number of the request that comes next in the process.
    """

    node_id: str
    process: str
    number: int


class World:
    """One scenario of one story, from its beginning to its end.

    Args:
        told: The story.
        scenario: What happens.
        new_backend: Makes the place for runs and messages.

    Attributes:
        loop: The event loop.
        backend: Where runs and messages are.
        census: The bodies that ran.
        body_ends: Where bodies ended, by their idempotency keys.
        requests: The last requests that were made.
        lives: All processes there were.
        ports: Queue and stores, without faults.
        left: Whether timers were left when all was over.
        limits: What is seen of limits.
        is_gone: Whether the run was deleted.
        is_deleting: Whether somebody has begun to delete it.
        tell: Is told every request, where somebody wants to know.
    """

    retention_seconds: ClassVar[float | None] = None
    """How long runs are kept after their end; for ever by default."""

    def __init__(
        self, told: Told, scenario: Scenario, new_backend: NewBackend = MemoryBackend
    ) -> None:
        self.told = told
        self.scenario = scenario
        self.run_id = RUN_ID
        self.chance = Chance("world", scenario.graph, scenario.seed)
        self.loop = SimulationLoop(self.chance.fork("order"))
        self.backend = new_backend(
            self.loop,
            self.chance.fork("backend"),
            visibility_seconds=LEASE_SECONDS,
            doubles=scenario.doubles,
            **self._kept(),
        )
        self.limits = LimitWatch(self)
        self.census = Census(
            self.chance.fork("bodies"),
            self.loop.time,
            longest_seconds=LONGEST_BODY_SECONDS if scenario.slow else 0.0,
            hurried=told.hurried,
            see=self._see,
            see_end=self._see_end,
        )
        self.body_ends: dict[str, BodyEnd] = {}
        self.options = told.options(self.census)
        self.requests: deque[Seen] = deque(maxlen=KEPT_REQUESTS)
        self.tell: Callable[[Seen], None] = lambda _: None
        self._seen = 0
        self._at_request: dict[int, list[asyncio.Future[None]]] = {}
        self.lives: list[Life] = []
        self.workers: list[WorkerProcess] = []
        self.reconciles = scenario.reconciler
        self._waiting_for = 0
        self._people = self._deleted_again = 0
        self._excused = self._abandoned = False
        self._over_at = 0.0
        self._patience = LEFT_SECONDS + 2 * stretches(scenario)
        self.left = self.is_gone = self.is_deleting = False
        self.ports: Ports
        self.client: FlowClient

    def _see(self, ctx: Any) -> None:
        """A body begins: under its limits, and not in a run that its worker knows is to stop."""
        self.limits.see(ctx)
        attempt = ctx._origin
        state = getattr(attempt.run, "above", attempt.run).state
        if state.stopping is not None and not isinstance(attempt.command, RunUndo):
            text = f"the body of {ctx.idempotency_key} began though its run was to stop"
            self.backend.watch.problems.append(("I3", text))

    def _see_end(self, ctx: Any) -> None:
        """A body ends: the next request of its process comes before its result is stored."""
        self.limits.see_end(ctx)
        life = process_of_running_code()
        if life is not None:
            end = BodyEnd(names_of(ctx.node_id)[1], life.name, life.requests + 1)
            self.body_ends[ctx.idempotency_key] = end

    def _see_request(self, seen: Seen) -> None:
        self.requests.append(seen)
        self.tell(seen)
        self._seen += 1
        for waiter in self._at_request.pop(self._seen, ()):
            if not waiter.done():
                waiter.set_result(None)

    def request(self, number: int) -> asyncio.Future[None]:
        """Done when so many requests were made, by all processes together."""
        waiter = self.loop.create_future()
        if number <= self._seen:
            waiter.set_result(None)
        else:
            self._at_request.setdefault(number, []).append(waiter)
        return waiter

    def _kept(self) -> dict[str, float]:
        seconds = self.retention_seconds
        return {} if seconds is None else {"retention_seconds": seconds}

    # -- processes --------------------------------------------------------------------------

    def skew(self, name: str) -> float:
        """How far the clock of a process is ahead, in seconds."""
        most = self.scenario.skew_seconds
        return self.chance.fork("skew", name).between(-most, most) if most else 0.0

    def _life(self, name: str) -> Life:
        life = Life(
            name,
            self.loop,
            self.chance.fork("life", name),
            self.scenario.faults,
            noise=self.scenario.noise,
            see=self._see_request,
        )
        self.lives.append(life)
        return life

    def start_worker(self) -> None:
        """Start a worker; when it dies, another one is started."""
        life = self._life(f"worker-{len(self.workers) + 1}")
        new_process = self.told.story.new_process or WorkerProcess
        worker: WorkerProcess = new_process(self, life, self.options)
        self.workers.append(worker)
        life.on_death = lambda: self._later(life.name, self.start_worker)
        worker.start()

    def start_stranger(self) -> None:
        """Start a worker that knows nothing of what is to be run."""
        self._start_other(
            "stranger-1", FlowRuntime(identifiers=CountedIdentifiers("stranger")).options
        )

    def start_older(self) -> None:
        """Start a worker of an older version, unless the story says who works."""
        story = self.told.story
        if story.new_process is None and not story.schedules:
            self._start_other("older-1", older_options(self.options, self.told.blueprint))

    def _start_other(self, name: str, options: RuntimeOptions) -> None:
        worker = WorkerProcess(self, self._life(name), options)
        self.workers.append(worker)
        worker.start()

    def employ(self, role: Role, *, returns: bool = True) -> None:
        """Have somebody do something; who dies of it is followed by another one, or is not."""
        self._waiting_for += 1
        self._follow(role, returns)

    def _follow(self, role: Role, returns: bool) -> None:
        self._people += 1
        life = self._life(f"client-{self._people}")
        person = Person(self, life)

        async def act() -> None:
            await role(person)
            self._waiting_for -= 1

        def died() -> None:
            if returns:
                self._later(life.name, lambda: self._follow(role, returns))
            else:
                self._waiting_for -= 1
                self._abandoned = True

        life.on_death = died
        self.loop.create_task(act(), context=life.context)

    def _later(self, name: str, callback: Callable[[], None]) -> None:
        delay = self.chance.fork("return", name).between(0.0, RETURNS_SECONDS)
        self.loop.call_later(delay, callback, context=world_context())

    @property
    def unfinished(self) -> int:
        """How many people have not done yet what they are to do."""
        return self._waiting_for

    @property
    def starts(self) -> int:
        """How many runs of the id there may have been, one after the other.

        A start that is carried out when the run was deleted begins another one: of somebody who
        died, or heard no answer, and starts it again, or one that was under way all the time.
        """
        story, begun = self.told.story, self.backend.watch.begun[self.run_id]
        if story.is_deleted:
            return begun
        if story.starts == 1:
            return 1
        faults = sum(each.process.startswith("client") for each in self.scenario.faults)
        return min(begun, story.starts + faults)

    @property
    def _began_late(self) -> bool:
        """Whether a start of which nobody heard any more began a run anew that was deleted."""
        return self.run_id in self.backend.watch.begun_late

    # -- the run ----------------------------------------------------------------------------

    async def live(self) -> Ending:
        """Let everything happen until it is over."""
        open_ports, clock = self.backend.connect(SimulationClock(self.loop))
        self.client = FlowClient(
            open_ports,
            self.options,
            clock=clock,
            identifiers=CountedIdentifiers("world"),
            shard_items=self.told.story.shard_items,
            codec=(codec := self.told.story.codec_of("world")),
        )
        async with open_ports() as ports:
            runs = ports.runs if codec is None else coded(ports, codec).runs
            self.ports = ports._replace(runs=runs)
            return await self._live()

    async def _live(self) -> Ending:
        for _ in range(self.scenario.workers):
            self.start_worker()
        if self.scenario.stranger:
            self.start_stranger()
        if self.scenario.older:
            self.start_older()
        self.employ(_start, returns=self.chance.fork("start").happens(0.5))
        for role in self.told.story.people:
            self.employ(role)
        is_over, helps = await self._rest()
        revived = await self._deliver_again() if is_over and self.scenario.stale else ()
        return Ending(is_over, helps, self._excused, revived)

    async def _rest(self) -> tuple[bool, int]:
        """Wait until the run is over and nothing is left to do; gives whether it came to that."""
        story = self.told.story
        patience = self.patience_seconds
        deadline, helps = self.loop.time() + patience + story.lasts_seconds, 0
        while not await self._is_over():
            await self.loop.quiet()
            if self.loop.time() <= deadline:
                continue
            if helps == HELPS:
                return False, helps
            helps += 1
            deadline = self.loop.time() + patience
            # Where rows are apart, a run that began late has none: the look of once a day finds it,
            # and no other but this.
            await self.client.reconcile(force=self._began_late)
        return True, helps

    @property
    def patience_seconds(self) -> float:
        """How long the run may take before somebody looks for stuck runs."""
        truth, scenario = self.told.story.truth, self.scenario
        # One worker may have the long bodies one after the other, each fault may take them all,
        # and where requests fail all the time leases of an hour are lost, as often as may be.
        times = 1 + len(scenario.faults) + (LOST_LIMIT if scenario.noise else 0)
        long_seconds = times * truth.long_seconds
        return PATIENCE_SECONDS + truth.seconds + 10 * stretches(scenario) + long_seconds

    async def _is_over(self) -> bool:
        if self._abandoned:
            # Who was to start it died: it goes on if it was accepted, or is not there.
            self._abandoned = False
            self._excused = await self.ports.runs.read(self.run_id, NO_FACTS) is not None
            if not self._excused:
                self.employ(_start)
        if self._waiting_for or self.backend.waiting():
            return False
        is_deleted = self.told.story.is_deleted
        if is_deleted and any(life.late for life in self.lives):
            return False
        record = await self.ports.runs.read(self.run_id, NO_FACTS)
        # Whoever sent the message of a start did so before it was carried out late.
        self._excused = self._excused or self._began_late
        self.is_gone = is_deleted and (record is None or record.head.expires_at is not None)
        if self.is_gone:
            # What belongs to it may have been stored just then: it is found by a look.
            self._excused = True
            left = [await self.ports.runs.find(each) for each in (ALL_RUNS, LAPSED_RUNS)]
            return not any(left) and not timers_in(self.backend.agreed())
        if record is None or record.head.row.status not in FINAL_STATUSES:
            if is_deleted:
                self._delete_again()
            return False
        # Who swept it may have died before it was forgotten: it is swept again.
        self._over_at = self._over_at or self.loop.time()
        if not timers_in(self.backend.agreed()):
            return True
        is_left = self.loop.time() - self._over_at > self._patience
        self.left = self.left or is_left
        return is_left

    def _delete_again(self) -> None:
        """Delete a run that began after its deletion, once, if it were there for days."""
        if self.told.story.truth.seconds > LONG_SECONDS and self._deleted_again + 1 < self.starts:
            self._deleted_again += 1
            for role in self.told.story.people:
                self.employ(role)

    async def _deliver_again(self) -> tuple[str, ...]:
        """Deliver old messages once more; gives what was done because of them."""
        bodies = list(self.backend.watch.bodies)
        if not bodies:  # nobody heard that a message was sent
            return ()
        chosen = [self.chance.pick(bodies) for _ in range(STALE_MESSAGES)]
        before, executed = await self._facts(), len(self.census.executions)
        await self.ports.queue.send([Outgoing(body) for body in chosen])
        deadline = self.loop.time() + PATIENCE_SECONDS
        while self.backend.waiting() and self.loop.time() < deadline:
            await self.loop.quiet()
        later = [each for each in self.census.executions[executed:] if not each.was_harmed]
        problems = [f"{each.key} ran" for each in later]
        after = await self._facts()
        grown = [name for name in after if after[name] != before.get(name)]
        problems += [f"run '{name}' has more facts" for name in grown]
        return tuple(problems)

    async def _facts(self) -> dict[str, int]:
        heads = await self.ports.runs.find(ALL_RUNS)
        return {head.run_id: head.facts for head in heads}

    # -- the end ----------------------------------------------------------------------------

    def bury(self) -> None:
        """Free everything."""
        for life in self.lives:
            life.is_over = True
        self.loop.bury(self.lives)
        self.loop.close()


def stretches(scenario: Scenario) -> float:
    """How long the faults of a scenario take, in seconds."""
    return sum(each.seconds for each in scenario.faults if each.kind in STRETCHES)


async def _start(person: Person) -> None:
    """Start the run."""
    world = person.world
    context: dict[str, Any] = dict(world.told.story.context)
    await person.insist(
        lambda: person.client.start_run(world.told.blueprint, context, run_id=world.run_id)
    )
