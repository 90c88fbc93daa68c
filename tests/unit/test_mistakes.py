"""What a newcomer passes first: it is named, with what was meant instead."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow, lint_blueprint
from flowcraft.client import FlowClient
from flowcraft.engine.draining import DrainReport, Needed
from tests.unit.runs import Ctx, Events, drive, echo

FLOW: Any = create_flow("f").node("a", echo)
NEEDED = Needed("f", None, "0" * 64, "a", 1, 1, None, ())
DATA = {"id": "f", "nodes": [], "edges": []}


async def fails(_ctx: Ctx) -> None:
    raise ValueError("always")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"flows": FLOW}, r"flows is a list of flows, not <flow 'f'.*: write flows=\[…\]"),
        ({"flows": DATA}, "flows is a list of flows"),
        ({"flows": [DATA]}, r"what create_flow\(…\) gives, not a dict.*blueprints=\{id"),
        ({"blueprints": [DATA]}, "blueprints are blueprints by id, .*, not a list"),
    ],
)
def test_a_runtime_is_made_of_flows_and_of_blueprints_by_their_ids(
    options: dict[str, Any], expected: str
) -> None:
    """A flow without its list, or a blueprint in the place of a flow, is refused at once."""
    with pytest.raises(TypeError, match=expected):
        FlowRuntime(**options)


def test_a_retry_is_a_policy() -> None:
    """A number of attempts by itself is refused, with what it is to be part of."""
    with pytest.raises(TypeError, match=r"retry is RetryPolicy\(max_attempts=…\), not 3"):
        create_flow("f").node("a", echo, retry=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [FlowRuntime(), FlowRuntime().options, "a"])
def test_a_report_is_asked_about_a_registry(wrong: Any) -> None:
    """A runtime, its options, or one key by itself hold no keys."""
    report = DrainReport(datetime(2026, 1, 1, tzinfo=UTC), 0, (NEEDED,))
    with pytest.raises(TypeError, match=r"not about .*: write runtime\.registry"):
        report.needed_by(wrong)


def test_a_blocking_client_names_the_verb_that_it_lacks(tmp_path: Path) -> None:
    """Of what only the async client has it says so."""
    client = FlowClient.sqlite(tmp_path / "runs.db").sync
    with pytest.raises(AttributeError, match=r"'sync\.blobs'; use 'client\.blobs' in async code"):
        _ = client.blobs
    with pytest.raises(AttributeError, match=r"no verb 'sync\.start_rn'\.$"):
        _ = client.start_rn
    with pytest.raises(AttributeError, match=r"no verb 'sync\.schedules\.craete'\.$"):
        _ = client.schedules.craete


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"middleware": [5]}, "middleware holds 5 .int., which is no Middleware"),
        ({"listeners": [5]}, "A listener is a function of an event, not int"),
    ],
)
def test_what_is_around_nodes_is_looked_at_when_the_runtime_is_made(
    options: dict[str, Any], expected: str
) -> None:
    """A layer that is none would otherwise fail each node."""
    with pytest.raises(TypeError, match=expected):
        FlowRuntime(**options)


@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        ((None,), {}, "What is run is a flow, a blueprint or the id of one .*, not NoneType"),
        ((FLOW,), {"cancel": 5}, "cancel is a CancelToken, not 5"),
        ((FLOW,), {"strict": "x"}, "strict is True or False"),
    ],
)
def test_what_is_run_is_looked_at_before_anything_is(
    arguments: tuple[Any, ...], options: dict[str, Any], expected: str
) -> None:
    """An argument of ``run`` that is none of what it may be is named."""
    with pytest.raises(TypeError, match=expected):
        FlowRuntime().run_sync(*arguments, **options)


def test_how_a_run_goes_on_is_looked_at_as_well() -> None:
    """``resume`` and ``replay`` name what they cannot use."""
    runtime, flow = FlowRuntime(), create_flow("w").wait("ok")
    state = flow.run_sync(runtime=runtime).state
    with pytest.raises(TypeError, match="answer is True or False"):
        drive(runtime.resume(flow, state, answer="no"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"What is replayed are events.*, not int"):
        drive(runtime.replay(flow, [1]))  # type: ignore[list-item]


def test_what_a_builder_is_given_is_looked_at() -> None:
    """A child that is no flow, and one action by itself, are refused where they are written."""
    with pytest.raises(TypeError, match=r"Subflow 's': the child is a flow, .*, not NoneType"):
        create_flow("f").subflow("s", None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"write actions=\['yes'\]"):
        create_flow("f").wait("w", actions="yes")


def test_what_cannot_undo_anything_is_told_when_it_is_to() -> None:
    """A wait as a compensation fails with what is wrong, and lint warns of it before."""
    flow = create_flow("f").node("a", echo, compensate="w").wait("w").node("b", fails)
    flow.edge("a", "b")
    events = Events()
    flow.run_sync(runtime=FlowRuntime(listeners=[events]))
    (told,) = events.of("compensation:error")
    assert "carried out by the engine and undoes nothing" in told.payload["message"]
    (issue,) = lint_blueprint(flow.to_blueprint()).issues
    assert (issue.code, issue.place) == ("BAD_CONFIG_VALUE", "nodes[0].config.compensate")
