"""Problems: each error is one, and each is documented."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from flowcraft import errors
from flowcraft.errors import FlowcraftError, StorageBusy, StorageError
from flowcraft.web.problems import KINDS, problem_of
from tests.house.source import ROOT
from tests.unit.runs import drive
from tests.unit.web.stage import check_headers, looking

ERRORS = [
    each
    for _, each in inspect.getmembers(errors, inspect.isclass)
    if issubclass(each, FlowcraftError)
]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_each_error_is_a_problem(kind: type[FlowcraftError]) -> None:
    """Trouble of the storage is the server's, everything else is the caller's."""
    error = kind([]) if kind is errors.BlueprintError else kind("what happened")
    problem = problem_of(error)
    assert problem.kind in KINDS
    assert (problem.status >= 500) == issubclass(kind, StorageError | errors.RunTimeout)
    assert problem.to_dict()["error"] == kind.__name__


def test_each_kind_of_problem_is_documented() -> None:
    """The table in the documentation has every kind at its status, and no other."""
    page = (ROOT / "docs" / "http-api.md").read_text(encoding="utf-8")
    table = page.partition("| status | types")[2].partition("\n\n")[0]
    told = set()
    for line in table.splitlines()[2:]:
        statuses = re.findall(r"\d{3}", line.split("|")[1])
        for name in re.findall(r"`([a-z-]+)`", line.split("|")[2]):
            assert str(KINDS[name].status) in statuses
            told.add(name)
    assert told == set(KINDS)


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (StorageBusy("It is <busy>."), 503, "It is <busy>."),
        (RuntimeError("a secret"), 500, "See the log of the application."),
        (FlowcraftError("x" * 100_000), 422, None),
    ],
)
def test_an_error_of_an_operation_is_told(
    error: Exception,
    status: int,
    detail: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What may pass says when to come back; of a bug nothing is in the answer but in the log."""

    async def work() -> None:
        async with looking(tmp_path) as web:

            async def broken(**_: Any) -> Any:
                raise error

            monkeypatch.setattr(web.app.stage.client, "list_runs", broken)
            told = await web.call("GET", "/runs", status=status)
            assert detail is None or told["detail"] == detail
            assert len(told["detail"]) < 5_000
            answer = await web.ask("GET", "/api/v1/runs")
            assert ("retry-after" in answer.headers) == (status == 503)

    drive(work())
    assert ("a secret" in caplog.text) == (status == 500)


def test_a_hook_that_breaks_lets_nobody_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An error in the user's own function is an answer without data."""

    async def auth(_: Request) -> str:
        raise RuntimeError("a secret")

    async def work() -> None:
        async with looking(tmp_path, auth=auth) as web:
            for path in ("/", "/api/v1/session"):
                answer = await web.ask("GET", path)
                assert (answer.status_code, "secret" in answer.text) == (500, False)

    drive(work())
    assert "a secret" in caplog.text


def test_links_are_answered_by_what_was_given(tmp_path: Path) -> None:
    """Addresses of links go to their own application, whoever asks, with the same headers."""

    async def hook(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.path_params["token"])

    links = Starlette(routes=[Route("/hooks/{token}", hook, methods=["POST"])])

    async def work() -> None:
        async with looking(tmp_path, token="a-token-of-some-length", links=links) as web:
            answer = await web.ask("POST", "/hooks/abc", headers={"Host": "flows.example"})
            assert (answer.status_code, answer.text) == (200, "abc")
            check_headers(answer)
        async with looking(tmp_path) as web:
            assert (await web.ask("POST", "/hooks/abc")).status_code == 405

    drive(work())


def test_who_changed_what_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A change is in the log with its user, on one line whatever is in an id."""
    caplog.set_level("INFO", "flowcraft.web")

    async def work() -> None:
        async with looking(tmp_path) as web:
            await web.call("POST", "/runs/a%0Ab/pause", status=404)
            await web.call("GET", "/runs")

    drive(work())
    lines = [each.getMessage() for each in caplog.records if each.name == "flowcraft.web"]
    assert lines == ["'local': pauseRun {'runId': 'a\\nb'}"]
