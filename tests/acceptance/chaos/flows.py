"""The workflows of a campaign, each of about ten nodes, and what has to come of them.

What comes of a run depends on its flow and on a number, so it can be had in process beforehand.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowcraft import FlowRuntime, NodeResult, RetryPolicy, create_flow
from flowcraft.core.builder import FlowBuilder
from flowcraft.core.builtins import BUILTIN_USES
from flowcraft.core.state import RunStatus
from flowcraft.engine.results import RunResult
from flowcraft.testing import VirtualClock
from tests.acceptance.chaos.ledger import Books

NUMBERS: Final = 6
"""Runs are started with numbers below this one."""

ANSWER: Final = {"by": "Grace"}
ASKING: Final = "ask"
"""The node that waits for an answer, wherever there is one."""

TRUTH: Final = "truth"
SOON: Final = RetryPolicy(max_attempts=4, delay=0.05, backoff=2.0, max_delay=0.5)
ENGINE_KEYS: Final = ("_",)


# --- nodes ---------------------------------------------------------------------------------


async def number(ctx: Any) -> int:
    """What the run was started with."""
    return int(await ctx.context.get("number"))


async def given_number(ctx: Any) -> int:
    """What a child run was given, as its input or in its context."""
    return int(ctx.input if ctx.input is not None else await ctx.context.get("number"))


async def plus(ctx: Any) -> int:
    """One more."""
    return int(ctx.input) + 1


async def named(ctx: Any) -> str:
    """Which way it was."""
    return f"{ctx.node_id}:{ctx.input}"


async def total(ctx: Any) -> Any:
    """What leads here, added up."""
    given = ctx.input
    given = list(given.values()) if isinstance(given, dict) else given
    given = given if isinstance(given, list) else [given]
    return sum(given) if all(isinstance(each, int) for each in given) else sorted(map(str, given))


async def flaky(ctx: Any) -> int:
    """A service that is down twice."""
    if ctx.attempt < 3:
        raise ConnectionError("the service is down")
    return int(ctx.input) + 100


async def parity(ctx: Any) -> NodeResult[int]:
    """Goes one of two ways."""
    return NodeResult(ctx.input, action="odd" if ctx.input % 2 else "even")


async def begin(ctx: Any) -> int:
    """Before the first round."""
    await ctx.context.set("rounds", 0)
    return 0


async def again(ctx: Any) -> None:
    """One round more."""
    await ctx.context.add("rounds", 1)


async def items(ctx: Any) -> list[int]:
    """A list to work on."""
    first = int(await ctx.context.get("number"))
    return list(range(first, first + 3 + first))


async def times_ten(ctx: Any) -> int:
    """Ten times an item."""
    return int(ctx.input) * 10


async def fails(ctx: Any) -> None:
    """What cannot be done."""
    raise ValueError(f"{await ctx.context.get('number')} cannot be done")


async def undo(ctx: Any) -> Any:
    """Takes back what a node has done."""
    return ["undone", ctx.input["output"]]


async def noted(ctx: Any) -> Any:
    """Writes to the context beside its output."""
    await ctx.context.set(f"noted by {ctx.node_id}", ctx.input)
    return ctx.input


# --- flows ---------------------------------------------------------------------------------


def _row(flow: FlowBuilder, names: str, implementation: Any = plus) -> FlowBuilder:
    """Add nodes that follow each other; the first one follows nothing yet."""
    before = None
    for name in names.split():
        flow.node(name, implementation)
        if before is not None:
            flow.edge(before, name)
        before = name
    return flow


def chain() -> FlowBuilder:
    """Nodes one after the other, one of which needs three attempts."""
    flow = _row(create_flow("chain").node("number", number), "a b c")
    flow.node("flaky", flaky, retry=SOON)
    _row(flow, "d e f g").node("noted", noted).edge("g", "noted")
    return flow.edge("number", "a").edge("c", "flaky").edge("flaky", "d")


def fan() -> FlowBuilder:
    """Ways that meet again."""
    flow = create_flow("fan").node("number", number).node("total", total).node("end", plus)
    for name in ("b1", "b2", "b3", "b4", "b5", "b6", "b7"):
        flow.node(name, plus).edge("number", name).edge(name, "total")
    return flow.edge("total", "end")


def choice() -> FlowBuilder:
    """One of two ways, twice, and joins behind both."""
    flow = create_flow("choice").node("number", number).node("parity", parity)
    flow.node("odd", named).node("even", named).node("join", total)
    flow.edge("number", "parity").edge("parity", "odd", action="odd")
    flow.edge("parity", "even", action="even").edge("odd", "join").edge("even", "join")
    flow.node("again", number).edge("join", "again").node("large", named).node("small", named)
    flow.edge("again", "large", condition="result.output > 2")
    flow.edge("again", "small", condition="result.output <= 2")
    flow.node("last", total).edge("large", "last").edge("small", "last")
    return flow.node("end", noted).edge("last", "end")


def loop() -> FlowBuilder:
    """Three rounds of two nodes."""
    flow = create_flow("loop").node("begin", begin).node("work", again)
    flow.node("more", number).edge("work", "more")
    flow.loop("rounds-left", "rounds < 3", start="work", end="more")
    flow.node("after", number).node("end", plus).edge("after", "end")
    return flow.edge("begin", "rounds-left").edge("rounds-left", "after")


def batch() -> FlowBuilder:
    """A list, some at a time; a long one is cut into records of its own."""
    flow = create_flow("batch").node("items", items)
    flow.batch("each", times_ten, concurrency=3, output_key="tens")
    flow.node("total", total).node("end", plus).edge("total", "end")
    return flow.edge("items", "each").edge("each", "total")


def nap() -> FlowBuilder:
    """A short sleep, beside other work."""
    flow = _row(create_flow("nap").node("number", number), "a b")
    flow.sleep("nap", "1s")
    _row(flow, "x y z").node("join", total).node("end", plus).edge("join", "end")
    flow.edge("number", "a").edge("b", "nap").edge("number", "x")
    return flow.edge("nap", "join").edge("z", "join")


def ask() -> FlowBuilder:
    """A question that somebody answers, beside other work."""
    flow = _row(create_flow("ask").node("number", number), "a b")
    flow.wait(ASKING, title="Ship it?", actions=["yes", "no"])
    _row(flow, "x y z").node("yes", number).node("no", named).node("join", total)
    flow.edge("number", "a").edge("b", ASKING).edge("number", "x")
    flow.edge(ASKING, "yes", action="yes").edge(ASKING, "no", action="no")
    return flow.edge("yes", "join").edge("no", "join").edge("z", "join")


def _child() -> FlowBuilder:
    flow = create_flow("child").node("first", given_number).node("second", flaky, retry=SOON)
    return flow.node("third", plus).edge("first", "second").edge("second", "third")


def subflow() -> FlowBuilder:
    """Two runs within a run, one beside the other."""
    flow = create_flow("subflow").node("number", number).node("total", total).node("end", plus)
    for name in ("left", "right"):
        flow.subflow(name, _child()).edge("number", name).edge(name, "total")
    return flow.edge("total", "end")


def undone() -> FlowBuilder:
    """A failure at the end, and what was done before is taken back."""
    flow = create_flow("undone").node("number", number)
    for name in ("room", "flight", "car"):
        flow.node(name, plus, compensate=f"undo-{name}").node(f"undo-{name}", undo)
    flow.node("beside", plus).edge("number", "beside").node("pay", fails)
    flow.edge("number", "room").edge("room", "flight").edge("flight", "car")
    return flow.edge("car", "pay").node("never", plus).edge("pay", "never")


def rescued() -> FlowBuilder:
    """A node that fails, and another one in its place."""
    flow = _row(create_flow("rescued").node("number", number), "a b c")
    flow.node("risky", fails, retry=RetryPolicy(max_attempts=2, delay=0.05), fallback="instead")
    flow.node("instead", number)
    _row(flow, "x y z").edge("number", "a").edge("c", "risky")
    return flow.edge("risky", "x")


def order() -> FlowBuilder:
    """All of it together, much like the order example."""
    flow = create_flow("order").node("number", number).node("parity", parity)
    flow.node("reject", named).node("reserve", items, compensate="undo-reserve")
    flow.node("undo-reserve", undo)
    flow.edge("number", "parity").edge("parity", "reject", action="reject")
    flow.edge("parity", "reserve")
    flow.batch("prices", times_ten).node("total", total).edge("reserve", "prices")
    flow.node("charge", flaky, retry=SOON).edge("prices", "total").edge("total", "charge")
    flow.sleep("cool-off", "500ms").wait(ASKING)
    flow.subflow("deliver", _child(), inputs={"number": "number"}, outputs={"sent": "second"})
    flow.edge("charge", "cool-off").edge("cool-off", ASKING)
    return flow.edge(ASKING, "deliver", action="yes")


FLOWS: Final[tuple[Callable[[], FlowBuilder], ...]] = (
    *(chain, fan, choice, loop, batch, nap, ask, subflow, undone, rescued, order),
)


def answer_to(name: str, given: int) -> str:
    """The action by which a question is answered."""
    return "no" if name == "ask" and given % 3 == 0 else "yes"


def runtime(*middleware: Any, **options: Any) -> FlowRuntime:
    """A runtime that has all flows.

    Args:
        *middleware: Around each body.
        **options: What else a :class:`FlowRuntime` takes.
    """
    return FlowRuntime(flows=[build() for build in FLOWS], middleware=middleware, **options)


# --- what has to come of them --------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """What a run comes to in process.

    Attributes:
        summary: Status, outputs and so on; see :func:`summary_of`.
        bodies: How often each body runs, by its idempotency key behind the id of the run.
        nodes: How many nodes came to an end in it and in its child runs, items of batches counted
            as such.
    """

    summary: Mapping[str, Any]
    bodies: Counter[str]
    nodes: int


def summary_of(run: RunResult) -> dict[str, Any]:
    """What has to be the same wherever a run was worked on."""
    outputs = dict(run.outputs)
    return {
        "status": str(run.status),
        "outputs": outputs,
        "context": {
            key: value
            for key, value in run.context.items()
            if key not in outputs and not key.startswith(ENGINE_KEYS)
        },
        "states": {name: str(state) for name, state in run.states.items()},
        "errors": sorted((str(each.node_id), each.type) for each in run.errors),
        "compensations": sorted(node for node, _ in run.compensations),
    }


def key_in_run(key: str, run_id: str) -> str:
    """An idempotency key without the id of the run, as which all runs of a flow have it."""
    return key.removeprefix(run_id)


async def truth_of(name: str, given: int) -> Truth:
    """Run a flow in process, in virtual time.

    Args:
        name: The flow.
        given: The number that it is started with.
    """
    bodies: Counter[str] = Counter()
    clock = VirtualClock(autojump=True)

    def note(what: str, *words: object) -> None:
        if what == "begin":
            bodies[key_in_run(str(words[0]), TRUTH)] += 1

    flows = runtime(Books(note), clock=clock)
    clock.attach(flows)
    context = {"number": given}
    result = await flows.run(name, context, run_id=TRUTH)
    if result.status is RunStatus.AWAITING:
        result = await flows.resume(
            name, result, node_id=ASKING, output=ANSWER, action=answer_to(name, given)
        )
    return Truth(summary_of(result), bodies, len(bodies) + _engine_nodes(result))


def _engine_nodes(result: RunResult) -> int:
    """How many nodes came to an end that have no body: sleeps, waits, scatters and so on."""
    plan = result._run.plan
    uses = {node.id: node.definition.uses for node in plan.nodes}
    return sum(
        uses[name.partition("@")[0]] in BUILTIN_USES and str(state) == "completed"
        for name, state in result.states.items()
    )


def truths(cases: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Truth]:
    """What comes of flows, by their names and the numbers that they are started with."""

    async def all_of_them() -> dict[tuple[str, int], Truth]:
        return {case: await truth_of(*case) for case in sorted(set(cases))}

    return asyncio.run(all_of_them())
