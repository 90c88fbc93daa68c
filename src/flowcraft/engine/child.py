"""The child process of an isolated node, seen from its parent: starting, hearing, killing it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import cast

from flowcraft.engine.naming import Importing
from flowcraft.engine.wire import MAX_MESSAGE_BYTES, Message, ParentWire, to_line
from flowcraft.errors import FlowcraftError, ProcessDied

logger = logging.getLogger("flowcraft")

GRACE_SECONDS = 1.0
"""How long a node that is stopped may take to clean up before its process is killed."""

END_SECONDS = 5.0
"""How long a process may take to end by itself when its node is done."""

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); "
    "from flowcraft.engine.isolated import main; main()"
)


class Child:
    """A process for one node.

    Args:
        process: The process.
        node_id: The node, for messages.
        wire: Writes and reads values.
    """

    def __init__(self, process: asyncio.subprocess.Process, node_id: str, wire: ParentWire) -> None:
        self.wire = wire
        self._process = process
        self._node_id = node_id
        self._gone = False
        self._in = cast("asyncio.StreamWriter", process.stdin)
        self._out = cast("asyncio.StreamReader", process.stdout)

    @classmethod
    async def spawn(cls, node_id: str, wire: ParentWire) -> Child:
        """Start a process.

        Raises:
            OSError: The system does not allow it.
            FlowcraftError: There is no interpreter to start, or this process is being made
                ready for a node itself.
        """
        obstacle = _obstacle()
        if obstacle is not None:
            raise FlowcraftError(
                f"Node '{node_id}' asks for `isolation: process`, and no process can be started "
                f"here: {obstacle}",
                is_fatal=True,
            )
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *getattr(subprocess, "_args_from_interpreter_flags", list)(),
            "-c",
            _BOOT,
            json.dumps([str(entry) for entry in sys.path]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=MAX_MESSAGE_BYTES,
            # A process group, so that what the node starts ends with it.
            start_new_session=True,
        )
        return cls(process, node_id, wire)

    async def tell(self, message: Message) -> None:
        """Send a message; one that cannot arrive is dropped: the next answer is the end."""
        try:
            self._in.write(to_line(message))
            await self._in.drain()
        except ConnectionError:
            pass

    async def hear(self) -> Message:
        """The next message.

        Raises:
            ProcessDied: There is none, and no other will come.
        """
        try:
            message = await self._next()
        except ValueError as error:
            raise ProcessDied(
                f"The process of node '{self._node_id}' sent what cannot be read: {error}. The "
                f"limit for one value is {MAX_MESSAGE_BYTES >> 20} MiB.",
                node_id=self._node_id,
            ) from error
        if message is None:
            await self.kill()
            raise ProcessDied(
                f"The process of node '{self._node_id}' died: {self._how_it_ended()}.",
                node_id=self._node_id,
            )
        return message

    async def _next(self) -> Message | None:
        line = await self._out.readline()
        return cast("Message", json.loads(line)) if line.endswith(b"\n") else None

    async def close(self) -> None:
        """Let it end by itself, which it has :data:`END_SECONDS` for."""
        try:
            await self.tell({"do": "end"})
            async with asyncio.timeout(END_SECONDS):
                while (message := await self._next()) is not None:
                    if message["is"] == "log":
                        log(message["record"])
                await self._process.wait()
        except (TimeoutError, ValueError):
            logger.warning("The process of node '%s' does not end: killing it", self._node_id)
        finally:
            await self.kill()

    async def kill(self) -> None:
        """Have it end, with all that it started.

        It is asked first, and killed if it takes too long or if this task is cancelled
        meanwhile. It is gone when this returns, or raises.
        """
        if self._gone:
            return
        number, tries = signal.SIGTERM, 0
        cancelled: asyncio.CancelledError | None = None
        while self._process.returncode is None and tries < 10:
            self._send(number)
            try:
                async with asyncio.timeout(GRACE_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                tries += 1
            except asyncio.CancelledError as error:
                cancelled = error
            number = KILL
        if self._process.returncode is None:
            logger.error("Process %d cannot be killed", self._process.pid)
        self._gone = True
        self._send(KILL)
        self._in.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await self._out.read()
        if cancelled is not None:
            raise cancelled

    def _send(self, number: signal.Signals) -> None:
        """Send a signal to the process and to what it started."""
        try:
            if sys.platform != "win32":
                # Its number is not given to another process while one of its group is alive.
                os.killpg(self._process.pid, number)
            elif self._process.returncode is None:
                self._process.kill()
        except (ProcessLookupError, PermissionError):
            pass  # all of them have ended

    def _how_it_ended(self) -> str:
        code = self._process.returncode
        if code is None or code >= 0:
            return f"exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "?"
        hint = "; was there too little memory?" if -code == KILL else ""
        return f"signal {-code} ({name}){hint}"


def _obstacle() -> str | None:
    if Importing.under_way:
        return (
            "a module that a node is imported from runs a flow as it is imported. Put that under "
            '`if __name__ == "__main__":`.'
        )
    return None if sys.executable else "sys.executable does not name the Python interpreter."


def log(data: Message) -> None:
    """Log what was logged in a child, as if it had been here."""
    record = logging.makeLogRecord(data)
    target = logging.getLogger(record.name)
    if target.isEnabledFor(record.levelno):
        target.handle(record)
