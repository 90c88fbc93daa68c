"""Stand-ins for nodes: what they give, and what they remember."""

from __future__ import annotations

from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.engine.nodes import NodeResult
from flowcraft.engine.runtime import FlowRuntime
from flowcraft.testing import FakeNode, fake_node


def chain(**config: Any) -> dict[str, Any]:
    """Two nodes that use ``work``, the second behind the first."""
    config = {"retryDelay": 0, **config}
    return {
        "id": "chain",
        "nodes": [
            {"id": "a", "uses": "work", "params": {"n": 1}, "config": config},
            {"id": "b", "uses": "work", "config": config},
        ],
        "edges": [{"source": "a", "target": "b"}],
    }


def run(work: FakeNode, **config: Any) -> Any:
    """Run the chain with the fake."""
    return FlowRuntime(registry={"work": work}).run_sync(chain(**config), run_id="r1")


def test_a_fixed_output() -> None:
    """Every call gives the output, and is recorded with all that a node is told."""
    work = fake_node({"ok": True})
    result = run(work)
    assert dict(result.outputs) == {"a": {"ok": True}, "b": {"ok": True}}
    assert (work.called, work.call_count, work.inputs) == (True, 2, [None, {"ok": True}])
    first = work.calls[0]
    assert (first.node_id, first.params, first.run_id, first.attempt) == ("a", {"n": 1}, "r1", 1)
    assert (first.iteration, first.idempotency_key) == (0, work.calls[0].idempotency_key)


def test_a_fake_that_was_not_called() -> None:
    """A fresh fake has no calls."""
    work = fake_node()
    assert (work.called, work.calls) == (False, [])


def test_an_output_computed_from_the_input() -> None:
    """A function gets each call's input."""
    assert run(fake_node(lambda value: (value or 0) + 1)).outputs["b"] == 2


def test_an_action_goes_with_the_output() -> None:
    """With an action, edges without one are taken where none has it."""
    result = run(fake_node("x", action="left"))
    assert result.outputs["b"] == "x"


@pytest.mark.parametrize("error", [LookupError("gone"), LookupError])
def test_an_error_fails_every_attempt(error: Any) -> None:
    """An exception or its class is raised at each attempt."""
    work = fake_node(error=error)
    result = run(work, maxRetries=3)
    assert [e.type for e in result.errors] == ["LookupError"]
    assert [call.attempt for call in work.calls] == [1, 2, 3]


def test_a_sequence_of_outcomes() -> None:
    """Calls give or raise one outcome after the other; functions and results are allowed."""
    work = fake_node(sequence=[OSError("busy"), NodeResult(1), lambda value: value + 1])
    result = run(work, maxRetries=2)
    assert dict(result.outputs) == {"a": 1, "b": 2}


def test_a_sequence_that_is_used_up_fails_the_node_for_good() -> None:
    """One call too many is a mistake of the test: it is explained and not tried again."""
    work = fake_node(sequence=[1])
    result = run(work, maxRetries=5)
    assert work.call_count == 2
    assert "called 2 times, but its sequence has 1" in result.errors[0].message


def test_an_output_of_none_may_stand_in_a_sequence() -> None:
    """None and False are outcomes like any other."""
    assert dict(run(fake_node(sequence=[None, False])).outputs) == {"a": None, "b": False}


def test_fakes_in_a_flow_need_no_key() -> None:
    """A flow takes fakes as they are; two of them do not get in each other's way."""
    flow = create_flow("f").node("a", fake_node(1)).node("b", fake_node(2)).edge("a", "b")
    result = FlowRuntime().run_sync(flow)
    assert dict(result.outputs) == {"a": 1, "b": 2}


def test_a_delay_needs_virtual_time() -> None:
    """Without a virtual clock a delayed fake says what it needs."""
    result = run(fake_node(delay="1h"))
    assert "TestEnvironment" in result.errors[0].message


@pytest.mark.parametrize(
    "options",
    [
        {"output": 1, "error": OSError()},
        {"output": 1, "sequence": [1]},
        {"error": OSError(), "action": "x"},
        {"sequence": [1], "action": "x"},
        {"delay": "-1s"},
    ],
)
def test_contradictions_are_refused(options: dict[str, Any]) -> None:
    """A fake is made of one kind of outcome."""
    with pytest.raises(ValueError, match=r"fake_node|action|duration"):
        fake_node(**options)
