"""The context of a run as one mapping (section 1 of the format).

The user's keys are stored; outputs and inputs are not stored twice but read from the records:
``_outputs.<node>`` and the alias ``<node>`` give a node's latest output, ``_inputs.<node>`` the
input of its latest execution. Of a key that a node wrote and an output of the same name, the
later one is seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flowcraft.core.plan import Key, Plan, PlanNode, index_of_key
from flowcraft.core.state import (
    DELETED,
    HIDDEN,
    RESCUED,
    RESCUING,
    SLEEPING,
    SUCCEEDED,
    Changes,
    ErrorInfo,
    Record,
    RunState,
)

OUTPUTS = "_outputs."
INPUTS = "_inputs."
CATCH_ERROR = "_catch_error"
HAS_OUTPUT = (
    SUCCEEDED,
    SLEEPING,
    RESCUED,
    RESCUING,
)  # looked through by identity: hashing is slower
_MISSING: Any = object()


class ContextView(Mapping[str, Any]):
    """A read-only view of the context, optionally with the changes of a decision in place."""

    __slots__ = ("_changes", "_plan", "_state")

    def __init__(self, plan: Plan, state: RunState, changes: Changes | None = None) -> None:
        self._plan = plan
        self._state = state
        self._changes = changes

    def __getitem__(self, key: str) -> Any:
        value = self.lookup(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.lookup(key, _MISSING) is not _MISSING

    def __iter__(self) -> Iterator[str]:
        seen = dict.fromkeys(self._state.context)
        if self._changes is not None and self._changes.context:
            seen.update(dict.fromkeys(self._changes.context))
        for node in self._plan.nodes:
            record = self.latest_record(node.index)
            if record is None:
                continue
            if _had_input(node, record):
                seen[INPUTS + node.id] = None
            if record.status in HAS_OUTPUT:
                seen[OUTPUTS + node.id] = seen[node.id] = None
        return (key for key in seen if key in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def lookup(self, key: str, default: Any = None) -> Any:
        """The value of a key, or ``default``. The value is not a copy: do not hand it out."""
        if key.startswith(INPUTS):
            record = self._record_of(key[len(INPUTS) :])
            if record is not None:
                return record.input
        stored = self._stored(key)
        if stored is HIDDEN:
            return default
        if stored is not _MISSING:
            return stored
        if key.startswith(OUTPUTS):
            return self.output_of(key[len(OUTPUTS) :], default)
        return self.output_of(key, default)

    def _record_of(self, node_id: str) -> Record | None:
        """The latest record of a node that was given an input."""
        index = self._plan.index_of.get(node_id)
        record = None if index is None else self.latest_record(index)
        if index is None or record is None or not _had_input(self._plan.nodes[index], record):
            return None
        return record

    def output_of(self, node_id: str, default: Any = None) -> Any:
        """The latest output of a node, or ``default`` if it has none."""
        index = self._plan.index_of.get(node_id)
        if index is None:
            return default
        record = self.latest_record(index)
        if record is None or record.status not in HAS_OUTPUT:
            return default
        return record.output

    def latest_record(self, index: int) -> Record | None:
        """The record that speaks for a node: in a loop the one that got an output last."""
        key: Key | None = index
        if self._plan.nodes[index].loops:
            key = self._latest_key(index)
        if key is None:
            return None
        if self._changes is not None:
            changed = self._changes.records.get(key)
            if changed is not None:
                return changed
        return self._state.records.get(key)

    def _latest_key(self, index: int) -> Key | None:
        if self._changes is not None and self._changes.tables is not None:
            changed: Key | None = self._changes.tables.get("latest", {}).get(index)
            if changed is not None:
                return changed
        return self._state.latest.get(index)

    def _stored(self, key: str) -> Any:
        if self._changes is not None and self._changes.context is not None:
            changed = self._changes.context.get(key, _MISSING)
            if changed is DELETED:
                return _MISSING
            if changed is not _MISSING:
                return changed
        return self._state.context.get(key, _MISSING)


def _had_input(node: PlanNode, record: Record) -> bool:
    """Whether an execution was given something, be it null: a start node usually is not."""
    if record.started_at is None:
        return False
    return record.input is not None or bool(node.into) or node.definition.inputs is not None


class Overlay(Mapping[str, Any]):
    """Some names in front of the context: the scope in which expressions are evaluated."""

    __slots__ = ("_front", "_view")

    def __init__(self, front: Mapping[str, Any], view: ContextView) -> None:
        self._front = front
        self._view = view

    def __getitem__(self, key: str) -> Any:
        return self._front[key] if key in self._front else self._view[key]

    def __contains__(self, key: object) -> bool:
        return key in self._front or key in self._view

    def __iter__(self) -> Iterator[str]:
        yield from self._front
        yield from (key for key in self._view if key not in self._front)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def error_value(node_id: str, error: ErrorInfo) -> dict[str, Any]:
    """How a fallback is told of the failure that it takes over for (S4)."""
    return {
        "nodeId": node_id,
        "type": error.type,
        "message": error.message,
        "attempts": error.attempts,
    }


def caught_error(plan: Plan, state: RunState, key: Key) -> dict[str, Any] | None:
    """The failure that started this instance as a fallback, if one did."""
    record = state.records.get(key)
    if record is None or record.fired < 0 or not plan.links[record.fired].is_fallback:
        return None
    failed = state.records.get(record.origin)
    if failed is None or failed.error is None:
        return None
    return error_value(plan.nodes[index_of_key(record.origin)].id, failed.error)
