"""``flowcraft doctor``: what it shows, and the exit code that a script goes by."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowcraft.adapters.sqlite import Database
from flowcraft.adapters.system import SystemClock
from tests.unit.cli.conftest import Call


@pytest.fixture
def runs(project: Path) -> Path:
    """The project's file, without a run in it."""
    path = project / "runs.db"
    Database(path, SystemClock()).close()
    path.chmod(0o600)
    return path


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that AWS knows nothing of."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


def test_a_table_has_a_line_for_each_finding_and_its_cure(runs: Path, flowcraft: Call) -> None:
    """Each finding has its mark and check, cures stand below, and the sum at the end."""
    ended = flowcraft("doctor")
    assert (ended.code, ended.err) == (0, "")
    lines = [line.split(maxsplit=2) for line in ended.out.splitlines() if line]
    assert lines[1][:2] == ["ok", "file"]
    marks = {each[0] for each in lines[1:-1]}
    assert marks == {"ok", "warning", "→"}
    assert "→ Start one: 'flowcraft worker'." in ended.out
    assert lines[-1] == ["1", "warning,", "11 ok."]


def test_only_troubles_are_shown_where_that_is_asked_for(runs: Path, flowcraft: Call) -> None:
    """With --quiet what is fine is counted, and not listed."""
    ended = flowcraft("doctor", "--quiet")
    assert "workers.seen" in ended.out
    assert "database.schema" not in ended.out


def test_warnings_count_where_somebody_is_strict(runs: Path, flowcraft: Call) -> None:
    """Without workers a strict look ends with 1, in JSON as in the table."""
    assert flowcraft("doctor", "--strict").code == 1
    ended = flowcraft("doctor", "--json", "--strict")
    assert ended.code == 1
    assert (ended.data["worst"], ended.data["counts"]["warning"]) == ("warning", 1)
    assert {"check", "severity", "found", "where", "cure"} == set(ended.data["findings"][0])


def test_a_file_that_is_missing_is_an_error_and_is_not_made(project: Path, flowcraft: Call) -> None:
    """Exit code 1, one finding with what to do, and no new file."""
    ended = flowcraft("doctor", "--json")
    assert ended.code == 1
    (found,) = ended.data["findings"]
    assert (found["check"], found["found"]) == ("file", "There is no such file.")
    assert not (project / "runs.db").exists()


def test_an_app_that_cannot_be_loaded_is_a_finding(runs: Path, flowcraft: Call) -> None:
    """The file is looked at all the same, and what is wrong with the app is one of the findings."""
    ended = flowcraft("doctor", "--app", "nowhere:flows", "--json")
    assert ended.code == 1
    checks = {each["check"]: each for each in ended.data["findings"]}
    assert "There is no module 'nowhere'" in checks["app"]["found"]
    assert checks["database.schema"]["severity"] == "ok"


def test_a_damaged_file_is_told_without_a_traceback(runs: Path, flowcraft: Call) -> None:
    """What is no database is an error with one message."""
    runs.write_bytes(b"this is a text, and a rather long one")
    ended = flowcraft("doctor")
    assert ended.code == 1
    assert "is not an SQLite database" in ended.out
    assert "Traceback" not in ended.out + ended.err


def test_signs_in_names_do_not_reach_the_terminal(runs: Path, flowcraft: Call) -> None:
    """A name full of control signs is shown, and none of them is obeyed."""
    ended = flowcraft("doctor", "--app", "a\x1b[2Jb:flows")
    assert ended.code == 1
    assert "\x1b" not in ended.out
    assert "a\\x1b[2Jb" in ended.out


def test_without_a_region_there_is_one_error(
    project: Path, flowcraft: Call, no_credentials: None
) -> None:
    """On AWS a missing region is told with the ways to name one, and nothing is asked."""
    ended = flowcraft("doctor", "--backend", "aws", "--json")
    assert ended.code == 1
    assert [each["check"] for each in ended.data["findings"]] == ["region", "runs"]
    assert "--region" in ended.data["findings"][0]["found"]


def test_without_credentials_there_is_one_error(
    project: Path, flowcraft: Call, no_credentials: None
) -> None:
    """With a region and no credentials these are what is missing, with the ways to give some."""
    arguments = ("--backend", "aws", "--region", "us-east-1")
    ended = flowcraft("doctor", *arguments, "--endpoint-url", "http://127.0.0.1:9")
    assert ended.code == 1
    assert "Unable to locate credentials." in ended.out
    assert "AWS_ACCESS_KEY_ID" in ended.out
    assert "Traceback" not in ended.out + ended.err
