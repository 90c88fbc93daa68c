"""What has become different between two looks at runs, a line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from flowcraft.engine.inspecting import BatchDetails, RunDetails
from flowcraft.engine.stored import RunSummary

MOST_NODES: Final = 20
"""So many nodes of one run are told of at each look."""


@dataclass(frozen=True, slots=True)
class Changed:
    """Something that is not as it was at the look before.

    Attributes:
        run_id: The run.
        status: How it is now; ``gone`` for one that is no longer among those that are looked at.
        node: The node that it is about; ``None`` for the run itself.
        node_status: How the node is now.
        detail: What else there is to say.
    """

    run_id: str
    status: str
    node: str | None = None
    node_status: str | None = None
    detail: str = ""

    def __str__(self) -> str:
        what = self.status if self.node is None else f"{self.node} {self.node_status}"
        return f"{self.run_id} {what}{f': {self.detail}' if self.detail else ''}"


def run_changes(before: RunDetails | None, after: RunDetails) -> Iterator[Changed]:
    """What has become different about a run: first its nodes, then itself."""
    status = str(after.status)
    yield from _node_changes(before, after)
    if before is None or before.status is not after.status:
        last = after.errors[-1] if after.errors and after.status.is_final else None
        detail = "" if last is None else f"{last.type}: {last.message}"
        yield Changed(after.run_id, status, detail=detail)


def _node_changes(before: RunDetails | None, after: RunDetails) -> Iterator[Changed]:
    was = {} if before is None else {node.name: node for node in before.nodes}
    told = 0
    changed = []
    for node in after.nodes:
        known = was.get(node.name)
        old = "pending" if known is None else known.status
        if node.status != old or (known is not None and node.attempt != known.attempt):
            error = "" if node.error is None else f"{node.error.type}: {node.error.message}"
            tries = f"attempt {node.attempt}" if node.attempt > 1 else ""
            has_failed = node.status in ("failed", "retrying", "rescued", "rescuing")
            parts = [tries, error if has_failed else ""]
            detail = ", ".join(part for part in parts if part)
            changed.append(Changed(after.run_id, str(after.status), node.name, node.status, detail))
        elif node.batch is not None and known is not None and _has_moved(known.batch, node.batch):
            detail = _progress(node.batch)
            changed.append(Changed(after.run_id, str(after.status), node.name, "batch", detail))
    for each in changed[:MOST_NODES]:
        told += 1
        yield each
    if len(changed) > told:
        detail = f"{len(changed) - told} more nodes have changed"
        yield Changed(after.run_id, str(after.status), "…", "", detail)


def _has_moved(before: BatchDetails | None, after: BatchDetails) -> bool:
    """Whether a batch has come on so far that it is worth a line: a hundredth of it, or its end."""
    if before is None or after.done == after.items:
        return before != after
    return before.done * 100 // after.items != after.done * 100 // after.items


def _progress(batch: BatchDetails) -> str:
    failed = f", {batch.failed} failed" if batch.failed else ""
    return f"{batch.done} of {batch.items} items{failed}"


def list_changes(
    before: Mapping[str, RunSummary], after: Mapping[str, RunSummary]
) -> Iterator[Changed]:
    """What has become different about the runs of a list: the oldest first."""
    for run_id in before:
        if run_id not in after:
            yield Changed(run_id, "gone", detail=before[run_id].blueprint_id)
    for run_id, run in reversed(tuple(after.items())):
        known = before.get(run_id)
        if known is None or known.status is not run.status:
            yield Changed(run_id, str(run.status), detail=run.blueprint_id)
