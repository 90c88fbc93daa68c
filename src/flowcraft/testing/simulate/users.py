"""Simulating a workflow of one's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.engine.runtime import FlowRuntime, Runnable
from flowcraft.testing.simulate.answering import answer
from flowcraft.testing.simulate.backends import MemoryBackend, NewBackend
from flowcraft.testing.simulate.campaign import Report, campaign, run_all
from flowcraft.testing.simulate.faults import KINDS, Kind
from flowcraft.testing.simulate.given import (
    STATUSES,
    check_call,
    check_check,
    check_flow,
    check_mapping,
    check_people,
    checked_kinds,
    checked_number,
    checked_pair,
    checked_statuses,
)
from flowcraft.testing.simulate.options import read_scenario
from flowcraft.testing.simulate.own import OwnStory
from flowcraft.testing.simulate.scenario import Scenario
from flowcraft.testing.simulate.story import Check, Role, Story, Told

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
    or the report has a violation. It also names the nodes that ran more than once (``repeated``),
    since what these do outside has to bear that, and those that never did (``untried``). Nodes run
    as they are: a node that speaks to a service needs something in place of it, and waits with
    ``asyncio.sleep``.

    Args:
        flow: A flow, a blueprint, the id of one that ``runtime`` knows, or a function that gives
            one of these, or a runtime and one of these. A function is called for every run, so
            that what its nodes keep outside begins anew.
        context: The initial context.
        runtime: Knows nodes, blueprints and dependencies.
        answers: What waiting nodes are answered, by their id.
        people: What people do meanwhile: async functions that are given a :class:`Person`.
        runs: How many runs. First there is one for each node that dies with its body done and the
            result not stored; up to half disturb one request each; the others have any faults.
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
        TypeError: An argument is not what it has to be.
        ValueError: A number, a kind of fault or a status is none of those there may be, or
            ``replay`` names no run of this flow.
    """
    _check_no_loop()
    kinds = checked_kinds(faults)
    checked_number("runs", runs, 0)
    checked_number("seed", seed)
    check_call("new_backend", new_backend)
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
    # Where people steer a run, what it comes to without them may be anything.
    story = replace(story, is_checked_first=not people)
    story.truth  # noqa: B018 - refused before anything is simulated
    scenarios = campaign([story], runs, seed, kinds, new_backend)
    if replay is not None:
        scenarios = iter([_replayed(replay, story.name)])
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
) -> OwnStory:
    """The story of a workflow; takes what :func:`simulate` takes."""
    check_flow(flow, runtime)
    check_mapping("context", context)
    check_mapping("answers", answers)
    check_people(people)
    check_check(check)
    checked_number("shard_items", shard_items, 1)
    may_end = ("completed",) if statuses is None else checked_statuses(statuses)
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
        STATUSES if statuses is None else may_end,
        shard_items,
        check,
        may_end=may_end,
    )


def _replayed(replay: Any, name: str) -> Scenario:
    if not isinstance(replay, str):
        raise TypeError(f"replay= is a text, as a violation has it, not {replay!r}.")
    scenario = read_scenario(replay)
    if scenario.graph != name:
        raise ValueError(f"replay= is a run of '{scenario.graph}', and the flow is '{name}'.")
    return scenario


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
        return checked_pair(made, runtime)

    return build


def _joins_any(told: Told) -> bool:
    blueprints = (told.blueprint, *told.runtime.blueprints.values())
    return any(node.config.join_strategy == "any" for each in blueprints for node in each.nodes)
