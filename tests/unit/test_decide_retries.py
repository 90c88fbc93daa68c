"""Further attempts: how many, when, and for which errors (rule S9)."""

from __future__ import annotations

from typing import Any

import pytest

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from tests.property.drive import Run, blueprint, edge, error, node, unchanged


def delays(*, run_id: str = "run-1", **config: Any) -> list[float]:
    """The milliseconds between the attempts of a node that always fails."""
    run = Run(blueprint([node("a", **config)]))
    run.send(ev.RunStarted(run_id, {}))
    found: list[float] = []
    for attempt in range(1, 20):
        run.fail("a")
        if run.state.status.is_final:
            return found
        [retry] = run.commands
        assert isinstance(retry, cmd.RetryNode)
        assert retry.attempt == attempt + 1
        found.append((retry.due_at - run.now) * 1000)
        run.now = retry.due_at
        run.send(ev.RetryDue(0, retry.attempt))
    raise AssertionError("there is no end to it")


@pytest.mark.parametrize(("retries", "attempts"), [(None, 1), (0, 1), (1, 1), (2, 2), (5, 5)])
def test_max_retries_counts_all_attempts(retries: int | None, attempts: int) -> None:
    """S9: `maxRetries` is the total number of attempts, at least one."""
    config: dict[str, Any] = {} if retries is None else {"maxRetries": retries}
    assert len(delays(**config)) == attempts - 1


def test_delays_grow_by_the_backoff_up_to_the_maximum() -> None:
    """S9: the delay is multiplied each time, and bounded by `retryDelayMax`."""
    config: dict[str, Any] = {"maxRetries": 5, "jitter": False}
    assert delays(**config) == [1000, 2000, 4000, 8000]
    assert delays(**config, retryDelay=10, backoff=3) == [10, 30, 90, 270]
    assert delays(**config, retryDelayMax=2500) == [1000, 2000, 2500, 2500]


def test_jitter_is_derived_from_run_node_and_attempt() -> None:
    """S9: the same decision gives the same delay, another run another one."""
    first = delays(maxRetries=4)
    assert delays(maxRetries=4) == first
    assert delays(run_id="run-2", maxRetries=4) != first
    assert all(
        full / 2 <= each <= full for each, full in zip(first, (1000, 2000, 4000), strict=True)
    )


@pytest.mark.parametrize(
    ("config", "is_retried"),
    [
        ({"retryOn": ["ValueError"]}, True),
        ({"retryOn": ["Exception"]}, True),
        ({"retryOn": ["TimeoutError"]}, False),
        ({"noRetryOn": ["ValueError"]}, False),
        ({"noRetryOn": ["Exception"], "retryOn": ["ValueError"]}, False),
        ({"noRetryOn": ["TimeoutError"]}, True),
    ],
)
def test_errors_are_matched_along_the_class_hierarchy(
    config: dict[str, Any], is_retried: bool
) -> None:
    """S9: `retryOn` and `noRetryOn` name classes of the error, `noRetryOn` goes first."""
    run = Run(blueprint([node("a", maxRetries=2, **config)])).start()
    run.fail("a")
    assert (run.status_of("a") == "retrying") is is_retried


def test_a_retry_has_the_input_of_the_first_attempt() -> None:
    """S9: what changed in between is not seen by the second attempt."""
    nodes = [node("a", maxRetries=2, retryDelay=0, inputs="k"), node("b")]
    run = Run(blueprint(nodes)).start({"k": 1})
    run.fail("a")
    run.ok("b", writes=[ev.Write("set", "k", 2)])
    run.send(ev.RetryDue(run.key("a"), 2))
    assert run.commands == [cmd.RunNode(0, 2, 1)]
    run.ok("a")
    assert run.status == "completed"
    assert run.errors == []


def test_a_failure_counts_its_attempts() -> None:
    """S4: the error that stands says how many attempts there were."""
    run = Run(blueprint([node("a", maxRetries=2, retryDelay=0)])).start()
    run.fail("a")
    run.send(ev.RetryDue(0, 2))
    run.fail("a")
    assert run.state.errors[0].attempts == 2


def test_an_outcome_of_an_earlier_attempt_is_refused() -> None:
    """S9: only the attempt that is under way can end the node."""
    run = Run(blueprint([node("a", maxRetries=3, retryDelay=0)])).start()
    run.fail("a")
    assert unchanged(run.send(ev.NodeSucceeded(0, 1, "late")))
    run.send(ev.RetryDue(0, 2))
    assert unchanged(run.send(ev.NodeSucceeded(0, 1, "late")))
    assert unchanged(run.send(ev.NodeFailed(0, 3, error())))
    assert run.running() == ["a"]


def test_a_run_between_retries_is_running() -> None:
    """S5: `awaiting` is for sleeps and people."""
    run = Run(blueprint([node("a", maxRetries=2), node("w", "wait")])).start()
    run.fail("a")
    assert run.status == "running"


def test_a_lost_attempt_does_not_use_up_the_retries() -> None:
    """S9: the node runs again at once, whatever `maxRetries`, and the attempts are counted on."""
    run = Run(blueprint([node("a", maxRetries=2, retryDelay=0)])).start()
    run.send(ev.NodeLost(0, 1))
    assert run.commands == [cmd.RunNode(0, 2, None)]
    assert unchanged(run.send(ev.NodeLost(0, 1)))
    run.fail("a")
    assert run.status_of("a") == "retrying"
    run.send(ev.RetryDue(0, 3))
    run.fail("a")
    assert run.status == "failed"


def test_the_third_lost_attempt_fails_the_node() -> None:
    """S9: a node that kills its worker cannot loop for ever; its fallback may take over."""
    run = Run(blueprint([node("a", maxRetries=9), node("b")])).start()
    for attempt in (1, 2, 3):
        run.send(ev.NodeLost(0, attempt))
    assert run.status_of("a") == "failed"
    assert run.state.errors[0].type == "WorkerLost"


def test_a_lost_item_runs_again_twice() -> None:
    """S9: as a node does."""
    params = {"workerUsesKey": "w", "gatherNodeId": "g"}
    nodes = [
        node("s", "batch-scatter", params=params, inputs="items"),
        node("g", "batch-gather", params={"gatherNodeId": "g"}),
    ]
    run = Run(blueprint(nodes, [edge("s", "g")])).start({"items": [7]})
    for attempt in (1, 2):
        run.send(ev.ItemLost(0, 0, attempt))
        assert run.commands == [cmd.RunItem(0, 0, attempt + 1, 7, "w")]
    run.send(ev.ItemLost(0, 0, 3))
    assert run.status == "failed"
    assert run.state.errors[0].type == "WorkerLost"


def test_a_lost_attempt_of_a_run_that_stops_is_over() -> None:
    """S14: nothing is started again."""
    run = Run(blueprint([node("a")])).start()
    run.send(ev.CancelRequested())
    run.send(ev.NodeLost(0, 1))
    assert run.status == "cancelled"
