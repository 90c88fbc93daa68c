"""What runs in a soak: workflows of a business, in two versions, and what comes of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from flowcraft.core.builder import FlowBuilder, create_flow
from flowcraft.core.retry_policy import RetryPolicy
from flowcraft.engine.nodes import NodeResult
from flowcraft.engine.runtime import FlowRuntime

VERSIONS: Final = (1, 2)
FLAKY_EVERY: Final = 7
"""One run of so many meets a service that is down, and tries again ten minutes later."""

ITEMS: Final = 6
ANSWER_HOURS: Final = 24
"""So long somebody may think about a question."""


async def number(ctx: Any) -> Any:
    """What the run was started with."""
    return await ctx.context.get("number")


async def flaky(ctx: Any) -> Any:
    """Fails once in some runs."""
    if ctx.attempt == 1 and ctx.input % FLAKY_EVERY == 0:
        raise ConnectionError("the service is down")
    return ctx.input + 1


async def double(ctx: Any) -> Any:
    """Twice the input."""
    return ctx.input * 2


async def bow(ctx: Any) -> Any:
    """What only the second version has."""
    return {"bow": ctx.input}


async def parity(ctx: Any) -> Any:
    """Goes one of two ways."""
    return NodeResult(output=ctx.input, action="even" if ctx.input % 2 == 0 else "odd")


async def fails(ctx: Any) -> Any:
    """Cannot be done."""
    raise ValueError(f"{ctx.input} cannot be done")


async def items(ctx: Any) -> Any:
    """A list to work on."""
    first = await ctx.context.get("number")
    return list(range(first, first + ITEMS))


async def begin(ctx: Any) -> Any:
    """Before the first round."""
    await ctx.context.set("round", 0)


async def again(ctx: Any) -> Any:
    """Counts the rounds of a loop."""
    await ctx.context.set("round", await ctx.context.get("round") + 1)


async def nothing(ctx: Any) -> Any:
    """Undoes."""
    del ctx


def order(version: int) -> FlowBuilder:
    """A chain with a service that may be down; the second version has a node more."""
    again_later = RetryPolicy(max_attempts=3, delay=600.0)
    flow = create_flow("order").node("number", number)
    flow.node("flaky", flaky, retry=again_later).node("double", double)
    flow.edge("number", "flaky").edge("flaky", "double")
    if version == 2:
        flow.node("bow", bow).edge("double", "bow")
    return flow


def choice(version: int) -> FlowBuilder:
    """One of two ways, which meet again."""
    del version
    flow = create_flow("choice").node("number", number).node("parity", parity)
    flow.node("left", double).node("right", bow).node("join", double, inputs="number")
    flow.edge("number", "parity").edge("parity", "left", action="even")
    flow.edge("parity", "right", action="odd").edge("left", "join").edge("right", "join")
    return flow


def batch(version: int) -> FlowBuilder:
    """Some items."""
    del version
    flow = create_flow("batch").node("items", items).batch("each", double)
    return flow.edge("items", "each")


def nap(pause: str) -> Callable[[int], FlowBuilder]:
    """A pause."""

    def build(version: int) -> FlowBuilder:
        del version
        flow = create_flow(f"nap-{pause}").node("number", number).sleep("nap", pause)
        return flow.node("double", double).edge("number", "nap").edge("nap", "double")

    return build


def approval(version: int) -> FlowBuilder:
    """A question to somebody, who may be late."""
    del version
    flow = create_flow("approval").node("number", number)
    flow.wait("ask", timeout=f"{ANSWER_HOURS}h").node("yes", double, inputs="number")
    flow.node("late", bow, inputs="number").edge("number", "ask")
    return flow.edge("ask", "yes", action="approve").edge("ask", "late", action="timeout")


def child(version: int) -> FlowBuilder:
    """What another run starts."""
    del version
    flow = create_flow("child").node("double", double).sleep("rest", "40m")
    return flow.edge("double", "rest")


def parent(version: int) -> FlowBuilder:
    """A run that starts another."""
    flow = create_flow("parent").node("number", number).subflow("below", child(version))
    return flow.node("bow", bow).edge("number", "below").edge("below", "bow")


def undone(version: int) -> FlowBuilder:
    """Something that cannot be done, after something that has to be undone then."""
    del version
    flow = create_flow("undone").node("number", number, compensate="undo").node("fails", fails)
    return flow.node("undo", nothing).edge("number", "fails")


def loop(version: int) -> FlowBuilder:
    """Three rounds."""
    del version
    flow = create_flow("loop").node("begin", begin).node("again", again)
    flow.loop("more", "round < 3", start="again", end="again").node("end", number)
    return flow.edge("begin", "more").edge("more", "end")


@dataclass(frozen=True)
class Trade:
    """A kind of run.

    Attributes:
        build: Its flow, in a version.
        weight: How often it is started, beside the others.
        hours: How long it takes at most, when nothing goes wrong.
        outputs: What comes of it, by version and number: some of its outputs.
        status: How it ends.
        asks: Whether somebody is asked.
    """

    build: Callable[[int], FlowBuilder]
    weight: int
    hours: float
    outputs: Callable[[int, int], Mapping[str, Any]]
    status: str = "completed"
    asks: bool = False


def _ordered(version: int, n: int) -> dict[str, Any]:
    done = (n + 1) * 2
    return {"double": done} | ({"bow": {"bow": done}} if version == 2 else {})


ORDER: Final = Trade(order, 40, 0.5, _ordered)

TRADES: Final[Sequence[Trade]] = (
    ORDER,
    Trade(choice, 10, 0.1, lambda _, n: {"join": n * 2}),
    Trade(batch, 10, 0.1, lambda _, n: {"each_gather": [i * 2 for i in range(n, n + ITEMS)]}),
    Trade(nap("5m"), 4, 0.1, lambda _, n: {"double": n * 2}),
    Trade(nap("3h"), 4, 3.0, lambda _, n: {"double": n * 2}),
    Trade(nap("30h"), 4, 30.0, lambda _, n: {"double": n * 2}),
    Trade(approval, 12, ANSWER_HOURS, lambda _, n: {"number": n}, asks=True),
    Trade(parent, 8, 0.7, lambda _, n: {"bow": {"bow": n * 2}}),
    Trade(undone, 4, 0.1, lambda _, n: {"number": n}, status="failed"),
    Trade(loop, 4, 0.1, lambda _, n: {"end": n}),
)


@cache
def runtime_of(version: int) -> FlowRuntime:
    """What a worker of a version knows: its flows. The functions of old ones are kept."""
    return FlowRuntime(flows=[each.build(version) for each in TRADES])
