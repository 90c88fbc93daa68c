"""A form for an answer, made from its JSON Schema, and the answer that was filled in.

Names of inputs are numbers: what a schema calls its properties never becomes a name in a page.
What has no input of its own (lists, alternatives, objects in objects) is written as JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from flowcraft.core.reading import Step, format_place
from flowcraft.errors import Problem

Input = Literal["text", "long", "number", "check", "choice", "date", "email", "url", "json"]

LONG_CHARACTERS: Final = 150
"""A text that may be longer than this gets several lines."""

MOST_FIELDS: Final = 60
"""An object with more of them is written as JSON."""

_MISSING: Final = object()
_CAMEL: Final = re.compile(r"([a-z0-9])([A-Z])")
_BY_FORMAT: Final[Mapping[str, Input]] = {"date": "date", "email": "email", "uri": "url"}


@dataclass(frozen=True, slots=True)
class Field:
    """An input of a form.

    Attributes:
        name: Its name in the page.
        path: Where its value goes; empty for the whole answer.
        label: What a person reads.
        help: More about it.
        kind: What is filled in.
        is_required: Whether the answer is wrong without it.
        options: The values to choose from, as texts.
        values: The same as they are in the answer.
        limits: Attributes of the input: ``min``, ``maxlength`` and so on.
        value: What is filled in: text, the number of a choice, ``True`` for a tick.
        error: What is wrong with that.
        group: The object that it is in, for a person.
    """

    name: str
    path: tuple[str, ...]
    label: str
    help: str
    kind: Input
    is_required: bool
    options: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()
    limits: tuple[tuple[str, str], ...] = ()
    value: Any = ""
    error: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """A form.

    Attributes:
        fields: Its inputs, in the order of the schema.
        help: What the schema says of the answer as a whole.
        errors: What is wrong and belongs to no input.
    """

    fields: tuple[Field, ...] = ()
    help: str = ""
    errors: tuple[str, ...] = ()

    def filled(self, given: Mapping[str, str]) -> Form:
        """The same with what somebody filled in."""
        return replace(self, fields=tuple(_filled(each, given) for each in self.fields))

    def answer(self) -> tuple[Any, list[Problem]]:
        """The answer that is filled in, and what cannot be one; ``None`` without inputs."""
        problems: list[Problem] = []
        answer: Any = None
        if self.fields and self.fields[0].path:
            answer = {}
        for each in self.fields:
            try:
                value = _value(each)
            except ValueError:
                problems.append(Problem(format_place(each.path), "is no JSON"))
                continue
            if value is _MISSING:
                continue
            if not each.path:
                answer = value
                continue
            inner = answer
            for step in each.path[:-1]:
                inner = inner.setdefault(step, {})
            inner[each.path[-1]] = value
        return answer, problems

    def with_problems(self, problems: Sequence[Problem]) -> Form:
        """The same with what is wrong beside the inputs that it is about."""
        left: list[str] = []
        errors: dict[str, str] = {}
        for problem in problems:
            field = self._field_of(problem.place)
            if field is None:
                left.append(f"{problem.place or 'The answer'} {problem.message}.")
            else:
                errors.setdefault(field.name, problem.message)
        fields = tuple(replace(each, error=errors.get(each.name, "")) for each in self.fields)
        return replace(self, fields=fields, errors=tuple(left))

    def _field_of(self, place: str) -> Field | None:
        for each in self.fields:
            own = format_place(each.path)
            if place == own or not own or place.startswith((f"{own}.", f"{own}[")):
                return each
        return None


def form_of(schema: Any) -> Form:
    """The form for answers that a schema describes; without one there is nothing to fill in."""
    if schema is None or isinstance(schema, bool):
        return Form()
    schema = _resolved(schema, schema)
    fields = tuple(_fields(schema))
    if not fields or len(fields) > MOST_FIELDS:
        fields = (_field(0, schema, (), True, ""),)
    whole = _text(schema, "description") if fields[0].path else ""
    return Form(fields, whole)


def _fields(root: Mapping[str, Any]) -> Iterator[Field]:
    properties = root.get("properties")
    if _type_of(root) != "object" or not isinstance(properties, Mapping):
        return
    number = 0
    for name, each in properties.items():
        inner = _resolved(each, root)
        is_required = name in (root.get("required") or ())
        below = inner.get("properties")
        if _type_of(inner) == "object" and isinstance(below, Mapping) and below:
            group = _text(inner, "title") or _spoken(name)
            for key, leaf in below.items():
                needed = is_required and key in (inner.get("required") or ())
                yield _field(number, _resolved(leaf, root), (name, key), needed, group)
                number += 1
            continue
        yield _field(number, inner, (name,), is_required, "")
        number += 1


def _field(
    number: int, schema: Mapping[str, Any], path: tuple[str, ...], is_required: bool, group: str
) -> Field:
    kind = _kind_of(schema)
    choices = tuple(schema["enum"]) if kind == "choice" else ()
    field = Field(
        name=f"v{number}",
        path=path,
        label=_text(schema, "title") or (_spoken(path[-1]) if path else "Answer"),
        help=_text(schema, "description"),
        kind=kind,
        is_required=is_required and kind != "check",
        options=tuple(map(_option, choices)),
        values=choices,
        limits=tuple(_limits(schema, kind)),
        group=group,
    )
    default = schema.get("default", _MISSING)
    return field if default is _MISSING else replace(field, value=_written(field, default))


def _kind_of(schema: Mapping[str, Any]) -> Input:
    if isinstance(schema.get("enum"), list | tuple):
        return "choice"
    match _type_of(schema):
        case "boolean":
            return "check"
        case "integer" | "number":
            return "number"
        case "string":
            by_format = _BY_FORMAT.get(str(schema.get("format")))
            is_long = schema.get("maxLength", 0) > LONG_CHARACTERS
            return by_format or ("long" if is_long else "text")
        case _:
            return "json"


def _limits(schema: Mapping[str, Any], kind: Input) -> Iterator[tuple[str, str]]:
    """What the browser checks before it sends anything; the schema counts all the same."""
    if kind == "number":
        for name, keyword in (("min", "minimum"), ("max", "maximum")):
            if keyword in schema:
                yield name, f"{schema[keyword]}"
        yield "step", "1" if _type_of(schema) == "integer" else "any"
    elif kind in ("text", "long", "email", "url"):
        for name, keyword in (("minlength", "minLength"), ("maxlength", "maxLength")):
            if keyword in schema:
                yield name, f"{int(schema[keyword])}"


def _type_of(schema: Mapping[str, Any]) -> str | None:
    """The one type that a schema asks for, besides null."""
    types = schema.get("type")
    several = [types] if isinstance(types, str) else list(types or ())
    named = [each for each in several if each != "null"]
    return named[0] if len(named) == 1 else None


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema, or the one that it refers to, if that is a plain reference."""
    seen = 0
    while isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str) and seen < 20:
        seen += 1
        found: Any = root
        for step in schema["$ref"].removeprefix("#").split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")  # noqa: PLW2901
            found = found.get(step) if isinstance(found, Mapping) else None
        # What stands beside the reference, a title for instance, is about this place.
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**found, **beside} if isinstance(found, Mapping) else beside
    return schema if isinstance(schema, Mapping) else {}


# --- what is filled in -------------------------------------------------------------------------


def _filled(field: Field, given: Mapping[str, str]) -> Field:
    text = given.get(field.name, "")
    if field.kind == "check":
        return replace(field, value=field.name in given)
    if field.kind == "choice":
        is_one = text.isascii() and text.isdigit() and int(text[:6]) < len(field.values)
        return replace(field, value=int(text[:6]) if is_one else "")
    return replace(field, value=text.replace("\r\n", "\n"))


def _value(field: Field) -> Any:
    """The value that is filled in.

    Raises:
        ValueError: It is to be JSON, and is none.
    """
    value = field.value
    match field.kind:
        case "check":
            return bool(value)
        case "choice":
            return _MISSING if value == "" else field.values[value]
        case _ if not value.strip():
            return _MISSING
        case "number":
            return _number(value)
        case "json":
            return read_json(value)
        case _:
            return value


def _number(text: str) -> Any:
    """A number; what is none stays text, which the schema then refuses."""
    for kind in (int, float):
        try:
            number = kind(text.strip())
        except ValueError:
            continue
        if isinstance(number, int) or math.isfinite(number):
            return number
    return text


def read_json(text: str | bytes) -> Any:
    """JSON as the RFC has it, without ``NaN`` and the like.

    Raises:
        ValueError: It is none, or is nested deeper than can be read.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _written(field: Field, value: Any) -> Any:
    """A value as it stands in the input."""
    if field.kind == "check":
        return value is True
    if field.kind == "choice":
        return field.values.index(value) if value in field.values else ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _option(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(schema: Mapping[str, Any], name: str) -> str:
    value = schema.get(name)
    return value if isinstance(value, str) else ""


def _spoken(name: Step) -> str:
    """The name of a property or an action as a person would write it."""
    text = str(name)
    words = _CAMEL.sub(lambda found: f"{found[1]} {found[2].lower()}", text)
    words = words.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:] or text


def spoken(name: str) -> str:
    """The name of an action as a person would write it: ``send_back`` is ``Send back``."""
    return _spoken(name)
