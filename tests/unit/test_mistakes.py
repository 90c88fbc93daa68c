"""What a newcomer passes first: it is named, with what was meant instead."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.client import FlowClient
from flowcraft.engine.draining import DrainReport, Needed
from tests.unit.runs import echo

FLOW: Any = create_flow("f").node("a", echo)
NEEDED = Needed("f", None, "0" * 64, "a", 1, 1, None, ())
DATA = {"id": "f", "nodes": [], "edges": []}


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
