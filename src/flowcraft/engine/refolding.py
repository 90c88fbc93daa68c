"""A run in this process, made of the facts that its history brought along.

The facts are folded as those of any stored run, so what comes out is what is stored. To execute a
part of it anew, the facts about that part are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from flowcraft.core import events as ev
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.decide import decide
from flowcraft.core.plan import Key, Plan, build_plan, index_of_key
from flowcraft.core.state import CHILD, ErrorInfo, RunState, apply
from flowcraft.core.step import Step
from flowcraft.core.writes import apply_writes
from flowcraft.engine.bus import FlowEvent
from flowcraft.engine.children import child_run_id
from flowcraft.engine.facts import Told, read_fact
from flowcraft.engine.history_events import DAMAGED, HistoryEvent
from flowcraft.engine.local import LocalRun
from flowcraft.engine.rerun import behind
from flowcraft.engine.saved import restore_plan
from flowcraft.engine.tape import Recording, Tape
from flowcraft.errors import FlowcraftError, InvalidRunState, SerializationError

if TYPE_CHECKING:
    from flowcraft.engine.runtime import FlowRuntime
    from flowcraft.engine.session import Session

_WISHES = (
    ev.CancelRequested,
    ev.ContinueRequested,
    ev.ItemHeldBack,
    ev.ItemStopped,
    ev.NodeHeldBack,
    ev.NodeStopped,
    ev.PauseRequested,
    ev.ShardAdvanced,
    ev.ShardRests,
    ev.Spent,
)
"""What stopped or held up the whole run, and what came of that: not where it is executed anew."""


class Recorded(NamedTuple):
    """What is on record of a run.

    Attributes:
        run_id: The run.
        blueprint: The blueprint that it was started with.
        facts: Time and text of each of its facts, in order.
    """

    run_id: str
    blueprint: WorkflowBlueprint
    facts: list[tuple[float, str]]


class Records:
    """What the events of a history have on record: of the run, and of its child runs.

    Args:
        events: The events, in any number from the first one on.

    Raises:
        FlowcraftError: They were written without payloads, one is missing, or something of them
            is damaged.
    """

    def __init__(self, events: Iterable[FlowEvent]) -> None:
        self._records: dict[str, Recorded] = {}
        self._damaged: dict[str, str] = {}
        self.root = ""
        for event in events:
            if not isinstance(event, HistoryEvent):
                raise FlowcraftError(
                    "Events of a stored run's history cannot be replayed together with others."
                )
            if event.type == DAMAGED:
                problem = str(event.payload.get("problem"))
                self._damaged.setdefault(event.record, problem)
            elif event.stored is not None and event.record not in self._damaged:
                self._add(event)
        if not self._records:
            self._refuse("")
            raise FlowcraftError(
                "This history cannot be replayed: it has no stored facts. It was written without "
                "payloads; export it anew with them."
            )

    def _add(self, event: HistoryEvent) -> None:
        stored, record = event.stored, self._records.get(event.record)
        assert stored is not None
        self.root = self.root or event.record
        if record is None:
            if event.fact or stored.blueprint is None:
                if event.record == self.root:
                    raise _missing(event.record, 0)
                return  # a part of a batch: the run has its results
            record = Recorded(event.record, stored.blueprint, [])
            self._records[event.record] = record
        if event.fact != len(record.facts):
            raise _missing(event.record, len(record.facts))
        record.facts.append((event.timestamp, stored.text))

    def _refuse(self, record: str) -> None:
        for place in (record, ""):
            if place in self._damaged:
                raise FlowcraftError(
                    f"This history cannot be replayed, because it is damaged: "
                    f"{self._damaged[place]}"
                )

    def of(self, run_id: str) -> Recorded | None:
        """What is on record of a run.

        Raises:
            FlowcraftError: It is damaged.
        """
        self._refuse(run_id)
        return self._records.get(run_id)


def _missing(record: str, number: int) -> FlowcraftError:
    return FlowcraftError(
        f"This history cannot be replayed: fact {number} of run '{record}' is missing. Replay all "
        "events of a history, or a beginning of them."
    )


class RefoldedRun(LocalRun):
    """A run that was made of facts."""

    def save(self) -> str:
        """The run as text, to be resumed from.

        Raises:
            InvalidRunState: A large batch of it is under way, in parts that are stored elsewhere.
        """
        for (key, _), shard in self.state.shards.items():
            if not shard.over or self.state.batches[key].items:
                node = self.plan.nodes[index_of_key(key)].id
                raise InvalidRunState(
                    f"Run '{self.state.run_id}' cannot be resumed in this process: the batch "
                    f"'{node}' is under way in parts. Replay it from that node instead."
                )
        return super().save()


def refold(
    runtime: FlowRuntime,
    session: Session,
    records: Records,
    blueprint: WorkflowBlueprint,
    from_node: str | None,
) -> LocalRun:
    """A run as its history leads to it, its child runs included.

    Args:
        runtime: Its serializer and evaluator.
        session: What the run and its child runs belong to.
        records: The history.
        blueprint: What the run was started with.
        from_node: A node that is to be executed anew, with all that can follow it.

    Raises:
        FlowcraftError: The run was started with another blueprint, or there is no such node.
        SerializationError: A fact cannot be read here.
    """
    recorded = records.of(records.root)
    assert recorded is not None
    folding = _Refolding(runtime, session, records, is_live=from_node is not None)
    return folding.run(recorded, blueprint, None, from_node)


def _check_blueprint(recorded: Recorded, before: Plan, now: Plan) -> None:
    """See that a run can go on with a blueprint: facts name instances by the shape of the graph."""
    if before.blueprint.id == now.blueprint.id and _shape(before) == _shape(now):
        return
    other = f"another version of the blueprint '{now.blueprint.id}', with other nodes or edges"
    if before.blueprint.id != now.blueprint.id:
        other = f"the blueprint '{before.blueprint.id}', and this one is '{now.blueprint.id}'"
    raise FlowcraftError(
        f"The history of run '{recorded.run_id}' is that of {other}. Replay it with the blueprint "
        "that it brought along: 'events[0].stored.blueprint'."
    )


def _shape(plan: Plan) -> object:
    nodes = [
        (node.id, node.kind, node.loops, node.fallback, node.compensate) for node in plan.nodes
    ]
    return nodes, [(link.source, link.target, link.back) for link in plan.links]


class _Refolding:
    """Folds the facts of a run and of the child runs that it waits for."""

    def __init__(
        self, runtime: FlowRuntime, session: Session, records: Records, *, is_live: bool
    ) -> None:
        self._runtime = runtime
        self._session = session
        self._records = records
        self._is_live = is_live

    def run(
        self,
        recorded: Recorded,
        blueprint: WorkflowBlueprint,
        parent: tuple[LocalRun, Key] | None,
        from_node: str | None = None,
    ) -> LocalRun:
        """A run, with the child runs that it waits for."""
        options = self._runtime.options
        tape = Tape(options.evaluator, options.serializer.codec_for)
        plan = build_plan(recorded.blueprint, tape, options.serializer.codec_for)
        own = self._runtime.plan_of(blueprint)
        _check_blueprint(recorded, plan, own)
        anew = frozenset[int]() if from_node is None else behind(plan, [from_node])
        folded = (_Part if self._is_live else _Whole)(plan, tape, anew)
        for number, (at, text) in enumerate(recorded.facts):
            folded.take(_read(recorded, number, text, self._runtime), at)
        plan = restore_plan(own, folded.state)
        run = RefoldedRun(self._session, plan, folded.state, parent)
        for key, record in folded.state.records.items():
            if record.status is CHILD and index_of_key(key) not in anew:
                child = self._records.of(child_run_id(run, key, record.attempt))
                if child is not None:
                    known = self._session.known.blueprint(child.blueprint.id) or child.blueprint
                    run.children[key] = self.run(child, known, (run, key))
        return run


def _read(recorded: Recorded, number: int, text: str, runtime: FlowRuntime) -> Told:
    try:
        return read_fact(text, runtime.options.serializer)
    except SerializationError as error:
        raise SerializationError(f"Run '{recorded.run_id}', fact {number}: {error}") from error


class _Whole:
    """The state that all facts lead to."""

    def __init__(self, plan: Plan, tape: Tape, anew: Collection[int]) -> None:
        self._plan = plan
        self._tape = tape
        self._anew = anew
        self.state = RunState()

    def take(self, told: Told, at: float) -> None:
        """Fold a fact."""
        self._fold(told.event, told.tape, at)

    def _fold(self, event: ev.Event, recording: Recording, at: float) -> bool:
        self._tape.play(recording)
        try:
            decision = decide(self._plan, self.state, event, at)
        except InvalidRunState:
            return False
        apply(self.state, decision.changes)
        self._plan = decision.plan
        return True


class _Part(_Whole):
    """The state as if some nodes had not begun, in a run that goes on in this process.

    Nothing is cut into parts there, so what came of a part of a batch came of its items.
    """

    def __init__(self, plan: Plan, tape: Tape, anew: Collection[int]) -> None:
        super().__init__(plan, tape, anew)
        # What came of items, before their turn has come here.
        self._items: dict[tuple[Key, int], tuple[Any, float]] = {}

    def take(self, told: Told, at: float) -> None:
        """Fold a fact, unless it is about what is to be executed anew."""
        event, recording = told
        if isinstance(event, _WISHES) or self._is_about(event):
            return
        if isinstance(event, ev.RunStarted):
            event = event._replace(shard_size=None, cancelled=None)
        if isinstance(event, ev.ShardSettled):
            for item in _items_of(event) if event.is_whole else ():
                self._items[item.key, item.item] = (item, at)
        elif not self._fold(event, recording, at) and isinstance(event, ev.ContextPatched):
            self._patch(event, at)
        self._settle_items()

    def _is_about(self, event: Any) -> bool:
        key = getattr(event, "key", getattr(event, "target", None))
        if key is not None:
            return index_of_key(key) in self._anew
        node_id = getattr(event, "node_id", None)
        return node_id is not None and self._plan.index_of.get(node_id) in self._anew

    def _patch(self, event: ev.ContextPatched, at: float) -> None:
        """Change the context: the run was paused then, and is not here."""
        step = Step(self._plan, self.state, at)
        if apply_writes(step, event.writes) is None:
            apply(self.state, step.changes)

    def _settle_items(self) -> None:
        """Settle the items that are under way by now; others begin with the end of these."""
        while ready := [place for place in self.state.items if place in self._items]:
            for place in ready:
                event, at = self._items.pop(place)
                attempt = self.state.items[place].attempt
                self._fold(event._replace(attempt=attempt), [], at)


def _items_of(event: ev.ShardSettled) -> Iterator[Any]:
    """What came of each item of a part of a batch."""
    failures: Mapping[int, Any] = dict(event.failures)
    writes = dict(event.item_writes)
    for item, value in enumerate(event.values, event.first):
        if item in failures:
            yield ev.ItemFailed(event.key, item, 1, _error_of(event, item, failures[item]), False)
        else:
            yield ev.ItemSucceeded(event.key, item, 1, value, writes.get(item))


def _error_of(event: ev.ShardSettled, item: int, failure: Any) -> ErrorInfo:
    """The error of an item: the one that is kept, or what its result tells of it."""
    for error in event.errors:
        if (error.node_id or "").endswith(f"[{item}]"):
            return error
    told = failure if isinstance(failure, Mapping) else {}
    type_ = str(told.get("type", "Error"))
    return ErrorInfo(type_, str(told.get("message", "")), (type_,))
