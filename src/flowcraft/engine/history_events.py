"""The events of a stored run, as they follow from its facts (decision 0036).

A fact is an event of the core; what it meant is decided anew, and told as in process. Facts that
nothing is told of there have events of their own here, so that each fact has at least one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowcraft.core import events as ev
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.plan import Key, Plan, index_of_key, iteration_of_key
from flowcraft.core.step import Decision
from flowcraft.engine.bus import FlowEvent
from flowcraft.engine.facts import event_data, read_fact
from flowcraft.engine.ledger import Ledger, is_nothing
from flowcraft.engine.places import ATTEMPTS
from flowcraft.engine.telling import Notice, notice_of_start, notices_of, payload_of
from flowcraft.errors import FlowcraftError
from flowcraft.ports.runs import Fact

LATE: Final = "history:late"
"""A fact from which nothing followed: it came late, or twice."""

BARE: Final = "history:bare"
"""A fact behind a damaged one: what it says, without what followed from it."""

DAMAGED: Final = "history:damaged"
"""A fact, or a line of a file, that cannot be read, with the ``problem``."""

MISSING: Final = "history:missing"
"""A child run, or a part of a large batch, of which nothing is stored."""


@dataclass(frozen=True, slots=True)
class StoredFact:
    """What is stored of a run at one point of its history: what a replay goes by.

    Attributes:
        text: The fact as it is stored, decoded.
        blueprint: With the first fact of a run the blueprint that it was started with.
    """

    text: str
    blueprint: WorkflowBlueprint | None = None


@dataclass(frozen=True, slots=True)
class HistoryEvent(FlowEvent):
    """One event in the history of a durable run.

    Attributes:
        record: The run that it is of, or the part of a run (some items of a large batch) that is
            recorded by itself.
        fact: The number, in that record, of the fact that it follows from.
        stored: That fact, with the first event of it; ``None`` with the others.
    """

    record: str = ""
    fact: int = 0
    stored: StoredFact | None = None


def events_of(
    run: Ledger,
    fact: Fact,
    event: ev.Event,
    decision: Decision,
    blueprint: WorkflowBlueprint | None,
) -> Iterator[HistoryEvent]:
    """The events of a fact that was folded just now.

    Args:
        run: The run, with the fact.
        fact: The fact.
        event: What it says.
        decision: What followed from it.
        blueprint: The run's blueprint, to be told along.
    """
    stored: StoredFact | None = StoredFact(fact.data, blueprint)
    for notice in _notices(run, event, decision):
        yield _event(run, fact, notice, stored)
        stored = None


def _notices(run: Ledger, event: ev.Event, decision: Decision) -> Iterator[Notice]:
    if is_nothing(decision):
        yield LATE, _key_of(event), getattr(event, "attempt", None), _said(event)
        return
    notices = [*notices_of(run, event, decision)]
    notices += [notice_of_start(each) for each in decision.commands if isinstance(each, ATTEMPTS)]
    if not notices or isinstance(event, ALWAYS_TOLD):
        yield _own(event)
    yield from notices


def _own(event: ev.Event) -> Notice:
    """What is told of an event of the core that nothing is told of in process."""
    details = DETAILS.get(type(event), _fields)(event)
    return (
        OWN_TYPES.get(type(event), LATE),
        _key_of(event),
        getattr(event, "attempt", None),
        details,
    )


def _key_of(event: Any) -> Key | None:
    key: Key | None = getattr(event, "key", None)
    return getattr(event, "target", None) if key is None else key


def _fields(event: Any) -> Mapping[str, Any]:
    """The fields of an event as plain values, without those that are told anyway."""
    names = type(event)._fields
    _, *values = event_data(event)
    return {
        name: value
        for name, value in zip(names, values, strict=False)
        if name not in ("key", "target", "attempt")
    }


def _said(event: ev.Event) -> Mapping[str, Any]:
    return {"event": type(event).__name__, **_fields(event)}


def _shard_started(event: ev.ShardStarted) -> Mapping[str, Any]:
    return {"first": event.first, "items": len(event.items)}


def _shard_settled(event: ev.ShardSettled) -> Mapping[str, Any]:
    failed = [item for item, _ in event.failures]
    return {"first": event.first, "items": len(event.values), "failed": failed}


OWN_TYPES: Final[Mapping[type[Any], str]] = {
    ev.RunStarted: "workflow:start",
    ev.NodeSucceeded: "node:settled",
    ev.NodeFailed: "node:settled",
    ev.NodeLost: "node:lost",
    ev.NodeStopped: "node:settled",
    ev.NodeHeldBack: "node:held",
    ev.RetryDue: "timer:due",
    ev.TimerFired: "timer:due",
    ev.AnswerReceived: "answer:kept",
    ev.ItemSucceeded: "node:settled",
    ev.ItemFailed: "node:settled",
    ev.ItemLost: "node:lost",
    ev.ItemStopped: "node:settled",
    ev.ItemRetryDue: "timer:due",
    ev.ItemHeldBack: "node:held",
    ev.ItemsRetried: "retry:requested",
    ev.ShardStarted: "shard:start",
    ev.ShardAdvanced: "shard:advanced",
    ev.ShardRests: "shard:rests",
    ev.ShardSettled: "shard:finish",
    ev.ChildSettled: "subflow:finish",
    ev.ChildRests: "subflow:rests",
    ev.UndoSettled: "compensation:settled",
    ev.UndoLost: "compensation:lost",
    ev.UndoRetryDue: "timer:due",
    ev.Spent: "budget:spent",
    ev.CancelRequested: "cancel:requested",
    ev.PauseRequested: "pause:requested",
    ev.ContinueRequested: "continue:requested",
    ev.ContextPatched: "context:patched",
    ev.RetryRequested: "retry:requested",
    ev.SkipRequested: "skip:requested",
}
"""The type of event for a fact of which nothing else is to be told."""

ALWAYS_TOLD: Final = (
    ev.ItemsRetried,
    ev.RetryRequested,
    ev.ShardSettled,
    ev.ShardStarted,
    ev.SkipRequested,
)
"""Of these the rest does not tell that they happened."""

DETAILS: Final[Mapping[type[Any], Callable[[Any], Mapping[str, Any]]]] = {
    ev.ShardStarted: _shard_started,
    ev.ShardSettled: _shard_settled,
}
"""Their values are those of the items, which are told of already."""


def _event(run: Ledger, fact: Fact, notice: Notice, stored: StoredFact | None) -> HistoryEvent:
    type_, key, attempt, details = notice
    try:
        payload: Mapping[str, Any] = payload_of(run, details)
    except Exception as error:  # a codec of the user's may raise anything
        payload = {"problem": f"What there is to tell cannot be copied: {error!r}"}
    node_id = details.get("node_id") if key is None else _node_id(run.plan, key)
    return HistoryEvent(
        type=type_,
        timestamp=fact.at,
        run_id=run.state.run_id or run.run_id,
        blueprint_id=run.head.blueprint_id,
        node_id=node_id,
        attempt=attempt,
        iteration=() if key is None else iteration_of_key(key),
        payload=payload,
        record=run.run_id,
        fact=fact.number,
        stored=stored,
    )


def _node_id(plan: Plan, key: Key) -> str:
    """The id of a node; its number for one that was added where that cannot be told."""
    index = index_of_key(key)
    return plan.nodes[index].id if index < len(plan.nodes) else f"#{index}"


def bare_event(run: Ledger, fact: Fact) -> HistoryEvent:
    """A fact that is not folded, because one before it is damaged."""
    try:
        event = read_fact(fact.data, run.host.options.serializer).event
    except FlowcraftError as error:
        return damaged_event(run, fact, str(error))
    notice = (BARE, _key_of(event), getattr(event, "attempt", None), _said(event))
    return _event(run, fact, notice, StoredFact(fact.data))


def damaged_event(run: Ledger, fact: Fact, problem: str) -> HistoryEvent:
    """A fact that cannot be read, or is missing."""
    return _event(run, fact, (DAMAGED, None, None, {"problem": problem}), None)
