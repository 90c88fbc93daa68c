"""The dashboard as a browser sees it: a file of runs, a worker, a server, and pages of Chromium.

All but the browser is in the process of the test: a node can be held at a gate, and nothing has to
be waited for by the clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvicorn
from playwright.async_api import Browser, ConsoleMessage, Dialog, Page, expect

from flowcraft.cli.ui import address_of, listen
from flowcraft.engine.options import RuntimeOptions
from flowcraft.sqlite import SqliteAdapter
from flowcraft.web import create_app
from tests.acceptance.browser import browser as chromium_at

PATIENCE_MS: Final = 15_000
PATIENCE_SECONDS: Final = 60.0

expect.set_options(timeout=PATIENCE_MS)

Size = tuple[int, int]
DESK: Final[Size] = (1280, 800)
PHONE: Final[Size] = (390, 844)


@dataclass
class Site:
    """A dashboard that is served.

    Attributes:
        address: Where; ends with a slash.
        adapter: The worker behind it, and a client.
        path: The file of runs.
        browser: Chromium.
        alarms: What no page should ever cause: dialogs, errors, violations of the policy.
    """

    address: str
    adapter: SqliteAdapter
    path: Path
    browser: Browser
    alarms: list[str] = field(default_factory=list)

    async def page(self, place: str = "", size: Size = DESK, **options: Any) -> Page:
        """A page of its own, opened at a place of the dashboard; nothing of others is in it."""
        context = await self.browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            base_url=self.address,
            locale="en-GB",
            timezone_id="UTC",
            **options,
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

        def hear(told: ConsoleMessage) -> None:
            # That an answer was a refusal is what some tests are about.
            if told.type == "error" and "with a status of 4" not in told.text:
                self.alarms.append(f"console: {told.text}")

        page.on("dialog", refuse)
        page.on("pageerror", lambda error: self.alarms.append(f"error: {error}"))
        page.on("console", hear)


class Browsing:
    """Chromium for many tests, on one event loop: it takes a second to begin.

    Args:
        runner: The loop.
        path: Where Chromium is.
    """

    def __init__(self, runner: asyncio.Runner, path: str) -> None:
        self._runner = runner
        self._stack = AsyncExitStack()
        opening = self._stack.enter_async_context(chromium_at(path))
        self.browser: Browser = runner.run(opening)

    def play(self, work: Callable[[Browser], Awaitable[None]]) -> None:
        """Carry out a test, for so long at most."""

        async def within() -> None:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await work(self.browser)

        self._runner.run(within())

    def close(self) -> None:
        """Close it."""
        self._runner.run(self._stack.aclose())


@asynccontextmanager
async def site_of(
    browser: Browser,
    path: Path,
    options: RuntimeOptions,
    *,
    has_worker: bool = True,
    wrap: Callable[[Any], Any] = lambda app: app,
    **app_options: Any,
) -> AsyncIterator[Site]:
    """A dashboard of a file of runs, with a worker; at the end nothing must have gone wrong.

    Args:
        browser: What looks at it.
        path: The file.
        options: What the worker is given.
        has_worker: Whether anybody works on it.
        wrap: Puts the application into another one.
        app_options: As ``create_app`` takes them.
    """
    adapter = SqliteAdapter(path, options)
    if has_worker:
        await adapter.start()
    try:
        app = create_app(adapter, **app_options)
        async with app, served(wrap(app), app.end_streams) as address:
            site = Site(address, adapter, path, browser)
            try:
                yield site
                assert not site.alarms, site.alarms
            finally:
                for context in browser.contexts:
                    await context.close()
    finally:
        await adapter.stop()
        await adapter.aclose()


@asynccontextmanager
async def served(app: Any, end_streams: Callable[[], None], port: int = 0) -> AsyncIterator[str]:
    """An application that is served.

    Args:
        app: What is served.
        end_streams: Ends what does not end by itself.
        port: Where; 0 for any.
    """
    listening = listen("127.0.0.1", port)
    is_up = asyncio.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            is_up.set()

    server = Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    # Without its handling of signals, which are the test's.
    serving = asyncio.ensure_future(server._serve([listening]))
    try:
        await is_up.wait()
        yield address_of(listening)
    finally:
        end_streams()
        server.should_exit = server.force_exit = True
        await serving
