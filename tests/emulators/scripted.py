"""A server that answers what a test tells it, byte by byte, wrong answers included."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

WAIT_SECONDS = 30.0


@dataclass
class Reply:
    """What is done about one request.

    Attributes:
        data: What is sent, before the connection is closed.
        is_reset: Whether the connection is torn down instead of closed.
        gate: What is waited for before.
    """

    data: bytes = b""
    is_reset: bool = False
    gate: threading.Event | None = None


RESET = Reply(is_reset=True)


def answer(
    body: Any,
    status: int = 200,
    *,
    cut: int = 0,
    headers: Mapping[str, str | None] | None = None,
    gate: threading.Event | None = None,
) -> Reply:
    """An answer as AWS gives it.

    Args:
        body: JSON data, or bytes as they are.
        status: The HTTP status.
        cut: How many bytes of the body are missing at its end.
        headers: Further ones, or others; None takes one out.
        gate: What is waited for before.
    """
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines: dict[str, str | None] = {
        "Content-Type": "application/x-amz-json-1.0",
        "Content-Length": str(len(data)),
        "Connection": "close",
    }
    lines |= headers or {}
    head = [f"HTTP/1.1 {status} As told"]
    head += [f"{name}: {value}" for name, value in lines.items() if value is not None]
    text = "\r\n".join([*head, "", ""])
    return Reply(text.encode() + data[: len(data) - cut], gate=gate)


@dataclass
class ScriptedServer:
    """Gives its replies in turn, one to a connection.

    Attributes:
        endpoint: Where it listens.
        requests: The operations that were asked for, in order of their arrival.
    """

    endpoint: str
    requests: list[str] = field(default_factory=list)
    _replies: SimpleQueue[Reply] = field(default_factory=SimpleQueue)
    _arrivals: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def script(self, *replies: Reply) -> None:
        """Add replies."""
        for reply in replies:
            self._replies.put(reply)

    def wait_for_requests(self, count: int) -> None:
        """Wait until as many more requests have come; called in a thread, not in the loop."""
        for _ in range(count):
            assert self._arrivals.acquire(timeout=WAIT_SECONDS), "no request came"

    def serve(self, listener: socket.socket) -> None:
        """Accept connections until the listener is shut down."""
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(WAIT_SECONDS)
            operation = _read_request(connection)
            if operation is None:
                return
            self.requests.append(operation)
            self._arrivals.release()
            reply = self._replies.get(timeout=WAIT_SECONDS)
            if reply.gate is not None:
                reply.gate.wait(WAIT_SECONDS)
            if reply.is_reset:
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return
            connection.sendall(reply.data)


def _read_request(connection: socket.socket) -> str | None:
    """Read one request whole; the operation it names, or None where there is none."""
    with connection.makefile("rb") as stream:
        if not stream.readline():
            return None
        headers = {}
        while line := stream.readline().strip():
            name, _, value = line.decode("ascii").partition(":")
            headers[name.lower()] = value.strip()
        stream.read(int(headers.get("content-length", "0")))
        return headers.get("x-amz-target", "").rpartition(".")[2]


@contextmanager
def scripted() -> Iterator[ScriptedServer]:
    """A server on a free port of 127.0.0.1."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = ScriptedServer(f"http://127.0.0.1:{listener.getsockname()[1]}")
    thread = threading.Thread(target=server.serve, args=(listener,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        # Closing alone does not wake a thread that accepts.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(WAIT_SECONDS)
