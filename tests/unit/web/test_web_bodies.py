"""Bodies and parameters of the HTTP API that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowcraft.web import Limits
from flowcraft.web.reading import MOST_DEPTH, strict_json
from tests.unit.runs import drive
from tests.unit.web.stage import Web, looking

JSON = {"Content-Type": "application/json"}


async def post(web: Web, body: Any, headers: dict[str, str] | None = None) -> Any:
    """Post a body as it is to where runs are started."""
    answer = await web.ask("POST", "/api/v1/runs", content=body, headers=headers or JSON)
    return answer.status_code, answer.json()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"flow": NaN}', "NaN"),
        (b'{"flow": -Infinity}', "Infinity"),
        (b'{"flow": 1e999}', "1e999"),
        (b'{"flow": "a", "flow": "b"}', "twice"),
        (b'{"flow": "a"', "line 1"),
        (b'{"flow": "a"} x', "Extra data"),
        (b'{"flow": "\\ud800"}', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b'\xef\xbb\xbf{"flow": "a"}', "malformed"),
        (b"\xff\xfe", "UTF-8"),
        (b'{"flow": ' + b"9" * 5_000 + b"}", "malformed"),
        (b'{"context": ' + b"[" * 101 + b"]" * 101 + b"}", "nested"),
        (b"[" * 100_000, "nested"),
        (b'{"flow": "a\nb"}', "control character"),
    ],
)
def test_malformed_bodies_are_refused(body: bytes, said: str, tmp_path: Path) -> None:
    """What is no strict JSON is refused with the place, and nothing is started."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            status, told = await post(web, body)
            assert (status, told["type"]) == (400, "urn:flowcraft:problem:bad-request")
            assert said in told["detail"]
            assert (await web.call("GET", "/runs"))["runs"] == []

    drive(work())


@pytest.mark.parametrize(
    ("body", "place", "said"),
    [
        ({}, "", "lacks 'flow'"),
        ([], "", "is to be an object, not a list"),
        (None, "", "not null"),
        ({"flow": 5}, "/flow", "text or an object"),
        ({"flow": "order", "contexts": {}}, "", "has no 'contexts'; it has 'flow'"),
        ({"flow": "order", "tags": {"a/b~": 1}}, "/tags/a~1b~0", "is to be text"),
        ({"flow": "order", "onFailure": "x"}, "/onFailure", "one of continue, fail_fast"),
        ({"flow": "order", "runId": ""}, "/runId", "'runId' is empty"),
        ({"flow": "order", "runId": "a\u0000b"}, "/runId", "control characters"),
        ({"flow": "order", "startAt": "soon"}, "/startAt", "is a time such as"),
        ({"flow": "order", "budgetUsd": -1}, "/budgetUsd", "'budgetUsd'"),
        ({"flow": "order", "budgetUsd": 10**400}, "/budgetUsd", ""),
        ({"flow": "order", "startAt": "0001-01-01T00:00:00+14:00"}, "/startAt", "out of range"),
        ({"flow": "order", "startAt": "9999-12-31T23:00:00-12:00"}, "/startAt", "out of range"),
        ({"flow": "nothing"}, None, "Nobody knows a blueprint 'nothing'"),
        ({"flow": {"id": "x", "nodes": [{"id": 1}]}}, None, "nodes[0]"),
    ],
)
def test_bodies_of_another_shape_are_refused(
    body: Any, place: str | None, said: str, tmp_path: Path
) -> None:
    """The answer names the place that is wrong, as a JSON pointer, and what may be there."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            status, told = await post(web, json.dumps(body))
            assert status == 422
            assert told.get("place") == place
            assert said in told["detail"]

    drive(work())


def test_a_malformed_blueprint_lists_its_problems(tmp_path: Path) -> None:
    """Each problem of a blueprint is told with its place."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            body = {"flow": {"id": "x", "nodes": [{"uses": 5}], "edges": [{}]}}
            _, told = await post(web, json.dumps(body))
            assert told["type"].endswith("blueprint-invalid")
            assert {each["place"] for each in told["problems"]} >= {"nodes[0].id"}

    drive(work())


def test_large_bodies_are_refused_before_they_are_read(tmp_path: Path) -> None:
    """A body over the limit is refused by its announced length, or once it goes on for too long."""

    read: list[int] = []

    async def receive() -> Any:
        read.append(1)
        return {"type": "http.request", "body": b" " * 1_000, "more_body": True}

    async def work() -> None:
        async with looking(tmp_path, limits=Limits(body_bytes=10_000)) as web:
            status, told = await post(web, b" " * 10_001)
            assert (status, told["limit"]) == (413, 10_000)
            stream = web.stream("/runs", content_type="application/json")
            stream.scope["method"], stream.receive = "POST", receive
            async with stream:
                assert stream.status == 413
            assert len(read) < 20
            assert (await post(web, b" " * 10_000))[0] == 400

    drive(work())


def test_a_long_value_is_not_repeated_whole(tmp_path: Path) -> None:
    """What is said of a value is short, however long the value is."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            for body in ({"flow": "order", "runId": ["x" * 100_000]}, {"flow": "x" * 100_000}):
                status, told = await post(web, json.dumps(body))
                assert status == 422
                assert len(told["detail"]) < 5_000

    drive(work())


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=x", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limit=" + "9" * 5_000, "limit"),
        ("status=over", "status"),
        ("live=perhaps", "live"),
        ("tag=x", "tag"),
        ("createdFrom=yesterday", "createdFrom"),
        ("createdFrom=0000-00-00", "createdFrom"),
        ("q=" + "x" * 1_001, "q"),
        ("nothing=1", "nothing"),
    ],
)
def test_parameters_that_are_none_are_refused(query: str, parameter: str, tmp_path: Path) -> None:
    """The answer names the parameter, and what it may be."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            told = await web.call("GET", f"/runs?{query}", status=400)
            assert told["parameter"] == parameter
            assert len(told["detail"]) < 300

    drive(work())


def test_times_without_a_zone_are_of_utc(tmp_path: Path) -> None:
    """A plus sign that an address has made a space is a plus sign again."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            for time in ("2026-03-01T12:30:00", "2026-03-01T12:30:00+02:00", "2026-03-01"):
                await web.call("GET", f"/runs?createdFrom={time}")

    drive(work())


@pytest.mark.parametrize("depth", [1, MOST_DEPTH])
def test_bodies_of_some_depth_are_read(depth: int) -> None:
    """What is nested as deep as it may be is read as it is."""
    data = strict_json(b"[" * depth + b"]" * depth)
    for _ in range(depth):
        assert isinstance(data, list)
        data = data[0] if data else None
    assert data is None
