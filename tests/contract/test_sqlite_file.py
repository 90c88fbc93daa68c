"""The database file: shared by processes, outliving them, and clear about what is wrong."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flowcraft.adapters.sqlite import (
    Database,
    Durability,
    SqliteBlobs,
    SqliteCoordination,
    SqliteQueue,
    SqliteRuns,
    schema,
)
from flowcraft.adapters.sqlite import connection as connection_module
from flowcraft.adapters.sqlite.connection import Execute
from flowcraft.adapters.sqlite.coordination import CLEARED_AT_ONCE
from flowcraft.adapters.sqlite.listing import list_runs, list_suspects
from flowcraft.adapters.system import SystemClock
from flowcraft.errors import (
    FlowcraftError,
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageTooNew,
    StorageUnavailable,
)
from flowcraft.ports.queue import Outgoing
from flowcraft.ports.runs import Query, Row
from flowcraft.ports.suspicion import Suspicion
from flowcraft.testing import VirtualClock
from flowcraft.testing.conformance.helpers import create, done, log, record
from tests.unit.runs import drive

ROOT = Path(__file__).resolve().parents[2]
CLOCK = VirtualClock()
PROCESSES = 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database is to be."""
    return tmp_path / "runs.db"


def process(what: str, path: Path) -> subprocess.Popen[str]:
    """Another process that does something with the file."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.contract.sqlite_process", what, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def plain(path: Path) -> sqlite3.Connection:
    """The file as any program sees it."""
    return sqlite3.connect(path, isolation_level=None)


# --- several processes ---------------------------------------------------------------------


@pytest.mark.slow
def test_processes_share_a_file(path: Path) -> None:
    """Processes lose no facts, are granted each place once and receive each message once."""
    with Database(path, SystemClock()) as database:
        drive(create(SqliteRuns(database)))
        drive(SqliteQueue(database).send([Outgoing(str(number)) for number in range(200)]))
        processes = [process("share", path) for _ in range(PROCESSES)]
        answers = [child.communicate()[0].split() for child in processes]
        facts = drive(log(SqliteRuns(database)))
    assert [child.returncode for child in processes] == [0] * PROCESSES
    assert sum(int(places) for places, *_ in answers) == 50
    received = sorted(int(body) for _, *bodies in answers for body in bodies)
    assert received == list(range(200))
    counted = Counter(text.split("-")[0] for text in facts if "-" in text)
    assert sorted(counted.values()) == [20] * PROCESSES
    assert len(facts) == 1 + PROCESSES * 20 + 50


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_torn(path: Path) -> None:
    """What a process was doing when it was killed is not there, and nobody waits for it."""

    async def work(database: Database) -> None:
        queue, blobs = SqliteQueue(database), SqliteBlobs(database)
        assert await blobs.get("torn") is None
        (delivery,) = await queue.receive(1, 0)
        assert (delivery.body, delivery.receives) == ("a", 1)

    with Database(path, SystemClock()) as database:
        drive(SqliteQueue(database).send([Outgoing("a")]))
        with process("hang", path) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            child.kill()
        drive(work(database))


def test_what_was_written_outlives_the_connection(path: Path) -> None:
    """Another connection finds what was written before the first was closed."""
    with Database(path, CLOCK) as database:
        drive(create(SqliteRuns(database)))
        drive(SqliteQueue(database).send([Outgoing("a")]))
        drive(SqliteBlobs(database).put("key", "text"))
    with Database(path, CLOCK) as database:
        assert drive(log(SqliteRuns(database))) == ["begin"]
        assert len(drive(SqliteQueue(database).receive(1, 0))) == 1
        assert drive(SqliteBlobs(database).get("key")) == "text"


def test_threads_open_a_new_file_at_the_same_time(path: Path) -> None:
    """The tables are made once, whoever comes first, and nobody is refused."""

    def work(number: int) -> None:
        with Database(path, SystemClock()) as database:
            asyncio.run(SqliteQueue(database).send([Outgoing(str(number))]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    with Database(path, SystemClock()) as database:
        assert len(drive(SqliteQueue(database).receive(10, 0))) == 8


def test_somebody_else_is_writing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that stays locked gives a clear error, and can be read meanwhile."""
    monkeypatch.setattr(connection_module, "BUSY_SECONDS", 0.01)
    with Database(path, CLOCK) as database:
        blobs, other = SqliteBlobs(database), plain(path)
        drive(blobs.put("key", "text"))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageBusy, match=r"runs\.db is locked.*try again"):
            drive(blobs.put("second", "text"))
        assert drive(blobs.get("key")) == "text"
        other.close()
        drive(blobs.put("second", "text"))
        assert drive(blobs.get("second")) == "text"


# --- durability ----------------------------------------------------------------------------


@pytest.mark.parametrize(("durability", "level"), [("normal", 1), ("full", 2)])
def test_durability_is_chosen(path: Path, durability: Durability, level: int) -> None:
    """The option sets how SQLite waits for the disk; there is a write-ahead log either way."""
    with Database(path, CLOCK, durability=durability) as database:
        drive(SqliteBlobs(database).put("key", "text"))
        with database.snapshot as execute:
            assert execute("PRAGMA synchronous").fetchone() == (level,)
            assert execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert path.exists()


def test_another_durability_is_refused(path: Path) -> None:
    """An option that does not exist is named, with those that do; no file is made."""
    with pytest.raises(ValueError, match="'normal' or 'full', not 'none'"):
        Database(path, CLOCK, durability="none")  # type: ignore[arg-type]
    assert not path.exists()


# --- what can be wrong with a file ---------------------------------------------------------


def test_a_file_that_is_no_database(path: Path) -> None:
    """A file of something else is refused, and stays as it is."""
    path.write_text("Dear diary, " * 1000)
    with pytest.raises(StorageCorrupt, match=r"runs\.db is not an SQLite database"):
        Database(path, CLOCK)
    assert path.read_text() == "Dear diary, " * 1000


def test_the_database_of_another_program(path: Path) -> None:
    """A database with other tables is refused, and stays as it is."""
    other = plain(path)
    other.execute("CREATE TABLE customers (name)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StorageCorrupt, match="database of another program"):
        Database(path, CLOCK)
    assert path.read_bytes() == before


def test_a_damaged_database(path: Path) -> None:
    """Damage is reported when it is met, with what to do about it."""
    with Database(path, CLOCK) as database:
        drive(SqliteBlobs(database).put("key", "text"))
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\x17" * (path.stat().st_size - 4096))
    with Database(path, CLOCK) as database, pytest.raises(StorageCorrupt, match=r"\.recover"):
        drive(SqliteBlobs(database).get("key"))


def test_a_newer_version(path: Path) -> None:
    """Tables of a newer version are refused, and stay as they are."""
    Database(path, CLOCK).close()
    other = plain(path)
    other.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    other.close()
    with pytest.raises(StorageTooNew, match=f"version {schema.VERSION + 1}.*a newer one"):
        Database(path, CLOCK)


def test_an_older_version_is_brought_forward(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of an older version gets what is missing, and keeps what it has."""
    with Database(path, CLOCK) as database:
        drive(create(SqliteRuns(database)))
    more = (*schema.MIGRATIONS, ("CREATE TABLE later (name)",), ("DROP TABLE later",))
    monkeypatch.setattr(schema, "MIGRATIONS", more)
    monkeypatch.setattr(schema, "VERSION", len(more))
    with Database(path, CLOCK) as database:
        assert drive(log(SqliteRuns(database))) == ["begin"]
    assert plain_value(path, "PRAGMA user_version") == len(more)


WRITTEN_IN_VERSION_1 = (
    """
    INSERT INTO runs (run_id, epoch, blueprint_id, blueprint_hash, status, stopping, created_at,
                      updated_at, tags)
    VALUES ('run', 'epoch', 'blueprint', 'hash', 'running', 0, 1, 1, '')
    """,
    "INSERT INTO facts (run_id, number, at, thread, data) VALUES ('run', 0, 1, 't', 'begin')",
)


@pytest.mark.parametrize("version", range(1, schema.VERSION))
def test_a_file_of_each_version_is_brought_forward(
    path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """A file that an earlier version of the package made has all tables once it is opened."""
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:version])
        earlier.setattr(schema, "VERSION", version)
        Database(path, CLOCK).close()
    old = plain(path)
    for statement in WRITTEN_IN_VERSION_1:
        old.execute(statement)
    old.close()
    with Database(path, CLOCK) as database:
        assert [head.run_id for head in drive(SqliteRuns(database).find(Query()))] == ["run"]
        assert drive(log(SqliteRuns(database))) == ["begin"]
        assert drive(SqliteCoordination(database).increment("key")) == 1
    Database(path.with_name("new.db"), CLOCK).close()
    tables = "SELECT group_concat(sql) FROM (SELECT sql FROM sqlite_schema ORDER BY name)"
    assert plain_value(path, tables) == plain_value(path.with_name("new.db"), tables)


def test_what_has_expired_is_removed_in_passing(path: Path) -> None:
    """Whoever sets or counts something removes what has expired, some of it each time."""
    clock = VirtualClock()

    async def work(store: SqliteCoordination) -> None:
        for number in range(CLEARED_AT_ONCE + 5):
            await store.set_if_not_exist(str(number), "", ttl_seconds=1)
        await store.set_if_not_exist("stays", "")
        clock.advance(1)
        await store.increment("counter", ttl_seconds=1)
        assert plain_value(path, "SELECT count(*) FROM coordination") == 5 + 2
        await store.set_if_not_exist("more", "")
        assert plain_value(path, "SELECT count(*) FROM coordination") == 3

    with Database(path, clock) as database:
        drive(work(SqliteCoordination(database)))


def test_a_migration_is_done_as_a_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails leaves the database at the version that it had."""
    Database(path, CLOCK).close()
    broken = (*schema.MIGRATIONS, ("CREATE TABLE later (name)", "CREATE TABLE later (name)"))
    monkeypatch.setattr(schema, "MIGRATIONS", broken)
    monkeypatch.setattr(schema, "VERSION", len(broken))
    with pytest.raises(StorageError, match="later already exists"):
        Database(path, CLOCK)
    assert plain_value(path, "PRAGMA user_version") == len(broken) - 1
    assert plain_value(path, "SELECT count(*) FROM sqlite_schema WHERE name = 'later'") == 0


def test_runs_of_version_1(path: Path) -> None:
    """A run that was kept before rows had events is there, awaits none, and can come to."""
    other = plain(path)
    for statement in schema.MIGRATIONS[0]:
        other.execute(statement)
    other.execute("INSERT INTO facts VALUES ('run', 0, 1.0, 'thread', 'begin', NULL)")
    row = "'run', 'epoch', 'f', 'h', 'awaiting', 0, NULL, 1.0, 1.0, NULL, '', NULL"
    other.execute(f"INSERT INTO runs VALUES ({row})")
    other.execute("PRAGMA user_version = 1")
    other.close()

    async def work(runs: SqliteRuns) -> None:
        assert (await record(runs)).head.row == Row("awaiting")
        await done(runs, 1, row=Row("awaiting", awaits=("x",)))
        assert [head.run_id for head in await runs.find(Query(awaits="x"))] == ["run"]

    with Database(path, CLOCK) as database:
        drive(work(SqliteRuns(database)))
    assert plain_value(path, "PRAGMA user_version") == schema.VERSION


def test_events_are_looked_up_in_an_index(path: Path) -> None:
    """Who asks for the runs that await an event is not shown every run on the way."""
    with Database(path, CLOCK) as database:
        plans: list[str] = []

        def explained(statement: str, *values: object) -> sqlite3.Cursor:
            plans.extend(str(row[3]) for row in execute(f"EXPLAIN QUERY PLAN {statement}", *values))
            return execute(statement, *values)

        with database.snapshot as execute:
            list_runs(explained, Query(awaits="x"), 0.0)
    assert any("awaited_by_event (event=?)" in plan for plan in plans)
    assert not any(plan.startswith("SCAN") for plan in plans), plans


def test_runs_that_may_be_stuck_are_looked_up_in_indexes(path: Path) -> None:
    """Who looks for them is shown neither runs that are over nor those without a timer."""
    with Database(path, CLOCK) as database:
        plans: list[str] = []

        def explained(statement: str, values: Sequence[object]) -> sqlite3.Cursor:
            found = execute(f"EXPLAIN QUERY PLAN {statement}", values)
            plans.extend(str(row[3]) for row in found)
            return execute(statement, values)

        with database.snapshot as execute:
            suspicion = Suspicion(0.0, ("running",), ("awaiting", "paused"))
            list_suspects(explained, suspicion, None, 0.0)
    assert any("runs_by_status (status=?)" in plan for plan in plans), plans
    assert any("runs_by_due (due_at<?)" in plan for plan in plans), plans
    assert not any(plan.startswith("SCAN runs") for plan in plans), plans


@pytest.mark.parametrize("lapsed", [-math.inf, 5.0])
def test_runs_whose_time_is_over_are_looked_up_in_indexes(path: Path, lapsed: float) -> None:
    """Who removes them is not shown those that live."""
    with Database(path, CLOCK) as database:
        plans: list[str] = []

        def explained(statement: str, values: Sequence[object]) -> sqlite3.Cursor:
            found = execute(f"EXPLAIN QUERY PLAN {statement}", values)
            plans.extend(str(row[3]) for row in found)
            return execute(statement, values)

        with database.snapshot as execute:
            list_runs(explained, Query(lapsed=lapsed, parts=True), 0.0)
    assert any("runs_by_expiry (expires_at<?)" in plan for plan in plans), plans
    assert not any(plan.startswith("SCAN runs") for plan in plans), plans


def test_the_directory_is_missing(tmp_path: Path) -> None:
    """A directory that does not exist is named, and not made."""
    with pytest.raises(StorageUnavailable, match=r"there is no directory .*nowhere"):
        Database(tmp_path / "nowhere" / "runs.db", CLOCK)
    assert not (tmp_path / "nowhere").exists()


def test_the_path_is_no_place_for_a_file(tmp_path: Path) -> None:
    """A directory, something below a file, or memory is no database file."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailable, match="it is a directory"):
        Database(tmp_path, CLOCK)
    with pytest.raises(StorageUnavailable, match="is no directory"):
        Database(tmp_path / "file" / "runs.db", CLOCK)
    with pytest.raises(StorageUnavailable, match="write-ahead log"):
        Database(":memory:", CLOCK)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user can look into; those for single tests are their user's own."""
    directory = Path(tempfile.mkdtemp())
    yield directory
    directory.chmod(0o755)
    shutil.rmtree(directory)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs the permissions of Unix")
@pytest.mark.parametrize("exists", [False, True])
def test_the_directory_is_not_writable(open_directory: Path, exists: bool) -> None:
    """A directory that cannot be written to is named, whether or not there is a file in it."""
    path = open_directory / "runs.db"
    if exists:
        Database(path, CLOCK).close()
        path.chmod(0o444)
    open_directory.chmod(0o555)
    with process("complain", path) as child:
        answer, _ = child.communicate()
    assert answer.startswith("StorageUnavailable: ")
    assert f"the directory {open_directory} is not writable" in answer


def test_the_disk_is_full(path: Path) -> None:
    """Without space a write does nothing, and there is a clear error; then writing goes on."""

    async def work(database: Database) -> None:
        runs, blobs = SqliteRuns(database), SqliteBlobs(database)
        await create(runs)
        with database.snapshot as execute:
            (pages,) = execute("PRAGMA page_count").fetchone()
            execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StorageFull, match=r"no space left.*make room"):
            await done(runs, 1, "small", "x" * 100_000)
        with pytest.raises(StorageFull):
            await blobs.put("key", "x" * 100_000)
        assert await log(runs) == ["begin"]
        with database.snapshot as execute:
            execute("PRAGMA max_page_count = 100000")
        await done(runs, 1, "small", "x" * 100_000)
        assert len(await log(runs)) == 3

    with Database(path, CLOCK) as database:
        drive(work(database))


def test_a_closed_database(path: Path) -> None:
    """Using a database that was closed is an error of the package; closing it again is none."""
    database = Database(path, CLOCK)
    database.close()
    database.close()
    with pytest.raises(StorageError, match="closed database"):
        drive(SqliteBlobs(database).get("key"))


def test_an_error_in_a_transaction_undoes_it(path: Path) -> None:
    """Whatever goes wrong in a transaction, nothing of it stays and the next one works."""

    def write(database: Database, then: Callable[[Execute], object]) -> None:
        with database.transaction as execute:
            execute("INSERT INTO blobs (key, data) VALUES ('key', 'text')")
            then(execute)

    with Database(path, CLOCK) as database:
        with pytest.raises(ZeroDivisionError):
            write(database, lambda _: 1 // 0)
        with pytest.raises(StorageError, match="no such table"):
            write(database, lambda execute: execute("INSERT INTO nowhere VALUES (1)"))
        assert drive(SqliteBlobs(database).get("key")) is None
        write(database, lambda _: None)
        assert drive(SqliteBlobs(database).get("key")) == "text"


def test_the_errors_say_what_a_worker_does() -> None:
    """What may be over in a while is retried; what somebody has to mend is not."""
    retried = {StorageError, StorageBusy, StorageFull}
    mended = {StorageCorrupt, StorageTooNew, StorageUnavailable}
    assert {error.disposition for error in retried} == {"retry"}
    assert {error.disposition for error in mended} == {"fail"}
    assert all(issubclass(error, FlowcraftError) for error in retried | mended)


def test_lists_use_their_indexes(path: Path) -> None:
    """What is asked for regularly does not read every run: by status, due time, key and id."""
    wanted = {
        "status = 'running' AND is_part = 0 ORDER BY created_at DESC, run_id DESC": (
            "runs_by_status"
        ),
        "is_part = 0 ORDER BY created_at DESC, run_id DESC": "runs_by_time",
        "key = 'k'": "runs_by_key",
        "due_at < 1.0": "runs_by_due",
    }
    with Database(path, CLOCK) as database, database.snapshot as execute:
        for condition, index in wanted.items():
            plan = execute(f"EXPLAIN QUERY PLAN SELECT * FROM runs WHERE {condition}").fetchall()
            assert index in plan[0][-1]
            assert not any("TEMP B-TREE" in step[-1] for step in plan)


def plain_value(path: Path, statement: str) -> object:
    """The one value that a statement gives."""
    connection = plain(path)
    try:
        return connection.execute(statement).fetchone()[0]
    finally:
        connection.close()


# -- what happens to an open file -------------------------------------------------------------


def test_a_message_that_is_no_text_keeps_back_no_other(path: Path) -> None:
    """Bytes that are no UTF-8 in one message: all are received, and the others are whole."""

    async def story() -> None:
        with Database(path, CLOCK) as database:
            queue = SqliteQueue(database)
            with database.transaction as execute:
                execute(
                    "INSERT INTO messages (body, visible_at, receives) "
                    "VALUES (CAST(x'61ff' AS TEXT), 0, 0)"
                )
            await queue.send([Outgoing("gänzlich")])
            received = [delivery.body for delivery in await queue.receive(10, 0)]
            assert received == ["a\ufffd", "gänzlich"]

    drive(story())


@pytest.mark.parametrize("by", ["nothing", "another"])
def test_a_file_that_was_taken_away_is_told_of(path: Path, by: str) -> None:
    """Deleted or replaced under a worker or client, it is used no longer as if it were there."""

    async def story() -> None:
        with Database(path, CLOCK) as database:
            queue, runs = SqliteQueue(database), SqliteRuns(database)
            await create(runs, "before")
            path.unlink()
            if by == "another":
                path.write_bytes(b"")
            with pytest.raises(StorageUnavailable, match="was deleted or replaced"):
                await queue.receive(1, 0)
            with pytest.raises(StorageUnavailable, match="was deleted or replaced"):
                await create(runs, "after")

    drive(story())


def test_a_connection_is_not_used_by_a_process_that_was_forked_off(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's connections do not survive a fork: that is said before anything is damaged."""

    async def story() -> None:
        with Database(path, CLOCK) as database:
            own = os.getpid()
            monkeypatch.setattr(os, "getpid", lambda: own + 1)
            with pytest.raises(StorageUnavailable, match="forked off"):
                await SqliteQueue(database).send([Outgoing("a")])

    drive(story())
