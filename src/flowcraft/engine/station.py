"""What a worker or a client of a durable backend works with: ports, plans, open runs."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final, cast

from flowcraft.core.blueprint import WorkflowBlueprint, blueprint_hash
from flowcraft.core.plan import Plan, build_plan
from flowcraft.core.subflows import child_ids
from flowcraft.engine.bus import Tails
from flowcraft.engine.calendar import Calendar
from flowcraft.engine.coding import CodedRuns, Coder, coded
from flowcraft.engine.encoded import plain
from flowcraft.engine.files import Files
from flowcraft.engine.jobs import Job, write_job
from flowcraft.engine.ledger import Gap, Ledger
from flowcraft.engine.limited import Once
from flowcraft.engine.measuring import Measures
from flowcraft.engine.middleware import Middleware
from flowcraft.engine.nodes import Implementation
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.parent import Parent
from flowcraft.engine.patience import Patient
from flowcraft.engine.shards import ShardLedger
from flowcraft.engine.swap_limits import SwapLimits, limits_of
from flowcraft.engine.tape import Tape
from flowcraft.engine.threads import DaemonThreads
from flowcraft.engine.timers import LongDelays, timer_name
from flowcraft.errors import (
    CodecError,
    FlowcraftError,
    SerializationError,
    StorageCorrupt,
    StorageError,
)
from flowcraft.ports.clock import Clock, Identifiers
from flowcraft.ports.codec import AnyCodec
from flowcraft.ports.limits import LimitStore
from flowcraft.ports.queue import Outgoing
from flowcraft.ports.runs import Head, Record
from flowcraft.ports.telemetry import Telemetry
from flowcraft.ports.together import Ports

logger = logging.getLogger("flowcraft.worker")

OPEN_RUNS = 256
OPEN_FACTS = 20_000
ALWAYS_OPEN = 32
"""Runs that are kept open after their last use, so that their next message needs no reading: so
many at most, with so many facts in all, which bounds the memory they take (about 1 KB a fact);
but always this many, so that a few large ones do not drive each other out."""

OPEN_CHARACTERS = 32_000_000
"""The most that the facts of open runs may have in all, as they are stored; in memory it is some
four times as much. A run that is larger than that is open alone."""

NO_BLUEPRINTS: Final[Mapping[str, WorkflowBlueprint]] = MappingProxyType({})


class Station:
    """Ports, options and open runs of one worker or client; a :class:`Host` of its runs.

    Args:
        ports: Queue and stores.
        options: What the runtime was given: implementations, blueprints, serializer, …
        clock: The time.
        identifiers: Where fresh ids come from.
        codec: Encodes payloads on their way to queue and stores.
        telemetry: Is told what is counted and timed.

    Attributes:
        measures: Counts and times, for the telemetry.
        once: Logs what is odd about the keys of limits.
    """

    def __init__(
        self,
        ports: Ports,
        options: RuntimeOptions,
        clock: Clock,
        identifiers: Identifiers,
        *,
        codec: AnyCodec | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        hour_seconds = options.timers.hour_seconds
        self.delays = LongDelays(ports.queue, Calendar(ports.coordination, hour_seconds), clock)
        ports = ports._replace(queue=self.delays)
        self._coder = None if codec is None else Coder(codec)
        if self._coder is not None:
            ports = coded(ports, self._coder)
        self.queue, self.runs, self.blobs, self.coordination, self.objects = ports
        self.limits = limits_of(self.coordination)
        self.measures = Measures(telemetry, clock)
        self.options = options
        self.clock = clock
        self.identifiers = identifiers
        self.bus = options.bus
        self.tails = Tails()
        self.threads = DaemonThreads()
        self.is_closing: Callable[[], bool] = bool  # it is not
        self.known = options.registry
        self._asked = 0
        self._open: OrderedDict[str, Ledger] = OrderedDict()
        self._plans: dict[str, tuple[Plan, Tape]] = {}
        self._named: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.sleeping: set[asyncio.Task[Any]] = set()
        self.once = Once(logger)

    @property
    def closing(self) -> bool:
        """Whether the event loop is ending, or the worker: then a cancelled node is no failure."""
        return self.is_closing()

    @property
    def middleware(self) -> tuple[Middleware, ...]:
        """Layers around each node, outermost first."""
        return self.options.middleware

    @property
    def find(self) -> Callable[[str], Implementation | None]:
        """Finds the implementation of a ``uses`` key."""
        return self.options.registry.find

    def in_loop(self, callback: Callable[[], None]) -> None:
        """Call something in the worker's event loop."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)

    def be_patient(self, seconds: float) -> None:
        """Repeat calls of the ports, for so long, while their trouble may pass."""
        for name, port in {**{each: each for each in Ports._fields}, "delays": "queue"}.items():
            patient = Patient(
                getattr(self, name),
                self.clock,
                self.sleep_until,
                seconds,
                partial(self.measures.retried, port),
            )
            setattr(self, name, patient)  # it has every method of what is behind it
        own = getattr(self.coordination, "limits", None)
        if own is None:
            self.limits = SwapLimits(self.coordination)
            return
        repeated = partial(self.measures.retried, "limits")
        patient = Patient(own, self.clock, self.sleep_until, seconds, repeated)
        self.limits = cast("LimitStore", patient)

    @property
    def is_coded(self) -> bool:
        """Whether payloads pass a codec, so that none of them may be logged."""
        return self._coder is not None

    @property
    def files(self) -> Files:
        """The files of runs."""
        return Files(self.objects, self.identifiers, self._coder)

    def files_for(self, node_id: str) -> Files:
        """The files of runs, for a node: trouble with where they are is none of the node's."""
        return self.files.insisting(self.clock, self.sleep_until, f"Node '{node_id}'")

    def attach(self) -> None:
        """Remember the running event loop."""
        self._loop = asyncio.get_running_loop()

    async def sleep_until(self, when: float) -> None:
        """Wait until the clock has reached a time."""
        if when <= self.clock.now():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        timer = self.clock.call_at(when, wake)
        task = asyncio.current_task()
        assert task is not None
        self.sleeping.add(task)
        try:
            await future
        finally:
            self.sleeping.discard(task)
            timer.cancel()

    async def flush(self) -> None:
        """Have the telemetry hand on what it keeps, in a thread."""
        if self.measures.keeps:
            await self.threads.call(self.measures.flush)

    # -- runs -------------------------------------------------------------------------------

    async def open(self, run_id: str, epoch: str | None = None) -> Ledger | None:
        """A run, as it was last seen here or as it is stored; ``None`` if there is none."""
        ledger = self._open.get(run_id)
        if ledger is not None and epoch in (None, ledger.epoch):
            self._open.move_to_end(run_id)
            return ledger
        ledger = await self.read(run_id, epoch)
        if ledger is not None:
            self._open[run_id] = ledger
            self._close_some()
        return ledger

    def has_open(self, run_id: str) -> bool:
        """Whether a run is open, as it was last seen here."""
        return run_id in self._open

    def _close_some(self) -> None:
        """Keep the runs open that were used last, as far as there is room for their facts."""
        facts = sum(each.number for each in self._open.values())
        characters = sum(each.characters for each in self._open.values())
        while (
            len(self._open) > OPEN_RUNS
            or (facts > OPEN_FACTS and len(self._open) > ALWAYS_OPEN)
            or (characters > OPEN_CHARACTERS and len(self._open) > 1)
        ):
            _, ledger = self._open.popitem(last=False)
            facts -= ledger.number
            characters -= ledger.characters

    async def read(
        self, run_id: str, epoch: str | None = None, *, hidden: bool = False
    ) -> Ledger | None:
        """A run as it is stored now, for oneself; ``None`` if there is none.

        Args:
            run_id: The run.
            epoch: Which start of it; any by default.
            hidden: Read one that counts as absent, too.
        """
        asked = self.asked()
        record = await self.runs.read(run_id)
        if record is None or epoch not in (None, record.head.epoch):
            return None
        if record.head.is_gone(self.clock.now()) and not hidden:
            return None
        ledger = await self._ledger(record.head)
        if ledger is None:
            return None
        try:
            ledger.catch_up(record.facts)
        except Gap as gap:
            # It was read in one step: nobody was about to write what is missing.
            raise _damaged(run_id, f"Fact {ledger.number} is missing.") from gap
        if not record.facts:
            raise _damaged(run_id, "It has no facts at all.")
        ledger.look(asked, record)
        return ledger

    async def look_up(self, run_id: str, since: int) -> tuple[Record | None, Mapping[int, str]]:
        """A record, for whoever can use it although not all of its facts can be decoded.

        Args:
            run_id: The run, or a part of one.
            since: The number of the first fact that is wanted.

        Returns:
            The record, and of facts that cannot be decoded why not, by number.
        """
        if self._coder is None:
            return await self.runs.read(run_id, since), {}
        found: tuple[Record | None, Mapping[int, str]]
        found = await cast("CodedRuns", self.runs).read_each(run_id, since)
        return found

    async def _ledger(self, head: Head) -> Ledger | None:
        parent = Parent.read(head)
        if parent is None or not parent.is_of_shard:
            return Ledger(self, head, *await self.plan(head.blueprint_hash))
        above = await self.open(parent.run_id, parent.epoch)
        # As it was last seen here the run may not know yet that it has this batch.
        if above is None or not await self.refresh(above):
            return None
        return ShardLedger(self, head, above, above.tape)

    async def refresh(self, ledger: Ledger) -> bool:
        """Read what was written since; false if the run is gone."""
        asked = self.asked()
        record = await self.runs.read(ledger.run_id, ledger.number)
        if (
            record is None
            or record.head.epoch != ledger.epoch
            or record.head.is_gone(self.clock.now())
        ):
            self.forget(ledger)
            return False
        ledger.catch_up(record.facts)
        ledger.look(asked, record)
        return True

    def asked(self) -> int:
        """The number of a read that begins now, for :meth:`Ledger.look`."""
        self._asked += 1
        return self._asked

    def forget(self, ledger: Ledger) -> None:
        """Keep a run open no longer."""
        if self._open.get(ledger.run_id) is ledger:
            del self._open[ledger.run_id]

    # -- blueprints -------------------------------------------------------------------------

    async def plan(self, hash_: str) -> tuple[Plan, Tape]:
        """The plan of a blueprint that a run was started with.

        Raises:
            FlowcraftError: Nobody has stored it.
            CodecError: It is encoded, and cannot be decoded here.
        """
        found = self._plans.get(hash_)
        if found is None:
            text = await self._text(_snapshot_key(hash_))
            if text is None:
                raise FlowcraftError(
                    f"The blueprint with the hash {hash_} is not stored: the run cannot be read. "
                    "Restart a worker that has the flow as it was then, since workers store their "
                    "blueprints when they begin; or restore it from a backup."
                )
            try:
                data = json.loads(text)
            except ValueError as error:
                raise SerializationError(
                    f"The blueprint with the hash {hash_} is damaged, so its runs cannot be "
                    f"read: {error}."
                ) from error
            blueprint = WorkflowBlueprint.from_dict(data)
            found = self._plans[hash_] = self._planned(blueprint)
        return found

    async def keep(self, blueprint: WorkflowBlueprint, *, latest: bool = True) -> str:
        """Store a blueprint under its hash; gives the hash."""
        hash_ = blueprint_hash(blueprint)
        if hash_ not in self._plans:
            planned = self._planned(blueprint)
            text = json.dumps(blueprint.to_dict(), ensure_ascii=False)
            await self.blobs.put(_snapshot_key(hash_), text)
            self._plans[hash_] = planned
        if latest:
            await self.blobs.put(_latest_key(blueprint.id), hash_, replace=True)
            self._named.add(blueprint.id)
        return hash_

    async def keep_below(
        self,
        blueprint: WorkflowBlueprint,
        brought: Mapping[str, WorkflowBlueprint] = NO_BLUEPRINTS,
    ) -> None:
        """Store the child flows of a blueprint that are known here, theirs included.

        Workers that lack them find them by their ids. One that is stored already stays as it is.

        Args:
            blueprint: The blueprint of a run that is about to start.
            brought: Child flows that came along with it.
        """
        seen: set[str] = set()
        waiting = [blueprint]
        while waiting:
            for id_ in child_ids(waiting.pop()):
                # A flow may be its own child flow.
                own = blueprint if id_ == blueprint.id else self.options.blueprints.get(id_)
                child = brought.get(id_, own)
                if child is not None and id_ not in seen:
                    seen.add(id_)
                    waiting.append(child)
                    await self._name(id_, child)

    async def _name(self, id_: str, child: WorkflowBlueprint) -> None:
        """Store a child flow by its id, unless one is there."""
        if id_ in self._named:
            return
        try:
            is_there = await self.blobs.get(_latest_key(id_)) is not None
        except CodecError:
            is_there = True  # by somebody with another codec
        try:
            if not is_there:
                await self.blobs.put(_latest_key(id_), await self.keep(child, latest=False))
        except StorageError:
            raise
        except FlowcraftError as error:
            logger.warning("The flow '%s' is not stored for other workers: %s", id_, error)
            return
        self._named.add(id_)

    async def latest(self, blueprint_id: str) -> WorkflowBlueprint | None:
        """A blueprint by id: the one known here, else the one a worker stored last."""
        known = self.options.blueprints.get(blueprint_id)
        if known is not None:
            return known
        hash_ = await self._text(_latest_key(blueprint_id))
        if hash_ is None:
            return None
        return (await self.plan(hash_))[0].blueprint

    async def _text(self, key: str) -> str | None:
        text = await self.blobs.get(key)
        return None if text is None else plain(text, f"The text '{key}'")

    def _planned(self, blueprint: WorkflowBlueprint) -> tuple[Plan, Tape]:
        codec_for = self.options.serializer.codec_for
        tape = Tape(self.options.evaluator, codec_for)
        return build_plan(blueprint, tape, codec_for), tape

    # -- messages ---------------------------------------------------------------------------

    @property
    def calendar(self) -> Calendar:
        """What is due in more than an hour."""
        return Calendar(self.coordination, self.options.timers.hour_seconds)

    async def send(self, jobs: list[Job]) -> None:
        """Send messages; one that is due later is received then."""
        if not jobs:
            return
        now = self.clock.now()
        await self.queue.send([self._outgoing(job, now) for job in jobs])

    async def send_later(self, job: Job, seconds: float) -> None:
        """Send a message after a delay."""
        message = self._outgoing(job, self.clock.now(), seconds)
        await self.queue.send([replace(message, delay_seconds=seconds)])

    def _outgoing(self, job: Job, now: float, least_seconds: float = 0.0) -> Outgoing:
        delay = max(0.0, (now if job.due_at is None else job.due_at) - now, least_seconds)
        ready_at = self.measures.ready_at(delay)
        if ready_at != job.ready_at:
            job = replace(job, ready_at=ready_at)
        text = write_job(job, self.options.serializer)
        message = Outgoing(text, delay, group=job.group, trace=job.trace)
        if job.due_at is None or delay <= self.options.timers.hour_seconds:
            return message
        name = timer_name(job.run_id, job.epoch, job.event, job.place)
        return replace(message, name=name, due_at=job.due_at)


def _damaged(run_id: str, how: str) -> StorageCorrupt:
    return StorageCorrupt(
        f"The record of run '{run_id}' is damaged. {how} Restore it from a backup, or delete the "
        "run's rows."
    )


def _snapshot_key(hash_: str) -> str:
    return f"blueprint/{hash_}"


def _latest_key(blueprint_id: str) -> str:
    return f"latest/{blueprint_id}"
