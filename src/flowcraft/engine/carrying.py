"""Carrying out commands of a durable run: messages, timers, child runs, the end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from flowcraft.core.plan import Key, index_of_key
from flowcraft.core.shards import outcome_of
from flowcraft.core.state import CHILD, RunStatus
from flowcraft.engine.children import (
    checked_child,
    child_not_started,
    child_run_id,
    child_settled,
    child_started,
)
from flowcraft.engine.failures import instead_of
from flowcraft.engine.jobs import Job
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.parent import Parent
from flowcraft.engine.places import (
    RETRIES,
    AttemptCommand,
    key_text,
    node_index_of,
    place_of,
    subject_of,
    timer_of,
)
from flowcraft.engine.removing import remove_run
from flowcraft.engine.shards import begin_shard, look_ups
from flowcraft.engine.spending import cost_of
from flowcraft.engine.starting import begin_run
from flowcraft.engine.station import Station
from flowcraft.errors import FlowcraftError, StorageError


class Carrier:
    """Carries out commands of one run; what is to be sent is sent together.

    Attributes:
        to_stop: Whether the run asked for its work to be stopped.
        shards_to_tell: Messages to shards that are to do as their run at once.
        trace: The span that messages are sent from, as a ``traceparent``.
    """

    def __init__(self, station: Station, ledger: Ledger) -> None:
        self._station = station
        self._ledger = ledger
        self._jobs: list[Job] = []
        self.to_stop = False
        self.shards_to_tell: list[Job] = []
        self.trace: str | None = None

    async def flush(self) -> int:
        """Send what is to be sent; gives the number of messages."""
        jobs, self._jobs = self._jobs, []
        if self.trace is not None:
            jobs = [replace(each, trace=each.trace or self.trace) for each in jobs]
        try:
            await self._station.send(jobs)
        except StorageError as error:
            smaller = [_without_result(job, error) for job in jobs]
            if not error.is_fatal or smaller == jobs:
                raise
            await self._station.send(smaller)
        return len(jobs)

    def send_attempt(self, command: AttemptCommand) -> None:
        """Let any worker carry out an attempt."""
        node = self._ledger.plan.nodes[node_index_of(command)]
        self._jobs.append(
            self._job(place=place_of(command), node_id=node.id, attempt=command.attempt)
        )

    async def carry_out(self, command: cmd.Command) -> None:
        """Carry out what is no attempt."""
        # A class node that another worker may try again does not wait for it here.
        if isinstance(command, RETRIES):
            self._ledger.held.pop(subject_of(command), None)
        if isinstance(command, (*RETRIES, cmd.ArmTimer)):
            event, due_at = timer_of(command)
            self._jobs.append(self._job(event=event, due_at=due_at))
        elif isinstance(command, cmd.StartChild):
            await self._start_child(command)
        elif isinstance(command, cmd.StopChild):
            self._cancel_child(command.key, command.attempt, command.reason)
        elif isinstance(command, cmd.StopWork):
            await self._stop_children(command.reason)
            self._tell_shards()
            self.to_stop = True
        elif isinstance(command, cmd.StartShard):
            self._jobs.append(await begin_shard(self._station, self._ledger, command))
        elif isinstance(command, cmd.TellShards):
            self._tell_shards()
        elif isinstance(command, cmd.ReportShard):
            self._report_shard()
        elif isinstance(command, cmd.FinishRun):
            self._tell_parent()

    def _job(self, **fields: Any) -> Job:
        ledger = self._ledger
        thread = self._station.identifiers.new_token()
        address = (ledger.run_id, ledger.epoch, ledger.head.blueprint_id, thread)
        return Job(*address, group=ledger.group, **fields)

    # -- children ---------------------------------------------------------------------------

    async def _start_child(self, command: cmd.StartChild, cancelled: str | None = None) -> None:
        """Store a child run, unless it is there; ``cancelled`` where its parent is to stop."""
        ledger, station = self._ledger, self._station
        parent = Parent.of(ledger.head, command.key, command.attempt)
        try:
            blueprint = checked_child(
                ledger,
                command,
                parent.depth - 1,
                await station.latest(command.blueprint_id),
                sorted(station.options.blueprints),
            )
            started = child_started(ledger, command, cancelled)
            job, stored = await begin_run(
                station, blueprint, started, epoch=ledger.epoch, parent=parent
            )
            if stored.epoch != ledger.epoch:
                raise FlowcraftError(
                    f"The child run would be '{stored.run_id}', and somebody started another run "
                    "under this id. Choose run ids that are not those of child runs."
                )
        except StorageError:
            raise
        except FlowcraftError as error:
            self._settle_parent(parent, child_not_started(command, error))
            return
        if cancelled is None and not await station.refresh(ledger):
            await remove_run(station, stored.run_id, stored.epoch)  # the parent was, meanwhile
            return
        self._jobs.append(job)
        if cancelled is None and self._is_unwanted(command):
            self._cancel_child(command.key, command.attempt, "its parent does not wait for it")

    def _is_unwanted(self, command: cmd.StartChild) -> bool:
        """Whether the parent was stopped, or gave up on the child, while it was stored."""
        record = self._ledger.state.records.get(command.key)
        waits = record is not None and record.status is CHILD and record.attempt == command.attempt
        return not waits or self._ledger.state.stopping is not None

    def _cancel_child(self, key: Key, attempt: int, reason: str) -> None:
        child = child_run_id(self._ledger, key, attempt)
        thread = self._station.identifiers.new_token()
        blueprint_id = str(
            self._ledger.plan.nodes[index_of_key(key)].definition.params.get("blueprintId")
        )
        event = ev.CancelRequested(reason)
        address = (child, self._ledger.epoch, blueprint_id, thread)
        self._jobs.append(Job(*address, event=event, group=self._ledger.group))

    async def _stop_children(self, reason: str) -> None:
        """Cancel the child runs; one that was not stored yet is stored as cancelled.

        So whoever is about to store it finds it there, and the parent hears of its end.
        """
        for key, record in tuple(self._ledger.state.records.items()):
            if record.status is CHILD:
                for command in self._ledger.commands_of(key):
                    if isinstance(command, cmd.StartChild):
                        await self._start_child(command, cancelled=reason)
                self._cancel_child(key, record.attempt, reason)

    # -- shards -----------------------------------------------------------------------------

    def _tell_shards(self) -> None:
        """Have each shard look what its run wants of it, before anything else it has to do."""
        jobs = look_ups(self._ledger, self._station.identifiers.new_run_id)
        self._jobs += jobs
        self.shards_to_tell += jobs

    def _report_shard(self) -> None:
        parent = Parent.read(self._ledger.head)
        assert parent is not None
        self._tell(parent, ev.ShardAdvanced(parent.key, parent.first, parent.attempt), None)

    # -- the parent -------------------------------------------------------------------------

    def _tell_parent(self) -> None:
        """The run is over: hand its result to the run that started it."""
        parent = Parent.read(self._ledger.head)
        if parent is None:
            return
        cost = cost_of(self._ledger)
        if parent.is_of_shard:
            event_id = f"shard/{key_text(parent.key)}/{parent.first}/{parent.attempt}"
            self._tell(parent, outcome_of(self._ledger.state)._replace(cost=cost), event_id)
            self._station.forget(self._ledger)
        else:
            settled = child_settled(self._ledger, parent.key, parent.attempt)
            self._settle_parent(parent, settled._replace(cost=cost))

    def _settle_parent(self, parent: Parent, event: ev.ChildSettled) -> None:
        self._tell(parent, event, f"child/{key_text(event.key)}/{event.attempt}")

    def _tell(self, parent: Parent, event: ev.Event, event_id: str | None) -> None:
        thread = self._station.identifiers.new_token()
        address = (parent.run_id, parent.epoch, parent.blueprint_id, thread)
        group = self._ledger.group  # a child's is its parent's
        self._jobs.append(Job(*address, event=event, event_id=event_id, group=group))

    def tell_parent_of_rest(self) -> None:
        """Let the parent know whether a child has nothing left but waiting, or goes on."""
        parent = Parent.read(self._ledger.head)
        status = self._ledger.state.status
        if parent is None or status.is_final:
            return
        resting = status is not RunStatus.RUNNING
        number = self._ledger.number
        event: ev.Event = ev.ChildRests(parent.key, parent.attempt, resting, number)
        if parent.is_of_shard:
            event = ev.ShardRests(parent.key, parent.first, resting, number, parent.attempt)
        self._tell(parent, event, None)


def _without_result(job: Job, error: StorageError) -> Job:
    """The message that a child run has failed, where what it hands on cannot be sent at all."""
    event = job.event
    if isinstance(event, ev.ChildSettled) and event.succeeded:
        bare = event._replace(context={}, outputs={}, result=None)
        return replace(job, event=instead_of(bare, error))
    return job
