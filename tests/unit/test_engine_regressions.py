"""Defects of the engine that were found by reading and breaking it; each stays found."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import threading
from collections.abc import Awaitable, Callable
from types import MappingProxyType
from typing import Any

import pytest

from flowcraft import (
    CancelToken,
    FlowBuilder,
    FlowcraftError,
    FlowEvent,
    FlowRuntime,
    JsonSerializer,
    Node,
    NodeDefinition,
    NodeResult,
    RetryPolicy,
    SafeEvaluator,
    WorkflowBlueprint,
    create_flow,
)
from flowcraft.core.decide import decide
from flowcraft.core.plan import Plan
from flowcraft.engine.plans import Plans
from flowcraft.engine.pool import Pool
from flowcraft.engine.threads import DaemonThreads, ThreadPool
from flowcraft.testing import VirtualClock
from tests.unit.runs import Ctx, Events, SyncCtx, drive, echo, one, run, turns


def plain(ctx: SyncCtx) -> str:
    """A plain function that says in which thread it runs."""
    return threading.current_thread().name


def our_threads() -> list[str]:
    """Names of the threads that the engine keeps."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("flowcraft")]


def test_runtimes_share_their_threads() -> None:
    """A script that runs a flow a hundred times, each in a runtime of its own, needs few."""
    before = len(our_threads())
    flow = create_flow("f").node("a", plain).node("b", plain, uses="again").edge("a", "b")
    for _ in range(100):
        assert flow.run_sync({}).status == "completed"
    assert len(our_threads()) - before <= 3


def test_a_chain_of_plain_functions_needs_one_thread() -> None:
    """A thread is there for the next call as soon as anybody knows that its call is over."""
    threads = DaemonThreads(ThreadPool())

    async def main() -> set[str]:
        return {await threads.call(plain, None) for _ in range(100)}

    assert len(drive(main())) == 1


def test_idle_threads_end() -> None:
    """A thread that has had nothing to do for a while ends, and the next call makes another."""
    threads = DaemonThreads(ThreadPool(idle_seconds=0.0))
    seen: list[Any] = []

    async def main() -> None:
        for _ in range(3):
            seen.append(await threads.call(threading.current_thread))

    drive(main())
    for thread in seen:
        thread.join(5)
        assert not thread.is_alive()


class Plain(Node[Any, Any]):
    """A class whose steps are plain methods, but for ``fallback``."""

    def prep(self, ctx: SyncCtx) -> Any:  # type: ignore[override]
        """Read and write the context without awaiting anything."""
        ctx.context.set("in prep", plain(ctx))
        return ctx.context.get("given")

    def exec(self, ctx: SyncCtx, prepared: Any) -> Any:  # type: ignore[override]
        """See what ``prep`` wrote."""
        return [prepared, ctx.context.get("in prep"), plain(ctx)]

    def post(self, ctx: SyncCtx, result: Any) -> Any:  # type: ignore[override]
        """Write once more."""
        ctx.context.add("count", 1)
        return NodeResult([*result, plain(ctx)])


def test_plain_methods_run_in_threads_with_a_context_for_threads() -> None:
    """The steps of a class that are plain methods block no other node, and share their writes."""
    result = run(create_flow("f").node("a", Plain), {"given": 7})
    given, *names = result.outputs["a"]
    assert given == 7
    assert all(name.startswith("flowcraft-node") for name in names)
    assert result.context["in prep"].startswith("flowcraft-node")
    assert result.context["count"] == 1


def test_plain_methods_block_nobody() -> None:
    """Two nodes whose plain ``exec`` waits for the other's are under way at the same time."""
    meeting = threading.Barrier(2)

    class Meets(Node[Any, Any]):
        def exec(self, ctx: SyncCtx, prepared: Any) -> bool:  # type: ignore[override]
            meeting.wait(5)
            return True

    assert run(create_flow("f").node("a", Meets).node("b", Meets)).status == "completed"


def test_a_plain_exec_that_takes_too_long_leaves_nothing_behind() -> None:
    """It is given up on; what it writes late is not among the writes of the steps that follow."""
    given_up, wrote = threading.Event(), threading.Event()

    class Slow(Node[Any, Any]):
        def exec(self, ctx: SyncCtx, prepared: Any) -> None:  # type: ignore[override]
            assert ctx.cancelled.wait(5)
            given_up.wait(5)
            ctx.context.set("late", True)
            wrote.set()

        async def fallback(self, ctx: Ctx, error: BaseException) -> str:
            given_up.set()
            await asyncio.to_thread(wrote.wait, 5)
            await ctx.context.set("fell back", True)
            return type(error).__name__

    result = run(create_flow("f").node("a", Slow, timeout=0.005))
    assert result.outputs["a"] == "NodeTimeout"
    assert result.context["fell back"] is True
    assert "late" not in result.context


def test_a_node_that_kept_the_loop_past_its_timeout_has_failed() -> None:
    """A timeout counts although the event loop was kept from noticing it in time."""
    clock = VirtualClock()
    runtime = FlowRuntime()

    async def hog(ctx: Ctx) -> str:
        if ctx.attempt == 1:
            clock._now += 61  # time passes, and nobody is told
        return "done"

    class Hog(Node[Any, Any]):
        async def exec(self, ctx: Ctx, prepared: Any) -> str:
            return await hog(ctx)

        async def fallback(self, ctx: Ctx, error: BaseException) -> str:
            return type(error).__name__

    async def main() -> Any:
        clock.attach(runtime)
        flow = create_flow("f").node("a", hog, timeout=60).node("b", Hog, timeout=60)
        return await flow.run(runtime)

    result = drive(main())
    (error,) = result.errors
    assert (error.type, error.node_id, error.causes) == ("NodeTimeout", "a", ())
    assert result.outputs["b"] == "NodeTimeout"


def test_listeners_cannot_change_values() -> None:
    """Whatever a listener does to what it is told, inputs and outputs stay what they were."""

    def spoil(event: FlowEvent) -> None:
        for value in event.payload.values():
            if isinstance(value, list):
                value.append(99)

    async def numbers(ctx: Ctx) -> list[int]:
        return [1, 2]

    child = create_flow("child").node("c", echo)
    flow = create_flow("f").node("a", numbers).sleep("z", "1ms").subflow("s", child).node("y", echo)
    flow.edge("a", "z").edge("z", "s").edge("s", "y")
    result = run(flow, runtime=FlowRuntime(listeners=[spoil]))
    assert result.outputs == {node: [1, 2] for node in "azsy"}


def test_progress_is_told_as_it_was() -> None:
    """What a node reports is a copy; it may go on with the object."""
    events = Events()

    async def node(ctx: Ctx) -> None:
        detail = ["begun"]
        await ctx.heartbeat(0.5, detail)
        detail.append("more")

    run(create_flow("f").node("a", node), runtime=FlowRuntime(listeners=[events]))
    (event,) = events.of("node:progress")
    assert event.payload == {"progress": 0.5, "detail": ["begun"]}


def test_a_child_that_cannot_be_planned_fails_its_node_alone() -> None:
    """The subflow node fails with the reason; the rest of the run is not lost."""
    loop = {"id": "l", "uses": "loop-controller", "params": {"condition": "true"}}
    child = {"id": "child", "nodes": [loop], "edges": []}
    parent = {
        "id": "f",
        "nodes": [
            {"id": "s", "uses": "subflow", "params": {"blueprintId": "child"}},
            {"id": "x", "uses": "one"},
        ],
        "edges": [],
    }
    runtime = FlowRuntime(blueprints={"child": child}, registry={"one": one})
    result = run(parent, runtime=runtime)
    (error,) = result.errors
    assert (result.status, error.node_id, error.type) == ("failed", "s", "BlueprintError")
    assert "continue" in error.message
    assert result.outputs["x"] == 1


def test_a_defect_in_deciding_about_a_node_fails_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no decision can be made about an outcome, its node has failed, and says why."""

    def breaks(plan: Plan, state: Any, event: Any, now: float) -> Any:
        if getattr(event, "output", None) == "unlucky":
            raise ZeroDivisionError("a defect")
        return decide(plan, state, event, now)

    async def unlucky(ctx: Ctx) -> str:
        return "unlucky"

    monkeypatch.setattr("flowcraft.engine.local.decide", breaks)
    result = run(create_flow("f").node("a", unlucky).node("b", one))
    (error,) = result.errors
    assert (result.status, error.node_id, error.type) == ("failed", "a", "ZeroDivisionError")
    assert result.outputs == {"b": 1}


@pytest.mark.parametrize("kind", ["run", "resume"])
def test_a_cancellation_while_the_run_is_planned_counts(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that is set while the run is being set up cancels it before anything starts."""
    cancel, runtime = CancelToken(), FlowRuntime()
    flow = create_flow("f").wait("w").node("a", one).edge("w", "a")
    plan_of = runtime.plan_of

    def planning(blueprint: Any) -> Plan:
        cancel.cancel()
        return plan_of(blueprint)

    async def main() -> Any:
        rested = await flow.run(runtime)
        monkeypatch.setattr(runtime, "plan_of", planning)
        if kind == "run":
            return await runtime.run(flow, cancel=cancel)
        return await runtime.resume(flow, rested, cancel=cancel)

    result = drive(main())
    assert (result.status, dict(result.outputs)) == ("cancelled", {})


def test_a_plain_function_is_told_when_the_caller_gives_up() -> None:
    """Cancelling ``run()`` itself sets ``ctx.cancelled``, so that no thread goes on for ever."""
    begun, told = threading.Event(), threading.Event()

    def node(ctx: SyncCtx) -> None:
        begun.set()
        if ctx.cancelled.wait(5):
            told.set()

    async def main() -> None:
        task = asyncio.ensure_future(FlowRuntime().run(create_flow("f").node("a", node)))
        assert await asyncio.to_thread(begun.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(told.wait, 5)

    drive(main())


def test_a_subflow_at_work_times_out_whatever_becomes_of_timers() -> None:
    """``timers="return"`` is about runs that only wait: one at work is held to its timeouts."""

    async def hangs(ctx: Ctx) -> None:
        await asyncio.Event().wait()

    child = create_flow("child").node("q", hangs)
    flow = create_flow("f").subflow("s", child, timeout=0.005)
    (error,) = run(flow, timers="return").errors
    assert (error.node_id, error.type) == ("s", "NodeTimeout")


def test_a_child_that_is_given_up_on_undoes_what_it_did() -> None:
    """The run is over only when the compensations of a child that took too long are, too."""
    log: list[str] = []

    async def hangs(ctx: Ctx) -> None:
        await asyncio.Event().wait()

    async def undo(ctx: Ctx) -> None:
        log.append("begin")
        await turns(10)
        log.append("end")

    child = create_flow("child").node("a", one, compensate="u").node("u", undo)
    child.node("q", hangs).edge("a", "q")
    result = run(create_flow("f").subflow("s", child, timeout=0.005))
    assert (result.status, log) == ("failed", ["begin", "end"])


def a_chain(name: str, length: int = 3) -> dict[str, Any]:
    """A blueprint in JSON form."""
    nodes = [{"id": f"n{n}", "uses": "one"} for n in range(length)]
    edges = [{"source": f"n{n - 1}", "target": f"n{n}"} for n in range(1, length)]
    return {"id": name, "nodes": nodes, "edges": edges}


def test_a_plan_goes_with_its_blueprint() -> None:
    """A plan is made once, and nothing of it is left when its blueprint is not used any more."""
    runtime = FlowRuntime(registry={"one": one})
    blueprint = WorkflowBlueprint.from_dict(a_chain("f"))
    plan = runtime.plan_of(blueprint)
    run(blueprint, runtime=runtime)
    assert runtime.plan_of(blueprint) is plan
    assert len(runtime.plans) == 1
    del blueprint
    gc.collect()
    assert len(runtime.plans) == 0


def test_a_blueprint_given_as_data_is_read_and_planned_once() -> None:
    """Equal data mean the same plan; data that differ, if only in a type, another one."""
    plans = Plans(SafeEvaluator())
    first = plans.read(a_chain("f"))
    assert plans.read(a_chain("f")) is first
    changed = a_chain("f")
    changed["nodes"][0]["params"] = {"x": 1}
    other = plans.read(changed)
    assert other.nodes[0].params == {"x": 1}
    changed["nodes"][0]["params"]["x"] = True
    assert plans.read(changed).nodes[0].params["x"] is True


def test_blueprints_given_as_data_are_kept_within_bounds() -> None:
    """What was used last is kept; a blueprint beyond the bound, until the next one comes."""
    plans = Plans(SafeEvaluator(), kept_parts=12)
    first, second = plans.read(a_chain("a")), plans.read(a_chain("b"))
    assert plans.read(a_chain("a")) is first
    plans.read(a_chain("c"))
    assert plans.read(a_chain("a")) is first
    assert plans.read(a_chain("b")) is not second
    large = plans.read(a_chain("large", 100))
    assert plans.read(a_chain("large", 100)) is large
    assert plans.read(a_chain("a")) is not first


def test_data_beyond_json_are_read_each_time() -> None:
    """What is no plain data, such as a mapping of another kind, is read and not remembered."""
    plans = Plans(SafeEvaluator())
    data = MappingProxyType(a_chain("f"))
    assert plans.read(data) == plans.read(data)
    assert plans.read(data) is not plans.read(data)


def counting_loop(rounds: int) -> FlowBuilder:
    """A loop whose body reads and sets a key and counts, and what goes on after it."""

    async def body(ctx: Ctx) -> list[int]:
        number = await ctx.context.get("number", 0)
        await ctx.context.set("number", number + 1)
        return [number] * 10

    flow = create_flow("f").node("a", one).node("b", body).node("z", one)
    flow.loop("c", condition=f"number < {rounds}", start="b", end="b")
    return flow.edge("a", "b").edge("c", "z")


def test_what_nobody_can_read_any_more_is_not_kept() -> None:
    """Beside a node that is slow, a loop keeps what that node can read, and not each round."""
    sizes: list[int] = []
    over = asyncio.Event()

    async def slow(ctx: Ctx) -> Any:
        await over.wait()
        past = ctx._origin.run.past
        sizes.append(sum(map(len, past.kept.values())) + len(past.born))
        return await ctx.context.get("number", "nothing yet")

    async def last(ctx: Ctx) -> None:
        over.set()

    flow = counting_loop(200).node("slow", slow).node("last", last).edge("z", "last")
    assert run(flow).outputs["slow"] == "nothing yet"
    assert sizes[0] < 20


def test_the_past_does_not_grow_while_something_runs_at_any_time() -> None:
    """Where a node starts before the other has ended, over and over, what is past is dropped."""
    sizes: list[int] = []

    async def node(ctx: Ctx) -> None:
        await turns(2)
        sizes.append(len(ctx._origin.run.past.born) + len(ctx._origin.run.past.kept))

    flow = create_flow("f")
    for n in range(300):
        flow.node(f"n{n}", node)
    run(flow, concurrency=3)
    assert max(sizes) <= 2 * 64


@pytest.mark.parametrize("seed", range(8))
def test_a_node_sees_the_same_context_from_its_start_to_its_end(seed: int) -> None:
    """Whatever others commit meanwhile, and however often, each node sees what it began with."""
    chance = random.Random(seed)
    keys = ["k", "l", "n1", "n7"]

    async def node(ctx: Ctx) -> Any:
        before = await ctx.context.to_dict()
        await turns(chance.randrange(6))
        after = await ctx.context.to_dict()
        single = {key: await ctx.context.get(key) for key in before}
        for seen in (before, after, single):
            for key in [key for key in seen if key.startswith("_inputs.")]:
                del seen[key]
        assert before == after == single
        for key in keys:
            assert await ctx.context.has(key) == (key in before)
            if chance.random() < 0.3:
                await ctx.context.set(key, chance.random())
            elif chance.random() < 0.2:
                await ctx.context.delete(key)
        return chance.random()

    flow = counting_loop(10)
    for n in range(40):
        flow.node(f"n{n}", node)
        if n > 4:
            flow.edge(f"n{chance.randrange(n)}", f"n{n}")
    result = run(flow, {"k": 1, "n1": 2}, concurrency=chance.choice([3, 100]))
    assert (result.status, result.errors) == ("completed", ())


def test_options_hold_what_runs_the_same_nodes() -> None:
    """Whoever is given a runtime's options has its registry and blueprints, live."""
    runtime = FlowRuntime()
    options = runtime.options
    runtime.add_flow(create_flow("f").node("a", one, uses="one"))
    assert list(options.blueprints) == ["f"]
    assert options.registry.require("one").call is one
    other = FlowRuntime(blueprints=options.blueprints, registry=options.registry)
    assert run("f", runtime=other).outputs == {"a": 1}


@pytest.mark.parametrize("from_flow", [True, False])
def test_a_missing_implementation_is_told_with_what_looks_like_it(from_flow: bool) -> None:
    """The error of the node names keys that are spelled alike, those of flow and runtime."""
    blueprint = {"id": "f", "nodes": [{"id": "a", "uses": "charge_card"}], "edges": []}
    runtime = FlowRuntime(registry={"charge-card": one})
    subject: Any = blueprint
    if from_flow:
        subject = create_flow("f").node("x", one, uses="x")
        subject.node("a", "charge_card")
    (error,) = run(subject, runtime=runtime).errors
    assert (error.type, error.node_id) == ("ImplementationMissing", "a")
    assert "did you mean 'charge-card'?" in error.message


def test_added_nodes_are_copies() -> None:
    """What a node keeps of the nodes it added, and changes later, is not what was added."""
    params = {"of": ["it"]}

    async def adds(ctx: Ctx) -> NodeResult[Any]:
        return NodeResult(None, dynamic_nodes=[NodeDefinition("new", "late", params=params)])

    async def late(ctx: Ctx) -> Any:
        return dict(ctx.params)

    flow = create_flow("f").node("a", adds).node("w", spoils(params)).edge("a", "w")
    result = run(flow, runtime=FlowRuntime(registry={"late": late}, concurrency=1))
    assert result.outputs["new"] == {"of": ["it"]}
    assert json.loads(result.state)["state"]["added"][0][1]["params"] == {"of": ["it"]}


def spoils(params: dict[str, Any]) -> Callable[[Ctx], Awaitable[None]]:
    """A node that changes what another one has given away."""

    async def spoil(ctx: Ctx) -> None:
        params["of"].append("more")

    return spoil


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"concurrency": "3"}, TypeError, "concurrency is a whole number of nodes, not '3'"),
        ({"concurrency": True}, TypeError, "not True"),
        ({"run_id": 5}, TypeError, "run_id is text, not 5"),
        ({"run_id": ""}, ValueError, "run_id is empty"),
        ({"run_id": "a\x1fb"}, ValueError, "control characters"),
        ({"run_id": "\ud800"}, ValueError, "surrogates"),
        ({"on_failure": "fail-fast"}, ValueError, "on_failure must be 'fail_fast' or 'continue'"),
        ({"timers": "never"}, ValueError, "timers must be 'wait' or 'return'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    """Each is refused before anything starts, by a text that names it and shows what was given."""
    with pytest.raises(kind, match=text):
        run(create_flow("f").node("a", one), **options)
    if "concurrency" in options:
        with pytest.raises(kind, match=text):
            FlowRuntime(**options)


def test_run_ids_may_be_any_readable_text() -> None:
    """Letters of any script, spaces and signs are no reason to refuse a run id."""
    for run_id in ("Bestellung 7/ß", "注文:1", "e\u0301\u200d"):
        assert run(create_flow("f").node("a", one), run_id=run_id).run_id == run_id


def test_resuming_with_another_blueprint_names_both() -> None:
    """Who mixes up two saved runs is told which blueprint the run is of."""

    async def main() -> None:
        runtime = FlowRuntime()
        rested = await create_flow("mine").wait("w").run(runtime)
        with pytest.raises(FlowcraftError, match=r"'mine', and this one is 'other'"):
            await runtime.resume(create_flow("other").wait("w"), rested)

    drive(main())


def test_a_listener_is_unsubscribed_by_identity() -> None:
    """Ending one subscription leaves those alone whose listeners claim to be equal to it."""

    class Listener:
        def __init__(self) -> None:
            self.told: list[str] = []

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 0

        def __call__(self, event: FlowEvent) -> None:
            self.told.append(event.type)

    first, second = Listener(), Listener()
    runtime = FlowRuntime()
    runtime.subscribe(first)
    runtime.subscribe(second)()
    run(create_flow("f").node("a", one), runtime=runtime)
    assert first.told
    assert not second.told


def test_retry_rules_look_into_groups_of_errors() -> None:
    """What failed in a task group decides about the retry, and not that it was in a group."""

    async def fails(ctx: Ctx) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(raises(error_of[ctx.node_id]))

    async def raises(error: Exception) -> None:
        raise error

    error_of = {
        "listed": ValueError("no"),
        "other": KeyError("no"),
        "fatal": FlowcraftError("no", is_fatal=True),
    }
    retry = RetryPolicy(max_attempts=3, delay=0, retry_on=(ValueError, FlowcraftError))
    flow = create_flow("f")
    for name in error_of:
        flow.node(name, fails, retry=retry)
    result = run(flow)
    attempts = {error.node_id: error.attempts for error in result.errors}
    assert attempts == {"listed": 3, "other": 1, "fatal": 1}


def test_what_is_fatal_in_a_child_is_fatal_to_its_node() -> None:
    """A subflow is not tried again after an error that trying again cannot change."""
    starts: list[int] = []

    async def fails(ctx: Ctx) -> None:
        starts.append(1)
        raise FlowcraftError("over", is_fatal=True)

    child = create_flow("child").node("c", fails)
    flow = create_flow("f").subflow("s", child, retry=RetryPolicy(max_attempts=3, delay=0))
    (error,) = run(flow).errors
    assert (error.type, error.attempts, len(starts)) == ("SubflowFailed", 1, 1)


def test_a_run_that_is_cancelled_as_it_is_resumed_ends() -> None:
    """Also where the saved state says that nodes were running, which now nobody runs."""
    events = Events()

    async def main() -> Any:
        runtime = FlowRuntime(listeners=[events])
        flow = create_flow("f").node("a", one).node("b", one)
        await flow.run(runtime)
        cut = next(n for n, event in enumerate(events) if event.type == "node:finish")
        half = await runtime.replay(flow, events[:cut])
        assert half.status == "running"
        cancel = CancelToken()
        cancel.cancel()
        return await runtime.resume(flow, half.state, answer=False, cancel=cancel)

    assert drive(main()).status == "cancelled"


def test_cancelling_many_children_looks_at_each_job_a_few_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thousand queued jobs of hundreds of children are not looked at once for each child."""
    looks: list[Any] = []
    discard = Pool.discard

    def counting(self: Pool[Any, Any], unwanted: Callable[[Any], bool]) -> list[Any]:
        def looked_at(job: Any) -> bool:
            looks.append(job)
            return unwanted(job)

        return discard(self, looked_at)

    monkeypatch.setattr(Pool, "discard", counting)
    cancel, events = CancelToken(), Events()

    async def stops(ctx: Ctx) -> None:
        cancel.cancel()
        await asyncio.Event().wait()

    child = create_flow("child").node("a", stops).node("b", one).node("c", one)
    flow = create_flow("f")
    for n in range(300):
        flow.subflow(f"s{n}", child)
    runtime = FlowRuntime(listeners=[events])
    result = run(flow, runtime=runtime, concurrency=1, cancel=cancel)
    assert result.status == "cancelled"
    assert len(looks) <= 4 * 900
    finished = [event.payload["status"] for event in events.of("workflow:finish")]
    assert finished == ["cancelled"] * 301


def test_an_event_that_cannot_be_told_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """A codec that raises as a value is copied for listeners costs the event, not the run."""

    class Money:
        """An amount that some codec writes, and reads only once."""

    reads: list[Any] = []

    def read(data: Any) -> Money:
        reads.append(data)
        if len(reads) > 1:
            raise ValueError("the codec is broken")
        return Money()

    async def gives(ctx: Ctx) -> Money:
        return Money()

    serializer = JsonSerializer()
    serializer.register(Money, encode=lambda _: 1, decode=read)
    events = Events()
    runtime = FlowRuntime(serializer=serializer, listeners=[events])
    result = run(create_flow("f").node("a", gives), runtime=runtime)
    assert result.status == "completed"
    assert events.names()[-1] == "workflow:finish"
    assert "node:finish" in caplog.text
