"""Simple JSONata as expressions of Flowcraft.

Understood are paths from ``$states`` and from variables, indexes, literals, lists, objects,
comparisons, ``and``, ``or``, ``in``, arithmetic, ``&``, ``? :`` and a few functions. Everything
else (predicates, wildcards, ``~>``, lambdas, blocks, sorting) is refused. JSONata maps a path over
lists that it meets; the expression gives null there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Use = Literal["condition", "template"]


class NotSimple(ValueError):
    """An expression that is not understood; the text says why."""


@dataclass(slots=True)
class Translation:
    """What came of an expression.

    Attributes:
        text: The expression in Flowcraft's language.
        variables: The names of the variables that it reads.
        reads_execution: Whether it reads the input of the execution.
    """

    text: str = ""
    variables: set[str] = field(default_factory=set)
    reads_execution: bool = False


def is_jsonata(value: Any) -> bool:
    """Whether a value is an expression: text between ``{%`` and ``%}``."""
    return isinstance(value, str) and value.startswith("{%") and value.rstrip().endswith("%}")


def translate(text: str, use: Use = "template") -> Translation:
    """Translate an expression, with or without its ``{% %}``.

    Args:
        text: The expression.
        use: Where it will stand: as the condition of an edge, or in a template of a node.

    Raises:
        NotSimple: It uses what is not understood.
    """
    bare = text.strip()
    if is_jsonata(bare):
        bare = bare.removeprefix("{%").removesuffix("%}")
    parser = _Parser(bare, use)
    translation = parser.translation
    translation.text = parser.expression()
    if parser.next:
        raise NotSimple(f"'{parser.next}' is not understood here")
    return translation


_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<number>\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<name>\$?[A-Za-z_]\w*|\$\$?|`[^`]*`)
      | (?P<sign>!=|<=|>=|~>|:=|\.\.|\*\*|[-+*/%&=<>?:()\[\]{},.;@\#^|!])
    )""",
    re.VERBOSE,
)
_CALLS: Final[Mapping[str, tuple[int, str]]] = {
    "$exists": (1, "({0} != null)"),
    "$not": (1, "!({0})"),
    "$count": (1, "len({0} ?? [])"),
    "$length": (1, "len({0})"),
    "$string": (1, "str({0})"),
    "$number": (1, "Number({0})"),
    "$boolean": (1, "bool({0})"),
    "$abs": (1, "abs({0})"),
    "$round": (2, "round({0}, {1})"),
    "$contains": (2, "({0}).includes({1})"),
}
_ORDERS: Final = ("<", "<=", ">", ">=")
_WORDS: Final = ("and", "or", "in")
_DEEPEST: Final = 30


class _Parser:
    """Reads by descent, one method for each level of precedence, and writes as it goes."""

    def __init__(self, text: str, use: Use) -> None:
        self._tokens = _tokens(text)
        self._at = 0
        self._use = use
        self._depth = 0
        self.translation = Translation()

    @property
    def next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def expression(self) -> str:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise NotSimple("it is nested too deeply")
        test = self._either()
        if self._takes("?"):
            yes = self.expression()
            no = self.expression() if self._takes(":") else "null"
            test = f"({test} ? {yes} : {no})"
        self._depth -= 1
        return test

    def _either(self) -> str:
        parts = [self._both()]
        while self._takes("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else f"({' || '.join(parts)})"

    def _both(self) -> str:
        parts = [self._comparison()]
        while self._takes("and"):
            parts.append(self._comparison())
        return " && ".join(parts)

    def _comparison(self) -> str:
        left = self._sum()
        sign = self.next
        if sign in ("=", "!=", "in"):
            self._at += 1
            return f"{left} {'==' if sign == '=' else sign} {self._sum()}"
        if sign in _ORDERS:
            self._at += 1
            right = self._sum()
            # JSONata gives nothing, which counts as false, where one side is not there.
            there = [
                f"{side} != null" for side in (left, right) if "." in side and side[0].isalpha()
            ]
            return f"({' && '.join([*there, f'{left} {sign} {right}'])})"
        return left

    def _sum(self) -> str:
        text = self._product()
        while self.next in ("+", "-", "&"):
            sign = self._take()
            right = self._product()
            text = (
                f'("" + ({text} ?? "") + ({right} ?? ""))'
                if sign == "&"
                else f"{text} {sign} {right}"
            )
        return text

    def _product(self) -> str:
        text = self._primary()
        while self.next in ("*", "/", "%"):
            sign = self._take()
            text = f"{text} {sign} {self._primary()}"
        return text

    def _primary(self) -> str:
        token = self._take()
        if token == "-":
            return f"-{self._primary()}"
        if token == "(":
            return f"({self._closed(')')})"
        if token == "[":
            return f"[{', '.join(self._listed(']'))}]"
        if token == "{":
            return self._object()
        if token[:1].isdigit() or token in ("true", "false", "null"):
            return token
        if token[:1] in ("'", '"'):
            return json.dumps(_text(token), ensure_ascii=False)
        if token.startswith("$") and self.next == "(":
            return self._call(token)
        if token.startswith("$"):
            return self._path(token)
        raise NotSimple(f"'{token or 'its end'}' is not understood here")

    def _call(self, name: str) -> str:
        self._at += 1
        arguments = self._listed(")")
        count, pattern = _CALLS.get(name, (-1, ""))
        if count != len(arguments):
            raise NotSimple(f"the function {name} is not known with {len(arguments)} arguments")
        return pattern.format(*arguments)

    def _object(self) -> str:
        entries = []
        while not self._takes("}"):
            key = self._take()
            if key[:1] not in ("'", '"') or not self._takes(":"):
                raise NotSimple("the keys of an object are texts")
            entries.append(f"{json.dumps(_text(key), ensure_ascii=False)}: {self.expression()}")
            self._takes(",")
        return f"{{ {', '.join(entries)} }}"

    def _path(self, token: str) -> str:
        names = [token, *self._names()]
        if token == "$states":
            return self._of_state(names[1:])
        if token in ("$", "$$"):
            raise NotSimple(f"'{token}' is not understood outside of $states")
        name = token[1:]
        self.translation.variables.add(name)
        root = f'context["{token}"]' if self._use == "condition" else f'variables?.["{name}"]'
        return root + _steps(names[1:])

    def _of_state(self, names: list[str | int]) -> str:
        part, rest = (str(names[0]), names[1:]) if names else ("", [])
        if self._use == "condition":
            if part != "input":
                raise NotSimple(f"a condition cannot read $states.{part}")
            return f"result.output{_steps(rest)}"
        if part not in ("input", "result", "errorOutput", "context"):
            raise NotSimple(f"$states.{part} is not known")
        if part == "context" and rest[:2] == ["Execution", "Input"]:
            self.translation.reads_execution = True
        return f"states.{part}{_steps(rest)}"

    def _names(self) -> list[str | int]:
        """The steps of a path: names, and indexes from the start of a list."""
        steps: list[str | int] = []
        while self.next in (".", "["):
            if self._take() == ".":
                name = self._take()
                if not re.fullmatch(r"[A-Za-z_]\w*|`[^`]*`", name) or name in _WORDS:
                    raise NotSimple(f"'.{name}' is not understood")
                steps.append(name.strip("`"))
            else:
                index = self._take()
                if not index.isdigit() or not self._takes("]"):
                    raise NotSimple("a predicate is not understood, only an index such as [0]")
                steps.append(int(index))
        return steps

    def _closed(self, sign: str) -> str:
        inner = self.expression()
        if not self._takes(sign):
            raise NotSimple(f"'{sign}' is missing, or a block is not understood")
        return inner

    def _listed(self, sign: str) -> list[str]:
        parts: list[str] = []
        while not self._takes(sign):
            if parts and not self._takes(","):
                raise NotSimple(f"'{self.next or 'its end'}' is not understood in a list")
            parts.append(self.expression())
        return parts

    def _take(self) -> str:
        token = self.next
        self._at += 1
        return token

    def _takes(self, token: str) -> bool:
        if self.next != token:
            return False
        self._at += 1
        return True


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None:
            raise NotSimple(f"'{text[at:].strip()[:12]}' is not understood")
        tokens.append(found.group().strip())
        at = found.end()
    return tokens


def _steps(names: list[str | int]) -> str:
    text = ""
    for name in names:
        if isinstance(name, str) and re.fullmatch(r"[A-Za-z_]\w*", name):
            text += f"?.{name}"
        else:
            text += f"?.[{json.dumps(name, ensure_ascii=False)}]"
    return text


def _text(token: str) -> str:
    inner = token[1:-1]
    if token[0] == "'":
        inner = inner.replace('"', '\\"').replace("\\'", "'")
    try:
        return str(json.loads(f'"{inner}"'))
    except ValueError as error:
        raise NotSimple(f"the text {token} is not understood") from error
