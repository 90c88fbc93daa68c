"""What people may ask of a live run (rule S14)."""

from __future__ import annotations

import pytest

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from flowcraft.errors import InvalidRunState
from tests.property.drive import Run, blueprint, chain, edge, error, node, unchanged


def two() -> Run:
    """a -> b, and x beside them."""
    return Run(blueprint([node("a"), node("b"), node("x")], chain("a", "b"))).start()


def test_cancel_stops_what_runs_and_starts_nothing() -> None:
    """S14: the run is `cancelled` when the last of what ran is gone."""
    run = two()
    run.send(ev.CancelRequested("enough"))
    assert run.commands == [cmd.StopWork("enough")]
    run.send(ev.NodeStopped(run.key("x"), 1))
    assert run.status == "running"
    run.ok("a")
    assert run.status == "cancelled"
    assert run.status_of("b") == "pending"
    assert run.state.reason == "enough"


def test_cancelling_twice_is_cancelling_once() -> None:
    """S14: the second request does nothing and tells nothing."""
    run = two()
    run.send(ev.CancelRequested())
    again = run.send(ev.CancelRequested("again"))
    assert unchanged(again)
    assert not again.commands
    assert not again.notes


def test_a_stop_reported_late_or_twice_changes_nothing() -> None:
    """A node that ended before it was stopped has ended."""
    run = two()
    run.send(ev.CancelRequested())
    run.ok("a")
    assert unchanged(run.send(ev.NodeStopped(run.key("a"), 1)))
    run.send(ev.NodeStopped(run.key("x"), 1))
    assert unchanged(run.send(ev.NodeStopped(run.key("x"), 1)))
    assert run.statuses() == {"a": "succeeded", "x": "cancelled"}


def test_a_stop_that_nobody_asked_for_changes_nothing() -> None:
    """Only a run that stops has nodes that were stopped."""
    run = two()
    assert unchanged(run.send(ev.NodeStopped(run.key("a"), 1)))


def test_cancel_ends_waits_timers_and_retries_at_once() -> None:
    """S14: what only waits needs no one to stop it."""
    nodes = [
        node("w", "wait"),
        node("z", "sleep", params={"duration": 9}),
        node("r", maxRetries=2),
    ]
    run = Run(blueprint(nodes)).start()
    run.fail("r")
    run.send(ev.CancelRequested())
    assert run.status == "cancelled"
    assert set(run.statuses().values()) == {"cancelled"}


def test_looking_at_a_run_that_stops_asks_to_stop_it_again() -> None:
    """After a crash nothing is started again in a run that was cancelled."""
    run = two()
    run.send(ev.CancelRequested("enough"))
    assert run.send(ev.LookedAt()).commands == [cmd.StopWork("enough")]


def test_a_failing_node_of_a_cancelled_run_is_not_tried_again() -> None:
    """S14: nothing new starts, no attempt and no fallback either."""
    run = Run(blueprint([node("a", maxRetries=3, fallback="h"), node("h")])).start()
    run.send(ev.CancelRequested())
    run.fail("a")
    assert run.status == "cancelled"


def test_pause_lets_running_nodes_finish_and_starts_nothing() -> None:
    """S14: what would start is ready, and starts when the run goes on."""
    run = two()
    run.send(ev.PauseRequested())
    assert run.status == "running"
    run.ok("a", output=1)
    run.ok("x")
    assert run.status == "paused"
    assert run.status_of("b") == "ready"
    run.send(ev.ContinueRequested())
    assert run.commands == [cmd.RunNode(run.key("b"), 1, 1)]
    run.ok("b")
    assert run.status == "completed"


@pytest.mark.parametrize("event", [ev.PauseRequested(), ev.ContinueRequested()])
def test_pausing_and_continuing_are_idempotent(event: ev.Event) -> None:
    """S14: asking for what is so already does nothing and tells nothing."""
    run = two()
    run.send(event)
    again = run.send(event)
    assert unchanged(again)
    assert not again.notes


def test_a_paused_run_takes_answers() -> None:
    """S14: what follows from them waits until the run goes on."""
    run = Run(blueprint([node("w", "wait"), node("b")], chain("w", "b"))).start()
    run.send(ev.PauseRequested())
    assert run.status == "paused"
    run.send(ev.AnswerReceived(0, "yes"))
    assert (run.status, run.status_of("b")) == ("paused", "ready")
    run.send(ev.ContinueRequested())
    assert run.running() == ["b"]


def test_a_paused_run_can_be_cancelled() -> None:
    """S14: what was ready is cancelled."""
    run = two()
    run.send(ev.PauseRequested())
    run.ok("a")
    run.ok("x")
    run.send(ev.CancelRequested())
    assert (run.status, run.status_of("b")) == ("cancelled", "cancelled")


def test_the_context_is_changed_only_while_the_run_is_paused() -> None:
    """S8: and what starts afterwards sees the change."""
    run = Run(blueprint([node("a"), node("b", inputs="k")], chain("a", "b"))).start({"k": 1})
    with pytest.raises(InvalidRunState, match="paused"):
        run.send(ev.ContextPatched([ev.Write("set", "k", 2)]))
    run.send(ev.PauseRequested())
    run.ok("a")
    run.send(ev.ContextPatched([ev.Write("set", "k", 2)]))
    run.send(ev.ContinueRequested())
    assert run.inputs()["b"] == 2


def test_failed_nodes_are_retried_while_nothing_behind_them_is_settled() -> None:
    """S14: their errors are taken back."""
    run = Run(blueprint([node("a"), node("x")])).start()
    run.fail("a")
    run.send(ev.RetryRequested())
    assert run.commands == [cmd.RunNode(0, 2, None)]
    run.ok("a")
    run.ok("x")
    assert run.status == "completed"
    assert run.errors == []


def test_a_retry_is_refused_once_something_behind_is_settled() -> None:
    """S14: with the names of what is."""
    run = two()
    run.fail("a")
    with pytest.raises(InvalidRunState, match="'b' behind it"):
        run.send(ev.RetryRequested())


def test_a_retry_without_a_failure_is_refused() -> None:
    """S14: with a reason."""
    with pytest.raises(InvalidRunState, match="no failed node"):
        two().send(ev.RetryRequested())


def test_a_retried_node_that_fails_again_counts_once_in_a_join() -> None:
    """S3: the join still waits for its other predecessor."""
    nodes = [node("a"), node("b"), node("j", joinStrategy="any")]
    run = Run(blueprint(nodes, [edge("a", "j"), edge("b", "j")])).start()
    run.fail("a")
    run.send(ev.RetryRequested())
    run.fail("a")
    assert run.status_of("j") == "pending"
    run.ok("b")
    assert run.running() == ["j"]


def test_a_retried_failure_is_never_swallowed() -> None:
    """S4: a fallback that was ruled out by a fatal failure does not hide a later one."""
    run = Run(blueprint([node("a", fallback="h"), node("h"), node("x")])).start()
    run.fail("a", fatal=True)
    try:
        run.send(ev.RetryRequested())
        run.fail("a")
    except InvalidRunState:
        pass  # refusing is as good: the first failure stands
    run.ok("x")
    assert run.status == "failed"
    assert run.errors == ["a failed"]


def test_a_retry_beside_nodes_that_stand_in_for_one_another_is_answered() -> None:
    """S14: who was rescued by whom is found also where fallbacks lead back to one another."""
    ring = [node("a", fallback="b"), node("b", fallback="a")]
    nodes = [node("c", fallback="d"), node("d"), node("s"), *ring, node("x")]
    run = Run(blueprint(nodes, [edge("s", "a")])).start()
    run.ok("s")
    for name in ("c", "d", "a", "b"):
        run.fail(name)
    assert run.errors == ["d failed", "b failed"]
    with pytest.raises(InvalidRunState, match="cannot be tried again"):
        run.send(ev.RetryRequested())


def test_a_failed_node_can_be_skipped() -> None:
    """S14: it then counts as succeeded with the given output."""
    run = Run(blueprint([node("a"), node("x")])).start()
    run.fail("a")
    run.send(ev.SkipRequested(0, "by hand"))
    run.ok("x")
    assert run.status == "completed"
    assert run.context["a"] == "by hand"


def test_a_waiting_and_a_retrying_node_can_be_skipped() -> None:
    """S14: what follows starts with the given output."""
    nodes = [node("w", "wait"), node("r", maxRetries=2), node("b"), node("c")]
    run = Run(blueprint(nodes, [edge("w", "b"), edge("r", "c")])).start()
    run.fail("r")
    run.send(ev.SkipRequested(0, 1))
    run.send(ev.SkipRequested(1))
    assert run.inputs() == {"w": None, "r": None, "b": 1, "c": None}


def test_a_running_node_cannot_be_skipped() -> None:
    """S14: with a reason."""
    run = two()
    with pytest.raises(InvalidRunState, match="'a' is running"):
        run.send(ev.SkipRequested(0))
    with pytest.raises(InvalidRunState, match="'b' is pending"):
        run.send(ev.SkipRequested(1))


def test_starting_a_run_twice_is_starting_it_once() -> None:
    """S14: the second start changes nothing."""
    run = two()
    again = run.send(ev.RunStarted("run-1", {"other": 1}))
    assert unchanged(again)
    assert not again.commands


def test_an_event_for_something_unknown_changes_nothing() -> None:
    """A report about an instance that never began is no fact."""
    run = two()
    key = run.key("b")
    for event in (
        ev.NodeSucceeded(key, 1),
        ev.NodeFailed(key, 1, error()),
        ev.RetryDue(key, 2),
        ev.TimerFired(key),
        ev.AnswerReceived(key, 1),
        ev.ItemSucceeded(key, 0, 1),
        ev.ChildRests(key, 1, True),
        ev.UndoSettled(key, 1),
    ):
        assert unchanged(run.send(event))


def test_an_item_that_is_tried_again_has_all_its_attempts() -> None:
    """S9, S14: the attempts that it failed with before do not count."""
    given = {"workerUsesKey": "work", "gatherNodeId": "g"}
    nodes = [
        node("s", "batch-scatter", params=given, inputs="items", maxRetries=2),
        node("g", "batch-gather", params={"gatherNodeId": "g"}),
    ]
    run = Run(blueprint(nodes, chain("s", "g"))).start({"items": [1, 2]})
    for attempt in (1, 3):
        run.send(ev.ItemFailed(0, 0, attempt, error()))
        (retry,) = [c for c in run.commands if isinstance(c, cmd.RetryItem)]
        run.now = retry.due_at
        run.send(ev.ItemRetryDue(0, 0, attempt + 1))
        run.send(ev.ItemFailed(0, 0, attempt + 1, error()))
        assert len(run.errors) == 1
        run.send(ev.RetryRequested())
    run.send(ev.ItemSucceeded(0, 0, 5, "a"))
    run.send(ev.ItemSucceeded(0, 1, 1, "b"))
    assert run.context["g"] == ["a", "b"]


def test_failed_items_of_a_batch_that_goes_on_are_tried_again() -> None:
    """S14: their errors are taken back, and the batch ends as if they had not failed."""
    given = {"workerUsesKey": "work", "gatherNodeId": "g"}
    nodes = [
        node("s", "batch-scatter", params=given, inputs="items"),
        node("g", "batch-gather", params={"gatherNodeId": "g"}),
    ]
    run = Run(blueprint(nodes, chain("s", "g"))).start({"items": [1, 2]})
    run.send(ev.ItemFailed(0, 0, 1, error()))
    run.send(ev.RetryRequested())
    again = [(c.item, c.attempt) for c in run.commands if isinstance(c, cmd.RunItem)]
    assert again == [(0, 2)], "an attempt has a number of its own, as its lease has"
    assert not run.errors
    assert unchanged(run.send(ev.ItemFailed(0, 0, 1, error())))
    run.send(ev.ItemSucceeded(0, 0, 2, "a"))
    run.send(ev.ItemSucceeded(0, 1, 1, "b"))
    assert (run.status, run.context["g"]) == ("completed", ["a", "b"])
