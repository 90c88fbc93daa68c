"""When a node with several predecessors starts, and when it never will (rule S3)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from flowcraft.core import events as ev
from tests.property.drive import Run, blueprint, chain, edge, node


def joining(strategy: str, **more: Any) -> Run:
    """Three nodes a, b, c that lead to j, which leads to z; their edges need the action `go`."""
    nodes = [node("a"), node("b"), node("c"), node("j", joinStrategy=strategy), node("z")]
    edges = [edge(each, "j", "go") for each in "abc"] + [edge("j", "z")]
    return Run(blueprint(nodes, edges, **more)).start()


def settle(run: Run, ends: str) -> None:
    """End a, b and c: t takes its edge, d leaves it dead, f fails."""
    for node_id, end in zip("abc", ends, strict=True):
        if end == "f":
            run.fail(node_id)
        else:
            run.ok(node_id, action="go" if end == "t" else None)


@pytest.mark.parametrize("ends", ["".join(each) for each in itertools.product("tdf", repeat=3)])
def test_all(ends: str) -> None:
    """S3: `all` starts with no failed and one taken edge; failing goes on failing, dead dead."""
    run = joining("all")
    settle(run, ends)
    if "f" in ends:
        assert (run.status_of("j"), run.status_of("z")) == ("blocked", "blocked")
    elif "t" in ends:
        assert run.running() == ["j"]
    else:
        assert (run.status_of("j"), run.status_of("z")) == ("skipped", "skipped")


@pytest.mark.parametrize("ends", ["".join(each) for each in itertools.product("tdf", repeat=3)])
def test_any(ends: str) -> None:
    """S3: `any` starts with one taken edge, whatever the others; else it fails before it dies."""
    run = joining("any")
    settle(run, ends)
    if "t" in ends:
        assert run.running() == ["j"]
    else:
        assert run.status_of("j") == ("blocked" if "f" in ends else "skipped")


def test_all_waits_for_every_edge() -> None:
    """S3: while an edge is pending, an `all` join is too."""
    run = joining("all")
    run.ok("a", action="go")
    run.ok("b", action="go")
    assert run.status_of("j") == "pending"


def test_any_starts_at_the_first_taken_edge_and_once() -> None:
    """S3: an `any` join does not wait for the others, and they do not start it again."""
    run = joining("any")
    run.ok("b", action="go", output="first")
    assert run.state.records[run.key("j")].input == "first"
    run.ok("j")
    run.ok("a", action="go", output="second")
    run.ok("c", action="go")
    run.ok("z")
    assert run.status == "completed"
    assert run.state.executions == 5


def test_a_failed_edge_skips_an_all_join_at_once() -> None:
    """S3: what cannot start any more is not waited for."""
    run = joining("all")
    run.fail("a")
    assert run.status_of("j") == "blocked"
    assert run.running() == ["b", "c"]


def test_an_if_else_followed_by_a_join_just_works() -> None:
    """S3: no run waits for a branch that was not chosen."""
    edges = [edge("if", "yes", "y"), edge("if", "no", "n"), edge("yes", "j"), edge("no", "j")]
    run = Run(blueprint([node(n) for n in ("if", "yes", "no", "j")], edges)).start()
    run.ok("if", action="n")
    run.ok("no", output=7)
    assert run.inputs()["j"] == 7
    run.ok("j")
    assert run.status == "completed"
    assert run.status_of("yes") == "skipped"


def test_skipping_reaches_to_the_end_of_a_long_branch() -> None:
    """S3: a skipped branch is skipped to its end in one decision, however long it is."""
    names = [f"n{i}" for i in range(3000)]
    nodes = [node("a"), *[node(each) for each in names]]
    edges = [edge("a", names[0], "go"), *chain(*names)]
    run = Run(blueprint(nodes, edges)).start()
    run.ok("a")
    assert run.status == "completed"
    assert run.status_of(names[-1]) == "skipped"


def test_parallel_edges_count_as_one() -> None:
    """S6: several edges from one predecessor are one link to wait for."""
    edges = [edge("a", "j"), edge("a", "j", condition="false"), edge("b", "j")]
    run = Run(blueprint([node("a"), node("b"), node("j")], edges)).start()
    run.ok("a")
    assert run.status_of("j") == "pending"
    run.ok("b")
    assert run.running() == ["j"]


def test_what_can_never_run_is_not_waited_for() -> None:
    """S3: an edge out of a cycle that nothing leads to holds nothing up."""
    edges = [edge("a", "j"), edge("x", "y"), edge("y", "x"), edge("y", "j")]
    run = Run(blueprint([node(each) for each in "ajxy"], edges)).start()
    run.ok("a")
    run.ok("j")
    assert run.status == "completed"
    assert run.status_of("x") == "pending"


def test_a_hold_that_the_same_decision_puts_on_a_node_counts() -> None:
    """A batch whose gather is a plain node with one link of its own still comes before it (S11)."""
    names = {"workerUsesKey": "work", "gatherNodeId": "g"}
    nodes = [node("a"), node("s", "batch-scatter", params=names), node("g")]
    run = Run(blueprint(nodes, [edge("a", "s"), edge("a", "g")])).start()
    run.ok("a", output=[1])
    assert run.running() == []
    run.send(ev.ItemSucceeded(run.key("s"), 0, 1, None))
    assert run.running() == ["g"]


def test_only_nodes_with_nothing_special_around_them_take_the_short_way() -> None:
    """A plain chain is decided in fewer steps; conditions, fallbacks, undoing and loops are not."""

    def straight(nodes: list[Any], edges: list[Any]) -> dict[str, bool]:
        return {node.id: node.straight for node in Run(blueprint(nodes, edges)).plan.nodes}

    a, b = node("a"), node("b")
    assert straight([a, b], [edge("a", "b")]) == {"a": True, "b": True}
    assert straight([a, b], [edge("a", "b", condition="x")]) == {"a": False, "b": True}
    for special in ("fallback", "compensate"):
        helped = {**a, "config": {special: "b"}}
        assert straight([helped, b], [])["a"] is False
    assert straight([a, b], [edge("a", "b"), edge("b", "a")]) == {"a": False, "b": False}
