"""What the HTTP API says, and takes, is in the words of HTTP and not in those of Python."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from flowcraft.engine import timetables
from flowcraft.errors import StorageFull
from flowcraft.web.problems import problem_of
from tests.unit.runs import drive
from tests.unit.web.stage import Web, looking, run_path, started

ORDER = {"flow": "order"}


async def start(web: Web, body: Any, **headers: str) -> Any:
    """What is said of a start that is refused."""
    return await web.call("POST", "/runs", {**ORDER, **body}, status=422, **headers)


def test_arguments_are_named_as_requests_name_them(tmp_path: Path) -> None:
    """What is wrong with a start is told by the names of the body, with the place in it."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            told = await start(web, {"runId": ""})
            assert told["detail"].startswith("'runId' is empty;")
            assert told["place"] == "/runId"
            told = await start(web, {"fairnessKey": ""})
            assert (told["place"], told["detail"][:13]) == ("/fairnessKey", "'fairnessKey'")
            told = await start(web, {"startAt": "0001-01-01T00:00:00+14:00"})
            assert told["place"] == "/startAt"
            told = await start(web, {"budgetUsd": 1})
            assert told["detail"].startswith("'budgetUsd' and 'budgetRequests' are for runs on AWS")
            told = await start(web, {}, Idempotency_Key="")
            assert told["parameter"] == "Idempotency-Key"
            assert told["detail"].startswith("'Idempotency-Key' is empty;")
            run_id = await started(web.app.stage.client)
            path = run_path(run_id)
            told = await web.call(
                "POST", f"{path}/rerun", {"node": "check", "newRunId": ""}, status=422
            )
            assert (told["place"], told["detail"][:10]) == ("/newRunId", "'newRunId'")
            told = await web.call("DELETE", path, status=409)
            assert told["detail"].endswith("or delete it by force.")

    drive(work())


def test_a_body_that_is_to_be_empty_says_so(tmp_path: Path) -> None:
    """Where a verb takes nothing, the answer to a body with something in it says that."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            path = run_path(await started(web.app.stage.client))
            told = await web.call("POST", f"{path}/pause", {"reason": "x"}, status=422)
            assert told["detail"] == "The body has no 'reason'; it is empty, or {}."

    drive(work())


def test_whole_numbers_may_be_written_with_a_point(tmp_path: Path) -> None:
    """JSON Schema takes 5.0 for a whole number, so the API does wherever one is meant."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            for verb in ("redrive", "delete"):
                body = {"run": "r", "limit": 5.0}
                assert (await web.call("POST", f"/dead-letters/{verb}", body))["done"] == 0
            body = {"every": "1h", "count": 2.0, "queueLimit": 3.0}
            assert len((await web.call("POST", "/schedules/preview", body))["times"]) == 2
            path = run_path(await started(web.app.stage.client))
            skip = {"node": "check", "iteration": [0.0]}
            told = await web.call("POST", f"{path}/skip", skip, status=409)
            assert "0.0" not in told["detail"]
            key = {"correlationKey": 7.0}
            told = await web.call("POST", "/events/paid", key, status=404)
            assert "'7'" in told["detail"]

    drive(work())


def test_spans_are_seconds_or_texts(tmp_path: Path) -> None:
    """A schedule's spans are taken as they are given: as seconds; or as text with a unit."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            body = {"id": "s", **ORDER, "every": 3600, "offset": 60.0}
            made = await web.call("POST", "/schedules", body, status=201)
            assert (made["every"], made["offset"]) == (3600, 60)
            back = {"every": made["every"], "offset": made["offset"]}
            assert (await web.call("PATCH", "/schedules/s", back))["every"] == 3600
            back = {"every": "2h", "offset": "1m"}
            assert (await web.call("PATCH", "/schedules/s", back))["every"] == 7200
            for wrong in (0, -1, 1e300, "soon"):
                told = await web.call("POST", "/schedules/preview", {"every": wrong}, status=422)
                assert told["place"] == "/every"
                assert "timedelta" not in told["detail"]
            told = await web.call("PATCH", "/schedules/s", {"every": True}, status=422)
            assert told["detail"] == "'every' is to be text or a number or null, not true."

    drive(work())


def test_cron_without_its_package_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that lacks what cron expressions need says so, and is no bug."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            every = {"id": "s", **ORDER, "every": "1h"}
            await web.call("POST", "/schedules", every, status=201)
            monkeypatch.setitem(sys.modules, "cronsim", None)
            timetables._cron.cache_clear()  # others may have read the same expression
            cron = {"cron": "0 3 * * *"}
            for method, path, body in (
                ("POST", "/schedules/preview", cron),
                ("POST", "/schedules", {"id": "t", **ORDER, **cron}),
                ("PATCH", "/schedules/s", {**cron, "every": None}),
            ):
                told = await web.call(method, path, body, status=500)
                assert told["type"] == "urn:flowcraft:problem:misconfigured"
                assert "flowcraft-sqs[schedules]" in told["detail"]
            assert len((await web.call("GET", "/schedules"))["schedules"]) == 1

    drive(work())


def test_a_page_behind_a_run_that_is_gone_is_documented(tmp_path: Path) -> None:
    """A page that is asked for behind a run that there is not is told 404, as documented."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            told = await web.call("GET", "/runs?after=nothing", status=404)
            assert told["type"] == "urn:flowcraft:problem:run-not-found"

    drive(work())


def test_an_iteration_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    """Who asks for a value without an iteration, or with a wrong one, learns which there are."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            path = run_path(await started(web.app.stage.client))
            told = await web.call("GET", f"{path}/values?node=check&iteration=3", status=404)
            assert told["detail"] == "'check' has no iteration '3'; it is in no loop: leave it out."

    drive(work())


def test_a_number_with_too_many_digits_is_told_without_python(tmp_path: Path) -> None:
    """The answer to a number of thousands of digits has no advice for programmers in Python."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            body = json.dumps(ORDER)[:-1].encode() + b', "context": ' + b"9" * 5_000 + b"}"
            sent = {"Content-Type": "application/json"}
            answer = await web.ask("POST", "/api/v1/runs", content=body, headers=sent)
            assert answer.status_code == 400
            told = answer.json()["detail"]
            assert (
                told == "The body is malformed JSON: a number has 5,000 digits, which is too many."
            )

    drive(work())


def test_what_can_never_be_stored_is_not_to_be_tried_again() -> None:
    """What is too large for the storage is the caller's to change: there is no Retry-After."""
    never = problem_of(StorageFull("It is too large.", is_fatal=True))
    assert (never.kind, never.status) == ("not-storable", 422)
    assert "Retry-After" not in never.all_headers()
    assert problem_of(StorageFull("The disk is full.")).status == 507
