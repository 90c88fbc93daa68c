"""Timers that are due in more than an hour: how they are armed, and what becomes of them.

To the engine a message may be delayed for a year. :class:`LongDelays` stands before the queue, and
keeps what is due in more than an hour in a :class:`Calendar`; ``engine/sweeping.py`` sends it when
its time comes near. What is due sooner is a message, put off again where the queue allows only
shorter delays.

A timer that is no longer needed is taken out of the calendar by whoever wrote the fact that made it
needless: at the end of the work of the fact's message, which is deleted after that.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flowcraft.core import events as ev
from flowcraft.core.state import FINAL_STATUSES
from flowcraft.engine.calendar import ENTRY_BYTES, Calendar, Later, size_of
from flowcraft.engine.facts import event_data
from flowcraft.engine.places import Subject
from flowcraft.ports.clock import Clock
from flowcraft.ports.passing import PassingQueue
from flowcraft.ports.queue import Outgoing, Queue
from flowcraft.ports.runs import NO_FACTS, Fact

if TYPE_CHECKING:
    from flowcraft.engine.jobs import Job
    from flowcraft.engine.ledger import Ledger
    from flowcraft.engine.station import Station

logger = logging.getLogger("flowcraft.timers")

NAME_DIGITS: Final = 24
_NOT_KEPT: Final = ("delay_seconds", "name", "due_at", "trace")
"""Fields of a message that an entry has by itself, or does without; all others are kept in it."""


def timer_name(run_id: str, epoch: str, event: ev.Event | None, place: str | None = None) -> str:
    """The name of a timer: the same wherever, and however often, it is armed.

    Args:
        run_id: The run.
        epoch: Which start of it.
        event: What the timer brings; ``None`` for the start of the run, or of an attempt.
        place: The attempt that may begin then, by its limit; ``None`` for any other timer.
    """
    what = None if event is None else event_data(event)
    about = [run_id, epoch, what] if place is None else [run_id, epoch, what, place]
    text = json.dumps(about, ensure_ascii=False, default=str)
    data = text.encode("utf-8", "surrogatepass")
    return hashlib.sha256(data).hexdigest()[:NAME_DIGITS]


class LongDelays(PassingQueue):
    """A queue whose messages may be delayed for any time.

    Args:
        queue: Carries what is due within an hour.
        calendar: Keeps what is due later.
        clock: The time.
    """

    def __init__(self, queue: Queue, calendar: Calendar, clock: Clock) -> None:
        super().__init__(queue)
        self._calendar = calendar
        self._clock = clock

    @property
    def max_delay_seconds(self) -> float:
        """Any delay will do, of a message that has a name; others are delayed as far as may be."""
        return float("inf")

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages, or keep them until they are due within the hour."""
        now = self._clock.now()
        soon: list[Outgoing] = []
        later: list[Later] = []
        for message in messages:
            entry = self._entry(message, now)
            if entry is None:
                soon.append(self._delayed(message))
            else:
                later.append(entry)
        if soon:
            await self._queue.send(soon)
        if later:
            await self._calendar.add(later, now)

    async def send_due(self, entries: Sequence[Later]) -> None:
        """Send messages that were kept; each is received at its time."""
        now = self._clock.now()
        messages = []
        for entry in entries:
            try:
                message = Outgoing(**entry.data, delay_seconds=max(0.0, entry.due_at - now))
            except TypeError:
                logger.exception(
                    "A timer in the coordination store cannot be read, and is forgotten. It fires "
                    "when somebody looks for overdue runs."
                )
                continue
            messages.append(self._delayed(message))
        if messages:
            await self._queue.send(messages)

    def _delayed(self, message: Outgoing) -> Outgoing:
        most = self._queue.max_delay_seconds
        return message if message.delay_seconds <= most else replace(message, delay_seconds=most)

    def _entry(self, message: Outgoing, now: float) -> Later | None:
        """A message as it is kept; ``None`` if it is to be sent now."""
        due_at = message.due_at
        if message.name is None or due_at is None or due_at - now <= self._calendar.hour_seconds:
            return None
        data: dict[str, Any] = {}
        for field in fields(message):
            value = getattr(message, field.name)
            if field.name not in _NOT_KEPT and value != field.default:
                data[field.name] = value
        entry = Later(message.name, due_at, data)
        return entry if size_of(entry) <= ENTRY_BYTES else None


# --- timers of a run -----------------------------------------------------------------------


class _Armed(NamedTuple):
    """A timer that is needed: what it brings, when it is due, the thread of the fact it is of."""

    event: ev.Event | None
    due_at: float
    thread: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """A timer that was armed, and is not needed any more before its time.

    Attributes:
        name: Its name.
        due_at: When it would have been due.
        threads: The threads that see to it: of the fact that made it needless, and of the one that
            armed it, which may do so late.
    """

    name: str
    due_at: float
    threads: tuple[str, str]


class LongTimers:
    """The timers of a run that are, or were, in the calendar.

    Args:
        run_id: The run.
        epoch: Which start of it.
        hour_seconds: Those that were armed longer ahead than this.

    Attributes:
        dropped: Those that are not needed any more.
    """

    def __init__(self, run_id: str, epoch: str, hour_seconds: float) -> None:
        self._run_id = run_id
        self._epoch = epoch
        self._hour_seconds = hour_seconds
        self._armed: dict[Subject, _Armed] = {}
        self.dropped: list[Dropped] = []

    def arm(self, subject: Subject, event: ev.Event | None, due_at: float, fact: Fact) -> None:
        """A timer is to be armed.

        Args:
            subject: What it is about.
            event: What it brings.
            due_at: When it is due.
            fact: Why.
        """
        if due_at - fact.at > self._hour_seconds:
            self._armed[subject] = _Armed(event, due_at, fact.thread)

    def arm_start(self, subject: Subject, created_at: float, fact: Fact) -> None:
        """The run has its first fact, which is of when it is to start."""
        if fact.at - created_at > self._hour_seconds:
            self._armed[subject] = _Armed(None, fact.at, fact.thread)

    def drop(self, subject: Subject, fact: Fact) -> None:
        """What a timer was for is settled by a fact: was it by something else than the timer?"""
        armed = self._armed.pop(subject, None) if self._armed else None
        if armed is not None and armed.due_at > fact.at:
            name = self._name(armed)
            self.dropped.append(Dropped(name, armed.due_at, (fact.thread, armed.thread)))

    def live(self, thread: str | None = None) -> dict[str, float]:
        """When those that are needed are due, by their names; of one thread, or of all."""
        armed = (each for each in self._armed.values() if thread in (None, each.thread))
        return {self._name(each): each.due_at for each in armed}

    def _name(self, armed: _Armed) -> str:
        return timer_name(self._run_id, self._epoch, armed.event)


async def forget_dropped(station: Station, ledger: Ledger | None, thread: str) -> None:
    """Take the timers out of the calendar that a thread has to see to, and nobody needs any more.

    Those that it has armed may have become needless before it did: so it looks at the run once
    more. Where the process dies before, the thread's message comes again and finds the same.

    Raises:
        StorageError: The coordination store, or the run, cannot be used.
    """
    if ledger is None:
        return
    now = station.clock.now()
    gone: dict[str, float] = {}
    if _future(ledger.timers.live(thread), now) and not await station.refresh(ledger):
        gone = ledger.timers.live(thread)
    # They stay known until they would have been due: the message may come twice, and arm them late.
    ledger.timers.dropped = [each for each in ledger.timers.dropped if each.due_at > now]
    needed = ledger.timers.live() if ledger.timers.dropped else {}
    for each in ledger.timers.dropped:
        if thread in each.threads and each.name not in needed:
            gone[each.name] = each.due_at
    gone = _future(gone, now)
    if gone:
        await station.calendar.remove(gone, now)


async def send_start(station: Station, job: Job) -> None:
    """Send the message that starts a run, unless the run is over before it is to start.

    Raises:
        StorageError: The queue, or a store, cannot be used.
    """
    now = station.clock.now()
    await station.send([job])
    if job.due_at is None or job.due_at - now <= station.options.timers.hour_seconds:
        return
    record = await station.runs.read(job.run_id, NO_FACTS)
    if record is None or record.head.row.status in FINAL_STATUSES:
        name = timer_name(job.run_id, job.epoch, job.event)
        await station.calendar.remove({name: job.due_at}, now)


def _future(dues: Mapping[str, float], now: float) -> dict[str, float]:
    return {name: due_at for name, due_at in dues.items() if due_at > now}
