"""A run in this process: the state in memory, commands carried out on the event loop.

A :class:`Session` is one call of ``FlowRuntime.run`` or ``resume``: the run, the child runs of
its subflows, and the pool of runners they share. Each :class:`LocalRun` feeds what happened to
``decide``, writes the changes and carries out the commands.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.context import HAS_OUTPUT, OUTPUTS, ContextView
from flowcraft.core.decide import decide
from flowcraft.core.plan import Key, Plan, index_of_key, iteration_of_key
from flowcraft.core.results import child_outputs, child_result
from flowcraft.core.state import (
    Changes,
    ErrorInfo,
    Note,
    RunState,
    RunStatus,
    apply,
)
from flowcraft.core.step import Decision
from flowcraft.core.values import copy_value
from flowcraft.engine.attempt import Attempt, Held
from flowcraft.engine.bus import FlowEvent
from flowcraft.engine.nodes import Implementation
from flowcraft.engine.pool import Pool
from flowcraft.engine.saved import save_run
from flowcraft.ports.clock import Clock, Timer

if TYPE_CHECKING:
    from flowcraft.engine.runtime import FlowRuntime

MAX_DEPTH = 50
"""Subflows within subflows; a blueprint that calls itself without an end fails here."""

_MISSING: Any = object()
AttemptCommand = cmd.RunNode | cmd.RunItem | cmd.RunUndo
Job = tuple["LocalRun", AttemptCommand]


class Gate(Protocol):
    """Keeps some commands from being carried out, while events are replayed."""

    def keeps(self, run: LocalRun, command: cmd.Command) -> bool:
        """Whether a command is not to be carried out now."""


class Known(Protocol):
    """Where a run looks up what its blueprints name."""

    def find(self, key: str) -> Implementation | None:
        """The implementation of a ``uses`` key."""

    def blueprint(self, blueprint_id: str) -> WorkflowBlueprint | None:
        """A blueprint by id."""

    def blueprint_ids(self) -> list[str]:
        """The ids of all blueprints."""


class Session:
    """What a run and its children share while they are worked on."""

    def __init__(
        self, runtime: FlowRuntime, known: Known, concurrency: int, wait_for_timers: bool
    ) -> None:
        self.runtime = runtime
        self.known = known
        self.clock: Clock = runtime.clock
        self.bus = runtime.bus
        self.middleware = runtime.options.middleware
        self.find = known.find
        self.threads = runtime.threads
        self.gate: Gate | None = None
        self.wait_for_timers = wait_for_timers
        self.pool: Pool[Job] = Pool(_execute, concurrency)
        self.timers: set[Timer] = set()
        self.sleeping = 0
        self.closing = False
        self.root: LocalRun | None = None
        self.failure: BaseException | None = None
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def finish(self) -> None:
        """Wait until the run is over, or rests with nothing left to wait for here."""
        try:
            self.look()
            await self._done
        finally:
            self.closing = True
            for timer in tuple(self.timers):
                timer.cancel()
            await self.pool.close()
        if self.failure is not None:
            raise self.failure

    def look(self) -> None:
        """See whether the run is over, or at rest."""
        assert self.root is not None
        status = self.root.state.status
        if status is RunStatus.RUNNING or self._done.done():
            return
        resting = not self.sleeping or not self.wait_for_timers
        if status.is_final or status is RunStatus.PAUSED or resting:
            self._done.set_result(None)

    def abort(self, error: BaseException) -> None:
        """Give up because of a defect, or of what ends the process."""
        self.failure = self.failure or error
        if not self._done.done():
            self._done.set_result(None)

    def call_at(self, when: float, callback: Callable[[], None], *, resting: bool) -> Timer:
        """Arrange a call; ``resting`` for one that a run at rest need not be kept for."""
        timers = self.timers

        def fire() -> None:
            timers.discard(timer)
            if resting:
                self.sleeping -= 1
            if not self.closing:
                callback()

        timer = self.clock.call_at(when, fire)
        timers.add(timer)
        if resting:
            self.sleeping += 1
        return timer

    def cancel_timer(self, timer: Timer, *, resting: bool) -> None:
        """Forget a call."""
        if timer in self.timers:
            self.timers.discard(timer)
            timer.cancel()
            if resting:
                self.sleeping -= 1


class LocalRun:
    """One run in memory."""

    def __init__(
        self, session: Session, plan: Plan, state: RunState, parent: tuple[LocalRun, Key] | None
    ) -> None:
        self.session = session
        self.plan = plan
        self.state = state
        self.parent = parent
        self.depth: int = parent[0].depth + 1 if parent else 0
        self.orphaned = False
        self.deciding = False
        self.children: dict[Key, LocalRun] = {}
        self.held: dict[tuple[Any, ...], Held] = {}
        self.sequence = 0
        self._running: set[Attempt] = set()
        self._timers: dict[tuple[str, Key], Timer] = {}
        self._past: dict[str, list[tuple[int, Any]]] = {}
        self._lock = threading.Lock()

    # -- deciding ---------------------------------------------------------------------------

    def feed(self, event: ev.Event) -> None:
        """Let the decision core decide about an event, and do what it says."""
        state = self.state
        before = state.status
        self.deciding = True
        decision = decide(self.plan, state, event, self.session.clock.now())
        if self.session.threads.calls:
            with self._lock:
                self._apply(decision)
        else:
            self._apply(decision)
        if self.session.bus.active:
            self._tell(event, decision)
        gate = self.session.gate
        for command in decision.commands:
            if gate is None or not gate.keeps(self, command):
                _CARRY_OUT[type(command)](self, command)
        self.deciding = False
        if state.status is not before or state.status is not RunStatus.RUNNING:
            self._status_changed(before)

    def _apply(self, decision: Decision) -> None:
        if self._running:
            self._remember(decision.changes)
        apply(self.state, decision.changes)
        self.plan = decision.plan
        self.sequence += 1

    def rearm(self) -> None:
        """Carry out what is outstanding in a state that was loaded."""
        decision = decide(self.plan, self.state, ev.LookedAt(), self.session.clock.now())
        for command in decision.commands:
            if not (isinstance(command, cmd.StartChild) and command.key in self.children):
                _CARRY_OUT[type(command)](self, command)

    def _status_changed(self, before: RunStatus) -> None:
        if self.orphaned:
            return
        if self.parent is None:
            self.session.look()
            return
        run, key = self.parent
        if self.state.status.is_final:
            run.child_settled(key, self)
        elif self.state.status is not before:
            attempt = run.state.records[key].attempt
            run.feed(ev.ChildRests(key, attempt, self.state.status is not RunStatus.RUNNING))

    # -- executing --------------------------------------------------------------------------

    async def execute(self, attempt: Attempt) -> None:
        """Carry out an attempt in the runner that took it, and decide about how it ended."""
        session, pool, running = self.session, self.session.pool, self._running
        try:
            if session.bus.active and attempt.can_begin:
                self._tell_start(attempt)
            running.add(attempt)
            pool.executing += 1
            try:
                outcome = await attempt.perform()
            finally:
                pool.executing -= 1
                running.discard(attempt)
            if self._past and not running:
                self._past.clear()
            pool.between = 1
            self.feed(outcome)
        except BaseException as error:
            if not session.closing:
                session.abort(error)
            raise
        finally:
            pool.between = 0

    def _submit(self, command: Any) -> None:
        self.session.pool.submit((self, command))

    def _retry_node(self, command: cmd.RetryNode) -> None:
        due = ev.RetryDue(command.key, command.attempt)
        self.session.call_at(command.due_at, lambda: self.feed(due), resting=False)

    def _retry_item(self, command: cmd.RetryItem) -> None:
        due = ev.ItemRetryDue(command.key, command.item, command.attempt)
        self.session.call_at(command.due_at, lambda: self.feed(due), resting=False)

    def _retry_undo(self, command: cmd.RetryUndo) -> None:
        due = ev.UndoRetryDue(command.target, command.attempt)
        self.session.call_at(command.due_at, lambda: self.feed(due), resting=False)

    def _arm_timer(self, command: cmd.ArmTimer) -> None:
        if not self.session.wait_for_timers:
            return  # the caller takes a run that only waits for time as it is

        def fire() -> None:
            self._timers.pop(("timer", command.key), None)
            self.feed(ev.TimerFired(command.key))

        timer = self.session.call_at(command.due_at, fire, resting=True)
        self._timers["timer", command.key] = timer

    def disarm(self, key: Key) -> None:
        """Forget the timer of an instance that was answered before it was due."""
        timer = self._timers.pop(("timer", key), None)
        if timer is not None:
            self.session.cancel_timer(timer, resting=True)

    def _stop_work(self, command: cmd.StopWork) -> None:
        for key in list(self._timers):
            self.disarm(key[1])
        for _, unbegun in self.session.pool.discard(lambda job: job[0] is self):
            self._report_unbegun(unbegun)
        for attempt in tuple(self._running):
            attempt.stop("stopped")
        for child in tuple(self.children.values()):
            child.feed(ev.CancelRequested(command.reason))

    def _stop_child(self, command: cmd.StopChild) -> None:
        child = self.children.pop(command.key, None)
        if child is not None:
            # What it still reports is about an attempt that is over.
            child.parent = None
            child.orphaned = True
            child.feed(ev.CancelRequested(command.reason))

    def _report_unbegun(self, command: AttemptCommand) -> None:
        if isinstance(command, cmd.RunNode):
            self.feed(ev.NodeStopped(command.key, command.attempt))
        elif isinstance(command, cmd.RunItem):
            self.feed(ev.ItemStopped(command.key, command.item, command.attempt))

    def _finished(self, _command: cmd.FinishRun) -> None:
        self.held.clear()

    # -- children ---------------------------------------------------------------------------

    def _start_child(self, command: cmd.StartChild) -> None:
        known = self.session.known
        blueprint = known.blueprint(command.blueprint_id)
        node_id = self.plan.nodes[index_of_key(command.key)].id
        if blueprint is None:
            names = ", ".join(known.blueprint_ids()) or "none"
            text = (
                f"Subflow node '{node_id}' names the blueprint '{command.blueprint_id}', which "
                f"the runtime does not know. It knows: {names}."
            )
        elif self.depth >= MAX_DEPTH:
            text = (
                f"Subflow node '{node_id}' is {MAX_DEPTH} subflows deep, which is the limit. "
                "Does a blueprint call itself without an end?"
            )
        else:
            self._run_child(command, self.session.runtime.plan_of(blueprint))
            return
        error = ErrorInfo("FlowcraftError", text, ("FlowcraftError",))
        self.feed(ev.ChildSettled(command.key, command.attempt, False, {}, {}, None, error))

    def _run_child(self, command: cmd.StartChild, plan: Plan) -> None:
        child = LocalRun(self.session, plan, RunState(), (self, command.key))
        self.children[command.key] = child
        given = command.context is None
        iteration = ".".join(map(str, iteration_of_key(command.key)))
        node_id = self.plan.nodes[index_of_key(command.key)].id
        child.feed(
            ev.RunStarted(
                run_id=f"{self.state.run_id}/{node_id}:{iteration}:{command.attempt}",
                context=copy_value(dict(command.context or {})),
                input=command.input,
                has_input=given,
                max_executions=self.state.max_executions,
            )
        )

    def child_settled(self, key: Key, child: LocalRun) -> None:
        """Take over what a child run left behind."""
        self.children.pop(key, None)
        self.disarm(key)
        state, attempt = child.state, self.state.records[key].attempt
        succeeded = state.status is RunStatus.COMPLETED
        view = ContextView(child.plan, state)
        context = {k: v for k, v in view.items() if not k.startswith("_")} if succeeded else {}
        outputs = child_outputs(child.plan, state) if succeeded else {}
        result = child_result(child.plan, state) if succeeded else None
        error = None if succeeded else _child_error(child)
        self.feed(ev.ChildSettled(key, attempt, succeeded, context, outputs, result, error))

    # -- the context as nodes see it ----------------------------------------------------------

    def read_context(self, key: str, seen: int, default: Any) -> Any:
        """The value of a context key as it was at sequence number ``seen``; not a copy."""
        with self._lock:
            for sequence, old in self._past.get(key, ()):
                if sequence > seen:
                    return default if old is _MISSING else old
            return ContextView(self.plan, self.state).lookup(key, default)

    def whole_context(self, seen: int) -> dict[str, Any]:
        """A copy of the context as it was at sequence number ``seen``."""
        with self._lock:
            everything = dict(ContextView(self.plan, self.state))
            for key, versions in self._past.items():
                for sequence, old in versions:
                    if sequence > seen:
                        if old is _MISSING:
                            everything.pop(key, None)
                        else:
                            everything[key] = old
                        break
        copied: dict[str, Any] = copy_value(everything)
        return copied

    def _remember(self, changes: Changes) -> None:
        """Keep what running nodes may still read (S8) before it is overwritten."""
        names = list(changes.context or ())
        for key, record in changes.records.items():
            if record.status in HAS_OUTPUT:
                node_id = self.plan.nodes[index_of_key(key)].id
                names += (node_id, OUTPUTS + node_id)
        if names:
            view = ContextView(self.plan, self.state)
            for name in names:
                old = view.lookup(name, _MISSING)
                self._past.setdefault(name, []).append((self.sequence + 1, old))

    def save(self) -> str:
        """The run and its children as text."""
        return save_run(self)

    # -- events -----------------------------------------------------------------------------

    def report_progress(self, key: Key, attempt: int, progress: float | None, detail: Any) -> None:
        """Tell listeners that a node is alive."""
        if self.session.bus.active:
            self._emit("node:progress", key, attempt, {"progress": progress, "detail": detail})

    def _tell_start(self, attempt: Attempt) -> None:
        command = attempt.command
        if isinstance(command, cmd.RunUndo):
            details = {"node": attempt.node.id, "input": copy_value(command.input)}
            self._emit("compensation:start", command.target, command.attempt, details)
            return
        details = {"input": copy_value(command.input)}
        if isinstance(command, cmd.RunItem):
            details |= {"item": command.item, "name": f"{command.uses}[{command.item}]"}
        self._emit("node:start", command.key, command.attempt, details)

    def _tell(self, event: ev.Event, decision: Decision) -> None:
        if isinstance(event, ev.NodeSucceeded) and event.key in decision.changes.records:
            record = decision.changes.records[event.key]
            if record.status in HAS_OUTPUT:
                self._emit("node:finish", event.key, event.attempt, _finish_details(event))
        for note in decision.notes:
            self._emit_note(note, event)

    def _emit_note(self, note: Note, event: ev.Event) -> None:
        details = dict(note.details)
        if isinstance(event, ev.RunStarted) and note.type == "workflow:start":
            details |= event._asdict() | {"context": copy_value(dict(event.context))}
        if isinstance(event, ev.ItemSucceeded) and "item" in details:
            details |= _finish_details(event) | {"attempt": event.attempt}
        attempt = details.pop("attempt", None)
        if note.key is not None:
            record = self.state.records.get(note.key)
            if attempt is None and record is not None:
                attempt = record.attempt
            if note.type == "node:finish" and record is not None and "item" not in details:
                details["output"] = copy_value(record.output)
        self._emit(note.type, note.key, attempt, details)

    def _emit(
        self, type_: str, key: Key | None, attempt: int | None, details: Mapping[str, Any]
    ) -> None:
        self.session.bus.emit(
            FlowEvent(
                type=type_,
                timestamp=self.session.clock.now(),
                run_id=self.state.run_id,
                blueprint_id=self.plan.blueprint.id,
                node_id=None if key is None else self.plan.nodes[index_of_key(key)].id,
                attempt=attempt,
                iteration=() if key is None else iteration_of_key(key),
                payload=details,
            )
        )


def _execute(job: Job, task: asyncio.Task[None]) -> Awaitable[None]:
    run, command = job
    return run.execute(Attempt(run, command, task))


def _finish_details(event: ev.NodeSucceeded | ev.ItemSucceeded) -> dict[str, Any]:
    details: dict[str, Any] = {"output": copy_value(event.output)}
    if event.writes:
        details["writes"] = [[w.op, w.key, copy_value(w.value)] for w in event.writes]
    if isinstance(event, ev.NodeSucceeded):
        details["action"] = event.action
        if event.dynamic:
            details["dynamic_nodes"] = [definition.to_dict() for definition in event.dynamic]
    return details


def _child_error(child: LocalRun) -> ErrorInfo:
    errors = child.state.errors
    causes = [
        pair
        for error in errors
        for pair in ((error.type, f"{error.node_id}: {error.message}"), *error.causes)
    ]
    what = "was cancelled" if child.state.status is RunStatus.CANCELLED else "failed"
    text = f"The subflow '{child.plan.blueprint.id}' {what}"
    if errors:
        text += f": {errors[0].message}"
    return ErrorInfo(
        "SubflowFailed", text, ("SubflowFailed", "FlowcraftError"), causes=tuple(causes[:20])
    )


_CARRY_OUT: dict[type[Any], Callable[[LocalRun, Any], None]] = {
    cmd.RunNode: LocalRun._submit,
    cmd.RunItem: LocalRun._submit,
    cmd.RunUndo: LocalRun._submit,
    cmd.RetryNode: LocalRun._retry_node,
    cmd.RetryItem: LocalRun._retry_item,
    cmd.RetryUndo: LocalRun._retry_undo,
    cmd.ArmTimer: LocalRun._arm_timer,
    cmd.StartChild: LocalRun._start_child,
    cmd.StopChild: LocalRun._stop_child,
    cmd.StopWork: LocalRun._stop_work,
    cmd.FinishRun: LocalRun._finished,
}
