"""Who is let in to the HTTP application, and what other sites cannot do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from flowcraft.client import FlowClient
from flowcraft.testing import VirtualClock
from flowcraft.web import User, create_app
from flowcraft.web.login import local_path
from flowcraft.web.security import COOKIE, SESSION_SECONDS, Gate, is_loopback
from tests.unit.runs import drive
from tests.unit.web.stage import Web, check_headers, looking

TOKEN = "a-token-of-some-length"
JSON = {"Content-Type": "application/json"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {"Host": "[::1]:8095"}, 200),
        ("127.0.0.1", {"Host": "127.0.0.1:8095"}, 200),
        ("127.0.0.1", {"Host": "LOCALHOST"}, 200),
        ("10.0.0.7", {}, 403),
        ("testclient", {}, 403),
        ("127.0.0.1", {"Host": "evil.example"}, 403),
        ("127.0.0.1", {"Host": "localhost.evil.example"}, 403),
        ("127.0.0.1", {"Host": "127.0.0.1.nip.example"}, 403),
        ("127.0.0.1", {"Host": "[::1"}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("127.0.0.1", {"Host": "evil@localhost"}, 403),
        ("127.0.0.1", {"Host": "localhost#.evil.example"}, 403),
        ("127.0.0.1", {"Host": "localhost/.evil.example"}, 403),
        ("127.0.0.1", {"Via": "1.1 proxy"}, 403),
        ("127.0.0.1", {"X-Forwarded-Proto": "https"}, 403),
        ("127.0.0.1", {"CF-Connecting-IP": "127.0.0.1"}, 403),
        ("127.0.0.1", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("127.0.0.1", {"Sec-Fetch-Site": "same-site"}, 403),
        ("127.0.0.1", {"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_without_a_token_only_this_machine_is_answered(
    client: str, headers: dict[str, str], status: int, tmp_path: Path
) -> None:
    """Another machine, another name, a proxy or a page of another site gets nothing."""

    async def work() -> None:
        async with looking(tmp_path) as own:
            web = Web(own.app, client=client)
            answer = await web.ask("GET", "/api/v1/session", headers=headers)
            assert answer.status_code == status
            check_headers(answer)
            if "Sec-Fetch-Site" not in headers:
                assert (await web.ask("GET", "/", headers=headers)).status_code == status

    drive(work())


def test_a_proxy_that_leaves_no_header_is_told_by_its_version(tmp_path: Path) -> None:
    """nginx passes requests on as HTTP/1.0 to the address of the application, unless it is told
    otherwise; with a token they are let in."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            assert await by_old_version(web, {}) == 403
        async with looking(tmp_path, token=TOKEN) as web:
            assert await by_old_version(web, BEARER) == 200

    drive(work())


async def by_old_version(web: Web, headers: dict[str, str]) -> int:
    """The status of an answer to a request by HTTP/1.0."""
    stream = web.stream("/session", **headers)
    stream.scope["http_version"] = "1.0"
    async with stream:
        return int(stream.status)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Referer": "http://localhost:8095/runs"}, 200),
        ({"Referer": "http://127.0.0.1/"}, 200),
        ({"Origin": "http://localhost"}, 200),
        ({"Referer": "https://flows.example.org/runs"}, 403),
        ({"Origin": "https://flows.example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Referer": "http://["}, 403),
    ],
)
def test_a_page_of_another_name_is_not_of_this_machine(
    headers: dict[str, str], status: int, tmp_path: Path
) -> None:
    """The dashboard does not work behind a proxy without a token, so nobody publishes it so."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            answer = await web.ask("GET", "/api/v1/session", headers=headers)
            assert answer.status_code == status
            # Who follows a link of another page sees the page.
            assert (await web.ask("GET", "/", headers=headers)).status_code == 200
        async with looking(tmp_path, token=TOKEN) as web:
            answer = await web.ask("GET", "/api/v1/session", headers={**headers, **BEARER})
            assert answer.status_code == 200

    drive(work())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer \xff".encode("latin-1").decode("latin-1")},
        {"Cookie": f"{COOKIE}={TOKEN}"},
        {"Cookie": f"{COOKIE}=99999999999.abc"},
        {"Cookie": f"{COOKIE}=.."},
    ],
)
def test_whoever_has_not_the_token_gets_nothing(headers: dict[str, str], tmp_path: Path) -> None:
    """With a token every request of the API has to bring it, from this machine, too."""

    async def work() -> None:
        async with looking(tmp_path, token=TOKEN) as web:
            for path in ("session", "openapi.json", "nothing"):
                sent = {name: value.encode("latin-1") for name, value in headers.items()}
                answer = await web.ask("GET", f"/api/v1/{path}", headers=sent)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"].startswith("Bearer")
                assert answer.json()["login"] is True

    drive(work())


def test_the_token_lets_in_from_anywhere(tmp_path: Path) -> None:
    """With the token neither the host nor a proxy matters."""

    async def work() -> None:
        async with looking(tmp_path, token=TOKEN) as own:
            web = Web(own.app, client="10.0.0.7")
            headers = {**BEARER, "Host": "flows.example", "X-Forwarded-For": "1.2.3.4"}
            answer = await web.ask("GET", "/api/v1/session", headers=headers)
            assert answer.json()["user"] == "token"

    drive(work())


def test_the_login_gives_a_cookie_for_the_token(tmp_path: Path) -> None:
    """The cookie lets in, is kept from scripts and other sites, and is forgotten at the end."""

    async def work() -> None:
        async with looking(tmp_path, token=TOKEN) as web:
            page = await web.ask("GET", '/login?next=/"><script>')
            assert "<script>" not in page.text
            check_headers(page)
            wrong = await web.ask("POST", "/login", data={"token": "wrong"})
            assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
            form = {"token": TOKEN, "next": "/runs/x"}
            answer = await web.ask("POST", "/login", data=form)
            assert (answer.status_code, answer.headers["location"]) == (303, "/runs/x")
            cookie = answer.headers["set-cookie"]
            for part in ("HttpOnly", "SameSite=strict", "Path=/;", f"Max-Age={SESSION_SECONDS}"):
                assert part in cookie
            assert "Secure" not in cookie
            assert TOKEN not in cookie
            secure = await web.ask("POST", "https://localhost/login", data=form)
            assert "Secure" in secure.headers["set-cookie"]
            sent = {"Cookie": cookie.partition(";")[0]}
            assert (await web.ask("GET", "/api/v1/session", headers=sent)).json()[
                "user"
            ] == "session"
            assert (await web.ask("GET", "/login", headers=sent)).status_code == 303
            out = await web.ask("POST", "/logout", headers=sent)
            assert 'flowcraft_session=""' in out.headers["set-cookie"]

    drive(work())


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}]
)
def test_other_sites_can_log_nobody_in_or_out(headers: dict[str, str], tmp_path: Path) -> None:
    """The forms of the login are refused where a page of another site has sent them."""

    async def work() -> None:
        async with looking(tmp_path, token=TOKEN) as web:
            for path in ("/login", "/logout"):
                answer = await web.ask("POST", path, data={"token": TOKEN}, headers=headers)
                assert answer.status_code == 403
                assert "set-cookie" not in answer.headers

    drive(work())


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nX: y", "", "/\x00", "/é"],
)
def test_the_login_leads_to_no_other_site(wanted: str) -> None:
    """Where to go after the login is a plain path of the application, or its beginning."""
    assert local_path(wanted, "/") == "/"
    assert local_path("/ops/runs", "/ops/") == "/ops/runs"
    assert local_path("/other", "/ops/") == "/ops/"


def test_a_session_ends() -> None:
    """A cookie of twelve hours ago lets nobody in, nor one whose time was altered."""
    clock = VirtualClock()
    gate = Gate(TOKEN, None, read_only=False, clock=clock)
    cookie = gate.new_session()
    assert gate.is_session(cookie)
    until, _, seal = cookie.partition(".")
    assert not gate.is_session(f"{int(until) + 1}.{seal}")
    assert not gate.is_session(f"{until}.{seal[:-1]}")
    other = Gate(f"{TOKEN}2", None, read_only=False, clock=clock)
    assert not other.is_session(cookie)
    clock.advance(SESSION_SECONDS + 1)
    assert not gate.is_session(cookie)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"X-Flowcraft": "1"}, 415),
        (JSON, 404),
        ({"Content-Type": "application/json; charset=utf-8"}, 404),
        ({**JSON, "Origin": "https://evil.example"}, 403),
        ({**JSON, "Origin": "null"}, 403),
        ({**JSON, "Origin": "http://localhost:81"}, 403),
        ({**JSON, "Origin": "http://localhost"}, 404),
        ({**JSON, "Sec-Fetch-Site": "cross-site"}, 403),
        ({**JSON, "Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_other_sites_can_change_nothing(
    headers: dict[str, str], status: int, tmp_path: Path
) -> None:
    """A change is refused unless it is JSON, and no page of another site has sent it."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            answer = await web.ask("POST", "/api/v1/runs/r/cancel", content=b"{}", headers=headers)
            assert answer.status_code == status

    drive(work())


def test_a_change_without_a_body_needs_a_header(tmp_path: Path) -> None:
    """A deletion that a form of another site could send is refused."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            for headers, status in (({}, 415), ({"X-Flowcraft": "1"}, 404), (JSON, 404)):
                answer = await web.ask("DELETE", "/api/v1/runs/r", headers=headers)
                assert answer.status_code == status

    drive(work())


def test_a_hook_says_who_asks(tmp_path: Path) -> None:
    """Nobody, somebody who may do all, and somebody who may only look."""
    users: dict[str | None, Any] = {"ann": "ann", "bob": User("bob", read_only=True)}

    async def auth(request: Request) -> Any:
        return users.get(request.headers.get("x-user"))

    async def work() -> None:
        async with looking(tmp_path, auth=auth) as own:
            web = Web(own.app, client="10.0.0.7")
            for path in ("/", "/api/v1/session"):
                assert (await web.ask("GET", path)).status_code == 401
            assert (await web.ask("GET", "/login")).status_code == 401
            for user, status in (("ann", 404), ("bob", 403)):
                headers = {"X-User": user, **JSON}
                answer = await web.ask("GET", "/api/v1/session", headers=headers)
                assert answer.json() | {"user": user, "readOnly": user == "bob"} == answer.json()
                answer = await web.ask("POST", "/api/v1/runs/r/pause", headers=headers)
                assert answer.status_code == status

    drive(work())


def test_nobody_changes_what_is_read_only(tmp_path: Path) -> None:
    """Each operation that changes something is refused, and all others are carried out."""

    async def work() -> None:
        async with looking(tmp_path, read_only=True) as web:
            told = await web.call("POST", "/runs", {"flow": "order"}, status=403)
            assert told["type"].endswith("read-only")
            assert (await web.call("GET", "/runs"))["runs"] == []

    drive(work())


@pytest.mark.parametrize(
    "options",
    [
        {"token": "short"},
        {"token": TOKEN, "auth": lambda _: None},
        {"log_link": "javascript:alert(1)"},
        {"log_link": "https://{run_id}/"},
        {"log_link": "/logs"},
    ],
)
def test_what_would_not_be_safe_is_refused(options: dict[str, Any], tmp_path: Path) -> None:
    """A short token, two ways to let in, and links that are none of the web are refused."""
    with pytest.raises(ValueError, match=r"."):
        create_app(FlowClient.sqlite(tmp_path / "runs.db"), **options)


def test_it_is_mounted_in_another_application(tmp_path: Path) -> None:
    """Addresses, cookie and pages are those below where it is mounted."""

    async def work() -> None:
        async with looking(tmp_path, token=TOKEN) as web:
            outer = Web(Starlette(routes=[Mount("/ops", web.app)]), "/ops")
            body = {"flow": "order", "runId": "a/b"}
            made = await outer.call(
                "POST", "/runs", body, status=201, Authorization=f"Bearer {TOKEN}"
            )
            assert made["href"] == "/ops/api/v1/runs/a%2Fb"
            found = await outer.ask("GET", made["href"], headers=BEARER)
            assert found.json()["runId"] == "a/b"
            page = await outer.ask("GET", "/ops/runs/a%2Fb")
            assert '<base href="/ops/">' in page.text
            answer = await outer.ask("POST", "/ops/login", data={"token": TOKEN})
            assert "Path=/ops/;" in answer.headers["set-cookie"]
            assert answer.headers["location"] == "/ops/"

    drive(work())


@pytest.mark.parametrize(
    "path",
    [
        "/static/../security.py",
        "/static/%2e%2e/security.py",
        "/static/..%2fsecurity.py",
        "/static/%2fetc%2fpasswd",
        "/static//etc/passwd",
        "/static/index.html%00.css",
        "/static/",
        "/static/..\\security.py",
        "/static/%ff",
    ],
)
def test_no_file_but_those_of_the_pages_is_served(path: str, tmp_path: Path) -> None:
    """Whatever an address says, it names a file of the package's pages or nothing."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            status, text = await web.raw(path)
            assert status in (400, 404)
            assert "def " not in text

    drive(work())


def test_files_of_pages_are_served_with_a_tag(tmp_path: Path) -> None:
    """A file that a browser has is not sent again, and pages load nothing from elsewhere."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            answer = await web.ask("GET", "/static/login.css")
            assert answer.headers["content-type"] == "text/css; charset=utf-8"
            check_headers(answer)
            headers = {"If-None-Match": answer.headers["etag"]}
            again = await web.ask("GET", "/static/login.css", headers=headers)
            assert (again.status_code, again.content) == (304, b"")
            page = await web.ask("GET", "/")
            assert "https://" not in page.text
            assert "<style" not in page.text
            assert "onclick" not in page.text

    drive(work())


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example", False),
        ("", False),
    ],
)
def test_what_counts_as_this_machine(host: str, is_own: bool) -> None:
    """Names and addresses that nobody else can reach are this machine's."""
    assert is_loopback(host) is is_own
