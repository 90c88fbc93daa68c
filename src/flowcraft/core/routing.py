"""Which links are taken when a node succeeds (rule S2), and with which value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from flowcraft.core.blueprint import EdgeDefinition
from flowcraft.core.context import Overlay
from flowcraft.core.expressions import is_truthy
from flowcraft.core.plan import Key, Kind, PlanNode
from flowcraft.core.step import Step
from flowcraft.core.values import snapshot
from flowcraft.errors import ExpressionError


class Route(NamedTuple):
    """The links taken (``None``: all of them), and the values of those with a transform."""

    taken: tuple[int, ...] | None
    values: Mapping[int, Any] | None


ALL = Route(None, None)
NONE = Route((), None)


def choose(step: Step, node: PlanNode, key: Key, output: Any, action: Any) -> Route:
    """Decide which links of ``node`` are taken after it returned ``output`` and ``action``."""
    if node.plain:
        return ALL
    edges = _chosen_edges(step, node, key, output, action)
    # Of parallel edges the last one taken gives the value (S6).
    deciding = dict(edges)
    values = {
        link: _transformed(step, key, edge, output)
        for link, edge in deciding.items()
        if edge.transform
    }
    return Route(tuple(deciding), values or None)


def _chosen_edges(
    step: Step, node: PlanNode, key: Key, output: Any, action: Any
) -> list[tuple[int, EdgeDefinition]]:
    edges = [(link.index, edge) for link in node.out for edge in link.edges]
    result = {"output": output, "action": action}
    verdicts: dict[int, bool] = {}

    def passing(candidates: Iterable[tuple[int, EdgeDefinition]]) -> list[Any]:
        return [pair for pair in candidates if _passes(step, key, pair[1], result, verdicts)]

    if node.kind is Kind.LOOP:
        # A conditional edge out of a controller goes before its verdict (S10).
        chosen = passing(pair for pair in edges if pair[1].condition and not pair[1].action)
        if chosen:
            return chosen
    if is_given(action):
        chosen = passing(pair for pair in edges if same_action(pair[1].action, action))
        if chosen:
            return chosen
    return passing(pair for pair in edges if not is_given(pair[1].action))


def is_given(action: Any) -> bool:
    """Whether an action says anything: an empty text is the same as none."""
    return action is not None and action != ""


def same_action(wanted: Any, action: Any) -> bool:
    """Whether an edge asks for this action; ``1``, ``"1"`` and ``true`` are three actions."""
    return wanted == action and isinstance(wanted, bool) == isinstance(action, bool)


def _passes(
    step: Step,
    key: Key,
    edge: EdgeDefinition,
    result: Mapping[str, Any],
    verdicts: dict[int, bool],
) -> bool:
    if not edge.condition:
        return True
    if id(edge) not in verdicts:
        verdicts[id(edge)] = _evaluate_condition(step, key, edge, result)
    return verdicts[id(edge)]


def _evaluate_condition(
    step: Step, key: Key, edge: EdgeDefinition, result: Mapping[str, Any]
) -> bool:
    verdict, error = truth_of(step, str(edge.condition), {"result": result})
    details = {"target": edge.target, "condition": edge.condition, "result": verdict}
    step.note("edge:evaluate", key, **details, **({"error": error} if error else {}))
    return verdict


def truth_of(step: Step, condition: str, front: Mapping[str, Any]) -> tuple[bool, str | None]:
    """Whether a condition holds, and why it could not be evaluated if it could not.

    Context keys are names of the expression. The name ``context`` is the whole context, except
    for property paths, whose roots are keys and nothing else.
    """
    view = step.context
    if not getattr(step.plan.evaluator, "paths_only", False):
        front = {**front, "context": view}
    try:
        return is_truthy(step.plan.evaluator.evaluate(condition, Overlay(front, view))), None
    except ExpressionError as error:
        return False, str(error)
    except Exception as error:  # evaluators are pluggable, and none may stop a run (S2)
        return False, f"{type(error).__name__}: {error}"


def _transformed(step: Step, key: Key, edge: EdgeDefinition, output: Any) -> Any:
    scope = {"input": output, "context": step.context}
    try:
        value = step.plan.evaluator.evaluate(str(edge.transform), scope)
        # A value like any other: data, and not the live context that it may mention.
        return snapshot(value, registered=step.plan.codecs, where="the transform's value")
    except Exception as error:  # as for conditions
        step.note(
            "edge:evaluate",
            key,
            target=edge.target,
            transform=edge.transform,
            result=None,
            error=str(error),
        )
        return None
