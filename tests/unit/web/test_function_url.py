"""Links behind a function URL of Lambda: the same replies, from and to its events."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from flowcraft import create_flow, lambda_functions
from flowcraft.settings import SettingsError
from flowcraft.web.function_url import answer_event
from flowcraft.web.link_pages import LinkPages
from tests.unit.runs import drive
from tests.unit.web.link_site import HOST, site

flow = create_flow("f").webhook("w", schema={"type": "integer"}, actions=["yes", "no"])


def event(method: str, url: str, body: str | None = None, **more: Any) -> dict[str, Any]:
    """What Lambda gives a function behind a function URL."""
    parts = urlsplit(url)
    return {
        "version": "2.0",
        "rawPath": parts.path,
        "rawQueryString": parts.query,
        "headers": {"content-type": "application/json", "host": HOST},
        "requestContext": {"domainName": HOST, "http": {"method": method, "path": parts.path}},
        "isBase64Encoded": False,
        **({} if body is None else {"body": body}),
        **more,
    }


def encoded(body: bytes) -> str:
    """A body as Lambda hands over what is no text."""
    return base64.b64encode(body).decode()


def test_a_function_takes_posts() -> None:
    """Bodies as text and in base64, actions in the address; HEAD has no body."""

    async def play() -> None:
        async with site(flow) as at:
            pages = LinkPages(at.world.client)
            url = await at.url("f")
            wrong = await answer_event(pages, event("POST", url, '"x"'))
            assert (wrong["statusCode"], json.loads(wrong["body"])["status"]) == (422, 422)
            assert wrong["headers"]["Cache-Control"] == "no-store"
            taken = await answer_event(
                pages, event("POST", f"{url}?action=yes", encoded(b"7"), isBase64Encoded=True)
            )
            assert taken["statusCode"] == 200
            assert json.loads(taken["body"]) == {"status": "taken", "repeated": False}
            assert (await at.outputs())["w"] == 7
            page = await at.url("f", "second", purpose="approval")
            looked = [await answer_event(pages, event(m, page)) for m in ("GET", "HEAD")]
            assert "<h1>" in looked[0]["body"]
            assert looked[1]["body"] == ""
            assert [each["statusCode"] for each in looked] == [200, 200]

    drive(play())


@pytest.mark.parametrize(
    ("body", "is_base64", "code"),
    [
        ("7" * 300_000, False, 413),
        (encoded(b" " * 300_000), True, 413),
        ("A" * 900_000, True, 413),
        ("no base64!", True, 400),
        ("\ud800", False, 400),
        (encoded(b"\xff\xfe"), True, 400),
    ],
)
def test_bodies_are_bounded_and_checked(body: str, is_base64: bool, code: int) -> None:
    """What is too large, or none of what it says it is, is refused as anywhere else."""

    async def play() -> None:
        async with site(flow) as at:
            pages = LinkPages(at.world.client)
            sent = event("POST", await at.url("f"), body, isBase64Encoded=is_base64)
            assert (await answer_event(pages, sent))["statusCode"] == code

    drive(play())


@pytest.mark.parametrize("path", ["", "/", "/x", "/hooks", "/hooks/", "//", "/a/hooks/x"])
def test_paths_that_are_none(path: str) -> None:
    """Whatever the path is, the function answers; a path of an API in front of it is left out."""

    async def play() -> None:
        async with site(flow) as at:
            pages = LinkPages(at.world.client)
            sent = event("POST", "https://x/", "1")
            assert (await answer_event(pages, {**sent, "rawPath": path}))["statusCode"] == 404
            url = await at.url("f")
            below = {**sent, "rawPath": f"/prod{urlsplit(url).path}"}
            assert (await answer_event(pages, below))["statusCode"] == 200
            again = {**below, "rawPath": f"{below['rawPath']}/"}
            assert json.loads((await answer_event(pages, again))["body"])["repeated"] is True

    drive(play())


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"Records": []},
        {"version": "1.0"},
        [],
        None,
        *(
            {"version": "2.0", "requestContext": context}
            for context in ({"http": {"method": "GET"}}, {"domainName": HOST, "http": "GET"}, {})
        ),
    ],
)
def test_events_of_others_are_refused(wrong: Any) -> None:
    """An event of a queue, or of another payload format, is an error of the function's set-up."""

    async def play() -> None:
        async with site(flow) as at:
            with pytest.raises(ValueError, match="payload format 2"):
                await answer_event(LinkPages(at.world.client), wrong)

    drive(play())


@pytest.fixture
def function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment of a function, with its runs in a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWCRAFT_BACKEND", "sqlite")
    yield monkeypatch
    lambda_functions._pages.cache_clear()
    lambda_functions._loop().run(asyncio.sleep(0))
    lambda_functions._loop().close()
    lambda_functions._loop.cache_clear()


def test_the_function_says_what_its_environment_lacks(function: pytest.MonkeyPatch) -> None:
    """Without a secret the first call says so, and how to make one."""
    with pytest.raises(SettingsError, match="FLOWCRAFT_LINKS_SECRET"):
        lambda_functions.links(event("GET", "https://x/approve/y"), None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="payload format 2"):
        lambda_functions.links({"Records": []}, None)  # type: ignore[arg-type]
    nameless = event("GET", "https://x/approve/y") | {"requestContext": {"http": {"method": "GET"}}}
    with pytest.raises(ValueError, match="payload format 2"):
        lambda_functions.links(nameless, None)  # type: ignore[arg-type]


def test_the_function_answers_by_its_own_address(function: pytest.MonkeyPatch) -> None:
    """With a secret alone it knows where it is, and tells that a link is not valid."""
    function.setenv("FLOWCRAFT_LINKS_SECRET", "a secret of more than 32 bytes for tests")
    answer = lambda_functions.links(event("GET", "https://x/approve/y"), None)  # type: ignore[arg-type]
    assert answer["statusCode"] == 404
    assert "This link is not valid" in answer["body"]
