"""Waiting for people and for time (rule S12)."""

from __future__ import annotations

from typing import Any

import pytest

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from tests.property.drive import Run, blueprint, chain, edge, node, unchanged


def waiting(**params: Any) -> Run:
    """A wait with an edge for `yes`, one for `timeout` and one without action."""
    nodes = [node("w", "wait", params=params), node("yes"), node("late"), node("else")]
    edges = [edge("w", "yes", "yes"), edge("w", "late", "timeout"), edge("w", "else")]
    return Run(blueprint(nodes, edges)).start()


def test_a_wait_pauses_its_branch_only() -> None:
    """S12: the other branches go on; with nothing left but waiting the run is `awaiting`."""
    nodes = [node("w", "wait"), node("b"), node("c")]
    run = Run(blueprint(nodes, [edge("b", "c")])).start()
    assert run.status == "running"
    run.ok("b")
    run.ok("c")
    assert run.status == "awaiting"


@pytest.mark.parametrize(("action", "next_node"), [("yes", "yes"), (None, "else"), ("?", "else")])
def test_an_answer_routes_like_an_outcome(action: str | None, next_node: str) -> None:
    """S12, S2: output and action of the answer are those of the node."""
    run = waiting()
    run.send(ev.AnswerReceived(0, {"by": "ops"}, action))
    assert run.running() == [next_node]
    assert run.inputs()[next_node] == {"by": "ops"}
    assert run.status == "running"


def test_a_second_answer_changes_nothing() -> None:
    """S12: a wait is answered once."""
    run = waiting()
    run.send(ev.AnswerReceived(0, 1, "yes"))
    assert unchanged(run.send(ev.AnswerReceived(0, 2)))


def test_an_answer_that_comes_early_is_kept() -> None:
    """S12: the wait has it as soon as it begins."""
    run = Run(blueprint([node("a"), node("w", "wait"), node("b")], chain("a", "w", "b"))).start()
    run.send(ev.AnswerReceived(None, "early", None, "w"))
    run.ok("a")
    assert run.inputs()["b"] == "early"


def test_an_answer_by_name_reaches_the_wait_that_is_open() -> None:
    """S12: also when the wait began after the sender had looked."""
    run = waiting()
    run.send(ev.AnswerReceived(None, "hello", "yes", "w"))
    assert run.inputs()["yes"] == "hello"


def test_an_answer_for_something_else_is_ignored() -> None:
    """S12: only waits keep answers."""
    run = waiting()
    for node_id in ("yes", "ghost"):
        assert unchanged(run.send(ev.AnswerReceived(None, 1, None, node_id)))


def test_a_wait_in_time_is_not_timed_out() -> None:
    """S12: the timer of an answered wait does nothing."""
    run = waiting(timeout="10s")
    assert run.commands == [cmd.ArmTimer(0, 10.0)]
    run.send(ev.AnswerReceived(0, 1, "yes"))
    run.now = 10
    assert unchanged(run.send(ev.TimerFired(0)))


def test_a_wait_times_out_with_an_action() -> None:
    """S12: `timeout` routes like any action; a timer that fires early does nothing."""
    run = waiting(timeout=5000)
    run.now = 4.9
    assert unchanged(run.send(ev.TimerFired(0)))
    run.now = 5.0
    run.send(ev.TimerFired(0))
    assert run.running() == ["late"]


def test_a_sleep_holds_its_branch_until_it_is_due() -> None:
    """S12: its output is its input, visible from when it begins."""
    nodes = [node("a"), node("z", "sleep", params={"duration": "2h"}), node("b")]
    run = Run(blueprint(nodes, chain("a", "z", "b"))).start()
    run.ok("a", output="dream")
    assert run.commands == [cmd.ArmTimer(1, 7200.0)]
    assert run.status == "awaiting"
    assert run.context["z"] == "dream"
    run.now = 7200.0
    run.send(ev.TimerFired(1))
    assert run.inputs()["b"] == "dream"
    assert unchanged(run.send(ev.TimerFired(1)))


def test_a_sleep_can_be_ended_early() -> None:
    """S12: a resume ends it, and its output stays its input."""
    run = Run(blueprint([node("z", "sleep", params={"duration": 1000})])).start()
    run.send(ev.AnswerReceived(0, "ignored"))
    assert run.status == "completed"
    assert run.context["z"] is None


@pytest.mark.parametrize(
    ("uses", "params"),
    [("sleep", {}), ("sleep", {"duration": "soon"}), ("wait", {"timeout": "1 fortnight"})],
)
def test_a_duration_that_cannot_be_read_fails_the_node(uses: str, params: dict[str, Any]) -> None:
    """S12: with an error that names the parameter."""
    run = Run(blueprint([node("n", uses, params=params)])).start()
    assert run.status == "failed"
    assert "parameter" in run.errors[0]
