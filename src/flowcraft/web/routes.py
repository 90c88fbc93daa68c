"""Addresses: which there are, and which one a request means.

An id is one segment of a path, percent-encoded, and may hold any text, slashes too. So it is the
raw path that is taken apart, and each segment decoded by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote_to_bytes

from starlette.types import Scope

from flowcraft.web.problems import HttpProblem
from flowcraft.web.reading import Param

if TYPE_CHECKING:
    from flowcraft.web.call import Call

Handler = Callable[["Call"], Awaitable[Any]]

API: Final = ("api", "v1")


@dataclass(frozen=True, slots=True)
class Route:
    """One operation: all that is served, and all that is documented, comes from these.

    Attributes:
        method: The method of HTTP.
        path: The address below ``/api/v1``; what stands in braces is an id.
        name: Names the operation, for clients that are generated.
        handler: Carries it out: gives JSON data, or an answer.
        about: What it does, as a sentence.
        answer: The schema of what it gives.
        query: Its parameters.
        body: The schema of what it takes; ``None`` without a body.
        status: The status of its answer.
        kind: What the answer is, where it is no JSON.
        is_heavy: Whether it may take memory and time: only so many are carried out at once.
        problems: The kinds of problems that it may have besides those that any has.
        group: What it is about.
    """

    method: str
    path: str
    name: str
    handler: Handler
    about: str
    answer: Mapping[str, Any]
    query: tuple[Param, ...] = ()
    body: Mapping[str, Any] | None = None
    status: int = 200
    kind: str = "application/json"
    is_heavy: bool = False
    problems: tuple[str, ...] = ()
    group: str = "runs"
    more_statuses: Mapping[int, str] = field(default_factory=dict)
    headers: tuple[Param, ...] = ()

    @property
    def segments(self) -> tuple[str, ...]:
        """The segments of its path."""
        return tuple(self.path.strip("/").split("/"))

    @property
    def ids(self) -> tuple[str, ...]:
        """The names of the ids in its path."""
        return tuple(each[1:-1] for each in self.segments if each.startswith("{"))

    def match(self, segments: Sequence[str]) -> dict[str, str] | None:
        """The ids in a path; ``None`` if it is another one's."""
        if len(segments) != len(self.segments):
            return None
        found: dict[str, str] = {}
        for own, given in zip(self.segments, segments, strict=True):
            if own.startswith("{"):
                found[own[1:-1]] = given
            elif own != given:
                return None
        return found


def find_route(
    routes: Sequence[Route], method: str, segments: Sequence[str]
) -> tuple[Route, dict[str, str]]:
    """The operation that a request means, with the ids in its path.

    Raises:
        HttpProblem: There is none.
    """
    methods: list[str] = []
    best: list[tuple[int, Route, dict[str, str]]] = []
    for route in routes:
        ids = route.match(segments)
        if ids is None:
            continue
        methods.append(route.method)
        if route.method == method or (method == "HEAD" and route.method == "GET"):
            best.append((len(ids), route, ids))
    if best:
        # What is named in full goes before what may be an id.
        _, route, ids = min(best, key=lambda each: each[0])
        if "" in ids.values():
            raise HttpProblem("not-found", "An id in the address is empty.")
        return route, ids
    if methods:
        allowed = allowed_methods(methods)
        text = f"This address has {allowed}, not {method[:20]}."
        raise HttpProblem("method-not-allowed", text, headers={"Allow": allowed})
    raise HttpProblem("not-found", "There is no such address; /api/v1/openapi.json lists all.")


def allowed_methods(methods: Sequence[str]) -> str:
    """Methods as the header Allow lists them."""
    more = ["HEAD"] if "GET" in methods else []
    return ", ".join(sorted({*methods, *more, "OPTIONS"}))


def segments_of(scope: Scope) -> list[str]:
    """The path of a request below where the application is mounted, taken apart.

    Raises:
        HttpProblem: A segment is no text.
    """
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    parts = raw.partition(b"?")[0].split(b"/")[1:]
    root: str = scope.get("root_path", "").strip("/")
    above = root.split("/") if root else []
    decoded = [_decoded(part) for part in parts]
    # A server in front may have cut the prefix off.
    return decoded[len(above) :] if decoded[: len(above)] == above else decoded


def _decoded(part: bytes) -> str:
    try:
        return unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError as error:
        raise HttpProblem("bad-request", "The address holds bytes that are no UTF-8.") from error


def base_of(scope: Scope) -> str:
    """Where the application is mounted, as the beginning of an address; ends with a slash."""
    root = str(scope.get("root_path", "")).strip("/")
    return f"/{quote(root)}/" if root else "/"


def address(base: str, *segments: str) -> str:
    """An address of the API.

    Args:
        base: Where the application is mounted.
        segments: What stands below ``/api/v1``, ids as they are.
    """
    return base + "/".join([*API, *(quote(each, safe="") for each in segments)])
