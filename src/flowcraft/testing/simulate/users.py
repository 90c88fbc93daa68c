"""Simulating a workflow of one's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from typing import Any

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.engine.runtime import FlowRuntime, Runnable
from flowcraft.testing.simulate.answering import answer
from flowcraft.testing.simulate.backends import MemoryBackend, NewBackend
from flowcraft.testing.simulate.campaign import Report, campaign, run_all
from flowcraft.testing.simulate.faults import KINDS, Kind
from flowcraft.testing.simulate.options import read_scenario
from flowcraft.testing.simulate.own import OwnStory
from flowcraft.testing.simulate.scenario import Scenario
from flowcraft.testing.simulate.story import Check, Role, Story, Told

STATUSES = ("completed", "failed", "cancelled")

Subject = Runnable | Callable[[], Any]


def simulate(
    flow: Subject,
    *,
    context: Mapping[str, Any] | None = None,
    runtime: FlowRuntime | None = None,
    answers: Mapping[str, Any] | None = None,
    people: Sequence[Role] = (),
    runs: int = 200,
    seed: int = 1,
    faults: Collection[Kind] = KINDS,
    check: Check | None = None,
    is_settled: bool | None = None,
    statuses: Sequence[str] | None = None,
    shard_items: int = 500,
    replay: str | None = None,
    new_backend: NewBackend = MemoryBackend,
) -> Report:
    """Run a workflow many times while its workers crash, stall and lose answers.

    Time is virtual, and what happens is decided by the seed. Each run ends as it does in process,
    or the report has a violation; it also names the nodes that ran more than once, since what
    these do outside has to bear that. Nodes run as they are: a node that speaks to a service needs
    something in place of it, and waits with ``asyncio.sleep``.

    Args:
        flow: A flow, a blueprint, the id of one that ``runtime`` knows, or a function that gives
            one of these, or a runtime and one of these. A function is called for every run, so
            that what its nodes keep outside begins anew.
        context: The initial context.
        runtime: Knows nodes, blueprints and dependencies.
        answers: What waiting nodes are answered, by their id.
        people: What people do meanwhile: async functions that are given a :class:`Person`.
        runs: How many runs; up to half of them disturb one request each, one after the other.
        seed: Decides all of it.
        faults: What may happen.
        check: Looks at each run that is over; raises an ``AssertionError`` if something is wrong.
        is_settled: Whether every run comes to the same. By default it does where no node joins
            ``any``, and no people take part.
        statuses: How runs may end: the one in process, ``completed`` by default, and where not
            every run comes to the same the others, in any way by default.
        shard_items: Batches of more items than this are cut into shards.
        replay: Run only this, as a violation names it.
        new_backend: Makes the place for runs and messages.

    Raises:
        RuntimeError: An event loop is running.
        SimulationError: The workflow cannot be simulated: it uses what a simulation does not
            have (threads, the network, processes), or its run in process fails or never ends.
        ValueError: ``replay`` names no run.
    """
    _check_no_loop()
    story = story_of(
        flow,
        runtime,
        context=context,
        answers=answers,
        people=people,
        check=check,
        is_settled=is_settled,
        statuses=statuses,
        shard_items=shard_items,
    )
    story.truth  # noqa: B018 - refused before anything is simulated
    scenarios = campaign([story], runs, seed, tuple(faults), new_backend)
    if replay is not None:
        scenarios = iter([read_scenario(replay)])
    return run_all({story.name: story}, islice(scenarios, runs), new_backend, replay_of=_replay)


def story_of(
    flow: Subject,
    runtime: FlowRuntime | None = None,
    *,
    context: Mapping[str, Any] | None = None,
    answers: Mapping[str, Any] | None = None,
    people: Sequence[Role] = (),
    check: Check | None = None,
    is_settled: bool | None = None,
    statuses: Sequence[str] | None = None,
    shard_items: int = 500,
) -> Story:
    """The story of a workflow; takes what :func:`simulate` takes."""
    build = _builder(flow, runtime)
    told = Told(Story("?", build), build())
    if is_settled is None:
        is_settled = not people and not _joins_any(told)
    return OwnStory(
        told.blueprint.id,
        build,
        dict(context or {}),
        (*people, *([answer] if answers else [])),
        dict(answers or {}),
        is_settled,
        STATUSES if statuses is None else tuple(statuses),
        shard_items,
        check,
        may_end=("completed",) if statuses is None else tuple(statuses),
    )


def _replay(scenario: Scenario) -> str:
    return f'simulate(…, replay="{scenario}")'


def _check_no_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        "simulate() has an event loop of its own and cannot be called inside one that runs: call "
        "it from a plain test function."
    )


def _builder(
    flow: Subject, runtime: FlowRuntime | None
) -> Callable[[], tuple[FlowRuntime, Runnable]]:
    is_given = isinstance(flow, WorkflowBlueprint | Mapping | str) or hasattr(flow, "to_blueprint")

    def build() -> tuple[FlowRuntime, Runnable]:
        made: Any = flow if is_given else flow()  # type: ignore[operator]
        if isinstance(made, tuple):
            return made
        return runtime or FlowRuntime(), made

    return build


def _joins_any(told: Told) -> bool:
    blueprints = (told.blueprint, *told.runtime.blueprints.values())
    return any(node.config.join_strategy == "any" for each in blueprints for node in each.nodes)
