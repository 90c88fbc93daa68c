"""A worker: takes messages off the queue and carries on with what they stand for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from flowcraft.core.builtins import BUILTIN_USES
from flowcraft.core.plan import Plan
from flowcraft.engine.arguments import check_positive, check_spans
from flowcraft.engine.attempt import Attempt
from flowcraft.engine.duties import Duties
from flowcraft.engine.hands import Hands, InHand
from flowcraft.engine.heartbeat import Beat, Heartbeat
from flowcraft.engine.jobs import Job, Leave, PutOff, Unreadable, UnreadableJob, read_job
from flowcraft.engine.ledger import Gap
from flowcraft.engine.measuring import JobOutcome
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.places import AttemptCommand, key_called
from flowcraft.engine.reconcile import stalled_seconds
from flowcraft.engine.schedule_rounds import DEFAULT_SCHEDULES_SECONDS
from flowcraft.engine.station import Station
from flowcraft.engine.strand import Strand
from flowcraft.engine.timers import forget_dropped
from flowcraft.engine.trouble import log_trouble
from flowcraft.engine.watch import WATCH
from flowcraft.errors import CodecError
from flowcraft.ports.clock import Clock, Identifiers
from flowcraft.ports.codec import AnyCodec
from flowcraft.ports.queue import Delivery
from flowcraft.ports.runs import Held
from flowcraft.ports.telemetry import Telemetry
from flowcraft.ports.together import OpenPorts

logger = logging.getLogger("flowcraft.worker")

PREFETCH = 10
"""Messages asked for at a time, unless the queue gives more for the same price."""

DEFAULT_CONCURRENCY = 10
DEFAULT_LEASE_SECONDS = 30.0
DEFAULT_DRAIN_SECONDS = 25.0
DEFAULT_IMPLEMENTATION_SECONDS = 86_400.0
DEFAULT_RECONCILE_SECONDS = 60.0
TROUBLE_PAUSE_SECONDS = 1.0
HAND_BACK_ROUNDS = 5
HAND_BACK_WAIT_SECONDS = 1.0
"""How often, and for how long, a worker that ends waits for nodes that it has stopped."""

PUT_BACK_SECONDS = 1.0
"""How long a worker that ends takes to put back what its last poll brought."""

HOLD_SHARE = 0.5
"""After this share of the time that a queue hides a message at most, it is replaced."""


class Worker:
    """Carries on with the messages of a queue, many at a time.

    Args:
        open_ports: Opens queue and stores; called for the worker and for its heartbeat.
        options: Implementations, blueprints and the rest of what a runtime was given.
        clock: The time.
        identifiers: Where fresh ids come from.
        concurrency: Messages worked on at once.
        lease_seconds: How long a worker that is gone keeps others from its attempts.
        poll_seconds: How long one look at the queue waits for a message.
        drain_timeout_seconds: How long nodes may go on once the worker is to stop.
        implementation_timeout_seconds: How long a node waits for a worker that can run it.
        reconcile_every_seconds: From one look for stuck runs to the next, of all workers
            together; ``None`` for no looks by this one.
        schedules_every_seconds: From one look at whether schedules were changed to the next;
            ``None`` for a worker that looks after none.
        stalled_threshold_seconds: How long nothing happens in a run before it counts as stuck;
            at least two leases. By default 300 s, or four leases if that is more.
        codec: Encodes payloads before they are stored; all that work on the same runs have it.
        telemetry: Is told what is counted and timed.
        heartbeat: Whether threads prolong leases and watch the event loop; tests in virtual time
            do without.
        sweeping: Whether this worker sees to timers that are due in more than an hour, of all
            runs, when no other does.
        presence: Whether this worker leaves a trace of its version, and of what it can run.

    Raises:
        TypeError: ``concurrency`` is no whole number.
        ValueError: A number is not positive, or has no end, or the threshold is too short.
    """

    def __init__(
        self,
        open_ports: OpenPorts,
        options: RuntimeOptions,
        *,
        clock: Clock,
        identifiers: Identifiers,
        concurrency: int = DEFAULT_CONCURRENCY,
        lease_seconds: float = DEFAULT_LEASE_SECONDS,
        poll_seconds: float = 1.0,
        drain_timeout_seconds: float = DEFAULT_DRAIN_SECONDS,
        implementation_timeout_seconds: float = DEFAULT_IMPLEMENTATION_SECONDS,
        reconcile_every_seconds: float | None = DEFAULT_RECONCILE_SECONDS,
        schedules_every_seconds: float | None = DEFAULT_SCHEDULES_SECONDS,
        stalled_threshold_seconds: float | None = None,
        codec: AnyCodec | None = None,
        telemetry: Telemetry | None = None,
        heartbeat: bool = True,
        sweeping: bool = True,
        presence: bool = True,
    ) -> None:
        if isinstance(concurrency, bool) or not isinstance(concurrency, int):
            raise TypeError(f"concurrency is a whole number of messages, not {concurrency!r}.")
        check_positive(
            concurrency=concurrency,
            lease_seconds=lease_seconds,
            poll_seconds=poll_seconds,
            reconcile_every_seconds=reconcile_every_seconds,
            schedules_every_seconds=schedules_every_seconds,
        )
        if lease_seconds is None:
            raise TypeError("lease_seconds is a number, not None.")
        check_spans(
            drain_timeout_seconds=drain_timeout_seconds,
            implementation_timeout_seconds=implementation_timeout_seconds,
        )
        self._open_ports = open_ports
        self._options = options
        self._clock = clock
        self._identifiers = identifiers
        self.concurrency = concurrency
        self.lease_seconds = lease_seconds
        self._poll_seconds = poll_seconds
        self._drain_timeout_seconds = drain_timeout_seconds
        self.implementation_timeout_seconds = implementation_timeout_seconds
        self.duties = Duties(
            reconcile_every_seconds,
            stalled_seconds(stalled_threshold_seconds, lease_seconds),
            schedules_every_seconds,
            sweeping=sweeping,
            presence=presence,
        )
        self._codec = codec
        self._telemetry = telemetry
        self._with_heartbeat = heartbeat
        self.draining = False
        self._station: Station | None = None
        self._opening = asyncio.Lock()
        self._strands: dict[asyncio.Task[Any], InHand] = {}
        self._stack = contextlib.AsyncExitStack()
        self._poller: asyncio.Task[None] | None = None
        self._heartbeat: Heartbeat | None = None
        self._free = asyncio.Event()
        self._hands = Hands(concurrency, clock)
        self._reported: set[str] = set()
        self._to_delete: list[str] = []
        self._deleting: asyncio.Task[None] | None = None
        self._replacing: set[asyncio.Task[None]] = set()

    @property
    def station(self) -> Station:
        """Ports and open runs, once the worker has started."""
        assert self._station is not None, "the worker has not started"
        return self._station

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that nodes run on."""
        return self._loop

    def attempts(self) -> Iterable[Attempt]:
        """What is being executed right now."""
        strands = [each.strand for each in tuple(self._strands.values())]
        return [each.attempt for each in strands if each is not None and each.attempt is not None]

    @property
    def busy(self) -> bool:
        """Whether anything is being worked on."""
        return bool(self._strands or self._to_delete)

    # -- starting and stopping --------------------------------------------------------------

    async def start(self) -> None:
        """Begin to take messages; returns once the queue is being polled."""
        await self.open()
        self.duties.start(self.station)
        self._poller = asyncio.create_task(self._poll())

    @property
    def is_polling(self) -> bool:
        """Whether messages are taken from the queue."""
        return self._poller is not None

    async def open(self) -> None:
        """Get ready to work, on messages that are handed in; once is enough."""
        async with self._opening:
            if self._station is None:
                try:
                    await self._open()
                except BaseException:
                    await self._stack.aclose()  # whoever tries again opens all of it
                    raise
            if self._with_heartbeat and self._heartbeat is None:
                self._heartbeat = Heartbeat(self._open_ports, self, self.lease_seconds)
                self._heartbeat.start()
            if self._with_heartbeat:
                WATCH.add(self)

    async def _open(self) -> None:
        self._loop = asyncio.get_running_loop()
        ports = await self._stack.enter_async_context(self._open_ports())
        station = Station(
            ports,
            self._options,
            self._clock,
            self._identifiers,
            codec=self._codec,
            telemetry=self._telemetry,
        )
        station.attach()
        station.is_closing = self._is_closing
        station.be_patient(self.lease_seconds)
        for blueprint in tuple(self._options.blueprints.values()):
            await station.keep(blueprint)
        self._station = station

    def _is_closing(self) -> bool:
        """Whether what is cancelled now was cancelled with the worker, or with its event loop.

        A loop that ends with work under way cancels all tasks before it runs any of them.
        """
        if self.draining or (self._poller is not None and self._poller.cancelling() > 0):
            return True
        callers = (each.caller for each in self._strands.values())
        return any(caller is not None and caller.cancelling() > 0 for caller in callers)

    async def stop(self) -> None:
        """Take no more messages; let nodes finish, or hand back what does not in time."""
        self.drain()
        ended = asyncio.ensure_future(self.duties.stop(self._drain_timeout_seconds))
        # The last poll takes its time; so do nodes.
        nodes = asyncio.ensure_future(self._wait_for_nodes(self._drain_timeout_seconds))
        if self._poller is not None:
            await self._poller
        await nodes
        await self._come_to_rest(PUT_BACK_SECONDS)
        await ended
        if self._station is not None:
            await self._station.tails.drain()
            await self._station.flush()
        await self._stack.aclose()

    async def rest(
        self,
        drain_timeout_seconds: float,
        hand_back_seconds: float,
        calls: Collection[asyncio.Task[Any]] = (),
    ) -> None:
        """Finish or hand back what is in hand, and leave nothing going, until :meth:`open`.

        Args:
            drain_timeout_seconds: How long nodes may take to end.
            hand_back_seconds: How long those may take that are stopped then.
            calls: Those of :meth:`handle_job` that are under way.
        """
        self.drain()
        pause = hand_back_seconds / (HAND_BACK_ROUNDS + 1)
        await self._come_to_rest(drain_timeout_seconds, pause)
        if calls:
            await asyncio.wait(calls, timeout=pause)
        await self.station.flush()
        self._hands = Hands(self.concurrency, self._clock)
        self.draining = False

    def drain(self) -> None:
        """Begin nothing new: what follows, and what waits for its turn, is sent for others."""
        self.draining = True
        self._free.set()
        self._hands.give_to_all(len(self._strands))

    async def _wait_for_nodes(self, seconds: float) -> None:
        if self._strands:
            await asyncio.wait(tuple(self._strands), timeout=seconds)

    async def _come_to_rest(
        self, drain_timeout_seconds: float, pause_seconds: float = HAND_BACK_WAIT_SECONDS
    ) -> None:
        await self._wait_for_nodes(drain_timeout_seconds)
        await self._hand_back(self._strands, pause_seconds)
        if self._replacing:
            await asyncio.wait(tuple(self._replacing))
        if self._deleting is not None:
            await self._deleting
        heartbeat, self._heartbeat = self._heartbeat, None
        if heartbeat is not None:
            await asyncio.to_thread(heartbeat.stop)
        WATCH.remove(self)

    async def _hand_back(
        self,
        hands: Mapping[asyncio.Task[Any], InHand],
        pause_seconds: float = HAND_BACK_WAIT_SECONDS,
    ) -> None:
        """Stop what still runs, and let others have it at once."""
        for number in range(HAND_BACK_ROUNDS):
            left = {task: hand for task, hand in hands.items() if not task.done()}
            if not left:
                return
            for task, strand in [(task, each.strand) for task, each in left.items()]:
                if strand is not None and strand.attempt is not None:
                    strand.hand_back()
                elif number or strand is None or strand.holding is None:
                    task.cancel()  # one that has a lease in hand is about to begin, or to end
            await asyncio.wait(tuple(left), timeout=pause_seconds)
        strands = [hand.strand for task, hand in hands.items() if not task.done()]
        if strands:
            attempts = [each.attempt for each in strands if each is not None]
            names = ", ".join(f"'{each.node.id}'" for each in attempts if each is not None)
            logger.error(
                "Nodes %s do not let themselves be stopped and are left behind; another worker "
                "takes over when their leases expire",
                names,
            )

    # -- messages ---------------------------------------------------------------------------

    async def _poll(self) -> None:
        while not self.draining:
            free = self.concurrency - len(self._strands)
            if free <= 0:
                self._free.clear()
                await self._free.wait()
                continue
            try:
                asked_at = self._clock.now()
                limit = min(free, PREFETCH)
                if self._hands.are_quick:
                    limit = max(limit, self.station.queue.batch)
                deliveries = await self.station.queue.receive(limit, self._poll_seconds)
            except Exception as error:
                log_trouble(logger, error, "The queue could not be read; trying again")
                await self.station.sleep_until(self._clock.now() + TROUBLE_PAUSE_SECONDS)
                continue
            self.station.measures.received(len(deliveries))
            visibility, now = self.station.queue.visibility_seconds, self._clock.now()
            # An answer that was on its way for long: it has been hidden since nobody knows when.
            is_late = now - asked_at > self._poll_seconds + visibility / 6
            hidden_until = visibility + (asked_at if is_late else now)
            for delivery in deliveries:
                self._begin(delivery, hidden_until)

    def _begin(self, delivery: Delivery, hidden_until: float = math.inf) -> None:
        task = asyncio.create_task(self.handle(delivery))
        now, receives = self._clock.now(), delivery.receives
        self._strands[task] = InHand(delivery.handle, now, hidden_until, receives)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._strands.pop(task, None)
        self._free.set()
        if not task.cancelled() and task.exception() is not None:
            logger.error("Working on a message broke off", exc_info=task.exception())

    async def handle_job(self, body: str, trace: str | None = None) -> bool:
        """Carry on with what one message stands for, wherever it was received.

        Args:
            body: The message.
            trace: The span that it was sent from, if it says so.

        Returns:
            Whether nothing depends on it any more, so that it is to be deleted. Otherwise it has
            to come again.

        Raises:
            UnreadableJob: It is no message of this package, or of a newer version.
            StorageError: Queue or stores cannot be used.
        """
        job = replace(await self._read_body(body), trace=trace)
        task = asyncio.ensure_future(self._carry_on(job))
        hand = InHand("", self._clock.now(), job=job, caller=asyncio.current_task())
        self._strands[task] = hand
        task.add_done_callback(lambda done: self._strands.pop(done, None))
        try:
            outcome = await asyncio.shield(task)
        except asyncio.CancelledError:
            # Nobody waits any more, which is no failure of the node: others are to have it.
            await self._hand_back({task: hand})
            raise
        self.station.measures.handled(outcome, job.blueprint_id)
        return outcome in ("done", "put_off")

    async def send_back(self, body: str) -> bool:
        """Let others have a message that was received elsewhere; takes what `handle_job` takes."""
        await self._put_off(await self._read_body(body), 0.0)
        return True

    async def _read_body(self, body: str) -> Job:
        try:
            return read_job(await self.station.queue.whole(body), self._options.serializer)
        except CodecError as error:
            raise UnreadableJob(str(error), Unreadable.ENCODED) from error

    async def handle(self, delivery: Delivery) -> None:
        """Carry on with what a message stands for; it is deleted last, or left."""
        try:
            job = self._read(delivery)
        except UnreadableJob as error:
            self._report(delivery.id, f"Message {delivery.id} is left on the queue: {error}")
            self.station.measures.handled("unreadable")
            self.station.measures.left(delivery, self.station.queue)
            return
        task = asyncio.current_task()
        hand = None if task is None else self._strands.get(task)
        if hand is not None:
            hand.job = job
        outcome = await self._in_turn(job)
        self.station.measures.handled(outcome, job.blueprint_id)
        if outcome not in ("done", "put_off"):
            self.station.measures.left(delivery, self.station.queue)
        elif hand is None or hand.handle:
            self._delete_soon(delivery.handle)

    async def _in_turn(self, job: Job) -> JobOutcome:
        """Carry on with a message once there is a hand for it; put it back if that takes long.

        More may have been received than there are hands for, and other workers may have some.
        """
        hands = self._hands
        if not await hands.take():
            await self._put_off(job, 0.0)
            return "put_off"
        begun_at = self._clock.now()
        try:
            return await self._carry_on(job)
        finally:
            hands.give_back(self._clock.now() - begun_at, self.station.queue.batch)

    async def _carry_on(self, job: Job) -> JobOutcome:
        task = asyncio.current_task()
        hand = None if task is None else self._strands.get(task)
        if self.draining and hand is not None:
            await self._put_off(job, 0.0)
            return "put_off"
        strand = Strand(self, job, hand)
        if hand is not None:
            hand.strand = strand
        self.station.measures.began(job)
        try:
            return await self._work(strand)
        finally:
            self.station.measures.ended()

    async def _replace(self, hand: InHand, handle: str) -> None:
        """Have a fresh message for what is in hand: no queue hides the same one for ever.

        It watches over the work like another delivery of the message, and goes on with it
        where this worker is gone.
        """
        job = hand.job
        assert job is not None
        if hand.strand is not None and hand.strand.holding is not None:
            job = job.watching(job.since)  # what it brought has happened
        try:
            await self._put_off(job, self.lease_seconds)
        except Exception as error:
            hand.handle = handle
            log_trouble(logger, error, "Run '%s': a message could not be replaced", job.run_id)
            return
        hand.hidden_until = math.inf
        self._delete_soon(handle)

    def _read(self, delivery: Delivery) -> Job:
        if delivery.problem is not None:
            raise UnreadableJob(delivery.problem)
        job = read_job(delivery.body, self._options.serializer)
        return job if delivery.trace is None else replace(job, trace=delivery.trace)

    def _report(self, about: str, text: str) -> None:
        """Log an error that comes back with a message, once."""
        if about not in self._reported:
            self._reported.add(about)
            logger.error("%s", text)

    async def _work(self, strand: Strand) -> JobOutcome:
        run_id = strand.job.run_id
        try:
            await strand.work()
            await forget_dropped(self.station, strand._ledger, strand.thread)
        except PutOff as off:
            await self._put_off(off.job or strand.job, off.seconds)
            return "put_off"
        except Leave:
            return "left"
        except Gap:
            # Another process wrote while this one was reading: look at it anew.
            self.station.forget(strand.ledger)
            await self._put_off(strand.job, 0.0)
            return "put_off"
        except CodecError as error:
            self._report(run_id, f"Run '{run_id}' is left to other workers: {error}")
            return "left"
        except Exception as error:
            # Trouble with a store or the queue never fails a run: the message comes again.
            log_trouble(logger, error, "Run '%s': trouble; the message comes again", run_id)
            return "trouble"
        return "done"

    def _delete_soon(self, handle: str) -> None:
        """Delete a message, together with those that others are done with by then."""
        self._to_delete.append(handle)
        before = self._deleting
        # A request that is full does not wait for the one that was begun before.
        is_full = len(self._to_delete) >= self.station.queue.batch > 1
        if is_full or before is None or before.done():
            self._deleting = asyncio.create_task(self._delete(before))

    async def _delete(self, before: asyncio.Task[None] | None) -> None:
        while self._to_delete:
            handles, self._to_delete = self._to_delete, []
            try:
                await self.station.queue.delete(handles)
            except Exception as error:
                # They come again, and there is nothing left to do for them.
                log_trouble(logger, error, "%d messages could not be deleted", len(handles))
        if before is not None:
            await before  # whoever waits for the last of them waits for all

    async def _put_off(self, job: Job, seconds: float) -> None:
        """Send the message anew: its visibility would count as a receive of a good message."""
        await self.station.send_later(job, max(0.0, seconds))

    def can_run(self, plan: Plan, command: AttemptCommand) -> bool:
        """Whether there is something here to call for an attempt."""
        uses = key_called(plan, command)
        return self.station.find(uses) is not None or uses in BUILTIN_USES

    # -- leases -----------------------------------------------------------------------------

    def holds(self, token: str) -> bool:
        """Whether a lease is in hand here."""
        holdings = (each.strand.holding for each in self._strands.values() if each.strand)
        return any(holding is not None and holding.token == token for holding in holdings)

    def beats(self) -> Sequence[Beat]:
        """What is to be kept; called from the heartbeat's thread."""
        beats = []
        now = self._clock.now()
        replaced_from = now - self.station.queue.max_hold_seconds * HOLD_SHARE
        for hand in tuple(self._strands.values()):
            strand, handle = hand.strand, hand.handle
            if handle and hand.job is not None and hand.received_at < replaced_from:
                hand.handle = ""
                self.station.in_loop(partial(self._replace_soon, hand, handle))
            holding = strand.holding if strand is not None else None
            lease = None
            place = None if strand is None else strand.gate.place
            # One that is being taken over is not to be prolonged.
            if strand is not None and holding is not None and not holding.expired:
                lease = Held(strand.job.run_id, holding.place, holding.token)
            kept_until = now + self.lease_seconds
            beats.append(Beat(handle, lease, strand, place, kept_until, hand, now))
        return beats

    def _replace_soon(self, hand: InHand, handle: str) -> None:
        task = asyncio.create_task(self._replace(hand, handle))
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    def hidden(self, beat: Beat) -> None:
        """The message is hidden for longer; called from the heartbeat's thread."""
        if beat.hand is not None:
            beat.hand.extend(beat.asked_at, self.station.queue.visibility_seconds)

    def lost(self, beat: Beat) -> None:
        """Somebody else holds a lease; called from the heartbeat's thread."""
        strand, lease = beat.strand, beat.lease
        if strand is not None and lease is not None:
            self.station.in_loop(lambda: strand.lose(lease.token))

    def displaced(self, beat: Beat) -> None:
        """Somebody else has the place under a limit; called from the heartbeat's thread."""
        strand, place = beat.strand, beat.place
        if strand is not None and place is not None:
            self.station.in_loop(lambda: strand.displace(place))

    def stopping(self, beat: Beat) -> None:
        """The run of a lease is to stop; called from the heartbeat's thread."""
        if beat.strand is not None:
            self.station.in_loop(beat.strand.look)
