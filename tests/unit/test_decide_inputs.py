"""What a node is given (rule S6), and what it leaves behind in the context (rules S7 and S8)."""

from __future__ import annotations

from typing import Any

import pytest

from flowcraft.core import events as ev
from flowcraft.core.blueprint import NodeDefinition
from tests.property.drive import Run, blueprint, chain, edge, node

START = {"name": "Ann", "_inputs.x": "given"}


def given(inputs: Any, edges: list[Any] | None = None) -> Any:
    """The input of a node x behind a and b, which returned dictionaries."""
    nodes = [node("a"), node("b"), node("x", **({} if inputs is None else {"inputs": inputs}))]
    run = Run(blueprint(nodes, edges or [edge("a", "x"), edge("b", "x")])).start(START)
    run.ok("a", output={"n": [1, {"deep": 2}]})
    run.ok("b", output="B")
    return run.inputs()["x"]


A = {"n": [1, {"deep": 2}]}


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (None, {"a": A, "b": "B"}),
        ("b", "B"),
        ("a.n", [1, {"deep": 2}]),
        ("a.n.1.deep", 2),
        ("a.n.9", None),
        ("name", "Ann"),
        ("nobody", None),
        ("_inputs.x", "given"),
        ("_outputs.b", "B"),
        ({"one": "b", "two": "a.n.0", "three": "name"}, {"one": "B", "two": 1, "three": "Ann"}),
        ({}, {}),
    ],
)
def test_inputs(inputs: Any, expected: Any) -> None:
    """S6: text names a context key, an output or a path into one; a map is resolved by value."""
    assert given(inputs) == expected


def test_an_id_with_dots_goes_before_a_path() -> None:
    """Format: node ids may hold dots, and are found whole before they are taken apart."""
    nodes = [node("a"), node("a.n"), node("x", inputs="a.n.k")]
    run = Run(blueprint(nodes, [edge("a", "x"), edge("a.n", "x")])).start()
    run.ok("a", output={"n": {"k": "path"}})
    run.ok("a.n", output={"k": "whole"})
    assert run.inputs()["x"] == "whole"


def test_one_taken_edge_gives_that_output_alone() -> None:
    """S6: a join of which one branch was chosen is not given a map."""
    assert given(None, [edge("a", "x"), edge("b", "x", "never")]) == A


def test_the_map_does_not_depend_on_who_was_last() -> None:
    """S6: several predecessors give a map by id, in whatever order they ended."""
    maps = []
    for order in ("ab", "ba"):
        run = Run(blueprint([node(n) for n in "abx"], [edge("a", "x"), edge("b", "x")])).start()
        for node_id in order:
            run.ok(node_id, output=node_id.upper())
        maps.append(run.inputs()["x"])
    assert maps == [{"a": "A", "b": "B"}] * 2


@pytest.mark.parametrize(
    ("inputs", "expected"), [(None, {"a": [1, {"deep": 2}], "b": "B"}), ("name", [1, {"deep": 2}])]
)
def test_a_transform_goes_before_inputs_given_as_text(inputs: Any, expected: Any) -> None:
    """S6: the value of an edge with a transform is what the transform makes of it."""
    assert given(inputs, [edge("a", "x", transform="input.n"), edge("b", "x")]) == expected


def test_inputs_given_as_a_map_go_before_a_transform() -> None:
    """S6: only text gives way to a transform."""
    edges = [edge("a", "x", transform="input.n"), edge("b", "x")]
    assert given({"who": "name"}, edges) == {"who": "Ann"}


def test_of_parallel_edges_the_last_taken_one_wins() -> None:
    """S6: several edges from one predecessor give one value."""
    edges = [edge("a", "x", transform="1"), edge("a", "x", transform="2"), edge("b", "x", "never")]
    assert given(None, edges) == 2


def test_a_transform_on_an_edge_that_did_not_decide_changes_nothing() -> None:
    """S6: where the last taken edge has no transform, `inputs` as text stands."""
    edges = [edge("a", "x", transform="1"), edge("a", "x"), edge("b", "x")]
    assert given("name", edges) == "Ann"


def test_a_transform_that_cannot_be_evaluated_gives_nothing() -> None:
    """S2: it does not crash the run, and is told as an event."""
    nodes, edges = [node("a"), node("x")], [edge("a", "x", transform="1 / 0")]
    run = Run(blueprint(nodes, edges)).start()
    notes = run.ok("a", output=1).notes
    assert run.inputs()["x"] is None
    assert any(each.type == "edge:evaluate" and each.details["error"] for each in notes)


def test_a_stand_in_does_not_override_inputs() -> None:
    """S6: the output of a fallback is an output, no transform."""
    nodes = [node("c", fallback="h"), node("h"), node("x", inputs="name")]
    run = Run(blueprint(nodes, chain("c", "x"))).start(START)
    run.fail("c")
    run.ok("h", output="spare")
    assert run.inputs()["x"] == "Ann"


def test_the_input_of_a_start_node() -> None:
    """Format: `_inputs.<node>` in the initial context is a start node's input."""
    run = Run(blueprint([node("x"), node("y")])).start(START)
    assert run.inputs() == {"x": "given", "y": None}


def test_outputs_are_context_keys() -> None:
    """Format: an output is found under the node's id and under `_outputs.` with it."""
    run = Run(blueprint([node("a"), node("b")], chain("a", "b"))).start({"a": "before"})
    assert run.context["a"] == "before"
    run.ok("a", output=5)
    assert (run.context["a"], run.context["_outputs.a"], run.context["_inputs.b"]) == (5, 5, 5)


def test_writes_become_visible_with_the_output() -> None:
    """S8: set, delete and add are committed together, in order."""
    run = Run(blueprint([node("a")])).start({"old": 1, "n": 2})
    writes = [ev.Write("set", "k", [1]), ev.Write("delete", "old"), ev.Write("add", "n", 3)]
    run.ok("a", writes=[*writes, ev.Write("add", "m", 1)])
    assert (run.context["k"], run.context["n"], run.context["m"]) == ([1], 5, 1)
    assert "old" not in run.context


def test_an_add_that_is_impossible_fails_the_node_and_writes_nothing() -> None:
    """S8: an attempt's writes are applied all or not at all."""
    run = Run(blueprint([node("a")])).start({"n": "text"})
    run.ok("a", writes=[ev.Write("set", "k", 1), ev.Write("add", "n", 1)])
    assert run.status == "failed"
    assert "k" not in run.context
    assert "context.add('n')" in run.errors[0]


def test_parallel_adds_are_all_counted() -> None:
    """S8: `add` is applied at the commit, so that no addition is lost."""
    run = Run(blueprint([node(each) for each in "abc"])).start()
    for each in "abc":
        run.ok(each, writes=[ev.Write("add", "n", 1)])
    assert run.context["n"] == 3


def test_a_node_can_delete_what_an_output_left() -> None:
    """S8: a deleted key is gone, although an output has that name."""
    run = Run(blueprint([node("a"), node("b")], chain("a", "b"))).start()
    run.ok("a", output=1)
    run.ok("b", writes=[ev.Write("delete", "a")])
    assert "a" not in run.context
    assert run.context["_outputs.a"] == 1


def test_a_node_can_add_nodes() -> None:
    """S7: added nodes run at once; a node that names itself `gatherNodeId` waits for them."""
    run = Run(blueprint([node("a"), node("g")], chain("a", "g"))).start()
    dynamic = [NodeDefinition("d1", "task"), NodeDefinition("d2", "task")]
    run.ok("a", output={"gatherNodeId": "g"}, dynamic=dynamic)
    assert run.running() == ["d1", "d2"]
    run.ok("d1", output=1)
    run.ok("d2", output=2)
    assert run.running() == ["g"]
    run.ok("g")
    assert run.status == "completed"
    assert run.context["d2"] == 2


def test_a_failing_added_node_blocks_the_gathering_one() -> None:
    """S7: what waits for added nodes is skipped when one of them fails."""
    run = Run(blueprint([node("a"), node("g")], chain("a", "g"))).start()
    run.ok("a", output={"gatherNodeId": "g"}, dynamic=[NodeDefinition("d", "task")])
    run.fail("d")
    assert run.status_of("g") == "blocked"
    assert run.status == "failed"


def test_an_added_node_needs_an_id_of_its_own() -> None:
    """S7: a node that adds one that is there fails, and nothing is added."""
    run = Run(blueprint([node("a"), node("b")])).start()
    run.ok("a", dynamic=[NodeDefinition("n", "task"), NodeDefinition("b", "task")])
    assert "'b'" in run.errors[0]
    assert "n" not in run.plan.index_of
