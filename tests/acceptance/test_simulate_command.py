"""The command ``python -m flowcraft.testing.simulate``: what it shows, takes and refuses."""

from __future__ import annotations

import shlex

import pytest

from flowcraft.testing.simulate.__main__ import main
from flowcraft.testing.simulate.options import read_scenario
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
