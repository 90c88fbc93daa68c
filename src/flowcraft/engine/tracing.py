"""One trace for each run, told by whatever processes work on it.

Where a span stands follows from what the record of the run says anyway: its trace from the epoch of
the run, which child runs and shards share; its id from the run, the instance and the attempt. So no
process has to hear from another one what to call a span, or its parent, and a message that was
sent again by somebody who knew nothing of it leads to the same tree.

A span is told by the process that wrote the fact which ended it, as events are: a fact has one
writer, so no span is told twice. Who dies between the write and the telling swallows it. An
attempt that came to nothing (its lease was lost, it was handed back) is not told by whoever made
it; one whose worker is gone is told by whoever took over.

```
run                     from its creation to its end; linked to the span that it was started in
├── node                from the start of its first attempt until it is settled
│   ├── attempt         what the node's code does is in here; linked to the attempt before it
│   └── run             of a subflow: the child
└── undo                an attempt at a compensation
```
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from flowcraft.core.plan import Key, index_of_key, iteration_of_key
from flowcraft.core.state import FAILED, RESCUED, ErrorInfo, Record, RunStatus, began_at
from flowcraft.core.step import Decision
from flowcraft.engine.parent import Parent
from flowcraft.engine.places import AttemptCommand, key_text, node_index_of, place_of
from flowcraft.ports.clock import Clock
from flowcraft.ports.telemetry import Attributes, Link, OpenSpan, SpanAddress, SpanStart, Tracing

if TYPE_CHECKING:
    from flowcraft.engine.ledger import Ledger

T = TypeVar("T")

Safely = Callable[[str, Callable[[], object]], None]

RUN_SPAN: Final = "flowcraft.run"
NODE_SPAN: Final = "flowcraft.node"
ATTEMPT_SPAN: Final = "flowcraft.attempt"


def trace_id_of(epoch: str) -> int:
    """The trace of a start of a run, and of all that it starts; 128 bits."""
    return _number(f"trace/{epoch}", 16)


def span_id_of(epoch: str, run_id: str, what: str) -> int:
    """A span of a run; 64 bits."""
    return _number(f"span/{epoch}/{run_id}\n{what}", 8)


def _number(text: str, length: int) -> int:
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()
    return int.from_bytes(digest[:length], "big") or 1


class OpenAttempt:
    """The span of an attempt under way.

    Attributes:
        address: Where it is to be found.
    """

    def __init__(self, address: SpanAddress, span: OpenSpan, safely: Safely) -> None:
        self.address = address
        self._span = span
        self._safely = safely

    def enter(self) -> Callable[[], None]:
        """Make it the current span; gives what ends that."""
        managers = []
        self._safely(ATTEMPT_SPAN, lambda: managers.append(self._span.current()))
        entered = []
        for manager in managers:
            self._safely(ATTEMPT_SPAN, lambda: entered.append(manager.__enter__()))  # noqa: B023

        def leave() -> None:
            if entered:
                self._safely(ATTEMPT_SPAN, lambda: managers[0].__exit__(None, None, None))

        return leave

    def end(self, attributes: Attributes, error: tuple[str, str] | None, ended_at: float) -> None:
        """Its end was written."""
        self._safely(ATTEMPT_SPAN, lambda: self._span.end(attributes, error, ended_at))


class Tracer:
    """Tells the spans of runs.

    Args:
        telemetry: Where they go.
        clock: The time.
        safely: Tells the telemetry something, whatever it makes of it.
    """

    def __init__(self, telemetry: Tracing, clock: Clock, safely: Safely) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._safely = safely

    def caller(self) -> str | None:
        """The span that a run is started in."""
        address = self._asked("caller", self._telemetry.caller, None)
        return None if address is None else address.traceparent

    # -- addresses --------------------------------------------------------------------------

    def run(self, ledger: Ledger) -> SpanAddress:
        """The span of a run; of a shard that of its run."""
        epoch = ledger.epoch
        span_id = span_id_of(epoch, ledger.state.run_id, "run")
        if ledger.sampled is None:
            address = SpanAddress(trace_id_of(epoch), span_id)
            start = SpanStart(_name("run", ledger.plan.blueprint.id), address, None, {})
            ledger.sampled = self._asked("samples", lambda: self._telemetry.samples(start), True)
        return SpanAddress(trace_id_of(epoch), span_id, ledger.sampled)

    def heed(self, ledger: Ledger, traceparent: str | None) -> SpanAddress | None:
        """What a message says: the span it was sent from, and whether the trace is kept."""
        cause = SpanAddress.read(traceparent)
        if cause is None or cause.trace_id != trace_id_of(ledger.epoch):
            return None
        ledger.sampled = cause.sampled
        return cause

    def _of(self, ledger: Ledger, what: str) -> SpanAddress:
        run = self.run(ledger)
        return run._replace(span_id=span_id_of(ledger.epoch, ledger.state.run_id, what))

    def _node(self, ledger: Ledger, key: Key) -> SpanAddress:
        return self._of(ledger, f"node/{key_text(key)}/{ledger.rounds.get(key, 0)}")

    # -- attempts ---------------------------------------------------------------------------

    def attempt(
        self,
        ledger: Ledger,
        command: AttemptCommand,
        cause: SpanAddress | None = None,
        started_at: float | None = None,
    ) -> OpenAttempt | None:
        """An attempt begins.

        Args:
            ledger: The run.
            command: What is attempted.
            cause: The span that made it ready.
            started_at: When it began; just now by default.
        """
        address = self._of(ledger, place_of(command))
        node_id = ledger.plan.nodes[node_index_of(command)].id
        is_undo = isinstance(command, cmd.RunUndo)
        parent = self.run(ledger) if is_undo else self._node(ledger, command_key(command))
        start = SpanStart(
            _name("undo" if is_undo else "attempt", node_id),
            address,
            parent,
            _about_attempt(ledger, command, node_id),
            self._links(ledger, command, cause, parent),
            self._clock.now() if started_at is None else started_at,
        )
        span = self._asked(ATTEMPT_SPAN, partial(self._telemetry.open_span, start), None)
        return None if span is None else OpenAttempt(address, span, self._safely)

    def _links(
        self,
        ledger: Ledger,
        command: AttemptCommand,
        cause: SpanAddress | None,
        parent: SpanAddress,
    ) -> tuple[Link, ...]:
        links: list[Link] = []
        if command.attempt > 1:
            before = command._replace(attempt=command.attempt - 1)
            links.append(Link(self._of(ledger, place_of(before)), "retry"))
        known = {
            parent.span_id,
            self.run(ledger).span_id,
            *(each.address.span_id for each in links),
        }
        if cause is not None and cause.span_id not in known:
            links.append(Link(cause, "cause"))
        return tuple(links)

    def lost(self, ledger: Ledger, command: AttemptCommand) -> OpenAttempt | None:
        """The worker of an attempt is gone, and did not tell of it."""
        started_at: float | None = None
        if isinstance(command, cmd.RunNode):
            record = ledger.state.records.get(command.key)
            started_at = None if record is None else record.started_at
        return self.attempt(ledger, command, None, started_at)

    def ended(self, ledger: Ledger, span: OpenAttempt, event: ev.Event, outcome: str) -> None:
        """The end of an attempt was written."""
        error = getattr(event, "error", None)
        span.end({"flowcraft.outcome": outcome}, self._told(ledger, error), self._clock.now())

    # -- nodes and runs ---------------------------------------------------------------------

    def settled(self, ledger: Ledger, key: Key, record: Record) -> None:
        """An instance was settled that had begun.

        What is settled with the start of a run is told at its end: the start was written by
        whoever started the run, who may not trace.
        """
        if key not in ledger.settled_first or key in ledger.rounds:
            self._tell_node(ledger, key, record)

    def _tell_node(self, ledger: Ledger, key: Key, record: Record) -> None:
        node = ledger.plan.nodes[index_of_key(key)]
        start = SpanStart(
            _name("node", node.id),
            self._node(ledger, key),
            self.run(ledger),
            {
                **_about_run(ledger),
                "flowcraft.node_id": node.id,
                "flowcraft.iteration": ".".join(map(str, iteration_of_key(key))),
                "flowcraft.uses": node.definition.uses,
            },
            (),
            began_at(record) or 0.0,
        )
        error = record.error if record.status in (FAILED, RESCUED) else None
        outcome: Attributes = {
            "flowcraft.status": str(record.status),
            "flowcraft.attempts": record.attempt,
        }
        self._tell(NODE_SPAN, start, outcome, self._told(ledger, error), record.ended_at)

    def finished(self, ledger: Ledger) -> None:
        """A run is over."""
        for key in ledger.settled_first:
            if key not in ledger.rounds:
                self._tell_node(ledger, key, ledger.state.records[key])
        parent = Parent.read(ledger.head)
        above: SpanAddress | None = None
        links: list[Link] = []
        caller = SpanAddress.read(ledger.caller)
        if parent is not None:
            above, links = self._above(ledger, parent)
        elif caller is not None:
            links = [Link(caller, "caller")]
        start = SpanStart(
            _name("run", ledger.head.blueprint_id),
            self.run(ledger),
            above,
            _about_run(ledger),
            tuple(links),
            ledger.head.created_at,
        )
        error = None
        if ledger.state.status is RunStatus.FAILED and ledger.state.errors:
            error = ledger.state.errors[0]
        status = {"flowcraft.status": str(ledger.state.status)}
        self._tell(RUN_SPAN, start, status, self._told(ledger, error))

    def _above(self, ledger: Ledger, parent: Parent) -> tuple[SpanAddress, list[Link]]:
        """The node that a child run is of, and the run of the attempt before."""
        run, epoch = self.run(ledger), ledger.epoch
        what = f"node/{key_text(parent.key)}/0"
        above = run._replace(span_id=span_id_of(epoch, parent.run_id, what))
        if parent.attempt < 2:
            return above, []
        before = f"{ledger.run_id.rpartition(':')[0]}:{parent.attempt - 1}"
        return above, [Link(run._replace(span_id=span_id_of(epoch, before, "run")), "retry")]

    # -- telling ----------------------------------------------------------------------------

    def _tell(
        self,
        name: str,
        start: SpanStart,
        attributes: Attributes,
        error: tuple[str, str] | None,
        ended_at: float | None = None,
    ) -> None:
        if not start.address.sampled:
            return
        when = self._clock.now() if ended_at is None else ended_at
        self._safely(name, lambda: self._telemetry.open_span(start).end(attributes, error, when))

    def _told(self, ledger: Ledger, error: ErrorInfo | None) -> tuple[str, str] | None:
        """An error as it may be told: with a codec, what it says is payload."""
        if error is None:
            return None
        return error.type, "" if ledger.host.is_coded else error.message

    def _asked(self, name: str, ask: Callable[[], T], default: T) -> T:
        answers: list[T] = []
        self._safely(name, lambda: answers.append(ask()))
        return answers[0] if answers else default


def command_key(command: cmd.RunNode | cmd.RunItem | cmd.RunUndo) -> Key:
    """The instance that an attempt is about; of a compensation the one that is undone."""
    return command.target if isinstance(command, cmd.RunUndo) else command.key


def _name(kind: str, about: str) -> str:
    return f"{kind} {about}"


def _about_run(ledger: Ledger) -> dict[str, str | int]:
    return {
        "flowcraft.run_id": ledger.state.run_id,
        "flowcraft.blueprint_id": ledger.head.blueprint_id,
    }


def _about_attempt(ledger: Ledger, command: AttemptCommand, node_id: str) -> Attributes:
    about: dict[str, str | int] = {
        **_about_run(ledger),
        "flowcraft.node_id": node_id,
        "flowcraft.attempt": command.attempt,
        "flowcraft.iteration": ".".join(map(str, iteration_of_key(command_key(command)))),
    }
    if isinstance(command, cmd.RunItem):
        about["flowcraft.item"] = command.item
    return about


def ends_run(decision: Decision) -> bool:
    """Whether a decision is that a run is over."""
    return any(type(each) is cmd.FinishRun for each in decision.commands)
