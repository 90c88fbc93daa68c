"""Where a run starts and which edges it takes (rules S1 and S2), as decided by the core."""

from __future__ import annotations

from typing import Any

import pytest

from tests.property.drive import Document, Run, blueprint, chain, edge, node


def run_of(*node_ids: str, edges: list[Document], **meta: Any) -> Run:
    """A run of plain nodes that has just begun."""
    return Run(blueprint([node(each) for each in node_ids], edges, **meta)).start()


def test_nodes_without_incoming_edges_start() -> None:
    """S1: every node without incoming edges starts, in document order."""
    run = run_of("a", "b", "c", edges=[edge("b", "c")])
    assert run.running() == ["a", "b"]


def test_a_node_that_is_only_a_fallback_does_not_start() -> None:
    """S1: a node that only serves as a fallback is not a start."""
    run = Run(blueprint([node("a", fallback="h"), node("h")])).start()
    assert run.running() == ["a"]


def test_a_compensation_does_not_start() -> None:
    """S19: a node that only undoes another one is not a start."""
    run = Run(blueprint([node("a", compensate="u"), node("u")])).start()
    assert run.running() == ["a"]


@pytest.mark.parametrize(("meta", "started"), [({}, "a@0"), ({"cycleEntryPoints": ["b"]}, "b@0")])
def test_a_cycle_starts_at_its_entry_point(meta: dict[str, Any], started: str) -> None:
    """S1: without another start a cycle begins where the metadata say, else at its first node."""
    run = run_of("a", "b", edges=[edge("a", "b"), edge("b", "a", "again")], **meta)
    assert run.running() == [started]


def test_edges_that_touch_unknown_nodes_are_ignored() -> None:
    """Format: an edge from or to an unknown node holds nothing up."""
    run = run_of("a", "b", edges=[edge("ghost", "b"), edge("a", "b"), edge("b", "ghost")])
    run.ok("a")
    run.ok("b")
    assert run.status == "completed"


def test_all_matching_edges_are_taken() -> None:
    """S2: an action takes every edge with that action, and no other."""
    edges = [edge("a", "x", "go"), edge("a", "y", "go"), edge("a", "z"), edge("a", "w", "no")]
    run = run_of("a", "x", "y", "z", "w", edges=edges)
    run.ok("a", action="go")
    assert run.running() == ["x", "y"]
    assert run.status_of("z") == run.status_of("w") == "skipped"


@pytest.mark.parametrize("action", ["unheard-of", None, ""])
def test_without_a_match_edges_without_action_are_taken(action: str | None) -> None:
    """S2: an action that no edge asks for, or none, takes the edges without action."""
    run = run_of("a", "x", "y", edges=[edge("a", "x", "go"), edge("a", "y")])
    run.ok("a", action=action)
    assert run.running() == ["y"]


def test_a_false_condition_on_the_action_leads_to_the_plain_edges() -> None:
    """S2: an edge with the action whose condition is false does not match."""
    edges = [edge("a", "x", "go", condition="result.output.ready"), edge("a", "y")]
    run = run_of("a", "x", "y", edges=edges)
    run.ok("a", output={"ready": False}, action="go")
    assert run.running() == ["y"]


def test_conditions_see_the_result_and_the_context() -> None:
    """S2: a condition reads `result` and the context keys by name."""
    edges = [
        edge("a", "x", condition="result.output > limit"),
        edge("a", "y", condition="result.action == 'big'"),
    ]
    run = Run(blueprint([node("a"), node("x"), node("y")], edges)).start({"limit": 3})
    run.ok("a", output=4, action="big")
    assert run.running() == ["x", "y"]


def test_a_condition_that_cannot_be_evaluated_is_false_and_says_so() -> None:
    """S2: such a condition never passes, never raises, and is told as an event."""
    edges = [edge("a", "x", condition="1 / 0 > 0"), edge("a", "y")]
    run = run_of("a", "x", "y", edges=edges)
    notes = run.ok("a").notes
    assert run.running() == ["y"]
    told = [note.details for note in notes if note.type == "edge:evaluate"]
    assert [(each["target"], each["result"]) for each in told] == [("x", False)]
    assert told[0]["error"]


def test_none_is_an_output_like_any_other() -> None:
    """S7: a node that returns nothing has completed."""
    run = run_of("a", "b", edges=chain("a", "b"))
    run.ok("a", output=None)
    assert run.running() == ["b"]
    assert run.context["a"] is None


def test_an_empty_blueprint_is_completed_at_once() -> None:
    """S5: where nothing runs, the run is over."""
    assert run_of(edges=[]).status == "completed"
