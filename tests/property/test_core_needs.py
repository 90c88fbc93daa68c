"""What a run may still carry out: never too little, and nothing that is settled for good."""

from __future__ import annotations

import random

from hypothesis import given, settings

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from flowcraft.core.needs import needed_nodes, needed_uses, uses_of
from flowcraft.core.plan import index_of_key
from flowcraft.core.state import SETTLED
from flowcraft.engine.places import node_index_of
from tests.property.drive import Run, blueprint, edge, node
from tests.property.graphs import SEEDS, WITHOUT_SHRINKING, Case, check_smallest
from tests.property.play import mixed_case, next_event, start_mixed

laws = settings(max_examples=2 * settings().max_examples, phases=WITHOUT_SHRINKING)

STOPPED = 0.02
"""How likely a run is cancelled at any of its steps."""


def begun(run: Run) -> set[int]:
    """The nodes that the last decision let begin."""
    commands = (cmd.RunNode, cmd.RunItem, cmd.RunUndo)
    nodes = {node_index_of(each) for each in run.commands if isinstance(each, commands)}
    shards = (cmd.StartChild, cmd.StartShard)
    return nodes | {index_of_key(each.key) for each in run.commands if isinstance(each, shards)}


@given(SEEDS)
@laws
def test_nothing_begins_that_was_not_said_to_be_needed(seed: int) -> None:
    """Whatever happens: what begins was needed before, or was added just now (so it holds for
    all that is said of a run at any time, as what is needed only gets less)."""

    def check(case: Case) -> None:
        chance = random.Random(case.seed)
        run = start_mixed(case, shard_size=chance.choice([None, 2]))
        while True:
            needed, known = needed_nodes(run.plan, run.state), len(run.plan.nodes)
            event = next_event(run, case, chance)
            if event is None:
                break
            if chance.random() < STOPPED and run.state.stopping is None:
                event = ev.CancelRequested(None)
            run.send(event)
            added = set(range(known, len(run.plan.nodes)))
            assert begun(run) <= needed | added, event
            assert needed_nodes(run.plan, run.state) <= needed | added, event
        if run.state.status.is_final:
            assert needed_nodes(run.plan, run.state) == frozenset()

    check_smallest(mixed_case(seed), check)


@given(SEEDS)
@laws
def test_what_is_settled_for_good_is_needed_no_more(seed: int) -> None:
    """A node outside of loops that was settled, whose items too are done, is not named, unless it
    is to undo something."""

    def check(case: Case) -> None:
        chance = random.Random(case.seed)
        run = start_mixed(case)
        undoing = {each.compensate for each in run.plan.nodes}
        while (event := next_event(run, case, chance)) is not None:
            run.send(event)
            scattered = {
                index_of_key(key)
                for key, batch in run.state.batches.items()
                if batch.done < len(batch.items)
            }
            settled = {
                key
                for key, record in run.state.records.items()
                if isinstance(key, int) and record.status in SETTLED
            }
            gone = settled - scattered - undoing
            assert not gone & needed_nodes(run.plan, run.state), event

    check_smallest(mixed_case(seed), check)


def _run() -> Run:
    nodes = [
        node("a", "shop.a", compensate="undo"),
        node("b", "shop.b", fallback="spare"),
        node("other", "shop.other"),
        node("spare", "shop.spare"),
        node("c", "shop.c"),
        node("undo", "shop.undo"),
        node("each", "batch-scatter", params={"workerUsesKey": "shop.item", "gatherNodeId": "all"}),
        node("all", "batch-gather", params={"gatherNodeId": "all"}),
    ]
    edges = [
        edge("a", "b", "yes"),
        edge("a", "other", "no"),
        edge("b", "c"),
        edge("c", "each"),
        edge("each", "all"),
    ]
    return Run(blueprint(nodes, edges)).start()


def test_a_branch_that_was_not_chosen_is_needed_no_more() -> None:
    """What no way leads to any more, and what is done, needs no implementation."""
    run = _run()
    everything = {f"shop.{name}" for name in ("a", "b", "other", "spare", "c", "undo", "item")}
    assert uses_of(run.plan) == everything
    assert needed_uses(run.plan, run.state) == everything
    run.ok("a", action="yes")
    assert needed_uses(run.plan, run.state) == everything - {"shop.a", "shop.other"}
    run.ok("b")
    assert needed_uses(run.plan, run.state) == {"shop.c", "shop.item", "shop.undo"}


def test_a_run_that_stops_needs_what_undoes_it() -> None:
    """Nothing begins any more in a run that is cancelled but what undoes what was done."""
    run = _run()
    run.ok("a", action="yes")
    run.send(ev.CancelRequested(None))
    assert needed_uses(run.plan, run.state) == {"shop.b", "shop.undo"}
    run.send(ev.NodeStopped(run.key("b"), 1))
    assert needed_uses(run.plan, run.state) == {"shop.undo"}
    run.send(ev.UndoSettled(run.key("a"), 1, None))
    assert needed_uses(run.plan, run.state) == frozenset()
