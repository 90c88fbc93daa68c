"""The fluent way to write a flow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from flowcraft.core.blueprint import EdgeDefinition, NodeConfig, WorkflowBlueprint
from flowcraft.core.builder import FlowBuilder, create_flow, set_default_runtime_factory
from flowcraft.core.retry_policy import RetryPolicy
from flowcraft.errors import BlueprintError


def work(ctx: Any) -> None:
    """A function that other processes can find."""


class Charge:
    """A class that other processes can find."""

    def method(self, ctx: Any) -> None:
        """A method that other processes can find."""


def edges_of(flow: FlowBuilder) -> list[tuple[Any, ...]]:
    """The edges of a flow, short."""
    return [(e.source, e.target, e.action) for e in flow.to_blueprint().edges]


def node_of(flow: FlowBuilder, node_id: str) -> dict[str, Any]:
    """The JSON form of one node."""
    return next(n for n in flow.to_blueprint().to_dict()["nodes"] if n["id"] == node_id)


def problems_of(flow: FlowBuilder) -> list[str]:
    """Why a flow is refused."""
    with pytest.raises(BlueprintError) as caught:
        flow.to_blueprint()
    return [str(problem) for problem in caught.value.problems]


def test_nodes_and_edges() -> None:
    """A flow is a blueprint with its callables."""
    flow = create_flow("simple").node("a", work).node("b", "elsewhere").edge("a", "b", action="go")
    assert flow.to_blueprint().to_dict() == {
        "id": "simple",
        "nodes": [{"id": "a", "uses": f"{__name__}:work"}, {"id": "b", "uses": "elsewhere"}],
        "edges": [{"source": "a", "target": "b", "action": "go"}],
    }
    assert flow.registry == {f"{__name__}:work": work}


def test_every_option_of_a_node() -> None:
    """Python arguments become the format's configuration."""
    flow = (
        create_flow("wf")
        .node("b", work)
        .node(
            "a",
            Charge,
            params={"x": 1},
            inputs={"order": "b.total"},
            config={"maxRetries": 9, "color": "red"},
            retry=RetryPolicy(max_attempts=3, delay=0.5, retry_on=(TimeoutError,)),
            timeout=timedelta(seconds=30),
            fallback="b",
            compensate="b",
            join="any",
            isolation="process",
            concurrency_key="gpu",
        )
    )
    assert node_of(flow, "a") == {
        "id": "a",
        "uses": f"{__name__}:Charge",
        "params": {"x": 1},
        "inputs": {"order": "b.total"},
        "config": {
            "maxRetries": 3,
            "color": "red",
            "retryDelay": 500,
            "retryOn": ["TimeoutError"],
            "timeout": 30_000,
            "fallback": "b",
            "compensate": "b",
            "joinStrategy": "any",
            "isolation": "process",
            "concurrencyKey": "gpu",
        },
    }


def test_a_config_object() -> None:
    """``config`` may be the dataclass; a timeout as a number is seconds."""
    flow = create_flow("wf").node("a", work, config=NodeConfig(max_retries=2), timeout=1.5)
    assert node_of(flow, "a")["config"] == {"maxRetries": 2, "timeout": 1500}


def test_explicit_keys() -> None:
    """A key is given by ``uses``, or by the decorator's mark."""

    def marked(ctx: Any) -> None:
        """Marked as the decorator does it."""

    marked.__flowcraft_uses__ = "marked-key"  # type: ignore[attr-defined]
    flow = create_flow("wf").node("a", marked).node("b", lambda ctx: 1, uses="one")
    assert list(flow.registry) == ["marked-key", "one"]
    assert node_of(flow, "b")["uses"] == "one"


def test_two_callables_of_one_name() -> None:
    """Lambdas share a name: the second one has to be given a key."""
    flow = create_flow("wf").node("a", lambda ctx: 1)
    with pytest.raises(BlueprintError, match=r"node 'b': two different callables.*uses="):
        flow.node("b", lambda ctx: 2)


def test_one_callable_twice() -> None:
    """The same function or method may serve several nodes."""
    charge = Charge()
    flow = create_flow("wf").node("a", work).node("b", work)
    flow.node("c", charge.method).node("d", charge.method)
    assert list(flow.registry) == [f"{__name__}:work", f"{__name__}:Charge.method"]
    with pytest.raises(BlueprintError, match="two different callables"):
        flow.node("e", Charge().method)


def test_a_callable_without_a_name() -> None:
    """What has no name of its own needs a key."""
    with pytest.raises(BlueprintError, match="partial has no name"):
        create_flow("wf").node("a", partial(work, 1))
    flow = create_flow("wf").node("a", partial(work, 1), uses="partial")
    assert list(flow.registry) == ["partial"]


def test_what_cannot_be_a_node() -> None:
    """Mistakes in a call are reported by the call."""
    flow = create_flow("wf")
    with pytest.raises(TypeError, match="needs a function, a class or a key, not a int"):
        flow.node("a", 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not both"):
        flow.node("a", "key", uses="other")
    with pytest.raises(BlueprintError, match="'sleep' is carried out by the engine"):
        flow.node("a", work, uses="sleep")


def test_a_batch_is_two_nodes() -> None:
    """Edges and inputs that name the batch mean its first and last node."""
    flow = (
        create_flow("wf")
        .node("list", work)
        .edge("list", "squares")
        .edge("squares", "sum")
        .node("sum", work, inputs={"all": "squares", "first": "squares.0", "other": "list"})
        .node("risky", work, fallback="squares")
        .batch(
            "squares",
            work,
            inputs="list",
            output_key="results",
            chunk_size=10,
            concurrency=2,
            failure_mode="collect",
            retry=RetryPolicy(max_attempts=2),
            timeout=1,
        )
    )
    assert edges_of(flow) == [
        ("list", "squares_scatter", None),
        ("squares_gather", "sum", None),
        ("squares_scatter", "squares_gather", None),
    ]
    assert node_of(flow, "squares_scatter") == {
        "id": "squares_scatter",
        "uses": "batch-scatter",
        "params": {
            "workerUsesKey": f"{__name__}:work",
            "gatherNodeId": "squares_gather",
            "outputKey": "results",
            "chunkSize": 10,
            "concurrency": 2,
            "failureMode": "collect",
        },
        "inputs": "list",
        "config": {"maxRetries": 2, "retryDelay": 1000, "timeout": 1000},
    }
    assert node_of(flow, "squares_gather") == {
        "id": "squares_gather",
        "uses": "batch-gather",
        "params": {"gatherNodeId": "squares_gather", "outputKey": "results"},
        "config": {"joinStrategy": "all"},
    }
    assert node_of(flow, "sum")["inputs"] == {
        "all": "squares_gather",
        "first": "squares_gather.0",
        "other": "list",
    }
    assert node_of(flow, "risky")["config"]["fallback"] == "squares_scatter"


def test_a_loop() -> None:
    """The controller gets its edges; one that leaves it has the action ``break``."""
    flow = (
        create_flow("wf")
        .node("init", work)
        .node("body", work)
        .node("done", work)
        .edge("init", "loop")
        .loop("loop", "i < 3", start="body", end="body")
        .edge("loop", "done")
    )
    assert edges_of(flow) == [
        ("init", "loop", None),
        ("body", "loop", None),
        ("loop", "body", "continue"),
        ("loop", "done", "break"),
    ]
    assert node_of(flow, "loop") == {
        "id": "loop",
        "uses": "loop-controller",
        "params": {"condition": "i < 3"},
        "config": {"joinStrategy": "any"},
    }


def test_edges_of_a_loop_given_by_hand() -> None:
    """An edge the user gives takes the place of the loop's own; conditional exits stay as are."""
    flow = (
        create_flow("wf")
        .node("body", work)
        .node("out", work)
        .edge("loop", "body", transform="input.x")
        .loop("loop", "more", start="body", end="body")
        .edge("loop", "out", condition="stop")
        .edge("body", "loop", condition="result.output")
    )
    assert flow.to_blueprint().edges == (
        EdgeDefinition("loop", "body", "continue", transform="input.x"),
        EdgeDefinition("loop", "out", condition="stop"),
        EdgeDefinition("body", "loop", condition="result.output"),
    )


def test_loops_around_batches_and_loops() -> None:
    """The body of a loop may begin and end with a batch or be another loop."""
    flow = (
        create_flow("wf")
        .batch("items", work)
        .loop("inner", "im", start="items", end="items")
        .loop("outer", "om", start="inner", end="inner")
    )
    assert edges_of(flow) == [
        ("items_scatter", "items_gather", None),
        ("items_gather", "inner", None),
        ("inner", "items_scatter", "continue"),
        ("inner", "outer", "break"),
        ("outer", "inner", "continue"),
    ]


def test_sleeps() -> None:
    """Durations are checked at once."""
    flow = create_flow("wf").sleep("a", 1500).sleep("b", "2h").sleep("c", timedelta(seconds=1))
    params = [node["params"] for node in flow.to_blueprint().to_dict()["nodes"]]
    assert params == [{"duration": 1500}, {"duration": "2h"}, {"duration": 1000}]
    with pytest.raises(ValueError, match="'5w' is not a duration"):
        flow.sleep("d", "5w")


def test_waits_and_webhooks() -> None:
    """What is asked goes into the params; a timeout as a number is seconds."""
    flow = create_flow("wf").wait("w").webhook("h", timeout="1d")
    flow.wait("full", title="Ok?", schema={"type": "object"}, actions=("yes", "no"), timeout=60)
    assert node_of(flow, "w") == {"id": "w", "uses": "wait"}
    assert node_of(flow, "h") == {"id": "h", "uses": "webhook", "params": {"timeout": "1d"}}
    assert node_of(flow, "full")["params"] == {
        "title": "Ok?",
        "schema": {"type": "object"},
        "actions": ["yes", "no"],
        "timeout": 60_000,
    }


def test_subflows_bring_their_callables_and_blueprints() -> None:
    """Children and their children are known to whoever runs the parent."""
    grandchild = create_flow("grandchild").node("g", Charge)
    child = create_flow("child").subflow("s", grandchild).node("c", lambda ctx: 1)
    ready = WorkflowBlueprint.from_dict({"id": "ready", "nodes": []})
    flow = (
        create_flow("parent")
        .node("p", work)
        .subflow("one", child, inputs={"x": "p"}, outputs={"y": "c"}, fallback="p")
        .subflow("two", ready, inputs={})
        .subflow("three", {"id": "raw", "nodes": [], "edges": []})
        .subflow("four", "elsewhere")
    )
    assert set(flow.blueprints) == {"child", "grandchild", "ready", "raw"}
    assert flow.blueprints["child"] == child.to_blueprint()
    assert set(flow.registry) == {
        f"{__name__}:work",
        f"{__name__}:Charge",
        *child.registry,
    }
    assert node_of(flow, "one") == {
        "id": "one",
        "uses": "subflow",
        "params": {"blueprintId": "child", "inputs": {"x": "p"}, "outputs": {"y": "c"}},
        "config": {"fallback": "p"},
    }
    assert node_of(flow, "two")["params"] == {"blueprintId": "ready", "inputs": {}}
    assert node_of(flow, "four")["params"] == {"blueprintId": "elsewhere"}


def test_a_flow_may_be_its_own_child() -> None:
    """Recursion of flows ends."""
    flow = create_flow("again").node("a", work)
    flow.subflow("s", flow).edge("a", "s", condition="more")
    assert flow.blueprints == {}
    assert list(flow.registry) == [f"{__name__}:work"]


def test_children_that_cannot_live_together() -> None:
    """Two children of one id, or two callables of one key, are refused."""
    flow = create_flow("wf")
    flow.subflow("a", create_flow("child").node("x", lambda ctx: 1))
    flow.subflow("b", create_flow("child").node("y", lambda ctx: 2))
    with pytest.raises(BlueprintError, match="two different flows have the id 'child'"):
        _ = flow.blueprints
    with pytest.raises(BlueprintError, match="flow 'child': two different callables"):
        _ = flow.registry


def test_metadata() -> None:
    """Metadata, failure mode and entry points are collected."""
    flow = create_flow("wf").node("a", work).node("b", work).edge("a", "b").edge("b", "a")
    flow.metadata(version="2", owner="ops").on_failure("fail_fast").cycle_entry("b")
    blueprint = flow.to_blueprint()
    assert blueprint.metadata == {
        "version": "2",
        "owner": "ops",
        "onFailure": "fail_fast",
        "cycleEntryPoints": ["b"],
    }


def test_everything_wrong_is_listed_at_once() -> None:
    """A flow that does not fit together is refused with every problem."""
    flow = (
        create_flow("wf")
        .node("a", work, params={"x": object()}, config={"maxRetries": -1}, fallback="f")
        .node("a b", work)
        .node("a b", work)
        .edge("ghost", "a")
        .edge("a", "nobody")
        .loop("loop", "more", start="s", end="a")
        .batch("items", work)
        .node("items", work)
        .cycle_entry("e")
    )
    assert problems_of(flow) == [
        "node 'a b': there are two nodes of this id",
        "nodes.a.params.x: must be a plain JSON value, not a Python object",
        "nodes.a.config.maxRetries: must not be negative, but is -1",
        "batch 'items': there is also a node of this id",
        "edge 'ghost' -> 'a': the source 'ghost' is no node of this flow",
        "edge 'a' -> 'nobody': the target 'nobody' is no node of this flow",
        "edge 'loop' -> 's': the target 's' is no node of this flow",
        "node 'a': the fallback 'f' is no node of this flow",
        "cycle_entry: 'e' is no node of this flow",
    ]


def test_the_blueprint_is_kept_until_the_flow_changes() -> None:
    """Running a flow often builds it once; a change is seen."""
    flow = create_flow("wf").node("a", work)
    first = flow.to_blueprint()
    assert flow.to_blueprint() is first
    assert len(flow.node("b", work).to_blueprint().nodes) == 2
    assert flow.metadata(x=1).to_blueprint().metadata == {"x": 1}


class FakeRuntime:
    """Remembers what it is asked to run."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def run(self, *args: Any, **options: Any) -> Awaitable[str]:
        """Give an awaitable without a loop."""
        self.calls.append((*args, options))
        return Done()

    def run_sync(self, *args: Any, **options: Any) -> str:
        """Give a result."""
        self.calls.append((*args, options))
        return "sync result"


class Done(Awaitable[str]):
    """Something to await."""

    def __await__(self) -> Any:
        yield


def test_running_is_the_runtime_s_work() -> None:
    """``run`` and ``run_sync`` hand the flow to the runtime they are given."""
    flow, runtime = create_flow("wf").node("a", work), FakeRuntime()
    assert isinstance(flow.run(runtime, {"x": 1}, run_id="r"), Done)
    assert flow.run_sync({"x": 2}, runtime=runtime) == "sync result"
    assert runtime.calls == [(flow, {"x": 1}, {"run_id": "r"}), (flow, {"x": 2}, {})]


def test_the_default_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """``run_sync`` without a runtime uses a new one of the default kind."""
    flow, made = create_flow("wf").node("a", work), list[FakeRuntime]()

    def make() -> FakeRuntime:
        made.append(FakeRuntime())
        return made[-1]

    no_factory: Callable[[], Any] | None = None
    monkeypatch.setattr(FlowBuilder, "_runtime_factory", no_factory)
    with pytest.raises(RuntimeError, match="runtime="):
        flow.run_sync()
    set_default_runtime_factory(make)
    assert flow.run_sync({"x": 1}) == "sync result"
    assert made[0].calls == [(flow, {"x": 1}, {})]


def test_a_flow_shows_what_it_is() -> None:
    """The representation names the flow and its size."""
    assert repr(create_flow("wf").node("a", work)) == "<flow 'wf': 1 nodes, 0 edges>"
