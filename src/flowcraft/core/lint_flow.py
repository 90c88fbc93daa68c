"""The rules of lint that look at how nodes are connected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final

from flowcraft.core import builtins
from flowcraft.core.blueprint import EdgeDefinition, NodeDefinition
from flowcraft.core.builtins import BREAK, CONTINUE
from flowcraft.core.graph import reach, strongly_connected_components
from flowcraft.core.lint_nodes import text_condition
from flowcraft.core.lint_subject import LintIssue, Subject

ALWAYS: Final = frozenset({"true", "True", "1", "!false", "not False"})

MAX_ORDER_SEARCHES: Final = 200
"""Searches through the graph that tell whether two nodes are ordered; each takes the time to
visit every node. Conflicts beyond that are not looked for."""


def lint_edges(subject: Subject) -> Iterator[LintIssue]:
    """Edges from or to nodes that do not exist, which the engine ignores."""
    for index, edge in enumerate(subject.blueprint.edges):
        if edge.source not in subject.index_of:
            yield LintIssue(
                "INVALID_EDGE_SOURCE",
                f"An edge to '{edge.target}' comes from '{edge.source}', which is no node; "
                "it is ignored.",
                related_id=edge.target,
                place=subject.edge_place(index, "source"),
            )
        if edge.target not in subject.index_of:
            yield LintIssue(
                "INVALID_EDGE_TARGET",
                f"An edge from '{edge.source}' leads to '{edge.target}', which is no node; "
                "it is ignored.",
                related_id=edge.source,
                place=subject.edge_place(index, "target"),
            )


def lint_actions(subject: Subject) -> Iterator[LintIssue]:
    """Actions that are not text."""
    for index, edge in enumerate(subject.blueprint.edges):
        if edge.action is not None and not isinstance(edge.action, str):
            yield LintIssue(
                "NON_TEXT_ACTION",
                f"The edge '{edge.source}' -> '{edge.target}' has the action {edge.action!r}, "
                "which is not text: it is not taken by an action that is written alike as text.",
                "warning",
                node_id=edge.source,
                related_id=edge.target,
                place=subject.edge_place(index, "action"),
            )


def lint_reachability(subject: Subject) -> Iterator[LintIssue]:
    """Nodes that no node without incoming edges leads to, and others that never run.

    A single node is never an orphan. An orphan may run all the same: rule S1 also starts
    rings, and ignores edges from unknown nodes.
    """
    nodes = subject.blueprint.nodes
    reached = _reached_by_drawing(subject)
    for index, node in enumerate(nodes):
        number = subject.index_of[node.id]
        runs = subject.running[number]
        if not reached[number] and len(nodes) > 1:
            yield _orphan(subject, index, node, runs)
        elif not runs:
            yield LintIssue(
                "UNREACHABLE_NODE",
                f"Node '{node.id}' never runs: nothing that runs leads to it, and what it is "
                "the fallback or compensation of does not run either.",
                node_id=node.id,
                place=subject.node_place(index),
            )


def _reached_by_drawing(subject: Subject) -> list[bool]:
    entered = {edge.target for edge in subject.blueprint.edges}
    starts = (number for node_id, number in subject.index_of.items() if node_id not in entered)
    return reach(subject.following, starts)


def _orphan(subject: Subject, index: int, node: NodeDefinition, runs: bool) -> LintIssue:
    if runs:
        message = (
            f"No node without incoming edges leads to '{node.id}'. It runs since a graph without "
            "such nodes starts inside of its cycles, and edges from unknown nodes do not count; "
            "name the start in 'cycleEntryPoints' to make that plain."
        )
    else:
        message = f"Node '{node.id}' never runs: no start leads to it."
    return LintIssue(
        "ORPHAN_NODE",
        message,
        "warning" if runs else "error",
        node_id=node.id,
        place=subject.node_place(index),
    )


def lint_batches(subject: Subject) -> Iterator[LintIssue]:
    """Batches whose gather node no edge leads to, directly or over others (rule S11)."""
    for index, node in subject.nodes_using({builtins.BATCH_SCATTER}):
        gather = node.params.get("gatherNodeId")
        if not isinstance(gather, str) or gather not in subject.index_of:
            continue
        ways = subject.following[subject.index_of[node.id]]
        later = subject.index_of[gather]
        if later not in ways and not reach(subject.following, ways)[later]:
            yield LintIssue(
                "GATHER_WITHOUT_EDGE",
                f"No edge leads from batch '{node.id}' to its gather node '{gather}', which so "
                "does not wait for the results and gets none.",
                "warning",
                node_id=node.id,
                related_id=gather,
                place=subject.node_place(index, "params", "gatherNodeId"),
            )


def lint_loops(subject: Subject) -> Iterator[LintIssue]:
    """Loops that cannot go round, and loops that cannot end."""
    for index, node in subject.nodes_using({builtins.LOOP_CONTROLLER}):
        if not any(edge.action == CONTINUE for edge in _leaving(subject).get(node.id, ())):
            yield LintIssue(
                "LOOP_WITHOUT_CONTINUE",
                f"The loop-controller '{node.id}' has no edge with the action 'continue'; a "
                "run with it is refused. Add one to the first node of the loop's body.",
                node_id=node.id,
                place=subject.node_place(index),
            )
    lasting = _unstoppable(subject)
    yield from _fallback_loops(subject, lasting)
    for part in sorted(strongly_connected_components(len(lasting), lasting)):
        is_cycle = len(part) > 1 or part[0] in lasting[part[0]]
        if is_cycle and subject.running[part[0]]:
            yield _endless_loop(subject, part)


def _fallback_loops(subject: Subject, lasting: list[list[int]]) -> Iterator[LintIssue]:
    """Fallbacks that lead back to the node which failed, with nothing to end that."""
    helpers: dict[int, int] = {}
    for node in subject.blueprint.nodes:
        fallback = node.config.fallback
        if fallback is not None and fallback in subject.index_of and fallback != node.id:
            helpers[subject.index_of[node.id]] = subject.index_of[fallback]
    following = [list(targets) for targets in lasting]
    for number, helper in helpers.items():
        following[number].append(helper)
    for part in sorted(strongly_connected_components(len(following), following)):
        inside = frozenset(part)
        failing = [number for number in part if helpers.get(number) in inside]
        if len(part) > 1 and failing and subject.running[part[0]]:
            node_id, helper_id = (subject.ids[each] for each in (failing[0], helpers[failing[0]]))
            yield LintIssue(
                "FALLBACK_LOOP",
                f"The fallback '{helper_id}' of node '{node_id}' leads back to it, so that it is "
                "tried for as long as it fails. Let retries do that, or let the fallback lead on.",
                "warning",
                node_id=node_id,
                related_id=helper_id,
            )


def _endless_loop(subject: Subject, part: list[int]) -> LintIssue:
    ids = [subject.ids[number] for number in part]
    named = ", ".join(f"'{node_id}'" for node_id in ids[:5])
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return LintIssue(
        "LOOP_WITHOUT_EXIT",
        f"The cycle of {named}{more} never ends: its edges are always taken. Let one of them "
        "have a condition or an action, or lead it through a loop-controller.",
        node_id=ids[0],
        related_id=ids[1] if len(ids) > 1 else None,
        place="edges",
    )


def _unstoppable(subject: Subject) -> list[list[int]]:
    """The edges that are taken whenever their source succeeds, in the long run.

    "In the long run" supposes what lint cannot know: that every condition becomes false and
    every action is at some time not returned. A loop controller then returns ``break``.
    """
    lasting: list[list[int]] = [[] for _ in subject.ids]
    leaving = _leaving(subject)
    for node in subject.blueprint.nodes:
        edges = leaving.get(node.id, [])
        if node.uses != builtins.LOOP_CONTROLLER:
            edges = [edge for edge in edges if edge.condition is None and edge.action is None]
        elif _is_always_true(node):
            edges = [] if _has_way_out(subject, edges) else _unconditional(edges, CONTINUE)
        else:
            edges = _unconditional(edges, BREAK) or _unconditional(edges, None)
        lasting[subject.index_of[node.id]] += [subject.index_of[edge.target] for edge in edges]
    return lasting


def _is_always_true(controller: NodeDefinition) -> bool:
    condition = controller.params.get("condition")
    return condition is True or (text_condition(controller) or "").strip() in ALWAYS


def _has_way_out(subject: Subject, edges: list[EdgeDefinition]) -> bool:
    """Whether a controller can leave its loop by a conditional edge, which goes first."""
    return any(
        edge.condition is not None
        and edge.action is None
        and subject.rank[subject.index_of[edge.source]]
        != subject.rank[subject.index_of[edge.target]]
        for edge in edges
    )


def _unconditional(edges: list[EdgeDefinition], action: str | None) -> list[EdgeDefinition]:
    return [edge for edge in edges if edge.condition is None and edge.action == action]


def _leaving(subject: Subject) -> dict[str, list[EdgeDefinition]]:
    leaving: dict[str, list[EdgeDefinition]] = {}
    for edge in subject.blueprint.edges:
        if edge.source in subject.index_of and edge.target in subject.index_of:
            leaving.setdefault(edge.source, []).append(edge)
    return leaving


def lint_context_keys(subject: Subject) -> Iterator[LintIssue]:
    """Context keys that two nodes set of which neither comes before the other (rule S8)."""
    shared = {key: numbers for key, numbers in _writers(subject).items() if len(numbers) > 1}
    searches = MAX_ORDER_SEARCHES
    for key, writers in shared.items():
        # In topological order, neighbours that are ordered make a chain of all of them.
        for earlier, later in pairwise(sorted(writers, key=subject.rank.__getitem__)):
            searches -= 1
            if searches < 0:
                return
            if not _is_before(subject, earlier, later):
                yield _conflict(subject, key, min(earlier, later), max(earlier, later))
                break


def _is_before(subject: Subject, earlier: int, later: int) -> bool:
    is_same_cycle = subject.rank[earlier] == subject.rank[later]
    return is_same_cycle or reach(subject.following, [earlier])[later]


def _conflict(subject: Subject, key: str, one: int, other: int) -> LintIssue:
    first, second = subject.ids[one], subject.ids[other]
    return LintIssue(
        "CONTEXT_KEY_CONFLICT",
        f"Nodes '{first}' and '{second}' both set the context key '{key}', and neither comes "
        "before the other: the one that ends last wins. Choose different keys, unless only one "
        "of the nodes runs.",
        "warning",
        node_id=second,
        related_id=first,
    )


def _writers(subject: Subject) -> dict[str, set[int]]:
    """The nodes that set each key, where parameters say so; a node sets its own id, too."""
    scatter_keys = {
        node.params.get("gatherNodeId"): node.params.get("outputKey")
        for _, node in subject.nodes_using({builtins.BATCH_SCATTER})
        if isinstance(node.params.get("gatherNodeId"), str)
    }
    writers: dict[str, set[int]] = {}
    for _, node in subject.nodes_using({builtins.BATCH_GATHER, builtins.SUBFLOW}):
        if node.uses == builtins.SUBFLOW:
            outputs = node.params.get("outputs")
            keys = list(outputs) if isinstance(outputs, Mapping) else []
        else:
            keys = [node.params.get("outputKey") or scatter_keys.get(node.id)]
        for key in keys:
            if isinstance(key, str) and key:
                alias = subject.index_of.get(key)
                known = writers.setdefault(key, set() if alias is None else {alias})
                known.add(subject.index_of[node.id])
    return writers
