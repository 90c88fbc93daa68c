"""Inputs and answers decoded into what a node's annotation asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import pytest
from pydantic import BaseModel

from flowcraft import Node, NodeContext, NodeResult, RetryPolicy, SyncNodeContext, create_flow
from tests.unit.runs import Ctx, run

RETRIES = RetryPolicy(max_attempts=3, delay=0)


@dataclass
class Line:
    sku: str
    count: int = 1


@dataclass
class Order:
    id: int
    lines: list[Line]


class Row(TypedDict):
    id: int


class Model(BaseModel):
    id: int
    name: str = "unnamed"


async def takes_order(ctx: NodeContext[Order]) -> str:
    return f"{type(ctx.input).__name__} {ctx.input.lines[0].sku}"


def takes_order_plain(ctx: SyncNodeContext[Order]) -> str:
    return f"{type(ctx.input).__name__} {ctx.input.lines[0].sku}"


async def takes_row(ctx: NodeContext[Row]) -> int:
    return ctx.input["id"]


async def takes_model(ctx: NodeContext[Model]) -> str:
    return ctx.input.name


async def takes_int(ctx: NodeContext[int]) -> int:
    return ctx.input + 1


class TakesOrder(Node[Order, str]):
    """A class whose input is typed by its base."""

    async def exec(self, ctx: NodeContext[Order], prepared: Order) -> str:
        return f"{type(prepared).__name__} {prepared.lines[0].sku}"


ORDER = {"id": 1, "lines": [{"sku": "a"}]}


@pytest.mark.parametrize(
    ("implementation", "given", "expected"),
    [
        (takes_order, ORDER, "Order a"),
        (takes_order_plain, ORDER, "Order a"),
        (TakesOrder, ORDER, "Order a"),
        (takes_row, {"id": 3}, 3),
        (takes_model, {"id": 3}, "unnamed"),
        (takes_int, 1, 2),
    ],
)
def test_the_annotation_decodes_the_input(implementation: Any, given: Any, expected: Any) -> None:
    """Dataclasses, models, typed dicts and built-in types arrive as what they are annotated."""
    flow = create_flow("f").node("a", implementation, inputs="given")
    assert run(flow, {"given": given}).outputs["a"] == expected


@pytest.mark.parametrize(
    ("implementation", "given", "place"),
    [
        (takes_order, {"id": 1, "lines": [{"sku": 5}]}, "input.lines[0].sku"),
        (takes_order_plain, {"id": "1", "lines": []}, "input.id"),
        (TakesOrder, None, "input"),
        (takes_row, {}, "id"),
        (takes_model, {"id": "x"}, "id"),
        (takes_int, "1", "input"),
        (takes_int, True, "input"),
    ],
)
def test_data_that_does_not_fit_fails_once_with_its_place(
    implementation: Any, given: Any, place: str
) -> None:
    """Wrong data is an ``InputError`` that names the place; it is not tried again."""
    flow = create_flow("f").node("a", implementation, inputs="given", retry=RETRIES)
    (error,) = run(flow, {"given": given}).errors
    assert (error.type, error.attempts) == ("InputError", 1)
    assert place in error.message


def test_data_that_does_not_fit_takes_the_fallback() -> None:
    """A node whose input does not fit has failed like any other: its fallback runs."""
    flow = create_flow("f").node("a", takes_int, inputs="given", fallback="b")

    async def instead(ctx: Ctx) -> Any:
        return (await ctx.context.get("_catch_error"))["type"]

    result = run(flow.node("b", instead), {"given": "x"})
    assert (result.status, result.outputs["b"]) == ("completed", "InputError")


def test_outputs_of_typed_nodes_travel_as_data() -> None:
    """A dataclass that a node returns is data for one node and an instance for another."""

    async def makes(ctx: Ctx) -> NodeResult[Order]:
        return NodeResult(Order(1, [Line("a")]))

    async def raw(ctx: Ctx) -> Any:
        return ctx.input

    flow = create_flow("f").node("a", makes).node("typed", takes_order).node("raw", raw)
    outputs = run(flow.edge("a", "typed").edge("a", "raw")).outputs
    assert outputs["typed"] == "Order a"
    assert outputs["raw"] == {"id": 1, "lines": [{"sku": "a", "count": 1}]}


def test_items_of_a_batch_are_decoded_one_by_one() -> None:
    """A batch's worker has typed items; one that does not fit fails alone."""

    async def count(ctx: NodeContext[Line]) -> int:
        return ctx.input.count

    flow = create_flow("f").batch("b", count, inputs="lines", failure_mode="collect")
    result = run(flow, {"lines": [{"sku": "a", "count": 2}, {"sku": 5}]})
    first, second = result.outputs["b_gather"]
    assert first == 2
    assert (second["index"], second["error"]["type"]) == (1, "InputError")
