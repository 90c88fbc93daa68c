"""The corpus on durable backends: workers and a client on queue and stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flowcraft.adapters.memory import MemoryBlobs, MemoryCoordination, MemoryQueue, MemoryRuns
from flowcraft.adapters.sqlite import (
    Database,
    SqliteBlobs,
    SqliteCoordination,
    SqliteQueue,
    SqliteRuns,
)
from flowcraft.adapters.system import SystemClock, SystemIdentifiers
from flowcraft.core.state import RunStatus
from flowcraft.engine.adapter import Adapter
from flowcraft.engine.client import FlowClient
from flowcraft.engine.context import CancelToken
from flowcraft.engine.runtime import FlowRuntime
from flowcraft.engine.stored import StoredRun
from flowcraft.engine.view import runs_below
from flowcraft.errors import InvalidRunState
from flowcraft.ports.together import OpenPorts, Ports
from tests.conformance.outcomes import Outcome, Setup, error_data, max_executions

WORKERS = 2
LOOK_SECONDS = 0.002


def runtime_of(setup: Setup) -> FlowRuntime:
    """The runtime of a case, whose behaviours sleep in virtual time."""
    runtime = FlowRuntime(
        blueprints=setup.blueprints,
        registry=setup.registry,
        evaluator=setup.evaluator,
        listeners=[setup.listener],
        strict=bool(setup.options.get("strict")),
        max_executions=max_executions(setup.options),
    )
    setup.clock.attach(runtime)
    return runtime


def worker_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """How workers work on a case."""
    concurrency = options.get("concurrency") or 0
    return {
        "poll_seconds": 0.05,
        "concurrency": concurrency if concurrency > 0 else 10,
        "heartbeat": False,
        # Nobody else will come who has what is missing.
        "implementation_timeout_seconds": 0.0,
    }


class DurableEngine:
    """Runs a case by workers elsewhere.

    Args:
        setup: The case.
        client: Starts and steers its runs.
        is_moving: Whether messages are being worked on; a run that rests has none but timers.
    """

    def __init__(self, setup: Setup, client: FlowClient, is_moving: Callable[[], bool]) -> None:
        self._setup = setup
        self._client = client
        self._is_moving = is_moving

    async def run(self, initial: Any, *, run_id: str, cancel: CancelToken | None) -> Outcome:
        """Run the blueprint of the case until it is over or rests."""
        run = await self._client.start_run(
            self._setup.blueprint, initial, run_id=run_id, cancelled=bool(cancel)
        )
        return await self._settled(str(run), cancel)

    async def resume(
        self, saved: Any, step: Mapping[str, Any], *, cancel: CancelToken | None
    ) -> Outcome:
        """Give the waiting node its answer."""
        client = self._client
        facts = await self._facts(saved)
        await client.resume_with_action(
            saved, step.get("action"), step.get("output"), node_id=step.get("node")
        )
        if cancel:
            await client.cancel_run(saved)
        while await self._facts(saved) == facts:
            await asyncio.sleep(LOOK_SECONDS)
        return await self._settled(saved, cancel)

    async def _facts(self, run_id: str) -> int:
        """How much has happened in a run and its children."""
        ledger = await self._client._read(run_id)
        return sum(each.number for each in runs_below(ledger))

    async def _settled(self, run_id: str, cancel: CancelToken | None) -> Outcome:
        client, asked = self._client, False
        while True:
            if cancel and not asked:
                asked = True
                with suppress(InvalidRunState):
                    await client.cancel_run(run_id, reason="cancelled by the caller")
            # Asked first, since it costs little: the workers want to get at the row, too.
            if not self._is_moving():
                head = await client._head(run_id)
                if head.row.status != RunStatus.RUNNING and not self._is_moving():
                    return _outcome(await client.get_run(run_id))
            await asyncio.sleep(LOOK_SECONDS)


def _outcome(run: StoredRun) -> Outcome:
    errors = [error_data(error) for error in run.errors]
    return Outcome(str(run.status), dict(run.context), errors, run.run_id)


@asynccontextmanager
async def in_a_file() -> AsyncIterator[OpenPorts]:
    """Queue and stores in an SQLite file, each worker with a connection of its own."""
    clock = SystemClock()
    with TemporaryDirectory() as directory:

        @asynccontextmanager
        async def open_ports() -> AsyncIterator[Ports]:
            with Database(Path(directory) / "runs.db", clock) as database:
                yield Ports(
                    SqliteQueue(database),
                    SqliteRuns(database),
                    SqliteBlobs(database),
                    SqliteCoordination(database),
                )

        yield open_ports


OpenStorage = Callable[[], AbstractAsyncContextManager[OpenPorts]]


@asynccontextmanager
async def in_memory() -> AsyncIterator[OpenPorts]:
    """Queue and stores in memory."""
    clock = SystemClock()
    ports = Ports(MemoryQueue(clock), MemoryRuns(clock), MemoryBlobs(), MemoryCoordination(clock))

    @asynccontextmanager
    async def open_ports() -> AsyncIterator[Ports]:
        yield ports

    yield open_ports


def durable(
    storage: OpenStorage, **more: Any
) -> Callable[[Setup], AbstractAsyncContextManager[DurableEngine]]:
    """A backend on a storage; ``more`` are options of its adapters."""

    @asynccontextmanager
    async def opened(setup: Setup) -> AsyncIterator[DurableEngine]:
        options = runtime_of(setup).options
        async with storage() as open_ports, AsyncExitStack() as stack:
            count = 1 if setup.options.get("concurrency") == 1 else WORKERS
            adapters = [
                await stack.enter_async_context(
                    Adapter(
                        open_ports,
                        options,
                        clock=SystemClock(),
                        identifiers=SystemIdentifiers(),
                        **worker_options(setup.options),
                        **more,
                    )
                )
                for _ in range(count)
            ]

            def is_moving() -> bool:
                return any(each.worker is not None and each.worker.busy for each in adapters)

            yield DurableEngine(setup, adapters[0], is_moving)

    return opened
