"""What is true of an item of a batch wherever it is kept: its name, and what its failure means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowcraft.core.outcomes import stop
from flowcraft.core.plan import Key, PlanNode
from flowcraft.core.state import Batch, ErrorInfo, RunStatus
from flowcraft.core.step import Step

KEPT_ERRORS = 100
"""Failing items of a batch whose errors are kept; further ones are only counted."""


def item_name(uses: str, item: int) -> str:
    """The name under which an item is reported: its worker and its place in the list."""
    return f"{uses}[{item}]"


def worker_of(node: PlanNode) -> str:
    """The registry key of what handles the items of a scatter node."""
    return str(node.definition.params["workerUsesKey"])


def collects(node: PlanNode) -> bool:
    """Whether items may fail without failing their batch."""
    return bool(node.definition.params.get("failureMode") == "collect")


def failure_value(error: ErrorInfo) -> dict[str, Any]:
    """What is kept of an item's failure."""
    return {"type": error.type, "message": error.message}


def failed_item(item: int, failure: Any) -> dict[str, Any]:
    """What stands among the results for an item that failed."""
    return {"index": item, "error": failure}


def count_failures(step: Step, node: PlanNode, key: Key, errors: Sequence[ErrorInfo]) -> None:
    """Let items that failed for good fail their run, unless their batch collects failures.

    Args:
        step: The decision.
        node: The scatter node.
        key: Its instance; the batch has not counted these failures yet.
        errors: Their errors.
    """
    if collects(node) or not errors:
        return
    batch: Batch = step.get("batches", key)
    for error in errors[: max(0, KEPT_ERRORS - batch.failed)]:
        step.add_error(error)
    if step.scalar("fail_fast"):
        stop(step, RunStatus.FAILED, "fail_fast")
