"""``flowcraft lint``: what it looks at, what it says, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Call


def write(directory: Path, name: str, document: Any) -> None:
    """A blueprint in a file."""
    (directory / name).write_text(json.dumps(document), encoding="utf-8")


FAULTY = {
    "id": "faulty",
    "nodes": [
        {"id": "a", "uses": "nothing", "config": {"fallback": "nobody"}},
        {"id": "s", "uses": "subflow", "params": {"blueprintId": "beside"}},
    ],
    "edges": [{"source": "a", "target": "s", "condition": "x =="}],
}
WARNED = {
    "id": "warned",
    "nodes": [{"id": "a", "uses": "x", "config": {"retries": 3}}],
    "edges": [],
}


def test_without_names_all_of_the_app_is_looked_at(project: Path, flowcraft: Call) -> None:
    """An app without mistakes is told as such, and the code is 0."""
    ended = flowcraft("lint")
    assert (ended.code, ended.out) == (0, "no errors, no warnings in 2 workflows.\n")


@pytest.mark.parametrize("name", ["order", "shop:order", "shop.py:order"])
def test_a_workflow_is_named_by_its_id_or_by_where_it_is(
    project: Path, flowcraft: Call, name: str
) -> None:
    """Only what is named is looked at."""
    ended = flowcraft("lint", name, "--json")
    assert [each["flow"] for each in ended.data["flows"]] == ["order"]


def test_findings_have_code_place_and_severity(
    tmp_path: Path, flowcraft: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors are code 1, and everything that is found is told at once."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "faulty.json", FAULTY)
    ended = flowcraft("lint", "faulty.json")
    assert ended.code == 1
    assert "UNKNOWN_FALLBACK  nodes[0].config.fallback" in ended.out
    assert "BAD_EXPRESSION  edges[0].condition" in ended.out
    assert ended.out.endswith("2 errors, no warnings in 1 workflow.\n")


def test_with_an_app_code_and_subflows_are_looked_for(project: Path, flowcraft: Call) -> None:
    """What the app lacks is an error; a subflow may be in a file that is looked at, too."""
    write(project, "faulty.json", FAULTY)
    alone = flowcraft("lint", "faulty.json", "--json").data["flows"][0]
    codes = {issue["code"] for issue in alone["issues"]}
    assert {"MISSING_NODE_IMPLEMENTATION", "INVALID_SUBFLOW_BLUEPRINT_ID"} <= codes
    write(project, "beside.json", {"id": "beside", "nodes": [], "edges": []})
    both = flowcraft("lint", "faulty.json", "beside.json", "--json").data["flows"][0]
    codes = {issue["code"] for issue in both["issues"]}
    assert "INVALID_SUBFLOW_BLUEPRINT_ID" not in codes
    assert "MISSING_NODE_IMPLEMENTATION" in codes


def test_warnings_count_where_that_is_asked_for(
    tmp_path: Path, flowcraft: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning alone is code 0, and 1 with --strict."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "warned.json", WARNED)
    assert flowcraft("lint", "warned.json").code == 0
    strict = flowcraft("lint", "warned.json", "--strict", "--json")
    assert (strict.code, strict.data["errors"], strict.data["warnings"]) == (1, 0, 1)


def test_a_malformed_blueprint_is_found_and_not_refused(
    tmp_path: Path, flowcraft: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be read is among the findings, with its place said once."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "bad.json", {"id": "x", "nodes": [{"uses": 5}], "edges": []})
    ended = flowcraft("lint", "bad.json")
    assert (ended.code, ended.out.count("nodes[0].id")) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nofile.json"], "'nofile.json' cannot be read: No such file or directory."),
        (["broken.json"], "malformed JSON: Expecting value at line 2, column 11."),
        (["list.json"], "'list.json' is a blueprint as a JSON object, not list."),
        (["nomodule:flow"], "There is no module 'nomodule'"),
        (["nothing"], "'nothing' is no flow that is known here"),
        ([], "No app is configured."),
    ],
)
def test_what_cannot_be_looked_at_is_told_in_one_message(
    tmp_path: Path,
    flowcraft: Call,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    told: str,
) -> None:
    """A missing or broken file, a missing module, no app: code 2, and no traceback."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.json").write_text('{"id": "x",\n"nodes": [}', encoding="utf-8")
    write(tmp_path, "list.json", [])
    ended = flowcraft("lint", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert "Traceback" not in ended.err


def test_an_unknown_flow_of_an_app_is_told_with_those_there_are(
    project: Path, flowcraft: Call
) -> None:
    """A misspelled id is answered by the ids that the app has."""
    ended = flowcraft("lint", "ordr")
    assert (ended.code, "It has: hears, order." in ended.err) == (2, True)
