"""The shapes whose cost on AWS is counted, and how a run of one is counted."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from flowcraft import FlowRuntime, NodeContext, create_flow
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter
from tests.acceptance.aws_counting import Bill, Counting
from tests.emulators import aws
from tests.emulators.aws import AwsNames

POLL_SECONDS = 1.0
"""Polls that bring nothing are not counted; a worker that stops waits for its last one."""

Node = Callable[[NodeContext[Any]], Any]


@dataclass(frozen=True)
class Shape:
    """A workflow whose cost is counted.

    Attributes:
        flow: The workflow.
        nodes: How many nodes, or items, a run of it executes.
        context: What it starts with.
        below: Flows that it starts as child runs.
    """

    flow: Any
    nodes: int
    context: dict[str, Any]
    below: tuple[Any, ...] = ()


async def _one(_: NodeContext[Any]) -> int:
    return 1


def kilobytes(size: int) -> Node:
    """A node whose output is text of so many bytes that hardly gets smaller."""
    random_ = random.Random(size)

    async def node(_: NodeContext[Any]) -> str:
        return base64.b85encode(random_.randbytes(size * 4 // 5)).decode()

    return node


def chain(length: int) -> Shape:
    """Nodes one after the other."""
    flow = create_flow("chain").node("n0", _one)
    for number in range(1, length):
        flow = flow.node(f"n{number}", _one).edge(f"n{number - 1}", f"n{number}")
    return Shape(flow, length, {"x": 1})


def fan(width: int, node: Node = _one) -> Shape:
    """A node, so many side by side, and one that all of them lead to."""
    flow = create_flow("fan").node("out", _one).node("in", _one)
    for number in range(width):
        flow = flow.node(f"b{number}", node).edge("out", f"b{number}").edge(f"b{number}", "in")
    return Shape(flow, width + 2, {"x": 1})


def loop(rounds: int) -> Shape:
    """Three nodes again and again, with a loop's own node each time."""

    async def count(ctx: NodeContext[Any]) -> int:
        rounds_done = int(await ctx.context.get("rounds") or 0) + 1
        await ctx.context.set("rounds", rounds_done)
        return rounds_done

    flow = (
        create_flow("loop")
        .loop("again", f"rounds < {rounds}", start="first", end="third")
        .node("first", _one)
        .node("second", _one)
        .node("third", count)
        .node("begin", _one)
        .edge("begin", "again")
        .edge("first", "second")
        .edge("second", "third")
    )
    return Shape(flow, 3 * rounds, {"rounds": 0})


def batch(items: int) -> Shape:
    """A node for each of so many small items."""

    async def twice(ctx: NodeContext[Any]) -> int:
        return 2 * int(ctx.input)

    flow = create_flow("batch").batch("all", twice, inputs="items", concurrency=None)
    return Shape(flow, items, {"items": list(range(items))})


def families(rounds: int) -> Shape:
    """A child run with a child of its own, so many times one after the other."""
    inner = chain(4).flow
    middle = (
        create_flow("middle").node("first", _one).subflow("inner", "chain").edge("first", "inner")
    )
    flow = create_flow("families").subflow("m0", "middle")
    for number in range(1, rounds):
        flow = flow.subflow(f"m{number}", "middle").edge(f"m{number - 1}", f"m{number}")
    return Shape(flow, 5 * rounds, {"x": 1}, (middle, inner))


@dataclass(frozen=True)
class Fleet:
    """Clients of an emulator, and the resources of one test."""

    sqs: Any
    dynamodb: Any
    names: AwsNames
    queue_url: str

    def settings(self) -> dict[str, Any]:
        """What an adapter and a client of it take."""
        return {
            "sqs_client": self.sqs,
            "dynamodb_client": self.dynamodb,
            "queue_url": self.queue_url,
            "context_table_name": self.names.contexts,
            "status_table_name": self.names.statuses,
            "coordination_store": DynamoDbCoordinationStore(self.dynamodb, self.names.coordination),
        }


@contextmanager
def fleet_at(endpoint: str, names: AwsNames) -> Iterator[Fleet]:
    """Create the resources, and close the clients at the end."""
    sqs, dynamodb = aws.client("sqs", endpoint), aws.client("dynamodb", endpoint)
    try:
        aws.create_tables(dynamodb, names)
        yield Fleet(sqs, dynamodb, names, aws.create_queue(sqs, names.queue))
    finally:
        sqs.close()
        dynamodb.close()


@asynccontextmanager
async def working(fleet: Fleet, runtime: FlowRuntime, workers: int) -> AsyncIterator[None]:
    """Workers with the default concurrency; nothing else asks anything of AWS meanwhile."""
    async with AsyncExitStack() as stack:
        for _ in range(workers):
            adapter = SqsAdapter(
                runtime.options,
                **fleet.settings(),
                poll_seconds=POLL_SECONDS,
                reconcile_every_seconds=None,
                schedules_every_seconds=None,
            )
            await stack.enter_async_context(adapter)
        yield


async def _counted(
    shape: Shape, fleet: Fleet, workers: int, timeout_seconds: float
) -> tuple[Bill, str]:
    runtime = FlowRuntime(flows=[shape.flow])
    starter = SqsAdapter.client_of(**fleet.settings(), runtime_options=runtime.options)
    async with working(fleet, runtime, workers), starter:
        counting = Counting(fleet.dynamodb, fleet.sqs)
        try:
            run = await starter.start_run(shape.flow.to_blueprint().id, shape.context)
            bill = await counting.until_done(timeout_seconds)
        finally:
            counting.close()
        result = await run.result(timeout=5)
    return bill, result.status


def count(shape: Shape, fleet: Fleet, *, workers: int = 1, timeout_seconds: float = 60.0) -> Bill:
    """Run a shape, from its start by a client to the deletion of its last message.

    The first start of a blueprint stores it, which is counted, too.

    Args:
        shape: What to run.
        fleet: Where.
        workers: How many there are.
        timeout_seconds: How long it may take.
    """
    bill, status = asyncio.run(_counted(shape, fleet, workers, timeout_seconds))
    assert status == "completed"
    return bill
