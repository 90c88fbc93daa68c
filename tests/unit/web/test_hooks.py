"""Webhooks over HTTP: what a program may post, what it is told, and what is refused."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import httpx
import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.engine.client import FlowClient
from flowcraft.errors import FlowcraftError, StorageUnavailable
from flowcraft.memory import MemoryAdapter
from flowcraft.web.links import TokensHidden, create_links_app
from tests.unit.runs import drive
from tests.unit.web.link_site import HOST, LINKS, Site, site

SCHEMA = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
hook = create_flow("hook").webhook("h", schema=SCHEMA)
free = create_flow("free").webhook("h", actions=["paid", "failed"])


def of(answer: httpx.Response) -> tuple[int, str]:
    """Status and kind of a problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    data = answer.json()
    assert data["status"] == answer.status_code
    return answer.status_code, data["type"].removeprefix("urn:flowcraft:problem:")


def test_posted_json_is_the_result() -> None:
    """What is posted is the output of the node; posted again it is no error, another one is."""

    async def play() -> None:
        async with site(hook) as at:
            url = await at.url("hook")
            answer = await at.http.post(url, json={"id": 1, "name": "Ä"})
            assert (answer.status_code, answer.json()) == (
                200,
                {"status": "taken", "repeated": False},
            )
            again = await at.http.post(url, json={"name": "Ä", "id": 1})
            assert (again.status_code, again.json()["repeated"]) == (200, True)
            assert of(await at.http.post(url, json={"id": 2})) == (409, "already-answered")
            assert await at.outputs() == {"h": {"id": 1, "name": "Ä"}}
            assert of(await at.http.post(url, json={"id": 2})) == (409, "already-answered")

    drive(play())


def test_of_posts_at_the_same_moment_one_is_taken() -> None:
    """Each sender is told whether its own answer was taken."""

    async def play() -> None:
        async with site(hook) as at:
            url = await at.url("hook")
            posts = (at.http.post(url, json={"id": number}) for number in range(6))
            answers = await asyncio.gather(*posts)
            codes = [answer.status_code for answer in answers]
            assert sorted(codes) == [200] + [409] * 5
            assert await at.outputs() == {"h": {"id": codes.index(200)}}

    drive(play())


@pytest.mark.parametrize(
    ("link", "query", "code", "action"),
    [
        (None, "", 200, None),
        (None, "?action=failed", 200, "failed"),
        ("paid", "", 200, "paid"),
        ("paid", "?action=paid", 200, "paid"),
        ("paid", "?action=failed", 422, None),
        (None, "?action=timeout", 422, None),
        (None, "?action=", 422, None),
    ],
)
def test_an_action_is_one_that_the_link_or_the_wait_allows(
    link: str | None, query: str, code: int, action: str | None
) -> None:
    """A link with an action answers with that, one without lets the sender choose a listed one."""

    async def play() -> None:
        async with site(free) as at:
            url = await at.url("free", action=link)
            answer = await at.http.post(url + query, json=1)
            assert answer.status_code == code
            if code == 200:
                await at.world.finish("r")
                assert at.world.events("r")[-1].action == action
            else:
                assert of(answer) == (422, "action-invalid")

    drive(play())


def test_an_empty_body_is_null() -> None:
    """A sender with nothing to say posts nothing, whatever type it says that is."""

    async def play() -> None:
        async with site(free) as at:
            answer = await at.http.post(await at.url("free", action="paid"))
            assert answer.status_code == 200
            assert await at.outputs() == {"h": None}

    drive(play())


JSON = "application/json"


@pytest.mark.parametrize(
    ("body", "headers", "told"),
    [
        (b'{"id": 1', {}, (400, "malformed")),
        (b"\xff\xfe", {}, (400, "malformed")),
        (b"NaN", {}, (400, "malformed")),
        (b'{"id": Infinity}', {}, (400, "malformed")),
        (b"1" * 5_000, {}, (400, "malformed")),
        (b"[" * 100_000, {}, (400, "malformed")),
        (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, {}, (400, "malformed")),
        (b"[" * 100 + b"]" * 100, {}, (422, "answer-invalid")),
        (b'{"id": "1"}', {}, (422, "answer-invalid")),
        (b'{"id": 1, "x": "\\ud800"}', {}, (422, "answer-invalid")),
        (b'{"id": 1}', {"content-type": "text/plain"}, (415, "not-json")),
        (b"id=1", {"content-type": "application/x-www-form-urlencoded"}, (415, "not-json")),
        (b'{"id": 1}', {"content-type": "application/json; charset=utf-16"}, (415, "not-json")),
        (b'{"id": 1}', {"content-type": ""}, (415, "not-json")),
        (b'{"id": 1}', {"content-encoding": "gzip"}, (415, "encoded")),
        (b'{"id": 1}' + b" " * 300_000, {}, (413, "too-large")),
        (b'{"id": 1}', {"sec-fetch-site": "cross-site"}, (403, "cross-site")),
        (b'{"id": 1}', {"sec-fetch-site": "same-site"}, (403, "cross-site")),
        (b'{"id": 1}', {"origin": "http://["}, (403, "cross-site")),
        (b'{"id": 1}', {"origin": "https://evil.example"}, (403, "cross-site")),
        (b'{"id": 1}', {"origin": "https://flows.example.org.evil.example"}, (403, "cross-site")),
    ],
)
def test_bad_requests_are_refused_and_change_nothing(
    body: bytes, headers: dict[str, str], told: tuple[int, str]
) -> None:
    """Malformed, oversized, compressed, foreign: each has its answer, and the link still holds."""

    async def play() -> None:
        async with site(hook) as at:
            url = await at.url("hook")
            facts = len(at.world.facts("r"))
            answer = await at.http.post(
                url, content=body, headers={"content-type": JSON, **headers}
            )
            assert of(answer) == told
            assert len(at.world.facts("r")) == facts
            assert at.world.messages() == []
            assert (await at.http.post(url, json={"id": 1})).status_code == 200

    drive(play())


def test_a_body_that_grows_and_grows_is_not_kept() -> None:
    """A body of unknown length is read up to its limit, and no further."""
    read = 0

    async def endless() -> Any:
        nonlocal read
        while True:
            read += 10_000
            yield b" " * 10_000

    async def play() -> None:
        async with site(hook, body_bytes=50_000) as at:
            url = await at.url("hook")
            headers = {"content-type": JSON}
            answer = await at.http.post(url, content=endless(), headers=headers)
            assert of(answer) == (413, "too-large")
            assert read <= 80_000

    drive(play())


def test_what_does_not_fit_is_told_by_place() -> None:
    """A program finds each problem with its place in the body."""

    async def play() -> None:
        async with site(hook) as at:
            answer = await at.http.post(await at.url("hook"), json={"id": "x"})
            expected = [{"place": "id", "message": "must be a whole number, not text"}]
            assert answer.json()["errors"] == expected

    drive(play())


async def invalid(at: Site) -> dict[str, str]:
    """Addresses that are not valid, each for another reason."""
    links = await at.links("hook")
    url = links["h"].url
    await at.world.client.start_run("free", run_id="other")
    await at.world.settle()
    (page,) = await at.world.client.answer_links("other", purpose="approval")
    token, other = url.rpartition("/")[2], page.url.rpartition("/")[2]
    version, key, content, signature = token.split(".")
    their = other.split(".")
    return {
        "altered": url[:-1] + ("A" if url[-1] != "A" else "B"),
        "truncated": url[:-10],
        "another run": f"{LINKS.base_url}/hooks/{version}.{key}.{their[2]}.{signature}",
        "another purpose": f"{LINKS.base_url}/hooks/{other}",
        "another secret": f"{LINKS.base_url}/hooks/{version}.AAAAAAAA.{content}.{signature}",
        "no token": f"{LINKS.base_url}/hooks/x",
        "control characters": f"{LINKS.base_url}/hooks/%00%1b%5B31m",
        "too long": f"{LINKS.base_url}/hooks/{'x' * 7_000}",
    }


def test_what_is_not_valid_is_told_in_one_way() -> None:
    """No answer tells why a link is not valid, whatever is sent along."""

    async def play() -> None:
        async with site(hook, free) as at:
            answers = set()
            for name, url in (await invalid(at)).items():
                for body in (b'{"id": 1}', b"malformed"):
                    answer = await at.http.post(url, content=body, headers={"content-type": JSON})
                    assert of(answer) == (404, "link-not-valid"), name
                    answers.add((answer.content, str(sorted(answer.headers.items()))))
            assert len(answers) == 1

    drive(play())


def test_expired_links_and_runs_that_are_gone() -> None:
    """Both are gone for good, and told apart."""

    async def play() -> None:
        async with site(hook) as at:
            old, url = await at.url("hook", lifetime_seconds=60), await at.url("hook", "second")
            at.world.clock.advance(61)
            assert of(await at.http.post(old, json={"id": 1})) == (410, "link-expired")
            await at.world.client.delete_run("second", force=True)
            await at.world.settle()
            assert of(await at.http.post(url, json={"id": 1})) == (410, "run-gone")
            url = await at.url("hook", "third")
            await at.world.client.cancel_run("third")
            await at.world.settle()
            assert of(await at.http.post(url, json={"id": 1})) == (409, "already-answered")

    drive(play())


def test_other_methods_are_told_what_there_is() -> None:
    """HEAD, GET and the like are refused with what is allowed, OPTIONS says it; nothing happens."""

    async def play() -> None:
        async with site(hook) as at:
            url = await at.url("hook")
            facts = len(at.world.facts("r"))
            for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE"):
                answer = await at.http.request(method, url)
                assert answer.status_code == 405
                assert answer.headers["allow"] == "POST, OPTIONS"
                assert (answer.content == b"") is (method == "HEAD")
            answer = await at.http.options(url, headers={"origin": "https://evil.example"})
            assert (answer.status_code, answer.content) == (204, b"")
            assert answer.headers["allow"] == "POST, OPTIONS"
            assert not any(name.startswith("access-control") for name in answer.headers)
            for path in ("/", "/hooks", "/hooks/", "/hooks/a/b", "/other/token"):
                assert (await at.http.post(path)).status_code == 404
            assert len(at.world.facts("r")) == facts

    drive(play())


def test_no_answer_is_kept_by_anybody() -> None:
    """Every reply forbids to cache it, to frame it, and to tell others its address."""

    async def play() -> None:
        async with site(hook) as at:
            url = await at.url("hook")
            for answer in (
                await at.http.post(url, json={}),
                await at.http.post(url, json={"id": 1}),
                await at.http.post(url + "x", json={"id": 1}),
                await at.http.options(url),
                await at.http.get(url),
            ):
                assert answer.headers["cache-control"] == "no-store"
                assert answer.headers["referrer-policy"] == "no-referrer"
                assert answer.headers["x-content-type-options"] == "nosniff"

    drive(play())


def test_trouble_with_the_storage_is_no_secret_and_no_detail() -> None:
    """A sender hears that it may try again, and nothing of what the matter is."""

    async def play() -> None:
        async with site(hook) as at:
            url = await at.url("hook")
            station = await at.world.client._opened()

            async def broken(*_: Any) -> Any:
                raise StorageUnavailable("the table arn:aws:secret cannot be used")

            station.runs.read = broken  # type: ignore[method-assign,assignment]
            answer = await at.http.post(url, json={"id": 1})
            assert of(answer) == (503, "storage-busy")
            assert answer.headers["retry-after"] == "5"
            assert "arn" not in answer.text

    drive(play())


def test_a_bug_is_told_without_its_insides(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody expected is in the log, and the sender hears only that."""

    async def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("secret insides")

    async def play() -> None:
        async with site(hook) as at:
            url = await at.url("hook")
            monkeypatch.setattr(FlowClient, "answer_by_link", broken)
            answer = await at.http.post(url, json={"id": 1})
            assert of(answer) == (500, "internal")
            assert "insides" not in answer.text
            assert url.rpartition("/")[2] not in caplog.text

    drive(play())
    assert "secret insides" in caplog.text


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ('%s - "%s %s HTTP/%s" %d', ("1.2.3.4", "POST", "/hooks/f1.a.b.c?action=x", "1.1", 200)),
        ("GET /approve/f1.a.b.c done", ()),
    ],
)
def test_logs_of_a_server_hold_no_tokens(message: str, arguments: tuple[Any, ...]) -> None:
    """What uvicorn logs of a request has the address without its token."""
    create_links_app(MemoryAdapter(FlowRuntime(links=LINKS).options))
    (hider,) = (
        f for f in logging.getLogger("uvicorn.access").filters if isinstance(f, TokensHidden)
    )
    record = logging.LogRecord("uvicorn.access", 20, "x", 1, message, arguments, None)
    assert hider.filter(record)
    text = record.getMessage()
    assert "f1." not in text
    assert "…" in text


def test_an_application_without_links_is_refused() -> None:
    """A client without links cannot serve any, and the error says what is missing."""
    with pytest.raises(FlowcraftError, match=r"FlowRuntime\(links=Links"):
        create_links_app(MemoryAdapter(FlowRuntime().options))


def test_hosts_of_the_request_count_as_ones_own() -> None:
    """Behind another name than the base address has, pages of that name may post."""

    async def play() -> None:
        async with site(hook) as at:
            url = await at.url("hook")
            own = {"origin": "https://inside.example", "host": "inside.example"}
            assert (await at.http.post(url, json={"id": 1}, headers=own)).status_code == 200
            known = {"origin": f"https://{HOST}", "host": "inside.example"}
            assert (await at.http.post(url, json={"id": 1}, headers=known)).status_code == 200

    drive(play())


def test_large_answers_are_taken_up_to_the_limit() -> None:
    """A body of just the limit is the result, byte for byte."""
    value = {"id": 1, "text": "x" * (256 * 1024 - 30)}

    async def play() -> None:
        async with site(hook) as at:
            body = json.dumps(value)
            assert len(body) <= 256 * 1024
            url = await at.url("hook")
            answer = await at.http.post(url, content=body, headers={"content-type": JSON})
            assert answer.status_code == 200
            assert await at.outputs() == {"h": value}

    drive(play())
