"""Running workflows in virtual time, from a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

from flowcraft.core.state import RunStatus
from flowcraft.engine.bus import FlowEvent
from flowcraft.engine.context import CancelToken
from flowcraft.engine.results import Awaiting, RunResult
from flowcraft.engine.runtime import Flow, FlowRuntime, Runnable
from flowcraft.engine.session import Session
from flowcraft.errors import FlowcraftError, InvalidRunState
from flowcraft.testing.clock import (
    PATIENCE_SECONDS,
    START,
    Duration,
    VirtualClock,
    duration_in_seconds,
)
from flowcraft.testing.subjects import Answer, Subject
from flowcraft.testing.trace import Record, Trace

Context = Mapping[str, Any] | str | None


class TestEnvironment:
    """Workflows in virtual time: days of sleeps and retries pass in milliseconds.

    Inside ``async with`` the runtime follows a virtual clock, which stands still until the test
    advances it. On leaving, runs that are not over are stopped, and the runtime gets its own
    clock back.

    Args:
        subjects: One runtime, or the flows to make one for (with ``options``).
        clock: A virtual clock that several environments share; by default one of its own.
        start: Where a clock of its own starts; 2024-01-01T00:00:00Z by default.
        patience_seconds: How long, in real time, :meth:`advance` and the like wait for nodes
            that make no progress; 5 by default.
        options: What ``FlowRuntime`` takes, where no runtime is given.

    Raises:
        ValueError: Both a runtime and something to make one of are given, or ``clock`` is one
            that jumps by itself.
    """

    __test__: ClassVar[bool] = False  # it is no test case, whatever its name

    def __init__(
        self,
        *subjects: FlowRuntime | Flow,
        clock: VirtualClock | None = None,
        start: float | datetime = START,
        patience_seconds: float = PATIENCE_SECONDS,
        **options: Any,
    ) -> None:
        self.clock = clock or VirtualClock(start)
        if self.clock.jumps:
            raise ValueError("A TestEnvironment advances its clock: give one without autojump.")
        self.runtime = _runtime_for(subjects, options)
        self._patience = patience_seconds
        self._record = Record()
        self._handles: list[RunHandle] = []
        self._undo: list[Callable[[], Any]] = []

    async def __aenter__(self) -> Self:
        """Let the runtime follow the virtual clock.

        Raises:
            RuntimeError: The runtime is in an environment already, or has runs under way.
        """
        self._undo = [self.clock.attach(self.runtime), self.runtime.subscribe(self._record.add)]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop what is under way and give the runtime its clock back.

        Raises:
            BaseException: What a run raised, if nobody has seen it yet and the test itself
                raised nothing.
        """
        handles, self._handles = self._handles, []
        for handle in handles:
            await handle.close()
        while self._undo:
            self._undo.pop()()
        unseen = [e for e in (handle.unseen_error() for handle in handles) if e is not None]
        if unseen and error is None:
            raise unseen[0]

    @property
    def now(self) -> datetime:
        """The virtual time, in UTC."""
        return datetime.fromtimestamp(self.clock.now(), UTC)

    @property
    def runs(self) -> tuple[RunHandle, ...]:
        """The runs that were started here, in that order."""
        return tuple(self._handles)

    @property
    def events(self) -> tuple[FlowEvent, ...]:
        """Everything that happened in the environment, in order."""
        return tuple(self._record.events)

    @property
    def status(self) -> RunStatus:
        """The status of the run that was started last."""
        return self._latest().status

    @property
    def result(self) -> RunResult:
        """How the run that was started last ended, or stands."""
        return self._latest().result

    @property
    def trace(self) -> Trace:
        """What happened so far in the run that was started last."""
        return self._latest().trace

    async def start(
        self,
        flow: Runnable,
        context: Context = None,
        *,
        run_id: str | None = None,
        concurrency: int | None = None,
        strict: bool | None = None,
        on_failure: Literal["fail_fast", "continue"] | None = None,
        while_busy: bool = False,
    ) -> RunHandle:
        """Start a run, and let it get as far as it gets without time passing.

        The arguments are those of ``FlowRuntime.run`` and, as for :meth:`advance`,
        ``while_busy``: do not wait for nodes that hang.

        Raises:
            FlowcraftError: The blueprint or the context is refused, or a run of this id exists.
            RunTimeout: Nodes are still at work when the environment's patience is over.
        """
        self._check_open()
        run_id = run_id or self.runtime.identifiers.new_run_id()
        if any(handle.run_id == run_id for handle in self._handles):
            raise FlowcraftError(f"A run '{run_id}' was started here already; choose another id.")
        handle = RunHandle(self, flow, run_id, concurrency)
        handle.begin(context, strict, on_failure)
        self._handles.append(handle)
        await self.settle(while_busy=while_busy)
        if (error := handle.unseen_error()) is not None:
            raise error
        return handle

    async def run(self, flow: Runnable, context: Context = None, **options: Any) -> RunResult:
        """Start a run and let time pass until it is over, or only an answer helps it on.

        Takes what :meth:`start` takes, and raises what it raises.
        """
        handle = await self.start(flow, context, **options)
        return await handle.finish(while_busy=options.get("while_busy", False))

    async def advance(self, duration: Duration, *, while_busy: bool = False) -> None:
        """Let time pass, stopping wherever something is due until the nodes are done with it.

        Args:
            duration: Seconds, a text such as ``"90s"``, ``"5m"`` or ``"1d"``, or a timedelta.
            while_busy: Let time pass although nodes are at work, as soon as they wait for
                anything: to test the timeout of a node that hangs.

        Raises:
            ValueError: It is no duration, or a negative one.
            RunTimeout: Nodes are still at work when the environment's patience is over.
        """
        self._check_open()
        end = self.clock.now() + duration_in_seconds(duration)
        await self.settle(while_busy=while_busy)
        while (due := self.clock.next_due) is not None and due <= end:
            self.clock.advance_to(max(due, self.clock.now()))
            await self.settle(while_busy=while_busy)
        self.clock.advance_to(max(end, self.clock.now()))
        await self.settle(while_busy=while_busy)

    async def settle(self, *, while_busy: bool = False) -> None:
        """Wait until nothing can happen any more without time passing.

        Raises:
            RunTimeout: Nodes are still at work when the environment's patience is over.
        """
        await self.clock.settle(patience_seconds=self._patience, while_busy=while_busy)

    async def answer(
        self, node_id: str | Sequence[str] | None = None, output: Any = None, action: Any = None
    ) -> None:
        """Answer a waiting node of the run that was started last; see ``RunHandle.answer``."""
        await self._latest().answer(node_id, output, action)

    def trace_of(self, run_id: str, subject: Subject, result: RunResult) -> Trace:
        """The trace of one of the runs."""
        return Trace(subject, result, self._record.of(run_id))

    def _latest(self) -> RunHandle:
        if not self._handles:
            raise InvalidRunState("No run was started here yet: await env.start(flow) first.")
        return self._handles[-1]

    def _check_open(self) -> None:
        if not self._undo:
            raise RuntimeError("Use the environment inside 'async with TestEnvironment(…) as env'.")


class RunHandle:
    """A run in a :class:`TestEnvironment`.

    Attributes:
        run_id: The run's id.
    """

    def __init__(
        self, env: TestEnvironment, flow: Runnable, run_id: str, concurrency: int | None
    ) -> None:
        self.run_id = run_id
        self._env = env
        self._flow = flow
        self._concurrency = concurrency
        self._subject = Subject(env.runtime, flow)
        self._cancel = CancelToken()
        self._task: asyncio.Task[RunResult] | None = None
        self._error_seen = False

    @property
    def result(self) -> RunResult:
        """How the run ended, or how it stands; as it goes on, context and outputs show it.

        Raises:
            InvalidRunState: It was stopped where it was when its environment was left.
            BaseException: What ``FlowRuntime.run`` raised, which no failing node is a reason for.
        """
        session = self._session()
        if session is not None and session.root is not None:
            return RunResult(session.root)
        done = self._done()
        if done.cancelled():
            raise InvalidRunState(
                f"Run '{self.run_id}' was under way when its TestEnvironment was left, and was "
                "stopped there. Look at it inside of the 'async with', or let it end first."
            )
        return done.result()

    @property
    def status(self) -> RunStatus:
        """Where the run is: ``running``, ``awaiting``, ``completed`` and so on."""
        return self.result.status

    @property
    def awaiting(self) -> tuple[Awaiting, ...]:
        """What the run waits for."""
        return self.result.awaiting

    @property
    def trace(self) -> Trace:
        """What happened so far."""
        return self._env.trace_of(self.run_id, self._subject, self.result)

    def begin(
        self,
        context: Context,
        strict: bool | None,
        on_failure: Literal["fail_fast", "continue"] | None,
    ) -> None:
        """Start the run in a task of its own."""
        self._task = asyncio.get_running_loop().create_task(
            self._env.runtime.run(
                self._flow,
                context,
                run_id=self.run_id,
                cancel=self._cancel,
                concurrency=self._concurrency,
                strict=strict,
                on_failure=on_failure,
            )
        )

    async def answer(
        self, node_id: str | Sequence[str] | None = None, output: Any = None, action: Any = None
    ) -> None:
        """Give a waiting node its answer; a node that sleeps is woken.

        Args:
            node_id: The node; for one in a subflow the ids that lead to it, or the subflow's id
                alone. May be left out where only one node waits.
            output: The node's output.
            action: Routes as in rule S2.

        Raises:
            InvalidRunState: The run does not wait for this; the message lists what it waits for.
            SerializationError: ``output`` cannot be stored.
            RunTimeout: Nodes are still at work when the environment's patience is over.
        """
        session = self._session()
        if session is None or session.root is None:
            await self._resume(node_id, output, action)
            return
        Answer(session.root, node_id, output, action).give()
        await self._env.settle()

    async def cancel(self) -> None:
        """Cancel the run.

        Raises:
            InvalidRunState: It is over.
            RunTimeout: Nodes are still at work when the environment's patience is over.
        """
        if self.status.is_final:
            raise InvalidRunState(f"Run '{self.run_id}' is {self.status}: nothing is left to stop.")
        self._cancel.cancel()
        if self._session() is None:
            await self._resume(self.awaiting[0].path, None, None)
        await self._env.settle()

    async def finish(self, *, while_busy: bool = False) -> RunResult:
        """Let time pass until the run is over, or only an answer helps it on.

        A wait with a timeout is over when its time is: answer it before.

        Args:
            while_busy: Let time pass although nodes are at work; see ``advance``.

        Raises:
            RunTimeout: Nodes are still at work when the environment's patience is over.
        """
        env = self._env
        await env.settle(while_busy=while_busy)
        while self._session() is not None and (due := env.clock.next_due) is not None:
            env.clock.advance_to(max(due, env.clock.now()))
            await env.settle(while_busy=while_busy)
        return self.result

    async def close(self) -> None:
        """Stop the run if it is not over."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    def unseen_error(self) -> BaseException | None:
        """What the run raised, unless it was asked for before."""
        task = self._task
        if task is None or not task.done() or task.cancelled() or self._error_seen:
            return None
        self._error_seen = True
        return task.exception()

    def __repr__(self) -> str:
        return f"<RunHandle {self.run_id} of {self._subject.blueprint.id!r}>"

    async def _resume(self, node_id: str | Sequence[str] | None, output: Any, action: Any) -> None:
        """Go on with a run that rests; nothing has changed if the answer is refused."""
        rested = self._done()
        self._task = asyncio.get_running_loop().create_task(
            self._env.runtime.resume(
                self._flow,
                rested.result(),
                node_id=node_id,
                output=output,
                action=action,
                cancel=self._cancel,
                concurrency=self._concurrency,
            )
        )
        self._error_seen = False
        await self._env.settle()
        if (error := self.unseen_error()) is not None:
            self._task = rested
            raise error

    def _session(self) -> Session | None:
        """The session in which the run is live; ``None`` once it is over or rests."""
        for session in tuple(self._env.runtime.sessions):
            if session.root is not None and session.root.state.run_id == self.run_id:
                return session
        return None

    def _done(self) -> asyncio.Task[RunResult]:
        task = self._task
        if task is None or not task.done():
            raise InvalidRunState(f"Run '{self.run_id}' has not begun yet: await env.settle().")
        self._error_seen = True
        return task


def _runtime_for(subjects: Sequence[FlowRuntime | Flow], options: Mapping[str, Any]) -> FlowRuntime:
    runtimes = [subject for subject in subjects if isinstance(subject, FlowRuntime)]
    flows = [subject for subject in subjects if not isinstance(subject, FlowRuntime)]
    if not runtimes:
        return FlowRuntime(flows=flows, **options)
    if len(subjects) > 1 or options:
        raise ValueError(
            "TestEnvironment takes one runtime, or flows and options to make one of; not both."
        )
    return runtimes[0]
