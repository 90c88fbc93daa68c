"""Schemas of what is taken and given: JSON Schema 2020-12, as OpenAPI 3.1 has it.

What is taken is written down here, and checked against this. What is given comes out of
dataclasses, by the same rule as ``jsonable``: so their schemas are made of their annotations, and
their docstrings say what each attribute is.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any, Final, Literal

from flowcraft.core.state import ErrorInfo
from flowcraft.engine.draining import DrainReport
from flowcraft.engine.inspecting import AttemptDetails, BatchDetails, NodeDetails, RunDetails
from flowcraft.engine.jsonable import camel
from flowcraft.engine.results import Awaiting
from flowcraft.engine.schedule_view import ScheduleInfo
from flowcraft.engine.standing import StandingRuns
from flowcraft.engine.stored import RunSummary
from flowcraft.ports.queue import QueueDepth
from flowcraft.web.values import Cut

Schema = dict[str, Any]

ANY: Final[Schema] = {"description": "Any JSON value."}
TEXT: Final[Schema] = {"type": "string"}
FLAG: Final[Schema] = {"type": "boolean"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
TIME: Final[Schema] = {"type": "string", "format": "date-time"}
TEXTS: Final[Schema] = {"type": "array", "items": TEXT}
LABELS: Final[Schema] = {"type": "object", "additionalProperties": TEXT}
VALUES: Final[Schema] = {"type": "object", "description": "Values by their names."}


def ref(name: str) -> Schema:
    """A schema among the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def maybe(schema: Mapping[str, Any]) -> Schema:
    """What it is, or null."""
    return {"anyOf": [dict(schema), {"type": "null"}]}


def several(schema: Mapping[str, Any]) -> Schema:
    """A list of it."""
    return {"type": "array", "items": dict(schema)}


def record(properties: Mapping[str, Any], optional: Sequence[str] = (), about: str = "") -> Schema:
    """An object that has these properties and no others."""
    found: Schema = {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }
    return {"description": about, **found} if about else found


def takes(about: str, required: Sequence[str] = (), **properties: Mapping[str, Any]) -> Schema:
    """The schema of a body."""
    return {
        "type": "object",
        "description": about,
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


# --- of dataclasses ------------------------------------------------------------------------


def schema_of(kind: Any) -> Schema:
    """The schema of what ``jsonable`` makes of a type."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [schema_of(each) for each in inner]}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (tuple, list, Sequence, set, frozenset) or kind in (tuple, list):
        return several(schema_of(inner[0])) if inner else {"type": "array"}
    if origin is Mapping or origin is dict:
        return {"type": "object", "additionalProperties": schema_of(inner[1])}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [str(each.value) for each in kind]}
    simple = _SIMPLE.get(kind)
    if simple is not None:
        return dict(simple)
    if dataclasses.is_dataclass(kind) or hasattr(kind, "_fields"):
        return schema_of_record(kind)
    return dict(ANY)


_SIMPLE: Final[Mapping[Any, Schema]] = {
    str: TEXT,
    bool: FLAG,
    int: {"type": "integer"},
    float: {"type": "number"},
    datetime: TIME,
    date: {"type": "string", "format": "date"},
    timedelta: {"type": "number", "description": "Seconds."},
    type(None): {"type": "null"},
}


def schema_of_record(kind: Any) -> Schema:
    """The schema of a dataclass, or of a named tuple, with what its docstring says."""
    hints = typing.get_type_hints(kind)
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
    else:
        names = list(kind._fields)
    about = attributes_of(kind)
    properties: Schema = {}
    for name in names:
        schema = schema_of(hints[name])
        if about.get(name):
            schema = {**schema, "description": about[name]}
        properties[camel(name)] = schema
    title = (inspect.getdoc(kind) or "").partition("\n")[0].rstrip(".")
    return record(properties, about=f"{title}.")


_ATTRIBUTE: Final = re.compile(r"^    (\w+): (.*)$")


def attributes_of(kind: Any) -> dict[str, str]:
    """What the docstring of a class says of each of its attributes."""
    found: dict[str, str] = {}
    name = ""
    is_here = False
    for line in (inspect.getdoc(kind) or "").splitlines():
        if not line.startswith("    "):
            is_here = line == "Attributes:"
            continue
        match = _ATTRIBUTE.match(line)
        if is_here and match is not None:
            name = match[1]
            found[name] = match[2].strip()
        elif is_here and name:
            found[name] += f" {line.strip()}"
    return {name: text.replace("``", "`") for name, text in found.items()}


# --- what is given -------------------------------------------------------------------------


def _changed(base: Schema, drop: Sequence[str] = (), **properties: Any) -> Schema:
    """A schema with some properties different."""
    kept = {name: each for name, each in base["properties"].items() if name not in drop}
    return record({**kept, **properties}, about=base.get("description", ""))


CUTS: Final[Schema] = {
    "type": "object",
    "additionalProperties": ref("Cut"),
    "description": "Values that are too large for this answer, by their names: they are null, or "
    "missing, where they should be.",
}


def _error() -> Schema:
    cause = record({"type": TEXT, "message": TEXT})
    return _changed(schema_of(ErrorInfo), causes=several(cause))


def _attempt() -> Schema:
    schema = _changed(schema_of(AttemptDetails), error=maybe(ref("Error")), logHref=TEXT)
    schema["required"].remove("logHref")
    return schema


def _node(*, with_values: bool) -> Schema:
    schema = _changed(
        schema_of(NodeDetails),
        drop=("input", "output"),
        error=maybe(ref("Error")),
        attempts=several(ref("Attempt")),
        batch=maybe(ref("Batch")),
    )
    return _changed(schema, cut=CUTS, input=ANY, output=ANY) if with_values else schema


def _head() -> Schema:
    compensation = record({"nodeId": TEXT, "error": maybe(ref("Error"))})
    return _changed(
        schema_of(RunDetails),
        drop=("nodes", "context"),
        awaiting=several(ref("Awaiting")),
        errors=several(ref("Error")),
        compensations=several(compensation),
        counts={"type": "object", "additionalProperties": COUNT},
        isFinal=FLAG,
    )


def _run(node: str, **more: Any) -> Schema:
    return _changed(_head(), nodes=several(ref(node)), **more)


def _letter_run() -> Schema:
    names = "runId blueprintId status standing nodeId attempt brings detail"
    return record(dict.fromkeys(names.split(), ANY))


TROUBLE: Final = record({"trouble": TEXT}, about="Why it could not be found out.")

WORKER: Final = record(
    {
        "id": TEXT,
        "package": TEXT,
        "python": TEXT,
        "implementations": maybe(COUNT),
        "firstAt": TIME,
        "seenAt": TIME,
        "workers": COUNT,
    },
    about="Workers that are alike.",
)


def components() -> dict[str, Schema]:
    """All schemas that have a name."""
    return {
        "Problem": {
            "type": "object",
            "description": "What went wrong (RFC 9457).",
            "properties": {
                "type": {"type": "string", "description": "The kind of problem; it is stable."},
                "title": TEXT,
                "status": {"type": "integer"},
                "detail": {"type": "string", "description": "What happened, and what to do."},
            },
            "required": ["type", "title", "status", "detail"],
        },
        "Cut": schema_of(Cut),
        "Error": _error(),
        "Awaiting": _changed(schema_of(Awaiting), nodeId=TEXT, dueAt=maybe(TIME)),
        "Attempt": _attempt(),
        "Batch": schema_of(BatchDetails),
        "Node": _node(with_values=True),
        "LiveNode": _node(with_values=False),
        "RunHead": _head(),
        "Run": {
            "anyOf": [_run("Node", context=VALUES, cut=CUTS), _run("LiveNode")],
            "description": "A run; without values if values=false.",
        },
        "RunSummary": schema_of(RunSummary),
        "Schedule": schema_of(ScheduleInfo),
        "Letter": record(
            {
                **dict.fromkeys(("id", "cause", "reason", "redriving", "deleting"), TEXT),
                "body": TEXT,
                "ours": maybe(FLAG),
                "source": maybe(TEXT),
                "sentAt": maybe(TIME),
                "firstReceivedAt": maybe(TIME),
                "receives": COUNT,
                "run": maybe(_letter_run()),
                "attributes": {"type": "object"},
                "messageAttributes": {"type": "object"},
            }
        ),
        "Worker": WORKER,
        "QueueDepth": schema_of(QueueDepth),
        "StandingRuns": schema_of(StandingRuns),
        "DrainReport": schema_of(DrainReport),
    }
