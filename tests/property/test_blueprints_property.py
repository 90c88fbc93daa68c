"""Blueprints that were altered: problems with their places, or a run that comes to its end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from flowcraft import FlowRuntime, NodeContext
from flowcraft.core.blueprint import WorkflowBlueprint, blueprint_hash, read_blueprint
from flowcraft.core.graph import analyze_blueprint
from flowcraft.core.lint import lint_blueprint
from flowcraft.errors import BlueprintError, FlowcraftError
from tests.property.altered import altered, strange

WHOLE: dict[str, Any] = {
    "id": "whole",
    "metadata": {"version": "1", "cycleEntryPoints": ["a"], "onFailure": "fail_fast"},
    "nodes": [
        {
            "id": "a",
            "uses": "work",
            "params": {"x": [1]},
            "inputs": {"k": "a.b"},
            "config": {
                "maxRetries": 3,
                "retryDelay": 1,
                "backoff": 2,
                "retryDelayMax": 2,
                "jitter": True,
                "retryOn": ["ValueError"],
                "noRetryOn": ["OSError"],
                "timeout": 1_000,
                "fallback": "b",
                "compensate": "c",
                "joinStrategy": "any",
                "concurrencyKey": "k",
            },
        },
        {"id": "b", "uses": "work"},
        {"id": "c", "uses": "work", "inputs": "_x"},
    ],
    "edges": [
        {
            "source": "a",
            "target": "b",
            "action": "go",
            "condition": "input > 1",
            "transform": "input + 1",
        },
        {"source": "b", "target": "c"},
    ],
}
LOOP: dict[str, Any] = {
    "id": "loop",
    "nodes": [
        {"id": "s", "uses": "work"},
        {"id": "l", "uses": "loop-controller", "params": {"condition": "context.n < 0"}},
        {"id": "o", "uses": "work"},
    ],
    "edges": [
        {"source": "s", "target": "l"},
        {"source": "l", "target": "s", "action": "continue"},
        {"source": "l", "target": "o", "action": "break"},
    ],
}
BATCH: dict[str, Any] = {
    "id": "batch",
    "nodes": [
        {
            "id": "s",
            "uses": "batch-scatter",
            "inputs": "list",
            "params": {
                "workerUsesKey": "work",
                "gatherNodeId": "g",
                "outputKey": "o",
                "chunkSize": 2,
                "concurrency": 2,
                "failureMode": "collect",
            },
        },
        {"id": "g", "uses": "batch-gather", "params": {"outputKey": "o", "gatherNodeId": "g"}},
    ],
    "edges": [{"source": "s", "target": "g"}],
}
WAITS: dict[str, Any] = {
    "id": "waits",
    "nodes": [
        {"id": "z", "uses": "sleep", "params": {"duration": "10s"}},
        {
            "id": "u",
            "uses": "subflow",
            "params": {"blueprintId": "leaf", "inputs": {"a": "b"}, "outputs": {"a": "b"}},
        },
        {
            "id": "w",
            "uses": "wait",
            "params": {
                "title": "t",
                "schema": {"type": "object"},
                "actions": ["x"],
                "timeout": "5m",
                "correlationKey": "u.a",
            },
        },
        {"id": "h", "uses": "webhook", "params": {}},
    ],
    "edges": [
        {"source": "z", "target": "u"},
        {"source": "u", "target": "w"},
        {"source": "w", "target": "h"},
    ],
}
LEAF = {"id": "leaf", "nodes": [{"id": "a", "uses": "work"}], "edges": []}
OTHERS = ("work", "a", "b", "loop-controller", "batch-scatter", "wait", "subflow", "any", "1d")
PATIENCE_SECONDS = 10.0

blueprints = st.sampled_from([WHOLE, LOOP, BATCH, WAITS]).flatmap(
    lambda data: altered(data, 3, OTHERS)
)
_names = st.sampled_from(["id", "nodes", "edges", "uses", "source", "target", "metadata", "a"])
json_data = st.recursive(
    strange, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3)
)
mostly = settings(
    max_examples=3 * settings().max_examples,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)


async def work(ctx: NodeContext[Any]) -> int:
    return 1


@mostly
@given(blueprints | json_data)
def test_a_blueprint_is_read_or_its_problems_have_places(data: Any) -> None:
    """Reading, linting and drawing raise nothing but a list of problems, each with its place."""
    lint_blueprint(data, registry={"work": work})
    _, problems = read_blueprint(data)
    assert all(isinstance(each.place, str) and each.message for each in problems)
    if problems:
        with pytest.raises(BlueprintError) as caught:
            WorkflowBlueprint.from_dict(data)
        assert caught.value.problems == tuple(problems)
        return
    blueprint = WorkflowBlueprint.from_dict(data)
    again = WorkflowBlueprint.from_json(json.dumps(blueprint.to_dict()))
    assert blueprint_hash(again) == blueprint_hash(blueprint)
    analyze_blueprint(blueprint)


@given(blueprints)
def test_a_blueprint_that_lints_clean_terminates(data: Any) -> None:
    """Its run is over or waits after a bounded number of nodes; no error but those with names."""
    if read_blueprint(data)[1]:
        return
    blueprint = WorkflowBlueprint.from_dict(data)
    runtime = FlowRuntime(registry={"work": work}, blueprints={"leaf": LEAF, "whole": LEAF})
    is_clean = not lint_blueprint(blueprint, registry={"work": work}).issues

    async def story() -> str:
        async with asyncio.timeout(PATIENCE_SECONDS):
            result = await runtime.run(blueprint, {"list": [1, 2], "n": 1}, timers="return")
        return str(result.status)

    refusal: FlowcraftError | None = None
    try:
        status = asyncio.run(story())
    except FlowcraftError as error:
        refusal, status = error, "failed"
    assert status in ("completed", "failed", "awaiting")
    assert refusal is None or not is_clean, refusal


@pytest.mark.parametrize("text", ["", "\x00", "[" * 100_000, '{"nodes": ' * 5_000, "NaN", "1e999"])
def test_text_that_is_hardly_json_is_refused(text: str) -> None:
    """Neither depth nor size gets further than the reader."""
    with pytest.raises(BlueprintError):
        WorkflowBlueprint.from_json(text)
