"""An order from the cart to the parcel: what a shop would write, and what can go wrong in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from flowcraft import (
    FlowRuntime,
    Node,
    NodeContext,
    NodeResult,
    RetryPolicy,
    RunResult,
    SyncNodeContext,
    create_flow,
)
from flowcraft.core.builder import FlowBuilder
from flowcraft.testing import TestEnvironment
from tests.unit.runs import drive


@dataclass
class Line:
    sku: str
    count: int
    price: float


@dataclass
class Order:
    id: str
    lines: list[Line]


class CardDeclined(Exception):
    """The bank said no."""


@dataclass
class Shop:
    """The outside world: a stock, a bank that fails as told, and what it did."""

    stock: dict[str, int]
    bank: list[BaseException | None] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def charge(self, key: str, amount: float) -> str:
        outcome = self.bank.pop(0) if self.bank else None
        if outcome is not None:
            self.log.append(f"charge failed: {type(outcome).__name__}")
            raise outcome
        self.log.append(f"charged {amount:g}")
        return f"receipt for {key.split(':')[1]}"


async def check(ctx: NodeContext[Order]) -> NodeResult[Any]:
    total = sum(line.count * line.price for line in ctx.input.lines)
    await ctx.context.set("total", total)
    return NodeResult(ctx.input, "large" if total > 100 else "small")


def reserve(ctx: SyncNodeContext[Line]) -> str:
    shop, line = ctx.dependency(Shop), ctx.input
    if shop.stock.get(line.sku, 0) < line.count:
        raise LookupError(f"{line.sku} is out of stock")
    shop.stock[line.sku] -= line.count
    return f"{line.count} x {line.sku}"


class Charge(Node[Any, str]):
    """Charges the card; a refusal is final, everything else is tried again."""

    async def prep(self, ctx: NodeContext[Any]) -> float:
        total: float = await ctx.context.get("total")
        return total

    async def exec(self, ctx: NodeContext[Any], prepared: float) -> str:
        return ctx.dependency(Shop).charge(ctx.idempotency_key, prepared)


async def refund(ctx: NodeContext[Any]) -> None:
    ctx.dependency(Shop).log.append(f"refunded {ctx.input['output']}")


async def ship(ctx: NodeContext[Any]) -> str:
    if await ctx.context.get("carrier") == "none":
        raise ConnectionError("no carrier")
    ctx.dependency(Shop).log.append("shipped")
    return "parcel"


def build() -> FlowBuilder:
    bank = RetryPolicy(max_attempts=3, delay=60, jitter=False, give_up_on=(CardDeclined,))
    flow = create_flow("order").node("check", check, inputs="order")
    flow.wait("approve", title="A large order", actions=["yes", "no"], timeout="2d")
    flow.batch("reserve", reserve, inputs="check.lines")
    flow.node("charge", Charge, retry=bank, compensate="refund").node("refund", refund)
    flow.sleep("cool-off", "1h").node("ship", ship).node("rejected", refuse)
    flow.node("begin", passes, join="any").edge("begin", "reserve")
    flow.edge("check", "begin", action="small").edge("check", "approve", action="large")
    flow.edge("approve", "begin", action="yes").edge("approve", "rejected", action="no")
    flow.edge("approve", "rejected", action="timeout")
    flow.edge("reserve", "charge").edge("charge", "cool-off").edge("cool-off", "ship")
    return flow


async def passes(ctx: NodeContext[Any]) -> Any:
    return ctx.input


async def refuse(ctx: NodeContext[Any]) -> str:
    return "rejected"


def order(count: int) -> dict[str, Any]:
    line = {"sku": "tea", "count": count, "price": 30.0}
    return {"order": {"id": "o1", "lines": [line, {"sku": "cup", "count": 1, "price": 5.0}]}}


async def process(shop: Shop, context: dict[str, Any], *answers: str) -> RunResult:
    """Process an order, answering the waits in turn, however long it takes."""
    flow = build()
    async with TestEnvironment(FlowRuntime(flows=[flow], dependencies={Shop: shop})) as env:
        handle = await env.start("order", context)
        for action in answers:
            await handle.answer("approve", {"by": "ops"}, action)
        return await handle.finish()


def test_a_small_order_goes_through_without_asking() -> None:
    """A small order is reserved, charged and shipped, and its stock is gone."""
    shop = Shop({"tea": 5, "cup": 5})
    result = drive(process(shop, order(1))).raise_for_status()
    assert shop.log == ["charged 35", "shipped"]
    assert shop.stock == {"tea": 4, "cup": 4}
    assert result.outputs["reserve_gather"] == ["1 x tea", "1 x cup"]
    assert result.states["approve"] == result.states["rejected"] == "skipped"


@pytest.mark.parametrize(("action", "log"), [("yes", ["charged 155", "shipped"]), ("no", [])])
def test_a_large_order_is_asked_about(action: str, log: list[str]) -> None:
    """A large order waits for a person, whose answer decides."""
    shop = Shop({"tea": 5, "cup": 5})
    result = drive(process(shop, order(5), action)).raise_for_status()
    assert shop.log == log
    assert ("rejected" in result.outputs) == (action == "no")
    assert result.outputs["approve"] == {"by": "ops"}


def test_nobody_answers() -> None:
    """After two days without an answer a large order is rejected."""
    shop = Shop({"tea": 5, "cup": 5})
    result = drive(process(shop, order(5))).raise_for_status()
    assert (result.outputs["rejected"], shop.log) == ("rejected", [])


def test_the_bank_is_down_for_a_while() -> None:
    """Errors of the bank are tried again with growing delays; the customer pays once."""
    shop = Shop({"tea": 5, "cup": 5}, [TimeoutError(), ConnectionError()])
    drive(process(shop, order(1))).raise_for_status()
    failures = ["charge failed: TimeoutError", "charge failed: ConnectionError"]
    assert shop.log == [*failures, "charged 35", "shipped"]


def test_the_card_is_declined() -> None:
    """A refusal is not tried again, and nothing is refunded that was never paid."""
    shop = Shop({"tea": 5, "cup": 5}, [CardDeclined("no")])
    result = drive(process(shop, order(1)))
    (error,) = result.errors
    assert (result.status, error.type, error.attempts) == ("failed", "CardDeclined", 1)
    assert shop.log == ["charge failed: CardDeclined"]
    assert result.states["ship"] == "blocked"


def test_something_is_out_of_stock() -> None:
    """An item that cannot be reserved fails the order by its name; nobody is charged."""
    shop = Shop({"tea": 5})
    result = drive(process(shop, order(1)))
    assert [error.message for error in result.errors] == ["cup is out of stock"]
    assert shop.log == []


def test_shipping_fails_after_payment() -> None:
    """When the parcel cannot be sent, the payment is given back."""
    shop = Shop({"tea": 5, "cup": 5})
    result = drive(process(shop, {**order(1), "carrier": "none"}))
    assert (result.status, result.errors[0].node_id) == ("failed", "ship")
    assert shop.log == ["charged 35", "refunded receipt for charge"]
    assert result.compensations == (("refund", None),)


def test_a_malformed_order_never_gets_far() -> None:
    """An order that is none fails at the first node that reads it, with the place."""
    result = drive(process(Shop({}), {"order": {"id": "o1", "lines": [{"sku": "tea"}]}}))
    assert (result.status, result.errors[0].type) == ("failed", "InputError")
    assert "input.lines[0]" in result.errors[0].message
