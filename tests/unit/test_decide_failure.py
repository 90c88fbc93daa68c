"""What a failure means for the run, and what a fallback changes about it (rules S4 and S5)."""

from __future__ import annotations

import pytest

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from tests.property.drive import Run, blueprint, chain, edge, error, node, unchanged


def test_healthy_branches_finish_first() -> None:
    """S4: a failure blocks what is behind it, and the run fails when the rest is done."""
    run = Run(blueprint([node(each) for each in "abxy"], chain("a", "b") + chain("x", "y"))).start()
    run.fail("a")
    assert run.status == "running"
    run.ok("x")
    run.ok("y")
    assert run.status == "failed"
    assert run.errors == ["a failed"]
    assert run.status_of("b") == "blocked"


def test_every_error_is_kept_with_its_place() -> None:
    """S4: an error names its node and its attempts, and keeps its causes."""
    run = Run(blueprint([node("a"), node("b")])).start()
    failure = error("no luck")._replace(causes=(("OSError", "disk full"),))
    run.send(ev.NodeFailed(0, 1, failure))
    run.fail("b")
    first, second = run.state.errors
    assert (first.node_id, first.message, first.attempts) == ("a", "no luck", 1)
    assert first.causes == (("OSError", "disk full"),)
    assert second.node_id == "b"


@pytest.mark.parametrize("given", ["metadata", "start"])
def test_fail_fast_stops_the_rest(given: str) -> None:
    """S4: under `fail_fast` nothing new starts, and what runs is stopped."""
    meta = {"onFailure": "fail_fast"} if given == "metadata" else {}
    fast = True if given == "start" else None
    nodes = [node(each) for each in "abc"]
    run = Run(blueprint(nodes, [edge("b", "c")], **meta)).start(fail_fast=fast)
    run.fail("a")
    assert [type(each) for each in run.commands] == [cmd.StopWork]
    run.ok("b")
    assert run.status_of("c") == "pending"
    assert run.status == "failed"


def test_a_start_can_take_fail_fast_back() -> None:
    """S4: what the start of a run says goes before the blueprint's metadata."""
    document = blueprint([node("a"), node("b")], onFailure="fail_fast")
    run = Run(document).start(fail_fast=False)
    run.fail("a")
    assert run.commands == []
    assert run.running() == ["b"]


def test_a_fallback_takes_the_failed_node_s_place() -> None:
    """S4: it gets the error at `_catch_error`, no input, and inherits the node's edges."""
    nodes = [node("a", fallback="h"), node("h"), node("b")]
    run = Run(blueprint(nodes, chain("a", "b"))).start()
    run.fail("a")
    assert run.inputs()["h"] is None
    assert run.context["_catch_error"]["nodeId"] == "a"
    assert run.context["_catch_error"]["message"] == "a failed"
    assert run.status_of("b") == "pending"
    run.ok("h", output="instead")
    assert run.inputs()["b"] == "instead"
    run.ok("b")
    assert run.status == "completed"
    assert run.errors == []


def test_a_fallback_that_is_not_needed_is_skipped() -> None:
    """S4: when the node succeeds, its fallback never runs."""
    run = Run(blueprint([node("a", fallback="h"), node("h"), node("b")], chain("a", "b"))).start()
    run.ok("a")
    assert run.running() == ["b"]
    assert run.status_of("h") == "skipped"


def test_a_fallback_with_edges_goes_its_own_way() -> None:
    """S4: the failed node's edges are dead then, not failing."""
    nodes = [node("a", fallback="h"), *[node(each) for each in "hbcj"]]
    edges = [*chain("a", "b", "j"), *chain("h", "c", "j")]
    run = Run(blueprint(nodes, edges)).start()
    run.fail("a")
    assert run.status_of("b") == "skipped"
    run.ok("h")
    run.ok("c", output=1)
    assert run.inputs()["j"] == 1


def test_a_fallback_that_fails_too() -> None:
    """S4: the failure of a fallback stands, and blocks what the failed node led to."""
    run = Run(blueprint([node("a", fallback="h"), node("h"), node("b")], chain("a", "b"))).start()
    run.fail("a")
    run.fail("h")
    assert run.status == "failed"
    assert run.errors == ["h failed"]
    assert run.status_of("b") == "blocked"


def test_a_chain_of_fallbacks() -> None:
    """S4: the last one to stand in decides, for all before it."""
    nodes = [node("a", fallback="h"), node("h", fallback="g"), node("g"), node("b")]
    run = Run(blueprint(nodes, chain("a", "b"))).start()
    run.fail("a")
    run.fail("h")
    run.ok("g", output="at last")
    assert run.inputs()["b"] == "at last"


def test_a_shared_fallback_runs_once() -> None:
    """S4: the second node that fails gets the result that is there already."""
    nodes = [node("a", fallback="h"), node("b", fallback="h"), *[node(each) for each in "hxy"]]
    run = Run(blueprint(nodes, [edge("a", "x"), edge("b", "y")])).start()
    run.fail("a")
    run.ok("h", output="spare")
    run.fail("b")
    assert run.inputs()["x"] == run.inputs()["y"] == "spare"
    assert run.state.executions == 5


def test_other_failures_are_not_hidden() -> None:
    """S4: a fallback excuses its node and no other."""
    run = Run(blueprint([node("a", fallback="h"), node("h"), node("b")])).start()
    run.fail("b")
    run.fail("a")
    run.ok("h")
    assert run.status == "failed"
    assert run.errors == ["b failed"]


def test_a_fatal_error_takes_no_fallback_and_no_retry() -> None:
    """S4: `is_fatal` fails the node at once."""
    run = Run(blueprint([node("a", fallback="h", maxRetries=5), node("h")])).start()
    run.fail("a", fatal=True)
    assert run.status == "failed"
    assert run.status_of("h") == "blocked"


def test_an_unstarted_node_takes_no_fallback() -> None:
    """S15: a node whose implementation nobody has fails unstarted and without fallback."""
    run = Run(blueprint([node("a", fallback="h"), node("h")])).start()
    run.fail("a", retryable=False, started=False)
    assert run.status == "failed"
    assert run.state.records[run.key("a")].attempt == 0


def test_a_fallback_between_nodes_without_a_cycle_makes_no_loop() -> None:
    """S3: a stand-in that another edge leads to waits for all of them and runs once."""
    nodes = [node("a"), node("d", fallback="j"), node("e"), node("j")]
    edges = [edge("a", "j"), edge("d", "e"), edge("e", "j")]
    run = Run(blueprint(nodes, edges)).start()
    run.ok("a")
    run.ok("d")
    assert run.status_of("j") == "pending"
    run.ok("e")
    run.ok("j")
    assert run.status == "completed"
    assert run.state.executions == 4


def test_a_node_may_name_itself_or_nobody_as_fallback() -> None:
    """S4: such a fallback is none."""
    run = Run(blueprint([node("a", fallback="a"), node("b", fallback="ghost")])).start()
    run.fail("a")
    run.fail("b")
    assert run.errors == ["a failed", "b failed"]


def test_a_final_status_never_changes() -> None:
    """S5: nothing that is reported later does anything to a run that is over."""
    run = Run(blueprint([node("a")])).start()
    run.ok("a")
    for event in (ev.NodeFailed(0, 1, error()), ev.CancelRequested(), ev.PauseRequested()):
        decision = run.send(event)
        assert unchanged(decision)
        assert not decision.commands
    assert run.status == "completed"
