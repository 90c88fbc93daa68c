"""Carrying on with what one message stands for, from attempt to attempt.

Claim, execute, commit, derive, carry out, continue, delete last: every step may be the last one
this process takes, and the message's next delivery finds whatever was reached.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from flowcraft.core.control import is_called_off, is_held_back
from flowcraft.core.state import RunStatus
from flowcraft.core.step import Decision
from flowcraft.engine.carrying import Carrier
from flowcraft.engine.executing import Executing
from flowcraft.engine.failures import instead_of
from flowcraft.engine.jobs import Job, Leave, PutOff
from flowcraft.engine.ledger import Foreseen
from flowcraft.engine.limited import Limited
from flowcraft.engine.places import (
    ATTEMPTS,
    RETRIES,
    AttemptCommand,
    due_event,
    held_back,
    key_called,
    lost,
    place_of,
    stopped,
)
from flowcraft.engine.shards import ShardLedger, has_to_stop, in_the_way, obey, tell_at_once
from flowcraft.engine.spending import mind_budget
from flowcraft.engine.telling import tell_facts
from flowcraft.errors import InvalidRunState, StorageError
from flowcraft.ports.runs import Claim, Holding, Lease, Verdict, Written

if TYPE_CHECKING:
    from flowcraft.engine.hands import InHand
    from flowcraft.engine.worker import Worker

logger = logging.getLogger("flowcraft.worker")

IN_HAND_SECONDS = 2.0
"""A retry that is due within this time is waited for; a later one costs no worker (rule S9)."""

MOST_STEPS = 100
"""Attempts that one message may lead on to: a run without an end lets others have a turn."""

MOST_RECEIVES = 5
"""A copy that was received more often, or half as often as messages are given up, is sent anew."""


class Strand(Executing):
    """The work of one delivery.

    Args:
        worker: Who does it.
        job: The message.
        hand: The delivery, where it is this worker's to keep from others.
    """

    def __init__(self, worker: Worker, job: Job, hand: InHand | None = None) -> None:
        super().__init__(worker, job)
        self._hand = hand
        self._claimed: Holding | None = None
        self._in_the_way: Lease | None = None
        self._status_before = RunStatus.RUNNING
        self._steps = 0
        self._is_under_way = False
        self._turn_ends_at = self.station.clock.now() + worker.lease_seconds

    async def work(self) -> None:
        """Do what there is to do; afterwards nothing depends on the message any more.

        Raises:
            PutOff: It has to come again later.
            Leave: It must not be deleted.
        """
        if self._is_overtaken():
            raise Leave
        due_at, now = self.job.due_at, self.station.clock.now()
        if due_at is not None and due_at > now:
            raise PutOff(due_at - now)
        self._is_fresh = not self.station.has_open(self.job.run_id)
        self._ledger = await self.station.open(self.job.run_id, self.job.epoch)
        if self._ledger is None:
            logger.debug("A message for run '%s', which is not there", self.job.run_id)
            await self.gate.drop_ticket(self.job)
            return
        self._carrier = Carrier(self.station, self._ledger)
        command = await self._begin()
        while command is not None:
            self._is_under_way = True
            is_gone = has_to_stop(self.ledger) and not await self._obey()
            if is_gone or self._is_too_late(command):
                command = await self._commit(stopped(command))
            elif is_held_back(command, self.ledger.state):
                command = await self._hold_back(command)
            else:
                command = await self._commit(await self._execute(command))
            self._steps += 1
            # Nodes and stores that wait for nothing would keep the event loop to themselves.
            await asyncio.sleep(0)

    def _is_overtaken(self) -> bool:
        """Whether others may have the message by now: what is claimed for it could end with them.

        A process that stood still, or got its answer late, does not know who has done what for the
        message since; it may be gone, and with it whoever would see that this worker dies.
        """
        return self._hand is not None and self.station.clock.now() > self._hand.hidden_until

    @property
    def _is_copy(self) -> bool:
        """Whether the message may be in another hand, and nothing has been done for it in this one.

        Where each sends one that waits, a queue that often delivers twice has twice as many after
        each wait. A copy that is left is deleted by the other one, or comes again, if that is soon
        enough.
        """
        if self._hand is None or self._hand.receives == 1 or self._is_under_way:
            return False
        queue = self.station.queue
        given_up = getattr(queue, "max_receives", None)
        most = MOST_RECEIVES if given_up is None else min(MOST_RECEIVES, given_up // 2)
        is_soon = queue.visibility_seconds <= 2 * self.worker.lease_seconds
        return is_soon and self._hand.receives <= most

    @property
    def _is_turn_over(self) -> bool:
        """Whether what follows is for others: they may be waiting, or the worker is to stop."""
        if self.worker.draining or self._steps + 1 >= MOST_STEPS or self._is_overtaken():
            return True
        return self.station.clock.now() >= self._turn_ends_at

    async def _hold_back(self, command: cmd.RunNode | cmd.RunItem) -> AttemptCommand | None:
        """Put a node or an item aside that has not begun, because the run is paused."""
        foreseen = self.ledger.foresee(held_back(command), self.station.clock.now())
        free = self.holding and replace(self.holding, give_back=True)
        written = await self._append(foreseen, exact=True, holding=free)
        await self.gate.leave()
        if written.verdict is Verdict.STALE:
            # The run may go on by now: then nobody else would begin what is put aside.
            current = self.ledger.attempt_at(place_of(command))
            if current is not None:
                return current
            await self._give_back()
        self.holding = None
        if written.verdict is not Verdict.DONE:
            return await self._resume()
        return await self._follow(written)

    def _is_too_late(self, command: AttemptCommand) -> bool:
        """Whether the run is to stop, so that nothing of it may begin but undoing."""
        return is_called_off(command, self.ledger.state)

    async def _begin(self) -> AttemptCommand | None:
        if self.job.event is not None:
            return await self._happen(self.job.event)
        if self.job.place is not None:
            is_watch = self.job.since and self.job.limit_key is None
            claim = self._claim_watched if is_watch else self._claim_place
            return await claim(self.job.place)
        return await self._resume(is_start=True)

    # -- claiming ---------------------------------------------------------------------------

    async def _claim_watched(self, place: str) -> AttemptCommand | None:
        """Claim what somebody had in hand, if it was given back: its message may not be sent."""
        if not await self._is_up_to_date():
            await self.gate.drop_ticket(self.job)
            return None
        self._is_fresh = True
        self._in_the_way = self.ledger.leases.get(place)
        return await (self._resume() if self._in_the_way else self._claim_place(place))

    async def _claim_place(self, place: str) -> AttemptCommand | None:
        command = self.ledger.attempt_at(place)
        if command is None or not self._can_carry_out(command):
            # It may have become ready since the run was last looked at here; or others are through
            # with it, and a copy of the message is not to be put back again and again.
            if not await self._is_up_to_date():
                await self.gate.drop_ticket(self.job)
                return None
            command = self.ledger.attempt_at(place)
            can_carry_out = command is not None and self._can_carry_out(command)
            if command is None or (not can_carry_out and place in self.ledger.leases):
                if command is not None:
                    self._in_the_way = self.ledger.leases[place]  # it may be nobody's
                await self.gate.drop_ticket(self.job)
                return await self._resume()
            if not can_carry_out:
                self._put_back(command)
        return await self._claim(command)

    def _can_carry_out(self, command: AttemptCommand) -> bool:
        """Whether it is known here, or nobody has known it for so long that it fails."""
        return self.worker.can_run(self.ledger.plan, command) or self._gave_up_waiting()

    def _put_back(self, command: AttemptCommand) -> NoReturn:
        if self._is_copy:
            raise Leave
        if self.job.put_back == 0:
            what, run_id = key_called(self.ledger.plan, command), self.ledger.run_id
            text = "Run '%s': '%s' of node '%s' is not registered here; it waits for another worker"
            logger.warning(text, run_id, what, self.job.node_id)
        raise PutOff(self.job.put_back_seconds, self.job.put_off(self.station.clock.now()))

    def _gave_up_waiting(self) -> bool:
        first_at = self.job.first_at
        limit = self.worker.implementation_timeout_seconds
        return first_at is not None and self.station.clock.now() - first_at >= limit

    async def _claim(self, command: AttemptCommand) -> AttemptCommand | None:
        """Take the lease of an attempt; ``None`` where somebody else has it, or nobody should."""
        if self._is_overtaken():
            raise Leave
        claim = self._new_claim(command)
        if self._is_too_late(command) or is_held_back(command, self.ledger.state):
            await self.gate.drop_ticket(self.job)  # what does not begin needs no place
        else:
            may_wait = not self._is_copy
            refused = await self.gate.take(
                self.ledger, command, claim.token, self.job, may_wait=may_wait
            )
            if refused is not None:
                self._in_the_way = refused.in_the_way
                return await self._resume()
            if self._is_overtaken():
                await self.gate.leave()
                raise Leave
        while True:
            known = self.ledger.number
            written = await self._write(self._change(claim=claim))
            if written.granted:
                break
            if written.verdict is Verdict.GONE:
                await self.gate.leave()
                return None
            # With nobody in the way too little was known: it may still have to be done.
            is_free = written.lease is None and self.ledger.number > known
            is_to_do = self.ledger.attempt_at(claim.place) is not None
            if not (is_free and is_to_do):
                if is_to_do and written.lease is not None and not written.lease.over:
                    self._in_the_way = written.lease
                await self.gate.leave()
                return await self._resume()
        if self.job.limit_key is not None:
            self.job = replace(self.job, limit_key=None, ticket=None, waits=0)  # it has come in
        self.holding = Holding(claim.place, claim.token)
        current = self.ledger.attempt_at(claim.place)
        if current is None:
            await self._give_back()
            return None
        return current

    def _new_claim(self, command: AttemptCommand) -> Claim:
        token = self.station.identifiers.new_token()
        return Claim(place_of(command), token, self.thread, self.worker.lease_seconds)

    async def _resume(self, *, is_start: bool = False) -> AttemptCommand | None:
        """Carry on with the thread, wherever it was left.

        What is to be done for it was left by another delivery of its message, which may delete
        that yet: so it gets messages of its own, unless the run only begins. Or the other lives,
        has it in hand, and counts on the message: then it is watched for as long as a lease.
        """
        if not await self._is_up_to_date() or not await self._obey():
            return None
        await self._bring_row_up_to_date()
        if self.ledger.state.status is not RunStatus.RUNNING:
            self._carrier.tell_parent_of_rest()  # whoever brought it to rest may not have done so
        others = in_the_way(self.ledger, self.job)
        self._in_the_way = self._in_the_way or next(iter(others), None)
        mine = [each for each in self.ledger.leases.values() if each.thread == self.thread]
        keep = is_start and self.ledger.number == 1 and not mine
        commands = self.ledger.work_of(self.thread, self.job.since, self.station.clock.now())
        watch = self.job.watching(self.ledger.number)
        following = await self._carry_out(commands, keep=keep)
        if following is not None:
            return following
        if self.ledger.work_of(self.thread, watch.since, self.station.clock.now()):
            # The other delivery wrote more meanwhile.
            self.job = replace(self.job, since=watch.since)
            return await self._resume()
        if self._in_the_way is not None and self._in_the_way.place in self.ledger.leases:
            # Whoever has it may be gone, and the message that it was for.
            mine.append(self.ledger.leases[self._in_the_way.place])
        now = self.station.clock.now()
        left = min((lease.expires_at for lease in mine), default=now) - now
        # The living prolong a lease much sooner: it may be over before a copy comes again.
        if self._is_copy and left > self.worker.lease_seconds / 2:
            raise Leave
        await self.station.send(
            [
                replace(watch, place=each.place, due_at=each.expires_at)
                for each in others
                if each.place != (self._in_the_way and self._in_the_way.place)
            ]
        )
        for lease in mine:
            # This process may have been kept from prolonging one, and goes on with it.
            if lease.expires_at <= now and not self.worker.holds(lease.token):
                return await self._take_over(lease, replace(watch, place=lease.place))
        if mine:
            # Whoever gives it back may die before that is sent, and count on this message.
            watch = replace(watch, place=mine[-1].place)
            raise PutOff(left if left > 0 else self.worker.lease_seconds, watch)
        if any(map(self._may_be_in_hand, commands)):
            raise PutOff(self.worker.lease_seconds, watch)
        return None

    async def _is_up_to_date(self) -> bool:
        """Read what was written since, unless it was read just now; false if the run is gone."""
        is_fresh, self._is_fresh = self._is_fresh, False
        return is_fresh or await self.station.refresh(self.ledger)

    async def _obey(self) -> bool:
        """Let a shard do as its run; false if one of them is gone."""
        shard = self.ledger
        if not isinstance(shard, ShardLedger):
            return True
        before = shard.state.status
        written = await obey(self.station, shard, self.thread)
        if written:
            tell_facts(shard, written)
            if shard.state.status is RunStatus.RUNNING is not before:
                self._carrier.tell_parent_of_rest()
        return written is not None

    async def _take_over(self, lease: Lease, watch: Job) -> AttemptCommand | None:
        """Go on where a worker that is gone held an attempt; ``watch`` sees to it otherwise."""
        self.holding = Holding(lease.place, lease.token, expired=True)
        command = self.ledger.attempt_at(lease.place)
        if command is None:
            # It was settled otherwise, or was put aside and may be claimed again later.
            if not await self._give_back():
                # Its holder lives, or the clock of the store is behind the one here.
                raise PutOff(self.worker.lease_seconds / 3, watch)
            return await self._resume()
        self.station.measures.taken_over(self.ledger)
        self.span = self.station.measures.lost_span(self.ledger, command)
        logger.warning(
            "Run '%s': the worker of attempt %s is gone; another takes over",
            self.ledger.run_id,
            lease.place,
        )
        return await self._commit(lost(command))

    # -- committing -------------------------------------------------------------------------

    async def _happen(self, event: ev.Event) -> AttemptCommand | None:
        """Let something happen that the message brings: once, and when it is due."""
        if not await self._is_up_to_date():
            return None
        while True:
            try:
                foreseen = self.ledger.foresee(event, self.station.clock.now())
            except InvalidRunState as error:
                # A delivery that comes again finds its own wish carried out: what that led to is
                # still to be seen to, and is no less this thread's work.
                if not self.ledger.has_work_of(self.thread):
                    logger.warning("Refused: %s", error)
                return await self._resume()
            if foreseen.is_nothing:
                return await self._resume()
            written = await self._append(foreseen, self.job.event_id, exact=True)
            if written.verdict is Verdict.KNOWN:
                return await self._resume()
            if written.verdict is Verdict.GONE:
                return None
            if written.verdict is Verdict.DONE:
                return await self._follow(written)

    async def _commit(self, event: ev.Event) -> AttemptCommand | None:
        """Write how an attempt ended, and go on with what that makes ready."""
        while True:
            foreseen = self.ledger.foresee(event, self.station.clock.now())
            if foreseen.is_nothing:
                # The attempt is over in the record already, by a verb for example.
                await self._write(self._change(holding=self.holding))
                self.holding = None
                await self.gate.leave()
                return await self._resume()
            # What expressions give goes with the fact: they must have seen what it follows.
            exact = self.ledger.plan.has_expressions
            try:
                written = await self._append(foreseen, exact=exact, holding=self.holding)
            except StorageError as error:
                if not error.is_fatal:
                    raise
                # It is too large, for example: whoever tries again is refused again.
                event = instead_of(event, error)
                continue
            if written.verdict is not Verdict.STALE:
                break
        if self._claimed is None:
            await self.gate.leave()
        if written.verdict is Verdict.GONE:
            return None
        if written.verdict is Verdict.LOST:
            self.station.measures.lost(self.ledger)
            logger.warning(
                "Run '%s': the lease of %s was lost, its outcome is dropped",
                self.ledger.run_id,
                self.holding and self.holding.place,
            )
            self.holding = None
            raise Leave
        self.holding = None
        return await self._follow(written)

    async def _append(
        self,
        foreseen: Foreseen,
        id_: str | None = None,
        *,
        exact: bool = False,
        holding: Holding | None = None,
    ) -> Written:
        """Write a fact; in the same step the lease of a lone successor is taken."""
        self._status_before = self.ledger.state.status
        successor = self._successor(foreseen.decision)
        claim = None if successor is None else await self._reserved(*successor)
        row = self.ledger.row_after(foreseen.decision)
        written = await self._write(
            self._change(
                seen=foreseen.number,  # others may have written while a place was asked for
                entries=(self.ledger.entry(foreseen, id_),),
                holding=holding,
                claim=claim,
                row=None if row == self.ledger.row else row,
                exact=exact,
            )
        )
        self.station.measures.committed(self.ledger, written.verdict)
        self._claimed = Holding(claim.place, claim.token) if claim and written.granted else None
        await self.gate.settle(is_claimed=self._claimed is not None)
        return written

    async def _reserved(self, successor: AttemptCommand, limited: Limited | None) -> Claim | None:
        """The claim of a successor; ``None`` where a limit has no place for it at once."""
        claim = self._new_claim(successor)
        if limited is None or await self.gate.reserve(limited, claim.token):
            return claim
        return None

    def _successor(self, decision: Decision) -> tuple[AttemptCommand, Limited | None] | None:
        """The attempt that this worker goes on with, if it can run one of those that follow.

        One that nothing limits comes first; the other comes with what limits it.
        """
        if self._is_turn_over:
            return None
        second: tuple[AttemptCommand, Limited] | None = None
        for command in decision.commands:
            if isinstance(command, ATTEMPTS) and self.worker.can_run(decision.plan, command):
                limited = self.gate.limited(self.ledger, command, decision)
                if limited is None:
                    return command, None
                second = second or (command, limited)
        return second

    async def _follow(self, written: Written) -> AttemptCommand | None:
        """Carry out what follows from the fact that was written."""
        ledger, span = self.ledger, self.span
        self.span = None
        measures = self.station.measures
        measures.told(ledger, written.first, span)
        self._cause = self._carrier.trace = measures.trace(ledger, span)
        commands = tell_facts(ledger, [written.first])
        if commands is None:
            return await self._resume()
        await self._bring_row_up_to_date()
        if ledger.state.status is not self._status_before:
            self._carrier.tell_parent_of_rest()
        in_hand = None
        claimed, self._claimed = self._claimed, None
        if claimed is not None:
            in_hand = ledger.attempt_at(claimed.place)
            self.holding = claimed
            commands = [each for each in commands if each is not in_hand and each != in_hand]
        return await mind_budget(self, written, await self._carry_out(commands, in_hand))

    # -- carrying out -----------------------------------------------------------------------

    async def _carry_out(
        self,
        commands: Sequence[cmd.Command],
        in_hand: AttemptCommand | None = None,
        *,
        keep: bool = True,
    ) -> AttemptCommand | None:
        """Carry out commands; gives the attempt to go on with, unless none is to be kept."""
        self._is_under_way = self._is_under_way or bool(commands)
        free_hand = keep and in_hand is None and not self._is_turn_over
        carrier = self._carrier
        wanted: AttemptCommand | None = None
        soon: cmd.Command | None = None
        for command in commands:
            if isinstance(command, ATTEMPTS):
                may_keep = free_hand and wanted is None
                if may_keep and self.worker.can_run(self.ledger.plan, command):
                    wanted = command
                else:
                    carrier.send_attempt(command)
            elif free_hand and soon is None and self._is_soon(command):
                soon = command
            else:
                await carrier.carry_out(command)
        if soon is not None and wanted is not None:
            await carrier.carry_out(soon)
            soon = None
        await carrier.flush()
        while carrier.shards_to_tell:
            await tell_at_once(self.station, carrier.shards_to_tell.pop())
        if carrier.to_stop:
            following = await self._stop_work()
            if following is not None:
                return following
        if wanted is not None:
            return await self._claim(wanted)
        if soon is not None:
            return await self._retry_soon(soon)
        return in_hand

    def _may_be_in_hand(self, command: cmd.Command) -> bool:
        return isinstance(command, ATTEMPTS) or self._is_soon(command)

    def _is_soon(self, command: cmd.Command) -> bool:
        by = self.station.clock.now() + IN_HAND_SECONDS
        return isinstance(command, RETRIES) and command.due_at <= by

    async def _retry_soon(self, command: cmd.Command) -> AttemptCommand | None:
        assert isinstance(command, RETRIES)
        await self.station.sleep_until(command.due_at)
        while True:
            foreseen = self.ledger.foresee(due_event(command), self.station.clock.now())
            if foreseen.is_nothing:
                return await self._resume()
            written = await self._append(foreseen, exact=True)
            if written.verdict is Verdict.DONE:
                return await self._follow(written)
            if written.verdict is not Verdict.STALE:
                return await self._resume()

    async def _stop_work(self) -> AttemptCommand | None:
        """The run is to stop: close what nobody has begun, and tell those who run something."""
        self._carrier.to_stop = False
        for attempt in tuple(self.ledger.running):
            attempt.stop_unless_undoing()
        if not await self.station.refresh(self.ledger):
            return None
        waiting = [c for c in self.ledger.attempts() if place_of(c) not in self.ledger.leases]
        waiting = [each for each in waiting if not isinstance(each, cmd.RunUndo)]
        await self.gate.leave_lines(self.ledger, waiting)
        for command in waiting:
            foreseen = self.ledger.foresee(stopped(command), self.station.clock.now())
            if foreseen.is_nothing:
                continue
            written = await self._append(foreseen, exact=True)  # another delivery may have
            if written.verdict is not Verdict.DONE:
                return await self._resume()
            following = await self._follow(written)
            if following is not None:
                return following
        return None
