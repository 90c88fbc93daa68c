"""The words and signs of an expression, and the paths and names that every expression has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from flowcraft.testing.aws.dynamodb_errors import Refusal, refused
from flowcraft.testing.aws.dynamodb_paths import Path
from flowcraft.testing.aws.dynamodb_words import RESERVED_WORDS

EXPRESSION_BYTES: Final = 4096
OPERATORS: Final = 300
# Python's own limit to recursion must not be what stops a deep expression; 300 operators allow
# 150 levels.
_LEVELS: Final = 160

_PATH_LEVELS: Final = 32
_LARGEST_INDEX: Final = 2**31 - 1

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<word>[A-Za-z][A-Za-z0-9_]*)|(?P<name>#[A-Za-z0-9_]+)|(?P<value>:[A-Za-z0-9_]+)"
    r"|(?P<index>0|[1-9][0-9]*)|(?P<sign><>|<=|>=|[=<>()\[\],.+-]))",
    re.ASCII,
)
END: Final = ("end", "")


class Tokens:
    """The tokens of one expression, read one after the other.

    Attributes:
        expression: The parameter that it is, for errors.
        used_names: The ``#names`` that were read.
        used_values: The ``:values`` that were read.
        position: How many tokens were read.
    """

    def __init__(self, expression: str, text: str, names: Mapping[str, str]) -> None:
        self.expression = expression
        self.used_names: set[str] = set()
        self.used_values: set[str] = set()
        self.position = 0
        self._names = names
        self._operators = 0
        self._levels = 0
        self._tokens = self._split(text)

    def _split(self, text: str) -> list[tuple[str, str]]:
        if not text:
            raise self.wrong("the expression is empty")
        length = len(text.encode())
        if length > EXPRESSION_BYTES:
            raise self.wrong(
                f"the expression size has exceeded the limit of {EXPRESSION_BYTES} bytes: {length}"
            )
        tokens, end = [], len(text.rstrip())
        position = 0
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None:
                raise self.wrong(f"syntax error at {text[position : position + 20]!r}")
            kind = str(match.lastgroup)
            tokens.append((kind, match.group(kind)))
            position = match.end()
        tokens.append(END)
        return tokens

    def wrong(self, what: str) -> Refusal:
        """The refusal of this expression."""
        return refused(f"Invalid {self.expression}: {what}")

    def syntax_error(self) -> Refusal:
        """The refusal of this expression because of the token that is next."""
        near = " ".join(text for _, text in self._tokens[self.position : self.position + 4])
        return self.wrong(f"syntax error near {near!r}" if near else "syntax error at its end")

    @property
    def kind(self) -> str:
        """The kind of the next token: word, name, value, index, sign or end."""
        return self._tokens[self.position][0]

    @property
    def text(self) -> str:
        """The next token."""
        return self._tokens[self.position][1]

    def next_is(self, sign: str, ahead: int = 0) -> bool:
        """Whether the next token, or one further ahead, is this sign."""
        where = self.position + ahead
        return where < len(self._tokens) and self._tokens[where] == ("sign", sign)

    def take(self) -> str:
        """Read the next token."""
        text = self.text
        self.position += 1
        return text

    def accept(self, sign: str) -> bool:
        """Read the next token if it is this sign."""
        if not self.next_is(sign):
            return False
        self.position += 1
        return True

    def expect(self, sign: str) -> None:
        """Read the next token, which has to be this sign."""
        if not self.accept(sign):
            raise self.syntax_error()

    def accept_word(self, word: str) -> bool:
        """Read the next token if it is this word, in capitals or not."""
        kind, text = self._tokens[self.position]
        if kind != "word" or text.upper() != word:
            return False
        self.position += 1
        return True

    def finish(self) -> None:
        """Refuse what follows."""
        if self.kind != "end":
            raise self.syntax_error()

    def count_operator(self) -> None:
        """Count an operator or a function; there may be 300."""
        self._operators += 1
        if self._operators > OPERATORS:
            raise self.wrong(f"the expression has too many operators, more than {OPERATORS}")

    def deeper(self, levels: int) -> None:
        """Count levels of nesting."""
        self._levels += levels
        if self._levels > _LEVELS:
            raise self.wrong(f"the expression is nested more than {_LEVELS} levels deep")

    def value(self) -> str:
        """Read a ``:value``."""
        if self.kind != "value":
            raise self.syntax_error()
        self.used_values.add(self.text)
        return self.take()

    def path(self) -> Path:
        """Read a document path."""
        steps: list[str | int] = [self._step()]
        while True:
            if self.accept("."):
                steps.append(self._step())
            elif self.accept("["):
                steps.append(self._index())
                self.expect("]")
            else:
                break
        if len(steps) > _PATH_LEVELS:
            raise self.wrong(f"a document path has more than {_PATH_LEVELS} levels: {len(steps)}")
        return tuple(steps)

    def _index(self) -> int:
        if self.kind != "index":
            raise self.syntax_error()
        index = int(self.take())
        if index > _LARGEST_INDEX:
            raise self.wrong(f"the list index {index} is larger than {_LARGEST_INDEX}")
        return index

    def _step(self) -> str:
        if self.kind == "name":
            return self._named(self.take())
        if self.kind != "word":
            raise self.syntax_error()
        word = self.take()
        if word.upper() in RESERVED_WORDS:
            raise self.wrong(
                f"the attribute name {word} is a reserved word; give it in "
                "ExpressionAttributeNames and write #name"
            )
        return word

    def _named(self, name: str) -> str:
        if name not in self._names:
            raise self.wrong(f"the expression attribute name {name} is not defined")
        self.used_names.add(name)
        return self._names[name]
