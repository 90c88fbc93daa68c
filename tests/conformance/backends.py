"""The engines that the corpus can be run on, by name.

A new backend is one entry of ``BACKENDS``: a function that takes a :class:`Setup` and gives an
async context manager with an :class:`Engine`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol

from flowcraft.engine.context import CancelToken
from flowcraft.engine.results import RunResult
from flowcraft.engine.runtime import FlowRuntime
from tests.conformance.durable import durable, in_a_file, in_memory
from tests.conformance.fleet import in_a_fleet
from tests.conformance.outcomes import Outcome, Setup, error_data, max_executions
from tests.conformance.processes import in_processes


class Engine(Protocol):
    """One engine, ready for the runs of one case; a refused call raises FlowcraftError."""

    async def run(self, initial: Any, *, run_id: str, cancel: CancelToken | None) -> Outcome:
        """Run the blueprint of the case until it is over or rests."""

    async def resume(
        self, saved: Any, step: Mapping[str, Any], *, cancel: CancelToken | None
    ) -> Outcome:
        """Continue from a saved state, or from the context that the step gives."""


class MemoryEngine:
    """Runs a case in this process."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._runtime = FlowRuntime(
            blueprints=setup.blueprints,
            registry=setup.registry,
            evaluator=setup.evaluator,
            listeners=[setup.listener],
            max_executions=max_executions(setup.options),
        )
        setup.clock.attach(self._runtime)

    async def run(self, initial: Any, *, run_id: str, cancel: CancelToken | None) -> Outcome:
        """Run the blueprint of the case."""
        options = self._setup.options
        result = await self._runtime.run(
            self._setup.blueprint,
            initial,
            run_id=run_id,
            cancel=cancel,
            timers="return",
            concurrency=options.get("concurrency"),
            strict=options.get("strict"),
        )
        return _outcome(result)

    async def resume(
        self, saved: Any, step: Mapping[str, Any], *, cancel: CancelToken | None
    ) -> Outcome:
        """Continue a run from its text."""
        text = json.dumps(step["context"]) if "context" in step else saved
        result = await self._runtime.resume(
            self._setup.blueprint,
            text,
            node_id=step.get("node"),
            output=step.get("output"),
            action=step.get("action"),
            cancel=cancel,
            timers="return",
            concurrency=self._setup.options.get("concurrency"),
        )
        return _outcome(result)


@asynccontextmanager
async def memory(setup: Setup) -> AsyncIterator[Engine]:
    """In process."""
    yield MemoryEngine(setup)


OpenBackend = Callable[[Setup], AbstractAsyncContextManager[Engine]]

BACKENDS: Final[Mapping[str, OpenBackend]] = {
    "memory": memory,
    "durable": durable(in_memory),
    "shards": durable(in_memory, shard_items=1),
    "sqlite": in_processes,
    "sqlite-one-process": durable(in_a_file),
    "aws": durable(in_a_fleet),
}


def _outcome(result: RunResult) -> Outcome:
    errors = [error_data(error) for error in result.errors]
    return Outcome(str(result.status), dict(result.context), errors, result.state)
