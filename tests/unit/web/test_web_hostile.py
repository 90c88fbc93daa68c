"""Runs whose ids, values and errors are meant to do harm, over the HTTP API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.web.portrait import log_href
from flowcraft.web.values import Cutter, json_text
from tests.unit.runs import drive
from tests.unit.web.stage import looking, run_path, working

IDS = [
    "<script>alert(1)</script>",
    "a/b/../c",
    "%2F",
    "a?b#c&d=e;f",
    "line separator\u2028x",
    "right\u202eto left",
    "ünïcode 🎉",
    "x" * 500,
    "events",
    "a\\b'\"",
]


@pytest.mark.parametrize("run_id", IDS)
def test_an_id_is_whatever_it_is(run_id: str, tmp_path: Path) -> None:
    """A run is found under its own id, and under no other, whatever signs are in it."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            body = {"flow": "order", "context": {"amount": 1}, "runId": run_id}
            made = await web.call("POST", "/runs", body, status=201)
            assert made["href"] == f"/api/v1{run_path(run_id)}"
            assert made["href"].isascii()
            assert (await web.call("GET", f"{run_path(run_id)}/result", status=202))[
                "runId"
            ] == run_id
            found = await web.call("GET", "/runs", status=200)
            assert [run["runId"] for run in found["runs"]] == [run_id]
            await web.call("POST", f"{run_path(run_id)}/cancel")

    drive(work())


@pytest.mark.parametrize("run_id", ["\x00", "a\r\nX-Evil: 1", "\x1b[31m", "\ufffe"])
def test_ids_that_no_run_has_are_not_found(run_id: str, tmp_path: Path) -> None:
    """Control characters in an address lead to an answer, and into no header."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            answer = await web.ask("GET", f"/api/v1{run_path(run_id)}")
            assert answer.status_code == 404
            assert "x-evil" not in answer.headers
            body = {"flow": "order", "runId": run_id}
            if run_id != "\ufffe":
                await web.call("POST", "/runs", body, status=422)
            sent = await web.ask("GET", "/api/v1/runs/%ff%fe")
            assert sent.status_code == 400

    drive(work())


@pytest.mark.parametrize("size", [10_000_000])
def test_large_values_are_cut_and_given_whole_elsewhere(size: int, tmp_path: Path) -> None:
    """An output of 10 MB is a few hundred bytes in the answer about its run, whole as a file."""

    async def work() -> None:
        async with working(tmp_path) as (web, _):
            body = {"flow": "bigs", "context": {"size": size}, "runId": "r"}
            await web.call("POST", "/runs", body, status=201)
            result = await web.call("GET", "/runs/r/result?wait=9")
            cut = result["cut"]["big"]
            assert (result["outputs"]["big"], cut["size"]) == (None, size + 2)
            whole = await web.ask("GET", "/api/v1/runs/r")
            assert len(whole.content) < 10_000
            assert whole.json()["nodes"][0]["cut"]["output"]["href"] == cut["href"]
            file = await web.ask("GET", cut["href"])
            assert file.headers["content-disposition"].startswith("attachment")
            assert len(file.json()) == size
            async with web.stream("/runs/r/events") as stream:
                event = await stream.event()
                assert len(json.dumps(event)) < 10_000

    drive(work())


def test_many_values_of_some_size_are_cut_together() -> None:
    """Values are told as long as there is room, and then cut."""
    cutter = Cutter(most=20, most_in_all=50)
    told = [cutter.fit("x" * 16, lambda: "there")[1] is None for _ in range(4)]
    assert told == [True, True, False, False]
    assert cutter.fit("x" * 100, lambda: "there")[1] is not None
    assert cutter.fit(1, lambda: "there") == (1, None)


@pytest.mark.parametrize("depth", [90, 200, 500, 5_000])
def test_deep_values_are_shown_or_cut(depth: int) -> None:
    """A value that is nested too deeply for a program to read is given as text only."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    shown, cut = Cutter(most=1_000_000).fit(value, lambda: "there")
    assert (cut is None) == (depth == 90)
    assert json_text(value) == "[" * depth + "1" + "]" * depth
    assert shown is None or json.dumps(shown)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), '"nan"'),
        ("\ud800", '"\ud800"'),
        ({1: {2}}, '{"1":[2]}'),
        (b"\xff", '"/w=="'),
        (10**5_000, None),
    ],
    ids=["nan", "surrogate", "set", "bytes", "large"],
)
def test_values_that_json_lacks_are_told(value: Any, text: str | None) -> None:
    """Whatever a node has given becomes text that any program can read."""
    shown = json_text(value)
    assert text is None or shown == text
    assert Cutter().fit(value, lambda: "there")


async def harm(ctx: Any) -> Any:
    raise RuntimeError("<script>alert(1)</script>\x00\x1b[31m\ud800" + "x" * 100_000)


def test_errors_that_mean_harm_are_data(tmp_path: Path) -> None:
    """Markup and control characters of an error stay text in JSON, and a long one is shortened."""
    flow = create_flow("harm").node("<img src=x onerror=alert(1)>", harm)

    async def work() -> None:
        async with working(tmp_path, flow) as (web, _):
            await web.call("POST", "/runs", {"flow": "harm", "runId": "r"}, status=201)
            result = await web.call("GET", "/runs/r/result?wait=9")
            message = result["errors"][0]["message"]
            assert message.startswith("<script>")
            assert len(message) < 3_000
            answer = await web.ask("GET", "/api/v1/runs/r")
            assert answer.headers["content-type"] == "application/json"
            assert b"\x00" not in answer.content
            assert b"\x1b" not in answer.content
            node = answer.json()["nodes"][0]["nodeId"]
            assert node == "<img src=x onerror=alert(1)>"

    drive(work())


def test_links_to_logs_hold_no_more_than_they_say() -> None:
    """Whatever is in an id is escaped in the link, and cannot change where it leads to."""
    template = "https://logs.example/{run_id}?node={node_id}&n={attempt}"
    href = log_href(template, "../{node_id}?x=<", "a&b=c#d", 2)
    assert href == "https://logs.example/..%2F%7Bnode_id%7D%3Fx%3D%3C?node=a%26b%3Dc%23d&n=2"
