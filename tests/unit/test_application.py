"""What settings stand for: apps, and the ways to runs."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowcraft.application import aws_clients, load_app, names_of, open_client, options_of
from flowcraft.errors import StorageError
from flowcraft.settings import Settings, SettingsError, load_settings
from tests.unit.cli.modules import forgotten

MODULE = """
from flowcraft import FlowRuntime, create_flow

async def body(ctx):
    return 1

one = create_flow("one").node("a", body)
flows = [one, create_flow("two").node("a", body)]
blueprint = one.to_blueprint()
runtime = FlowRuntime(flows=flows)

def make():
    return one

def breaks():
    raise KeyError("config")

class holder:
    inner = runtime

number = 7
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A directory with modules, which the next test has others of."""
    (tmp_path / "own_app.py").write_text(textwrap.dedent(MODULE), encoding="utf-8")
    (tmp_path / "broken_app.py").write_text("import own_app\n1 / 0\n", encoding="utf-8")
    (tmp_path / "needs_more.py").write_text("import no_such_thing\n", encoding="utf-8")
    (tmp_path / "malformed.py").write_text("def f(:\n", encoding="utf-8")
    (tmp_path / "bare.py").write_text("x = 1\n", encoding="utf-8")
    names = ("own_app", "broken_app", "needs_more", "malformed", "bare")
    with forgotten(*names):
        yield tmp_path


def settings_of(directory: Path, **values: Any) -> Settings:
    """Settings of a directory."""
    return load_settings(
        {name.replace("__", "."): value for name, value in values.items()}, directory, {}
    )


@pytest.mark.parametrize(
    ("target", "flows"),
    [
        ("own_app:one", {"one"}),
        ("own_app:flows", {"one", "two"}),
        ("own_app:blueprint", {"one"}),
        ("own_app:runtime", {"one", "two"}),
        ("own_app:make", {"one"}),
        ("own_app:holder.inner", {"one", "two"}),
        ("own_app", {"one", "two"}),
        ("own_app.py:one", {"one"}),
    ],
)
def test_an_app_is_whatever_has_flows(directory: Path, target: str, flows: set[str]) -> None:
    """A runtime, a flow, a blueprint, several, or a function that gives one of these."""
    assert set(load_app(settings_of(directory, app=target)).blueprints) == flows


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("own_app:number", "is a int; an app is a FlowRuntime"),
        ("own_app:runtme", "own_app has no 'runtme'. Did you mean 'runtime'?"),
        ("own_app:breaks", "was called and raised KeyError: 'config'"),
        ("no_app:runtime", "There is no module 'no_app'"),
        ("no.such.app:runtime", "There is no module 'no.such.app'"),
        ("my-app:runtime", "'my-app:runtime' names no module"),
        ("no_app.py:runtime", "There is no file"),
        ("needs_more:runtime", "raised ModuleNotFoundError: No module named 'no_such_thing'"),
        ("broken_app:runtime", "broken_app.py, line 2)"),
        ("malformed:runtime", "raised SyntaxError"),
        ("bare", "has none of the names runtime, app, flows, flow"),
    ],
)
def test_what_is_wrong_with_an_app_is_told(directory: Path, target: str, said: str) -> None:
    """A module that is not there, or that fails, is told with what failed and where."""
    with pytest.raises(SettingsError) as caught:
        load_app(settings_of(directory, app=target))
    assert said in str(caught.value)


def test_without_an_app_it_is_said_how_to_name_one(tmp_path: Path) -> None:
    """No app at all is told with the three ways to name one."""
    with pytest.raises(SettingsError, match=r"--app, by FLOWCRAFT_APP, or by app"):
        load_app(settings_of(tmp_path))


def test_an_empty_app_is_none() -> None:
    """A list without a flow has nothing to run."""
    with pytest.raises(SettingsError, match="a list of flows"):
        options_of([], "x:flows")


def test_modules_are_found_beside_the_configuration(directory: Path) -> None:
    """The directory of the file is where an app is looked for, wherever the command is called."""
    (directory / "flowcraft.toml").write_text('app = "own_app:one"\n', encoding="utf-8")
    inner = directory / "inner"
    inner.mkdir()
    assert str(directory) not in sys.path
    assert set(load_app(load_settings({}, inner, {})).blueprints) == {"one"}


def test_resources_are_named_by_the_prefix(tmp_path: Path) -> None:
    """Queue and tables go by one prefix, and each can be named apart."""
    names = names_of(settings_of(tmp_path, aws__prefix="shop"))
    assert (names.queue, names.dead_letters) == ("shop-jobs", "shop-jobs-dead-letters")
    assert (names.contexts, names.statuses) == ("shop-contexts", "shop-statuses")
    assert (names.coordination, names.bucket) == ("shop-coordination", None)
    url = "https://sqs.eu-north-1.amazonaws.com/1/other/"
    named = names_of(
        settings_of(tmp_path, aws__queue_url=url, aws__status_table="s", aws__payload_bucket="b/p")
    )
    assert (named.queue, named.dead_letters) == ("other", "other-dead-letters")
    assert (named.statuses, named.bucket) == ("s", "b/p")


def test_a_region_is_needed_on_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a region, or with a profile that is none, the settings are what is wrong."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="region"):
        open_client(settings_of(tmp_path, backend="aws"))
    with pytest.raises(SettingsError, match="no profile 'other'"):
        open_client(settings_of(tmp_path, backend="aws", aws__profile="other"))


def test_the_region_is_that_of_the_tools_of_aws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS_REGION comes before AWS_DEFAULT_REGION, as for the tools of AWS."""
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    client = aws_clients(load_settings({}, tmp_path, {})).client("sqs")
    assert client.meta.region_name == "eu-north-1"


def test_a_queue_that_cannot_be_reached_is_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address where nobody answers is trouble with the storage, told by the address."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    settings = settings_of(
        tmp_path, backend="aws", aws__region="eu-north-1", aws__endpoint_url="http://127.0.0.1:9"
    )
    with pytest.raises(StorageError):
        open_client(settings)


def test_a_codec_is_loaded_by_its_name(directory: Path) -> None:
    """What the codec setting names is imported, and refused where it is none."""
    settings = settings_of(directory, codec="own_app:number", sqlite__path="runs.db")
    with pytest.raises((SettingsError, TypeError), match=r"codec|Codec"):
        open_client(settings)
