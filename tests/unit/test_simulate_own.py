"""Simulating a workflow of one's own: what is refused, and why."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flowcraft import Node, NodeContext, create_flow
from flowcraft.testing.simulate import Kind, SimulationError, simulate

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
