"""What running nodes may still read: the context as it was when they started (rule S8)."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from flowcraft.core.context import HAS_OUTPUT, OUTPUTS, ContextView
from flowcraft.core.plan import Key, Plan, index_of_key
from flowcraft.core.state import Changes, RunState

_MISSING: Any = object()
_FEW = 64


class Past:
    """Values that were overwritten while nodes were running, by key, oldest first.

    ``sequence`` counts the decisions that were applied; a node that started at number ``seen``
    reads of each key the oldest value that a later decision replaced, else the present one.

    Only what a node that is running can still read is kept: most values are replaced before
    anybody started who could have read them. Of a node's first output the number of its
    decision is enough, since there was nothing before it.
    """

    __slots__ = ("_size", "_worth_a_look", "born", "kept", "sequence")

    def __init__(self) -> None:
        self.sequence = 0
        self.kept: dict[str, list[tuple[int, Any]]] = {}
        # Nodes by index, and the decision that gave them their first output.
        self.born: dict[int, int] = {}
        self._size = 0
        self._worth_a_look = _FEW

    def remember(
        self, plan: Plan, state: RunState, changes: Changes, running: dict[Any, int]
    ) -> None:
        """Keep what ``changes`` are about to replace.

        Args:
            plan: The run's plan.
            state: The run before the changes.
            changes: What is going to be applied.
            running: What is running, in the order in which it started, with the numbers ``seen``.
        """
        latest = next(reversed(running.values()))
        view = ContextView(plan, state)
        for name in changes.context or ():
            self._replace(view, name, latest, 0)
        for key, record in changes.records.items():
            if record.status in HAS_OUTPUT:
                self._output(plan, state, key, latest)
        if self._size + len(self.born) > self._worth_a_look:
            self._prune(next(iter(running.values())))

    def _output(self, plan: Plan, state: RunState, key: Key, latest: int) -> None:
        index = index_of_key(key)
        node_id = plan.nodes[index].id
        names = (node_id, OUTPUTS + node_id)
        if _is_first(state, key) and not any(name in state.context for name in names):
            self.born[index] = self.sequence + 1
            return
        view = ContextView(plan, state)
        for name in names:
            self._replace(view, name, latest, self.born.get(index, 0))

    def _replace(self, view: ContextView, name: str, latest: int, since: int) -> None:
        """Keep the present value, if anybody runs who started since it came to be."""
        versions = self.kept.get(name)
        if latest >= (versions[-1][0] if versions else since):
            old = view.lookup(name, _MISSING)
            self.kept.setdefault(name, []).append((self.sequence + 1, old))
            self._size += 1

    def _prune(self, earliest: int) -> None:
        """Drop what was replaced before the first of those that run had started."""
        self.born = {index: number for index, number in self.born.items() if number > earliest}
        for name, versions in tuple(self.kept.items()):
            self.kept[name] = versions[bisect_right(versions, earliest, key=_number) :]
            if not self.kept[name]:
                del self.kept[name]
        self._size = sum(map(len, self.kept.values()))
        self._worth_a_look = max(_FEW, 2 * (self._size + len(self.born)))

    def forget(self) -> None:
        """Nobody reads the past any more."""
        self.kept.clear()
        self.born.clear()
        self._size = 0

    def read(self, plan: Plan, state: RunState, key: str, seen: int, default: Any) -> Any:
        """The value of a key as it was at ``seen``; not a copy."""
        old = self._replaced_value(plan, key, seen)
        if old is None:
            return ContextView(plan, state).lookup(key, default)
        return default if old[0] is _MISSING else old[0]

    def read_all(self, plan: Plan, state: RunState, seen: int) -> dict[str, Any]:
        """The whole context as it was at ``seen``; the values are not copies."""
        everything = dict(ContextView(plan, state))
        for key in {**self.kept, **everything}:
            old = self._replaced_value(plan, key, seen)
            if old is None:
                continue
            if old[0] is _MISSING:
                everything.pop(key, None)
            else:
                everything[key] = old[0]
        return everything

    def _replaced_value(self, plan: Plan, key: str, seen: int) -> tuple[Any] | None:
        # A name that ever meant anything else is not in ``born``: it stays in the context.
        if self.born.get(plan.index_of.get(key.removeprefix(OUTPUTS), -1), 0) > seen:
            return (_MISSING,)
        versions = self.kept.get(key, ())
        position = bisect_right(versions, seen, key=_number)
        return versions[position][1:] if position < len(versions) else None


def _number(version: tuple[int, Any]) -> int:
    return version[0]


def _is_first(state: RunState, key: Key) -> bool:
    """Whether an output is the first of its node."""
    if type(key) is not int:
        return index_of_key(key) not in state.latest
    record = state.records.get(key)
    return record is None or record.status not in HAS_OUTPUT
