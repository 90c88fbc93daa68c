"""What bodies hold: each is checked against its schema here, which is also the documented one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from itertools import islice
from typing import Any, Final

from jsonschema import Draft202012Validator

from flowcraft.web.problems import HttpProblem
from flowcraft.web.schemas import ANY, FLAG, LABELS, TEXT, TEXTS, TIME, VALUES, maybe, takes

MOST_ERRORS: Final = 100
"""Errors of a body that are looked at: one is told, and more of them only take time."""

NODE_PATH: Final = {
    "anyOf": [TEXT, TEXTS],
    "description": "The id of a node; for one in a child run the ids that lead to it.",
}
OUTPUT: Final = {"description": "Its output, any JSON value; null without one."}
FLOW: Final = {
    "anyOf": [TEXT, {"type": "object"}],
    "description": "The id of a blueprint that is known, or a blueprint.",
}

START: Final = takes(
    "What is to be started.",
    ("flow",),
    flow=FLOW,
    context={**VALUES, "description": "The initial context."},
    runId={"type": "string", "description": "The run's id; a fresh one without it."},
    tags={**LABELS, "description": "Labels to find the run by."},
    startAt={**TIME, "description": "When it is to start; at once without it."},
    onFailure={"enum": ["continue", "fail_fast"]},
    fairnessKey={"type": "string", "description": "Whose run it is."},
    budgetUsd={"type": "number"},
    budgetRequests={"type": "number"},
)
NOTHING: Final = takes("Nothing.")
CANCEL: Final = takes("Why.", reason=TEXT)
RESUME: Final = takes(
    "The answer.",
    node=NODE_PATH,
    action={"type": "string", "description": "Which way to go on."},
    output=OUTPUT,
)
SKIP: Final = takes(
    "Which node.",
    ("node",),
    node=TEXT,
    iteration={
        "type": "array",
        "items": {"type": "integer", "minimum": 0},
        "description": "Of which iteration of the loops around it, outermost first.",
    },
    output=OUTPUT,
)
RERUN: Final = takes(
    "From where on.",
    ("node",),
    node=TEXT,
    inputs={**VALUES, "description": "Inputs by node, instead of what leads to them."},
    newRunId=TEXT,
)
PATCH: Final = takes(
    "What is to become different.",
    values={**VALUES, "description": "Context keys with their new values."},
    delete={**TEXTS, "description": "Context keys that go."},
)
EVENT: Final = takes(
    "The event.",
    correlationKey={
        "anyOf": [TEXT, {"type": "integer"}, {"type": "null"}],
        "description": "What waits have as correlationKey; nothing for those without one.",
    },
    action=TEXT,
    output=OUTPUT,
)

_SPANS: Final = (TEXT, {"type": "number"})
_SPAN: Final[Mapping[str, Any]] = {
    "anyOf": list(_SPANS),
    "description": "A length of time: seconds, or a text such as 15m.",
}
SCHEDULE_OPTIONS: Final[Mapping[str, Any]] = {
    "cron": maybe({"type": "string", "description": "Minute, hour, day, month, day of week."}),
    "timeZone": TEXT,
    "every": {**_SPAN, "anyOf": [*_SPANS, {"type": "null"}]},
    "offset": _SPAN,
    "context": maybe(VALUES),
    "tags": maybe(LABELS),
    "overlap": {"enum": ["skip", "queue", "allow"]},
    "queueLimit": {"type": "integer"},
    "catchUp": {"enum": ["none", "latest", "all"]},
    "catchUpLimit": {"type": "integer"},
    "graceSeconds": {"type": "number"},
    "jitterSeconds": {"type": "number"},
    "startAt": maybe(TIME),
    "endAt": maybe(TIME),
    "note": TEXT,
}
SCHEDULE: Final = takes(
    "A schedule.", ("id", "flow"), id=TEXT, flow=FLOW, paused=FLAG, **SCHEDULE_OPTIONS
)
SCHEDULE_CHANGES: Final = takes(
    "What is to become different; what is not named stays as it is.", flow=FLOW, **SCHEDULE_OPTIONS
)
NOTE: Final = takes("Why.", note=TEXT)
PREVIEW: Final = takes(
    "When a schedule would have ticks.",
    count={"type": "integer", "minimum": 1, "maximum": 1_000},
    after=TIME,
    **{name: SCHEDULE_OPTIONS[name] for name in SCHEDULE_OPTIONS if name not in ("note", "tags")},
)
LETTERS: Final = takes(
    "Which letters: by ids, by causes or run, or all of them.",
    ids=TEXTS,
    causes=TEXTS,
    run=TEXT,
    all=FLAG,
    foreign={**FLAG, "description": "Those of other queues, or of none that is known, too."},
    limit={"type": "integer", "minimum": 1, "maximum": 100_000},
)

LONGEST_SHOWN: Final = 100
__all__ = ["ANY", "check_body"]


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(_SCHEMAS[name])


_SCHEMAS: dict[str, Mapping[str, Any]] = {}


def check_body(name: str, schema: Mapping[str, Any], body: Any) -> Mapping[str, Any]:
    """See that a body is what an operation takes.

    Args:
        name: The operation.
        schema: What it takes.
        body: JSON data.

    Raises:
        HttpProblem: It is not; the answer names the first place that is wrong.
    """
    _SCHEMAS.setdefault(name, schema)
    errors = islice(_validator(name).iter_errors(body), MOST_ERRORS)
    found = min(errors, key=_depth, default=None)
    if found is not None:
        pointer = "".join(f"/{_escaped(str(each))}" for each in found.absolute_path)
        where = f"'{pointer[1:200]}'" if pointer else "The body"
        why = _why(found)
        raise HttpProblem("invalid", f"{where} {why}.", {"place": pointer})
    checked: Mapping[str, Any] = _with_whole_numbers(schema, body)
    return checked


def _with_whole_numbers(schema: Mapping[str, Any], data: Any) -> Any:
    """Data that fits a schema, with whole numbers as such where they are meant.

    For JSON Schema 5.0 is one. A value that may be any JSON stays as it came.
    """
    match data:
        case dict():
            known = schema.get("properties", {})
            return {
                name: _with_whole_numbers(known.get(name, {}), each) for name, each in data.items()
            }
        case list() if "items" in schema:
            return [_with_whole_numbers(schema["items"], each) for each in data]
        case float() if data.is_integer() and _is_whole(schema):
            return int(data)
        case _:
            return data


def _is_whole(schema: Mapping[str, Any]) -> bool:
    kinds = [schema, *schema.get("anyOf", ())]
    return any(kind.get("type") == "integer" for kind in kinds)


def _depth(error: Any) -> tuple[int, str]:
    return len(error.absolute_path), str(error.validator)


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


def _why(error: Any) -> str:
    """What is wrong, in words of our own: those of the library repeat the whole body."""
    match error.validator:
        case "required":
            missing = [name for name in error.validator_value if name not in error.instance]
            return f"lacks {_named(missing)}"
        case "additionalProperties":
            known = error.schema.get("properties", {})
            unknown = [name for name in error.instance if name not in known]
            there = f"has {_named(known)}" if known else "is empty, or {}"
            return f"has no {_named(unknown)}; it {there}"
        case "type":
            return f"is to be {_kind(error.validator_value)}, not {_shown(error.instance)}"
        case "enum":
            return f"is one of {', '.join(map(str, error.validator_value))}"
        case "anyOf":
            kinds = [_kind(each.get("type", "any")) for each in error.validator_value]
            return f"is to be {' or '.join(kinds)}, not {_shown(error.instance)}"
        case "minimum" | "maximum":
            bound = "at least" if error.validator == "minimum" else "at most"
            return f"is {bound} {error.validator_value}"
        case other:
            return f"does not fit ({other})"


def _named(names: Iterable[str]) -> str:
    return ", ".join(f"'{name[:60]}'" for name in list(names)[:20])


def _kind(name: Any) -> str:
    known = {
        "string": "text",
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "array": "a list",
        "object": "an object",
        "null": "null",
    }
    return known.get(str(name), str(name))


def _shown(value: Any) -> str:
    match value:
        case dict():
            return "an object"
        case list():
            return "a list"
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case _:
            text = repr(value)
            return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
