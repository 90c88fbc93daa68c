"""Updates: reading an ``UpdateExpression``, and what becomes of an item by it.

Every operand reads the item as it was before the update, and indices of lists mean the list as it
was. Elements beyond the end are appended, in the order of their indices; what is removed goes
last, so that nothing moves meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

from flowcraft.testing.aws.dynamodb_conditions import Attribute, Given, Operand, Values, wrong_type
from flowcraft.testing.aws.dynamodb_errors import Refusal, refused
from flowcraft.testing.aws.dynamodb_expressions import Names, Parsed
from flowcraft.testing.aws.dynamodb_items import (
    SET_TYPES,
    Item,
    Kept,
    Value,
    in_order,
    total,
    type_of,
)
from flowcraft.testing.aws.dynamodb_paths import Path, Tree, at, inside, tree_of
from flowcraft.testing.aws.dynamodb_tokens import Tokens

REMOVED: Final[Value] = {"": "removed"}
"""In place of a value: nothing stands there any more. Compare it by identity."""

_CLAUSES: Final = ("SET", "REMOVE", "ADD", "DELETE")
_OF_CONDITIONS: Final = frozenset(
    {
        "attribute_exists",
        "attribute_not_exists",
        "attribute_type",
        "begins_with",
        "contains",
        "size",
    }
)


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


@lru_cache(maxsize=8192)
def update(text: str, names: Names) -> Parsed[Update]:
    """Read an ``UpdateExpression``.

    Args:
        text: The expression.
        names: The ``#names`` of the request.

    Raises:
        Refusal: It is none, or its paths overlap.
    """
    tokens = Tokens("UpdateExpression", text, dict(names))
    actions = _Reader(tokens).clauses()
    paths = [action.path for action in actions]
    content = Update(
        tuple(actions),
        tree_of(paths, "UpdateExpression"),
        tuple({str(path[0]): None for path in paths}),
        all(isinstance(action, Remove | Delete) for action in actions),
    )
    return Parsed(content, frozenset(tokens.used_names), frozenset(tokens.used_values))


class _Reader:
    """Reads the clauses of an update."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def clauses(self) -> list[Action]:
        actions: list[Action] = []
        seen: set[str] = set()
        while self._tokens.kind != "end" or not seen:
            clause = self._clause()
            if clause in seen:
                raise self._tokens.wrong(f"the {clause} section can be used once only")
            seen.add(clause)
            actions.append(self._action(clause))
            while self._tokens.accept(","):
                actions.append(self._action(clause))
        return actions

    def _clause(self) -> str:
        for clause in _CLAUSES:
            if self._tokens.accept_word(clause):
                return clause
        raise self._tokens.syntax_error()

    def _action(self, clause: str) -> Action:
        path = self._tokens.path()
        if clause == "REMOVE":
            return Remove(path)
        if clause == "SET":
            self._tokens.expect("=")
            return Set(path, self._whole_value())
        operand = self._tokens.value()
        return Add(path, operand) if clause == "ADD" else Delete(path, operand)

    def _whole_value(self) -> Operand:
        if not self._tokens.accept("("):
            return self._sum()
        value = self._sum()
        self._tokens.expect(")")
        return value

    def _sum(self) -> Operand:
        left = self._operand()
        for sign, factor in (("+", 1), ("-", -1)):
            if self._tokens.accept(sign):
                self._tokens.count_operator()
                return Sum(left, self._operand(), factor)
        return left

    def _operand(self, within: str = "") -> Operand:
        tokens = self._tokens
        if tokens.kind == "value":
            return Given(tokens.value())
        if tokens.kind == "word" and tokens.next_is("(", ahead=1):
            return self._function(within)
        return Attribute(tokens.path())

    def _function(self, within: str) -> Operand:
        tokens = self._tokens
        function = tokens.take()
        if function in _OF_CONDITIONS:
            raise tokens.wrong(f"the function {function} is not allowed in an update expression")
        if function not in ("if_not_exists", "list_append"):
            raise tokens.wrong(f"there is no function {function}")
        if function == "list_append" and within:
            raise tokens.wrong(f"list_append is not allowed within {within}")
        return self._call(function)

    def _call(self, function: str) -> Operand:
        tokens = self._tokens
        tokens.count_operator()
        tokens.deeper(1)
        tokens.expect("(")
        operands = [self._operand(function)]
        while tokens.accept(","):
            operands.append(self._operand(function))
        tokens.expect(")")
        tokens.deeper(-1)
        if len(operands) != 2:
            raise tokens.wrong(f"{function} takes 2 operands, not {len(operands)}")
        first, second = operands
        if function == "list_append":
            return Joined(first, second)
        if not isinstance(first, Attribute):
            raise tokens.wrong("if_not_exists requires a document path as its first operand")
        if first == second:
            raise tokens.wrong("the operands of if_not_exists have to be distinct")
        return IfNotExists(first.path, second)
