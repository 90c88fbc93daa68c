"""What is given to a simulation: mistakes are named before anything runs."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from flowcraft import FlowRuntime, NodeContext, create_flow
from flowcraft.testing.simulate import Kind, SimulationError, simulate


async def work(_: NodeContext[Any]) -> int:
    """Do nothing."""
    return 1


def flow() -> Any:
    """A flow of one node."""
    return create_flow("own").node("work", work)


async def later(_: Any) -> None:
    """Look, some time."""
    raise AssertionError


class Later:
    """Something that is called, and awaited."""

    async def __call__(self, _: Any) -> None:
        raise AssertionError


def gives_what_is_awaited(run: Any) -> Any:
    """Look like a plain function."""
    return later(run)


@pytest.mark.parametrize(
    "check",
    [later, partial(later), Later(), gives_what_is_awaited],
    ids=["def", "partial", "call", "gives"],
)
def test_a_check_that_would_have_to_be_awaited_is_refused(check: Any) -> None:
    """Nobody awaits a check, so that an async one would never fail."""
    with pytest.raises(TypeError, match="check= has to be a plain function"):
        simulate(flow, runs=5, check=check)


def test_a_check_that_stumbles_is_a_violation() -> None:
    """A check that raises something else is a violation with its replay, and the rest goes on."""
    looked: list[Any] = []

    def check(run: Any) -> None:
        looked.append(run)
        if len(looked) % 10 == 0:
            raise KeyError("total")

    report = simulate(flow, runs=20, check=check)
    assert report.runs == 20
    assert report.violated > 0
    assert "check raised KeyError: 'total'" in str(report.violations[0])
    assert "replay=" in report.violations[0].replay


@pytest.mark.parametrize("is_settled", [None, False])
def test_a_check_that_fails_in_process_is_told_apart(is_settled: bool | None) -> None:
    """What is wrong without any fault is no violation: it says that it was the run in process."""

    def check(run: Any) -> None:
        assert run.outputs["work"] == 2, "not two"

    with pytest.raises(SimulationError, match=r"'own' in process, .* goes wrong: not two"):
        simulate(flow, runs=5, check=check, is_settled=is_settled)


@pytest.mark.parametrize(
    ("faults", "error", "text"),
    [
        (["crash"], ValueError, "There is no fault 'crash'"),
        ("crash-after", TypeError, "faults= is a list of kinds, not 'crash-after'"),
        (None, TypeError, "faults= is a list of kinds"),
        ([1], TypeError, "faults= has 1"),
    ],
)
def test_faults_that_there_are_not_are_refused(
    faults: Any, error: type[Exception], text: str
) -> None:
    """A kind of fault that nobody knows would never happen; those that there are are listed."""
    with pytest.raises(error, match=rf"{text}.* There are: crash-before, crash-after, lost"):
        simulate(flow, runs=5, faults=faults)


def test_faults_go_by_their_names() -> None:
    """A kind may be given as text."""
    faults: Any = ["crash-after", Kind.LOST]
    assert simulate(flow, runs=10, faults=faults).ok


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"runs": -1}, ValueError, "runs= is -1, and has to be at least 0"),
        ({"runs": "x"}, TypeError, "runs= is a whole number, not 'x'"),
        ({"runs": 2.5}, TypeError, "runs= is a whole number"),
        ({"seed": None}, TypeError, "seed= is a whole number, not None"),
        ({"seed": 1.5}, TypeError, "seed= is a whole number"),
        ({"seed": "x"}, TypeError, "seed= is a whole number"),
        ({"replay": "--graph other --seed 1 --one"}, ValueError, "a run of 'other', and the flow"),
        ({"new_backend": 3}, TypeError, "new_backend= is something that is called, not 3"),
        ({"statuses": "completed"}, TypeError, "statuses= is a list"),
        ({"statuses": ("done",)}, ValueError, "has 'done', as which no run ends"),
        ({"statuses": ()}, ValueError, "statuses= has empty"),
        ({"people": [print]}, TypeError, "people= has print, which is no async function"),
        ({"people": later}, TypeError, "people= is a list of async functions"),
        ({"shard_items": 0}, ValueError, "shard_items= is 0, and has to be at least 1"),
        ({"check": 3}, TypeError, "check= is something that is called, not 3"),
        ({"replay": 3}, TypeError, "replay= is a text, as a violation has it, not 3"),
        ({"context": 3}, TypeError, "context= is a mapping, not 3"),
        ({"answers": ["ok"]}, TypeError, "answers= is a mapping"),
        ({"runtime": 3}, TypeError, "runtime= is a FlowRuntime, not 3"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    options: Any, error: type[Exception], text: str
) -> None:
    """Each says which argument it is and what it has to be."""
    with pytest.raises(error, match=text):
        simulate(flow, **{"runs": 5} | options)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, "What is simulated is a flow, .* not None"),
        (3, "What is simulated is a flow, .* not 3"),
        (work, "work is no flow, and no function without arguments"),
        (FlowRuntime(), "The flow comes first"),
        (lambda: (flow(), FlowRuntime()), "gives the runtime first, and then the flow"),
        (lambda: 3, "the function that was given gave 3"),
    ],
)
def test_what_is_no_flow_is_refused(given: Any, text: str) -> None:
    """What is given in place of a flow is named, with what there may be."""
    with pytest.raises(TypeError, match=text):
        simulate(given, runs=5)
