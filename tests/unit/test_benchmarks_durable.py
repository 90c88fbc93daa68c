"""The benchmarks of durable runs: goals, tables and the command; what is measured is not judged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import contenders as environments
from benchmarks.cases import Case
from benchmarks.command import exit_code
from benchmarks.contenders import Unavailable
from benchmarks.durable import command, fleet
from benchmarks.durable.cases import (
    ALL,
    BARE_NORMAL,
    BATCHES,
    DBOS,
    DBOS_WAL,
    FULL,
    NORMAL,
    PARTS,
    rate_cases,
)
from benchmarks.durable.contender import Bare, contender
from benchmarks.durable.fleet import Batch, Hops, Shared
from benchmarks.durable.goals import growth
from benchmarks.durable.process import peak_bytes
from benchmarks.durable.report import Results, as_json, as_text
from benchmarks.rounds import Measured, Settings
from benchmarks.serving import Run
from benchmarks.workers import Asked, ContenderFailed
from tests.unit.runs import drive

BRIEF = Settings(rounds=3, seconds=0.0, warm_up_seconds=0.0)
MACHINE = {"date": "some day", "processors": 2, "system": "some system", "rounds": 3}
SMALL = Batch(1_001, [0.6, 0.5, 0.5], [0.1], 30_000_000)


def measured(shape: str, nodes: int, **costs: list[float]) -> Measured:
    names = {name.replace("_", "-"): each for name, each in costs.items()}
    return Measured(Case(shape, nodes, tuple(names)), names)


def judged(results: Results) -> dict[str, bool]:
    return {f"{each.goal}, {each.case}": each.reached for each in results.verdicts()}


def about(settings: str = "journal_mode=WAL") -> dict[str, str]:
    return {"name": "it", "version": "1", "settings": settings}


# Goals --------------------------------------------------------------------------------------


def test_three_thousand_nodes_a_second_are_asked_of_every_shape() -> None:
    """A cost is turned into a rate; fans count like chains, items of a batch do not."""
    results = Results(MACHINE)
    results.measured += [
        measured("chain", 100, normal=[1e6 / 3_000]),
        measured("fans", 1_000, normal=[1e6 / 2_999]),
        measured("batch", 5_000, normal=[1e6]),
    ]
    assert judged(results) == {
        "nodes a second and process, normal, chain of 100": True,
        "nodes a second and process, normal, fans of 1,000": False,
    }


def test_dbos_is_judged_beside_the_setting_that_promises_the_same() -> None:
    """Both outlive a loss of power there; the quicker setting of ours does not count."""
    results = Results(MACHINE)
    results.measured.append(measured("chain", 100, full=[400.0], normal=[10.0], dbos=[3_800.0]))
    assert not judged(results)["times as fast as DBOS, both full, chain of 100"]
    results.measured[0].costs[DBOS] = [3_880.0]
    assert judged(results)["times as fast as DBOS, both full, chain of 100"]


def test_hops_are_judged_by_their_median() -> None:
    """One slow hop does not miss a goal; each kind has a goal of its own."""
    results = Results(MACHINE, within=Hops([1.0, 2.0, 90.0], 0), across=Hops([150.0, 250.0], 1))
    assert judged(results) == {
        "hop through the queue, ms, within one process": True,
        "hop through the queue, ms, to another process": True,
    }
    results.across = Hops([150.0, 251.0], 1)
    assert not judged(results)["hop through the queue, ms, to another process"]


def test_one_worker_process_and_two_are_judged_alike() -> None:
    """A second worker may not bring a file below what one has to reach."""
    results = Results(MACHINE, shared=Shared([4_000.0, 3_100.0], [2_900.0, 3_000.0], [0.5, 0.5]))
    assert judged(results) == {
        "nodes a second, normal, one worker process": True,
        "nodes a second, normal, two on one file": False,
    }


@pytest.mark.parametrize(("seconds", "reached"), [(44.0, True), (44.2, False)])
def test_a_large_batch_is_judged_without_the_fixed_cost(seconds: float, reached: bool) -> None:
    """A further item costs 400 µs in the small batch; beyond 440 µs in the large one is a miss."""
    large = Batch(100_001, [seconds + 0.1], [0.1], 1)
    results = Results(MACHINE, batches=[SMALL, large])
    assert judged(results) == {"cost of a further item, 100,001 items over 1,001": reached}
    assert large.microseconds < SMALL.microseconds


def test_the_growth_of_a_batch_has_the_spread_of_its_rounds() -> None:
    """Each round of the small batch gives a ratio: the dearest one the smallest."""
    large = Batch(10_001, [4.1], [0.1], 1)
    found = growth(SMALL, large)
    assert (found.low, found.middle, found.high) == pytest.approx((0.8, 1.0, 1.0))


def test_a_batch_that_is_not_large_has_no_goal() -> None:
    """`--quick` measures a smaller one, for information."""
    assert judged(Results(MACHINE, batches=[SMALL, Batch(10_000, [99.0], [0.1], 1)])) == {}


# Reports ------------------------------------------------------------------------------------


def some_results() -> Results:
    results = Results(MACHINE, within=Hops([1.0], 0), across=Hops([80.0], 2))
    results.abouts[NORMAL] = about("journal_mode=WAL, synchronous=NORMAL")
    results.skipped[DBOS] = "there is no network"
    results.measured.append(measured("chain", 100, bare_normal=[20.0, 30.0], normal=[250.0]))
    results.shared = Shared([4_000.0], [5_000.0], [0.4, 0.6])
    results.batches += [SMALL, Batch(10_001, [4.1], [0.1], 90_000_000)]
    return results


def test_the_text_states_settings_and_who_is_missing() -> None:
    """Whoever reads a rate sees what it promises, and why DBOS is not there."""
    text = as_text(some_results())
    assert "SQLite, normal: it (1), journal_mode=WAL, synchronous=NORMAL" in text
    assert "DBOS is left out: there is no network" in text
    assert "Beside DBOS: not measured." in text
    assert "The machine was busy: a bare transaction took from 20.0 to 30.0 µs" in text


def test_the_text_has_every_part() -> None:
    """Rates, hops of both kinds, processes with their shares, batches with their memory, goals."""
    text = as_text(some_results())
    assert "4,000" in text
    assert "to another process, which has to look" in text
    assert "one 4,000, two 5,000 together (they ran 40% and 60%)" in text
    assert "90" in text.split("10,001 items")[1].splitlines()[0]
    assert "a further item 1.00 times (0.80 to 1.00)" in text
    assert "5 of 5 goals reached." in text


def test_the_text_compares_equal_promises_first() -> None:
    """Three comparisons, each with what both sides promise; one that is missing is left empty."""
    results = some_results()
    costs = {"normal": [250.0], "full": [500.0], "dbos": [5_000.0]}
    results.measured = [measured("chain", 100, **costs)]
    lines = as_text(results).split("Times as fast as DBOS")[1].splitlines()[3:6]
    assert [line.rpartition(": ")[2].split("  ")[0] for line in lines] == [
        "both outlive a loss of power",
        "both outlive their process",
        "both as they come; not the same promise",
    ]
    assert lines[0].endswith("10.00 (10.00 to 10.00)")
    assert lines[1].endswith("process")
    assert lines[2].endswith("20.00 (20.00 to 20.00)")


def test_the_json_has_every_round() -> None:
    """The data can be written as JSON and holds what the tables condense."""
    data = json.loads(json.dumps(as_json(some_results())))
    assert data["rates"][0]["microseconds_per_node"]["bare-normal"] == [20.0, 30.0]
    assert data["hops_across"] == {"milliseconds": [80.0], "others": 2}
    assert data["batches"][1]["peak_bytes"] == 90_000_000
    assert data["skipped"] == {DBOS: "there is no network"}
    assert all(goal["reached"] for goal in data["goals"])


# The command --------------------------------------------------------------------------------


class FakeWorker:
    """Answers at once, always the same."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = False

    def ask(self, request: Mapping[str, Any], limit_seconds: float) -> dict[str, Any]:
        if request["do"] == "about":
            return about()
        if self.name == DBOS_WAL and request["do"] == "measure":
            raise ContenderFailed("it ended")
        return {"runs": 1, "seconds": 1.0}

    def close(self) -> None:
        self.closed = True


def test_all_parts_are_measured_unless_some_are_named() -> None:
    """`--only` keeps the usual order; `--batch` is about batches alone."""
    assert command.read_arguments([]).parts == PARTS
    assert command.read_arguments([]).batches == BATCHES == (1_000, 100_000)
    assert command.read_arguments(["--only", "hops,rates"]).parts == ("rates", "hops")
    wishes = command.read_arguments(["--batch", "20_000,10", "--without", "dbos,dbos-wal"])
    assert (wishes.parts, wishes.batches) == (("batches",), (10, 20_000))
    assert set(ALL) - set(wishes.contenders) == {DBOS, DBOS_WAL}


@pytest.mark.parametrize(
    "wrong", [["--batch", "1000"], ["--batch", "1,2"], ["--only", "x"], ["--without", "x"]]
)
def test_a_wish_that_makes_no_sense_is_refused(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends at once with a message."""
    with pytest.raises(SystemExit):
        command.read_arguments(wrong)
    assert "error: argument" in capsys.readouterr().err


def test_dbos_takes_part_where_it_is_there_and_fails_by_itself() -> None:
    """One of the two is missing and one fails: both are named, the others have all figures."""
    started: list[FakeWorker] = []

    def start(name: str) -> Asked:
        if name == DBOS:
            raise Unavailable("no network")
        started.append(FakeWorker(name))
        return started[-1]

    wishes = command.Wishes(("rates",), ALL, BRIEF, 1, (2, 3), None, False)
    results = command.run(wishes, start, lambda _what: None)
    assert results.skipped == {DBOS: "no network"}
    assert results.failures == {DBOS_WAL: "it ended"}
    assert [set(one.costs) for one in results.measured] == [set(ALL[:5])] * len(rate_cases())
    assert all(worker.closed for worker in started)


def test_a_part_that_fails_is_named_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures are missing, the reason is in the heading, and the command fails."""

    async def failing(_rounds: int) -> Shared:
        raise ContenderFailed("a worker process ended with code 1")

    async def batches(small: int, large: int) -> list[Batch]:
        return [SMALL, Batch(large, [1.0], [0.1], small)]

    monkeypatch.setattr(fleet, "shared", failing)
    monkeypatch.setattr(fleet, "batches", batches)
    wishes = command.Wishes(("processes", "batches"), ALL, BRIEF, 1, (2, 3), None, False)
    results = command.run(wishes, FakeWorker, lambda _what: None)
    assert (results.shared, len(results.batches)) == (None, 2)
    assert "processes FAILED: ContenderFailed: a worker process ended" in as_text(results)
    assert exit_code(results, strict=False) == 1


def test_a_missed_goal_fails_the_command_only_if_that_is_asked_for() -> None:
    """As with the benchmarks in process: the table says MISS in any case."""
    results = some_results()
    assert exit_code(results, strict=True) == 0
    results.across = Hops([900.0], 0)
    assert "MISS" in as_text(results)
    assert exit_code(results, strict=False) == 0
    assert exit_code(results, strict=True) == 1


def test_what_cannot_be_installed_is_tried_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a network each attempt takes a while, and two contenders share an environment."""
    tries: list[str] = []

    def install(what: str, *_others: object) -> None:
        tries.append(what)
        raise Unavailable(f"{what} could not be installed: no network")

    monkeypatch.setattr(environments, "CACHE", tmp_path)
    monkeypatch.setattr(environments, "_install", install)
    monkeypatch.setattr(environments, "_failed", {})
    for name in (DBOS, DBOS_WAL):
        with pytest.raises(Unavailable, match="DBOS could not be installed: no network"):
            environments.start_elsewhere(name, "DBOS", "dbos", "some.module", name)
    assert tries == ["DBOS"]


def test_settings_of_dbos_in_the_shell_do_not_reach_it() -> None:
    """It would take another database, or send what it does elsewhere."""
    made = environments.environment({"DBOS_SYSTEM_DATABASE_URL": "x", "DBOS__CLOUD": "true"})
    assert not [name for name in made if name.startswith("DBOS_")]


# Measuring ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (BARE_NORMAL, "journal_mode=WAL, synchronous=NORMAL"),
        ("bare-full", "journal_mode=WAL, synchronous=FULL"),
        (NORMAL, "journal_mode=WAL, synchronous=NORMAL"),
        (FULL, "journal_mode=WAL, synchronous=FULL"),
    ],
)
def test_settings_are_read_from_an_open_file(name: str, settings: str, tmp_path: Path) -> None:
    """What is reported is what SQLite says, not what was asked for."""

    async def asked() -> dict[str, Any]:
        one = contender(name, tmp_path)
        try:
            return one.about()
        finally:
            await one.close()

    assert drive(asked())["settings"] == settings


@pytest.mark.parametrize(
    ("shape", "nodes"), [("chain", 100), ("chains", 1_000), ("fans", 1_000), ("batch", 20)]
)
def test_a_contender_checks_that_all_was_executed(shape: str, nodes: int, tmp_path: Path) -> None:
    """Each shape is run as often, and as large, as the number of its nodes says."""

    async def prepared() -> object:
        one = contender("memory", tmp_path)
        assert not isinstance(one, Bare)
        run: Run
        run, _ = await one.prepare(shape, nodes)
        try:
            return await run()
        finally:
            await one.close()

    assert drive(prepared()) == nodes


def test_the_peak_is_that_of_this_process() -> None:
    """It holds the interpreter at least, and is in bytes."""
    assert 8_000_000 < peak_bytes() < 64_000_000_000


@pytest.mark.slow
def test_worker_processes_are_measured_from_outside() -> None:
    """Hops stay in one process or lead to the other, a batch counts, and all of them tell."""

    async def measure() -> tuple[Hops, Hops, list[Batch]]:
        within, across = await fleet.hops_within(2), await fleet.hops_across(2)
        return within, across, await fleet.batches(10, 20, times=1)

    within, across, batches = asyncio.run(measure())
    assert (len(within.milliseconds), within.others) == (2, 0)
    assert len(across.milliseconds) + across.others == 2
    assert [batch.items for batch in batches] == [10, 20]
    assert all(min(batch.seconds) > 0 for batch in batches)
    assert all(batch.peak_bytes > 8_000_000 for batch in batches)
