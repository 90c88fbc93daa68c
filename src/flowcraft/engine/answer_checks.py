"""Whether an answer fits the ``schema`` of its wait: JSON Schema, draft 2020-12, in bounded time.

The work is done by the package ``jsonschema``, except where it would take longer than a sender may
make it take: patterns are matched by :mod:`flowcraft.core.patterns`, sameness of items is found by
their text, everything costs something, and an answer that costs more than there is is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from datetime import date, datetime, time
from decimal import Decimal
from functools import cache, lru_cache
from itertools import islice
from typing import Any, Final
from uuid import UUID

from flowcraft.core.answer_schemas import NOTHING, problems, without_false
from flowcraft.core.patterns import pattern_of
from flowcraft.core.plan import PlanNode
from flowcraft.core.reading import format_place
from flowcraft.errors import AnswerRefused, FlowcraftError, Problem

MAX_DEPTH: Final = 60
"""Levels to which an answer may be nested; checking it recurses."""

MOST_WORK: Final = 1_000_000
"""For one answer: about a second. A keyword that is looked at costs 10, a character that is
matched against a pattern as much as there are ways to go on."""

KEYWORD_WORK: Final = 10
MOST_PROBLEMS: Final = 20
"""So many are told."""

_SHOWN_CHARACTERS: Final = 60


def check_answer(node: PlanNode, output: Any, run_id: str) -> None:
    """See that an answer fits the schema of the wait that it is for.

    Args:
        node: The wait; anything fits one without a schema.
        output: The answer, in stored form.
        run_id: The run, for the message.

    Raises:
        AnswerRefused: It does not; ``problems`` has the places.
        FlowcraftError: The schema cannot be used, or the package that reads it is not installed.
    """
    where = f"Run '{run_id}': the answer for node '{node.id}'"
    found = answer_problems(node.definition.params.get("schema"), node.id, output)
    if found:
        told = "; ".join(f"{each.place or 'it'} {each.message}" for each in found)
        raise AnswerRefused(f"{where} does not fit its schema: {told}.", found)


def answer_problems(schema: Any, node_id: str, output: Any) -> list[Problem]:
    """What keeps an answer from fitting a schema.

    Args:
        schema: The schema; anything fits ``None``.
        node_id: The wait that has it, for errors.
        output: The answer, in stored form.

    Raises:
        FlowcraftError: The schema cannot be used, or the package that reads it is not installed.
    """
    if schema is None:
        return []
    validator = _validator_of(json.dumps(_plain(schema), sort_keys=True), node_id)
    try:
        return _found(validator, _plain(output))
    except _TooDeep:
        return [Problem("", f"is nested more than {MAX_DEPTH} deep")]
    except _TooMuchWork:
        return [Problem("", "takes too long to be checked")]
    except OverflowError:
        return [Problem("", "holds a number that is too large to be checked")]


def _found(validator: Any, value: Any) -> list[Problem]:
    token = _WORK.set(_Work())
    try:
        errors = islice(validator.iter_errors(value), MOST_PROBLEMS)
        return list(dict.fromkeys(problem for error in errors for problem in _told(error)))
    except RecursionError:
        raise _TooDeep from None
    finally:
        _WORK.reset(token)


def is_same(one: Any, other: Any) -> bool:
    """Whether two answers are the same JSON; the order of keys means nothing in it."""
    try:
        return _canonical(one) == _canonical(other)
    except RecursionError:
        return False  # as far as can be told


# --- values ----------------------------------------------------------------------------------


class _TooDeep(Exception):
    """A value is nested too deep to be checked."""


def _plain(value: Any, depth: int = 0) -> Any:
    """A stored value as the JSON that it stands for."""
    if depth > MAX_DEPTH:
        raise _TooDeep
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(key): _plain(inner, depth + 1) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner, depth + 1) for inner in value]
        case Decimal():
            is_whole = value.is_finite() and value.adjusted() < 30 and value % 1 == 0
            return int(value) if is_whole else float(value)
        case datetime() | date() | time():
            return value.isoformat()
        case UUID():
            return str(value)
        case _:
            return value


# --- work ------------------------------------------------------------------------------------


class _TooMuchWork(Exception):
    """Checking an answer takes more work than there is for it."""


class _Work:
    """What is left of the work for one answer."""

    def __init__(self) -> None:
        self._left = MOST_WORK

    def spend(self, work: int) -> None:
        self._left -= work
        if self._left < 0:
            raise _TooMuchWork


_WORK: ContextVar[_Work] = ContextVar("flowcraft_answer_work")


def _spend(work: int) -> None:
    _WORK.get().spend(work)


# --- the validator -----------------------------------------------------------------------------

Keyword = Callable[[Any, Any, Any, Any], Iterator[Any] | None]


@lru_cache(maxsize=128)
def _validator_of(schema_text: str, node_id: str) -> Any:
    """What checks answers against a schema; made once.

    Raises:
        FlowcraftError: The schema cannot be used, or ``jsonschema`` is not installed.
    """
    schema = json.loads(schema_text)
    wrong = problems(schema)
    if wrong:
        told = "; ".join(f"{place} {problem}".strip() for place, problem in wrong[:MOST_PROBLEMS])
        raise FlowcraftError(
            f"The schema of node '{node_id}' cannot be used, so no answer is taken: {told}. "
            "Correct the blueprint; a run that waits already goes on by skipping the node.",
            is_fatal=True,
        )
    try:
        from referencing import Registry  # noqa: PLC0415
    except ImportError as error:
        raise FlowcraftError(
            f"Node '{node_id}' has a schema for its answer, and checking one needs the package "
            "jsonschema: pip install 'flowcraft-sqs[web]'.",
            is_fatal=True,
        ) from error
    kind, formats = _kind()
    # An empty registry: nothing is fetched, whatever a schema refers to.
    # Of a schema that is just false the package does not say where it stands.
    return kind(without_false(schema), registry=Registry(), format_checker=formats)


@cache
def _kind() -> tuple[Any, Any]:
    """The class of validators, and the formats that are looked at."""
    import jsonschema  # noqa: PLC0415
    from jsonschema import validators  # noqa: PLC0415

    draft = jsonschema.Draft202012Validator
    own: dict[str, Keyword] = {
        "additionalProperties": _additional,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "uniqueItems": _unique,
    }
    keywords = {**draft.VALIDATORS, **own}
    counted = {name: _counted(check) for name, check in keywords.items()}
    formats = jsonschema.FormatChecker(formats=())
    for name, check in _FORMATS.items():
        formats.checks(name, raises=ValueError)(check)
    return validators.extend(draft, counted), formats


def _counted(keyword: Keyword) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        size = len(instance) if isinstance(instance, dict | list) else 0
        choices = len(value) if isinstance(value, list) else 0
        _spend(KEYWORD_WORK + size + choices)
        yield from keyword(validator, value, instance, schema) or ()

    return check


def _error(keyword: str, text: str, path: tuple[str | int, ...] = ()) -> Any:
    from jsonschema import ValidationError  # noqa: PLC0415

    return ValidationError(text, path=path, validator=keyword)


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[Any]:
    if isinstance(instance, str) and not pattern_of(pattern).search(instance, _spend):
        yield _error("pattern", "")


def _pattern_properties(
    validator: Any, patterns: Any, instance: Any, _schema: Any
) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    for pattern, inner in patterns.items():
        for key, value in instance.items():
            if pattern_of(pattern).search(key, _spend):
                yield from validator.descend(value, inner, path=key, schema_path=pattern)


def _additional(validator: Any, inner: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    named = schema.get("properties", {})
    patterns = [pattern_of(text) for text in schema.get("patternProperties", ())]
    for key, value in instance.items():
        if key in named or any(pattern.search(key, _spend) for pattern in patterns):
            continue
        yield from validator.descend(value, inner, path=key)


def _unique(_validator: Any, is_wanted: bool, instance: Any, _schema: Any) -> Iterator[Any]:
    if is_wanted and isinstance(instance, list):
        texts = [_canonical(each) for each in instance]
        _spend(sum(map(len, texts)) // 10)
        if len(set(texts)) < len(texts):
            yield _error("uniqueItems", "")


def _canonical(value: Any) -> str:
    """The same text for the same JSON: 1 and 1.0 are, 1 and true are not."""

    def number(inner: Any) -> Any:
        if isinstance(inner, float) and inner.is_integer():
            return int(inner)
        if isinstance(inner, dict):
            return {key: number(each) for key, each in inner.items()}
        return [number(each) for each in inner] if isinstance(inner, list) else inner

    return json.dumps(number(value), sort_keys=True, default=repr)


# --- formats -----------------------------------------------------------------------------------

_MOMENT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+")
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def _is_date(value: Any) -> bool:
    return not isinstance(value, str) or (len(value) == 10 and bool(date.fromisoformat(value)))


def _is_moment(value: Any) -> bool:
    if not isinstance(value, str):
        return True
    if _MOMENT.fullmatch(value) is None:
        return False
    # Python reads six digits of a second at most.
    whole = re.sub(r"\.[0-9]+", "", value).upper().replace(" ", "T")
    return bool(datetime.fromisoformat(whole))


def _matches(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: not isinstance(value, str) or pattern.fullmatch(value) is not None


_FORMATS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "date": _is_date,
    "date-time": _is_moment,
    "email": _matches(_EMAIL),
    "uri": _matches(_URI),
    "uuid": _matches(_UUID),
}
"""Formats that are asserted; any other one says nothing, as the draft has it."""


# --- messages ----------------------------------------------------------------------------------


def _told(error: Any) -> Iterator[Problem]:
    """What is wrong in words of ours: a message of the package may repeat the whole answer."""
    path = tuple(error.absolute_path)
    wanted, value = error.validator_value, error.instance
    match error.validator:
        case "required":
            for name in wanted:
                if name not in value:
                    yield Problem(format_place((*path, name)), "is missing")
            return
        case "not" if wanted == NOTHING["not"]:
            text = "is not expected"
        case "type":
            names = wanted if isinstance(wanted, list) else [wanted]
            text = f"must be {' or '.join(_TYPES[name] for name in names)}, not {_kind_of(value)}"
        case "enum":
            text = "must be one of " + ", ".join(_shown(each) for each in wanted[:10])
        case "const":
            text = f"must be {_shown(wanted)}"
        case "format":
            text = f"must be {_FORMAT_NAMES.get(wanted, wanted)}"
        case "pattern":
            text = f"must match the pattern {_shown(wanted)}"
        case keyword:
            text = _WORDS.get(keyword, "does not fit '{keyword}'").format(
                keyword=keyword, wanted=_shown(wanted)
            )
    yield Problem(format_place(path), text)


_TYPES: Final = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "text",
}
_FORMAT_NAMES: Final = {
    "date": "a date such as 2030-01-31",
    "date-time": "a time such as 2030-01-31T09:00:00Z",
    "email": "an e-mail address",
    "uri": "an address such as https://example.org/",
    "uuid": "a UUID",
}
_WORDS: Final = {
    "anyOf": "fits none of the alternatives",
    "contains": "lacks an item that has to be in it",
    "dependentRequired": "lacks what goes with another value",
    "exclusiveMaximum": "must be less than {wanted}",
    "exclusiveMinimum": "must be more than {wanted}",
    "maxItems": "has more than {wanted} items",
    "maxLength": "has more than {wanted} characters",
    "maxProperties": "has more than {wanted} values",
    "maximum": "must be at most {wanted}",
    "minItems": "has fewer than {wanted} items",
    "minLength": "has fewer than {wanted} characters",
    "minProperties": "has fewer than {wanted} values",
    "minimum": "must be at least {wanted}",
    "multipleOf": "must be a multiple of {wanted}",
    "not": "is what it must not be",
    "oneOf": "does not fit exactly one of the alternatives",
    "unevaluatedItems": "has items that are not expected",
    "unevaluatedProperties": "has values that are not expected",
    "uniqueItems": "has the same item twice",
}


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _kind_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return f"a Python {type(value).__name__}"
