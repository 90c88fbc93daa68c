"""A new run that takes over what an earlier one achieved (rules S5, S14).

A final status never changes. Trying again what failed, or running once more from some node, is
therefore another run: it begins with the facts of the earlier one, less those about the nodes
that are to run anew and about everything behind them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from flowcraft.core import events as ev
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.context import CATCH_ERROR
from flowcraft.core.decide import decide
from flowcraft.core.graph import reach
from flowcraft.core.plan import Key, Plan, index_of_key
from flowcraft.core.state import CHILD, RUNNING, RunState, apply
from flowcraft.engine.facts import read_fact, write_fact
from flowcraft.engine.jobs import Job
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.serializer import Serializer
from flowcraft.engine.starting import begin_run
from flowcraft.engine.station import Station
from flowcraft.engine.tape import Tape
from flowcraft.errors import FlowcraftError, InvalidRunState, RunNotFound
from flowcraft.ports.runs import Entry, Fact

RERUN_INPUT = "_rerun."
"""Where the input is kept that a node is given anew."""

_KEPT = (
    ev.NodeSucceeded,
    ev.ItemSucceeded,
    ev.ItemFailed,
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


def with_inputs(blueprint: WorkflowBlueprint, inputs: Mapping[str, Any]) -> WorkflowBlueprint:
    """The blueprint with nodes that are given something else than what leads to them."""
    nodes = tuple(
        replace(node, inputs=RERUN_INPUT + node.id) if node.id in inputs else node
        for node in blueprint.nodes
    )
    return replace(blueprint, nodes=nodes)


def taken_over(
    plan: Plan,
    tape: Tape,
    facts: Iterable[Fact],
    anew: frozenset[int],
    started: ev.RunStarted,
    serializer: Serializer,
) -> Iterator[Entry]:
    """The facts that the new run begins with.

    Args:
        plan: The plan of the new run.
        tape: Its evaluator.
        facts: All facts of the earlier run.
        anew: The nodes that are to run anew, and what can follow them.
        started: How the new run starts.
        serializer: How facts are written.
    """
    state = RunState()
    for fact in facts:
        event, recording = read_fact(fact.data, serializer)
        if isinstance(event, ev.RunStarted):
            event = started
        elif isinstance(event, _KEPT) and not _is_about(event, plan, anew):
            event = _as_first_attempt(event, state)
        else:
            continue
        tape.play(recording)
        try:
            decision = decide(plan, state, event, fact.at)
        except InvalidRunState:
            continue
        changes = decision.changes
        if not any(getattr(changes, name) for name in type(changes).__slots__):
            continue
        apply(state, changes)
        plan = decision.plan
        yield Entry(write_fact(event, recording, serializer), fact.at)


def _is_about(event: Any, plan: Plan, anew: frozenset[int]) -> bool:
    key: Key | None = getattr(event, "key", None)
    if key is not None:
        return index_of_key(key) in anew
    node_id = getattr(event, "node_id", None)
    return node_id is not None and plan.index_of.get(node_id) in anew


def _as_first_attempt(event: Any, state: RunState) -> Any:
    """The event as it is about the attempt that the new run is at."""
    if isinstance(event, ev.NodeSucceeded | ev.ChildSettled):
        record = state.records.get(event.key)
        if record is not None and record.status in (RUNNING, CHILD):
            return event._replace(attempt=record.attempt)
    elif isinstance(event, ev.ItemSucceeded | ev.ItemFailed):
        item = state.items.get((event.key, event.item))
        if item is not None:
            return event._replace(attempt=item.attempt)
    return event


def first_context(started: ev.RunStarted, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The initial context of the new run."""
    context = {key: value for key, value in started.context.items() if key != CATCH_ERROR}
    return context | {RERUN_INPUT + node_id: value for node_id, value in inputs.items()}


async def start_over(
    station: Station,
    ledger: Ledger,
    node_ids: Collection[str],
    inputs: Mapping[str, Any],
    run_id: str,
    key: str | None = None,
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
    """
    record = await station.runs.read(ledger.run_id)
    if record is None:
        raise RunNotFound(f"There is no run '{ledger.run_id}'.")
    anew = behind(ledger.plan, sorted(node_ids))
    blueprint = with_inputs(ledger.plan.blueprint, inputs)
    serializer = station.options.serializer
    first = read_fact(record.facts[0].data, serializer).event
    assert isinstance(first, ev.RunStarted)
    plan, tape = await station.plan(await station.keep(blueprint, latest=False))

    async def begin(run_id: str) -> Job:
        started = first._replace(run_id=run_id, context=first_context(first, inputs))
        return await begin_run(
            station,
            blueprint,
            started,
            epoch=station.identifiers.new_run_id(),
            tags=record.head.tags,
            key=key,
            taken_over=list(taken_over(plan, tape, record.facts, anew, started, serializer)),
        )

    job = await begin(run_id)
    if key is not None and not await _has_key(station, job.run_id, key):
        # It may be left from an earlier run of the same id, which was deleted.
        job = await begin(f"{run_id}~{ledger.epoch}")
    await station.send([job])
    return job


async def _has_key(station: Station, run_id: str, key: str) -> bool:
    record = await station.runs.read(run_id, 1 << 60)
    return record is not None and record.head.key == key
