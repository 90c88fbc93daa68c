"""What workers count and time, by which name; told to a telemetry, if there is one.

Whatever a telemetry raises is logged, once for each name, and goes no further.

| name | kind | attributes |
|---|---|---|
| ``flowcraft.jobs.received`` | counter | |
| ``flowcraft.jobs.handled`` | counter | ``blueprint``, ``outcome`` |
| ``flowcraft.jobs.exhausted`` | counter | |
| ``flowcraft.jobs.in_flight`` | up-down counter | |
| ``flowcraft.jobs.queue_age`` | histogram, s | ``blueprint`` |
| ``flowcraft.attempt.duration`` | histogram, s | ``blueprint``, ``node``, ``outcome`` |
| ``flowcraft.attempt.failures`` | counter | ``blueprint``, ``node``, ``error`` |
| ``flowcraft.node.duration`` | histogram, s | ``blueprint``, ``node``, ``status`` |
| ``flowcraft.node.failures`` | counter | ``blueprint``, ``node``, ``error`` |
| ``flowcraft.batch.items.started`` | counter | ``blueprint``, ``node`` |
| ``flowcraft.batch.items.settled`` | counter | ``blueprint``, ``node``, ``outcome`` |
| ``flowcraft.commits`` | counter | ``blueprint``, ``verdict`` |
| ``flowcraft.runs.finished`` | counter | ``blueprint``, ``status`` |
| ``flowcraft.runs.duration`` | histogram, s | ``blueprint``, ``status`` |
| ``flowcraft.runs.stalled`` | counter | |
| ``flowcraft.leases.lost`` | counter | ``blueprint`` |
| ``flowcraft.leases.taken_over`` | counter | ``blueprint`` |
| ``flowcraft.reconciler.resends`` | counter | ``blueprint`` |
| ``flowcraft.port.retries`` | counter | ``port``, ``call`` |
| ``flowcraft.aws.requests`` | counter | ``service``, ``operation``, ``outcome`` |
| ``flowcraft.attempt`` | span | ``blueprint``, ``node``, ``run``, ``attempt``, ``outcome`` |

A telemetry that traces is told of spans by ``engine/tracing.py`` instead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Final, Literal, cast

from flowcraft.core import events as ev
from flowcraft.core.plan import index_of_key
from flowcraft.core.state import Note, began_at, has_run
from flowcraft.core.step import Decision
from flowcraft.engine.attempt import Attempt
from flowcraft.engine.jobs import Job
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.places import AttemptCommand
from flowcraft.engine.tracing import OpenAttempt, Tracer, ends_run
from flowcraft.ports.clock import Clock
from flowcraft.ports.queue import Delivery, Queue
from flowcraft.ports.telemetry import Attributes, Span, SpanAddress, Telemetry, Tracing

logger = logging.getLogger("flowcraft.worker")

JobOutcome = Literal["done", "put_off", "left", "unreadable", "trouble"]

_UNKNOWN: Final = ""
"""The blueprint of a message that cannot be read."""


class Measures:
    """Numbers of one worker or client.

    Args:
        telemetry: Where they go; ``None`` for nowhere, which costs nothing.
        clock: Says how long something took.
    """

    def __init__(self, telemetry: Telemetry | None, clock: Clock) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._complained: set[str] = set()
        self._tracer: Tracer | None = None
        if hasattr(telemetry, "open_span"):
            self._tracer = Tracer(cast("Tracing", telemetry), clock, self.safely)

    # -- numbers ----------------------------------------------------------------------------

    def received(self, number: int) -> None:
        """Messages were received."""
        if self._telemetry is not None and number:
            self._count("flowcraft.jobs.received", number)

    def handled(self, outcome: JobOutcome, blueprint_id: str = _UNKNOWN) -> None:
        """A message was dealt with: nothing depends on it any more, or it comes again."""
        if self._telemetry is not None:
            self._count("flowcraft.jobs.handled", 1, blueprint=blueprint_id, outcome=outcome)

    def left(self, delivery: Delivery, queue: Queue) -> None:
        """A message was not dealt with; if that was its last time, it becomes a dead letter."""
        most = None if self._telemetry is None else getattr(queue, "max_receives", None)
        if most is not None and delivery.receives >= most:
            self._count("flowcraft.jobs.exhausted", 1)

    def began(self, job: Job) -> None:
        """Work on a message begins."""
        if self._telemetry is None:
            return
        self._count("flowcraft.jobs.in_flight", 1)
        if job.ready_at is not None:
            age = self._clock.now() - job.ready_at
            self._record("flowcraft.jobs.queue_age", age, blueprint=job.blueprint_id)

    def ended(self) -> None:
        """Work on a message ended."""
        if self._telemetry is not None:
            self._count("flowcraft.jobs.in_flight", -1)

    def ready_at(self, delay_seconds: float) -> float | None:
        """What a message is to say of when it is due, if anybody measures how late it comes."""
        return None if self._telemetry is None else self._clock.now() + delay_seconds

    def stalled(self, number: int) -> None:
        """A look at all runs found so many that stood still; also none."""
        if self._telemetry is not None:
            self._count("flowcraft.runs.stalled", number)

    def requested(self, service: str, operation: str, outcome: str) -> None:
        """A request was made of AWS; the outcome is ``ok``, or what AWS calls the error."""
        about = {"service": service, "operation": operation, "outcome": outcome}
        self._count("flowcraft.aws.requests", 1, **about)

    def committed(self, ledger: Ledger, verdict: str) -> None:
        """A fact was to be written."""
        if self._telemetry is not None:
            self._count_of(ledger, "flowcraft.commits", verdict=str(verdict))

    def lost(self, ledger: Ledger) -> None:
        """The lease of an attempt was somebody else's when it ended, or before."""
        if self._telemetry is not None:
            self._count_of(ledger, "flowcraft.leases.lost")

    def taken_over(self, ledger: Ledger) -> None:
        """The worker of an attempt was gone."""
        if self._telemetry is not None:
            self._count_of(ledger, "flowcraft.leases.taken_over")

    def resent(self, ledger: Ledger, number: int) -> None:
        """Messages of a stuck run were sent again."""
        if self._telemetry is not None:
            blueprint_id = ledger.head.blueprint_id
            self._count("flowcraft.reconciler.resends", number, blueprint=blueprint_id)

    def retried(self, port: str, call: str) -> None:
        """A call of a port had trouble that may pass, and is repeated."""
        if self._telemetry is not None:
            self._count("flowcraft.port.retries", 1, port=port, call=call)

    def _count_of(self, ledger: Ledger, name: str, **attributes: str) -> None:
        self._count(name, 1, blueprint=ledger.head.blueprint_id, **attributes)

    def _count(self, name: str, amount: int, /, **attributes: str) -> None:
        telemetry = self._telemetry
        assert telemetry is not None
        self.safely(name, lambda: telemetry.count(name, amount, attributes))

    def _record(self, name: str, seconds: float, /, **attributes: str) -> None:
        telemetry = self._telemetry
        assert telemetry is not None
        self.safely(name, lambda: telemetry.record(name, max(0.0, seconds), attributes))

    # -- what was written -------------------------------------------------------------------

    def told(self, ledger: Ledger, number: int, span: OpenAttempt | None = None) -> None:
        """A fact was written here, and is counted here, as nobody else's.

        Args:
            ledger: The run.
            number: The fact.
            span: The attempt whose end it is, where that is traced.
        """
        found = None if self._telemetry is None else ledger.decision_of(number)
        if found is None:
            return
        event, decision = found
        if span is not None and self._tracer is not None:
            self._tracer.ended(ledger, span, event, outcome_of(event))
        self._count_failure(ledger, event)
        if not isinstance(event, ev.ShardSettled):  # its items were counted in the shard
            for note in decision.notes:
                self._count_note(ledger, note)
        for key, record in decision.changes.records.items():
            if has_run(record):
                self._record(
                    "flowcraft.node.duration",
                    self._clock.now() - (began_at(record) or 0.0),
                    **_about(ledger, index_of_key(key)),
                    status=str(record.status),
                )
                if self._tracer is not None:
                    self._tracer.settled(ledger, key, record)
        self._count_end(ledger, decision)

    def _count_end(self, ledger: Ledger, decision: Decision) -> None:
        """A run came to its end; a shard of a batch is none."""
        if ledger.head.is_part or not ends_run(decision):
            return
        status = str(ledger.state.status)
        took = self._clock.now() - ledger.head.created_at
        self._count_of(ledger, "flowcraft.runs.finished", status=status)
        blueprint_id = ledger.head.blueprint_id
        self._record("flowcraft.runs.duration", took, blueprint=blueprint_id, status=status)
        if self._tracer is not None:
            self._tracer.finished(ledger)

    def _count_failure(self, ledger: Ledger, event: ev.Event) -> None:
        if isinstance(event, ev.NodeFailed | ev.ItemFailed):
            index, error = index_of_key(event.key), event.error.type
        elif isinstance(event, ev.NodeLost | ev.ItemLost):
            index, error = index_of_key(event.key), "WorkerLost"
        elif isinstance(event, ev.UndoSettled) and event.error is not None:
            index, error = index_of_key(event.target), event.error.type
        else:
            return
        about = _about(ledger, index)
        self._count("flowcraft.attempt.failures", 1, **about, error=error)

    def _count_note(self, ledger: Ledger, note: Note) -> None:
        if note.key is None:
            return
        about, details = _about(ledger, index_of_key(note.key)), note.details
        if note.type == "node:error":
            error = str(details.get("type", ""))
            self._count("flowcraft.node.failures", 1, **about, error=error)
        if note.type == "batch:start":
            self._count("flowcraft.batch.items.started", int(details["items"]), **about)
        elif "item" in details and note.type in _SETTLED_ITEMS:
            outcome = _SETTLED_ITEMS[note.type]
            self._count("flowcraft.batch.items.settled", 1, **about, outcome=outcome)

    # -- traces -----------------------------------------------------------------------------

    def caller(self) -> str | None:
        """The span that the calling code is in, for a run that it starts."""
        return None if self._tracer is None else self._tracer.caller()

    def trace(self, ledger: Ledger, span: OpenAttempt | None = None) -> str | None:
        """What messages say that are sent for a run, after an attempt if there was one."""
        if self._tracer is None:
            return None
        return (span.address if span is not None else self._tracer.run(ledger)).traceparent

    def open_span(
        self, ledger: Ledger, command: AttemptCommand, traceparent: str | None
    ) -> OpenAttempt | None:
        """An attempt begins; it is told of once its end was written.

        Args:
            ledger: The run.
            command: What is attempted.
            traceparent: What made it ready, as :meth:`trace` said it.
        """
        if self._tracer is None:
            return None
        cause: SpanAddress | None = self._tracer.heed(ledger, traceparent)
        return self._tracer.attempt(ledger, command, cause)

    def lost_span(self, ledger: Ledger, command: AttemptCommand) -> OpenAttempt | None:
        """An attempt is over whose worker is gone: it is told of by whoever took over."""
        return None if self._tracer is None else self._tracer.lost(ledger, command)

    # -- attempts ---------------------------------------------------------------------------

    def perform(
        self, ledger: Ledger, attempt: Attempt, span: OpenAttempt | None = None
    ) -> Coroutine[Any, Any, ev.Event]:
        """Carry out an attempt, as :meth:`Attempt.perform` does, in a span and timed."""
        telemetry = self._telemetry
        if telemetry is None:
            return attempt.perform()
        if self._tracer is not None:
            return self._traced(ledger, attempt, span)
        return self._timed(telemetry, ledger, attempt)

    async def _traced(self, ledger: Ledger, attempt: Attempt, span: OpenAttempt | None) -> ev.Event:
        began, outcome = self._clock.now(), "broken_off"
        leave = None if span is None else span.enter()
        try:
            event = await attempt.perform()
            outcome = _outcome(attempt, event)
            return event
        finally:
            if leave is not None:
                leave()
            about = _about(ledger, attempt.node.index)
            took = self._clock.now() - began
            self._record("flowcraft.attempt.duration", took, **about, outcome=outcome)

    async def _timed(self, telemetry: Telemetry, ledger: Ledger, attempt: Attempt) -> ev.Event:
        name, node_id = "flowcraft.attempt.duration", attempt.node.id
        about = {"blueprint": ledger.head.blueprint_id, "node": node_id}
        more: Attributes = {"run": ledger.state.run_id, "attempt": attempt.command.attempt}
        began, outcome = self._clock.now(), "broken_off"
        with _SafeSpan(self, telemetry, "flowcraft.attempt", {**about, **more}) as span:
            try:
                event = await attempt.perform()
                outcome = _outcome(attempt, event)
                return event
            finally:
                span.set_attribute("outcome", outcome)
                self._record(name, self._clock.now() - began, **about, outcome=outcome)

    def flush(self) -> None:
        """Have the telemetry hand on what it keeps; it blocks as long as that takes."""
        flush = getattr(self._telemetry, "flush", None)
        if flush is not None:
            self.safely("flush", flush)

    @property
    def keeps(self) -> bool:
        """Whether the telemetry keeps things that it is to hand on."""
        return hasattr(self._telemetry, "flush")

    def safely(self, name: str, tell: Callable[[], object]) -> None:
        """Tell the telemetry something, whatever it makes of it."""
        try:
            tell()
        except Exception:
            if name not in self._complained:
                self._complained.add(name)
                logger.exception("The telemetry failed with '%s'; it is not logged again", name)


class _SafeSpan:
    """A span that neither raises nor swallows anything."""

    def __init__(
        self, measures: Measures, telemetry: Telemetry, name: str, attributes: Attributes
    ) -> None:
        self._measures = measures
        self._telemetry = telemetry
        self._name = name
        self._attributes = attributes
        self._manager: AbstractContextManager[Span] | None = None
        self._span: Span | None = None

    def __enter__(self) -> _SafeSpan:
        self._measures.safely(self._name, self._enter)
        return self

    def _enter(self) -> None:
        manager = self._telemetry.span(self._name, self._attributes)
        self._span = manager.__enter__()
        self._manager = manager

    def set_attribute(self, key: str, value: str | int) -> None:
        """Say more about the span."""
        span = self._span
        if span is not None:
            self._measures.safely(self._name, lambda: span.set_attribute(key, value))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        manager = self._manager
        if manager is not None:
            self._measures.safely(self._name, lambda: manager.__exit__(kind, error, trace))


def _outcome(attempt: Attempt, event: ev.Event) -> str:
    """How an attempt ended, in a word."""
    if attempt.stop_reason == "lost":
        return "lost"
    outcome = outcome_of(event)
    return "handed_back" if (outcome, attempt.stop_reason) == _HANDED_BACK else outcome


_HANDED_BACK: Final = ("stopped", "handed back")

_SETTLED_ITEMS: Final = {
    "node:finish": "succeeded",
    "node:error": "failed",
    "node:cancelled": "cancelled",
}


def outcome_of(event: ev.Event) -> str:
    """How an attempt ended, as it is written down, in a word."""
    if isinstance(event, ev.NodeStopped | ev.ItemStopped):
        return "stopped"
    if isinstance(event, ev.NodeLost | ev.ItemLost | ev.UndoLost):
        return "lost"
    if isinstance(event, ev.NodeSucceeded | ev.ItemSucceeded):
        return "succeeded"
    if isinstance(event, ev.UndoSettled) and event.error is None:
        return "succeeded"
    return "failed"


def _about(ledger: Ledger, index: int) -> dict[str, str]:
    return {"blueprint": ledger.head.blueprint_id, "node": ledger.plan.nodes[index].id}
