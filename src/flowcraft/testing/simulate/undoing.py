"""What has to be undone when a run fails or is cancelled, and whether it was (rule S19)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from flowcraft.core.plan import Key, index_of_key
from flowcraft.core.state import SUCCEEDED, RunStatus
from flowcraft.engine.context import idempotency_key
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.results import RunResult

UNDONE_IN: tuple[RunStatus, ...] = (RunStatus.FAILED, RunStatus.CANCELLED)


def undoing_in(ledger: Ledger, executed: Collection[str]) -> Iterator[str]:
    """What is wrong with the compensations of a run that is over.

    Args:
        ledger: The run.
        executed: The idempotency keys of the bodies that ran.
    """
    plan, state = ledger.plan, ledger.state
    if not plan.has_compensation:
        return
    due: dict[Key, str] = {}
    for key, record in state.records.items() if state.status in UNDONE_IN else ():
        node = plan.nodes[index_of_key(key)]
        if record.status is SUCCEEDED and node.compensate >= 0:
            undo = plan.nodes[node.compensate].id
            due[key] = idempotency_key(state.run_id, undo, key, undone=node.id)
    settled = [undo.target for undo in state.undos.values() if undo.succeeded is not None]
    names = [plan.nodes[index_of_key(key)].id for key in settled]
    if len(settled) != len(set(settled)) or set(settled) != set(due):
        wanted = sorted(plan.nodes[index_of_key(key)].id for key in due)
        yield f"it is {state.status}, and undid {sorted(names)} and not {wanted}"
    lost = {undo.target for undo in state.undos.values() if undo.lost}
    for key, name in due.items():
        if name not in executed and key not in lost:
            yield f"{name} never ran, which was to undo what was done"


def check_order(run: RunResult, after: Mapping[str, Collection[str]]) -> None:
    """See that what was done first is undone last.

    Args:
        run: The run.
        after: For each compensation those that have to be carried out after it.

    Raises:
        AssertionError: It was not so.
    """
    order = [node_id for node_id, _ in run.compensations]
    places = {node_id: place for place, node_id in enumerate(order)}
    for first, others in after.items():
        for other in set(others) & set(order) if first in places else ():
            assert places[first] < places[other], f"'{other}' comes too early in {order}"
