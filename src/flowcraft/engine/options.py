"""What a runtime was given, for whoever is to run the same nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.expressions import Evaluator, SafeEvaluator
from flowcraft.core.limits import Limits
from flowcraft.core.state import DEFAULT_MAX_EXECUTIONS
from flowcraft.engine.bus import EventBus
from flowcraft.engine.links import Links
from flowcraft.engine.middleware import Middleware
from flowcraft.engine.registry import Registry
from flowcraft.engine.serializer import JsonSerializer, Serializer
from flowcraft.engine.spans import Spans
from flowcraft.errors import FlowcraftError

DEFAULT_CONCURRENCY = 100
LONGEST_RETENTION_SECONDS = 100 * 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """What a runtime was given; backends take these to run the same nodes.

    Attributes:
        dependencies: Objects that nodes ask for with ``ctx.dependency(Type)``.
        serializer: How values become text.
        middleware: Layers around each node, outermost first.
        evaluator: Evaluates conditions and transforms.
        concurrency: Nodes under way at once, children's nodes included.
        strict: Whether blueprints with cycles are refused.
        max_executions: Node executions after which a run fails; ``None`` for no bound.
        registry: Implementations by ``uses`` key: the runtime's own, which sees what is added.
        blueprints: Blueprints by id: the runtime's own, which sees what is added.
        bus: Where events go: the runtime's own, so that its listeners hear of durable runs too.
        timers: From when on timers are no messages; the same for all that share queue and stores.
        retention_seconds: How long a durable run is kept after its end; for ever by default.
        limits: What holds for attempts of the same ``concurrencyKey`` together.
        links: Makes the addresses that answer waits; there are none without.
    """

    dependencies: Mapping[Any, Any] = field(default_factory=dict)
    serializer: Serializer = field(default_factory=JsonSerializer)
    middleware: tuple[Middleware, ...] = ()
    evaluator: Evaluator = field(default_factory=SafeEvaluator)
    concurrency: int = DEFAULT_CONCURRENCY
    strict: bool = False
    max_executions: int | None = DEFAULT_MAX_EXECUTIONS
    registry: Registry = field(default_factory=Registry)
    blueprints: Mapping[str, WorkflowBlueprint] = field(default_factory=dict)
    bus: EventBus = field(default_factory=EventBus)
    timers: Spans = field(default_factory=Spans)
    retention_seconds: float | None = None
    limits: Limits = field(default_factory=Limits)
    links: Links | None = None

    @staticmethod
    def checked(options: RuntimeOptions | None) -> RuntimeOptions:
        """What a backend was given; what a runtime without any would have, if that is nothing.

        Raises:
            TypeError: It is something else: a runtime, say.
        """
        if options is None:
            return RuntimeOptions()
        if not isinstance(options, RuntimeOptions):
            raise TypeError(
                f"runtime_options is FlowRuntime(…).options, not a {type(options).__name__}: "
                "write runtime.options."
            )
        return options

    def kept_for(self, retention_seconds: float | None) -> RuntimeOptions:
        """The same, for runs that are kept for so long after their end.

        Raises:
            TypeError: It is no number.
            ValueError: It is not positive, or longer than a hundred years.
        """
        if retention_seconds is None:
            return self
        if isinstance(retention_seconds, bool) or not isinstance(retention_seconds, int | float):
            raise TypeError(f"retention_seconds is a number, not {retention_seconds!r}.")
        if not 0 < retention_seconds <= LONGEST_RETENTION_SECONDS:
            raise ValueError(
                f"retention_seconds is a positive number of up to a hundred years, not "
                f"{retention_seconds!r:.50}; leave it out to keep runs for ever."
            )
        return replace(self, retention_seconds=float(retention_seconds))

    def dependency(self, key: Any) -> Any:
        """The dependency given under ``key``.

        Raises:
            FlowcraftError: There is none; the message lists the keys.
        """
        try:
            return self.dependencies[key]
        except KeyError:
            known = ", ".join(sorted(map(_name_of, self.dependencies))) or "none"
            raise FlowcraftError(
                f"The runtime has no dependency '{_name_of(key)}'. It has: {known}. Pass it as "
                "FlowRuntime(dependencies={…}).",
                is_fatal=True,
            ) from None


def _name_of(key: Any) -> str:
    return key.__qualname__ if isinstance(key, type) else str(key)
