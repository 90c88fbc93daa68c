"""The engines that the corpus can be run on, by name.

A new backend is one entry of ``BACKENDS``: a function that takes a :class:`Setup` and gives an
async context manager with an :class:`Engine`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from flowcraft.core.expressions import Evaluator, PropertyEvaluator, SafeEvaluator
from flowcraft.core.state import ErrorInfo
from flowcraft.engine.bus import Listener
from flowcraft.engine.context import CancelToken
from flowcraft.engine.results import RunResult
from flowcraft.engine.runtime import FlowRuntime
from flowcraft.testing import VirtualClock

EVALUATORS: Final[Mapping[str, Callable[[], Evaluator]]] = {
    "property": PropertyEvaluator,
    "unsafe": SafeEvaluator,
}


@dataclass(frozen=True, slots=True)
class Setup:
    """What a backend needs to run one case.

    Attributes:
        blueprint: The blueprint of the case, as it is handed over.
        blueprints: Further blueprints by id.
        registry: The behaviours by name.
        options: The ``options`` of the case.
        listener: Takes the events of the engine.
        clock: The time of all runs; it jumps to the next timer when nothing is at work.
    """

    blueprint: Mapping[str, Any]
    blueprints: Mapping[str, Any]
    registry: Mapping[str, Any]
    options: Mapping[str, Any]
    listener: Listener
    clock: VirtualClock

    @property
    def evaluator(self) -> Evaluator:
        """The evaluator that the case asks for."""
        return EVALUATORS[self.options.get("evaluator", "property")]()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended or where it rests; ``saved`` is what a resume continues from."""

    status: str
    context: Mapping[str, Any]
    errors: list[dict[str, Any]] = field(default_factory=list)
    saved: Any = None


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

BACKENDS: Final[Mapping[str, OpenBackend]] = {"memory": memory}


def _outcome(result: RunResult) -> Outcome:
    errors = [error_data(error) for error in result.errors]
    return Outcome(str(result.status), dict(result.context), errors, result.state)


def error_data(error: ErrorInfo) -> dict[str, Any]:
    """An error of a run as the case files write it."""
    return {
        "message": error.message,
        "nodeId": error.node_id,
        "name": error.type,
        "isFatal": error.is_fatal,
        "originalIsFatal": error.is_fatal,
        "causes": [message for _, message in error.causes],
    }
