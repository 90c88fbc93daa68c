"""Running workflows in one process: :class:`FlowRuntime`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, Protocol

from flowcraft.adapters.directory import objects_in
from flowcraft.adapters.system import SystemClock, SystemIdentifiers
from flowcraft.core import events as ev
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.expressions import Evaluator, SafeEvaluator
from flowcraft.core.limits import Limit, Limits
from flowcraft.core.plan import Plan
from flowcraft.core.state import DEFAULT_MAX_EXECUTIONS, RunState
from flowcraft.core.values import snapshot
from flowcraft.engine import answering
from flowcraft.engine.arguments import (
    check_bound,
    check_cancel,
    check_flag,
    check_given,
    check_layers,
    check_mapping,
    check_outside,
    check_several,
    check_strict,
    checked_choice,
    checked_concurrency,
    checked_run_id,
    in_event_loop,
    initial_context,
)
from flowcraft.engine.attempt import checked_action
from flowcraft.engine.beginning import Resumption, begin, cancel_run
from flowcraft.engine.blobs import StoredBlobs
from flowcraft.engine.bus import EventBus, FlowEvent, Listener
from flowcraft.engine.context import CancelToken
from flowcraft.engine.files import Files
from flowcraft.engine.known import Known, KnownToFlow, KnownToRuntime
from flowcraft.engine.links import Links, checked_links
from flowcraft.engine.local import LocalRun, execute
from flowcraft.engine.local_limits import LocalLimits
from flowcraft.engine.middleware import Middleware
from flowcraft.engine.options import DEFAULT_CONCURRENCY, RuntimeOptions
from flowcraft.engine.plans import Plans
from flowcraft.engine.registry import Registry
from flowcraft.engine.replay import replay_events
from flowcraft.engine.results import RunResult
from flowcraft.engine.saved import SavedRun, check_blueprint, read_run, restore_plan
from flowcraft.engine.serializer import JsonSerializer, Serializer
from flowcraft.engine.session import Session
from flowcraft.engine.threads import DaemonThreads
from flowcraft.engine.watch import WATCH
from flowcraft.errors import FlowcraftError, InvalidRunState
from flowcraft.ports.clock import Clock, Identifiers

Timers = Literal["wait", "return"]


class Flow(Protocol):
    """A workflow together with its callables, as ``create_flow`` builds it."""

    @property
    def registry(self) -> Mapping[str, Any]:
        """Callables by ``uses`` key, those of child flows included."""

    @property
    def blueprints(self) -> Mapping[str, WorkflowBlueprint]:
        """Child blueprints by id."""

    def to_blueprint(self) -> WorkflowBlueprint:
        """The blueprint."""


Runnable = Flow | WorkflowBlueprint | Mapping[str, Any] | str


class FlowRuntime:
    """Runs workflows in this process.

    Args:
        flows: Workflows from ``create_flow``; their callables and blueprints are registered.
        blueprints: Further blueprints by id, as objects or in JSON form, also for subflows.
        registry: Callables or classes by ``uses`` key.
        dependencies: Objects for ``ctx.dependency``, by type (or any other key).
        serializer: How values become text; JSON by default.
        middleware: Layers around each node, outermost first.
        evaluator: Evaluates conditions and transforms; safe expressions by default.
        concurrency: Nodes under way at once; 100 by default, also when it is not positive.
        listeners: Called with every event; :meth:`subscribe` adds more.
        strict: Refuse blueprints with cycles.
        max_executions: Node executions after which a run fails (10,000); ``None`` for no bound.
        limits: What holds for nodes of the same ``concurrencyKey`` together, by key; a name that
            ends in ``*`` stands for all keys that begin so, each with a limit of its own.
        links: Makes the addresses that answer waits, for ``ctx.answer_url`` and clients.
        clock: Another source of time, for tests.
        identifiers: Another source of run ids, for tests.
        files_directory: Where ``ctx.blobs`` keeps files; by default a temporary directory, which
            goes with the runtime.

    Raises:
        BlueprintError: A blueprint is malformed.
        FlowcraftError: A callable cannot be a node, or two claim one key.
    """

    def __init__(
        self,
        *,
        flows: Iterable[Flow] = (),
        blueprints: Mapping[str, WorkflowBlueprint | Mapping[str, Any]] | None = None,
        registry: Mapping[str, Any] | Registry | None = None,
        dependencies: Mapping[Any, Any] | None = None,
        serializer: Serializer | None = None,
        middleware: Sequence[Middleware] = (),
        evaluator: Evaluator | None = None,
        concurrency: int | None = None,
        listeners: Iterable[Listener] = (),
        strict: bool = False,
        max_executions: int | None = DEFAULT_MAX_EXECUTIONS,
        limits: Mapping[str, Limit] | Limits | None = None,
        links: Links | None = None,
        clock: Clock | None = None,
        identifiers: Identifiers | None = None,
        files_directory: str | PathLike[str] | None = None,
    ) -> None:
        check_given(flows, blueprints)
        check_outside(
            serializer=serializer, evaluator=evaluator, clock=clock, identifiers=identifiers
        )
        if not isinstance(files_directory, str | PathLike | None):
            raise TypeError(f"files_directory is a directory, not {files_directory!r}.")
        if not isinstance(registry, Registry):
            registry = check_mapping("registry", registry)
        self.registry = Registry(registry)
        self.blueprints: dict[str, WorkflowBlueprint] = {}
        self.options = RuntimeOptions(
            dependencies=dict(check_mapping("dependencies", dependencies)),
            serializer=serializer or JsonSerializer(),
            middleware=check_layers(check_several("middleware", middleware, "layers")),
            evaluator=evaluator or SafeEvaluator(),
            concurrency=checked_concurrency(concurrency, DEFAULT_CONCURRENCY),
            strict=check_flag("strict", strict),
            max_executions=check_bound("max_executions", max_executions),
            registry=self.registry,
            blueprints=self.blueprints,
            bus=EventBus(),
            limits=limits if isinstance(limits, Limits) else Limits(limits),
            links=checked_links(links),
        )
        self.clock: Clock = clock or SystemClock()
        self.identifiers: Identifiers = identifiers or SystemIdentifiers()
        self.files = Files(objects_in(files_directory), self.identifiers)
        self.limits = LocalLimits(self._now)
        self.bus = self.options.bus
        self.threads = DaemonThreads()
        self.watch = WATCH
        self._known = KnownToRuntime(self)
        self.plans = Plans(self.options.evaluator)
        self.sessions: set[Session] = set()
        for listener in check_several("listeners", listeners, "functions"):
            self.bus.subscribe(listener)
        for key, blueprint in (blueprints or {}).items():
            self.blueprints[key] = self._as_blueprint(blueprint)
        for flow in flows:
            self.add_flow(flow)

    def _now(self) -> float:
        # Asked anew each time: a test may give the runtime another clock later.
        return self.clock.now()

    @property
    def blobs(self) -> StoredBlobs:
        """The files of runs, by the references that are in their outputs and contexts."""

        async def opened() -> FlowRuntime:
            return self

        return StoredBlobs(opened)

    def add_flow(self, flow: Flow) -> WorkflowBlueprint:
        """Register a flow's callables and blueprints, and give its blueprint.

        Raises:
            TypeError: It is no flow: a blueprint, say.
        """
        if not hasattr(flow, "to_blueprint"):
            kind = type(flow).__name__
            raise TypeError(
                f"A flow is what create_flow(…) gives, not a {kind}. A blueprint goes by its id: "
                "FlowRuntime(blueprints={id: blueprint}, registry=…)."
            )
        blueprint = flow.to_blueprint()
        self.registry.merge(flow.registry)
        self.blueprints.update(flow.blueprints)
        self.blueprints[blueprint.id] = blueprint
        return blueprint

    def subscribe(self, listener: Listener, types: Iterable[str] | None = None) -> Any:
        """Tell ``listener`` of events, all or those of some types; returns how to stop that."""
        return self.bus.subscribe(listener, None if types is None else list(types))

    async def run(
        self,
        flow: Runnable,
        context: Mapping[str, Any] | str | None = None,
        *,
        run_id: str | None = None,
        cancel: CancelToken | None = None,
        timers: Timers = "wait",
        concurrency: int | None = None,
        strict: bool | None = None,
        on_failure: Literal["fail_fast", "continue"] | None = None,
    ) -> RunResult:
        """Run a workflow until it is over, or rests.

        Args:
            flow: A flow, a blueprint (also in JSON form as a dict) or the id of a known one.
            context: Initial context, as a mapping or JSON text.
            run_id: The run's id; a fresh one by default.
            cancel: Cancels the run when it is set, from any thread.
            timers: ``"wait"`` sleeps until timers are due; ``"return"`` returns a run that
                only waits for time as ``awaiting``.
            concurrency: Nodes under way at once, instead of the runtime's setting.
            strict: Whether to refuse cycles, instead of the runtime's setting.
            on_failure: Whether a failure stops the run at once; overrides the blueprint.

        Returns:
            How the run ended (``completed``, ``failed``, ``cancelled``), or where it rests
            (``awaiting``). A failing node does not raise; ``raise_for_status`` does.

        Raises:
            BlueprintError: The blueprint is malformed, or has cycles although it must not.
            FlowcraftError: No blueprint has this id, or the initial context is no mapping.
            SerializationError: The initial context holds something that cannot be stored.
            ValueError: An argument is none of what it may be; ``TypeError`` for one of
                another type.
        """
        blueprint, known = self._resolve(flow)
        strict = self.options.strict if strict is None else check_flag("strict", strict)
        check_strict(blueprint, strict)
        check_cancel(cancel)
        if on_failure is not None:
            checked_choice("on_failure", on_failure, ("fail_fast", "continue"))
        started = ev.RunStarted(
            run_id=self.identifiers.new_run_id() if run_id is None else checked_run_id(run_id),
            context=initial_context(context, self.options.serializer.codec_for),
            fail_fast=None if on_failure is None else on_failure == "fail_fast",
            max_executions=self.options.max_executions,
        )
        session = self._session(known, concurrency, timers)
        run = LocalRun(session, self.plan_of(blueprint), RunState(), None)
        return await self._drive(session, run, started, cancel)

    def run_sync(
        self, flow: Runnable, context: Mapping[str, Any] | str | None = None, **options: Any
    ) -> RunResult:
        """Run a workflow from code that is not async; takes what :meth:`run` takes.

        Raises:
            RuntimeError: Called where an event loop is running; ``await runtime.run(…)`` there.
        """
        if in_event_loop():
            raise RuntimeError(
                "run_sync() was called inside a running event loop; use 'await runtime.run(…)'."
            )
        return asyncio.run(self.run(flow, context, **options))

    async def resume(
        self,
        flow: Runnable,
        state: str | RunResult,
        *,
        node_id: str | Sequence[str] | None = None,
        output: Any = None,
        action: Any = None,
        answer: bool = True,
        cancel: CancelToken | None = None,
        timers: Timers = "wait",
        concurrency: int | None = None,
    ) -> RunResult:
        """Continue a run from its saved state, giving a waiting node its answer.

        A run that only waits for time goes on by itself when no node is named.

        Args:
            flow: The flow or blueprint the run was started with.
            state: ``RunResult.state``, or the result itself.
            node_id: The waiting node; for one in a subflow the ids that lead to it, or the
                subflow's id alone. May be left out where only one node waits.
            output: The answer: the waiting node's output.
            action: Routes as in rule S2.
            answer: False gives no answer to anything: only timers that are due go on.
            cancel: Cancels the run when it is set.
            timers: As for :meth:`run`.
            concurrency: As for :meth:`run`.

        Raises:
            InvalidRunState: The run does not wait for this, or the wait does not take the
                action; the message lists what it waits for. An answer for a wait that has not
                begun is kept for it.
            AnswerRefused: The output does not fit the wait's schema.
            SerializationError: ``state`` is not the saved state of a run.
        """
        blueprint, known = self._resolve(flow)
        text = state.state if isinstance(state, RunResult) else state
        saved = read_run(text, self.options.serializer)
        check_blueprint(saved, blueprint)
        check_flag("answer", answer)
        check_cancel(cancel)
        session = self._session(known, concurrency, timers)
        run = self._restore(session, saved, blueprint, None)
        codec_for = self.options.serializer.codec_for
        value = snapshot(output, registered=codec_for, where="output")
        if saved.state.status.is_final:
            raise InvalidRunState(
                f"Run '{saved.state.run_id}' is {saved.state.status}: it waits for nothing."
            )
        target = None
        if answer and not (node_id is None and output is None and answering.only_sleeps(run)):
            target = answering.find(run, node_id, checked_action(action), value)
        return await self._drive(session, run, Resumption(target, value, action), cancel)

    async def replay(self, flow: Runnable, events: Iterable[FlowEvent]) -> RunResult:
        """Rebuild a run from its recorded events; no node is executed.

        The result is where the recorded events lead; a run whose recording ends early comes
        back as it was then.

        Raises:
            FlowcraftError: The events do not begin with the start of a run of this blueprint.
        """
        blueprint, known = self._resolve(flow)
        return await replay_events(self, known, blueprint, tuple(events), None)

    async def replay_from(
        self, flow: Runnable, events: Iterable[FlowEvent], node_id: str
    ) -> RunResult:
        """Rebuild a run up to a node, then execute that node and what follows it anew.

        Nodes that do not depend on ``node_id`` keep their recorded outcomes.

        Raises:
            FlowcraftError: The blueprint has no such node, or the events do not fit it.
        """
        blueprint, known = self._resolve(flow)
        return await replay_events(self, known, blueprint, tuple(events), node_id)

    def dependency(self, key: Any) -> Any:
        """The dependency given under ``key``.

        Raises:
            FlowcraftError: There is none; the message lists the keys.
        """
        return self.options.dependency(key)

    def plan_of(self, blueprint: WorkflowBlueprint) -> Plan:
        """The blueprint's plan, built once.

        Raises:
            BlueprintError: The blueprint cannot be run.
        """
        return self.plans.plan_of(blueprint)

    @property
    def busy(self) -> bool:
        """Whether any node is being executed right now."""
        # Sessions of other threads come and go meanwhile.
        return any(session.pool.busy for session in tuple(self.sessions))

    async def _drive(
        self,
        session: Session,
        run: LocalRun,
        beginning: ev.RunStarted | Resumption,
        cancel: CancelToken | None,
    ) -> RunResult:
        session.root = run
        self.sessions.add(session)
        self.watch.add(session)
        forget: Callable[[], None] | None = None
        try:
            # No node begins before ``finish``; until then it is ``begin`` that looks at the token.
            begin(run, beginning, cancel)
            if cancel is not None:
                # At once where a node of the run does it: nothing starts any more.
                forget = cancel.on_cancel(lambda: session.in_loop(lambda: cancel_run(run)))
            await session.finish()
        finally:
            self.sessions.discard(session)
            self.watch.remove(session)
            if forget is not None:
                forget()
            await session.tails.drain()
            session.root = None
        return RunResult(run)

    def _session(self, known: Known, concurrency: int | None, timers: Timers) -> Session:
        checked_choice("timers", timers, ("wait", "return"))
        limit = checked_concurrency(concurrency, self.options.concurrency)
        return Session(self, known, execute, limit, timers == "wait")

    def _restore(
        self,
        session: Session,
        saved: SavedRun,
        blueprint: WorkflowBlueprint,
        parent: tuple[LocalRun, Any] | None,
    ) -> LocalRun:
        plan = restore_plan(self.plan_of(blueprint), saved.state)
        run = LocalRun(session, plan, saved.state, parent)
        for key, child in saved.children.items():
            known = session.known.blueprint(child.blueprint_id)
            if known is None:
                raise FlowcraftError(
                    f"The saved run has a child of the blueprint '{child.blueprint_id}', which "
                    "the runtime does not know."
                )
            check_blueprint(child, known)
            run.children[key] = self._restore(session, child, known, (run, key))
        return run

    def _resolve(self, flow: Runnable) -> tuple[WorkflowBlueprint, Known]:
        if isinstance(flow, WorkflowBlueprint):
            return flow, KnownToRuntime(self, flow)
        if isinstance(flow, str):
            found = self.blueprints.get(flow)
            if found is None:
                names = ", ".join(sorted(self.blueprints)) or "none"
                raise FlowcraftError(
                    f"The runtime does not know a blueprint '{flow}'. It knows: {names}."
                )
            return found, self._known
        if isinstance(flow, Mapping):
            blueprint = self._as_blueprint(flow)
            return blueprint, KnownToRuntime(self, blueprint)
        if not hasattr(flow, "to_blueprint"):
            raise TypeError(
                "What is run is a flow, a blueprint or the id of one that the runtime knows, not "
                f"{type(flow).__name__}."
            )
        return flow.to_blueprint(), KnownToFlow(self, flow)

    def _as_blueprint(self, flow: WorkflowBlueprint | Mapping[str, Any]) -> WorkflowBlueprint:
        return flow if isinstance(flow, WorkflowBlueprint) else self.plans.read(flow)
