"""``flowcraft run`` and ``flowcraft init``: workflows in the process of the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Call
from tests.unit.cli.modules import forgotten


@pytest.mark.parametrize("name", ["order", "shop:order", "shop.py:order"])
def test_a_flow_is_run_by_its_id_or_by_where_it_is(
    project: Path, flowcraft: Call, name: str
) -> None:
    """The id of a flow of the app, a module's attribute and a file's are all names of a flow."""
    ended = flowcraft("run", name, "-c", "amount=21", "--json")
    assert (ended.code, ended.data["outputs"]["send"]) == (0, "sent for 21")
    assert not (project / "runs.db").exists()


def test_a_blueprint_in_a_file_is_run_with_the_code_of_the_app(
    project: Path, flowcraft: Call
) -> None:
    """Nodes of a JSON file are carried out by what the app registered."""
    uses = json.loads(json.dumps(_order(project)))["nodes"][0]["uses"]
    blueprint = {"id": "alone", "nodes": [{"id": "c", "uses": uses, "inputs": "amount"}]}
    (project / "alone.json").write_text(json.dumps(blueprint), encoding="utf-8")
    ended = flowcraft("run", "alone.json", "-c", "amount=3", "--json")
    assert ended.data["outputs"] == {"c": 3}


def _order(project: Path) -> object:
    sys.path.insert(0, str(project))
    import shop  # type: ignore[import-not-found]  # noqa: PLC0415

    return shop.order.to_blueprint().to_dict()


def test_a_run_that_rests_is_kept_and_resumed(project: Path, flowcraft: Call) -> None:
    """A run that waits is written to a file, and goes on from there with an answer."""
    ended = flowcraft("run", "order", "-c", "amount=2000", "--save", "kept", "--json")
    assert (ended.code, ended.data["status"]) == (0, "awaiting")
    ended = flowcraft("run", "order", "--resume", "kept", "--action", "yes", "--json")
    assert ended.data["status"] == "completed"


def test_what_happens_is_shown(project: Path, flowcraft: Call) -> None:
    """With --events each event is a line on standard error."""
    lines = flowcraft("run", "order", "-c", "amount=1", "--events").err.splitlines()
    assert lines[0] == "workflow:start"
    assert lines[-1] == "workflow:finish"


def test_a_run_that_takes_too_long_is_cancelled(project: Path, flowcraft: Call) -> None:
    """At the timeout the run is cancelled, and the exit code says so."""
    nap = {"id": "nap", "nodes": [{"id": "n", "uses": "sleep", "params": {"duration": "1h"}}]}
    (project / "nap.json").write_text(json.dumps(nap), encoding="utf-8")
    ended = flowcraft("run", "nap.json", "--timeout", "0.05", "--json")
    assert (ended.code, ended.data["status"]) == (6, "cancelled")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none"], "The app has no flow 'none'. It has: hears, order"),
        (["shop:runtime"], "has several flows: hears, order"),
        (["shop:check"], "was called and raised TypeError"),
        (["none.py:x"], "There is no file"),
        (["order", "--resume", "none"], "'none' cannot be read"),
        (["order", "--resume", "shop.py"], "stored text cannot be read back"),
        (["order", "--save", "no/such/kept", "-c", "amount=2000"], "cannot be written"),
    ],
)
def test_what_cannot_be_run_is_named(
    project: Path, flowcraft: Call, arguments: list[str], told: str
) -> None:
    """What is wrong is said in one message, with the exit code 2."""
    ended = flowcraft("run", *arguments)
    assert ended.code == 2
    assert told in ended.err
    assert "Traceback" not in ended.err


def test_a_new_project_runs_and_passes_its_test(
    tmp_path: Path, flowcraft: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What init writes is started as its last line says, and its test passes."""
    monkeypatch.chdir(tmp_path)
    ended = flowcraft("init", "shop")
    assert "cd shop && flowcraft start order -c amount=21 --work" in ended.err
    monkeypatch.chdir(tmp_path / "shop")
    with forgotten("flows"):
        ended = flowcraft("start", "order", "-c", "amount=21", "--work", "--json")
        assert ended.data["outputs"]["send"] == "sent, 21 charged"
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / "shop",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in tested.stdout, tested.stdout


def test_a_project_is_not_overwritten(project: Path, flowcraft: Call) -> None:
    """Files that are there stay as they are, unless that is asked for."""
    ended = flowcraft("init")
    assert ended.code == 2
    assert "flowcraft.toml would be overwritten" in ended.err
    assert (project / "flowcraft.toml").read_text(encoding="utf-8") == 'app = "shop:runtime"\n'
    assert not (project / "flows.py").exists()
    assert flowcraft("init", "--force").code == 0


def test_a_run_that_waits_for_an_answer_says_that_none_can_come(
    project: Path, flowcraft: Call
) -> None:
    """A wait with a time would keep the command for days: it says so, and what helps."""
    (project / "asks.py").write_text(
        "from flowcraft import create_flow\n\n"
        "flow = create_flow('asks').wait('ask', timeout='2d')\n"
    )
    ended = flowcraft("run", "asks.py:flow", "--timeout", "0.3")
    assert ended.code == 6
    assert "'ask' waits for an answer, until " in ended.err
    assert "With --save FILE it is kept" in ended.err
    assert "waits for" not in flowcraft("run", "asks.py:flow", "--no-timers").err


def test_a_run_that_is_kept_does_not_wait_for_its_timers(project: Path, flowcraft: Call) -> None:
    """With --save a wait with a time comes to rest at once, and goes on when it is answered."""
    (project / "asks.py").write_text(
        "from flowcraft import create_flow\n\n"
        "flow = create_flow('asks').wait('ask', timeout='2d')\n"
    )
    assert flowcraft("run", "asks.py:flow", "--save", "kept", "--json").data["status"] == "awaiting"
    assert (
        flowcraft("run", "asks.py:flow", "--resume", "kept", "--json").data["status"] == "completed"
    )


def test_where_a_run_cannot_be_kept_it_is_not_run(project: Path, flowcraft: Call) -> None:
    """A place to keep it in that is none is told before anything is done."""
    ended = flowcraft("run", "order", "-c", "amount=1", "--save", "no/such/kept", "--events")
    assert (ended.code, "workflow:start" in ended.err) == (2, False)
