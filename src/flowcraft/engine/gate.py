"""Limits as a strand meets them: in before an attempt is claimed, out when its outcome is stored.

Whoever finds no place costs no worker: its message is put off and stands in line. Whoever leaves
sends the message of the next one. The delayed copy is there for the case that nobody does.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from flowcraft.core.control import is_called_off
from flowcraft.core.limits import IN_HAND_SECONDS, Entered, Visitor, ticket_name
from flowcraft.core.step import Decision
from flowcraft.engine.jobs import Job, Leave, PutOff, read_job, write_job
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.limited import Limited, limit_of
from flowcraft.engine.lines import leaves_line, stands_in_line
from flowcraft.engine.places import AttemptCommand, node_index_of, place_of
from flowcraft.errors import StorageError
from flowcraft.ports.limits import Place
from flowcraft.ports.queue import Outgoing
from flowcraft.ports.runs import Lease

if TYPE_CHECKING:
    from flowcraft.engine.station import Station

logger = logging.getLogger("flowcraft.worker")

EARLY_SECONDS = 1.0
"""How long before its time somebody comes back: queues count in seconds, and take their time."""

MOST_DOUBLINGS = 10
LONGEST_LOOK_SECONDS = 900.0
"""From one look of somebody in line to the next at most: a limit may be gone, or a holder dead."""

MOST_ASKED = 3
"""So often a place is asked for anew whose time had passed before it was answered."""

MARGIN_SHARE = 1 / 6
"""So much of its time before a place is given up nothing begins there: clocks differ a little."""


class Inside(NamedTuple):
    """A place that somebody has, and the answer that it came with."""

    place: Place
    entered: Entered


class Refused(NamedTuple):
    """An attempt turned out to be somebody's, or nobody's; whose lease there is, if any."""

    in_the_way: Lease | None


class Gate:
    """The limits of one strand.

    Args:
        station: Ports and options.
        seconds: How long a place is kept for a worker that is not heard of.

    Attributes:
        inside: The place in hand.
    """

    def __init__(self, station: Station, seconds: float) -> None:
        self._station = station
        self._seconds = seconds
        self.inside: Inside | None = None
        self._next: Inside | None = None
        # A message that was called, for an attempt that has no limit here: it has a place that this
        # worker does not need, and keeps from others while it runs what they take for limited.
        self._unused: Job | None = None

    @property
    def place(self) -> Place | None:
        """The place in hand, to be kept; of one without a concurrency there is nothing to keep."""
        inside = self.inside
        if inside is None or inside.place.limit.concurrency is None:
            return None
        return inside.place

    def limited(
        self, ledger: Ledger, command: AttemptCommand, decision: Decision | None = None
    ) -> Limited | None:
        """What limits an attempt; ``decision`` where it follows from one that is not stored yet."""
        if not self._station.options.limits:
            return None
        plan = ledger.plan if decision is None else decision.plan
        above: Ledger = getattr(ledger, "above", ledger)  # whose context the items of a shard see
        changes = decision.changes if decision is not None and above is ledger else None
        options, tell = self._station.options, self._station.once.tell
        return limit_of(options, plan, above.state, command, tell, changes)

    # -- coming in --------------------------------------------------------------------------

    async def take(
        self, ledger: Ledger, command: AttemptCommand, token: str, job: Job, *, may_wait: bool
    ) -> Refused | None:
        """Take a place for an attempt that is to be claimed, if it is limited.

        Args:
            ledger: The run.
            command: The attempt.
            token: Names it.
            job: The message.
            may_wait: Whether to stand in line where there is no place.

        Returns:
            Why it is not to be claimed by this message, if so.

        Raises:
            PutOff: There is no place: the message stands in line.
            Leave: There is none, and it is not to wait.
        """
        limited = self.limited(ledger, command)
        if limited is None:
            self._unused = job
            return None
        if job.limit_key != limited.key:
            await self.drop_ticket(job)
        # Who waited may be deleted or cancelled since, and would take a start that it cannot use.
        has_waited = job.limit_key == limited.key and job.waits > 0
        if not has_waited and (await self.come_in(limited, token)).granted:
            return None
        # Other deliveries of the message, or copies of it, are not to stand in line as well.
        place = place_of(command)
        if await self._station.refresh(ledger):
            lease = ledger.leases.get(place)
            is_wanted = not is_called_off(command, ledger.state)
            if lease is None and is_wanted and ledger.attempt_at(place) is not None:
                job = at_place(job, ledger, command)
                await self.wait(limited, token, job, may_wait=may_wait)
                return None
            await self.drop_ticket(job)
            return Refused(lease)
        return Refused(None)

    async def come_in(self, limited: Limited, token: str) -> Entered:
        """Ask for a place at once."""
        return await self._enter(limited, Visitor(token, self._seconds, may_wait=False))

    async def wait(self, limited: Limited, token: str, job: Job, *, may_wait: bool) -> Entered:
        """Ask for a place, and stand in line where there is none, if it may.

        Args:
            limited: The key, and what holds for it.
            token: Names the attempt.
            job: The message that is to come again, for the attempt and no other.
            may_wait: Whether to stand in line.

        Raises:
            PutOff: It has to wait.
            Leave: It has to wait, and may not.
        """
        station = self._station
        if job.limit_key != limited.key:
            job = replace(job, limit_key=limited.key, ticket=None, waits=0)
        while True:
            had = job.ticket
            visitor = Visitor(token, self._seconds, had, job.waits > 0, may_wait)
            entered = await self._enter(limited, visitor)
            if entered.granted:
                return entered
            if not may_wait:
                raise Leave
            now = station.clock.now()
            net = self._seconds * 2 ** min(job.waits, MOST_DOUBLINGS)
            net = max(self._seconds, min(net, LONGEST_LOOK_SECONDS))
            job = replace(job, ticket=entered.ticket, waits=job.waits + 1, due_at=None)
            if entered.at:
                due_at = entered.at - EARLY_SECONDS
                await self._stand_in_line(replace(job, due_at=due_at), due_at - now)
            assert entered.ticket is not None
            if entered.ticket == had or await station.limits.wait(
                limited.key, entered.ticket, write_job(job, station.options.serializer)
            ):
                await self._stand_in_line(job, net)
            # It was called while its message was on the way.

    async def _stand_in_line(self, job: Job, seconds: float) -> NoReturn:
        if seconds > self._seconds:  # nobody takes it for stuck before
            await stands_in_line(self._station.coordination, job, seconds)
        raise PutOff(seconds, job)

    async def _enter(self, limited: Limited, visitor: Visitor) -> Entered:
        now = self._station.clock.now()
        entered = await self._station.limits.enter(limited.key, limited.limit, visitor, now)
        await self._call(limited.key, entered.called)
        if entered.granted:
            place = Place(limited.key, limited.limit, visitor.token)
            self.inside = Inside(place, entered)
            await self._station.sleep_until(entered.at)
        return entered

    async def reserve(self, limited: Limited, token: str) -> bool:
        """Ask for a place for what follows, while another one is in hand; whether there is one."""
        in_hand = self.inside
        is_same = in_hand is not None and in_hand.place.key == limited.key
        if is_same and limited.limit.concurrency == 1:
            return False  # it is the one in hand
        now = self._station.clock.now()
        visitor = Visitor(token, self._seconds, may_wait=False)
        entered = await self._station.limits.enter(limited.key, limited.limit, visitor, now)
        await self._call(limited.key, entered.called)
        if entered.granted:
            self._next = Inside(Place(limited.key, limited.limit, token), entered)
        return entered.granted

    async def settle(self, *, is_claimed: bool) -> None:
        """Go over to what was reserved if its attempt was claimed; otherwise give that back."""
        reserved, self._next = self._next, None
        if is_claimed:
            await self.leave()
            self.inside = reserved
        elif reserved is not None:
            await self._leave(reserved.place)

    async def is_in_time(self, limited: Limited | None) -> bool:
        """Whether an attempt may begin now that has come in before, or should have."""
        if self.inside is None:
            return limited is None
        for asked in range(MOST_ASKED + 1):
            place, entered = self.inside
            await self._station.sleep_until(entered.at)
            now = self._station.clock.now()
            is_late = place.limit.rate is not None and now > entered.at + IN_HAND_SECONDS
            if not is_late and now < entered.until - self._seconds * MARGIN_SHARE:
                return True
            if asked == MOST_ASKED:
                break
            # The process was stopped meanwhile, or its requests took very long. So may this one.
            entered = await self.come_in(Limited(place.key, place.limit), place.token)
            if not entered.granted:
                return False
        return False

    # -- leaving ----------------------------------------------------------------------------

    async def leave(self) -> None:
        """Give back the place in hand, if there is one."""
        inside, self.inside = self.inside, None
        unused, self._unused = self._unused, None
        if inside is not None:
            await self._leave(inside.place)
        if unused is not None:
            await self.drop_ticket(unused)

    def abandon(self) -> None:
        """Leave the place to itself: what has it may go on, until its time is over."""
        self.inside = self._unused = None

    async def drop_ticket(self, job: Job) -> None:
        """Give back what is kept for a message that has nothing left to do."""
        key, ticket = job.limit_key, job.ticket
        if key is None or ticket is None:
            return
        limit = self._station.options.limits.of(key)
        if limit is not None:
            await self._leave(Place(key, limit, ticket_name(ticket)))
            return
        # A worker without this limit: it does not know how many may be in, but that one was.
        station = self._station
        now = station.clock.now()
        leaving = station.limits.pass_on(key, ticket_name(ticket), now, self._seconds)
        await self._call_next(key, leaving)

    async def leave_lines(self, ledger: Ledger, commands: Iterable[AttemptCommand]) -> None:
        """Attempts will never begin: others may have the starts that were promised to them.

        Who waits for a place instead passes that on when it is called.
        """
        station = self._station
        for command in commands:
            limited = self.limited(ledger, command)
            if limited is None or limited.limit.concurrency is not None:
                continue
            where = (ledger.run_id, ledger.epoch, place_of(command))
            if await leaves_line(station.coordination, *where):
                await station.limits.take_back(limited.key, limited.limit, station.clock.now())

    async def _leave(self, place: Place) -> None:
        if place.limit.concurrency is None:
            return
        station = self._station
        leaving = station.limits.leave(place, station.clock.now(), self._seconds)
        await self._call_next(place.key, leaving)

    async def _call_next(self, key: str, leaving: Awaitable[Sequence[int]]) -> None:
        try:
            await self._call(key, await leaving)
        except StorageError as error:
            # What has been done is stored, and must not suffer: the place comes back by itself.
            logger.error("A place of '%s' could not be given back: %s", key, error)

    async def _call(self, key: str, tickets: Sequence[int]) -> None:
        """Send the messages of those whose turn it is."""
        messages = [await self._station.limits.call(key, ticket) for ticket in tickets]
        serializer = self._station.options.serializer
        found = [
            Outgoing(each, group=read_job(each, serializer).group)
            for each in messages
            if each is not None
        ]
        if found:
            await self._station.queue.send(found)


def at_place(job: Job, ledger: Ledger, command: AttemptCommand) -> Job:
    """A message that goes on with one attempt; what else follows has messages of its own."""
    return replace(
        job,
        place=place_of(command),
        node_id=ledger.plan.nodes[node_index_of(command)].id,
        attempt=command.attempt,
        event=None,
        event_id=None,
        due_at=None,
        since=ledger.number,
    )
