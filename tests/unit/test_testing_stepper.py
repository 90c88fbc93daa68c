"""Single steps: one attempt at a time, time as a step, and the way back."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.engine.context import NodeContext, SyncNodeContext
from flowcraft.engine.nodes import Node, NodeResult
from flowcraft.engine.runtime import FlowRuntime
from flowcraft.errors import BlueprintError, FlowcraftError, InvalidRunState, RunTimeout
from flowcraft.testing import Stepper, fake_node
from flowcraft.testing.clock import START

FAN: dict[str, Any] = {
    "id": "fan",
    "nodes": [{"id": name, "uses": "work"} for name in ("a", "b", "c", "d")],
    "edges": [
        {"source": "a", "target": "b"},
        {"source": "a", "target": "c"},
        {"source": "b", "target": "d"},
        {"source": "c", "target": "d"},
    ],
}
CHILD: dict[str, Any] = {
    "id": "child",
    "nodes": [{"id": "one", "uses": "work"}, {"id": "ask", "uses": "wait"}],
    "edges": [{"source": "one", "target": "ask"}],
}
PARENT: dict[str, Any] = {
    "id": "parent",
    "nodes": [
        {"id": "sub", "uses": "subflow", "params": {"blueprintId": "child"}},
        {"id": "after", "uses": "work"},
    ],
    "edges": [{"source": "sub", "target": "after"}],
}
BATCH: dict[str, Any] = {
    "id": "batch",
    "nodes": [
        {
            "id": "scatter",
            "uses": "batch-scatter",
            "inputs": "list",
            "params": {"workerUsesKey": "work", "gatherNodeId": "gather"},
        },
        {"id": "gather", "uses": "batch-gather"},
        {"id": "sum", "uses": "sum"},
    ],
    "edges": [{"source": "scatter", "target": "gather"}, {"source": "gather", "target": "sum"}],
}


async def count(ctx: NodeContext[Any]) -> int:
    """A node that counts its executions in the context and gives the number of nodes so far."""
    await ctx.context.add("count")
    return int(await ctx.context.get("count", 0))


def run(steps: Coroutine[Any, Any, None]) -> None:
    """Run a test's steps; a defect that hangs fails the test."""
    asyncio.run(asyncio.wait_for(steps, 20))


def single(**config: Any) -> dict[str, Any]:
    """A blueprint of one node that uses ``work``."""
    return {"id": "one", "nodes": [{"id": "n", "uses": "work", "config": config}]}


def test_one_node_at_a_time() -> None:
    """Each step executes the node that is ready longest, and says what it did."""

    async def steps() -> None:
        stepper = Stepper(FAN, {"count": 0}, registry={"work": count})
        assert (stepper.ready, stepper.state("a"), stepper.state("b")) == (
            ("a",),
            "running",
            "pending",
        )
        step = await stepper.next()
        assert step is not None
        assert (step.kind, step.node, step.attempt, step.output) == ("node", "a", 1, 1)
        assert step.ready == stepper.ready == ("b", "c")
        assert [event.type for event in step.events] == [
            "node:start",
            "node:finish",
            "context:change",
        ]
        assert (stepper.state("a"), stepper.context["count"]) == ("succeeded", 1)
        taken = [await stepper.next() for _ in range(3)]
        assert [step and step.node for step in taken] == ["b", "c", "d"]
        assert (stepper.status, await stepper.next()) == ("completed", None)

    run(steps())


def test_the_test_chooses_who_is_first() -> None:
    """Naming a ready node executes it before those that were ready earlier."""

    async def steps() -> None:
        stepper = Stepper(FAN, registry={"work": fake_node()})
        await stepper.next("a")
        await stepper.next("c")
        assert stepper.ready == ("b",)
        with pytest.raises(InvalidRunState, match=r"'d' is not ready\. Ready: b\."):
            await stepper.next("d")
        await stepper.finish()
        assert stepper.trace.order() == ["a", "c", "b", "d"]

    run(steps())


def test_back_to_the_state_before_a_step() -> None:
    """Going back restores nodes, context, readiness and trace; going on gives the same again."""

    async def steps() -> None:
        stepper = Stepper(FAN, {"count": 0}, registry={"work": count})
        seen = []
        while stepper.ready:
            seen.append((stepper.ready, dict(stepper.context), str(stepper.trace)))
            await stepper.next()
        final = dict(stepper.context)
        for state in reversed(seen):
            stepper.back()
            assert (stepper.ready, dict(stepper.context), str(stepper.trace)) == state
        with pytest.raises(InvalidRunState, match="no step to take back"):
            stepper.back()
        result = await stepper.finish()
        assert (result.status, dict(result.context)) == ("completed", final)

    run(steps())


def test_another_way_after_going_back() -> None:
    """After going back a test may take another step than before."""

    async def steps() -> None:
        work = fake_node(sequence=["a", OSError("down"), "b", "c", "d"])
        stepper = Stepper(FAN, registry={"work": work})
        await stepper.next()
        failed = await stepper.next("b")
        assert failed is not None
        assert (failed.error, failed.output, stepper.state("b")) == (
            "OSError: down",
            None,
            "failed",
        )
        stepper.back()
        assert (stepper.state("b"), stepper.result.errors) == ("running", ())
        result = await stepper.finish()
        assert (result.status, result.outputs["d"]) == ("completed", "d")

    run(steps())


def test_time_is_a_step_of_its_own() -> None:
    """When nothing is ready, a step lets time pass until something is due."""

    async def steps() -> None:
        flow = create_flow("f").sleep("s", "1d").node("n", fake_node(1), uses="n").edge("s", "n")
        stepper = Stepper(flow)
        assert (stepper.ready, stepper.status) == ((), "awaiting")
        step = await stepper.next()
        assert step is not None
        assert (step.kind, step.names, step.ready) == ("timer", ("s",), ("n",))
        assert step.now == START + 86_400
        stepper.back()
        assert (stepper.now.timestamp(), stepper.status) == (START, "awaiting")
        await stepper.finish()
        assert (stepper.status, stepper.now.timestamp()) == ("completed", START + 86_400)

    run(steps())


def test_each_attempt_is_a_step() -> None:
    """A retry takes a step for the failure, one for the delay and one for the next attempt."""

    async def steps() -> None:
        work = fake_node(sequence=[OSError("busy"), "fine"])
        blueprint = single(maxRetries=2, retryDelay=60_000, jitter=False)
        stepper = Stepper(blueprint, registry={"work": work})
        first, delay, second = [await stepper.next() for _ in range(3)]
        assert first is not None
        assert (first.attempt, first.error) == (1, "OSError: busy")
        assert delay is not None
        assert (delay.kind, delay.names, delay.now) == ("timer", ("n",), START + 60)
        assert second is not None
        assert (second.attempt, second.output, second.status) == (2, "fine", "completed")

    run(steps())


def test_going_back_keeps_the_order_of_what_is_ready() -> None:
    """A node that is tried again at once is ready behind the others, also after going back."""

    async def steps() -> None:
        work = fake_node(sequence=[OSError("busy"), 1, 2, 1])
        blueprint = {
            "id": "b",
            "nodes": [
                {"id": "a", "uses": "work", "config": {"maxRetries": 2, "retryDelay": 0}},
                {"id": "b", "uses": "work"},
            ],
        }
        stepper = Stepper(blueprint, registry={"work": work})
        await stepper.next()
        assert stepper.ready == ("b", "a")
        await stepper.next()
        stepper.back()
        assert stepper.ready == ("b", "a")
        await stepper.finish()
        assert stepper.trace.order() == ["a", "b"]

    run(steps())


def test_going_back_in_the_middle_of_the_retries_of_a_class() -> None:
    """A class node taken back between attempts prepares anew and goes on with its attempt."""

    class Flaky(Node[Any, Any]):
        async def prep(self, ctx: Any) -> Any:
            log.append("prep")

        async def exec(self, ctx: Any, prepared: Any) -> Any:
            log.append(f"exec {ctx.attempt}")
            if ctx.attempt == 1:
                raise OSError("busy")
            return "fine"

    async def steps() -> None:
        stepper = Stepper(single(maxRetries=2), registry={"work": Flaky})
        for _ in range(3):
            await stepper.next()
        assert log == ["prep", "exec 1", "exec 2"]
        stepper.back()
        assert (await stepper.finish()).outputs["n"] == "fine"
        assert log[3:] == ["prep", "exec 2"]

    log: list[str] = []
    run(steps())


def test_an_answer_is_a_step() -> None:
    """A wait, also one in a subflow, is answered; the answer can be taken back."""

    async def steps() -> None:
        stepper = Stepper(PARENT, registry={"work": fake_node("x")}, blueprints={"child": CHILD})
        assert stepper.ready == ("sub/one",)
        await stepper.finish()
        assert [wait.path for wait in stepper.awaiting] == [("sub", "ask")]
        with pytest.raises(InvalidRunState, match="waits for: sub/ask"):
            stepper.answer("after", 1)
        step = stepper.answer(["sub", "ask"], "no")
        assert (step.kind, step.names, step.ready) == ("answer", ("sub/ask",), ("after",))
        stepper.back()
        assert (str(stepper.status), list(stepper.ready)) == ("awaiting", [])
        stepper.answer(output="yes")
        result = await stepper.finish()
        assert (result.status, result.outputs["sub"]) == ("completed", "yes")

    run(steps())


def test_a_subflow_can_be_taken_back() -> None:
    """Going back into a child run restores the child with its parent."""

    async def steps() -> None:
        child = {**CHILD, "nodes": [CHILD["nodes"][0], {"id": "ask", "uses": "work"}]}
        stepper = Stepper(PARENT, registry={"work": fake_node("x")}, blueprints={"child": child})
        await stepper.next()
        await stepper.next("sub/ask")
        assert stepper.ready == ("after",)
        stepper.back()
        assert stepper.ready == ("sub/ask",)
        stepper.back()
        assert stepper.ready == ("sub/one",)
        result = await stepper.finish()
        assert result.status == "completed"
        assert stepper.trace.order() == ["sub", "sub/one", "sub/ask", "after"]

    run(steps())


def test_the_items_of_a_batch_are_steps() -> None:
    """Each item is executed by itself, in any order; results stay in the order of the list."""

    async def steps() -> None:
        work = fake_node(lambda value: value * 10)
        registry = {"work": work, "sum": fake_node(sum)}
        stepper = Stepper(BATCH, {"list": [1, 2, 3]}, registry=registry)
        assert stepper.ready == ("work[0]", "work[1]", "work[2]")
        step = await stepper.next("work[2]")
        assert step is not None
        assert (step.node, step.input, step.output) == ("work[2]", 3, 30)
        stepper.back()
        assert stepper.ready == ("work[0]", "work[1]", "work[2]")
        result = await stepper.finish()
        assert (result.outputs["gather"], result.outputs["sum"]) == ([10, 20, 30], 60)

    run(steps())


def test_an_item_waits_for_its_next_attempt() -> None:
    """The delay of an item is a step that names the item."""

    async def steps() -> None:
        blueprint = {**BATCH, "nodes": [dict(node) for node in BATCH["nodes"]]}
        blueprint["nodes"][0]["config"] = {"maxRetries": 2, "retryDelay": 1000}
        registry = {"work": fake_node(sequence=[OSError("busy"), 5]), "sum": fake_node(sum)}
        stepper = Stepper(blueprint, {"list": [1]}, registry=registry)
        names = []
        while (step := await stepper.next()) is not None:
            names.append((step.kind, step.node, step.error))
        assert names == [
            ("node", "work[0]", "OSError: busy"),
            ("timer", "work[0]", None),
            ("node", "work[0]", None),
            ("node", "sum", None),
        ]

    run(steps())


def test_the_rounds_of_a_loop() -> None:
    """A loop's body is a step in each round, and going back crosses rounds."""

    async def steps() -> None:
        flow = create_flow("f").node("work", count, uses="work")
        flow.loop("again", start="work", end="work", condition="count < 3")
        stepper = Stepper(flow, {"count": 0})
        assert [(await stepper.next() is not None) for _ in range(2)] == [True, True]
        stepper.back()
        assert stepper.context["count"] == 1
        assert (await stepper.finish()).context["count"] == 3
        assert stepper.trace.attempts("work") == 3

    run(steps())


def test_compensations_are_steps() -> None:
    """When a run fails, what undoes its nodes is ready step by step."""

    async def steps() -> None:
        blueprint = {
            "id": "b",
            "nodes": [
                {"id": "book", "uses": "ok", "config": {"compensate": "unbook"}},
                {"id": "unbook", "uses": "undo"},
                {"id": "pay", "uses": "bad"},
            ],
            "edges": [{"source": "book", "target": "pay"}],
        }
        undo = fake_node()
        registry = {"ok": fake_node("b1"), "undo": undo, "bad": fake_node(error=OSError("x"))}
        stepper = Stepper(blueprint, registry=registry)
        await stepper.next()
        await stepper.next()
        assert (stepper.ready, stepper.status, undo.called) == (("unbook",), "running", False)
        stepper.back()
        await stepper.next()
        step = await stepper.next()
        assert step is not None
        assert (step.node, step.error, step.status) == ("unbook", None, "failed")
        assert undo.inputs == [{"input": None, "output": "b1"}]

    run(steps())


def test_nodes_that_were_added_are_steps() -> None:
    """Nodes that a node adds to the run are ready after it, and gone after going back."""

    async def steps() -> None:
        def add(ctx: SyncNodeContext[Any]) -> NodeResult[Any]:
            return NodeResult("x", dynamic_nodes=[{"id": "extra", "uses": "work"}])

        stepper = Stepper(single(), registry={"work": add})
        await stepper.next()
        assert stepper.ready == ("extra",)
        assert stepper.state("extra") == "running"
        stepper.back()
        assert stepper.ready == ("n",)
        with pytest.raises(FlowcraftError, match="no node 'extra'"):
            stepper.state("extra")

    run(steps())


def test_a_run_can_be_cancelled_between_steps() -> None:
    """Cancelling leaves nothing ready, and can be taken back."""

    async def steps() -> None:
        stepper = Stepper(FAN, registry={"work": fake_node()})
        await stepper.next()
        step = stepper.cancel("enough")
        assert (step.status, stepper.ready) == ("cancelled", ())
        with pytest.raises(InvalidRunState, match="cancelled"):
            stepper.cancel()
        stepper.back()
        assert stepper.ready == ("b", "c")
        assert (await stepper.finish()).status == "completed"

    run(steps())


def test_a_step_that_sleeps_in_virtual_time() -> None:
    """Within a step time passes as far as the node sleeps, and its timeout counts."""

    async def steps() -> None:
        stepper = Stepper(single(), registry={"work": fake_node("ok", delay="2h")})
        step = await stepper.next()
        assert step is not None
        assert (step.output, step.now) == ("ok", START + 7200)
        stepper = Stepper(single(timeout=60_000), registry={"work": fake_node(delay="2h")})
        step = await stepper.next()
        assert step is not None
        assert (step.error or "").startswith("NodeTimeout")
        assert step.now == START + 60

    run(steps())


def test_a_step_that_hangs() -> None:
    """A node that makes no progress is given up on by name; going back mends the stepper."""

    async def steps() -> None:
        async def work(ctx: NodeContext[Any]) -> str:
            await door.wait()
            return "through"

        door = asyncio.Event()
        stepper = Stepper(single(), registry={"work": work})
        with pytest.raises(RunTimeout, match="node 'n' of run 'stepper'"):
            await stepper.next(patience_seconds=0)
        with pytest.raises(FlowcraftError, match=r"go back\(\)"):
            await stepper.next()
        stepper.back()
        door.set()
        assert (await stepper.finish()).outputs["n"] == "through"

    run(steps())


def test_a_runtime_lends_what_it_knows_and_stays_as_it_is() -> None:
    """A given runtime's registry is used; its clock, sessions and listeners are not touched."""

    async def steps() -> None:
        heard: list[Any] = []
        runtime = FlowRuntime(registry={"work": fake_node(3)}, listeners=[heard.append])
        before = (runtime.clock, runtime.options)
        stepper = Stepper(single(), runtime=runtime, run_id="r9")
        assert (await stepper.finish()).run_id == "r9"
        assert (runtime.clock, runtime.options) == before
        assert (heard, runtime.sessions) == ([], set())

    run(steps())


def test_mistakes_in_setting_up_are_explained() -> None:
    """Contradictory arguments, malformed blueprints and unknown names are refused."""

    async def steps() -> None:
        with pytest.raises(ValueError, match="not both"):
            Stepper(FAN, runtime=FlowRuntime(), registry={})
        with pytest.raises(BlueprintError):
            Stepper({"nodes": 3})
        with pytest.raises(FlowcraftError, match=r"no node 'x'\. It has: a, b, c, d"):
            Stepper(FAN, registry={}).state("x")

    run(steps())


def test_the_same_result_as_in_one_go() -> None:
    """Step by step a run comes out as the runtime runs it."""

    async def steps() -> None:
        runtime = FlowRuntime(registry={"work": count})
        whole = await runtime.run(FAN, {"count": 0})
        stepped = await Stepper(FAN, {"count": 0}, runtime=runtime).finish()
        assert dict(stepped.context) == dict(whole.context)
        assert stepped.states == whole.states

    run(steps())
