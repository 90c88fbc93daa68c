"""A run on SQLite is approved by a person in a browser, end to end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from flowcraft import FlowRuntime, NodeContext, create_flow
from flowcraft.engine.links import Links
from flowcraft.sqlite import SqliteAdapter
from flowcraft.web.links import create_links_app
from tests.acceptance.browser import browser, chromium

SECRET = "a secret of more than 32 bytes, for tests"
SCHEMA = {
    "type": "object",
    "properties": {
        "amount": {"type": "number", "minimum": 1, "maximum": 500},
        "reason": {"enum": ["refund", "goodwill"]},
        "told": {"type": "boolean", "title": "The customer was told"},
    },
    "required": ["amount", "reason"],
}
mails: list[str] = []


async def mail(ctx: NodeContext[Any]) -> None:
    """Send the link to whoever may approve."""
    mails.append(await ctx.answer_url("approve"))


async def pay(ctx: NodeContext[dict[str, Any]]) -> str:
    """Do what was approved."""
    return f"paid {ctx.input['amount']}"


flow = create_flow("payout").node("mail", mail).node("pay", pay)
flow.wait("approve", title="Pay Ada <Lovelace>?", schema=SCHEMA, actions=["approve", "reject"])
flow.edge("mail", "approve").edge("approve", "pay", action="approve")


@asynccontextmanager
async def served(app: Any, sock: socket.socket) -> AsyncIterator[None]:
    """A server of an application."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    task = asyncio.ensure_future(server.serve([sock]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def approvals(path: Path) -> AsyncIterator[SqliteAdapter]:
    """A worker on a file, and a server of the links of its runs."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        links = Links(f"http://127.0.0.1:{sock.getsockname()[1]}", SECRET)
        options = replace(FlowRuntime(flows=[flow]).options, links=links)
        client = SqliteAdapter.client_of(path, options)
        async with SqliteAdapter(path, options) as worker, served(create_links_app(client), sock):
            yield worker


async def looked_at(page: Any, url: str) -> str:
    """What a person reads at an address."""
    await page.goto(url)
    return str(await page.inner_text("main"))


async def awaits(worker: SqliteAdapter, run: str) -> bool:
    """Whether a run still waits."""
    return str((await worker.get_run(run)).status) == "awaiting"


async def approve(path: Path, executable: str) -> None:
    """Look, make a mistake, correct it, and look again."""
    async with approvals(path) as worker, browser(executable) as opened:
        run = await worker.start_run("payout")
        async with asyncio.timeout(20):
            while not mails or not await awaits(worker, run):
                await asyncio.sleep(0.01)
        # No page needs scripts.
        page = await (await opened.new_context(java_script_enabled=False)).new_page()
        assert "Pay Ada <Lovelace>?" in await looked_at(page, mails[0])
        assert await awaits(worker, run)
        await page.get_by_label("Amount").fill("90")
        # The browser itself does not send a form that lacks what is required.
        await page.get_by_role("button", name="Approve").click()
        assert page.url == mails[0]
        assert await awaits(worker, run)
        await page.get_by_label("Reason").select_option("goodwill")
        await page.get_by_label("The customer was told").check()
        await page.get_by_role("button", name="Approve").click()
        await page.get_by_role("heading", name="Answer recorded").wait_for()
        result = await worker.wait_for_run(run, timeout=10)
        assert result.outputs["pay"] == "paid 90"
        assert result.outputs["approve"] == {"amount": 90, "reason": "goodwill", "told": True}
        assert "This was answered already" in await looked_at(page, mails[0])
        assert "This link is not valid" in await looked_at(page, mails[0][:-1])


@pytest.mark.slow
def test_a_person_approves_in_a_browser(tmp_path: Path) -> None:
    """Without a script the page is shown, its form filled in and sent; the run goes on and ends."""
    mails.clear()
    asyncio.run(approve(tmp_path / "runs.db", chromium()))


async def post_from_elsewhere(path: Path, executable: str) -> None:
    """Have the page of another site send the form."""
    async with approvals(path) as worker, browser(executable) as opened:
        run = await worker.start_run("payout")
        async with asyncio.timeout(20):
            while not mails or not await awaits(worker, run):
                await asyncio.sleep(0.01)
        page = await opened.new_page()
        form = f'<form method="post" action="{mails[0]}"><input name="action" value="0"></form>'

        async def evil(route: Any) -> None:
            await route.fulfill(body=form, content_type="text/html")

        await page.route("http://localhost:1/", evil)
        await page.goto("http://localhost:1/")
        async with page.expect_navigation():
            await page.evaluate("document.forms[0].submit()")
        assert "This came from another site" in await page.inner_text("main")
        assert await awaits(worker, run)


@pytest.mark.slow
def test_another_site_cannot_answer(tmp_path: Path) -> None:
    """A form that another site sends to a link, which it would have to know, changes nothing."""
    mails.clear()
    asyncio.run(post_from_elsewhere(tmp_path / "runs.db", chromium()))
