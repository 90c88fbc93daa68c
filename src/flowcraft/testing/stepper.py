"""Running a workflow one step at a time, forwards and backwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from flowcraft.core import events as ev
from flowcraft.core.commands import RunItem, RunUndo
from flowcraft.core.items import item_name
from flowcraft.core.plan import index_of_key
from flowcraft.core.state import RunStatus
from flowcraft.engine.bus import EventBus, FlowEvent
from flowcraft.engine.local import LocalRun
from flowcraft.engine.results import Awaiting, RunResult
from flowcraft.engine.runtime import FlowRuntime, Runnable
from flowcraft.engine.session import AttemptCommand, Job, Session
from flowcraft.engine.view import runs_below
from flowcraft.errors import FlowcraftError, InvalidRunState
from flowcraft.testing.activity import Activity
from flowcraft.testing.clock import PATIENCE_SECONDS, START, VirtualClock
from flowcraft.testing.held import (
    HeldPool,
    RunCopy,
    copy_of,
    due_names,
    mark_of,
    name_of_job,
    restore,
    way_to,
)
from flowcraft.testing.subjects import Answer, Subject, initial_context, open_session
from flowcraft.testing.trace import Trace, name_of

Kind = Literal["node", "timer", "answer"]


@dataclass(frozen=True, slots=True)
class StepTaken:
    """What one step did.

    Attributes:
        kind: ``node`` for an attempt at a node, ``timer`` for time that passed until something
            was due, ``answer`` for an answer from outside.
        names: The node that was executed or answered, or those that were due.
        events: What happened, in order.
        ready: What is ready after the step.
        status: The run's status after the step.
        now: The virtual time after the step, in seconds since the epoch.
        attempt: Which attempt it was; 0 where no node was executed.
        input: What the node was given.
        output: What it gave; ``None`` if it failed.
        action: The action it returned.
        error: How it failed, as ``Type: message``; ``None`` if it did not.
    """

    kind: Kind
    names: tuple[str, ...]
    events: tuple[FlowEvent, ...]
    ready: tuple[str, ...]
    status: RunStatus
    now: float
    attempt: int = 0
    input: Any = None
    output: Any = None
    action: Any = None
    error: str | None = None

    @property
    def node(self) -> str:
        """The first of ``names``."""
        return self.names[0] if self.names else ""


class _Past(NamedTuple):
    """The state before a step."""

    runs: RunCopy
    jobs: list[Any]
    events: int
    now: float


class Stepper:
    """Runs a workflow step by step, in virtual time.

    The engine decides and executes as always; only what starts next is up to the stepper: the
    node that has been ready longest, or the one a test names. Time passes only when nothing is
    ready, as a step of its own. Make it inside a running event loop.

    Nodes of subflows are named ``subflow/node``, items of a batch ``worker[3]``.

    Args:
        flow: A flow, a blueprint (also in JSON form) or the id of one the runtime knows.
        context: The initial context.
        runtime: Whose implementations, dependencies and settings to use; it is not changed, and
            its listeners hear nothing.
        run_id: The run's id.
        start: The virtual time at which the run starts; 2024-01-01T00:00:00Z by default.
        options: What ``FlowRuntime`` takes, such as ``registry``, where no runtime is given.

    Raises:
        BlueprintError: The blueprint is malformed.
        SerializationError: The initial context holds something that cannot be stored.
        ValueError: Both ``runtime`` and options for one are given.
        RuntimeError: No event loop is running.
    """

    def __init__(
        self,
        flow: Runnable,
        context: Mapping[str, Any] | str | None = None,
        *,
        runtime: FlowRuntime | None = None,
        run_id: str = "stepper",
        start: float | datetime = START,
        **options: Any,
    ) -> None:
        if runtime is not None and options:
            raise ValueError("Give a runtime or options to make one of, not both.")
        self._runtime = runtime or FlowRuntime(**options)
        self._subject = Subject(self._runtime, flow)
        self._events: list[FlowEvent] = []
        self._past: list[_Past] = []
        self._task: asyncio.Task[None] | None = None
        self._open(start)
        self._run = self._new_run()
        self._session.root = self._run
        self._run.feed(
            ev.RunStarted(
                run_id,
                initial_context(self._runtime, context),
                max_executions=self._runtime.options.max_executions,
            )
        )

    @property
    def ready(self) -> tuple[str, ...]:
        """What can be executed now, in the order in which :meth:`next` takes it."""
        return tuple(map(name_of_job, self._pool.jobs))

    @property
    def result(self) -> RunResult:
        """How the run stands, or ended; later steps show in its context and outputs."""
        return RunResult(self._run)

    @property
    def status(self) -> RunStatus:
        """The run's status."""
        return self._run.state.status

    @property
    def context(self) -> Mapping[str, Any]:
        """The run's context as it is now."""
        return self.result.context

    @property
    def awaiting(self) -> tuple[Awaiting, ...]:
        """What the run waits for."""
        return self.result.awaiting

    @property
    def now(self) -> datetime:
        """The virtual time, in UTC."""
        return datetime.fromtimestamp(self._clock.now(), UTC)

    @property
    def trace(self) -> Trace:
        """What happened so far, without the steps that were taken back."""
        return Trace(self._subject, self.result, self._events)

    def state(self, node: str) -> str:
        """Where a node of the run is: ``pending``, ``running``, ``succeeded`` and so on.

        A node that is ready is ``running`` already as far as the run is concerned.

        Raises:
            FlowcraftError: The workflow has no such node; the message lists those it has.
        """
        if node not in self._run.plan.index_of:
            raise self._subject.refuse(node, ())
        return self.result.states.get(node, "pending")

    async def next(
        self, name: str | None = None, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> StepTaken | None:
        """Execute one attempt at a ready node or, if none is ready, let time pass.

        Args:
            name: Which of :attr:`ready`; by default the one that has been ready longest.
            patience_seconds: How long the node may take without progress, in real time.

        Returns:
            What was done; ``None`` if nothing is left to do but answering, or nothing at all.

        Raises:
            InvalidRunState: What ``name`` names is not ready; the message lists what is.
            RunTimeout: The node took too long; go :meth:`back`, or drop the stepper.
        """
        self._check_whole()
        due = self._clock.next_due
        if name is None and not self._pool.jobs:
            return None if due is None else self._pass_time(due)
        job = self._choose(name)
        past = self._present()
        self._past.append(past)
        await self._execute(job, patience_seconds)
        return self._node_step(past, job)

    async def finish(self) -> RunResult:
        """Take steps until the run is over, or only an answer helps it on.

        Raises:
            RunTimeout: A node took too long.
        """
        while await self.next() is not None:
            pass
        return self.result

    def answer(
        self, node_id: str | Sequence[str] | None = None, output: Any = None, action: Any = None
    ) -> StepTaken:
        """Give a waiting node its answer, as a step; a node that sleeps is woken.

        Args:
            node_id: The node; for one in a subflow the ids that lead to it. May be left out
                where only one node waits.
            output: The node's output.
            action: Routes as in rule S2.

        Raises:
            InvalidRunState: The run does not wait for this; the message lists what it waits for.
            SerializationError: ``output`` cannot be stored.
        """
        self._check_whole()
        answer = Answer(self._run, node_id, output, action)
        target = answer.target
        name = "/".join([*way_to(target.run), target.node_id])
        return self._step("answer", (name,), answer.give)

    def cancel(self, reason: str | None = None) -> StepTaken:
        """Cancel the run, as a step.

        Raises:
            InvalidRunState: It is over.
        """
        self._check_whole()
        if self.status.is_final:
            raise InvalidRunState(f"The run is {self.status}: nothing is left to stop.")
        return self._step("answer", (), lambda: self._run.feed(ev.CancelRequested(reason)))

    def back(self) -> None:
        """Return to the state before the last step. What nodes did outside is not undone.

        Raises:
            InvalidRunState: No step was taken.
        """
        if not self._past:
            raise InvalidRunState("There is no step to take back.")
        past = self._past.pop()
        del self._events[past.events :]
        self._open(past.now)
        self._run = restore(past.runs, self._session)
        self._session.root = self._run
        for live in runs_below(self._run):
            live.rearm()
        self._pool.jobs.sort(key=lambda job: past.jobs.index(mark_of(job)))

    # -- inside -----------------------------------------------------------------------------

    def _open(self, now: float | datetime) -> None:
        """A session in which nothing starts by itself."""
        self._clock = VirtualClock(now)
        self._session: Session = open_session(self._runtime, self._subject.known)
        self._pool = HeldPool()
        activity = Activity(lambda: self._task is not None, self._clock)
        self._clock.follow(activity)
        session = self._session
        session.clock, session.pool, session.bus = self._clock, self._pool, EventBus()
        session.middleware = (activity, *session.middleware)
        session.door = None  # who steps says what begins, one thing at a time
        session.bus.subscribe(self._events.append)

    def _new_run(self) -> LocalRun:
        plan = self._runtime.plan_of(self._subject.blueprint)
        return restore(RunCopy.fresh(plan), self._session)

    def _choose(self, name: str | None) -> Job:
        for job in self._pool.jobs:
            if name is None or name_of_job(job) == name:
                return job
        ready = ", ".join(self.ready) or "nothing"
        raise InvalidRunState(f"'{name}' is not ready. Ready: {ready}.")

    async def _execute(self, job: Job, patience_seconds: float) -> None:
        """Execute an attempt; time passes only while it sleeps in virtual time."""
        task = self._task = self._pool.begin(job)
        task.add_done_callback(self._ended)
        try:
            while True:
                await self._clock.settle(patience_seconds=patience_seconds)
                due = self._clock.next_due
                if task.done() or due is None:
                    break
                self._clock.advance_to(max(due, self._clock.now()))
            await task
        except BaseException:
            self._session.closing = True
            task.cancel()
            raise

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled():
            task.exception()  # seen; who awaits the task gets it, too

    def _pass_time(self, due: float) -> StepTaken:
        names = tuple(due_names(self._run, due))
        return self._step("timer", names, lambda: self._clock.advance_to(due))

    def _step(self, kind: Kind, names: tuple[str, ...], act: Callable[[], None]) -> StepTaken:
        past = self._present()
        act()
        self._past.append(past)
        events = tuple(self._events[past.events :])
        return StepTaken(kind, names, events, self.ready, self.status, self._clock.now())

    def _node_step(self, past: _Past, job: Job) -> StepTaken:
        run, command = job
        events = tuple(self._events[past.events :])
        end = next((event for event in events if _ends(event, run, command)), None)
        payload: Mapping[str, Any] = {} if end is None else end.payload
        failed = end is not None and not end.type.endswith(":finish")
        return StepTaken(
            kind="node",
            names=(name_of_job(job),),
            events=events,
            ready=self.ready,
            status=self.status,
            now=self._clock.now(),
            attempt=command.attempt,
            input=command.input,
            output=payload.get("output"),
            action=payload.get("action"),
            error=f"{payload.get('type')}: {payload.get('message')}" if failed else None,
        )

    def _present(self) -> _Past:
        marks = [mark_of(job) for job in self._pool.jobs]
        return _Past(copy_of(self._run), marks, len(self._events), self._clock.now())

    def _check_whole(self) -> None:
        if self._session.closing:
            raise FlowcraftError("The last step did not end: go back() before the next one.")


def _ends(event: FlowEvent, run: LocalRun, command: AttemptCommand) -> bool:
    """Whether an event tells how an attempt ended."""
    if event.run_id != run.state.run_id or event.type not in _ENDS:
        return False
    if isinstance(command, RunItem):
        return name_of(event) == item_name(command.uses, command.item)
    key = command.target if isinstance(command, RunUndo) else command.key
    return event.node_id == run.plan.nodes[index_of_key(key)].id


_ENDS = frozenset(
    {"node:finish", "node:retry", "node:error", "compensation:finish", "compensation:error"}
)
