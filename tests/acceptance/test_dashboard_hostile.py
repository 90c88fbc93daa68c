"""The dashboard and data that means harm: nothing is carried out, and nothing freezes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from flowcraft import create_flow
from tests.browser.shop import Shop
from tests.browser.site import Browsing, Site
from tests.browser.visits import Visit, open_shop, state_of, status

pytestmark = pytest.mark.slow

SCRIPT = "<script>alert('run')</script><img src=x onerror=alert(1)>"
# Ids of runs are without these.
CONTROL = re.compile("[\x00-\x1f]")
HOSTILE = (
    SCRIPT,
    "\"><svg/onload=alert(2)>'`${alert(3)}{{4}}",
    "javascript:alert(5)",
    "a/../b?c=d#e %2F%00 \\",
    "bell\x07escape\x1b[31mnull\x00right\u202eleft\u2028line",
    "日本語 🦜 __proto__",
)


async def refuse(ctx: Any) -> Any:
    """Fail with a text that means harm."""
    raise type(SCRIPT[:40], (Exception,), {})(SCRIPT)


def hostile_flow(text: str) -> Any:
    """A workflow all of whose names are a text that means harm."""
    flow = create_flow(f"flow {text}").node(f"same {text}", same).node(f"bad {text}", refuse)
    schema = {"title": text, "properties": {text: {"title": text, "enum": [text]}}}
    flow.wait(f"ask {text}", title=text, actions=[text], schema=schema)
    return flow.edge(f"same {text}", f"bad {text}", condition="1 < 2")


async def same(ctx: Any) -> Any:
    """Give the input."""
    return {SCRIPT: HOSTILE, "__proto__": {"polluted": True}, "constructor": HOSTILE[4]}


def test_what_runs_hold_is_text_wherever_it_is_shown(browsing: Browsing, tmp_path: Path) -> None:
    """Script tags and control characters in ids, tags, keys, outputs and errors do nothing."""

    async def work(site: Site) -> None:
        page = await site.page("runs")
        for number, text in enumerate(HOSTILE):
            await site.adapter.start_run(
                f"flow {text}",
                {"value": text, text: text},
                run_id=f"{number} {CONTROL.sub('', text)}",
                tags={"name": CONTROL.sub("", text)},
            )
        await expect(page.locator("tbody tr")).to_have_count(len(HOSTILE))
        for number in range(len(HOSTILE)):
            await page.goto("runs")
            await page.locator(".row-link", has_text=re.compile(f"^{number} ")).click()
            await expect(status(page)).to_be_visible()
            await expect(page.locator(".node")).to_have_count(3)
            await page.get_by_role("button", name="Answer").click()
            await expect(page.locator(".answer")).to_be_visible()
            await page.locator(".node").nth(1).click()
            await expect(page.locator(".panel .error").first).to_contain_text("alert('run')")
            await page.locator(".node").nth(0).click()
            await expect(page.locator("[data-part=output]")).to_contain_text("onerror=alert(1)")
            for tab in () if number % 4 else ("timeline", "nodes", "context", "history", "json"):
                await page.locator(".tabs a", has_text=re.compile(tab, re.IGNORECASE)).click()
                await expect(page.locator(".run-content .card")).to_be_visible()
        await page.goto("blueprints")
        await expect(page.locator("tbody tr").first).to_be_visible()
        polluted = await page.evaluate("({}).polluted")
        assert polluted is None
        scripts = await page.evaluate("document.querySelectorAll('main script, main img').length")
        assert scripts == 0

    async def play(browser: Browser) -> None:
        flows = list(map(hostile_flow, HOSTILE))
        async with open_shop(browser, tmp_path / "runs.db", flows=flows) as (site, _):
            await work(site)

    browsing.play(play)


def test_ten_megabytes_do_not_freeze_the_page(visit: Callable[[Visit], None]) -> None:
    """Of a large output the beginning is shown; loaded whole, the page draws what is open only."""

    async def work(site: Site, shop: Shop) -> None:
        await site.adapter.start_run(
            "echo", {"rows": 100_000, "value": "x" * 1_000_000}, run_id="e"
        )
        page = await site.page("runs/e?node=big")
        output = page.locator("[data-part=output]")
        await expect(output).to_contain_text("this is the beginning")
        await page.evaluate(
            """() => {
                window.longest = 0;
                let last = performance.now();
                const tick = (now) => {
                    window.longest = Math.max(window.longest, now - last);
                    last = now;
                    requestAnimationFrame(tick);
                };
                requestAnimationFrame(tick);
            }"""
        )
        await output.get_by_role("button", name="Load whole").click()
        await expect(output).to_contain_text("[100,000]")
        await expect(output.locator("li")).to_have_count(101)
        await output.get_by_role("button", name="Show 100 more").click()
        await expect(output.locator("li")).to_have_count(201)
        # Parsing is one piece; all else is small. The bound leaves room for a busy machine.
        assert await page.evaluate("window.longest") < 3_000
        await state_of(page, "give").click()
        await expect(output).to_contain_text("1.0 MB")
        await output.get_by_role("button", name="Load whole").click()
        await output.get_by_role("button", name="show more").click()
        await expect(output).to_contain_text("979,600 left")

    visit(work)
