"""A new run that takes over what an earlier one achieved (rules S5, S14).

A final status never changes. Trying again what failed, or running once more from some node, is
therefore another run: it begins with the facts of the earlier one, less those about the nodes
that are to run anew and about everything behind them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from flowcraft.core import events as ev
from flowcraft.core.batches import unfinished
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.context import CATCH_ERROR
from flowcraft.core.decide import decide
from flowcraft.core.graph import reach
from flowcraft.core.items import collects
from flowcraft.core.plan import Key, Plan, index_of_key
from flowcraft.core.state import CANCELLED, CHILD, FAILED, RUNNING, RunState, apply
from flowcraft.engine.facts import read_fact, write_fact
from flowcraft.engine.jobs import Job
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.serializer import Serializer
from flowcraft.engine.starting import Begun, begin_run
from flowcraft.engine.station import Station
from flowcraft.engine.tape import Recording, Tape
from flowcraft.errors import FlowcraftError, InvalidRunState, RunNotFound
from flowcraft.ports.runs import Entry, Fact

RERUN_INPUT = "_rerun."
"""Where the input is kept that a node is given anew."""

_KEPT = (
    ev.NodeSucceeded,
    ev.ItemSucceeded,
    ev.ItemFailed,
    ev.ShardAdvanced,
    ev.ShardSettled,
    ev.ChildSettled,
    ev.AnswerReceived,
    ev.TimerFired,
    ev.SkipRequested,
    ev.ContextPatched,
)


def behind(plan: Plan, node_ids: Iterable[str]) -> frozenset[int]:
    """Some nodes and everything that can follow them, by index.

    Raises:
        FlowcraftError: The blueprint has no such node.
    """
    for node_id in node_ids:
        if node_id not in plan.index_of:
            raise FlowcraftError(f"Blueprint '{plan.blueprint.id}' has no node '{node_id}'.")
    following = [
        [link.target for link in node.out] + ([node.fallback] if node.fallback >= 0 else [])
        for node in plan.nodes
    ]
    reached = reach(following, [plan.index_of[node_id] for node_id in node_ids])
    return frozenset(index for index, is_reached in enumerate(reached) if is_reached)


def what_failed(ledger: Ledger) -> tuple[set[str], Sequence[Key]]:
    """The nodes that failed or were stopped, and the batches with items that did.

    Of such a batch the items run again that failed, not those that succeeded.

    Raises:
        InvalidRunState: There are none.
    """
    nodes = ledger.plan.nodes
    failed = {
        nodes[index_of_key(key)].id
        for key, record in ledger.state.records.items()
        if record.status in (FAILED, CANCELLED)
    }
    batches = unfinished(ledger.plan, ledger.state)
    if not failed and not batches:
        raise InvalidRunState(f"Run '{ledger.run_id}' has no failed node to retry.")
    return failed, batches


def with_inputs(blueprint: WorkflowBlueprint, inputs: Mapping[str, Any]) -> WorkflowBlueprint:
    """The blueprint with nodes that are given something else than what leads to them."""
    nodes = tuple(
        replace(node, inputs=RERUN_INPUT + node.id) if node.id in inputs else node
        for node in blueprint.nodes
    )
    return replace(blueprint, nodes=nodes)


class Anew(NamedTuple):
    """What of an earlier run is to happen anew.

    Attributes:
        nodes: Nodes that run anew, and what can follow them.
        batches: Scatter instances of which the items run anew that failed.
        ended: The state that the earlier run ended in.
    """

    nodes: frozenset[int]
    batches: Collection[Key]
    ended: RunState


class TakingOver:
    """Finds the facts that a new run begins with.

    Args:
        plan: The plan of the new run.
        tape: Its evaluator.
        anew: What is to happen anew.
        serializer: How facts are written.
    """

    def __init__(self, plan: Plan, tape: Tape, anew: Anew, serializer: Serializer) -> None:
        self._plan = plan
        self._tape = tape
        self._anew = anew
        self._serializer = serializer
        self._state = RunState()
        self._entries: list[Entry] = []

    def entries(self, facts: Sequence[Fact], started: ev.RunStarted) -> list[Entry]:
        """The facts of the new run.

        Args:
            facts: All facts of the earlier run.
            started: How the new run starts.
        """
        told = [(fact.at, *read_fact(fact.data, self._serializer)) for fact in facts]
        final = _final_outcomes(event for _, event, _ in told)
        for at, event, recording in told:
            if isinstance(event, ev.RunStarted):
                self._take(started, recording, at)
            elif not isinstance(event, _KEPT) or _is_about(event, self._plan, self._anew.nodes):
                continue
            elif isinstance(event, ev.ContextPatched):
                self._patch(event, recording, at)
            elif isinstance(event, ev.ItemFailed):
                if final[event.key, event.item] is event and self._is_over(event):
                    self._take_outcome(event._replace(retryable=False), recording, at)
            elif isinstance(event, ev.ShardSettled):
                if final[event.key, event.first] is event and self._is_over(event):
                    self._take_outcome(event, recording, at)
            else:
                self._take_outcome(event, recording, at)
        for key in self._anew.batches:
            self._take(ev.ItemsRetried(key), [], facts[-1].at)
        return self._entries

    def _patch(self, event: ev.ContextPatched, recording: Recording, at: float) -> None:
        """Change the context as somebody did: a run is paused for that."""
        self._take(ev.PauseRequested(), [], at)
        self._take(event, recording, at)
        self._take(ev.ContinueRequested(), [], at)

    def _take_outcome(self, event: Any, recording: Recording, at: float) -> None:
        if _has_failures(event) and self._would_stop(event.key):
            return  # nothing began after it, and it runs again
        if self._ends_batch(event):
            # Before the batch is over: afterwards what follows it is settled.
            self._take(ev.ItemsRetried(event.key), [], at)
            if _has_failures(event):
                return
        self._take(_as_first_attempt(event, self._state), recording, at)

    def _take(self, event: ev.Event, recording: Recording, at: float) -> None:
        """Let something happen in the new run, if anything follows from it there."""
        self._tape.play(recording)
        try:
            decision = decide(self._plan, self._state, event, at)
        except InvalidRunState:
            return
        changes = decision.changes
        if any(getattr(changes, name) for name in type(changes).__slots__):
            apply(self._state, changes)
            self._plan = decision.plan
            self._entries.append(Entry(write_fact(event, recording, self._serializer), at))

    def _is_over(self, event: ev.ItemFailed | ev.ShardSettled) -> bool:
        """Whether a failure stood, or a shard had run to its end, when the earlier run ended."""
        ended = self._anew.ended
        if isinstance(event, ev.ShardSettled):
            shard = ended.shards.get((event.key, event.first))
            return event.is_whole and shard is not None and shard.over
        batch = ended.batches.get(event.key)
        if batch is not None and not batch.items:
            return True  # its results were collected
        return (event.key, event.item) in ended.results

    def _would_stop(self, scatter: Key) -> bool:
        """Whether a failing item stops the new run before it begins."""
        return self._state.fail_fast and not collects(self._plan.nodes[index_of_key(scatter)])

    def _ends_batch(self, event: Any) -> bool:
        """Whether this is the last of a batch of which something is to happen anew."""
        if not isinstance(event, ev.ItemSucceeded | ev.ItemFailed | ev.ShardSettled):
            return False
        batch = self._state.batches.get(event.key)
        count = len(event.values) if isinstance(event, ev.ShardSettled) else 1
        is_last = batch is not None and batch.done + count == len(batch.items)
        return is_last and event.key in self._anew.batches


def _final_outcomes(events: Iterable[Any]) -> dict[tuple[Key, int], Any]:
    """What was heard last of each item, or shard, of a batch: what came before was retried."""
    final: dict[tuple[Key, int], Any] = {}
    for event in events:
        if isinstance(event, ev.ItemSucceeded | ev.ItemFailed):
            final[event.key, event.item] = event
        elif isinstance(event, ev.ShardSettled):
            final[event.key, event.first] = event
    return final


def _has_failures(event: Any) -> bool:
    if isinstance(event, ev.ShardSettled):
        return bool(event.failures)
    return isinstance(event, ev.ItemFailed)


def _is_about(event: Any, plan: Plan, anew: frozenset[int]) -> bool:
    key: Key | None = getattr(event, "key", None)
    if key is not None:
        return index_of_key(key) in anew
    node_id = getattr(event, "node_id", None)
    return node_id is not None and plan.index_of.get(node_id) in anew


def _as_first_attempt(event: Any, state: RunState) -> Any:
    """The event as it is about the attempt that the new run is at, and costs it nothing."""
    if isinstance(event, ev.ChildSettled | ev.ShardSettled):
        event = event._replace(cost=None)
    if isinstance(event, ev.NodeSucceeded | ev.ChildSettled):
        record = state.records.get(event.key)
        if record is not None and record.status in (RUNNING, CHILD):
            return event._replace(attempt=record.attempt)
    elif isinstance(event, ev.ShardSettled | ev.ShardAdvanced):
        shard = state.shards.get((event.key, event.first))
        if shard is not None:
            return event._replace(attempt=shard.attempt)
    elif isinstance(event, ev.ItemSucceeded | ev.ItemFailed):
        item = state.items.get((event.key, event.item))
        if item is not None:
            return event._replace(attempt=item.attempt)
    return event


def first_context(started: ev.RunStarted, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The initial context of the new run."""
    context = {key: value for key, value in started.context.items() if key != CATCH_ERROR}
    return context | {RERUN_INPUT + node_id: value for node_id, value in inputs.items()}


def _gather_of(plan: Plan, scatter: Key) -> str:
    return str(plan.nodes[index_of_key(scatter)].definition.params["gatherNodeId"])


async def start_over(
    station: Station,
    ledger: Ledger,
    node_ids: Collection[str],
    inputs: Mapping[str, Any],
    run_id: str,
    key: str | None = None,
    batches: Collection[Key] = (),
) -> Job:
    """Store a new run that takes over what an earlier one achieved, and send its first message.

    Args:
        station: Ports and plans.
        ledger: The earlier run.
        node_ids: The nodes that run anew, with everything that can follow them.
        inputs: Inputs by node id that nodes are given instead of what leads to them.
        run_id: The id of the new run.
        key: Its idempotency key, if it is to be started once. Where its id is taken by a run
            without this key, it gets a longer one.
        batches: Scatter instances of which the items run anew that failed.

    Raises:
        InvalidRunState: There is a run of this id already, and no key to tell whether it is this.
    """
    record = await station.runs.read(ledger.run_id)
    if record is None:
        raise RunNotFound(f"There is no run '{ledger.run_id}'.")
    gathers = {_gather_of(ledger.plan, key) for key in batches}
    nodes = behind(ledger.plan, sorted({*node_ids, *gathers}))
    anew = Anew(nodes, batches, ledger.state)
    blueprint = with_inputs(ledger.plan.blueprint, inputs)
    serializer = station.options.serializer
    first = read_fact(record.facts[0].data, serializer).event
    assert isinstance(first, ev.RunStarted)
    plan, tape = await station.plan(await station.keep(blueprint, latest=False))
    epoch = station.identifiers.new_run_id()

    async def begin(run_id: str) -> Begun:
        started = first._replace(run_id=run_id, context=first_context(first, inputs))
        taking_over = TakingOver(plan, tape, anew, serializer)
        return await begin_run(
            station,
            blueprint,
            started,
            epoch=epoch,
            tags=record.head.tags,
            key=key,
            taken_over=taking_over.entries(record.facts, started),
        )

    job, stored = await begin(run_id)
    if key is None and stored.epoch != epoch:
        raise InvalidRunState(f"There is a run '{run_id}' already; choose another id.")
    if stored.key != key:
        # It may be left from an earlier run of the same id, which was deleted.
        job, _ = await begin(f"{run_id}~{ledger.epoch}")
    await station.send([job])
    return job
