"""Links behind a function URL of AWS Lambda, or an HTTP API: payload format 2.0."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from flowcraft.web.link_pages import LinkPages
from flowcraft.web.link_replies import Asked, BodyTooLarge, Reply

LARGEST_BODY: Final = 256 * 1024
"""Bytes of an answer; Lambda itself takes 6 MB."""

FORMAT: Final = "2.0"


async def answer_event(
    pages: LinkPages, event: Any, body_bytes: int = LARGEST_BODY
) -> dict[str, Any]:
    """Answer a call of the function.

    Args:
        pages: What answers requests.
        event: What Lambda gives the function.
        body_bytes: The largest body that is read.

    Returns:
        What the function gives back.

    Raises:
        ValueError: The event is none of a function URL.
    """
    asked = _asked(event, body_bytes)
    reply = await pages.handle(asked)
    return _given_back(reply, asked.method)


def host_of(event: Any) -> str:
    """The name that the function is called by.

    Raises:
        ValueError: The event is none of a function URL.
    """
    return str(_context_of(event)["domainName"])


def _context_of(event: Any) -> Mapping[str, Any]:
    is_ours = isinstance(event, Mapping) and event.get("version") == FORMAT
    context = event.get("requestContext") if is_ours else None
    if isinstance(context, Mapping) and isinstance(context.get("domainName"), str):
        http = context.get("http")
        if isinstance(http, Mapping) and isinstance(http.get("method"), str):
            return context
    raise ValueError(
        "The event is none of a function URL or an HTTP API with payload format 2.0; the "
        "function is for these alone."
    )


def _asked(event: Any, body_bytes: int) -> Asked:
    context = _context_of(event)
    parts = str(event.get("rawPath", "")).removesuffix("/").split("/")
    kind, token = ("", *parts)[-2:]

    async def body() -> bytes:
        text = event.get("body") or ""
        if len(text) > body_bytes * 2:  # base64 is a third longer than what it stands for
            raise BodyTooLarge
        try:
            is_base64 = event.get("isBase64Encoded") is True
            found = base64.b64decode(text, validate=True) if is_base64 else text.encode()
        except (binascii.Error, UnicodeEncodeError):
            return b"\xff"  # what is none is malformed, as anything else that cannot be read
        if len(found) > body_bytes:
            raise BodyTooLarge
        return found

    return Asked(
        method=str(context["http"]["method"]).upper(),
        kind=kind,
        token=token,
        query=dict(parse_qsl(str(event.get("rawQueryString", "")), keep_blank_values=True)),
        headers={str(k).lower(): str(v) for k, v in (event.get("headers") or {}).items()},
        body=body,
    )


def _given_back(reply: Reply, method: str) -> dict[str, Any]:
    return {
        "statusCode": reply.status,
        "headers": dict(reply.headers),
        "body": "" if method == "HEAD" else reply.body.decode(),
        "isBase64Encoded": False,
    }
