"""Turns the tree of an expression into a function of the scope.

Conditions are evaluated far more often than they are parsed, so every node becomes a closure
over the closures of its parts; nothing is looked up in the tree again. A path such as
``result.output.ok``, which most conditions are, becomes one loop over its keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import islice
from typing import Any, Final, TypeAlias

from flowcraft.core.expression_functions import FUNCTIONS, METHODS
from flowcraft.core.expression_kinds import Work, is_number, is_truthy, kind
from flowcraft.core.expression_numbers import arithmetic, check_size
from flowcraft.core.expression_tokens import shown
from flowcraft.core.expression_tree import (
    Arithmetic,
    Call,
    Chain,
    Choice,
    Comparison,
    Constant,
    Link,
    ListLiteral,
    Logic,
    MappingLiteral,
    Name,
    Node,
    Template,
    Unary,
)
from flowcraft.core.expression_values import add, contains, equal, join, member, ordered, to_text
from flowcraft.errors import ExpressionError

Scope: TypeAlias = Mapping[str, Any]
Program: TypeAlias = Callable[[Scope, Work], Any]

NAMES_SHOWN: Final = 8


def compile_tree(tree: Node) -> Program:
    """Make the function that evaluates ``tree``.

    The function takes the scope and the budget of work, and raises `ExpressionError`. The depth
    of the tree is bounded by the parser, and so is the recursion here and in the result.
    """
    return _COMPILERS[type(tree)](tree)


# ---------------------------------------------------------------- values


def _constant(node: Constant) -> Program:
    value = node.value
    return lambda _scope, _work: value


def _name(node: Name) -> Program:
    name = node.name

    def read(scope: Scope, _work: Work) -> Any:
        if name in scope:
            return scope[name]
        raise _unknown(node, scope)

    return read


def _unknown(node: Name, scope: Scope) -> ExpressionError:
    also = f" (nor {shown(node.longer, 60)})" if node.longer else ""
    names = [shown(str(name), 40) for name in islice(scope, NAMES_SHOWN + 1)]
    known = ", ".join(names[:NAMES_SHOWN]) or "nothing"
    more = ", …" if len(names) > NAMES_SHOWN else ""
    return ExpressionError(f"unknown name {shown(node.name, 60)}{also}; known: {known}{more}")


def _template(node: Template) -> Program:
    parts = tuple(map(compile_tree, node.parts))
    return lambda scope, work: join([to_text(part(scope, work)) for part in parts], work)


def _list(node: ListLiteral) -> Program:
    items = tuple(map(compile_tree, node.items))
    return lambda scope, work: [item(scope, work) for item in items]


def _mapping(node: MappingLiteral) -> Program:
    entries = tuple((key, compile_tree(value)) for key, value in node.entries)
    return lambda scope, work: {key: value(scope, work) for key, value in entries}


# ---------------------------------------------------------------- members


def _chain(node: Chain) -> Program:
    keys = tuple(
        (link.key, link.end)
        for link in node.links
        if isinstance(link.key, str) and not link.optional
    )
    if isinstance(node.base, Name) and len(keys) == len(node.links):
        return _path(node, node.base, keys)
    base = compile_tree(node.base)
    steps = tuple((link, _step(link)) for link in node.links)

    def follow(scope: Scope, work: Work) -> Any:
        value = base(scope, work)
        for link, step in steps:
            if value is None:
                if link.optional:
                    return None  # as in JavaScript, the rest of the chain is not looked at
                raise _nothing(node, link.end)
            value = step(value, scope, work)
        return value

    return follow


def _path(node: Chain, base: Name, keys: tuple[tuple[str, int], ...]) -> Program:
    """The common case: a name and constant keys."""
    name = base.name

    def read(scope: Scope, _work: Work) -> Any:
        if name not in scope:
            raise _unknown(base, scope)
        value = scope[name]
        for key, end in keys:
            if type(value) is dict:
                value = value.get(key)
            elif value is None:
                raise _nothing(node, end)
            else:
                value = member(value, key)
        return value

    return read


def _nothing(node: Chain, end: int) -> ExpressionError:
    left = node.text[node.start : end]
    return ExpressionError(f"{shown(left, 80)} is null: use '?.' after it if that may be so")


def _step(link: Link) -> Callable[[Any, Scope, Work], Any]:
    if isinstance(link.key, str):
        name = link.key
        return lambda value, _scope, _work: member(value, name)
    key = compile_tree(link.key)
    if link.method is None:
        return lambda value, scope, work: member(value, key(scope, work))
    method = METHODS[link.method]
    return lambda value, scope, work: method(value, key(scope, work), work)


# ---------------------------------------------------------------- operators


def _unary(node: Unary) -> Program:
    operand = compile_tree(node.operand)
    signs = tuple(reversed(node.signs))

    def apply(scope: Scope, work: Work) -> Any:
        value = operand(scope, work)
        for sign in signs:
            value = _signed(sign, value)
        return value

    if signs in (("!",), ("not",)):
        return lambda scope, work: not is_truthy(operand(scope, work))
    return apply


def _signed(sign: str, value: Any) -> Any:
    if sign in ("!", "not"):
        return not is_truthy(value)
    if not is_number(value):
        raise ExpressionError(f"the sign '{sign}' takes a number, not {kind(value)}")
    check_size(value)
    # A Decimal's own minus rounds to the precision of the thread; this one is exact.
    if isinstance(value, Decimal):
        return value.copy_negate() if sign == "-" else value
    return -value if sign == "-" else value


def _logic(node: Logic) -> Program:
    first = compile_tree(node.first)
    rest = tuple((_DECIDED[symbol], compile_tree(part)) for symbol, part in node.rest)

    def decide(scope: Scope, work: Work) -> Any:
        value = first(scope, work)
        for is_decided, part in rest:
            if not is_decided(value):
                value = part(scope, work)
        return value

    return decide


_DECIDED: Final[Mapping[str, Callable[[Any], bool]]] = {
    "or": is_truthy,
    "and": lambda value: not is_truthy(value),
    "??": lambda value: value is not None,
}


def _comparison(node: Comparison) -> Program:
    first = compile_tree(node.first)
    rest = tuple((_comparer(symbol), compile_tree(part)) for symbol, part in node.rest)
    if len(rest) == 1:
        [(compare, second)] = rest
        return lambda scope, work: compare(first(scope, work), second(scope, work), work)

    def chained(scope: Scope, work: Work) -> bool:
        left = first(scope, work)
        for compare, part in rest:
            right = part(scope, work)
            if not compare(left, right, work):
                return False
            left = right
        return True

    return chained


def _comparer(symbol: str) -> Callable[[Any, Any, Work], bool]:
    if symbol in _COMPARERS:
        return _COMPARERS[symbol]
    return lambda left, right, work: ordered(symbol, left, right, work)


_COMPARERS: Final[Mapping[str, Callable[[Any, Any, Work], bool]]] = {
    "==": equal,
    "!=": lambda left, right, work: not equal(left, right, work),
    "in": lambda left, right, work: contains(right, left, work),
    "not in": lambda left, right, work: not contains(right, left, work),
}


def _arithmetic(node: Arithmetic) -> Program:
    first = compile_tree(node.first)
    rest = tuple((symbol, compile_tree(part)) for symbol, part in node.rest)

    def calculate(scope: Scope, work: Work) -> Any:
        value = first(scope, work)
        for symbol, part in rest:
            right = part(scope, work)
            value = add(value, right, work) if symbol == "+" else arithmetic(symbol, value, right)
        return value

    return calculate


def _choice(node: Choice) -> Program:
    test, yes, no = map(compile_tree, node)
    return lambda scope, work: yes(scope, work) if is_truthy(test(scope, work)) else no(scope, work)


# ---------------------------------------------------------------- calls


def _call(node: Call) -> Program:
    function = FUNCTIONS[node.function].call
    arguments = tuple(map(compile_tree, node.arguments))
    return lambda scope, work: function([part(scope, work) for part in arguments], work)


_COMPILERS: Final[Mapping[type, Callable[[Any], Program]]] = {
    Constant: _constant,
    Name: _name,
    Template: _template,
    ListLiteral: _list,
    MappingLiteral: _mapping,
    Chain: _chain,
    Call: _call,
    Unary: _unary,
    Logic: _logic,
    Comparison: _comparison,
    Arithmetic: _arithmetic,
    Choice: _choice,
}
