"""The checker itself: what it lets pass and what it notices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.check import check_case, main
from tests.conformance.compare import check, equal, numbered, plain
from tests.conformance.texts import text_of

UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


def recorded(output: Any = 2) -> dict[str, Any]:
    """A case of one node that doubles nothing but a constant."""
    result: dict[str, Any] = {
        "op": "run",
        "status": "completed",
        "context": {"_outputs.a": output, "a": output},
        "undefined_keys": [],
        "errors": [],
        "thrown": None,
        "executions": {"a": {"count": 1, "attempts": 1, "inputs": [{"$undefined": True}]}},
    }
    node = {"id": "a", "uses": "const", "params": {"value": 2}}
    return {
        "name": "one",
        "kind": "run",
        "blueprint": {"id": "wf", "nodes": [node], "edges": []},
        "blueprints": {},
        "initial": {},
        "options": {"evaluator": "property"},
        "steps": [],
        "order_sensitive": [],
        "deviation_allowed": False,
        "expected": {"results": [result]},
    }


def write(folder: Path, name: str, case: Any) -> None:
    """Put a case into a folder."""
    (folder / f"{name}.json").write_text(json.dumps(case), encoding="utf-8")


def test_a_conforming_folder_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All cases pass: the last line says so and the exit code is 0."""
    write(tmp_path, "one", recorded())
    assert main([str(tmp_path), "--backend", "memory"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 0 failed"


def test_a_wrong_result_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A different output fails the case, is printed, and the exit code is 1."""
    write(tmp_path, "one", recorded(output=3))
    write(tmp_path, "two", {**recorded(), "name": "two"})
    assert main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "FAIL one"
    assert "    results[0].context.a: expected 3, got 2" in lines
    assert lines[-1] == "1 passed, 1 failed"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "not an object"),
        ('{"kind": "dance", "name": "x"}', "unknown kind 'dance'"),
        ('{"kind": "run", "name": "x"}', "it lacks 'expected', 'blueprint'"),
        ('{"kind": "run", "name": "x", "expected": {}, "blueprint": {"nodes": []}}', "KeyError"),
    ],
)
def test_a_broken_case_has_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, why: str
) -> None:
    """A file that is no case counts as failed and says why; the others are still checked."""
    (tmp_path / "broken.json").write_text(text, encoding="utf-8")
    write(tmp_path, "one", recorded())
    assert main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert why in printed
    assert printed.endswith("1 passed, 1 failed\n")


def test_outcomes_are_written_line_by_line(tmp_path: Path) -> None:
    """Each line names a case and has what happened, in the shape of ``expected``."""
    write(tmp_path, "one", recorded())
    outcomes = tmp_path / "outcomes.jsonl"
    main([str(tmp_path), "--outcomes", str(outcomes)])
    (line,) = map(json.loads, outcomes.read_text(encoding="utf-8").splitlines())
    assert line["name"] == "one"
    assert check(recorded(), line["actual"]) == ("pass", [])


def test_an_unknown_backend_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the backends there are."""
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), "--backend", "cobol"])
    assert stopped.value.code == 2
    assert "'memory'" in capsys.readouterr().err


def test_an_empty_folder_is_no_success(tmp_path: Path) -> None:
    """Nothing to check is an error, not a success."""
    assert main([str(tmp_path)]) == 2


def test_a_newer_outcome_and_a_deviation_pass() -> None:
    """A case may be met by its newer outcome, and missed where it allows that."""
    newer = {**recorded(output=1), "expected_newer": recorded()["expected"]}
    assert check_case(newer, "memory").verdict == "pass-newer"
    allowed = {**recorded(output=1), "deviation_allowed": True}
    assert check_case(allowed, "memory").verdict == "deviation"


def test_places_that_depend_on_order_are_skipped() -> None:
    """A difference at a place named in ``order_sensitive`` does not count."""
    places = ["results[0].context.a", "results[0].context._outputs.a"]
    case = {**recorded(output=1), "order_sensitive": places}
    assert check_case(case, "memory").verdict == "pass"


def test_inputs_count_from_level_two() -> None:
    """Another input of an execution is a difference at level 2 and none at level 1."""
    case = recorded()
    outcome = json.loads(json.dumps(case["expected"]))
    outcome["results"][0]["executions"]["a"]["inputs"] = [5]
    assert check(case, outcome, 1)[0] == "pass"
    assert check(case, outcome, 2)[0] == "fail"


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        (1, 1.0, True),
        (0.1 + 0.2, 0.3, True),
        (1, True, False),
        (10**400, 1.5, False),
        (None, {"$undefined": True}, True),
        ({"$undefined": True}, None, True),
        ({"a": None}, {}, True),
        ({"a": 0}, {}, False),
        ({"_executionId": "x"}, {"_executionId": "y"}, True),
        ([1, [2]], [1, [2.0]], True),
        ([1], [1, 2], False),
        ({}, [], False),
        (plain(float("nan")), {"$number": "NaN"}, True),
    ],
)
def test_what_counts_as_equal(one: Any, other: Any, verdict: bool) -> None:
    """Numbers by value, booleans apart, and a missing key, nothing and null alike."""
    assert equal(one, other) is verdict


def test_generated_ids_are_numbered_by_appearance() -> None:
    """The same id gets the same number, and what surrounds it stays."""
    outcome: Mapping[str, Any] = {"results": [{"context": {f"w_{UUID}_0": UUID}}]}
    assert numbered(outcome) == {"results": [{"context": {"w_<uuid-1>_0": "<uuid-1>"}}]}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ('ä"', 'ä"'),
        (1.0, "1"),
        (1e-7, "1e-7"),
        (1.5e22, "1.5e+22"),
        (0.00001, "0.00001"),
        (True, "true"),
        ({"b": [1.5, None, "ä\n"], "a": {}}, '{"b":[1.5,null,"ä\\n"],"a":{}}'),
    ],
)
def test_text_of_values(value: Any, text: str) -> None:
    """Values become text as the behaviours of the corpus define it."""
    assert text_of(value) == text


def test_deep_values_are_compared() -> None:
    """Nesting far deeper than Python's recursion limit is no obstacle."""
    one: Any = 1
    other: Any = 2
    for _ in range(50_000):
        one, other = [one], (other,)
    assert equal(plain(one), plain(one))
    assert not equal(plain(one), plain(other))
