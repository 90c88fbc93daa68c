"""Connections over which a request comes too slowly, or none at all."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from flowcraft import FlowRuntime
from flowcraft.cli.slow_senders import CROWD, CROWDED_SECONDS, REQUEST_SECONDS, SlowSenders
from flowcraft.cli.ui import listen, serve
from flowcraft.sqlite import SqliteAdapter
from flowcraft.web import create_app


class Cycle:
    """A request and its answer, as a server keeps them."""

    def __init__(self, *, more_body: bool, response_complete: bool = False) -> None:
        self.more_body = more_body
        self.response_complete = response_complete


class Connection:
    """A connection that can be closed."""

    def __init__(self, cycle: Any = None) -> None:
        self.cycle = cycle
        self.transport = self
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


def closed(connections: list[Connection], *moments: float) -> list[bool]:
    """Which of some connections are closed after looks at some moments."""
    senders = SlowSenders()
    for now in moments:
        senders.look(connections, now)
    return [each.is_closed for each in connections]


def test_a_request_has_its_time_to_come() -> None:
    """Where nothing, a part of a body, or nothing further comes, the connection is closed."""
    slow = [
        Connection(),
        Connection(Cycle(more_body=True)),
        Connection(Cycle(more_body=False, response_complete=True)),
    ]
    assert closed(slow, 5.0, 5.0 + REQUEST_SECONDS - 1) == [False] * 3
    assert closed(slow, 5.0, 5.0 + REQUEST_SECONDS) == [True] * 3


def test_an_answer_may_take_as_long_as_it_does() -> None:
    """Streams and long polls are left alone, and so is who goes on with another request."""
    stream = Connection(Cycle(more_body=False))
    assert closed([stream], 0.0, 1_000.0) == [False]
    busy, senders = Connection(), SlowSenders()
    for now in range(0, 1_000, 20):
        busy.cycle = Cycle(more_body=True)
        senders.look([busy], now)
        senders.look([busy], now + 19)
    assert not busy.is_closed


def test_the_time_begins_anew_with_each_request() -> None:
    """Time that an answer took does not count for the request after it."""
    cycle = Cycle(more_body=False)
    one, senders = Connection(cycle), SlowSenders()
    senders.look([one], 0.0)
    cycle.response_complete = True
    senders.look([one], REQUEST_SECONDS)
    senders.look([one], REQUEST_SECONDS + 1)
    assert not one.is_closed


def test_in_a_crowd_there_is_less_patience() -> None:
    """Many who send nothing make room for others soon."""
    many = [Connection() for _ in range(CROWD)]
    assert closed(many[1:], 0.0, CROWDED_SECONDS) == [False] * (CROWD - 1)
    assert closed(many, 0.0, CROWDED_SECONDS) == [True] * CROWD


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /api/v1/session HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000\r\n\r\n{",
    ],
    ids=["nothing", "headers", "body"],
)
def test_the_server_closes_what_is_slow(sent: bytes, tmp_path: Path) -> None:
    """Whoever sends a part of a request and waits finds the connection closed."""

    async def work() -> bytes:
        client = SqliteAdapter.client_of(tmp_path / "runs.db", FlowRuntime(flows=[]).options)
        listening, ready = listen("127.0.0.1", 0), asyncio.Event()
        async with client, create_app(client) as app, asyncio.timeout(20):
            serving = asyncio.create_task(serve(app, listening, ready.set, SlowSenders(0.1)))
            await ready.wait()
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            writer.write(sent)
            found = await reader.read()
            writer.close()
            signal.raise_signal(signal.SIGTERM)
            await serving
            return found

    assert b"200 OK" not in asyncio.run(work())
