"""What the dashboard says in Chromium: whole, and no longer than it is true."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from flowcraft import RetryPolicy, create_flow
from tests.browser.shop import Shop
from tests.browser.site import Browsing, Site
from tests.browser.visits import Visit, dialog, open_shop, state_of, status

pytestmark = pytest.mark.slow


def test_a_mistake_is_told_until_something_is_mended(visit: Callable[[Visit], None]) -> None:
    """What was wrong with a dialog is shown, and gone as soon as something else is filled in."""

    async def work(site: Site, shop: Shop) -> None:
        page = await site.page("runs")
        await page.keyboard.press("n")
        await dialog(page).get_by_label("Flow", exact=True).fill("oder")
        await dialog(page).get_by_role("button", name="Start run").click()
        trouble = page.locator("dialog > form > .box-body > [role=alert]")
        await expect(trouble).to_contain_text("Nobody knows a blueprint 'oder'")
        await dialog(page).get_by_label("Flow", exact=True).fill("echo")
        await expect(trouble).to_be_hidden()
        await dialog(page).get_by_role("button", name="Start run").click()
        await expect(status(page)).to_have_text("Completed")

    visit(work)


def test_the_attempt_of_a_node_is_told_whole(browsing: Browsing, tmp_path: Path) -> None:
    """A node that took several attempts says in the drawing how many, and is not cut off."""

    async def third_time(ctx: Any) -> str:
        if ctx.attempt < 3:
            raise ConnectionError("not yet")
        return "done"

    flow = create_flow("again").node(
        "load", third_time, retry=RetryPolicy(max_attempts=3, delay=0.0)
    )

    async def play(browser: Browser) -> None:
        async with open_shop(browser, tmp_path / "runs.db", flows=[flow]) as (site, _):
            await site.adapter.start_run("again", run_id="a")
            page = await site.page("runs/a")
            await expect(status(page)).to_have_text("Completed")
            await expect(state_of(page, "load")).to_contain_text("Succeeded · try 3")

    browsing.play(play)
