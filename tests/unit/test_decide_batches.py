"""Batches: items handed out, collected in order, failing and limited (rule S11)."""

from __future__ import annotations

from typing import Any

import pytest

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from tests.property.drive import Run, blueprint, chain, error, node, unchanged


def batch(items: Any, context: dict[str, Any] | None = None, **params: Any) -> Run:
    """A run with a scatter node over items, a gather node and a node behind it."""
    config = {name: params.pop(name) for name in ("maxRetries", "retryDelay") if name in params}
    given = {"workerUsesKey": "work", "gatherNodeId": "g", **params}
    nodes = [
        node("s", "batch-scatter", params=given, inputs="items", **config),
        node("g", "batch-gather", params={"gatherNodeId": "g"}),
        node("end"),
    ]
    run = Run(blueprint(nodes, chain("s", "g", "end")))
    return run.start({"items": items, **(context or {})})


def handed_out(run: Run) -> list[int]:
    """The items that the last decision handed out."""
    return [each.item for each in run.commands if isinstance(each, cmd.RunItem)]


def succeed(run: Run, item: int, output: Any = None) -> list[int]:
    """An item succeeds; the items handed out next."""
    run.send(ev.ItemSucceeded(0, item, run.state.items[0, item].attempt, output))
    return handed_out(run)


def fail(run: Run, item: int) -> list[int]:
    """An item fails; the items handed out next."""
    attempt = run.state.items[0, item].attempt
    run.send(ev.ItemFailed(0, item, attempt, error(f"item {item} failed")))
    return handed_out(run)


def test_results_are_in_input_order() -> None:
    """S11: whoever is done first, the gather node's output follows the list."""
    run = batch(["a", "b", "c"], outputKey="all")
    assert [each.input for each in run.commands if isinstance(each, cmd.RunItem)] == ["a", "b", "c"]
    for item in (2, 0, 1):
        succeed(run, item, item * 10)
    assert run.inputs()["end"] == run.context["all"] == [0, 10, 20]
    assert run.context["s"] == {"gatherNodeId": "g", "hasMore": False}


@pytest.mark.parametrize("items", [[], None, 0])
def test_nothing_to_do_gives_an_empty_result(items: Any) -> None:
    """S11: an empty list, null or 0."""
    assert batch(items).inputs()["end"] == []


def test_something_else_than_a_list_fails_the_scatter_node() -> None:
    """S11: with an error that says what it needs."""
    run = batch("text")
    assert "needs a list" in run.errors[0]
    assert run.status == "failed"


def test_a_chunk_begins_when_the_one_before_is_done() -> None:
    """S11: `chunkSize` items are handled at a time."""
    run = batch([1, 2, 3, 4, 5], chunkSize=2)
    assert handed_out(run) == [0, 1]
    assert succeed(run, 1) == []
    assert succeed(run, 0) == [2, 3]
    assert succeed(run, 2) == []
    assert succeed(run, 3) == [4]


def test_concurrency_bounds_the_items_under_way() -> None:
    """S11: for each one that ends another begins."""
    run = batch([1, 2, 3, 4], concurrency=2)
    assert handed_out(run) == [0, 1]
    assert succeed(run, 1) == [2]
    assert fail(run, 2) == [3]


def test_a_large_batch_is_handed_out_bit_by_bit() -> None:
    """S11: 100,000 items are never under way at once."""
    run = batch(list(range(100_000)))
    assert len(handed_out(run)) == len(run.state.items) == 1000
    assert succeed(run, 500) == [1000]


def test_a_failing_item_fails_the_batch_when_the_others_are_done() -> None:
    """S11: under `fail` the others still run, and the gather node is skipped."""
    run = batch([1, 2, 3])
    fail(run, 1)
    succeed(run, 0)
    assert run.status == "running"
    succeed(run, 2)
    assert run.status == "failed"
    assert run.status_of("g") == "blocked"
    assert run.state.errors[0].node_id == "work[1]"
    assert run.context["s"] == {"gatherNodeId": "g", "hasMore": False}


def test_failures_are_collected_where_that_is_wanted() -> None:
    """S11: under `collect` a failing item leaves its error among the results."""
    run = batch([1, 2], failureMode="collect")
    fail(run, 0)
    succeed(run, 1, "ok")
    failed, result = run.inputs()["end"]
    assert result == "ok"
    assert failed["index"] == 0
    assert failed["error"]["message"] == "item 0 failed"
    run.ok("end")
    assert run.status == "completed"


def test_the_first_hundred_errors_are_kept() -> None:
    """S11: a batch of failures does not fill the record."""
    run = batch(list(range(150)))
    for item in range(150):
        fail(run, item)
    assert len(run.errors) == 100
    assert run.status == "failed"


def test_items_are_retried_like_nodes() -> None:
    """S9: with the scatter node's config."""
    run = batch([1], maxRetries=2, retryDelay=10)
    fail(run, 0)
    [retry] = run.commands
    assert isinstance(retry, cmd.RetryItem)
    run.now = retry.due_at
    run.send(ev.ItemRetryDue(0, 0, 2))
    assert handed_out(run) == [0]
    succeed(run, 0, "second")
    assert run.inputs()["end"] == ["second"]


def test_an_item_reported_twice_counts_once() -> None:
    """An item has one result, the first."""
    run = batch([1, 2])
    succeed(run, 0, "first")
    assert unchanged(run.send(ev.ItemSucceeded(0, 0, 1, "again")))
    succeed(run, 1)
    assert run.inputs()["end"] == ["first", None]


def test_an_item_is_not_stopped_while_the_run_goes_on() -> None:
    """A stop that nobody asked for is no result."""
    run = batch([1, 2])
    assert unchanged(run.send(ev.ItemStopped(0, 0, 1)))


def test_items_write_to_the_context() -> None:
    """S8: what an item adds is committed with its result."""
    run = batch([5, 6])
    for item in (0, 1):
        run.send(ev.ItemSucceeded(0, item, 1, None, [ev.Write("add", "sum", 5 + item)]))
    assert run.context["sum"] == 11


def test_a_pause_stops_handing_out() -> None:
    """S14: items under way finish, the next ones begin when the run goes on."""
    run = batch([1, 2, 3], concurrency=1)
    run.send(ev.PauseRequested())
    assert succeed(run, 0) == []
    assert run.status == "paused"
    run.send(ev.ContinueRequested())
    assert handed_out(run) == [1]


def test_items_do_not_count_as_executions() -> None:
    """S10: the limit on node executions leaves out batch items."""
    run = batch(list(range(50)))
    assert run.state.executions == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"workerUsesKey": None},
        {"gatherNodeId": ""},
        {"chunkSize": 0},
        {"concurrency": "many"},
        {"failureMode": "ignore"},
    ],
)
def test_a_wrong_parameter_fails_the_scatter_node(wrong: dict[str, Any]) -> None:
    """S11: with an error that names it."""
    run = batch([1], **wrong)
    assert run.status == "failed"
    assert next(iter(wrong)) in run.errors[0]


def test_an_item_that_adds_what_has_no_sum_fails() -> None:
    """S8: Python adds no whole number of four hundred digits to a fraction."""
    run = batch([1, 2], {"sum": 0.5}, failureMode="collect")
    run.send(ev.ItemSucceeded(0, 0, 1, None, [ev.Write("add", "sum", 10**400)]))
    succeed(run, 1)
    assert run.context["sum"] == 0.5
    assert "context.add('sum')" in run.inputs()["end"][0]["error"]["message"]


def test_an_item_whose_writes_cannot_be_done_leaves_none_of_them() -> None:
    """S8: all of an attempt's writes are committed or none, also where the last one is wrong."""
    run = batch([1, 2], {"text": "old"}, failureMode="collect")
    writes = (
        ev.Write("set", "fresh", 1),
        ev.Write("set", "text", "new"),
        ev.Write("add", "text", 1),
    )
    run.send(ev.ItemSucceeded(0, 0, 1, None, writes))
    assert "fresh" not in run.context
    assert run.context["text"] == "old"
    succeed(run, 1)
    assert "text" in run.inputs()["end"][0]["error"]["message"]
