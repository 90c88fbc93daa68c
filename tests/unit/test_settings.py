"""One configuration: a file, the environment, flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowcraft.settings import OPTIONS, SettingsError, load_settings


def write(directory: Path, text: str, name: str = "flowcraft.toml") -> Path:
    """A configuration file."""
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(directory: Path, environment: dict[str, str] | None = None, **flags: Any) -> str:
    """What is said of a configuration that cannot be."""
    overrides = {name.replace("__", "."): value for name, value in flags.items()}
    with pytest.raises(SettingsError) as caught:
        load_settings(overrides, directory, environment or {})
    return str(caught.value)


def test_a_flag_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    """Each value comes from the nearest place that has it, and says which one."""
    path = write(tmp_path, '[aws]\nregion = "a"\nprefix = "a"\nprofile = "a"\n')
    environment = {"FLOWCRAFT_AWS_PREFIX": "b", "FLOWCRAFT_AWS_PROFILE": "b"}
    settings = load_settings({"aws.profile": "c"}, tmp_path, environment)
    found = {name: settings[f"aws.{name}"] for name in ("region", "prefix", "profile")}
    assert found == {"region": "a", "prefix": "b", "profile": "c"}
    assert settings.origin("aws.region") == str(path)
    assert settings.origin("aws.prefix") == "environment variable FLOWCRAFT_AWS_PREFIX"
    assert settings.origin("aws.profile") == "option for aws.profile"
    assert settings.origin("backend") == "default"
    assert (settings["backend"], settings.is_set("backend")) == ("sqlite", False)


def test_the_nearest_file_above_is_taken(tmp_path: Path) -> None:
    """Files are looked for upwards; a pyproject.toml counts only if it has the table."""
    write(tmp_path, 'app = "top:app"\n')
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    write(tmp_path / "a", "[tool.other]\nx = 1\n", "pyproject.toml")
    assert load_settings({}, inner, {})["app"] == "top:app"
    path = write(tmp_path / "a", '[tool.flowcraft]\napp = "near:app"\n', "pyproject.toml")
    settings = load_settings({}, inner, {})
    assert (settings["app"], settings.directory) == ("near:app", tmp_path / "a")
    assert settings.origin("app") == f"[tool.flowcraft] of {path}"
    write(tmp_path / "a", 'app = "own:app"\n')
    assert load_settings({}, inner, {})["app"] == "own:app"


def test_a_file_can_be_named(tmp_path: Path) -> None:
    """A named file counts instead of those above, and has to be there."""
    write(tmp_path, 'app = "usual:app"\n')
    write(tmp_path, 'app = "other:app"\n', "other.toml")
    named = load_settings({}, tmp_path, {}, file=Path("other.toml"))
    by_variable = load_settings({}, tmp_path, {"FLOWCRAFT_CONFIG": "other.toml"})
    assert named["app"] == by_variable["app"] == "other:app"
    assert "no configuration file 'none.toml'" in refused(
        tmp_path, {"FLOWCRAFT_CONFIG": "none.toml"}
    )


def test_paths_are_seen_from_where_they_are_written(tmp_path: Path) -> None:
    """A path of a file is relative to that file, one of a flag to the working directory."""
    inner = tmp_path / "inner"
    inner.mkdir()
    write(tmp_path, '[sqlite]\npath = "data/runs.db"\n')
    assert load_settings({}, inner, {})["sqlite.path"] == str(tmp_path / "data/runs.db")
    flags = load_settings({"sqlite.path": "own.db"}, inner, {})
    assert flags["sqlite.path"] == str(inner / "own.db")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('backnd = "aws"', "there is no setting 'backnd'; did you mean 'backend'"),
        ('[aws]\nregoin = "x"', "there is no setting 'aws.regoin'; did you mean 'aws.region'"),
        ('[awz]\nregion = "x"', "there is no table [awz]; did you mean 'aws'"),
        ('aws = "x"', "there is no setting 'aws'"),
        ("wholly_unlike_anything = 1", "there are: app, aws.context_table"),
        ('backend = "postgres"', "backend is one of sqlite, aws, not 'postgres'"),
        ("backend = 3", "backend is one of sqlite, aws, not 3"),
        ("[worker]\nconcurrency = 0", "worker.concurrency is a whole number of at least 1, not 0"),
        ("[worker]\nconcurrency = 1.5", "a whole number of at least 1, not 1.5"),
        ("[worker]\nconcurrency = true", "a whole number of at least 1, not True"),
        ("retention_seconds = 0", "retention_seconds is a number larger than 0, not 0"),
        ("retention_seconds = nan", "a number larger than 0, not nan"),
        (f"retention_seconds = {'9' * 400}", "a number larger than 0, not 999"),
        ('[aws]\nprefix = "a b"', "a short name of letters, digits, '-' and '_', not 'a b'"),
        ('app = ""', "app is a text, not ''"),
        ("app = \nx = 1", "is malformed: Invalid value (at line 1, column 7)"),
        ('app = "x"\n[aws\n', "(at line 2, column 5)"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_place(
    tmp_path: Path, text: str, said: str
) -> None:
    """An unknown name gets a suggestion, a wrong value what it may be, malformed TOML its line."""
    path = write(tmp_path, text)
    message = refused(tmp_path)
    assert said in message
    assert str(path) in message
    assert len(message) < 900


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are told by their place."""
    (tmp_path / "flowcraft.toml").write_bytes(b'app = "\xff"')
    assert "is not text in UTF-8: byte 7" in refused(tmp_path)


def test_variables_of_others_are_left_alone_and_near_misses_refused(tmp_path: Path) -> None:
    """Who names something of their own FLOWCRAFT_… is not bothered; a slip is pointed out."""
    others = {"FLOWCRAFT_HYPOTHESIS": "explore", "FLOWCRAFT_SHOP_URL": "x", "FLOWCRAFTER": "1"}
    assert load_settings({}, tmp_path, others)["backend"] == "sqlite"
    assert "FLOWCRAFT_AWS_REGOIN is no setting; FLOWCRAFT_AWS_REGION is" in refused(
        tmp_path, {"FLOWCRAFT_AWS_REGOIN": "eu-north-1"}
    )
    assert "FLOWCRAFT_CONFG is no setting; FLOWCRAFT_CONFIG is" in refused(
        tmp_path, {"FLOWCRAFT_CONFG": "x.toml"}
    )
    assert load_settings({}, tmp_path, {"FLOWCRAFT_BACKEND": ""})["backend"] == "sqlite"
    message = refused(tmp_path, {"FLOWCRAFT_WORKER_CONCURRENCY": "many"})
    assert message.startswith("FLOWCRAFT_WORKER_CONCURRENCY is a whole number")


@pytest.mark.parametrize("name", ["aws.secret_access_key", "password", "aws.session_token"])
def test_secrets_are_refused_without_being_shown(tmp_path: Path, name: str) -> None:
    """Credentials have no place here, and their value is in no message."""
    table, _, key = name.rpartition(".")
    write(tmp_path, f'{f"[{table}]" if table else ""}\n{key} = "hunter2"\n')
    for message in (refused(tmp_path), refused(tmp_path / "none", None, **{name: "hunter2"})):
        assert "Credentials do not belong here" in message
        assert "hunter2" not in message


def test_what_may_not_be_looked_at_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory above that may not be searched does not keep a command from its defaults."""

    def denied(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", denied)
    assert load_settings({}, tmp_path, {}).file is None


def test_every_setting_has_its_variable(tmp_path: Path) -> None:
    """What can be in the file can be in the environment, under a name of its own."""
    variables = {option.variable for option in OPTIONS}
    assert len(variables) == len(OPTIONS)
    assert "FLOWCRAFT_WORKER_LEASE_SECONDS" in variables
    settings = load_settings({}, tmp_path, {"FLOWCRAFT_WORKER_LEASE_SECONDS": " 2.5 "})
    assert settings["worker.lease_seconds"] == 2.5


def test_settings_can_be_had_with_other_values(tmp_path: Path) -> None:
    """A copy with changes leaves what it was made of as it is."""
    settings = load_settings({"aws.prefix": "a"}, tmp_path, {})
    assert settings.replace(aws__prefix="b")["aws.prefix"] == "b"
    assert settings["aws.prefix"] == "a"
    with pytest.raises(KeyError):
        settings["no.such"]
