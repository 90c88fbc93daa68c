"""Starting an instance whose turn has come.

A node with a callable becomes a command for the shell. The engine's own nodes (waits, timers,
subflows, batches, loop controllers) are carried out here, as part of the decision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowcraft.core.batches import run_gather, run_scatter
from flowcraft.core.commands import RunNode
from flowcraft.core.inputs import resolve_input
from flowcraft.core.loops import run_controller
from flowcraft.core.outcomes import stop
from flowcraft.core.plan import TASK, Key, Kind, PlanNode
from flowcraft.core.state import READY, RUNNING, ErrorInfo, Record, RunStatus, new_tuple
from flowcraft.core.step import Step
from flowcraft.core.subflows import run_subflow
from flowcraft.core.waits import run_sleep, run_wait

UNRESOLVED: Any = object()
"""Stands for an input that is still to be found."""

RUNNERS: dict[Kind, Callable[[Step, PlanNode, Key, Record], None]] = {
    Kind.WAIT: run_wait,
    Kind.SLEEP: run_sleep,
    Kind.SUBFLOW: run_subflow,
    Kind.SCATTER: run_scatter,
    Kind.GATHER: run_gather,
    Kind.LOOP: run_controller,
}


def launch(
    step: Step,
    node: PlanNode,
    key: Key,
    fired: int = -1,
    origin: Key = -1,
    value: Any = UNRESOLVED,
) -> None:
    """Start an instance, or put it aside where nothing may start now.

    Args:
        step: The decision in the making.
        node: The instance's node.
        key: The instance.
        fired: The link that alone started it, or -1.
        origin: The instance at the other end of that link.
        value: Its input, where the caller knows what :func:`resolve_input` would say.
    """
    state, changes = step.state, step.changes
    if step.stopping is not None:
        return
    if state.paused and step.scalar("paused"):
        step.changes.records[key] = Record(READY, fired=fired, origin=origin)
        step.held_back.append(key)
        return
    limit = state.max_executions if state.started_at else step.scalar("max_executions")
    if limit is not None and state.executions + changes.executions >= limit:
        _exceed(step, limit)
        return
    changes.executions += 1
    if value is UNRESOLVED:
        value = resolve_input(step, node, key, fired, origin)
    if node.kind is not TASK:
        _begin(
            step,
            node,
            key,
            Record(RUNNING, 1, value, None, None, fired, origin, (), None, step.now),
        )
        return
    changes.records[key] = new_tuple(
        Record,
        (RUNNING, 1, value, None, None, fired, origin, (), None, step.now, None, None, None, (), 0),
    )
    changes.working += 1
    step.commands.append(new_tuple(RunNode, (key, 1, value)))


def run_again(step: Step, node: PlanNode, key: Key, record: Record) -> None:
    """Begin the next attempt of an instance, with the input it was given at first."""
    record = record._replace(
        status=RUNNING,
        attempt=record.attempt + 1,
        started_at=step.now,
        due_at=None,
        ended_at=None,
    )
    _begin(step, node, key, record)


def _begin(step: Step, node: PlanNode, key: Key, record: Record) -> None:
    step.changes.records[key] = record
    if node.kind is TASK:
        step.changes.working += 1
        step.commands.append(RunNode(key, record.attempt, record.input))
    else:
        step.note("node:start", key, attempt=record.attempt, input=record.input)
        RUNNERS[node.kind](step, node, key, record)


def _exceed(step: Step, limit: int) -> None:
    step.add_error(
        ErrorInfo(
            "LimitExceeded",
            f"The run started {limit} nodes, which is its limit. Is there a loop that does not "
            "end? If not, start the run with a larger 'max_executions'.",
            is_fatal=True,
        )
    )
    stop(step, RunStatus.FAILED, "execution limit")
