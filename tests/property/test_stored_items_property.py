"""Items that were altered: errors name the run, others go on, nothing ends with wrong values."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowcraft.errors import FlowcraftError
from tests.acceptance.aws_worker_world import AwsWorld
from tests.acceptance.aws_worker_world import play as play_aws
from tests.property.test_messages_property import (
    HOUR_SECONDS,
    OUTER,
    RARELY,
    check_log,
    flows,
    logged,
)
from tests.unit.aws_tables import CONTEXTS, COORDINATION, STATUSES
from tests.unit.durable import World
from tests.unit.durable import play as play_sqlite
from tests.unit.durable_sqlite import SqliteWorld

KEYS = {CONTEXTS: "runId", STATUSES: "runId", COORDINATION: "coordinationKey"}
STRANGE: list[dict[str, Any]] = [
    *({"S": text} for text in ("", "x", "{", "\x00", "9")),
    *({"N": number} for number in ("0", "-1", "1E+100", "0.5", "9007199254740993")),
    *({"B": data} for data in (b"", b"\x00", b"\xff" * 40)),
    *({"BOOL": True}, {"NULL": True}, {"L": []}, {"L": [{"N": "1"}]}),
    *({"M": {}}, {"M": {"a": {"S": "b"}}}, {"SS": ["a"]}),
]
# Reconciling, sweeping and schedules each half a minute, beside polls.
REQUESTS_AN_HOUR = 1_500
REGULARLY: dict[str, Any] = {
    "reconcile_every_seconds": 30.0,
    "sweeping": True,
    "schedules_every_seconds": 30.0,
}


@st.composite
def altered_value(draw: st.DrawFn, value: dict[str, Any]) -> dict[str, Any]:
    """A value of DynamoDB, altered at one place: cut off, of another type, a bit turned."""
    ((kind, content),) = value.items()
    how = draw(st.integers(0, 9))
    if how < 4 or not content or kind in ("BOOL", "NULL", "SS", "N"):
        return draw(st.sampled_from(STRANGE))
    place = draw(st.integers(0, 10_000)) % len(content)
    if kind == "M":
        name = sorted(content)[place]
        rest = {key: each for key, each in content.items() if key != name}
        return {kind: rest if how == 4 else {**rest, name: draw(altered_value(content[name]))}}
    before, after = content[:place], content[place + 1 :]
    if how == 4:
        return {kind: before}
    if kind == "L":
        return {kind: [*before, draw(altered_value(content[place])), *after]}
    if kind == "S":
        return {kind: before + draw(st.sampled_from(["", "\x00", "~", "9"])) + after}
    return {kind: before + bytes([content[place] ^ (1 << draw(st.integers(0, 7)))]) + after}


async def begun(world: World) -> None:
    """Runs that wait, one of which has a child, one that is over, and one that nobody touches."""
    flows(world)
    await world.process(None, **REGULARLY)
    await world.client.start_run("mine", run_id="mine")
    await world.client.start_run("other", run_id="old")
    await world.client.start_run(OUTER, run_id="outer")
    await world.client.start_run("inner", run_id="healthy")
    await world.advance(90.0)


async def survived(world: World) -> None:
    """Whoever looks at runs hears of the damage; others begin, go on and end as ever."""
    await world.client.aclose()
    world._client = None  # which may remember how things were
    await world.processes[-1].kill()
    await world.process(None, **REGULARLY)
    await world.settle()
    listed = {each.run_id for each in (await world.client.list_runs()).runs}
    assert "healthy" in listed
    await world.client.start_run("other", run_id="new")
    await world.until(lambda: world.status("new") == "completed", "the new run")
    assert (await world.client.get_run("new")).outputs == {"a": 7, "b": 7}
    for run_id in ("mine", "outer/s::1", "healthy"):
        await told(run_id, world.client.resume_with_action(run_id, "yes"))
    await world.advance(HOUR_SECONDS)
    healthy = await world.client.get_run("healthy")
    assert (healthy.status, healthy.outputs["i"]) == ("completed", 7)
    await world.client.list_runs()
    for run_id, nodes in (("mine", ("first", "end")), ("outer", ("z",)), ("old", ("a", "b"))):
        run = await told(run_id, world.client.get_run(run_id))
        if run is not None and run.status == "completed":
            assert {run.outputs[node] for node in nodes} == {7}
        await told(run_id, world.client.delete_run(run_id, force=True))


async def told(run_id: str, verb: Any) -> Any:
    """What a verb gives, or nothing: but an error is one that tells of run or key."""
    try:
        return await verb
    except FlowcraftError as error:
        said = str(error)
    names = (run_id.split("/", maxsplit=1)[0], "The text '", "blueprint")
    assert any(name in said for name in names), said
    return None


@RARELY
@given(st.data())
def test_altered_items_harm_no_other_run_of_a_fleet(data: st.DataObject) -> None:
    """Run items, status rows, locks and blueprints: altered by hand, by bits, or cut off."""

    async def story(world: AwsWorld) -> None:
        await begun(world)
        fake = world.aws.dynamodb
        table = data.draw(st.sampled_from([CONTEXTS, CONTEXTS, STATUSES, COORDINATION]))
        name = KEYS[table]
        items = {item[name]["S"]: item for item in fake.items(table)}
        # Keys of blueprints are their hashes, of which one is the healthy run's.
        record = world.record("healthy")
        assert record is not None
        shared = record.head.blueprint_hash
        mine = sorted(key for key in items if "healthy" not in key and shared not in key)
        item = dict(items[mine[data.draw(st.integers(0, 10_000)) % len(mine)]])
        attributes = sorted(item.keys() - {name})
        if attributes:
            attribute = attributes[data.draw(st.integers(0, 10_000)) % len(attributes)]
            value = data.draw(st.none() | altered_value(item[attribute]))
            item.pop(attribute)
            if value is not None:
                item[attribute] = value
        await fake.call("PutItem", {"TableName": table, "Item": item})
        calls = world.aws.calls
        await survived(world)
        assert world.aws.calls - calls < REQUESTS_AN_HOUR
        check_log(records, 0)

    with logged() as records:
        play_aws(story, max_receives=20)


@RARELY
@given(st.data())
def test_altered_columns_harm_no_other_run_of_a_file(data: st.DataObject) -> None:
    """A column of a row of any table of the file is given another value, or another type."""

    async def story(world: World) -> None:
        await begun(world)
        with closing(sqlite3.connect(path)) as database, database:
            alter(database, data)
        await survived(world)
        check_log(records, 0)

    with TemporaryDirectory() as directory, logged() as records:
        path = Path(directory) / "runs.db"
        play_sqlite(story, SqliteWorld(path))


def alter(database: sqlite3.Connection, data: st.DataObject) -> None:
    """Give a column of a row another value, unless the row is the healthy run's."""
    names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    cells: list[tuple[str, str, dict[str, Any]]] = []
    for (table,) in sorted(names):
        described = database.execute(f"PRAGMA table_info({table})").fetchall()
        columns = [row[1] for row in described]
        keys = [row[1] for row in described if row[5]] or columns
        for values in sorted(database.execute(f"SELECT * FROM {table}"), key=repr):
            row = dict(zip(columns, values, strict=True))
            if "healthy" not in str(values) and '"id": "inner"' not in str(values):
                cells += [(table, name, {key: row[key] for key in keys}) for name in columns]
    table, column, key = cells[data.draw(st.integers(0, 10_000)) % len(cells)]
    strange = ["", "x", "{", "[]", "\x00", 0, -1, 10**15, 0.5, 1e300, b"", b"\xff", None]
    where = " AND ".join(f"{name} IS ?" for name in key)
    update = f"UPDATE OR IGNORE {table} SET {column} = ? WHERE {where}"
    with suppress(sqlite3.IntegrityError):  # of some columns SQLite itself keeps the type
        database.execute(update, (data.draw(st.sampled_from(strange)), *key.values()))
