"""The OpenAPI document, made of the table of operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from flowcraft._installation import version
from flowcraft.web.problems import KINDS, TYPE_PREFIX
from flowcraft.web.reading import Param
from flowcraft.web.routes import Route
from flowcraft.web.schemas import Schema, components, ref

ALWAYS: Final = (
    "bad-request",
    "unauthorized",
    "forbidden",
    "invalid",
    "internal",
    "misconfigured",
    "storage-corrupt",
    "storage-too-new",
    "codec-missing",
    "overloaded",
    "storage-busy",
    "storage-failed",
    "storage-unavailable",
)
"""Kinds of problems that any operation may have."""

CHANGES: Final = (
    "cross-site",
    "read-only",
    "too-large",
    "not-json",
    "not-storable",
    "storage-full",
)
"""Those of operations that change something."""


def document(routes: Sequence[Route], base: str = "/") -> Schema:
    """The document.

    Args:
        routes: All operations.
        base: Where the application is mounted.
    """
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Flowcraft",
            "version": version(),
            "description": "Start, see and steer runs of workflows.",
        },
        "servers": [{"url": f"{base}api/v1"}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": components(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def operation(route: Route) -> Schema:
    """One operation."""
    found: Schema = {
        "operationId": route.name,
        "summary": route.about,
        "tags": [route.group],
        "parameters": list(_parameters(route)),
        "responses": responses(route),
    }
    if route.body is not None:
        content = {"application/json": {"schema": dict(route.body)}}
        is_needed = bool(route.body.get("required"))
        found["requestBody"] = {"required": is_needed, "content": content}
    return found


def responses(route: Route) -> Schema:
    """The answers of an operation, by their statuses."""
    content = {route.kind: {"schema": dict(route.answer)}}
    found: Schema = {str(route.status): {"description": "Done.", "content": content}}
    for status, about in route.more_statuses.items():
        found[str(status)] = {"description": about, "content": content}
    names = (*ALWAYS, *(CHANGES if route.method != "GET" else ()), *route.problems)
    by_status: dict[int, list[str]] = {}
    for name in names:
        by_status.setdefault(KINDS[name].status, []).append(name)
    for status, kinds in sorted(by_status.items()):
        types = ", ".join(TYPE_PREFIX + name for name in kinds)
        found[str(status)] = {
            "description": f"{KINDS[kinds[0]].title}: {types}.",
            "content": {"application/problem+json": {"schema": ref("Problem")}},
        }
    return found


def _parameters(route: Route) -> Iterator[Schema]:
    for name in route.ids:
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": "Percent-encoded: it may hold any text.",
            "schema": {"type": "string"},
        }
    for param in route.query:
        yield _parameter(param, "query")
    for param in route.headers:
        yield _parameter(param, "header")


_KINDS: Final[Mapping[str, Schema]] = {
    "text": {"type": "string"},
    "whole number": {"type": "integer"},
    "number": {"type": "number"},
    "flag": {"type": "boolean"},
    "time": {"type": "string", "format": "date-time"},
    "pairs": {"type": "string", "pattern": "^[^=]+=.*$"},
}


def _parameter(param: Param, where: str) -> Schema:
    schema = dict(_KINDS[param.kind])
    if param.kind in ("whole number", "number"):
        schema |= {"minimum": param.least, "maximum": param.most}
    if param.choices:
        schema["enum"] = list(param.choices)
    if param.default is not None:
        schema["default"] = param.default
    if param.several or param.kind == "pairs":
        schema = {"type": "array", "items": schema}
    return {"name": param.name, "in": where, "description": param.about, "schema": schema}
