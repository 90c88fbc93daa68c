"""Runs that are cancelled at any moment, and undo what they did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flowcraft.core.builder import FlowBuilder, create_flow
from flowcraft.core.retry_policy import RetryPolicy
from flowcraft.engine.results import RunResult
from flowcraft.testing.simulate.undoing import check_order
from flowcraft.testing.simulate.zoo.failures import bad, flaky
from flowcraft.testing.simulate.zoo.nodes import node, story
from flowcraft.testing.simulate.zoo.people import ENDS, cancel_anywhere, pause_anywhere
from flowcraft.testing.simulate.zoo.shapes import count_up

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


def check(run: RunResult) -> None:
    """See that what was done first is undone last."""
    check_order(run, ORDER)


STORIES = (
    story(
        "cancel-undone",
        lambda: booked(node("last")),
        people=(cancel_anywhere,),
        is_settled=False,
        statuses=ENDS,
        check=check,
    ),
    story(
        "cancel-undoing",
        lambda: booked(bad),
        people=(cancel_anywhere,),
        is_settled=False,
        statuses=("cancelled", "failed"),
        check=check,
    ),
    story("pause-undoing", lambda: booked(bad), people=(pause_anywhere,), check=check),
    story(
        "cancel-undone-rounds",
        booked_in_rounds,
        context={"n": 0},
        people=(cancel_anywhere,),
        is_settled=False,
        statuses=ENDS,
    ),
    story(
        "cancel-undone-below",
        booked_below,
        people=(cancel_anywhere,),
        is_settled=False,
        statuses=ENDS,
    ),
)
