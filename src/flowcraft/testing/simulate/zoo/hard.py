"""Runs that are harder than most: a run id used again, nobody there for long, a moody evaluator."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from flowcraft.core.builder import FlowBuilder, create_flow
from flowcraft.core.expressions import SafeEvaluator
from flowcraft.engine.runtime import FlowRuntime, Runnable
from flowcraft.errors import RunNotFound
from flowcraft.ports.runs import Change, Claim
from flowcraft.testing.simulate.answering import PATIENCE_SECONDS
from flowcraft.testing.simulate.processes import LEASE_SECONDS, STALLED_SECONDS, Person
from flowcraft.testing.simulate.story import Story
from flowcraft.testing.simulate.zoo.deleted import delete
from flowcraft.testing.simulate.zoo.long import sleeping_for
from flowcraft.testing.simulate.zoo.nodes import node, passed_on, story
from flowcraft.testing.simulate.zoo.people import TURNS, cancel_now, go_on_now, pause_now
from flowcraft.testing.simulate.zoo.shapes import chain, count_up, fan
from flowcraft.testing.simulate.zoo.times import sleeping_beside

WAYS: Final = 48
LOOKS: Final = 60
LOOK_SECONDS: Final = 60.0
AWAY_SECONDS: Final = 8 * 3600.0
MOST_DEATHS: Final = 5
"""Whoever looks begins anew after each death."""


def broad() -> FlowBuilder:
    """Many ways that meet: what is sent once too often for each of them is seen."""
    flow = create_flow("broad").node("a", node(1)).node("z", node(lambda c: len(c.input)))
    for number in range(WAYS):
        name = f"b{number}"
        flow.node(name, node(passed_on)).edge("a", name).edge(name, "z")
    return flow


async def start_again(person: Person) -> None:
    """Cancel and delete the run at any moment, and start another one under its id."""
    world, client = person.world, person.client
    if not world.is_deleting:  # otherwise somebody died of it
        await person.until(bool)
        await person.linger(person.chance.below(TURNS))
        await cancel_now(person)
        await person.linger(person.chance.below(TURNS))
        world.is_deleting = True
    with suppress(RunNotFound):
        await person.insist(lambda: client.delete_run(world.run_id, force=True))
    await person.insist(lambda: client.start_run(world.told.blueprint, {}, run_id=world.run_id))


async def nobody_works(person: Person) -> None:
    """Stop all workers for an hour, while somebody looks for stuck runs all the time."""
    await person.until(bool)
    await person.linger(person.chance.below(TURNS))
    for worker in person.world.workers:
        if not worker.life.is_dead:
            worker.life.stall(LOOKS * LOOK_SECONDS)
    for _ in range(LOOKS):
        await person.rest(LOOK_SECONDS)
        look = partial(person.client.reconcile, stalled_threshold_seconds=STALLED_SECONDS)
        await person.insist(look)


async def nobody_is_there(person: Person) -> None:
    """Stop all workers for longer than the timers of the run are away."""
    await person.until(lambda run: str(run.status) == "awaiting")
    for worker in person.world.workers:
        if not worker.life.is_dead:
            worker.life.stall(AWAY_SECONDS)
    await person.rest(AWAY_SECONDS)


async def claim_late(person: Person) -> None:
    """Pause the run; a claim that somebody gave up long ago is carried out; let it go on."""
    world = person.world
    await person.linger(person.chance.below(TURNS))
    await pause_now(person)
    while await person.until(lambda run: str(run.status) == "paused"):
        ledger = await (await world.client._opened()).read(world.run_id)
        assert ledger is not None
        for key in ledger.state.ready:
            place = f"{key}/{ledger.state.records[key].attempt + 1}"
            claim = Claim(place, "late", "gone", LEASE_SECONDS)
            late = Change(ledger.run_id, ledger.epoch, ledger.number, "gone", claim=claim)
            if (await world.ports.runs.write(late)).granted:
                person.life.harm()
        await go_on_now(person)
        await person.rest(PATIENCE_SECONDS)


def rounds() -> FlowBuilder:
    """A child run in each of some rounds."""
    child = create_flow("rounds_child").node("x", node(1)).sleep("s", "3s").node("y", node(2))
    child.edge("x", "s").edge("s", "y")
    flow = create_flow("rounds").node("first", count_up).subflow("c", child).edge("first", "c")
    flow.node("more", node("more")).edge("c", "more")
    return flow.loop("again", "n < 6", start="first", end="more")


class Moody:
    """An evaluator that gives something else each time that it is asked the same."""

    def __init__(self) -> None:
        self._evaluator = SafeEvaluator()
        self._asked = 0

    def evaluate(self, expression: str, scope: Mapping[str, Any]) -> Any:
        """The value of an expression, or what it is not."""
        self._asked += 1
        value = self._evaluator.evaluate(expression, scope)
        return not value if self._asked % 3 == 0 else value


def moody() -> tuple[FlowRuntime, Runnable]:
    """A batch, and two ways behind it that are taken as the evaluator is disposed."""
    flow = create_flow("moody").node("list", node([1, 2, 3, 4]))
    flow.batch("b", node(lambda c: c.input), uses="zoo_moody").edge("list", "b")
    for name in ("yes", "no"):
        flow.node(name, node(name)).edge("b", name, condition="result.output")
    return FlowRuntime(flows=[flow], evaluator=Moody()), flow.to_blueprint()


STORIES = (
    story("broad", broad),
    story("again", sleeping_beside, people=(start_again,), starts=2),
    Story(
        "backlog",
        story("backlog", fan).build,
        people=(nobody_works,),
        lasts_seconds=MOST_DEATHS * LOOKS * LOOK_SECONDS,
    ),
    Story(
        "away",
        story("away", lambda: sleeping_for("2h")).build,
        people=(nobody_is_there,),
        lasts_seconds=AWAY_SECONDS,
    ),
    story("late-claim", chain, people=(claim_late,)),
    story(
        "delete-rounds",
        rounds,
        context={"n": 0},
        people=(delete,),
        is_settled=False,
        is_deleted=True,
    ),
    Story("moody", moody, is_settled=False),
)
"""Simulated when they are named: each is about one thing only."""
