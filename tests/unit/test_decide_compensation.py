"""Undoing what a failed or cancelled run had completed (rule S19)."""

from __future__ import annotations

from typing import Any

import pytest

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from tests.property.drive import Run, blueprint, chain, error, node


def order(**undo: Any) -> Run:
    """a and b, which can be undone, then c; a was given 1."""
    nodes = [
        node("a", compensate="undo-a", inputs="n"),
        node("b", compensate="undo-b"),
        node("c"),
        node("undo-a", **undo),
        node("undo-b"),
    ]
    run = Run(blueprint(nodes, chain("a", "b", "c"))).start({"n": 1})
    run.ok("a", output="A")
    run.ok("b", output="B")
    return run


def undo_of(run: Run) -> cmd.RunUndo:
    """The compensation that the last decision asks for, and nothing else."""
    [command] = run.commands
    assert isinstance(command, cmd.RunUndo)
    return command


def test_completed_nodes_are_undone_in_reverse_order() -> None:
    """S19: one after the other, each with its node's input and output; then the run fails."""
    run = order()
    run.fail("c")
    first = undo_of(run)
    assert run.plan.nodes[first.node].id == "undo-b"
    assert first.input == {"input": "A", "output": "B"}
    assert run.status == "running"
    run.send(ev.UndoSettled(first.target, 1))
    second = undo_of(run)
    assert run.plan.nodes[second.node].id == "undo-a"
    assert second.input == {"input": 1, "output": "A"}
    run.send(ev.UndoSettled(second.target, 1))
    assert run.status == "failed"
    assert [undo.succeeded for undo in run.state.undos.values()] == [True, True]


def test_a_completed_run_is_not_undone() -> None:
    """S19: compensations are for failed and cancelled runs."""
    run = order()
    run.ok("c")
    assert run.status == "completed"
    assert run.state.undoing is None


def test_a_cancelled_run_is_undone() -> None:
    """S19: when what still ran is gone, and the run ends `cancelled`."""
    run = order()
    run.send(ev.CancelRequested())
    run.send(ev.NodeStopped(run.key("c"), 1))
    for _ in range(2):
        run.send(ev.UndoSettled(undo_of(run).target, 1))
    assert run.status == "cancelled"


def test_what_failed_is_not_undone() -> None:
    """S19: only completed nodes are."""
    nodes = [node("a", compensate="u"), node("u")]
    run = Run(blueprint(nodes)).start()
    run.fail("a")
    assert run.status == "failed"
    assert not run.state.undos


def test_a_compensation_that_fails_does_not_stop_the_others() -> None:
    """S19: it is reported."""
    run = order()
    run.fail("c")
    notes = run.send(ev.UndoSettled(undo_of(run).target, 1, error("stuck"))).notes
    assert [each.type for each in notes] == ["compensation:error"]
    run.send(ev.UndoSettled(undo_of(run).target, 1))
    assert run.status == "failed"
    undos = list(run.state.undos.values())
    assert [undo.succeeded for undo in undos] == [False, True]
    assert undos[0].error is not None
    assert undos[0].error.node_id == "undo-b"


def test_a_compensation_is_retried_as_its_node_says() -> None:
    """S19, S9: between attempts it is asked for once, and a repeated report does nothing."""
    run = order(maxRetries=2, retryDelay=10)
    run.fail("c")
    run.send(ev.UndoSettled(undo_of(run).target, 1))
    target = undo_of(run).target
    failure = ev.UndoSettled(target, 1, error())
    [retry] = run.send(failure).commands
    assert isinstance(retry, cmd.RetryUndo)
    assert not run.send(failure).commands
    assert run.send(ev.LookedAt()).commands == [retry]
    run.now = retry.due_at
    run.send(ev.UndoRetryDue(target, 2))
    assert undo_of(run).attempt == 2
    run.send(ev.UndoSettled(target, 2))
    assert run.status == "failed"


@pytest.mark.parametrize(
    "event", [ev.CancelRequested(), ev.PauseRequested(), ev.RunStarted("r", {})]
)
def test_compensating_cannot_be_interrupted(event: ev.Event) -> None:
    """S19: the run goes on to the end it was heading for."""
    run = order()
    run.fail("c")
    first = undo_of(run)
    run.send(event)
    run.send(ev.UndoSettled(first.target, 1))
    run.send(ev.UndoSettled(undo_of(run).target, 1))
    assert run.status == "failed"


def test_each_iteration_is_undone() -> None:
    """S19: a node that was completed twice is undone twice, the later one first."""
    nodes = [node("s"), node("a", compensate="u"), node("u")]
    edges = [*chain("s", "a"), {"source": "a", "target": "a", "action": "again"}]
    run = Run(blueprint(nodes, edges)).start()
    run.ok("s")
    run.ok("a", 0, action="again", output=1)
    run.ok("a", 1, action="again", output=2)
    run.fail("a", 2)
    outputs = []
    while not run.state.status.is_final:
        command = undo_of(run)
        outputs.append(command.input["output"])
        run.send(ev.UndoSettled(command.target, 1))
    assert outputs == [2, 1]
