"""The operations of the HTTP API: each does what its verb does, and answers as documented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from flowcraft.web.api import ROUTES
from tests.unit.runs import drive
from tests.unit.web.stage import DOCUMENT, Web, run_path, working


async def over(web: Web, run_id: str) -> Any:
    """The result of a run."""
    return await web.call("GET", f"{run_path(run_id)}/result?wait=9")


async def rests(web: Web, run_id: str, status: str) -> Any:
    """A run that is in a status, after a while."""
    async with web.stream(f"{run_path(run_id)}/events") as stream:
        while (event := await stream.event()) is not None:
            if event["data"].get("run", {}).get("status") == status:
                return event["data"]
    raise AssertionError(f"the run is never {status}")


async def steer(web: Web) -> None:
    """Start runs, and use every verb of them."""
    body = {"flow": "order", "context": {"amount": 2000}, "tags": {"tenant": "acme"}}
    first = await web.call("POST", "/runs", body, status=201, Idempotency_Key="k")
    again = await web.call("POST", "/runs", body, status=201, Idempotency_Key="k")
    assert first == again
    run_id = first["runId"]
    seen = await rests(web, run_id, "awaiting")
    assert seen["run"]["awaiting"][0]["schema"]["properties"] == {"by": {"type": "string"}}
    path = run_path(run_id)
    await web.call("POST", f"{path}/pause")
    await web.call("POST", f"{path}/pause", status=409)
    await web.call("POST", f"{path}/patch", {"values": {"note": 1}, "delete": ["amount"]})
    await web.call("POST", f"{path}/continue", {})
    await web.call("POST", f"{path}/resume", {"action": "maybe"}, status=409)
    await web.call("POST", f"{path}/resume", {"node": "approve", "action": "yes", "output": {}})
    ended = await over(web, run_id)
    assert (ended["status"], ended["outputs"]["send"]) == ("completed", "sent for 2000")
    rerun = await web.call("POST", f"{path}/rerun", {"node": "send", "newRunId": "again"})
    assert rerun["runs"] == ["again"]
    assert (await over(web, "again"))["isFinal"]
    whole = await web.call("GET", path)
    assert whole["context"]["note"] == 1
    assert whole["counts"] == {"succeeded": 3}
    assert "input" not in (await web.call("GET", f"{path}?values=false"))["nodes"][0]
    node = await web.call("GET", f"{path}/nodes/approve")
    assert node["instances"][0]["output"] == {}
    await web.call("GET", f"{path}/nodes/nobody", status=404)
    assert await web.call("GET", f"{path}/values?node=check") == 2000
    assert await web.call("GET", f"{path}/values?key=note") == 1
    await web.call("GET", f"{path}/values", status=400)
    await web.call("GET", f"{path}/values?key=nothing", status=404)
    assert (await web.call("GET", f"{path}/blueprint"))["blueprint"]["id"] == "order"
    drawn = await web.call("GET", f"{path}/picture")
    assert [box["id"] for box in drawn["boxes"]] == ["check", "approve", "send"]
    lines = (await web.call("GET", f"{path}/history")).text.splitlines()
    assert json.loads(lines[0])["runId"] == run_id
    assert json.loads(lines[-1]) == {"end": True, "events": len(lines) - 3}
    bare = (await web.call("GET", f"{path}/history?payloads=false")).text
    assert json.loads(bare.splitlines()[0])["payloads"] is False
    await web.call("DELETE", path)
    await web.call("GET", path, status=404)


async def fail(web: Web) -> None:
    """A run that fails is tried again; others are cancelled, and a node is skipped."""
    body = {"flow": "order", "context": {"amount": -1}, "runId": "bad"}
    await web.call("POST", "/runs", body, status=201)
    ended = await over(web, "bad")
    assert ended["errors"][0]["causes"][0]["message"] == "the till is <empty>"
    assert (await web.call("POST", "/runs/bad/retry"))["runs"] == ["bad~retry"]
    body = {"flow": "order", "context": {"amount": 2000}, "runId": "skipped"}
    await web.call("POST", "/runs", body, status=201)
    await rests(web, "skipped", "awaiting")
    await web.call("POST", "/runs/skipped/skip", {"node": "approve", "output": 1})
    assert (await over(web, "skipped"))["outputs"]["approve"] == 1
    await web.call(
        "POST", "/runs", {"flow": "hears", "context": {"number": 5}, "runId": "h"}, status=201
    )
    await rests(web, "h", "awaiting")
    await web.call("POST", "/events/paid", {"correlationKey": 6}, status=404)
    sent = await web.call("POST", "/events/paid", {"correlationKey": 5, "output": 1})
    assert sent["runs"] == ["h"]
    await web.call(
        "POST", "/runs", {"flow": "hears", "context": {"number": 7}, "runId": "c"}, status=201
    )
    await rests(web, "c", "awaiting")
    await web.call("POST", "/runs/c/cancel", {"reason": "of no use"})
    assert (await over(web, "c"))["status"] == "cancelled"
    page = await web.call("GET", "/runs?status=failed&status=cancelled&limit=1")
    assert ([run["runId"] for run in page["runs"]], page["read"]) == (["c"], 1)
    rest = await web.call("GET", f"/runs?status=failed&status=cancelled&after={page['after']}")
    assert "bad" in [run["runId"] for run in rest["runs"]]
    assert [r["runId"] for r in (await web.call("GET", "/runs?q=SKIP"))["runs"]] == ["skipped"]
    async with web.stream("/runs/events?limit=2") as stream:
        event = await stream.event()
        assert event is not None
        assert len(event["data"]["order"]) == 2
    web.operations.add("watchRuns")
    web.operations.add("watchRun")


async def schedule(web: Web) -> None:
    """A schedule is made, changed, paused, resumed, triggered and forgotten."""
    body = {"id": "each/day", "flow": "order", "every": "1h", "context": {"amount": 1}}
    made = await web.call("POST", "/schedules", body, status=201)
    assert (made["every"], made["context"]) == (3600.0, {"amount": 1})
    await web.call("POST", "/schedules", body, status=409)
    path = "/schedules/each%2Fday"
    assert (await web.call("PATCH", path, {"every": "2h", "startAt": None}))["every"] == 7200.0
    wrong = await web.call("PATCH", path, {"queueLimit": 0}, status=422)
    assert wrong["place"] == "/queueLimit"
    await web.call("PATCH", path, {}, status=422)
    assert (await web.call("POST", f"{path}/pause", {"note": "x"}))["pauseNote"] == "x"
    assert not (await web.call("POST", f"{path}/resume"))["paused"]
    run_id = (await web.call("POST", f"{path}/trigger"))["runId"]
    assert (await over(web, run_id))["status"] == "completed"
    assert (await web.call("GET", path))["ticks"][0]["runId"] == run_id
    assert len((await web.call("GET", f"{path}/ticks?count=3"))["times"]) == 3
    asked = {"every": "1d", "count": 2, "after": "2026-03-01T12:00:00Z"}
    times = (await web.call("POST", "/schedules/preview", asked))["times"]
    assert times[0] == "2026-03-02T00:00:00+00:00"
    assert [each["id"] for each in (await web.call("GET", "/schedules"))["schedules"]] == [
        "each/day"
    ]
    await web.call("DELETE", path)
    await web.call("GET", path, status=404)


async def look(web: Web) -> None:
    """What is known, how the fleet is, and dead letters."""
    assert (await web.call("GET", "/session"))["user"] == "local"
    known = (await web.call("GET", "/blueprints"))["blueprints"]
    assert "order" in [each["blueprintId"] for each in known]
    shown = await web.call("GET", "/blueprints/order")
    assert await web.call("GET", f"/blueprints/order?hash={shown['hash']}") == shown
    drawn = await web.call("GET", f"/blueprints/order/picture?hash={shown['hash']}")
    assert {box["id"] for box in drawn["boxes"]} == {"check", "approve", "send"}
    await web.call("GET", "/blueprints/nothing/picture", status=404)
    await web.call("GET", "/blueprints/order?hash=0", status=404)
    await web.call("GET", "/blueprints/nothing", status=404)
    assert (await web.call("GET", "/workers"))["kinds"] == []
    health = await web.call("GET", "/health")
    assert health["queue"]["oldestSeconds"] is None
    assert (await web.call("GET", "/drain-report"))["unreadRuns"] == 0
    assert (await web.call("GET", "/dead-letters"))["letters"] == []
    await web.call("GET", "/dead-letters/1", status=404)
    assert (await web.call("POST", "/dead-letters/redrive", {"all": True}))["done"] == 0
    await web.call("POST", "/dead-letters/redrive", {}, status=422)
    await web.call("POST", "/dead-letters/delete", {"all": True, "ids": ["1"]}, status=422)
    assert (await web.call("POST", "/dead-letters/delete", {"ids": ["1"]}))["missing"] == ["1"]


def test_every_operation_answers_as_documented(tmp_path: Path) -> None:
    """Each operation of the table is carried out, and its answers fit the OpenAPI document."""

    async def work() -> None:
        async with working(tmp_path) as (web, _):
            for part in (steer, fail, schedule, look):
                await part(web)
            document = await web.ask("GET", "/api/v1/openapi.json")
            assert document.json() == DOCUMENT
            assert web.operations == {route.name for route in ROUTES}

    drive(work())


def test_the_document_is_one() -> None:
    """Names are unique, each parameter of a path is there, and each schema is one."""
    names = [route.name for route in ROUTES]
    assert len(names) == len(set(names))
    for path, operations in DOCUMENT["paths"].items():
        for operation in operations.values():
            there = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            assert there == {part[1:-1] for part in path.split("/") if part.startswith("{")}
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    assert "description" in DOCUMENT["components"]["schemas"]["Node"]["properties"]["leaseUntil"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/runs/a/b", 404),
        ("GET", "/runs//events", 404),
        ("PUT", "/runs/a", 405),
        ("POST", "/health", 405),
        ("TRACE", "/runs", 405),
    ],
)
def test_other_addresses_and_methods_are_refused(
    method: str, path: str, status: int, tmp_path: Path
) -> None:
    """What is not in the table is a problem that says what there is."""

    async def work() -> None:
        async with working(tmp_path) as (web, _):
            told = await web.call(method, path, status=status)
            assert status == 404 or "has " in told["detail"]

    drive(work())


def test_options_and_head_tell_of_an_address(tmp_path: Path) -> None:
    """OPTIONS lists the methods, and HEAD has the headers of GET without its body."""

    async def work() -> None:
        async with working(tmp_path) as (web, _):
            options = await web.ask("OPTIONS", "/api/v1/runs/a")
            assert options.headers["allow"] == "DELETE, GET, HEAD, OPTIONS"
            head = await web.ask("HEAD", "/api/v1/session")
            assert (head.status_code, head.content) == (200, b"")
            assert (await web.ask("HEAD", "/api/v1/runs/events")).status_code == 405

    drive(work())
