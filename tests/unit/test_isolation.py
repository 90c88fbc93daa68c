"""``isolation: process``: nodes in processes of their own, which can be killed (rule S9)."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from flowcraft import (
    CancelToken,
    FlowRuntime,
    JsonSerializer,
    Middleware,
    RetryPolicy,
    RunResult,
    create_flow,
)
from flowcraft.core.builder import FlowBuilder
from flowcraft.engine import child, isolation
from flowcraft.memory import MemoryAdapter
from flowcraft.testing import TestEnvironment as Environment
from flowcraft.testing import fake_node
from tests.unit import isolated_nodes as nodes
from tests.unit.runs import Ctx, Events, SyncCtx, drive, run

pytestmark = pytest.mark.slow

THRICE = RetryPolicy(max_attempts=3, delay=0.01)


def flow_of(implementation: Any, **options: Any) -> FlowBuilder:
    """A flow of one isolated node."""
    return create_flow("f").node("n", implementation, isolation="process", **options)


def run_alone(implementation: Any, context: Any = None, **options: Any) -> RunResult:
    """Run a flow of one isolated node."""
    runtime = options.pop("runtime", None)
    return run(flow_of(implementation, **options), context, runtime=runtime)


def is_gone(pid: int) -> bool:
    """Whether no process has this number, waiting a little for one that was just killed."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        # A child of nobody may be a zombie until whoever adopted it looks.
        state = Path(f"/proc/{pid}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        subprocess.run(["sleep", "0.01"], check=True)
    return False


async def appears(path: Path) -> str:
    """The text of a file, once it is there."""
    while not path.exists():
        await asyncio.sleep(0.01)
    return path.read_text()


# Where it runs, and what it is handed -------------------------------------------------------


@pytest.mark.parametrize("kind", [nodes.number, nodes.plain_number, nodes.NumberOfClass])
def test_each_attempt_has_a_process_of_its_own(kind: Any) -> None:
    """Async functions, plain functions and classes run in another process, which is gone then."""
    flow = flow_of(kind).node("m", kind, isolation="process").edge("n", "m")
    result = run(flow)
    first, second = result.outputs["n"], result.outputs["m"]
    assert len({os.getpid(), first, second}) == 3
    assert is_gone(first)
    assert is_gone(second)


def test_the_context_tells_what_it_tells_in_process() -> None:
    """Input, parameters, names and counts are those that the node has without isolation."""
    options: dict[str, Any] = {"params": {"a": [1]}, "timeout": 60, "inputs": "value"}
    other: dict[str, Any] = {**options, "isolation": "process"}
    seen = [
        run(create_flow("f").node("n", nodes.about, **given), {"value": {"x": 1}})
        for given in (options, other)
    ]
    outputs = [result.outputs["n"] for result in seen]
    for output, result in zip(outputs, seen, strict=True):
        assert 0 < output.pop("deadline") <= 60
        assert output["ids"].pop(0) == result.run_id
        assert output["ids"].pop().startswith(result.run_id)
    assert outputs[0] == outputs[1]
    assert outputs[0]["counts"] == [0, 1, 1]
    assert outputs[0]["input"] == {"x": 1}


def test_the_input_is_decoded_into_the_annotated_type() -> None:
    """The annotation decodes the input in the child, and the output is data as always."""
    result = run_alone(
        nodes.typed, {"order": {"customer": "ada", "quantities": [1, 2]}}, inputs="order"
    )
    assert result.outputs["n"] == {"customer": "ADA", "quantities": [3]}


def test_an_input_that_does_not_fit_is_an_input_error() -> None:
    """What the child refuses fails the node as it would in process, without another attempt."""
    result = run_alone(nodes.typed, {"order": 1}, inputs="order", retry=THRICE)
    assert [(error.type, error.attempts) for error in result.errors] == [("InputError", 1)]


def test_values_pass_unchanged() -> None:
    """Values beyond JSON are the same on the other side, and deep ones get there too."""
    deep: list[Any] = []
    for _ in range(3_000):
        deep = [deep]
    given = {"decimal": Decimal("1.10"), "bytes": b"\0\xff", "set": {1, 2}, "$type": "set"}
    result = run_alone(nodes.values, {"given": given, "deep": deep}, inputs="deep")
    assert result.status == "completed", result.errors
    assert result.outputs["n"]["given"] == given
    found, depth = result.outputs["n"]["again"], 0
    while found:
        found, depth = found[0], depth + 1
    assert depth == 3_000


@pytest.mark.parametrize(
    "functions", [{}, {"encode": nodes.Money.to_data, "decode": nodes.Money.from_data}]
)
def test_registered_types_stay_what_they_are(functions: dict[str, Any]) -> None:
    """A type that the runtime's serializer knows passes both ways, though the child is fresh."""
    serializer = JsonSerializer()
    serializer.register(nodes.Money, "money", **functions)
    runtime = FlowRuntime(serializer=serializer)
    paid = nodes.Money(Decimal("2.50"), "EUR")
    result = run_alone(nodes.pay, {"paid": paid}, inputs="paid", runtime=runtime)
    assert result.outputs["n"] == nodes.Money(Decimal("5.00"), "EUR")


def test_a_registered_type_that_cannot_be_imported_is_refused() -> None:
    """With a lambda for ``encode`` the node fails for good, and the error says what to do."""
    serializer = JsonSerializer()
    make = nodes.Money.from_data
    serializer.register(nodes.Money, encode=lambda money: money.to_data(), decode=make)
    paid = nodes.Money(Decimal(1), "EUR")
    runtime = FlowRuntime(serializer=serializer)
    (error,) = run_alone(nodes.pay, {"paid": paid}, inputs="paid", runtime=runtime).errors
    assert error.is_fatal
    assert "top level of a module" in error.message


def test_a_dependency_is_refused() -> None:
    """Objects of the parent are not to be had, whether or not there is one."""
    runtime = FlowRuntime(dependencies={nodes.Order: nodes.Order("x", [])})
    (error,) = run_alone(nodes.wants_dependency, runtime=runtime).errors
    assert error.is_fatal
    assert "Make the object in the node" in error.message


def test_a_partial_of_plain_arguments_is_found() -> None:
    """A partial of what can be imported works, of a function and of a class."""
    by_partial = partial(nodes.with_partial, factor=3, unit="kg")
    flow = flow_of(by_partial, inputs="value", uses="weigh")
    made = partial(nodes.WithArguments, "ada")
    flow.node("c", made, uses="made", isolation="process")
    result = run(flow, {"value": 2})
    assert (result.outputs["n"], result.outputs["c"]) == ("6kg", "ada")


def _refused() -> list[tuple[Callable[..., Any], str]]:
    def local(ctx: SyncCtx) -> None:
        return None

    async def bound(self: Any, ctx: Ctx) -> None:
        return None

    holder = type("Holder", (), {"bound": bound})()
    return [
        (local, "defined inside a function"),
        (lambda ctx: None, "it is a lambda"),
        (holder.bound, "inside a function"),
        (partial(nodes.with_partial, factor=cast("int", object())), "functools.partial"),
    ]


@pytest.mark.parametrize(("implementation", "why"), _refused())
def test_what_cannot_be_imported_is_refused(implementation: Callable[..., Any], why: str) -> None:
    """The node fails for good and unstarted, and the error says why and what to do instead."""
    flow = flow_of(implementation, uses="x", retry=THRICE)
    (error,) = run(flow).errors
    assert error.is_fatal
    assert error.attempts == 1
    assert why in error.message
    assert "top level of a module" in error.message


# The run's context --------------------------------------------------------------------------


@pytest.mark.parametrize("isolated", ["process", None])
def test_reads_and_writes_are_those_of_any_node(isolated: Any) -> None:
    """The context reads and writes as it does in process, own writes and deletions included."""
    flow = create_flow("f").node("a", nodes.context, isolation=isolated, inputs="key")
    flow.node("b", nodes.plain_context, isolation=isolated).edge("a", "b")
    result = run(flow, {"key": "first", "old": 1, "count": 40})
    assert result.outputs["a"] == {
        "before": ["first", False],
        "gone": [True, False],
        "after": ["new", "no", "first"],
        "everything": ["count", "key"],
        "count": 42,
    }
    assert result.outputs["b"] == {"before": ["new", False], "count": 45}
    kept = {key: result.context.get(key) for key in ("key", "plain", "count", "old")}
    assert kept == {"key": "new", "plain": "new", "count": 45, "old": None}


def test_a_node_reads_what_was_there_when_it_started(tmp_path: Path) -> None:
    """What a parallel node commits meanwhile is not seen, asked for before or not (S8)."""

    async def write(ctx: Ctx) -> None:
        await appears(tmp_path / "looked")
        await ctx.context.set("shared", "new")
        await ctx.context.set("other", "new")

    async def tell(ctx: Ctx) -> None:
        (tmp_path / "written").touch()

    flow = flow_of(nodes.look_twice, params={"directory": str(tmp_path)})
    flow.node("w", write).node("t", tell).edge("w", "t")
    result = run(flow, {"shared": "old", "other": "old"})
    assert result.outputs["n"] == ["old", "old", "old"]
    assert result.context["shared"] == "new"


def test_a_failed_attempt_leaves_no_writes() -> None:
    """Writes come with the output or not at all."""
    result = run_alone(nodes.write_and_fail)
    assert result.status == "failed"
    assert "left" not in result.context


def test_engine_keys_cannot_be_written() -> None:
    """A key of the engine is refused in the child as it is in process."""
    (error,) = run_alone(nodes.engine_key).errors
    assert "begin with an underscore" in error.message


# What comes back ----------------------------------------------------------------------------


def test_results_route_and_add_nodes() -> None:
    """An action chooses the edges, and added nodes run."""
    flow = flow_of(nodes.route)
    for name in ("left", "right"):
        flow.node(name, nodes.plain_about, isolation="process").edge("n", name, action=name)
    flow.node("plan", nodes.plan, isolation="process").node("collect", nodes.number)
    flow.edge("plan", "collect")
    runtime = FlowRuntime(registry={"number": nodes.number})
    result = run(flow, runtime=runtime)
    assert result.status == "completed", result.errors
    assert {"left", "part-0", "part-1", "collect"} <= set(result.outputs)
    assert "right" not in result.outputs


def test_ten_megabytes_come_back() -> None:
    """A large output is no accident."""
    assert len(run_alone(nodes.large).outputs["n"]) == 5_000_000


def test_what_a_node_prints_disturbs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Standard output goes to standard error, of commands too; standard input is empty."""
    assert run_alone(nodes.noisy).outputs["n"] == "read nothing: ''"
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == ['{"is": "done"}', "raw", "from a command"]


def test_records_are_logged_by_the_parent(caplog: pytest.LogCaptureFixture) -> None:
    """What is logged in the child arrives here, with its fields, by the levels set here."""
    with caplog.at_level(logging.INFO, logger="shop"):
        run_alone(nodes.logs)
    told = [each for each in caplog.records if each.name in ("flowcraft.node", "shop")]
    assert [(each.levelname, each.getMessage()) for each in told] == [
        ("WARNING", "seen here"),
        ("INFO", "also seen"),
    ]
    assert (vars(told[0])["node_id"], told[0].process) != ("n", os.getpid())


def test_heartbeats_are_heard() -> None:
    """Progress becomes an event here; a detail that cannot be stored is refused there."""
    events = Events()
    flow = flow_of(nodes.beats).node("p", nodes.plain_beats, isolation="process")
    runtime = FlowRuntime(listeners=[events])
    assert run(flow, runtime=runtime).status == "completed"
    told = {(each.node_id, each.payload["progress"]) for each in events.of("node:progress")}
    assert told == {("n", 0.5), ("p", 0.25)}


def test_an_output_that_cannot_be_stored_fails_the_node() -> None:
    """The error is the one of any other node, with the path."""
    (error,) = run_alone(nodes.odd_output, retry=THRICE).errors
    assert (error.type, error.attempts) == ("SerializationError", 1)
    assert error.message.startswith("output.connection cannot be stored")


# Errors -------------------------------------------------------------------------------------


def test_an_error_is_what_it_was_in_the_child() -> None:
    """Type, text, causes and traceback arrive."""
    (error,) = run_alone(nodes.fail_with_cause).errors
    assert (error.type, error.message) == ("Declined", "outer")
    assert error.causes == (("KeyError", "'inner'"),)
    assert error.traceback is not None
    assert "fail_with_cause" in error.traceback
    assert "tests.unit.isolated_nodes.Declined" in error.names


@pytest.mark.parametrize(
    ("implementation", "told", "is_fatal"),
    [
        (nodes.fatal, ("FlowcraftError", "no use"), True),
        (nodes.fail_group, ("ExceptionGroup", "several (2 sub-exceptions)"), True),
        (nodes.leave, ("SystemExit", "3"), False),
        (
            nodes.cancel_itself,
            ("FlowcraftError", "The node cancelled itself (CancelledError)."),
            False,
        ),
        (nodes.result_error, ("FlowcraftError", "as a result"), False),
    ],
)
def test_errors_of_every_kind_fail_the_node(
    implementation: Any, told: tuple[str, str], is_fatal: bool
) -> None:
    """Fatal errors, groups, SystemExit and errors as results are what they are in process."""
    (error,) = run_alone(implementation).errors
    assert (error.type, error.message) == told
    assert error.is_fatal is is_fatal


@pytest.mark.parametrize(
    ("retry", "status"),
    [
        (RetryPolicy(max_attempts=3, delay=0.01, retry_on=(LookupError,)), "completed"),
        (RetryPolicy(max_attempts=3, delay=0.01, give_up_on=(nodes.Declined,)), "failed"),
    ],
)
def test_retries_go_by_the_names_of_the_error(retry: RetryPolicy, status: str) -> None:
    """A base class in ``retryOn`` counts, ``noRetryOn`` ends it; attempts are counted."""
    result = run_alone(nodes.attempts, retry=retry)
    assert result.status == status
    if status == "completed":
        assert result.outputs["n"] == [3, 3]
    else:
        assert result.errors[0].attempts == 1


# Dying --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("implementation", "how"),
    [
        (nodes.exit_at_once, "exit code 7"),
        (nodes.kill_itself, "signal 9 (SIGKILL); was there too little memory?"),
        (nodes.crash, "signal 11 (SIGSEGV)"),
    ],
)
def test_a_process_that_dies_fails_the_attempt(implementation: Any, how: str) -> None:
    """The worker lives on, and the error says how the process ended."""
    (error,) = run_alone(implementation).errors
    assert error.type == "ProcessDied"
    assert error.message == f"The process of node 'n' died: {how}."
    assert "FlowcraftError" in error.names


def test_a_process_that_died_is_tried_again() -> None:
    """Dying is an error that another attempt may not have."""
    assert run_alone(nodes.die_once, retry=THRICE).outputs["n"] == 2


def test_a_process_that_was_forked_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """The attempt is over with its process, and what that has forked is killed."""
    (error,) = run_alone(nodes.fork, params={"directory": str(tmp_path)}).errors
    assert error.message.endswith("exit code 0.")
    assert is_gone(int((tmp_path / "grandchild").read_text()))


def test_what_a_node_started_ends_with_it() -> None:
    """A command that goes on when the node is done is killed with its process group."""
    assert is_gone(run_alone(nodes.start_command).outputs["n"])


def test_a_module_that_fails_to_import_fails_the_node(tmp_path: Path) -> None:
    """What goes wrong before the node begins is the node's error, too."""
    module = tmp_path / "only_here.py"
    module.write_text(
        "import os\nif os.getpid() != PID: raise RuntimeError('not here')\n".replace(
            "PID", str(os.getpid())
        )
        + "def f(ctx): return 1\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        only_here = __import__("only_here")
        (error,) = run_alone(only_here.f).errors
    finally:
        sys.path.remove(str(tmp_path))
    assert (error.type, error.message) == ("RuntimeError", "not here")


# Being killed -------------------------------------------------------------------------------


@pytest.mark.parametrize("spin", [nodes.spin, nodes.spin_async, nodes.spin_deaf])
def test_a_node_that_never_gives_way_is_killed_by_its_timeout(spin: Any, tmp_path: Path) -> None:
    """Busy loops end, also in an event loop and where the signal to end is ignored."""
    (error,) = run_alone(spin, timeout=0.3, params={"directory": str(tmp_path)}).errors
    assert error.type == "NodeTimeout"
    assert is_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("node", [nodes.clean_up, nodes.clean_up_async])
def test_a_node_that_is_stopped_can_clean_up(node: Any, tmp_path: Path) -> None:
    """``finally`` runs, with ``ctx.cancelled`` set, before the process is gone."""
    (error,) = run_alone(node, timeout=0.3, params={"directory": str(tmp_path)}).errors
    assert error.type == "NodeTimeout"
    assert (tmp_path / "cleaned").read_text() == "True"
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_starting_a_process_is_not_the_nodes_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout shorter than the start of a process leaves the node all of its time."""
    monkeypatch.setattr(child, "_BOOT", f"import time; time.sleep(1.5); {child._BOOT}")
    assert run_alone(nodes.plain_number, timeout=1.4).status == "completed"


def test_a_start_that_takes_too_long_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start has a bound of its own."""
    monkeypatch.setattr(isolation, "START_SECONDS", 0.01)
    (error,) = run_alone(nodes.number).errors
    assert error.type == "NodeTimeout"
    assert "was not ready within 0.01 s" in error.message


@pytest.mark.parametrize("spin", [nodes.spin, nodes.spin_deaf])
def test_cancelling_the_run_kills_the_process(spin: Any, tmp_path: Path) -> None:
    """The run is cancelled, and no process is left."""

    async def work() -> tuple[RunResult, int]:
        token = CancelToken()
        flow = flow_of(spin, params={"directory": str(tmp_path)})
        running = asyncio.create_task(FlowRuntime().run(flow, cancel=token))
        pid = int(await appears(tmp_path / "pid"))
        token.cancel()
        return await running, pid

    result, pid = drive(work())
    assert result.status == "cancelled"
    assert is_gone(pid)


def test_a_caller_that_gives_up_leaves_no_process(tmp_path: Path) -> None:
    """Cancelling the task that awaits the run ends the process before it returns."""

    async def work() -> int:
        flow = flow_of(nodes.spin_deaf, params={"directory": str(tmp_path)})
        running = asyncio.create_task(FlowRuntime().run(flow))
        pid = int(await appears(tmp_path / "pid"))
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
        return pid

    assert is_gone(drive(work()))


def test_a_process_that_does_not_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node is done, and its process lingers: the result counts, and the process goes."""
    monkeypatch.setattr(child, "END_SECONDS", 0.2)
    result = run_alone(nodes.slow_to_end, params={"directory": str(tmp_path)})
    assert result.outputs["n"] == "done"
    assert is_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("kind", ["spin", "spin_async", "spin_deaf"])
def test_a_child_ends_when_its_parent_is_killed(kind: str, tmp_path: Path) -> None:
    """A worker that is killed leaves no node behind, whatever the node does."""
    program = f"""
        from flowcraft import FlowRuntime, create_flow
        from tests.unit import isolated_nodes as nodes
        flow = create_flow("f").node(
            "n", nodes.{kind}, isolation="process", params={{"directory": {str(tmp_path)!r}}}
        )
        flow.run_sync()
    """
    root = Path(__file__).parents[2]
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], cwd=root)
    pid = int(asyncio.run(asyncio.wait_for(appears(tmp_path / "pid"), 20)))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert is_gone(pid)


# Classes ------------------------------------------------------------------------------------


def test_the_steps_of_a_class_share_a_process() -> None:
    """What ``prep`` and ``exec`` make need not be data; a step may be a plain method."""
    result = run_alone(nodes.Steps)
    assert result.outputs["n"] == {"steps": ["prep 1", "exec 1"], "result": 7}
    assert (result.context["prepared"], result.context["tried"]) == (1, 1)


def test_a_class_falls_back_when_exec_has_failed_for_good() -> None:
    """Each attempt has a process and a ``prep`` of its own; the fallback gets the real error."""
    result = run_alone(nodes.Steps, params={"fail": True}, retry=THRICE)
    assert result.outputs["n"] == {
        "steps": ["prep 3", "exec 3", "fallback Declined"],
        "result": "Declined",
    }
    assert result.context["prepared"] == 3
    assert "tried" not in result.context


@pytest.mark.parametrize(
    ("params", "error"), [({}, "ProcessDied"), ({"spin": True}, "NodeTimeout")]
)
def test_a_class_falls_back_when_its_process_is_gone(
    params: dict[str, Any], error: str, tmp_path: Path
) -> None:
    """After a death or a timeout in ``exec`` the fallback runs in another process."""
    given = {**params, "directory": str(tmp_path)}
    result = run_alone(nodes.Killed, params=given, timeout=0.5)
    assert result.outputs["n"] == {"steps": ["prep 1", f"fallback {error}"], "result": error}
    assert result.context["prepared"] == 1
    assert "tried" not in result.context


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({}, "Declined: post"),
        ({"die": True}, "ProcessDied: The process of node 'n' died: exit code 5."),
    ],
)
def test_a_class_recovers(params: dict[str, Any], told: str, tmp_path: Path) -> None:
    """``recover`` hears of the error, in the same process or, if that is gone, in another."""
    result = run_alone(nodes.Recovering, params={**params, "directory": str(tmp_path)})
    assert result.status == "failed"
    assert (tmp_path / "recovered").read_text() == told


# Beside the rest ----------------------------------------------------------------------------


class Around(Middleware):
    """Writes, replaces the input, and notes what comes by."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def before(self, ctx: Any) -> None:
        written = ctx.context.set("key", "from outside")
        if written is not None:
            await written
        ctx.input = "replaced"

    async def after(self, ctx: Any, result: Any, error: BaseException | None) -> None:
        self.seen.append((os.getpid(), result, str(error)))


def test_middleware_runs_around_it_in_the_parent() -> None:
    """Layers see results and errors; what they write and put in place reaches the node."""
    layer = Around()
    runtime = FlowRuntime(middleware=[layer])
    flow = flow_of(nodes.plain_context).node("e", nodes.write_and_fail, isolation="process")
    flow.node("c", nodes.context, isolation="process").edge("n", "c")
    result = run(flow, {"old": 1}, runtime=runtime)
    assert result.outputs["n"]["before"] == ["from outside", False]
    assert result.outputs["c"]["after"] == ["new", "no", "replaced"]
    assert {pid for pid, *_ in layer.seen} == {os.getpid()}
    assert (os.getpid(), None, "Declined: no") in layer.seen


def test_the_items_of_a_batch_are_isolated() -> None:
    """``isolation`` of a scatter node is for the workers of its items, each by itself."""

    async def listed(ctx: Ctx) -> list[int]:
        return [1, 2, 3]

    flow = create_flow("f").node("list", listed)
    flow.batch("b", nodes.number, isolation="process", concurrency=2).edge("list", "b")
    result = run(flow)
    assert result.status == "completed", result.errors
    pids = result.outputs["b_gather"]
    assert len(set(pids)) == 3
    assert os.getpid() not in pids


def test_a_fake_stays_inside() -> None:
    """A test's fake stands in for an isolated node without a process."""

    async def work() -> Any:
        fake = fake_node(output=4)
        flow = flow_of(fake)
        async with Environment(FlowRuntime()) as env:
            return (await env.run(flow)).outputs["n"], fake.call_count

    assert drive(work()) == (4, 1)


def test_virtual_time_waits_for_a_process() -> None:
    """In a test environment an isolated node is at work, and time stands still meanwhile."""

    async def work() -> Any:
        async with Environment(FlowRuntime()) as env:
            flow = flow_of(nodes.plain_number, timeout=60).sleep("s", "1d").edge("n", "s")
            return (await env.run(flow)).status

    assert drive(work()) == "completed"


def test_durable_workers_isolate_too(tmp_path: Path) -> None:
    """A worker runs, retries and kills isolated nodes as a runtime does."""

    async def work() -> list[Any]:
        flow = flow_of(nodes.attempts, retry=THRICE)
        flow.node("k", nodes.kill_itself, isolation="process")
        flow.node("c", nodes.plain_context, isolation="process")
        spin = create_flow("spin").node(
            "s", nodes.spin, isolation="process", params={"directory": str(tmp_path)}
        )
        runtime = FlowRuntime(flows=[flow, spin])
        async with MemoryAdapter(runtime.options, poll_seconds=0.01) as adapter:
            handle = await adapter.start_run("f", {"key": 1})
            result = await handle.result(timeout=9)
            busy = await adapter.start_run("spin")
            pid = int(await appears(tmp_path / "pid"))
            await adapter.cancel_run(busy)
            cancelled = await busy.result(timeout=9)
        return [result, cancelled, pid]

    result, cancelled, pid = drive(work())
    assert result.outputs["n"] == [3, 3]
    assert result.context["count"] == 3
    assert [error.type for error in result.errors] == ["ProcessDied"]
    assert cancelled.status == "cancelled"
    assert is_gone(pid)


def test_a_worker_that_stops_leaves_no_process(tmp_path: Path) -> None:
    """A worker whose time to drain is over kills the node and hands its job back."""

    async def work() -> int:
        flow = flow_of(nodes.spin_deaf, params={"directory": str(tmp_path)})
        options = FlowRuntime(flows=[flow]).options
        async with MemoryAdapter(options, poll_seconds=0.01, drain_timeout_seconds=0.1) as adapter:
            await adapter.start_run("f")
            return int(await appears(tmp_path / "pid"))

    assert is_gone(drive(work()))


# Scripts ------------------------------------------------------------------------------------


SCRIPT = """
import os
from flowcraft import SyncNodeContext, create_flow

class Odd(ValueError): ...

def pid(ctx: SyncNodeContext) -> int:
    return os.getpid()

def fail(ctx: SyncNodeContext) -> None:
    raise Odd("x")

flow = create_flow("f").node("n", pid, isolation="process").node("e", fail, isolation="process")
"""
RUNS = """
result = flow.run_sync()
STRICT and result.raise_for_status()
print(result.outputs["n"] != os.getpid(), [(e.type, e.names[1]) for e in result.errors])
"""


def test_nodes_of_a_script_are_found(tmp_path: Path) -> None:
    """A script is imported by its path, without what is under ``if __name__ == "__main__":``."""
    script = tmp_path / "my script.py"
    body = textwrap.indent(RUNS, "    ")
    script.write_text(f'STRICT = False\n{SCRIPT}\nif __name__ == "__main__":\n{body}')
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "True [('Odd', '__main__.Odd')]\n"


def test_a_script_that_runs_when_imported_does_not_run_for_ever(tmp_path: Path) -> None:
    """Without the guard the inner run refuses to start processes, and says what is missing."""
    script = tmp_path / "unguarded.py"
    script.write_text(f"STRICT = True\n{SCRIPT}\n{RUNS}")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "__name__" in done.stderr


def test_a_node_of_an_interactive_session_is_refused() -> None:
    """What was read from standard input cannot be imported, and the error says so."""
    program = f"{SCRIPT}\nresult = flow.run_sync()\nprint(result.errors[0].message)"
    done = subprocess.run(
        [sys.executable], input=program, capture_output=True, text=True, check=True
    )
    assert "interactive session, or read from standard input" in done.stdout
