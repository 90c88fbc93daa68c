"""Chromium for tests: left out where there is none, unless it is required."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.browser.site import Browsing
    from tests.browser.visits import Visit


@pytest.fixture(scope="session")
def browsing() -> Iterator[Browsing]:
    """Chromium, and the event loop that it is spoken to on."""
    from tests.browser import site  # noqa: PLC0415 - most tests need nothing of it

    if site.CHROMIUM is None:
        (pytest.fail if site.REQUIRED else pytest.skip)(site.NO_CHROMIUM)
    with asyncio.Runner() as runner:
        browsing = site.Browsing(runner)
        yield browsing
        browsing.close()


@pytest.fixture
def visit(browsing: Browsing, tmp_path: Path) -> Callable[[Visit], None]:
    """Carries out a test in a shop that is open."""
    from tests.browser.visits import open_shop  # noqa: PLC0415 - as above

    def carry_out(work: Visit) -> None:
        async def play(browser: Browser) -> None:
            async with open_shop(browser, tmp_path / "runs.db") as (site, shop):
                await work(site, shop)

        browsing.play(play)

    return carry_out
