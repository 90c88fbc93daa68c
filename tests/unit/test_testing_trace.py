"""Traces: what they tell about a run, and that they refuse names that no node has."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowcraft.engine.runtime import FlowRuntime
from flowcraft.errors import FlowcraftError
from flowcraft.testing import TestEnvironment, Trace, fake_node, run_with_trace

DIAMOND: dict[str, Any] = {
    "id": "diamond",
    "nodes": [
        {"id": "start", "uses": "start"},
        {"id": "left", "uses": "work", "config": {"maxRetries": 2, "retryDelay": 0}},
        {"id": "right", "uses": "work"},
        {"id": "end", "uses": "end"},
    ],
    "edges": [
        {"source": "start", "target": "left", "action": "left"},
        {"source": "start", "target": "right", "action": "right"},
        {"source": "left", "target": "end"},
        {"source": "right", "target": "end"},
    ],
}
CHILD: dict[str, Any] = {
    "id": "child",
    "nodes": [{"id": "in", "uses": "work"}, {"id": "never", "uses": "work"}],
    "edges": [{"source": "in", "target": "never", "action": "no"}],
}
PARENT: dict[str, Any] = {
    "id": "parent",
    "nodes": [
        {"id": "sub", "uses": "subflow", "params": {"blueprintId": "child"}},
        {"id": "deep", "uses": "subflow", "params": {"blueprintId": "middle"}},
    ],
    "edges": [],
}
MIDDLE: dict[str, Any] = {
    "id": "middle",
    "nodes": [{"id": "sub", "uses": "subflow", "params": {"blueprintId": "child"}}],
}
BATCH: dict[str, Any] = {
    "id": "batch",
    "nodes": [
        {
            "id": "scatter",
            "uses": "batch-scatter",
            "inputs": "list",
            "params": {"workerUsesKey": "work", "gatherNodeId": "gather"},
        },
        {"id": "gather", "uses": "batch-gather"},
    ],
    "edges": [{"source": "scatter", "target": "gather"}],
}


def traced(
    blueprint: dict[str, Any], registry: dict[str, Any], context: Any = None, **options: Any
) -> Trace:
    """Run a blueprint and give its trace."""
    runtime = FlowRuntime(registry=registry, blueprints={"child": CHILD, "middle": MIDDLE})
    return asyncio.run(run_with_trace(runtime, blueprint, context, **options))


def diamond() -> Trace:
    """The diamond, run through its left branch with one retry."""
    work = fake_node(sequence=[OSError("busy"), "done"])
    registry = {"start": fake_node(7, action="left"), "work": work, "end": fake_node("bye")}
    return traced(DIAMOND, registry, {"key": 1}, run_id="r1")


def test_what_a_node_did() -> None:
    """Starts, attempts, inputs, outputs and errors of each node are told."""
    trace = diamond()
    assert trace.result.run_id == "r1"
    assert (trace.started("left"), trace.attempts("left")) == (True, 2)
    assert trace.inputs("left") == [7]
    assert trace.errors("left") == ["OSError: busy"]
    assert trace.outputs_of("left") == ["done"]
    assert trace.finished("end")
    assert dict(trace.outputs) == {"start": 7, "left": "done", "end": "bye"}


def test_the_branch_that_was_not_chosen() -> None:
    """A skipped node did not start, has no inputs, and is listed."""
    trace = diamond()
    assert trace.skipped == ["right"]
    assert (trace.started("right"), trace.inputs("right"), trace.attempts("right")) == (
        False,
        [],
        0,
    )


def test_the_order_lists_executions_once() -> None:
    """A retried node is in the order once."""
    assert diamond().order() == ["start", "left", "end"]


def test_failures_are_listed() -> None:
    """A node that failed for good is told apart from one that was tried again."""
    registry = {"start": fake_node(error=KeyError("k")), "work": fake_node(), "end": fake_node()}
    trace = traced(DIAMOND, registry)
    assert trace.failed == ["start"]
    assert trace.errors("start") == ["KeyError: 'k'"]
    assert trace.skipped == ["left", "right", "end"]


def test_a_name_that_no_node_has_is_refused() -> None:
    """A slip of the pen does not make an assertion pass; the message lists the nodes."""
    trace = diamond()
    for ask in (trace.started, trace.inputs, trace.attempts, trace.errors, trace.finished):
        with pytest.raises(FlowcraftError, match=r"no node 'lef'\. It has: start, left, right"):
            ask("lef")


def test_nodes_of_subflows_are_named_by_the_way_to_them() -> None:
    """A child's nodes are told with their subflow in front, however deep; typos are refused."""
    trace = traced(PARENT, {"work": fake_node("x")})
    assert trace.order() == ["sub", "deep", "deep/sub", "sub/in", "deep/sub/in"]
    assert trace.outputs_of("deep/sub/in") == ["x"]
    assert not trace.started("deep/sub/never")
    for name in ("in", "sub/inn", "deep/in", "sub/", "/in"):
        with pytest.raises(FlowcraftError, match="no node"):
            trace.started(name)


def test_items_of_a_batch_are_named_by_worker_and_place() -> None:
    """Each item's input and output is told under its own name."""
    trace = traced(BATCH, {"work": fake_node(lambda value: value * 2)}, {"list": [5, 6]})
    assert trace.inputs("work[1]") == [6]
    assert trace.outputs_of("work[1]") == [12]
    assert trace.outputs["gather"] == [10, 12]
    assert not trace.started("work[9]")
    with pytest.raises(FlowcraftError, match="no node"):
        trace.started("other[0]")


def test_the_timeline_can_be_read() -> None:
    """The text has one line per event: when, which node, what, and with which values."""
    text = str(diamond())
    assert text.splitlines()[0] == "run 'r1' of 'diamond': completed"
    assert "node:retry" in text
    assert "OSError: busy" in text
    assert "(attempt 2)" in text
    assert "output='bye'" in text


def test_the_timeline_shows_virtual_time() -> None:
    """Times are told from the start of the run."""

    async def steps() -> str:
        nap = {"id": "nap", "nodes": [{"id": "n", "uses": "sleep", "params": {"duration": "1d"}}]}
        async with TestEnvironment() as env:
            handle = await env.start(nap)
            await env.advance("2d")
            return str(handle.trace)

    lines = asyncio.run(steps()).splitlines()
    assert [line.split("  ")[-1].strip() for line in lines[1:2]] == ["context={}"]
    assert any("+1 day, 0:00:00" in line and "node:finish" in line for line in lines)


def test_long_values_and_long_runs_are_cut() -> None:
    """The timeline stays readable: values are shortened, events beyond the limit counted."""
    trace = traced(BATCH, {"work": fake_node("x" * 500)}, {"list": list(range(400))})
    text = str(trace)
    assert max(map(len, text.splitlines())) < 200
    assert text.splitlines()[-1].endswith("more events")


def test_the_runtime_is_left_as_it_was() -> None:
    """Tracing a run adds no listener for good, also when the run is refused."""
    runtime = FlowRuntime()
    for flow in ({"id": "e", "nodes": [{"id": "n", "uses": "x"}]}, "unknown"):
        try:
            asyncio.run(run_with_trace(runtime, flow))
        except FlowcraftError:
            assert flow == "unknown"
    assert not runtime.bus.active
