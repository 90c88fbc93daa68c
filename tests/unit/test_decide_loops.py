"""Loops: iterations, exits, nesting, batches and fallbacks inside of them (rules S3 and S10)."""

from __future__ import annotations

import pytest

from flowcraft.core import events as ev
from flowcraft.errors import BlueprintError
from tests.property.drive import Document, Run, blueprint, chain, edge, node

LOOP = {"params": {"condition": "input < 3"}}


def counting() -> Document:
    """start -> body -> loop, back to body while the body's output is below 3, then end."""
    nodes = [node("start"), node("body"), node("loop", "loop-controller", **LOOP), node("end")]
    edges = [
        *chain("start", "body", "loop"),
        edge("loop", "body", "continue"),
        edge("loop", "end", "break"),
    ]
    return blueprint(nodes, edges)


def test_a_controller_goes_round_until_its_condition_is_false() -> None:
    """S10: true takes the `continue` edges and starts a new iteration, false the `break` edges."""
    run = Run(counting()).start()
    run.ok("start")
    for number in range(3):
        assert run.running() == [f"body@{number}"]
        run.ok("body", number, output=number + 1)
    assert run.running() == ["end"]
    run.ok("end")
    assert run.status == "completed"
    assert run.inputs()["body@1"] is None  # a controller's output is null
    assert run.context["body"] == 3


def test_a_controller_looks_at_conditional_edges_first() -> None:
    """S10: if such an edge is true, only such edges are taken."""
    document = counting()
    document["edges"].append(edge("loop", "end", condition="stop"))
    run = Run(document).start({"stop": True})
    run.ok("start")
    run.ok("body", output=1)
    assert run.running() == ["end"]


def test_a_controller_without_a_continue_edge_is_refused() -> None:
    """S10: such a loop could never go round."""
    nodes = [node("a"), node("loop", "loop-controller", **LOOP)]
    with pytest.raises(BlueprintError, match="'continue'"):
        Run(blueprint(nodes, chain("a", "loop")))


def test_a_controller_that_nothing_leads_to_is_not_refused_for_that() -> None:
    """S10: it has its `continue` edge, although it can never run."""
    nodes = [node("a"), node("loop", "loop-controller", **LOOP), node("b")]
    run = Run(blueprint(nodes, [edge("loop", "b", "continue"), edge("b", "loop")])).start()
    assert run.running() == ["a"]


def test_a_condition_that_cannot_be_evaluated_leaves_the_loop() -> None:
    """S2, S10: it is false, and says so."""
    run = Run(counting()).start()
    run.ok("start")
    notes = run.ok("body", output="text").notes
    assert run.running() == ["end"]
    assert any(each.type == "edge:evaluate" and each.details.get("error") for each in notes)


def retrying() -> Document:
    """a -> b -> c with a plain edge from b back to a, and d behind c and beside the loop."""
    edges = [
        *chain("s", "a", "b", "c"),
        edge("b", "a", "again"),
        edge("s", "d"),
        edge("b", "d", "never"),
    ]
    return blueprint([node(each) for each in "sabcd"], edges)


def test_an_edge_out_of_a_loop_is_dead_only_when_the_loop_is_over() -> None:
    """S3: what could still be taken in a later iteration keeps its target waiting."""
    run = Run(retrying()).start()
    run.ok("s")
    run.ok("a", 0)
    run.ok("b", 0, action="again")
    assert run.status_of("d") == "pending"
    run.ok("a", 1)
    run.ok("b", 1)
    assert run.running() == ["c", "d"]


def test_an_exit_counts_when_it_is_taken() -> None:
    """S3: the target starts at once, while the loop goes on, and only once."""
    edges = [*chain("s", "a", "x"), edge("a", "a", condition="result.output < 2")]
    run = Run(blueprint([node("s"), node("a"), node("x")], edges)).start()
    run.ok("s")
    run.ok("a", 0, output=1)
    assert run.running() == ["x", "a@1"]
    run.ok("a", 1, output=2)
    run.ok("x")
    assert run.status == "completed"
    assert run.inputs()["x"] == 1


def test_a_failure_in_a_loop_fails_what_follows_it() -> None:
    """S3: exits that were never taken are failing where a failure ended the loop."""
    run = Run(retrying()).start()
    run.ok("s")
    run.ok("a", 0)
    run.fail("b", 0)
    assert run.status_of("c") == run.status_of("d") == "blocked"
    assert run.status == "failed"


def test_edges_that_enter_a_loop_count_in_its_first_iteration_only() -> None:
    """S3: a later iteration does not wait for them again, and is not given their value."""
    edges = [*chain("s", "a", "b"), edge("t", "b"), edge("b", "a", "again")]
    run = Run(blueprint([node(each) for each in "stab"], edges)).start()
    run.ok("s")
    run.ok("t", output="T")
    run.ok("a", 0, output="A0")
    run.ok("b", 0, action="again", output="B0")
    run.ok("a", 1, output="A1")
    inputs = run.inputs()
    assert inputs["b@0"] == {"a": "A0", "t": "T"}
    assert (inputs["a@1"], inputs["b@1"]) == ("B0", "A1")


def test_an_edge_from_one_loop_into_another_counts_once() -> None:
    """S3, S6: it enters the second loop, so that later iterations are not given its value."""
    edges = [
        edge("e", "e", "again"),
        edge("e", "g"),
        *chain("f", "g"),
        edge("g", "f", "again"),
        edge("s", "f"),
    ]
    run = Run(
        blueprint([node("s"), node("t"), *[node(n) for n in "efg"]], [*edges, edge("t", "e")])
    )
    run.start()
    run.ok("s")
    run.ok("t")
    run.ok("e", 0, output="E")
    run.ok("f", 0, output="F0")
    run.ok("g", 0, action="again")
    run.ok("f", 1, output="F1")
    assert run.inputs()["g@0"] == {"e": "E", "f": "F0"}
    assert run.inputs()["g@1"] == "F1"


def test_a_second_back_edge_of_one_iteration_starts_nothing() -> None:
    """S3: an iteration begins once; nodes of the earlier one that still run finish in theirs."""
    edges = [*chain("s", "h"), edge("h", "x"), edge("h", "y"), edge("x", "h", "again")]
    run = Run(blueprint([node(each) for each in "shxy"], [*edges, edge("y", "h", "again")])).start()
    run.ok("s")
    run.ok("h", 0)
    run.ok("x", 0, action="again")
    assert run.running() == ["y@0", "h@1"]
    run.ok("y", 0, action="again")
    assert run.running() == ["h@1"]


def test_nested_loops_start_again_at_zero() -> None:
    """S10: each iteration of the outer loop has iterations of the inner one of its own."""
    edges = [
        *chain("s", "o", "i"),
        edge("i", "i", "inner"),
        edge("i", "o", "outer"),
        edge("i", "e"),
    ]
    run = Run(blueprint([node(each) for each in "soie"], edges)).start()
    run.ok("s")
    run.ok("o", 0)
    run.ok("i", 0, 0, action="inner")
    run.ok("i", 0, 1, action="outer")
    run.ok("o", 1)
    assert run.running() == ["i@1.0"]
    run.ok("i", 1, 0)
    run.ok("e")
    assert run.status == "completed"


def test_a_fallback_in_a_loop_runs_once_per_iteration() -> None:
    """S4: with a fallback that goes on where the failed node would have, chained or not."""
    nodes = [node("s"), node("a", fallback="h"), node("h", fallback="g"), node("g"), node("b")]
    edges = [*chain("s", "a", "b"), edge("b", "a", "again")]
    run = Run(blueprint(nodes, edges)).start()
    run.ok("s")
    for number in range(2):
        run.fail("a", number)
        run.fail("h", number)
        run.ok("g", number, output=number)
        assert run.inputs()[f"b@{number}"] == number
        run.ok("b", number, action="again" if number == 0 else None)
    assert run.status == "completed"


def test_a_fallback_back_to_the_header_starts_a_new_iteration() -> None:
    """S3, S4: taking a back edge does, also when it is the way to a fallback."""
    nodes = [node("s"), node("a"), node("b", fallback="a")]
    run = Run(blueprint(nodes, chain("s", "a", "b"))).start()
    run.ok("s")
    run.ok("a", 0)
    run.fail("b", 0)
    assert run.running() == ["a@1"]
    run.ok("a", 1)
    run.ok("b", 1)
    assert run.status == "completed"


def test_a_fallback_shared_with_a_node_behind_the_loop_waits_outside() -> None:
    """S3: it does not hold up the loop for something that waits for the loop."""
    nodes = [
        *[node("s"), node("u"), node("a", fallback="h"), node("b")],
        *[node("x", fallback="h"), node("h"), node("t")],
    ]
    edges = [*chain("s", "a", "b"), edge("b", "a", "again"), edge("b", "x", "never")]
    run = Run(blueprint(nodes, [*edges, edge("b", "t", "never"), edge("u", "t")])).start()
    run.ok("s")
    run.ok("u")
    run.ok("a", 0)
    run.ok("b", 0)
    assert run.running() == ["t"]
    assert run.status_of("h") == run.status_of("x") == "skipped"


def test_a_loop_around_a_batch() -> None:
    """S10: each iteration has a batch of its own."""
    params = {"workerUsesKey": "w", "gatherNodeId": "g"}
    nodes = [
        *[node("s"), node("sc", "batch-scatter", params=params)],
        *[node("g", "batch-gather", params={"gatherNodeId": "g"}), node("e")],
    ]
    edges = [*chain("s", "sc", "g", "e"), edge("e", "sc", "again")]
    run = Run(blueprint(nodes, edges)).start()
    run.ok("s", output=[1])
    for number in range(2):
        run.send(ev.ItemSucceeded(run.key("sc", number), 0, 1, number))
        assert run.inputs()[f"e@{number}"] == [number]
        run.ok("e", number, output=["next"], action=None if number else "again")
    assert run.status == "completed"


def test_the_limit_on_executions_ends_an_endless_loop() -> None:
    """S10: at its limit the run fails, with an error that names the limit."""
    run = Run(blueprint([node("s"), node("a")], [*chain("s", "a"), edge("a", "a")]))
    run.start(max_executions=50)
    run.ok("s")
    for number in range(49):
        run.ok("a", number)
    assert run.status == "failed"
    assert run.state.errors[0].type == "LimitExceeded"
    assert "50" in run.errors[0]


def test_a_controller_that_never_says_no_is_stopped_by_the_limit() -> None:
    """S10: also where no node in the loop gives up control."""
    nodes = [node("s"), node("loop", "loop-controller", params={"condition": "true"})]
    edges = [*chain("s", "loop"), edge("loop", "loop", "continue")]
    run = Run(blueprint(nodes, edges)).start()
    run.ok("s")
    assert run.status == "failed"
    assert run.state.executions == 10_000
