"""Laws that hold for every run: whatever the order, the interruptions and the repetitions."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import replace
from typing import Any

from hypothesis import given, settings

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.decide import decide
from flowcraft.core.lint import lint_blueprint
from flowcraft.core.state import RunState, apply
from flowcraft.engine.saved import read_state, restore_plan, state_data
from flowcraft.errors import InvalidRunState
from tests.property.drive import Run, copy_state, state_values, unchanged
from tests.property.graphs import (
    FLAGS,
    SEEDS,
    WITHOUT_SHRINKING,
    Case,
    case_of,
    check_smallest,
    next_completion,
    run_to_end,
)
from tests.property.play import LIMIT, ends, mixed_case, next_event, play, start_mixed

laws = settings(max_examples=2 * settings().max_examples, phases=WITHOUT_SHRINKING)


def plain_data(state: RunState) -> Any:
    """A state as a value of its own, down to the last list in it."""
    return copy.deepcopy(state_data(state))


@given(SEEDS)
@laws
def test_every_run_comes_to_an_end(seed: int) -> None:
    """Whatever happens in whatever order, a run ends and leaves nothing half done (S5)."""

    def check(case: Case) -> None:
        run = play(start_mixed(case), case, random.Random(case.seed))
        assert run.state.status.is_final

    check_smallest(mixed_case(seed), check)


@given(SEEDS)
@laws
def test_the_same_event_twice_changes_nothing(seed: int) -> None:
    """A repeated event is recognised: no changes, no commands, nothing to tell."""

    def check(case: Case) -> None:
        run, chance = start_mixed(case), random.Random(case.seed)
        while (event := next_event(run, case, chance)) is not None:
            run.send(event)
            again = run.send(event)
            assert unchanged(again), event
            assert not again.commands, event
            assert not again.notes, event

    check_smallest(mixed_case(seed), check)


@given(SEEDS)
@laws
def test_late_events_change_nothing(seed: int) -> None:
    """Whatever happened once can be reported again at the end, in any order, to no effect."""

    def check(case: Case) -> None:
        run, chance = start_mixed(case), random.Random(case.seed)
        past: list[ev.Event] = []
        while (event := next_event(run, case, chance)) is not None:
            run.send(event)
            for late in chance.sample(past, min(3, len(past))):
                decision = run.send(late)
                assert unchanged(decision), late
                assert not decision.commands, late
            # A child may rest, work and rest again: that is no repetition.
            if not isinstance(event, ev.ChildRests):
                past.append(event)

    check_smallest(mixed_case(seed), check)


@given(SEEDS)
@laws
def test_deciding_writes_to_nothing(seed: int) -> None:
    """``decide`` leaves the state as it is, and decides the same when asked the same again."""

    def check(case: Case) -> None:
        run, chance = start_mixed(case), random.Random(case.seed)
        while (event := next_event(run, case, chance)) is not None:
            before = plain_data(run.state)
            first = decide(run.plan, run.state, event, run.now)
            second = decide(run.plan, run.state, event, run.now)
            assert plain_data(run.state) == before
            assert first.commands == second.commands
            one, other = copy_state(run.state), copy_state(run.state)
            apply(one, first.changes)
            apply(other, second.changes)
            assert state_values(one) == state_values(other)
            run.send(event)

    check_smallest(mixed_case(seed), check)


@given(SEEDS)
@laws
def test_the_short_way_decides_the_same(seed: int) -> None:
    """What is decided in fewer steps for simple nodes is what the full way decides."""

    def check(case: Case) -> None:
        run, chance = start_mixed(case), random.Random(case.seed)
        while (event := next_event(run, case, chance)) is not None:
            full = replace(
                run.plan, nodes=tuple(replace(node, straight=False) for node in run.plan.nodes)
            )
            one, other = copy_state(run.state), copy_state(run.state)
            short = decide(run.plan, run.state, event, run.now)
            long = decide(full, run.state, event, run.now)
            apply(one, short.changes)
            apply(other, long.changes)
            assert short.commands == long.commands
            assert short.notes == long.notes
            assert list(short.changes.records) == list(long.changes.records)
            assert state_values(one) == state_values(other)
            run.send(event)

    check_smallest(mixed_case(seed), check)


@given(SEEDS)
@laws
def test_the_order_of_completions_does_not_matter(seed: int) -> None:
    """Without loops and `any` joins each order gives the same statuses, inputs and outputs."""

    def check(case: Case) -> None:
        runs = [
            run_to_end(Run(case.document).start(FLAGS), case, random.Random(case.seed + order))
            for order in range(4)
        ]
        for run in runs[1:]:
            assert run.status == runs[0].status
            assert sorted(run.errors) == sorted(runs[0].errors)
            assert run.inputs() == runs[0].inputs()
            for key, record in run.state.records.items():
                assert record == runs[0].state.records[key]._replace(
                    fired=record.fired, origin=record.origin
                )

    check_smallest(case_of(seed, cycles=False, anys=False), check)


@given(SEEDS)
@laws
def test_the_order_of_completions_does_not_matter_for_what_runs(seed: int) -> None:
    """With loops and `any` joins each order still runs and skips the same instances."""

    def check(case: Case) -> None:
        runs = [
            run_to_end(
                Run(case.document).start(FLAGS, max_executions=LIMIT),
                case,
                random.Random(case.seed + order),
            )
            for order in range(3)
        ]
        if max(run.state.executions for run in runs) < LIMIT and not _controlled(case):
            for run in runs[1:]:
                assert ends(run.state) == ends(runs[0].state)
                assert run.status == runs[0].status

    check_smallest(case_of(seed), check)


def _controlled(case: Case) -> bool:
    """Whether a loop controller reads its input, which may depend on who was first."""
    return any(each["uses"] == "loop-controller" for each in case.document["nodes"])


@given(SEEDS)
@laws
def test_a_saved_run_goes_on_as_if_nothing_had_happened(seed: int) -> None:
    """A run written as JSON in the middle and read again ends like the one that went on."""

    def check(case: Case) -> None:
        run = play(start_mixed(case), case, random.Random(case.seed), steps=seed % 12)
        text = json.dumps(state_data(run.state))
        other = Run(case.document)
        other.state, other.now = read_state(json.loads(text)), run.now
        other.plan = restore_plan(other.plan, other.state)
        assert state_values(other.state) == state_values(run.state)
        other.open = list(decide(other.plan, other.state, ev.LookedAt(), other.now).commands)
        other.open.sort(key=repr)
        run.open.sort(key=repr)
        for each in (run, other):
            play(each, case, random.Random(case.seed + 1))
        assert state_values(other.state) == state_values(run.state)

    check_smallest(mixed_case(seed), check)


@given(SEEDS)
@laws
def test_a_run_can_be_cancelled_at_any_moment(seed: int) -> None:
    """A cancelled run starts nothing new, and is `cancelled` when what ran is gone (S14)."""

    def check(case: Case) -> None:
        chance = random.Random(case.seed)
        run = play(start_mixed(case), case, chance, steps=seed % 12)
        if run.state.status.is_final:
            return
        ended = run.state.stopping
        run.send(ev.CancelRequested("enough"))
        begun = run.state.executions
        while (event := next_event(run, case, chance)) is not None:
            run.send(event)
            assert not any(isinstance(c, cmd.RunNode | cmd.RunItem) for c in run.commands)
        assert run.state.executions == begun
        assert run.status == str(ended or "cancelled")
        assert not any(r.status in OPEN_STATUSES for r in run.state.records.values())

    check_smallest(mixed_case(seed), check)


OPEN_STATUSES = ("running", "retrying", "waiting", "sleeping", "child", "ready")


@given(SEEDS)
@laws
def test_a_pause_changes_when_things_run_and_nothing_else(seed: int) -> None:
    """A run that is paused and continued at any moment runs the same instances (S14)."""

    def check(case: Case) -> None:
        straight = run_to_end(Run(case.document).start(FLAGS), case, random.Random(case.seed))
        chance = random.Random(case.seed)
        run = Run(case.document).start(FLAGS)
        for _ in range(seed % 5):
            if (event := next_completion(run, case, chance)) is not None:
                run.send(event)
        run.send(ev.PauseRequested())
        begun = run.state.executions
        run_to_end(run, case, chance)
        assert run.state.executions == begun
        assert run.state.status.is_final or run.status == "paused"
        run.send(ev.ContinueRequested())
        run_to_end(run, case, chance)
        assert ends(run.state) == ends(straight.state)
        assert run.status == straight.status

    check_smallest(case_of(seed, cycles=False), check)


@given(SEEDS)
@laws
def test_mixed_runs_survive_pauses(seed: int) -> None:
    """Pausing and continuing again and again never leaves a run with nothing to do."""

    def check(case: Case) -> None:
        run, chance = start_mixed(case), random.Random(case.seed)
        while not run.state.status.is_final:
            run.send(ev.PauseRequested() if chance.random() < 0.5 else ev.ContinueRequested())
            event = next_event(run, case, chance)
            run.send(event or ev.ContinueRequested())

    check_smallest(mixed_case(seed), check)


@given(SEEDS)
@laws
def test_runs_survive_what_people_ask(seed: int) -> None:
    """Retrying and skipping at any moment is refused with a reason, or the run still ends (S14)."""

    def check(case: Case) -> None:
        run, chance = start_mixed(case), random.Random(case.seed)
        retry: ev.Event = ev.RetryRequested()
        asked = 0
        while (event := next_event(run, case, chance)) is not None:
            if run.state.records and asked < 20 and chance.random() < 0.3:
                key = chance.choice(list(run.state.records))
                ask(run, chance.choice([retry, ev.SkipRequested(key, {"go": False})]))
                asked += 1
            else:
                run.send(event)
        assert run.state.status.is_final
        failed = any(r.status == "failed" for r in run.state.records.values())
        assert failed <= bool(run.state.errors)

    check_smallest(mixed_case(seed), check)


def ask(run: Run, event: ev.Event) -> None:
    """Ask for something that may be refused; then nothing has changed."""
    before = plain_data(run.state)
    try:
        run.send(event)
    except InvalidRunState:
        assert plain_data(run.state) == before


@given(SEEDS)
@laws
def test_fail_fast_starts_nothing_after_the_first_failure(seed: int) -> None:
    """Under `fail_fast` the first failure that stands stops the run, which ends `failed` (S4)."""

    def check(case: Case) -> None:
        run, chance = start_mixed(case, fail_fast=True), random.Random(case.seed)
        while (event := next_event(run, case, chance)) is not None:
            stopping = run.state.stopping is not None
            assert stopping is bool(run.state.errors)
            run.send(event)
            if stopping:
                assert not any(isinstance(c, cmd.RunNode | cmd.RunItem) for c in run.commands)
        assert run.status == ("failed" if run.state.errors else "completed")

    check_smallest(mixed_case(seed), check)


@given(SEEDS)
@laws
def test_no_run_starts_more_nodes_than_its_limit(seed: int) -> None:
    """A run fails at its limit, and only a run that needs more than its limit does (S10)."""

    def check(case: Case) -> None:
        free = run_to_end(Run(case.document).start(FLAGS), case, random.Random(case.seed))
        needed = free.state.executions
        for limit in (max(0, needed - 1), needed):
            run = Run(case.document).start(FLAGS, max_executions=limit)
            run_to_end(run, case, random.Random(case.seed))
            over = any(each.type == "LimitExceeded" for each in run.state.errors)
            assert over is (limit < needed)
            assert run.state.executions == limit
            assert run.status == ("failed" if over else free.status)

    check_smallest(case_of(seed, cycles=False), check)


@given(SEEDS)
@laws
def test_compensations_run_in_reverse_order_of_completion(seed: int) -> None:
    """What was completed and can be undone is undone once, the last one first (S19)."""

    def check(case: Case) -> None:
        run, chance = start_mixed(case), random.Random(case.seed)
        undone = []
        while (event := next_event(run, case, chance)) is not None:
            run.send(event)
            undone += [
                c.target for c in run.commands if isinstance(c, cmd.RunUndo) and c.attempt == 1
            ]
        expected = list(reversed(run.state.completed)) if run.status != "completed" else []
        assert undone == expected
        assert all(undo.succeeded is not None for undo in run.state.undos.values())

    check_smallest(mixed_case(seed), check)


@given(SEEDS)
@laws
def test_a_blueprint_written_as_json_is_the_same_blueprint(seed: int) -> None:
    """Reading what was written gives an equal blueprint, for which the core decides the same."""
    case = mixed_case(seed)
    first = WorkflowBlueprint.from_dict(case.document)
    again = WorkflowBlueprint.from_dict(json.loads(first.to_json()))
    assert again == first
    runs = []
    for document in (case.document, json.loads(first.to_json())):
        run = start_mixed(Case(document, case.kinds, case.seed))
        runs.append(play(run, case, random.Random(seed)))
    assert state_values(runs[0].state) == state_values(runs[1].state)


@given(SEEDS)
@laws
def test_a_blueprint_without_findings_ends(seed: int) -> None:
    """What lint lets pass ends, once its conditions are false and its actions not returned."""

    def check(case: Case) -> None:
        if lint_blueprint(case.document).is_valid:
            run = Run(case.document).start(FLAGS, max_executions=None)
            chance = random.Random(case.seed)
            while (event := next_completion(run, case, chance)) is not None:
                run.send(event)
                assert run.state.executions < ENDLESS
            assert run.state.status.is_final

    check_smallest(_careless(case_of(seed)), check)


ENDLESS = 5_000
"""Executions that no graph of this size needs."""


def _careless(case: Case) -> Case:
    """The case with edges that lost their condition or action, some of them back edges."""
    chance = random.Random(case.seed)
    edges = []
    for each in case.document["edges"]:
        kept = {"source": each["source"], "target": each["target"]}
        # Flags never change, while lint supposes that every condition becomes false.
        lasting = each.get("condition") in FLAGS
        edges.append(kept if lasting or chance.random() < 0.3 else each)
    return replace(case, document=case.document | {"edges": edges})
