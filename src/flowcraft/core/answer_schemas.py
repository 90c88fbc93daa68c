"""What is wrong with the ``schema`` of a wait: JSON Schema, draft 2020-12, within bounds.

A schema is written by whoever writes the workflow, what it is used on by whoever answers. So it is
bounded in size and depth, it is whole by itself (references lead to places in it, nothing is
fetched), it comes to an end, and its patterns are ones that are matched in bounded time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from flowcraft.core.patterns import PatternError, pattern_of
from flowcraft.core.reading import Step, format_place, kind_of

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

NOTHING: Final[Mapping[str, Any]] = {"not": {}}
"""What no value fits."""

MAX_SCHEMAS: Final = 500
"""Schemas in a schema, itself included."""

MAX_DEPTH: Final = 40
MAX_VALUES: Final = 5_000
"""Keys and values in a schema, those of ``enum`` and the like included."""

Place = tuple[Step, ...]
Found = Iterator[tuple[str, str]]

TYPES: Final = ("array", "boolean", "integer", "null", "number", "object", "string")

_ONE: Final = frozenset(
    {
        "additionalProperties",
        "contains",
        "contentSchema",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
_SEVERAL: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED: Final = frozenset(
    {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"}
)
_SAME_VALUE: Final = frozenset(
    {"$ref", "$dynamicRef", "allOf", "anyOf", "dependentSchemas", "else", "if", "not", "oneOf"}
    | {"then"}
)
"""Keywords whose schemas are about the value itself, and not about a part of it."""


def problems(schema: Any) -> list[tuple[str, str]]:
    """What is wrong with a schema: places in it, and what they need.

    Args:
        schema: The parameter ``schema`` of a wait.

    Returns:
        Nothing for a schema that can be used. Otherwise places such as ``properties.age.minimum``
        (empty for the whole) with sentences that continue them.
    """
    reader = _Reader()
    found = list(reader.read(schema))
    return found or list(reader.check_whole())


def without_false(schema: Any) -> Any:
    """The same schema with ``{"not": {}}`` for each ``false`` in it, which says the same."""
    if schema is False:
        return dict(NOTHING)
    if not isinstance(schema, Mapping):
        return schema
    written: dict[str, Any] = {}
    for name, value in schema.items():
        if name in _ONE:
            written[name] = without_false(value)
        elif name in _SEVERAL:
            written[name] = [without_false(each) for each in value]
        elif name in _NAMED:
            written[name] = {key: without_false(each) for key, each in value.items()}
        else:
            written[name] = value
    return written


class _Reader:
    """Goes through a schema once, and remembers which schemas are in it."""

    def __init__(self) -> None:
        self._schemas: dict[Place, Any] = {}
        self._anchors: dict[str, Place] = {}
        self._references: list[tuple[Place, str, str]] = []

    def read(self, schema: Any) -> Found:
        """What is wrong with single keywords."""
        if _count(schema) > MAX_VALUES:
            yield "", f"is larger than the {MAX_VALUES:,} values that a schema may have"
            return
        todo: list[tuple[Place, Any]] = [((), schema)]
        while todo:
            place, each = todo.pop(0)
            self._schemas[place] = each
            if len(self._schemas) > MAX_SCHEMAS:
                yield "", f"has more than the {MAX_SCHEMAS} schemas that may be in one"
                return
            if isinstance(each, bool):
                continue
            if not isinstance(each, Mapping):
                yield format_place(place), f"must be a schema, not {kind_of(each)}"
                continue
            if len(place) > MAX_DEPTH:
                yield format_place(place), f"is nested more than {MAX_DEPTH} deep"
                continue
            yield from self._keywords(place, each)
            todo += _below(place, each)

    def _keywords(self, place: Place, schema: Mapping[str, Any]) -> Found:
        for name, value in schema.items():
            here = (*place, name)
            check = _CHECKS.get(name)
            problem = None if check is None else check(value)
            if problem is None and name in ("$ref", "$dynamicRef"):
                self._references.append((place, name, value))
            elif problem is None and name in ("$anchor", "$dynamicAnchor"):
                self._anchors[value] = place
            elif problem is None and name == "$id" and place:
                problem = "may only be at the top"
            if problem is not None:
                yield format_place(here), problem
            if name == "patternProperties" and isinstance(value, Mapping):
                for text in value:
                    if (why := _pattern(text)) is not None:
                        yield format_place((*here, text)), why

    def check_whole(self) -> Found:
        """What is wrong with the schema as a whole."""
        used = {
            name for each in self._schemas.values() if isinstance(each, Mapping) for name in each
        }
        if {"patternProperties", "unevaluatedProperties"} <= used:
            yield (
                "",
                "has patternProperties as well as unevaluatedProperties, which is not supported",
            )
        yield from self._references_that_fail()

    def _references_that_fail(self) -> Found:
        """References that lead nowhere, and schemas that never come to an end."""
        leads: dict[Place, Place] = {}
        for place, name, reference in self._references:
            target = self._target(reference)
            if target is None:
                where = format_place((*place, name))
                yield where, f"leads to '{reference}', which is no schema in this one"
            else:
                leads[(*place, name)] = target
        seen: dict[Place, bool] = {}
        for place in self._schemas:
            if self._goes_round(place, leads, seen):
                yield format_place(place), "leads back to itself, so that no value is ever checked"
                return

    def _target(self, reference: str) -> Place | None:
        fragment = reference.removeprefix("#")
        if fragment and not fragment.startswith("/"):
            return self._anchors.get(fragment)
        by_pointer = {_pointer(place): place for place in self._schemas}
        return by_pointer.get(fragment)

    def _goes_round(
        self, begin: Place, leads: Mapping[Place, Place], seen: dict[Place, bool]
    ) -> bool:
        """Whether a schema needs itself for the same value."""
        stack: list[tuple[Place, Iterator[Place]]] = []
        todo: Place | None = begin
        while True:
            if todo is not None and todo not in seen:
                seen[todo] = True
                stack.append((todo, iter(self._same(todo, leads))))
            elif todo is not None and seen[todo]:
                return True
            if not stack:
                return False
            todo = next(stack[-1][1], None)
            if todo is None:
                seen[stack.pop()[0]] = False

    def _same(self, place: Place, leads: Mapping[Place, Place]) -> list[Place]:
        """The schemas that are about the same value."""
        schema = self._schemas[place]
        if not isinstance(schema, Mapping):
            return []
        found: list[Place] = []
        for name in schema:
            if name in _SAME_VALUE:
                here = (*place, name)
                if here in leads:
                    found.append(leads[here])
                found += [inner for inner, _ in _below(place, {name: schema[name]})]
        return found


def _below(place: Place, schema: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    """The schemas that are directly in a schema."""
    for name, value in schema.items():
        here = (*place, name)
        if name in _ONE:
            yield here, value
        elif name in _SEVERAL and isinstance(value, list | tuple):
            yield from (((*here, index), each) for index, each in enumerate(value))
        elif name in _NAMED and isinstance(value, Mapping):
            yield from (((*here, str(key)), each) for key, each in value.items())


def _pointer(place: Place) -> str:
    parts = (str(step).replace("~", "~0").replace("/", "~1") for step in place)
    return "".join(f"/{part}" for part in parts)


def _count(value: Any) -> int:
    """How many keys and values there are, as far as it matters."""
    count, todo = 0, [value]
    while todo and count <= MAX_VALUES:
        each = todo.pop()
        count += 1
        if isinstance(each, Mapping):
            count += len(each)
            todo += each.values()
        elif isinstance(each, list | tuple):
            todo += each
    return count


# --- keywords --------------------------------------------------------------------------------


def _draft(value: Any) -> str | None:
    if isinstance(value, str) and value.rstrip("#") == DRAFT:
        return None
    return f"must be '{DRAFT}', if it is there: other drafts are not read"


def _reference(value: Any) -> str | None:
    if isinstance(value, str) and value.startswith("#"):
        return None
    return "must begin with '#': schemas elsewhere are not fetched"


def _type(value: Any) -> str | None:
    names = value if isinstance(value, list | tuple) else (value,)
    if names and all(isinstance(name, str) and name in TYPES for name in names):
        return None
    return f"must be one of {', '.join(TYPES)}, or several of them in a list"


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else f"must be text, not {kind_of(value)}"


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else f"must be true or false, not {kind_of(value)}"


def _number(value: Any) -> str | None:
    return None if _is_number(value) else f"must be a number, not {kind_of(value)}"


def _factor(value: Any) -> str | None:
    return None if _is_number(value) and value > 0 else "must be a number larger than 0"


def _length(value: Any) -> str | None:
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    fits = is_whole and not isinstance(value, bool) and value >= 0
    return None if fits else "must be a whole number of at least 0"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _list(value: Any) -> str | None:
    is_list = isinstance(value, list | tuple) and len(value) > 0
    return None if is_list else "must be a list that is not empty"


def _map(value: Any) -> str | None:
    return None if isinstance(value, Mapping) else f"must be an object, not {kind_of(value)}"


def _names(value: Any) -> str | None:
    is_list = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    return (
        None if is_list and len(set(value)) == len(value) else "must be a list of different texts"
    )


def _lists_of_names(value: Any) -> str | None:
    is_map = isinstance(value, Mapping) and all(_names(each) is None for each in value.values())
    return None if is_map else "must be an object with lists of texts"


def _pattern(value: Any) -> str | None:
    if not isinstance(value, str):
        return _text(value)
    try:
        pattern_of(value)
    except PatternError as error:
        return f"cannot be used: {error}"
    return None


_CHECKS: Final[Mapping[str, Callable[[Any], str | None]]] = {
    "$schema": _draft,
    "$ref": _reference,
    "$dynamicRef": _reference,
    "type": _type,
    "enum": _list,
    "pattern": _pattern,
    "required": _names,
    "dependentRequired": _lists_of_names,
    "uniqueItems": _flag,
    "multipleOf": _factor,
    **dict.fromkeys(("$id", "$anchor", "$dynamicAnchor", "title", "description", "format"), _text),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _number),
    **dict.fromkeys(
        (
            *("minLength", "maxLength", "minItems", "maxItems"),
            *("minContains", "maxContains", "minProperties", "maxProperties"),
        ),
        _length,
    ),
    **dict.fromkeys(_SEVERAL, _list),
    **dict.fromkeys(_NAMED, _map),
}
