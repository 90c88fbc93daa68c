"""Cuts the text of an expression into tokens.

Two things make this more than a list of patterns. A template (backticks) switches between text
and tokens, which a stack of open brackets keeps track of. And a hyphen may belong to a name:
node ids such as ``my-node`` are common, and ``my-node.total`` should just work. Only the scope
can tell it from a subtraction, so `hyphenated_names` lists the possible names, the evaluator
looks which of them exist, and `tokenize` then takes those as one token each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, NoReturn

from flowcraft.core.expression_kinds import MAX_INTEGER_BITS
from flowcraft.errors import ExpressionLimitError, ExpressionSyntaxError

MAX_EXPRESSION_LENGTH: Final = 4_096
"""Characters in the text of an expression."""

MAX_HYPHENS: Final = 15
"""Hyphens in a name that is written without quotes."""

MAX_NAME_LENGTH: Final = 256
"""Characters in a hyphenated name that is written without quotes."""

MAX_HYPHENATED_NAMES: Final = 1_000
"""Possible hyphenated names in one expression, each of which costs one look into the scope."""

WORD_OPERATORS: Final = frozenset({"and", "or", "not", "in", "if", "else"})

Kind = Literal["name", "member", "number", "string", "chunk", "op", "end"]


class Token(NamedTuple):
    """A piece of an expression, with its place in the text.

    ``value`` is the name, the operator, the number, or the text after its escapes. A template
    is the operator `````, then chunks of text and ``${`` … ``}`` in turn, then `````.
    """

    kind: Kind
    value: Any
    start: int
    end: int


class HyphenatedName(NamedTuple):
    """A place where a hyphenated name may stand: ``choices`` are (end, name), longest first."""

    start: int
    choices: tuple[tuple[int, str], ...]


def fail(message: str, text: str, at: int) -> NoReturn:
    """Raise `ExpressionSyntaxError` with the place of the mistake."""
    raise ExpressionSyntaxError(f"{message}, at character {at + 1} of {shown(text)}")


def shown(text: str, limit: int = 120) -> str:
    """Quote a text for a message, cut to a readable length; safe to print and to store."""
    return ascii_safe(repr(text if len(text) <= limit else text[: limit - 1] + "…"))


def ascii_safe(text: str) -> str:
    """Replace halves of surrogate pairs, which cannot be stored as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def tokenize(text: str, joined: Mapping[int, int]) -> list[Token]:
    """Cut an expression into tokens, the last of which has the kind ``end``.

    Args:
        text: The expression.
        joined: Start and end of the hyphenated names that the scope is known to have.

    Raises:
        ExpressionSyntaxError: A character or literal that cannot be read.
        ExpressionLimitError: The text is too long.
    """
    if len(text) > MAX_EXPRESSION_LENGTH:
        raise ExpressionLimitError(
            f"an expression of {len(text)} characters is too long (at most "
            f"{MAX_EXPRESSION_LENGTH}): such work belongs into a node"
        )
    return _Scanner(text, joined).run()


def hyphenated_names(text: str, tokens: list[Token]) -> tuple[HyphenatedName, ...]:
    """List where a name with hyphens may stand, given the tokens of ``tokenize(text, {})``."""
    found = []
    total = 0
    for token in tokens:
        if token.kind != "name":
            continue
        choices = _hyphen_choices(text, token.start, token.end)
        total += len(choices)
        if choices:
            found.append(HyphenatedName(token.start, choices))
        if total > MAX_HYPHENATED_NAMES:
            raise ExpressionLimitError(
                "too many hyphens between names: put blanks around each minus"
            )
    return tuple(found)


def _hyphen_choices(text: str, start: int, end: int) -> tuple[tuple[int, str], ...]:
    choices: list[tuple[int, str]] = []
    while len(choices) < MAX_HYPHENS and text.startswith("-", end):
        part, end = end + 1, _name_end(text, end + 1)
        # "a-1.5" subtracts a number, it does not read the member 5 of "a-1".
        if end == part or (text[part].isdigit() and re.match(r"\.[0-9]", text[end : end + 2])):
            break
        if end - start > MAX_NAME_LENGTH:
            break
        choices.append((end, text[start:end]))
    return tuple(reversed(choices))


def _name_end(text: str, at: int) -> int:
    """Where the run of characters that names consist of, beginning at ``at``, is over."""
    while at < len(text) and (text[at] == "$" or ("_" + text[at]).isidentifier()):
        at += 1
    return at


_BLANK = re.compile(r"\s+")
_NUMBER = re.compile(
    r"0[xX][0-9a-fA-F]+"
    r"|(?:[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
)
_DIGITS = re.compile(r"[0-9]+")
_STRING = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\"""", re.DOTALL)
_CHUNK = re.compile(r"(?:[^`\\$]|\\.|\$(?!\{))+", re.DOTALL)
# The order matters: longer operators first. "a ?.5 : 1" is a ternary, hence the lookahead.
_OPERATOR = re.compile(
    r"===|!==|\*\*|//|==|!=|<=|>=|&&|\|\||\?\?|\?\.(?![0-9])|[-+*/%<>!?:.,()\[\]{}]"
)
_ESCAPE = re.compile(r"\\(u\{[0-9a-fA-F]{1,6}\}|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|\r\n|.)", re.DOTALL)
_SIMPLE_ESCAPES: Final = {
    **{"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0"},
    **{same: same for same in "\\'\"`$/{}"},
    **dict.fromkeys(("\n", "\r\n"), ""),
}
_SURROGATE = re.compile("[\ud800-\udfff]")
_HINTS: Final = {
    "=": "compare with '==='; nothing can be assigned",
    "&": "write '&&' or 'and'",
    "|": "write '||' or 'or'",
    ";": "an expression has no statements",
}


class _Scanner:
    def __init__(self, text: str, joined: Mapping[int, int]) -> None:
        self.text = text
        self.joined = joined
        self.at = 0
        self.tokens: list[Token] = []
        self.open: list[tuple[str, int]] = []  # brackets that decide what "}" and "`" mean

    def run(self) -> list[Token]:
        if found := _SURROGATE.search(self.text):
            fail("half of a surrogate pair is no character", self.text, found.start())
        while self.at < len(self.text):
            if self.open and self.open[-1][0] == "`":
                self._template_piece()
            elif blank := _BLANK.match(self.text, self.at):
                self.at = blank.end()
            else:
                self._piece()
        for bracket, start in self.open:
            if bracket == "`":
                fail("the template is not closed", self.text, start)
        self._emit("end", "", self.at)
        return self.tokens

    def _emit(self, kind: Kind, value: Any, end: int) -> None:
        self.tokens.append(Token(kind, value, self.at, end))
        self.at = end

    def _piece(self) -> None:
        first = self.text[self.at]
        if self._after_dot() and (digits := _DIGITS.match(self.text, self.at)):
            self._emit("member", digits.group(), digits.end())
        elif first == "$" or first.isidentifier():
            self._name()
        elif (number := _NUMBER.match(self.text, self.at)) and not self._is_member_dot(first):
            self._emit("number", self._number(number.group()), number.end())
        elif first in "'\"":
            self._string()
        elif first == "`":
            self.open.append(("`", self.at))
            self._emit("op", "`", self.at + 1)
        else:
            self._operator()

    def _after_dot(self) -> bool:
        last = self.tokens[-1] if self.tokens else None
        return last is not None and last.kind == "op" and last.value in (".", "?.")

    def _is_member_dot(self, first: str) -> bool:
        """Tell the dot of ``list.0`` from that of ``.5``: it follows an operand."""
        if first != "." or not self.tokens:
            return False
        kind, value, _, _ = self.tokens[-1]
        if kind == "op":
            # A backtick here closed its template: after an opening one the scanner reads text.
            return value in (")", "]", "}", "`")
        return kind in ("member", "string") or (kind == "name" and value not in WORD_OPERATORS)

    def _name(self) -> None:
        if self._after_dot():
            end = _name_end(self.text, self.at)
            self._emit("member", self.text[self.at : end], end)
            return
        end = self.joined.get(self.at) or _name_end(self.text, self.at)
        self._emit("name", self.text[self.at : end], end)

    def _number(self, digits: str) -> int | float:
        if digits[:2] in ("0x", "0X"):
            return self._bounded(int(digits, 16))
        if digits[0] == "0" and digits[1:2].isdecimal():
            fail("a number cannot begin with 0", self.text, self.at)
        if any(mark in digits for mark in ".eE"):
            value = float(digits)
            if math.isinf(value):
                fail("the number is too large", self.text, self.at)
            return value
        return self._bounded(int(digits))

    def _bounded(self, number: int) -> int:
        if number.bit_length() > MAX_INTEGER_BITS:
            fail("the number is too large", self.text, self.at)
        return number

    def _string(self) -> None:
        found = _STRING.match(self.text, self.at)
        if not found:
            fail("the text is not closed", self.text, self.at)
        self._emit("string", self._unescaped(found.group()[1:-1]), found.end())

    def _template_piece(self) -> None:
        if found := _CHUNK.match(self.text, self.at):
            self._emit("chunk", self._unescaped(found.group()), found.end())
        elif self.text.startswith("`", self.at):
            self.open.pop()
            self._emit("op", "`", self.at + 1)
        elif self.text.startswith("${", self.at):
            self.open.append(("${", self.at))
            self._emit("op", "${", self.at + 2)
        else:
            fail("the template is not closed", self.text, self.open[-1][1])

    def _operator(self) -> None:
        found = _OPERATOR.match(self.text, self.at)
        if not found:
            mark = self.text[self.at]
            hint = f": {_HINTS[mark]}" if mark in _HINTS else ""
            fail(f"{shown(mark)} has no meaning here{hint}", self.text, self.at)
        symbol = found.group()
        if symbol == "{":
            self.open.append(("{", self.at))
        elif symbol == "}" and self.open:
            self.open.pop()
        self._emit("op", symbol, found.end())

    def _unescaped(self, source: str) -> str:
        if "\\" not in source:
            return source
        value = _ESCAPE.sub(self._escape, source)
        try:
            # "\ud83d\ude00" is one character written as two halves.
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            fail("half of a surrogate pair is no character", self.text, self.at)

    def _escape(self, found: re.Match[str]) -> str:
        code = found.group(1)
        if code in _SIMPLE_ESCAPES:
            return _SIMPLE_ESCAPES[code]
        if len(code) == 1:
            fail(f"the escape {shown(found.group())} has no meaning", self.text, self.at)
        number = int(code[1:].strip("{}"), 16)
        if number > 0x10FFFF:
            fail("there is no such character", self.text, self.at)
        return chr(number)
