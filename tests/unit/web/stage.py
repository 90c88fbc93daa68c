"""The HTTP application in tests: requests, whose answers are held against the OpenAPI document."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx
from jsonschema import Draft202012Validator, FormatChecker

from flowcraft import FlowRuntime, NodeResult, create_flow
from flowcraft.engine.client import FlowClient
from flowcraft.sqlite import SqliteAdapter
from flowcraft.web import create_app
from flowcraft.web.api import ROUTES
from flowcraft.web.openapi import document
from flowcraft.web.problems import KINDS, TYPE_PREFIX
from flowcraft.web.routes import find_route

DOCUMENT = document(ROUTES)
PATIENCE_SECONDS = 60.0


def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


formats = FormatChecker(())
formats.checks("date-time", raises=ValueError)(_is_time)


async def check(ctx: Any) -> Any:
    amount = ctx.input
    if amount < 0:
        raise ValueError(f"{amount} is too little") from OSError("the till is <empty>")
    return NodeResult(output=amount, action="large" if amount > 1000 else "usual")


async def send(ctx: Any) -> str:
    return f"sent for {ctx.input}"


async def give(ctx: Any) -> Any:
    return await ctx.context.get("value")


async def big(ctx: Any) -> Any:
    return "x" * await ctx.context.get("size")


SCHEMA = {"type": "object", "properties": {"by": {"type": "string"}}}

order = (
    create_flow("order")
    .node("check", check, inputs="amount")
    .wait("approve", title="Approve it", actions=["yes", "no"], schema=SCHEMA)
    .node("send", send, inputs="check", join="any")
    .edge("check", "send", action="usual")
    .edge("check", "approve", action="large")
    .edge("approve", "send", action="yes")
)
hears = create_flow("hears").wait("paid", event="paid", correlation_key="number")
gives = create_flow("gives").node("give", give)
bigs = create_flow("bigs").node("big", big)
FLOWS = (order, hears, gives, bigs)


class Web:
    """An application, and requests to it.

    Attributes:
        app: The application.
        operations: The operations that were asked for.
    """

    def __init__(self, app: Any, base: str = "", client: str = "127.0.0.1") -> None:
        self.app = app
        self.base = base
        self.operations: set[str] = set()
        self._transport = httpx.ASGITransport(app, client=(client, 4000))

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request as it is."""
        async with httpx.AsyncClient(
            transport=self._transport, base_url="http://localhost"
        ) as client:
            options.setdefault("headers", {})
            return await client.request(method, path, **options)

    async def call(
        self, method: str, path: str, body: Any = None, *, status: int = 200, **headers: str
    ) -> Any:
        """Call an operation: its answer has to be as it is documented.

        Args:
            method: The method.
            path: Below ``/api/v1``.
            body: JSON data.
            status: What is expected.
            headers: Further headers, with ``_`` for ``-``.
        """
        sent = {"X-Flowcraft": "1", **{name.replace("_", "-"): headers[name] for name in headers}}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        answer = await self.ask(method, f"{self.base}/api/v1{path}", content=content, headers=sent)
        assert answer.status_code == status, answer.text[:2000]
        self.check(method, path, answer)
        return (
            answer.json() if answer.headers["content-type"].endswith(("/json", "+json")) else answer
        )

    def check(self, method: str, path: str, answer: httpx.Response) -> None:
        """Hold an answer against the document."""
        check_headers(answer)
        if answer.headers["content-type"] == "application/problem+json":
            validator({"$ref": "#/components/schemas/Problem"}).validate(answer.json())
            name = answer.json()["type"].removeprefix(TYPE_PREFIX)
            assert KINDS[name].status == answer.status_code
        segments = path.partition("?")[0].split("/")[1:]
        try:
            route, _ = find_route(ROUTES, method, segments)
        except Exception:
            assert answer.status_code in (404, 405)
            return
        self.operations.add(route.name)
        told = DOCUMENT["paths"][route.path][method.lower()]["responses"]
        documented = told[str(answer.status_code)]["content"]
        kind = answer.headers["content-type"].partition(";")[0]
        assert kind in documented
        if kind == "application/json":
            validator(documented[kind]["schema"]).validate(answer.json())

    def stream(self, path: str, **headers: str) -> Stream:
        """Open a stream."""
        return Stream(self, f"{self.base}/api/v1{path}", headers)

    async def raw(self, path: str) -> tuple[int, str]:
        """Ask for an address that no client of HTTP leaves as it is; gives status and text."""
        async with Stream(self, path, {}) as stream:
            await stream.task
            parts = [stream.parts.get_nowait() for _ in range(stream.parts.qsize())]
            return stream.status, b"".join(part for part in parts if part).decode()


def check_headers(answer: httpx.Response) -> None:
    """See that an answer has the headers that keep a browser from harm."""
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert "access-control-allow-origin" not in answer.headers
    if answer.headers.get("content-type", "").startswith("application"):
        assert answer.headers["cache-control"] == "no-store"


def validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    """What holds data against a schema of the document."""
    whole = {**schema, "components": DOCUMENT["components"]}
    return Draft202012Validator(whole, format_checker=formats)


class Stream:
    """A stream of events that is read one by one, and can be left."""

    def __init__(self, web: Web, path: str, headers: Mapping[str, str]) -> None:
        route, _, query = path.partition("?")
        names = {"host": "localhost", **{k.replace("_", "-"): v for k, v in headers.items()}}
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": unquote(route),
            "raw_path": route.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(k.lower().encode(), v.encode()) for k, v in names.items()],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
        }
        self._app = web.app
        self.receive: Any = self._disconnect
        self.parts: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._left = asyncio.Event()
        self._text = ""
        self.start: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Stream:
        self.task = asyncio.create_task(self._app(self.scope, self.receive, self._send))
        self.task.add_done_callback(lambda _: self.parts.put_nowait(None))
        async with asyncio.timeout(PATIENCE_SECONDS):
            self.status = (await self.start)["status"]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Go away, as a browser does whose page is closed."""
        self._left.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.task

    async def _disconnect(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.start.set_result(message)
        elif message.get("body"):
            self.parts.put_nowait(message["body"])

    async def block(self) -> str | None:
        """The next block of lines; ``None`` at the end."""
        while "\n\n" not in self._text:
            async with asyncio.timeout(PATIENCE_SECONDS):
                part = await self.parts.get()
            if part is None:
                return None
            self._text += part.decode()
        found, _, self._text = self._text.partition("\n\n")
        return found

    async def event(self) -> dict[str, Any] | None:
        """The next event, with its ``data``; ``None`` at the end. Comments are left out."""
        while (block := await self.block()) is not None:
            fields = dict(line.split(": ", 1) for line in block.splitlines() if line[0] != ":")
            if "event" in fields:
                return {**fields, "data": json.loads(fields["data"])}
        return None


def run_path(run_id: str) -> str:
    """The address of a run."""
    return f"/runs/{quote(run_id, safe='')}"


@asynccontextmanager
async def working(
    directory: Path, *flows: Any, **options: Any
) -> AsyncIterator[tuple[Web, SqliteAdapter]]:
    """An application, and a worker on the same file."""
    adapter = SqliteAdapter(
        directory / "runs.db", FlowRuntime(flows=flows or FLOWS).options, poll_seconds=0.05
    )
    app = create_app(adapter, **options)
    await adapter.start()
    try:
        yield Web(app), adapter
    finally:
        await app.aclose()
        await adapter.stop()


@asynccontextmanager
async def looking(directory: Path, **options: Any) -> AsyncIterator[Web]:
    """An application without a worker."""
    client = SqliteAdapter.client_of(directory / "runs.db", FlowRuntime(flows=FLOWS).options)
    async with client, create_app(client, **options) as app:
        yield Web(app)


async def started(client: FlowClient, **context: Any) -> str:
    """A run of the order that nobody works on."""
    return str(await client.start_run("order", {"amount": 1, **context}))
