"""Runs as text: what survives, and what is refused (``RunResult.state``)."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from flowcraft import (
    FlowcraftError,
    FlowRuntime,
    NodeResult,
    RetryPolicy,
    SerializationError,
    create_flow,
)
from flowcraft.core.builder import FlowBuilder
from tests.unit.runs import Ctx, drive, echo, one, run

VALUES: list[Any] = [
    None,
    True,
    1.5,
    2**70,
    float("inf"),
    "text \0 ä 🚀",
    b"\x00\xff",
    Decimal("1.10"),
    UUID(int=5),
    datetime(2024, 5, 1, 12, tzinfo=UTC),
    date(2024, 5, 1),
    timedelta(days=1, microseconds=1),
    {1, 2, "x"},
    {"$type": "datetime", "value": "no"},
    {"": [{}, []]},
]


async def fails(ctx: Ctx) -> None:
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise ValueError("outer") from error


async def adds_node(ctx: Ctx) -> NodeResult[Any]:
    return NodeResult(1, dynamic_nodes=[{"id": "added", "uses": "echo", "inputs": "key"}])


def everything() -> FlowBuilder:
    """A flow that leaves something of each kind in the record before it rests."""
    child = create_flow("child").node("c", one).wait("cw").edge("c", "cw")
    flow = create_flow("all").node("a", one).node("join", echo, join="any").wait("w")
    flow.edge("a", "join", transform="output + 1").edge("w", "join")
    flow.node("bad", fails, retry=RetryPolicy(2, delay=0)).node("blocked", one)
    flow.node("risky", fails, fallback="stand-in").node("stand-in", one).node("then", echo)
    flow.edge("bad", "blocked").edge("risky", "then").node("adds", adds_node)
    flow.node("unused", echo, uses="echo").edge("blocked", "unused")
    flow.batch("b", echo, inputs="list").edge("b", "pair").edge("w", "pair").node("pair", echo)
    flow.subflow("sub", child, inputs={"x": "key"}).node("count", one, compensate="undo")
    flow.node("undo", echo).loop("l", "_outputs.a < 5", start="lw", end="lw").wait("lw")
    return flow.edge("a", "l").node("end", echo).edge("l", "end").sleep("s", "1d")


def saved() -> tuple[FlowBuilder, str]:
    flow = everything()
    result = run(flow, {"list": [1, 2], "key": [1]}, timers="return", run_id="r")
    assert result.status == "awaiting"
    return flow, result.state


def snapshot_of(result: Any) -> dict[str, Any]:
    return {
        "status": str(result.status),
        "outputs": dict(result.outputs),
        "context": dict(result.context),
        "errors": result.errors,
        "states": result.states,
        "awaiting": result.awaiting,
    }


def test_everything_a_run_knows_survives_being_saved() -> None:
    """A run that is resumed without an answer is what it was, and saves as the same text."""
    flow = everything()
    first = run(flow, {"list": [1, 2], "key": [1]}, timers="return")
    again = drive(FlowRuntime().resume(flow, first.state, answer=False, timers="return"))
    assert snapshot_of(again) == snapshot_of(first)
    assert json.loads(again.state) == json.loads(first.state)
    assert {error.node_id for error in first.errors} == {"bad"}
    assert first.errors[0].causes == (("KeyError", "'inner'"),)
    assert first.outputs["added"] == [1]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_of_every_kind_survive_being_saved(value: Any) -> None:
    """Context, outputs and inputs come back from the text as what they were."""
    flow = create_flow("f").node("a", echo, inputs="key").wait("w").node("b", echo, inputs="key")
    flow.edge("a", "w").edge("w", "b")
    result = drive(FlowRuntime().resume(flow, run(flow, {"key": value}).state, output=value))
    found = [result.context["key"], *(result.outputs[name] for name in ("a", "w", "b"))]
    assert found == [value] * 4
    assert {type(item) for item in found} == {type(value)}


@pytest.mark.parametrize(
    "text",
    ["", "x", "1", "null", "[]", "{}", '{"state": {}}', '{"format": 1, "state": {}}', '"x"'],
)
def test_other_text_is_refused(text: str) -> None:
    """What is no saved run is refused with an error that says so."""
    with pytest.raises(SerializationError):
        drive(FlowRuntime().resume(create_flow("f").wait("w"), text))


def test_a_newer_format_is_refused() -> None:
    """A run saved in a format of the future is refused by its number."""
    flow, text = saved()
    data = json.loads(text)
    data["format"] = 99
    with pytest.raises(SerializationError, match="99"):
        drive(FlowRuntime().resume(flow, json.dumps(data), answer=False))


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in the data with each of its keys."""
    todo = [data]
    while todo:
        current = todo.pop()
        if isinstance(current, dict | list):
            for key in current if isinstance(current, dict) else range(len(current)):
                yield current, key
                todo.append(current[key])


def test_damaged_text_is_refused_or_harmless() -> None:
    """Whatever part of a saved run is damaged, the only errors are those of the package."""
    flow, text = saved()
    original = json.loads(text)
    source = random.Random(7)
    runtime = FlowRuntime()

    async def main() -> None:
        for number in range(400):
            data = copy.deepcopy(original)
            container, key = source.choice(list(places(data)))
            if number % 3 == 0 and isinstance(container, dict):
                del container[key]
            else:
                container[key] = source.choice([None, "x", [], {}, -5, 10**6, [1, [2]], True])
            try:
                await runtime.resume(flow, json.dumps(data), answer=False, timers="return")
            except FlowcraftError:
                continue

    drive(main())


def test_text_cut_short_is_refused() -> None:
    """A text that was not written to its end is refused wherever it ends."""
    flow, text = saved()
    for length in range(0, len(text) - 1, max(1, len(text) // 50)):
        with pytest.raises(SerializationError):
            drive(FlowRuntime().resume(flow, text[:length]))


def test_a_child_of_an_unknown_blueprint_is_named() -> None:
    """A saved child whose blueprint the runtime lacks is refused by its id."""
    child = create_flow("child").wait("w")
    parent = {
        "id": "p",
        "nodes": [{"id": "s", "uses": "subflow", "params": {"blueprintId": "child"}}],
    }
    knows = FlowRuntime(blueprints={"child": child.to_blueprint()})
    text = run(parent, runtime=knows).state
    with pytest.raises(FlowcraftError, match="'child'"):
        drive(FlowRuntime().resume(parent, text, output=1))
    assert drive(knows.resume(parent, text, output=1)).outputs["s"] == 1
