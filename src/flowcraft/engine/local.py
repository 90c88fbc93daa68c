"""A run in this process: the state in memory, commands carried out on the event loop.

Each :class:`LocalRun`, the run itself and the child runs of its subflows, feeds what happened to
``decide``, writes the changes and carries out the commands.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from flowcraft.core.decide import decide
from flowcraft.core.plan import Key, Plan
from flowcraft.core.state import (
    CHILD,
    RUN_RUNNING,
    RUNNING,
    RunState,
    RunStatus,
)
from flowcraft.engine.attempt import Attempt
from flowcraft.engine.children import (
    checked_child,
    child_not_started,
    child_settled,
    child_started,
)
from flowcraft.engine.failures import instead_of
from flowcraft.engine.places import due_event, stopped
from flowcraft.engine.saved import save_run
from flowcraft.engine.session import AttemptCommand, Session
from flowcraft.engine.telling import log_notes, tell_decision, tell_start
from flowcraft.engine.view import RunView, runs_below
from flowcraft.ports.clock import Timer


class LocalRun(RunView):
    """One run in memory."""

    def __init__(
        self, session: Session, plan: Plan, state: RunState, parent: tuple[LocalRun, Key] | None
    ) -> None:
        super().__init__(session, plan, state)
        self.session = session
        self.parent = parent
        self.depth: int = parent[0].depth + 1 if parent else 0
        self._deciding = False
        self._later: deque[ev.Event] = deque()
        self.children: dict[Key, LocalRun] = {}
        # Jobs that were taken off the queue, to be reported as stopped.
        self.unbegun: list[AttemptCommand] = []
        # Timers by instance, and whether a run at rest is kept for them.
        self._timers: dict[Key, tuple[Timer, bool]] = {}

    # -- deciding ---------------------------------------------------------------------------

    def feed(self, event: ev.Event) -> None:
        """Let the decision core decide about an event, and do what it says.

        What happens while a decision is carried out (a child that ends at once, a listener that
        cancels) is decided right after it, not in its midst.
        """
        if self._deciding:
            self._later.append(event)
            return
        self._deciding = True
        try:
            self._decide(event)
            while self._later:
                self._decide(self._later.popleft())
        finally:
            self._deciding = False

    def _decide(self, event: ev.Event) -> None:
        state, session = self.state, self.session
        before, now = state.status, session.clock.now()
        try:
            decision = decide(self.plan, state, event, now)
        except Exception as error:
            event = instead_of(event, error)
            decision = decide(self.plan, state, event, now)
        self.write(decision)
        gate = session.gate
        if decision.notes and gate is None:
            log_notes(self, decision.notes)
        if session.bus.active:
            tell_decision(self, event, decision)
        for command in decision.commands:
            if gate is None or not gate.keeps(self, command):
                _CARRY_OUT[type(command)](self, command)
        if state.status is not before or before is not RUN_RUNNING:
            self._status_changed(before)

    def rearm(self) -> None:
        """Carry out what is outstanding in a state that was loaded."""
        now = self.session.clock.now()
        for command in decide(self.plan, self.state, ev.LookedAt(), now).commands:
            if isinstance(command, cmd.ArmTimer) and command.due_at <= now:
                self._arm(command, resting=True)
            elif not (isinstance(command, cmd.StartChild) and command.key in self.children):
                _CARRY_OUT[type(command)](self, command)
        if self.state.stopping is not None:
            self._report_gone()

    def _report_gone(self) -> None:
        """Of a stopping run that was loaded nothing is under way any more: say so."""
        for key, record in tuple(self.state.records.items()):
            if record.status is RUNNING:
                self.feed(ev.NodeStopped(key, record.attempt))
            elif record.status is CHILD and key not in self.children:
                self.feed(ev.ChildSettled(key, record.attempt, False, {}, {}))
        for (key, number), item in tuple(self.state.items.items()):
            self.feed(ev.ItemStopped(key, number, item.attempt))

    def _status_changed(self, before: RunStatus) -> None:
        if self.parent is None:
            if self.state.status.is_final:
                self.session.orphans.discard(self)
            self.session.look()
            return
        run, key = self.parent
        if self.state.status.is_final:
            run.child_settled(key, self)
        elif self.state.status is not before:
            attempt = run.state.records[key].attempt
            run.feed(ev.ChildRests(key, attempt, self.state.status is not RunStatus.RUNNING))
        else:
            self.session.look()  # the last timer may have led from one question to the next

    # -- executing --------------------------------------------------------------------------

    def _submit(self, command: Any) -> None:
        door = self.session.door
        if door is None or not door.stops(self, command):
            self.session.pool.submit(self, command)

    def _retry(self, command: cmd.RetryNode | cmd.RetryItem | cmd.RetryUndo) -> None:
        due = due_event(command)
        self.session.call_at(command.due_at, lambda: self.feed(due), resting=False)

    def _arm_timer(self, command: cmd.ArmTimer) -> None:
        # Otherwise the caller takes a run that only waits for time as it is.
        waited_for = self.session.wait_for_timers
        if waited_for or self.state.records[command.key].status is CHILD:
            self._arm(command, resting=waited_for)

    def _arm(self, command: cmd.ArmTimer, *, resting: bool) -> None:
        def fire() -> None:
            self._timers.pop(command.key, None)
            self.feed(ev.TimerFired(command.key))

        timer = self.session.call_at(command.due_at, fire, resting=resting)
        self._timers[command.key] = (timer, resting)

    def disarm(self, key: Key) -> None:
        """Forget the timer of an instance that was answered before it was due."""
        armed = self._timers.pop(key, None)
        if armed is not None:
            timer, resting = armed
            self.session.cancel_timer(timer, resting=resting)

    def _stop_work(self, command: cmd.StopWork) -> None:
        for key in list(self._timers):
            self.disarm(key)
        # One look at the queue for all runs below: a run may have thousands of children. What
        # is queued for one that is stopping already are the nodes that undo what it did.
        below = {run for run in runs_below(self) if run is self or run.state.stopping is None}
        door = self.session.door
        if door is not None:
            for run, job in door.withdraw(below.__contains__):
                run.unbegun.append(job)
        for run, job in self.session.pool.discard(below.__contains__):
            if door is not None:
                door.leave(job)
            run.unbegun.append(job)
        unbegun, self.unbegun = self.unbegun, []
        for job in unbegun:
            self._report_unbegun(job)
        for attempt in tuple(self.running):
            attempt.stop("stopped")
        for child in tuple(self.children.values()):
            child.feed(ev.CancelRequested(command.reason))

    def _stop_child(self, command: cmd.StopChild) -> None:
        child = self.children.pop(command.key, None)
        if child is not None:
            # What it still reports is about an attempt that is over; what it undoes is not.
            child.parent = None
            self.session.orphans.add(child)
            child.feed(ev.CancelRequested(command.reason))

    def _report_unbegun(self, command: AttemptCommand) -> None:
        if not isinstance(command, cmd.RunUndo):
            self.feed(stopped(command))

    def _finished(self, _command: cmd.FinishRun) -> None:
        self.held.clear()

    # -- children ---------------------------------------------------------------------------

    def _start_child(self, command: cmd.StartChild) -> None:
        try:
            known = self.session.known
            found = known.blueprint(command.blueprint_id)
            blueprint = checked_child(self, command, self.depth, found, known.blueprint_ids())
            self._run_child(command, self.session.runtime.plan_of(blueprint))
        except Exception as error:
            self.children.pop(command.key, None)
            self.feed(child_not_started(command, error))

    def _run_child(self, command: cmd.StartChild, plan: Plan) -> None:
        child = LocalRun(self.session, plan, RunState(), (self, command.key))
        self.children[command.key] = child
        child.feed(child_started(self, command))

    def child_settled(self, key: Key, child: LocalRun) -> None:
        """Take over what a child run left behind."""
        self.children.pop(key, None)
        self.disarm(key)
        self.feed(child_settled(child, key, self.state.records[key].attempt))

    def save(self) -> str:
        """The run and its children as text."""
        return save_run(self)


async def execute(run: LocalRun, command: AttemptCommand, task: asyncio.Task[None]) -> None:
    """Carry out a command in the runner that took it, and decide about how it ended."""
    session, running = run.session, run.running
    pool, attempt = session.pool, Attempt(run, command, task)
    try:
        running[attempt] = attempt.seen
        pool.executing += 1
        try:
            if session.bus.active and attempt.can_begin:
                tell_start(run, attempt)  # a listener may stop the run
            outcome = await attempt.perform()
        finally:
            pool.executing -= 1
            del running[attempt]
            attempt.ctx = None  # or the two would keep each other until garbage is collected
        if not running and (run.past.kept or run.past.born):
            run.forget_past()
        pool.between = 1
        run.feed(outcome)
        if session.door is not None:
            session.door.leave(command)
    except BaseException as error:
        if not session.closing:
            session.abort(error)
        raise
    finally:
        pool.between = 0


_CARRY_OUT: dict[type[Any], Callable[[LocalRun, Any], None]] = {
    cmd.RunNode: LocalRun._submit,
    cmd.RunItem: LocalRun._submit,
    cmd.RunUndo: LocalRun._submit,
    cmd.RetryNode: LocalRun._retry,
    cmd.RetryItem: LocalRun._retry,
    cmd.RetryUndo: LocalRun._retry,
    cmd.ArmTimer: LocalRun._arm_timer,
    cmd.StartChild: LocalRun._start_child,
    cmd.StopChild: LocalRun._stop_child,
    cmd.StopWork: LocalRun._stop_work,
    cmd.FinishRun: LocalRun._finished,
}
