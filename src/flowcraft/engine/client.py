"""Starting and steering durable runs, from anywhere that reaches the queue and the stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self

from flowcraft.core import events as ev
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.plan import Kind, index_of_key
from flowcraft.core.state import CANCELLED, CHILD, FAILED, RunStatus
from flowcraft.core.values import snapshot
from flowcraft.engine import answering, rerun, wishes
from flowcraft.engine.arguments import (
    check_strict,
    checked_choice,
    checked_key,
    checked_run_id,
    checked_tags,
    checked_text,
    checked_time,
    initial_context,
)
from flowcraft.engine.attempt import checked_action
from flowcraft.engine.blocking import BlockingClient
from flowcraft.engine.children import child_run_id
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.reconcile import (
    DEFAULT_STALLED_SECONDS,
    Reconciler,
    ReconciliationStats,
)
from flowcraft.engine.results import RunResult
from flowcraft.engine.starting import begin_run
from flowcraft.engine.station import Station
from flowcraft.engine.stored import RunPage, StoredRun, summary_of
from flowcraft.errors import FlowcraftError, InvalidRunState, RunNotFound, RunTimeout
from flowcraft.ports.clock import Clock, Identifiers
from flowcraft.ports.runs import Head, Query
from flowcraft.ports.together import OpenPorts

FIRST_LOOK_SECONDS = 0.01
LONGEST_LOOK_SECONDS = 1.0
LONGEST_PAGE = 1_000_000


class Run(str):
    """The id of a run, with a way to its result."""

    _client: FlowClient

    async def result(self, timeout: float | None = None) -> RunResult:
        """Wait until the run is over.

        Args:
            timeout: Seconds to wait; without end by default.

        Raises:
            RunTimeout: It was not over in time.
        """
        return await self._client.wait_for_run(self, timeout=timeout)

    async def get(self) -> StoredRun:
        """The run as it is now."""
        return await self._client.get_run(self)


class FlowClient:
    """Starts and steers durable runs; it runs no node and needs no registry.

    Args:
        open_ports: Opens queue and stores.
        options: Serializer, blueprints and the rest of what a runtime was given.
        clock: The time.
        identifiers: Where fresh ids come from.
        longest_look_seconds: Between two looks at a run that somebody waits for.
    """

    def __init__(
        self,
        open_ports: OpenPorts,
        options: RuntimeOptions,
        *,
        clock: Clock,
        identifiers: Identifiers,
        longest_look_seconds: float = LONGEST_LOOK_SECONDS,
    ) -> None:
        self._longest_look_seconds = longest_look_seconds
        self._open_ports = open_ports
        self._options = options
        self._clock = clock
        self._identifiers = identifiers
        self._stack = AsyncExitStack()
        self._station: Station | None = None

    @property
    def sync(self) -> BlockingClient:
        """The same verbs for code that is not async; each call blocks until it is done."""
        return BlockingClient(self._copy)

    def _copy(self) -> FlowClient:
        return FlowClient(
            self._open_ports,
            self._options,
            clock=self._clock,
            identifiers=self._identifiers,
            longest_look_seconds=self._longest_look_seconds,
        )

    async def __aenter__(self) -> Self:
        await self._opened()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        self._station = None
        await self._stack.aclose()

    async def _opened(self) -> Station:
        if self._station is None:
            ports = await self._stack.enter_async_context(self._open_ports())
            self._station = Station(ports, self._options, self._clock, self._identifiers)
        return self._station

    # -- starting ---------------------------------------------------------------------------

    async def start_run(
        self,
        flow: str | WorkflowBlueprint | Mapping[str, Any] | Any,
        context: Mapping[str, Any] | str | None = None,
        *,
        run_id: str | None = None,
        idempotency_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        start_at: datetime | None = None,
        on_failure: Literal["fail_fast", "continue"] | None = None,
        cancelled: bool = False,
    ) -> Run:
        """Start a run; it is stored when this returns, and goes on whatever happens here.

        Started again with the same ``run_id`` or ``idempotency_key`` it is the same run.

        Args:
            flow: The id of a blueprint that is known here or to a worker, a blueprint, also in
                JSON form, or a flow.
            context: Initial context, as a mapping or JSON text.
            run_id: The run's id; a fresh one by default.
            idempotency_key: Names the start: a second one with the same key starts nothing.
            tags: Labels to find the run by.
            start_at: When it is to start; at once by default.
            on_failure: Whether a failure stops the run at once; overrides the blueprint.
            cancelled: Store it as cancelled by the caller, so that nothing of it starts.

        Raises:
            FlowcraftError: Nobody knows the blueprint.
            BlueprintError: The blueprint is malformed.
            SerializationError: The initial context holds something that cannot be stored.
            TypeError: An argument is of another kind than it may be.
            ValueError: An argument is none of what it may be.
        """
        station = await self._opened()
        blueprint = await self._blueprint(station, flow)
        check_strict(blueprint, self._options.strict)
        if on_failure is not None:
            checked_choice("on_failure", on_failure, ("fail_fast", "continue"))
        started = ev.RunStarted(
            run_id=self._identifiers.new_run_id() if run_id is None else checked_run_id(run_id),
            context=initial_context(context, self._options.serializer.codec_for),
            fail_fast=None if on_failure is None else on_failure == "fail_fast",
            max_executions=self._options.max_executions,
            cancelled="cancelled by the caller" if cancelled else None,
        )
        job = await begin_run(
            station,
            blueprint,
            started,
            epoch=self._identifiers.new_run_id(),
            tags=checked_tags(tags),
            key=checked_key(idempotency_key),
            due_at=checked_time("start_at", start_at),
        )
        await station.send([job])
        return self._run(job.run_id)

    def _run(self, run_id: str) -> Run:
        run = Run(run_id)
        run._client = self
        return run

    async def _blueprint(self, station: Station, flow: Any) -> WorkflowBlueprint:
        if isinstance(flow, WorkflowBlueprint):
            return flow
        if isinstance(flow, Mapping):
            return WorkflowBlueprint.from_dict(flow)
        if not isinstance(flow, str):
            if not hasattr(flow, "to_blueprint"):
                raise TypeError(
                    "flow is a flow, a blueprint, also as JSON data, or the id of one, not "
                    f"{flow!r} ({type(flow).__name__})."
                )
            found: WorkflowBlueprint = flow.to_blueprint()
            return found
        known = await station.latest(flow)
        if known is None:
            names = ", ".join(sorted(self._options.blueprints)) or "none"
            raise FlowcraftError(
                f"Nobody knows a blueprint '{flow}'. Known here: {names}; further ones become "
                "known when a worker that has them starts."
            )
        return known

    # -- looking ----------------------------------------------------------------------------

    async def get_run(self, run_id: str) -> StoredRun:
        """A run as it is now, with its outputs, errors and what it waits for.

        Raises:
            RunNotFound: There is none.
        """
        return StoredRun(await self._read(run_id))

    async def wait_for_run(self, run_id: str, *, timeout: float | None = None) -> StoredRun:
        """Wait until a run is over.

        Args:
            run_id: The run.
            timeout: Seconds to wait; without end by default.

        Raises:
            RunNotFound: There is none.
            RunTimeout: It was not over in time.
        """
        station = await self._opened()
        end = None if timeout is None else self._clock.now() + timeout
        pause = FIRST_LOOK_SECONDS
        while True:
            head = await self._head(run_id)
            if RunStatus(head.row.status).is_final:
                return await self.get_run(run_id)
            now = self._clock.now()
            if end is not None and now >= end:
                raise RunTimeout(
                    f"Run '{run_id}' was not over within {timeout:g} s: it is {head.row.status}."
                )
            until = now + pause if end is None else min(end, now + pause)
            await station.sleep_until(until)
            pause = min(self._longest_look_seconds, pause * 1.5)

    async def list_runs(
        self,
        *,
        status: str | None = None,
        blueprint_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        created_from: datetime | None = None,
        created_until: datetime | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> RunPage:
        """List runs, newest first, child runs included.

        Args:
            status: Only those in this status.
            blueprint_id: Only those of this blueprint.
            tags: Only those that have all of these labels.
            created_from: Only those started at this time or later.
            created_until: Only those started before this time.
            after: Goes on behind another page.
            limit: How many, at most.

        Raises:
            ValueError: There is no such status, or the limit is not positive.
            TypeError: A time or a label is of another kind than it may be.
            RunNotFound: The run that ``after`` names was deleted meanwhile.
        """
        if status is not None:
            checked_choice("status", status, tuple(map(str, RunStatus)))
        if not isinstance(limit, int) or not 1 <= limit <= LONGEST_PAGE:
            raise ValueError(f"limit is a whole number from 1 to {LONGEST_PAGE}, not {limit!r}.")
        station = await self._opened()
        heads = await station.runs.find(
            Query(
                status=status,
                blueprint_id=blueprint_id,
                tags=checked_tags(tags),
                created_from=checked_time("created_from", created_from),
                created_until=checked_time("created_until", created_until),
                after=after,
                limit=limit,
            )
        )
        last = heads[-1].run_id if len(heads) == limit else None
        return RunPage(tuple(map(summary_of, heads)), last)

    async def _head(self, run_id: str) -> Head:
        station = await self._opened()
        record = await station.runs.read(checked_text("run_id", run_id), 1 << 60)
        if record is None:
            raise RunNotFound(f"There is no run '{run_id}'.")
        return record.head

    async def _read(self, run_id: str, epoch: str | None = None) -> Ledger:
        """A run and its children, read now."""
        station = await self._opened()
        ledger = await station.read(checked_text("run_id", run_id), epoch)
        if ledger is None:
            raise RunNotFound(f"There is no run '{run_id}'.")
        for key, record in tuple(ledger.state.records.items()):
            if record.status is CHILD:
                child = await station.read(child_run_id(ledger, key, record.attempt), ledger.epoch)
                if child is not None:
                    ledger.children[key] = await self._read(child.run_id, ledger.epoch)
        return ledger

    # -- steering ---------------------------------------------------------------------------

    async def resume_with_action(
        self,
        run_id: str,
        action: str | None = None,
        output: Any = None,
        *,
        node_id: str | Sequence[str] | None = None,
    ) -> None:
        """Give a waiting node its answer.

        Args:
            run_id: The run.
            action: Routes as in rule S2.
            output: The waiting node's output.
            node_id: The node; for one in a subflow the ids that lead to it, or the subflow's id
                alone. May be left out where only one node waits.

        Raises:
            RunNotFound: There is no such run.
            InvalidRunState: It does not wait for this, or the wait does not take the action.
            SerializationError: ``output`` cannot be stored.
        """
        ledger = await self._live(run_id)
        value = snapshot(output, registered=self._options.serializer.codec_for, where="output")
        target = answering.find(ledger, node_id, checked_action(action))
        event = ev.AnswerReceived(target.key, value, action, target.node_id)
        await wishes.ask(await self._opened(), target.run, event)

    async def send_event(
        self,
        run_id: str,
        node_id: str | Sequence[str],
        output: Any = None,
        *,
        action: str | None = None,
    ) -> None:
        """Give a node the event it waits for; one that comes before its wait is kept for it."""
        await self.resume_with_action(run_id, action, output, node_id=node_id)

    async def cancel_run(self, run_id: str, *, reason: str | None = None) -> None:
        """Let a run start nothing more, stop what runs, and undo what is to be undone.

        Raises:
            RunNotFound: There is no such run.
            InvalidRunState: It is over.
        """
        if reason is not None:
            checked_text("reason", reason)
        await wishes.ask(await self._opened(), await self._live(run_id), ev.CancelRequested(reason))

    async def pause_run(self, run_id: str) -> None:
        """Let a run start nothing new; what runs finishes.

        Raises:
            RunNotFound: There is no such run.
            InvalidRunState: It is over, being stopped, or paused already.
        """
        await wishes.ask(await self._opened(), await self._live(run_id), ev.PauseRequested())

    async def continue_run(self, run_id: str) -> None:
        """Go on with a paused run.

        Raises:
            RunNotFound: There is no such run.
            InvalidRunState: It is not paused.
        """
        await wishes.ask(await self._opened(), await self._live(run_id), ev.ContinueRequested())

    async def skip_node(
        self, run_id: str, node_id: str, output: Any = None, *, iteration: Sequence[int] = ()
    ) -> None:
        """Count a failed, retrying or waiting node as succeeded with a given output.

        Raises:
            RunNotFound: There is no such run.
            InvalidRunState: It is over, or the node is in another state.
        """
        ledger = await self._live(run_id)
        value = snapshot(output, registered=self._options.serializer.codec_for, where="output")
        key = wishes.instance_of(ledger, node_id, tuple(iteration))
        await wishes.ask(await self._opened(), ledger, ev.SkipRequested(key, value))

    async def retry_failed(self, run_id: str) -> Run:
        """Try failed nodes again.

        In a live run they are tried again where nothing behind them is settled. For a run that
        is over a new one is started, which takes over what the old one achieved.

        Returns:
            The run in which they are tried: the same one, or the new one.

        Raises:
            RunNotFound: There is no such run.
            InvalidRunState: Nothing has failed, or something behind is settled.
        """
        ledger = await self._read(run_id)
        if not ledger.state.status.is_final:
            await wishes.ask(await self._opened(), ledger, ev.RetryRequested())
            return self._run(run_id)
        nodes = ledger.plan.nodes
        failed = {
            nodes[index_of_key(key)].id
            for key, record in ledger.state.records.items()
            if record.status in (FAILED, CANCELLED)
        }
        if not failed:
            raise InvalidRunState(f"Run '{run_id}' has no failed node to retry.")
        # Asked twice, it is one new run.
        name, key = f"{run_id}~retry", f"retry/{ledger.epoch}"
        return await self._start_over(ledger, failed, {}, name, key)

    async def rerun_from(
        self,
        run_id: str,
        node_id: str,
        *,
        inputs: Mapping[str, Any] | None = None,
        new_run_id: str | None = None,
    ) -> Run:
        """Start a new run that takes over what an earlier one achieved, up to a node.

        The node and everything that can follow it run anew; other outputs are taken over.

        Args:
            run_id: The earlier run, over or not; it stays as it is.
            node_id: The node to run from.
            inputs: Inputs by node id that nodes are given instead of what leads to them.
            new_run_id: The id of the new run; a fresh one by default.

        Raises:
            RunNotFound: There is no such run.
            InvalidRunState: There is a run of the new id already.
            FlowcraftError: Its blueprint has no such node.
            SerializationError: An input cannot be stored.
        """
        codecs = self._options.serializer.codec_for
        given = snapshot(dict(inputs or {}), registered=codecs, where="inputs")
        ledger = await self._read(run_id)
        station = await self._opened()
        if (
            new_run_id is not None
            and await station.runs.read(checked_run_id(new_run_id), 1 << 60) is not None
        ):
            raise InvalidRunState(f"There is a run '{new_run_id}' already; choose another id.")
        return await self._start_over(ledger, {node_id, *given}, given, new_run_id)

    async def _start_over(
        self,
        ledger: Ledger,
        node_ids: set[str],
        inputs: Mapping[str, Any],
        new_run_id: str | None = None,
        key: str | None = None,
    ) -> Run:
        job = await rerun.start_over(
            await self._opened(),
            ledger,
            node_ids,
            inputs,
            checked_run_id(new_run_id or self._identifiers.new_run_id()),
            key,
        )
        return self._run(job.run_id)

    async def patch_context(
        self,
        run_id: str,
        values: Mapping[str, Any] | None = None,
        *,
        delete: Sequence[str] = (),
    ) -> None:
        """Change the context of a paused run.

        Raises:
            RunNotFound: There is no such run.
            InvalidRunState: It is not paused.
            SerializationError: A value cannot be stored.
        """
        ledger = await self._live(run_id)
        if isinstance(delete, str):
            raise TypeError(f"delete is a list of keys, not {delete!r}: write [{delete!r}].")
        keys = [checked_text("A key", key) for key in (*(values or {}), *delete)]
        engine_keys = [key for key in keys if key.startswith("_")]
        if engine_keys or not (values or delete):
            what = ", ".join(map(repr, engine_keys)) or "nothing"
            raise ValueError(f"patch_context changes keys of your own; it was given {what}.")
        codecs = self._options.serializer.codec_for
        stored = snapshot(dict(values or {}), registered=codecs, where="values")
        writes = [ev.Write("set", key, value) for key, value in stored.items()]
        writes += [ev.Write("delete", key) for key in delete]
        await wishes.ask(await self._opened(), ledger, ev.ContextPatched(tuple(writes)))

    async def reconcile(
        self, *, stalled_threshold_seconds: float = DEFAULT_STALLED_SECONDS
    ) -> ReconciliationStats:
        """Get runs going again that have something to do which nobody does.

        Args:
            stalled_threshold_seconds: How long nothing may have happened in such a run.
        """
        return await Reconciler(await self._opened(), stalled_threshold_seconds).run()

    async def delete_run(self, run_id: str) -> None:
        """Forget a run that is over, with its child runs.

        Raises:
            RunNotFound: There is no such run.
            InvalidRunState: It is not over.
        """
        station = await self._opened()
        head = await self._head(run_id)
        if not RunStatus(head.row.status).is_final:
            raise InvalidRunState(
                f"Run '{run_id}' is {head.row.status}: only a run that is over can be deleted. "
                "Cancel it first."
            )
        await self._remove(station, await self._read(run_id))

    async def _remove(self, station: Station, ledger: Ledger) -> None:
        """Forget a run, its children first: without it nobody would find them."""
        for key, record in ledger.state.records.items():
            if ledger.plan.nodes[index_of_key(key)].kind is Kind.SUBFLOW:
                for attempt in range(1, record.attempt + 1):
                    child_id = child_run_id(ledger, key, attempt)
                    child = await station.read(child_id, ledger.epoch)
                    if child is not None:
                        await self._remove(station, child)
        await station.runs.remove(ledger.run_id, ledger.epoch)

    async def _live(self, run_id: str) -> Ledger:
        ledger = await self._read(run_id)
        if ledger.state.status.is_final:
            raise InvalidRunState(f"Run '{run_id}' is {ledger.state.status}: it is over.")
        return ledger
