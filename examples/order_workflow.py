"""An order workflow with most of what the format has: the example behind ``make demo``.

::

    validate ─┬─ (stock) ──> reserve ─> prices (a batch over the items) ─> total ─> charge
              └─ (no stock) ─> reject                                                 │
         deliver (a subflow) <── approve (a person decides) <── cool_off (a timer) <──┘
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from examples.shop import Item, Shop
from flowcraft import NodeContext, NodeResult, RetryPolicy, SyncNodeContext, create_flow
from flowcraft.core.builder import FlowBuilder


@dataclass
class Order:
    """What a customer sends."""

    customer: str
    items: list[Item]


async def validate(ctx: NodeContext[Order]) -> NodeResult[Order]:
    """Choose a branch: is everything in stock?"""
    missing = ctx.dependency(Shop).missing(ctx.input.items)
    await ctx.context.set("missing", missing)
    return NodeResult(ctx.input, action="reject" if missing else "accept")


async def reject(ctx: NodeContext[Order]) -> str:
    """Tell the customer what is missing."""
    missing = await ctx.context.get("missing")
    return f"Sorry, {ctx.input.customer}: {', '.join(missing)} is out of stock."


async def reserve(ctx: NodeContext[Order]) -> list[Item]:
    """Take the items off the stock."""
    ctx.dependency(Shop).take(ctx.idempotency_key, ctx.input.items)
    return ctx.input.items


class Undo(TypedDict):
    """What the compensation of ``reserve`` is given: its input and output."""

    input: object
    output: list[Item]


async def put_back(ctx: NodeContext[Undo]) -> str:
    """Undo ``reserve``."""
    ctx.dependency(Shop).put_back(ctx.idempotency_key, ctx.input["output"])
    return f"{len(ctx.input['output'])} items put back"


def price(ctx: SyncNodeContext[Item]) -> float:
    """Work out one line; runs once for each item, in a thread."""
    return ctx.dependency(Shop).price(ctx.input["sku"]) * ctx.input["quantity"]


async def total(ctx: NodeContext[list[float]]) -> float:
    """Add up the lines."""
    return round(sum(ctx.input), 2)


class Payment(TypedDict):
    """What ``charge`` gives."""

    amount: float
    attempts: int


async def charge(ctx: NodeContext[float]) -> Payment:
    """Charge the customer; the payment service is down twice before it answers."""
    ctx.dependency(Shop).charge(ctx.idempotency_key, ctx.input)
    return {"amount": ctx.input, "attempts": ctx.attempt}


class UndoPayment(TypedDict):
    """What the compensation of ``charge`` is given: its input and output."""

    input: float
    output: Payment


async def refund(ctx: NodeContext[UndoPayment]) -> str:
    """Undo ``charge``."""
    amount = ctx.input["output"]["amount"]
    ctx.dependency(Shop).refund(ctx.idempotency_key, amount)
    return f"refunded {amount:.2f}"


async def pack(ctx: NodeContext[dict[str, str]]) -> str:
    """First step of the delivery."""
    return f"parcel approved by {ctx.input['by']}"


async def ship(ctx: NodeContext[str]) -> str:
    """Second step of the delivery."""
    ctx.dependency(Shop).send_courier()
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
