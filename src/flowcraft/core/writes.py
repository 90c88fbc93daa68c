"""Context writes, applied when the attempt that made them commits (rule S8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowcraft.core.events import Write
from flowcraft.core.state import DELETED, HIDDEN
from flowcraft.core.step import Step

_NOTHING: Any = object()


def apply_writes(step: Step, writes: Sequence[Write] | None) -> str | None:
    """Apply all writes of an attempt, or none of them.

    Returns:
        ``None``, or why an ``add`` cannot be done (the key holds something else than a number).
    """
    if not writes:
        return None
    pending = step.changes.context or {}
    before = {write.key: pending.get(write.key, _NOTHING) for write in writes}
    for write in writes:
        if write.op == "add":
            current = step.context.lookup(write.key)
            problem = _not_a_number(write.key, current)
            try:
                total = 0 if problem else (current or 0) + write.value
            except OverflowError as error:
                problem = f"context.add('{write.key}'): {error}"
            if problem:
                _take_back(step, before)
                return problem
            step.write(write.key, total)
        elif write.op == "delete":
            step.write(write.key, HIDDEN if _names_output(step, write.key) else DELETED)
        else:
            step.write(write.key, write.value)
    return None


def _take_back(step: Step, before: Mapping[str, Any]) -> None:
    context = step.changes.context
    if context is not None:
        for key, value in before.items():
            context.pop(key, None)
            if value is not _NOTHING:
                context[key] = value


def note_writes(step: Step, key: Any, writes: Sequence[Write] | None) -> None:
    """Tell listeners about committed writes."""
    for write in writes or ():
        step.note("context:change", key, op=write.op, name=write.key)


def _not_a_number(key: str, value: Any) -> str | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return None
    return (
        f"context.add('{key}'): the key holds a {type(value).__name__}; only a number, or "
        "nothing, can be added to"
    )


def _names_output(step: Step, key: str) -> bool:
    return key in step.plan.index_of or key.startswith("_")
