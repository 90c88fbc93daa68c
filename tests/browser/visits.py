"""Visits to the shop's dashboard: what tests of it have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Locator, Page

from tests.browser.shop import Shop
from tests.browser.site import Site, site_of

Visit = Callable[[Site, Shop], Awaitable[None]]


@asynccontextmanager
async def open_shop(
    browser: Browser, path: Path, *, flows: Sequence[Any] = (), **options: Any
) -> AsyncIterator[tuple[Site, Shop]]:
    """A shop, with a worker and a dashboard.

    Args:
        browser: What looks at it.
        path: The file of its runs.
        flows: Further workflows.
        options: As ``site_of`` takes them.
    """
    shop = Shop(flows)
    async with site_of(browser, path, shop.options, **options) as site:
        try:
            yield site, shop
        finally:
            shop.gate.set()


def status(page: Page) -> Locator:
    """The status in the head of a run's page."""
    return page.locator(".run-title .badge")


def dialog(page: Page) -> Locator:
    """The dialog that is open."""
    return page.get_by_role("dialog")


def state_of(page: Page, node: str) -> Locator:
    """A node of the drawing."""
    return page.locator(f'.node[data-id="{node}"]')
