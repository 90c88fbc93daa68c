"""Executing an attempt, and what others may want of one that is under way."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from flowcraft.core import events as ev
from flowcraft.engine.attempt import Attempt
from flowcraft.engine.gate import Gate, at_place
from flowcraft.engine.jobs import Job, Leave, PutOff
from flowcraft.engine.places import AttemptCommand, place_of, was_stopped
from flowcraft.engine.storing import Storing
from flowcraft.engine.telling import tell_start
from flowcraft.engine.trouble import log_trouble
from flowcraft.engine.whereabouts import leave, stand_in
from flowcraft.ports.limits import Place
from flowcraft.ports.runs import Holding, Verdict

if TYPE_CHECKING:
    from flowcraft.engine.tracing import OpenAttempt
    from flowcraft.engine.worker import Worker

logger = logging.getLogger("flowcraft.worker")


class Executing(Storing):
    """What a strand has under way.

    Attributes:
        job: The message.
        holding: The lease in hand.
        attempt: The attempt under way.
        span: The span of the attempt whose end is to be written next, where that is traced.
    """

    def __init__(self, worker: Worker, job: Job) -> None:
        super().__init__(worker.station, job.thread)
        self.worker = worker
        self.job = job
        self.holding: Holding | None = None
        self.attempt: Attempt | None = None
        self.span: OpenAttempt | None = None
        self.gate = Gate(self.station, worker.lease_seconds)
        self._cause = job.trace
        self._looking: set[asyncio.Future[None]] = set()

    async def _give_back(self) -> bool:
        """Let go of the lease in hand; false if it is somebody else's, or has not expired yet."""
        await self.gate.leave()
        holding, self.holding = self.holding, None
        if holding is None:
            return True
        written = await self._write(self._change(holding=replace(holding, give_back=True)))
        return written.verdict is not Verdict.LOST

    async def _execute(self, command: AttemptCommand) -> ev.Event:
        task = asyncio.current_task()
        assert task is not None
        ledger = self.ledger
        in_hand = self.gate.inside is not None
        limited = None if in_hand else self.gate.limited(ledger, command)
        if not await self.gate.is_in_time(limited):
            await self._give_back()
            raise PutOff(0.0, at_place(self.job, ledger, command))
        attempt = self.attempt = Attempt(ledger, command, task)
        measures = self.station.measures
        span = self.span = measures.open_span(ledger, command, self._cause)
        stand_in(attempt)
        try:
            if self.station.bus.active and attempt.can_begin:
                tell_start(ledger, attempt)
            ledger.enter(attempt)
            try:
                event = await measures.perform(ledger, attempt, span)
            finally:
                ledger.leave(attempt)
                attempt.ctx = None
        finally:
            self.attempt = None
            leave()
        if attempt.stop_reason == "lost":
            self.gate.abandon()
            measures.lost(ledger)
            self.holding = None
            raise Leave
        if attempt.stop_reason == "handed back" and was_stopped(event):
            await self._hand_over(attempt)
        return event

    async def _hand_over(self, attempt: Attempt) -> NoReturn:
        implementation = attempt.implementation
        if implementation is not None and implementation.kind != "async":
            # Its thread may go on: nobody else may begin before the lease has expired.
            self.gate.abandon()
            self.holding = None
            raise Leave
        await self._give_back()
        raise PutOff(0.0, replace(self.job, place=place_of(attempt.command), event=None))

    def lose(self, token: str) -> None:
        """Another worker holds the lease: what is under way can no longer be committed."""
        # By the time that this is heard of, the lease may be given up and another one in hand.
        if self.attempt is not None and self.holding is not None and self.holding.token == token:
            self.attempt.stop("lost")

    def displace(self, place: Place) -> None:
        """The place under a limit is somebody else's: what is under way begins anew, later.

        A thread cannot be stopped, and goes on: two of it would be worse.
        """
        inside, attempt = self.gate.inside, self.attempt
        if inside is None or inside.place.token != place.token or attempt is None:
            return
        logger.warning("Run '%s': its place of '%s' was lost", self.job.run_id, place.key)
        if attempt.implementation is None or attempt.implementation.kind == "async":
            attempt.stop("handed back")

    def look(self) -> None:
        """See whether the run wants what is under way to stop."""
        task = asyncio.ensure_future(self._look())
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _look(self) -> None:
        try:
            await self.station.refresh(self.ledger)
        except Exception as error:
            log_trouble(logger, error, "Run '%s' could not be looked at", self.job.run_id)
            return
        if self.ledger.state.stopping is not None and self.attempt is not None:
            self.attempt.stop_unless_undoing()

    def hand_back(self) -> None:
        """Stop the attempt, and let another worker have it; a thread cannot be stopped."""
        if self.attempt:
            self.attempt.stop("handed back")
