"""Reading updates: the text of an ``UpdateExpression`` becomes what can be carried out."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from flowcraft.testing.aws.dynamodb_conditions import Attribute, Given, Operand
from flowcraft.testing.aws.dynamodb_expressions import Names, Parsed
from flowcraft.testing.aws.dynamodb_paths import tree_of
from flowcraft.testing.aws.dynamodb_tokens import Tokens
from flowcraft.testing.aws.dynamodb_updates import (
    Action,
    Add,
    Delete,
    IfNotExists,
    Joined,
    Remove,
    Set,
    Sum,
    Update,
)

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
