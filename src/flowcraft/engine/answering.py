"""Finding the node that an answer is meant for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flowcraft.core.plan import Key, index_of_key
from flowcraft.core.state import CHILD, SLEEPING, WAITING
from flowcraft.engine.local import LocalRun
from flowcraft.engine.results import open_waits
from flowcraft.errors import InvalidRunState


class Target(NamedTuple):
    """An instance that waits, and the run it is in."""

    run: LocalRun
    key: Key


def find(run: LocalRun, node_id: str | Sequence[str] | None) -> Target:
    """The instance that an answer goes to.

    Args:
        run: The run, with its children.
        node_id: The node that waits, or a subflow in which only one does, or the ids that lead
            to it; ``None`` where only one node waits for an answer.

    Raises:
        InvalidRunState: Nothing, or more than one node, waits there.
    """
    path = (node_id,) if isinstance(node_id, str) else tuple(node_id or ())
    current = run
    for position, name in enumerate(path):
        key = _open_instance(current, name)
        if key is None:
            raise _refused(run, f"Node '{name}' does not wait for anything.")
        child = current.children.get(key)
        if child is None:
            if position + 1 < len(path):
                raise _refused(run, f"Node '{name}' is no subflow that waits.")
            return Target(current, key)
        current = child
    return _only_wait(run, current)


def live_runs(run: LocalRun) -> list[LocalRun]:
    """A run and all its children."""
    runs, position = [run], 0
    while position < len(runs):
        runs.extend(runs[position].children.values())
        position += 1
    return runs


def _only_wait(root: LocalRun, run: LocalRun) -> Target:
    waits = [
        Target(live, key)
        for live in live_runs(run)
        for key, record in live.state.records.items()
        if record.status is WAITING
    ]
    if len(waits) == 1:
        return waits[0]
    if waits:
        raise _refused(root, "Several nodes wait for an answer; say which one is meant.")
    sleeps = [
        Target(live, key)
        for live in live_runs(run)
        for key, record in live.state.records.items()
        if record.status is SLEEPING
    ]
    if len(sleeps) == 1:
        return sleeps[0]
    raise _refused(root, "No node waits for an answer.")


def _open_instance(run: LocalRun, node_id: str) -> Key | None:
    for key, record in run.state.records.items():
        if run.plan.nodes[index_of_key(key)].id == node_id and record.status in _OPEN:
            return key
    return None


def _refused(run: LocalRun, why: str) -> InvalidRunState:
    waits = ", ".join("/".join(wait.path) for wait in open_waits(run)) or "nothing"
    return InvalidRunState(f"Run '{run.state.run_id}': {why} It waits for: {waits}.")


_OPEN = frozenset({WAITING, SLEEPING, CHILD})
