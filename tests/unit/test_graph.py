"""Where blueprints start and end, and their cycles."""

from __future__ import annotations

from typing import Any

import pytest

from flowcraft.core import graph
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.graph import (
    analyze_blueprint,
    start_node_ids,
    strongly_connected_components,
)


def drawn(nodes: str, edges: str, **config: Any) -> dict[str, Any]:
    """A blueprint from ``"a b c"`` and ``"ab bc"``; ``config`` is by node id."""
    return {
        "id": "wf",
        "nodes": [
            {"id": n, "uses": "work", **({"config": config[n]} if n in config else {})}
            for n in nodes.split()
        ],
        "edges": [{"source": e[0], "target": e[1]} for e in edges.split()],
    }


def starts(data: dict[str, Any]) -> tuple[str, ...]:
    """The start nodes of a document."""
    return start_node_ids(WorkflowBlueprint.from_dict(data))


def test_the_analysis_of_a_diamond() -> None:
    """Starts, terminals and counts, in JSON terms."""
    assert analyze_blueprint(drawn("a l r m", "al ar lm rm")).to_dict() == {
        "startNodeIds": ["a"],
        "terminalNodeIds": ["m"],
        "cycles": [],
        "isDag": True,
        "nodeCount": 4,
        "edgeCount": 4,
    }


def test_nothing_to_analyze() -> None:
    """Edges without nodes count for nothing, whatever the document says else."""
    analysis = analyze_blueprint({"edges": [{"source": "a", "target": "b"}]})
    assert (analysis.node_count, analysis.edge_count, analysis.is_dag) == (0, 0, True)


def test_cycles_are_listed_again_on_each_return() -> None:
    """A back edge is met again whenever the search comes back to its node."""
    analysis = analyze_blueprint(drawn("a b c d", "ab ba bc bd"))
    assert analysis.cycles == (("a", "b", "a"),) * 3
    nested = analyze_blueprint(drawn("a b c d", "ab bc cb cd da"))
    assert nested.cycles == (("b", "c", "b"), ("a", "b", "c", "d", "a"), ("b", "c", "b"))


def test_a_node_may_follow_itself() -> None:
    """An edge from a node to itself is a cycle of one."""
    assert analyze_blueprint(drawn("a", "aa")).cycles == (("a", "a"),)


def test_a_long_ring() -> None:
    """A ring of 50,000 nodes is one cycle, and no matter for the interpreter's stack."""
    count = 50_000
    data = {
        "nodes": [{"id": str(i), "uses": "work"} for i in range(count)],
        "edges": [{"source": str(i), "target": str((i + 1) % count)} for i in range(count)],
    }
    (cycle,) = analyze_blueprint(data).cycles
    assert len(cycle) == count + 1
    assert starts(data) == ("0",)


def test_the_number_of_cycles_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a graph with ever so many cycles the first ones are listed."""
    ids = "abcdefghij"
    edges = " ".join(s + t for s in ids for t in ids)
    monkeypatch.setattr(graph, "MAX_CYCLES", 7)
    assert len(analyze_blueprint(drawn(" ".join(ids), edges)).cycles) == 7
    monkeypatch.setattr(graph, "MAX_CYCLE_STEPS", 5)
    assert len(analyze_blueprint(drawn(" ".join(ids), edges)).cycles) < 5


def test_starts_are_nodes_that_nothing_enters() -> None:
    """Several starts come in document order; edges from unknown nodes do not count."""
    assert starts(drawn("c a b", "ab xc")) == ("c", "a")


def test_helpers_do_not_start() -> None:
    """What only serves as another node's fallback or compensation does not start."""
    data = drawn("a f u", "", a={"fallback": "f", "compensate": "u"})
    assert starts(data) == ("a",)


def test_a_node_that_names_itself_starts() -> None:
    """Only being another node's fallback keeps a node from starting."""
    assert starts(drawn("a", "", a={"fallback": "a"})) == ("a",)


def test_entry_points_of_a_ring() -> None:
    """Without a start, the known ones of the entry points are it, in document order."""
    data = drawn("a b c", "ab bc ca")
    data["metadata"] = {"cycleEntryPoints": ["ghost", "c", "b"]}
    assert starts(data) == ("b", "c")


def test_entry_points_are_no_starts_beside_others() -> None:
    """Where some node has no incoming edge, entry points do not matter."""
    data = drawn("s a b", "sa ab ba")
    data["metadata"] = {"cycleEntryPoints": ["b"]}
    assert starts(data) == ("s",)


def test_the_first_node_of_each_ring() -> None:
    """Rings start at their first node, but not those that another ring leads into."""
    assert starts(drawn("b a y x q p", "ab ba xy yx xq pq qp")) == ("b", "y")


def test_unknown_entry_points_are_as_none() -> None:
    """A ring whose entry points do not exist starts at its first node."""
    data = drawn("a b", "ab ba")
    data["metadata"] = {"cycleEntryPoints": ["ghost"]}
    assert starts(data) == ("a",)


def test_a_ring_through_a_fallback_starts_at_a_proper_node() -> None:
    """Where only fallbacks have no incoming edges, the others' cycle starts, not they."""
    assert starts(drawn("b a", "ba", a={"fallback": "b"})) == ("a",)


def test_nodes_that_are_each_others_fallback_start_somewhere() -> None:
    """No blueprint with nodes is without a start."""
    config = {"a": {"fallback": "b"}, "b": {"fallback": "a"}}
    assert starts(drawn("a b", "", **config)) == ("a",)


def test_components_come_before_those_that_lead_to_them() -> None:
    """Components hold their nodes in ascending order and come in reverse topological order."""
    following = [[1], [2, 3], [0], [4], [3], [5, 0]]
    assert strongly_connected_components(6, following) == [[3, 4], [0, 1, 2], [5]]


def test_components_of_a_deep_graph() -> None:
    """A chain of 100,000 nodes has as many components."""
    count = 100_000
    following = [[i + 1] for i in range(count - 1)] + [[]]
    assert len(strongly_connected_components(count, following)) == count
    following[-1] = [0]
    assert len(strongly_connected_components(count, following)) == 1
