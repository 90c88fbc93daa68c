"""An order workflow with most of what the format has: the example behind ``make demo``.

::

    validate ─┬─ (stock) ──> reserve ─> prices (a batch over the items) ─> total ─> charge
              └─ (no stock) ─> reject                                                 │
         deliver (a subflow) <── approve (a person decides) <── cool_off (a timer) <──┘
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypedDict

from flowcraft import NodeContext, NodeResult, RetryPolicy, SyncNodeContext, create_flow
from flowcraft.core.builder import FlowBuilder


class Item(TypedDict):
    """One line of an order."""

    sku: str
    quantity: int


@dataclass
class Order:
    """What a customer sends."""

    customer: str
    items: list[Item]


@dataclass
class Shop:
    """The outside world of the example: stock, prices, and a payment service with hiccups."""

    stock: dict[str, int] = field(default_factory=lambda: {"cup": 40, "tea": 100, "pot": 2})
    prices: dict[str, float] = field(default_factory=lambda: {"cup": 8.5, "tea": 4.0, "pot": 39.0})
    failures_left: int = 2
    charges: dict[str, float] = field(default_factory=dict)
    courier_is_there: bool = True


class CourierError(Exception):
    """Nobody can deliver."""


async def validate(ctx: NodeContext[Order]) -> NodeResult[Order]:
    """Choose a branch: is everything in stock?"""
    shop = ctx.dependency(Shop)
    missing = [i["sku"] for i in ctx.input.items if shop.stock.get(i["sku"], 0) < i["quantity"]]
    await ctx.context.set("missing", missing)
    return NodeResult(ctx.input, action="reject" if missing else "accept")


async def reject(ctx: NodeContext[Order]) -> str:
    """Tell the customer what is missing."""
    missing = await ctx.context.get("missing")
    return f"Sorry, {ctx.input.customer}: {', '.join(missing)} is out of stock."


async def reserve(ctx: NodeContext[Order]) -> list[Item]:
    """Take the items off the stock."""
    for item in ctx.input.items:
        ctx.dependency(Shop).stock[item["sku"]] -= item["quantity"]
    return ctx.input.items


class Undo(TypedDict):
    """What a compensation is given: the input and output of the node it undoes."""

    input: object
    output: list[Item]


async def put_back(ctx: NodeContext[Undo]) -> str:
    """Undo ``reserve``."""
    for item in ctx.input["output"]:
        ctx.dependency(Shop).stock[item["sku"]] += item["quantity"]
    return f"{len(ctx.input['output'])} items put back"


def price(ctx: SyncNodeContext[Item]) -> float:
    """Work out one line; runs once for each item, in a thread."""
    return ctx.dependency(Shop).prices[ctx.input["sku"]] * ctx.input["quantity"]


async def total(ctx: NodeContext[list[float]]) -> float:
    """Add up the lines."""
    return round(sum(ctx.input), 2)


async def charge(ctx: NodeContext[float]) -> dict[str, object]:
    """Charge the customer; the payment service is down twice before it answers."""
    shop = ctx.dependency(Shop)
    if shop.failures_left:
        shop.failures_left -= 1
        raise ConnectionError("the payment service does not answer")
    # The same key for every attempt: a payment service charges it once.
    shop.charges[ctx.idempotency_key] = ctx.input
    return {"amount": ctx.input, "attempts": ctx.attempt}


async def refund(ctx: NodeContext[object]) -> str:
    """Undo ``charge``."""
    return f"refunded {ctx.dependency(Shop).charges.popitem()[1]:.2f}"


async def pack(ctx: NodeContext[dict[str, str]]) -> str:
    """First step of the delivery."""
    return f"parcel approved by {ctx.input['by']}"


async def ship(ctx: NodeContext[str]) -> str:
    """Second step of the delivery."""
    if not ctx.dependency(Shop).courier_is_there:
        raise CourierError("the courier did not come")
    return f"{ctx.input}, on its way"


def delivery() -> FlowBuilder:
    """The subflow."""
    return create_flow("delivery").node("pack", pack).node("ship", ship).edge("pack", "ship")


def order() -> FlowBuilder:
    """The workflow."""
    retry = RetryPolicy(max_attempts=4, delay=0.2, retry_on=(ConnectionError,))
    return (
        create_flow("order")
        .node("validate", validate, inputs="order")
        .node("reject", reject)
        .node("reserve", reserve, compensate="put_back")
        .node("put_back", put_back)
        .batch("prices", price)
        .node("total", total)
        .node("charge", charge, retry=retry, compensate="refund")
        .node("refund", refund)
        .sleep("cool_off", "1s")
        .wait("approve", title="Ship this order?", actions=["approve", "decline"])
        .subflow("deliver", delivery())
        .edge("validate", "reserve", action="accept")
        .edge("validate", "reject", action="reject")
        .edge("reserve", "prices")
        .edge("prices", "total")
        .edge("total", "charge")
        .edge("charge", "cool_off")
        .edge("cool_off", "approve")
        .edge("approve", "deliver", action="approve")
    )
