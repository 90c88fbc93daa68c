"""A proxy in front of an emulator of AWS that lets some requests go wrong, by a seed.

    python -m tests.acceptance.chaos.proxy http://127.0.0.1:PORT SEED

It writes its own endpoint to standard output, and harms nothing until it is told to: ``POST
/-chaos/share`` sets the share of requests that something happens to, ``GET /-chaos/counts`` gives
how many there were, by kind.

``microburst`` from PyPI, which does the same for AWS protocols, was looked at (0.10) and has all of
these faults. It was not taken: its lots are drawn without a seed (``deterministic`` goes by the
request itself, so that a request which fails once fails however often it is tried), it reads
and writes each message anew where bytes can be passed on as they are, which counts on two cores
that workers need, and it would bring aiohttp, h2, PyYAML and a botocore of its own for some two
hundred lines.

A request is read whole before anything is done about it. Each connection of a client has one of
its own to the emulator, over which requests go one after the other, as HTTP/1.1 has it. A client
that leaves does not take its request along: what has been passed on is carried out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from tests.acceptance.chaos.faults import NO_HARM, Fate, Fault, Lots, refusal

CONTROL: Final = "/-chaos/"
LONGEST_HEAD: Final = 65_536
REFUSED: Final = frozenset({Fault.THROTTLED, Fault.ERROR_BEFORE, Fault.UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer, as it came.

    Attributes:
        first: Its first line.
        headers: Its headers, by their names in small letters.
        data: All of it.
        body: What follows the head.
    """

    first: str
    headers: dict[str, str]
    data: bytes
    body: bytes

    @property
    def path(self) -> str:
        """Of a request, what it asks for."""
        return self.first.split(" ")[1]

    @property
    def target(self) -> str:
        """Of a request, the operation, as the services name it."""
        return self.headers.get("x-amz-target", "")


async def read_message(reader: asyncio.StreamReader) -> Message | None:
    """Read one message whole; ``None`` where the other side has closed the connection.

    Raises:
        asyncio.IncompleteReadError: It was closed within a message.
        ValueError: The message says nothing about its length.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as end:
        if end.partial:
            raise
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(":") for line in lines if line]
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if "transfer-encoding" in headers:
        raise ValueError(f"A message in pieces is not passed on: {first}")
    length = int(headers.get("content-length", "0"))
    body = await reader.readexactly(length) if length else b""
    return Message(first, headers, head + body, body)


class Proxy:
    """Passes requests on, most of them.

    Args:
        upstream: The endpoint of the emulator, ``http://HOST:PORT``.
        draw: Gives what becomes of the next request.

    Attributes:
        endpoint: Its own endpoint, once it serves.
        requests: How many requests came.
        faults: How many of them something happened to, by kind.
    """

    def __init__(self, upstream: str, draw: Callable[[], Fate]) -> None:
        address = urlsplit(upstream)
        self._upstream = (address.hostname or "127.0.0.1", address.port or 80)
        self.draw = draw
        self.endpoint = ""
        self.requests = 0
        self.faults: Counter[str] = Counter()
        self._connections: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Proxy]:
        """Serve on a free port of 127.0.0.1."""
        server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, limit=LONGEST_HEAD, backlog=512
        )
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        connection = _Connection(self, self._upstream, writer)
        try:
            while (request := await read_message(reader)) is not None:
                if not await connection.serve(request):
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client is gone, or the proxy is about to be
        finally:
            self._connections.discard(task)
            connection.close()

    def control(self, request: Message) -> bytes:
        """Carry out a request that is for the proxy itself; gives the answer."""
        if request.path == f"{CONTROL}share" and isinstance(self.draw, _Seeded):
            self.draw.lots.share = float(request.body)
        text = json.dumps({"requests": self.requests, "faults": self.faults}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)


class _Connection:
    """One connection of a client, and the one to the emulator that belongs to it."""

    def __init__(
        self, proxy: Proxy, upstream: tuple[str, int], writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._upstream = upstream
        self._writer = writer
        self._link: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def serve(self, request: Message) -> bool:
        """Do something about a request; whether the connection goes on."""
        if request.path.startswith(CONTROL):
            return await self._send(self._proxy.control(request))
        fate = NO_HARM if not request.target else self._proxy.draw()
        self._proxy.requests += 1
        if fate.fault is not None:
            self._proxy.faults[fate.fault] += 1
        if fate.fault is Fault.DROPPED_BEFORE:
            return False
        if fate.fault in REFUSED:
            return await self._send(refusal(fate.fault, request.target, fate.share))
        answer = await self._passed_on(request)
        if fate.seconds:
            await asyncio.sleep(fate.seconds)
        if fate.fault in (Fault.DROPPED_AFTER, Fault.SILENT):
            return False
        if fate.fault is Fault.ERROR_AFTER:
            return await self._send(refusal(fate.fault, request.target))
        if fate.fault is Fault.CUT:
            await self._send(answer[: max(1, int(fate.share * len(answer)))])
            return False
        return await self._send(answer)

    async def _send(self, data: bytes) -> bool:
        self._writer.write(data)
        await self._writer.drain()
        return True

    async def _passed_on(self, request: Message) -> bytes:
        """The emulator's answer."""
        if self._link is None or self._link[0].at_eof():
            self._hang_up()
            self._link = await asyncio.open_connection(*self._upstream, limit=LONGEST_HEAD)
        reader, writer = self._link
        writer.write(request.data)
        await writer.drain()
        answer = await read_message(reader)
        if answer is None:
            raise ConnectionResetError("The emulator closed the connection")
        return answer.data

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link[1].close()

    def close(self) -> None:
        """Close both sides."""
        self._hang_up()
        self._writer.close()


class _Seeded:
    """Draws by lot."""

    def __init__(self, lots: Lots) -> None:
        self.lots = lots

    def __call__(self) -> Fate:
        return self.lots.draw()


def seeded(upstream: str, seed: int, share: float = 0.0) -> Proxy:
    """A proxy that draws lots.

    Args:
        upstream: The endpoint of the emulator.
        seed: Decides what is drawn.
        share: Of so many requests something goes wrong, until it is told otherwise.
    """
    return Proxy(upstream, _Seeded(Lots(seed, share)))


async def _run(upstream: str, seed: int) -> None:
    async with seeded(upstream, seed).serving() as proxy:
        print(proxy.endpoint, flush=True)
        await asyncio.Event().wait()


def main(arguments: Sequence[str]) -> None:
    """Serve until a signal comes."""
    upstream, seed = arguments
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(upstream, int(seed)))


if __name__ == "__main__":
    main(sys.argv[1:])
