"""What happened in a run, to be asserted on and read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from flowcraft.engine.bus import FlowEvent
from flowcraft.engine.results import RunResult
from flowcraft.engine.runtime import FlowRuntime, Runnable
from flowcraft.testing.subjects import Subject

SHOWN_EVENTS = 300
SHOWN_VALUE = 70


class Trace:
    """A run's result with everything that happened on the way, in order.

    Nodes are named by their ids; those of a subflow as ``subflow/node``, the items of a batch
    as ``worker[3]``. A name that no node has is refused, so that a test does not pass because
    of a slip of the pen. ``str(trace)`` is a timeline to read.

    Attributes:
        result: How the run ended, or stands.
        events: The events of the run and of its subflows, in order.
    """

    def __init__(self, subject: Subject, result: RunResult, events: Iterable[FlowEvent]) -> None:
        self.result = result
        self.events: tuple[FlowEvent, ...] = tuple(events)
        self._subject = subject
        self._names = tuple(_names(self.events))
        self._seen = frozenset(name for name in self._names if name)

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The latest output of each node of the run that has one, by id."""
        return self.result.outputs

    @property
    def skipped(self) -> list[str]:
        """Nodes that were skipped, in that order: not chosen, or behind a failure."""
        return self._named("node:skipped")

    @property
    def failed(self) -> list[str]:
        """Nodes that failed for good, in that order."""
        return self._named("node:error")

    def started(self, node: str) -> bool:
        """Whether a node began at least one attempt."""
        return self.attempts(node) > 0

    def finished(self, node: str) -> bool:
        """Whether a node succeeded at least once."""
        return bool(self.of(node, "node:finish"))

    def order(self) -> list[str]:
        """The nodes in the order in which they began; one in a loop once per iteration.

        Further attempts at the same execution are not listed again.
        """
        pairs = zip(self.events, self._names, strict=True)
        return [name for event, name in pairs if event.type == "node:start" and event.attempt == 1]

    def attempts(self, node: str) -> int:
        """How many attempts at a node began, over all iterations."""
        return len(self.of(node, "node:start"))

    def inputs(self, node: str) -> list[Any]:
        """What a node was given, once per execution; further attempts are given the same."""
        starts = self.of(node, "node:start")
        return [event.payload.get("input") for event in starts if event.attempt == 1]

    def outputs_of(self, node: str) -> list[Any]:
        """What a node's executions gave, in the order in which they finished."""
        return [event.payload.get("output") for event in self.of(node, "node:finish")]

    def errors(self, node: str) -> list[str]:
        """How a node's attempts failed, as ``Type: message``, retried ones included."""
        events = self.of(node, "node:retry", "node:error")
        return [f"{event.payload['type']}: {event.payload['message']}" for event in events]

    def of(self, node: str, *types: str) -> list[FlowEvent]:
        """The events about a node, all or those of some types.

        Raises:
            FlowcraftError: The workflow has no such node; the message lists those it has.
        """
        if node not in self._seen and not self._subject.has(node):
            raise self._subject.refuse(node, sorted(self._seen))
        pairs = zip(self.events, self._names, strict=True)
        return [e for e, name in pairs if name == node and (not types or e.type in types)]

    def __str__(self) -> str:
        result = self.result
        lines = [f"run '{result.run_id}' of '{result.blueprint_id}': {result.status}"]
        pairs = list(zip(self.events, self._names, strict=True))
        begin = self.events[0].timestamp if self.events else 0.0
        lines += [_line(event, name, begin) for event, name in pairs[:SHOWN_EVENTS]]
        if len(pairs) > SHOWN_EVENTS:
            lines.append(f"  … and {len(pairs) - SHOWN_EVENTS} more events")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Trace of {self.result.run_id}: {self.result.status}, {len(self.events)} events>"

    def _named(self, type_: str) -> list[str]:
        pairs = zip(self.events, self._names, strict=True)
        return [name for event, name in pairs if event.type == type_]


async def run_with_trace(
    runtime: FlowRuntime,
    flow: Runnable,
    context: Mapping[str, Any] | str | None = None,
    **options: Any,
) -> Trace:
    """Run a workflow as ``runtime.run`` does, and keep everything that happens.

    Args:
        runtime: The runtime, with its own clock.
        flow: A flow, a blueprint or the id of a known one.
        context: The initial context.
        options: What else ``runtime.run`` takes.

    Raises:
        FlowcraftError: As ``runtime.run`` raises it. A failing node does not raise.
    """
    subject = Subject(runtime, flow)
    run_id = options.pop("run_id", None) or runtime.identifiers.new_run_id()
    record = Record()
    stop = runtime.subscribe(record.add)
    try:
        result = await runtime.run(flow, context, run_id=run_id, **options)
    finally:
        stop()
    return Trace(subject, result, record.of(run_id))


class Record:
    """Events as they come, of all runs of a runtime."""

    def __init__(self) -> None:
        self.events: list[FlowEvent] = []

    def add(self, event: FlowEvent) -> None:
        """Keep an event."""
        self.events.append(event)

    def of(self, run_id: str) -> list[FlowEvent]:
        """The events of a run and of the runs of its subflows."""
        below = f"{run_id}/"
        return [e for e in self.events if e.run_id == run_id or e.run_id.startswith(below)]


def name_of(event: FlowEvent) -> str:
    """The node an event is about; for an item of a batch its worker and place, else empty."""
    return str(event.payload.get("name") if "item" in event.payload else event.node_id or "")


def _names(events: Iterable[FlowEvent]) -> Iterable[str]:
    """For each event the node it is about, with the subflows that lead to it."""
    prefixes: dict[str, str] = {}
    for event in events:
        if event.run_id not in prefixes:
            prefixes[event.run_id] = _prefix(event.run_id, prefixes)
        name = name_of(event)
        yield prefixes[event.run_id] + name if name else ""


def _prefix(run_id: str, known: Mapping[str, str]) -> str:
    """The way to a child run. Its id is the parent's, ``/``, and node, iteration, attempt."""
    parents = [other for other in known if run_id.startswith(f"{other}/")]
    if not parents:
        return ""
    parent = max(parents, key=len)
    return known[parent] + run_id[len(parent) + 1 :].rsplit(":", 2)[0] + "/"


def _line(event: FlowEvent, name: str, begin: float) -> str:
    what = event.type
    if event.attempt is not None and event.attempt > 1:
        what += f" (attempt {event.attempt})"
    if any(event.iteration):
        what += f" (iteration {'.'.join(map(str, event.iteration))})"
    when = _offset(event.timestamp - begin)
    return f"  {when:>16}  {name:<16}  {what:<18}  {_details(event)}".rstrip()


def _offset(seconds: float) -> str:
    return "+" + str(timedelta(seconds=round(seconds, 3))).removesuffix("000")


def _details(event: FlowEvent) -> str:
    payload = event.payload
    if event.type in ("node:error", "node:retry", "compensation:error"):
        return _short(f"{payload.get('type')}: {payload.get('message')}")
    names = _DETAILS.get(event.type)
    if names is None:
        return ""
    shown = [n for n in names if n in payload and (payload[n] is not None or n in _VALUES)]
    return ", ".join(f"{n}={_short(repr(payload[n]))}" for n in shown)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_VALUE else text[: SHOWN_VALUE - 1] + "…"


_VALUES = frozenset({"input", "output"})
_DETAILS: Mapping[str, tuple[str, ...]] = {
    "workflow:start": ("context",),
    "workflow:finish": ("status",),
    "workflow:cancel": ("reason",),
    "node:start": ("input",),
    "node:finish": ("output", "action"),
    "node:skipped": ("reason",),
    "node:awaiting": ("reason",),
    "node:fallback": ("fallback",),
    "edge:evaluate": ("source", "target", "condition", "result", "error"),
    "context:change": ("op", "name"),
    "batch:start": ("worker", "items"),
    "batch:finish": ("items", "failed"),
}
