"""Graphs: how nodes follow each other."""

from __future__ import annotations

from typing import Any

from flowcraft.core.builder import FlowBuilder, create_flow
from flowcraft.engine.nodes import NodeResult
from flowcraft.testing.simulate.zoo.nodes import node, passed_on, story


def chain() -> FlowBuilder:
    """Five nodes, one after the other."""
    flow = create_flow("chain").node("n0", node(0))
    for number in range(1, 5):
        flow.node(f"n{number}", node(lambda c: c.input + 1)).edge(f"n{number - 1}", f"n{number}")
    return flow


def diamond() -> FlowBuilder:
    """Two ways that meet."""
    flow = create_flow("diamond").node("a", node(1)).node("b", node(lambda c: c.input + 1))
    flow.node("c", node(lambda c: c.input + 2)).node("d", node(passed_on))
    return flow.edge("a", "b").edge("a", "c").edge("b", "d").edge("c", "d")


def fan() -> FlowBuilder:
    """Six ways that meet."""
    flow = create_flow("fan").node("a", node(1)).node("z", node(passed_on))
    for number in range(6):
        name = f"b{number}"
        flow.node(name, node(lambda c: f"{c.node_id}{c.input}")).edge("a", name).edge(name, "z")
    return flow


def wide() -> FlowBuilder:
    """Three starts that meet, and three ways from there."""
    flow = create_flow("wide").node("m", node(passed_on))
    for name in "abc":
        flow.node(name, node(name)).edge(name, "m")
        flow.node(name * 2, node(name), inputs="m").edge("m", name * 2)
    return flow


def lattice() -> FlowBuilder:
    """Layers, each node of which waits for all of the layer before."""
    flow = create_flow("lattice")
    for layer in range(3):
        for place in range(3):
            flow.node(f"l{layer}{place}", node(lambda c: c.node_id))
            for before in range(3 if layer else 0):
                flow.edge(f"l{layer - 1}{before}", f"l{layer}{place}")
    return flow


def choice() -> FlowBuilder:
    """One of two ways, and a join behind both."""
    flow = create_flow("choice").node("a", node(7))
    flow.node("yes", node("yes")).node("no", node("no"))
    flow.edge("a", "yes", condition="result.output > 5")
    flow.edge("a", "no", condition="result.output <= 5")
    flow.node("join", node(passed_on))
    return flow.edge("yes", "join").edge("no", "join")


def any_join() -> FlowBuilder:
    """Whoever comes first goes on."""
    flow = create_flow("any").node("a", node(1)).node("b", node(1))
    flow.node("j", node(passed_on), join="any").node("k", node("k"))
    return flow.edge("a", "j").edge("b", "j").edge("j", "k")


async def count_up(ctx: Any) -> None:
    """Count the rounds."""
    await ctx.context.add("n", 1)


def loop() -> FlowBuilder:
    """Three rounds of two nodes."""
    flow = create_flow("loop").node("before", node(0)).node("work", count_up)
    flow.node("more", node("more")).edge("work", "more")
    flow.loop("again", "n < 3", start="work", end="more")
    flow.node("after", node("after"))
    return flow.edge("before", "again").edge("again", "after")


def loop_joined() -> FlowBuilder:
    """A loop behind two ways: whoever comes last decides about its first round."""
    flow = create_flow("loop_joined").node("work", count_up)
    flow.loop("again", "n < 2", start="work", end="work")
    for name in "abc":
        flow.node(name, node("ready")).edge(name, "again")
    return flow.node("after", node("after")).edge("again", "after")


async def inner_round(ctx: Any) -> None:
    """Count the rounds of the inner loop, in all."""
    await ctx.context.add("i", 1)


async def outer_round(ctx: Any) -> None:
    """Count the rounds of the outer loop."""
    await ctx.context.add("o", 1)


def nested_loops() -> FlowBuilder:
    """Two rounds, each of which has rounds of its own."""
    flow = create_flow("nested").node("start", node(0)).node("inner", inner_round)
    flow.node("inner_end", node("e")).edge("inner", "inner_end").node("outer_end", outer_round)
    flow.node("outer", node("o")).edge("start", "outer_loop")
    flow.loop("inner_loop", "i < 2 * (o + 1)", start="inner", end="inner_end")
    flow.edge("outer", "inner_loop").edge("inner_loop", "outer_end")
    flow.loop("outer_loop", "o < 2", start="outer", end="outer_end")
    return flow.node("done", node("done")).edge("outer_loop", "done")


def batch() -> FlowBuilder:
    """A list, whose items are worked on two at a time."""
    flow = create_flow("batch").node("list", node([0, 1, 2, 3, 4]))
    flow.batch("b", node(lambda c: c.input * 10), uses="zoo_item", concurrency=2)
    return flow.node("end", node(passed_on)).edge("list", "b").edge("b", "end")


async def count_batch(ctx: Any) -> None:
    """Count the rounds of a batch."""
    await ctx.context.add("n", 1)


def batch_in_loop() -> FlowBuilder:
    """A batch that is done again."""
    flow = create_flow("batch_in_loop").node("list", node([1, 2, 3])).node("more", count_batch)
    flow.batch("b", node(lambda c: c.input + 1), uses="zoo_more").edge("list", "b")
    flow.edge("b", "more").loop("again", "n < 2", start="list", end="more")
    return flow.node("end", node("end")).edge("again", "end")


def subflow() -> FlowBuilder:
    """A run of its own in the middle."""
    child = create_flow("child").node("x", node(lambda c: c.input + 1)).sleep("s", "5s")
    child.node("y", node(lambda c: c.input * 2)).edge("x", "s").edge("s", "y")
    flow = create_flow("parent").node("a", node(1)).subflow("c", child)
    return flow.node("b", node(passed_on)).edge("a", "c").edge("c", "b")


async def add_nodes(ctx: Any) -> NodeResult[object]:
    """Add three nodes."""
    del ctx
    nodes = [{"id": f"n{number}", "uses": "zoo_added", "params": {}} for number in range(3)]
    return NodeResult({"gatherNodeId": "end"}, dynamic_nodes=nodes)


def added() -> FlowBuilder:
    """Nodes that are added by a node."""
    flow = create_flow("adding").node("add", add_nodes).node("end", node("end"))
    flow.node("added", node(lambda c: c.node_id), uses="zoo_added")
    return flow.edge("add", "end").edge("added", "end")


def plain(ctx: Any) -> int:
    """A node that is no coroutine."""
    ctx.context.set("plain", True)
    return 5


def plain_functions() -> FlowBuilder:
    """Nodes that would be called in threads."""
    flow = create_flow("plain").node("a", plain).node("b", node(lambda c: c.input + 1))
    return flow.edge("a", "b")


STORIES = (
    story("chain", chain),
    story("diamond", diamond),
    story("fan", fan),
    story("wide", wide),
    story("lattice", lattice),
    story("choice", choice),
    story("any-join", any_join, is_settled=False),
    story("loop", loop, context={"n": 0}),
    story("loop-joined", loop_joined, context={"n": 0}),
    story("nested-loops", nested_loops, context={"i": 0, "o": 0}),
    story("batch", batch),
    story("shards", batch, shard_items=2),
    story("batch-in-loop", batch_in_loop),
    story("shards-in-loop", batch_in_loop, shard_items=2),
    story("subflow", subflow),
    story("added", added),
    story("plain", plain_functions),
)
