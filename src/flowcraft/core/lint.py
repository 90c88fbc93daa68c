"""Lint: what is wrong with a blueprint, or looks like a mistake, before it is run.

Nothing here refuses a blueprint: that is for ``WorkflowBlueprint.from_dict``, whose problems
are among the findings (``MALFORMED``, ``DUPLICATE_NODE_ID``). A blueprint without findings
ends, whatever its shape, provided that every condition of a loop becomes false, and every
condition or action on a cycle is at some time not taken.

============================  ========  =====================================================
code                          severity  found
============================  ========  =====================================================
MALFORMED                     error     a field is missing, or has a value that is refused
DUPLICATE_NODE_ID             error     two nodes have the same id
MISSING_BLUEPRINT_ID          warning   the blueprint has no id
MISSING_EDGES                 warning   the document has no ``edges``
MISSING_NODE_IMPLEMENTATION   error     the registry lacks a node's ``uses``
INVALID_BATCH_WORKER_KEY      error     the registry lacks a batch's ``workerUsesKey``
INVALID_SUBFLOW_BLUEPRINT_ID  error     a subflow's blueprint is not known
INVALID_EDGE_SOURCE           error     an edge comes from an unknown node
INVALID_EDGE_TARGET           error     an edge leads to an unknown node
ORPHAN_NODE                   either    no node without incoming edges leads to it; an error
                                        if it never runs
UNREACHABLE_NODE              error     it never runs for another reason
LOOP_WITHOUT_CONTINUE         error     a loop-controller without a ``continue`` edge
LOOP_WITHOUT_EXIT             error     a cycle whose edges are always taken
FALLBACK_LOOP                 warning   a fallback leads back to the node that failed
GATHER_WITHOUT_EDGE           warning   no edge leads from a batch to its gather node
UNKNOWN_FALLBACK              error     a ``fallback`` is no node
UNKNOWN_COMPENSATE            error     a ``compensate`` is no node
UNKNOWN_CYCLE_ENTRY           warning   one of ``cycleEntryPoints`` is no node
BAD_EXPRESSION                error     a condition or transform does not parse
BAD_DURATION                  error     a ``sleep``, or the timeout of a ``wait``, has none
BAD_PARAM                     error     a parameter that the engine refuses
BAD_SCHEMA                    error     the ``schema`` of a wait cannot be used: no answer fits it
MISSING_PARAM                 warning   a parameter that a built-in node needs
NON_TEXT_ACTION               warning   an edge's action is not text
UNKNOWN_CONFIG_KEY            warning   a configuration that nothing reads
BAD_CONFIG_VALUE              warning   a configuration that does not do what it seems to
BAD_CONCURRENCY_KEY           either    a ``concurrencyKey`` that does not parse, or limits nothing
CONTEXT_KEY_CONFLICT          warning   two nodes, in no order, set the same context key
============================  ========  =====================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flowcraft.core import builtins
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.builtins import BUILTIN_USES
from flowcraft.core.definitions import DuplicateId
from flowcraft.core.expressions import (
    Evaluator,
    PropertyEvaluator,
    SafeEvaluator,
    check_expression,
)
from flowcraft.core.limit_keys import parts_of
from flowcraft.core.lint_flow import (
    lint_actions,
    lint_batches,
    lint_context_keys,
    lint_edges,
    lint_loops,
    lint_reachability,
)
from flowcraft.core.lint_nodes import (
    lint_configs,
    lint_helpers,
    lint_implementations,
    lint_params,
    lint_references,
    text_condition,
)
from flowcraft.core.lint_subject import LintIssue, Severity, Subject
from flowcraft.errors import ExpressionError

__all__ = ["LintIssue", "LintResult", "Severity", "lint_blueprint"]

Check = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class LintResult:
    """All findings about a blueprint, in a fixed order; empty if there are none."""

    issues: tuple[LintIssue, ...] = ()

    @property
    def is_valid(self) -> bool:
        """Whether no finding is an error."""
        return all(issue.severity != "error" for issue in self.issues)

    def to_dict(self) -> dict[str, Any]:
        """The findings in JSON terms: ``{"isValid": …, "issues": […]}``."""
        return {"isValid": self.is_valid, "issues": [issue.to_dict() for issue in self.issues]}


def lint_blueprint(
    blueprint: WorkflowBlueprint | Mapping[str, Any],
    *,
    registry: Iterable[str] | None = None,
    blueprints: Iterable[str] | None = None,
    evaluator: Evaluator | None = None,
) -> LintResult:
    """Look for mistakes in a blueprint. Never raises, however malformed it is.

    Args:
        blueprint: A blueprint, or its JSON form.
        registry: The ``uses`` keys that are registered, such as a registry itself; ``None``
            leaves implementations unchecked. The engine's own keys need not be among them.
        blueprints: The ids of the blueprints that subflows can run, such as a mapping by id;
            ``None`` leaves them unchecked.
        evaluator: What will evaluate conditions and transforms; the safe evaluator by default.
            Expressions of an evaluator that is not of this package are checked by its method
            ``check(text)``, which raises ``ExpressionError``, if it has one.
    """
    subject = Subject(blueprint)
    keys = None if registry is None else frozenset(registry)
    children = None if blueprints is None else frozenset(blueprints)
    rules = (
        _lint_document(subject),
        lint_implementations(subject, keys, children),
        lint_edges(subject),
        lint_reachability(subject),
        lint_batches(subject),
        lint_loops(subject),
        lint_helpers(subject),
        _lint_expressions(subject, _check_of(evaluator)),
        _lint_limit_keys(subject, _check_of(evaluator)),
        lint_params(subject),
        lint_actions(subject),
        lint_configs(subject),
        lint_references(subject),
        lint_context_keys(subject),
    )
    return LintResult(tuple(issue for rule in rules for issue in rule))


def _lint_document(subject: Subject) -> Iterator[LintIssue]:
    """What the reader found, and what it lets pass."""
    for problem in subject.problems:
        if isinstance(problem, DuplicateId):
            message = f"Two nodes have the id '{problem.node_id}': {problem.message}."
            node_id = problem.node_id
            yield LintIssue("DUPLICATE_NODE_ID", message, node_id=node_id, place=problem.place)
        else:
            yield LintIssue("MALFORMED", f"{problem}.", place=problem.place or None)
    if not subject.blueprint.id:
        message = "The blueprint has no id: it cannot be started by name or be a subflow."
        yield LintIssue("MISSING_BLUEPRINT_ID", message, "warning", place="id")
    if not subject.has_edges:
        message = "The blueprint has no 'edges': all of its nodes start at once."
        yield LintIssue("MISSING_EDGES", message, "warning", place="edges")
    for number, entry in enumerate(subject.blueprint.cycle_entry_points):
        if entry not in subject.index_of:
            message = f"The entry point '{entry}' is no node; it is ignored."
            place = f"metadata.cycleEntryPoints[{number}]"
            yield LintIssue("UNKNOWN_CYCLE_ENTRY", message, "warning", place=place)


def _lint_expressions(subject: Subject, check: Check | None) -> Iterator[LintIssue]:
    """Conditions and transforms that do not parse."""
    if check is None:
        return
    for index, edge in enumerate(subject.blueprint.edges):
        for role in ("condition", "transform"):
            text = getattr(edge, role)
            problem = _problem_of(check, text)
            if problem is not None:
                yield LintIssue(
                    "BAD_EXPRESSION",
                    f"The {role} of the edge '{edge.source}' -> '{edge.target}': {problem}",
                    node_id=edge.source,
                    related_id=edge.target,
                    place=subject.edge_place(index, role),
                )
    for index, node in subject.nodes_using({builtins.LOOP_CONTROLLER}):
        problem = _problem_of(check, text_condition(node))
        if problem is not None:
            yield LintIssue(
                "BAD_EXPRESSION",
                f"The condition of the loop-controller '{node.id}': {problem}",
                node_id=node.id,
                place=subject.node_place(index, "params", "condition"),
            )


def _lint_limit_keys(subject: Subject, check: Check | None) -> Iterator[LintIssue]:
    """Keys of limits whose placeholders do not parse, and keys of what nothing limits."""
    for index, node in enumerate(subject.blueprint.nodes):
        template = node.config.concurrency_key
        if template is None:
            continue
        place = subject.node_place(index, "config", "concurrencyKey")
        try:
            texts = [part.text for part in parts_of(template) if part.is_expression]
        except ExpressionError as error:
            message = f"The concurrencyKey of node '{node.id}': {error}; it is taken as it is."
            yield LintIssue("BAD_CONCURRENCY_KEY", message, node_id=node.id, place=place)
            continue
        problems = [_problem_of(check, text) for text in texts] if check is not None else []
        for problem in filter(None, problems):
            message = f"The concurrencyKey of node '{node.id}': {problem}"
            yield LintIssue("BAD_CONCURRENCY_KEY", message, node_id=node.id, place=place)
        if not template.strip():
            message = f"The concurrencyKey of node '{node.id}' is empty; leave it out."
            yield LintIssue("BAD_CONCURRENCY_KEY", message, "warning", node_id=node.id, place=place)
        if node.uses in BUILTIN_USES and node.uses != builtins.BATCH_SCATTER:
            message = (
                f"Node '{node.id}' has a concurrencyKey, which does nothing here: the engine "
                f"carries '{node.uses}' out itself. Give it to nodes with an implementation."
            )
            yield LintIssue("BAD_CONCURRENCY_KEY", message, "warning", node_id=node.id, place=place)


def _problem_of(check: Check, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        check(text)
    except ExpressionError as error:
        return str(error)
    return None


def _check_of(evaluator: Evaluator | None) -> Check | None:
    """What checks the expressions of an evaluator, if anything can."""
    if evaluator is None or type(evaluator) is SafeEvaluator:
        return check_expression
    if type(evaluator) is PropertyEvaluator:
        # A path has no value in an empty scope, but it has to be one.
        return lambda text: evaluator.evaluate(text, {})
    check = getattr(evaluator, "check", None)
    return check if callable(check) else None
