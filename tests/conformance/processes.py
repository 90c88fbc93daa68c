"""The corpus on an SQLite file with two worker processes.

The processes stay for all cases of a check. For each case they open its file; what their nodes
and listeners have to report they tell the checker over a socket, and wait until it has heard it,
so that counts and the state of behaviours are in one place.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from flowcraft import CancelToken, FlowEvent, FlowRuntime, JsonSerializer
from flowcraft.sqlite import SqliteAdapter
from tests.conformance.behaviours import World
from tests.conformance.durable import DurableEngine, runtime_of, worker_options
from tests.conformance.outcomes import EVALUATORS, Setup, max_executions

WORKERS = 2
ROOT = Path(__file__).resolve().parents[2]
SERIALIZER = JsonSerializer()
_MOVING = "SELECT 1 FROM messages WHERE receives > 0 OR visible_at <= ? LIMIT 1"


# -- the checker's side -----------------------------------------------------------------------


class WorkerProcess:
    """A worker process that is told what to work on over its standard input."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.conformance.processes"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def tell(self, **what: Any) -> None:
        """Have it do something, and wait until it has."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        answer = await asyncio.to_thread(self._process.stdout.readline)
        if answer.strip() != "done":
            raise RuntimeError(f"a worker process ended: {self._process.wait()}")

    def end(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@cache
def worker_processes() -> tuple[WorkerProcess, ...]:
    """The worker processes, started when they are first needed."""
    workers = tuple(WorkerProcess() for _ in range(WORKERS))
    for worker in workers:
        atexit.register(worker.end)
    return workers


class Hearing:
    """Takes down what the worker processes report."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one worker until it hangs up."""
        while line := await reader.readline():
            told = SERIALIZER.loads(line.decode())
            answer = getattr(self, told["op"])(told)
            writer.write((SERIALIZER.dumps(answer) + "\n").encode())
        writer.close()

    def started(self, told: Mapping[str, Any]) -> None:
        """A behaviour was started."""
        self._setup.world.started(SimpleNamespace(**told["ctx"]))  # type: ignore[arg-type]

    def called(self, told: Mapping[str, Any]) -> None:
        """A behaviour was called."""
        self._setup.world.called(SimpleNamespace(**told["ctx"]))  # type: ignore[arg-type]

    def event(self, told: Mapping[str, Any]) -> None:
        """Something happened."""
        fields = told["event"]
        self._setup.listener(FlowEvent(**{**fields, "iteration": tuple(fields["iteration"])}))

    def count(self, told: Mapping[str, Any]) -> int:
        """A behaviour counts its calls."""
        self._setup.world.calls[told["name"]] = told["value"]
        return int(told["value"])

    def counted(self, told: Mapping[str, Any]) -> int:
        """A behaviour asks for its count."""
        return self._setup.world.calls[told["name"]]

    def cancel(self, _told: Mapping[str, Any]) -> None:
        """A behaviour gives the caller's signal to stop."""
        if self._setup.world.cancel is not None:
            self._setup.world.cancel.cancel()


@asynccontextmanager
async def in_processes(setup: Setup) -> AsyncIterator[DurableEngine]:
    """A file, two worker processes on it, and a client here."""
    with TemporaryDirectory() as name:
        path, ear = Path(name) / "runs.db", str(Path(name) / "ear")
        server = await asyncio.start_unix_server(Hearing(setup), ear, limit=1 << 26)
        client = SqliteAdapter(path, runtime_of(setup).options)
        case = {
            "path": str(path),
            "ear": ear,
            "blueprints": setup.blueprints,
            "options": setup.options,
        }
        for worker in worker_processes():
            await worker.tell(do="open", **case)
        watch = sqlite3.connect(path)

        def is_moving() -> bool:
            """Whether a message is in hand, or could be taken."""
            now = (client._clock.now(),)
            return watch.execute(_MOVING, now).fetchone() is not None

        try:
            yield DurableEngine(setup, client, is_moving)
        finally:
            for worker in worker_processes():
                await worker.tell(do="close")
            await client.aclose()
            watch.close()
            server.close()
            await server.wait_closed()


# -- the worker's side ------------------------------------------------------------------------


class Mouth:
    """Reports to the checker, and waits for its answer."""

    def __init__(self, ear: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(ear)
        self._answers = self._socket.makefile("r", encoding="utf-8")

    def say(self, op: str, **more: Any) -> Any:
        """Report something."""
        self._socket.sendall((SERIALIZER.dumps({"op": op, **more}) + "\n").encode())
        return SERIALIZER.loads(self._answers.readline())

    def close(self) -> None:
        """Hang up."""
        self._answers.close()
        self._socket.close()


class Calls(Counter[str]):
    """Counts that are kept by the checker."""

    def __init__(self, mouth: Mouth) -> None:
        super().__init__()
        self._mouth = mouth

    def __getitem__(self, name: str) -> int:
        return int(self._mouth.say("counted", name=name))

    def __setitem__(self, name: str, value: int) -> None:
        self._mouth.say("count", name=name, value=value)


class ToldWorld(World):
    """The world of behaviours that run in another process than the checker."""

    def __init__(self, mouth: Mouth) -> None:
        super().__init__(asyncio.sleep)
        self._mouth = mouth
        self.calls = Calls(mouth)
        self.cancel = CancelToken()
        self.cancel.on_cancel(lambda: mouth.say("cancel"))

    def started(self, ctx: Any) -> None:
        self._mouth.say("started", ctx=_told(ctx))

    def called(self, ctx: Any) -> None:
        self._mouth.say("called", ctx=_told(ctx))


def _told(ctx: Any) -> dict[str, Any]:
    names = ("run_id", "blueprint_id", "node_id", "attempt", "input", "idempotency_key")
    return {name: getattr(ctx, name) for name in names}


class Opened:
    """A case that a worker process works on."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._mouth = Mouth(told["ear"])
        options = told["options"]
        runtime = FlowRuntime(
            blueprints=told["blueprints"],
            registry=ToldWorld(self._mouth).registry(),
            evaluator=EVALUATORS[options.get("evaluator", "property")](),
            max_executions=max_executions(options),
            listeners=[self._hear],
        )
        self._adapter = SqliteAdapter(told["path"], runtime.options, **worker_options(options))

    def _hear(self, event: FlowEvent) -> None:
        self._mouth.say("event", event=asdict(event))

    async def start(self) -> None:
        await self._adapter.start()

    async def close(self) -> None:
        await self._adapter.stop()
        self._mouth.close()


async def serve() -> None:
    """Do what the checker says, case after case, until it hangs up."""
    opened: Opened | None = None
    while line := await asyncio.to_thread(sys.stdin.readline):
        told = json.loads(line)
        if told["do"] == "open":
            opened = Opened(told)
            await opened.start()
        elif opened is not None:
            await opened.close()
            opened = None
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(serve())
