"""Parses an expression into a tree: precedence climbing over the tokens.

From loosest to tightest::

    c ? a : b     a if c else b
    ||  or  ??
    &&  and
    not
    == === != !==   < <= > >=   in   not in
    +  -
    *  /  //  %
    !  -  +            (before the operand)
    **
    .name  ?.name  [key]  ?.[key]  .method(...)

Operators of one level are collected into one flat node (``a + b - c`` has one node with three
operands), so that a long expression is not a deep one. What remains deep is what is nested in
the text, and `MAX_DEPTH` bounds that, while parsing and for the finished tree: neither the
parser nor the evaluator can reach Python's own recursion limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from flowcraft.core.expression_functions import FUNCTIONS, METHODS
from flowcraft.core.expression_tokens import WORD_OPERATORS, Token, fail, shown, tokenize
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
from flowcraft.core.expression_values import key_text
from flowcraft.errors import ExpressionLimitError

MAX_DEPTH: Final = 64
"""Levels of brackets, operators, choices and templates inside one another."""

# ---------------------------------------------------------------- the words of the language

CONSTANTS: Final[Mapping[str, Any]] = {
    **{"true": True, "True": True, "false": False, "False": False},
    **dict.fromkeys(("null", "undefined", "None")),
}
_OR, _AND, _COMPARE, _ADD, _MULTIPLY = 1, 2, 3, 4, 5
_LEVELS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("||", "or", "??"), _OR),
    **dict.fromkeys(("&&", "and"), _AND),
    **dict.fromkeys(("==", "===", "!=", "!==", "in", "not in"), _COMPARE),
    **dict.fromkeys(("<", "<=", ">", ">="), _COMPARE),
    **dict.fromkeys(("+", "-"), _ADD),
    **dict.fromkeys(("*", "/", "//", "%"), _MULTIPLY),
}
_NODES: Final[Mapping[int, Callable[[Node, tuple[tuple[str, Node], ...]], Node]]] = {
    _OR: Logic,
    _AND: Logic,
    _COMPARE: Comparison,
    _ADD: Arithmetic,
    _MULTIPLY: Arithmetic,
}
_CANONICAL: Final = {"||": "or", "&&": "and", "===": "==", "!==": "!="}
_ORDERINGS: Final = frozenset({"<", "<=", ">", ">="})
_UNSUPPORTED: Final = {
    "is": "compare with '=='",
    "typeof": "types cannot be asked for",
    "new": "nothing can be created",
    "lambda": "functions cannot be written",
    "function": "functions cannot be written",
    "for": "there are no loops",
}


def parse(text: str, joined: Mapping[int, int], longer: Mapping[int, str]) -> Node:
    """Parse an expression.

    Args:
        text: The expression.
        joined: Start and end of the hyphenated names that the scope has.
        longer: Start and text of those that it might have had, for error messages.

    Raises:
        ExpressionSyntaxError: It does not parse; the message says where and why.
        ExpressionLimitError: It is too long or too deep.
    """
    tree = _Parser(text, tokenize(text, joined), longer).parse()
    _check_depth(tree)
    return tree


def _check_depth(tree: Node) -> None:
    """Refuse a tree whose evaluation would nest too deep, without recursing over it."""
    todo: list[tuple[tuple[Any, ...], int]] = [(tree, 1)]
    while todo:
        node, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise _too_deep()
        for part in node:
            if isinstance(part, tuple):
                # Links and pairs of operator and operand are part of their node.
                todo.append((part, depth + isinstance(part, Node)))


def _too_deep() -> ExpressionLimitError:
    return ExpressionLimitError(
        f"an expression nested more than {MAX_DEPTH} levels deep is refused: "
        "split it, or let a node do the work"
    )


class _Parser:
    def __init__(self, text: str, tokens: list[Token], longer: Mapping[int, str]) -> None:
        self.text = text
        self.tokens = tokens
        self.longer = longer
        self.index = 0
        self.depth = 0

    def parse(self) -> Node:
        if len(self.tokens) == 1:
            fail("the expression is empty", self.text, 0)
        tree = self.expression()
        if self.token.kind != "end":
            self.unexpected()
        return tree

    # ------------------------------------------------------------ tokens

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    def is_next(self, *values: str) -> bool:
        kind, value, _, _ = self.token
        return value in values and (kind == "op" or (kind == "name" and value in WORD_OPERATORS))

    def accept(self, *values: str) -> str | None:
        if not self.is_next(*values):
            return None
        self.index += 1
        return str(self.tokens[self.index - 1].value)

    def expect(self, value: str, why: str) -> None:
        if not self.accept(value):
            self.unexpected(f": expected '{value}' {why}")

    def unexpected(self, hint: str = "") -> NoReturn:
        kind, value, start, end = self.token
        for near in self.tokens[max(self.index - 1, 0) : self.index + 1]:
            if near.kind == "name" and near.value in _UNSUPPORTED:
                fail(f"'{near.value}': {_UNSUPPORTED[near.value]}", self.text, near.start)
        if kind == "end":
            fail(f"something is missing at the end{hint}", self.text, start)
        if not hint and value == "(":
            hint = f": only {', '.join(FUNCTIONS)} can be called"
        fail(f"{shown(self.text[start:end], 40)} was not expected{hint}", self.text, start)

    # ------------------------------------------------------------ operators

    def enter(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _too_deep()

    def expression(self) -> Node:
        self.enter()
        node = self.operation(_OR)
        if self.accept("?"):
            yes = self.expression()
            self.expect(":", "and the other value of the choice")
            node = Choice(node, yes, self.expression())
        elif self.accept("if"):
            test = self.operation(_OR)
            self.expect("else", "and the other value of the choice")
            node = Choice(test, node, self.expression())
        self.depth -= 1
        return node

    def operation(self, loosest: int) -> Node:
        """Parse operands with the operators of the level ``loosest`` and all tighter ones."""
        left = self.operand()
        while (level := self.level_ahead()) >= loosest:
            rest, place = [], self.token.start
            while self.level_ahead() == level:
                symbol = self.operator()
                rest.append((_CANONICAL.get(symbol, symbol), self.right_side(level)))
            self.check_chain([symbol for symbol, _ in rest], place)
            left = _NODES[level](left, tuple(rest))
        return left

    def right_side(self, level: int) -> Node:
        self.enter()
        node = self.operation(level + 1)
        self.depth -= 1
        return node

    def level_ahead(self) -> int:
        kind, value, _, _ = self.token
        if value == "not" and kind == "name":
            follows = self.tokens[self.index + 1]
            return _COMPARE if (follows.kind, follows.value) == ("name", "in") else 0
        return _LEVELS.get(value, 0) if kind in ("op", "name") else 0

    def operator(self) -> str:
        symbol = str(self.token.value)
        self.index += 1
        if symbol == "not":
            self.index += 1
            return "not in"
        return symbol

    def check_chain(self, symbols: list[str], place: int) -> None:
        """Refuse ``a == b == c`` and the like, which the two languages read differently."""
        if (
            len(symbols) > 1
            and _LEVELS[symbols[0]] == _COMPARE
            and not _ORDERINGS.issuperset(symbols)
        ):
            fail(
                f"a chain of {' and '.join(map(repr, symbols[:3]))} is ambiguous: "
                "use brackets, or '&&' between two comparisons",
                self.text,
                place,
            )

    def operand(self) -> Node:
        signs: list[str] = []
        while self.accept("not"):
            signs.append("not")
        if signs:
            return Unary(tuple(signs), self.right_side(_COMPARE - 1))
        while sign := self.accept("!", "-", "+"):
            signs.append(sign)
        node = self.chain()
        if self.accept("**"):
            self.enter()
            node = Arithmetic(node, (("**", self.operand()),))
            self.depth -= 1
        return Unary(tuple(signs), node) if signs else node

    # ------------------------------------------------------------ members and calls

    def chain(self) -> Node:
        start = self.token.start
        base = self.primary()
        links: list[Link] = []
        while (mark := self.accept(".", "?.", "[")) is not None:
            links.append(self.link(mark, self.tokens[self.index - 2].end))
        if self.is_next("("):
            self.unexpected()
        return Chain(base, tuple(links), self.text, start) if links else base

    def link(self, mark: str, end: int) -> Link:
        optional = mark == "?."
        if mark == "[" or (optional and self.accept("[")):
            key = self.expression()
            self.expect("]", "after the key")
            return Link(_plain_key(key), None, optional, end)
        if self.token.kind != "member":
            self.unexpected(f": expected a name after '{mark}'")
        name = str(self.token.value)
        self.index += 1
        if not self.accept("("):
            return Link(name, None, optional, end)
        return Link(self.method_argument(name), name, optional, end)

    def method_argument(self, name: str) -> Node:
        if name not in METHODS:
            self.index -= 2
            self.unexpected(f": only {', '.join(METHODS)} can be called on a value")
        arguments = self.items(")")
        if len(arguments) != 1:
            fail(f"{name}() takes one argument", self.text, self.token.start)
        return arguments[0]

    def call(self, name: Token) -> Node:
        if name.value not in FUNCTIONS:
            fail(
                f"{shown(name.value, 40)} cannot be called: only {', '.join(FUNCTIONS)} can",
                self.text,
                name.start,
            )
        arguments = self.items(")")
        _, least, most = FUNCTIONS[name.value]
        if not least <= len(arguments) <= most:
            count = str(least) if least == most else f"{least} to {most}"
            fail(f"{name.value}() takes {count} argument(s)", self.text, name.start)
        return Call(name.value, arguments)

    # ------------------------------------------------------------ values

    def primary(self) -> Node:
        token = self.token
        if token.kind in ("number", "string"):
            self.index += 1
            return Constant(token.value)
        if token.kind == "name" and token.value not in WORD_OPERATORS:
            self.index += 1
            return self.call(token) if self.accept("(") else self.name(token)
        for mark, production in (
            ("(", self.bracket),
            ("[", self.list_literal),
            ("{", self.mapping_literal),
            ("`", self.template),
        ):
            if self.accept(mark):
                return production()
        self.unexpected(": expected a value")

    def name(self, token: Token) -> Node:
        if token.value in CONSTANTS:
            return Constant(CONSTANTS[token.value])
        return Name(token.value, self.longer.get(token.start))

    def bracket(self) -> Node:
        first = self.expression()
        if self.accept(","):
            return ListLiteral((first, *self.items(")")))
        self.expect(")", "to close the bracket")
        return first

    def list_literal(self) -> Node:
        return ListLiteral(self.items("]"))

    def items(self, closing: str) -> tuple[Node, ...]:
        """Parse expressions between commas up to a closing bracket; the last may have a comma."""
        items: list[Node] = []
        while not self.accept(closing):
            items.append(self.expression())
            if not self.is_next(closing):
                self.expect(",", f"or '{closing}'")
        return tuple(items)

    def mapping_literal(self) -> Node:
        entries: list[tuple[str, Node]] = []
        while not self.accept("}"):
            entries.append(self.entry())
            if not self.is_next("}"):
                self.expect(",", "or '}'")
        return MappingLiteral(tuple(entries))

    def entry(self) -> tuple[str, Node]:
        token = self.token
        if token.kind not in ("name", "string", "number"):
            self.unexpected(": expected a name or a text as key")
        self.index += 1
        key = self.name_key(token) if token.kind == "name" else key_text(token.value)
        if self.accept(":"):
            return key, self.expression()
        if token.kind == "name" and key not in WORD_OPERATORS and key not in CONSTANTS:
            return key, Name(key, None)
        self.unexpected(": expected ':' and a value after the key")

    def name_key(self, token: Token) -> str:
        """Read ``my-key`` as one key: nothing can be subtracted in its place."""
        key = str(token.value)
        if self.is_next("-") and token.start in self.longer:
            key = self.longer[token.start]
            while self.token.start < token.start + len(key):
                self.index += 1
        return key

    def template(self) -> Node:
        parts: list[Node] = []
        while not self.accept("`"):
            if self.token.kind == "chunk":
                parts.append(Constant(self.token.value))
                self.index += 1
            else:
                self.expect("${", "or text")
                parts.append(self.expression())
                self.expect("}", "to close the value in the template")
        return Template(tuple(parts))


def _plain_key(key: Node) -> str | Node:
    """Treat ``a["b"]`` as ``a.b``, which is looked up without evaluating anything."""
    return key.value if isinstance(key, Constant) and isinstance(key.value, str) else key
