"""The application: what is answered by whom, and what every answer has."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowcraft import application
from flowcraft.engine.client import FlowClient
from flowcraft.errors import FlowcraftError
from flowcraft.settings import Settings
from flowcraft.web import assets
from flowcraft.web.api import ROUTES
from flowcraft.web.bodies import check_body
from flowcraft.web.call import Backstage, Call, Limits, json_bytes
from flowcraft.web.ends import Ends
from flowcraft.web.health import Fleet
from flowcraft.web.links import create_links_app
from flowcraft.web.live import Live
from flowcraft.web.login import log_in, log_out
from flowcraft.web.openapi import document
from flowcraft.web.problems import HttpProblem, problem_of
from flowcraft.web.reading import is_json, read_body, strict_json
from flowcraft.web.routes import API, Route, allowed_methods, base_of, find_route, segments_of
from flowcraft.web.security import (
    HEADERS,
    SAFE_METHODS,
    Auth,
    Gate,
    User,
    check_same_site,
    check_this_machine,
)
from flowcraft.web.streams import STREAM_KIND

logger = logging.getLogger("flowcraft.web")

LINKS: Final = ("hooks", "approve")
"""What stands below these is for links: they have tokens of their own."""


def create_app(
    client: FlowClient | Settings,
    *,
    token: str | None = None,
    auth: Auth | None = None,
    read_only: bool = False,
    log_link: str | None = None,
    links: ASGIApp | None = None,
    limits: Limits | None = None,
) -> WebApp:
    """The HTTP application: API and dashboard, to be served or mounted in another application.

    Args:
        client: Whose runs; with settings a client is opened by them, and closed at the end.
        token: What every request has to bring, 16 characters at least. Without one, and without
            ``auth``, only this machine is answered, and only under its own names.
        auth: An async function of a request that says who asks, instead of a token: a
            :class:`User`, a name of one who may do anything, or ``None`` for nobody.
        read_only: Nobody may change anything.
        log_link: A link to the log of an attempt, with ``{run_id}``, ``{node_id}`` and
            ``{attempt}`` in it.
        links: Answers what is below ``/hooks/`` and ``/approve/``, where links lead to; by default
            ``flowcraft.web.links``, if the client has links and may change anything.
        limits: What bounds the load that others can put on it.

    Raises:
        ValueError: Token or link cannot be used.
        TypeError: The client is none.
    """
    return WebApp(client, token, auth, read_only, checked_link(log_link), links, limits)


def checked_link(template: str | None) -> str | None:
    """A template of links to logs.

    Raises:
        ValueError: It is no address of the web.
    """
    if template is None:
        return None
    parts = urlsplit(template)
    if parts.scheme not in ("http", "https") or not parts.netloc or "{" in parts.netloc:
        raise ValueError(
            "log_link is an address with https:// or http://, such as "
            f"https://logs.example/?run={{run_id}}&node={{node_id}}, not {template[:200]!r}."
        )
    return template


class WebApp:
    """An application of ASGI; :func:`create_app` makes it."""

    def __init__(
        self,
        client: FlowClient | Settings,
        token: str | None,
        auth: Auth | None,
        read_only: bool,
        log_link: str | None,
        links: ASGIApp | None,
        limits: Limits | None,
    ) -> None:
        self._owned: FlowClient | None = None
        if isinstance(client, Settings):
            options = None if client["app"] is None else application.load_app(client)
            client = self._owned = application.open_client(client, options, knows_age=True)
        if not isinstance(client, FlowClient):
            raise TypeError(f"client is a FlowClient, an adapter or Settings, not {client!r}.")
        clock = client._clock
        self._gate = Gate(token, auth, read_only=read_only, clock=clock)
        if links is None and client.links is not None and not read_only:
            links = create_links_app(client)
        self._links = links
        limits = limits or Limits()
        self.stage = Backstage(
            client,
            clock,
            limits,
            Live(clock, client._identifiers, most=limits.streams),
            Ends(client, clock),
            Fleet(client, clock),
            log_link,
            has_login=self._gate.has_login,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            await self._answer(scope, receive, send)

    # -- beginning and end ------------------------------------------------------------------

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def end_streams(self) -> None:
        """End streams and long polls, so that a server that is to stop can."""
        self.stage.is_ending.set()
        self.stage.live.wake()
        self.stage.ends.wake()

    async def aclose(self) -> None:
        """End all that goes on; a client that was opened here is closed."""
        self.end_streams()
        await self.stage.live.aclose()
        await self.stage.ends.aclose()
        await self.stage.fleet.aclose()
        if self._owned is not None:
            await self._owned.aclose()

    async def __aenter__(self) -> WebApp:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # -- answering --------------------------------------------------------------------------

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message = {**message, "headers": _with_headers(message.get("headers", ()))}
            if scope["method"] == "HEAD" and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        request = Request(scope, receive)
        try:
            answer = await self._find(request, scope)
        except FlowcraftError as error:
            answer = problem_answer(problem_of(error))
            if answer.status_code >= 500:
                logger.warning("%s %r: %s", request.method[:20], scope["path"][:200], error)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("A request has failed.")
            answer = problem_answer(HttpProblem("internal", "See the log of the application."))
        try:
            await answer(scope, receive, send_with_headers)
        except Exception:
            if not begun:
                raise
            logger.exception("An answer has broken off.")

    async def _find(self, request: Request, scope: Scope) -> ASGIApp:
        """What answers a request."""
        segments = segments_of(scope)
        base = base_of(scope)
        if segments and segments[0] in LINKS and self._links is not None:
            return self._links
        if tuple(segments[: len(API)]) == API:
            return await self._api(request, segments[len(API) :], base)
        return await self._page(request, segments, base)

    async def _page(self, request: Request, segments: Sequence[str], base: str) -> Response:
        """A page, or a file of one: no data is in any of them."""
        name = "/".join(segments)
        if name in ("login", "logout") and self._gate.has_login:
            return await self._session(request, name, base)
        _check_method(request, "GET", "HEAD")
        if segments and segments[0] == "static":
            found = assets.file(request, "/".join(segments[1:]))
            if found is None:
                raise HttpProblem("not-found", "There is no such file.")
            return found
        if name in ("api", "api/v1", "favicon.ico") or segments[:1] == ["api"]:
            raise HttpProblem("not-found", "The API is at api/v1; api/v1/openapi.json lists it.")
        if self._gate.has_hook:
            await self._gate.user_of(request)
        elif not self._gate.has_login:
            check_this_machine(request)
        if not request.scope["path"].endswith("/") and not name:
            return RedirectResponse(base, 307)
        return assets.page(base)

    async def _session(self, request: Request, name: str, base: str) -> Response:
        if name == "logout":
            _check_method(request, "POST")
            return await log_out(request, base)
        _check_method(request, "GET", "POST")
        return await log_in(request, self._gate, base)

    async def _api(self, request: Request, segments: list[str], base: str) -> Response:
        if request.method == "OPTIONS":
            return _options(segments)
        check_same_site(request)
        user = await self._gate.user_of(request)
        if segments == ["openapi.json"]:
            _check_method(request, "GET", "HEAD")
            return _json(document(ROUTES, base), 200)
        route, ids = find_route(ROUTES, request.method, segments)
        if request.method not in SAFE_METHODS:
            self._gate.check_change(request, user)
        if request.method == "HEAD" and route.kind == STREAM_KIND:
            raise HttpProblem("method-not-allowed", "A stream has GET only.", {}, {"Allow": "GET"})
        call = await self._understood(request, route, ids, user, base)
        await self.stage.station()  # opened by whoever comes first
        if request.method not in SAFE_METHODS:
            logger.info("%r: %s %r", user.name, route.name, ids)
        if not route.is_heavy:
            return await _carried_out(route, call)
        async with self.stage.heavy.held():
            return await _carried_out(route, call)

    async def _understood(
        self, request: Request, route: Route, ids: dict[str, str], user: User, base: str
    ) -> Call:
        known = {param.name for param in route.query}
        given = request.query_params
        unknown = sorted(set(given) - known)
        if unknown:
            there = ", ".join(sorted(known)) or "none"
            text = f"There is no parameter '{unknown[0][:60]}' here. There are: {there}."
            raise HttpProblem("bad-request", text, {"parameter": unknown[0][:60]})
        query = {param.name: param.read(given.getlist(param.name)) for param in route.query}
        for param in route.headers:
            query[param.name] = param.read(request.headers.getlist(param.name))
        body: Any = {}
        if request.method not in SAFE_METHODS:
            raw = await read_body(request, self.stage.limits.body_bytes)
            body = _body_of(request, route, raw)
        return Call(request, self.stage, user, base, ids, query, body)


def _body_of(request: Request, route: Route, raw: bytes) -> Any:
    if not raw:
        return check_body(route.name, route.body, {}) if route.body is not None else {}
    if not is_json(request):
        raise HttpProblem("not-json", "Send the body with Content-Type: application/json.")
    data = strict_json(raw)
    if route.body is None:
        if data != {}:
            raise HttpProblem("invalid", "This takes no body.")
        return {}
    return check_body(route.name, route.body, data)


async def _carried_out(route: Route, call: Call) -> Response:
    found = await route.handler(call)
    return found if isinstance(found, Response) else _json(found, route.status)


def _json(data: Any, status: int) -> Response:
    return Response(json_bytes(data), status, media_type="application/json")


def problem_answer(problem: HttpProblem) -> Response:
    """The answer that tells of a problem."""
    return Response(
        json.dumps(problem.to_dict()),
        problem.status,
        problem.all_headers(),
        "application/problem+json",
    )


def _options(segments: Sequence[str]) -> Response:
    methods = [route.method for route in ROUTES if route.match(segments) is not None]
    if not methods:
        raise HttpProblem("not-found", "There is no such address.")
    return Response(status_code=204, headers={"Allow": allowed_methods(methods)})


def _check_method(request: Request, *allowed: str) -> None:
    if request.method not in allowed:
        text = f"This address has {', '.join(allowed)}, not {request.method[:20]}."
        raise HttpProblem("method-not-allowed", text, headers={"Allow": ", ".join(allowed)})


def _with_headers(given: Any) -> list[tuple[bytes, bytes]]:
    """Headers of an answer, with those of every answer that it does not set itself."""
    found = [(bytes(name), bytes(value)) for name, value in given]
    there = {name.lower() for name, _ in found}
    for name, value in (*HEADERS.items(), ("Cache-Control", "no-store")):
        if name.lower().encode() not in there:
            found.append((name.lower().encode(), value.encode()))
    return found
