"""From a case to its outcome, in the shape of the case's ``expected``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from flowcraft.core.blueprint import sanitize_blueprint
from flowcraft.core.draw import generate_mermaid
from flowcraft.core.graph import analyze_blueprint
from flowcraft.engine.bus import FlowEvent
from flowcraft.engine.context import CancelToken
from flowcraft.errors import ExpressionError, FlowcraftError
from flowcraft.testing import VirtualClock
from tests.conformance.backends import OpenBackend
from tests.conformance.behaviours import LIBRARY, World
from tests.conformance.lint import lint_outcome
from tests.conformance.outcomes import EVALUATORS, Outcome, Setup
from tests.conformance.recorder import Recorder

Case = Mapping[str, Any]


async def outcome_of(case: Case, open_backend: OpenBackend) -> dict[str, Any]:
    """Do what a case says.

    Returns:
        ``{"results": [...]}`` for a run, else ``{"value": ...}`` or ``{"thrown": ...}``.
    """
    kind = case["kind"]
    if kind == "run":
        return await _CaseRun(case).outcome(open_backend)
    if kind not in _VALUES:
        known = ", ".join(["run", *_VALUES])
        raise ValueError(f"unknown kind of case '{kind}'; known kinds are: {known}")
    try:
        return {"value": _VALUES[kind](case)}
    except FlowcraftError as error:
        return {"thrown": _thrown(error)}


class _CaseRun:
    """A case of kind ``run``: the run and the steps after it, on one engine."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._blueprint = _with_known_subflows(case["blueprint"], case["options"])
        self._blueprints = {
            name: _with_known_subflows(blueprint, case["options"])
            for name, blueprint in case["blueprints"].items()
        }
        self._clock = VirtualClock(autojump=True)
        self._world = World(self._clock.sleep)
        self._saved: Any = None
        self._run_id = ""
        self._runs = 0

    async def outcome(self, open_backend: OpenBackend) -> dict[str, Any]:
        setup = Setup(
            self._blueprint,
            self._blueprints,
            self._world.registry(),
            self._case["options"],
            self._listen,
            self._clock,
            self._world,
        )
        results = []
        async with open_backend(setup) as engine:
            first = {"op": "run", "initial": self._case["initial"]}
            for step in (first, *self._case["steps"]):
                results.append(await self._step(engine, step))
        return {"results": results}

    async def _step(self, engine: Any, step: Mapping[str, Any]) -> dict[str, Any]:
        cancel = self._cancel_token()
        call: Callable[..., Awaitable[Outcome]]
        if step["op"] == "run":
            self._runs += 1
            self._run_id = f"{self._case['name']}-{self._runs}"
            call = partial(engine.run, step.get("initial"), run_id=self._run_id)
        else:
            call = partial(engine.resume, self._saved, step)
        recorder = Recorder([self._blueprint, *self._blueprints.values()], self._run_id, LIBRARY)
        self._world.recorder, self._world.cancel = recorder, cancel
        try:
            outcome = await call(cancel=cancel)
        except FlowcraftError as error:
            return self._result(step, recorder, None, _thrown(error))
        self._saved = outcome.saved
        return self._result(step, recorder, outcome, None)

    def _cancel_token(self) -> CancelToken | None:
        options = self._case["options"]
        if not options.get("cancellable") and not options.get("cancel_before"):
            return None
        token = CancelToken()
        if options.get("cancel_before"):
            token.cancel()
        return token

    def _result(
        self,
        step: Mapping[str, Any],
        recorder: Recorder,
        outcome: Outcome | None,
        thrown: dict[str, Any] | None,
    ) -> dict[str, Any]:
        errors = outcome.errors if outcome is not None else []
        result = {
            "op": step["op"],
            "status": outcome.status if outcome is not None else None,
            "context": dict(outcome.context) if outcome is not None else None,
            "undefined_keys": [],
            "errors": [
                {**error, "nodeId": recorder.error_name(error["nodeId"])} for error in errors
            ],
            "thrown": thrown,
            "executions": recorder.executions,
            "events": recorder.events,
        }
        if step["op"] == "run":
            nodes = _node_ids(self._blueprint)
            result["never_started"] = [node for node in nodes if node not in recorder.executions]
        return result

    def _listen(self, event: FlowEvent) -> None:
        if self._world.recorder is not None:
            self._world.recorder.listen(event)


def _thrown(error: FlowcraftError) -> dict[str, Any]:
    return {
        "name": type(error).__name__,
        "message": str(error),
        "nodeId": error.node_id,
        "isFatal": error.is_fatal,
    }


def _with_known_subflows(blueprint: Any, options: Mapping[str, Any]) -> Any:
    """The blueprint; the further name of subflows that a case may use becomes the usual one."""
    further = options.get("subflow_class_name")
    nodes = blueprint.get("nodes") if isinstance(blueprint, Mapping) else None
    if further is None or not isinstance(nodes, list):
        return blueprint
    renamed = [
        {**node, "uses": "subflow"} if node.get("uses") == further else node for node in nodes
    ]
    return {**blueprint, "nodes": renamed}


def _nodes(blueprint: Any) -> list[Any]:
    nodes = blueprint.get("nodes") if isinstance(blueprint, Mapping) else None
    members = nodes.values() if isinstance(nodes, Mapping) else nodes or ()
    return [node for node in members if isinstance(node, Mapping)]


def _node_ids(blueprint: Any) -> list[Any]:
    return list(dict.fromkeys(node.get("id") for node in _nodes(blueprint)))


# -- everything but runs --------------------------------------------------------------------


def _analyze(case: Case) -> Any:
    return analyze_blueprint(case["blueprint"]).to_dict()


def _sanitize(case: Case) -> Any:
    return sanitize_blueprint(case["blueprint"])


def _evaluate(case: Case) -> Any:
    evaluator = EVALUATORS[case["evaluator"]]()
    try:
        return evaluator.evaluate(case["expression"], case["context"])
    except ExpressionError:  # there is no value, and the evaluator says why
        return {"$undefined": True}


def _mermaid(case: Case) -> Any:
    return generate_mermaid(case["blueprint"])


def _mermaid_run(case: Case) -> Any:
    """A drawing of what the recorded events tell."""
    states: dict[Any, str] = {}
    taken: list[tuple[Any, Any]] = []
    for event in case["events"]:
        payload = event["payload"]
        if event["type"] in _STATES:
            states[payload["nodeId"]] = _STATES[event["type"]]
        elif event["type"] == "edge:evaluate" and payload["result"]:
            taken.append((payload["source"], payload["target"]))
    return generate_mermaid(case["blueprint"], states=states, taken=taken)


_STATES: Final = {
    "node:start": "running",
    "node:finish": "succeeded",
    "node:error": "failed",
    "node:retry": "retrying",
}

_VALUES: Final[Mapping[str, Callable[[Case], Any]]] = {
    "lint": lint_outcome,
    "analyze": _analyze,
    "sanitize": _sanitize,
    "evaluate": _evaluate,
    "mermaid": _mermaid,
    "mermaid_run": _mermaid_run,
}
