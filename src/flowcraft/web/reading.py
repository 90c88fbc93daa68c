"""What comes with a request: a body of strict JSON, and parameters of known kinds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, NoReturn

from starlette.requests import ClientDisconnect, Request

from flowcraft.web.problems import HttpProblem

MOST_BODY_BYTES: Final = 1_000_000
MOST_DEPTH: Final = 100
"""So deep may arrays and objects of a body be nested."""

JSON_TYPES: Final = ("application/json",)

ParamKind = Literal["text", "whole number", "number", "flag", "time", "pairs"]


# --- bodies --------------------------------------------------------------------------------


async def read_body(request: Request, most_bytes: int) -> bytes:
    """The body of a request.

    Args:
        request: The request.
        most_bytes: How large it may be.

    Raises:
        HttpProblem: It is larger, or who sent it is gone.
    """
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told[:20]) > most_bytes:
        raise _too_large(most_bytes)
    parts: list[bytes] = []
    size = 0
    try:
        async with aclosing(request.stream()) as stream:
            async for part in stream:
                size += len(part)
                if size > most_bytes:
                    raise _too_large(most_bytes)
                parts.append(part)
    except ClientDisconnect as error:
        raise HttpProblem("bad-request", "The body has ended early.") from error
    return b"".join(parts)


def _too_large(most_bytes: int) -> HttpProblem:
    text = f"The body has more than {most_bytes:,} bytes. Put large data where nodes can fetch it."
    # The rest is not read, so that the connection is of no further use.
    return HttpProblem("too-large", text, {"limit": most_bytes}, {"Connection": "close"})


def is_json(request: Request) -> bool:
    """Whether a request says that its body is JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind in JSON_TYPES


def strict_json(body: bytes) -> Any:
    """The data of a body: JSON in UTF-8, without what JSON does not have.

    Raises:
        HttpProblem: It is malformed, holds a number that is none, names something twice, or is
            nested too deeply; the answer says where.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed(f"byte {error.start} is no UTF-8") from error
    try:
        data = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_unique,
        )
    except json.JSONDecodeError as error:
        where = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise _malformed(where) from error
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        raise _malformed(str(error)[:200]) from error
    _check(data)
    return data


def _malformed(why: str) -> HttpProblem:
    return HttpProblem("bad-request", f"The body is malformed JSON: {why}.")


def _too_deep() -> HttpProblem:
    return HttpProblem("bad-request", f"The body is nested more than {MOST_DEPTH} deep.")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is larger than any number here")
    return number


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # Python refuses those that would take it long
        raise ValueError(f"a number has {len(text):,} digits, which is too many") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"{name[:100]!r} is there twice")
            seen.add(name)
    return found


def _check(data: Any) -> None:
    """See that data is not too deep, and has no halves of characters."""
    level = [data]
    for _ in range(MOST_DEPTH + 1):
        below: list[Any] = []
        for each in level:
            match each:
                case dict():
                    below.extend(each)
                    below.extend(each.values())
                case list():
                    below.extend(each)
                case str():
                    _check_text(each)
        level = below
        if not level:
            return
    raise _too_deep()


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _malformed("a text holds half of a surrogate pair") from error


# --- parameters ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter in the query of an address.

    Attributes:
        name: Its name.
        about: What it says, as a sentence.
        kind: What its values are; ``pairs`` are ``name=value``, and may be given several times.
        default: What holds without it.
        choices: All that it may be.
        least: The least number.
        most: The largest number, or the most characters.
        several: Whether it may be given several times.
    """

    name: str
    about: str
    kind: ParamKind = "text"
    default: Any = None
    choices: tuple[str, ...] = ()
    least: float = 0
    most: float = 1_000
    several: bool = False
    schema: Mapping[str, Any] = field(default_factory=dict)

    def read(self, given: list[str]) -> Any:
        """The value that an address gives.

        Raises:
            HttpProblem: It is none of what it may be.
        """
        if self.kind == "pairs":
            return dict(map(self._pair, given))
        if self.several:
            return tuple(self._one(each) for each in given)
        if not given:
            return self.default
        if len(given) > 1:
            raise self._problem("is there several times, and is meant once")
        return self._one(given[0])

    def _one(self, text: str) -> Any:
        if self.choices and text not in self.choices:
            raise self._problem(f"is one of {', '.join(self.choices)}, not {text[:60]!r}")
        match self.kind:
            case "whole number" | "number":
                return self._number(text)
            case "flag":
                if text not in ("true", "false", ""):
                    raise self._problem(f"is true or false, not {text[:60]!r}")
                return text != "false"
            case "time":
                return self._time(text)
            case _:
                if len(text) > self.most:
                    raise self._problem(f"has more than {self.most:g} characters")
                return text

    def _number(self, text: str) -> float:
        kind = int if self.kind == "whole number" else float
        try:
            number = kind(text[:40])
        except ValueError:
            raise self._problem(f"is a {self.kind}, not {text[:60]!r}") from None
        if not self.least <= number <= self.most:
            raise self._problem(f"is from {self.least:g} to {self.most:g}, not {text[:60]!r}")
        return number

    def _time(self, text: str) -> datetime:
        try:
            found = datetime.fromisoformat(text.replace(" ", "+"))
        except ValueError:
            example = "2026-03-01T12:30:00Z"
            raise self._problem(f"is a time such as {example}, not {text[:60]!r}") from None
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)

    def _pair(self, text: str) -> tuple[str, str]:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise self._problem(f"is name=value, not {text[:60]!r}")
        return name, value

    def _problem(self, why: str) -> HttpProblem:
        text = f"The parameter '{self.name}' {why}."
        return HttpProblem("bad-request", text, {"parameter": self.name})
