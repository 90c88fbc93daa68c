"""The benchmark of the simulator: that it measures what it says, not how much that is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import simulated
from benchmarks.simulated import Rates, as_text, measure
from flowcraft.testing.simulate.zoo import STORIES


def test_each_backend_has_a_figure_for_each_round() -> None:
    """Every round of both backends gives runs, requests and turns, also in bare turns."""
    told: list[str] = []
    found = measure(["memory", "aws"], rounds=2, runs=1, tell=told.append)
    assert told == [f"round {n} of 2, {name} …" for n in (1, 2) for name in ("memory", "aws")]
    for rates in found.values():
        for figures in (rates.runs, rates.requests, rates.turns, rates.in_bare_turns):
            assert len(figures) == 2
            assert min(figures) > 0
        assert rates.requests[0] > rates.runs[0]


def test_the_table_shows_the_middle_and_the_ends() -> None:
    """Runs a second and the ratio come with the least and the most of the rounds."""
    text = as_text({"memory": Rates([10, 30, 20], [900.0] * 3, [5.0] * 3, [7, 8, 9])})
    cells = [each.strip() for each in text.splitlines()[-1].split("  ") if each]
    assert cells == ["memory", "20.0 (10.0 to 30.0)", "900", "5.0", "8 (7 to 9)"]


def test_the_command_writes_what_it_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The figures of every round are in the file, and the table is printed."""
    monkeypatch.setattr(simulated, "STORIES", {"chain": STORIES["chain"]})
    file = tmp_path / "figures.json"
    arguments = ["--backend", "memory", "--rounds", "1", "--json", str(file)]
    assert simulated.main(arguments) == 0
    assert "runs a second" in capsys.readouterr().out
    figures = json.loads(file.read_text())["backends"]["memory"]
    assert {name: len(each) for name, each in figures.items()} == dict.fromkeys(figures, 1)
