"""What a caller gets back from a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.context import HAS_OUTPUT, ContextView
from flowcraft.core.correlation import correlation_of
from flowcraft.core.plan import Key, Plan, index_of_key, iteration_of_key
from flowcraft.core.state import (
    BLOCKED,
    SKIPPED,
    SLEEPING,
    WAITING,
    ErrorInfo,
    Record,
    RunState,
    RunStatus,
)
from flowcraft.errors import InvalidRunState, RunCancelled, RunFailed

if TYPE_CHECKING:
    from flowcraft.engine.view import RunView

R = TypeVar("R", bound="RunView")


@dataclass(frozen=True, slots=True)
class Awaiting:
    """Something a run waits for.

    Attributes:
        path: Ids of the subflow nodes that lead to it, then the waiting node's id.
        reason: ``external_event`` for an answer, ``timer`` for time.
        due_at: When time is up, in seconds since the epoch; ``None`` without a timeout.
        title: The wait's ``title`` parameter, for the person who is to answer.
        actions: The wait's ``actions`` parameter.
        event: The name of the event it is for, where the wait gives one.
        correlation_key: The key of that event as text, where it has one.
        schema: The wait's ``schema`` parameter, the JSON Schema of the answer.
    """

    path: tuple[str, ...]
    reason: str
    due_at: float | None = None
    title: str | None = None
    actions: tuple[str, ...] = ()
    event: str | None = None
    correlation_key: str | None = None
    schema: Any = field(default=None, hash=False)

    @property
    def node_id(self) -> str:
        """The id of the waiting node."""
        return self.path[-1]


class Outputs(Mapping[str, Any]):
    """The latest output of each node that has one, by node id. Values are copies."""

    def __init__(self, run: RunView) -> None:
        self._view = ContextView(run.plan, run.state)
        self._plan = run.plan
        self._copied = run.copied

    def __getitem__(self, node_id: str) -> Any:
        value = self._view.output_of(node_id, _MISSING)
        if value is _MISSING:
            raise KeyError(node_id)
        return self._copied(value)

    def __iter__(self) -> Iterator[str]:
        for node in self._plan.nodes:
            record = self._view.latest_record(node.index)
            if record is not None and record.status in HAS_OUTPUT:
                yield node.id

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))


class Context(Mapping[str, Any]):
    """The context at the end of a run: user keys, outputs and inputs. Values are copies."""

    def __init__(self, run: RunView) -> None:
        self._view = ContextView(run.plan, run.state)
        self._copied = run.copied

    def __getitem__(self, key: str) -> Any:
        return self._copied(self._view[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._view)

    def __len__(self) -> int:
        return len(self._view)

    def __repr__(self) -> str:
        return repr(dict(self))


class RunResult:
    """How a run ended (``completed``, ``failed``, ``cancelled``), or where it rests."""

    def __init__(self, run: RunView) -> None:
        self._run = run

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._run.state.run_id

    @property
    def blueprint_id(self) -> str:
        """The id of its blueprint."""
        return self._run.plan.blueprint.id

    @property
    def blueprint(self) -> WorkflowBlueprint:
        """The blueprint it was started with."""
        return self._run.plan.blueprint

    @property
    def status(self) -> RunStatus:
        """How the run ended, or where it rests."""
        return self._run.state.status

    @property
    def context(self) -> Mapping[str, Any]:
        """All context keys, engine keys included; values are copies."""
        return Context(self._run)

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The latest output of each node that has one; values are copies."""
        return Outputs(self._run)

    @property
    def errors(self) -> tuple[ErrorInfo, ...]:
        """Failures that stand, in the order in which they happened."""
        return tuple(self._run.state.errors)

    @property
    def awaiting(self) -> tuple[Awaiting, ...]:
        """What the run waits for, children included."""
        return tuple(open_waits(self._run))

    @property
    def compensations(self) -> tuple[tuple[str, ErrorInfo | None], ...]:
        """The compensations that ran, in order: node id, and its error if it failed."""
        nodes = self._run.plan.nodes
        return tuple(
            (nodes[undo.node].id, undo.error)
            for undo in self._run.state.undos.values()
            if undo.succeeded is not None
        )

    @property
    def states(self) -> dict[str, str]:
        """The state of each node that is no longer pending, by id; in loops the latest one."""
        return node_states(self._run.plan, self._run.state)

    @property
    def state(self) -> str:
        """The run as text, to be kept and resumed later, in this process or another."""
        return self._run.save()

    def raise_for_status(self) -> RunResult:
        """Give the result back if the run completed.

        Raises:
            RunFailed: The run failed; the message lists its errors.
            RunCancelled: It was cancelled.
            InvalidRunState: It is not over.
        """
        if self.status is RunStatus.COMPLETED:
            return self
        name = f"Run '{self.run_id}' of '{self.blueprint_id}'"
        if self.status is RunStatus.FAILED:
            raise RunFailed(f"{name} failed:\n" + "\n".join(map(describe_error, self.errors)))
        if self.status is RunStatus.CANCELLED:
            raise RunCancelled(f"{name} was cancelled: {self._run.state.reason}")
        waits = ", ".join("/".join(wait.path) for wait in self.awaiting) or "nothing named"
        raise InvalidRunState(f"{name} is not over: it is {self.status}, waiting for {waits}.")

    def __repr__(self) -> str:
        return f"<RunResult {self.run_id} {self.status}>"


def node_states(plan: Plan, state: RunState) -> dict[str, str]:
    """The status of each node that is no longer pending, by id.

    In loops it is that of the latest iteration in which the node was not skipped, if any.
    """
    latest: dict[str, tuple[tuple[bool, tuple[int, ...]], str]] = {}
    for key, record in state.records.items():
        node_id = plan.nodes[index_of_key(key)].id
        rank = (record.status not in (SKIPPED, BLOCKED), iteration_of_key(key))
        if node_id not in latest or latest[node_id][0] <= rank:
            latest[node_id] = (rank, str(record.status))
    return {node_id: status for node_id, (_, status) in latest.items()}


def describe_error(error: ErrorInfo) -> str:
    """One line for a person."""
    where = f"node '{error.node_id}'" if error.node_id else "the run"
    tries = f" after {error.attempts} attempts" if error.attempts > 1 else ""
    causes = "".join(f" <- {name}: {message}" for name, message in error.causes)
    return f"  - {where}{tries}: {error.type}: {error.message}{causes}"


def open_waits(run: RunView) -> Iterator[Awaiting]:
    """What a run and its children wait for."""
    for current, path, key, record in open_instances(run):
        if record.status is SLEEPING:
            yield Awaiting(path, "timer", record.due_at)
            continue
        params = current.plan.nodes[index_of_key(key)].definition.params
        actions, title = _texts(params.get("actions")), params.get("title")
        event, event_key = correlation_of(record) or (None, None)
        schema = current.copied(params.get("schema"))
        yield Awaiting(
            path, "external_event", record.due_at, title, actions, event, event_key, schema
        )


def open_instances(run: R) -> Iterator[tuple[R, tuple[str, ...], Key, Record]]:
    """The instances that wait in a run and its children: their run, the ids that lead to them."""
    todo: list[tuple[R, tuple[str, ...]]] = [(run, ())]
    while todo:
        current, path = todo.pop(0)
        for key, record in current.state.records.items():
            node = current.plan.nodes[index_of_key(key)]
            here = (*path, node.id)
            child = current.children.get(key)
            if child is not None:
                todo.append((child, here))
            elif record.status in (WAITING, SLEEPING):
                yield current, here, key, record


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()


_MISSING: Any = object()
