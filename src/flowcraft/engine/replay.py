"""Rebuilding a run from its recorded events.

The decision core is asked again, with the recorded outcomes instead of executions; what it
decides by itself (routing, joins, loops, batches) is decided anew and comes out the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.plan import Key, index_of_key
from flowcraft.core.state import CHILD, RETRYING, RUNNING, ErrorInfo, RunState
from flowcraft.engine.added_nodes import read_nodes
from flowcraft.engine.bus import EventBus, FlowEvent
from flowcraft.engine.history_events import HistoryEvent
from flowcraft.engine.known import Known
from flowcraft.engine.local import LocalRun, execute
from flowcraft.engine.refolding import Records, refold
from flowcraft.engine.rerun import behind
from flowcraft.engine.results import RunResult
from flowcraft.engine.session import Session
from flowcraft.engine.view import runs_below
from flowcraft.errors import FlowcraftError
from flowcraft.ports.clock import Timer

if TYPE_CHECKING:
    from flowcraft.engine.runtime import FlowRuntime


class _NoTimer:
    def cancel(self) -> None:
        """Nothing was arranged."""


class _RecordedTime:
    """The time at which the event being replayed was recorded."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return self.time

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Nothing is waited for while events are replayed."""
        del when, callback
        return _NoTimer()


class _Gate:
    """Keeps commands from being carried out; their outcomes are on record."""

    def __init__(self, affected: frozenset[str]) -> None:
        self._affected = affected

    def keeps(self, run: LocalRun, command: cmd.Command) -> bool:
        """Whether a command is not to be carried out now."""
        if isinstance(command, cmd.StartChild):
            return run.depth == 0 and self.affects(run, command.key)
        return not isinstance(command, cmd.StopWork | cmd.FinishRun)

    def affects(self, run: LocalRun, key: Key) -> bool:
        """Whether an instance is to be executed anew."""
        return run.depth == 0 and run.plan.nodes[index_of_key(key)].id in self._affected


async def replay_events(
    runtime: FlowRuntime,
    known: Known,
    blueprint: WorkflowBlueprint,
    events: Sequence[FlowEvent],
    from_node: str | None,
) -> RunResult:
    """Replay recorded events; with ``from_node``, execute that node and what follows anew.

    Events of a stored run's history bring along what is stored: that is folded instead.
    """
    for event in events:
        if not isinstance(event, FlowEvent):
            raise TypeError(
                "What is replayed are events, as a listener is given them, not "
                f"{type(event).__name__}."
            )
    if any(isinstance(event, HistoryEvent) for event in events):
        return await _refolded(runtime, known, blueprint, events, from_node)
    plan = runtime.plan_of(blueprint)
    affected: frozenset[str] = frozenset()
    if from_node is not None:
        affected = frozenset(plan.nodes[index].id for index in behind(plan, [from_node]))
    session = Session(runtime, known, execute, runtime.options.concurrency, wait_for_timers=True)
    recorded = _RecordedTime()
    gate = _Gate(affected)
    session.clock, session.gate, session.bus = recorded, gate, EventBus()
    run = LocalRun(session, plan, RunState(), None)
    session.root = run
    _Replay(run, gate, recorded).play(events)
    if from_node is None:
        return RunResult(run)
    session.clock, session.gate, session.bus = runtime.clock, None, runtime.bus
    await _go_on(session, run)
    return RunResult(run)


async def _refolded(
    runtime: FlowRuntime,
    known: Known,
    blueprint: WorkflowBlueprint,
    events: Sequence[FlowEvent],
    from_node: str | None,
) -> RunResult:
    session = Session(runtime, known, execute, runtime.options.concurrency, wait_for_timers=True)
    run = refold(runtime, session, Records(events), blueprint, from_node)
    session.root = run
    if from_node is not None:
        await _go_on(session, run)
    return RunResult(run)


async def _go_on(session: Session, run: LocalRun) -> None:
    """Execute what is outstanding, until the run is over or rests."""
    for live in runs_below(run):
        live.rearm()
    session.look()
    await session.finish()


class _Replay:
    """Feeds recorded events, in order, to the runs they are about."""

    def __init__(self, run: LocalRun, gate: _Gate, time: _RecordedTime) -> None:
        self._root = run
        self._gate = gate
        self._time = time

    def play(self, events: Sequence[FlowEvent]) -> None:
        """Feed all events."""
        first = next((event for event in events if event.type == "workflow:start"), None)
        if first is None or first.blueprint_id != self._root.plan.blueprint.id:
            raise FlowcraftError(
                "The recorded events do not begin with the start of a run of the blueprint "
                f"'{self._root.plan.blueprint.id}'."
            )
        for event in events:
            self._time.time = event.timestamp
            if event is first:
                self._root.feed(_started(event))
                continue
            for run in runs_below(self._root):
                if run.state.run_id == event.run_id:
                    self._feed(run, event)
                    break

    def _feed(self, run: LocalRun, event: FlowEvent) -> None:
        if event.type == "workflow:cancel":
            run.feed(ev.CancelRequested(event.payload.get("reason")))
            return
        if event.node_id is None or event.node_id not in run.plan.index_of:
            return
        node = run.plan.nodes[run.plan.index_of[event.node_id]]
        key = run.plan.key(node, event.iteration)
        if self._gate.affects(run, key):
            return
        outcome = _outcome(run, event, key)
        if outcome is not None:
            run.feed(outcome)


def _started(event: FlowEvent) -> ev.RunStarted:
    payload = event.payload
    return ev.RunStarted(
        event.run_id,
        payload.get("context", {}),
        fail_fast=payload.get("fail_fast"),
        max_executions=payload.get("max_executions"),
        cancelled=payload.get("cancelled"),
    )


def _outcome(run: LocalRun, event: FlowEvent, key: Key) -> ev.Event | None:
    """The core's event for a recorded one, if it is about something under way."""
    payload, attempt = event.payload, event.attempt or 1
    if event.type.startswith("compensation:"):
        return _undone(event, key, attempt)
    if "item" in payload:
        return _item_outcome(event, key, attempt)
    record = run.state.records.get(key)
    if record is None:
        return None
    if event.type == "node:start" and record.status is RETRYING:
        return ev.RetryDue(key, attempt)
    if event.type == "node:finish" and record.status is RUNNING:
        writes = [ev.Write(*write) for write in payload.get("writes", ())]
        added = read_nodes(payload.get("dynamic_nodes", ()), event.node_id or "")
        output, action = payload.get("output"), payload.get("action")
        return ev.NodeSucceeded(key, attempt, output, action, writes, added)
    if event.type == "node:finish" and record.due_at is None and record.status is not CHILD:
        return ev.AnswerReceived(key, payload.get("output"), payload.get("action"))
    if event.type == "node:finish" and record.status is not CHILD:
        early = record.due_at is not None and record.due_at > event.timestamp
        answer = ev.AnswerReceived(key, payload.get("output"), payload.get("action"))
        return answer if early else ev.TimerFired(key)
    return _failed(event, key, attempt, record.status is RUNNING)


def _failed(event: FlowEvent, key: Key, attempt: int, running: bool) -> ev.Event | None:
    if event.type == "node:retry" and running:
        return ev.NodeFailed(key, attempt - 1, _error(event.payload))
    if event.type == "node:error" and running:
        started = event.payload.get("started", True)
        return ev.NodeFailed(key, max(attempt, 1), _error(event.payload), False, started)
    if event.type == "node:cancelled":
        return ev.NodeStopped(key, attempt)
    return None


def _item_outcome(event: FlowEvent, key: Key, attempt: int) -> ev.Event | None:
    payload, item = event.payload, event.payload["item"]
    if event.type == "node:finish":
        writes = [ev.Write(*write) for write in payload.get("writes", ())]
        return ev.ItemSucceeded(key, item, attempt, payload.get("output"), writes)
    if event.type == "node:retry":
        return ev.ItemFailed(key, item, attempt - 1, _error(payload))
    if event.type == "node:error":
        return ev.ItemFailed(key, item, attempt, _error(payload), False)
    if event.type == "node:cancelled":
        return ev.ItemStopped(key, item, attempt)
    if event.type == "node:start" and attempt > 1:
        return ev.ItemRetryDue(key, item, attempt)
    return None


def _undone(event: FlowEvent, key: Key, attempt: int) -> ev.Event | None:
    if event.type == "compensation:start" and attempt > 1:
        return ev.UndoRetryDue(key, attempt)
    if event.type == "compensation:finish":
        return ev.UndoSettled(key, attempt)
    if event.type == "compensation:retry":
        return ev.UndoSettled(key, attempt, _error(event.payload))
    if event.type == "compensation:error":
        return ev.UndoSettled(key, attempt, _error(event.payload), retryable=False)
    return None


def _error(payload: Mapping[str, Any]) -> ErrorInfo:
    return ErrorInfo(
        payload.get("type", "Error"),
        payload.get("message", ""),
        tuple(payload.get("names", ())),
        bool(payload.get("is_fatal")),
        causes=tuple((name, text) for name, text in payload.get("causes", ())),
    )
