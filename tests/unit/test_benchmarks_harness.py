"""The benchmarks' harness: rounds, goals, tables and workers, without measuring anything."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import command, contenders, goals
from benchmarks.cases import (
    FLOOR,
    FLOWCRAFT,
    LANGGRAPH,
    NPM,
    SIZES,
    Case,
    engine_cases,
    information_cases,
)
from benchmarks.report import Results, as_json, as_text, table
from benchmarks.rounds import Measured, Settings, Spread, measure_case
from benchmarks.serving import Run, Server
from benchmarks.shapes import graph
from benchmarks.workers import Asked, ContenderFailed, Worker

BRIEF = Settings(rounds=3, seconds=0.0, warm_up_seconds=0.0)
MACHINE = {"date": "some day", "processors": 2, "system": "some system", "rounds": 3}


class FakeWorker:
    """Answers with costs that were thought up beforehand, and fails when they run out."""

    def __init__(self, name: str, log: list[str], costs: list[float]) -> None:
        self.name = name
        self.log = log
        self.costs = costs
        self.nodes = 0
        self.closed = False

    def ask(self, request: Mapping[str, Any], limit_seconds: float) -> dict[str, Any]:
        self.log.append(f"{request['do']} {self.name}")
        if request["do"] == "about":
            return {"name": self.name, "version": "1"}
        if request["do"] == "memory":
            return {"plan_bytes": 500.0, "run_bytes": 200.0, "peak_bytes": 300.0}
        if request["do"] == "prepare":
            self.nodes = request["nodes"]
            return {"planning_seconds": 1.0}
        if not self.costs:
            raise ContenderFailed("no more")
        # Two runs, so that a mistake about their number shows.
        return {"runs": 2, "seconds": self.costs.pop(0) * 2 * self.nodes / 1e6}

    def close(self) -> None:
        self.closed = True


def fakes(log: list[str], **costs: list[float]) -> dict[str, Asked]:
    return {name: FakeWorker(name, log, numbers) for name, numbers in costs.items()}


def ignored(_name: str, _why: str) -> None:
    """For tests in which nobody fails."""


def measured(shape: str, nodes: int, **costs: list[float]) -> Measured:
    return Measured(Case(shape, nodes, tuple(costs)), dict(costs))


# Shapes and cases ---------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [10, 100])
def test_a_chain_is_a_row(nodes: int) -> None:
    """A chain has the asked number of nodes, each leading to the next."""
    names, edges = graph("chain", nodes)
    assert len(set(names)) == nodes
    assert edges == [(names[i], names[i + 1]) for i in range(nodes - 1)]


def test_a_fan_has_one_start_and_one_end() -> None:
    """A fan of ten has eight nodes side by side between its start and its end."""
    names, edges = graph("fan", 10)
    between = names[1:-1]
    assert len(names) == 10
    assert edges[:8] == [("start", name) for name in between]
    assert edges[8:] == [(name, "end") for name in between]


def test_a_fan_of_two_is_refused() -> None:
    """Two nodes make no fan."""
    with pytest.raises(ValueError, match="at least 3"):
        graph("fan", 2)


def test_the_others_take_part_only_where_one_run_is_short() -> None:
    """The npm package and LangGraph sit out the sizes at which a run takes many seconds."""
    cases = {(case.shape, case.nodes): case.contenders for case in engine_cases(SIZES)}
    assert cases["chain", 1_000] == (FLOOR, FLOWCRAFT, NPM, LANGGRAPH)
    assert cases["fan", 3_000] == (FLOOR, FLOWCRAFT, NPM)
    assert cases["chain", 100_000] == (FLOOR, FLOWCRAFT)


# Rounds -------------------------------------------------------------------------------------


def test_rounds_are_interleaved_and_change_direction() -> None:
    """Everyone is prepared first; then each round has everyone once, every other one backwards."""
    log: list[str] = []
    workers = fakes(log, a=[1.0] * 3, b=[1.0] * 3)
    measure_case(Case("chain", 10, ("a", "b")), workers, BRIEF, ignored)
    rounds = ["measure a", "measure b", "measure b", "measure a", "measure a", "measure b"]
    assert log == ["prepare a", "prepare b", *rounds]


def test_costs_are_microseconds_per_node() -> None:
    """The time of all runs is divided by the runs and their nodes."""
    workers = fakes([], a=[4.0, 6.0, 5.0])
    found = measure_case(Case("chain", 100, ("a",)), workers, BRIEF, ignored)
    assert found.costs["a"] == pytest.approx([4.0, 6.0, 5.0])
    assert found.details["a"] == {"planning_seconds": 1.0}


def test_ratios_are_taken_within_a_round() -> None:
    """A round in which everything was slow does not change the ratio."""
    one = measured("chain", 10, flowcraft=[10.0, 40.0, 11.0], floor=[5.0, 20.0, 5.0])
    assert one.ratio(FLOWCRAFT, FLOOR) == Spread(2.0, 2.0, 2.2)
    assert one.ratio(NPM, FLOOR) is None


def test_one_who_fails_is_left_out_and_the_others_go_on() -> None:
    """A contender that fails in the second round is closed, named, and has no figures."""
    workers = fakes([], a=[1.0] * 3, b=[1.0])
    failing = workers["b"]
    failures: dict[str, str] = {}
    case = Case("chain", 10, ("a", "b"))
    found = measure_case(case, workers, BRIEF, failures.__setitem__)
    assert failures == {"b": "no more"}
    assert isinstance(failing, FakeWorker)
    assert failing.closed
    assert list(workers) == ["a"]
    assert list(found.costs) == ["a"]
    assert len(found.costs["a"]) == 3


def test_large_graphs_have_fewer_rounds() -> None:
    """One run of 100,000 nodes takes a second, so a third of the rounds must do."""
    settings = Settings(rounds=15)
    assert settings.rounds_for(Case("chain", 10_000, ())) == 15
    assert settings.rounds_for(Case("chain", 100_000, ())) == 5


# Goals --------------------------------------------------------------------------------------


def judged(*cases: Measured, memory: Mapping[str, float] | None = None) -> dict[str, bool]:
    return {
        f"{verdict.goal}, {verdict.case}": verdict.reached
        for verdict in goals.verdicts(cases, memory)
    }


def test_the_floor_is_a_bound_from_above() -> None:
    """Two and a half bare loops pass, a little more misses."""
    exact = measured("chain", 10, flowcraft=[12.5], floor=[5.0])
    above = measured("fan", 10, flowcraft=[12.6], floor=[5.0])
    assert judged(exact, above) == {
        "cost in bare loops, chain of 10": True,
        "cost in bare loops, fan of 10": False,
    }


@pytest.mark.parametrize(
    ("nodes", "npm", "reached"),
    [
        (10, 10.0, True),
        (10, 9.9, False),
        (100, 10.0, True),
        (1_000, 40.0, True),
        (1_000, 39.0, False),
        (3_000, 100.0, True),
        (3_000, 99.0, False),
    ],
)
def test_the_npm_package_is_a_bound_that_grows(nodes: int, npm: float, reached: bool) -> None:
    """As fast at 10 and 100 nodes, 4 times as fast at 1,000, 10 times at 3,000."""
    one = measured("chain", nodes, flowcraft=[10.0], npm=[npm])
    assert list(judged(one).values()) == [reached]


def test_langgraph_is_a_bound_at_every_size() -> None:
    """Fifteen times as fast, whatever the size."""
    one = measured("fan", 100, flowcraft=[10.0], langgraph=[149.0])
    assert judged(one) == {"times as fast as LangGraph, fan of 100": False}


def test_flatness_is_counted_in_bare_loops_from_a_hundred_nodes_up() -> None:
    """A size measured while the whole machine was slow is no dearer; ten nodes do not count."""
    sizes = [
        measured("chain", 10, flowcraft=[50.0], floor=[5.0]),
        measured("chain", 100, flowcraft=[8.0], floor=[5.0]),
        measured("chain", 1_000, flowcraft=[40.0], floor=[20.0]),
    ]
    key = "dearest size over cheapest, chains of 100 to 1,000"
    assert judged(*sizes)[key]
    assert not judged(*sizes, measured("chain", 3_000, flowcraft=[12.0], floor=[5.0]))[
        key.replace("1,000", "3,000")
    ]


def test_memory_is_judged_by_what_the_run_holds() -> None:
    """The plan is shared by all runs and not counted."""
    key = "bytes per finished node, chain"
    assert judged(memory={"run_bytes": 1024.0, "plan_bytes": 9e9}) == {key: True}
    assert judged(memory={"run_bytes": 1025.0, "plan_bytes": 0.0}) == {key: False}


def test_what_is_information_has_no_goal() -> None:
    """A shape that is no chain or fan is never judged."""
    assert judged(measured("giving-way", 1_000, flowcraft=[99.0], floor=[1.0])) == {}


# Reports ------------------------------------------------------------------------------------


def some_results() -> Results:
    results = Results(machine=MACHINE)
    results.abouts[FLOOR] = {"name": "bare", "version": "3"}
    results.skipped[NPM] = "there is no node"
    results.measured.append(measured("chain", 10, floor=[5.0, 5.0], flowcraft=[20.0, 20.0]))
    results.information.append(measured("batch", 1_000, flowcraft=[10.0]))
    results.memory = {"plan_bytes": 500.0, "run_bytes": 200.0, "peak_bytes": 300.0}
    return results


def test_a_table_has_even_columns() -> None:
    """The first column stands to the left, the others to the right, under a line."""
    assert table([["", "b"], ["one", "1"], ["x", "100"]]).splitlines() == [
        "       b",
        "---  ---",
        "one    1",
        "x    100",
    ]


def test_the_text_tells_who_is_missing_and_what_is_missed() -> None:
    """A skipped contender is named with its reason, a missed goal says so."""
    text = as_text(some_results())
    assert "npm is left out: there is no node" in text
    assert "4.00 to 4.00  MISS" in text
    assert "1 of 2 goals reached." in text
    assert "100,000" in text  # batch items a second
    assert "busy" not in text


def test_the_text_warns_of_a_busy_machine() -> None:
    """When the bare loop itself moved, the figures are to be taken with care."""
    results = some_results()
    results.measured.append(measured("fan", 10, floor=[9.0], flowcraft=[20.0]))
    assert "The machine was busy: the bare loop took from 5.0 to 9.0 µs" in as_text(results)


def test_the_json_has_every_round_and_every_goal() -> None:
    """The data can be written as JSON and holds what the tables condense."""
    data = json.loads(json.dumps(as_json(some_results())))
    assert data["cases"][0]["microseconds_per_node"] == {
        "floor": [5.0, 5.0],
        "flowcraft": [20.0, 20.0],
    }
    assert [case["has_goals"] for case in data["cases"]] == [True, False]
    assert [goal["reached"] for goal in data["goals"]] == [False, True]


# The command --------------------------------------------------------------------------------


def test_sizes_on_the_command_line_leave_out_the_rest() -> None:
    """`--sizes` measures those chains and fans and nothing else; `--million` adds one."""
    wishes = command.read_arguments(["--sizes", "100,10", "--million", "--without", "npm"])
    assert wishes.sizes == (10, 100, 1_000_000)
    assert wishes.contenders == (FLOOR, FLOWCRAFT, LANGGRAPH)
    assert not wishes.information
    assert wishes.settings.limit_seconds > Settings().limit_seconds


@pytest.mark.parametrize("wrong", [["--sizes", "2"], ["--rounds", "0"], ["--without", "x"]])
def test_a_wish_that_makes_no_sense_is_refused(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends at once with a message."""
    with pytest.raises(SystemExit):
        command.read_arguments(wrong)
    assert "error: argument" in capsys.readouterr().err


def small_wishes() -> command.Wishes:
    return command.Wishes((10,), command.ALL, BRIEF, True, None, False)


def test_a_run_measures_with_who_is_there() -> None:
    """A contender that is unavailable is skipped, the others are asked and closed at the end."""
    started: list[FakeWorker] = []

    def start(name: str) -> Asked:
        if name == NPM:
            raise contenders.Unavailable("no node")
        started.append(FakeWorker(name, [], [10.0] * 100))
        return started[-1]

    results = command.run(small_wishes(), start, lambda _what: None)
    assert results.skipped == {NPM: "no node"}
    assert results.failures == {}
    assert [one.case.name for one in results.measured] == ["chain of 10", "fan of 10"]
    assert len(results.information) == len(information_cases())
    assert results.memory is not None
    assert all(worker.closed for worker in started)


def test_a_contender_that_fails_makes_the_command_fail() -> None:
    """The exit code is 1 for a failure, for a missed goal only when that was asked for."""
    results = some_results()
    assert command.exit_code(results, strict=False) == 0
    assert command.exit_code(results, strict=True) == 1
    results.failures[LANGGRAPH] = "it ended"
    assert command.exit_code(results, strict=False) == 1


def test_a_failing_contender_is_named_and_the_run_goes_on() -> None:
    """One without figures fails in its first round; the tables are made without it."""
    results = command.run(
        small_wishes(),
        lambda name: FakeWorker(name, [], [] if name == LANGGRAPH else [10.0] * 100),
        lambda _what: None,
    )
    assert results.failures == {LANGGRAPH: "no more"}
    assert [one.cost(LANGGRAPH) for one in results.measured] == [None, None]
    assert results.measured[1].cost(NPM) is not None


def test_workers_get_a_clean_environment() -> None:
    """Hashes are fixed, debug modes dropped, the rest stays."""
    given = {"PATH": "p", "PYTHONASYNCIODEBUG": "1", "PYTHONHASHSEED": "7"}
    made = contenders.environment(given, PYTHONPATH="x")
    assert made["PYTHONHASHSEED"] == "0"
    assert made["PATH"] == "p"
    assert made["PYTHONPATH"] == "x"
    assert "PYTHONASYNCIODEBUG" not in made


def test_a_missing_program_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without node the npm package is unavailable, and the message says what is missing."""
    monkeypatch.setattr(shutil, "which", lambda _program: None)
    with pytest.raises(contenders.Unavailable, match="Node is not installed"):
        contenders.start(NPM)


# Workers ------------------------------------------------------------------------------------


class Counting:
    """A contender that counts how often it was executed."""

    def __init__(self) -> None:
        self.executed = 0

    def about(self) -> dict[str, Any]:
        return {"name": "counting"}

    async def prepare(self, shape: str, nodes: int) -> tuple[Run, dict[str, float]]:
        async def run() -> None:
            self.executed += 1

        return run, {"shape": len(shape), "nodes": nodes}


def test_a_server_executes_at_least_once() -> None:
    """Preparing warms up once and measuring runs once even when there is no time for it."""
    contender = Counting()
    server = Server(contender)
    prepare = {"do": "prepare", "shape": "fan", "nodes": 7, "warm_up_seconds": 0.0}

    async def ask() -> list[dict[str, Any]]:
        return [await server.answer(prepare), await server.answer({"do": "measure", "seconds": 0})]

    prepared, answer = asyncio.run(ask())
    assert prepared == {"shape": 3, "nodes": 7}
    assert answer["runs"] == 1
    assert contender.executed == 2


def test_a_server_measures_nothing_before_it_is_prepared() -> None:
    """A request out of order is refused."""
    with pytest.raises(ValueError, match="too early"):
        asyncio.run(Server(Counting()).answer({"do": "measure", "seconds": 0.0}))


ECHO = "import sys, json\nfor line in sys.stdin: print(line, end='', flush=True)"


def script(text: str) -> Worker:
    return Worker("script", [sys.executable, "-S", "-c", text], contenders.environment({}))


def test_a_worker_answers_line_by_line() -> None:
    """Requests and answers are JSON, one to a line."""
    worker = script(ECHO)
    assert worker.ask({"do": "x"}, 60.0) == {"do": "x"}
    assert worker.ask({"do": "y", "text": "µ\n"}, 60.0) == {"do": "y", "text": "µ\n"}
    worker.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('print(\'{"error": "no such shape"}\')', "script: no such shape"),
        ("raise SystemExit('all gone')", "script: ended with code 1: all gone"),
        ("pass", "script: ended with code 0: no message"),
    ],
)
def test_a_worker_that_fails_says_why(text: str, message: str) -> None:
    """An error for an answer, and the last words of a process that ended, reach the caller."""
    worker = script(text)
    with pytest.raises(ContenderFailed) as caught:
        worker.ask({"do": "x"}, 60.0)
    assert str(caught.value) == message
    worker.close()


def test_a_worker_that_does_not_answer_is_ended() -> None:
    """The limit is kept; the message names the request and the limit."""
    worker = script("import sys; sys.stdin.read()")
    with pytest.raises(ContenderFailed, match="ended over 'x', for which it had 0 s"):
        worker.ask({"do": "x"}, 0.0)
    worker.close()


def test_the_npm_package_is_pinned_and_locks_nothing() -> None:
    """The version is exact, and no lock file with download addresses lies beside it."""
    directory = Path(contenders.__file__).parent / "node"
    package = json.loads((directory / "package.json").read_text(encoding="utf-8"))
    assert package["dependencies"] == {"flowcraft": "2.10.1"}
    assert not (directory / "package-lock.json").exists()
    assert (directory / ".npmrc").read_text(encoding="utf-8").strip() == "package-lock=false"
