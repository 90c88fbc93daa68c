"""People who cancel, pause and go on, at any moment."""

from __future__ import annotations

from contextlib import suppress

from flowcraft.core.builder import FlowBuilder, create_flow
from flowcraft.errors import InvalidRunState, RunNotFound
from flowcraft.testing.simulate.answering import PATIENCE_SECONDS
from flowcraft.testing.simulate.processes import Person
from flowcraft.testing.simulate.zoo.nodes import node, passed_on, story
from flowcraft.testing.simulate.zoo.shapes import batch, lattice, subflow

TURNS = 400
"""About as many turns as a run takes, with all that is around it."""


def undoable() -> FlowBuilder:
    """A diamond, part of which can be undone, and a pause."""
    flow = create_flow("undoable").node("a", node(1), compensate="undo_a")
    flow.node("b", node(2), compensate="undo_b").node("c", node(3)).sleep("s", "30s")
    flow.node("d", node(passed_on)).node("undo_a", node("ua")).node("undo_b", node("ub"))
    return flow.edge("a", "b").edge("a", "c").edge("c", "s").edge("b", "d").edge("s", "d")


# --- what they do, until it succeeds or comes too late -------------------------------------


async def cancel_now(person: Person) -> None:
    """Cancel the run, unless it is over, or gone."""
    with suppress(InvalidRunState, RunNotFound):
        await person.insist(lambda: person.client.cancel_run(person.world.run_id))


async def pause_now(person: Person) -> None:
    """Pause the run, unless it is over, or gone."""
    with suppress(InvalidRunState, RunNotFound):
        await person.insist(lambda: person.client.pause_run(person.world.run_id))


async def go_on_now(person: Person) -> None:
    """Let the run go on, unless somebody else did."""
    with suppress(InvalidRunState):
        await person.insist(lambda: person.client.continue_run(person.world.run_id))


async def keep_going(person: Person) -> None:
    """Let the run go on each time that it is found paused, until it is over."""
    # Whoever paused it may have died: then it is still for somebody to let it go on.
    while await person.until(lambda run: str(run.status) == "paused"):
        await go_on_now(person)
        await person.rest(PATIENCE_SECONDS)


async def reconcile_now(person: Person) -> None:
    """Have all that is outstanding sent again."""
    client = person.client
    await person.insist(lambda: client.reconcile(stalled_threshold_seconds=0.0, force=True))


# --- when they do it -----------------------------------------------------------------------


async def cancel(person: Person) -> None:
    """Cancel the run at any moment."""
    await person.linger(person.chance.below(TURNS))
    await cancel_now(person)


async def pause_and_go_on(person: Person) -> None:
    """Pause the run at any moment, and let it go on."""
    await person.linger(person.chance.below(TURNS))
    await pause_now(person)
    await person.linger(person.chance.below(TURNS))
    if person.chance.happens(0.5):
        await person.rest(person.chance.between(0.0, 60.0))
    await keep_going(person)


async def pause_once(person: Person) -> None:
    """Pause the run at any moment, and let it go on once: what comes late must not pause it."""
    await person.linger(person.chance.below(TURNS))
    await pause_now(person)
    if await person.until(lambda run: str(run.status) != "running", every_seconds=0.5):
        await go_on_now(person)


async def reconcile(person: Person) -> None:
    """Have all that is outstanding sent again, at any moment."""
    await person.linger(person.chance.below(TURNS))
    await reconcile_now(person)


async def cancel_anywhere(person: Person) -> None:
    """Cancel the run at any request that anybody makes, those after a pause among them."""
    if await person.any_moment():
        await cancel_now(person)


async def pause_anywhere(person: Person) -> None:
    """Pause the run at any request that anybody makes, and let it go on at another one."""
    if await person.any_moment():
        await pause_now(person)
        await person.rest(person.chance.pick((0.0, 0.0, 5.0, 60.0)))
    await keep_going(person)


async def reconcile_anywhere(person: Person) -> None:
    """Have all that is outstanding sent again, at any request that anybody makes."""
    if await person.any_moment():
        await reconcile_now(person)


ENDS = ("cancelled", "completed")

STORIES = (
    story("cancel", undoable, people=(cancel,), is_settled=False, statuses=ENDS),
    story("cancel-lattice", lattice, people=(cancel,), is_settled=False, statuses=ENDS),
    story("cancel-below", subflow, people=(cancel,), is_settled=False, statuses=ENDS),
    story(
        "cancel-shards",
        batch,
        people=(cancel,),
        is_settled=False,
        statuses=ENDS,
        shard_items=2,
    ),
    story("pause", undoable, people=(pause_and_go_on,)),
    story("pause-once", undoable, people=(pause_once,)),
    story("pause-below", subflow, people=(pause_and_go_on,)),
    story("pause-shards", batch, people=(pause_and_go_on,), shard_items=2),
    story(
        "pause-cancel",
        undoable,
        people=(pause_and_go_on, cancel),
        is_settled=False,
        statuses=ENDS,
    ),
    story("reconcile", undoable, people=(reconcile,)),
    story("reconcile-shards", batch, people=(reconcile,), shard_items=2),
    story("cancel-anywhere", undoable, people=(cancel_anywhere,), is_settled=False, statuses=ENDS),
    story(
        "cancel-below-anywhere",
        subflow,
        people=(cancel_anywhere,),
        is_settled=False,
        statuses=ENDS,
    ),
    story(
        "cancel-shards-anywhere",
        batch,
        people=(cancel_anywhere,),
        is_settled=False,
        statuses=ENDS,
        shard_items=2,
    ),
    story("pause-anywhere", undoable, people=(pause_anywhere,)),
    story("pause-shards-anywhere", batch, people=(pause_anywhere,), shard_items=2),
    story("reconcile-anywhere", undoable, people=(reconcile_anywhere,)),
)
