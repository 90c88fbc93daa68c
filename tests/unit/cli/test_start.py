"""``flowcraft start``: what it starts, and what it refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Call, Look
from tests.unit.cli.modules import forgotten


def test_a_run_is_started_and_worked_on_in_one_command(project: Path, flowcraft: Call) -> None:
    """With --work the command is a worker until the run is over, and shows what came out."""
    ended = flowcraft("start", "order", "-c", "amount=21", "--work", "--json")
    assert ended.code == 0
    assert ended.data["status"] == "completed"
    assert ended.data["outputs"] == {"check": 21, "send": "sent for 21"}
    assert (project / "runs.db").exists()


def test_a_start_prints_the_id_alone(project: Path, flowcraft: Call) -> None:
    """Standard output of a start is the id of the run, so that a script can take it."""
    ended = flowcraft("start", "order", "-c", "amount=21", "--run-id", "order-1")
    assert (ended.code, ended.out) == (0, "order-1\n")
    assert flowcraft("start", "order", "--run-id", "order-1", "--json").data == {"runId": "order-1"}


def test_one_idempotency_key_is_one_run(project: Path, flowcraft: Call) -> None:
    """A second start with the same key gives the first one's run."""
    first = flowcraft("start", "order", "-c", "amount=1", "--key", "k").out
    assert flowcraft("start", "order", "-c", "amount=1", "--key", "k").out == first


def test_a_failed_run_is_told_by_the_exit_code(project: Path, flowcraft: Call) -> None:
    """A run that fails ends the command with 1, and its error is shown."""
    ended = flowcraft("start", "order", "-c", "amount=-1", "--work")
    assert ended.code == 1
    assert ended.out == "failed\ncheck: ValueError: -1 is too little\n"


def test_errors_of_a_run_are_objects_for_programs(project: Path, flowcraft: Call) -> None:
    """With --json an error has its type, its message and its node, as in status and inspect."""
    data = flowcraft("run", "order", "-c", "amount=-1", "--json").data
    (error,) = data["errors"]
    found = {key: error[key] for key in ("type", "message", "nodeId")}
    assert found == {"type": "ValueError", "message": "-1 is too little", "nodeId": "check"}


def test_context_comes_from_a_file_from_json_and_from_pairs_in_this_order(
    project: Path, flowcraft: Call, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later ways to say a context win, and a value that is no JSON is text."""
    monkeypatch.setattr("sys.stdin", io.StringIO('{"amount": 1, "a": 1, "b": 1}'))
    arguments = ["--context-file", "-", "--context-json", '{"a": 2, "b": 2}', "-c", "b=three"]
    run_id = flowcraft("start", "order", *arguments).out.strip()
    context = look(run_id).context
    assert {key: context[key] for key in ("amount", "a", "b")} == {
        "amount": 1,
        "a": 2,
        "b": "three",
    }


def test_a_blueprint_in_a_file_is_started(project: Path, flowcraft: Call) -> None:
    """A name that ends in .json is a file with a blueprint."""
    blueprint = {"id": "nap", "nodes": [{"id": "n", "uses": "sleep", "params": {"duration": 1}}]}
    (project / "nap.json").write_text(json.dumps(blueprint), encoding="utf-8")
    assert flowcraft("start", "nap.json", "--run-id", "r").out == "r\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["order", "-c", "amount"], "-c takes key=value"),
        (["order", "--context-json", "{"], "malformed JSON: "),
        (["order", "--context-json", "[1]"], "a JSON object of context keys, not list"),
        (["order", "--context-file", "none.json"], "'none.json' cannot be read"),
        (["order", "--tag", "a"], "--tag takes name=value"),
        (["order", "--run-id", ""], "--run-id"),
        (["order", "--budget-usd", "nan"], "--budget-usd"),
        (["order", "--timeout", "nan", "--wait"], "no number of seconds"),
        (["missing.json"], "'missing.json' cannot be read"),
        (["none"], "Nobody knows a blueprint 'none'. Known here: hears, order"),
        (["order", "--app", "shop:nothing"], "shop has no 'nothing'"),
        (["order", "--app", "no.such"], "There is no module 'no.such'"),
    ],
)
def test_a_wrong_argument_is_named(
    project: Path, flowcraft: Call, arguments: list[str], told: str
) -> None:
    """What is wrong with an argument is said in one message, with the exit code 2."""
    ended = flowcraft("start", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert "Traceback" not in ended.err


def test_a_run_that_is_not_over_in_time_is_told_by_the_exit_code(
    project: Path, flowcraft: Call
) -> None:
    """Waiting ends at the timeout with 6, and the run is there."""
    ended = flowcraft("start", "order", "-c", "amount=1", "--wait", "--timeout", "0.01")
    assert ended.code == 6
    assert "Started" in ended.err


def test_the_id_of_a_flow_may_end_as_a_file_does(
    project: Path, flowcraft: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flow that the app has by this id is meant, in start, run and schedules; else a file."""
    (project / "files.py").write_text(
        "from flowcraft import FlowRuntime, create_flow\n\n"
        "def read(ctx):\n    return 1\n\n"
        "runtime = FlowRuntime(flows=[create_flow('in.json').node('read', read)])\n"
    )
    monkeypatch.setenv("FLOWCRAFT_APP", "files:runtime")
    with forgotten("files"):
        assert flowcraft("start", "in.json", "--work", "--json").data["outputs"] == {"read": 1}
        assert flowcraft("run", "in.json", "--json").data["outputs"] == {"read": 1}
        assert flowcraft("schedule", "add", "s", "in.json", "--every", "1h").code == 0
        ended = flowcraft("start", "out.json")
        assert (ended.code, "'out.json' cannot be read" in ended.err) == (2, True)


def test_a_start_of_nobodys_flow_leaves_no_file(
    tmp_path: Path, flowcraft: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an app and without runs there is nothing to start, and no file of runs is made."""
    monkeypatch.chdir(tmp_path)
    ended = flowcraft("start", "order")
    assert (ended.code, "No app is configured" in ended.err) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("time", ["2999-03-01T12:30", "2999-03-01", "2999-03-01T12:30+02:00"])
def test_a_start_at_a_time_takes_what_the_list_takes(
    project: Path, flowcraft: Call, time: str
) -> None:
    """A time without seconds, a day, and one of another zone; anything else is refused."""
    assert flowcraft("start", "order", "-c", "amount=1", "--at", time).code == 0
    ended = flowcraft("start", "order", "--at", "tomorrow")
    assert (ended.code, "'tomorrow' is no time such as 2026-03-01" in ended.err) == (2, True)


@pytest.mark.parametrize("flag", ["--wait", "--work"])
def test_who_waits_is_told_what_the_run_waits_for(
    project: Path, flowcraft: Call, flag: str
) -> None:
    """A run that needs an answer says so, with the command that gives it."""
    if flag == "--wait":
        flowcraft(
            "start", "order", "-c", "amount=2000", "--run-id", "r", "--work", "--timeout", "1"
        )
    arguments = ["-c", "amount=2000", "--run-id", "r", flag, "--timeout", "1"]
    ended = flowcraft("start", "order", *arguments)
    assert ended.code in (0, 6)
    assert "flowcraft resume r --node approve --action yes" in ended.err


def test_closed_input_is_told(
    project: Path, flowcraft: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the shell has closed standard input nothing can be read from it."""
    monkeypatch.setattr("sys.stdin", None)
    ended = flowcraft("start", "order", "--context-file", "-")
    assert (ended.code, "Standard input is closed" in ended.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--run-id", ""), "--run-id is empty"),
        (("--run-id", "a\nb"), "--run-id holds control characters"),
        (("--budget-usd", "1"), "--budget-usd and --budget-requests are for runs on AWS"),
    ],
)
def test_arguments_are_called_by_their_flags(
    project: Path, flowcraft: Call, arguments: tuple[str, str], said: str
) -> None:
    """What the engine refuses is told with the names that the command has for it."""
    ended = flowcraft("start", "order", *arguments)
    assert (ended.code, said in ended.err) == (2, True)
