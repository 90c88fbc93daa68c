"""What the doctor finds in a file of runs, and in the disk around it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import namedtuple
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flowcraft.adapters.sqlite import Database, SqliteCoordination
from flowcraft.adapters.sqlite.schema import APPLICATION_ID, VERSION
from flowcraft.adapters.system import SystemClock
from flowcraft.doctor import Diagnosis, RunsFile, Severity, examine_file
from flowcraft.doctor import database as doctor_database
from flowcraft.engine.rounds import LOCK
from tests.unit.doctor_fleet import of, told, troubles
from tests.unit.runs import drive

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of runs that nothing is wrong with."""
    path = tmp_path / "runs.db"
    Database(path, SystemClock()).close()
    path.chmod(0o600)
    return path


def look_at(path: Path, **more: Any) -> Diagnosis:
    """A look at a file."""
    return drive(examine_file(RunsFile(path, **more)))


def meddle(path: Path, *statements: str) -> None:
    """Do something to a file, as its owner may."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement).fetchall()


def test_a_healthy_file_lacks_nothing_but_workers(path: Path) -> None:
    """Every check of a healthy file says so, in the same file as before."""
    before = path.read_bytes()
    diagnosis = look_at(path)
    assert troubles(diagnosis) == ["workers.seen"]
    assert {each.check for each in diagnosis.findings} == {
        *("file", "database.schema", "database.integrity", "database.journal", "locks"),
        *("database.lock", "disk", "files", "runs.standing", "runs.waiting"),
        *("workers.seen", "workers.needed"),
    }
    assert path.read_bytes() == before
    assert diagnosis.to_data()["backend"] == "sqlite"


def test_a_file_that_is_missing_is_not_made(tmp_path: Path) -> None:
    """There is one error, and still no file."""
    diagnosis = look_at(tmp_path / "runs.db")
    assert [each.check for each in diagnosis.findings] == ["file"]
    assert diagnosis.exit_code() == 1
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """The name of a directory is told to be none of a file."""
    assert told(look_at(tmp_path), "file") == ("error", "It is no file.")


@pytest.mark.parametrize(
    "content", [b"no database at all, and long enough for a head", b"\x00" * 9]
)
def test_what_is_no_database_is_an_error(tmp_path: Path, content: bytes) -> None:
    """Another kind of file is told, and nothing in it is looked for."""
    path = tmp_path / "runs.db"
    path.write_bytes(content)
    diagnosis = look_at(path)
    assert told(diagnosis, "database")[0] == "error"
    assert told(diagnosis, "runs")[0] == "note"
    assert path.read_bytes() == content


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """A file with other tables is an error, and stays as it is."""
    path = tmp_path / "runs.db"
    meddle(path, "CREATE TABLE t (x)")
    before = path.read_bytes()
    assert told(look_at(path), "database.schema")[0] == "error"
    assert path.read_bytes() == before


@pytest.mark.parametrize(("change", "severity"), [(1, "error"), (-1, "warning")])
def test_tables_of_another_version_are_told_and_not_changed(
    path: Path, change: int, severity: str
) -> None:
    """Newer ones cannot be read, older ones are brought up to date by whoever works with them."""
    meddle(path, f"PRAGMA user_version = {VERSION + change}")
    diagnosis = look_at(path)
    assert told(diagnosis, "database.schema")[0] == severity
    assert told(diagnosis, "runs")[0] == "note"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION + change,)


def test_a_damaged_file_is_told(path: Path) -> None:
    """Pages that were overwritten show, and runs are not looked for in them."""
    # Made out of one page per table: a damaged one shows without the file being unreadable.
    meddle(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size - 4096)
        file.write(b"\xff" * 4096)
    diagnosis = look_at(path)
    worst = [each for each in diagnosis.findings if each.severity is Severity.ERROR]
    assert [each.check for each in worst] == ["database.integrity"]
    assert "recover" in worst[0].cure


def test_a_file_that_is_too_large_to_be_looked_through_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a minute the look at all pages is given up, which is a note."""
    monkeypatch.setattr(doctor_database, "INTEGRITY_SECONDS", -1.0)
    monkeypatch.setattr(doctor_database, "_STEPS", 1)
    diagnosis = look_at(path)
    assert told(diagnosis, "database.size")[0] == "note"
    assert told(diagnosis, "runs.standing")[0] == "ok"


def test_another_journal_mode_is_a_note(path: Path) -> None:
    """A restored file may have no write-ahead log, which the next worker mends."""
    meddle(path, "PRAGMA journal_mode = DELETE")
    assert told(look_at(path), "database.journal")[0] == "note"


def test_who_keeps_others_from_writing_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that does not end is a warning; the rest can be read all the same."""
    monkeypatch.setattr(doctor_database, "LOCK_WAIT_SECONDS", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        diagnosis = look_at(path)
        other.execute("ROLLBACK")
    assert told(diagnosis, "database.lock")[0] == "warning"
    assert told(diagnosis, "runs.standing")[0] == "ok"


@pytest.mark.parametrize(
    ("seconds", "severity", "text"),
    [
        (60.0, "ok", "A worker looks for runs"),
        (1e6, "warning", "12 days"),
        (None, "warning", "ever"),
    ],
)
def test_locks_that_workers_hold_are_told(
    path: Path, seconds: float | None, severity: str, text: str
) -> None:
    """Who looks after all runs is shown; a lock that nobody gives back is a warning."""

    async def hold() -> None:
        with Database(path, SystemClock()) as database:
            await SqliteCoordination(database).set_if_not_exist(LOCK, "me", ttl_seconds=seconds)

    drive(hold())
    found = told(look_at(path), "locks")
    assert found[0] == severity
    assert text in found[1]


@pytest.mark.parametrize(("free", "severity"), [(1, "error"), (5 * 10**8, "warning")])
def test_a_disk_that_fills_up_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, free: int, severity: str
) -> None:
    """Little room is a warning, hardly any an error."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, free))
    assert told(look_at(path), "disk")[0] == severity


def test_a_log_that_does_not_end_is_told(path: Path) -> None:
    """A write-ahead log of a quarter of a gigabyte has a reader who does not end."""
    keeper = Database(path, SystemClock())
    log = path.with_name("runs.db-wal")
    os.truncate(log, 300_000_000)  # sparse: it takes no room
    found = told(look_at(path), "database.log")
    os.truncate(log, 0)
    keeper.close()
    assert found[0] == "warning"
    assert "300 MB" in found[1]


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of files and directories that may not be used; the superuser may use all."""
    names: set[str] = set()
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name not in names)
    return names


@pytest.mark.parametrize(("name", "cure"), [("runs.db", "chmod u+rw"), ("", "chmod u+w")])
def test_what_may_not_be_written_is_an_error(
    path: Path, refusing: set[str], name: str, cure: str
) -> None:
    """A file, or its directory, that belongs to somebody else is told with the cure."""
    refusing.add(name or path.parent.name)
    (finding,) = of(look_at(path), "file")
    assert (finding.severity, finding.cure.startswith(cure)) == (Severity.ERROR, True)


def test_what_everybody_may_read_is_a_note(path: Path) -> None:
    """A file that other users may read is worth knowing."""
    path.chmod(0o644)
    assert told(look_at(path), "file.private")[0] == "note"


@pytest.mark.parametrize("kind", ["file", "directory", "locked"])
def test_the_directory_of_files_can_be_used(path: Path, refusing: set[str], kind: str) -> None:
    """Where files of nodes are kept there is a directory, which may be used, or nothing."""
    files = path.with_name("runs.db-files")
    if kind == "file":
        files.write_text("")
    else:
        files.mkdir()
    if kind == "locked":
        refusing.add(files.name)
    assert told(look_at(path), "files")[0] == ("ok" if kind == "directory" else "error")


def test_the_mark_of_the_file_is_what_the_file_command_knows() -> None:
    """The examination goes by the mark that the package writes."""
    assert APPLICATION_ID.to_bytes(4, "big") == b"Flow"
