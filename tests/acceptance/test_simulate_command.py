"""The command ``python -m flowcraft.testing.simulate``: what it shows, takes and refuses."""

from __future__ import annotations

import asyncio
import io
import math
import multiprocessing
import os
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.engine.stored import StoredRun
from flowcraft.testing.simulate import Report, interrupt, story_of
from flowcraft.testing.simulate.__main__ import main
from flowcraft.testing.simulate.interrupt import Stop
from flowcraft.testing.simulate.options import read_scenario
from flowcraft.testing.simulate.progress import Progress
from flowcraft.testing.simulate.soak.__main__ import main as soak
from tests.ablations.__main__ import main as ablations
from tests.docs.pages import blocks_of
from tests.house.source import ROOT

COMMAND = "$ python -m flowcraft.testing.simulate "
LEFT_OUT = "..."


def shown_in(page: str) -> tuple[str, list[str]]:
    """The options of the one run that a page shows, and the lines that it says are printed."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (block,) = [b for b in blocks_of(text) if b.text.startswith(f"{COMMAND}--one")]
    command, *lines = block.text.splitlines()
    return command.removeprefix(COMMAND), lines


def test_the_run_of_the_page_is_as_the_page_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Its fault happens, and each line of the page is printed, in the order of the page."""
    options, lines = shown_in("reliability.md")
    assert main(shlex.split(options)) == 0
    printed = capsys.readouterr().out.splitlines()
    (fault,) = read_scenario(options).faults
    assert any(
        f" {fault.process} {fault.number}: " in line and line.endswith(f"  <- {fault.kind}")
        for line in printed
    )
    rest = iter(printed)
    assert [line for line in lines if line != LEFT_OUT and line not in rest] == []


def test_one_run_shows_every_request(capsys: pytest.CaptureFixture[str]) -> None:
    """Each request of each process is printed with its number, and who logs what is between."""
    options = ["--one", "--graph", "diamond", "--seed", "3", "--fault", "worker-1:7:crash-after"]
    assert main(options) == 0
    lines = capsys.readouterr().out.splitlines()
    numbers = [line.split()[2] for line in lines if " worker-1 " in line]
    assert numbers == [f"{number}:" for number in range(1, 8)]
    (said,) = [line for line in lines if "another takes over" in line]
    assert said.split()[1] == "worker-2:"


def test_one_run_names_nodes_that_ran_again(capsys: pytest.CaptureFixture[str]) -> None:
    """A node whose worker died before its result was stored is named, with how often it ran."""
    options = ["--one", "--graph", "chain", "--seed", "3"]
    assert main(options) == 0
    assert "idempotency key" not in capsys.readouterr().out
    assert main([*options, "--fault", "worker-1:6:crash-before"]) == 0
    assert "node 'n0' ran 2 times for one idempotency key\n" in capsys.readouterr().out


def refused(options: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says to options that it refuses: one message, and the exit code for it."""
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(options))
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    usage, message = captured.err.splitlines()
    assert usage.startswith("usage: python -m flowcraft.testing.simulate")
    return message.partition("error: ")[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--doubles", "--doubles: only for one run, with --one"),
        ("--slow --workers 1", "--workers, --slow: only for one run, with --one"),
        ("--skew-seconds 2 --runs 5", "--skew-seconds: only for one run, with --one"),
        ("--sweep --stale --graph fan", "--stale: only for one run, with --one"),
        ("--graph random --older", "--older: only for one run, with --one"),
        ("--noise 0.5 --reconciler", "--noise, --reconciler: only for one run"),
        ("--stranger --concurrency 2", "--concurrency, --stranger: only for one run"),
        ("--fault worker-1:6:lost", "A fault of one request goes with --one."),
        ("--one --graph fan --runs 5", "--runs: not with --one"),
        ("--one --graph fan --jobs 2", "--jobs: not with --one"),
        ("--one --graph fan --sweep --single", "--sweep, --single: not with --one"),
        ("--sweep --graph fan --runs 5", "--runs: not with --sweep"),
        ("--single --graph fan", "--single: only with --sweep"),
    ],
)
def test_options_that_would_not_be_heeded_are_refused(
    options: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What says how one run is goes with one run, and what says how many there are does not."""
    assert message in refused(options, capsys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--runs -3", "--runs: '-3' is no whole number from 1"),
        ("--runs 0", "--runs: '0' is no whole number from 1"),
        ("--runs ²", "--runs: '²' is no whole number from 1"),
        ("--jobs 0", "--jobs: '0' is no whole number from 1"),
        ("--one --graph fan --workers 0", "--workers: '0' is no whole number from 1"),
        ("--one --graph fan --workers=-1", "--workers: '-1' is no whole number from 1"),
        ("--one --graph fan --concurrency 0", "--concurrency: '0' is no whole number"),
        ("--one --graph fan --noise nan", "--noise: 'nan' is no probability"),
        ("--one --graph fan --noise 7", "--noise: '7' is no probability: they are from 0 to 1"),
        ("--one --graph fan --noise some", "--noise: 'some' is no probability"),
        ("--one --graph fan --skew-seconds=-5", "'-5' is no number of seconds"),
        ("--one --graph fan --skew-seconds inf", "'inf' is no number of seconds"),
        ("--one --graph fan --fault worker-1:2:stall-before:-5", "from 0 to 86400 seconds"),
        ("--one --graph fan --fault worker-1:2:late:nan", "from 0 to 86400 seconds"),
        ("--one --graph fan --fault worker-1:2:slow-after:inf", "from 0 to 86400 seconds"),
        ("--one --graph fan --fault worker-1:2:lost:5", "lost takes no time"),
        ("--one --graph fan --fault worker-1:0:lost", "requests of a process begin with 1"),
        ("--one --graph fan --fault wroker-1:6:crash-before", "a process that never is"),
        ("--one --graph fan --fault worker-0:6:crash-before", "a process that never is"),
        (
            "--one --graph fan --fault worker-1:6:lost --fault worker-1:6:fail",
            "Two faults are of request 6 of worker-1",
        ),
    ],
)
def test_values_that_mean_nothing_are_refused(
    options: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbers out of their range and faults that no process can have are refused, and named."""
    assert message in refused(options, capsys)


def test_a_fault_that_did_not_happen_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A fault at a request that was never made is named after the run; one that happened is not."""
    options = ["--one", "--graph", "chain", "--seed", "3"]
    for fault in ("worker-1:9999:crash-before", "worker-9:1:lost", "worker-1:5:throttle"):
        options += ["--fault", fault]
    assert main(options) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "did not happen" in line]
    assert len(lines) == 2
    assert lines[0].startswith("the fault worker-1:9999:crash-before did not happen: worker-1 made")
    assert lines[1] == "the fault worker-9:1:lost did not happen: no worker-9 was there"


async def _nothing(ctx: Any) -> None:
    """A node that does nothing."""


SEARCHED = 5
"""So many runs are played to find out which requests there are to be disturbed."""


def interrupted(*, in_a_job: bool) -> Any:
    """A workflow whose third run has somebody press Ctrl-C, wherever it is played."""
    runs: list[int] = []

    def check(run: Any) -> None:
        if not isinstance(run, StoredRun):
            return  # of the runs in process, which are compared first
        runs.append(len(runs))
        if (multiprocessing.parent_process() is not None) is not in_a_job:
            return
        if len(runs) == (0 if in_a_job else SEARCHED) + 3:
            if in_a_job:
                os.kill(os.getppid(), signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    return story_of(create_flow("short").node("a", _nothing), check=check)


ended_at_the_third, ended_in_a_job = interrupted(in_a_job=False), interrupted(in_a_job=True)


def test_an_interrupted_campaign_says_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    """After Ctrl-C the present run is the last one, and what came of all so far is printed."""
    assert main(["--flow", f"{__name__}:ended_at_the_third", "--runs", "500"]) == 130
    captured = capsys.readouterr()
    total, how = captured.out.splitlines()[-2:]
    assert total.startswith("3 runs, 0 violations")
    assert how.startswith("Interrupted after 3 of 500 runs. ")
    assert captured.err == ""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupted_campaign_of_many_processes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that play runs hear of it from the command alone, and hand in what they have."""
    # Both may come to their third run: that is not somebody who presses it twice.
    monkeypatch.setattr(interrupt, "ONCE_SECONDS", math.inf)
    options = ["--flow", f"{__name__}:ended_in_a_job", "--runs", "5000", "--jobs", "2"]
    assert main(options) == 130
    captured = capsys.readouterr()
    total, how = captured.out.splitlines()[-2:]
    count = int(total.split()[0])
    assert 3 <= count < 5000
    assert how.startswith(f"Interrupted after {count} of 5000 runs. ")
    assert captured.err == ""


def test_nothing_begins_once_it_is_to_stop() -> None:
    """Things end, and so does the search for more of them that plays runs of its own."""
    stop = Stop()

    def numbers() -> Iterator[int]:
        made: Any = stop.before(_seven)
        while True:
            yield made()

    some = stop.until(numbers())
    assert [next(some), next(some)] == [7, 7]
    stop.set()
    assert list(some) == []
    assert list(stop.until(range(3))) == []
    with pytest.raises(KeyboardInterrupt):
        list(Stop().until(_pressing()))


def _seven() -> Any:
    return 7


def _pressing() -> Iterator[int]:
    yield 1
    raise KeyboardInterrupt


def test_violations_that_are_not_shown_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there are more violations than are kept it is said how many are left out."""
    assert main(["--flow", f"{__name__}:never_right", "--runs", "23"]) == 1
    printed = capsys.readouterr().out
    assert printed.count("to replay it: ") == 20
    assert "3 more violations are not shown: the first 20 are.\n" in printed


def _never(run: Any) -> None:
    raise AssertionError("never right")


never_right = story_of(
    create_flow("never-right").node("a", _nothing), check=_never, is_settled=False
)


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


def test_a_terminal_shows_how_far_it_is() -> None:
    """On a terminal there is a line that is written over; anywhere else there is nothing."""
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        progress = Progress(stream, 100)
        progress.clear()
        progress.show(Report(runs=7, violated=1))
        progress.clear()
    assert terminal.getvalue() == "\r\x1b[K7 of 100 runs, 1 violations\r\x1b[K"
    assert file.getvalue() == ""


def two_nodes() -> Any:
    """A flow."""
    return create_flow("short").node("a", _nothing)


def told_of() -> Any:
    """What is to be known of a flow, from a function."""
    return story_of(two_nodes, answers={}, check=_never, is_settled=False)


def asks_for_more(flow: Any) -> Any:
    """A function that cannot be called without anything."""
    return flow


async def _spins(ctx: Any) -> None:
    """A node that never comes to an end, and never waits for time."""
    while True:
        await asyncio.sleep(0)


endless = create_flow("endless").node("a", _spins)
malformed = {"id": "bad", "nodes": [{"id": "a"}], "edges": []}
seven = 7
HERE = __name__


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--flow :x", "':x' is no flow: write module:name."),
        ("--flow x:", "'x:' is no flow: write module:name."),
        ("--flow nowhere.at:all", "'nowhere.at:all' is not there: no module 'nowhere' is found."),
        (f"--flow {HERE}:nothing", f"'{HERE}' has no 'nothing'."),
        (f"--flow {HERE}:endless --runs 2", "The workflow cannot be simulated: "),
        (f"--flow {HERE}:seven", "it is of type int."),
        (f"--flow {HERE}:asks_for_more", "missing 1 required positional argument"),
        (f"--flow {HERE}:two_nodes --graph random", "no workflow 'random'. There are: short."),
        (
            f"--flow {HERE}:two_nodes --flow {HERE}:ended_in_a_job",
            f"'{HERE}:two_nodes' and '{HERE}:ended_in_a_job' are both called 'short'",
        ),
    ],
)
def test_a_flow_that_cannot_be_taken_is_refused(
    options: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is named with --flow, and is none, is refused with what it is instead."""
    assert message in refused(options, capsys)


def test_a_malformed_blueprint_is_refused_with_its_problems(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A blueprint with problems is refused with all of them, each with its place."""
    with pytest.raises(SystemExit) as ended:
        main(["--flow", f"{HERE}:malformed"])
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert f"'{HERE}:malformed' cannot be simulated: Blueprint 'bad' has 1 problem" in message
    assert message.endswith("\n  - nodes[0].uses: is missing\n")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import not_installed_here", "it needs 'not_installed_here', which is not installed."),
        ("1 / 0", "ZeroDivisionError: division by zero ("),
        ("def", "SyntaxError: "),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(
    code: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A module that lacks something, or fails as it is imported, is named with the reason."""
    (tmp_path / "my_broken_flows.py").write_text(f"{code}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    said = refused("--flow my_broken_flows:flow", capsys)
    assert said.startswith("'my_broken_flows' cannot be imported: ")
    assert message in said


def test_a_function_may_give_what_is_to_be_known_of_a_flow(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """--flow takes a function that gives what story_of gives: here with a check that fails."""
    assert main(["--flow", f"{HERE}:told_of", "--graph", "short", "--one"]) == 1
    assert "check: never right\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["fencing-token", "--replay", "--graph nope"], "There is no workflow 'nope'. There are: "),
        (["fencing-token", "--replay", "--graph fan --x"], "is no scenario: nobody knows --x."),
        (["--runs", "0"], "'0' is no whole number from 1"),
    ],
)
def test_ablations_refuse_what_they_cannot_replay(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run of a workflow that is not there is refused by the ablations as well."""
    with pytest.raises(SystemExit) as ended:
        ablations(options)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--runs", "0"], ["--days", "0"], ["--days", "nan"], ["--days", "inf"]]
)
def test_a_soak_of_nothing_is_refused(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A soak has runs, and days in which they arrive."""
    with pytest.raises(SystemExit) as ended:
        soak(options)
    assert ended.value.code == 2
    assert options[0] in capsys.readouterr().err
