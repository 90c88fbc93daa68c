"""The tree of a parsed expression: one tuple for each construct of the language."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias


class Constant(NamedTuple):
    """A literal value."""

    value: Any


class Name(NamedTuple):
    """A name of the scope; ``longer`` is the hyphenated name that may have been meant."""

    name: str
    longer: str | None


class Template(NamedTuple):
    """Texts and expressions, joined."""

    parts: tuple[Node, ...]


class ListLiteral(NamedTuple):
    """``[a, b]``, or ``(a, b)`` as it is written in Python."""

    items: tuple[Node, ...]


class MappingLiteral(NamedTuple):
    """``{ key: a, "key": b, c }``."""

    entries: tuple[tuple[str, Node], ...]


class Link(NamedTuple):
    """One step from a value to a part of it.

    ``key`` is a constant key, or the node that computes it. With ``method`` the step is a call
    of it with ``key`` as the argument. ``end`` is where in the text the value left of it ends.
    """

    key: str | Node
    method: str | None
    optional: bool
    end: int


class Chain(NamedTuple):
    """A value and the steps into it; ``text`` from ``start`` is its source, for messages."""

    base: Node
    links: tuple[Link, ...]
    text: str
    start: int


class Call(NamedTuple):
    """A call of one of the built-in functions."""

    function: str
    arguments: tuple[Node, ...]


class Unary(NamedTuple):
    """Signs before an operand, the outermost first: ``!``, ``-``, ``+``, ``not``."""

    signs: tuple[str, ...]
    operand: Node


class Logic(NamedTuple):
    """Operands of which only as many are evaluated as decide: ``or``, ``??``, ``and``."""

    first: Node
    rest: tuple[tuple[str, Node], ...]


class Comparison(NamedTuple):
    """One comparison, or a chain of orderings such as ``1 < x <= 5``."""

    first: Node
    rest: tuple[tuple[str, Node], ...]


class Arithmetic(NamedTuple):
    """Operands of one level, from left to right."""

    first: Node
    rest: tuple[tuple[str, Node], ...]


class Choice(NamedTuple):
    """``test ? yes : no``."""

    test: Node
    yes: Node
    no: Node


Node: TypeAlias = (
    Constant
    | Name
    | Template
    | ListLiteral
    | MappingLiteral
    | Chain
    | Call
    | Unary
    | Logic
    | Comparison
    | Arithmetic
    | Choice
)
