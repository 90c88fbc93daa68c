"""The types that users see: checked by mypy with the rest of the tests, run like any other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_type

from flowcraft import (
    ErrorInfo,
    FlowBuilder,
    FlowRuntime,
    Node,
    NodeContext,
    NodeResult,
    RunResult,
    RunStatus,
    SyncNodeContext,
    WorkflowBlueprint,
    create_flow,
)


@dataclass
class Order:
    """An input."""

    total: float


class Gateway:
    """A dependency."""

    def charge(self, total: float) -> str:
        """Charge it."""
        return f"charged {total}"


async def check(ctx: NodeContext[Order]) -> NodeResult[float]:
    """The context knows the type of the input and of dependencies."""
    assert_type(ctx.input, Order)
    assert_type(ctx.dependency(Gateway), Gateway)
    assert_type(ctx.params, Mapping[str, Any])
    assert_type(await ctx.context.has("k"), bool)
    return NodeResult(ctx.input.total)


def plain(ctx: SyncNodeContext[float]) -> str:
    """The same in a plain function, with blocking methods."""
    assert_type(ctx.input, float)
    assert_type(ctx.context.has("k"), bool)
    return ctx.dependency(Gateway).charge(ctx.input)


class Charge(Node[str, int]):
    """A class node has the types of its input and output."""

    async def exec(self, ctx: NodeContext[str], prepared: Any) -> int:
        """The work."""
        assert_type(ctx.input, str)
        return len(ctx.input)


def test_the_public_types_are_what_they_say() -> None:
    """Builder, runtime and result have the types that a user's own checks rely on."""
    flow = create_flow("typed").node("check", check, inputs="order").node("plain", plain)
    assert_type(flow, FlowBuilder)
    flow.node("charge", Charge).edge("check", "plain").edge("plain", "charge")
    assert_type(flow.to_blueprint(), WorkflowBlueprint)
    runtime = FlowRuntime(dependencies={Gateway: Gateway()})
    result = asyncio.run(runtime.run(flow, {"order": {"total": 2.5}}))
    assert_type(result, RunResult)
    assert_type(result.status, RunStatus)
    assert_type(result.errors, tuple[ErrorInfo, ...])
    assert_type(result.outputs, Mapping[str, Any])
    assert result.raise_for_status().outputs["charge"] == len("charged 2.5")
