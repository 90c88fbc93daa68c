"""A child's line to its parent: what a node's process asks, tells and logs.

A thread reads, so that the death of the parent is noticed whatever the node does: then nothing
comes from standard input any more, and the process ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from flowcraft.engine.wire import Message, to_line
from flowcraft.errors import FlowcraftError

ORPHAN_SECONDS = 1.0
"""How long a node may take to stop when its parent is gone."""


class Link:
    """The line to the parent: standard input and output, which the node itself is kept off.

    Attributes:
        orders: What the parent wants done.
    """

    def __init__(self) -> None:
        # The node reads nothing from standard input, and what it prints goes to standard error.
        self._in = os.fdopen(os.dup(0), "rb")
        self._out = os.fdopen(os.dup(1), "wb")
        self._nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(self._nothing, 0)
        os.dup2(2, 1)
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(line_buffering=True)
        if hasattr(os, "register_at_fork"):
            # A process that the node forks off must not keep the line open.
            os.register_at_fork(after_in_child=self._let_go)
        self._lock = threading.Lock()
        self._asked: dict[int, Future[Message]] = {}
        self._count = 0
        self.orders: SimpleQueue[Message] = SimpleQueue()
        self._deliver: Callable[[Message], None] = self.orders.put

    def start(self) -> None:
        """Begin to listen."""
        threading.Thread(target=self._listen, name="flowcraft-parent", daemon=True).start()

    def deliver_to(self, deliver: Callable[[Message], None]) -> None:
        """Give further orders to a function, which is called in the listening thread."""
        self._deliver = deliver

    def tell(self, message: Message) -> None:
        """Send a message that has no answer. May be called from any thread."""
        line = to_line(message)
        with self._lock:
            self._out.write(line)
            self._out.flush()

    def ask(self, message: Message) -> Message:
        """Ask the parent and wait for the answer. May be called from any thread.

        Raises:
            FlowcraftError: The parent refuses; the message says why.
        """
        return _answer(self._sent(message).result())

    async def ask_async(self, message: Message) -> Message:
        """The same for code in an event loop, which goes on meanwhile."""
        return _answer(await asyncio.wrap_future(self._sent(message)))

    def _sent(self, message: Message) -> Future[Message]:
        future: Future[Message] = Future()
        with self._lock:
            self._count += 1
            number = self._count
            self._asked[number] = future
        self.tell({**message, "id": number})
        return future

    def _listen(self) -> None:
        for line in self._in:
            message = json.loads(line)
            if "id" in message:
                future = self._asked.pop(message["id"])
                if future.set_running_or_notify_cancel():
                    future.set_result(message)
                continue
            self._deliver(message)
            if message["do"] == "end":
                return
        _end_orphan()

    def _let_go(self) -> None:
        self._lock = threading.Lock()
        for end in (self._in, self._out):
            os.dup2(self._nothing, end.fileno(), inheritable=False)


def _answer(message: Message) -> Message:
    if "refused" in message:
        raise FlowcraftError(message["refused"], is_fatal=True)
    return message


def _end_orphan() -> None:
    """The parent is gone: nobody wants the result."""
    if hasattr(os, "killpg"):
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(ORPHAN_SECONDS)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
    os._exit(1)


# Logging ----------------------------------------------------------------------------------


class ParentHandler(logging.Handler):
    """Hands records to the parent, whose handlers and levels say what becomes of them."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        try:
            self._link.tell({"is": "log", "record": _as_data(record)})
        except Exception:
            self.handleError(record)


def log_to(link: Link, levels: dict[str, int]) -> None:
    """Let everything that is logged here be logged by the parent.

    Args:
        link: The line to it.
        levels: Levels of the parent's loggers; the root's is under the empty name.
    """
    logging.getLogger().addHandler(ParentHandler(link))
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)


def _as_data(record: logging.LogRecord) -> dict[str, Any]:
    data = {**vars(record), "msg": record.getMessage(), "args": None}
    if record.exc_info:
        data["exc_text"] = record.exc_text or logging.Formatter().formatException(record.exc_info)
    data["exc_info"] = None
    return {name: _shown(value) for name, value in data.items()}


def _shown(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
