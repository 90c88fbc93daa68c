"""Finding the node that an answer is meant for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from flowcraft.core.plan import Key, Kind, index_of_key
from flowcraft.core.state import CHILD, SLEEPING, WAITING, NodeStatus
from flowcraft.core.waits import refusal
from flowcraft.engine.answer_checks import check_answer
from flowcraft.engine.results import open_waits
from flowcraft.engine.view import RunView, runs_below
from flowcraft.errors import InvalidRunState

R = TypeVar("R", bound=RunView)


class Target(NamedTuple, Generic[R]):
    """An instance that waits, and the run it is in.

    ``key`` is ``None`` for a node that has not begun to wait: the answer is kept for it.
    """

    run: R
    key: Key | None
    node_id: str


def find(
    run: R, node_id: str | Sequence[str] | None, action: Any = None, output: Any = None
) -> Target[R]:
    """The instance that an answer goes to, which takes it.

    Args:
        run: The run, with its children.
        node_id: The node that waits, or a subflow in which only one does, or the ids that lead
            to it; ``None`` where only one node waits for an answer.
        action: The answer's action, which the wait may restrict.
        output: The answer itself, in stored form, which has to fit the wait's schema.

    Raises:
        AnswerRefused: It does not.
        InvalidRunState: Nothing, or more than one node, waits there; or it does not take the
            action.
    """
    target = _find(run, node_id)
    node = target.run.plan.nodes[target.run.plan.index_of[target.node_id]]
    problem = refusal(node, action)
    if problem is not None:
        raise _refused(run, problem)
    check_answer(node, output, run.state.run_id)
    return target


def only_sleeps(run: RunView) -> bool:
    """Whether nothing in a run waits for an answer, but something for time."""
    statuses = {record.status for live in runs_below(run) for record in live.state.records.values()}
    return SLEEPING in statuses and WAITING not in statuses


def _find(run: R, node_id: str | Sequence[str] | None) -> Target[R]:
    if not isinstance(node_id, str | Sequence | None):
        raise TypeError(f"node_id is a node's id, or the ids that lead to it, not {node_id!r}.")
    path = (node_id,) if isinstance(node_id, str) else tuple(node_id or ())
    current = run
    for position, name in enumerate(path):
        key = _open_instance(current, name)
        if key is None:
            if position + 1 == len(path) and _will_wait(current, name):
                return Target(current, None, name)
            raise _refused(run, f"Node '{name}' does not wait for anything.")
        child = current.children.get(key)
        if child is None:
            if position + 1 < len(path):
                raise _refused(run, f"Node '{name}' is no subflow that waits.")
            return Target(current, key, name)
        current = child
    return _only_wait(run, current)


def _only_wait(root: R, run: R) -> Target[R]:
    waits = _in_status(run, WAITING)
    if len(waits) == 1:
        return waits[0]
    if waits:
        raise _refused(root, "Several nodes wait for an answer; say which one is meant.")
    sleeps = _in_status(run, SLEEPING)
    if len(sleeps) == 1:
        return sleeps[0]
    raise _refused(root, "No node waits for an answer.")


def _in_status(run: R, status: NodeStatus) -> list[Target[R]]:
    """The instances of a run and its children that are in a status."""
    return [
        Target(live, key, live.plan.nodes[index_of_key(key)].id)
        for live in runs_below(run)
        for key, record in live.state.records.items()
        if record.status is status
    ]


def _will_wait(run: RunView, node_id: str) -> bool:
    """Whether a node waits for an answer and nothing has come of it yet."""
    index = run.plan.index_of.get(node_id)
    if index is None or run.plan.nodes[index].kind is not Kind.WAIT:
        return False
    return all(index_of_key(key) != index for key in run.state.records)


def _open_instance(run: RunView, node_id: str) -> Key | None:
    for key, record in run.state.records.items():
        if run.plan.nodes[index_of_key(key)].id == node_id and record.status in _OPEN:
            return key
    return None


def _refused(run: RunView, why: str) -> InvalidRunState:
    waits = ", ".join("/".join(wait.path) for wait in open_waits(run)) or "nothing"
    return InvalidRunState(f"Run '{run.state.run_id}': {why} It waits for: {waits}.")


_OPEN = frozenset({WAITING, SLEEPING, CHILD})
