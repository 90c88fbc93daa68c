"""What the nodes of drawn workflows do: all of it is said by their parameters.

The result of a node depends on its parameters, its input, its round and its attempt alone, so that
it is the same whenever and wherever the node runs.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Mapping
from typing import Any, Final

from flowcraft.core.context import CATCH_ERROR
from flowcraft.engine.nodes import Node, NodeResult
from flowcraft.errors import FlowcraftError

HANGS_SECONDS: Final = 3600.0
"""How long a node hangs, which has a timeout."""

SUCCEEDS_AT: Final = 3
"""At which attempt what fails at first succeeds."""

OK, LATE, FAIL, FATAL, HANG = "ok", "late", "fail", "fatal", "hang"


class Refused(ValueError):
    """A node that fails."""


def trace_of(value: Any) -> int:
    """A number that stands for a value: what a node was given shows in its output by it."""
    return zlib.crc32(json.dumps(value, sort_keys=True, default=repr).encode())


def check_end(end: str, name: str, attempt: int) -> None:
    """Fail if it is time to.

    Raises:
        Refused: The node fails, or is tried too early.
        FlowcraftError: It fails for good.
    """
    if end == FAIL or (end == LATE and attempt < SUCCEEDS_AT):
        raise Refused(f"{name} is refused")
    if end == FATAL:
        raise FlowcraftError(f"{name} is refused for good", is_fatal=True)


def in_turn(params: Mapping[str, Any], name: str, iteration: int, default: Any) -> Any:
    """What a list among the parameters has for a round."""
    values = params.get(name)
    return values[iteration % len(values)] if values else default


def result_of(ctx: Any, read: Any) -> NodeResult[Any]:
    """The output and the action of a task that succeeds."""
    params, iteration = ctx.params, ctx.iteration
    output: dict[str, Any] = {
        "of": ctx.node_id,
        "round": iteration,
        "in": trace_of([ctx.input, read]),
        "go": in_turn(params, "go", iteration, False),
    }
    if "rounds" in params:
        output["go"] = iteration + 1 < params["rounds"]
    if "pad" in params:
        output["pad"] = "x" * params["pad"]
    action = in_turn(params, "actions", iteration, None)
    if params.get("again"):
        action = "again" if output["go"] else None
    return NodeResult(output, action=action)


def caught(error: Any) -> Any:
    """What a fallback is told, less the number of attempts: that grows with workers that die."""
    return [error["nodeId"], error["type"], error["message"]] if error else None


async def task(ctx: Any) -> Any:
    """Do what the parameters say."""
    end = in_turn(ctx.params, "ends", ctx.iteration, OK)
    read = {key: await ctx.context.get(key) for key in ctx.params.get("reads", ())}
    if ctx.params.get("catches"):
        read[CATCH_ERROR] = caught(await ctx.context.get(CATCH_ERROR))
    for key, number in ctx.params.get("sets", {}).items():
        await ctx.context.set(key, number + ctx.iteration)
    for key, number in ctx.params.get("adds", {}).items():
        await ctx.context.add(key, number)
    if end == HANG:
        await asyncio.sleep(HANGS_SECONDS)
    check_end(end, ctx.node_id, ctx.attempt)
    return result_of(ctx, read)


def plain(ctx: Any) -> Any:
    """The same as a plain function."""
    read = {key: ctx.context.get(key) for key in ctx.params.get("reads", ())}
    if ctx.params.get("catches"):
        read[CATCH_ERROR] = caught(ctx.context.get(CATCH_ERROR))
    for key, number in ctx.params.get("sets", {}).items():
        ctx.context.set(key, number + ctx.iteration)
    for key, number in ctx.params.get("adds", {}).items():
        ctx.context.add(key, number)
    check_end(in_turn(ctx.params, "ends", ctx.iteration, OK), ctx.node_id, ctx.attempt)
    return result_of(ctx, read)


class Steps(Node[Any, Any]):
    """The same in steps, of which the middle one is tried again."""

    async def prep(self, ctx: Any) -> Any:
        """Read."""
        for key, number in ctx.params.get("adds", {}).items():
            await ctx.context.add(key, number)
        read = {key: await ctx.context.get(key) for key in ctx.params.get("reads", ())}
        if ctx.params.get("catches"):
            read[CATCH_ERROR] = caught(await ctx.context.get(CATCH_ERROR))
        return read

    async def exec(self, ctx: Any, prepared: Any) -> Any:
        """Fail if it is time to."""
        check_end(in_turn(ctx.params, "ends", ctx.iteration, OK), ctx.node_id, ctx.attempt)
        return prepared

    async def post(self, ctx: Any, result: Any) -> NodeResult[Any]:
        """Write."""
        for key, number in ctx.params.get("sets", {}).items():
            await ctx.context.set(key, number + ctx.iteration)
        return result_of(ctx, result)


async def listing(ctx: Any) -> list[Any]:
    """A list of items, another one in each round."""
    rounds = ctx.params["lists"]
    return list(rounds[ctx.iteration % len(rounds)])


async def item(ctx: Any) -> Any:
    """Do what an item says."""
    number, end = ctx.input["number"], ctx.input["end"]
    await ctx.context.add("items", number)
    if end == HANG:
        await asyncio.sleep(HANGS_SECONDS)
    check_end(end, f"item {number}", ctx.attempt)
    return [number, trace_of(ctx.input)]


async def adder(ctx: Any) -> NodeResult[Any]:
    """Add nodes, for which another one waits."""
    more = [dict(each) for each in ctx.params["more"]]
    return NodeResult({"gatherNodeId": ctx.params["gather"]}, dynamic_nodes=more)


async def undo(ctx: Any) -> Any:
    """Undo something, or fail to."""
    check_end(in_turn(ctx.params, "ends", ctx.iteration, OK), ctx.node_id, ctx.attempt)
    return trace_of(ctx.input["output"])


REGISTRY: Final[dict[str, Any]] = {
    "task": task,
    "plain": plain,
    "steps": Steps,
    "listing": listing,
    "item": item,
    "timed-item": item,
    "adder": adder,
    "undo": undo,
}
