"""The rules of lint that look at one node at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from flowcraft.core import answer_schemas, builtins, correlation
from flowcraft.core.blueprint import NodeConfig, NodeDefinition
from flowcraft.core.builtins import BUILTIN_USES
from flowcraft.core.durations import parse_duration_ms
from flowcraft.core.lint_subject import LintIssue, Subject
from flowcraft.core.reading import kind_of

REQUIRED_PARAMS: Final[Mapping[str, tuple[str, ...]]] = {
    builtins.BATCH_SCATTER: ("workerUsesKey", "gatherNodeId"),
    builtins.BATCH_GATHER: ("gatherNodeId",),
    builtins.SUBFLOW: ("blueprintId",),
    builtins.LOOP_CONTROLLER: ("condition",),
}


def lint_implementations(
    subject: Subject, registry: frozenset[str] | None, blueprints: frozenset[str] | None
) -> Iterator[LintIssue]:
    """Nodes, batch workers and subflows that nothing is registered for."""
    for index, node in enumerate(subject.blueprint.nodes):
        if registry is not None:
            yield from _missing_implementation(subject, index, node, registry)
        child = node.params.get("blueprintId")
        is_named = node.uses == builtins.SUBFLOW and isinstance(child, str) and child
        if blueprints is not None and is_named and child not in blueprints:
            yield LintIssue(
                "INVALID_SUBFLOW_BLUEPRINT_ID",
                f"Subflow '{node.id}' runs the blueprint '{child}', which is not known; "
                "register it, or correct 'blueprintId'.",
                node_id=node.id,
                place=subject.node_place(index, "params", "blueprintId"),
            )


def _missing_implementation(
    subject: Subject, index: int, node: NodeDefinition, registry: frozenset[str]
) -> Iterator[LintIssue]:
    if node.uses and node.uses not in BUILTIN_USES and node.uses not in registry:
        yield LintIssue(
            "MISSING_NODE_IMPLEMENTATION",
            f"Nothing is registered as '{node.uses}', which node '{node.id}' uses.",
            node_id=node.id,
            place=subject.node_place(index, "uses"),
        )
    worker = node.params.get("workerUsesKey")
    is_scatter = node.uses == builtins.BATCH_SCATTER
    if is_scatter and isinstance(worker, str) and worker and worker not in registry:
        yield LintIssue(
            "INVALID_BATCH_WORKER_KEY",
            f"Nothing is registered as '{worker}', the worker of batch '{node.id}'.",
            node_id=node.id,
            place=subject.node_place(index, "params", "workerUsesKey"),
        )


def lint_helpers(subject: Subject) -> Iterator[LintIssue]:
    """Fallbacks and compensations that are no nodes, or cannot help."""
    uses = {node.id: node.uses for node in subject.blueprint.nodes}
    for index, node in enumerate(subject.blueprint.nodes):
        undo = node.config.compensate
        if undo is not None and undo != node.id and uses.get(undo) in BUILTIN_USES:
            yield LintIssue(
                "BAD_CONFIG_VALUE",
                f"Node '{node.id}': what is to undo it is '{undo}', which the engine carries out "
                f"itself ({uses[undo]}): that undoes nothing.",
                "warning",
                node_id=node.id,
                related_id=undo,
                place=subject.node_place(index, "config", "compensate"),
            )
        for role in ("fallback", "compensate"):
            helper = getattr(node.config, role)
            if helper is not None and helper not in subject.index_of:
                yield LintIssue(
                    f"UNKNOWN_{role.upper()}",
                    f"The {role} of node '{node.id}' is '{helper}', which is no node.",
                    node_id=node.id,
                    related_id=helper,
                    place=subject.node_place(index, "config", role),
                )


def lint_configs(subject: Subject) -> Iterator[LintIssue]:
    """Configuration that is accepted and does not do what it seems to."""
    for index, node in enumerate(subject.blueprint.nodes):
        for name in node.config.extra:
            yield LintIssue(
                "UNKNOWN_CONFIG_KEY",
                f"Node '{node.id}' has the configuration '{name}', which nothing reads; "
                "see whether it is misspelled.",
                "warning",
                node_id=node.id,
                place=subject.node_place(index, "config", name),
            )
        for name, message in _odd_values(node):
            yield LintIssue(
                "BAD_CONFIG_VALUE",
                f"Node '{node.id}': {message}",
                "warning",
                node_id=node.id,
                place=subject.node_place(index, "config", name),
            )


def _odd_values(node: NodeDefinition) -> Iterator[tuple[str, str]]:
    config: NodeConfig = node.config
    if config.max_retries == 0:
        yield "maxRetries", "'maxRetries' counts all attempts; 0 means one attempt, as 1 does."
    if config.backoff < 1:
        yield "backoff", f"a 'backoff' of {config.backoff} makes each delay shorter."
    longest = config.retry_delay_max_ms
    if longest is not None and longest < config.retry_delay_ms:
        yield "retryDelayMax", "'retryDelayMax' is below 'retryDelay', which so never applies."
    waits = (builtins.WAIT, builtins.WEBHOOK, builtins.SLEEP)
    if config.timeout_ms is not None and node.uses in waits:
        yield "timeout", "a node that waits has its 'timeout' among its params, not here."
    if config.max_retries > 1 and node.uses in waits:
        yield "maxRetries", "a node that waits does not fail, so it is never retried."
    if config.timeout_ms == 0:
        yield "timeout", "a 'timeout' of 0 leaves no time; leave it out for no limit."
    for role in ("fallback", "compensate"):
        if getattr(config, role) == node.id:
            yield role, f"a node cannot be its own {role}."
    says_all = config.join_strategy == "all" and "joinStrategy" in config.given
    if says_all and node.uses == builtins.LOOP_CONTROLLER:
        yield "joinStrategy", "a loop-controller always joins 'any' of its edges."


def lint_references(subject: Subject) -> Iterator[LintIssue]:
    """Paths that reach into nothing: only a node's output has parts (S6)."""
    for index, node in enumerate(subject.blueprint.nodes):
        for place, text in _references(node):
            if _is_loose_path(subject, text):
                yield LintIssue(
                    "LOOSE_REFERENCE",
                    f"Node '{node.id}' refers to '{text}', but '{text.split('.')[0]}' is no node: "
                    "only the context key of exactly that name is looked up. To reach into a "
                    "context value, let the node read it.",
                    "warning",
                    node_id=node.id,
                    place=subject.node_place(index, *place),
                )


def _references(node: NodeDefinition) -> Iterator[tuple[tuple[str, ...], str]]:
    """The references of a node, with their places in it."""
    inputs = node.inputs if isinstance(node.inputs, Mapping) else {"": node.inputs or ""}
    for name, text in inputs.items():
        if isinstance(text, str):  # the reader reports what is none
            yield ("inputs", *([name] if name else [])), text
    key = node.params.get(correlation.CORRELATION_KEY)
    if node.uses in (builtins.WAIT, builtins.WEBHOOK) and isinstance(key, str):
        yield ("params", correlation.CORRELATION_KEY), key


def _is_loose_path(subject: Subject, text: str) -> bool:
    if "." not in text or text.startswith("_"):
        return False
    parts = text.split(".")
    heads = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
    return not any(head in subject.index_of for head in heads)


def lint_params(subject: Subject) -> Iterator[LintIssue]:
    """Parameters of the built-in nodes: missing ones, and ones the engine refuses."""
    for index, node in subject.nodes_using(BUILTIN_USES):
        for name in REQUIRED_PARAMS.get(node.uses, ()):
            if node.params.get(name) in (None, ""):
                yield LintIssue(
                    "MISSING_PARAM",
                    f"Node '{node.id}' ({node.uses}) lacks the parameter '{name}'.",
                    "warning",
                    node_id=node.id,
                    place=subject.node_place(index, "params", name),
                )
        for code, name, message in _refused_params(subject, node):
            yield LintIssue(
                code,
                f"Node '{node.id}': parameter '{name}': {message}",
                node_id=node.id,
                place=subject.node_place(index, "params", name),
            )


Refused = Iterator[tuple[str, str, str]]


def _refused_params(subject: Subject, node: NodeDefinition) -> Refused:
    check = _CHECKS.get(node.uses)
    if check is not None:
        yield from check(subject, node)


def _check_sleep(subject: Subject, node: NodeDefinition) -> Refused:
    del subject
    yield from _check_duration(node, "duration")


def _check_wait(subject: Subject, node: NodeDefinition) -> Refused:
    del subject
    if node.params.get("timeout") is not None:
        yield from _check_duration(node, "timeout")
    for name, problem in correlation.problems(node.params):
        yield "BAD_PARAM", name, f"{problem}."
    actions = node.params.get("actions")
    if actions is not None and not isinstance(actions, list | tuple):
        yield "BAD_PARAM", "actions", f"must be a list, not {kind_of(actions)}; it is ignored."
    schema = node.params.get("schema")
    for place, problem in answer_schemas.problems(schema) if schema is not None else ():
        yield "BAD_SCHEMA", "schema", f"{place} {problem}.".lstrip()


def _check_duration(node: NodeDefinition, name: str) -> Refused:
    try:
        parse_duration_ms(node.params.get(name))
    except ValueError as error:
        yield "BAD_DURATION", name, f"{error}."


def _check_scatter(subject: Subject, node: NodeDefinition) -> Refused:
    params = node.params
    for name in ("workerUsesKey", "gatherNodeId"):
        if params.get(name) is not None and not isinstance(params[name], str):
            yield "BAD_PARAM", name, f"must be text, not {kind_of(params[name])}."
    gather = params.get("gatherNodeId")
    if isinstance(gather, str) and gather and gather not in subject.index_of:
        yield "BAD_PARAM", "gatherNodeId", f"'{gather}' is no node, so nothing gets the results."
    for name in ("chunkSize", "concurrency"):
        value = params.get(name)
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (is_whole and value >= 1):
            yield "BAD_PARAM", name, f"must be a whole number of at least 1, not {kind_of(value)}."
    if params.get("failureMode") not in (None, "fail", "collect"):
        kind = kind_of(params["failureMode"])
        yield "BAD_PARAM", "failureMode", f"must be 'fail' or 'collect', not {kind}."


def _check_subflow(subject: Subject, node: NodeDefinition) -> Refused:
    del subject
    child = node.params.get("blueprintId")
    if child is not None and not isinstance(child, str):
        yield "BAD_PARAM", "blueprintId", f"must be text, not {kind_of(child)}."
    for name in ("inputs", "outputs"):
        value = node.params.get(name)
        is_map = isinstance(value, Mapping)
        if value is not None and not (is_map and all(isinstance(v, str) for v in value.values())):
            yield "BAD_PARAM", name, "must be a map of texts."


_CHECKS: Final[Mapping[str, Callable[[Subject, NodeDefinition], Refused]]] = {
    builtins.SLEEP: _check_sleep,
    builtins.WAIT: _check_wait,
    builtins.WEBHOOK: _check_wait,
    builtins.BATCH_SCATTER: _check_scatter,
    builtins.SUBFLOW: _check_subflow,
}


def text_condition(node: NodeDefinition) -> str | None:
    """The condition of a loop controller, if it is text."""
    condition: Any = node.params.get("condition")
    return condition if isinstance(condition, str) and condition else None
