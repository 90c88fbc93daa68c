"""Runs that somebody deletes at any moment, over or not: nothing is left of them."""

from __future__ import annotations

from contextlib import suppress

from flowcraft.core.builder import FlowBuilder, create_flow
from flowcraft.errors import RunNotFound
from flowcraft.testing.simulate.processes import Person
from flowcraft.testing.simulate.zoo.long import sleeping_below
from flowcraft.testing.simulate.zoo.nodes import node, passed_on, story
from flowcraft.testing.simulate.zoo.people import TURNS
from flowcraft.testing.simulate.zoo.shapes import batch


def family() -> FlowBuilder:
    """A child run, beside a pause, and work behind both."""
    child = create_flow("family_child").node("x", node(1)).sleep("s", "5s").node("y", node(2))
    child.edge("x", "s").edge("s", "y")
    flow = create_flow("deleted_family").node("a", node(1)).subflow("c", child).sleep("p", "20s")
    return flow.node("b", node(passed_on)).edge("a", "c").edge("a", "p").edge("c", "b")


async def delete(person: Person) -> None:
    """Delete the run, at any moment after its start."""
    if not person.world.is_deleting:  # otherwise somebody died of it, who may have come to the end
        await person.until(bool)
        await person.linger(person.chance.below(TURNS))
        if person.chance.happens(0.5):
            await person.rest(person.chance.between(0.0, 40.0))
    person.world.is_deleting = True
    with suppress(RunNotFound):
        await person.insist(lambda: person.client.delete_run(person.world.run_id, force=True))


STORIES = (
    story("delete", family, people=(delete,), is_settled=False, is_deleted=True),
    story(
        "delete-shards",
        batch,
        people=(delete,),
        is_settled=False,
        shard_items=2,
        is_deleted=True,
    ),
    story("delete-days", sleeping_below, people=(delete,), is_settled=False, is_deleted=True),
)
