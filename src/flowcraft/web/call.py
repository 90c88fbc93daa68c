"""One request to the API, as what carries it out sees it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from flowcraft.engine.client import FlowClient
from flowcraft.engine.jsonable import jsonable
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.station import Station
from flowcraft.ports.clock import Clock
from flowcraft.web.ends import Ends
from flowcraft.web.health import Fleet
from flowcraft.web.live import Live
from flowcraft.web.problems import HttpProblem
from flowcraft.web.security import User

T = TypeVar("T")

logger = logging.getLogger("flowcraft.web")


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the load that others can put on the application.

    Attributes:
        body_bytes: The largest body.
        heavy_requests: Requests at once that may take memory and time; others are told to come
            back.
        streams: Open streams and long polls at once.
        heartbeat_seconds: A stream says so often that it is still there.
        wait_seconds: How long a long poll takes at most.
    """

    body_bytes: int = 1_000_000
    heavy_requests: int = 8
    streams: int = 200
    heartbeat_seconds: float = 15.0
    wait_seconds: float = 60.0


class Slots:
    """So many places; who finds none goes away again."""

    def __init__(self, places: int, what: str) -> None:
        self._places = places
        self._what = what
        self.taken = 0

    def take(self) -> None:
        """Take a place.

        Raises:
            HttpProblem: There is none.
        """
        if self.taken >= self._places:
            text = f"{self._places} {self._what} are open already. Try again a little later."
            raise HttpProblem("overloaded", text)
        self.taken += 1

    def give_back(self) -> None:
        """Give a place back."""
        self.taken -= 1

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """A place for as long as this is open."""
        self.take()
        try:
            yield
        finally:
            self.give_back()


@dataclass(slots=True)
class Backstage:
    """What all requests share.

    Attributes:
        client: Whose runs.
        clock: The time.
        limits: What bounds the load.
        live: Those who look at runs for others.
        ends: Those who wait for runs for others.
        fleet: How the fleet is.
        log_link: The template of links to logs.
        has_login: Whether people log in and out here.
    """

    client: FlowClient
    clock: Clock
    limits: Limits
    live: Live
    ends: Ends
    fleet: Fleet
    log_link: str | None = None
    has_login: bool = False
    heavy: Slots = field(init=False)
    streams: Slots = field(init=False)
    is_ending: asyncio.Event = field(default_factory=asyncio.Event)
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.heavy = Slots(self.limits.heavy_requests, "requests that take memory and time")
        self.streams = Slots(self.limits.streams, "streams and long polls")

    async def station(self) -> Station:
        """Ports and plans; opened by whoever comes first."""
        async with self._opening:
            return await self.client._opened()

    @property
    def options(self) -> RuntimeOptions:
        """The app, as far as it is known here."""
        return self.client._options


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in, and understood.

    Attributes:
        request: The request.
        stage: What all requests share.
        user: Who asks.
        base: Where the application is mounted.
        ids: The ids in its path.
        query: Its parameters.
        body: Its body; an empty object without one.
    """

    request: Request
    stage: Backstage
    user: User
    base: str
    ids: Mapping[str, str]
    query: Mapping[str, Any]
    body: Mapping[str, Any]

    @property
    def client(self) -> FlowClient:
        """Whose runs."""
        return self.stage.client


async def while_asked(request: Request, work: Awaitable[T]) -> T | None:
    """Do something for as long as who asks for it is there.

    Args:
        request: Their request, whose body has been read.
        work: What is done.

    Returns:
        What came of it; nothing if they have gone before.
    """
    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
        return doing.result() if doing.done() else None
    finally:
        doing.cancel()
        leaving.cancel()
        await asyncio.gather(doing, leaving, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def json_bytes(data: Any) -> bytes:
    """The text of JSON data.

    Args:
        data: JSON data; what there is besides in it becomes what ``jsonable`` makes of it.
    """
    text = json.dumps(
        data, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=jsonable
    )
    # Halves of characters, which may come out of runs, become escapes that JSON has.
    return text.encode("utf-8", "backslashreplace")


async def answer(make: Callable[[], Any], status: int = 200) -> Response:
    """An answer that is put together in a thread, as far as that takes time.

    Args:
        make: Gives its data.
        status: The status of HTTP.
    """
    body = await asyncio.to_thread(lambda: json_bytes(make()))
    return Response(body, status, media_type="application/json")
