"""Links that answer waits, as an ASGI application: alone, or mounted in another one.

    uvicorn.run(create_links_app(client), access_log=False)

``POST /hooks/TOKEN`` takes JSON from a program, ``GET /approve/TOKEN`` shows a page on which a
person answers.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flowcraft.engine.client import FlowClient
from flowcraft.web.link_pages import LinkPages
from flowcraft.web.link_replies import Asked, BodyTooLarge

__all__ = ["LARGEST_BODY", "TokensHidden", "create_links_app", "link_routes"]

LARGEST_BODY: Final = 256 * 1024
"""Bytes of an answer."""

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_TOKEN: Final = re.compile(r"/(hooks|approve)/[^\s?/\"]+")


def create_links_app(client: FlowClient, *, body_bytes: int = LARGEST_BODY) -> Starlette:
    """An application that serves links, and nothing else.

    Args:
        client: A client of the runs that has links; it is opened as the application starts, if the
            server tells it (ASGI lifespan), else with the first request.
        body_bytes: The largest body that is read.

    Raises:
        FlowcraftError: The client has no links.
    """
    routes = link_routes(client, body_bytes=body_bytes)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with client:
            yield

    app = Starlette(routes=routes, lifespan=lifespan)
    # A redirect would name a scheme and a host that are not known here.
    app.router.redirect_slashes = False
    return app


def link_routes(client: FlowClient, *, body_bytes: int = LARGEST_BODY) -> list[Route]:
    """The same as routes of Starlette, for an application of one's own.

    Args:
        client: A client of the runs that has links.
        body_bytes: The largest body that is read.

    Raises:
        FlowcraftError: The client has no links.
    """
    pages = LinkPages(client)
    hide_tokens()

    async def endpoint(request: Request) -> Response:
        asked = Asked(
            method=request.method,
            kind=request.path_params["kind"],
            token=request.path_params["token"],
            query=dict(request.query_params),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=lambda: _body(request, body_bytes),
        )
        reply = await pages.handle(asked)
        is_head = request.method == "HEAD"
        response = Response(b"" if is_head else reply.body, reply.status, dict(reply.headers))
        if is_head:
            response.headers["content-length"] = str(len(reply.body))
        return response

    # Some programs add a slash to what they take for a directory.
    paths = ("/{kind:str}/{token:str}", "/{kind:str}/{token:str}/")
    return [Route(path, endpoint, methods=list(METHODS)) for path in paths]


async def _body(request: Request, most: int) -> bytes:
    """The body, of which no more is kept than there may be.

    Raises:
        BodyTooLarge: It is larger.
    """
    said = request.headers.get("content-length", "")
    if said.isascii() and said.isdigit() and int(said[:20]) > most:
        raise BodyTooLarge
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise BodyTooLarge
        parts.append(part)
    return b"".join(parts)


# --- logs --------------------------------------------------------------------------------------


class TokensHidden(logging.Filter):
    """Takes the tokens of links out of what a server logs of the addresses that were asked for."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change a record; all of them are kept."""
        if isinstance(record.args, tuple):
            record.args = tuple(map(_without_token, record.args))
        if isinstance(record.msg, str):
            record.msg = _without_token(record.msg)
        return True


def hide_tokens(logger_name: str = "uvicorn.access") -> None:
    """Have a logger write no tokens."""
    log = logging.getLogger(logger_name)
    if not any(isinstance(each, TokensHidden) for each in log.filters):
        log.addFilter(TokensHidden())


def _without_token(value: Any) -> Any:
    return _TOKEN.sub(r"/\1/…", value) if isinstance(value, str) else value
