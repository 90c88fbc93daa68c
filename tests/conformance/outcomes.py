"""What a case needs, and how it ended: what all backends share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from flowcraft.core.expressions import Evaluator, PropertyEvaluator, SafeEvaluator
from flowcraft.core.state import DEFAULT_MAX_EXECUTIONS, ErrorInfo
from flowcraft.engine.bus import Listener
from flowcraft.testing import VirtualClock
from tests.conformance.behaviours import World

EVALUATORS: Final[Mapping[str, Callable[[], Evaluator]]] = {
    "property": PropertyEvaluator,
    "unsafe": SafeEvaluator,
}


def max_executions(options: Mapping[str, Any]) -> int:
    """After how many executions a run of a case fails: what its options say, or as usual."""
    return int(options.get("max_executions", DEFAULT_MAX_EXECUTIONS))


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
        world: What the behaviours share.
    """

    blueprint: Mapping[str, Any]
    blueprints: Mapping[str, Any]
    registry: Mapping[str, Any]
    options: Mapping[str, Any]
    listener: Listener
    clock: VirtualClock
    world: World

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
