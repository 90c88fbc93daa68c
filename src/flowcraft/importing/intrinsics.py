"""Intrinsic functions of Amazon States Language: ``States.Format('{}', $.name)`` and the others.

What is random there (``States.UUID``, ``States.MathRandom``) is derived here from the key of the
attempt's node, so that an attempt made again comes to the same.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flowcraft.importing.json_paths import Path, PathError, parse_path


class IntrinsicError(ValueError):
    """A call that is none, or that cannot be carried out with these arguments."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant argument."""

    value: Any


@dataclass(frozen=True, slots=True)
class Call:
    """A call: the function's name after ``States.``, and its arguments."""

    name: str
    arguments: tuple[Argument, ...]


Argument = Literal | Path | Call
Resolve = Callable[[Path], Any]

_NAME: Final = re.compile(r"\s*States\.(\w+)\s*\(")
_TEXT: Final = re.compile(r"\s*'((?:[^'\\]|\\.)*)'")
_NUMBER: Final = re.compile(r"\s*-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_WORD: Final = re.compile(r"\s*(null|true|false)\b")
_PATH: Final = re.compile(r"\s*(\$(?:[^\s,()'\[\]]|\[[^\]]*\])*)")
_WORDS: Final[Mapping[str, Any]] = {"null": None, "true": True, "false": False}
_DEEPEST: Final = 10
"""Calls inside of calls; Amazon States Language has the same bound."""


def is_intrinsic(text: str) -> bool:
    """Whether a text is to be read as a call."""
    return _NAME.match(text) is not None


def parse_call(text: str) -> Call:
    """Read a call.

    Raises:
        IntrinsicError: It is none, or calls a function that is not known.
    """
    reader = _Reader(text)
    call = reader.call(0)
    if text[reader.at :].strip():
        raise IntrinsicError(f"'{text}': '{text[reader.at :].strip()}' is left over")
    return call


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self.at = 0

    def call(self, depth: int) -> Call:
        name = self._take(_NAME)
        if name is None:
            raise IntrinsicError(f"'{self._text}' is no call of a function 'States.…'")
        if name[1] not in _FUNCTIONS:
            raise IntrinsicError(f"the function 'States.{name[1]}' is not known")
        if depth > _DEEPEST:
            raise IntrinsicError(f"'{self._text}' is nested too deeply")
        arguments: list[Argument] = []
        while not self._is_next(")"):
            if arguments and not self._is_next(","):
                raise IntrinsicError(f"'{self._text}': ',' or ')' is missing at {self.at + 1}")
            arguments.append(self._argument(depth))
        return Call(name[1], tuple(arguments))

    def _argument(self, depth: int) -> Argument:
        if _NAME.match(self._text, self.at):
            return self.call(depth + 1)
        if (text := self._take(_TEXT)) is not None:
            return Literal(_unescaped(text[1]))
        if (number := self._take(_NUMBER)) is not None:
            return Literal(json.loads(number[0]))
        if (word := self._take(_WORD)) is not None:
            return Literal(_WORDS[word[1]])
        if (path := self._take(_PATH)) is not None:
            return parse_path(path[1])
        raise IntrinsicError(f"'{self._text}': an argument is missing at character {self.at + 1}")

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self.at)
        if found is not None:
            self.at = found.end()
        return found

    def _is_next(self, sign: str) -> bool:
        while self._text[self.at : self.at + 1].isspace():
            self.at += 1
        if self.at >= len(self._text):
            raise IntrinsicError(f"'{self._text}': ')' is missing at the end")
        if self._text[self.at] != sign:
            return False
        self.at += 1
        return True


def _unescaped(text: str) -> str:
    """Escapes stay in the text of ``States.Format`` for braces, which has them itself."""
    return re.sub(r"\\(['\\])", r"\1", text)


def carry_out(call: Call, resolve: Resolve, seed: str) -> Any:
    """The value of a call.

    Args:
        call: The call.
        resolve: Gives what a path leads to.
        seed: What is random is derived from it.

    Raises:
        IntrinsicError: The arguments are not what the function takes.
        PathError: A path leads nowhere.
    """
    arguments = [_value(each, resolve, f"{seed}/{at}") for at, each in enumerate(call.arguments)]
    function = _FUNCTIONS[call.name]
    try:
        if call.name in _SEEDED:
            return function(*arguments, seed=f"{seed}/{call.name}")
        return function(*arguments)
    except PathError:
        raise
    except (TypeError, ValueError, KeyError, IndexError, binascii.Error) as error:
        raise IntrinsicError(f"States.{call.name}: {error}") from error


def _value(argument: Argument, resolve: Resolve, seed: str) -> Any:
    if isinstance(argument, Literal):
        return argument.value
    return resolve(argument) if isinstance(argument, Path) else carry_out(argument, resolve, seed)


# ---------------------------------------------------------------- the functions

_PLACE: Final = re.compile(r"\\([{}\\])|\{\}")


def _format(template: str, *values: Any) -> str:
    left = list(values)

    def put(found: re.Match[str]) -> str:
        return found[1] if found[1] else _shown(left.pop(0))

    text = _PLACE.sub(put, template)
    if left:
        raise ValueError(f"{len(left)} values have no '{{}}'")
    return text


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _partition(values: Sequence[Any], size: int) -> list[Any]:
    return [list(values[at : at + size]) for at in range(0, len(values), size)]


def _contains(values: Sequence[Any], value: Any) -> bool:
    return any(type(each) is type(value) and each == value for each in values)


def _range(first: int, last: int, step: int) -> list[int]:
    numbers = range(first, last + (1 if step > 0 else -1), step)
    if len(numbers) > 1000:
        raise ValueError("a range has at most 1,000 numbers")
    return list(numbers)


def _unique(values: Sequence[Any]) -> list[Any]:
    seen: dict[str, Any] = {}
    for value in values:
        seen.setdefault(json.dumps(value, sort_keys=True), value)
    return list(seen.values())


def _hash(value: Any, algorithm: str) -> str:
    name = algorithm.replace("-", "").lower()
    if name not in ("md5", "sha1", "sha256", "sha384", "sha512"):
        raise ValueError(f"'{algorithm}' is none of MD5, SHA-1, SHA-256, SHA-384, SHA-512")
    return hashlib.new(name, _shown(value).encode(), usedforsecurity=False).hexdigest()


def _merge(one: dict[str, Any], other: dict[str, Any], deep: bool) -> dict[str, Any]:
    if deep:
        raise ValueError("only shallow merges are known: the third argument is false")
    return {**one, **other}


def _split(text: str, signs: str) -> list[str]:
    return [part for part in re.split(f"[{re.escape(signs)}]", text) if part]


def _random(first: int, last: int, _seed: Any = None, *, seed: str) -> int:
    digest = hashlib.sha256(f"{seed}/{_seed}".encode()).digest()
    return first + int.from_bytes(digest[:8], "big") % max(1, last - first)


def _uuid(*, seed: str) -> str:
    digits = hashlib.sha256(seed.encode()).hexdigest()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


_SEEDED: Final = frozenset({"MathRandom", "UUID"})
_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "Format": _format,
    "StringToJson": json.loads,
    "JsonToString": lambda value: json.dumps(value, separators=(",", ":")),
    "Array": lambda *values: list(values),
    "ArrayPartition": _partition,
    "ArrayContains": _contains,
    "ArrayRange": _range,
    "ArrayGetItem": lambda values, index: values[index],
    "ArrayLength": len,
    "ArrayUnique": _unique,
    "Base64Encode": lambda text: base64.b64encode(text.encode()).decode(),
    "Base64Decode": lambda text: base64.b64decode(text, validate=True).decode(),
    "Hash": _hash,
    "JsonMerge": _merge,
    "MathAdd": lambda one, other: one + other,
    "StringSplit": _split,
    "MathRandom": _random,
    "UUID": _uuid,
}
