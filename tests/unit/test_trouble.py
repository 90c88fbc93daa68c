"""What the log has of trouble: one line of what a store says of itself, and where others were."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.engine.trouble import log_trouble
from flowcraft.errors import StorageUnavailable
from flowcraft.sqlite import SqliteAdapter
from tests.unit.durable import World, play

logger = logging.getLogger("flowcraft.worker")


def test_what_a_store_says_is_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Its message names what cannot be used and what to do, so that no traceback is needed."""
    log_trouble(logger, StorageUnavailable("There is no table 't'."), "Run '%s': trouble", "r")
    (record,) = caplog.records
    assert record.getMessage() == "Run 'r': trouble: There is no table 't'."
    assert record.exc_info is None


def test_of_any_other_error_the_log_has_where_it_was(caplog: pytest.LogCaptureFixture) -> None:
    """It is a fault of the program, which nobody finds without its traceback."""
    log_trouble(logger, KeyError("x"), "Run '%s': trouble", "r")
    (record,) = caplog.records
    assert record.getMessage() == "Run 'r': trouble"
    assert record.exc_info is not None


def test_a_node_that_nobody_knows_is_named_with_its_key(caplog: pytest.LogCaptureFixture) -> None:
    """The log has what is missing in the registry, once, and not the name of the node alone."""
    poster = {"id": "poster", "nodes": [{"id": "draw", "uses": "art.drwa"}], "edges": []}

    async def story(world: World) -> None:
        await world.client.start_run(poster, run_id="run")
        await world.process()
        await world.advance(5.0)

    play(story)
    (record,) = [each for each in caplog.records if "not registered" in each.getMessage()]
    assert record.getMessage().startswith("Run 'run': 'art.drwa' of node 'draw' is not registered")


def test_who_watches_event_loops_hears_nothing_of_the_heartbeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It waits in a loop of its own, which is no fault of the nodes that `-X dev` looks for."""

    async def work() -> None:
        async with SqliteAdapter(
            tmp_path / "runs.db",
            FlowRuntime(flows=[create_flow("f").wait("w")]).options,
            poll_seconds=0.3,
        ):
            await asyncio.sleep(0.2)

    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    asyncio.run(work())
    assert "Heartbeat" not in caplog.text
