"""What running nodes may still read: the context as it was when they started (rule S8)."""

from __future__ import annotations

from typing import Any

from flowcraft.core.context import HAS_OUTPUT, OUTPUTS, ContextView
from flowcraft.core.plan import Plan, index_of_key
from flowcraft.core.state import Changes, RunState

_MISSING: Any = object()


class Past:
    """Values that were overwritten while nodes were running, by key, oldest first.

    ``sequence`` counts the decisions that were applied; a node that started at number ``seen``
    reads of each key the oldest value that a later decision replaced, else the present one.
    """

    __slots__ = ("kept", "sequence")

    def __init__(self) -> None:
        self.sequence = 0
        self.kept: dict[str, list[tuple[int, Any]]] = {}

    def remember(self, plan: Plan, state: RunState, changes: Changes) -> None:
        """Keep what ``changes`` are about to replace."""
        names = list(changes.context or ())
        for key, record in changes.records.items():
            if record.status in HAS_OUTPUT:
                node_id = plan.nodes[index_of_key(key)].id
                names += (node_id, OUTPUTS + node_id)
        if names:
            view = ContextView(plan, state)
            for name in names:
                old = view.lookup(name, _MISSING)
                self.kept.setdefault(name, []).append((self.sequence + 1, old))

    def forget(self) -> None:
        """Nobody reads the past any more."""
        self.kept.clear()

    def read(self, view: ContextView, key: str, seen: int, default: Any) -> Any:
        """The value of a key as it was at ``seen``; not a copy."""
        old = self._replaced_value(key, seen)
        if old is not None:
            return default if old[0] is _MISSING else old[0]
        return view.lookup(key, default)

    def read_all(self, view: ContextView, seen: int) -> dict[str, Any]:
        """The whole context as it was at ``seen``; the values are not copies."""
        everything = dict(view)
        for key in self.kept:
            old = self._replaced_value(key, seen)
            if old is None:
                continue
            if old[0] is _MISSING:
                everything.pop(key, None)
            else:
                everything[key] = old[0]
        return everything

    def _replaced_value(self, key: str, seen: int) -> tuple[Any] | None:
        for sequence, old in self.kept.get(key, ()):
            if sequence > seen:
                return (old,)
        return None
