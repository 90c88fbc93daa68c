"""The worker's side: a process that prepares and measures one contender on request.

Requests and answers are JSON, one to a line, over standard input and output. Every contender is
measured in such a process of its own, so that none disturbs another's memory or collector.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Protocol

Run = Callable[[], Awaitable[object]]


class Contender(Protocol):
    """What a worker process measures."""

    def about(self) -> dict[str, Any]:
        """Name and version."""

    async def prepare(self, shape: str, nodes: int) -> tuple[Run, dict[str, float]]:
        """A function that executes the graph once, and what was measured while preparing it.

        The graph has been executed and its outcome checked when this returns.
        """


async def measure(run: Run, seconds: float) -> dict[str, float]:
    """Execute again and again until the time is up, at least once."""
    gc.collect()
    runs = 0
    started = now = perf_counter()
    while not runs or now - started < seconds:
        await run()
        runs += 1
        now = perf_counter()
    return {"runs": runs, "seconds": now - started}


class Server:
    """Answers requests about one contender; it holds one prepared graph at a time."""

    def __init__(self, contender: Contender) -> None:
        self._contender = contender
        self._run: Run | None = None

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request.

        Raises:
            ValueError: Nobody knows this request.
        """
        match request["do"]:
            case "about":
                return self._contender.about()
            case "prepare":
                self._run = None
                self._run, details = await self._contender.prepare(
                    request["shape"], request["nodes"]
                )
                await measure(self._run, request["warm_up_seconds"])
                return details
            case "measure" if self._run is not None:
                return await measure(self._run, request["seconds"])
            case "memory":
                self._run = None
                memory: Any = getattr(self._contender, "memory")  # noqa: B009
                answer: dict[str, Any] = await memory(request["nodes"])
                return answer
        raise ValueError(f"The request is not known, or comes too early: {request['do']!r}")


async def serve(contender: Contender) -> None:
    """Answer requests until standard input is closed."""
    server, answers = Server(contender), sys.stdout
    sys.stdout = sys.stderr  # what a library prints must not get between the answers
    for line in sys.stdin:
        try:
            answer = await server.answer(json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def main(contender: Contender) -> None:
    """Serve in an event loop of the standard library."""
    asyncio.run(serve(contender))
