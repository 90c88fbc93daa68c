"""Subflows: a node that is a run of its own (rule S13)."""

from __future__ import annotations

from typing import Any

import pytest

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from tests.property.drive import Run, blueprint, error, node, unchanged


def parent(context: dict[str, Any] | None = None, **more: Any) -> Run:
    """A run with a subflow node `s`, and a node `a` beside it."""
    params = {"blueprintId": "child"} | more.pop("params", {})
    nodes = [node("s", "subflow", params=params, **more), node("a")]
    return Run(blueprint(nodes)).start(context)


def settled(attempt: int = 1, **more: Any) -> ev.ChildSettled:
    """The child run succeeded."""
    values: dict[str, Any] = {"succeeded": True, "context": {}, "outputs": {}} | more
    return ev.ChildSettled(0, attempt, **values)


def failed(attempt: int = 1) -> ev.ChildSettled:
    """The child run failed."""
    return settled(attempt, succeeded=False, error=error("inside"))


def test_without_inputs_the_node_s_input_goes_to_the_child() -> None:
    """S13: the child's start nodes are given it."""
    run = parent({"k": 5}, inputs="k")
    assert run.commands[0] == cmd.StartChild(0, 1, "child", 5, None)


@pytest.mark.parametrize(("inputs", "context"), [({}, {}), ({"x": "k"}, {"x": 5})])
def test_with_inputs_only_the_mapped_keys_go(
    inputs: dict[str, str], context: dict[str, Any]
) -> None:
    """S13: even an empty map leaves out everything else."""
    run = parent({"k": 5}, params={"inputs": inputs})
    [child] = [each for each in run.commands if isinstance(each, cmd.StartChild)]
    assert child.context == context


def test_asked_again_it_is_the_same_child() -> None:
    """S13: what the child is started with does not change with the parent's context."""
    run = parent({"k": 1}, params={"inputs": {"x": "k"}})
    first = run.commands[0]
    run.ok("a", writes=[ev.Write("set", "k", 2)])
    assert run.send(ev.LookedAt()).commands == [first]


def test_without_outputs_the_node_s_output_is_the_child_s_result() -> None:
    """S13: as the child's run reports it."""
    run = parent()
    run.send(settled(result="done"))
    assert run.context["s"] == "done"


def test_with_outputs_the_mapped_keys_are_set() -> None:
    """S13: the child's context key goes before its node's output."""
    run = parent(params={"outputs": {"one": "k", "two": "n", "three": "none"}})
    run.send(settled(context={"k": 1}, outputs={"k": 2, "n": 3}))
    assert (run.context["one"], run.context["two"], run.context["three"]) == (1, 3, None)
    assert run.context["s"] == {"k": 1}


def test_a_failing_child_fails_the_node() -> None:
    """S13: its error is the node's."""
    run = parent()
    run.send(failed())
    run.ok("a")
    assert run.status == "failed"
    assert (run.errors, run.state.errors[0].node_id) == (["inside"], "s")


def test_each_attempt_is_a_new_child() -> None:
    """S13: a retry starts another one, and the old one's end no longer counts."""
    run = parent(maxRetries=2, retryDelay=0)
    run.send(failed())
    run.send(ev.RetryDue(0, 2))
    assert run.commands == [cmd.StartChild(0, 2, "child", None, None)]
    assert unchanged(run.send(settled(1)))
    run.send(settled(2))
    assert run.status_of("s") == "succeeded"


def test_a_run_whose_child_only_waits_is_awaiting() -> None:
    """S13, S5: and it runs again when the child does."""
    run = parent()
    run.ok("a")
    assert run.status == "running"
    run.send(ev.ChildRests(0, 1, True))
    assert run.status == "awaiting"
    run.send(ev.ChildRests(0, 1, False))
    assert run.status == "running"
    run.send(settled())
    assert run.status == "completed"


def test_cancelling_the_parent_stops_the_child() -> None:
    """S13: the parent is over when the child is, also when the child only waited."""
    run = parent()
    run.ok("a")
    run.send(ev.ChildRests(0, 1, True))
    run.send(ev.CancelRequested())
    assert run.status == "running"
    run.send(failed())
    assert run.status == "cancelled"
    assert run.status_of("s") == "cancelled"


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"blueprintId": ""}, "blueprintId"),
        ({"inputs": ["k"]}, "inputs"),
        ({"outputs": 1}, "outputs"),
    ],
)
def test_a_wrong_parameter_fails_the_node(params: dict[str, Any], name: str) -> None:
    """S13: with an error that names it."""
    run = parent(params=params)
    assert name in run.errors[0]


def test_a_late_word_of_a_child_is_ignored() -> None:
    """Words of one child may overtake each other: the last one that was said counts."""
    run = Run(blueprint([node("sub", "subflow", params={"blueprintId": "child"})])).start()
    run.send(ev.ChildRests(0, 1, False, 7))
    assert unchanged(run.send(ev.ChildRests(0, 1, True, 5)))
    assert run.status == "running"
    run.send(ev.ChildRests(0, 1, True, 9))
    assert run.status == "awaiting"


@pytest.mark.parametrize("outputs", [None, {"total": "sum"}])
def test_a_child_is_told_what_it_is_to_hand_on(outputs: dict[str, str] | None) -> None:
    """Without `outputs` nothing is wanted but the result; the child's facts say so."""
    run = parent(params={} if outputs is None else {"outputs": outputs})
    [started] = [each for each in run.commands if isinstance(each, cmd.StartChild)]
    assert started.result_only is (outputs is None)
    child = Run(blueprint([node("n")])).start(result_only=started.result_only)
    assert child.state.result_only is (outputs is None)
