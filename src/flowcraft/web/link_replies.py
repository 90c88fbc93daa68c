"""Requests to links and what they are told, without any framework: the same for ASGI and Lambda."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from flowcraft.errors import Problem

PROBLEM_TYPE: Final = "urn:flowcraft:problem:"
"""What the type of a problem begins with (RFC 9457); the rest stays the same for programs."""

LONGEST_SHOWN: Final = 300
"""Characters of a title, an id or a message on a page."""


class BodyTooLarge(Exception):
    """A body has more bytes than it may."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request.

    Attributes:
        method: ``GET``, ``POST`` and so on.
        kind: The first part of the path below the base address: ``hooks`` or ``approve``.
        token: The rest of it.
        query: The parameters of the address; of one that is there twice the last.
        headers: Headers, with names in small letters.
        body: Reads the body.

    Raises:
        BodyTooLarge: By ``body``: it has too many bytes; not more of it was kept.
    """

    method: str
    kind: str
    token: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a request is told.

    Attributes:
        status: The status of HTTP.
        body: The body.
        headers: All headers.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a request is not carried out.

    Attributes:
        name: What the type of the problem ends with.
        status: The status of HTTP.
        title: The heading of a page about it.
        detail: What helps.
        problems: What is wrong in the body, by place.
        retry_after_seconds: When trying again may help.
        allow: The methods that the address has, where another one was used.
    """

    name: str
    status: int
    title: str
    detail: str
    problems: Sequence[Problem] = ()
    retry_after_seconds: int | None = None
    allow: str | None = None


class Refusal(Exception):
    """A request is not carried out.

    Args:
        trouble: Why.
    """

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.title)
        self.trouble = trouble


# --- replies -----------------------------------------------------------------------------------


def json_reply(data: Mapping[str, Any], status: int = 200) -> Reply:
    """A reply for a program."""
    return _reply(status, data, "application/json", {})


def problem_reply(trouble: Trouble) -> Reply:
    """Why a request is not carried out, for a program."""
    data: dict[str, Any] = {
        "type": PROBLEM_TYPE + trouble.name,
        "title": trouble.title,
        "status": trouble.status,
        "detail": trouble.detail,
    }
    if trouble.problems:
        data["errors"] = [
            {"place": each.place, "message": each.message} for each in trouble.problems
        ]
    return _reply(trouble.status, data, "application/problem+json", _extra(trouble))


def notice_reply(trouble: Trouble) -> Reply:
    """The same as a page for a person."""
    return page_reply(
        "link_notice.html",
        status=trouble.status,
        tone="bad" if trouble.status in (400, 403, 404, 410) else "still",
        title=trouble.title,
        detail=trouble.detail,
        extra=_extra(trouble),
    )


def page_reply(
    template: str, *, status: int = 200, extra: Mapping[str, str] | None = None, **values: Any
) -> Reply:
    """A page."""
    text = _pages().get_template(template).render(style=_style(), **values)
    headers = {"Content-Security-Policy": _policy(), **(extra or {})}
    return Reply(status, text.encode(), _headers("text/html; charset=utf-8", headers))


def empty_reply(status: int, allow: str) -> Reply:
    """A reply without a body that says what the address can do."""
    return Reply(status, b"", {**_SAFE, "Allow": allow})


def _reply(
    status: int, data: Mapping[str, Any], content_type: str, extra: Mapping[str, str]
) -> Reply:
    text = json.dumps(data, ensure_ascii=True)
    policy = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}
    return Reply(status, text.encode(), _headers(content_type, {**policy, **extra}))


def _extra(trouble: Trouble) -> dict[str, str]:
    found: dict[str, str] = {}
    if trouble.retry_after_seconds is not None:
        found["Retry-After"] = str(trouble.retry_after_seconds)
    if trouble.allow is not None:
        found["Allow"] = trouble.allow
    return found


_SAFE: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}
"""The address is a secret: it is kept nowhere, told to nobody, and shown in no frame."""


def _headers(content_type: str, extra: Mapping[str, str]) -> dict[str, str]:
    return {"Content-Type": content_type, **_SAFE, **extra}


# --- pages -------------------------------------------------------------------------------------


@cache
def _pages() -> Environment:
    pages = Environment(
        loader=PackageLoader("flowcraft.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["shown"] = shown
    pages.filters["groupby_in_order"] = _by_group
    return pages


@cache
def _style() -> str:
    """The style sheet, as it stands in each page: it loads nothing."""
    sheet = files("flowcraft.web").joinpath("templates", "links.css")
    return sheet.read_text(encoding="utf-8").strip()


@cache
def _policy() -> str:
    """What a page may do: show this very style sheet, and send its form to where it is from."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )


def _by_group(fields: Sequence[Any]) -> list[tuple[str, list[Any]]]:
    """Inputs by the object that they are in, in their order."""
    return [(group, list(some)) for group, some in groupby(fields, lambda each: each.group)]


def shown(text: object, most: int = LONGEST_SHOWN) -> str:
    """A text of a run as a page shows it: of bounded length, without signs that nobody sees."""
    plain = "".join(
        sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}"
        for sign in str(text)[: most + 1]
    )
    return plain if len(plain) <= most else plain[:most] + "…"
