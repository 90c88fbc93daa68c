"""Simulating a workflow of one's own: what is refused, and why."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flowcraft import Node, NodeContext, create_flow
from flowcraft.testing.simulate import Kind, Person, SimulationError, simulate

Body = Callable[[NodeContext[Any]], Awaitable[Any]]


def single(body: Any, **options: Any) -> Any:
    """A flow of one node, 'work'."""
    return create_flow("own").node("work", body, **options)


async def in_a_thread(_: NodeContext[Any]) -> str:
    """Use a thread."""
    return await asyncio.to_thread(str, 1)


async def in_an_executor(_: NodeContext[Any]) -> Any:
    """Use a thread, and get over it."""
    try:
        return await asyncio.get_running_loop().run_in_executor(None, str, 1)
    except Exception:
        return "never mind"


async def on_the_network(_: NodeContext[Any]) -> None:
    """Open a connection."""
    await asyncio.open_connection("localhost", 1)


async def in_a_subprocess(_: NodeContext[Any]) -> None:
    """Start a process."""
    await asyncio.create_subprocess_exec(sys.executable, "--version")


async def at_once(_: NodeContext[Any]) -> int:
    """Do nothing."""
    return 1


@pytest.mark.parametrize(
    ("body", "options", "used"),
    [
        (in_a_thread, {}, r"calls 'str' in a thread \(asyncio.to_thread"),
        (in_an_executor, {}, "calls 'str' in a thread"),
        (on_the_network, {}, "uses the network"),
        (in_a_subprocess, {}, "starts a process"),
        (at_once, {"isolation": "process"}, r"process of its own \(isolation\)"),
    ],
)
@pytest.mark.parametrize("statuses", [None, ("completed", "failed")])
def test_what_a_simulation_does_not_have_is_refused(
    body: Body, options: Any, used: str, statuses: Any
) -> None:
    """Threads, network and processes are never taken for a failure of the node that uses them."""
    with pytest.raises(SimulationError, match=f"^Node 'work' .*{used}"):
        simulate(single(body, **options), runs=5, statuses=statuses)


def test_what_is_used_only_in_a_second_attempt_is_refused_as_well() -> None:
    """A node that uses a thread only when it runs again ends the simulation, not its run."""

    def build() -> Any:
        runs: list[int] = []

        async def work(_: NodeContext[Any]) -> None:
            runs.append(1)
            if len(runs) > 1:
                await asyncio.to_thread(str, 1)

        return single(work)

    with pytest.raises(SimulationError, match=r"^Node 'work' .*in a thread"):
        simulate(build, runs=60, faults=[Kind.CRASH_BEFORE])


def test_plain_functions_and_steps_need_no_thread() -> None:
    """Plain functions, and classes with plain steps, are simulated as they are."""

    class Steps(Node[Any, Any]):
        def exec(self, ctx: Any, prepared: Any) -> Any:
            return 2

    def plain(ctx: Any) -> int:
        return 1

    flow = create_flow("own").node("plain", plain).node("steps", Steps).edge("plain", "steps")
    report = simulate(flow, runs=20)
    assert report.ok, str(report.violations[0])


async def gives_an_object(_: NodeContext[Any]) -> Any:
    """Give what cannot be stored."""
    return object()


async def fails(_: NodeContext[Any]) -> None:
    """Fail."""
    raise ValueError("no luck")


async def needs_the_amount(ctx: NodeContext[Any]) -> Any:
    """Read what nobody gave."""
    return (await ctx.context.get("amount")) + 1


@pytest.mark.parametrize(
    ("body", "options", "error"),
    [
        (gives_an_object, {}, "SerializationError: "),
        (fails, {"config": {"maxRetries": 3}}, "ValueError: no luck"),
        (needs_the_amount, {}, "TypeError: unsupported operand"),
    ],
)
def test_a_run_that_fails_in_process_is_refused(body: Body, options: Any, error: str) -> None:
    """Failing alike in process and in the simulation is no proof: the error is named instead."""
    with pytest.raises(SimulationError, match=rf"is failed, .*\n.*node 'work'.*{error}"):
        simulate(single(body, **options), runs=5)


def test_a_run_that_is_to_fail_is_simulated() -> None:
    """Who says that failed is how it ends has it simulated."""
    assert simulate(single(fails), runs=20, statuses=("failed",)).ok


def test_an_implementation_that_is_missing_is_refused() -> None:
    """The message is that of the run in process, whatever the statuses are."""
    blueprint = single(at_once).to_blueprint()
    with pytest.raises(SimulationError, match=r"node 'work': ImplementationMissing: .*at_once"):
        simulate(blueprint, runs=5, statuses=("failed",))


def chain(length: int, careless: int) -> Callable[[], Any]:
    """A fresh flow of nodes that book under their key each; one of them has no key."""
    books: list[list[str]] = []

    def build() -> Any:
        book: dict[str, int] = {}
        books.append([])
        flow = create_flow("chain")
        for number in range(length):

            def body(number: int = number) -> Any:
                async def book_it(ctx: NodeContext[Any]) -> int:
                    key = ctx.idempotency_key
                    if number == careless or key not in book:
                        books[-1].append(key)
                    book[key] = number
                    return number

                return book_it

            flow.node(f"n{number}", body(), uses=f"n{number}")
            if number:
                flow.edge(f"n{number - 1}", f"n{number}")
        return flow

    def check(_: Any) -> None:
        assert len(books[-1]) == length, f"{len(books[-1])} bookings"

    build.check = check  # type: ignore[attr-defined]
    return build


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("careless", [0, 6, 11])
def test_one_careless_node_in_a_chain_is_found(careless: int, seed: int) -> None:
    """Each of twelve nodes dies with its body done, first of all and whatever the seed is."""
    build: Any = chain(12, careless)
    report = simulate(build, check=build.check, seed=seed, runs=12)
    assert not report.ok
    assert report.untried == ()
    assert {each.played.problems[0].invariant for each in report.violations} == {"check"}


def test_nodes_that_never_ran_again_are_named() -> None:
    """Where there are too few runs for all nodes, the report says which were not tried."""
    build: Any = chain(5, -1)
    report = simulate(build, runs=3, check=build.check)
    assert len(report.untried) == 2
    assert set(report.untried) | set(report.repeated) == {f"n{number}" for number in range(5)}
    first, last = str(report).splitlines()
    assert first == "not tried, since they never ran again: " + ", ".join(map(repr, report.untried))
    assert last.startswith("3 runs, 0 violations")


def test_without_crashes_a_stall_has_nodes_run_again() -> None:
    """Where no process may die, it stops with the body done, and another one takes over."""
    build: Any = chain(4, 2)
    report = simulate(build, runs=8, check=build.check, faults=[Kind.STALL_BEFORE])
    assert report.untried == ()
    assert not report.ok


_COUNT: list[int] = []


async def by_chance(_: NodeContext[Any]) -> float:
    """Come to something else each time."""
    return random.random()


async def by_the_clock(_: NodeContext[Any]) -> int:
    """Tell the real time."""
    return time.perf_counter_ns()


async def by_what_was_before(_: NodeContext[Any]) -> int:
    """Count the runs of all flows."""
    _COUNT.append(1)
    return len(_COUNT)


@pytest.mark.parametrize("body", [by_chance, by_the_clock, by_what_was_before])
def test_what_depends_on_chance_cannot_be_compared(body: Body) -> None:
    """Two runs in process that come to two things are refused, with the node and what to do."""
    text = (
        r"(?s)the output of node 'work': .*, and then .*fresh flow for each run.*is_settled=False"
    )
    with pytest.raises(SimulationError, match=text):
        simulate(single(body), runs=5)
    assert simulate(single(body), runs=5, is_settled=False).ok


@pytest.mark.parametrize("seconds", [(0.0, 0.0), (1.0, 2.0)])
def test_nodes_that_write_one_key_at_once_cannot_be_compared(seconds: Any) -> None:
    """The key is named that goes to whoever is slower, also if that is the same one in peace."""

    def writes(number: int) -> Any:
        async def write(ctx: NodeContext[Any]) -> None:
            await asyncio.sleep(seconds[number])
            await ctx.context.set("last", number)

        return write

    flow = create_flow("race").node("a", writes(0), uses="a").node("b", writes(1), uses="b")
    with pytest.raises(SimulationError, match=r"context key 'last': ., and then .\n"):
        simulate(flow, runs=5)


def test_what_one_run_leaves_for_the_next_is_seen_by_the_check() -> None:
    """A flow that is not built anew fails its check the second time: the message says so."""
    paid: list[int] = []

    async def pay(_: NodeContext[Any]) -> None:
        paid.append(1)

    def check(_: Any) -> None:
        assert len(paid) == 1, f"{len(paid)} payments"

    with pytest.raises(SimulationError, match=r"(?s)then the check does not hold: 2 pay.*fresh"):
        simulate(single(pay), check=check, runs=5)


def asking() -> Any:
    """A flow that asks twice."""
    return create_flow("asks").wait("first").wait("second").edge("first", "second")


def test_a_wait_that_nobody_answers_is_refused() -> None:
    """A run that rests in process is not simulated: the wait is named, and what answers it."""
    with pytest.raises(SimulationError, match=r"waits at 'second' .*answers={'second': …}"):
        simulate(asking, answers={"first": 1}, runs=5)
    assert simulate(asking, answers={"first": 1, "second": 2}, runs=5).ok


def test_people_may_answer_what_a_run_waits_for() -> None:
    """Where people take part, the run in process may rest."""

    async def answers_both(person: Person) -> None:
        for name in ("first", "second"):

            def waits(run: Any, name: str = name) -> bool:
                return name in [each.node_id for each in run.awaiting]

            assert await person.until(waits)
            await person.client.resume_with_action("run", None, 1, node_id=name)

    report = simulate(asking, people=[answers_both], runs=3, faults=())
    assert report.ok, str(report.violations[0])


@pytest.mark.parametrize("name", ["frist", "work"])
def test_an_answer_to_what_is_no_wait_is_refused(name: str) -> None:
    """The name is given, with the waits that there are."""
    flow = asking().node("work", at_once).edge("second", "work")
    text = f"answers= has '{name}', .* no wait .* Waits: 'first', 'second'"
    with pytest.raises(ValueError, match=text):
        simulate(flow, answers={"first": 1, "second": 2, name: 3}, runs=5)


async def never_ends(_: NodeContext[Any]) -> None:
    """Look every day."""
    while True:
        await asyncio.sleep(86400)


async def waits_for_nobody(_: NodeContext[Any]) -> None:
    """Wait for what nobody does."""
    await asyncio.Event().wait()


async def goes_round(_: NodeContext[Any]) -> None:
    """Never let time pass."""
    while True:
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (never_ends, "It goes on after 3,6.. days"),
        (waits_for_nobody, "it waits for what never comes"),
        (goes_round, "200000 steps were taken while no time passed"),
    ],
)
def test_a_node_that_never_returns_is_named(body: Body, why: str) -> None:
    """A run in process that never ends is given up, with the node that is under way."""
    with pytest.raises(SimulationError, match=rf"does not end \(under way: node 'work'\): {why}"):
        simulate(single(body), runs=5)


def test_a_node_that_looks_all_the_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many turns of the event loop without a body that begins or ends are too many."""
    monkeypatch.setattr("flowcraft.testing.simulate.story.STEPS_OF_A_BODY", 1000)

    async def looks(_: NodeContext[Any]) -> None:
        while True:
            await asyncio.sleep(0.01)

    with pytest.raises(SimulationError, match=r"node 'work'\): It goes on after 0 days and 1,00"):
        simulate(single(looks), runs=5)


def test_large_files_need_no_thread() -> None:
    """A file that is written in pieces is kept in memory in process as well, and is compared."""

    async def keep(ctx: NodeContext[Any]) -> int:
        reference = await ctx.blobs.put("large", b"x" * 20_000_000)
        return len(await ctx.blobs.get(reference))

    report = simulate(single(keep), runs=2, faults=())
    assert report.ok, str(report.violations[0])


def test_nothing_is_an_answer_too() -> None:
    """A wait that is answered with ``None`` goes on in the simulation as it does in process."""
    report = simulate(asking, answers={"first": None, "second": None}, runs=3, faults=())
    assert report.ok, str(report.violations[0])
