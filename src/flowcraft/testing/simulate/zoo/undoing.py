"""Runs that are cancelled at any moment, and undo what they did."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from flowcraft.core.builder import FlowBuilder, create_flow
from flowcraft.core.retry_policy import RetryPolicy
from flowcraft.engine.results import RunResult
from flowcraft.errors import InvalidRunState, RunNotFound
from flowcraft.testing.simulate.processes import Person
from flowcraft.testing.simulate.undoing import check_order
from flowcraft.testing.simulate.zoo.failures import bad, flaky
from flowcraft.testing.simulate.zoo.nodes import node, story
from flowcraft.testing.simulate.zoo.people import cancel, pause_and_go_on
from flowcraft.testing.simulate.zoo.shapes import count_up

UNDOING_SECONDS: Final = 90.0
"""About as long as the compensations of a run that fails take, with their retries."""

ORDER: Final[Mapping[str, tuple[str, ...]]] = {
    "undo_e": ("undo_a", "undo_b", "undo_c"),
    "undo_c": ("undo_a",),
    "undo_b": ("undo_a",),
}


def booked(last: Any) -> FlowBuilder:
    """Two ways that meet, all of which can be undone: at once, later, or not at all."""
    later = RetryPolicy(max_attempts=9, delay=20.0, jitter=False)
    flow = create_flow("booked").node("undo_a", flaky, uses="zoo_flaky_undo", retry=later)
    flow.node("undo_b", bad, uses="zoo_bad_undo").node("undo_c", node("c"))
    flow.node("undo_e", node("e"))
    for name in "abc":
        flow.node(name, node(name), compensate=f"undo_{name}")
    flow.sleep("s", "20s").node("e", node("e"), compensate="undo_e").node("last", last)
    flow.edge("a", "b").edge("a", "c").edge("c", "s").edge("b", "e").edge("s", "e")
    return flow.edge("e", "last")


def booked_in_rounds() -> FlowBuilder:
    """What is done in each round is undone for each."""
    flow = create_flow("booked_in_rounds").node("work", count_up, compensate="undo")
    flow.node("undo", node("u")).node("more", node("more")).edge("work", "more")
    flow.loop("again", "n < 3", start="work", end="more")
    return flow.node("before", node(0)).edge("before", "again")


def booked_below() -> FlowBuilder:
    """A child run that undoes what it did, and one that completed and is undone from above."""
    child = create_flow("booked_child").node("x", node("x"), compensate="undo_x")
    child.node("undo_x", node("ux")).sleep("s", "20s").edge("x", "s")
    done = create_flow("booked_done").node("y", node("y"))
    flow = create_flow("booked_below").subflow("c", child).node("undo_d", node("ud"))
    return flow.subflow("d", done, compensate="undo_d").edge("d", "c")


async def cancel_while_undoing(person: Person) -> None:
    """Cancel the run at any moment of the time in which it fails and undoes what it did."""
    await person.until(bool)
    await person.rest(person.chance.between(0.0, UNDOING_SECONDS))
    with suppress(InvalidRunState, RunNotFound):
        await person.insist(lambda: person.client.cancel_run(person.world.run_id))


def check(run: RunResult) -> None:
    """See that what was done first is undone last."""
    check_order(run, ORDER)


ENDS = ("cancelled", "completed")

STORIES = (
    story(
        "cancel-undone",
        lambda: booked(node("last")),
        people=(cancel,),
        is_settled=False,
        statuses=ENDS,
        check=check,
    ),
    story(
        "cancel-undoing",
        lambda: booked(bad),
        people=(cancel_while_undoing,),
        is_settled=False,
        statuses=("cancelled", "failed"),
        check=check,
    ),
    story("pause-undoing", lambda: booked(bad), people=(pause_and_go_on,), check=check),
    story(
        "cancel-undone-rounds",
        booked_in_rounds,
        context={"n": 0},
        people=(cancel,),
        is_settled=False,
        statuses=ENDS,
    ),
    story("cancel-undone-below", booked_below, people=(cancel,), is_settled=False, statuses=ENDS),
)
