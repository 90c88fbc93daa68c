"""The dashboard in Chromium: its streams, where nobody looks and where their server ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, expect

from flowcraft.sqlite import SqliteAdapter
from flowcraft.web import create_app
from tests.browser.shop import Shop
from tests.browser.site import Browsing, Site, served
from tests.browser.visits import Visit, open_shop, state_of, status

pytestmark = pytest.mark.slow


class Streams:
    """Counts the streams that an application has open.

    Args:
        app: The application.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._count = 0
        self._changed = asyncio.Condition()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request."""
        if not scope.get("path", "").endswith("/events"):
            await self._app(scope, receive, send)
            return
        await self._add(1)
        try:
            await self._app(scope, receive, send)
        finally:
            await self._add(-1)

    async def _add(self, by: int) -> None:
        async with self._changed:
            self._count += by
            self._changed.notify_all()

    async def become(self, count: int) -> None:
        """Wait until so many are open."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._count == count)


async def turn(page: Page, *, hidden: bool) -> None:
    """Let the page believe that another tab is in front of it, or no longer."""
    await page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


@pytest.mark.parametrize("place", ["runs", "runs/parcel"])
def test_a_hidden_tab_lets_go_of_its_stream_and_catches_up(
    browsing: Browsing, tmp_path: Path, place: str
) -> None:
    """After ten seconds out of sight no stream is open; seen again, the page is as things are."""
    streams: list[Streams] = []

    def counted(app: Any) -> Any:
        streams.append(Streams(app))
        return streams[0]

    async def play(browser: Browser) -> None:
        async with open_shop(browser, tmp_path / "runs.db", wrap=counted) as (site, _):
            await site.adapter.start_run("parcel", {"number": "P-1"}, run_id="parcel")
            page = await site.page("blueprints")
            await page.clock.install()
            await page.goto(place)
            badge = page.locator("tbody .badge") if place == "runs" else status(page)
            await expect(badge).to_have_text("Awaiting")
            await streams[0].become(1)
            await turn(page, hidden=True)
            await page.clock.fast_forward(11_000)
            await streams[0].become(0)
            await site.adapter.send_event(event="parcel.delivered", correlation_key="P-1")
            await site.adapter.wait_for_run("parcel", timeout=30)
            await turn(page, hidden=False)
            await expect(badge).to_have_text("Completed")

    browsing.play(play)


def test_a_short_look_elsewhere_keeps_the_stream(browsing: Browsing, tmp_path: Path) -> None:
    """Who comes back within ten seconds has missed nothing, and no second stream is opened."""
    opened: list[str] = []

    async def play(browser: Browser) -> None:
        async with open_shop(browser, tmp_path / "runs.db") as (site, _):
            page = await site.page("blueprints")
            page.on("request", lambda asked: opened.append(asked.url))
            await page.clock.install()
            await page.goto("runs")
            await expect(page.locator(".live")).to_have_text("Live")
            await turn(page, hidden=True)
            await page.clock.fast_forward(5_000)
            await turn(page, hidden=False)
            await page.clock.fast_forward(60_000)
            await site.adapter.start_run("echo", {}, run_id="e")
            await expect(page.locator("tbody .badge")).to_have_text("Completed")
            assert len([url for url in opened if "/events" in url]) == 1

    browsing.play(play)


def test_a_page_goes_on_when_its_server_has_come_back(browsing: Browsing, tmp_path: Path) -> None:
    """While there is no server the page says so; afterwards it is live, with what it has missed."""
    shop = Shop()

    async def play(browser: Browser) -> None:
        adapter = SqliteAdapter(tmp_path / "runs.db", shop.options)
        await adapter.start()
        try:
            await adapter.start_run("order", {"amount": 5_000}, run_id="o")
            app = create_app(adapter)
            async with app, served(app, app.end_streams) as address:
                site = Site(address, adapter, tmp_path, browser)
                page, other = await site.page("runs/o"), await site.page("runs")
                await expect(state_of(page, "approve")).to_be_visible()
                await expect(other.locator(".live")).to_have_text("Live")
            for each in (page, other):
                await expect(each.locator(".live")).to_have_text("Connection lost, trying again")
            await adapter.resume_with_action("o", "approve", {"by": "Ada", "limit": 1})
            await adapter.wait_for_run("o", timeout=30)
            again = create_app(adapter)
            port = urlsplit(address).port or 0
            async with again, served(again, again.end_streams, port):
                await expect(status(page)).to_have_text("Completed")
                await expect(other.locator("tbody .badge")).to_have_text("Completed")
                await expect(other.locator(".live")).to_have_text("Live")
                for context in browser.contexts:
                    await context.close()
        finally:
            await adapter.stop()
            await adapter.aclose()

    browsing.play(play)


def test_a_stream_tells_a_reader_only_what_is_new(visit: Callable[[Visit], None]) -> None:
    """Rows that change are no reason to read out once more that the list is live; a run says what
    has become of it, once."""

    async def work(site: Site, shop: Shop) -> None:
        await site.adapter.start_run("parcel", {"number": "P-1"}, run_id="p")
        page = await site.page("runs")
        await expect(page.locator(".live")).to_have_text("Live")
        await page.evaluate(
            """() => {
              window.told = 0;
              const seen = new MutationObserver((all) => (window.told += all.length));
              seen.observe(document.querySelector(".live"), { childList: true, subtree: true });
            }"""
        )
        one = await site.page("runs/p")
        await expect(status(one)).to_have_text("Awaiting")
        await expect(one.locator(".page > [role=status]")).to_have_text("")
        await site.adapter.send_event(event="parcel.delivered", correlation_key="P-1")
        await expect(page.locator("tbody .badge")).to_have_text("Completed")
        assert await page.evaluate("() => window.told") == 0
        await expect(one.locator(".page > [role=status]")).to_have_text("The run is completed.")

    visit(work)
