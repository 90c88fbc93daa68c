"""A shop whose workflows have something of everything that the dashboard shows.

Nodes do at once what they do, but for those at a gate: these wait until it is opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from flowcraft import FlowRuntime, NodeResult, RetryPolicy, create_flow
from flowcraft.engine.options import RuntimeOptions

APPROVAL = {
    "type": "object",
    "required": ["by", "limit"],
    "properties": {
        "by": {"type": "string", "title": "Your name", "minLength": 2},
        "limit": {
            "type": "integer",
            "title": "Up to which amount",
            "description": "In euros; more needs another approval.",
            "minimum": 0,
            "maximum": 50_000,
            "default": 5_000,
        },
        "risk": {"enum": ["low", "medium", "high"], "title": "Risk", "default": "low"},
        "note": {"type": "string", "title": "Note", "maxLength": 500},
        "tell": {"type": "boolean", "title": "Tell the customer", "default": True},
    },
}


class CardDeclined(Exception):
    """The bank says no."""


class Shop:
    """The shop: its workflows, and what its nodes wait for.

    Args:
        flows: Further workflows.

    Attributes:
        gate: Opened when nodes at it may go on.
        is_mended: Whether what fails at first no longer does.
    """

    def __init__(self, flows: Sequence[Any] = ()) -> None:
        self.others = flows
        self.gate = asyncio.Event()
        self.is_mended = False

    @property
    def options(self) -> RuntimeOptions:
        """What a worker of the shop is given."""
        flows = [self.order(), self.payout(), self.report(), self.parcel(), self.echo()]
        return FlowRuntime(flows=[*flows, *self.others]).options

    # -- what nodes do ----------------------------------------------------------------------

    async def validate(self, ctx: Any) -> Any:
        """Take what was ordered as it is."""
        amount = await ctx.context.get("amount")
        return NodeResult(output={"amount": amount, "items": [1, 2, 3]}, action=_size(amount))

    async def note(self, ctx: Any) -> Any:
        """Say that it was done."""
        return {"done": ctx.node_id}

    async def double(self, ctx: Any) -> Any:
        """Handle an item."""
        return {"item": ctx.input, "price": ctx.input * 2}

    async def wait_at_gate(self, ctx: Any) -> Any:
        """Go on when the gate is opened."""
        await self.gate.wait()
        return {"by": "the gate"}

    async def charge(self, ctx: Any) -> Any:
        """Fail until it is mended."""
        if self.is_mended:
            return {"receipt": "R-1", "attempt": ctx.attempt}
        try:
            raise ConnectionResetError("gateway closed the connection")
        except ConnectionResetError as error:
            raise CardDeclined(
                "The card ending in 4242 was declined: insufficient funds"
            ) from error

    async def count(self, ctx: Any) -> Any:
        """Add one."""
        await ctx.context.add("rounds", 1)
        return None

    async def give(self, ctx: Any) -> Any:
        """Give what the run was started with."""
        return await ctx.context.get("value")

    async def big(self, ctx: Any) -> Any:
        """Give very much."""
        rows = await ctx.context.get("rows") or 0
        return [{"row": number, "text": "x" * 80} for number in range(rows)]

    # -- workflows ----------------------------------------------------------------------------

    def order(self) -> Any:
        """An order that somebody has to approve where it is large."""
        flow = create_flow("order")
        flow.node("validate", self.validate, uses="shop.validate")
        flow.node("check-stock", self.note, uses="shop.note").node(
            "check-fraud", self.note, uses="shop.note"
        )
        flow.wait(
            "approve",
            title="Approve an order of 12,400 euros?",
            actions=["approve", "reject"],
            schema=APPROVAL,
        )
        flow.node("charge-card", self.note, uses="shop.note").node(
            "pick-items", self.note, uses="shop.note"
        ).node("print-label", self.note)
        flow.node("decline", self.note, uses="shop.note").node(
            "ship", self.note, uses="shop.note"
        ).node("send-receipt", self.note, uses="shop.note")
        flow.edge("validate", "check-stock").edge("validate", "check-fraud", action="large")
        flow.edge("validate", "check-stock", action="large").edge(
            "validate", "charge-card", action="small"
        )
        flow.edge("check-fraud", "approve")
        flow.edge("approve", "charge-card", action="approve").edge(
            "approve", "decline", action="reject"
        )
        flow.edge("charge-card", "pick-items").edge("charge-card", "print-label")
        flow.edge("pick-items", "ship").edge("print-label", "ship").edge("ship", "send-receipt")
        return flow

    def payout(self) -> Any:
        """A payment that the bank declines until it is mended."""
        flow = create_flow("payout")
        again = RetryPolicy(max_attempts=3, delay=0.01, jitter=False)
        flow.node("prepare", self.note, uses="shop.note").node(
            "charge", self.charge, uses="shop.charge", retry=again
        )
        flow.node("book", self.note, uses="shop.note").node("notify", self.note, uses="shop.note")
        flow.edge("prepare", "charge").edge("charge", "book").edge("book", "notify")
        return flow

    def report(self) -> Any:
        """A batch, a loop and a node that takes its time."""
        flow = create_flow("report")
        flow.node("collect", self.note, uses="shop.note")
        flow.batch("prices", self.double, uses="shop.double", inputs="numbers")
        flow.loop("refine", condition="rounds < 3", start="look", end="correct")
        flow.node("look", self.note, uses="shop.note").node(
            "correct", self.count, uses="shop.count"
        )
        flow.node("render", self.wait_at_gate, uses="shop.wait-at-gate").node(
            "publish", self.note, uses="shop.note"
        )
        flow.edge("collect", "prices").edge("prices", "refine").edge("look", "correct")
        return flow.edge("refine", "render").edge("render", "publish")

    def parcel(self) -> Any:
        """A subflow that waits for an event."""
        flow = create_flow("parcel").node("hand-over", self.note, uses="shop.note")
        flow.wait("delivered", event="parcel.delivered", correlation_key="number")
        return (
            flow.node("thank", self.note, uses="shop.note")
            .edge("hand-over", "delivered")
            .edge("delivered", "thank")
        )

    def echo(self) -> Any:
        """Values as they are, and very large ones."""
        return (
            create_flow("echo")
            .node("give", self.give, uses="shop.give")
            .node("big", self.big, uses="shop.big")
            .edge("give", "big")
        )


def _size(amount: float) -> str:
    return "large" if amount > 1_000 else "small"
