"""Updates: what becomes of an item by an ``UpdateExpression``.

Every operand reads the item as it was before the update, and indices of lists mean the list as it
was. Elements beyond the end are appended, in the order of their indices; what is removed goes
last, so that nothing moves meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from flowcraft.testing.aws.dynamodb_conditions import Given, Operand, Values, wrong_type
from flowcraft.testing.aws.dynamodb_errors import Refusal, refused
from flowcraft.testing.aws.dynamodb_items import (
    SET_TYPES,
    Item,
    Kept,
    Value,
    in_order,
    total,
    type_of,
)
from flowcraft.testing.aws.dynamodb_paths import Path, Tree, at, inside

REMOVED: Final[Value] = {"": "removed"}
"""In place of a value: nothing stands there any more. Compare it by identity."""


@dataclass(frozen=True, slots=True)
class IfNotExists:
    """``if_not_exists(path, operand)``."""

    path: Path
    otherwise: Operand

    def value(self, item: Item, values: Values) -> Value | None:
        """What stands at the path, or else the operand, which has to be there in any case."""
        otherwise = _needed(self.otherwise, item, values)
        value = at(item, self.path)
        return otherwise if value is None else value

    def check(self, values: Values) -> None:
        """Check the operand."""
        self.otherwise.check(values)


@dataclass(frozen=True, slots=True)
class Joined:
    """``list_append(first, second)``."""

    first: Operand
    second: Operand

    def value(self, item: Item, values: Values) -> Value | None:
        """The elements of both lists."""
        first = _needed(self.first, item, values)
        second = _needed(self.second, item, values)
        if "L" not in first or "L" not in second:
            raise _wrong_operand()
        return Kept("L", [*first["L"], *second["L"]])

    def check(self, values: Values) -> None:
        """Refuse a ``:value`` that is no list."""
        _check_given("list_append", values, ("L",), self.first, self.second)


@dataclass(frozen=True, slots=True)
class Sum:
    """``left + right``, or ``left - right`` if the sign is -1."""

    left: Operand
    right: Operand
    sign: int

    def value(self, item: Item, values: Values) -> Value | None:
        """The exact sum."""
        left = _needed(self.left, item, values)
        right = _needed(self.right, item, values)
        if "N" not in left or "N" not in right:
            raise _wrong_operand()
        return total(left, right, self.sign)

    def check(self, values: Values) -> None:
        """Refuse a ``:value`` that is no number."""
        _check_given("+" if self.sign > 0 else "-", values, ("N",), self.left, self.right)


def _needed(operand: Operand, item: Item, values: Values) -> Value:
    value = operand.value(item, values)
    if value is None:
        raise refused("The expression refers to an attribute that the item does not have")
    return value


def _wrong_operand() -> Refusal:
    return refused("An operand in the update expression has a type that does not fit")


def _check_given(function: str, values: Values, kinds: tuple[str, ...], *operands: Operand) -> None:
    for operand in operands:
        operand.check(values)
        if isinstance(operand, Given) and type_of(values[operand.name]) not in kinds:
            raise wrong_type(function, type_of(values[operand.name]))


class Action(Protocol):
    """What an update does at one path."""

    path: Path

    def result(self, item: Item, values: Values) -> Value | None:
        """What will stand there; REMOVED for nothing, None if it stays as it is."""
        ...

    def check(self, values: Values) -> None:
        """Refuse what the ``:values`` make wrong, whatever the item is."""
        ...


@dataclass(slots=True)
class Set:
    """``SET path = operand``."""

    path: Path
    operand: Operand

    def result(self, item: Item, values: Values) -> Value | None:
        """The operand."""
        return _needed(self.operand, item, values)

    def check(self, values: Values) -> None:
        """Check the operand."""
        self.operand.check(values)


@dataclass(slots=True)
class Remove:
    """``REMOVE path``."""

    path: Path

    def result(self, _item: Item, _values: Values) -> Value | None:
        """Nothing."""
        return REMOVED

    def check(self, values: Values) -> None:
        """Nothing can be wrong."""


@dataclass(slots=True)
class Add:
    """``ADD path :value``: to a number, or to a set."""

    path: Path
    operand: str

    def result(self, item: Item, values: Values) -> Value | None:
        """The sum, or the union; what is not there counts as zero or as the empty set."""
        value, addend = at(item, self.path), values[self.operand]
        if value is None:
            return addend
        kind = type_of(addend)
        if kind not in value:
            raise _wrong_operand()
        if kind == "N":
            return total(value, addend, 1)
        return {kind: in_order({*value[kind], *addend[kind]})}

    def check(self, values: Values) -> None:
        """Refuse what is neither a number nor a set."""
        kind = type_of(values[self.operand])
        if kind != "N" and kind not in SET_TYPES:
            raise wrong_type("ADD", kind)


@dataclass(slots=True)
class Delete:
    """``DELETE path :value``: members of a set."""

    path: Path
    operand: str

    def result(self, item: Item, values: Values) -> Value | None:
        """What is left of the set; a set that would be empty is removed."""
        value, members = at(item, self.path), values[self.operand]
        if value is None:
            return None
        kind = type_of(members)
        if kind not in value:
            raise _wrong_operand()
        left = in_order(set(value[kind]).difference(members[kind]))
        return {kind: left} if left else REMOVED

    def check(self, values: Values) -> None:
        """Refuse what is no set."""
        kind = type_of(values[self.operand])
        if kind not in SET_TYPES:
            raise wrong_type("DELETE", kind)


@dataclass(frozen=True, slots=True)
class Update:
    """An ``UpdateExpression`` that was read.

    Attributes:
        actions: What it does, in the order of its text.
        tree: The paths of the actions.
        names: The attributes that it touches.
        only_takes_away: Whether it has no SET and no ADD; such an update creates no item.
    """

    actions: tuple[Action, ...]
    tree: Tree
    names: tuple[str, ...]
    only_takes_away: bool

    def check(self, values: Values) -> None:
        """Refuse what the ``:values`` make wrong, whatever the item is."""
        for action in self.actions:
            action.check(values)

    def of(self, item: Item, values: Values) -> Item:
        """The item that becomes of one; they share what stays as it is.

        Raises:
            Refusal: It cannot be carried out on this item.
        """
        results = [action.result(item, values) for action in self.actions]
        return _map_after(item, self.tree, results)


def _after(value: Value, branch: Tree, results: list[Value | None]) -> Value:
    step = next(iter(branch))
    if isinstance(step, str) and "M" in value:
        return Kept("M", _map_after(value["M"], branch, results))
    if isinstance(step, int) and "L" in value:
        return Kept("L", _list_after(value["L"], branch, results))
    raise _wrong_path(step)


def _wrong_path(step: str | int) -> Refusal:
    return refused(
        "A document path of the update expression is invalid for update: there is no "
        f"{'list' if isinstance(step, int) else 'map'} that could have {step!r}"
    )


def _map_after(old: Item, branch: Tree, results: list[Value | None]) -> Item:
    new = dict(old)
    for step, further in branch.items():
        assert isinstance(step, str)
        if isinstance(further, int):
            result = results[further]
            if result is REMOVED:
                new.pop(step, None)
            elif result is not None:
                new[step] = result
        elif step in old:
            new[step] = _after(old[step], further, results)
        else:
            raise _wrong_path(next(iter(further)))
    return new


def _list_after(old: list[Value], branch: Tree, results: list[Value | None]) -> list[Value]:
    new = list(old)
    appended: list[Value] = []
    for step in sorted(step for step in branch if isinstance(step, int)):
        further = branch[step]
        if not isinstance(further, int):
            element = inside({"L": old}, step)
            if element is None:
                raise _wrong_path(next(iter(further)))
            new[step] = _after(element, further, results)
            continue
        result = results[further]
        if result is None:
            continue
        if step < len(old):
            new[step] = result
        elif result is not REMOVED:
            appended.append(result)
    return [element for element in new if element is not REMOVED] + appended
