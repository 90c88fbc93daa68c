"""What workers count and time, by which name; told to a telemetry, if there is one.

Whatever a telemetry raises is logged, once for each name, and goes no further.

| name | kind | attributes |
|---|---|---|
| ``flowcraft.jobs.received`` | counter | |
| ``flowcraft.jobs.handled`` | counter | ``blueprint``, ``outcome`` |
| ``flowcraft.attempt.duration`` | histogram, s | ``blueprint``, ``node``, ``outcome`` |
| ``flowcraft.commits`` | counter | ``blueprint``, ``verdict`` |
| ``flowcraft.runs.finished`` | counter | ``blueprint``, ``status`` |
| ``flowcraft.leases.lost`` | counter | ``blueprint`` |
| ``flowcraft.leases.taken_over`` | counter | ``blueprint`` |
| ``flowcraft.reconciler.resends`` | counter | ``blueprint`` |
| ``flowcraft.port.retries`` | counter | ``port``, ``call`` |
| ``flowcraft.attempt`` | span | ``blueprint``, ``node``, ``run``, ``attempt``, ``outcome`` |
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Final, Literal

from flowcraft.core import events as ev
from flowcraft.engine.attempt import Attempt
from flowcraft.engine.ledger import Ledger
from flowcraft.ports.clock import Clock
from flowcraft.ports.telemetry import Attributes, Span, Telemetry

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

    # -- numbers ----------------------------------------------------------------------------

    def received(self, number: int) -> None:
        """Messages were received."""
        if self._telemetry is not None and number:
            self._count("flowcraft.jobs.received", number)

    def handled(self, outcome: JobOutcome, blueprint_id: str = _UNKNOWN) -> None:
        """A message was dealt with: nothing depends on it any more, or it comes again."""
        if self._telemetry is not None:
            self._count("flowcraft.jobs.handled", 1, blueprint=blueprint_id, outcome=outcome)

    def committed(self, ledger: Ledger, verdict: str) -> None:
        """A fact was to be written."""
        if self._telemetry is not None:
            self._count_of(ledger, "flowcraft.commits", verdict=str(verdict))

    def finished(self, ledger: Ledger) -> None:
        """A run came to its end; a shard of a batch is none."""
        if self._telemetry is not None and not ledger.head.is_part:
            self._count_of(ledger, "flowcraft.runs.finished", status=str(ledger.state.status))

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

    # -- attempts ---------------------------------------------------------------------------

    def perform(self, ledger: Ledger, attempt: Attempt) -> Coroutine[Any, Any, ev.Event]:
        """Carry out an attempt, as :meth:`Attempt.perform` does, in a span and timed."""
        telemetry = self._telemetry
        if telemetry is None:
            return attempt.perform()
        return self._timed(telemetry, ledger, attempt)

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
                took = max(0.0, self._clock.now() - began)
                attributes = {**about, "outcome": outcome}
                self.safely(name, lambda: telemetry.record(name, took, attributes))

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
    if isinstance(event, ev.NodeStopped | ev.ItemStopped):
        return "handed_back" if attempt.stop_reason == "handed back" else "stopped"
    if isinstance(event, ev.NodeSucceeded | ev.ItemSucceeded):
        return "succeeded"
    if isinstance(event, ev.UndoSettled) and event.error is None:
        return "succeeded"
    return "failed"
