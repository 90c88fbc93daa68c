"""Approval pages over HTTP: looking changes nothing, the form answers, nothing hostile gets in."""

from __future__ import annotations

import re
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.web.link_forms import form_of, spoken
from tests.unit.runs import drive
from tests.unit.web.link_site import Page, site

FORM: dict[str, Any] = {
    "type": "object",
    "description": "Look at the order first.",
    "properties": {
        "amount": {"type": "number", "minimum": 1, "title": "Amount to pay", "default": 12.5},
        "reason": {"enum": ["refund", 7, None]},
        "comment": {"type": "string", "maxLength": 500},
        "isTold": {"type": "boolean"},
        "due": {"type": "string", "format": "date"},
        "contact": {
            "type": "object",
            "properties": {"email": {"type": "string", "format": "email"}},
            "required": ["email"],
        },
        "lines": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["amount", "reason"],
    "additionalProperties": False,
}
pay = create_flow("pay").wait(
    "w", title="Pay?", schema=FORM, actions=["approve", "send_back", "no"]
)
ask = create_flow("ask").wait("w", title="Go on?", actions=["yes", "no"])
bare = create_flow("bare").wait("w")


def test_a_page_shows_what_is_asked() -> None:
    """Title, description, inputs with their limits, a button for each action, and until when."""

    async def play() -> None:
        async with site(pay) as at:
            answer = await at.http.get(await at.url("pay"))
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            page = Page(answer.text)
            for text in ("Pay?", "Look at the order first.", "Amount to pay", "Is told", "Contact"):
                assert text in page.text
            assert "Workflow pay · run r" in page.text
            assert re.search(r"once, until \w+ \d+, \d{4}, \d\d:\d\d UTC", page.text)
            amount = page.named("v0")
            assert (amount["type"], amount["value"], amount["min"]) == ("number", "12.5", "1")
            assert "required" in amount
            assert page.named("v1")["tag"] == "select"
            assert page.named("v2")["maxlength"] == "500"
            assert page.named("v3")["type"] == "checkbox"
            assert [page.named(f"v{n}")["type"] for n in (4, 5)] == ["date", "email"]
            assert page.named("v6")["tag"] == "textarea"
            buttons = [each for each in page.inputs if each["tag"] == "button"]
            assert [each["class"] for each in buttons] == ["main", "other", "bad"]
            assert "Approve Send back No" in page.text

    drive(play())


def test_every_input_has_a_label() -> None:
    """Whatever can be filled in is named for those who do not see the page."""

    async def play() -> None:
        async with site(pay) as at:
            html = (await at.http.get(await at.url("pay"))).text
            labelled = set(re.findall(r'<label for="(\w+)"', html))
            inside = set(re.findall(r'<label class="tick"><input type="checkbox" id="(\w+)"', html))
            ids = set(re.findall(r'<(?:input|select|textarea)[^>]* id="(\w+)"', html))
            assert ids == labelled | inside
            assert '<html lang="en">' in html
            assert html.count("<h1>") == 1

    drive(play())


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_looking_changes_nothing(method: str) -> None:
    """However often programs that check mails follow a link, nothing is written, nothing sent."""

    async def play() -> None:
        async with site(ask) as at:
            url = await at.url("ask", action="yes")
            facts = len(at.world.facts("r"))
            for query in ("", "?action=yes", "?action=0"):
                answer = await at.http.request(method, url + query)
                code = {"GET": 200, "HEAD": 200, "OPTIONS": 204}.get(method, 405)
                assert answer.status_code == code
            if method == "HEAD":
                assert answer.content == b""
                assert int(answer.headers["content-length"]) > 1_000
            assert len(at.world.facts("r")) == facts
            assert at.world.messages() == []

    drive(play())


def test_the_form_answers() -> None:
    """What is filled in has the types that the schema asks for, and the button is the action."""
    given = {
        "v0": "20",
        "v1": "1",
        "v2": " one\r\ntwo ",
        "v3": "on",
        "v4": "2030-01-31",
        "v5": "ada@example.org",
        "v6": "[1, 2]",
        "action": "1",
    }

    async def play() -> None:
        async with site(pay) as at:
            url = await at.url("pay")
            answer = await at.http.post(url, data=given)
            assert answer.status_code == 200
            assert "You chose “Send back”." in Page(answer.text).text
            assert (await at.outputs())["w"] == {
                "amount": 20,
                "reason": 7,
                "comment": " one\ntwo ",
                "isTold": True,
                "due": "2030-01-31",
                "contact": {"email": "ada@example.org"},
                "lines": [1, 2],
            }
            assert at.world.events("r")[-1].action == "send_back"
            assert (await at.http.post(url, data=given)).status_code == 200
            other = await at.http.post(url, data={**given, "action": "2"})
            assert other.status_code == 409
            page = await at.http.get(url)
            assert page.status_code == 409
            assert "The answer was “Send back”, and it stays." in Page(page.text).text

    drive(play())


def test_what_is_left_empty_is_left_out() -> None:
    """Optional inputs that are empty are no empty texts, and a choice may be null."""

    async def play() -> None:
        async with site(pay) as at:
            given = {f"v{number}": "" for number in (2, 4, 5, 6)}
            await at.http.post(
                await at.url("pay"), data={**given, "v0": "1", "v1": "2", "action": "0"}
            )
            assert (await at.outputs())["w"] == {"amount": 1, "reason": None, "isTold": False}

    drive(play())


def test_what_is_wrong_stands_beside_its_input() -> None:
    """All mistakes are shown at once, what was filled in stays, and the link still holds."""

    async def play() -> None:
        async with site(pay) as at:
            url = await at.url("pay")
            given = {"v0": "0", "v2": "<b>kept</b>", "v5": "ada", "v6": "[1,", "action": "0"}
            answer = await at.http.post(url, data=given)
            assert answer.status_code == 422
            page = Page(answer.text)
            for text in (
                "The answer was not sent.",
                "This must be at least 1.",
                "This is missing.",
                "This must be an e-mail address.",
                "This is no JSON.",
            ):
                assert text in page.text
            assert page.named("v0")["value"] == "0"
            assert page.named("v0")["aria-invalid"] == "true"
            assert "<b>kept" not in answer.text
            assert "&lt;b&gt;kept" in answer.text
            await at.http.post(url, data={"v0": "1", "v1": "0", "action": "0"})
            assert (await at.outputs())["w"]["amount"] == 1

    drive(play())


@pytest.mark.parametrize(
    ("flow", "options", "data", "output", "action"),
    [
        (ask, {}, {"action": "1"}, None, "no"),
        (ask, {"action": "yes"}, {"action": "0"}, None, "yes"),
        (bare, {}, {}, None, None),
        (bare, {"action": "anything"}, {"action": "0"}, None, "anything"),
    ],
)
def test_without_a_schema_there_are_only_buttons(
    flow: Any, options: dict[str, Any], data: dict[str, str], output: Any, action: str | None
) -> None:
    """A link with an action has that one button, a wait without actions one to send."""

    async def play() -> None:
        async with site(flow) as at:
            url = await at.url(flow.id, **options)
            page = Page((await at.http.get(url)).text)
            assert {each["tag"] for each in page.inputs} == {"button"}
            assert (await at.http.post(url, data={**data, "x": ""})).status_code == 200
            assert (await at.outputs())["w"] == output
            assert at.world.events("r")[-1].action == action

    drive(play())


FORM_TYPE = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("content", "headers", "code"),
    [
        (b"action=0", {"sec-fetch-site": "cross-site"}, 403),
        (b"action=0", {"sec-fetch-site": "same-site"}, 403),
        (b"action=0", {"origin": "https://evil.example"}, 403),
        (b"action=0", {"origin": "http://flows.example.org:8080"}, 403),
        (b"action=0", {"content-type": "text/plain"}, 415),
        (b'{"action": 0}', {"content-type": "application/json"}, 415),
        (b"action=0", {"content-type": "multipart/form-data; boundary=x"}, 415),
        (b"action=2", {}, 400),
        (b"action=-1", {}, 400),
        (b"action=yes", {}, 400),
        ("action=²".encode(), {}, 400),
        (b"", {}, 400),
        (b"\xff", {}, 400),
        (b"action=%ff", {}, 400),
        (b"&".join([b"a=1"] * 300), {}, 400),
        (b"action=0&x=" + b"y" * 300_000, {}, 413),
    ],
)
def test_bad_forms_are_refused_and_change_nothing(
    content: bytes, headers: dict[str, str], code: int
) -> None:
    """Cross-site, malformed, oversized: a page says so, and the link still holds."""

    async def play() -> None:
        async with site(ask) as at:
            url = await at.url("ask")
            facts = len(at.world.facts("r"))
            sent = {"content-type": FORM_TYPE, **headers}
            answer = await at.http.post(url, content=content, headers=sent)
            assert answer.status_code == code
            assert answer.headers["content-type"].startswith("text/html")
            assert len(at.world.facts("r")) == facts
            assert at.world.messages() == []

    drive(play())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "https://flows.example.org"},
        {"sec-fetch-site": "same-origin"},
    ],
)
def test_the_page_itself_may_send_its_form(headers: dict[str, str]) -> None:
    """Browsers that tell nobody where they come from are as welcome as those that do."""

    async def play() -> None:
        async with site(ask) as at:
            answer = await at.http.post(await at.url("ask"), data={"action": "0"}, headers=headers)
            assert answer.status_code == 200

    drive(play())


def test_pages_say_what_became_of_a_link() -> None:
    """Not valid, expired, gone, over: each has a page of its own, with what helps."""

    async def play() -> None:
        async with site(ask, pay) as at:
            url = await at.url("ask")
            old = await at.url("ask", "old", lifetime_seconds=60)
            gone, over = await at.url("ask", "gone"), await at.url("ask", "over")
            await at.world.client.delete_run("gone", force=True)
            await at.world.client.cancel_run("over")
            await at.world.settle()
            at.world.clock.advance(61)
            hook = (await at.links("pay", "p", purpose="webhook"))["w"].url
            pages = {
                url[:-4]: (404, "This link is not valid"),
                url.replace("/approve/f1", "/approve/f2"): (404, "This link is not valid"),
                hook.replace("/hooks/", "/approve/"): (404, "This link is not valid"),
                old: (410, "This link has expired"),
                gone: (410, "Nobody waits here any more"),
                over: (410, "This can no longer be answered"),
            }
            for address, (code, title) in pages.items():
                answer = await at.http.get(address)
                assert (answer.status_code, Page(answer.text).text.startswith(title)) == (
                    code,
                    True,
                )
                assert (await at.http.post(address, data={"action": "0"})).status_code in (
                    code,
                    409,
                )

    drive(play())


NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\x1b[31m\u202e{{7*7}}{% raw %}"


def test_nothing_hostile_gets_into_a_page() -> None:
    """Script tags, quotes, control characters, templates: in titles, ids, schemas and answers."""
    schema = {
        "type": "object",
        "description": NASTY,
        "properties": {
            NASTY: {"type": "string", "title": NASTY, "description": NASTY, "default": NASTY},
            "group": {"title": NASTY, "type": "object", "properties": {"x": {"enum": [NASTY]}}},
        },
        "required": [NASTY],
    }
    blueprint = {
        "id": f"b{NASTY}",
        "nodes": [
            {
                "id": f"n{NASTY}",
                "uses": "wait",
                "params": {"title": NASTY, "schema": schema, "actions": [NASTY]},
            }
        ],
        "edges": [],
    }

    async def play() -> None:
        async with site() as at:
            run_id = f"r{NASTY}".replace("\x1b", "")
            await at.world.client.start_run(blueprint, run_id=run_id)
            await at.world.settle()
            (link,) = await at.world.client.answer_links(run_id)
            shown = await at.http.get(link.url)
            wrong = await at.http.post(link.url, data={"v0": "", "action": "0"})
            done = await at.http.post(link.url, data={"v0": NASTY, "action": "0"})
            assert [shown.status_code, wrong.status_code, done.status_code] == [200, 422, 200]
            used = await at.http.get(link.url)
            for answer in (shown, wrong, done, used):
                page = Page(answer.text)
                assert not {"script", "img", "iframe", "link", "object"} & set(page.tags)
                assert "49" not in page.text
                assert page.text.isprintable()
                assert not any(name.startswith(("on", "style")) for name in page.attributes)
                policy = answer.headers["content-security-policy"]
                assert policy.startswith("default-src 'none'; style-src 'sha256-")
                assert "frame-ancestors 'none'" in policy
            (output,) = (await at.world.finish(run_id)).outputs.values()
            assert output == {NASTY: NASTY}

    drive(play())


def test_pages_load_nothing() -> None:
    """No address of anything else stands in a page, its style sheet included."""

    async def play() -> None:
        async with site(pay) as at:
            html = (await at.http.get(await at.url("pay"))).text
            assert not re.search(r"https?:|url\(|@import|src=|<script|<link", html)

    drive(play())


def test_a_round_of_a_loop_that_has_not_come() -> None:
    """A page asks to come again in a moment."""
    urls: list[str] = []

    async def asks(ctx: Any) -> None:
        urls.append(await ctx.answer_url("w", iteration=(1,)))

    flow = create_flow("f").node("a", asks).wait("w").edge("a", "w")
    flow.edge("w", "a", action="again").cycle_entry("a")

    async def play() -> None:
        async with site(flow) as at:
            await at.links("f")
            answer = await at.http.get(urls[0])
            assert (answer.status_code, answer.headers["retry-after"]) == (409, "5")
            assert "cannot be answered yet" in answer.text

    drive(play())


@pytest.mark.parametrize(
    ("schema", "kinds"),
    [
        (True, []),
        ({}, ["json"]),
        ({"type": "string"}, ["text"]),
        ({"type": ["integer", "null"]}, ["number"]),
        ({"type": ["integer", "string"]}, ["json"]),
        ({"type": "array"}, ["json"]),
        ({"enum": [1, 2]}, ["choice"]),
        ({"type": "object", "properties": {}}, ["json"]),
        ({"type": "object", "properties": {"a": {"anyOf": [{}]}}}, ["json"]),
        ({"type": "object", "properties": {f"p{n}": {} for n in range(61)}}, ["json"]),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "boolean"}}}, ["check"]),
        (
            {
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/x~1y"}},
                "$defs": {"x/y": {"type": "number"}},
            },
            ["number"],
        ),
        ({"type": "object", "properties": {"a": {"$ref": "#/gone"}}}, ["json"]),
        ({"type": "object", "properties": {"a": False}}, ["json"]),
    ],
)
def test_any_schema_has_a_form(schema: Any, kinds: list[str]) -> None:
    """What has no input of its own is filled in as JSON, the whole answer if need be."""
    assert [field.kind for field in form_of(schema).fields] == kinds


def test_a_form_of_one_value_is_that_value() -> None:
    """Without an object around it what is filled in is the answer itself."""
    form = form_of({"type": "integer"}).filled({"v0": "7"})
    assert form.answer() == (7, [])
    assert form_of({"type": "integer"}).filled({"v0": "x"}).answer() == ("x", [])
    assert form_of({}).filled({"v0": "NaN"}).answer()[1][0].message == "is no JSON"


@pytest.mark.parametrize(
    ("name", "words"),
    [("send_back", "Send back"), ("isTold", "Is told"), ("yes", "Yes"), ("_", "_"), ("URL", "URL")],
)
def test_names_are_written_as_words(name: str, words: str) -> None:
    """Names of properties and actions are shown as people write them."""
    assert spoken(name) == words
