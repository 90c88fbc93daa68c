"""The verbs that steer a run, as commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowcraft.errors import RunNotFound
from tests.unit.cli.conftest import Call, Look, Work


@pytest.fixture
def waiting(flowcraft: Call, work: Work) -> str:
    """A run that waits for an approval."""
    flowcraft("start", "order", "-c", "amount=2000", "--run-id", "r")
    assert work("r").status == "awaiting"
    return "r"


def test_a_wait_is_answered(waiting: str, flowcraft: Call, work: Work) -> None:
    """The action of the answer says which way the run goes on."""
    ended = flowcraft("resume", waiting, "--action", "yes", "-o", '{"by": "ops"}')
    assert (ended.code, ended.err) == (0, "Resumed: r\n")
    assert work(waiting, until=lambda run: run.status.is_final).status == "completed"


def test_an_answer_that_the_wait_does_not_take_is_refused(waiting: str, flowcraft: Call) -> None:
    """Another action than those of the wait changes nothing, and they are listed."""
    ended = flowcraft("resume", waiting, "--action", "maybe")
    assert ended.code == 4
    assert "yes" in ended.err
    assert "no" in ended.err


def test_a_run_is_paused_patched_and_continued(waiting: str, flowcraft: Call, work: Work) -> None:
    """Between pause and continue the context of a run can be changed."""
    assert flowcraft("patch", waiting, "-c", "note=x").code == 4
    assert flowcraft("pause", waiting).err == "Paused: r\n"
    assert flowcraft("pause", waiting).code == 4
    assert flowcraft("patch", waiting, "-c", "note=x", "--delete", "amount").code == 0
    assert flowcraft("continue", waiting).code == 0
    context = work(waiting, until=lambda run: "note" in run.context).context
    assert context["note"] == "x"
    assert "amount" not in context


def test_a_cancelled_run_is_over(waiting: str, flowcraft: Call, work: Work) -> None:
    """A cancelled run keeps the reason, and no verb changes it any more."""
    assert flowcraft("cancel", waiting, "--reason", "of no use").code == 0
    assert work(waiting, until=lambda run: run.status.is_final).status == "cancelled"
    for verb in (["cancel"], ["pause"], ["continue"], ["resume"]):
        ended = flowcraft(*verb, waiting)
        assert ended.code == 4
        assert "it is over" in ended.err


def test_what_failed_is_tried_again_in_a_new_run(project: Path, flowcraft: Call) -> None:
    """For a run that is over a retry prints the id of the new run."""
    flowcraft("start", "order", "-c", "amount=-1", "--run-id", "r", "--work")
    assert flowcraft("retry", "r").out == "r~retry\n"


def test_a_run_is_run_anew_from_a_node_with_another_input(project: Path, flowcraft: Call) -> None:
    """The new run takes over what came before the node, and gives it the input."""
    flowcraft("start", "order", "-c", "amount=1", "--run-id", "r", "--work")
    ended = flowcraft("rerun", "r", "send", "--input", "send=5", "--new-run-id", "again")
    assert ended.out == "again\n"
    ended = flowcraft("start", "order", "--run-id", "again", "--work", "--json")
    assert ended.data["outputs"]["send"] == "sent for 5"


def test_a_new_id_that_cannot_be_is_told_by_its_flag(project: Path, flowcraft: Call) -> None:
    """What the engine calls an argument the command calls a flag, and says so."""
    flowcraft("start", "order", "-c", "amount=1", "--run-id", "r", "--work")
    ended = flowcraft("rerun", "r", "send", "--new-run-id", "")
    assert "--new-run-id is empty; leave it out" in ended.err


def test_a_waiting_node_is_skipped_with_an_output(
    waiting: str, flowcraft: Call, work: Work
) -> None:
    """A node that waits counts as done, with the output that was given."""
    assert flowcraft("skip", waiting, "approve", "-o", "fine").code == 0
    run = work(waiting, until=lambda run: run.status.is_final)
    assert run.outputs["approve"] == "fine"
    assert flowcraft("skip", waiting, "nowhere").code != 0


def test_an_event_reaches_the_runs_that_wait_for_it(flowcraft: Call, work: Work) -> None:
    """An event goes by its name and key, and the runs it reached are printed."""
    flowcraft("start", "hears", "-c", "number=17", "--run-id", "r")
    work("r")
    assert flowcraft("event", "paid", "--key", "18").code == 4
    assert flowcraft("event", "paid", "--key", "17").out == "r\n"


def test_a_run_is_deleted_once_it_is_over(waiting: str, flowcraft: Call, look: Look) -> None:
    """A live run is only deleted by force, and a deleted one is not found."""
    assert flowcraft("delete", waiting, "--yes").code == 4
    assert flowcraft("delete", waiting, "--yes", "--force").code == 0
    with pytest.raises(RunNotFound):
        look(waiting)


@pytest.mark.parametrize(
    "arguments",
    [["cancel"], ["pause"], ["continue"], ["resume"], ["retry"], ["patch", "-c", "a=1"]],
)
def test_no_such_run_is_told_by_the_exit_code(
    project: Path, flowcraft: Call, arguments: list[str]
) -> None:
    """Each verb ends with 3 for a run that is not there, and with 5 where there is no file."""
    verb, *others = arguments
    assert flowcraft(verb, "none", *others).code == 5
    assert not (project / "runs.db").exists()
    flowcraft("start", "order", "-c", "amount=1")
    assert flowcraft(verb, "none", *others).code == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["resume", "r", "-o", "1", "--output-file", "f"], "either --output or --output-file"),
        (["resume", "r", "--output-file", "f"], "'f' cannot be read"),
        (["skip", "r", "n", "--iteration", "x"], "--iteration takes whole numbers"),
        (["rerun", "r", "n", "--input", "x"], "--input takes node=value"),
        (["patch", "r"], "There is nothing to change"),
    ],
)
def test_a_wrong_argument_of_a_verb_is_named(
    project: Path, flowcraft: Call, arguments: list[str], told: str
) -> None:
    """What is wrong is said before anything is looked at."""
    ended = flowcraft(*arguments)
    assert ended.code == 2
    assert told in ended.err


def test_a_look_tells_what_it_found(project: Path, flowcraft: Call) -> None:
    """One look by hand tells what it found, as numbers."""
    flowcraft("start", "order", "-c", "amount=1")
    assert flowcraft("reconcile", "--json").data["failedRuns"] == 0


def test_where_nobody_can_be_asked_nothing_is_deleted(waiting: str, flowcraft: Call) -> None:
    """Without --yes and without a terminal a run stays, and --yes is named; also with --json."""
    for arguments in (("delete", waiting), ("delete", waiting, "--json")):
        ended = flowcraft(*arguments)
        assert (ended.code, ended.out) == (2, "")
        assert "--yes" in ended.err
    assert flowcraft("status", waiting).code == 0
