"""Starting and steering durable runs, from anywhere that reaches the queue and the stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import Any, Literal, Self, overload

from flowcraft.core import events as ev
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.correlation import expected
from flowcraft.core.state import RunStatus
from flowcraft.core.values import snapshot
from flowcraft.engine import answering, correlating, wishes
from flowcraft.engine.arguments import (
    check_outside,
    check_spans,
    check_strict,
    checked_choice,
    checked_codec,
    checked_fairness_key,
    checked_key,
    checked_run_id,
    checked_start,
    checked_tags,
    checked_text,
    checked_time,
    context_writes,
    initial_context,
)
from flowcraft.engine.attempt import checked_action
from flowcraft.engine.blobs import WithBlobs
from flowcraft.engine.blocking import BlockingClient
from flowcraft.engine.family import read_head, read_run
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.linking import Linking
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.reconcile import Reconciler, ReconciliationStats, stalled_seconds
from flowcraft.engine.removing import Reaper, delete_run
from flowcraft.engine.reports import Reports
from flowcraft.engine.restarts import Restarts
from flowcraft.engine.run import Run
from flowcraft.engine.schedules import Schedules
from flowcraft.engine.shards import SHARD_ITEMS
from flowcraft.engine.spending import budget_fields
from flowcraft.engine.starting import begin_run
from flowcraft.engine.station import NO_BLUEPRINTS, Station
from flowcraft.engine.stored import RunPage, StoredRun, summary_of
from flowcraft.engine.sweeping import Sweeper
from flowcraft.engine.timers import send_start
from flowcraft.errors import FlowcraftError, InvalidRunState, RunTimeout
from flowcraft.ports.clock import Clock, Identifiers
from flowcraft.ports.codec import AnyCodec
from flowcraft.ports.runs import Head, Heads, Query
from flowcraft.ports.telemetry import Telemetry
from flowcraft.ports.together import OpenPorts, Ports

FIRST_LOOK_SECONDS = 0.01
LONGEST_LOOK_SECONDS = 1.0
LONGEST_PAGE = 1_000_000


class FlowClient(WithBlobs, Linking, Reports, Restarts):
    """Starts and steers durable runs; it runs no node and needs no registry.

    Args:
        open_ports: Opens queue and stores.
        options: Serializer, blueprints and the rest of what a runtime was given.
        clock: The time.
        identifiers: Where fresh ids come from.
        longest_look_seconds: Between two looks at a run that somebody waits for.
        shard_items: Batches of more items than this are cut into records of so many each.
        codec: Encodes payloads before they are stored; all that work on the same runs have it.
        telemetry: Is told what is counted.
    """

    def __init__(
        self,
        open_ports: OpenPorts,
        options: RuntimeOptions,
        *,
        clock: Clock,
        identifiers: Identifiers,
        longest_look_seconds: float = LONGEST_LOOK_SECONDS,
        shard_items: int = SHARD_ITEMS,
        codec: AnyCodec | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        if isinstance(shard_items, bool) or not isinstance(shard_items, int):
            raise TypeError(f"shard_items is a whole number of items, not {shard_items!r}.")
        if shard_items < 1:
            raise ValueError(f"shard_items is at least 1, not {shard_items}.")
        self._shard_items = shard_items
        self._longest_look_seconds = longest_look_seconds
        self._open_ports = open_ports
        self._options = options
        check_outside(clock=clock, identifiers=identifiers, telemetry=telemetry)
        self._clock = clock
        self._identifiers = identifiers
        self._codec = checked_codec(codec)
        self._telemetry = telemetry
        self._stack = AsyncExitStack()
        self._station: Station | None = None

    @property
    def sync(self) -> BlockingClient:
        """The same verbs for code that is not async; each call blocks until it is done."""
        return BlockingClient(self._copy)

    @cached_property
    def schedules(self) -> Schedules:
        """The verbs of schedules: runs that start by the clock."""
        return Schedules(self)

    def _copy(self) -> FlowClient:
        return FlowClient(
            self._open_ports,
            self._options,
            clock=self._clock,
            identifiers=self._identifiers,
            longest_look_seconds=self._longest_look_seconds,
            shard_items=self._shard_items,
            codec=self._codec,
            telemetry=self._telemetry,
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
            self._station = self._station_on(ports)
        return self._station

    def _station_on(self, ports: Ports) -> Station:
        return Station(
            ports,
            self._options,
            self._clock,
            self._identifiers,
            codec=self._codec,
            telemetry=self._telemetry,
        )

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
        fairness_key: str | None = None,
        cancelled: bool = False,
        budget_usd: float | None = None,
        budget_requests: float | None = None,
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
            fairness_key: Whose run it is, such as a tenant's id: on AWS a tenant with very many
                runs does not keep those of others waiting. It is inherited by child runs.
            cancelled: Store it as cancelled by the caller, so that nothing of it starts.
            budget_usd: It fails with ``BudgetExceeded`` once it has cost more than this, on AWS.
            budget_requests: The same, once it has taken more requests than this.

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
            shard_size=self._shard_items,
            **budget_fields(station, blueprint, budget_usd, budget_requests),
            fairness_key=checked_fairness_key(fairness_key),
            caller=station.measures.caller(),
        )
        job, _ = await begin_run(
            station,
            blueprint,
            started,
            epoch=self._identifiers.new_run_id(),
            tags=checked_tags(tags),
            key=checked_key(idempotency_key),
            due_at=checked_start(start_at),
            brought=getattr(flow, "blueprints", NO_BLUEPRINTS),
        )
        await send_start(station, job)
        return self._run(job.run_id)

    def _run(self, run_id: str) -> Run:
        return Run.of(self, run_id)

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
            TypeError: A time, an id or a label is of another kind than it may be.
            RunNotFound: The run that ``after`` names was deleted meanwhile.
        """
        if status is not None:
            checked_choice("status", status, tuple(map(str, RunStatus)))
        if not isinstance(limit, int) or not 1 <= limit <= LONGEST_PAGE:
            raise ValueError(f"limit is a whole number from 1 to {LONGEST_PAGE}, not {limit!r}.")
        for name, text in (("blueprint_id", blueprint_id), ("after", after)):
            if text is not None:
                checked_text(name, text)
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
        runs = tuple(map(summary_of, heads))
        if not isinstance(heads, Heads):
            return RunPage(runs, last)
        return RunPage(runs, last, heads.rows_read, heads.scanned)

    async def _head(self, run_id: str) -> Head:
        return await read_head(await self._opened(), checked_text("run_id", run_id))

    async def _read(self, run_id: str) -> Ledger:
        return await read_run(await self._opened(), checked_text("run_id", run_id))

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
            AnswerRefused: The output does not fit the wait's schema.
            SerializationError: ``output`` cannot be stored.
        """
        ledger = await self._live(run_id)
        value = snapshot(output, registered=self._options.serializer.codec_for, where="output")
        target = answering.find(ledger, node_id, checked_action(action), value)
        event = ev.AnswerReceived(target.key, value, action, target.node_id)
        await wishes.ask(await self._opened(), target.run, event)

    @overload
    async def send_event(
        self,
        run_id: str,
        node_id: str | Sequence[str],
        output: Any = None,
        *,
        action: str | None = None,
    ) -> list[Run]: ...

    @overload
    async def send_event(
        self,
        *,
        event: str,
        correlation_key: Any = None,
        output: Any = None,
        action: str | None = None,
    ) -> list[Run]: ...

    async def send_event(
        self,
        run_id: str | None = None,
        node_id: str | Sequence[str] | None = None,
        output: Any = None,
        *,
        action: str | None = None,
        event: str | None = None,
        correlation_key: Any = None,
    ) -> list[Run]:
        """Send an event to a node of a run, or to every open wait for it, whatever the run.

        Args:
            run_id: The run, where the node is named.
            node_id: The node; an event that comes before its wait is kept for it.
            output: The output of the nodes that wait.
            action: Routes as in rule S2.
            event: The name of the event, instead of run and node: it goes to each open wait
                that has this ``event``, in child runs and loops, too.
            correlation_key: The key that their ``correlationKey`` leads to: text, a whole
                number or a UUID; ``None`` for waits without one.

        Returns:
            The runs reached, the newest first; a wait in a child run counts as that run's.

        Raises:
            RunNotFound: There is no run ``run_id``.
            NobodyWaits: No run waits for the event by this name and key.
            InvalidRunState: A node does not wait, or a wait does not take the action; then
                nobody is sent the event.
            AnswerRefused: The same if the output does not fit the schema of one.
            SerializationError: ``output`` cannot be stored.
            ValueError: Neither run and node are given nor an event, or both; or ``event`` or
                ``correlation_key`` is none of what it may be.
        """
        if event is None and run_id is not None and node_id is not None and correlation_key is None:
            await self.resume_with_action(run_id, action, output, node_id=node_id)
            return [self._run(run_id)]
        if event is None or run_id is not None or node_id is not None:
            raise ValueError(
                "send_event takes either run_id and node_id, or event and its correlation_key."
            )
        codecs = self._options.serializer.codec_for
        key = snapshot(correlation_key, registered=codecs, where="correlation_key")
        value = snapshot(output, registered=codecs, where="output")
        named, action = expected(event, key), checked_action(action)
        reached = await correlating.answer_all(await self._opened(), named, value, action)
        return [self._run(each) for each in reached]

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
        writes = context_writes(values or {}, delete, self._options.serializer.codec_for)
        await wishes.ask(await self._opened(), ledger, ev.ContextPatched(writes))

    async def reconcile(
        self, *, stalled_threshold_seconds: float | None = None, force: bool = False
    ) -> ReconciliationStats:
        """Get runs going again that have something to do which nobody does.

        Workers do so by themselves. By hand it is for when messages were lost, and somebody knows.

        Args:
            stalled_threshold_seconds: How long nothing may have happened in such a run, or how
                long one of its timers may be overdue. By default 300 s, or four times as long as
                the queue hides a delivery if that is more; at least twice as long.
            force: Any threshold will do, and all that is outstanding is sent again: what was sent
                again lately, timers that are not due yet, and what runs that rest wait for. Each
                call makes another copy of all these messages.

        Raises:
            ValueError: The threshold is too short.
        """
        station = await self._opened()
        if force and stalled_threshold_seconds is not None:
            check_spans(stalled_threshold_seconds=stalled_threshold_seconds)
            seconds = stalled_threshold_seconds
        else:
            visibility = station.queue.visibility_seconds
            seconds = stalled_seconds(stalled_threshold_seconds, visibility)
        await Sweeper(station).sweep()
        stats = await Reconciler(station, seconds, force=force).run()
        await Reaper(station).look()
        return stats

    async def delete_run(self, run_id: str, *, force: bool = False) -> None:
        """Forget a run that is over, with its child runs and all else that belongs to it.

        From the beginning of the call on the run is absent for everybody. If the call does not come
        to its end, another one goes on; workers do so, too.

        Args:
            run_id: The run.
            force: Also one that is not over. Its nodes are not waited for: what runs comes to its
                end, and nothing of it counts. Nothing is compensated; cancel a run for that.

        Raises:
            RunNotFound: There is no such run, or it is a part of another one.
            InvalidRunState: It is not over, or it belongs to a run that is there.
        """
        await delete_run(await self._opened(), checked_text("run_id", run_id), force)

    async def _live(self, run_id: str) -> Ledger:
        ledger = await self._read(run_id)
        if ledger.state.status.is_final:
            raise InvalidRunState(f"Run '{run_id}' is {ledger.state.status}: it is over.")
        return ledger
