"""Which waiting node an answer is for."""

from __future__ import annotations

from typing import Any

import pytest

from flowcraft import InvalidRunState, RunResult, create_flow
from flowcraft.core.builder import FlowBuilder
from flowcraft.core.plan import index_of_key
from flowcraft.engine import answering
from tests.unit.runs import one, run


def waiting(flow: FlowBuilder) -> Any:
    """The live run behind a result."""
    result: RunResult = run(flow, timers="return")
    return result._run


def name_of(target: answering.Target[Any]) -> tuple[str, str]:
    """Blueprint and node of what was found."""
    assert target.key is not None
    plan = target.run.plan
    return plan.blueprint.id, plan.nodes[index_of_key(target.key)].id


def flow_with_children() -> FlowBuilder:
    """A wait, a sleep, and a child that has a wait, a sleep and a child with a wait."""
    inner = create_flow("inner").wait("x")
    child = create_flow("child").wait("y").sleep("nap", "1h").subflow("in", inner)
    return create_flow("f").wait("w").sleep("s", "1h").subflow("c", child).node("a", one)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("w", ("f", "w")),
        (["w"], ("f", "w")),
        ("s", ("f", "s")),
        (["c", "y"], ("child", "y")),
        (("c", "nap"), ("child", "nap")),
        (["c", "in"], ("inner", "x")),
        (["c", "in", "x"], ("inner", "x")),
    ],
)
def test_a_path_leads_to_a_node(path: Any, found: tuple[str, str]) -> None:
    """An id, or the ids that lead to a node in children, find it; a sleep is found by name."""
    assert name_of(answering.find(waiting(flow_with_children()), path)) == found


@pytest.mark.parametrize(
    "path", [None, (), "c", "a", "y", "nowhere", ["c", "x"], ["w", "y"], ["c", "in", "x", "x"]]
)
def test_what_is_not_clear_or_does_not_wait_is_refused_with_a_list(path: Any) -> None:
    """Without a clear target the answer is refused, and everything that waits is listed."""
    with pytest.raises(InvalidRunState) as caught:
        answering.find(waiting(flow_with_children()), path)
    for place in ("w", "s", "c/y", "c/nap", "c/in/x"):
        assert place in str(caught.value).split("It waits for:")[1]


def test_the_only_wait_needs_no_name_whatever_sleeps_beside_it() -> None:
    """Where one node waits for an answer it is meant, also in a child, and no sleep is."""
    flow = create_flow("f").sleep("s", "1h").subflow("c", create_flow("child").wait("y"))
    assert name_of(answering.find(waiting(flow), None)) == ("child", "y")


def test_a_single_sleep_may_be_meant_where_nothing_waits() -> None:
    """In a run that only sleeps, an answer without a name is for the sleep."""
    assert name_of(answering.find(waiting(create_flow("f").sleep("s", "1h")), None)) == ("f", "s")


def test_a_node_id_that_looks_like_a_path_is_a_node_id() -> None:
    """Slashes and dots in ids mean nothing."""
    flow = create_flow("f").wait("a/b.c").wait("a")
    assert name_of(answering.find(waiting(flow), "a/b.c")) == ("f", "a/b.c")
