"""Reading expressions: texts of conditions and projections become what can be evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Generic, TypeVar

from flowcraft.testing.aws.dynamodb_conditions import (
    All,
    Among,
    Attribute,
    BeginsWith,
    Between,
    Condition,
    Contains,
    Either,
    Equal,
    Exists,
    Given,
    HasType,
    Not,
    Operand,
    Ordered,
    Size,
)
from flowcraft.testing.aws.dynamodb_paths import Tree, tree_of
from flowcraft.testing.aws.dynamodb_tokens import Tokens

T = TypeVar("T")

Names = tuple[tuple[str, str], ...]
"""``#names`` and what they stand for, in a form that can be a key of a cache."""

_COMPARISONS: Final = frozenset({"=", "<>", "<", "<=", ">", ">="})
_CONDITIONS: Final = frozenset(
    {"attribute_exists", "attribute_not_exists", "attribute_type", "begins_with", "contains"}
)
_OF_UPDATES: Final = frozenset({"if_not_exists", "list_append"})
# The operand before IN counts, so that 99 others are the most.
_OPERANDS_OF_IN: Final = 100


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """An expression that was read.

    Attributes:
        content: What it says.
        names: The ``#names`` that it uses.
        values: The ``:values`` that it uses.
    """

    content: T
    names: frozenset[str]
    values: frozenset[str]


@lru_cache(maxsize=8192)
def condition(expression: str, text: str, names: Names) -> Parsed[Condition]:
    """Read a condition.

    Args:
        expression: The parameter that it is, such as ``ConditionExpression``, for errors.
        text: The condition.
        names: The ``#names`` of the request.

    Raises:
        Refusal: It is none.
    """
    tokens = Tokens(expression, text, dict(names))
    content = _Reader(tokens).either()
    tokens.finish()
    return Parsed(content, frozenset(tokens.used_names), frozenset(tokens.used_values))


@lru_cache(maxsize=8192)
def projection(text: str, names: Names) -> Parsed[Tree]:
    """Read a ``ProjectionExpression``, as a tree of its paths.

    Raises:
        Refusal: It is none, or its paths overlap.
    """
    tokens = Tokens("ProjectionExpression", text, dict(names))
    paths = [tokens.path()]
    while tokens.accept(","):
        paths.append(tokens.path())
    tokens.finish()
    tree = tree_of(paths, "ProjectionExpression")
    return Parsed(tree, frozenset(tokens.used_names), frozenset())


def names_of(given: Mapping[str, str] | None) -> Names:
    """The ``ExpressionAttributeNames`` of a request as a key of a cache."""
    return tuple(sorted(given.items())) if given else ()


class _Reader:
    """Reads a condition by descending into it."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        # Where the pair of parentheses stood that was read last: (opening, closing).
        self._pair = (-1, -1)

    def either(self) -> Condition:
        conditions = [self._all()]
        while self._tokens.accept_word("OR"):
            self._tokens.count_operator()
            conditions.append(self._all())
        return conditions[0] if len(conditions) == 1 else Either(tuple(conditions))

    def _all(self) -> Condition:
        conditions = [self._negated()]
        while self._tokens.accept_word("AND"):
            self._tokens.count_operator()
            conditions.append(self._negated())
        return conditions[0] if len(conditions) == 1 else All(tuple(conditions))

    def _negated(self) -> Condition:
        negations = 0
        while self._tokens.accept_word("NOT"):
            self._tokens.count_operator()
            negations += 1
        self._tokens.deeper(negations)
        condition = self._group() if self._tokens.next_is("(") else self._plain()
        for _ in range(negations):
            condition = Not(condition)
        self._tokens.deeper(-negations)
        return condition

    def _group(self) -> Condition:
        tokens = self._tokens
        opening = tokens.position
        tokens.expect("(")
        tokens.deeper(1)
        condition = self.either()
        tokens.deeper(-1)
        closing = tokens.position
        tokens.expect(")")
        if self._pair == (opening + 1, closing - 1):
            raise tokens.wrong("the expression has redundant parentheses")
        self._pair = (opening, closing)
        return condition

    def _plain(self) -> Condition:
        if self._tokens.text in _CONDITIONS and self._tokens.next_is("(", ahead=1):
            return self._function()
        left = self._operand()
        tokens = self._tokens
        if tokens.kind == "sign" and tokens.text in _COMPARISONS:
            tokens.count_operator()
            return self._comparison(left, tokens.take())
        if tokens.accept_word("BETWEEN"):
            return self._between(left)
        if tokens.accept_word("IN"):
            return self._among(left)
        if isinstance(left, Size):
            raise tokens.wrong("the function size is not allowed to be used this way; compare it")
        raise tokens.syntax_error()

    def _comparison(self, left: Operand, sign: str) -> Condition:
        right = self._operand()
        self._distinct(sign, left, right)
        if sign == "=":
            return Equal(left, right)
        if sign == "<>":
            return Not(Equal(left, right))
        return Ordered(sign, left, right)

    def _between(self, operand: Operand) -> Condition:
        tokens = self._tokens
        tokens.count_operator()
        low = self._operand()
        if not tokens.accept_word("AND"):
            raise tokens.syntax_error()
        high = self._operand()
        self._distinct("BETWEEN", operand, low, high)
        return Between(operand, low, high)

    def _among(self, operand: Operand) -> Condition:
        tokens = self._tokens
        tokens.count_operator()
        tokens.expect("(")
        others = [self._operand()]
        while tokens.accept(","):
            others.append(self._operand())
        tokens.expect(")")
        if len(others) + 1 > _OPERANDS_OF_IN:
            raise tokens.wrong(f"IN has {len(others) + 1} operands, {_OPERANDS_OF_IN} are allowed")
        self._distinct("IN", operand, *others)
        return Among(operand, tuple(others))

    def _distinct(self, sign: str, first: Operand, *others: Operand) -> None:
        if isinstance(first, Attribute) and first in others:
            raise self._tokens.wrong(
                f"the first operand has to be distinct from the others, for {sign} it is not"
            )

    def _operand(self) -> Operand:
        tokens = self._tokens
        if tokens.kind == "value":
            return Given(tokens.value())
        if tokens.kind == "word" and tokens.next_is("(", ahead=1):
            return self._size()
        return Attribute(tokens.path())

    def _size(self) -> Operand:
        tokens = self._tokens
        function = tokens.take()
        if function in _CONDITIONS or function in _OF_UPDATES:
            raise tokens.wrong(f"the function {function} is not allowed to be used this way")
        if function != "size":
            raise tokens.wrong(f"there is no function {function}")
        (operand,) = self._operands(function, 1)
        return Size(operand)

    def _operands(self, function: str, count: int) -> list[Operand]:
        tokens = self._tokens
        tokens.count_operator()
        tokens.deeper(1)
        tokens.expect("(")
        operands = [self._operand()]
        while tokens.accept(","):
            operands.append(self._operand())
        tokens.expect(")")
        tokens.deeper(-1)
        if len(operands) != count:
            raise tokens.wrong(f"{function} takes {count} operands, not {len(operands)}")
        return operands

    def _function(self) -> Condition:
        function = self._tokens.take()
        if function in ("attribute_exists", "attribute_not_exists"):
            (operand,) = self._operands(function, 1)
            if not isinstance(operand, Attribute):
                raise self._tokens.wrong(f"{function} requires a document path")
            exists = Exists(operand.path)
            return exists if function == "attribute_exists" else Not(exists)
        first, second = self._operands(function, 2)
        self._distinct(function, first, second)
        if function == "begins_with":
            return BeginsWith(first, second)
        if function == "contains":
            return Contains(first, second)
        if not isinstance(second, Given):
            raise self._tokens.wrong("attribute_type requires a :value as its second operand")
        return HasType(first, second.name)
