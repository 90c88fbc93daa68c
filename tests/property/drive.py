"""A run driven by hand: events go in one by one, and every decision is checked on the way.

What is checked each time holds for every run whatever its blueprint: transitions are allowed
ones, counters equal what the records say, a live run has something to wait for, what is
outstanding can be asked for again, and a run that is over stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.context import ContextView
from flowcraft.core.decide import decide
from flowcraft.core.plan import Key, Plan, build_plan, index_of_key, iteration_of_key
from flowcraft.core.state import (
    CHILD,
    RETRYING,
    RUNNING,
    SLEEPING,
    TRANSITIONS,
    WAITING,
    Changes,
    ErrorInfo,
    NodeStatus,
    RunState,
    RunStatus,
    apply,
)
from flowcraft.core.step import Decision

Document = dict[str, Any]


def node(node_id: str, uses: str = "task", **more: Any) -> Document:
    """A node of a blueprint; ``params`` and ``inputs`` by name, the rest is its config."""
    document: Document = {"id": node_id, "uses": uses}
    for name in ("params", "inputs"):
        if name in more:
            document[name] = more.pop(name)
    return document | ({"config": more} if more else {})


def edge(source: str, target: str, action: str | None = None, **more: Any) -> Document:
    """An edge of a blueprint."""
    return {"source": source, "target": target, "action": action, **more}


def chain(*node_ids: str) -> list[Document]:
    """Edges from each node to the next."""
    return [edge(a, b) for a, b in pairwise(node_ids)]


def blueprint(nodes: Sequence[Document], edges: Sequence[Document] = (), **meta: Any) -> Document:
    """A blueprint document."""
    return {"id": "flow", "nodes": list(nodes), "edges": list(edges), "metadata": meta}


def error(message: str = "boom", *, fatal: bool = False, name: str = "ValueError") -> ErrorInfo:
    """A failure."""
    return ErrorInfo(name, message, (name, "Exception"), is_fatal=fatal)


def unchanged(decision: Decision) -> bool:
    """Whether a decision leaves the state as it is."""
    return not any(getattr(decision.changes, name) for name in Changes.__slots__)


def copy_state(state: RunState) -> RunState:
    """A state that shares no table with the given one."""
    values: dict[str, Any] = {}
    for each in fields(RunState):
        value = getattr(state, each.name)
        values[each.name] = value.copy() if isinstance(value, dict | list) else value
    return RunState(**values)


def state_values(state: RunState) -> dict[str, Any]:
    """A state as a mapping, to compare two with each other."""
    return {each.name: getattr(state, each.name) for each in fields(RunState)}


@dataclass
class Run:
    """A run under test; ``commands`` are those of the last decision, ``open`` all to be done."""

    document: Mapping[str, Any]
    plan: Plan = field(init=False)
    state: RunState = field(default_factory=RunState)
    now: float = 0.0
    commands: list[cmd.Command] = field(default_factory=list)
    open: list[cmd.Command] = field(default_factory=list)
    decisions: int = 0

    def __post_init__(self) -> None:
        self.plan = build_plan(WorkflowBlueprint.from_dict(self.document))

    def start(self, context: Mapping[str, Any] | None = None, **more: Any) -> Run:
        """Begin the run."""
        self.send(ev.RunStarted("run-1", context or {}, **more))
        return self

    def send(self, event: ev.Event) -> Decision:
        """Tell the core what happened, store its changes, and check what must always hold."""
        before = self.state.status
        decision = decide(self.plan, self.state, event, self.now)
        check_transitions(self.state, decision)
        apply(self.state, decision.changes)
        self.plan = decision.plan
        self.decisions += 1
        self.commands = decision.commands
        fresh = [] if isinstance(event, ev.LookedAt) else decision.commands
        self.open = [c for c in [*self.open, *fresh] if is_outstanding(self.state, c)]
        assert not before.is_final or self.state.status is before, "a final status changed"
        check_state(self)
        return decision

    def key(self, node_id: str, *iteration: int) -> Key:
        """The key of an instance; without numbers, of the first iteration."""
        found = self.plan.nodes[self.plan.index_of[node_id]]
        return self.plan.key(found, iteration or (0,) * len(found.loops))

    def ok(self, node_id: str, *iteration: int, output: Any = None, **more: Any) -> Decision:
        """The running attempt at an instance succeeds."""
        key = self.key(node_id, *iteration)
        attempt = self.state.records[key].attempt
        return self.send(ev.NodeSucceeded(key, attempt, output, **more))

    def fail(self, node_id: str, *iteration: int, fatal: bool = False, **more: Any) -> Decision:
        """The running attempt at an instance fails, with an error that names the node."""
        key = self.key(node_id, *iteration)
        attempt = self.state.records[key].attempt
        return self.send(
            ev.NodeFailed(key, attempt, error(f"{node_id} failed", fatal=fatal), **more)
        )

    def status_of(self, node_id: str, *iteration: int) -> str:
        """The status of an instance."""
        record = self.state.records.get(self.key(node_id, *iteration))
        return "pending" if record is None else str(record.status)

    def statuses(self) -> dict[str, str]:
        """The status of every instance that has one, by name such as ``a`` or ``a@0.1``."""
        return {self.name(key): str(r.status) for key, r in self.state.records.items()}

    def inputs(self) -> dict[str, Any]:
        """What each instance was given, by name; skipped ones are left out."""
        return {self.name(k): r.input for k, r in self.state.records.items() if r.attempt}

    def name(self, key: Key) -> str:
        """An instance as tests write it."""
        node_id = self.plan.nodes[index_of_key(key)].id
        iteration = iteration_of_key(key)
        return f"{node_id}@{'.'.join(map(str, iteration))}" if iteration else node_id

    def running(self) -> list[str]:
        """The instances that run now, in the order they started."""
        return [self.name(k) for k, r in self.state.records.items() if r.status is RUNNING]

    @property
    def context(self) -> ContextView:
        """The run's context."""
        return ContextView(self.plan, self.state)

    @property
    def status(self) -> str:
        """The run's status."""
        return str(self.state.status)

    @property
    def errors(self) -> list[str]:
        """The messages of the failures that stand."""
        return [each.message for each in self.state.errors]


def check_transitions(state: RunState, decision: Decision) -> None:
    """Every record goes from its status to one that the table allows."""
    for key, record in decision.changes.records.items():
        old = state.records.get(key)
        before = None if old is None else old.status
        if before is record.status and before is RUNNING:
            continue
        assert record.status in TRANSITIONS[before], f"{key}: {before} -> {record.status}"


def check_state(run: Run) -> None:
    """Counters, outstanding commands and status agree with the records."""
    state = run.state
    assert state.working == count_working(state), "counter 'working'"
    assert state.waiting == count_waiting(state), "counter 'waiting'"
    if state.status.is_final:
        assert state.working == state.waiting == 0
        assert not run.open or state.status.is_final
        if state.stopping is None:
            check_nothing_left(state)
        return
    assert state.status is status_by_counters(state), "status"
    if state.status is RunStatus.RUNNING:
        assert state.working > 0
        assert run.open, "a live run has nothing outstanding"
    asked = decide(run.plan, state, ev.LookedAt(), run.now)
    assert unchanged(asked), "looking at a run changed it"
    if state.stopping is None or state.undoing is not None:
        assert sorted(map(repr, asked.commands)) == sorted(map(repr, run.open)), "outstanding"


def check_nothing_left(state: RunState) -> None:
    """A run that came to its end by itself left nothing half done."""
    assert not state.joins, f"a join never settled: {state.joins}"
    assert not state.rescues, f"a fallback never settled: {state.rescues}"
    assert not state.items
    assert all(shard.over for shard in state.shards.values())
    assert not state.ready
    assert all(left == 0 for left in state.remaining.values()), "a loop is not over"


def status_by_counters(state: RunState) -> RunStatus:
    """The status of a run that is not over, from its counters."""
    if state.working:
        return RunStatus.RUNNING
    return RunStatus.PAUSED if state.paused else RunStatus.AWAITING


def count_working(state: RunState) -> int:
    """Instances, items and compensations at work, counted one by one."""
    records = state.records.items()
    nodes = sum(r.status in (RUNNING, RETRYING) for _, r in records)
    children = sum(r.status is CHILD and key not in state.resting for key, r in records)
    undos = sum(u.attempt > 0 and u.succeeded is None for u in state.undos.values())
    items = sum(not item.held for item in state.items.values())
    shards = sum(not shard.over and not shard.resting for shard in state.shards.values())
    return nodes + children + items + shards + undos


def count_waiting(state: RunState) -> int:
    """Instances that wait, counted one by one."""
    waiting = sum(r.status in (WAITING, SLEEPING) for r in state.records.values())
    shards = sum(not shard.over and shard.resting for shard in state.shards.values())
    return waiting + len(state.resting) + shards


def is_outstanding(state: RunState, command: cmd.Command) -> bool:
    """Whether a command that was given is still to be done."""
    return OUTSTANDING[type(command)](state, command)


def _at(state: RunState, command: Any, status: NodeStatus, before: int = 0) -> bool:
    record = state.records.get(command.key)
    if record is None or record.status is not status:
        return False
    return record.attempt + before == getattr(command, "attempt", record.attempt + before)


def _timer(state: RunState, command: cmd.ArmTimer) -> bool:
    return _at(state, command, WAITING) or _at(state, command, SLEEPING)


def _item(state: RunState, command: cmd.RunItem | cmd.RetryItem, *, delayed: bool) -> bool:
    item = state.items.get((command.key, command.item))
    if item is None or item.held or (item.due_at is not None) is not delayed:
        return False
    return item.attempt + int(delayed) == command.attempt


def _undo(state: RunState, command: cmd.RunUndo | cmd.RetryUndo, *, delayed: bool) -> bool:
    return any(
        undo.target == command.target and undo.attempt + int(delayed) == command.attempt
        for undo in state.undos.values()
        if undo.succeeded is None and (undo.due_at is not None) is delayed
    )


OUTSTANDING: dict[type[Any], Callable[[RunState, Any], bool]] = {
    cmd.RunNode: lambda state, c: _at(state, c, RUNNING),
    cmd.RetryNode: lambda state, c: _at(state, c, RETRYING, 1),
    cmd.RunItem: lambda state, c: _item(state, c, delayed=False),
    cmd.RetryItem: lambda state, c: _item(state, c, delayed=True),
    cmd.ArmTimer: _timer,
    cmd.StartChild: lambda state, c: _at(state, c, CHILD),
    cmd.RunUndo: lambda state, c: _undo(state, c, delayed=False),
    cmd.RetryUndo: lambda state, c: _undo(state, c, delayed=True),
    cmd.StartShard: lambda state, c: not state.shards[c.key, c.first].over,
    cmd.TellShards: lambda _state, _: False,
    cmd.ReportShard: lambda _state, _: False,
    cmd.StopWork: lambda state, _: state.undoing is None and not state.status.is_final,
    cmd.FinishRun: lambda _state, _: False,
}
