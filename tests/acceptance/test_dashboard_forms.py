"""The dashboard in Chromium: forms that are made of the schema of a wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from flowcraft import create_flow
from tests.browser.site import Browsing
from tests.browser.visits import open_shop, status

pytestmark = pytest.mark.slow

SCHEMA = {
    "type": "object",
    "required": ["when"],
    "properties": {
        "when": {"type": "string", "format": "date-time", "title": "When"},
        "labels": {"type": "array", "title": "Labels", "items": {"type": "string"}, "maxItems": 2},
        "days": {
            "type": "array",
            "title": "Days",
            "uniqueItems": True,
            "items": {"enum": ["mon", "tue", "wed"]},
            "default": ["wed"],
        },
        "lines": {
            "type": "array",
            "title": "Lines",
            "items": {
                "type": "object",
                "required": ["sku"],
                "properties": {
                    "sku": {"type": "string", "title": "Article"},
                    "count": {"type": "integer", "title": "Count"},
                },
            },
            "default": [{"sku": "A-1", "count": 2}],
        },
        "address": {
            "type": "object",
            "title": "Address",
            "required": ["city"],
            "properties": {
                "city": {"type": "string", "title": "City"},
                "zip": {"type": "string", "title": "Zip"},
            },
        },
    },
}


def asks() -> Any:
    """A flow that asks for all that."""
    return create_flow("asks").wait("ask", title="What is it to be?", schema=SCHEMA)


def test_lists_and_moments_are_filled_in(browsing: Browsing, tmp_path: Path) -> None:
    """Items are added and removed, choices ticked, and a time is told with its zone."""

    async def play(browser: Browser) -> None:
        async with open_shop(browser, tmp_path / "runs.db", flows=[asks()]) as (site, _):
            await site.adapter.start_run("asks", {}, run_id="a")
            page = await site.page("runs/a?node=ask")
            form = page.locator(".answer")
            await expect(form.get_by_label("Article")).to_have_value("A-1")
            await form.get_by_label("When").fill("2026-03-01T09:30")
            add = form.get_by_role("button", name="Add to Labels")
            for text in ("one", "two", "three"):
                await add.press("Enter")
                await page.keyboard.type(text)
            await form.get_by_label("mon").check()
            await form.get_by_role("button", name="Add to Lines").click()
            await form.get_by_label("Article").nth(1).fill("B-2")
            send = form.get_by_role("button", name="Send answer")
            await send.click()
            await expect(form.get_by_role("alert")).to_have_text("Labels: at most 2.")
            await form.get_by_role("button", name="Remove Labels 2").click()
            await send.click()
            await expect(status(page)).to_have_text("Completed")
            result = await site.adapter.get_run("a")
            assert result.outputs["ask"] == {
                "when": "2026-03-01T09:30:00.000Z",
                "labels": ["one", "three"],
                "days": ["mon", "wed"],
                "lines": [{"sku": "A-1", "count": 2}, {"sku": "B-2"}],
            }

    browsing.play(play)


def test_a_part_that_may_be_left_out_is_left_out(browsing: Browsing, tmp_path: Path) -> None:
    """What an optional object has to have is asked for only where something of it is filled in."""

    async def play(browser: Browser) -> None:
        async with open_shop(browser, tmp_path / "runs.db", flows=[asks()]) as (site, _):
            await site.adapter.start_run("asks", {}, run_id="a")
            page = await site.page("runs/a?node=ask")
            form = page.locator(".answer")
            await form.get_by_label("When").fill("2026-03-01T09:30")
            await form.get_by_label("Zip").fill("10115")
            await form.get_by_role("button", name="Send answer").click()
            await expect(form.get_by_role("alert")).to_have_text("City: is missing.")
            await form.get_by_label("Zip").fill("")
            await form.get_by_role("button", name="Send answer").click()
            await expect(status(page)).to_have_text("Completed")
            assert "address" not in (await site.adapter.get_run("a")).outputs["ask"]

    browsing.play(play)
