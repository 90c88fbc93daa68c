"""Lint findings as the corpus records them: its six codes, in its words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from flowcraft.core.blueprint import WorkflowBlueprint, read_blueprint
from flowcraft.core.lint import LintIssue, lint_blueprint
from tests.conformance.behaviours import BUILTINS, LIBRARY

_MESSAGES: Final = {
    "INVALID_EDGE_SOURCE": "Edge source '{source}' does not correspond to a valid node ID.",
    "INVALID_EDGE_TARGET": "Edge target '{target}' does not correspond to a valid node ID.",
    "ORPHAN_NODE": "Node '{node}' is not reachable from any start node.",
    "MISSING_NODE_IMPLEMENTATION": (
        "Node implementation key '{uses}' is not found in the provided registry."
    ),
    "INVALID_BATCH_WORKER_KEY": (
        "Batch node '{node}' references workerUsesKey '{worker}' which is not found in the "
        "registry."
    ),
    "INVALID_SUBFLOW_BLUEPRINT_ID": (
        "Subflow node '{node}' references blueprintId '{child}' which is not found in the "
        "blueprints registry."
    ),
}


def lint_outcome(case: Mapping[str, Any]) -> dict[str, Any]:
    """Lint the blueprint of a case; findings with codes of our own are left out."""
    result = lint_blueprint(
        case["blueprint"], registry=_known_keys(case["registry"]), blueprints=case["blueprints"]
    )
    blueprint, _ = read_blueprint(case["blueprint"])
    dangling = {
        "INVALID_EDGE_SOURCE": _dangling(blueprint, "source"),
        "INVALID_EDGE_TARGET": _dangling(blueprint, "target"),
    }
    issues = []
    for issue in result.issues:
        if issue.code in _MESSAGES:
            words = next(dangling[issue.code], {}) if issue.code in dangling else {}
            issues.append(_recorded(issue, blueprint, words))
    return {"isValid": not issues, "issues": issues}


def _known_keys(registry: Any) -> frozenset[str]:
    if registry == "library":
        return LIBRARY
    return LIBRARY | BUILTINS if registry == "library+builtins" else frozenset(registry)


def _recorded(
    issue: LintIssue, blueprint: WorkflowBlueprint, words: Mapping[str, str]
) -> dict[str, Any]:
    node = next((node for node in blueprint.nodes if node.id == issue.node_id), None)
    params = node.params if node is not None else {}
    message = _MESSAGES[issue.code].format(
        **{"source": None, "target": None, **words},
        node=issue.node_id,
        uses=node.uses if node is not None else None,
        worker=params.get("workerUsesKey"),
        child=params.get("blueprintId"),
    )
    recorded = {"code": issue.code, "message": message}
    for key, value in (("nodeId", issue.node_id), ("relatedId", issue.related_id)):
        if value is not None:
            recorded[key] = value
    return recorded


def _dangling(blueprint: WorkflowBlueprint, end: str) -> Iterator[dict[str, str]]:
    """The edges of which one end is no node, in document order."""
    ids = {node.id for node in blueprint.nodes}
    for edge in blueprint.edges:
        if getattr(edge, end) not in ids:
            yield {"source": edge.source, "target": edge.target}
