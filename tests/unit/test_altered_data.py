"""Messages and facts of another shape are refused where they are read, and change no run."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.core.lint import lint_blueprint
from flowcraft.engine.facts import read_event
from flowcraft.engine.jobs import UnreadableJob, read_job
from flowcraft.engine.serializer import JsonSerializer
from flowcraft.errors import FlowcraftError, SerializationError, StorageCorrupt
from flowcraft.ports.queue import Outgoing
from tests.acceptance.aws_worker_world import AwsWorld
from tests.acceptance.aws_worker_world import play as play_aws
from tests.unit.aws_tables import CONTEXTS, STATUSES
from tests.unit.durable import World, play
from tests.unit.durable_sqlite import SqliteWorld

JOB = {"v": 1, "runId": "run", "epoch": "e", "blueprintId": "f", "thread": "t"}
FAILURE = ["ValueError", "m", ["ValueError"], False, "a", 1, [["OSError", "c"]], None, []]

UNSHAPED: dict[str, list[Any]] = {
    "a number for a truth": ["ChildRests", 0, 1, 2],
    "a text for a number": ["ChildRests", 0, 1, True, "2"],
    "a truth for a number": ["RetryDue", 0, True],
    "a place from the end": ["ItemRetryDue", 0, -1, 1],
    "a node from the end": ["TimerFired", -1],
    "a truth for a node": ["TimerFired", True],
    "an iteration of texts": ["TimerFired", [0, ["1"]]],
    "more than an iteration": ["TimerFired", [0, [1], 2]],
    "no node where one is needed": ["TimerFired", None],
    "no number": ["Spent", float("nan"), 1],
    "writes of another kind": ["ContextPatched", [["clear", "key", 1]]],
    "a write without a key": ["ContextPatched", [["set", 1, 1]]],
    "a text for a context": ["ChildSettled", 0, 1, True, "context", {}],
    "a failure without a message": [
        "ChildSettled",
        0,
        1,
        False,
        {},
        {},
        None,
        ["E", 1, *FAILURE[2:]],
    ],
    "a failure with other names": [
        "ChildSettled",
        0,
        1,
        False,
        {},
        {},
        None,
        ["E", "m", [1], *FAILURE[3:]],
    ],
    "a cost of texts": ["ChildSettled", 0, 1, True, {}, {}, None, None, ["1"]],
    "nodes that are none": ["NodeSucceeded", 0, 1, None, None, [], [{"id": 7}]],
}


@pytest.mark.parametrize("name", UNSHAPED)
def test_an_event_of_another_shape_is_refused(name: str) -> None:
    """What has another type than an event has there is told of by its field, or by its value."""
    with pytest.raises(SerializationError, match="This is no event that this version knows"):
        read_event(UNSHAPED[name])


def test_a_failure_of_a_child_is_read() -> None:
    """What was refused above is taken as it is written."""
    event: Any = read_event(
        ["ChildSettled", [0, [1]], 1, False, {}, {}, None, FAILURE, [1, 1, 0, 0, 2.5]]
    )
    assert event.key == (0, (1,))
    assert event.error.causes == (("OSError", "c"),)
    assert event.cost.usd == 2.5


WRONG: dict[str, dict[str, Any]] = {
    "a truth for a version": {"v": True},
    "no version yet": {"v": 0},
    "due at no time": {"dueAt": float("nan")},
    "due never": {"dueAt": float("inf")},
    "due after all time": {"dueAt": 1e300},
    "due before all time": {"dueAt": -1},
    "put back without end": {"putBack": 10**400},
    "facts from the end": {"since": -1},
    "half a character": {"runId": "\ud800"},
    "an outcome": {"event": json.dumps(["NodeSucceeded", 0, 1, "forged"])},
    "a start": {"event": json.dumps(["RunStarted", "run", {}])},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_message_that_no_worker_sends_is_refused(name: str) -> None:
    """What is out of bounds is told of, and no message brings outcomes or starts."""
    with pytest.raises(UnreadableJob, match=r"version|expected as|No message brings"):
        read_job(json.dumps(JOB | WRONG[name]), JsonSerializer())


def test_a_word_of_a_child_that_was_altered_keeps_its_parent_from_nothing() -> None:
    """A message that says of a child what none says is left, and the parent comes to its end."""

    async def story(world: World) -> None:
        node = {"id": "s", "uses": "subflow", "params": {"blueprintId": "inner"}}
        world.knows(create_flow("inner").wait("v"))
        await world.process()
        await world.client.start_run({"id": "f", "nodes": [node], "edges": []}, run_id="run")
        await world.settle()
        record = world.record("run")
        assert record is not None
        data = JOB | {"epoch": record.head.epoch, "event": json.dumps(["ChildRests", 0, 1, 2])}
        await world.ports.queue.send([Outgoing(json.dumps(data))])
        await world.settle()
        assert world.status("run") == "awaiting"
        await world.client.resume_with_action("run/s::1", "yes")
        await world.until(lambda: world.status("run") == "completed", "the end")

    play(story)


def test_inputs_that_are_no_text_are_linted_beside_other_problems() -> None:
    """Of a node with two problems both are told, and looking for paths breaks off at neither."""
    data = {"id": "f", "nodes": [{"id": "a", "inputs": {"x": 1}}], "edges": []}
    places = [issue.place for issue in lint_blueprint(data).issues]
    assert {"nodes[0].uses", "nodes[0].inputs.x"} <= set(places)


# -- what is stored ---------------------------------------------------------------------------


async def altered(world: AwsWorld, table: str, key: str, **attributes: Any) -> None:
    """Alter attributes of an item by hand; ``None`` takes one away."""
    (item,) = [each for each in world.aws.dynamodb.items(table) if each["runId"]["S"] == key]
    kept = {name: value for name, value in (item | attributes).items() if value is not None}
    await world.aws.dynamodb.call("PutItem", {"TableName": table, "Item": kept})


def two(world: World) -> None:
    """A flow that waits."""
    world.knows(create_flow("f").wait("w"))


ROWS: dict[str, dict[str, Any]] = {
    "no time": {"lastUpdated": None},
    "a time of another type": {"lastUpdated": {"S": "x"}},
    "after all time": {"lastUpdated": {"N": "1E+100"}},
    "no start": {"createdAt": {"L": []}},
    "no revision": {"r": {"NULL": True}},
    "a status of another type": {"status": {"N": "1"}},
}


@pytest.mark.parametrize("name", ROWS)
def test_an_altered_row_is_written_anew(name: str) -> None:
    """Whoever lists runs is given all of them, and mends the row by the record."""

    async def story(world: AwsWorld) -> None:
        two(world)
        await world.process()
        for run_id in ("run", "twin"):
            await world.client.start_run("f", run_id=run_id)
        await world.settle()
        before = world.aws.dynamodb.items(STATUSES)
        await altered(world, STATUSES, "run", **ROWS[name])
        listed = (await world.client.list_runs()).runs
        assert sorted(each.run_id for each in listed) == ["run", "twin"]
        after = {each["runId"]["S"]: each for each in world.aws.dynamodb.items(STATUSES)}
        assert after == {each["runId"]["S"]: each for each in before}

    play_aws(story)


ITEMS: dict[str, dict[str, Any]] = {
    "a status that there is not": {"s": {"S": "?"}},
    "a time before all time": {"u": {"N": "-1"}},
    "a time after all time": {"u": {"N": "1E+100"}},
    "a format that there never was": {"v": {"N": "-1"}},
    "facts that are none": {"f": {"L": [{"B": b"\x04\x00\x00\xff"}]}},
}


@pytest.mark.parametrize("name", ITEMS)
def test_an_altered_run_is_named_and_hides_no_other(name: str) -> None:
    """Reading it says which run is damaged, and listing tells of the others."""

    async def story(world: AwsWorld) -> None:
        two(world)
        for run_id in ("run", "twin"):
            await world.client.start_run("f", run_id=run_id)
        await altered(world, CONTEXTS, "run", **ITEMS[name])
        await world.client.aclose()
        world._client = None
        with pytest.raises(StorageCorrupt, match="run 'run' is damaged"):
            await world.client.get_run("run")
        assert "twin" in [each.run_id for each in (await world.client.list_runs()).runs]

    play_aws(story)


@pytest.mark.parametrize("text", [None, {"N": "1"}, {"S": "{"}])
def test_an_altered_blueprint_is_named(text: Any) -> None:
    """A text without its text, or with one of another type, is told of by its key and table."""

    async def story(world: AwsWorld) -> None:
        two(world)
        await world.client.start_run("f", run_id="run")
        keys = [each["runId"]["S"] for each in world.aws.dynamodb.items(CONTEXTS)]
        for key in keys:
            if "blueprint" in key:
                await altered(world, CONTEXTS, key, text=text)
        await world.client.aclose()
        world._client = None
        with pytest.raises(FlowcraftError, match=r"blueprint.* is damaged"):
            await world.client.get_run("run")

    play_aws(story)


COLUMNS = {
    "a time": "UPDATE facts SET at = 'x' WHERE run_id = 'run'",
    "a fact": "UPDATE facts SET data = x'00' WHERE run_id = 'run'",
    "an outcome": "UPDATE facts SET data = '[1,[\"TimerFired\",\"x\"],[]]' WHERE run_id = 'run'",
    "when it goes": "UPDATE runs SET expires_at = 'x' WHERE run_id = 'run'",
    "its status": "UPDATE runs SET status = 'x' WHERE run_id = 'run'",
    "its tags": "UPDATE runs SET tags = '{' WHERE run_id = 'run'",
    "its parent": "UPDATE runs SET parent = '7' WHERE run_id = 'run'",
}


@pytest.mark.parametrize("name", COLUMNS)
def test_an_altered_column_is_told_of_with_its_run(name: str, tmp_path: Path) -> None:
    """Reading the run names it, listing tells of the others, and they go on."""

    async def story(world: World) -> None:
        two(world)
        for run_id in ("run", "twin"):
            await world.client.start_run("f", run_id=run_id)
        with closing(sqlite3.connect(tmp_path / "runs.db")) as database, database:
            database.execute(COLUMNS[name])
        await world.client.aclose()
        world._client = None
        with pytest.raises(FlowcraftError, match=r"'run'"):
            await world.client.get_run("run")
        assert "twin" in [each.run_id for each in (await world.client.list_runs()).runs]
        await world.process()
        await world.client.resume_with_action("twin", "yes")
        await world.until(lambda: world.status("twin") == "completed", "the end")

    play(story, SqliteWorld(tmp_path / "runs.db"))


@pytest.mark.parametrize("statement", [COLUMNS["its tags"], COLUMNS["its status"]])
def test_a_page_is_filled_up_behind_altered_rows(statement: str, tmp_path: Path) -> None:
    """Pages have all other runs, as many as were asked for, wherever the altered rows are."""
    names = [f"run-{number}" for number in range(7)]

    async def story(world: World) -> None:
        two(world)
        for name in names:
            await world.client.start_run("f", run_id=name)
        altered = {"run-6", "run-5", "run-3", "run-0"}
        with closing(sqlite3.connect(tmp_path / "runs.db")) as database, database:
            for name in altered:
                database.execute(statement.replace("'run'", f"'{name}'"))
        pages: list[list[str]] = []
        after: str | None = None
        while True:
            page = await world.client.list_runs(after=after, limit=2)
            pages.append([each.run_id for each in page.runs])
            after = page.after
            if after is None:
                break
        assert pages == [["run-4", "run-2"], ["run-1"]]

    play(story, SqliteWorld(tmp_path / "runs.db"))
