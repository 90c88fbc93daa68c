"""The dashboard as a browser sees it: a file of runs, a worker, a server, and pages of Chromium.

All but the browser is in the process of the test: a node can be held at a gate, and nothing has to
be waited for by the clock.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import uvicorn
from playwright.async_api import Browser, Dialog, Page, async_playwright

from flowcraft.cli.ui import address_of, listen
from flowcraft.engine.options import RuntimeOptions
from flowcraft.sqlite import SqliteAdapter
from flowcraft.web import create_app

REQUIRED: Final = os.environ.get("FLOWCRAFT_BROWSER") == "required"
"""`FLOWCRAFT_BROWSER=required`: without a browser the tests fail instead of being left out."""

CHROMIUM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS: Final = 15_000
PATIENCE_SECONDS: Final = 60.0

Size = tuple[int, int]
DESK: Final[Size] = (1280, 800)
PHONE: Final[Size] = (390, 844)


@dataclass
class Site:
    """A dashboard that is served.

    Attributes:
        address: Where; ends with a slash.
        adapter: The worker behind it, and a client.
        browser: Chromium.
        path: The file of runs.
        alarms: What no page should ever cause: dialogs, errors, violations of the policy.
    """

    address: str
    adapter: SqliteAdapter
    browser: Browser
    path: Path
    alarms: list[str] = field(default_factory=list)

    async def page(self, place: str = "", size: Size = DESK, **options: Any) -> Page:
        """A page of its own, opened at a place of the dashboard; nothing of others is in it."""
        context = await self.browser.new_context(
            viewport={"width": size[0], "height": size[1]}, base_url=self.address, **options
        )
        page = await context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        self._listen(page)
        await page.goto(place)
        return page

    def _listen(self, page: Page) -> None:
        async def refuse(dialog: Dialog) -> None:
            self.alarms.append(f"dialog: {dialog.message}")
            await dialog.dismiss()

        page.on("dialog", refuse)
        page.on("pageerror", lambda error: self.alarms.append(f"error: {error}"))
        page.on(
            "console",
            lambda told: (
                self.alarms.append(f"console: {told.text}") if told.type == "error" else None
            ),
        )


@asynccontextmanager
async def site_of(
    path: Path, options: RuntimeOptions, *, has_worker: bool = True, **app_options: Any
) -> AsyncIterator[Site]:
    """A dashboard of a file of runs, with a worker, and a browser to look at it.

    Args:
        path: The file.
        options: What the worker is given.
        has_worker: Whether anybody works on it.
        app_options: As ``create_app`` takes them.
    """
    adapter = SqliteAdapter(path, options)
    if has_worker:
        await adapter.start()
    try:
        app = create_app(adapter, **app_options)
        async with app, _served(app) as address, _chromium() as browser:
            yield Site(address, adapter, browser, path)
    finally:
        await adapter.stop()
        await adapter.aclose()


@asynccontextmanager
async def _served(app: Any) -> AsyncIterator[str]:
    listening = listen("127.0.0.1", 0)
    is_up = asyncio.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            is_up.set()

    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
    server = Server(config)
    # Without its handling of signals, which are the test's.
    serving = asyncio.ensure_future(server._serve([listening]))
    try:
        await is_up.wait()
        yield address_of(listening)
    finally:
        app.end_streams()
        server.should_exit = True
        server.force_exit = True
        await serving


@asynccontextmanager
async def _chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()


def has_browser() -> bool:
    """Whether there is one; a test that needs it is left out, or fails where it is required."""
    if CHROMIUM is None and REQUIRED:
        pytest.fail("There is no Chromium here: make browser.")
    return CHROMIUM is not None


def play(work: Callable[[], Awaitable[None]]) -> None:
    """Carry out a test in a browser, for so long at most."""
    if not has_browser():
        pytest.skip("There is no Chromium here: make browser.")

    async def within() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await work()

    asyncio.run(within())
